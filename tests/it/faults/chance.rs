//! Chance that can be had again: every draw of a test comes from one number, and a test that fails says which.

use std::time::{Duration, SystemTime};

/// SplitMix64: small, and good enough to choose instants.
#[derive(Debug, Clone)]
pub struct Chance(u64);

/// Prints the seed if the test fails.
pub struct Seed(u64);

impl Seed {
    /// From `CHANCERY_TEST_SEED`, or a new one.
    pub fn pick() -> Self {
        let given = std::env::var("CHANCERY_TEST_SEED").ok().map(|seed| seed.parse().expect("CHANCERY_TEST_SEED is a number"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self(given.unwrap_or_else(|| u64::try_from(now.as_nanos() & u128::from(u32::MAX)).unwrap()))
    }

    pub fn chance(&self) -> Chance {
        Chance(self.0)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the same draws again: CHANCERY_TEST_SEED={}", self.0);
        }
    }
}

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A source of its own for somebody who draws at the same time.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// One of `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// From `least` to `most` milliseconds, to the microsecond.
    pub fn millis(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_micros(u64::try_from(least * 1000 + self.below((most - least) * 1000 + 1)).unwrap())
    }
}

/// How long something takes on this machine, as busy as it is just then: so that a kill at an instant of chance comes before its end in some
/// rounds and after it in others.
#[derive(Debug, Default)]
pub struct Pace(Option<Duration>);

impl Pace {
    /// An instant from the beginning until half as long again as all of it; nothing as long as that is not known.
    pub fn instant(&self, chance: &mut Chance) -> Option<Duration> {
        self.0.map(|whole| chance.millis(0, usize::try_from(whole.as_millis()).unwrap() * 3 / 2 + 1))
    }

    /// It came to its end, after so long; or was killed before, and may take longer than was known.
    pub fn note(&mut self, ended: Option<Duration>) {
        self.0 = ended.or(self.0.map(|whole| whole * 5 / 4));
    }
}
