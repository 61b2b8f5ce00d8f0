//! Changing one's own password: the one from before once more, and then everything that was signed in with it ends (security.md R-46).

use serde_json::json;

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::oauth::refusal::Reason;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::secret::Secret;
use crate::service::audit::{self, Actor};
use crate::service::browser::Browser;
use crate::service::login::Guess;
use crate::service::passwords::{PasswordError, PolicyError};
use crate::storage::sessions::Change;
use crate::storage::users;

/// How often a password is checked before the write must find the account unchanged.
const ATTEMPTS: usize = 2;

/// What was typed.
pub struct Passwords {
    pub current: Secret<String>,
    pub new: Secret<String>,
}

/// Why a new password is not taken, whatever the current one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    Policy(PolicyError),
    /// It is the one from before.
    Same,
}

/// Whether a new password could be taken. Says nothing about the current one.
///
/// # Errors
/// Why not.
pub fn check(app: &App, typed: &Passwords) -> Result<(), NotTaken> {
    app.passwords.check_policy(typed.new.expose()).map_err(NotTaken::Policy)?;
    if typed.new.expose() == typed.current.expose() { Err(NotTaken::Same) } else { Ok(()) }
}

/// Gives the person another password. In one transaction all their sessions, grants, refresh families, codes and open sign-ins end, and
/// this browser goes on in a session of its own under the new cookie that is the answer.
///
/// # Errors
/// As [`crate::service::login::confirm`].
pub async fn change(
    app: &App,
    session: &Session,
    user: &User,
    typed: Passwords,
    browser: &Browser,
    now: Timestamp,
) -> Result<Secret<String>, Reason> {
    let address = browser.address.map(|prefix| prefix.to_string());
    let mut guess = Guess::admit(app, &user.username, address.as_deref().unwrap_or_default(), now).await?;
    for _ in 0..ATTEMPTS {
        let (found, before) = guess.check(app, &typed.current, now).await?;
        if found.id != user.id {
            break;
        }
        let hash = hash(app, typed.new.clone()).await?;
        if let Some(cookie) = write(app, session, (Some(&before), &hash), browser, now).await? {
            return Ok(cookie);
        }
    }
    Err(Reason::SessionEnded)
}

/// Gives a person a first password, who has none and proved otherwise that it is them. It ends what [`change`] ends: whoever was signed in
/// elsewhere as this person proves anew who they are.
///
/// # Errors
/// [`Reason::SessionEnded`] if there is a password by now or the session is over; [`Reason::Overloaded`], or the database is away.
pub async fn set_first(
    app: &App,
    session: &Session,
    new: Secret<String>,
    browser: &Browser,
    now: Timestamp,
) -> Result<Secret<String>, Reason> {
    let hash = hash(app, new).await?;
    write(app, session, (None, &hash), browser, now).await?.ok_or(Reason::SessionEnded)
}

/// Whether the person has a password.
///
/// # Errors
/// When the database is away.
pub async fn exists(app: &App, user: &User) -> Result<bool, Reason> {
    Ok(users::password_hash(&app.db, user.id).await?.is_some())
}

async fn hash(app: &App, new: Secret<String>) -> Result<String, Reason> {
    app.passwords.hash(new).await.map_err(|error| match error {
        PasswordError::Overloaded { retry_after } => Reason::Overloaded { retry_after },
        PasswordError::Failed(detail) => Reason::Internal { detail },
    })
}

/// Writes the hash in place of the one from before, if nothing changed since. Answers with the cookie of the session that goes on.
async fn write(
    app: &App,
    session: &Session,
    (before, hash): (Option<&str>, &str),
    browser: &Browser,
    now: Timestamp,
) -> Result<Option<Secret<String>>, Reason> {
    let entropy = app.entropy.as_ref();
    let cookie = entropy::token(entropy);
    // The sign-in is the one from before, with its time and means: the person confirmed it, and did not sign in anew.
    let fresh = Session {
        id: entropy::row_id(entropy, now),
        sid: entropy::token(entropy).expose().clone(),
        created_at: now,
        last_used_at: now,
        ended_at: None,
        confirmed_at: before.map_or(session.confirmed_at, |_| Some(now)),
        device: browser.device.clone(),
        address: browser.address.map(|prefix| prefix.to_string()),
        ..session.clone()
    };
    let event = audit::event(app, now, &Actor::User(session.user_id), "user.change_password", &session.user_id.to_string());
    let event = audit::with_now(event, json!({ "first": before.is_none(), "sid": fresh.sid }));
    let change = Change { from: session.id, to: fresh, cookie: cookie.digest(), now };
    Ok(users::change_password(&app.db, change, before, hash, &event).await?.then_some(cookie))
}
