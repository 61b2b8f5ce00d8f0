//! The authorization code grant at the token endpoint (RFC 6749 §4.1.3, RFC 7636 §4.6, design 4.3).

#[cfg(test)]
mod model;

use std::fmt;
use std::time::Duration;

use super::facts::CodeFacts;
use super::issuance::{Draft, Issuance, Limits, RefreshPlan};
use super::narrow;
use crate::clock::Timestamp;
use crate::oauth::client::{Client, GrantType, Profile, RefreshRotation};
use crate::oauth::client_auth::AuthenticatedClient;
use crate::oauth::params::Params;
use crate::oauth::pkce;
use crate::oauth::refusal::{Effect, Reason, Refusal};
use crate::oauth::resource::Catalogue;
use crate::secret::{Digest, Secret};

/// How long after its redemption the same client with the right verifier may send a code again without harm (design 4.3).
pub const HONEST_RETRY: Duration = Duration::from_secs(2);

/// RFC 6749 §4.1.3, RFC 7636 §4.5, RFC 8707 §2.2.
#[derive(Clone)]
pub struct Request {
    code: Secret<String>,
    code_verifier: Option<Secret<String>>,
    pub redirect_uri: Option<String>,
    pub resources: Vec<String>,
}

impl Request {
    /// # Errors
    /// `MissingParameter` without a code.
    pub fn parse(params: &Params) -> Result<Self, Reason> {
        Ok(Self {
            code: Secret::new(params.require("code")?.to_owned()),
            code_verifier: params.get("code_verifier").map(|verifier| Secret::new(verifier.to_owned())),
            redirect_uri: params.get("redirect_uri").map(str::to_owned),
            resources: narrow::requested_resources(params),
        })
    }

    /// By what the store knows the code.
    pub fn digest(&self) -> Digest {
        self.code.digest()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("redirect_uri", &self.redirect_uri)
            .field("resources", &self.resources)
            .finish_non_exhaustive()
    }
}

/// Decides about a code. `facts` is what the store found under [`Request::digest`].
///
/// # Errors
/// Every reason of RFC 6749 §5.2 that applies; a replay carries the end of the grant as its effect.
pub fn decide(
    request: &Request,
    client: &AuthenticatedClient,
    facts: Option<&CodeFacts>,
    catalogue: &Catalogue,
    limits: &Limits,
    now: Timestamp,
) -> Result<Issuance, Refusal> {
    // RFC 6749 §5.2: the client must be authorized to use this grant.
    super::allowed(client, GrantType::AuthorizationCode)?;
    let Some(CodeFacts { code, standing, .. }) = facts else {
        return Err(Reason::CodeUnknown.into());
    };
    // RFC 6749 §4.1.3: ensure that the code was issued to the authenticated client.
    if code.client_id != client.client_id {
        let (issued_to, presented_by) = (code.client_id.clone(), client.client_id.clone());
        return Err(Reason::CodeOfAnotherClient { issued_to, presented_by }.into());
    }
    // RFC 6749 §4.1.2: not more than once. Looked at before its age: a replay is one for as long as we remember the code.
    if let Some(redeemed_at) = code.consumed_at {
        return Err(again(request, client, facts, redeemed_at, now));
    }
    // RFC 6749 §4.1.2: short-lived.
    if now >= code.expires_at {
        return Err(Reason::CodeExpired { expired_at: code.expires_at, now }.into());
    }
    // RFC 6749 §4.1.3: if redirect_uri was in the authorization request, the same one is here, byte for byte.
    redirect_uri(code.redirect_uri.as_deref(), request.redirect_uri.as_deref(), client)?;
    // RFC 7636 §4.6: the verifier of the challenge; RFC 9700 §4.8.2: none without one.
    pkce::verify(code.code_challenge.as_deref(), request.verifier())?;
    // RFC 8707 §2.2: the resources of this one access token.
    let grant = &standing.grant;
    let resources = narrow::resources(&request.resources, &grant.resources, &grant.scopes, catalogue)?;
    let draft = Draft {
        standing: Some(standing.clone()),
        scopes: grant.scopes.clone(),
        resources,
        refresh: if client.uses(GrantType::RefreshToken) { RefreshPlan::Begin } else { RefreshPlan::None },
        nonce: code.nonce.clone(),
    };
    // The world may have changed since the code was made.
    Ok(draft.settle(client, catalogue, limits, now)?)
}

impl Request {
    fn verifier(&self) -> Option<&str> {
        self.code_verifier.as_ref().map(|verifier| verifier.expose().as_str())
    }
}

/// A code that was consumed before: a replay ends its grant, an honest retry ends nothing (design 4.3).
fn again(request: &Request, client: &Client, facts: Option<&CodeFacts>, redeemed_at: Timestamp, now: Timestamp) -> Refusal {
    let Some(CodeFacts { code, standing, family }) = facts else {
        return Reason::CodeUnknown.into();
    };
    // Disabling a user consumes their codes and ends their grants: nothing was redeemed here, and nothing is left to end.
    if !standing.user.enabled {
        return Reason::UserDisabled { sub: standing.user.sub.clone() }.into();
    }
    let lenient = match (client.metadata.profile, client.metadata.refresh_rotation) {
        (Some(Profile::Fapi2), _) | (None, RefreshRotation::Strict) => false,
        (None, RefreshRotation::Recover | RefreshRotation::None) => true,
    };
    let right_verifier = code.code_challenge.is_some() && pkce::verify(code.code_challenge.as_deref(), request.verifier()).is_ok();
    let nothing_redeemed_since = !family.as_ref().is_some_and(|family| family.was_used());
    if lenient && right_verifier && nothing_redeemed_since && now.since(redeemed_at) <= HONEST_RETRY {
        return Reason::CodeRetried { redeemed_at, now }.into();
    }
    Refusal { reason: Reason::CodeReplayed { redeemed_at, now }, effect: Effect::EndGrant(code.grant_id) }
}

/// A request without redirect_uri went to the client's only one; to name that here is harmless, to name another is not.
fn redirect_uri(requested: Option<&str>, received: Option<&str>, client: &Client) -> Result<(), Reason> {
    let matches = match (requested, received) {
        (Some(requested), Some(received)) => requested == received,
        (Some(_), None) => false,
        (None, Some(received)) => client.metadata.redirect_uris.iter().any(|registered| registered == received),
        (None, None) => true,
    };
    if matches {
        return Ok(());
    }
    let expected = requested.map_or_else(|| client.metadata.redirect_uris.join(" "), str::to_owned);
    Err(Reason::CodeRedirectUriMismatch { expected, received: received.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::AuthMethod;
    use crate::oauth::family::Family;
    use crate::oauth::grant::samples::{self, at};

    const BODY: &str = "grant_type=authorization_code&code=SplxlOBeZQQYbYS6WxSbIA&redirect_uri=https%3A%2F%2Fapp.test%2Fcallback\
                        &code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn request(body: &str) -> Request {
        Request::parse(&Params::parse_form(body.as_bytes()).unwrap()).unwrap()
    }

    fn facts() -> CodeFacts {
        CodeFacts { code: samples::code(), standing: samples::standing(), family: None }
    }

    fn consumed() -> CodeFacts {
        let mut facts = facts();
        facts.code.consumed_at = Some(at(10));
        facts.family = Some(Family { created_at: at(10), last_used_at: at(10), ..samples::family() });
        facts
    }

    fn decide_at(body: &str, client: &Client, facts: &CodeFacts, seconds: i64) -> Result<Issuance, Refusal> {
        decide(
            &request(body),
            &samples::authenticated(client.clone()),
            Some(facts),
            &samples::catalogue(),
            &samples::LIMITS,
            at(seconds),
        )
    }

    fn refused(body: &str, facts: &CodeFacts, seconds: i64) -> Refusal {
        decide_at(body, &samples::client("app"), facts, seconds).unwrap_err()
    }

    #[test]
    fn a_right_code_is_issued_for_with_all_that_was_granted() {
        let issuance = decide_at(BODY, &samples::client("app"), &facts(), 59).unwrap();
        assert_eq!(issuance.audience.scopes, samples::grant().scopes);
        assert_eq!(
            (issuance.refresh.clone(), issuance.id_token, issuance.nonce.as_deref()),
            (RefreshPlan::Begin, true, Some("n-0S6"))
        );
        assert_eq!(issuance.sub(), "sub-of-alice");
    }

    #[test]
    fn a_client_without_the_refresh_grant_gets_no_refresh_token() {
        let mut client = samples::client("app");
        client.metadata.grant_types = vec![GrantType::AuthorizationCode];
        assert_eq!(decide_at(BODY, &client, &facts(), 1).unwrap().refresh, RefreshPlan::None);
        client.metadata.grant_types = vec![GrantType::ClientCredentials];
        assert!(matches!(decide_at(BODY, &client, &facts(), 1).unwrap_err().reason, Reason::UnauthorizedGrantType { .. }));
    }

    #[test]
    fn an_unknown_code_is_refused() {
        let client = samples::authenticated(samples::client("app"));
        let refusal = decide(&request(BODY), &client, None, &samples::catalogue(), &samples::LIMITS, at(1)).unwrap_err();
        assert_eq!(refusal, Reason::CodeUnknown.into());
        assert_eq!(
            Request::parse(&Params::parse_form(b"grant_type=authorization_code").unwrap()).unwrap_err(),
            Reason::MissingParameter { name: "code".to_owned() }
        );
    }

    #[test]
    fn a_code_is_bound_to_its_client_and_another_client_changes_nothing() {
        for facts in [facts(), consumed()] {
            let refusal = decide_at(BODY, &samples::client("other"), &facts, 11).unwrap_err();
            assert!(matches!(refusal.reason, Reason::CodeOfAnotherClient { .. }));
            assert_eq!(refusal.effect, Effect::None);
        }
    }

    #[test]
    fn a_code_expires() {
        assert!(matches!(refused(BODY, &facts(), 60).reason, Reason::CodeExpired { .. }));
    }

    #[test]
    fn a_code_is_bound_to_its_redirect_uri_byte_for_byte() {
        for wrong in [
            "https%3A%2F%2Fapp.test%2Fcallback%2F",
            "https%3A%2F%2Fapp.test%2FCallback",
            "https%3A%2F%2Fapp.test%3A443%2Fcallback",
            "",
        ] {
            let body = BODY.replace("https%3A%2F%2Fapp.test%2Fcallback", wrong);
            let refusal = refused(&body, &facts(), 1);
            assert!(matches!(refusal.reason, Reason::CodeRedirectUriMismatch { .. }), "{wrong}");
            assert_eq!(refusal.effect, Effect::None);
        }
    }

    #[test]
    fn a_redirect_uri_that_the_authorization_request_left_out_may_be_left_out_or_be_the_registered_one() {
        let mut facts = facts();
        facts.code.redirect_uri = None;
        let client = samples::client("app");
        assert!(decide_at(BODY, &client, &facts, 1).is_ok());
        assert!(decide_at(&BODY.replace("https%3A%2F%2Fapp.test%2Fcallback", ""), &client, &facts, 1).is_ok());
        assert!(decide_at(&BODY.replace("callback", "elsewhere"), &client, &facts, 1).is_err());
    }

    #[test]
    fn a_code_is_bound_to_its_verifier() {
        let none = BODY.split("&code_verifier").next().unwrap().to_owned();
        assert_eq!(refused(&none, &facts(), 1).reason, Reason::VerifierMissing);
        assert!(matches!(refused(&BODY.replace("dBjft", "eBjft"), &facts(), 1).reason, Reason::VerifierWrong { .. }));
        assert!(matches!(refused(&BODY.replace("dBjft", ""), &facts(), 1).reason, Reason::VerifierMalformed { .. }));
        let mut unchallenged = facts();
        unchallenged.code.code_challenge = None;
        assert_eq!(refused(BODY, &unchallenged, 1).reason, Reason::VerifierWithoutChallenge);
        assert!(decide_at(&none, &samples::client("app"), &unchallenged, 1).is_ok());
    }

    #[test]
    fn a_replayed_code_revokes_its_grant() {
        for (body, seconds) in [(BODY.to_owned(), 13), (BODY.to_owned(), 3000), (BODY.replace("dBjft", "eBjft"), 11)] {
            let refusal = refused(&body, &consumed(), seconds);
            assert!(matches!(refusal.reason, Reason::CodeReplayed { .. }), "{body} at {seconds}");
            assert_eq!(refusal.effect, Effect::EndGrant(samples::grant().id));
        }
    }

    #[test]
    fn an_honest_retry_is_refused_and_revokes_nothing() {
        for seconds in [10, 11, 12] {
            let refusal = refused(BODY, &consumed(), seconds);
            assert!(matches!(refusal.reason, Reason::CodeRetried { .. }));
            assert_eq!(refusal.effect, Effect::None);
        }
        // Another replica's clock may be behind.
        assert!(matches!(refused(BODY, &consumed(), 9).reason, Reason::CodeRetried { .. }));
    }

    #[test]
    fn a_retry_after_something_was_redeemed_from_the_grant_is_a_replay() {
        let mut facts = consumed();
        facts.family = facts.family.map(|family| Family { generation: 2, previous: 1, last_used_at: at(11), ..family });
        assert!(matches!(refused(BODY, &facts, 11).effect, Effect::EndGrant(_)));
    }

    #[test]
    fn strict_and_fapi2_clients_and_codes_without_challenge_have_no_honest_retry() {
        let mut strict = samples::client("app");
        strict.metadata.refresh_rotation = RefreshRotation::Strict;
        let mut fapi2 = samples::client("app");
        fapi2.metadata.profile = Some(Profile::Fapi2);
        for client in [strict, fapi2] {
            assert!(matches!(decide_at(BODY, &client, &consumed(), 11).unwrap_err().effect, Effect::EndGrant(_)));
        }
        let mut unchallenged = consumed();
        unchallenged.code.code_challenge = None;
        let none = BODY.split("&code_verifier").next().unwrap();
        assert!(matches!(refused(none, &unchallenged, 11).effect, Effect::EndGrant(_)));
    }

    #[test]
    fn a_public_client_proves_its_honest_retry_by_the_verifier() {
        let mut public = samples::client("app");
        public.metadata.token_endpoint_auth_method = AuthMethod::None;
        assert_eq!(decide_at(BODY, &public, &consumed(), 11).unwrap_err().effect, Effect::None);
    }

    #[test]
    fn the_world_is_looked_at_again_when_a_code_is_redeemed() {
        let mut disabled_user = facts();
        disabled_user.standing.user.enabled = false;
        let mut disabled_client = facts();
        disabled_client.standing.client_enabled = false;
        let mut ended = facts();
        ended.standing.grant.ended_at = Some(at(1));
        let mut signed_out = facts();
        signed_out.standing.grant.scopes.retain(|scope| scope != "offline_access");
        signed_out.standing.session = None;
        assert!(matches!(refused(BODY, &disabled_user, 2).reason, Reason::UserDisabled { .. }));
        assert!(matches!(refused(BODY, &disabled_client, 2).reason, Reason::ClientDisabled { .. }));
        assert!(matches!(refused(BODY, &ended, 2).reason, Reason::GrantEnded { .. }));
        assert!(matches!(refused(BODY, &signed_out, 2).reason, Reason::SessionEnded));
        disabled_user.code.consumed_at = Some(at(1));
        assert!(matches!(refused(BODY, &disabled_user, 2).reason, Reason::UserDisabled { .. }));
    }

    #[test]
    fn a_resource_may_be_narrowed_and_not_widened() {
        let client = samples::client("app");
        let issuance = decide_at(&format!("{BODY}&resource=https://orders.test"), &client, &facts(), 1).unwrap();
        assert_eq!(issuance.audience.aud, ["https://orders.test"]);
        for wider in ["https://mail.test", "https://unknown.test"] {
            let refusal = decide_at(&format!("{BODY}&resource={wider}"), &client, &facts(), 1).unwrap_err();
            assert!(matches!(refusal.reason, Reason::ResourceNotAllowed { .. }), "{wider}");
        }
    }

    #[test]
    fn the_request_prints_neither_code_nor_verifier() {
        let printed = format!("{:?}", request(BODY));
        assert!(!printed.contains("Splx") && !printed.contains("dBjft"), "{printed}");
    }
}
