//! `/account/password`: another password, for those who know the one from before. `/.well-known/change-password` leads here, so that
//! password managers find it ("A Well-Known URL for Changing Passwords"). Who has none sets a first one, and proves with a passkey that it
//! is them.

use axum::response::Response;

use super::{Instead, PASSWORD, Section, SignedIn, answered, answered_confirmed, confirmed, done, form_token, page, signed_in};
use crate::http::browser::login::{failure_of, status_of, with_retry_after};
use crate::http::browser::{Context, paths};
use crate::http::error;
use crate::http::extract::PageForm;
use crate::http::pages::cookies::Name;
use crate::http::pages::view::account::{Done, PasswordFailure, PasswordView};
use crate::http::pages::view::{Form, LoginFailure};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;
use crate::service::account::password::{self, Passwords};
use crate::service::factors;

/// The way here that every site has.
pub async fn well_known(cx: Context) -> Response {
    cx.see_other(&cx.path(paths::ACCOUNT_PASSWORD))
}

/// Asks for the current and the new one.
pub async fn get(cx: Context) -> Response {
    match show(&cx).await {
        Ok(response) => response,
        Err(instead) => instead.respond(&cx),
    }
}

async fn show(cx: &Context) -> Result<Response, Instead> {
    let person = signed_in(cx, Section::Password).await?;
    if password::exists(&cx.app, &person.user).await? {
        return Ok(ask(cx, &person, false, None));
    }
    let person = confirmed(cx, Section::Password).await?;
    proved(cx).await?;
    Ok(ask(cx, &person, true, None))
}

/// Where there is no password to be asked for, the factor that there is must have been proved in this session.
async fn proved(cx: &Context) -> Result<(), Instead> {
    let step = factors::step(&cx.app, None, &cx.browser, cx.now).await?;
    if step.is_below() { Err(Instead::Confirm(Section::Password)) } else { Ok(()) }
}

/// Changes it.
pub async fn post(cx: Context, PageForm(params): PageForm) -> Response {
    match change(&cx, &params).await {
        Ok(response) => response,
        Err(instead) => instead.respond(&cx),
    }
}

async fn change(cx: &Context, params: &Params) -> Result<Response, Instead> {
    let person = answered(cx, params, PASSWORD, Section::Password).await?;
    let first = !password::exists(&cx.app, &person.user).await?;
    if first {
        answered_confirmed(cx, params, PASSWORD, Section::Password).await?;
        proved(cx).await?;
    }
    let typed = |name: &str| Secret::new(params.get(name).unwrap_or_default().to_owned());
    let passwords = Passwords { current: typed("password"), new: typed("new_password") };
    // What is wrong with the new one is said without a look at the current one.
    let problem = if passwords.new.expose() == typed("new_password_again").expose() {
        password::check(&cx.app, &passwords).err().map(PasswordFailure::NotTaken)
    } else {
        Some(PasswordFailure::NotRepeated)
    };
    if let Some(problem) = problem {
        return Ok(ask(cx, &person, first, Some(problem)));
    }
    let SignedIn { session, user } = &person;
    let cookie = if first {
        password::set_first(&cx.app, session, passwords.new, &cx.browser, cx.now).await
    } else {
        password::change(&cx.app, session, user, passwords, &cx.browser, cx.now).await
    };
    match cookie {
        Ok(cookie) => {
            let mut response = done(cx, Done::PasswordChanged);
            cx.set_cookie(&mut response, Name::Session, &cookie);
            Ok(response)
        }
        Err(Reason::SessionEnded) => Err(Instead::SignIn(Section::Password)),
        Err(reason) => match failure_of(&reason) {
            Some(failure) => {
                let response = ask(cx, &person, first, Some(PasswordFailure::Current(failure)));
                Ok(error::refused(response, reason, None))
            }
            None => Err(reason.into()),
        },
    }
}

fn ask(cx: &Context, person: &SignedIn, first: bool, failure: Option<PasswordFailure>) -> Response {
    let (token, fresh) = form_token(cx, person, PASSWORD);
    let view = PasswordView {
        frame: cx.frame(),
        form: Form { action: paths::ACCOUNT_PASSWORD, interaction: None, csrf: token.expose() },
        username: &person.user.username,
        first,
        shortest: cx.app.config.passwords.minimum_length,
        failure,
    };
    let current: Option<LoginFailure> = match failure {
        Some(PasswordFailure::Current(failure)) => Some(failure),
        Some(PasswordFailure::NotTaken(_) | PasswordFailure::NotRepeated) | None => None,
    };
    with_retry_after(page(cx, status_of(current), &view, fresh.as_ref()), current)
}
