//! One row of the table: what an operation is called, where it is, what it needs, what it takes and what it answers.

use std::borrow::Cow;

use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Call, Reply};
use crate::http::error::OAuthError;
use crate::oauth::admin::Right;

/// An operation of the admin API.
#[derive(Debug)]
pub struct Operation {
    /// The `operationId` of the OpenAPI document; stable.
    pub id: &'static str,
    pub verb: Verb,
    /// Below `/admin/api/v1`, with parameters in braces. Their values are percent-encoded in the URL.
    pub path: &'static str,
    pub right: Right,
    /// One sentence for the documentation.
    pub summary: &'static str,
    /// The parameters of the query; lists have `limit` and `cursor` beside them. Any other is refused.
    pub query: &'static [Parameter],
    pub body: Body,
    pub answer: Answer,
    /// Whether it asks [`Call::precondition`]. If it does not, a conditional header is refused: it would be promised for nothing.
    pub conditional: bool,
    pub run: Run,
}

/// What does it: `|call| Box::pin(list(call))`.
pub type Run = fn(Call) -> BoxFuture<'static, Result<Reply, OAuthError>>;

/// The methods that operations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// A parameter of the query.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub description: &'static str,
}

/// What an operation reads.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// Nothing; a body is refused.
    None,
    /// A JSON document.
    Json(MakeSchema),
    /// A JSON document, or nothing, which counts as an empty one.
    Optional(MakeSchema),
    /// A merge patch (RFC 7396) of a document with this schema.
    Patch(MakeSchema),
}

/// What an operation answers when it succeeds.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// 204.
    Nothing,
    /// 200.
    Found(MakeSchema),
    /// 201.
    Made(MakeSchema),
    /// 201 if it was made, 200 if it was there.
    Kept(MakeSchema),
    /// 200: `{"items": […], "next_cursor": …}`.
    Page(MakeSchema),
    /// 200: a page, or for those who accept application/x-ndjson a JSON document on each line.
    Lines(MakeSchema),
}

/// A schema that is made of a type, with the type's name.
pub type MakeSchema = fn(&mut SchemaGenerator) -> (Cow<'static, str>, Schema);

/// The schema of `T`.
pub fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> (Cow<'static, str>, Schema) {
    (T::schema_name(), T::json_schema(generator))
}

impl Verb {
    /// As HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl Operation {
    /// The names of the parameters in its path.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }

    /// The parameters of the query that it knows.
    pub fn query_parameters(&self) -> impl Iterator<Item = &Parameter> {
        let paging = match self.answer {
            Answer::Page(_) | Answer::Lines(_) => PAGING,
            Answer::Nothing | Answer::Found(_) | Answer::Made(_) | Answer::Kept(_) => &[],
        };
        self.query.iter().chain(paging)
    }
}

const PAGING: &[Parameter] = &[
    Parameter { name: "limit", description: "How many at most, 1 to 200; 50 if it is left out." },
    Parameter {
        name: "cursor",
        description: "Where the page begins: the next_cursor of the page before. It belongs to this list and to the same filters.",
    },
];
