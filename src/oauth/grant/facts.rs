//! What a decision rests on: the facts that `storage` reads in one statement and hands to the pure core.
//!
//! Every redeem path gets a [`Standing`], so that no path can forget a check that its sibling makes: user enabled, client
//! enabled, grant not ended, browser session alive where the grant lives with it. The check itself is that of [`Life`], which is all that
//! is read of the grant of an access token.

use std::time::Duration;

use super::{AuthorizationCode, Grant};
use crate::clock::Timestamp;
use crate::oauth::device::DeviceCode;
use crate::oauth::family::Family;
use crate::oauth::refusal::Reason;
use crate::oidc::user::User;

/// The grant behind any artefact, with everybody on whom it depends.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub grant: Grant,
    /// The user of the grant. Removing a user removes the grants, so there always is one.
    pub user: User,
    /// `clients.enabled` as the database says it now, not as a cache remembers it.
    pub client_enabled: bool,
    /// The browser session that the grant lives with; `None` if it outlives it or has none, or the row is gone.
    pub session: Option<SessionFacts>,
}

/// What of a grant decides whether a token of it lives: the columns that [`Life::check`] looks at, and those that say whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life<Text = String> {
    pub client_id: Text,
    /// The user, as this client knows the user.
    pub sub: Text,
    pub user_enabled: bool,
    pub client_enabled: bool,
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ended_because: Option<Text>,
    /// See [`Grant::lives_with_session`].
    pub lives_with_session: bool,
    pub session: Option<SessionFacts>,
}

/// The columns of a browser session that say whether it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionFacts {
    pub last_used_at: Timestamp,
    /// The absolute end.
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// A grant and the refresh family issued from it, if there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantFacts {
    pub standing: Standing,
    pub family: Option<Family>,
}

/// A code, by digest, the grant behind it, and the family that its redemption made, if any.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeFacts {
    pub code: AuthorizationCode,
    pub standing: Standing,
    pub family: Option<Family>,
}

/// A device code, by digest, and what came of it: the grant behind it and the family of its redemption, if there are any.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceCodeFacts {
    pub code: DeviceCode,
    pub standing: Option<Standing>,
    pub family: Option<Family>,
}

/// A refresh family, by id, and the grant behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyFacts {
    pub family: Family,
    pub standing: Standing,
}

/// An access token of a user's grant: is its `jti` in `revoked_tokens`, and the life of the grant that the `jti` unseals to. One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts<Text = String> {
    pub revoked: bool,
    /// `None`: swept or removed, and then the token is inactive (design 4.1).
    pub grant: Option<Life<Text>>,
}

/// An access token of the client_credentials grant: it answers to `revoked_tokens` and to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTokenFacts {
    pub revoked: bool,
    /// `false` too if the client was removed.
    pub client_enabled: bool,
    /// When the client of this id that there is now was registered.
    pub registered_at: Option<Timestamp>,
    pub tokens_not_before: Option<Timestamp>,
}

impl<Text: AsRef<str>> Life<Text> {
    /// Everything on which a grant's life depends (security.md, lesson 4). `session_idle` is `[lifetimes] session_idle`.
    ///
    /// # Errors
    /// The first thing that fell, in the order of [`Fallen`].
    pub fn check(&self, session_idle: Duration, now: Timestamp) -> Result<(), Fallen> {
        if !self.user_enabled {
            return Err(Fallen::UserDisabled);
        }
        if !self.client_enabled {
            return Err(Fallen::ClientDisabled);
        }
        if self.ended_at.is_some() {
            return Err(Fallen::GrantEnded { because: self.ended_because.as_ref().map_or("", Text::as_ref).to_owned() });
        }
        if now >= self.expires_at {
            return Err(Fallen::GrantEnded { because: "its lifetime is over".to_owned() });
        }
        // Design 4.2: with offline_access a grant outlives the browser session; without, it ends with it.
        if self.lives_with_session && !self.session.is_some_and(|session| session.is_live(session_idle, now)) {
            return Err(Fallen::SessionEnded);
        }
        Ok(())
    }
}

impl Standing {
    /// What of it decides.
    pub fn life(&self) -> Life<&str> {
        let Self { grant, user, client_enabled, session } = self;
        Life {
            client_id: &grant.client_id,
            sub: &grant.sub,
            user_enabled: user.enabled,
            client_enabled: *client_enabled,
            expires_at: grant.expires_at,
            ended_at: grant.ended_at,
            ended_because: grant.ended_because.as_deref(),
            lives_with_session: grant.lives_with_session(),
            session: *session,
        }
    }

    /// [`Life::check`].
    ///
    /// # Errors
    /// The first thing that fell, by name.
    pub fn check(&self, session_idle: Duration, now: Timestamp) -> Result<(), Reason> {
        self.life().check(session_idle, now).map_err(|fallen| match fallen {
            Fallen::UserDisabled => Reason::UserDisabled { sub: self.user.sub.clone() },
            Fallen::ClientDisabled => Reason::ClientDisabled { client_id: self.grant.client_id.clone() },
            Fallen::GrantEnded { because } => Reason::GrantEnded { because },
            Fallen::SessionEnded => Reason::SessionEnded,
        })
    }
}

/// Why a grant does not stand any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallen {
    UserDisabled,
    ClientDisabled,
    GrantEnded { because: String },
    SessionEnded,
}

impl Fallen {
    /// The same for a token that was issued from the grant (RFC 6750 §3.1: invalid_token).
    pub fn of_token(self) -> Reason {
        let because = match self {
            Self::UserDisabled => "the user was disabled".to_owned(),
            Self::ClientDisabled => "the client was disabled".to_owned(),
            Self::GrantEnded { because } => format!("its grant has ended: {because}"),
            Self::SessionEnded => "the browser session that it lived with is over".to_owned(),
        };
        Reason::TokenRevoked { because }
    }
}

impl SessionFacts {
    /// Not ended, not idle for `idle` or longer, not past its absolute end.
    pub fn is_live(&self, idle: Duration, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at && now < self.last_used_at.plus(idle)
    }
}

impl Grant {
    /// Was `scope` granted?
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }

    /// Does the grant end with its browser session? (design 4.2; OpenID Connect Core §11)
    pub fn lives_with_session(&self) -> bool {
        (self.session_id.is_some() || self.sid.is_some()) && !self.has_scope("offline_access")
    }
}
