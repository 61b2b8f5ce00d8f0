//! The device authorization grant (RFC 8628): a device without a browser shows a code, a person types it elsewhere and allows it, and
//! the device asks until that has happened.
//!
//! The life of a device code is an enum, [`State`], and every step of it a method that can fail. What a poll is told is decided here as
//! well, its pace included: the interval is kept with the code and grows with every poll that comes too soon. Two steps at the same
//! moment are for the store to keep apart.

#[cfg(test)]
mod model;
mod user_code;

use std::time::Duration;

use uuid::Uuid;

use super::authorize::{checks, decision};
use super::client::{Client, GrantType};
use super::params::Params;
use super::refusal::Reason;
use super::resource::Catalogue;
use crate::clock::Timestamp;

pub use user_code::UserCode;

/// RFC 8628 §3.2: how long a device waits between two polls, to begin with.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// RFC 8628 §3.5: what `slow_down` adds, for this poll and all after it.
pub const SLOWER: Duration = Duration::from_secs(5);
/// A poll that is so much early came in time: networks hold one request up and the next one not.
const EARLY: Duration = Duration::from_millis(500);

/// What a device asks for (RFC 8628 §3.1), checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub scopes: Vec<String>,
    /// RFC 8707; empty if none was named.
    pub resources: Vec<String>,
}

/// A device code as the store holds it, by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCode {
    pub client_id: String,
    pub asked: Asked,
    /// The address prefix that the request came from, for the person to see.
    pub requested_from: String,
    pub state: State,
    pub pace: Pace,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Where a device code is in its life. Beside it there is its end: a code that is past `expires_at` takes no step any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has looked at it yet.
    Pending,
    /// It is this person's to decide: the first who looked at it, signed in (security.md R-65).
    Claimed { by: Uuid },
    /// They said yes, and this grant came of it.
    Approved { grant_id: Uuid },
    /// They said no.
    Denied,
    /// The device has its tokens.
    Redeemed { grant_id: Uuid, at: Timestamp },
    /// It was taken back before it was redeemed: its person was switched off, or withdrew their consent.
    Withdrawn,
}

/// How often the device may ask (RFC 8628 §3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub interval: Duration,
    /// The last poll while nothing was decided.
    pub polled_at: Option<Timestamp>,
}

/// What a poll finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// Allowed: to be redeemed.
    Approved { grant_id: Uuid },
    /// Redeemed before.
    Again { grant_id: Uuid, redeemed_at: Timestamp },
    /// Not decided yet: the answer, and the pace from now on, which has to be written before it is given.
    NotYet { reason: Reason, pace: Pace },
    /// Over.
    Over(Reason),
}

impl Asked {
    /// Reads a device authorization request of this client: the rows of the authorization table that concern it, and no others.
    ///
    /// # Errors
    /// `UnauthorizedGrantType`, and those of the rows.
    pub fn check(params: &Params, client: &Client, catalogue: &Catalogue) -> Result<Self, Reason> {
        super::grant::allowed(client, GrantType::DeviceCode)?;
        let (scopes, resources) = checks::device(params, client, catalogue)?;
        Ok(Self { scopes, resources })
    }

    /// What of it a person can grant this client now: its registration and the resources may have changed since, and admin scopes are
    /// for administrators.
    ///
    /// # Errors
    /// `ScopeNotAllowed` if something was asked for and nothing of it is left.
    pub fn grantable(&self, client: &Client, catalogue: &Catalogue, is_admin: bool) -> Result<Vec<String>, Reason> {
        let scopes = decision::grantable(&self.scopes, client, catalogue, is_admin);
        match self.scopes.first() {
            Some(first) if scopes.is_empty() => Err(Reason::ScopeNotAllowed { scope: first.clone(), allowed: Vec::new() }),
            Some(_) | None => Ok(scopes),
        }
    }
}

impl DeviceCode {
    /// RFC 8628 §3.2.
    pub fn begin(client_id: &str, asked: Asked, requested_from: String, lifetime: Duration, now: Timestamp) -> Self {
        Self {
            client_id: client_id.to_owned(),
            asked,
            requested_from,
            state: State::Pending,
            pace: Pace { interval: INTERVAL, polled_at: None },
            created_at: now,
            expires_at: now.plus(lifetime),
        }
    }

    /// Somebody who is signed in looks at it: from now on it is theirs to decide, and nobody else's.
    ///
    /// # Errors
    /// `UserCodeExpired`, `UserCodeOfAnotherPerson`, `UserCodeSpent`.
    pub fn claim(&self, by: Uuid, now: Timestamp) -> Result<State, Reason> {
        if now >= self.expires_at {
            return Err(Reason::UserCodeExpired { expired_at: self.expires_at, now });
        }
        match self.state {
            State::Pending => Ok(State::Claimed { by }),
            State::Claimed { by: first } if first == by => Ok(self.state),
            State::Claimed { .. } => Err(Reason::UserCodeOfAnotherPerson),
            State::Approved { .. } | State::Denied | State::Redeemed { .. } | State::Withdrawn => Err(Reason::UserCodeSpent),
        }
    }

    /// The person whose it is says yes.
    ///
    /// # Errors
    /// As [`Self::claim`], and `UserCodeUnknown` of one that nobody has looked at.
    pub fn approve(&self, by: Uuid, grant_id: Uuid, now: Timestamp) -> Result<State, Reason> {
        self.decide(by, now).map(|()| State::Approved { grant_id })
    }

    /// The person whose it is says no.
    ///
    /// # Errors
    /// As [`Self::approve`].
    pub fn deny(&self, by: Uuid, now: Timestamp) -> Result<State, Reason> {
        self.decide(by, now).map(|()| State::Denied)
    }

    /// RFC 8628 §3.5. Whose code it is was checked before.
    pub fn poll(&self, now: Timestamp) -> Polled {
        match self.state {
            State::Redeemed { grant_id, at } => Polled::Again { grant_id, redeemed_at: at },
            State::Withdrawn => Polled::Over(Reason::DeviceCodeWithdrawn),
            State::Denied => Polled::Over(Reason::DeviceDenied),
            State::Pending | State::Claimed { .. } | State::Approved { .. } if now >= self.expires_at => {
                Polled::Over(Reason::DeviceCodeExpired { expired_at: self.expires_at, now })
            }
            State::Approved { grant_id } => Polled::Approved { grant_id },
            State::Pending | State::Claimed { .. } => {
                let pace = self.pace.after_poll(now);
                let (interval, waited) = (pace.interval.as_secs(), self.pace.polled_at.map(|at| now.since(at).as_secs()));
                let reason = match waited {
                    Some(waited) if pace.interval > self.pace.interval => Reason::SlowDown { interval, waited },
                    Some(_) | None => Reason::AuthorizationPending { interval },
                };
                Polled::NotYet { reason, pace }
            }
        }
    }

    fn decide(&self, by: Uuid, now: Timestamp) -> Result<(), Reason> {
        match self.claim(by, now)? {
            State::Claimed { .. } if self.state != State::Pending => Ok(()),
            _ => Err(Reason::UserCodeUnknown),
        }
    }
}

impl Pace {
    /// After one more poll: slower by [`SLOWER`] if it came too soon.
    fn after_poll(self, now: Timestamp) -> Self {
        let too_soon = self.polled_at.is_some_and(|at| now.plus(EARLY) < at.plus(self.interval));
        Self { interval: if too_soon { self.interval + SLOWER } else { self.interval }, polled_at: Some(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::grant::samples::{self, at};

    const ALICE: Uuid = Uuid::from_u128(3);
    const BOB: Uuid = Uuid::from_u128(4);
    const GRANT: Uuid = Uuid::from_u128(2);

    fn code(state: State) -> DeviceCode {
        DeviceCode { state, ..samples::device_code() }
    }

    fn device() -> Client {
        let mut client = samples::client("tv");
        client.metadata.grant_types = vec![GrantType::DeviceCode, GrantType::RefreshToken];
        client
    }

    fn asked(client: &Client, body: &str) -> Result<Asked, Reason> {
        Asked::check(&Params::parse_form(body.as_bytes()).unwrap(), client, &samples::catalogue())
    }

    #[test]
    fn the_request_names_scopes_and_resources_as_at_the_authorization_endpoint() {
        let request = asked(&device(), "scope=openid+orders:read&resource=https://orders.test").unwrap();
        assert_eq!(request.scopes, ["openid", "orders:read"]);
        assert_eq!(request.resources, ["https://orders.test"]);
        // Without scope: what it is registered for at resources.
        assert_eq!(asked(&device(), "").unwrap().scopes, ["orders:read"]);
        for (body, error) in
            [("scope=nonsense", "invalid_scope"), ("scope=mail:send", "invalid_scope"), ("resource=x", "invalid_target")]
        {
            assert_eq!(asked(&device(), body).unwrap_err().wire().error, error, "{body}");
        }
        assert_eq!(asked(&samples::client("web"), "").unwrap_err().wire().error, "unauthorized_client");
    }

    #[test]
    fn what_can_be_granted_is_looked_at_when_the_person_decides() {
        let request = Asked { scopes: ["openid", "orders:read", "admin:read"].map(str::to_owned).to_vec(), resources: Vec::new() };
        let mut client = device();
        client.metadata.scope = Some("openid admin:read".to_owned());
        assert_eq!(request.grantable(&client, &samples::catalogue(), false).unwrap(), ["openid"]);
        assert_eq!(request.grantable(&client, &samples::catalogue(), true).unwrap(), ["openid", "admin:read"]);
        client.metadata.scope = Some("email".to_owned());
        assert!(matches!(request.grantable(&client, &samples::catalogue(), true), Err(Reason::ScopeNotAllowed { .. })));
    }

    #[test]
    fn the_first_who_looks_decides_and_nobody_else() {
        let claimed = code(code(State::Pending).claim(ALICE, at(1)).unwrap());
        assert_eq!(claimed.claim(ALICE, at(2)), Ok(State::Claimed { by: ALICE }));
        for refused in [claimed.claim(BOB, at(2)), claimed.approve(BOB, GRANT, at(2)), claimed.deny(BOB, at(2))] {
            assert_eq!(refused, Err(Reason::UserCodeOfAnotherPerson));
        }
        assert_eq!(claimed.approve(ALICE, GRANT, at(3)), Ok(State::Approved { grant_id: GRANT }));
        assert_eq!(claimed.deny(ALICE, at(3)), Ok(State::Denied));
        assert_eq!(code(State::Pending).approve(ALICE, GRANT, at(1)), Err(Reason::UserCodeUnknown), "seen by nobody");
    }

    #[test]
    fn one_decision_is_one_decision() {
        for state in
            [State::Approved { grant_id: GRANT }, State::Denied, State::Redeemed { grant_id: GRANT, at: at(1) }, State::Withdrawn]
        {
            assert_eq!(code(state).claim(ALICE, at(2)), Err(Reason::UserCodeSpent));
            assert_eq!(code(state).approve(ALICE, GRANT, at(2)), Err(Reason::UserCodeSpent));
        }
    }

    #[test]
    fn after_ten_minutes_nothing_moves() {
        for state in [State::Pending, State::Claimed { by: ALICE }, State::Approved { grant_id: GRANT }] {
            assert!(matches!(code(state).poll(at(600)), Polled::Over(Reason::DeviceCodeExpired { .. })));
            assert!(matches!(code(state).claim(ALICE, at(600)), Err(Reason::UserCodeExpired { .. })));
        }
        assert!(matches!(code(State::Approved { grant_id: GRANT }).poll(at(599)), Polled::Approved { .. }));
    }

    #[test]
    fn polls_that_come_too_soon_slow_the_device_down_for_good() {
        let mut code = code(State::Pending);
        let mut poll = |seconds: i64| match code.poll(at(seconds)) {
            Polled::NotYet { reason, pace } => {
                code.pace = pace;
                (reason.wire().error, pace.interval.as_secs())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(poll(0), ("authorization_pending", 5), "the first may come at once");
        assert_eq!(poll(5), ("authorization_pending", 5));
        assert_eq!(poll(6), ("slow_down", 10));
        assert_eq!(poll(12), ("slow_down", 15));
        assert_eq!(poll(27), ("authorization_pending", 15));
        assert_eq!(poll(42), ("authorization_pending", 15));
    }

    #[test]
    fn a_network_that_held_the_last_poll_up_is_forgiven() {
        let mut code = code(State::Pending);
        code.pace.polled_at = Some(at(0));
        let early = at(5).minus(Duration::from_millis(400));
        assert!(matches!(code.poll(early), Polled::NotYet { reason: Reason::AuthorizationPending { .. }, .. }));
        let earlier = at(5).minus(Duration::from_millis(600));
        assert!(matches!(code.poll(earlier), Polled::NotYet { reason: Reason::SlowDown { .. }, .. }));
    }

    #[test]
    fn a_decision_is_told_to_however_hasty_a_poll() {
        for (state, told) in [(State::Denied, "access_denied"), (State::Withdrawn, "invalid_grant")] {
            let mut code = code(state);
            code.pace.polled_at = Some(at(1));
            assert!(matches!(code.poll(at(1)), Polled::Over(reason) if reason.wire().error == told));
        }
    }
}
