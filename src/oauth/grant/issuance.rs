//! What a grant decided to issue. An [`Issuance`] is made by [`Draft::settle`] alone, which looks at the whole world once more: so every
//! grant makes the same checks, and `service/issue` mints from nothing else (design 3, security.md R-09).

use std::time::Duration;

use super::Grant;
use super::facts::Standing;
use crate::clock::Timestamp;
use crate::oauth::client_auth::AuthenticatedClient;
use crate::oauth::family::Family;
use crate::oauth::refusal::Reason;
use crate::oauth::resource::{self, Audience, Catalogue};
use crate::oauth::scope;

/// Tokens to mint, once the write that the decision rests on has gone through.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuance {
    pub client_id: String,
    /// The user's authorization; `None` for client_credentials.
    pub standing: Option<Standing>,
    /// For whom the access token is, with which scopes, and how it is made. Its scopes are the `scope` of the answer.
    pub audience: Audience,
    pub refresh: RefreshPlan,
    /// An ID token goes with it: `openid` is among the scopes.
    pub id_token: bool,
    /// OpenID Connect Core §3.1.3.3: of the authorization request. Never in a refresh answer.
    pub nonce: Option<String>,
    /// Nobody else makes one.
    _settled: Settled,
}

#[derive(Debug, Clone, PartialEq)]
struct Settled;

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

/// What a grant wants to issue, before the last look at the world.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub standing: Option<Standing>,
    pub scopes: Vec<String>,
    /// The resources asked for or granted (RFC 8707 §2.2); empty: those of the scopes (design 4.4).
    pub resources: Vec<String>,
    pub refresh: RefreshPlan,
    pub nonce: Option<String>,
}

impl Draft {
    /// The one way to an [`Issuance`]: the grant stands, the scopes are still allowed, the audience still exists.
    ///
    /// # Errors
    /// Those of [`Standing::check`]; `ScopeNotAllowed` if there were scopes and none is left; those of [`Catalogue::audiences`].
    pub(super) fn settle(
        self,
        client: &AuthenticatedClient,
        catalogue: &Catalogue,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Issuance, Reason> {
        if let Some(standing) = &self.standing {
            standing.check(limits.session_idle, now)?;
        }
        let scopes = still_allowed(self.scopes, client, self.standing.as_ref(), catalogue)?;
        let audience = catalogue.audiences(&self.resources, &scopes, catalogue.issuer())?;
        Ok(Issuance {
            client_id: client.client_id.clone(),
            id_token: self.standing.is_some() && scopes.iter().any(|scope| scope == scope::OPENID),
            standing: self.standing,
            audience,
            refresh: self.refresh,
            nonce: self.nonce,
            _settled: Settled,
        })
    }
}

/// A client may have lost scopes since the grant, and a user their office (security.md R-45). What is left is said in the answer
/// (RFC 6749 §5.1).
fn still_allowed(
    mut scopes: Vec<String>,
    client: &AuthenticatedClient,
    standing: Option<&Standing>,
    catalogue: &Catalogue,
) -> Result<Vec<String>, Reason> {
    let is_allowed = |scope: &String| {
        let office = !resource::is_admin(scope) || standing.is_none_or(|standing| standing.user.admin);
        office && client.allows(scope, catalogue.resources())
    };
    let Some(first) = scopes.iter().find(|scope| !is_allowed(scope)).cloned() else {
        return Ok(scopes);
    };
    scopes.retain(is_allowed);
    if scopes.is_empty() {
        return Err(Reason::ScopeNotAllowed { scope: first, allowed: client.allowed_scopes(catalogue.resources()) });
    }
    Ok(scopes)
}

impl Issuance {
    /// The authorization behind it, if a user gave one.
    pub fn grant(&self) -> Option<&Grant> {
        self.standing.as_ref().map(|standing| &standing.grant)
    }

    /// When the access token ends: after the shortest lifetime of its resources, else after `default` (`[lifetimes] access_token`),
    /// but never after its grant, and one of a refresh never after its family (security.md R-44).
    pub fn access_token_expires_at(&self, default: Duration, now: Timestamp) -> Timestamp {
        let end = now.plus(self.audience.lifetime.map_or(default, Duration::from_secs));
        let family_end = match &self.refresh {
            RefreshPlan::Answer { after, .. } => Some(after.expires_at),
            RefreshPlan::None | RefreshPlan::Begin => None,
        };
        let ends = [self.grant().map(|grant| grant.expires_at), family_end];
        ends.into_iter().flatten().fold(end, Timestamp::min)
    }

    /// The access token's `sub`: the user's, or the client itself (RFC 9068 §2.2).
    pub fn sub(&self) -> &str {
        self.grant().map_or(self.client_id.as_str(), |grant| grant.sub.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::grant::samples::{self, at};

    fn draft(scopes: &str) -> Draft {
        Draft {
            standing: Some(samples::standing()),
            scopes: scopes.split(' ').map(str::to_owned).collect(),
            resources: Vec::new(),
            refresh: RefreshPlan::None,
            nonce: None,
        }
    }

    fn settle(draft: Draft, registered: &str) -> Result<Issuance, Reason> {
        let mut client = samples::client("app");
        client.metadata.scope = Some(registered.to_owned());
        draft.settle(&samples::authenticated(client), &samples::catalogue(), &samples::LIMITS, at(1))
    }

    #[test]
    fn a_scope_that_the_client_lost_is_left_out() {
        let issuance = settle(draft("openid email orders:read"), "openid orders:read").unwrap();
        assert_eq!(issuance.audience.scopes, ["openid", "orders:read"]);
        let issuance = settle(draft("openid orders:read"), "orders:read").unwrap();
        assert_eq!((issuance.audience.scopes.join(" "), issuance.id_token), ("orders:read".to_owned(), false));
        assert!(matches!(settle(draft("orders:read"), "openid"), Err(Reason::ScopeNotAllowed { .. })));
    }

    #[test]
    fn a_scope_whose_resource_is_gone_is_left_out() {
        let issuance = settle(draft("openid old:read"), "openid old:read").unwrap();
        assert_eq!(issuance.audience.scopes, ["openid"]);
    }

    #[test]
    fn admin_scopes_are_for_administrators() {
        let mut office = draft("openid admin:read");
        assert_eq!(settle(office.clone(), "openid admin:write").unwrap().audience.scopes, ["openid"]);
        office.standing.as_mut().unwrap().user.admin = true;
        assert_eq!(settle(office, "openid admin:write").unwrap().audience.scopes, ["openid", "admin:read"]);
    }

    #[test]
    fn an_access_token_outlives_neither_its_lifetime_nor_its_grant_nor_its_family() {
        let ten_minutes = Duration::from_secs(600);
        let mut issuance = settle(draft("openid"), "openid").unwrap();
        assert_eq!(issuance.access_token_expires_at(ten_minutes, at(0)), at(600));
        issuance.audience.lifetime = Some(60);
        assert_eq!(issuance.access_token_expires_at(ten_minutes, at(0)), at(60));
        let after = Family { expires_at: at(30), ..samples::family() };
        issuance.refresh = RefreshPlan::Answer { before: after.clone(), after };
        assert_eq!(issuance.access_token_expires_at(ten_minutes, at(0)), at(30));
        issuance.standing.as_mut().unwrap().grant.expires_at = at(20);
        assert_eq!(issuance.access_token_expires_at(ten_minutes, at(0)), at(20));
    }

    #[test]
    fn nothing_is_settled_on_a_grant_that_does_not_stand() {
        let mut fallen = draft("openid");
        fallen.standing.as_mut().unwrap().user.enabled = false;
        assert!(matches!(settle(fallen, "openid"), Err(Reason::UserDisabled { .. })));
    }

    #[test]
    fn openid_is_for_the_issuer_and_other_scopes_for_their_resource() {
        assert_eq!(settle(draft("openid"), "openid").unwrap().audience.aud, ["https://id.test"]);
        let both = settle(draft("openid orders:read"), "openid orders:read").unwrap();
        assert_eq!(both.audience.aud, ["https://id.test", "https://orders.test"]);
        assert!(both.id_token);
    }
}
