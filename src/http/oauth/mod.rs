//! The endpoints for programs: extract, call the service, render JSON.

pub mod device_code;
pub mod introspect;
pub mod metadata;
pub mod register;
pub mod revoke;
pub mod token;
pub mod userinfo;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::http::error::OAuthError;
use crate::oauth::refusal::Reason;
use crate::service::token::Refused;

/// The refusal with its client, for the record.
fn refused(Refused { reason, client_id }: Refused) -> OAuthError {
    let error = OAuthError::from(reason);
    match client_id {
        Some(client_id) => error.for_client(client_id),
        None => error,
    }
}

const NO_STORE: [(HeaderName, HeaderValue); 2] =
    [(CACHE_CONTROL, HeaderValue::from_static("no-store")), (PRAGMA, HeaderValue::from_static("no-cache"))];

/// A JWT that nobody may keep (RFC 7519 §10.3.1).
fn private_jwt(jwt: String) -> Response {
    (StatusCode::OK, NO_STORE, [(CONTENT_TYPE, HeaderValue::from_static("application/jwt"))], jwt).into_response()
}

/// A JSON answer that nobody may keep (RFC 6749 §5.1).
fn private_json(body: impl serde::Serialize) -> Response {
    private_json_with(StatusCode::OK, body)
}

/// Bytes of most answers.
const USUAL: usize = 1024;

/// Headers of an answer with those that the layers add: a map that has to grow hashes all its names anew.
const HEADERS: usize = 12;

/// The same with another status.
fn private_json_with(status: StatusCode, body: impl serde::Serialize) -> Response {
    let mut json = Vec::with_capacity(USUAL);
    if let Err(error) = serde_json::to_writer(&mut json, &body) {
        return OAuthError::from(Reason::Internal { detail: error.to_string() }).into_response();
    }
    private(status, json)
}

/// The same of what is written already.
fn private(status: StatusCode, json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in NO_STORE {
        headers.insert(name, value);
    }
    response
}
