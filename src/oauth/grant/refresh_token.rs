//! The refresh token grant at the token endpoint (RFC 6749 §6, RFC 9700 §4.14, design 4.2).

use std::time::Duration;

use super::facts::FamilyFacts;
use super::issuance::{Draft, Issuance, Limits, RefreshPlan};
use super::narrow;
use crate::clock::Timestamp;
use crate::oauth::client::{GrantType, Profile, RefreshRotation};
use crate::oauth::client_auth::AuthenticatedClient;
use crate::oauth::family::{self, Outcome, Presented};
use crate::oauth::params::Params;
use crate::oauth::refusal::{Reason, Refusal};
use crate::oauth::resource::Catalogue;

/// RFC 6749 §6, RFC 8707 §2.2.
#[derive(Debug, Clone)]
pub struct Request {
    pub token: Presented,
    /// `None`: all that the grant has.
    pub scope: Option<Vec<String>>,
    pub resources: Vec<String>,
}

impl Request {
    /// # Errors
    /// `MissingParameter`, `RefreshTokenUnknown` for what is none of our refresh tokens, `ScopeMalformed`.
    pub fn parse(params: &Params) -> Result<Self, Reason> {
        Ok(Self {
            token: Presented::parse(params.require("refresh_token")?).ok_or(Reason::RefreshTokenUnknown)?,
            scope: narrow::requested_scope(params)?,
            resources: narrow::requested_resources(params),
        })
    }
}

/// Decides about a refresh token. `facts` is what the store found under its family id, `genuine` whether the MAC holds for that
/// family ([`Presented::is_genuine`]).
///
/// # Errors
/// Every reason of RFC 6749 §5.2 that applies; a theft carries the end of the grant as its effect.
pub fn decide(
    request: &Request,
    client: &AuthenticatedClient,
    facts: Option<&FamilyFacts>,
    genuine: bool,
    catalogue: &Catalogue,
    limits: &Limits,
    now: Timestamp,
) -> Result<Issuance, Refusal> {
    // RFC 6749 §5.2: the client must be authorized to use this grant.
    super::allowed(client, GrantType::RefreshToken)?;
    let Some(FamilyFacts { family, standing }) = facts else {
        return Err(Reason::RefreshTokenUnknown.into());
    };
    // The family's own client, MAC, not ended, idle, absolute lifetime: a failure changes nothing.
    if let Err(reason) = family::admit(family, &client.client_id, genuine, limits.refresh_idle, now) {
        // A disabled account ended the family too: the record names the cause, not the consequence.
        let cause = matches!(reason, Reason::RefreshFamilyEnded { .. }) && !standing.user.enabled;
        return Err(if cause { Reason::UserDisabled { sub: standing.user.sub.clone() } } else { reason }.into());
    }
    // User, client, grant and session, as for every grant.
    standing.check(limits.session_idle, now)?;
    // Only now the generation.
    let after = match family::present(family, request.token.generation, &rules(client), now) {
        Outcome::Same(after) | Outcome::Rotate(after) | Outcome::Head(after) => after,
        Outcome::Refuse(refusal) => return Err(refusal),
    };
    // RFC 6749 §6, RFC 8707 §2.2: less than was granted, never more. A refusal here leaves the family as it was.
    let grant = &standing.grant;
    let scopes = narrow::scopes(request.scope.as_deref(), &grant.scopes)?;
    let draft = Draft {
        resources: narrow::resources(&request.resources, &grant.resources, &scopes, catalogue)?,
        scopes,
        refresh: RefreshPlan::Answer { before: family.clone(), after },
        // OpenID Connect Core §12.2: an ID token goes with it, without nonce. kubectl and others need it.
        nonce: None,
        standing: Some(standing.clone()),
    };
    Ok(draft.settle(client, catalogue, limits, now)?)
}

/// How this client's refresh tokens behave.
fn rules(client: &AuthenticatedClient) -> family::Facts {
    let metadata = &client.metadata;
    family::Facts {
        rotation: match metadata.profile {
            // FAPI 2.0 Security Profile §5.3.2.1: no rotation.
            Some(Profile::Fapi2) => RefreshRotation::None,
            None => metadata.refresh_rotation,
        },
        confidential_or_bound: client.method().proves(),
        recovery: Duration::from_secs(metadata.refresh_recovery),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::AuthMethod;
    use crate::oauth::client::Client;
    use crate::oauth::family::Family;
    use crate::oauth::grant::samples::{self, at};
    use crate::oauth::refusal::Effect;

    fn request(generation: i64, more: &str) -> Request {
        let token = family::encode(samples::family().id, generation, &[1; 32]);
        let body = format!("grant_type=refresh_token&refresh_token={}{more}", token.expose());
        Request::parse(&Params::parse_form(body.as_bytes()).unwrap()).unwrap()
    }

    fn facts(family: Family) -> FamilyFacts {
        FamilyFacts { family, standing: samples::standing() }
    }

    fn decide_at(request: &Request, client: &Client, facts: &FamilyFacts, seconds: i64) -> Result<Issuance, Refusal> {
        decide_with(request, client, Some(facts), true, seconds)
    }

    fn decide_with(
        request: &Request,
        client: &Client,
        facts: Option<&FamilyFacts>,
        genuine: bool,
        seconds: i64,
    ) -> Result<Issuance, Refusal> {
        let client = samples::authenticated(client.clone());
        decide(request, &client, facts, genuine, &samples::catalogue(), &samples::LIMITS, at(seconds))
    }

    fn rotated_at(seconds: i64) -> Family {
        let request = request(1, "");
        match decide_at(&request, &samples::client("app"), &facts(samples::family()), seconds).unwrap().refresh {
            RefreshPlan::Answer { after, .. } => after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refresh_answers_with_the_next_generation_and_an_id_token_without_nonce() {
        let issuance = decide_at(&request(1, ""), &samples::client("app"), &facts(samples::family()), 600).unwrap();
        assert_eq!((issuance.audience.scopes.len(), issuance.id_token, issuance.nonce.as_deref()), (3, true, None));
        let RefreshPlan::Answer { before, after } = issuance.refresh else { panic!() };
        assert_eq!((before, after.generation), (samples::family(), 2));
    }

    #[test]
    fn scope_narrows_this_access_token_alone() {
        let issuance = decide_at(&request(1, "&scope=orders:read"), &samples::client("app"), &facts(samples::family()), 1).unwrap();
        assert_eq!((issuance.audience.scopes.as_slice(), issuance.id_token), (["orders:read".to_owned()].as_slice(), false));
        assert_eq!(issuance.grant().unwrap().scopes.len(), 3);
        let wider =
            decide_at(&request(1, "&scope=orders:read%20orders:write"), &samples::client("app"), &facts(samples::family()), 1);
        assert!(matches!(wider.unwrap_err().reason, Reason::ScopeNotAllowed { .. }));
    }

    #[test]
    fn another_client_a_wrong_mac_and_an_unknown_family_change_nothing() {
        let stale = facts(Family { generation: 9, previous: 8, ..samples::family() });
        let refusals = [
            decide_at(&request(1, ""), &samples::client("other"), &stale, 100).unwrap_err(),
            decide_with(&request(1, ""), &samples::client("app"), Some(&stale), false, 100).unwrap_err(),
            decide_with(&request(1, ""), &samples::client("app"), None, true, 100).unwrap_err(),
        ];
        assert!(matches!(refusals[0].reason, Reason::RefreshTokenOfAnotherClient { .. }));
        assert!(matches!(refusals[1].reason, Reason::RefreshTokenUnknown));
        assert!(matches!(refusals[2].reason, Reason::RefreshTokenUnknown));
        assert!(refusals.iter().all(|refusal| refusal.effect == Effect::None));
        // The same presentation, had it passed, is theft.
        let refusal = decide_at(&request(1, ""), &samples::client("app"), &stale, 100).unwrap_err();
        assert_eq!(refusal.effect, Effect::EndGrant(samples::grant().id));
    }

    #[test]
    fn the_world_is_looked_at_before_the_generation() {
        let mut stale = facts(Family { generation: 9, previous: 8, ..samples::family() });
        stale.standing.user.enabled = false;
        let refusal = decide_at(&request(1, ""), &samples::client("app"), &stale, 100).unwrap_err();
        assert_eq!(refusal, Reason::UserDisabled { sub: "sub-of-alice".to_owned() }.into());
    }

    #[test]
    fn without_offline_access_a_refresh_token_ends_with_the_browser_session() {
        let mut facts = facts(samples::family());
        let client = samples::client("app");
        facts.standing.session = None;
        assert!(decide_at(&request(1, ""), &client, &facts, 1).is_ok());
        facts.standing.grant.scopes.retain(|scope| scope != "offline_access");
        assert_eq!(decide_at(&request(1, ""), &client, &facts, 1).unwrap_err().reason, Reason::SessionEnded);
        facts.standing.session = samples::standing().session;
        assert!(decide_at(&request(1, ""), &client, &facts, 1).is_ok());
        assert_eq!(decide_at(&request(1, ""), &client, &facts, 12 * 3600).unwrap_err().reason, Reason::SessionEnded);
    }

    #[test]
    fn a_fapi2_client_keeps_its_token_whatever_its_rotation_says() {
        let mut client = samples::client("app");
        client.metadata.profile = Some(Profile::Fapi2);
        client.metadata.refresh_rotation = RefreshRotation::Strict;
        let issuance = decide_at(&request(1, ""), &client, &facts(samples::family()), 1).unwrap();
        let RefreshPlan::Answer { after, .. } = issuance.refresh else { panic!() };
        assert_eq!(after.generation, 1);
    }

    #[test]
    fn only_a_client_that_authenticates_gets_the_same_head_late() {
        let family = rotated_at(0);
        let generation = |client: &Client| match decide_at(&request(1, ""), client, &facts(family.clone()), 60).unwrap().refresh {
            RefreshPlan::Answer { after, .. } => after.generation,
            other => panic!("{other:?}"),
        };
        let mut public = samples::client("app");
        public.metadata.token_endpoint_auth_method = AuthMethod::None;
        assert_eq!((generation(&samples::client("app")), generation(&public)), (2, 3));
    }

    #[test]
    fn a_client_without_the_grant_is_refused() {
        let mut client = samples::client("app");
        client.metadata.grant_types = vec![GrantType::AuthorizationCode];
        let refusal = decide_at(&request(1, ""), &client, &facts(samples::family()), 1).unwrap_err();
        assert!(matches!(refusal.reason, Reason::UnauthorizedGrantType { .. }));
    }

    #[test]
    fn what_is_no_refresh_token_is_refused_at_once() {
        for wrong in ["SplxlOBeZQQYbYS6WxSbIA", "eyJhbGciOiJSUzI1NiJ9.e30.AA"] {
            let params = Params::parse_form(format!("refresh_token={wrong}").as_bytes()).unwrap();
            assert_eq!(Request::parse(&params).unwrap_err(), Reason::RefreshTokenUnknown);
        }
    }
}
