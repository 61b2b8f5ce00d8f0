//! A browser session: who signed in here, when and how.

use uuid::Uuid;

use crate::clock::Timestamp;

/// A browser session as the store holds it, by digest of its cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Row id.
    pub id: Uuid,
    /// Random; the `sid` claim (OpenID Connect Front-Channel Logout §3). Never the cookie, never the row id.
    pub sid: String,
    pub user_id: Uuid,
    pub auth_time: Timestamp,
    pub acr: Option<String>,
    pub amr: Vec<String>,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// The absolute end.
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// When the person last confirmed that it is them, without signing in anew: see [`Session::proved_at`].
    pub confirmed_at: Option<Timestamp>,
    /// Browser and system in a few words, for the person's own list of sessions.
    pub device: Option<String>,
    /// The address prefix of the last use.
    pub address: Option<String>,
}

impl Session {
    /// When the person last proved who they are: by signing in, or by confirming it on the account page. A confirmation is between the
    /// person and this server. `auth_time`, `acr` and `amr`, which are told to clients, speak of the sign-in alone.
    pub fn proved_at(&self) -> Timestamp {
        self.confirmed_at.map_or(self.auth_time, |confirmed_at| confirmed_at.max(self.auth_time))
    }

    /// Not ended, not idle for `idle` or longer, not past its absolute end.
    pub fn is_live(&self, idle: std::time::Duration, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at && now < self.last_used_at.plus(idle)
    }
}
