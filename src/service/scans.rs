//! How often one client may ask about tokens that nobody issued (RFC 7662 §4: "to prevent token scanning attacks"; security.md R-48).
//!
//! Answers about tokens of ours are never rationed: whoever floods a resource server with rubbish, which it passes on to us, would
//! otherwise silence it. Counted in this process, over fixed minutes: with N replicas the bound is N times as high.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::oauth::refusal::Reason;

const MINUTE: Duration = Duration::from_secs(60);

/// Clients that are told apart in one minute; all further ones share a count (security.md R-78).
const CLIENTS: usize = 10_000;

/// The questions of the current minute about tokens that nobody issued.
#[derive(Debug)]
pub struct Scans {
    per_minute: u64,
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Asked {
    since: Timestamp,
    /// By client id; the empty one stands for all for whom there was no room.
    by: HashMap<String, u64>,
}

impl Scans {
    /// With this many for each client and minute.
    pub fn new(per_minute: u32) -> Self {
        let asked = Asked { since: Timestamp::from_micros(0), by: HashMap::new() };
        Self { per_minute: per_minute.into(), asked: Mutex::new(asked) }
    }

    /// Counts one question about a token that is not ours.
    ///
    /// # Errors
    /// [`Reason::TooManyUnknownTokens`] once this minute's share is spent.
    pub fn count(&self, client_id: &str, now: Timestamp) -> Result<(), Reason> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(asked.since) >= MINUTE {
            asked.by.clear();
            asked.since = now;
        }
        let room = asked.by.len() < CLIENTS || asked.by.contains_key(client_id);
        let count = asked.by.entry(if room { client_id.to_owned() } else { String::new() }).or_insert(0);
        *count += 1;
        if *count <= self.per_minute {
            return Ok(());
        }
        metrics::counter!("chancery_throttled_total", "scope" => "introspection").increment(1);
        let retry_after = MINUTE.saturating_sub(now.since(asked.since)).as_secs().max(1);
        Err(Reason::TooManyUnknownTokens { limit: self.per_minute, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + second)
    }

    #[test]
    fn each_client_has_its_share_of_each_minute() {
        let scans = Scans::new(2);
        scans.count("a", at(0)).unwrap();
        scans.count("a", at(10)).unwrap();
        assert_eq!(scans.count("a", at(20)).unwrap_err(), Reason::TooManyUnknownTokens { limit: 2, retry_after: 40 });
        scans.count("b", at(20)).unwrap();
        scans.count("a", at(60)).unwrap();
    }

    #[test]
    fn a_clock_that_was_set_back_opens_nothing_early() {
        let scans = Scans::new(1);
        scans.count("a", at(0)).unwrap();
        assert!(scans.count("a", at(-1000)).is_err());
    }

    #[test]
    fn many_clients_do_not_fill_the_memory() {
        let scans = Scans::new(1);
        for number in 0..CLIENTS * 2 {
            drop(scans.count(&format!("client {number}"), at(0)));
        }
        assert!(scans.asked.lock().unwrap().by.len() <= CLIENTS + 1);
        assert!(scans.count("late", at(1)).is_err());
    }
}
