//! What an operation answers.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::service::revision;

/// A success. Its entity tag is that of the thing as it is shown.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    body: Content,
    etag: Option<String>,
    location: Option<String>,
}

#[derive(Debug)]
enum Content {
    None,
    Json(Value),
    Lines(Body),
}

impl Reply {
    /// 204.
    pub fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: Content::None, etag: None, location: None }
    }

    /// 200 with one thing.
    pub fn found(shown: Value) -> Self {
        Self { etag: Some(revision::tag(&shown)), ..Self::plain(shown) }
    }

    /// 200 with something that is no thing of its own, or holds what is told once.
    pub fn plain(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Content::Json(body), etag: None, location: None }
    }

    /// 201: `path` is where it is now, below `/admin/api/v1`, each segment percent-encoded.
    #[must_use]
    pub fn made_at(self, path: &[&str]) -> Self {
        let segments: Vec<String> = path.iter().map(|segment| encode(segment)).collect();
        Self { status: StatusCode::CREATED, location: Some(format!("/{}", segments.join("/"))), ..self }
    }

    /// With the entity tag of `shown`, where the body holds more than that.
    #[must_use]
    pub fn tagged(self, shown: &Value) -> Self {
        Self { etag: Some(revision::tag(shown)), ..self }
    }

    /// A page of a list.
    pub fn page(items: Vec<Value>, next_cursor: Option<String>) -> Self {
        Self::plain(json!({ "items": items, "next_cursor": next_cursor }))
    }

    /// JSON lines, as they come.
    pub fn lines(lines: Body) -> Self {
        Self { status: StatusCode::OK, body: Content::Lines(lines), etag: None, location: None }
    }

    /// The response; `base` is where the operations are, and a GET whose `If-None-Match` has the tag needs no body.
    pub(super) fn into_response(self, base: &str, request: &HeaderMap, reads: bool) -> Response {
        let known = self.etag.as_deref().is_some_and(|etag| reads && names(request, etag));
        let mut response = match self.body {
            _ if known => StatusCode::NOT_MODIFIED.into_response(),
            Content::None => self.status.into_response(),
            Content::Json(value) => (self.status, axum::Json(value)).into_response(),
            Content::Lines(lines) => {
                let mut response = Response::new(lines);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
                response
            }
        };
        let headers = response.headers_mut();
        if let Some(etag) = self.etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
            headers.insert(ETAG, etag);
        }
        if let Some(location) = self.location.and_then(|path| HeaderValue::try_from(format!("{base}{path}")).ok()) {
            headers.insert(LOCATION, location);
        }
        response
    }
}

fn names(request: &HeaderMap, etag: &str) -> bool {
    let values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|tag| matches!(tag.trim(), tag if tag == "*" || tag.trim_start_matches("W/") == etag))
}

/// RFC 3986 §2.1: everything but unreserved characters.
fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
