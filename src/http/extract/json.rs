//! A JSON body, unread: its type has to be application/json, its size within the limit (security.md R-75).

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};

use super::form;
use crate::http::error::OAuthError;
use crate::oauth::refusal::Reason;

const JSON: &str = "application/json";

/// The body of a request that is said to be JSON.
#[derive(Debug)]
pub struct JsonText(pub Bytes);

impl<S: Sync> FromRequest<S> for JsonText {
    type Rejection = OAuthError;

    async fn from_request(request: Request, _: &S) -> Result<Self, OAuthError> {
        let (parts, body) = request.into_parts();
        check_content_type(&parts.headers)?;
        let limit = form::limit(&parts.extensions);
        Ok(Self(form::bytes(&parts.headers, body, limit).await?))
    }
}

/// Exactly one Content-Type; parameters say nothing, since JSON is UTF-8 (RFC 8259 §8.1).
fn check_content_type(headers: &HeaderMap) -> Result<(), Reason> {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (all.next(), all.next());
    let text = first.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let kind = text.as_deref().map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if second.is_none() && kind.as_deref() == Some(JSON) {
        return Ok(());
    }
    Err(Reason::WrongMediaType { expected: JSON.to_owned(), received: text })
}
