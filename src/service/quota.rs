//! How many authorization requests of one address, and of one client, may be open at once (security.md R-77): rows that nobody signed in
//! for must not fill the database.
//!
//! Counted in this process, which is exact enough: with N replicas the bound is N times as high. A request that ends gives its place
//! back; one that is left lying does so after its lifetime at the latest.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::ThrottleConfig;
use crate::oauth::refusal::Reason;
use crate::service::address::Prefix;

/// Addresses and clients that are told apart. Beyond it new ones share one place: keys come from the network and must not fill the
/// memory (security.md R-78).
const KINDS: usize = 50_000;

/// Who has requests open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Address(Prefix),
    Client(String),
    /// All for whom there was no room of their own.
    Others,
}

/// The open requests of the last lifetime.
#[derive(Debug)]
pub struct Quotas {
    per_address: u64,
    per_client: u64,
    /// How long a request stays open at most.
    lifetime: Duration,
    open: Mutex<Open>,
}

/// Two halves of a lifetime, so that old ones go all at once: what was opened in the half before this one still counts.
#[derive(Debug)]
struct Open {
    since: Timestamp,
    older: HashMap<Whose, u64>,
    newer: HashMap<Whose, u64>,
}

impl Quotas {
    /// None open. `lifetime` is that of an interaction.
    pub fn new(config: &ThrottleConfig, lifetime: Duration) -> Self {
        Self::of(config.interactions_per_address.into(), config.interactions_per_client.into(), lifetime)
    }

    /// None open, with these limits.
    pub fn of(per_address: u64, per_client: u64, lifetime: Duration) -> Self {
        let open = Open { since: Timestamp::from_micros(0), older: HashMap::new(), newer: HashMap::new() };
        Self { per_address, per_client, lifetime, open: Mutex::new(open) }
    }

    /// A place for one more request.
    ///
    /// # Errors
    /// [`Reason::TooManyOpenRequests`].
    pub fn take(&self, address: Option<Prefix>, client_id: &str, now: Timestamp) -> Result<(), Reason> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let half = self.lifetime / 2;
        open.turn(half, now);
        let address = address.map(|address| open.place_of(Whose::Address(address)));
        let client = open.place_of(Whose::Client(client_id.to_owned()));
        let whose = [address.map(|address| (address, self.per_address, "address")), Some((client, self.per_client, "client"))];
        for (whose, limit, scope) in whose.iter().flatten() {
            let limit = if *whose == Whose::Others { self.per_client } else { *limit };
            if open.count(whose) >= limit {
                metrics::counter!("chancery_quota_refusals_total", "scope" => *scope).increment(1);
                let wait = open.since.plus(half).since(now).as_secs().max(1);
                return Err(Reason::TooManyOpenRequests { scope: (*scope).to_owned(), limit, retry_after: wait });
            }
        }
        for (whose, _, _) in whose.into_iter().flatten() {
            *open.newer.entry(whose).or_insert(0) += 1;
        }
        Ok(())
    }

    /// Gives the place of a request back that has ended.
    pub fn give_back(&self, address: Option<Prefix>, client_id: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let client = Whose::Client(client_id.to_owned());
        for whose in address.map(Whose::Address).into_iter().chain([client]) {
            open.one_less(&whose);
        }
    }
}

impl Open {
    fn turn(&mut self, half: Duration, now: Timestamp) {
        let since = now.since(self.since);
        if since < half {
            return;
        }
        let newer = std::mem::take(&mut self.newer);
        self.older = if since < half * 2 { newer } else { HashMap::new() };
        self.since = now;
    }

    fn count(&self, whose: &Whose) -> u64 {
        self.older.get(whose).unwrap_or(&0) + self.newer.get(whose).unwrap_or(&0)
    }

    fn place_of(&self, whose: Whose) -> Whose {
        if self.newer.len() < KINDS || self.newer.contains_key(&whose) { whose } else { Whose::Others }
    }

    fn one_less(&mut self, whose: &Whose) {
        for half in [&mut self.older, &mut self.newer] {
            if let Some(count) = half.get_mut(whose) {
                *count -= 1;
                if *count == 0 {
                    half.remove(whose);
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas() -> Quotas {
        let config = ThrottleConfig {
            window: Duration::from_secs(1),
            account_failures: 1,
            address_failures: 1,
            global_failures: 1,
            longest_wait: Duration::from_secs(1),
            interactions_per_address: 3,
            interactions_per_client: 5,
            unknown_tokens_per_minute: 1,
        };
        Quotas::new(&config, Duration::from_secs(1800))
    }

    fn address(text: &str) -> Option<Prefix> {
        Some(Prefix::of(text.parse().unwrap()))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + second)
    }

    #[test]
    fn an_address_and_a_client_have_their_share() {
        let quotas = quotas();
        for _ in 0..3 {
            quotas.take(address("192.0.2.1"), "app", at(0)).unwrap();
        }
        let refused = quotas.take(address("192.0.2.1"), "other", at(0)).unwrap_err();
        assert_eq!(refused, Reason::TooManyOpenRequests { scope: "address".to_owned(), limit: 3, retry_after: 900 });
        for _ in 0..2 {
            quotas.take(address("192.0.2.2"), "app", at(0)).unwrap();
        }
        let refused = quotas.take(address("192.0.2.3"), "app", at(0)).unwrap_err();
        assert_eq!(refused, Reason::TooManyOpenRequests { scope: "client".to_owned(), limit: 5, retry_after: 900 });
        quotas.take(address("192.0.2.3"), "other", at(0)).unwrap();
    }

    #[test]
    fn whoever_ends_a_request_may_begin_another() {
        let quotas = quotas();
        for _ in 0..100 {
            quotas.take(address("192.0.2.1"), "app", at(0)).unwrap();
            quotas.give_back(address("192.0.2.1"), "app");
        }
        quotas.give_back(address("192.0.2.9"), "unknown");
    }

    #[test]
    fn what_is_left_lying_counts_for_a_lifetime_at_most() {
        let quotas = quotas();
        for _ in 0..3 {
            quotas.take(address("192.0.2.1"), "app", at(0)).unwrap();
        }
        assert!(quotas.take(address("192.0.2.1"), "app", at(900)).is_err());
        quotas.take(address("192.0.2.1"), "app", at(1800)).unwrap();
    }

    #[test]
    fn a_clock_that_was_set_back_opens_nothing_early() {
        let quotas = quotas();
        for _ in 0..3 {
            quotas.take(address("192.0.2.1"), "app", at(0)).unwrap();
        }
        assert!(quotas.take(address("192.0.2.1"), "app", at(-100_000)).is_err());
    }

    #[test]
    fn a_flood_of_addresses_does_not_fill_the_memory() {
        let quotas = quotas();
        for number in 0..120_000_u32 {
            let address = Prefix::of(std::net::Ipv4Addr::from(number).into());
            drop(quotas.take(Some(address), &format!("client {number}"), at(0)));
        }
        assert!(quotas.open.lock().unwrap().newer.len() <= KINDS + 2);
    }
}
