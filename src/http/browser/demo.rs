//! `/demo`: the built-in relying party of `chancery quickstart`. The page's script is the client; this only delivers the page.

use axum::response::Response;
use http::StatusCode;

use super::Context;
use crate::http::pages;
use crate::http::pages::csp::Policy;
use crate::http::pages::view::DemoView;

/// The public client that quickstart registers.
pub const CLIENT_ID: &str = "demo";
/// What the demo asks for.
pub const SCOPE: &str = "openid profile email offline_access";

/// Shows the page.
pub async fn get(cx: Context) -> Response {
    let view = DemoView { frame: cx.frame(), issuer: cx.app.config.issuer.as_str(), client_id: CLIENT_ID, scope: SCOPE };
    pages::respond(StatusCode::OK, &view, &Policy::with_own_scripts())
}
