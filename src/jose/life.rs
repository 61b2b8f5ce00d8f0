//! The life of a signing key (design 4.5): next, active, retiring, verify-only, gone; or compromised.
//!
//! Pure: [`plan`] looks at the keys of one algorithm and says what is due. The store carries it out under a lock.

use std::time::Duration;

use super::Alg;
use crate::clock::Timestamp;

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyState {
    /// Signs. One per algorithm.
    Active,
    /// Published, so that everybody knows it before it signs. One per algorithm.
    Next,
    /// Signs no more; published until the last token that it signed has expired.
    Retiring,
    /// Not published; verifies old `id_token_hint`s alone.
    VerifyOnly,
    /// Nothing signed by it is believed.
    Compromised,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Active, Self::Next, Self::Retiring, Self::VerifyOnly, Self::Compromised];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
            Self::Retiring => "retiring",
            Self::VerifyOnly => "verify_only",
            Self::Compromised => "compromised",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the key stands in the JWKS.
    pub const fn is_published(self) -> bool {
        match self {
            Self::Active | Self::Next | Self::Retiring => true,
            Self::VerifyOnly | Self::Compromised => false,
        }
    }
}

impl std::fmt::Display for KeyState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long the stations of a key's life last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// How long a key signs before it is replaced by itself. Default 90 days.
    pub rotate_after: Duration,
    /// How long a key is published before it signs: the `max-age` of the JWKS and our own caches. Default 300 s + 5 s.
    pub publish_before_use: Duration,
    /// The longest life of a token that such a key signs.
    pub longest_token: Duration,
    /// How long a key verifies hints after it left the JWKS. Default 180 days.
    pub verify_only: Duration,
}

impl Default for KeyLife {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self { rotate_after: 90 * day, publish_before_use: Duration::from_secs(305), longest_token: day, verify_only: 180 * day }
    }
}

impl KeyLife {
    /// What a retiring key waits beyond the longest token: replicas that still signed with it until they reloaded, and clocks.
    const MARGIN: Duration = Duration::from_secs(60);

    /// The instant from which a key that was published at `published_at` may sign.
    pub fn may_sign_at(&self, published_at: Timestamp) -> Timestamp {
        published_at.plus(self.publish_before_use)
    }

    /// The instant at which a key that stopped signing at `retired_at` leaves the JWKS.
    pub fn unpublished_at(&self, retired_at: Timestamp) -> Timestamp {
        retired_at.plus(self.longest_token).plus(Self::MARGIN)
    }
}

/// A key's state and the instants that decide what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTimes {
    pub kid: String,
    pub state: KeyState,
    pub state_since: Timestamp,
    pub published_at: Timestamp,
    pub activated_at: Option<Timestamp>,
}

/// One step in the life of one algorithm's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new key is inserted in this state (`Active` when there was none at all, `Next` otherwise).
    Insert(Alg, KeyState),
    /// The key goes into this state. Steps are in an order in which one active and one next key are never exceeded.
    Become { kid: String, state: KeyState },
    /// The key is forgotten.
    Forget { kid: String },
}

/// What is due at `now` for the keys of `alg`. `wanted` asks for a rotation as soon as the next key may sign, or for the first keys of
/// an algorithm that has none.
pub fn plan(alg: Alg, keys: &[KeyTimes], wanted: bool, life: &KeyLife, now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    let active = keys.iter().find(|key| key.state == KeyState::Active);
    let next = keys.iter().find(|key| key.state == KeyState::Next);

    let due = active.is_some_and(|key| now >= key.activated_at.unwrap_or(key.state_since).plus(life.rotate_after));
    match (active, next) {
        (None, None) if keys.is_empty() && !wanted && !alg.is_made_at_start() => {}
        (None, None) => events.extend([Event::Insert(alg, KeyState::Active), Event::Insert(alg, KeyState::Next)]),
        // An active key is missing only when it was compromised: the next one signs at once.
        (None, Some(next)) => events.extend([become_(next, KeyState::Active), Event::Insert(alg, KeyState::Next)]),
        (Some(_), None) => events.push(Event::Insert(alg, KeyState::Next)),
        (Some(active), Some(next)) if (due || wanted) && now >= life.may_sign_at(next.published_at) => events.extend([
            become_(active, KeyState::Retiring),
            become_(next, KeyState::Active),
            Event::Insert(alg, KeyState::Next),
        ]),
        (Some(_), Some(_)) => {}
    }
    for key in keys {
        match key.state {
            KeyState::Retiring if now >= life.unpublished_at(key.state_since) => events.push(become_(key, KeyState::VerifyOnly)),
            KeyState::VerifyOnly | KeyState::Compromised if now >= key.state_since.plus(life.verify_only) => {
                events.push(Event::Forget { kid: key.kid.clone() });
            }
            KeyState::Active | KeyState::Next | KeyState::Retiring | KeyState::VerifyOnly | KeyState::Compromised => {}
        }
    }
    events
}

fn become_(key: &KeyTimes, state: KeyState) -> Event {
    Event::Become { kid: key.kid.clone(), state }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_seconds(1_000_000);

    fn key(kid: &str, state: KeyState, since: Timestamp) -> KeyTimes {
        let activated_at = (state == KeyState::Active).then_some(since);
        KeyTimes { kid: kid.to_owned(), state, state_since: since, published_at: since, activated_at }
    }

    fn due(keys: &[KeyTimes], wanted: bool, after: u64) -> Vec<Event> {
        plan(Alg::ES256, keys, wanted, &KeyLife::default(), T0.plus(Duration::from_secs(after)))
    }

    fn to(kid: &str, state: KeyState) -> Event {
        Event::Become { kid: kid.to_owned(), state }
    }

    const NEW_NEXT: Event = Event::Insert(Alg::ES256, KeyState::Next);

    #[test]
    fn the_first_start_makes_an_active_and_a_next_key() {
        assert_eq!(due(&[], false, 0), [Event::Insert(Alg::ES256, KeyState::Active), NEW_NEXT]);
    }

    #[test]
    fn keys_of_a_rare_algorithm_are_made_when_they_are_wanted_and_live_like_the_others() {
        let due = |keys: &[KeyTimes], wanted| plan(Alg::PS256, keys, wanted, &KeyLife::default(), T0);
        let both = [Event::Insert(Alg::PS256, KeyState::Active), Event::Insert(Alg::PS256, KeyState::Next)];
        assert_eq!(due(&[], false), []);
        assert_eq!(due(&[], true), both);
        assert_eq!(due(&[key("a", KeyState::Active, T0)], false), both[1..]);
        assert_eq!(due(&[key("a", KeyState::Compromised, T0)], false), both);
    }

    #[test]
    fn a_wanted_rotation_waits_until_the_next_key_is_known_everywhere() {
        let keys = [key("a", KeyState::Active, T0), key("n", KeyState::Next, T0)];
        assert_eq!(due(&keys, true, 304), []);
        assert_eq!(due(&keys, true, 305), [to("a", KeyState::Retiring), to("n", KeyState::Active), NEW_NEXT]);
    }

    #[test]
    fn after_ninety_days_a_key_is_replaced_by_itself() {
        let keys = [key("a", KeyState::Active, T0), key("n", KeyState::Next, T0)];
        let period = 90 * 24 * 60 * 60;
        assert_eq!(due(&keys, false, period - 1), []);
        assert_eq!(due(&keys, false, period).len(), 3);
    }

    #[test]
    fn a_compromised_active_key_is_followed_at_once() {
        let keys = [key("a", KeyState::Compromised, T0), key("n", KeyState::Next, T0)];
        assert_eq!(due(&keys, false, 0), [to("n", KeyState::Active), NEW_NEXT]);
    }

    #[test]
    fn a_retiring_key_outlives_its_last_token_then_verifies_hints_then_goes() {
        let day = 24 * 60 * 60;
        let settled = [key("a", KeyState::Active, T0), key("n", KeyState::Next, T0)];
        let with = |old| [settled[0].clone(), settled[1].clone(), old];
        let retiring = with(key("r", KeyState::Retiring, T0));
        assert_eq!(due(&retiring, false, day + 59), []);
        assert_eq!(due(&retiring, false, day + 60), [to("r", KeyState::VerifyOnly)]);
        let verify_only = with(key("v", KeyState::VerifyOnly, T0.minus(Duration::from_secs(179 * day))));
        assert_eq!(due(&verify_only, false, day - 1), []);
        assert_eq!(due(&verify_only, false, day), [Event::Forget { kid: "v".to_owned() }]);
    }
}
