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
    /// The path of the page with script, below the issuer.
    pub ui: &'a str,
    pub groups: Vec<Group>,
}

/// The same in Swagger UI.
#[derive(Template)]
#[template(path = "reference_ui.html")]
pub struct ReferenceUiView<'a> {
    pub frame: Frame<'a>,
    /// The path of the page without script, below the issuer.
    pub plain: &'a str,
    /// What all paths are below.
    pub base: &'a str,
    pub document: Inlined,
}

/// JSON that cannot leave the `script` element that it stands in.
pub struct Inlined(String);

impl Inlined {
    /// Takes the text of a JSON document, where `<` occurs within strings alone.
    pub fn json(text: &str) -> Self {
        Self(text.replace('<', "\\u003c"))
    }
}

impl std::fmt::Display for Inlined {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_the_document_leaves_its_element() {
        let text = serde_json::json!({ "a": "</script><script>alert(1)</script><!--", "b": "\u{2028}&amp;" }).to_string();
        let inlined = Inlined::json(&text).to_string();
        assert!(!inlined.contains('<'));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&inlined).unwrap(),
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        );
    }
}
