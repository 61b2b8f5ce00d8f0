//! `/login`: a name and a password, for an authorization request or for the account page.

use std::time::Duration;

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use super::account::Section;
use super::{Context, authorize, paths, second_factor};
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::ClientSeen;
use crate::http::pages::cookies::Name;
use crate::http::pages::csrf;
use crate::http::pages::view::{Form, LoginFailure, LoginView, PasskeyOffer};
use crate::oauth::device::UserCode;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;
use crate::service::authorize as pending;
use crate::service::authorize::interaction::{self, Open};
use crate::service::factors::{self, passkeys};
use crate::service::login::{self, Attempt, Progress, SignedIn};

/// The form's purpose, bound into its CSRF token.
const PURPOSE: &str = "login";

/// Shows the form.
pub async fn get(mut cx: Context) -> Response {
    let open = match cx.open_interaction_in_query().await {
        Ok(open) => open,
        Err(refused) => return cx.refuse(refused.reason, refused.client_id),
    };
    let hint = open.as_ref().and_then(|open| open.request.login_hint.clone()).unwrap_or_default();
    page(&cx, open.as_ref(), &hint, None)
}

/// Checks what was typed.
pub async fn post(mut cx: Context, PageForm(params): PageForm) -> Response {
    if let Err(reason) = cx.own_form(&params, PURPOSE) {
        return cx.refuse(reason, None);
    }
    let open = match cx.open_interaction(&params).await {
        Ok(open) => open,
        Err(refused) => return cx.refuse(refused.reason, refused.client_id),
    };
    if let Some(open) = open.as_ref().filter(|_| params.get("decision") == Some("deny")) {
        return authorize::respond(&cx, interaction::deny(&cx.app, open, &cx.browser, cx.now).await).await;
    }
    let username = params.get("username").unwrap_or_default().to_owned();
    let password = Secret::new(params.get("password").unwrap_or_default().to_owned());
    if let Some(answer) = second_factor::passkey_answer(&params) {
        return match passkeys::sign_in(&cx.app, &answer, &cx.browser, cx.address_prefix(), cx.now).await {
            Ok(signed_in) => signed_in_here(cx, open, signed_in, false).await,
            Err(reason) => {
                let client_id = open.as_ref().map(|open| open.client.client_id.clone());
                let Some(failure) = failure_of(&reason) else { return cx.refuse(reason, client_id) };
                error::refused(page(&cx, open.as_ref(), &username, Some(failure)), reason, client_id)
            }
        };
    }
    let attempt = Attempt { username: username.clone(), password, address: cx.address_prefix() };
    let demand = factors::demand(&cx.app, open.as_ref().map(|open| open.client.as_ref()));
    match login::sign_in(&cx.app, attempt, demand, &cx.browser, cx.now).await {
        Ok(Progress::SignedIn(signed_in)) => signed_in_here(cx, open, *signed_in, false).await,
        Ok(Progress::SecondFactor { sign_in }) => second_factor::visit(&cx, open.as_ref(), &sign_in),
        Err(reason) => {
            let client_id = open.as_ref().map(|open| open.client.client_id.clone());
            let Some(failure) = failure_of(&reason) else { return cx.refuse(reason, client_id) };
            error::refused(page(&cx, open.as_ref(), &username, Some(failure)), reason, client_id)
        }
    }
}

/// Somebody signed in: on with the authorization request, or to the account. `stepped_up`: with a second factor.
pub(super) async fn signed_in_here(mut cx: Context, open: Option<Open>, signed_in: SignedIn, stepped_up: bool) -> Response {
    cx.browser.session = Some(signed_in.cookie.clone());
    let mut response = match open {
        Some(mut open) => {
            note(&mut open, &signed_in, stepped_up);
            authorize::respond(&cx, pending::resume(&cx.app, open, &cx.browser, cx.now).await).await
        }
        None => cx.see_other(&cx.path(&asked_for(&cx).next(signed_in.raised))),
    };
    cx.set_cookie(&mut response, Name::Session, &signed_in.cookie);
    response
}

/// What a form that checks a password says of this refusal, if it is shown again.
pub fn failure_of(reason: &Reason) -> Option<LoginFailure> {
    match reason {
        Reason::SignInFailed { .. } => Some(LoginFailure::NoMatch),
        Reason::SignInThrottled { retry_after, .. } => Some(LoginFailure::Throttled(Duration::from_secs(*retry_after))),
        Reason::Overloaded { .. } => Some(LoginFailure::Busy),
        Reason::FactorFailed { .. } => Some(LoginFailure::Passkey),
        _ => None,
    }
}

/// The status of such a form: a password that does not match is no error of HTTP.
pub const fn status_of(failure: Option<LoginFailure>) -> StatusCode {
    match failure {
        None | Some(LoginFailure::NoMatch | LoginFailure::Passkey) => StatusCode::OK,
        Some(LoginFailure::Throttled(_)) => StatusCode::TOO_MANY_REQUESTS,
        Some(LoginFailure::Busy) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Says when to try again, where it is worth waiting.
pub fn with_retry_after(mut response: Response, failure: Option<LoginFailure>) -> Response {
    let wait = match failure {
        None | Some(LoginFailure::NoMatch | LoginFailure::Passkey) => return response,
        Some(LoginFailure::Throttled(wait)) => wait.as_secs().max(1),
        Some(LoginFailure::Busy) => 1,
    };
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    response
}

/// What brought the person here, if no app did. It stands in the query, as the code of a device does in the address that the device shows.
pub(super) enum AskedFor {
    Account(Section),
    /// To decide on the device that shows this code: in the one form in which it is passed on.
    Device(String),
}

impl AskedFor {
    /// A form's action, so that its answer knows it too.
    pub(super) fn at(&self, path: &str) -> String {
        self.pair().map_or_else(|| path.to_owned(), |(name, value)| format!("{path}?{name}={value}"))
    }

    /// As a parameter of a page's address.
    pub(super) fn pair(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Account(Section::Overview) => None,
            Self::Account(section) => Some(("to", section.word())),
            Self::Device(user_code) => Some(("user_code", user_code)),
        }
    }

    /// Where it goes on, below the issuer. `raised`: in a session that was there, where a second factor was proved or enrolled.
    pub(super) fn next(&self, raised: bool) -> String {
        match self {
            Self::Account(Section::Overview) if raised => paths::FACTORS.to_owned(),
            Self::Account(section) => section.path().to_owned(),
            Self::Device(user_code) => format!("{}?user_code={user_code}", paths::DEVICE),
        }
    }
}

pub(super) fn asked_for(cx: &Context) -> AskedFor {
    let Ok(query) = cx.query() else { return AskedFor::Account(Section::Overview) };
    match query.get("user_code").and_then(UserCode::read) {
        Some(code) => AskedFor::Device(code.shown()),
        None => AskedFor::Account(Section::named_in(&query)),
    }
}

/// What a sign-in, or a second factor in a session that was there, means for an authorization request that waits.
pub(super) fn note(open: &mut Open, signed_in: &SignedIn, stepped_up: bool) {
    // A session that only rose was not begun here: prompt=login and max_age still want a sign-in.
    if !signed_in.raised {
        open.state.signed_in_at = Some(signed_in.session.auth_time);
        open.state.selected = true;
    }
    open.state.session_id = Some(signed_in.session.id);
    open.state.stepped_up |= stepped_up;
}

/// The same page for every failure: only being throttled shows, since that says nothing about the account.
fn page(cx: &Context, open: Option<&Open>, username: &str, failure: Option<LoginFailure>) -> Response {
    let (binding, fresh) = cx.binding();
    let asked_for = asked_for(cx);
    let action = asked_for.at(paths::LOGIN);
    let interaction = open.map(|open| open.id.expose().as_str());
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, "");
    let client = open.map(|open| ClientSeen::of(&open.client, &open.request.redirect_uri));
    let passkey = passkeys::rp_id(&cx.app).map(|rp_id| {
        let challenge = passkeys::challenge(&cx.app, &binding, passkeys::SIGN_IN, cx.now);
        PasskeyOffer { rp_id, challenge: challenge.token.expose().clone(), ids: String::new() }
    });
    let view = LoginView {
        frame: cx.frame(),
        form: Form { action: &action, interaction, csrf: token.expose() },
        client: client.as_ref(),
        username,
        notice: None,
        failure,
        passkey: passkey.as_ref(),
        for_device: matches!(asked_for, AskedFor::Device(_)),
    };
    let policy = second_factor::policy(open, passkey.is_some());
    with_retry_after(cx.page(status_of(failure), &view, &policy, fresh.as_ref()), failure)
}
