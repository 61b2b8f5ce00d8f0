//! `/second-factor/enrol`: an authenticator app is shown its secret, and shows with a code that it has it. Reached from the account, and
//! in the middle of signing in by who must have a second factor and has none; they may make a passkey instead.

use axum::response::Response;
use http::StatusCode;

use super::second_factor::{self, Due, due, policy};
use super::{Context, factors as own, login, paths};
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::ClientSeen;
use crate::http::pages::cookies::Name;
use crate::http::pages::csp::Policy;
use crate::http::pages::csrf;
use crate::http::pages::qr::Qr;
use crate::http::pages::view::{EnrolView, FactorFailure, Form, Person, RecoveryCodesView};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::service::authorize::LocalRefusal;
use crate::service::authorize::interaction::{self, Open};
use crate::service::factors::{self, Enrolled, Enrolment, Step, passkeys};
use crate::service::login::SignedIn;

const PURPOSE: &str = "enrol-app";

/// Shows a secret.
pub async fn get(mut cx: Context) -> Response {
    let params = match cx.query() {
        Ok(params) => params,
        Err(reason) => return cx.refuse(reason, None),
    };
    let found = whose(&mut cx, &params).await;
    match due(&cx, found, &Params::default()).await {
        Ok((step, open)) => {
            let enrolment = factors::begin_enrolment(&cx.app, &step, cx.now);
            page(&cx, &step, open.as_ref(), &enrolment, None)
        }
        Err(response) => response,
    }
}

/// Takes the first code of an app, or a new passkey.
pub async fn post(mut cx: Context, PageForm(params): PageForm) -> Response {
    if let Err(reason) = cx.own_form(&params, PURPOSE) {
        return cx.refuse(reason, None);
    }
    let found = whose(&mut cx, &params).await;
    let (step, open) = match due(&cx, found, &params).await {
        Ok(due) => due,
        Err(response) => return response,
    };
    let shown = params.get("enrolment").unwrap_or_default();
    let enrolment = factors::resume_enrolment(&cx.app, &step, shown, cx.now);
    let Some(enrolment) = enrolment.filter(|_| cx.is_current(&params, PURPOSE, &step.about())) else {
        let enrolment = factors::begin_enrolment(&cx.app, &step, cx.now);
        return page(&cx, &step, open.as_ref(), &enrolment, None);
    };
    let client_id = open.as_ref().map(|open| open.client.client_id.clone());
    if let Some(answer) = second_factor::passkey_answer(&params) {
        return match passkeys::enrol(&cx.app, step.clone(), &answer, &cx.browser, cx.now).await {
            Ok((signed_in, codes)) => {
                let codes: Vec<String> = codes.iter().map(|code| code.text()).collect();
                enrolled(cx, open, *signed_in, &codes).await
            }
            Err(reason @ Reason::FactorFailed { .. }) => {
                let again = page(&cx, &step, open.as_ref(), &enrolment, Some(FactorFailure::Passkey));
                error::refused(again, reason, client_id)
            }
            Err(reason) => cx.refuse(reason, client_id),
        };
    }
    let code = params.get("code").unwrap_or_default();
    match factors::confirm_enrolment(&cx.app, step.clone(), &enrolment, code, &cx.browser, cx.now).await {
        Ok(Enrolled::Yes { signed_in, recovery_codes }) => {
            let codes: Vec<String> = recovery_codes.iter().map(|code| code.text()).collect();
            enrolled(cx, open, *signed_in, &codes).await
        }
        Ok(Enrolled::WrongCode) => page(&cx, &step, open.as_ref(), &enrolment, Some(FactorFailure::Wrong)),
        Ok(Enrolled::Already) => cx.see_other(&second_factor::address(&cx, paths::SECOND_FACTOR, step.sign_in(), open.as_ref())),
        Err(reason) => cx.refuse(reason, client_id),
    }
}

/// On with what waits. Recovery codes are shown before anything else: they are never shown again.
async fn enrolled(cx: Context, open: Option<Open>, signed_in: SignedIn, codes: &[String]) -> Response {
    if codes.is_empty() {
        return login::signed_in_here(cx, open, signed_in, true).await;
    }
    let next = match open {
        Some(mut open) => {
            login::note(&mut open, &signed_in, true);
            if let Err(refused) = interaction::keep_state(&cx.app, &open).await {
                return cx.refuse(refused.reason, refused.client_id);
            }
            second_factor::address(&cx, paths::CONSENT, None, Some(&open))
        }
        None => cx.path(&login::asked_for(&cx).next(signed_in.raised)),
    };
    let mut response = show_recovery_codes(&cx, codes, &next);
    cx.set_cookie(&mut response, Name::Session, &signed_in.cookie);
    response
}

/// The list, this once. `next` is where the person goes on.
pub(super) fn show_recovery_codes(cx: &Context, codes: &[String], next: &str) -> Response {
    let view = RecoveryCodesView { frame: cx.frame(), codes, next };
    cx.page(StatusCode::OK, &view, &Policy::strict(), None)
}

/// Who enrols, if they may do so now.
async fn whose(cx: &mut Context, params: &Params) -> Result<Due, LocalRefusal> {
    let (step, open) = match second_factor::named(cx, params).await? {
        Due::Step(step, open) => (step, open),
        elsewhere @ Due::Elsewhere(_) => return Ok(elsewhere),
    };
    if step.factors.totp.is_some() {
        return Ok(Due::Elsewhere(match step.sign_in() {
            sign_in @ Some(_) => cx.see_other(&second_factor::address(cx, paths::SECOND_FACTOR, sign_in, open.as_ref())),
            None => cx.see_other(&cx.path(paths::FACTORS)),
        }));
    }
    if !step.may_change(cx.now) {
        return Ok(Due::Elsewhere(own::prove_again(cx, &step, open.as_ref())));
    }
    Ok(Due::Step(step, open))
}

fn page(cx: &Context, step: &Step, open: Option<&Open>, enrolment: &Enrolment, failure: Option<FactorFailure>) -> Response {
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &step.about());
    let client = open.map(|open| ClientSeen::of(&open.client, &open.request.redirect_uri));
    let uri = enrolment.secret.uri(cx.frame().name, &step.user.username);
    let secret = enrolment.secret.text();
    let Some(code) = Qr::of(uri.expose()) else {
        return cx.refuse(Reason::Internal { detail: "a name is too long for a QR code".to_owned() }, None);
    };
    let demanded = step.sign_in().is_some() || open.is_some();
    // On the account page passkeys have a place of their own.
    let passkey = if demanded { own::new_passkey(cx, step, &binding, &[]) } else { None };
    let view = EnrolView {
        frame: cx.frame(),
        form: Form {
            action: &login::asked_for(cx).at(paths::ENROL),
            interaction: open.map(|open| open.id.expose().as_str()),
            csrf: token.expose(),
        },
        sign_in: step.sign_in(),
        enrolment: enrolment.sealed.expose(),
        client: client.as_ref(),
        person: Person::of(&step.user),
        demanded,
        passkey: passkey.as_ref(),
        qr: &code,
        uri: uri.expose(),
        secret: secret.expose(),
        failure,
    };
    cx.page(StatusCode::OK, &view, &policy(open, passkey.is_some()), fresh.as_ref())
}
