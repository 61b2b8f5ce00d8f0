//! The endpoints for programs: extract, call the service, render JSON.

pub mod introspect;
pub mod metadata;
pub mod revoke;
pub mod token;
pub mod userinfo;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderName, HeaderValue, StatusCode};

/// A JSON answer that nobody may keep (RFC 6749 §5.1).
fn private_json(body: impl serde::Serialize) -> Response {
    const NO_STORE: [(HeaderName, HeaderValue); 2] =
        [(CACHE_CONTROL, HeaderValue::from_static("no-store")), (PRAGMA, HeaderValue::from_static("no-cache"))];
    (StatusCode::OK, NO_STORE, axum::Json(body)).into_response()
}
