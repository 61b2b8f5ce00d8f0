//! The brake on guessing against a model that keeps the list of all failures: people and addresses that type user codes, right and wrong,
//! several at once, in bursts and over hours (security.md ).

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::{Attempt, Subject, Throttle};
use crate::clock::Timestamp;
use crate::config::ThrottleConfig;
use crate::oauth::refusal::Reason;
use crate::service::keyed::Keyed;
use crate::storage::failures::{Failures, Key};

const CONFIG: ThrottleConfig = ThrottleConfig {
    window: Duration::from_secs(900),
    account_failures: 3,
    address_failures: 12,
    global_failures: 30,
    longest_wait: Duration::from_secs(60),
    interactions_per_address: 1,
    interactions_per_client: 1,
    unknown_tokens_per_minute: 1,
};
const PEOPLE: usize = 5;
const ADDRESSES: usize = 3;
/// Tries whose outcome is not known yet.
const AT_ONCE: usize = 6;

#[derive(Debug, Clone, Copy)]
enum Event {
    Wait(Duration),
    /// Somebody types a code; the outcome comes later.
    Begin {
        place: usize,
        who: usize,
        address: usize,
    },
    /// It was right, or wrong.
    End {
        place: usize,
        wrong: bool,
    },
    /// Begun and wrong at once.
    Guess {
        who: usize,
        address: usize,
    },
}

/// Who is counted: a person, an address, everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Person(usize),
    Address(usize),
    All,
}

/// Failures by whom they count for, each window from its first failure on; and the tries under way.
#[derive(Default)]
struct Model {
    windows: HashMap<Who, Vec<Timestamp>>,
    at_work: Vec<(usize, usize, usize)>,
}

impl Model {
    /// The failures that count now.
    fn counted(&self, who: Who, now: Timestamp) -> &[Timestamp] {
        let window = self.windows.get(&who).map_or(&[][..], Vec::as_slice);
        let over = window.first().is_none_or(|first| now.since(*first) >= CONFIG.window);
        if over { &[] } else { window }
    }

    fn fail(&mut self, who: usize, address: usize, now: Timestamp) {
        for counted in [Who::Person(who), Who::Address(address), Who::All] {
            if self.counted(counted, now).is_empty() {
                self.windows.insert(counted, Vec::new());
            }
            self.windows.entry(counted).or_default().push(now);
        }
    }

    /// Seconds to wait, rounded up; `None`: go on.
    fn wait(&self, who: usize, address: usize, now: Timestamp) -> Option<u64> {
        let crowded = self.counted(Who::All, now).len() >= 30;
        let others = |same: &dyn Fn(&(usize, usize, usize)) -> bool| self.at_work.iter().filter(|one| same(one)).count();
        let (allowed, failures) = (if crowded { 1 } else { 3 }, self.counted(Who::Person(who), now));
        let at_work = others(&|one| one.1 == who);
        if failures.len() < allowed {
            if failures.len() + at_work >= allowed {
                return Some(1);
            }
        } else {
            // Twice as long each time, a minute at most, from the last failure on; and one try at a time.
            let doubled = (0..failures.len() - allowed).fold(1u64, |wait, _| (wait * 2).min(60));
            let end = failures.last().map(|last| last.plus(Duration::from_secs(doubled.min(60))));
            match end.filter(|end| now < *end) {
                Some(end) => return Some(end.since(now).as_micros().div_ceil(1_000_000) as u64),
                None if at_work > 0 => return Some(1),
                None => {}
            }
        }
        let (allowed, failures) = (if crowded { 1 } else { 12 }, self.counted(Who::Address(address), now));
        if failures.len() >= allowed {
            let end = failures.first().map(|first| first.plus(CONFIG.window))?;
            return Some((end.since(now).as_micros().div_ceil(1_000_000) as u64).max(1));
        }
        (failures.len() + others(&|one| one.2 == address) >= allowed).then_some(1)
    }
}

/// The rows, as `storage::failures` counts them.
#[derive(Default)]
struct Rows(HashMap<Key, Failures>);

impl Rows {
    fn find(&self, keys: &[Key]) -> Vec<Failures> {
        keys.iter().filter_map(|key| self.0.get(key).copied()).collect()
    }

    fn add(&mut self, keys: &[Key], now: Timestamp) {
        for key in keys {
            let row = self.0.entry(*key).or_insert(Failures { key: *key, count: 0, window_started_at: now, last_at: now });
            if row.window_started_at <= now.minus(CONFIG.window) {
                *row = Failures { key: *key, count: 0, window_started_at: now, last_at: now };
            }
            row.count += 1;
            row.last_at = now;
        }
    }
}

fn subjects(who: usize, address: usize) -> [Subject; 3] {
    let person = Uuid::from_u128(who as u128 + 1);
    [Subject::CodeTyper(person), Subject::CodeAddress(format!("192.0.2.{address}")), Subject::CodeEverybody]
}

fn begin(throttle: &Throttle, rows: &Rows, who: usize, address: usize, now: Timestamp) -> Result<Attempt, u64> {
    let subjects = subjects(who, address);
    let look = throttle.look(&subjects);
    let found = rows.find(&look.keys);
    throttle.admit(&subjects, look, &found, now).map_err(|reason| match reason {
        Reason::SignInThrottled { retry_after, .. } => retry_after,
        other => panic!("{other:?}"),
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let wait = prop_oneof![
        4 => (0u64..3_000_000).prop_map(Duration::from_micros),
        2 => (0u32..7).prop_flat_map(|step| (0u64..3).prop_map(move |by| Duration::from_micros((1_000_000 << step) + by - 1))),
        1 => (59_999_999u64..60_000_002).prop_map(Duration::from_micros),
        1 => (899_999_999u64..900_000_002).prop_map(Duration::from_micros),
        1 => (60u64..1000).prop_map(Duration::from_secs),
    ];
    let whom = || (0..PEOPLE, 0..ADDRESSES);
    let event = prop_oneof![
        5 => wait.prop_map(Event::Wait),
        3 => (0..AT_ONCE, whom()).prop_map(|(place, (who, address))| Event::Begin { place, who, address }),
        4 => (0..AT_ONCE, prop::bool::weighted(0.8)).prop_map(|(place, wrong)| Event::End { place, wrong }),
        8 => whom().prop_map(|(who, address)| Event::Guess { who, address }),
    ];
    prop::collection::vec(event, 1..150)
}

/// 500 histories, or as many as PROPTEST_CASES asks for.
fn rounds() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(500), ..default }
}

fn play(events: Vec<Event>) -> Result<(), TestCaseError> {
    let throttle = Throttle::new(CONFIG, Keyed::for_tests());
    let (mut rows, mut model, mut now) = (Rows::default(), Model::default(), Timestamp::from_seconds(1_800_000_000));
    let mut held: [Option<(Attempt, usize, usize)>; AT_ONCE] = Default::default();
    let keys_of =
        |who: usize, address: usize| -> Vec<Key> { subjects(who, address).iter().map(|subject| throttle.key(subject)).collect() };
    for event in events {
        match event {
            Event::Wait(duration) => now = now.plus(duration),
            Event::Begin { place, who, address } => {
                if held[place].is_some() {
                    continue;
                }
                let begun = begin(&throttle, &rows, who, address, now);
                prop_assert_eq!(begun.as_ref().err().copied(), model.wait(who, address, now));
                if let Ok(attempt) = begun {
                    model.at_work.push((place, who, address));
                    held[place] = Some((attempt, who, address));
                }
            }
            Event::End { place, wrong } => {
                let Some((attempt, who, address)) = held[place].take() else { continue };
                if wrong {
                    rows.add(&keys_of(who, address), now);
                    model.fail(who, address, now);
                }
                drop(attempt);
                model.at_work.retain(|one| one.0 != place);
            }
            Event::Guess { who, address } => {
                let begun = begin(&throttle, &rows, who, address, now);
                prop_assert_eq!(begun.as_ref().err().copied(), model.wait(who, address, now));
                if begun.is_ok() {
                    rows.add(&keys_of(who, address), now);
                    model.fail(who, address, now);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(rounds())]

    #[test]
    fn whoever_types_codes_waits_as_the_model_says(events in events()) {
        play(events)?;
    }

    /// However fast somebody guesses, and from however many addresses: in an hour they make no more guesses than the doubling waits allow,
    /// and whoever stops is never kept out for longer than the longest wait.
    #[test]
    fn a_guesser_is_slow_and_nobody_is_locked_out(pause in 1u64..2_000_000, addresses in 1usize..50) {
        let throttle = Throttle::new(CONFIG, Keyed::for_tests());
        let (mut rows, began) = (Rows::default(), Timestamp::from_seconds(1_800_000_000));
        let (mut now, mut guesses) = (began, 0usize);
        while now.since(began) < Duration::from_secs(3600) {
            let address = guesses % addresses;
            match begin(&throttle, &rows, 0, address, now) {
                Ok(_attempt) => {
                    guesses += 1;
                    let keys: Vec<Key> = subjects(0, address).iter().map(|subject| throttle.key(subject)).collect();
                    rows.add(&keys, now);
                    now = now.plus(Duration::from_micros(pause));
                }
                Err(wait) => now = now.plus(Duration::from_secs(wait)),
            }
        }
        // Four windows: three at once, six while the wait doubles to a minute, one a minute after that.
        prop_assert!(guesses <= 4 * (3 + 6 + 15), "{} guesses", guesses);
        let later = now.plus(CONFIG.longest_wait);
        prop_assert!(begin(&throttle, &rows, 0, 1000, later).is_ok(), "another address, a minute later");
    }
}
