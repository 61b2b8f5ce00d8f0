//! The human side: pages rendered from plain view structs, and what the browser needs around them (cookies, CSRF, origin, CSP,
//! assets). Views hold borrowed facts and know nothing of the database; handlers fill them and answer with [`respond`].
//!
//! Every page has one `<main>` with one primary form, works without JavaScript (the demo relying party apart), escapes all text,
//! and builds every URL from the path of the configured issuer.

pub mod assets;
pub mod client_seen;
pub mod cookies;
pub mod csp;
pub mod csrf;
pub mod failure;
pub mod i18n;
pub mod leave;
pub mod origin;
pub mod qr;
pub mod scope_words;
pub mod view;

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderValue, StatusCode};

/// A page as an answer, with the headers of security.md. There is no Cross-Origin-Opener-Policy: apps that sign in
/// through a pop-up window would lose it.
pub fn respond(status: StatusCode, page: &impl Template, policy: &csp::Policy) -> Response {
    let Ok(html) = page.render() else {
        tracing::error!("a page could not be rendered");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(http::header::CONTENT_SECURITY_POLICY, policy.header());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::pages::i18n::Lang;
    use crate::http::pages::view::{Frame, SignedOutView};

    #[test]
    fn a_page_is_not_stored_not_framed_and_tells_nobody_where_it_was() {
        let frame = Frame { lang: Lang::De, base: "", name: "Chancery", support: None };
        let response = respond(StatusCode::OK, &SignedOutView::stayed(frame), &csp::Policy::strict());
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("content-security-policy").starts_with("default-src 'none'; "));
        assert!(header("content-security-policy").ends_with("frame-ancestors 'none'"));
    }
}
