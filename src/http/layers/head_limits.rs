//! How large a request's head may be: 64 header lines, 16 KiB of headers, 16 KiB of query by default (security.md ); and its one Host,
//! and one way to say where its body ends.
//!
//! The query's own limit is stated by the parameter parser; here is only room for it and the path, so that its refusal can say more.

use axum::response::{IntoResponse as _, Response};
use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Uri, Version};

use super::host;
use crate::http::error::{OAuthError, Trouble};
use crate::oauth::refusal::Reason;

/// Bytes of path and query together.
const TARGET_BYTES: usize = 24 * 1024;

/// Refuses a head of more than `lines` headers, or more than `limit` bytes of names and values with the four of `": "` and the line's
/// end each. `is_measured`: how long the body is was said beforehand.
///
/// # Errors
/// The response to give instead: 431, 400 or 414.
#[expect(clippy::result_large_err, reason = "both sides are responses on their way out")]
pub fn check(
    headers: &HeaderMap,
    version: Version,
    uri: &Uri,
    is_measured: bool,
    lines: usize,
    limit: usize,
) -> Result<(), Response> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > lines {
        let detail = format!("a request has at most {lines} header lines");
        let reason =
            Reason::MalformedParameter { name: "(headers)".to_owned(), received: format!("{} lines", headers.len()), detail };
        let trouble = Trouble::with_status(reason, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        return Err(OAuthError::negotiated(trouble).into_response());
    }
    if bytes > limit {
        return Err(too_long("(headers)", limit, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    if let Some(detail) = wrong_host(headers, version) {
        let reason =
            Reason::MalformedParameter { name: "(Host header)".to_owned(), received: String::new(), detail: detail.to_owned() };
        return Err(OAuthError::negotiated(reason.into()).into_response());
    }
    if !is_measured && !is_chunked_alone(headers) {
        let detail = "a body is sent in chunks, once, and in no other transfer coding (RFC 9112 section 6.1)".to_owned();
        let reason = Reason::MalformedParameter { name: "(Transfer-Encoding header)".to_owned(), received: String::new(), detail };
        return Err(OAuthError::negotiated(reason.into()).into_response());
    }
    let target = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    if target > TARGET_BYTES {
        return Err(too_long("(path and query)", TARGET_BYTES, StatusCode::URI_TOO_LONG));
    }
    Ok(())
}

/// RFC 9112 §3.2: exactly one Host, which HTTP/1.0 may leave out. Ours is never believed, but what stands before us may have read the other one.
fn wrong_host(headers: &HeaderMap, version: Version) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version != Version::HTTP_11 => None,
        (Some(host), None) if host::is_valid(host.as_bytes()) => None,
        (Some(_), None) => Some("it is a host name or an address, and perhaps a port (RFC 9112 section 3.2)"),
        (None, _) | (Some(_), Some(_)) => Some("a request has exactly one Host header (RFC 9112 section 3.2)"),
    }
}

/// Of codings on top of each other, or said twice, what stands before us may have taken off others.
fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

fn too_long(name: &str, limit: usize, status: StatusCode) -> Response {
    OAuthError::negotiated(Trouble::with_status(Reason::ParameterTooLong { name: name.to_owned(), limit }, status)).into_response()
}
