//! Whether somebody has to sign in for a request (OpenID Connect Core §3.1.2.1, §3.1.2.3).

use std::time::Duration;

use super::{Known, Progress};
use crate::clock::Timestamp;
use crate::oauth::authorize::{Prompt, ValidatedAuthorize};
use crate::oauth::refusal::LoginBecause;
use crate::oidc::authentication::Acr;
use crate::oidc::session::Session;
use crate::oidc::user::User;

/// A browser session and its person, as far as the decision needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// As the client knows the person.
    pub sub: String,
    pub enabled: bool,
    /// May be granted admin scopes.
    pub admin: bool,
    pub auth_time: Timestamp,
    /// What was proved at sign-in and since.
    pub level: Acr,
    pub state: SessionState,
}

/// Is a session alive?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    Live,
    /// Idle for too long, or past its absolute end.
    Expired {
        expired_at: Timestamp,
    },
    Ended,
}

impl SessionFacts {
    /// The facts of a session; `sub` is how the client knows its person, `idle` is `[lifetimes] session_idle`.
    pub fn of(session: &Session, user: &User, sub: String, idle: Duration, now: Timestamp) -> Self {
        let expired_at = session.expires_at.min(session.last_used_at.plus(idle));
        let state = match session.ended_at {
            Some(_) => SessionState::Ended,
            None if now >= expired_at => SessionState::Expired { expired_at },
            None => SessionState::Live,
        };
        Self {
            sub,
            enabled: user.enabled,
            admin: user.admin,
            auth_time: session.auth_time,
            level: Acr::of(session.acr.as_deref()),
            state,
        }
    }
}

/// The session, if nobody has to sign in for this request.
pub(super) fn usable_session<'a>(
    request: &ValidatedAuthorize,
    known: &Known<'a>,
    progress: &Progress,
    now: Timestamp,
) -> Result<&'a SessionFacts, LoginBecause> {
    let session = known.session.ok_or(LoginBecause::NoSession)?;
    match session.state {
        SessionState::Live => {}
        SessionState::Expired { expired_at } => return Err(LoginBecause::SessionExpired { expired_at, now }),
        SessionState::Ended => return Err(LoginBecause::SessionEnded),
    }
    if !session.enabled {
        return Err(LoginBecause::UserDisabled);
    }
    // OpenID Connect Core §3.1.2.2: never an answer about somebody else than the request names.
    let is_named = request.subs.is_empty() || request.subs.contains(&session.sub);
    if !is_named || known.hint_sub.is_some_and(|sub| sub != session.sub) {
        return Err(LoginBecause::OtherUser);
    }
    // A sign-in within this interaction answers both prompt=login and max_age, however long the consent page then takes.
    if signed_in_here(known, progress) {
        return Ok(session);
    }
    if request.prompts(Prompt::Login) {
        return Err(LoginBecause::PromptLogin);
    }
    if let Some(max_age) = request.max_age {
        let age = now.since(session.auth_time);
        // OpenID Connect Core §3.1.2.1: max_age=0 is prompt=login.
        if max_age == 0 || age > Duration::from_secs(max_age) {
            return Err(LoginBecause::MaxAge { max_age, age: age.as_secs() });
        }
    }
    Ok(session)
}

/// The present session was begun by signing in within this interaction.
pub(super) fn signed_in_here(known: &Known<'_>, progress: &Progress) -> bool {
    matches!((known.session, progress.signed_in_at), (Some(session), Some(at)) if session.auth_time >= at)
}
