//! The life of device codes against a model of it: whatever happens in whatever order, a device gets tokens once, for a person who said
//! yes in time, and who was the first to look.

use proptest::prelude::*;
use uuid::Uuid;

use super::{DeviceCode, INTERVAL, Pace, Polled, SLOWER, State};
use crate::clock::Timestamp;
use crate::oauth::grant::samples::{self, at};
use crate::oauth::refusal::Reason;

/// What may happen to a code.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Somebody signed in looks at it: one of three.
    Look(u8),
    Allow(u8),
    Deny(u8),
    Poll,
    /// The person with this number is switched off.
    SwitchOff(u8),
    /// So many tenths of a second pass.
    Wait(u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0_u8..3).prop_map(Event::Look),
        2 => (0_u8..3).prop_map(Event::Allow),
        1 => (0_u8..3).prop_map(Event::Deny),
        6 => Just(Event::Poll),
        1 => (0_u8..3).prop_map(Event::SwitchOff),
        6 => (0_u16..200).prop_map(Event::Wait),
        1 => (5000_u16..6100).prop_map(Event::Wait),
    ];
    proptest::collection::vec(event, 0..60)
}

/// What somebody who only watched would have written down.
#[derive(Debug, Default)]
struct Model {
    first: Option<u8>,
    answer: Option<bool>,
    tokens: u32,
    taken_back: bool,
    last_poll: Option<i64>,
    interval: i64,
}

fn person(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number) + 100)
}

const GRANT: Uuid = Uuid::from_u128(7);
const TENTHS: i64 = 100_000;
/// Ten minutes.
const LIFE: i64 = 6000;

/// What the store does with a step: the new state, or the old one.
fn take(code: &mut DeviceCode, step: Result<State, Reason>) -> bool {
    match step {
        Ok(state) => {
            code.state = state;
            true
        }
        Err(_) => false,
    }
}

fn moment(tenths: i64) -> Timestamp {
    Timestamp::from_micros(at(0).micros() + tenths * TENTHS)
}

fn play(events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut code = samples::device_code();
    let mut model = Model { interval: 50, ..Model::default() };
    let mut now = 0_i64;
    for event in events {
        let in_time = now < LIFE;
        let open = model.answer.is_none() && !model.taken_back;
        match event {
            Event::Wait(tenths) => now += i64::from(tenths),
            Event::Look(who) => {
                let (step, before) = (code.claim(person(who), moment(now)), model.first);
                let may = in_time && open && before.is_none_or(|first| first == who);
                prop_assert_eq!(take(&mut code, step), may);
                if may {
                    model.first = Some(who);
                }
            }
            Event::Allow(who) | Event::Deny(who) => {
                let yes = matches!(event, Event::Allow(_));
                let step = if yes { code.approve(person(who), GRANT, moment(now)) } else { code.deny(person(who), moment(now)) };
                let may = in_time && open && model.first == Some(who);
                prop_assert_eq!(take(&mut code, step), may);
                if may {
                    model.answer = Some(yes);
                }
            }
            Event::SwitchOff(who) => {
                // Only what is theirs, and what is not redeemed yet; one that they refused stays refused.
                if model.first == Some(who) && model.tokens == 0 && model.answer != Some(false) {
                    code.state = State::Withdrawn;
                    model.taken_back = true;
                }
            }
            Event::Poll => match code.poll(moment(now)) {
                Polled::Approved { grant_id } => {
                    prop_assert!(in_time && model.answer == Some(true) && model.tokens == 0 && !model.taken_back);
                    prop_assert_eq!(grant_id, GRANT);
                    model.tokens += 1;
                    code.state = State::Redeemed { grant_id, at: moment(now) };
                }
                Polled::Again { .. } => prop_assert_eq!(model.tokens, 1),
                Polled::Over(reason) => {
                    let expected = if model.taken_back {
                        "invalid_grant"
                    } else if model.answer == Some(false) {
                        "access_denied"
                    } else {
                        prop_assert!(!in_time);
                        "expired_token"
                    };
                    prop_assert_eq!(reason.wire().error, expected);
                }
                Polled::NotYet { reason, pace } => {
                    prop_assert!(in_time && open);
                    // Half a second early is in time.
                    let hasty = model.last_poll.is_some_and(|last| now + 5 < last + model.interval);
                    prop_assert_eq!(reason.wire().error, if hasty { "slow_down" } else { "authorization_pending" });
                    model.interval += if hasty { 50 } else { 0 };
                    model.last_poll = Some(now);
                    prop_assert_eq!(i64::try_from(pace.interval.as_millis()).unwrap(), model.interval * 100);
                    code.pace = pace;
                }
            },
        }
        prop_assert!(model.tokens <= 1);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_device_gets_tokens_once_for_a_person_who_said_yes_in_time(events in events()) {
        play(events)?;
    }

    /// RFC 8628 §3.5: the interval only ever grows, by five seconds at a time.
    #[test]
    fn the_interval_never_shrinks(gaps in proptest::collection::vec(0_i64..20_000, 0..50)) {
        let mut pace = Pace { interval: INTERVAL, polled_at: None };
        let mut now = at(0);
        for gap in gaps {
            now = Timestamp::from_micros(now.micros() + gap * 1000);
            let after = pace.after_poll(now);
            prop_assert!(after.interval == pace.interval || after.interval == pace.interval + SLOWER);
            prop_assert_eq!(after.polled_at, Some(now));
            pace = after;
        }
    }
}
