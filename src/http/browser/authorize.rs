//! `/authorize`, GET and POST (RFC 6749 §3.1, OpenID Connect Core §3.1.2.1), and how its answers travel.

use axum::response::Response;
use http::StatusCode;

use super::{Context, paths};
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::cookies::Name;
use crate::http::pages::view::FormPostView;
use crate::http::pages::{self};
use crate::oauth::authorize::response::Delivery;
use crate::oauth::endpoint::Endpoint;
use crate::oauth::params::Params;
use crate::service::authorize::{self, Answer, LocalRefusal, Page};

/// GET: the parameters are in the query.
pub async fn get(cx: Context) -> Response {
    match cx.query() {
        Ok(params) => begin(&cx, &params).await,
        Err(reason) => cx.refuse(reason, None),
    }
}

/// POST: the parameters are in the form, and none may stand in the query as well.
pub async fn post(mut cx: Context, PageForm(params): PageForm) -> Response {
    let params = cx.query().and_then(|query| Params::merge(query, params));
    let params = match params {
        Ok(params) => params,
        Err(reason) => return cx.refuse(reason, None),
    };
    cx.speak(params.get("ui_locales"));
    // Another site's form arrives without our SameSite=Lax cookies. As a GET it brings them, so a live session is not overlooked.
    if cx.browser.session.is_none()
        && let Some(query) = cx.as_query(&params)
    {
        match authorize::is_sound(&cx.app, &params, cx.now).await {
            Ok(true) => return cx.see_other(&format!("{}?{query}", cx.path(Endpoint::Authorize.path()))),
            Ok(false) => {}
            Err(reason) => return cx.refuse(reason, None),
        }
    }
    begin(&cx, &params).await
}

async fn begin(cx: &Context, params: &Params) -> Response {
    let answer = authorize::begin(&cx.app, params, &cx.browser, cx.now).await;
    respond(cx, answer).await
}

/// Turns what the service answered into a redirect, a self-posting form or a page of our own.
pub async fn respond(cx: &Context, answer: Result<Answer, LocalRefusal>) -> Response {
    match answer {
        Ok(Answer::Deliver { delivery, refused, client_id, native }) => {
            let response = deliver(cx, delivery, native);
            match refused {
                Some(reason) => error::refused(response, reason, Some(client_id)),
                None => response,
            }
        }
        Ok(Answer::Visit { page, interaction, binding }) => {
            let path = match page {
                Page::Login => paths::LOGIN,
                Page::SelectAccount => paths::SELECT_ACCOUNT,
                Page::SecondFactor => paths::SECOND_FACTOR,
                Page::Consent { .. } => paths::CONSENT,
            };
            let mut response = cx.see_other(&format!("{}?interaction={}", cx.path(path), interaction.expose()));
            if let Some(binding) = binding {
                cx.set_cookie(&mut response, Name::Browser, &binding);
            }
            response
        }
        Err(LocalRefusal { reason, client_id }) => cx.refuse(reason, client_id),
    }
}

fn deliver(cx: &Context, delivery: Delivery, native: bool) -> Response {
    match delivery {
        Delivery::Redirect(target) => cx.leave(&target, native),
        Delivery::FormPost { action, fields } => {
            let view = FormPostView { frame: cx.frame(), action: &action, fields: &fields };
            let policy = view.policy();
            pages::respond(StatusCode::OK, &view, &policy)
        }
    }
}
