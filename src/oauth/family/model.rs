//! The family against an independent model of design 4.2, over random schedules of tabs, lost answers, retries, thieves and time.
//!
//! The model remembers every token that was ever handed out and what happened to it, as the text of the design speaks of them; the
//! family has one row and a handful of numbers. They must agree on every presentation.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::{BURST, Facts, Family, Outcome, admit, present};
use crate::clock::Timestamp;
use crate::oauth::client::RefreshRotation;
use crate::oauth::grant::samples;
use crate::oauth::refusal::{Effect, Reason};

const IDLE: Duration = Duration::from_secs(30 * 86_400);
const RECOVERY: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Answered with this generation.
    Token(i64),
    /// Refused, nothing revoked.
    Refused,
    /// Refused, everything revoked.
    Theft,
}

/// What the model knows of one token.
#[derive(Debug, Default)]
struct Token {
    first_redeemed: Option<Timestamp>,
    /// In which bursts it was redeemed.
    bursts: HashSet<usize>,
}

struct Model {
    facts: Facts,
    tokens: Vec<Token>,
    /// When each burst began.
    bursts: Vec<Timestamp>,
    last_redeemed: Option<usize>,
    last_use: Timestamp,
    end: Timestamp,
    ended: bool,
}

impl Model {
    fn new(facts: Facts, now: Timestamp, end: Timestamp) -> Self {
        Self { facts, tokens: vec![Token::default()], bursts: vec![], last_redeemed: None, last_use: now, end, ended: false }
    }

    fn newest(&self) -> usize {
        self.tokens.len()
    }

    fn open_burst(&self, now: Timestamp) -> Option<usize> {
        let began = self.bursts.last()?;
        (now.since(*began) < BURST).then(|| self.bursts.len() - 1)
    }

    fn redeem(&mut self, number: usize, burst: usize, now: Timestamp) -> Verdict {
        let token = &mut self.tokens[number - 1];
        token.first_redeemed.get_or_insert(now);
        token.bursts.insert(burst);
        self.last_redeemed = Some(number);
        self.tokens.push(Token::default());
        self.answer(now)
    }

    fn begin_burst(&mut self, now: Timestamp) -> usize {
        self.bursts.push(now);
        self.bursts.len() - 1
    }

    fn answer(&mut self, now: Timestamp) -> Verdict {
        self.last_use = now;
        Verdict::Token(i64::try_from(self.newest()).unwrap())
    }

    fn theft(&mut self) -> Verdict {
        self.ended = true;
        Verdict::Theft
    }

    fn present(&mut self, generation: i64, now: Timestamp) -> Verdict {
        if self.ended || now.since(self.last_use) >= IDLE || now >= self.end {
            return Verdict::Refused;
        }
        let number = usize::try_from(generation).unwrap();
        if number > self.newest() {
            return Verdict::Refused;
        }
        if number == self.newest() {
            if self.facts.rotation == RefreshRotation::None {
                return self.answer(now);
            }
            let burst = match self.open_burst(now) {
                Some(open) => open,
                None => self.begin_burst(now),
            };
            return self.redeem(number, burst, now);
        }
        if self.facts.rotation == RefreshRotation::Strict {
            return self.theft();
        }
        if self.open_burst(now).is_some_and(|open| self.tokens[number - 1].bursts.contains(&open)) {
            return self.answer(now);
        }
        if self.last_redeemed != Some(number) {
            return self.theft();
        }
        let since = now.since(self.tokens[number - 1].first_redeemed.unwrap());
        if self.facts.confidential_or_bound || since < BURST {
            return self.answer(now);
        }
        if since >= self.facts.recovery {
            return Verdict::Refused;
        }
        let burst = self.begin_burst(now);
        self.redeem(number, burst, now)
    }
}

/// The code under test, driven as the service drives it.
struct Store {
    family: Family,
    facts: Facts,
}

impl Store {
    fn new(facts: Facts) -> Self {
        Self { family: samples::family(), facts }
    }

    fn present(&mut self, generation: i64, now: Timestamp) -> Verdict {
        if admit(&self.family, "app", true, IDLE, now).is_err() {
            return Verdict::Refused;
        }
        match present(&self.family, generation, &self.facts, now) {
            Outcome::Same(after) | Outcome::Rotate(after) | Outcome::Head(after) => {
                assert!(after.generation >= self.family.generation && after.generation <= self.family.generation + 1);
                assert_eq!(after.last_used_at, now);
                assert_eq!((after.expires_at, after.created_at), (self.family.expires_at, self.family.created_at));
                if after.burst_started_at != self.family.burst_started_at {
                    let over = self.family.burst_started_at.is_none_or(|began| now.since(began) >= BURST);
                    assert!(over, "a burst was extended");
                }
                self.family = after;
                Verdict::Token(self.family.generation)
            }
            Outcome::Refuse(refusal) => match refusal.effect {
                Effect::None => {
                    assert!(matches!(refusal.reason, Reason::RefreshRecoveryOver { .. }));
                    Verdict::Refused
                }
                Effect::ReportLoss(grant) => {
                    assert_eq!(grant, self.family.grant_id);
                    assert!(matches!(refusal.reason, Reason::RefreshTokenAhead { .. }));
                    Verdict::Refused
                }
                Effect::EndGrant(grant) => {
                    assert_eq!(grant, self.family.grant_id);
                    assert!(matches!(refusal.reason, Reason::RefreshTokenStolen { .. }));
                    self.family.ended_at = Some(now);
                    Verdict::Theft
                }
                Effect::KeepPace(_) => panic!("a family has no pace"),
            },
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Time goes by.
    Wait(Duration),
    /// A holder presents the token it has; its answer may get lost.
    Refresh { holder: usize, lost: bool },
    /// A holder learns the token of another: tabs that share storage, or a thief.
    Copy { from: usize, to: usize },
    /// Somebody presents any generation with a right MAC.
    Any { generation: i64 },
}

const HOLDERS: usize = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![
        4 => (0u64..3_000_000).prop_map(Duration::from_micros),
        // Around the edge of a burst and of recovery, to the microsecond.
        2 => (9_999_998u64..10_000_003).prop_map(Duration::from_micros),
        1 => (3_599_999_998u64..3_600_000_003).prop_map(Duration::from_micros),
        2 => (10u64..4000).prop_map(Duration::from_secs),
        1 => (1u64..29).prop_map(|days| Duration::from_secs(days * 86_400)),
        1 => Just(IDLE),
    ];
    let step = prop_oneof![
        5 => wait.prop_map(Step::Wait),
        8 => (0..HOLDERS, prop::bool::weighted(0.3)).prop_map(|(holder, lost)| Step::Refresh { holder, lost }),
        2 => (0..HOLDERS, 0..HOLDERS).prop_map(|(from, to)| Step::Copy { from, to }),
        1 => (1i64..12).prop_map(|generation| Step::Any { generation }),
    ];
    prop::collection::vec(step, 1..60)
}

fn facts() -> impl Strategy<Value = Facts> {
    let rotation = prop_oneof![
        6 => Just(RefreshRotation::Recover),
        1 => Just(RefreshRotation::Strict),
        1 => Just(RefreshRotation::None),
    ];
    let recovery = prop_oneof![4 => Just(RECOVERY), 1 => Just(Duration::ZERO)];
    (rotation, any::<bool>(), recovery).prop_map(|(rotation, confidential_or_bound, recovery)| Facts {
        rotation,
        confidential_or_bound,
        recovery,
    })
}

/// 2,000 schedules, or as many as PROPTEST_CASES asks for.
fn rounds() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(2000), ..default }
}

const PUBLIC: Facts = Facts { rotation: RefreshRotation::Recover, confidential_or_bound: false, recovery: RECOVERY };
const CONFIDENTIAL: Facts = Facts { rotation: RefreshRotation::Recover, confidential_or_bound: true, recovery: RECOVERY };

proptest! {
    #![proptest_config(rounds())]

    #[test]
    fn the_family_agrees_with_the_model_on_every_presentation(facts in facts(), steps in steps()) {
        let mut now = samples::at(0);
        let mut store = Store::new(facts);
        let mut model = Model::new(facts, now, store.family.expires_at);
        let mut held = [1i64; HOLDERS];
        for step in steps {
            let (generation, holder) = match step {
                Step::Wait(duration) => {
                    now = now.plus(duration);
                    continue;
                }
                Step::Copy { from, to } => {
                    held[to] = held[from];
                    continue;
                }
                Step::Refresh { holder, lost } => (held[holder], (!lost).then_some(holder)),
                Step::Any { generation } => (generation, None),
            };
            let expected = model.present(generation, now);
            prop_assert_eq!(store.present(generation, now), expected, "generation {} at {:?}", generation, now);
            if let (Verdict::Token(head), Some(holder)) = (expected, holder) {
                held[holder] = head;
            }
        }
    }

    /// One holder, a bad network: a lost answer and its retries never log a person out.
    #[test]
    fn lost_answers_never_log_anybody_out(
        confidential in any::<bool>(),
        refreshes in prop::collection::vec((600u64..86_400, prop::collection::vec(0u64..2_000, 0..6)), 1..20),
    ) {
        let mut store = Store::new(if confidential { CONFIDENTIAL } else { PUBLIC });
        let (mut now, mut held) = (samples::at(0), 1);
        for (pause, lost) in refreshes {
            now = now.plus(Duration::from_secs(pause));
            let first = now;
            // Every answer before the last is lost; a public client gives up after the hour.
            for wait in lost {
                let verdict = store.present(held, now);
                prop_assert!(matches!(verdict, Verdict::Token(_)), "{:?}", verdict);
                if confidential || now.plus(Duration::from_secs(wait)).since(first) < RECOVERY {
                    now = now.plus(Duration::from_secs(wait));
                }
            }
            match store.present(held, now) {
                Verdict::Token(head) => held = head,
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    /// Tabs that each have the token of the last round and refresh within a burst: all hold the same token at its end.
    #[test]
    fn tabs_that_refresh_at_the_same_moment_end_with_one_token(
        confidential in any::<bool>(),
        rounds in prop::collection::vec((60u64..86_400, prop::collection::vec((0u64..600_000, any::<bool>()), 1..12)), 1..10),
    ) {
        let mut store = Store::new(if confidential { CONFIDENTIAL } else { PUBLIC });
        let (mut now, mut shared) = (samples::at(0), 1);
        for (pause, tabs) in rounds {
            now = now.plus(Duration::from_secs(pause));
            let begun_with = shared;
            for (wait, from_storage) in tabs {
                // A tab has read the storage before or after another tab wrote it.
                let presented = if from_storage { shared } else { begun_with };
                match store.present(presented, now) {
                    Verdict::Token(head) => shared = head,
                    other => prop_assert!(false, "{:?}", other),
                }
                prop_assert_eq!(shared, store.family.generation);
                now = now.plus(Duration::from_micros(wait));
            }
        }
    }

    /// Once two redemptions of the chain lie behind a stolen token and the burst is over, its use ends the family, for good.
    #[test]
    fn a_thief_out_of_step_ends_the_family(
        confidential in any::<bool>(),
        before in 0i64..5,
        after in 2i64..6,
        pauses in prop::collection::vec(10u64..86_400, 12),
        late in 0u64..86_400,
    ) {
        let mut store = Store::new(if confidential { CONFIDENTIAL } else { PUBLIC });
        let mut now = samples::at(0);
        for (redeemed, pause) in (1..=before + after).zip(&pauses) {
            now = now.plus(Duration::from_secs(*pause));
            prop_assert_eq!(store.present(redeemed, now), Verdict::Token(redeemed + 1));
        }
        let stolen = before + 1;
        prop_assert_eq!(store.present(stolen, now.plus(Duration::from_secs(late))), Verdict::Theft);
        prop_assert_eq!(store.present(before + after + 1, now.plus(Duration::from_secs(late))), Verdict::Refused);
    }

    /// Replicas that decide on what they read a moment ago: a write that finds another row is decided once more (design 4.2). Tabs that
    /// race within a burst all end with the head, and none of them is a thief.
    #[test]
    fn a_lost_race_is_never_theft(
        confidential in any::<bool>(),
        rotated_before in any::<bool>(),
        tabs in prop::collection::vec((0u64..9_999_999, 0usize..50), 2..50),
    ) {
        let facts = if confidential { CONFIDENTIAL } else { PUBLIC };
        let began = samples::at(1000);
        let mut row = samples::family();
        if rotated_before {
            row = step(&row, 1, &facts, samples::at(100)).unwrap();
        }
        let held = row.generation;
        // What each replica may still have in its hands: every row that there ever was.
        let mut rows = vec![row.clone()];
        for (wait, stale) in tabs {
            let now = began.plus(Duration::from_micros(wait));
            let read = &rows[stale % rows.len()];
            let after = match step(read, held, &facts, now) {
                // The conditional UPDATE compares what was read with what is there.
                Ok(after) if *read == row => after,
                Ok(_) => step(&row, held, &facts, now).unwrap(),
                Err(verdict) => return Err(TestCaseError::fail(format!("{verdict:?} of a tab"))),
            };
            prop_assert_eq!(after.generation, held + 1);
            row = after;
            rows.push(row.clone());
        }
    }
}

/// One presentation against one row.
fn step(row: &Family, generation: i64, facts: &Facts, now: Timestamp) -> Result<Family, Verdict> {
    match present(row, generation, facts, now) {
        Outcome::Same(after) | Outcome::Rotate(after) | Outcome::Head(after) => Ok(after),
        Outcome::Refuse(refusal) => Err(match refusal.effect {
            Effect::None | Effect::ReportLoss(_) | Effect::KeepPace(_) => Verdict::Refused,
            Effect::EndGrant(_) => Verdict::Theft,
        }),
    }
}
