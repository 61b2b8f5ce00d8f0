//! `/account/confirm`: "confirm that it is you". The password once more, before what is sensitive. It costs and counts like a sign-in on
//! every branch (security.md ), and what follows has a new cookie.

use axum::response::Response;

use super::{Instead, Section, SignedIn, answered, form_token, page, shown, signed_in};
use crate::http::browser::login::{failure_of, status_of, with_retry_after};
use crate::http::browser::{Context, paths};
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::cookies::Name;
use crate::http::pages::view::account::ConfirmView;
use crate::http::pages::view::{Form, LoginFailure};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;
use crate::service::login;

const PURPOSE: &str = "confirm";

/// Asks for the password.
pub async fn get(cx: Context) -> Response {
    let asked = match cx.query() {
        Ok(query) => Section::named_in(&query),
        Err(reason) => return cx.refuse(reason, None),
    };
    match signed_in(&cx, asked).await {
        Ok(person) => ask(&cx, &person, asked, None),
        Err(instead) => instead.respond(&cx),
    }
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
    let password = Secret::new(params.get("password").unwrap_or_default().to_owned());
    let SignedIn { session, user } = &person;
    match login::confirm(&cx.app, session, user, password, &cx.browser, cx.address_prefix(), cx.now).await {
        Ok(cookie) => {
            let mut response = cx.see_other(&cx.path(section.path()));
            cx.set_cookie(&mut response, Name::Session, &cookie);
            Ok(response)
        }
        Err(Reason::SessionEnded) => Err(Instead::SignIn(section)),
        Err(reason) => match failure_of(&reason) {
            Some(failure) => Ok(error::refused(ask(cx, &person, section, Some(failure)), reason, None)),
            None => Err(reason.into()),
        },
    }
}

fn ask(cx: &Context, person: &SignedIn, section: Section, failure: Option<LoginFailure>) -> Response {
    let (token, fresh) = form_token(cx, person, PURPOSE);
    let view = ConfirmView {
        frame: cx.frame(),
        form: Form { action: paths::ACCOUNT_CONFIRM, interaction: None, csrf: token.expose() },
        person: shown(&person.user),
        username: &person.user.username,
        to: section.word(),
        failure,
    };
    with_retry_after(page(cx, status_of(failure), &view, fresh.as_ref()), failure)
}
