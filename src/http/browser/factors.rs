//! `/account/factors`: one's own second factors and recovery codes.

use axum::response::Response;
use http::StatusCode;

use super::account::{Instead, Section};
use super::login::{self, AskedFor};
use super::{Context, enrol, paths, second_factor};
use crate::http::extract::PageForm;
use crate::http::pages::cookies::Name;
use crate::http::pages::csp::Policy;
use crate::http::pages::view::{FactorsView, Form, Person};
use crate::http::pages::{self, csrf};
use crate::oauth::refusal::Reason;
use crate::service::authorize::interaction::Open;
use crate::service::factors::{self, Step};

const PURPOSE: &str = "factors";

/// Shows them.
pub async fn get(cx: Context) -> Response {
    match factors::step(&cx.app, None, &cx.browser, cx.now).await {
        Ok(step) => page(&cx, &step),
        Err(Reason::InteractionUnknown) => Instead::SignIn(Section::Factors).respond(&cx),
        Err(reason) => cx.refuse(reason, None),
    }
}

/// Removes one, or makes new recovery codes.
pub async fn post(cx: Context, PageForm(params): PageForm) -> Response {
    if let Err(reason) = cx.own_form(&params, PURPOSE) {
        return cx.refuse(reason, None);
    }
    let step = match factors::step(&cx.app, None, &cx.browser, cx.now).await {
        Ok(step) => step,
        Err(Reason::InteractionUnknown) => return Instead::SignIn(Section::Factors).respond(&cx),
        Err(reason) => return cx.refuse(reason, None),
    };
    if !cx.is_current(&params, PURPOSE, &step.about()) {
        return page(&cx, &step);
    }
    if !step.may_change(cx.now) {
        return prove_again(&cx, &step, None);
    }
    match params.get("change") {
        Some("remove_app") => match factors::remove_totp(&cx.app, &step.user, cx.now).await {
            Ok(()) => cx.see_other(&cx.path(paths::FACTORS)),
            Err(reason) => cx.refuse(reason, None),
        },
        Some("recovery_codes") if step.factors.any() => match factors::renew_recovery_codes(&cx.app, &step.user, cx.now).await {
            Ok(codes) => {
                let codes: Vec<String> = codes.iter().map(|code| code.text()).collect();
                enrol::show_recovery_codes(&cx, &codes, &cx.path(paths::FACTORS))
            }
            Err(reason) => cx.refuse(reason, None),
        },
        Some("recovery_codes") => page(&cx, &step),
        Some(other) => cx.refuse(
            Reason::MalformedParameter {
                name: "change".to_owned(),
                received: other.to_owned(),
                detail: "remove_app or recovery_codes".to_owned(),
            },
            None,
        ),
        None => cx.refuse(Reason::MissingParameter { name: "change".to_owned() }, None),
    }
}

/// Whoever wants to change something proves first that it is them: with the factor that they have, or by signing in again.
pub(super) fn prove_again(cx: &Context, step: &Step, open: Option<&Open>) -> Response {
    if step.is_below() && step.factors.any() {
        return cx.see_other(&second_factor::address(cx, paths::SECOND_FACTOR, step.sign_in(), open));
    }
    match (open, login::asked_for(cx)) {
        (None, AskedFor::Account(_)) => Instead::Confirm(Section::Factors).respond(cx),
        // In the middle of signing in to an app or a device it is the sign-in that begins anew.
        (Some(_), _) | (None, AskedFor::Device(_)) => second_factor::from_the_beginning(cx, open),
    }
}

fn page(cx: &Context, step: &Step) -> Response {
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &step.about());
    let totp = step.factors.totp.map(|(added, used)| (cx.lang().date(added), cx.lang().date(used)));
    let view = FactorsView {
        frame: cx.frame(),
        form: Form { action: paths::FACTORS, interaction: None, csrf: token.expose() },
        person: Person::of(&step.user),
        totp: totp.as_ref().map(|(added, used)| (added.as_str(), used.as_str())),
        recovery_codes: step.factors.recovery_codes,
    };
    let mut response = pages::respond(StatusCode::OK, &view, &Policy::strict());
    if let Some(fresh) = fresh {
        cx.set_cookie(&mut response, Name::Browser, &fresh);
    }
    response
}
