//! `/account/factors`: one's own second factors and recovery codes.

use axum::response::Response;
use http::StatusCode;
use uuid::Uuid;

use super::account::{Instead, Section};
use super::login::{self, AskedFor};
use super::{Context, enrol, paths, second_factor};
use crate::factors::webauthn::ALGORITHMS;
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::cookies::Name;
use crate::http::pages::csrf;
use crate::http::pages::view::{FactorsView, Form, NewPasskeyOffer, PasskeyOffer, PasskeyRow, Person};
use crate::oauth::refusal::Reason;
use crate::secret::Secret;
use crate::service::authorize::interaction::Open;
use crate::service::factors::{self, Step, passkeys};
use crate::storage::factors::Passkey;

const PURPOSE: &str = "factors";

/// Shows them.
pub async fn get(cx: Context) -> Response {
    match factors::step(&cx.app, None, &cx.browser, cx.now).await {
        Ok(step) => page(&cx, &step, false).await,
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
        return page(&cx, &step, false).await;
    }
    if !step.may_change(cx.now) {
        return prove_again(&cx, &step, None);
    }
    if let Some(id) = params.get("remove_passkey") {
        // One that is not theirs, or is gone, is not there afterwards either.
        let removed = match Uuid::parse_str(id) {
            Ok(id) => passkeys::remove(&cx.app, &step.user, id, cx.now).await,
            Err(_) => Ok(()),
        };
        return match removed {
            Ok(()) => cx.see_other(&cx.path(paths::FACTORS)),
            Err(reason) => cx.refuse(reason, None),
        };
    }
    match params.get("change") {
        Some("add_passkey") => {
            let sent = |name: &str| params.get(name).unwrap_or_default().to_owned();
            let answer = passkeys::Answer { json: sent("passkey"), challenge: sent("challenge") };
            match passkeys::enrol(&cx.app, step.clone(), &answer, &cx.browser, cx.now).await {
                Ok((signed_in, codes)) => {
                    let mut response = if codes.is_empty() {
                        cx.see_other(&cx.path(paths::FACTORS))
                    } else {
                        let codes: Vec<String> = codes.iter().map(|code| code.text()).collect();
                        enrol::show_recovery_codes(&cx, &codes, &cx.path(paths::FACTORS))
                    };
                    cx.set_cookie(&mut response, Name::Session, &signed_in.cookie);
                    response
                }
                Err(reason @ Reason::FactorFailed { .. }) => error::refused(page(&cx, &step, true).await, reason, None),
                Err(reason) => cx.refuse(reason, None),
            }
        }
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
        Some("recovery_codes") => page(&cx, &step, false).await,
        Some(other) => cx.refuse(
            Reason::MalformedParameter {
                name: "change".to_owned(),
                received: other.to_owned(),
                detail: "remove_app, recovery_codes or add_passkey".to_owned(),
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

async fn page(cx: &Context, step: &Step, failed: bool) -> Response {
    let found = match passkeys::list(&cx.app, &step.user).await {
        Ok(found) => found,
        Err(reason) => return cx.refuse(reason, None),
    };
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &step.about());
    let new = new_passkey(cx, step, &binding, &found);
    let rows: Vec<PasskeyRow> = found
        .iter()
        .map(|passkey| PasskeyRow {
            id: passkey.id.to_string(),
            synced: passkey.synced,
            device: passkey.device.clone(),
            added: cx.lang().date(passkey.created_at),
            used: cx.lang().date(passkey.last_used_at),
        })
        .collect();
    let totp = step.factors.totp.map(|(added, used)| (cx.lang().date(added), cx.lang().date(used)));
    let view = FactorsView {
        frame: cx.frame(),
        form: Form { action: paths::FACTORS, interaction: None, csrf: token.expose() },
        person: Person::of(&step.user),
        totp: totp.as_ref().map(|(added, used)| (added.as_str(), used.as_str())),
        recovery_codes: step.factors.recovery_codes,
        passkeys: &rows,
        passkey: new.as_ref(),
        failed,
    };
    cx.page(StatusCode::OK, &view, &second_factor::policy(None, new.is_some()), fresh.as_ref())
}

/// What a page needs on which a passkey can be made; `found` are those that there are. `None` where there can be no more.
pub(super) fn new_passkey(cx: &Context, step: &Step, binding: &Secret<String>, found: &[Passkey]) -> Option<NewPasskeyOffer> {
    let rp_id = passkeys::rp_id(&cx.app).filter(|_| step.factors.passkeys < passkeys::MOST)?;
    let challenge = passkeys::challenge(&cx.app, binding, &step.about(), cx.now);
    Some(NewPasskeyOffer {
        offer: PasskeyOffer { rp_id, challenge: challenge.token.expose().clone(), ids: passkeys::ids(found).join(" ") },
        user_handle: passkeys::user_handle(&step.user),
        username: step.user.username.clone(),
        display_name: Person::of(&step.user).name().into_owned(),
        algorithms: ALGORITHMS.map(|algorithm| algorithm.to_string()).join(" "),
    })
}
