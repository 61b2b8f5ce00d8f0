//! Turns at work that holds a processor and waits for nothing, such as an RSA signature.
//!
//! Whoever begins such work in the runtime's threads ends it before anybody else is heard. With dozens of them ready at the same time a
//! question that takes microseconds, our health for example, stands behind them all. So they come forward a few at a time, in the order
//! in which they asked, and each steps back once behind everything else that is ready. What is short must not have it all either, or under a
//! flood of requests that are sent away nothing would ever be done: as long as it went first, so long nobody steps back for it again.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::jose::Alg;

/// How many step back at once for each processor. Fewer would let what is short wait less, and spread requests so evenly that what they write
/// no longer comes together in one statement.
const FOR_EACH: usize = 8;

/// For how long, at the most, nobody steps back any more: short work waits for that long.
const LONGEST: Duration = Duration::from_millis(10);

/// The turns.
#[derive(Debug)]
pub struct Turns {
    turns: Semaphore,
    /// How many there are.
    all: usize,
    processors: i64,
    longest: Duration,
    /// Nanoseconds of work that short work has been given and long work has not yet.
    owed: AtomicI64,
    /// Nanoseconds of long work since the start.
    worked: AtomicI64,
}

/// A turn, as long as it is held.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    begun: Instant,
}

impl Turns {
    /// For all processors of this machine.
    pub fn of_this_machine() -> Self {
        Self::of(std::thread::available_parallelism().map_or(1, std::num::NonZero::get), LONGEST)
    }

    fn of(processors: usize, longest: Duration) -> Self {
        Self {
            longest,
            turns: Semaphore::new(FOR_EACH * processors),
            all: FOR_EACH * processors,
            processors: i64::try_from(processors).unwrap_or(1),
            owed: AtomicI64::new(0),
            worked: AtomicI64::new(0),
        }
    }

    /// Returns when it is time for a signature with this algorithm, to be made without waiting in between. RSA's takes twenty times as long as
    /// the others, which are no longer than what every request takes besides.
    pub async fn to_sign(&self, alg: Alg) -> Option<Turn<'_>> {
        match alg {
            Alg::RS256 | Alg::PS256 => Some(self.take().await),
            Alg::ES256 | Alg::EdDSA | Alg::Ed25519 => None,
        }
    }

    /// Gives the turn back, if there was one, and returns when it is time to answer with what was signed. After a short signature that is behind all
    /// who are ready: several answers then leave one after the other, and whoever is woken by them on this machine, a client or a proxy, is woken
    /// once, and not by each in the middle of the next one's signature. While long work waits its turn, nobody stands behind it for that.
    pub async fn to_answer(&self, turn: Option<Turn<'_>>) {
        if turn.is_none() && self.turns.available_permits() == self.all && self.owed.load(Ordering::Relaxed) <= 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Returns when it is one's turn.
    pub async fn take(&self) -> Turn<'_> {
        self.come_forward().await;
        Turn { turns: self, begun: Instant::now() }
    }

    /// Returns when it is time for work of which nobody says when it ends: it counts as this long.
    pub async fn take_for(&self, length: Duration) {
        self.come_forward().await;
        self.did(length);
    }

    async fn come_forward(&self) {
        let turn = self.turns.acquire().await;
        if self.owed.load(Ordering::Relaxed) <= 0 {
            let (begun, worked) = (Instant::now(), self.worked.load(Ordering::Relaxed));
            tokio::task::yield_now().await;
            self.waited(begun.elapsed(), self.worked.load(Ordering::Relaxed) - worked);
        }
        drop(turn);
    }

    /// One of those who step back did so for this long, in which long work took so many nanoseconds of all processors: the rest went to short
    /// work, and is counted by each who stepped back at the time.
    fn waited(&self, stepped_back: Duration, worked: i64) {
        let all = nanoseconds(stepped_back).saturating_mul(self.processors);
        let share = all.saturating_sub(worked).max(0) / (self.processors * FOR_EACH as i64);
        self.owe(share);
    }

    fn did(&self, length: Duration) {
        let length = nanoseconds(length);
        self.worked.fetch_add(length, Ordering::Relaxed);
        self.owe(-length);
    }

    fn owe(&self, more: i64) {
        let changed = |owed: i64| Some(owed.saturating_add(more).clamp(0, nanoseconds(self.longest)));
        // It always has an answer.
        let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.did(self.begun.elapsed());
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    fn work(length: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < length {
            std::hint::spin_loop();
        }
    }

    /// How much work is done, at the most, between a short task's being ready and its end, when all of the work is ready at once.
    async fn most_before_a_short_one(turns: Option<Rc<Turns>>) -> u32 {
        let done = Rc::new(Cell::new(0));
        let working: Vec<_> = (0..1000)
            .map(|_| {
                let (turns, done) = (turns.clone(), done.clone());
                spawn_local(async move {
                    let _turn = match &turns {
                        Some(turns) => Some(turns.take().await),
                        None => None,
                    };
                    work(Duration::from_micros(100));
                    done.set(done.get() + 1);
                })
            })
            .collect();
        let mut most = 0;
        while !working.iter().all(tokio::task::JoinHandle::is_finished) {
            let before = done.get();
            spawn_local(async {}).await.unwrap();
            most = most.max(done.get() - before);
        }
        most
    }

    #[tokio::test]
    async fn what_is_short_is_not_behind_all_who_work() {
        let all = LocalSet::new();
        assert_eq!(all.run_until(most_before_a_short_one(None)).await, 1000);
        // A moment without a processor counts as work of others, and may be followed by as much of ours: one of several tries tells.
        let mut beside = u32::MAX;
        for _ in 0..10 {
            beside = beside.min(all.run_until(most_before_a_short_one(Some(Rc::new(Turns::of(1, LONGEST))))).await);
            if beside <= 110 {
                break;
            }
        }
        assert!(beside <= 110, "{beside}");
    }

    /// What two who sign and answer at the same time do after each other.
    async fn two(turns: &Rc<Turns>, alg: Alg) -> Vec<&'static str> {
        let done = Rc::new(RefCell::new(Vec::new()));
        let both = [(); 2].map(|()| {
            let (turns, done) = (turns.clone(), done.clone());
            spawn_local(async move {
                let turn = turns.to_sign(alg).await;
                done.borrow_mut().push("sign");
                turns.to_answer(turn).await;
                done.borrow_mut().push("answer");
            })
        });
        for one in both {
            one.await.unwrap();
        }
        done.take()
    }

    #[tokio::test]
    async fn what_was_signed_in_a_moment_is_answered_together() {
        let all = LocalSet::new();
        let turns = Rc::new(Turns::of(1, LONGEST));
        assert_eq!(all.run_until(two(&turns, Alg::ES256)).await, ["sign", "sign", "answer", "answer"]);
        assert_eq!(all.run_until(two(&turns, Alg::RS256)).await, ["sign", "answer", "sign", "answer"]);
        let _waits = turns.turns.acquire().await.unwrap();
        assert_eq!(
            all.run_until(two(&turns, Alg::ES256)).await,
            ["sign", "answer", "sign", "answer"],
            "nobody answers behind long work"
        );
    }

    /// How often long work was done in 30 rounds of short work that is always ready.
    async fn done_beside_a_flood(longest: Duration) -> u32 {
        let (turns, over, done, rounds) = (Rc::new(Turns::of(1, longest)), Rc::new(Cell::new(false)), Rc::new(Cell::new(0)), 30);
        for _ in 0..20 {
            let (turns, over, done) = (turns.clone(), over.clone(), done.clone());
            spawn_local(async move {
                while !over.get() {
                    let turn = turns.take().await;
                    work(Duration::from_micros(200));
                    drop(turn);
                    done.set(done.get() + 1);
                }
            });
        }
        for _ in 0..rounds {
            work(Duration::from_millis(10));
            yield_now().await;
        }
        over.set(true);
        done.get()
    }

    #[tokio::test]
    async fn what_is_long_is_done_beside_a_flood_of_what_is_short() {
        let all = LocalSet::new();
        // While others have the processor, the clock goes on for whoever works: one of several tries tells.
        let mut seen = Vec::new();
        for _ in 0..10 {
            let always_behind = all.run_until(done_beside_a_flood(Duration::ZERO)).await;
            let fair = all.run_until(done_beside_a_flood(LONGEST)).await;
            if fair > 3 * always_behind {
                return;
            }
            seen.push((always_behind, fair));
        }
        panic!("so many behind everything, and in fair turns: {seen:?}");
    }
}
