//! What the admin API can do, for programs (`openapi.json`) and for people (two pages beside it), all made of the table. None says more
//! than this program's source does, so all are open. One page is plain HTML under the pages' own policy, without any script, since it
//! lives at the origin where people sign in; the other is Swagger UI, in a sandbox (docs/decisions/the-reference-has-two-pages.md).

use std::sync::LazyLock;

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::operation::{Answer, Body, Operation, Verb};
use super::{BASE, V1, openapi, table};
use crate::app::App;
use crate::app::Prepared;
use crate::http::oauth::metadata;
use crate::http::pages;
use crate::http::pages::csp::Policy;
use crate::http::pages::i18n::Lang;
use crate::http::pages::view::Frame;
use crate::http::pages::view::reference::{Described, Group, Inlined, Part, ReferenceUiView, ReferenceView};

/// Where programs find it.
pub const OPENAPI: &str = "/admin/api/openapi.json";
/// Where people browse it.
pub const UI: &str = "/admin/api/ui";

/// The document, made when somebody asks for the first time: it is large, and most servers are never asked. Strangers may ask: it is made once.
pub struct Reference {
    made: LazyLock<Made, Box<dyn FnOnce() -> Made + Send>>,
}

struct Made {
    document: Value,
    prepared: Prepared,
}

impl Reference {
    /// Of this server.
    pub fn new(app: &App) -> Self {
        let issuer = app.config.issuer.as_str().to_owned();
        let make = move || {
            let document = openapi::document(&issuer);
            let prepared = Prepared::of(document.to_string());
            Made { document, prepared }
        };
        Self { made: LazyLock::new(Box::new(make)) }
    }

    /// `GET /admin/api/openapi.json`.
    pub fn openapi_json(&self, headers: &HeaderMap) -> Response {
        let prepared = &self.made.prepared;
        metadata::prepared(&prepared.body, &prepared.etag, "application/json", headers)
    }

    /// `GET /admin/api`: the same for people.
    pub fn page(&self, app: &App) -> Response {
        page(app, &self.made.document)
    }

    /// `GET /admin/api/ui`: the same in Swagger UI. It gets the document in the page, since it can make no request.
    pub fn ui(&self, app: &App) -> Response {
        let document = Inlined::json(std::str::from_utf8(&self.made.prepared.body).unwrap_or("{}"));
        let base = format!("{}{V1}", app.config.issuer.as_str());
        let view = ReferenceUiView { frame: frame(app), plain: BASE, base: &base, document };
        pages::respond(StatusCode::OK, &view, &Policy::sandbox())
    }
}

fn page(app: &App, document: &Value) -> Response {
    let issuer = app.config.issuer.as_str();
    let frame = frame(app);
    let mut groups: Vec<Group> = Vec::new();
    for operation in table::operations() {
        let name = operation.path.split('/').nth(1).unwrap_or_default();
        if groups.last().is_none_or(|group| group.name != name) {
            groups.push(Group { name, operations: Vec::new() });
        }
        if let Some(group) = groups.last_mut() {
            group.operations.push(describe(operation, issuer, document));
        }
    }
    let view = ReferenceView { frame, issuer, openapi: OPENAPI, ui: UI, groups };
    pages::respond(StatusCode::OK, &view, &Policy::strict())
}

fn frame(app: &App) -> Frame<'_> {
    Frame {
        lang: Lang::En,
        base: app.config.issuer.path(),
        name: &app.config.pages.name,
        support: app.config.pages.support.as_deref(),
    }
}

fn describe(operation: &'static Operation, issuer: &str, document: &Value) -> Described {
    let parameters = operation.query_parameters().map(|query| (query.name, query.description)).collect();
    let (kind, body) = match operation.body {
        Body::None => (None, None),
        Body::Json(make) if operation.verb == Verb::Put => (Some("application/json"), Some((make, "Replacement"))),
        Body::Json(make) | Body::Optional(make) => (Some("application/json"), Some((make, "Input"))),
        Body::Patch(make) => (Some("application/merge-patch+json"), Some((make, "Patch"))),
    };
    let answer = match operation.answer {
        Answer::Nothing => None,
        Answer::Found(make) | Answer::Made(make) | Answer::Kept(make) => Some((make, "The answer")),
        Answer::Page(make) => Some((make, "Each of the items")),
        Answer::Lines(make) => Some((make, "Each of the items, or each line")),
    };
    let mut parts = Vec::new();
    if let Some((make, suffix)) = body {
        parts.push(Part { title: "The document", schema: schema(document, &format!("{}{suffix}", openapi::name(make))) });
    }
    if let Some((make, title)) = answer {
        parts.push(Part { title, schema: schema(document, &openapi::name(make)) });
    }
    let mut request = format!("curl -H \"Authorization: Bearer $TOKEN\" -X {}", operation.verb.as_str());
    if let Some(kind) = kind {
        request.push_str(&format!(" -H 'Content-Type: {kind}' --data @document.json"));
    }
    request.push_str(&format!(" '{issuer}{V1}{}'", operation.path));
    Described {
        id: operation.id,
        verb: operation.verb.as_str(),
        path: operation.path,
        summary: operation.summary,
        right: operation.right.scope(),
        parameters,
        conditional: operation.conditional,
        request,
        parts,
    }
}

fn schema(document: &Value, name: &str) -> String {
    let schema = document.pointer(&format!("/components/schemas/{name}")).unwrap_or(&Value::Null);
    serde_json::to_string_pretty(schema).unwrap_or_default()
}
