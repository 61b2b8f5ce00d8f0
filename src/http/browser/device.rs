//! `/device` (RFC 8628 §3.3): a person types the code that a device shows, or comes with it in the address, sees who asks for what and
//! from where, and decides.
//!
//! A code is looked at only for somebody who is signed in: whoever is not signs in first and comes back. It may stand in the address, as
//! RFC 8628 §3.3.1 wants it; deciding is a form of ours all the same, whose page shows the code to be compared with the device's.

use std::time::Duration;

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use super::{Context, paths};
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::ClientSeen;
use crate::http::pages::cookies::Name;
use crate::http::pages::csp::Policy;
use crate::http::pages::scope_words;
use crate::http::pages::view::{DeviceDoneView, DeviceFailure, DeviceView, Form, LookedAtView, Person};
use crate::http::pages::{self, csrf};
use crate::oauth::device::UserCode;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oidc::authentication::Acr;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::service::authorize::LocalRefusal;
use crate::service::browser;
use crate::service::device::{self, Seen, Viewer};
use crate::service::factors;

/// Typing a code.
const TYPE: &str = "device";
/// Deciding about one.
const DECIDE: &str = "device decision";

/// The page to type a code on, or the one to decide on.
pub async fn get(cx: Context) -> Response {
    let typed = match cx.query() {
        Ok(params) => params.get("user_code").map(str::to_owned),
        Err(reason) => return cx.refuse(reason, None),
    };
    match browser::signed_in(&cx.app, &cx.browser, cx.now).await {
        Ok(Some((session, user))) => match typed {
            Some(typed) => look(&cx, &typed, &session, &user).await,
            None => type_page(&cx, "", None),
        },
        Ok(None) => match typed {
            Some(typed) => sign_in_first(&cx, &typed),
            None => type_page(&cx, "", None),
        },
        Err(reason) => cx.refuse(reason, None),
    }
}

/// A code, or a decision.
pub async fn post(cx: Context, PageForm(params): PageForm) -> Response {
    let decision = params.get("decision");
    if let Err(reason) = cx.own_form(&params, if decision.is_some() { DECIDE } else { TYPE }) {
        return cx.refuse(reason, None);
    }
    let Some(typed) = params.get("user_code") else {
        return cx.refuse(Reason::MissingParameter { name: "user_code".to_owned() }, None);
    };
    let (session, user) = match browser::signed_in(&cx.app, &cx.browser, cx.now).await {
        Ok(Some(found)) => found,
        Ok(None) => return sign_in_first(&cx, typed),
        Err(reason) => return cx.refuse(reason, None),
    };
    match decision {
        None => look(&cx, typed, &session, &user).await,
        Some("allow") => decide(&cx, &params, typed, true, &session, &user).await,
        Some("deny") => decide(&cx, &params, typed, false, &session, &user).await,
        Some(other) => {
            let (name, detail) = ("decision".to_owned(), "allow or deny".to_owned());
            cx.refuse(Reason::MalformedParameter { name, received: other.to_owned(), detail }, None)
        }
    }
}

/// Nobody is signed in, so nothing is said about the code but whether it could be one.
fn sign_in_first(cx: &Context, typed: &str) -> Response {
    match UserCode::read(typed) {
        Some(code) => cx.see_other(&format!("{}?user_code={}", cx.path(paths::LOGIN), code.shown())),
        None => failed(cx, typed, LocalRefusal::from(Reason::UserCodeUnknown)),
    }
}

async fn look(cx: &Context, typed: &str, session: &Session, user: &User) -> Response {
    let viewer = Viewer { session, user, address: cx.address_prefix() };
    match device::look(&cx.app, typed, viewer, cx.now).await {
        Ok(seen) => match prove_more(cx, &seen, session) {
            Some(response) => response,
            None => show(cx, &seen, viewer).await,
        },
        Err(refused) => failed(cx, typed, refused),
    }
}

/// Where the client, or this server, demands a second factor that was not proved in this session, it is proved before anything is shown.
fn prove_more(cx: &Context, seen: &Seen, session: &Session) -> Option<Response> {
    let demanded = factors::demand(&cx.app, Some(seen.client.as_ref())).level();
    let path = cx.path(paths::SECOND_FACTOR);
    (Acr::of(session.acr.as_deref()) < demanded).then(|| cx.see_other(&format!("{path}?user_code={}", seen.user_code.shown())))
}

async fn decide(cx: &Context, params: &Params, typed: &str, allow: bool, session: &Session, user: &User) -> Response {
    let viewer = Viewer { session, user, address: cx.address_prefix() };
    let seen = match device::look(&cx.app, typed, viewer, cx.now).await {
        Ok(seen) => seen,
        Err(refused) => return failed(cx, typed, refused),
    };
    if allow && let Some(response) = prove_more(cx, &seen, session) {
        return response;
    }
    // The page of somebody else, or of another question: it is asked as it stands now. A no is a no all the same.
    if allow && !cx.is_current(params, DECIDE, &seen.question(session)) {
        return show(cx, &seen, viewer).await;
    }
    let decided = if allow {
        device::allow(&cx.app, &seen, viewer, cx.now).await
    } else {
        device::deny(&cx.app, &seen, viewer, cx.now).await
    };
    match decided {
        Ok(()) => {
            let client = ClientSeen::of_device(&seen.client);
            let view = DeviceDoneView { frame: cx.frame(), client: &client, allowed: allow };
            pages::respond(StatusCode::OK, &view, &Policy::strict())
        }
        Err(reason) => failed(cx, typed, LocalRefusal { reason, client_id: Some(seen.client.client_id.clone()) }),
    }
}

/// The same page for every code that is not to be decided on; only being slowed down shows.
fn failed(cx: &Context, typed: &str, refused: LocalRefusal) -> Response {
    let LocalRefusal { reason, client_id } = refused;
    let failure = match &reason {
        Reason::UserCodeUnknown | Reason::UserCodeExpired { .. } | Reason::UserCodeOfAnotherPerson | Reason::UserCodeSpent => {
            DeviceFailure::NotValid
        }
        Reason::UserCodeThrottled { retry_after, .. } => DeviceFailure::Throttled(Duration::from_secs(*retry_after)),
        _ => return cx.refuse(reason, client_id),
    };
    let typed: String = typed.chars().take(64).collect();
    error::refused(type_page(cx, &typed, Some(failure)), reason, client_id)
}

fn type_page(cx: &Context, typed: &str, failure: Option<DeviceFailure>) -> Response {
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, TYPE, "");
    let form = Form { action: paths::DEVICE, interaction: None, csrf: token.expose() };
    let view = DeviceView { frame: cx.frame(), form, typed, failure };
    let (status, wait) = match failure {
        None | Some(DeviceFailure::NotValid) => (StatusCode::OK, None),
        Some(DeviceFailure::Throttled(wait)) => (StatusCode::TOO_MANY_REQUESTS, Some(wait.as_secs().max(1))),
    };
    let mut response = pages::respond(status, &view, &Policy::strict());
    if let Some(wait) = wait {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    }
    if let Some(fresh) = fresh {
        cx.set_cookie(&mut response, Name::Browser, &fresh);
    }
    response
}

async fn show(cx: &Context, seen: &Seen, viewer: Viewer<'_>) -> Response {
    let catalogue = match cx.app.registry.catalogue().await {
        Ok(catalogue) => catalogue,
        Err(error) => return cx.refuse(error.into(), Some(seen.client.client_id.clone())),
    };
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, DECIDE, &seen.question(viewer.session));
    let user_code = seen.user_code.shown();
    let view = LookedAtView {
        frame: cx.frame(),
        form: Form { action: paths::DEVICE, interaction: None, csrf: token.expose() },
        user_code: &user_code,
        client: &ClientSeen::of_device(&seen.client),
        person: Person::of(viewer.user),
        groups: scope_words::groups_for(cx.lang(), (&seen.scopes, &[]), &seen.client, &catalogue),
        requested_from: &seen.code.requested_from,
        from_here: seen.code.requested_from == viewer.address.to_string(),
        age: cx.now.since(seen.code.created_at),
    };
    let mut response = pages::respond(StatusCode::OK, &view, &Policy::strict());
    if let Some(fresh) = fresh {
        cx.set_cookie(&mut response, Name::Browser, &fresh);
    }
    response
}
