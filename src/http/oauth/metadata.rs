//! Discovery and JWKS: prepared bytes with ETag and max-age (OpenID Connect Discovery §4, RFC 8414 §3).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::app::App;
use crate::http::error;
use crate::oauth::refusal::Reason;

/// How long readers may keep discovery and keys: 300 s. A new key is published for longer than this before it signs (`KeyLife`).
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Both discovery documents: they are the same (RFC 8414 §2 registers OpenID Connect's members too).
pub async fn discovery(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let metadata = &app.metadata;
    let response = prepared(&metadata.body, &metadata.etag, "application/json", &headers);
    // Asked for under another name than the issuer's: served, since a proxy may rewrite Host, but on record, since it is the usual
    // reason for "issuer mismatch" in a client.
    match asked_under(&headers) {
        Some(host) if !app.config.issuer.is_at(host) => {
            let reason = Reason::WrongIssuer {
                expected: app.config.issuer.as_str().to_owned(),
                received: format!("//{host}{}", app.config.issuer.path()),
            };
            error::refused(response, reason, None)
        }
        Some(_) | None => response,
    }
}

/// The public keys (RFC 7517 §5).
pub async fn jwks(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let keys = app.keys.current();
    prepared(keys.jwks(), keys.etag(), "application/json", &headers)
}

/// Everything that has no route. A discovery document below a path that is not the issuer's is a case of its own: the client's
/// configuration names another issuer.
pub async fn elsewhere(State(app): State<Arc<App>>, uri: http::Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let is_discovery = path.contains("/openid-configuration") || path.contains("/oauth-authorization-server");
    if !is_discovery {
        return StatusCode::NOT_FOUND.into_response();
    }
    let asked: String =
        path.replace("/.well-known/openid-configuration", "").replace("/.well-known/oauth-authorization-server", "");
    let scheme = if app.config.issuer.is_https() { "https" } else { "http" };
    let received =
        format!("{scheme}://{}{}", asked_under(&headers).unwrap_or_default(), asked.chars().take(256).collect::<String>());
    error::OAuthError::from(Reason::WrongIssuer { expected: app.config.issuer.as_str().to_owned(), received }).into_response()
}

fn asked_under(headers: &HeaderMap) -> Option<&str> {
    headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).filter(|host| host.len() <= 255)
}

/// A document that is the same for everybody, with its tag.
pub fn prepared(body: &Bytes, etag: &Bytes, content_type: &'static str, request: &HeaderMap) -> Response {
    let known = request.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_this = |tag: &str| tag.trim().trim_start_matches("W/").as_bytes() == etag.as_ref() || tag.trim() == "*";
    let unchanged = known.is_some_and(|known| known.split(',').any(is_this));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(body.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_maybe_shared(etag.clone()) {
        headers.insert(ETAG, etag);
    }
    headers.insert(CACHE_CONTROL, CACHED);
    response
}
