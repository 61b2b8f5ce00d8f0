//! How many groups of writes are under way at the same time on PostgreSQL.
//!
//! A group costs the processor something and waits for the disk. Where the disk is quick, one is enough: the next comes together while it is
//! written, and more would only be smaller, which costs more for each row. Where it is slow, all that has come until a sync begins
//! is done with it, if it has been sent; what still waits for a place is done with the next. So there are as many places as groups fit into
//! the time that the quicker ones of late have taken, beyond what their rows cost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// However quick, and for each statement by itself.
pub const FEWEST: usize = 1;
/// What takes less is quick: a server that is very busy waits that long for the processor alone.
const QUICK: Duration = Duration::from_micros(1800);
/// For so long a group keeps the processors busy, roughly: beyond that as many as times that this fits.
const STEP: Duration = Duration::from_micros(400);
/// What a row adds, roughly.
const ROW: Duration = Duration::from_micros(40);
/// Groups looked at before anything is changed.
const LOOK: usize = 16;
/// Which of them counts, in the order of how long they took. The quickest may have found nothing to write; and a server that is busy, a
/// disk that stalls or a database that fails over hold up most of them, but hardly ever all.
const COUNTS: usize = 2;

/// The places that the statements of one store share.
#[derive(Debug)]
pub struct Places {
    width: Mutex<Width>,
    at_once: AtomicUsize,
    taken: AtomicUsize,
    most: usize,
}

impl Places {
    /// `most`: connections that may wait for commits at the same time.
    pub fn new(most: usize) -> Self {
        let (at_once, taken) = (AtomicUsize::new(FEWEST), AtomicUsize::new(0));
        // Beside one that is stuck there is always room for another.
        Self { width: Mutex::new(Width::new(most)), at_once, taken, most: most.max(2) }
    }

    /// May one more begin, of a statement of which `own` groups are under way, and `stuck` of these for so long that nobody should wait for
    /// them?
    pub fn take(&self, own: usize, stuck: usize) -> bool {
        let taken = self.taken.load(Ordering::Relaxed);
        let free =
            own < FEWEST || taken < self.at_once.load(Ordering::Relaxed) || (own - stuck.min(own) < FEWEST && taken < self.most);
        if free {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        free
    }

    /// Is there one too many, of a statement of which `own` groups are under way and `stuck` of these for long?
    pub fn too_many(&self, own: usize, stuck: usize) -> bool {
        own - stuck.min(own) > FEWEST && self.taken.load(Ordering::Relaxed) > self.at_once.load(Ordering::Relaxed)
    }

    /// One has ended.
    pub fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// So long a group of so many rows has taken.
    pub fn note(&self, rows: usize, took: Duration) {
        let mut width = self.width.lock().unwrap_or_else(PoisonError::into_inner);
        self.at_once.store(width.note(rows, took), Ordering::Relaxed);
    }
}

/// Decides by how long groups have taken.
#[derive(Debug)]
struct Width {
    at_once: usize,
    most: usize,
    /// What the look before made of it.
    before: usize,
    waited: Vec<Duration>,
}

impl Width {
    fn new(most: usize) -> Self {
        Self { at_once: FEWEST, most: most.max(FEWEST), before: FEWEST, waited: Vec::with_capacity(LOOK) }
    }

    /// Answers how many there may be from now on: more or fewer only if two looks say so, and at most twice as many as before.
    fn note(&mut self, rows: usize, took: Duration) -> usize {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.waited.push(took.saturating_sub(ROW.saturating_mul(rows)));
        if self.waited.len() >= LOOK {
            self.waited.sort_unstable();
            let waited = self.waited.get(COUNTS).copied().unwrap_or_default();
            self.waited.clear();
            let fit =
                if waited < QUICK { FEWEST } else { usize::try_from(waited.as_micros() / STEP.as_micros()).unwrap_or(self.most) };
            let wanted = fit.clamp(FEWEST, self.most);
            let (fewer, more) = (wanted.min(self.before), wanted.max(self.before));
            self.at_once = self.at_once.clamp(fewer, more).min(self.at_once.saturating_mul(2));
            self.before = wanted;
        }
        self.at_once
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(900);
    const SLOW: Duration = Duration::from_micros(2600);

    fn after(width: &mut Width, groups: impl IntoIterator<Item = (usize, Duration)>) -> usize {
        groups.into_iter().fold(width.at_once, |_, (rows, took)| width.note(rows, took))
    }

    fn looks(number: usize, rows: usize, took: Duration) -> Vec<(usize, Duration)> {
        vec![(rows, took); number * LOOK]
    }

    #[test]
    fn quick_commits_go_one_at_a_time() {
        let mut width = Width::new(12);
        assert_eq!(after(&mut width, looks(5, 1, FAST)), FEWEST);
    }

    #[test]
    fn slow_commits_get_more_places_in_steps_and_no_more_than_there_are() {
        let mut width = Width::new(12);
        assert_eq!([1; 6].map(|one| after(&mut width, looks(one, 1, SLOW))), [1, 2, 4, 6, 6, 6]);
        assert_eq!(after(&mut width, looks(5, 1, SLOW * 10)), 12);
        assert_eq!(Width::new(1).most, FEWEST);
    }

    #[test]
    fn nothing_changes_before_enough_has_been_seen() {
        let mut width = Width::new(12);
        assert_eq!(after(&mut width, vec![(1, SLOW); LOOK - 1]), FEWEST);
    }

    #[test]
    fn what_many_rows_cost_is_no_wait() {
        let mut width = Width::new(12);
        assert_eq!(after(&mut width, looks(5, 64, SLOW)), FEWEST);
    }

    #[test]
    fn stalls_are_passed_over_and_so_are_groups_that_wrote_nothing() {
        let mut quick = Width::new(12);
        let stalls = (0..20 * LOOK).map(|group| (1, if group % 4 == 0 { FAST } else { Duration::from_secs(1) }));
        assert_eq!(after(&mut quick, stalls), FEWEST);
        let mut slow = Width::new(12);
        after(&mut slow, looks(5, 1, SLOW));
        let empty = (0..20 * LOOK).map(|group| (1, if group % 8 == 0 { Duration::from_micros(100) } else { SLOW }));
        assert_eq!(after(&mut slow, empty), 6);
    }

    #[test]
    fn it_changes_when_two_looks_agree() {
        let mut width = Width::new(12);
        after(&mut width, looks(5, 1, SLOW));
        assert_eq!(after(&mut width, looks(1, 1, FAST)), 6);
        assert_eq!(after(&mut width, looks(1, 1, SLOW)), 6);
        assert_eq!(after(&mut width, looks(2, 1, FAST)), FEWEST);
        // And no more at one look alone.
        assert_eq!(after(&mut width, looks(1, 1, SLOW)), FEWEST);
        assert_eq!(after(&mut width, looks(1, 1, FAST)), FEWEST);
    }

    #[test]
    fn it_recovers_from_a_time_without_a_database() {
        let mut width = Width::new(12);
        assert_eq!(after(&mut width, looks(5, 1, Duration::from_secs(11))), 12);
        assert_eq!(after(&mut width, looks(2, 1, FAST)), FEWEST);
    }

    #[test]
    fn every_statement_has_one_place_and_shares_the_rest() {
        let places = Places::new(12);
        assert!(places.take(0, 0) && !places.take(1, 0));
        // Another statement's.
        assert!(places.take(0, 0) && !places.take(1, 0));
        for _ in 0..5 * LOOK {
            places.note(1, SLOW);
        }
        for own in 1..5 {
            assert!(places.take(own, 0));
        }
        assert!(!places.take(5, 0) && !places.too_many(5, 0));
        for _ in 0..2 * LOOK {
            places.note(1, FAST);
        }
        assert!(places.too_many(5, 0) && places.too_many(2, 0) && !places.too_many(1, 0));
        for _ in 0..5 {
            places.give_back();
        }
        assert!(!places.too_many(5, 0));
    }

    #[test]
    fn who_is_stuck_is_replaced_as_long_as_there_are_connections() {
        let places = Places::new(3);
        assert!(places.take(0, 0) && !places.take(1, 0));
        assert!(places.take(1, 1) && !places.take(2, 1));
        // The second serves on beside the stuck one.
        assert!(!places.too_many(2, 1));
        assert!(places.take(2, 2) && !places.take(3, 3));
        // Behind a pooler too.
        let places = Places::new(0);
        assert!(places.take(0, 0) && places.take(1, 1) && !places.take(2, 2));
    }
}
