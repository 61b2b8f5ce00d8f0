//! `/second-factor`: the page after the password, or before something that asks for more than the session has.

use std::time::Duration;

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use super::account::{Instead, Section};
use super::login::AskedFor;
use super::{Context, authorize, login, paths};
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::ClientSeen;
use crate::http::pages::csp::Policy;
use crate::http::pages::csrf;
use crate::http::pages::view::{FactorFailure, Form, PasskeyOffer, Person, SecondFactorView};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;
use crate::service::authorize::interaction::{self, Open};
use crate::service::authorize::{self as pending, LocalRefusal, Page};
use crate::service::factors::{self, Answer, Step, passkeys};

const PURPOSE: &str = "second-factor";

/// Asks for the code.
pub async fn get(mut cx: Context) -> Response {
    let params = match cx.query() {
        Ok(params) => params,
        Err(reason) => return cx.refuse(reason, None),
    };
    let found = whose(&mut cx, &params).await;
    match due(&cx, found, &Params::default()).await {
        Ok((step, open)) => page(&cx, &step, open.as_ref(), uses_recovery_code(&params), None).await,
        Err(response) => response,
    }
}

/// Checks the code.
pub async fn post(mut cx: Context, PageForm(params): PageForm) -> Response {
    if let Err(reason) = cx.own_form(&params, PURPOSE) {
        return cx.refuse(reason, None);
    }
    let found = whose(&mut cx, &params).await;
    let (step, open) = match due(&cx, found, &params).await {
        Ok(due) => due,
        Err(response) => return response,
    };
    let recovery = uses_recovery_code(&params);
    // The page of another sign-in or session: what was typed there is no answer here.
    if !cx.is_current(&params, PURPOSE, &step.about()) {
        return page(&cx, &step, open.as_ref(), recovery, None).await;
    }
    let typed = Secret::new(params.get("code").unwrap_or_default().to_owned());
    let answer = match passkey_answer(&params) {
        Some(answer) => Answer::Passkey(answer),
        None if recovery => Answer::RecoveryCode(typed),
        None => Answer::Code(typed),
    };
    match factors::prove(&cx.app, step.clone(), &answer, &cx.browser, cx.address_prefix(), cx.now).await {
        Ok(signed_in) => login::signed_in_here(cx, open, signed_in, true).await,
        Err(reason) => {
            let client_id = open.as_ref().map(|open| open.client.client_id.clone());
            let failure = match &reason {
                Reason::FactorFailed { .. } if matches!(answer, Answer::Passkey(_)) => FactorFailure::Passkey,
                Reason::FactorFailed { .. } => FactorFailure::Wrong,
                Reason::SignInThrottled { retry_after, .. } => FactorFailure::Throttled(Duration::from_secs(*retry_after)),
                _ => return cx.refuse(reason, client_id),
            };
            error::refused(page(&cx, &step, open.as_ref(), recovery, Some(failure)).await, reason, client_id)
        }
    }
}

/// The page that a sign-in goes on with.
pub(super) fn visit(cx: &Context, open: Option<&Open>, sign_in: &Secret<String>) -> Response {
    cx.see_other(&address(cx, paths::SECOND_FACTOR, Some(sign_in.expose()), open))
}

/// One of the pages of a second factor, with the sign-in and the request that wait, and what else brought the person here.
pub(super) fn address(cx: &Context, path: &str, sign_in: Option<&str>, open: Option<&Open>) -> String {
    let waiting = [("sign_in", sign_in), ("interaction", open.map(|open| open.id.expose().as_str()))];
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in waiting {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    if let Some((name, value)) = login::asked_for(cx).pair() {
        query.append_pair(name, value);
    }
    format!("{}?{}", cx.path(path), query.finish())
}

/// Whether anything is asked at one of these pages.
pub(super) enum Due {
    /// Of whom, and for what request.
    Step(Box<Step>, Option<Open>),
    /// Nothing is asked here now.
    Elsewhere(Response),
}

/// Whom these parameters name, and for what request.
pub(super) async fn named(cx: &mut Context, params: &Params) -> Result<Due, LocalRefusal> {
    let open = cx.open_interaction(params).await?;
    let sign_in = params.get("sign_in");
    match factors::step(&cx.app, sign_in, &cx.browser, cx.now).await {
        Ok(step) => Ok(Due::Step(Box::new(step), open)),
        // Nobody is signed in any more: from the beginning.
        Err(Reason::InteractionUnknown) if sign_in.is_none() => Ok(Due::Elsewhere(from_the_beginning(cx, open.as_ref()))),
        Err(reason) => Err(reason.into()),
    }
}

/// What the page goes on with, unless there is another answer already: because nothing is asked here, or in these parameters of its form
/// the person would rather not sign in.
pub(super) async fn due(cx: &Context, found: Result<Due, LocalRefusal>, params: &Params) -> Result<(Step, Option<Open>), Response> {
    match found {
        Ok(Due::Step(_, Some(open))) if params.get("decision") == Some("deny") => {
            Err(authorize::respond(cx, interaction::deny(&cx.app, &open, &cx.browser, cx.now).await).await)
        }
        Ok(Due::Step(step, open)) => Ok((*step, open)),
        Ok(Due::Elsewhere(response)) => Err(response),
        Err(refused) => Err(cx.refuse(refused.reason, refused.client_id)),
    }
}

/// What an authenticator said, if the form brings it.
pub(super) fn passkey_answer(params: &Params) -> Option<passkeys::Answer> {
    let json = params.get("passkey").filter(|json| !json.is_empty())?;
    Some(passkeys::Answer { json: json.to_owned(), challenge: params.get("challenge").unwrap_or_default().to_owned() })
}

/// The policy of a page that may lead back to the app that waits.
pub(super) fn policy(open: Option<&Open>, scripts: bool) -> Policy {
    let policy = open.map_or_else(Policy::strict, |open| Policy::redirecting_to(&open.request.redirect_uri));
    if scripts { policy.and_own_scripts() } else { policy }
}

/// Who is asked, and for what request.
async fn whose(cx: &mut Context, params: &Params) -> Result<Due, LocalRefusal> {
    let (step, mut open) = match named(cx, params).await? {
        Due::Step(step, open) => (step, open),
        elsewhere @ Due::Elsewhere(_) => return Ok(elsewhere),
    };
    let sign_in = step.sign_in();
    if sign_in.is_none() {
        match &mut open {
            // Only an answer to the question that stands.
            Some(waiting) => {
                if pending::page(&cx.app, waiting, &cx.browser, cx.now).await? != Some(Page::SecondFactor)
                    && let Some(waiting) = open.take()
                {
                    let answer = pending::resume(&cx.app, waiting, &cx.browser, cx.now).await;
                    return Ok(Due::Elsewhere(authorize::respond(cx, answer).await));
                }
            }
            // Proved already: on to what was asked for.
            None if step.factors.any() && !step.is_below() => {
                return Ok(Due::Elsewhere(cx.see_other(&cx.path(&login::asked_for(cx).next(true)))));
            }
            None => {}
        }
    }
    if step.factors.any() {
        return Ok(Due::Step(step, open));
    }
    // Nobody enrols in a session that was left open: the password comes first.
    if step.may_change(cx.now) {
        return Ok(Due::Elsewhere(cx.see_other(&address(cx, paths::ENROL, sign_in, open.as_ref()))));
    }
    Ok(Due::Elsewhere(super::factors::prove_again(cx, &step, open.as_ref())))
}

/// The sign-in page.
pub(super) fn from_the_beginning(cx: &Context, open: Option<&Open>) -> Response {
    match (open, login::asked_for(cx)) {
        (None, AskedFor::Account(_)) => Instead::SignIn(Section::Factors).respond(cx),
        (Some(_), _) | (None, AskedFor::Device(_)) => cx.see_other(&address(cx, paths::LOGIN, None, open)),
    }
}

fn uses_recovery_code(params: &Params) -> bool {
    params.get("use") == Some("recovery")
}

async fn page(cx: &Context, step: &Step, open: Option<&Open>, recovery: bool, failure: Option<FactorFailure>) -> Response {
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &step.about());
    let client = open.map(|open| ClientSeen::of(&open.client, &open.request.redirect_uri));
    let other = address(cx, paths::SECOND_FACTOR, step.sign_in(), open);
    let other = if recovery { other } else { format!("{other}&use=recovery") };
    let user = &step.user;
    let passkey = match passkeys::rp_id(&cx.app) {
        Some(rp_id) if step.factors.passkeys > 0 && !recovery => {
            let ids = match passkeys::credential_ids(&cx.app, user).await {
                Ok(ids) => ids.join(" "),
                Err(reason) => return cx.refuse(reason, None),
            };
            let challenge = passkeys::challenge(&cx.app, &binding, &step.about(), cx.now);
            Some(PasskeyOffer { rp_id, challenge: challenge.token.expose().clone(), ids })
        }
        Some(_) | None => None,
    };
    let view = SecondFactorView {
        frame: cx.frame(),
        form: Form {
            action: &login::asked_for(cx).at(paths::SECOND_FACTOR),
            interaction: open.map(|open| open.id.expose().as_str()),
            csrf: token.expose(),
        },
        sign_in: step.sign_in(),
        client: client.as_ref(),
        person: Person::of(user),
        recovery,
        has_app: step.factors.totp.is_some(),
        passkey: passkey.as_ref(),
        other_way: (recovery || step.factors.recovery_codes > 0).then_some(other.as_str()),
        failure,
    };
    let (status, wait) = match failure {
        None | Some(FactorFailure::Wrong | FactorFailure::Passkey) => (StatusCode::OK, None),
        Some(FactorFailure::Throttled(wait)) => (StatusCode::TOO_MANY_REQUESTS, Some(wait.as_secs().max(1))),
    };
    let mut response = cx.page(status, &view, &policy(open, passkey.is_some()), fresh.as_ref());
    if let Some(wait) = wait {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}
