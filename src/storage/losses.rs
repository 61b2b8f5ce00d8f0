//! Remembers when a connection to PostgreSQL was last lost. What was opened before that moment is most likely dead as well, after a
//! restart or a failover, and is closed instead of handed out: one request learns that the database went away, not one for each
//! connection of the pool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The last loss, for one pool.
#[derive(Debug)]
pub(super) struct Losses {
    begin: Instant,
    /// Microseconds after `begin`; 0 while nothing was lost.
    last: AtomicU64,
}

impl Losses {
    pub(super) fn none() -> Self {
        Self { begin: Instant::now(), last: AtomicU64::new(0) }
    }

    /// A connection was just lost.
    pub(super) fn note(&self) {
        self.last.fetch_max(micros(self.begin.elapsed()), Ordering::AcqRel);
    }

    /// When that was, in microseconds since these began; 0 while nothing was lost.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Was a connection of this age opened before the last loss?
    pub(super) fn doom(&self, age: Duration) -> bool {
        let opened = micros(self.begin.elapsed().saturating_sub(age));
        opened <= self.last.load(Ordering::Acquire) && self.last.load(Ordering::Acquire) > 0
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_older_than_the_loss_is_doomed() {
        // A pool that is two minutes old: a moment between two of these lines changes nothing.
        let minute = Duration::from_secs(60);
        let losses = Losses { begin: Instant::now() - 2 * minute, ..Losses::none() };
        assert!(!losses.doom(minute));
        losses.note();
        assert!(losses.doom(minute));
        std::thread::sleep(Duration::from_millis(2));
        assert!(losses.doom(Duration::from_secs(3600)));
        assert!(!losses.doom(Duration::ZERO));
    }
}
