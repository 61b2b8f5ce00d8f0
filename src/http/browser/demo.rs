//! `/demo`: the built-in relying party of `chancery quickstart`. The page's script is the client; this only delivers the page, and draws
//! the QR code that its make-believe device shows.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use super::{Context, paths};
use crate::http::pages;
use crate::http::pages::csp::Policy;
use crate::http::pages::qr::Qr;
use crate::http::pages::view::DemoView;
use crate::oauth::device::UserCode;
use crate::oauth::refusal::Reason;

/// The public client that quickstart registers.
pub const CLIENT_ID: &str = "demo";
/// What the demo asks for.
pub const SCOPE: &str = "openid profile email offline_access";

/// Shows the page.
pub async fn get(cx: Context) -> Response {
    let view = DemoView { frame: cx.frame(), issuer: cx.app.config.issuer.as_str(), client_id: CLIENT_ID, scope: SCOPE };
    pages::respond(StatusCode::OK, &view, &Policy::with_own_scripts())
}

/// The `verification_uri_complete` of a user code as an SVG (RFC 8628 §3.3.1), and of nothing else: nobody draws other addresses with it.
pub async fn qr(cx: Context) -> Response {
    let code = cx.query().ok().and_then(|query| query.get("user_code").and_then(UserCode::read));
    let drawn = code.and_then(|code| {
        let uri = cx.app.config.issuer.url(&format!("{}?user_code={}", paths::DEVICE, code.shown()));
        Some(Qr::of(&uri)?.svg(&code.shown()))
    });
    let Some(svg) = drawn else { return cx.refuse(Reason::MissingParameter { name: "user_code".to_owned() }, None) };
    let mut response = svg.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
