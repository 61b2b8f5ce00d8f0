//! `[passwords]`: the price of a password hash, and what a password must be (security.md R-56).

use super::reader::Section;

/// Argon2id parameters (RFC 9106) and the pool that computes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordsConfig {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes computed at once; 0 means one per core.
    pub workers: u32,
    /// Hashes that may wait; beyond that a sign-in answers 503.
    pub queue: u32,
    /// The least number of characters of a new password.
    pub minimum_length: u32,
}

impl PasswordsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let read = Self {
            memory_kib: section.number32("memory_kib", 19_456, 8, 4_194_304),
            iterations: section.number32("iterations", 2, 1, 1000),
            parallelism: section.number32("parallelism", 1, 1, 64),
            workers: section.number32("workers", 0, 0, 1024),
            queue: section.number32("queue", 64, 1, 100_000),
            minimum_length: section.number32("minimum_length", 8, 1, 128),
        };
        if u64::from(read.memory_kib) < 8 * u64::from(read.parallelism) {
            section.contradiction("memory_kib", "memory_kib must be at least 8 times parallelism (RFC 9106 §3.1)".to_owned());
        }
        read
    }
}
