//! The body as form parameters: the content type has to be the one the specification names, the body at most 64 KiB and here in time
//! (RFC 6749 §4.1.3, Appendix B; security.md ).

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::http::error::{OAuthError, PageError, Trouble};
use crate::http::layers::Arrival;
use crate::http::server::BodyTimedOut;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;

/// Bytes of a body where no layer says otherwise.
const BODY_LIMIT: usize = 64 * 1024;

const FORM: &str = "application/x-www-form-urlencoded";

/// The body's parameters, for endpoints that answer in JSON.
#[derive(Debug)]
pub struct Form(pub Params);

/// As [`Form`], for requests that may have no body at all (userinfo by POST).
#[derive(Debug)]
pub struct OptionalForm(pub Params);

/// The body's parameters, for endpoints that answer with pages.
#[derive(Debug)]
pub struct PageForm(pub Params);

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = OAuthError;

    async fn from_request(request: Request, _: &S) -> Result<Self, OAuthError> {
        Ok(Self(read(request).await?))
    }
}

impl<S: Sync> FromRequest<S> for OptionalForm {
    type Rejection = OAuthError;

    async fn from_request(request: Request, _: &S) -> Result<Self, OAuthError> {
        let (parts, body) = request.into_parts();
        if parts.headers.contains_key(header::CONTENT_TYPE) {
            return Ok(Self(read(Request::from_parts(parts, body)).await?));
        }
        let limit = limit(&parts.extensions);
        let bytes = bytes(&parts.headers, body, limit).await?;
        if bytes.is_empty() {
            return Ok(Self(Params::parse_form(b"")?));
        }
        Err(Reason::WrongContentType { received: None }.into())
    }
}

impl<S: Sync> FromRequest<S> for PageForm {
    type Rejection = PageError;

    async fn from_request(request: Request, _: &S) -> Result<Self, PageError> {
        Ok(Self(read(request).await?))
    }
}

/// Reads a form.
///
/// # Errors
/// Another content type, too large, too slow, cut off, or not decodable.
pub async fn read(request: Request) -> Result<Params, Trouble> {
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let limit = limit(&parts.extensions);
    let bytes = bytes(&parts.headers, body, limit).await?;
    Ok(Params::parse_form(&bytes)?)
}

/// Bytes that the body of this request may have.
pub fn limit(extensions: &Extensions) -> usize {
    Arrival::of(extensions).map_or(BODY_LIMIT, |arrival| arrival.body_limit)
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// Too large, too slow, or cut off.
pub async fn bytes(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, Trouble> {
    // Said in advance: refused without reading it.
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Reason::BodyTooLarge { limit }.into());
    }
    // Nearly always it comes in one piece, and that is it.
    let Some(first) = piece(&mut body, 0, limit).await? else { return Ok(Bytes::new()) };
    let Some(second) = piece(&mut body, first.len(), limit).await? else { return Ok(first) };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    while let Some(more) = piece(&mut body, all.len(), limit).await? {
        all.extend_from_slice(&more);
    }
    Ok(all.freeze())
}

/// The next piece of a body of which so many bytes are here.
async fn piece(body: &mut Body, here: usize, limit: usize) -> Result<Option<Bytes>, Trouble> {
    while !body.is_end_stream() {
        match body.frame().await {
            None => break,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) if here + piece.len() > limit => return Err(Reason::BodyTooLarge { limit }.into()),
                Ok(piece) => return Ok(Some(piece)),
                // Trailers say nothing.
                Err(_) => {}
            },
            Some(Err(error)) if is::<BodyTimedOut>(&error) => {
                return Err(Trouble::with_status(broken("it did not arrive in time"), StatusCode::REQUEST_TIMEOUT));
            }
            Some(Err(_cut_off)) => return Err(broken("it is incomplete").into()),
        }
    }
    Ok(None)
}

fn broken(detail: &str) -> Reason {
    Reason::MalformedParameter { name: "(body)".to_owned(), received: String::new(), detail: detail.to_owned() }
}

/// Whether `error` is a `T` or was caused by one.
fn is<T: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<T>())
}

/// Exactly one Content-Type, and it is the form's; of parameters only `charset=utf-8` is known.
fn check_content_type(headers: &HeaderMap) -> Result<(), Reason> {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (all.next(), all.next());
    let text = first.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let is_form = second.is_none() && text.as_deref().is_some_and(is_form_type);
    if is_form { Ok(()) } else { Err(Reason::WrongContentType { received: text.map(Cow::into_owned) }) }
}

/// Is this the form's own content type?
pub(crate) fn is_form_type(text: &str) -> bool {
    let mut parts = text.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(FORM))
        && parts.all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_forms_own_type_is_one() {
        for good in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "application/x-www-form-urlencoded;charset=\"utf-8\"",
        ] {
            assert!(is_form_type(good), "{good}");
        }
        for bad in [
            "",
            "application/json",
            "application/x-www-form-urlencodedx",
            "text/plain; application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded, application/json",
            "application/x-www-form-urlencoded; charset=iso-8859-1",
            "application/x-www-form-urlencoded; boundary=x",
            "multipart/form-data; boundary=x",
        ] {
            assert!(!is_form_type(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_body_one_byte_too_long_is_refused_announced_or_not() {
        let long = vec![b'a'; 11];
        let mut headers = HeaderMap::new();
        assert!(matches!(
            bytes(&headers, Body::from(long.clone()), 10).await,
            Err(Trouble { reason: Reason::BodyTooLarge { limit: 10 }, .. })
        ));
        assert_eq!(bytes(&headers, Body::from(long.clone()), 11).await.unwrap().len(), 11);
        headers.insert(header::CONTENT_LENGTH, 11.into());
        assert!(matches!(bytes(&headers, Body::empty(), 10).await, Err(Trouble { reason: Reason::BodyTooLarge { .. }, .. })));
    }
}
