//! `/logo/{client_id}`: the picture that a client registered, from this server's own address (security.md R-53).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::app::App;
use crate::http::error::PageError;
use crate::http::extract::PathClientId;
use crate::oauth::refusal::Reason;

/// Opened by itself it is a picture and nothing else.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600")),
];

/// One transparent pixel: browsers show it in the place of a picture that is not there, where words would be shown as a broken one.
const NOTHING: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x04\0\0\0\xb5\x1c\x0c\x02\0\0\0\x0bIDATx\xdac``\0\0\0\x03\0\x01+\tM\x84\0\0\0\0IEND\xaeB`\x82";

/// The logo of an enabled client, or nothing to be seen.
///
/// # Errors
/// When the database does not answer.
pub async fn get(State(app): State<Arc<App>>, PathClientId(client_id): PathClientId) -> Result<Response, PageError> {
    let client = app.registry.client(&client_id).await.map_err(Reason::from)?.filter(|client| client.enabled);
    let url = client.as_ref().and_then(|client| client.metadata.logo_uri.as_deref());
    let logo = match url {
        Some(url) => app.logos.of(&app.outbound, url).await,
        None => None,
    };
    let (status, media_type, bytes) = match &logo {
        Some(logo) => (StatusCode::OK, logo.media_type, logo.bytes.clone()),
        None => (StatusCode::NOT_FOUND, "image/png", Bytes::from_static(NOTHING)),
    };
    Ok((status, [(CONTENT_TYPE, HeaderValue::from_static(media_type))], HEADERS, bytes).into_response())
}
