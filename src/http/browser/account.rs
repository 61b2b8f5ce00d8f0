//! `/account` and what lies below it: the pages of the signed-in person about themselves.
//!
//! One page of sections, each with its buttons, and a page of its own for whatever has fields to fill in. Every one of them begins with
//! [`signed_in`], or with [`confirmed`] where somebody who finds an unlocked screen must not get on; every form with [`answered`].

pub mod confirm;
pub mod password;
pub mod profile;

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;

use super::logout::signed_out;
use super::{Context, paths};
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::shown_name;
use crate::http::pages::csp::Policy;
use crate::http::pages::view::account::{AccountView, AppRow, Done, ProfileRow, SessionRow};
use crate::http::pages::view::{Form, Person};
use crate::http::pages::{csrf, scope_words};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oidc::session::Session;
use crate::oidc::third_party_login;
use crate::oidc::user::User;
use crate::secret::Secret;
use crate::service::{account, browser, logout};
use crate::storage::sessions;

const PURPOSE: &str = "account";
const PROFILE: &str = "profile";
const PASSWORD: &str = "password";

/// For how long after signing in or confirming that it is them a person sees what is sensitive.
const CONFIRMED_FOR: Duration = Duration::from_secs(5 * 60);
/// For how long they may take to answer it then.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5 * 60);

/// The pages of the account. Where somebody goes on after signing in or confirming is one of these, by its word: never a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Overview,
    Profile,
    Password,
    /// Second factors: see `browser::factors`.
    Factors,
}

impl Section {
    const ALL: [Self; 4] = [Self::Overview, Self::Profile, Self::Password, Self::Factors];

    /// What addresses call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Overview => "account",
            Self::Profile => "profile",
            Self::Password => "password",
            Self::Factors => "factors",
        }
    }

    /// Its path below the issuer.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Overview => paths::ACCOUNT,
            Self::Profile => paths::ACCOUNT_PROFILE,
            Self::Password => paths::ACCOUNT_PASSWORD,
            Self::Factors => paths::FACTORS,
        }
    }

    /// The one that these parameters name as `to`; the overview if they name none.
    pub fn named_in(params: &Params) -> Self {
        let word = params.get("to").unwrap_or_default();
        Self::ALL.into_iter().find(|section| section.word() == word).unwrap_or(Self::Overview)
    }
}

/// Whose page it is. There is one only while their session is live.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub session: Session,
    pub user: User,
}

/// What a person sees in place of the page that they asked for.
#[derive(Debug)]
pub enum Instead {
    /// Nobody is signed in, or not any more.
    SignIn(Section),
    /// The last proof that it is them is too long ago.
    Confirm(Section),
    /// The form came from a page that was shown to somebody else: the page as it is for whoever is signed in now.
    Again(Section),
    Refused(Reason),
}

impl From<Reason> for Instead {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl Instead {
    /// The answer.
    pub fn respond(self, cx: &Context) -> Response {
        match self {
            Self::SignIn(Section::Overview) => cx.see_other(&cx.path(paths::LOGIN)),
            Self::SignIn(section) => cx.see_other(&format!("{}?to={}", cx.path(paths::LOGIN), section.word())),
            Self::Confirm(section) => cx.see_other(&format!("{}?to={}", cx.path(paths::ACCOUNT_CONFIRM), section.word())),
            Self::Again(section) => cx.see_other(&cx.path(section.path())),
            Self::Refused(reason) => cx.refuse(reason, None),
        }
    }
}

/// The person who is signed in in this browser. Looking at the account counts as using the session.
///
/// # Errors
/// Nobody is, or the database is away.
pub async fn signed_in(cx: &Context, section: Section) -> Result<SignedIn, Instead> {
    let idle = cx.app.config.lifetimes.session_idle;
    match browser::session(&cx.app, &cx.browser).await? {
        Some((session, user)) if user.enabled && session.is_live(idle, cx.now) => {
            let address = Some(cx.address_prefix().to_string());
            sessions::touch(&cx.app.db, session.id, session.last_used_at, address, cx.now).await.map_err(Reason::from)?;
            Ok(SignedIn { session, user })
        }
        Some(_) | None => Err(Instead::SignIn(section)),
    }
}

/// As [`signed_in`], for a page that is shown only to those who proved within the last minutes that it is them.
///
/// # Errors
/// As there, or they have to prove it first.
pub async fn confirmed(cx: &Context, section: Section) -> Result<SignedIn, Instead> {
    proved_within(cx, signed_in(cx, section).await?, section, CONFIRMED_FOR)
}

/// The person whose form of ours this is, from a page that was shown in this very session.
///
/// # Errors
/// A form that is not ours, nobody is signed in, or somebody else is by now.
pub async fn answered(cx: &Context, params: &Params, purpose: &str, section: Section) -> Result<SignedIn, Instead> {
    cx.own_form(params, purpose)?;
    let person = signed_in(cx, section).await?;
    if cx.is_current(params, purpose, &person.session.id.to_string()) { Ok(person) } else { Err(Instead::Again(section)) }
}

/// As [`answered`], for the form of a page that [`confirmed`] people see.
///
/// # Errors
/// As there, or the proof is too long ago.
pub async fn answered_confirmed(cx: &Context, params: &Params, purpose: &str, section: Section) -> Result<SignedIn, Instead> {
    let person = answered(cx, params, purpose, section).await?;
    proved_within(cx, person, section, CONFIRMED_FOR + ANSWERED_WITHIN)
}

fn proved_within(cx: &Context, person: SignedIn, section: Section, limit: Duration) -> Result<SignedIn, Instead> {
    if cx.now.since(person.session.proved_at()) < limit { Ok(person) } else { Err(Instead::Confirm(section)) }
}

/// The token for a form of these pages, and the browser's new binding if it must be set: see [`page`].
pub fn form_token(cx: &Context, person: &SignedIn, purpose: &str) -> (Secret<String>, Option<Secret<String>>) {
    let (binding, fresh) = cx.binding();
    (csrf::token(&cx.app.keys.data(), &binding, purpose, &person.session.id.to_string()), fresh)
}

/// A page of the account.
pub fn page(cx: &Context, status: StatusCode, view: &impl askama::Template, fresh: Option<&Secret<String>>) -> Response {
    cx.page(status, view, &Policy::strict(), fresh)
}

/// Shows the account.
pub async fn get(cx: Context) -> Response {
    match show(&cx).await {
        Ok(response) => response,
        Err(instead) => instead.respond(&cx),
    }
}

/// Ends a session, takes access back, or signs out.
pub async fn post(cx: Context, PageForm(params): PageForm) -> Response {
    match act(&cx, &params).await {
        Ok(response) => response,
        Err(instead) => instead.respond(&cx),
    }
}

async fn act(cx: &Context, params: &Params) -> Result<Response, Instead> {
    let SignedIn { session, user } = answered(cx, params, PURPOSE, Section::Overview).await?;
    let (app, now) = (&cx.app, cx.now);
    // What was not there any more is gone, as was wished: the page says the same, and nothing of what others have.
    if let Some(client_id) = params.get("withdraw") {
        account::withdraw(app, &user, client_id, now).await?;
        return Ok(done(cx, Done::Withdrawn));
    }
    if let Some(sid) = params.get("end_session") {
        if sid == session.sid {
            return Ok(signed_out(cx, &logout::end(app, &session, &user, now).await?, None));
        }
        account::end_session(app, &user, sid, now).await?;
        return Ok(done(cx, Done::SessionEnded));
    }
    let frames = match params.get("sign_out") {
        Some("here") => logout::end(app, &session, &user, now).await?,
        Some("elsewhere") => {
            account::sign_out_elsewhere(app, &user, &session, now).await?;
            return Ok(done(cx, Done::SignedOutElsewhere));
        }
        Some("everywhere") => {
            let frames = logout::frames_of(app, &session).await?;
            account::sign_out_everywhere(app, &user, now).await?;
            frames
        }
        Some(other) => {
            let (name, received) = ("sign_out".to_owned(), other.to_owned());
            return Err(Reason::MalformedParameter { name, received, detail: "here, elsewhere or everywhere".to_owned() }.into());
        }
        None => return Err(Reason::MissingParameter { name: "sign_out".to_owned() }.into()),
    };
    Ok(signed_out(cx, &frames, None))
}

/// Back to the page, which says once what was done.
fn done(cx: &Context, done: Done) -> Response {
    cx.see_other(&format!("{}?done={}", cx.path(paths::ACCOUNT), done.word()))
}

async fn show(cx: &Context) -> Result<Response, Instead> {
    let done = cx.query()?.get("done").and_then(Done::of_word);
    let person = signed_in(cx, Section::Overview).await?;
    let (apps, sessions) = (apps(cx, &person.user).await?, sessions_of(cx, &person).await?);
    let (token, fresh) = form_token(cx, &person, PURPOSE);
    let view = AccountView {
        frame: cx.frame(),
        form: Form { action: paths::ACCOUNT, interaction: None, csrf: token.expose() },
        person: Person::of(&person.user),
        done,
        profile: &ProfileRow::of(cx.lang(), &person.user),
        sessions: &sessions,
        apps: &apps,
        has_password: account::password::exists(&cx.app, &person.user).await?,
    };
    Ok(page(cx, StatusCode::OK, &view, fresh.as_ref()))
}

async fn sessions_of(cx: &Context, person: &SignedIn) -> Result<Vec<SessionRow>, Reason> {
    let found = account::sessions(&cx.app, &person.user, &person.session, cx.now).await?;
    let texts = &cx.lang().texts().account;
    Ok(found
        .into_iter()
        .map(|session| SessionRow {
            here: session.id == person.session.id,
            device: session.device.unwrap_or_else(|| texts.unknown_device.to_owned()),
            address: session.address,
            last_used: cx.lang().ago(session.last_used_at, cx.now),
            since: cx.lang().date(session.created_at),
            sid: session.sid,
        })
        .collect())
}

async fn apps(cx: &Context, user: &User) -> Result<Vec<AppRow>, Reason> {
    let catalogue = cx.app.registry.catalogue().await?;
    let (mut rows, issuer) = (Vec::new(), cx.app.config.issuer.as_str());
    for access in account::apps(&cx.app, user, cx.now).await? {
        let client = cx.app.registry.client(&access.client_id).await?;
        let name = client.as_ref().and_then(|client| client.metadata.client_name.as_deref());
        rows.push(AppRow {
            name: shown_name(name, &access.client_id),
            scopes: scope_words::groups(cx.lang(), &access.scopes, &catalogue)
                .into_iter()
                .flat_map(|group| group.scopes)
                .map(|scope| scope.title)
                .chain(access.claims.iter().map(|claim| scope_words::claim_title(cx.lang(), claim)))
                .collect(),
            open: client.as_deref().and_then(|client| third_party_login::url(client, user, &access.scopes, issuer)),
            since: cx.lang().date(access.since),
            last_used: access.last_used_at.map(|at| cx.lang().ago(at, cx.now)),
            id: access.client_id,
        });
    }
    Ok(rows)
}
