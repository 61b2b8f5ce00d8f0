//! The life of a code against an independent model of design 4.3: several clients that redeem it at once and in any order, right and
//! wrong requests, time, and people and clients that are switched off in between.
//!
//! A redemption reads facts, decides, and writes under the condition that they still hold; between the reading and the writing of one
//! anything of the others may happen. The model keeps the history and speaks of it as the design does.

use std::time::Duration;

use proptest::prelude::*;

use super::{Request, decide};
use crate::clock::Timestamp;
use crate::oauth::client::{Client, GrantType, Profile, RefreshRotation};
use crate::oauth::client_auth::AuthenticatedClient;
use crate::oauth::family::Family;
use crate::oauth::grant::samples::{self, LIMITS};
use crate::oauth::grant::{CodeFacts, RefreshPlan};
use crate::oauth::params::Params;
use crate::oauth::refusal::Effect;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const LIFE: Duration = Duration::from_secs(60);
/// Redemptions that may be under way at once.
const AT_ONCE: usize = 4;

/// What is registered and was asked for.
#[derive(Debug, Clone, Copy)]
struct Scene {
    rotation: RefreshRotation,
    fapi2: bool,
    refreshes: bool,
    challenge: bool,
    uri_sent: bool,
}

/// What a redemption brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    /// The code's own client, or another one that authenticates as well.
    own_client: bool,
    verifier: Verifier,
    uri: Uri,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verifier {
    Right,
    Wrong,
    Malformed,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uri {
    Same,
    Slash,
    None,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Wait(Duration),
    /// One of the redemptions reads what the store has.
    Read {
        place: usize,
        sent: Sent,
    },
    /// It decides and writes.
    Write {
        place: usize,
    },
    /// The refresh token that came of it is redeemed.
    Refresh,
    /// The person is switched off, which ends their grants and spends their codes; and on again.
    Person {
        on: bool,
    },
    Client {
        on: bool,
    },
    /// Consent is withdrawn.
    EndGrant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Tokens,
    /// Nothing else changes.
    Refused,
    /// Everything that came of the code ends.
    Theft,
}

/// The present, as the model knows it.
#[derive(Debug, Clone, Default)]
struct History {
    /// When it was redeemed, or spent by the person's being switched off.
    spent: Option<Timestamp>,
    refreshed: bool,
    ended: bool,
    person_off: bool,
    client_off: bool,
    tokens: u32,
}

impl History {
    /// The grant and all on whom it depends.
    fn stands(&self) -> bool {
        !self.ended && !self.person_off && !self.client_off
    }
}

struct Model {
    scene: Scene,
    made: Timestamp,
    history: History,
}

impl Model {
    fn is_right(&self, sent: Sent) -> bool {
        let verifier = if self.scene.challenge { Verifier::Right } else { Verifier::None };
        let uri = match sent.uri {
            Uri::Same => true,
            Uri::Slash => false,
            Uri::None => !self.scene.uri_sent,
        };
        sent.own_client && sent.verifier == verifier && uri
    }

    /// Design 4.3: within two seconds, the same client, the right verifier, nothing redeemed from the grant since; never for `fapi2` or
    /// `strict`. Without a challenge nothing shows that it is the same.
    fn is_honest(&self, seen: &History, sent: Sent, spent: Timestamp, now: Timestamp) -> bool {
        let strict = self.scene.fapi2 || self.scene.rotation == RefreshRotation::Strict;
        let same = self.scene.challenge && sent.verifier == Verifier::Right;
        !strict && same && !seen.refreshed && now.since(spent) <= Duration::from_secs(2)
    }

    /// What is said to somebody who sees this history.
    fn told(&self, seen: &History, sent: Sent, now: Timestamp) -> Verdict {
        match seen.spent {
            _ if !sent.own_client => Verdict::Refused,
            // Whoever was switched off: nothing was redeemed, nothing is left to end.
            Some(_) if seen.person_off => Verdict::Refused,
            Some(spent) if self.is_honest(seen, sent, spent, now) => Verdict::Refused,
            Some(_) => Verdict::Theft,
            None if now.since(self.made) >= LIFE => Verdict::Refused,
            None if self.is_right(sent) && seen.stands() => Verdict::Tokens,
            None => Verdict::Refused,
        }
    }

    fn write(&mut self, seen: &History, sent: Sent, now: Timestamp) -> Verdict {
        let mut verdict = self.told(seen, sent, now);
        // A write that finds the world changed decides once more, about the world as it is.
        if verdict == Verdict::Tokens && (self.history.spent.is_some() || !self.history.stands()) {
            verdict = self.told(&self.history.clone(), sent, now);
        }
        match verdict {
            Verdict::Tokens => {
                self.history.spent = Some(now);
                self.history.tokens += 1;
            }
            Verdict::Theft => self.history.ended = true,
            Verdict::Refused => {}
        }
        verdict
    }
}

/// The code under test, over a store that keeps its promises.
struct Store {
    facts: CodeFacts,
    own: AuthenticatedClient,
    other: AuthenticatedClient,
}

impl Store {
    fn new(scene: Scene) -> Self {
        let mut code = samples::code();
        if !scene.challenge {
            code.code_challenge = None;
        }
        if !scene.uri_sent {
            code.redirect_uri = None;
        }
        let client = |id: &str| {
            let mut client: Client = samples::client(id);
            client.metadata.refresh_rotation = scene.rotation;
            client.metadata.profile = scene.fapi2.then_some(Profile::Fapi2);
            client.metadata.require_pkce = scene.challenge;
            if !scene.refreshes {
                client.metadata.grant_types = vec![GrantType::AuthorizationCode];
            }
            samples::authenticated(client)
        };
        let facts = CodeFacts { code, standing: samples::standing(), family: None };
        Self { facts, own: client("app"), other: client("other") }
    }

    /// One conditional write: what it finds changed, it does not change.
    fn redeem(&mut self, client_id: &str, family: bool, now: Timestamp) -> bool {
        let CodeFacts { code, standing, .. } = &self.facts;
        let stands = standing.grant.ended_at.is_none() && standing.user.enabled && standing.client_enabled;
        if code.client_id != client_id || code.consumed_at.is_some() || code.expires_at <= now || !stands {
            return false;
        }
        self.facts.code.consumed_at = Some(now);
        self.facts.family = family.then(|| Family { created_at: now, last_used_at: now, ..samples::family() });
        true
    }

    /// As the service does it.
    fn write(&mut self, seen: CodeFacts, sent: Sent, now: Timestamp) -> Verdict {
        let client = if sent.own_client { self.own.clone() } else { self.other.clone() };
        let request = request(sent);
        let mut seen = seen;
        for _ in 0..8 {
            let decided = decide(&request, &client, Some(&seen), &samples::catalogue(), &LIMITS, now);
            match decided {
                Ok(issuance) => {
                    assert_eq!(issuance.grant().map(|grant| grant.id), Some(seen.standing.grant.id));
                    assert_eq!(issuance.audience.scopes, seen.standing.grant.scopes);
                    let begins = issuance.refresh == RefreshPlan::Begin;
                    assert_eq!(begins, client.uses(GrantType::RefreshToken));
                    if self.redeem(&client.client_id, begins, now) {
                        return Verdict::Tokens;
                    }
                    seen = self.facts.clone();
                }
                Err(refusal) => {
                    return match refusal.effect {
                        Effect::None => Verdict::Refused,
                        Effect::EndGrant(grant) => {
                            assert_eq!(grant, self.facts.standing.grant.id);
                            self.facts.standing.grant.ended_at.get_or_insert(now);
                            Verdict::Theft
                        }
                        other => panic!("{other:?} of a code"),
                    };
                }
            }
        }
        panic!("nobody loses eight races against a world that stands still");
    }
}

fn request(sent: Sent) -> Request {
    let mut body = "grant_type=authorization_code&code=SplxlOBeZQQYbYS6WxSbIA".to_owned();
    let other = "x".repeat(43);
    match sent.verifier {
        Verifier::Right => body += &format!("&code_verifier={VERIFIER}"),
        Verifier::Wrong => body += &format!("&code_verifier={other}"),
        Verifier::Malformed => body += "&code_verifier=short",
        Verifier::None => {}
    }
    match sent.uri {
        Uri::Same => body += "&redirect_uri=https%3A%2F%2Fapp.test%2Fcallback",
        Uri::Slash => body += "&redirect_uri=https%3A%2F%2Fapp.test%2Fcallback%2F",
        Uri::None => {}
    }
    Request::parse(&Params::parse_form(body.as_bytes()).unwrap()).unwrap()
}

fn sent() -> impl Strategy<Value = Sent> {
    let verifier = prop_oneof![
        8 => Just(Verifier::Right),
        1 => Just(Verifier::Wrong),
        1 => Just(Verifier::Malformed),
        2 => Just(Verifier::None),
    ];
    let uri = prop_oneof![8 => Just(Uri::Same), 1 => Just(Uri::Slash), 2 => Just(Uri::None)];
    (prop::bool::weighted(0.9), verifier, uri).prop_map(|(own_client, verifier, uri)| Sent { own_client, verifier, uri })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let wait = prop_oneof![
        4 => (0u64..1_500_000).prop_map(Duration::from_micros),
        // Around the two seconds of an honest retry and around the end, to the microsecond.
        2 => (1_999_998u64..2_000_003).prop_map(Duration::from_micros),
        1 => (59_999_998u64..60_000_003).prop_map(Duration::from_micros),
        1 => (1u64..40).prop_map(Duration::from_secs),
    ];
    let event = prop_oneof![
        5 => wait.prop_map(Event::Wait),
        8 => (0..AT_ONCE, sent()).prop_map(|(place, sent)| Event::Read { place, sent }),
        8 => (0..AT_ONCE).prop_map(|place| Event::Write { place }),
        1 => Just(Event::Refresh),
        1 => any::<bool>().prop_map(|on| Event::Person { on }),
        1 => any::<bool>().prop_map(|on| Event::Client { on }),
        1 => Just(Event::EndGrant),
    ];
    prop::collection::vec(event, 1..40)
}

fn scene() -> impl Strategy<Value = Scene> {
    let rotation = prop_oneof![
        4 => Just(RefreshRotation::Recover),
        1 => Just(RefreshRotation::Strict),
        1 => Just(RefreshRotation::None),
    ];
    let often = prop::bool::weighted(0.8);
    (rotation, prop::bool::weighted(0.2), often, prop::bool::weighted(0.8), prop::bool::weighted(0.8))
        .prop_map(|(rotation, fapi2, refreshes, challenge, uri_sent)| Scene { rotation, fapi2, refreshes, challenge, uri_sent })
}

/// 2,000 lives, or as many as PROPTEST_CASES asks for.
fn rounds() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(2000), ..default }
}

fn play(scene: Scene, events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut now = samples::at(0);
    let mut store = Store::new(scene);
    let mut model = Model { scene, made: now, history: History::default() };
    let mut under_way: [Option<(Sent, Timestamp, CodeFacts, History)>; AT_ONCE] = Default::default();
    for event in events {
        match event {
            Event::Wait(duration) => now = now.plus(duration),
            Event::Read { place, sent } => {
                under_way[place] = Some((sent, now, store.facts.clone(), model.history.clone()));
            }
            Event::Write { place } => {
                let Some((sent, began, seen, seen_history)) = under_way[place].take() else { continue };
                let before = store.facts.clone();
                let expected = model.write(&seen_history, sent, began);
                let verdict = store.write(seen, sent, began);
                prop_assert_eq!(verdict, expected, "{:?} at {:?}", sent, began);
                if verdict == Verdict::Refused {
                    prop_assert_eq!(&store.facts, &before, "a refusal changes nothing");
                }
            }
            Event::Refresh => {
                // A family that ended, or whose person or client is off, answers nobody.
                let stands = model.history.stands();
                if let Some(family) = store.facts.family.as_mut().filter(|_| stands) {
                    *family = Family { generation: 2, previous: 1, last_used_at: now, ..family.clone() };
                    model.history.refreshed = true;
                }
            }
            Event::Person { on } => {
                store.facts.standing.user.enabled = on;
                model.history.person_off = !on;
                if !on {
                    store.facts.standing.grant.ended_at.get_or_insert(now);
                    store.facts.code.consumed_at.get_or_insert(now);
                    model.history.ended = true;
                    model.history.spent.get_or_insert(now);
                }
            }
            Event::Client { on } => {
                store.facts.standing.client_enabled = on;
                model.history.client_off = !on;
            }
            Event::EndGrant => {
                store.facts.standing.grant.ended_at.get_or_insert(now);
                model.history.ended = true;
            }
        }
        prop_assert!(model.history.tokens <= 1, "a code is spent once");
        prop_assert_eq!(store.facts.standing.grant.ended_at.is_some(), model.history.ended);
    }
    Ok(())
}

proptest! {
    #![proptest_config(rounds())]

    #[test]
    fn a_code_agrees_with_the_model_whatever_happens_in_whatever_order(scene in scene(), events in events()) {
        play(scene, events)?;
    }

    /// Of any number of right redemptions that read before the first of them writes, one gets tokens, and the others end nothing.
    #[test]
    fn redemptions_that_cross_are_one_success_and_no_theft(count in 2usize..30, gap in 0u64..50_000) {
        let mut store = Store::new(Scene { rotation: RefreshRotation::Recover, fapi2: false, refreshes: true, challenge: true, uri_sent: true });
        let sent = Sent { own_client: true, verifier: Verifier::Right, uri: Uri::Same };
        let seen = store.facts.clone();
        let verdicts: Vec<Verdict> = (0..count)
            .map(|number| store.write(seen.clone(), sent, samples::at(1).plus(Duration::from_micros(gap * number as u64))))
            .collect();
        prop_assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Tokens).count(), 1);
        prop_assert!(!verdicts.contains(&Verdict::Theft), "{:?}", verdicts);
    }

    /// A code that comes back later than that ends what came of it, and nobody gets anything for it any more.
    #[test]
    fn a_replay_ends_the_grant_for_good(rotation in prop_oneof![Just(RefreshRotation::Recover), Just(RefreshRotation::Strict)], late in 2_000_001u64..600_000_000, sent in sent()) {
        let mut store = Store::new(Scene { rotation, fapi2: false, refreshes: true, challenge: true, uri_sent: true });
        let right = Sent { own_client: true, verifier: Verifier::Right, uri: Uri::Same };
        prop_assert_eq!(store.write(store.facts.clone(), right, samples::at(1)), Verdict::Tokens);
        let later = samples::at(1).plus(Duration::from_micros(late));
        let expected = if sent.own_client { Verdict::Theft } else { Verdict::Refused };
        prop_assert_eq!(store.write(store.facts.clone(), sent, later), expected);
        prop_assert_eq!(store.facts.standing.grant.ended_at.is_some(), sent.own_client);
        prop_assert_ne!(store.write(store.facts.clone(), right, later), Verdict::Tokens);
    }
}
