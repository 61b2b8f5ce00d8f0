//! How many decisions of a kind are kept in full: 20 a minute per rule, client and address prefix. The rest is counted.

use std::collections::HashMap;

use super::Decision;
use crate::service::address::Prefix;
use crate::storage::decisions::Count;

/// Kept in full per minute and kind.
const IN_FULL: u32 = 20;
/// Kinds that are told apart in one minute. Beyond it a rule's decisions are counted together: keys come from the network and must
/// not fill the memory (security.md R-78).
const KINDS: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    rule: &'static str,
    client_id: Option<String>,
    address_prefix: Option<Prefix>,
}

#[derive(Debug, Default)]
struct Seen {
    in_full: u32,
    counted: i64,
}

/// The present minute.
#[derive(Debug, Default)]
pub(super) struct Window {
    minute: i64,
    kinds: HashMap<Kind, Seen>,
    /// Of minutes that are over.
    past: Vec<Count>,
}

impl Window {
    /// Whether this one is kept in full; otherwise it is counted.
    pub fn admit(&mut self, decision: &Decision) -> bool {
        let minute = decision.now.seconds().div_euclid(60);
        if minute != self.minute {
            self.settle();
            self.kinds.clear();
            self.minute = minute;
        }
        let mut kind = Kind {
            rule: decision.reason.rule().id,
            client_id: decision.client_id.clone(),
            address_prefix: Some(decision.address_prefix),
        };
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&kind) {
            kind.client_id = None;
            kind.address_prefix = None;
        }
        let seen = self.kinds.entry(kind).or_default();
        if seen.in_full < IN_FULL {
            seen.in_full += 1;
            return true;
        }
        seen.counted += 1;
        false
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Vec<Count> {
        self.settle();
        std::mem::take(&mut self.past)
    }

    fn settle(&mut self) {
        let minute = self.minute;
        for (kind, seen) in &mut self.kinds {
            if seen.counted > 0 {
                self.past.push(Count {
                    minute,
                    rule: kind.rule.to_owned(),
                    client_id: kind.client_id.clone().unwrap_or_default(),
                    address_prefix: kind.address_prefix.map(|prefix| prefix.to_string()).unwrap_or_default(),
                    count: seen.counted,
                });
                seen.counted = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::oauth::refusal::Reason;

    fn decision(second: i64, address: &str) -> Decision {
        Decision {
            trace_id: String::new(),
            endpoint: "/token".to_owned(),
            client_id: Some("app".to_owned()),
            address_prefix: Prefix::of(address.parse().unwrap()),
            reason: Reason::CodeUnknown,
            now: Timestamp::from_seconds(second),
        }
    }

    #[test]
    fn the_first_twenty_of_a_minute_are_kept_and_the_rest_counted() {
        let mut window = Window::default();
        let kept = (0..50).filter(|_| window.admit(&decision(60, "192.0.2.1"))).count();
        assert_eq!(kept, 20);
        assert!(window.admit(&decision(61, "192.0.2.2")), "another address is another kind");
        let counts = window.take_counts();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].minute, counts[0].count), (1, 30));
        assert!(window.take_counts().is_empty(), "nothing is counted twice");
        assert!(window.admit(&decision(120, "192.0.2.1")), "a new minute begins anew");
    }

    #[test]
    fn what_was_counted_is_not_lost_at_the_turn_of_the_minute() {
        let mut window = Window::default();
        for _ in 0..25 {
            window.admit(&decision(0, "192.0.2.1"));
        }
        window.admit(&decision(60, "192.0.2.1"));
        assert_eq!(window.take_counts()[0].count, 5);
    }

    #[test]
    fn a_flood_of_addresses_does_not_fill_the_memory() {
        let mut window = Window::default();
        for number in 0..30_000_u32 {
            window.admit(&decision(0, &std::net::Ipv4Addr::from(number).to_string()));
        }
        assert!(window.kinds.len() <= KINDS + 1);
    }
}
