//! Password hashing: Argon2id (RFC 9106) in a fixed number of workers with a bounded queue (design 6, security.md ).
//!
//! Each worker is a thread of its own that keeps its memory from one hash to the next: the most that all sign-ins together can take is
//! workers × memory, whatever arrives. A request that goes away does not free its worker before the hash is done, so that nobody can
//! start more hashes than there are workers by hanging up. What does not fit into the queue is refused at once.
//!
//! Every branch of a sign-in costs one hash: unknown users, users without a password, empty and over-long passwords are checked against
//! a hash that nothing matches, made with the configured parameters.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::oneshot;

use crate::config::PasswordsConfig;
use crate::entropy::{self, Entropy};
use crate::secret::{Secret, constant_time_eq};
use crate::typed;

/// The most characters that a password may have.
pub const MOST_CHARACTERS: usize = 128;
/// The most bytes that a password may have.
pub const MOST_BYTES: usize = 1024;

/// Seconds after which a refused caller may try again.
const RETRY_AFTER: u64 = 2;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// A stored hash that asks for more memory than this (KiB) is not ours, and is not computed.
const MOST_MEMORY_KIB: u32 = 4_194_304;

/// Why a password was neither hashed nor checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The queue is full.
    #[error("too many passwords are being checked; try again in {retry_after} seconds")]
    Overloaded {
        /// Seconds.
        retry_after: u64,
    },
    /// The stored hash is damaged or the machine has no memory left.
    #[error("the password could not be checked: {0}")]
    Failed(String),
}

/// Why a new password is not taken. The text is for the person who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("the password must have at least {0} characters")]
    TooShort(u32),
    #[error("the password must have at most 128 characters and 1024 bytes")]
    TooLong,
    #[error("the password must not hold control characters")]
    Control,
}

/// The workers and what they work with. Dropping it lets them finish and end.
pub struct Passwords {
    jobs: SyncSender<Job>,
    config: PasswordsConfig,
    /// The hash that nothing matches.
    dummy: Arc<Stored>,
    entropy: Arc<dyn Entropy>,
}

impl Passwords {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the parameters are none that Argon2 knows, or the machine gives no threads.
    pub fn start(config: PasswordsConfig, entropy: Arc<dyn Entropy>) -> Result<Self, PasswordError> {
        let params = Params::new(config.memory_kib, config.iterations, config.parallelism, Some(HASH_BYTES)).map_err(failed)?;
        let dummy = Arc::new(Stored {
            params,
            salt: entropy::bytes::<SALT_BYTES>(entropy.as_ref()).to_vec(),
            hash: entropy::bytes::<HASH_BYTES>(entropy.as_ref()).to_vec(),
        });
        let (jobs, queue) = sync_channel(usize::try_from(config.queue).unwrap_or(1).max(1));
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..workers(&config) {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("argon2-{number}")).spawn(move || work(&queue)).map_err(failed)?;
        }
        Ok(Self { jobs, config, dummy, entropy })
    }

    /// Whether `password` is the one that `stored` (a PHC string) was made from. Costs one hash whatever is asked, `None` included.
    ///
    /// # Errors
    /// [`PasswordError::Overloaded`] when the queue is full; [`PasswordError::Failed`] when the stored hash is damaged.
    pub async fn verify(&self, password: Secret<String>, stored: Option<String>) -> Result<bool, PasswordError> {
        let password = Secret::new(typed::password(password.expose()).into_owned());
        let fits = !password.expose().is_empty() && fits(password.expose());
        let parsed = stored.as_deref().map(Stored::parse).transpose();
        let (against, real) = match &parsed {
            Ok(Some(stored)) if fits => (Arc::new(stored.clone()), true),
            Ok(_) | Err(_) => (Arc::clone(&self.dummy), false),
        };
        // What is hashed in place of a password that does not fit is short: its length must not be a way to make us work.
        let password = if fits { password } else { Secret::new("none".to_owned()) };
        let hash = self.compute(password, against.params.clone(), against.salt.clone(), against.hash.len()).await?;
        parsed?;
        Ok(constant_time_eq(hash.expose(), &against.hash) && real)
    }

    /// The PHC string of a new password.
    ///
    /// # Errors
    /// [`PasswordError::Overloaded`] when the queue is full.
    pub async fn hash(&self, password: Secret<String>) -> Result<String, PasswordError> {
        let password = Secret::new(typed::password(password.expose()).into_owned());
        let params = self.dummy.params.clone();
        let salt = entropy::bytes::<SALT_BYTES>(self.entropy.as_ref()).to_vec();
        let hash = self.compute(password, params.clone(), salt.clone(), HASH_BYTES).await?;
        Ok(Stored { params, salt, hash: hash.expose().clone() }.to_phc())
    }

    /// Whether a stored hash was made with other parameters than those configured now, so that it should be made anew at the next
    /// successful sign-in.
    pub fn needs_rehash(&self, stored: &str) -> bool {
        Stored::parse(stored).is_ok_and(|stored| !same_cost(&stored.params, &self.dummy.params) || stored.hash.len() != HASH_BYTES)
    }

    /// Whether a new password may be used.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub fn check_policy(&self, password: &str) -> Result<(), PolicyError> {
        check_policy(&self.config, password)
    }

    async fn compute(
        &self,
        password: Secret<String>,
        params: Params,
        salt: Vec<u8>,
        length: usize,
    ) -> Result<Secret<Vec<u8>>, PasswordError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job { password, params, salt, length, answer }).map_err(|error| match error {
            TrySendError::Full(_) => PasswordError::Overloaded { retry_after: RETRY_AFTER },
            TrySendError::Disconnected(_) => PasswordError::Failed("the workers have ended".to_owned()),
        })?;
        answered.await.map_err(|_| PasswordError::Failed("a worker ended before its answer".to_owned()))?
    }
}

/// Whether a new password may be used: length counted in characters, no composition rules (NIST SP 800-63B-4 §3.1.1.2).
///
/// # Errors
/// Which rule it breaks.
pub fn check_policy(config: &PasswordsConfig, password: &str) -> Result<(), PolicyError> {
    let password = Secret::new(typed::password(password).into_owned());
    let password = password.expose();
    if !fits(password) {
        return Err(PolicyError::TooLong);
    }
    if password.chars().any(char::is_control) {
        return Err(PolicyError::Control);
    }
    if u32::try_from(password.chars().count()).unwrap_or(u32::MAX) < config.minimum_length {
        return Err(PolicyError::TooShort(config.minimum_length));
    }
    Ok(())
}

struct Job {
    password: Secret<String>,
    params: Params,
    salt: Vec<u8>,
    length: usize,
    answer: oneshot::Sender<Result<Secret<Vec<u8>>, PasswordError>>,
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut memory: Vec<Block> = Vec::new();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // Nobody waits for it any more, and it has not begun: the next one.
        if job.answer.is_closed() {
            continue;
        }
        let answer = compute(&job, &mut memory);
        // If the caller has gone meanwhile, nobody needs the answer.
        drop(job.answer.send(answer));
    }
}

fn compute(job: &Job, memory: &mut Vec<Block>) -> Result<Secret<Vec<u8>>, PasswordError> {
    let blocks = job.params.block_count();
    if memory.len() < blocks {
        memory.try_reserve_exact(blocks - memory.len()).map_err(failed)?;
        memory.resize(blocks, Block::default());
    }
    let mut hash = vec![0; job.length];
    let scratch = memory.get_mut(..blocks).ok_or_else(|| PasswordError::Failed("no memory".to_owned()))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, job.params.clone())
        .hash_password_into_with_memory(job.password.expose().as_bytes(), &job.salt, &mut hash, scratch)
        .map_err(failed)?;
    Ok(Secret::new(hash))
}

fn workers(config: &PasswordsConfig) -> usize {
    match usize::try_from(config.workers) {
        Ok(0) | Err(_) => thread::available_parallelism().map_or(1, NonZeroUsize::get),
        Ok(workers) => workers,
    }
}

fn fits(password: &str) -> bool {
    password.len() <= MOST_BYTES && password.chars().count() <= MOST_CHARACTERS
}

fn same_cost(a: &Params, b: &Params) -> bool {
    (a.m_cost(), a.t_cost(), a.p_cost()) == (b.m_cost(), b.t_cost(), b.p_cost())
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

/// A hash with what it was made with: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
#[derive(Clone)]
struct Stored {
    params: Params,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Stored {
    fn parse(text: &str) -> Result<Self, PasswordError> {
        Self::read(text).ok_or_else(|| PasswordError::Failed("the stored password hash is damaged".to_owned()))
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, hash, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
        let mut costs = costs.split(',');
        let mut cost = |name| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let (memory, iterations, parallelism) = (cost("m=")?, cost("t=")?, cost("p=")?);
        let (salt, hash) = (STANDARD_NO_PAD.decode(salt).ok()?, STANDARD_NO_PAD.decode(hash).ok()?);
        if costs.next().is_some() || memory > MOST_MEMORY_KIB || !(8..=64).contains(&salt.len()) || !(16..=64).contains(&hash.len())
        {
            return None;
        }
        let params = Params::new(memory, iterations, parallelism, Some(hash.len())).ok()?;
        Some(Self { params, salt, hash })
    }

    fn to_phc(&self) -> String {
        let (memory, iterations, parallelism) = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        let (salt, hash) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.hash));
        format!("$argon2id$v=19$m={memory},t={iterations},p={parallelism}${salt}${hash}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::entropy::SystemEntropy;

    fn config() -> PasswordsConfig {
        PasswordsConfig { memory_kib: 64, iterations: 1, parallelism: 1, workers: 1, queue: 4, minimum_length: 8 }
    }

    fn passwords(config: PasswordsConfig) -> Passwords {
        Passwords::start(config, Arc::new(SystemEntropy)).unwrap()
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let passwords = passwords(config());
        let stored = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert!(passwords.verify(secret("correct horse"), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(secret("correct horsf"), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(secret(""), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(secret("correct horse"), None).await.unwrap());
        assert_ne!(stored, passwords.hash(secret("correct horse")).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_made_elsewhere_is_understood() {
        // Vector of the reference implementation (phc-winner-argon2, test.c): argon2id, v=19, t=2, m=256, p=1, "password", "somesalt".
        let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let passwords = passwords(config());
        assert!(passwords.verify(secret("password"), Some(stored.to_owned())).await.unwrap());
        assert!(passwords.needs_rehash(stored));
        let own = passwords.hash(secret("password")).await.unwrap();
        assert!(!passwords.needs_rehash(&own));
        // The memory that the larger hash left behind does not change the smaller one.
        assert!(passwords.verify(secret("password"), Some(own)).await.unwrap());
    }

    #[tokio::test]
    async fn a_damaged_hash_is_a_failure_and_never_a_match() {
        let passwords = passwords(config());
        for stored in [
            "",
            "password",
            "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=99999999,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4$x",
        ] {
            assert!(passwords.verify(secret("password"), Some(stored.to_owned())).await.is_err(), "{stored}");
        }
    }

    #[tokio::test]
    async fn a_password_that_is_too_long_never_matches_even_if_its_hash_is_stored() {
        let passwords = passwords(config());
        let long = "x".repeat(MOST_CHARACTERS + 1);
        let stored = passwords.hash(secret(&long)).await.unwrap();
        assert!(!passwords.verify(secret(&long), Some(stored)).await.unwrap());
    }

    #[tokio::test]
    async fn every_branch_costs_one_hash() {
        let passwords = passwords(PasswordsConfig { memory_kib: 4096, iterations: 3, ..config() });
        let stored = passwords.hash(secret("correct horse")).await.unwrap();
        let long = "ü".repeat(600);
        let mut shortest = Vec::new();
        for (password, stored) in [
            ("wrong wrong", Some(&stored)),
            ("", Some(&stored)),
            (long.as_str(), Some(&stored)),
            ("wrong wrong", None),
            ("", None),
            (&long, None),
        ] {
            let mut best = Duration::MAX;
            for _ in 0..9 {
                let begun = Instant::now();
                assert!(!passwords.verify(secret(password), stored.cloned()).await.unwrap());
                best = best.min(begun.elapsed());
            }
            shortest.push(best);
        }
        let (least, most) = (shortest.iter().min().unwrap(), shortest.iter().max().unwrap());
        // A branch that skips the hash would be a thousand times faster; the rest is the noise of a busy machine.
        assert!(*most < *least * 8, "{shortest:?}");
    }

    #[tokio::test]
    async fn what_does_not_fit_into_the_queue_is_refused_at_once() {
        let passwords = Arc::new(passwords(PasswordsConfig { memory_kib: 65_536, iterations: 4, queue: 2, ..config() }));
        let tasks: Vec<_> = (0..12)
            .map(|_| {
                let passwords = Arc::clone(&passwords);
                tokio::spawn(async move { passwords.verify(secret("wrong wrong"), None).await })
            })
            .collect();
        let mut refused = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(matches) => assert!(!matches),
                Err(PasswordError::Overloaded { retry_after }) => refused += u64::from(retry_after > 0),
                Err(error) => panic!("{error}"),
            }
        }
        // One at work and two waiting, or the first not yet taken up when the others came; on a busy machine one was done before the last came.
        assert!((6..=10).contains(&refused), "{refused}");
    }

    #[tokio::test]
    async fn callers_that_go_away_leave_no_more_work_than_the_workers_have() {
        let passwords = passwords(PasswordsConfig { queue: 2, ..config() });
        for _ in 0..50 {
            let check = passwords.verify(secret("wrong wrong"), None);
            drop(tokio::time::timeout(Duration::from_micros(1), check).await);
        }
        // The abandoned ones are skipped, so that a place is free soon.
        let mut answered = passwords.verify(secret("wrong wrong"), None).await;
        while matches!(answered, Err(PasswordError::Overloaded { .. })) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            answered = passwords.verify(secret("wrong wrong"), None).await;
        }
        assert!(!answered.unwrap());
    }

    #[test]
    fn the_policy_counts_characters_and_bounds_bytes() {
        let config = config();
        assert_eq!(check_policy(&config, "1234567"), Err(PolicyError::TooShort(8)));
        assert_eq!(check_policy(&config, "éééééééé"), Ok(()));
        assert_eq!(check_policy(&config, &"x".repeat(128)), Ok(()));
        assert_eq!(check_policy(&config, &"x".repeat(129)), Err(PolicyError::TooLong));
        assert_eq!(check_policy(&config, "12345678\n"), Err(PolicyError::Control));
    }
}
