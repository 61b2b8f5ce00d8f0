//! What a grant decided to issue. Decisions end here; `service/issue` mints, alone and for all grants.

use std::time::Duration;

use super::Grant;
use super::facts::Standing;
use crate::oauth::family::Family;
use crate::oauth::refusal::Reason;
use crate::oauth::scope;

/// Tokens to mint, once the write that the decision rests on has gone through.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuance {
    pub client_id: String,
    /// The user's authorization; `None` for client_credentials.
    pub standing: Option<Standing>,
    /// The scopes of this access token.
    pub scopes: Vec<String>,
    /// The resources asked for (RFC 8707 §2.2); empty: those of the scopes (design 4.4).
    pub resources: Vec<String>,
    pub refresh: RefreshPlan,
    /// An ID token goes with it: `openid` is among the scopes.
    pub id_token: bool,
    /// OpenID Connect Core §3.1.3.3: of the authorization request. Never in a refresh answer.
    pub nonce: Option<String>,
}

/// Whether a refresh token goes with the answer (design 4.2, "Who gets one").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshPlan {
    /// None: client_credentials, or a client without the refresh_token grant.
    None,
    /// The first one of a new family.
    Begin,
    /// The head of the family as it will be: `after.generation`. To be written under the condition that `before` still stands.
    Answer { before: Family, after: Family },
}

/// The `[lifetimes]` that decisions of the token endpoint depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A browser session that is not used for so long is over.
    pub session_idle: Duration,
    /// A refresh family that is not used for so long is over.
    pub refresh_idle: Duration,
}

impl Issuance {
    /// The authorization behind it, if a user gave one.
    pub fn grant(&self) -> Option<&Grant> {
        self.standing.as_ref().map(|standing| &standing.grant)
    }

    /// The access token's `sub`: the user's, or the client itself (RFC 9068 §2.2).
    pub fn sub(&self) -> &str {
        self.grant().map_or(self.client_id.as_str(), |grant| grant.sub.as_str())
    }

    /// Keeps the scopes that are still allowed: a client may have lost some since the grant (security.md R-45). The answer says what
    /// is left (RFC 6749 §5.1).
    ///
    /// # Errors
    /// `ScopeNotAllowed` if there were scopes and none is left.
    pub fn keep_allowed(mut self, allowed: &[String]) -> Result<Self, Reason> {
        let Some(first) = scope::first_outside(&self.scopes, allowed).cloned() else {
            return Ok(self);
        };
        self.scopes.retain(|scope| allowed.contains(scope));
        if self.scopes.is_empty() {
            return Err(Reason::ScopeNotAllowed { scope: first, allowed: allowed.to_vec() });
        }
        self.id_token = self.id_token && self.scopes.iter().any(|scope| scope == scope::OPENID);
        Ok(self)
    }
}
