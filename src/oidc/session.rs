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
}

impl Session {
    /// Not ended, not idle for `idle` or longer, not past its absolute end.
    pub fn is_live(&self, idle: std::time::Duration, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at && now < self.last_used_at.plus(idle)
    }
}
