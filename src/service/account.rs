//! What people do with their own account: see where they are signed in and which apps have access, and end it.

pub mod password;
pub mod profile;

use std::collections::BTreeMap;

use crate::app::App;
use crate::clock::Timestamp;
use crate::oauth::refusal::Reason;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::service::audit::{self, Actor};
use crate::storage::{consents, grants, sessions, users};

/// More live sessions than that are not listed.
const MOST_SESSIONS: u32 = 100;
/// More kinds of access than that are not looked at.
const MOST_ACCESS: u32 = 500;

/// An app that has access to the account: by a consent that is remembered, or by grants from which tokens can still be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppAccess {
    pub client_id: String,
    pub scopes: Vec<String>,
    /// Asked for by name beside them.
    pub claims: Vec<String>,
    /// Since when, as far as it is known.
    pub since: Timestamp,
    /// When it last got tokens; `None` if it has nothing at the moment.
    pub last_used_at: Option<Timestamp>,
}

/// The live sessions of a person, the one of this browser first, then by their last use.
///
/// # Errors
/// When the database is away.
pub async fn sessions(app: &App, user: &User, this: &Session, now: Timestamp) -> Result<Vec<Session>, Reason> {
    let idle = app.config.lifetimes.session_idle;
    let mut found = sessions::list_for_user(&app.db, user.id, now, MOST_SESSIONS).await?;
    found.retain(|session| session.is_live(idle, now));
    found.sort_by_key(|session| (session.id != this.id, std::cmp::Reverse(session.last_used_at)));
    Ok(found)
}

/// The apps that have access to the account, by client id.
///
/// # Errors
/// When the database is away.
pub async fn apps(app: &App, user: &User, now: Timestamp) -> Result<Vec<AppAccess>, Reason> {
    let lifetimes = &app.config.lifetimes;
    let longest = app.registry.catalogue().await?.longest_lifetime(lifetimes.access_token);
    let live = grants::Live {
        now,
        session_used_after: now.minus(lifetimes.session_idle),
        family_used_after: now.minus(lifetimes.refresh_idle),
        // What was never turned into a refresh token dies with the code, a device's too, and the access token.
        granted_after: now.minus(lifetimes.code.max(lifetimes.device_code) + longest),
    };
    let mut apps: BTreeMap<String, AppAccess> = BTreeMap::new();
    for consent in consents::list_for_user(&app.db, user.id).await? {
        let access = AppAccess {
            client_id: consent.client_id.clone(),
            scopes: consent.scopes,
            claims: consent.claims,
            since: consent.created_at,
            last_used_at: None,
        };
        apps.insert(consent.client_id, access);
    }
    for access in grants::access_of_user(&app.db, user.id, &live, MOST_ACCESS).await? {
        let known = apps.entry(access.client_id.clone()).or_insert_with(|| AppAccess {
            client_id: access.client_id,
            scopes: Vec::new(),
            claims: Vec::new(),
            since: access.since,
            last_used_at: None,
        });
        known.since = known.since.min(access.since);
        known.last_used_at = known.last_used_at.max(Some(access.last_used_at));
        for scope in access.scopes {
            if !known.scopes.contains(&scope) {
                known.scopes.push(scope);
            }
        }
    }
    Ok(apps.into_values().collect())
}

/// Takes an app's access back: the consent is forgotten; grants, refresh families, tokens and codes end at once. `false` if it had none.
///
/// # Errors
/// When the database is away: then nothing is acknowledged (security.md R-11).
pub async fn withdraw(app: &App, user: &User, client_id: &str, now: Timestamp) -> Result<bool, Reason> {
    let event = audit::event(app, now, &Actor::User(user.id), "consent.withdraw", client_id);
    Ok(consents::withdraw(&app.db, user.id, client_id, now, &event).await?)
}

/// Ends one of the person's own sessions, by its `sid`. `false` if they have no such session, or it had ended.
///
/// # Errors
/// When the database is away.
pub async fn end_session(app: &App, user: &User, sid: &str, now: Timestamp) -> Result<bool, Reason> {
    // Whose session it is never changes, so that it may be looked at first.
    let Some(session) = sessions::find_for_user(&app.db, user.id, sid).await? else { return Ok(false) };
    let because = "ended on the account page";
    let event = audit::session_end(app, now, &Actor::User(user.id), &session, because);
    Ok(sessions::end(&app.db, session.id, now, because, Some(&event)).await?)
}

/// Ends everything that the person is signed in to, this browser included.
///
/// # Errors
/// When the database is away.
pub async fn sign_out_everywhere(app: &App, user: &User, now: Timestamp) -> Result<(), Reason> {
    let event = audit::event(app, now, &Actor::User(user.id), "user.sign_out", &user.id.to_string());
    users::sign_out(&app.db, user.id, now, &event).await?;
    Ok(())
}

/// Ends every session but this one, and every grant that did not begin in it, `offline_access` or not.
///
/// # Errors
/// When the database is away.
pub async fn sign_out_elsewhere(app: &App, user: &User, this: &Session, now: Timestamp) -> Result<(), Reason> {
    let event = audit::event(app, now, &Actor::User(user.id), "user.sign_out_elsewhere", &user.id.to_string());
    users::sign_out_elsewhere(&app.db, user.id, this.id, now, &event).await?;
    Ok(())
}
