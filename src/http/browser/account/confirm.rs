//! `/account/confirm`: "confirm that it is you". The password once more, or a code or passkey in its place, before what is sensitive. It
//! costs and counts like a sign-in on every branch (security.md ), and what follows has a new cookie.

use axum::response::Response;

use super::{Instead, Section, SignedIn, answered, form_token, signed_in};
use crate::http::browser::login::{failure_of, status_of, with_retry_after};
use crate::http::browser::second_factor::{passkey_answer, policy};
use crate::http::browser::{Context, paths};
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::cookies::Name;
use crate::http::pages::view::account::{ConfirmBy, ConfirmView};
use crate::http::pages::view::{Form, LoginFailure, PasskeyOffer, Person};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;
use crate::service::account::password;
use crate::service::factors::{self, Answer, passkeys};
use crate::service::login;

const PURPOSE: &str = "confirm";

/// Asks for the password, or for what there is in its place.
pub async fn get(cx: Context) -> Response {
    let params = match cx.query() {
        Ok(query) => query,
        Err(reason) => return cx.refuse(reason, None),
    };
    let section = Section::named_in(&params);
    let page = match signed_in(&cx, section).await {
        Ok(person) => ask(&cx, &person, &params, None).await,
        Err(instead) => Err(instead),
    };
    page.unwrap_or_else(|instead| instead.respond(&cx))
}

/// Checks it, and goes on.
pub async fn post(cx: Context, PageForm(params): PageForm) -> Response {
    match check(&cx, &params).await {
        Ok(response) => response,
        Err(instead) => instead.respond(&cx),
    }
}

async fn check(cx: &Context, params: &Params) -> Result<Response, Instead> {
    let section = Section::named_in(params);
    let person = answered(cx, params, PURPOSE, section).await?;
    let typed = |name: &str| Secret::new(params.get(name).unwrap_or_default().to_owned());
    let answer = match passkey_answer(params) {
        Some(answer) => Some(Answer::Passkey(answer)),
        None => is_by_code(params).then(|| Answer::Code(typed("code"))),
    };
    let confirmed = match &answer {
        Some(answer) => by_factor(cx, answer).await,
        None => {
            let SignedIn { session, user } = &person;
            login::confirm(&cx.app, session, user, typed("password"), &cx.browser, cx.address_prefix(), cx.now).await
        }
    };
    match confirmed {
        Ok(cookie) => {
            let mut response = cx.see_other(&cx.path(section.path()));
            cx.set_cookie(&mut response, Name::Session, &cookie);
            Ok(response)
        }
        Err(Reason::SessionEnded | Reason::InteractionUnknown) => Err(Instead::SignIn(section)),
        Err(reason) => match failure_of(&reason) {
            Some(failure) => {
                let failure = match (&answer, failure) {
                    (Some(Answer::Code(_)), LoginFailure::Passkey) => LoginFailure::NoMatch,
                    (_, failure) => failure,
                };
                Ok(error::refused(ask(cx, &person, params, Some(failure)).await?, reason, None))
            }
            None => Err(reason.into()),
        },
    }
}

/// The new cookie of the session, for who proved a factor.
async fn by_factor(cx: &Context, answer: &Answer) -> Result<Secret<String>, Reason> {
    let step = factors::step(&cx.app, None, &cx.browser, cx.now).await?;
    let signed_in = factors::confirm(&cx.app, step, answer, &cx.browser, cx.address_prefix(), cx.now).await?;
    Ok(signed_in.cookie)
}

fn is_by_code(params: &Params) -> bool {
    params.get("with") == Some("code")
}

async fn ask(cx: &Context, person: &SignedIn, params: &Params, failure: Option<LoginFailure>) -> Result<Response, Instead> {
    let section = Section::named_in(params);
    let step = factors::step(&cx.app, None, &cx.browser, cx.now).await?;
    let (has_password, has_app) = (password::exists(&cx.app, &person.user).await?, step.factors.totp.is_some());
    let by = match (has_password, has_app) {
        (true, true) if is_by_code(params) => Some(ConfirmBy::Code),
        (true, _) => Some(ConfirmBy::Password),
        (false, true) => Some(ConfirmBy::Code),
        (false, false) => None,
    };
    let here = format!("{}?to={}", cx.path(paths::ACCOUNT_CONFIRM), section.word());
    let other_way = match by {
        Some(ConfirmBy::Password) if has_app => Some(format!("{here}&with=code")),
        Some(ConfirmBy::Code) if has_password => Some(here),
        Some(_) | None => None,
    };
    let (token, fresh) = form_token(cx, person, PURPOSE);
    let passkey = match passkeys::rp_id(&cx.app) {
        Some(rp_id) if step.factors.passkeys > 0 => {
            let challenge = passkeys::challenge(&cx.app, &cx.binding().0, &step.about(), cx.now);
            let ids = passkeys::credential_ids(&cx.app, &person.user).await?.join(" ");
            Some(PasskeyOffer { rp_id, challenge: challenge.token.expose().clone(), ids })
        }
        Some(_) | None => None,
    };
    let view = ConfirmView {
        frame: cx.frame(),
        form: Form { action: paths::ACCOUNT_CONFIRM, interaction: None, csrf: token.expose() },
        person: Person::of(&person.user),
        username: &person.user.username,
        to: section.word(),
        by,
        passkey: passkey.as_ref(),
        other_way: other_way.as_deref(),
        failure,
    };
    let response = cx.page(status_of(failure), &view, &policy(None, passkey.is_some()), fresh.as_ref());
    Ok(with_retry_after(response, failure))
}
