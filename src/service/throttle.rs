//! How guessing is slowed down (security.md R-55, design 7). Failures are counted per account, per address prefix and for everybody, in
//! the database, so that all replicas see them; successes are not counted. The check comes before any hashing, so a guess that is
//! refused costs next to nothing.
//!
//! - An **account** with too many failures has to wait before each further try, twice as long each time, up to `longest_wait`: the wait
//!   ends by itself, tries during it neither count nor prolong it, and so no stranger locks a person out for good.
//! - An **address** with too many failures, over all accounts, is refused until its window is over.
//! - Typing the **user code** of a device is guessing too (security.md R-65), counted apart: for the person who is signed in, as for an
//!   account, for their address, and for everybody.
//! - When failures of **everybody** are too many, the limits of accounts and addresses shrink: first tries still go through.

#[cfg(test)]
mod model;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::config::ThrottleConfig;
use crate::entropy::{self, Entropy};
use crate::oauth::refusal::Reason;
use crate::service::audit;
use crate::service::keyed::{Keyed, Of};
use crate::storage::audit::AuditEvent;
use crate::storage::failures::{self, Alarm, Failures, Key};
use crate::storage::{Db, StoreError};

/// So many failures are remembered, three for each try: more than are counted while somebody is looked up.
const FAILED: usize = 768;

/// Whom a try is counted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A username in canonical form, whether anybody has it or not.
    Account(String),
    /// An address prefix.
    Address(String),
    /// All together.
    Everybody,
    /// Who types the user code of a device, by the row id of the person: signing in anew does not begin anew.
    CodeTyper(Uuid),
    /// An address prefix from which user codes are typed. These are counted apart from sign-ins: neither gets in the other's way.
    CodeAddress(String),
    /// All who type user codes.
    CodeEverybody,
}

/// The limits, and the tries that this process is at.
#[derive(Clone)]
pub struct Throttle {
    config: ThrottleConfig,
    keyed: Keyed,
    tries: Arc<Mutex<Tries>>,
    /// For the ids of audit events.
    entropy: Option<Arc<dyn Entropy>>,
}

/// What this process knows of tries beside what is counted in the database.
#[derive(Debug, Default)]
struct Tries {
    at_work: HashMap<Key, u64>,
    /// The last failures that were counted, with their numbers.
    failed: VecDeque<(u64, Key)>,
    /// The number of the next.
    next: u64,
}

/// Under which keys to look for what is counted, and what had failed before.
#[derive(Debug)]
pub struct Look {
    pub keys: Vec<Key>,
    before: u64,
}

/// A try that may go on. While it lives it counts as if it had failed, so that many tries sent at the same moment do not all pass
/// before the first failure is counted: hold it until the outcome is known.
#[derive(Debug)]
#[must_use = "hold it until the outcome is known"]
pub struct Attempt {
    keys: Vec<Key>,
    tries: Arc<Mutex<Tries>>,
}

impl Throttle {
    /// With these limits.
    pub fn new(config: ThrottleConfig, keyed: Keyed) -> Self {
        Self { config, keyed, tries: Arc::default(), entropy: None }
    }

    /// Tells the audit log, once in each window, when an account, an address or everybody has reached the limit: from then on tries wait.
    #[must_use]
    pub fn audited(self, entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy: Some(entropy), ..self }
    }

    /// Whether a try may go on.
    ///
    /// # Errors
    /// [`Reason::SignInThrottled`] with the seconds to wait, or the database is away.
    pub async fn check(&self, db: &Db, subjects: &[Subject], now: Timestamp) -> Result<Attempt, Reason> {
        let look = self.look(subjects);
        let found = failures::find(db, &look.keys).await.map_err(unavailable)?;
        self.admit(subjects, look, &found, now)
    }

    /// What these are counted under, in their order. To be asked for before that is looked up.
    pub fn look(&self, subjects: &[Subject]) -> Look {
        Look { keys: self.keys(subjects), before: tries(&self.tries).next }
    }

    fn keys(&self, subjects: &[Subject]) -> Vec<Key> {
        subjects.iter().map(|subject| self.key(subject)).collect()
    }

    /// [`Self::check`] with what was found in this look.
    ///
    /// # Errors
    /// [`Reason::SignInThrottled`] with the seconds to wait.
    pub fn admit(&self, subjects: &[Subject], look: Look, found: &[Failures], now: Timestamp) -> Result<Attempt, Reason> {
        let Look { keys, before } = look;
        let live = |key: &Key| found.iter().find(|failures| failures.key == *key && !self.is_over(failures, now));
        let crowded = subjects.iter().zip(&keys).any(|(subject, key)| match subject {
            Subject::Everybody | Subject::CodeEverybody => {
                live(key).is_some_and(|failures| failures.count >= u64::from(self.config.global_failures))
            }
            Subject::Account(_) | Subject::Address(_) | Subject::CodeTyper(_) | Subject::CodeAddress(_) => false,
        });

        let mut tries = tries(&self.tries);
        for (subject, key) in subjects.iter().zip(&keys) {
            let others = tries.others(key, before);
            if let Some((scope, wait)) = self.wait(subject, live(key), others, crowded, now) {
                metrics::counter!("chancery_throttled_total", "scope" => scope).increment(1);
                return Err(Reason::SignInThrottled { scope: scope.to_owned(), retry_after: whole_seconds(wait) });
            }
        }
        for key in &keys {
            *tries.at_work.entry(*key).or_insert(0) += 1;
        }
        drop(tries);
        Ok(Attempt { keys, tries: Arc::clone(&self.tries) })
    }

    /// Counts a failure.
    ///
    /// # Errors
    /// The database is away.
    pub async fn failure(&self, db: &Db, subjects: &[Subject], now: Timestamp) -> Result<(), Reason> {
        let keys = self.keys(subjects);
        let alarms = subjects.iter().zip(&keys).filter_map(|(subject, key)| self.alarm(subject, *key, now)).collect();
        failures::add(db, &keys, now, self.config.window, alarms).await.map_err(unavailable)?;
        tries(&self.tries).fail(keys);
        Ok(())
    }

    fn alarm(&self, subject: &Subject, key: Key, now: Timestamp) -> Option<Alarm> {
        let (target, limit) = match subject {
            // As the decision records call it: what was typed is often a password.
            Subject::Account(name) => (format!("account {}", self.keyed.show(name)), self.config.account_failures),
            Subject::Address(prefix) => (format!("address {prefix}"), self.config.address_failures),
            Subject::Everybody => ("everybody".to_owned(), self.config.global_failures),
            Subject::CodeTyper(id) => (format!("user:{id} typing device codes"), self.config.account_failures),
            Subject::CodeAddress(prefix) => (format!("address {prefix} typing device codes"), self.config.address_failures),
            Subject::CodeEverybody => ("everybody typing device codes".to_owned(), self.config.global_failures),
        };
        let event = AuditEvent {
            id: entropy::row_id(self.entropy.as_deref()?, now),
            at: now,
            actor: "server".to_owned(),
            action: "throttle.reached".to_owned(),
            target,
            was: None,
            is_now: Some(serde_json::json!({ "failures": limit, "window": self.config.window.as_secs() }).to_string()),
            trace_id: audit::trace_id(),
        };
        Some(Alarm { key, count: u64::from(limit), event })
    }

    /// How long `subject` has to wait, and as what; `None` if not at all.
    fn wait(
        &self,
        subject: &Subject,
        failures: Option<&Failures>,
        at_work: u64,
        crowded: bool,
        now: Timestamp,
    ) -> Option<(&'static str, Duration)> {
        let count = failures.map_or(0, |failures| failures.count);
        match subject {
            Subject::Everybody | Subject::CodeEverybody => None,
            Subject::Account(_) | Subject::CodeTyper(_) => {
                let scope = if matches!(subject, Subject::Account(_)) { "account" } else { "person" };
                let limit = if crowded { 1 } else { u64::from(self.config.account_failures) };
                if count < limit {
                    // Tries at work may all fail.
                    return (count + at_work >= limit).then_some((scope, Duration::from_secs(1)));
                }
                let doubled = Duration::from_secs(1).saturating_mul(1_u32 << (count - limit).min(16));
                let since = failures.map_or(Duration::MAX, |failures| now.since(failures.last_at));
                let left = doubled.min(self.config.longest_wait).saturating_sub(since);
                match (left.is_zero(), at_work) {
                    (true, 0) => None,
                    (true, _) => Some((scope, Duration::from_secs(1))),
                    (false, _) => Some((scope, left)),
                }
            }
            Subject::Address(_) | Subject::CodeAddress(_) => {
                let limit = u64::from(self.config.address_failures);
                let limit = if crowded { (limit / 10).max(1) } else { limit };
                let end = failures.map(|failures| failures.window_started_at.plus(self.config.window));
                match end {
                    Some(end) if count >= limit => Some(("address", end.since(now))),
                    Some(_) | None => (count + at_work >= limit).then_some(("address", Duration::from_secs(1))),
                }
            }
        }
    }

    fn is_over(&self, failures: &Failures, now: Timestamp) -> bool {
        failures.window_started_at.plus(self.config.window) <= now
    }

    fn key(&self, subject: &Subject) -> Key {
        match subject {
            Subject::Account(name) => self.keyed.hash(Of::Account, name),
            Subject::Address(prefix) => self.keyed.hash(Of::Address, prefix),
            Subject::Everybody => self.keyed.hash(Of::Everybody, ""),
            Subject::CodeTyper(id) => self.keyed.hash(Of::CodeTyper, &id.to_string()),
            Subject::CodeAddress(prefix) => self.keyed.hash(Of::CodeAddress, prefix),
            Subject::CodeEverybody => self.keyed.hash(Of::CodeEverybody, ""),
        }
    }
}

impl Tries {
    /// Tries under this key that may not be in what was looked up: those at work, and those that failed since `before`.
    fn others(&self, key: &Key, before: u64) -> u64 {
        let since = self.failed.iter().rev().take_while(|(number, _)| *number >= before);
        let failed = since.map(|(_, failed)| u64::from(failed == key)).sum::<u64>();
        self.at_work.get(key).copied().unwrap_or(0) + failed
    }

    fn fail(&mut self, keys: Vec<Key>) {
        for key in keys {
            if self.failed.len() == FAILED {
                self.failed.pop_front();
            }
            self.failed.push_back((self.next, key));
            self.next += 1;
        }
    }
}

fn tries(tries: &Mutex<Tries>) -> MutexGuard<'_, Tries> {
    tries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut tries = tries(&self.tries);
        for key in &self.keys {
            if let Some(count) = tries.at_work.get_mut(key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    tries.at_work.remove(key);
                }
            }
        }
    }
}

/// Rounded up, and at least one: zero would mean "at once".
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

fn unavailable(error: StoreError) -> Reason {
    Reason::StorageUnavailable { detail: error.to_string() }
}
