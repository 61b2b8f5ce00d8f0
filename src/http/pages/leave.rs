//! Leaving for the app after a form of ours (sign in, consent, logout).
//!
//! Chromium and WebKit hold the redirects that follow a form against the `form-action` of the page that sent it, and not only ours:
//! the client's own next redirects too, whose origins nobody here knows. A client that is itself a broker, or whose callback and
//! pages live on two origins, would end at a button that does nothing. Where a document is loaded in between, the chain is over: so
//! browsers get a page that goes on at once, by itself and without a script. Everybody else gets 303 (security.md R-23), and so do
//! native apps: a private-use scheme or a claimed https URL opens the app only while the person's own click still counts.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::csp::Policy;
use super::respond;
use super::view::{Frame, LeaveView};

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Answers a form of ours with the way to `target`, a redirect URI that was proved, with its response parameters. `native`: the
/// client is an app on the person's device (RFC 8252). Browsers tell themselves by `Sec-Fetch-Dest: document` (Fetch Metadata §2.1).
pub fn to_client(request: &HeaderMap, frame: Frame<'_>, target: &str, native: bool) -> Response {
    let document = request.get(SEC_FETCH_DEST).is_some_and(|dest| dest == "document");
    let web = target.starts_with("https://") || target.starts_with("http://");
    if document && web && !native {
        return respond(StatusCode::OK, &LeaveView { frame, target }, &Policy::strict());
    }
    let Ok(location) = HeaderValue::try_from(target) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::pages::i18n::Lang;

    fn leave(dest: Option<&str>, target: &str, native: bool) -> Response {
        let mut request = HeaderMap::new();
        if let Some(dest) = dest {
            request.insert(SEC_FETCH_DEST, dest.parse().unwrap());
        }
        to_client(&request, Frame { lang: Lang::En, base: "", name: "Chancery", support: None }, target, native)
    }

    #[test]
    fn a_browser_leaves_by_a_page_and_everybody_else_by_a_redirect() {
        let target = "https://app.example.com/cb?code=a&state=b";
        assert_eq!(leave(Some("document"), target, false).status(), StatusCode::OK);
        for response in [leave(None, target, false), leave(Some("iframe"), target, false), leave(Some("document"), target, true)] {
            assert_eq!(response.status(), StatusCode::SEE_OTHER);
            assert_eq!(response.headers()[LOCATION], target);
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        }
        assert_eq!(leave(Some("document"), "com.example.app:/cb?code=a", false).status(), StatusCode::SEE_OTHER);
    }
}
