//! `/logout`, GET and POST: the end_session_endpoint (OpenID Connect RP-Initiated Logout 1.0).

use axum::response::Response;
use http::StatusCode;

use super::Context;
use crate::http::error::refused;
use crate::http::extract::PageForm;
use crate::http::pages::cookies::Name;
use crate::http::pages::csp::Policy;
use crate::http::pages::csrf;
use crate::http::pages::view::{Form, LogoutView, Person, SignedOutView};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oidc::logout::Request;
use crate::printable::honest;
use crate::service::browser::session;
use crate::service::logout::{self, Step};

const PURPOSE: &str = "logout";

/// A client's link.
pub async fn get(cx: Context) -> Response {
    match cx.query() {
        Ok(params) => step(&cx, &params).await,
        Err(reason) => cx.refuse(reason, None),
    }
}

/// A client's form, or the answer to our own question.
pub async fn post(mut cx: Context, PageForm(params): PageForm) -> Response {
    let params = match cx.query().and_then(|query| Params::merge(query, params)) {
        Ok(params) => params,
        Err(reason) => return cx.refuse(reason, None),
    };
    cx.speak(params.get("ui_locales"));
    if params.get("decision").is_some() {
        return decided(&cx, &params).await;
    }
    // Another site's form arrives without our SameSite=Lax cookies. As a GET it brings them, so the session is found.
    if cx.browser.session.is_none()
        && let Some(query) = cx.as_query(&params)
    {
        return cx.see_other(&format!("{}?{query}", cx.path(Endpoint::Logout.path())));
    }
    step(&cx, &params).await
}

async fn step(cx: &Context, params: &Params) -> Response {
    let request = Request::parse(params);
    match logout::request(&cx.app, &request, &cx.browser, false, cx.now).await {
        Ok((step, doubt)) => with_doubt(shown(cx, &request, step), doubt),
        Err(reason) => cx.refuse(reason, None),
    }
}

fn shown(cx: &Context, request: &Request, step: Step) -> Response {
    match step {
        Step::SignedOut { redirect: Some(target), frames } if frames.is_empty() => {
            let mut response = cx.see_other(&target);
            cx.clear_cookie(&mut response, Name::Session);
            response
        }
        Step::SignedOut { redirect, frames } => signed_out(cx, &frames, redirect.as_deref()),
        Step::Confirm { session, user, client_name } => {
            let (binding, fresh) = cx.binding();
            let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &session.id.to_string());
            let name = client_name.as_deref().map(honest);
            let view = LogoutView {
                frame: cx.frame(),
                form: Form { action: Endpoint::Logout.path(), interaction: None, csrf: token.expose() },
                asked: &request.fields(),
                client_name: name.as_deref(),
                person: Some(Person::of(&user)),
            };
            // With a hint nobody is asked before the URI was proved to be registered; without one nobody is sent there.
            let proved = request.post_logout_redirect_uri.as_deref().filter(|_| request.id_token_hint.is_some());
            cx.page(StatusCode::OK, &view, &proved.map_or_else(Policy::strict, Policy::redirecting_to), fresh.as_ref())
        }
    }
}

async fn decided(cx: &Context, params: &Params) -> Response {
    if let Err(reason) = cx.own_form(params, PURPOSE) {
        return cx.refuse(reason, None);
    }
    if params.get("decision") != Some("allow") {
        return cx.page(StatusCode::OK, &SignedOutView::stayed(cx.frame()), &Policy::strict(), None);
    }
    match session(&cx.app, &cx.browser).await {
        // Somebody else signed in since: ask them.
        Ok(Some((session, _))) if !cx.is_current(params, PURPOSE, &session.id.to_string()) => return step(cx, params).await,
        Ok(_) => {}
        Err(reason) => return cx.refuse(reason, None),
    }
    // What the page carried is checked like any request: a hint and a registered URI lead back to the client (RP-Initiated Logout §3).
    let request = Request::parse(params);
    match logout::request(&cx.app, &request, &cx.browser, true, cx.now).await {
        Ok((Step::SignedOut { redirect: Some(target), frames }, _)) if frames.is_empty() => {
            let mut response = cx.leave(&target, false);
            cx.clear_cookie(&mut response, Name::Session);
            response
        }
        Ok((step, doubt)) => with_doubt(shown(cx, &request, step), doubt),
        Err(reason) => cx.refuse(reason, None),
    }
}

/// The page is the person's; that something was wrong with the request is for those who made it, and on record.
fn with_doubt(page: Response, doubt: Option<Reason>) -> Response {
    match doubt {
        Some(reason) => refused(page, reason, None),
        None => page,
    }
}

/// The page after signing out, which shows the clients' own pages unseen and then goes on, if there is somewhere to go.
pub(super) fn signed_out(cx: &Context, frames: &[String], onward: Option<&str>) -> Response {
    let view = SignedOutView { frame: cx.frame(), signed_out: true, frames, onward };
    let mut response = cx.page(StatusCode::OK, &view, &Policy::framing(frames), None);
    cx.clear_cookie(&mut response, Name::Session);
    response
}
