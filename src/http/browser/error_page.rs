//! The error page: what went wrong in the reader's language, with the trace id that an operator can look up.

use std::sync::Arc;

use http::StatusCode;

use crate::app::App;
use crate::http::error::{ErrorPage, PageFacts};
use crate::http::pages;
use crate::http::pages::csp::Policy;
use crate::http::pages::i18n::Lang;
use crate::http::pages::view::{ErrorView, Frame};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::params::Params;

/// Renders refusals for the layers around all routes.
pub fn renderer(app: &Arc<App>) -> ErrorPage {
    let app = Arc::clone(app);
    Arc::new(move |facts: &PageFacts<'_>| {
        let ui_locales = facts.query.and_then(|query| Params::parse_query(query).ok()?.get("ui_locales").map(str::to_owned));
        let frame = Frame {
            lang: Lang::choose(ui_locales.as_deref(), facts.accept_language),
            base: app.config.issuer.path(),
            name: &app.config.pages.name,
            support: app.config.pages.support.as_deref(),
        };
        // Whose app asked for it wrongly is still signed in, and may do it here.
        let logout = Endpoint::Logout.path();
        let is_logout = facts.route.and_then(|route| route.strip_prefix(frame.base)) == Some(logout);
        let sign_out = (is_logout && facts.status == StatusCode::BAD_REQUEST).then_some(logout);
        let view = ErrorView { frame, reason: facts.reason, sign_out, trace_id: facts.trace_id };
        pages::respond(facts.status, &view, &Policy::strict())
    })
}
