//! The device authorization grant at the token endpoint (RFC 8628 §3.4, §3.5).

#[cfg(test)]
mod model;

use std::fmt;

use super::authorization_code::HONEST_RETRY;
use super::facts::DeviceCodeFacts;
use super::issuance::{Draft, Issuance, Limits, RefreshPlan};
use crate::clock::Timestamp;
use crate::oauth::client::GrantType;
use crate::oauth::client_auth::AuthenticatedClient;
use crate::oauth::device::Polled;
use crate::oauth::params::Params;
use crate::oauth::refusal::{Effect, Reason, Refusal};
use crate::oauth::resource::Catalogue;
use crate::secret::{Digest, Secret};

/// RFC 8628 §3.4.
#[derive(Clone)]
pub struct Request {
    device_code: Secret<String>,
}

impl Request {
    /// # Errors
    /// `MissingParameter` without a device code.
    pub fn parse(params: &Params) -> Result<Self, Reason> {
        Ok(Self { device_code: Secret::new(params.require("device_code")?.to_owned()) })
    }

    /// By what the store knows the code.
    pub fn digest(&self) -> Digest {
        self.device_code.digest()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

/// Decides about one poll. `facts` is what the store found under [`Request::digest`].
///
/// # Errors
/// Every reason of RFC 8628 §3.5 and RFC 6749 §5.2 that applies. While nothing is decided the refusal carries the code's new pace; a
/// replay carries the end of the grant.
pub fn decide(
    client: &AuthenticatedClient,
    facts: Option<&DeviceCodeFacts>,
    catalogue: &Catalogue,
    limits: &Limits,
    now: Timestamp,
) -> Result<Issuance, Refusal> {
    // RFC 6749 §5.2: the client must be authorized to use this grant.
    super::allowed(client, GrantType::DeviceCode)?;
    let Some(facts) = facts else {
        return Err(Reason::DeviceCodeUnknown.into());
    };
    // RFC 8628 §3.4: issued to this client. Another one learns nothing and changes nothing, the pace included.
    if facts.code.client_id != client.client_id {
        let (issued_to, presented_by) = (facts.code.client_id.clone(), client.client_id.clone());
        return Err(Reason::DeviceCodeOfAnotherClient { issued_to, presented_by }.into());
    }
    match facts.code.poll(now) {
        Polled::NotYet { reason, pace } => Err(Refusal { reason, effect: Effect::KeepPace(pace) }),
        Polled::Over(reason) => Err(reason.into()),
        Polled::Again { grant_id, redeemed_at } => Err(again(facts, grant_id, redeemed_at, now)),
        Polled::Approved { .. } => {
            let Some(standing) = facts.standing.clone() else {
                return Err(Reason::GrantEnded { because: "it was removed".to_owned() }.into());
            };
            let draft = Draft {
                scopes: standing.grant.scopes.clone(),
                resources: standing.grant.resources.clone(),
                standing: Some(standing),
                refresh: if client.uses(GrantType::RefreshToken) { RefreshPlan::Begin } else { RefreshPlan::None },
                nonce: None,
            };
            // The world may have changed since the person said yes.
            Ok(draft.settle(client, catalogue, limits, now)?)
        }
    }
}

/// A code that was redeemed before. Two polls that crossed are no theft: whichever came second is refused and ends nothing. Later than
/// that, either the answer was lost, and then nobody holds its tokens, or somebody else does: the grant ends (design 4.3).
fn again(facts: &DeviceCodeFacts, grant_id: uuid::Uuid, redeemed_at: Timestamp, now: Timestamp) -> Refusal {
    if let Some(standing) = &facts.standing {
        if !standing.user.enabled {
            return Reason::UserDisabled { sub: standing.user.sub.clone() }.into();
        }
        if standing.grant.ended_at.is_some() {
            return Reason::GrantEnded { because: standing.grant.ended_because.clone().unwrap_or_default() }.into();
        }
    }
    let nothing_redeemed_since = !facts.family.as_ref().is_some_and(|family| family.was_used());
    if nothing_redeemed_since && now.since(redeemed_at) <= HONEST_RETRY {
        return Reason::DeviceCodeRetried { redeemed_at, now }.into();
    }
    Refusal { reason: Reason::DeviceCodeReplayed { redeemed_at, now }, effect: Effect::EndGrant(grant_id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::Client;
    use crate::oauth::device::State;
    use crate::oauth::family::Family;
    use crate::oauth::grant::samples::{self, at};

    fn device(client_id: &str) -> Client {
        let mut client = samples::client(client_id);
        client.metadata.grant_types = vec![GrantType::DeviceCode, GrantType::RefreshToken];
        client
    }

    fn facts(state: State) -> DeviceCodeFacts {
        let standing = match state {
            State::Approved { .. } | State::Redeemed { .. } => Some(samples::standing()),
            State::Pending | State::Claimed { .. } | State::Denied | State::Withdrawn => None,
        };
        DeviceCodeFacts { code: crate::oauth::device::DeviceCode { state, ..samples::device_code() }, standing, family: None }
    }

    fn decide_at(client: &Client, facts: Option<&DeviceCodeFacts>, seconds: i64) -> Result<Issuance, Refusal> {
        decide(&samples::authenticated(client.clone()), facts, &samples::catalogue(), &samples::LIMITS, at(seconds))
    }

    const GRANT: uuid::Uuid = uuid::Uuid::from_u128(2);

    #[test]
    fn an_approved_code_is_issued_for_with_all_that_was_granted() {
        let issuance = decide_at(&device("app"), Some(&facts(State::Approved { grant_id: GRANT })), 10).unwrap();
        assert_eq!(issuance.audience.scopes, samples::grant().scopes);
        assert_eq!((issuance.refresh.clone(), issuance.id_token, issuance.nonce.as_deref()), (RefreshPlan::Begin, true, None));
        let mut client = device("app");
        client.metadata.grant_types = vec![GrantType::DeviceCode];
        let issuance = decide_at(&client, Some(&facts(State::Approved { grant_id: GRANT })), 10).unwrap();
        assert_eq!(issuance.refresh, RefreshPlan::None);
    }

    #[test]
    fn a_code_is_bound_to_its_client_and_another_client_changes_nothing() {
        for state in [State::Pending, State::Approved { grant_id: GRANT }, State::Redeemed { grant_id: GRANT, at: at(1) }] {
            let refused = decide_at(&device("other"), Some(&facts(state)), 2).unwrap_err();
            assert!(matches!(refused.reason, Reason::DeviceCodeOfAnotherClient { .. }));
            assert_eq!(refused.effect, Effect::None);
        }
        assert_eq!(decide_at(&device("app"), None, 2).unwrap_err(), Reason::DeviceCodeUnknown.into());
        assert!(matches!(decide_at(&samples::client("app"), None, 2).unwrap_err().reason, Reason::UnauthorizedGrantType { .. }));
    }

    #[test]
    fn while_nothing_is_decided_the_pace_is_kept() {
        let mut facts = facts(State::Pending);
        facts.code.pace.polled_at = Some(at(1));
        let refused = decide_at(&device("app"), Some(&facts), 2).unwrap_err();
        let Effect::KeepPace(pace) = refused.effect else { panic!("{refused:?}") };
        assert_eq!((pace.interval.as_secs(), pace.polled_at), (10, Some(at(2))));
    }

    #[test]
    fn two_polls_that_crossed_end_nothing_and_a_later_one_ends_the_grant() {
        let mut redeemed = facts(State::Redeemed { grant_id: GRANT, at: at(10) });
        let crossed = decide_at(&device("app"), Some(&redeemed), 12).unwrap_err();
        assert_eq!(crossed, Reason::DeviceCodeRetried { redeemed_at: at(10), now: at(12) }.into());
        let replayed = decide_at(&device("app"), Some(&redeemed), 13).unwrap_err();
        assert_eq!(replayed.effect, Effect::EndGrant(GRANT));
        // Used meanwhile: whoever comes now is somebody else.
        redeemed.family =
            Some(Family { created_at: at(10), last_used_at: at(11), generation: 2, previous: 1, ..samples::family() });
        assert_eq!(decide_at(&device("app"), Some(&redeemed), 12).unwrap_err().effect, Effect::EndGrant(GRANT));
    }

    #[test]
    fn whoever_was_switched_off_meanwhile_gets_nothing() {
        for state in [State::Approved { grant_id: GRANT }, State::Redeemed { grant_id: GRANT, at: at(10) }] {
            let mut fallen = facts(state);
            fallen.standing.as_mut().unwrap().user.enabled = false;
            let refused = decide_at(&device("app"), Some(&fallen), 11).unwrap_err();
            assert!(matches!(refused.reason, Reason::UserDisabled { .. }), "{refused:?}");
            assert_eq!(refused.effect, Effect::None);
        }
    }
}
