//! Device codes at the token endpoint against an independent model of RFC 8628 and design 4.3: polls that cross each other and the
//! person's decision, people who type the code and who are switched off, another client, and time.
//!
//! `oauth::device::model` looks at the code alone, one step at a time. Here every poll reads, decides and writes under the condition that
//! what it read still holds, and between its reading and its writing anything of the others may happen.

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::decide;
use crate::clock::Timestamp;
use crate::oauth::client::GrantType;
use crate::oauth::client_auth::AuthenticatedClient;
use crate::oauth::device::{DeviceCode, Pace, State};
use crate::oauth::family::Family;
use crate::oauth::grant::samples::{self, LIMITS};
use crate::oauth::grant::{DeviceCodeFacts, RefreshPlan};
use crate::oauth::refusal::Effect;

const GRANT: Uuid = Uuid::from_u128(2);
const LIFE: Duration = Duration::from_secs(600);
/// Polls that may be under way at once.
const AT_ONCE: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Event {
    Wait(Duration),
    /// One of the polls reads what the store has; by the code's own client, or by another one.
    Read {
        place: usize,
        own: bool,
    },
    /// It decides and writes.
    Write {
        place: usize,
    },
    /// Somebody signed in types the code.
    Look {
        who: u8,
    },
    Decide {
        who: u8,
        yes: bool,
    },
    /// The refresh token that came of it is redeemed.
    Refresh,
    /// A person is switched off: what is theirs and not redeemed is taken back, and what was granted ends.
    SwitchOff {
        who: u8,
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
    Pending,
    SlowDown,
    Denied,
    Expired,
    /// invalid_grant, nothing changes.
    Refused,
    /// invalid_grant, and everything that came of it ends.
    Theft,
}

/// The present, as the model knows it.
#[derive(Debug, Clone, Default, PartialEq)]
struct History {
    first: Option<u8>,
    answer: Option<bool>,
    taken_back: bool,
    redeemed: Option<Timestamp>,
    refreshed: bool,
    ended: bool,
    person_off: bool,
    client_off: bool,
    /// The last poll that was told to wait, and the seconds between two.
    polled: Option<Timestamp>,
    interval: u64,
    tokens: u32,
}

impl History {
    fn new() -> Self {
        Self { interval: 5, ..Self::default() }
    }

    fn is_open(&self) -> bool {
        self.answer.is_none() && !self.taken_back
    }

    /// What is said to a poll that sees this.
    fn told(&self, now: Timestamp) -> Verdict {
        let over = now.since(samples::at(0)) >= LIFE;
        if let Some(redeemed) = self.redeemed {
            let honest = !self.refreshed && now.since(redeemed) <= Duration::from_secs(2);
            return if self.person_off || self.ended || honest { Verdict::Refused } else { Verdict::Theft };
        }
        match self.answer {
            _ if self.taken_back => Verdict::Refused,
            Some(false) => Verdict::Denied,
            _ if over => Verdict::Expired,
            Some(true) if self.ended || self.person_off || self.client_off => Verdict::Refused,
            Some(true) => Verdict::Tokens,
            None if self.is_hasty(now) => Verdict::SlowDown,
            None => Verdict::Pending,
        }
    }

    /// RFC 8628 §3.5: sooner than the interval; half a second is forgiven.
    fn is_hasty(&self, now: Timestamp) -> bool {
        self.polled.is_some_and(|last| now.plus(Duration::from_millis(500)) < last.plus(Duration::from_secs(self.interval)))
    }

    fn poll(&mut self, seen: &History, now: Timestamp) -> Verdict {
        let mut verdict = seen.told(now);
        let moved = match verdict {
            Verdict::Tokens => self.told(now) != Verdict::Tokens,
            // The pace is written before it is told; another poll, or the decision, may have come between.
            Verdict::Pending | Verdict::SlowDown => !self.is_open() || (self.polled, self.interval) != (seen.polled, seen.interval),
            _ => false,
        };
        if moved {
            verdict = self.told(now);
        }
        match verdict {
            Verdict::Tokens => {
                self.redeemed = Some(now);
                self.tokens += 1;
            }
            Verdict::Pending | Verdict::SlowDown => {
                self.interval += if verdict == Verdict::SlowDown { 5 } else { 0 };
                self.polled = Some(now);
            }
            Verdict::Theft => self.ended = true,
            Verdict::Denied | Verdict::Expired | Verdict::Refused => {}
        }
        verdict
    }
}

/// The code under test, over a store that keeps its promises.
struct Store {
    facts: DeviceCodeFacts,
    own: AuthenticatedClient,
    other: AuthenticatedClient,
    user_enabled: bool,
    client_enabled: bool,
}

impl Store {
    fn new(refreshes: bool) -> Self {
        let client = |id: &str| {
            let mut client = samples::client(id);
            client.metadata.grant_types = vec![GrantType::DeviceCode];
            if refreshes {
                client.metadata.grant_types.push(GrantType::RefreshToken);
            }
            samples::authenticated(client)
        };
        let facts = DeviceCodeFacts { code: samples::device_code(), standing: None, family: None };
        Self { facts, own: client("app"), other: client("other"), user_enabled: true, client_enabled: true }
    }

    fn step(&mut self, step: Result<State, crate::oauth::refusal::Reason>) -> bool {
        let taken = step.is_ok();
        if let Ok(state) = step {
            self.facts.code.state = state;
        }
        taken
    }

    fn allowed(&mut self) {
        let mut standing = samples::standing();
        (standing.user.enabled, standing.client_enabled) = (self.user_enabled, self.client_enabled);
        self.facts.standing = Some(standing);
    }

    fn keep_pace(&mut self, before: Pace, after: Pace) -> bool {
        let open = matches!(self.facts.code.state, State::Pending | State::Claimed { .. });
        if !open || self.facts.code.pace != before {
            return false;
        }
        self.facts.code.pace = after;
        true
    }

    fn redeem(&mut self, family: bool, now: Timestamp) -> bool {
        let stands = self
            .facts
            .standing
            .as_ref()
            .is_some_and(|standing| standing.grant.ended_at.is_none() && standing.user.enabled && standing.client_enabled);
        let (State::Approved { grant_id }, true, true) = (self.facts.code.state, stands, self.facts.code.expires_at > now) else {
            return false;
        };
        self.facts.code.state = State::Redeemed { grant_id, at: now };
        self.facts.family = family.then(|| Family { created_at: now, last_used_at: now, ..samples::family() });
        true
    }

    /// As the service does it.
    fn poll(&mut self, seen: DeviceCodeFacts, own: bool, now: Timestamp) -> Verdict {
        let client = if own { self.own.clone() } else { self.other.clone() };
        let mut seen = seen;
        for _ in 0..8 {
            let refusal = match decide(&client, Some(&seen), &samples::catalogue(), &LIMITS, now) {
                Ok(issuance) => {
                    let begins = issuance.refresh == RefreshPlan::Begin;
                    assert_eq!(begins, client.uses(GrantType::RefreshToken));
                    assert_eq!((issuance.grant().map(|grant| grant.id), issuance.nonce), (Some(GRANT), None));
                    if self.redeem(begins, now) {
                        return Verdict::Tokens;
                    }
                    seen = self.facts.clone();
                    continue;
                }
                Err(refusal) => refusal,
            };
            let error = refusal.reason.wire().error;
            return match refusal.effect {
                Effect::KeepPace(pace) => {
                    if !self.keep_pace(seen.code.pace, pace) {
                        seen = self.facts.clone();
                        continue;
                    }
                    match error {
                        "authorization_pending" => Verdict::Pending,
                        "slow_down" => Verdict::SlowDown,
                        other => panic!("{other} keeps a pace"),
                    }
                }
                Effect::EndGrant(grant) => {
                    assert_eq!(grant, GRANT);
                    if let Some(standing) = &mut self.facts.standing {
                        standing.grant.ended_at.get_or_insert(now);
                    }
                    Verdict::Theft
                }
                Effect::None => match error {
                    "access_denied" => Verdict::Denied,
                    "expired_token" => Verdict::Expired,
                    _ => Verdict::Refused,
                },
                Effect::ReportLoss(_) => panic!("a device code is not ahead"),
            };
        }
        panic!("nobody loses eight races against a world that stands still");
    }
}

fn person(who: u8) -> Uuid {
    Uuid::from_u128(u128::from(who) + 100)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let wait = prop_oneof![
        4 => (0u64..3_000).prop_map(Duration::from_millis),
        // Around what is forgiven, the honest retry and the end, to the microsecond.
        3 => (4_499_998u64..4_500_003).prop_map(Duration::from_micros),
        2 => (1_999_998u64..2_000_003).prop_map(Duration::from_micros),
        2 => (5u64..20).prop_map(Duration::from_secs),
        1 => (599_999_998u64..600_000_003).prop_map(Duration::from_micros),
        1 => (60u64..400).prop_map(Duration::from_secs),
    ];
    let event = prop_oneof![
        6 => wait.prop_map(Event::Wait),
        8 => (0..AT_ONCE, prop::bool::weighted(0.9)).prop_map(|(place, own)| Event::Read { place, own }),
        8 => (0..AT_ONCE).prop_map(|place| Event::Write { place }),
        3 => (0u8..2).prop_map(|who| Event::Look { who }),
        3 => (0u8..2, prop::bool::weighted(0.8)).prop_map(|(who, yes)| Event::Decide { who, yes }),
        1 => Just(Event::Refresh),
        1 => (0u8..2).prop_map(|who| Event::SwitchOff { who }),
        1 => any::<bool>().prop_map(|on| Event::Client { on }),
        1 => Just(Event::EndGrant),
    ];
    prop::collection::vec(event, 1..60)
}

/// 2,000 lives, or as many as PROPTEST_CASES asks for.
fn rounds() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(2000), ..default }
}

fn play(refreshes: bool, events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut now = samples::at(0);
    let mut store = Store::new(refreshes);
    let mut history = History::new();
    let mut under_way: [Option<(bool, Timestamp, DeviceCodeFacts, History)>; AT_ONCE] = Default::default();
    let mut off = [false; 2];
    for event in events {
        let over = now.since(samples::at(0)) >= LIFE;
        match event {
            Event::Wait(duration) => now = now.plus(duration),
            Event::Read { place, own } => under_way[place] = Some((own, now, store.facts.clone(), history.clone())),
            Event::Write { place } => {
                let Some((own, began, seen, seen_history)) = under_way[place].take() else { continue };
                let before = store.facts.clone();
                let expected = if own { history.poll(&seen_history, began) } else { Verdict::Refused };
                let verdict = store.poll(seen, own, began);
                prop_assert_eq!(verdict, expected, "at {:?}", began);
                if matches!(verdict, Verdict::Refused | Verdict::Denied | Verdict::Expired) {
                    prop_assert_eq!(&store.facts, &before, "a refusal changes nothing");
                }
                prop_assert_eq!(store.facts.code.pace.interval, Duration::from_secs(history.interval));
            }
            // Who is switched off cannot sign in.
            Event::Look { who } | Event::Decide { who, .. } if off[usize::from(who)] => {}
            Event::Look { who } => {
                let may = !over && history.is_open() && history.first.is_none_or(|first| first == who);
                let step = store.facts.code.claim(person(who), now);
                prop_assert_eq!(store.step(step), may);
                if may {
                    history.first = Some(who);
                }
            }
            Event::Decide { who, yes } => {
                let may = !over && history.is_open() && history.first == Some(who);
                let code: &DeviceCode = &store.facts.code;
                let step = if yes { code.approve(person(who), GRANT, now) } else { code.deny(person(who), now) };
                prop_assert_eq!(store.step(step), may);
                if may {
                    history.answer = Some(yes);
                    if yes {
                        store.allowed();
                    }
                }
            }
            Event::Refresh => {
                let stands = !history.ended && !history.person_off && !history.client_off;
                if let Some(family) = store.facts.family.as_mut().filter(|_| stands) {
                    *family = Family { generation: 2, previous: 1, last_used_at: now, ..family.clone() };
                    history.refreshed = true;
                }
            }
            Event::SwitchOff { who } => {
                off[usize::from(who)] = true;
                if history.first != Some(who) {
                    continue;
                }
                history.person_off = true;
                if let Some(standing) = &mut store.facts.standing {
                    standing.user.enabled = false;
                    standing.grant.ended_at.get_or_insert(now);
                    history.ended = true;
                }
                store.user_enabled = false;
                if history.redeemed.is_none() && history.answer != Some(false) {
                    store.facts.code.state = State::Withdrawn;
                    history.taken_back = true;
                }
            }
            Event::Client { on } => {
                store.client_enabled = on;
                if let Some(standing) = &mut store.facts.standing {
                    standing.client_enabled = on;
                }
                history.client_off = !on;
            }
            Event::EndGrant => {
                if let Some(standing) = &mut store.facts.standing {
                    standing.grant.ended_at.get_or_insert(now);
                    history.ended = true;
                }
            }
        }
        prop_assert!(history.tokens <= 1, "a device gets tokens once");
        prop_assert!(history.tokens == 0 || history.answer == Some(true), "for a person who said yes");
    }
    Ok(())
}

proptest! {
    #![proptest_config(rounds())]

    #[test]
    fn a_poll_agrees_with_the_model_whatever_happens_in_whatever_order(refreshes in any::<bool>(), events in events()) {
        play(refreshes, events)?;
    }

    /// Of any number of polls that read the approval before the first of them writes, one gets tokens, and the others end nothing.
    #[test]
    fn polls_that_cross_are_one_success_and_no_theft(count in 2usize..30, gap in 0u64..50_000) {
        let mut store = Store::new(true);
        store.facts.code.state = State::Approved { grant_id: GRANT };
        store.allowed();
        let seen = store.facts.clone();
        let verdicts: Vec<Verdict> = (0..count)
            .map(|number| store.poll(seen.clone(), true, samples::at(10).plus(Duration::from_micros(gap * number as u64))))
            .collect();
        prop_assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Tokens).count(), 1);
        prop_assert!(!verdicts.contains(&Verdict::Theft), "{:?}", verdicts);
    }
}
