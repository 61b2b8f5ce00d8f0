//! The reference of the admin API.

use askama::Template;

use super::Frame;

/// Every operation, for operators who write programs. In English alone, like the documentation.
#[derive(Template)]
#[template(path = "reference.html")]
pub struct ReferenceView<'a> {
    pub frame: Frame<'a>,
    pub issuer: &'a str,
    /// The path of the OpenAPI document below the issuer.
    pub openapi: &'a str,
    pub groups: Vec<Group>,
}

/// The operations on one kind of thing.
pub struct Group {
    pub name: &'static str,
    pub operations: Vec<Described>,
}

/// One operation.
pub struct Described {
    pub id: &'static str,
    pub verb: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    pub right: &'static str,
    /// Name and description.
    pub parameters: Vec<(&'static str, &'static str)>,
    /// Whether it knows If-Match.
    pub conditional: bool,
    /// A request to paste.
    pub request: String,
    pub parts: Vec<Part>,
}

/// A schema of what is sent or answered.
pub struct Part {
    pub title: &'static str,
    pub schema: String,
}
