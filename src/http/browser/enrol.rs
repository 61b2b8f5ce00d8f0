//! `/second-factor/enrol`: an authenticator app is shown its secret, and shows with a code that it has it. Reached from the account, and
//! in the middle of signing in by who must have a second factor and has none.

use axum::response::Response;
use http::StatusCode;

use super::{Context, authorize, login, paths, second_factor};
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::ClientSeen;
use crate::http::pages::cookies::Name;
use crate::http::pages::csp::Policy;
use crate::http::pages::qr::Qr;
use crate::http::pages::view::{EnrolView, Form, Person, RecoveryCodesView};
use crate::http::pages::{self, csrf};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::service::authorize::LocalRefusal;
use crate::service::authorize::interaction::{self, Open};
use crate::service::factors::{self, Enrolled, Enrolment, Step};

const PURPOSE: &str = "enrol-app";

/// Shows a secret.
pub async fn get(mut cx: Context) -> Response {
    let params = match cx.query() {
        Ok(params) => params,
        Err(reason) => return cx.refuse(reason, None),
    };
    match whose(&mut cx, &params).await {
        Ok(Due::Step(step, open)) => {
            let enrolment = factors::begin_enrolment(&cx.app, &step, cx.now);
            page(&cx, &step, open.as_ref(), &enrolment, false)
        }
        Ok(Due::Elsewhere(response)) => response,
        Err(refused) => cx.refuse(refused.reason, refused.client_id),
    }
}

/// Takes the first code.
pub async fn post(mut cx: Context, PageForm(params): PageForm) -> Response {
    if let Err(reason) = cx.own_form(&params, PURPOSE) {
        return cx.refuse(reason, None);
    }
    let (step, open) = match whose(&mut cx, &params).await {
        Ok(Due::Step(step, open)) => (*step, open),
        Ok(Due::Elsewhere(response)) => return response,
        Err(refused) => return cx.refuse(refused.reason, refused.client_id),
    };
    if let Some(open) = open.as_ref().filter(|_| params.get("decision") == Some("deny")) {
        return authorize::respond(&cx, interaction::deny(&cx.app, open, &cx.browser, cx.now).await).await;
    }
    let shown = params.get("enrolment").unwrap_or_default();
    let enrolment = factors::resume_enrolment(&cx.app, &step, shown, cx.now);
    let Some(enrolment) = enrolment.filter(|_| cx.is_current(&params, PURPOSE, &step.about())) else {
        let enrolment = factors::begin_enrolment(&cx.app, &step, cx.now);
        return page(&cx, &step, open.as_ref(), &enrolment, false);
    };
    let code = params.get("code").unwrap_or_default();
    match factors::confirm_enrolment(&cx.app, step.clone(), &enrolment, code, &cx.browser, cx.now).await {
        Ok(Enrolled::Yes { signed_in, recovery_codes }) => {
            if recovery_codes.is_empty() {
                return login::signed_in_here(cx, open, *signed_in, true).await;
            }
            // The codes are shown before anything else: they are never shown again.
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
            let codes: Vec<String> = recovery_codes.iter().map(|code| code.text()).collect();
            let mut response = show_recovery_codes(&cx, &codes, &next);
            cx.set_cookie(&mut response, Name::Session, &signed_in.cookie);
            response
        }
        Ok(Enrolled::WrongCode) => page(&cx, &step, open.as_ref(), &enrolment, true),
        Ok(Enrolled::Already) => cx.see_other(&second_factor::address(&cx, paths::SECOND_FACTOR, step.sign_in(), open.as_ref())),
        Err(reason) => cx.refuse(reason, open.map(|open| open.client.client_id.clone())),
    }
}

/// The list, this once. `next` is where the person goes on.
pub(super) fn show_recovery_codes(cx: &Context, codes: &[String], next: &str) -> Response {
    let view = RecoveryCodesView { frame: cx.frame(), codes, next };
    pages::respond(StatusCode::OK, &view, &Policy::strict())
}

enum Due {
    Step(Box<Step>, Option<Open>),
    Elsewhere(Response),
}

/// Who enrols, if they may do so now.
async fn whose(cx: &mut Context, params: &Params) -> Result<Due, LocalRefusal> {
    let open = cx.open_interaction(params).await?;
    let sign_in = params.get("sign_in");
    let step = match factors::step(&cx.app, sign_in, &cx.browser, cx.now).await {
        Ok(step) => step,
        Err(Reason::InteractionUnknown) if sign_in.is_none() => {
            return Ok(Due::Elsewhere(second_factor::from_the_beginning(cx, open.as_ref())));
        }
        Err(reason) => return Err(reason.into()),
    };
    if step.factors.totp.is_some() {
        return Ok(Due::Elsewhere(match sign_in {
            Some(_) => cx.see_other(&second_factor::address(cx, paths::SECOND_FACTOR, sign_in, open.as_ref())),
            None => cx.see_other(&cx.path(paths::FACTORS)),
        }));
    }
    if !step.may_change(cx.now) {
        return Ok(Due::Elsewhere(super::factors::prove_again(cx, &step, open.as_ref())));
    }
    Ok(Due::Step(Box::new(step), open))
}

fn page(cx: &Context, step: &Step, open: Option<&Open>, enrolment: &Enrolment, wrong: bool) -> Response {
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &step.about());
    let client = open.map(|open| ClientSeen::of(&open.client, &open.request.redirect_uri));
    let uri = enrolment.secret.uri(cx.frame().name, &step.user.username);
    let secret = enrolment.secret.text();
    let Some(code) = Qr::of(uri.expose()) else {
        return cx.refuse(Reason::Internal { detail: "a name is too long for a QR code".to_owned() }, None);
    };
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
        demanded: step.sign_in().is_some() || open.is_some(),
        qr: &code,
        uri: uri.expose(),
        secret: secret.expose(),
        wrong,
    };
    let policy = open.map_or_else(Policy::strict, |open| Policy::redirecting_to(&open.request.redirect_uri));
    let mut response = pages::respond(StatusCode::OK, &view, &policy);
    if let Some(fresh) = fresh {
        cx.set_cookie(&mut response, Name::Browser, &fresh);
    }
    response
}
