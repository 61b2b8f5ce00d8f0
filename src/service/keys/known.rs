//! Access tokens that were read lately. Whoever guards an API asks about the same token again and again, and neither what a token says nor
//! that we made it ever changes: it is worked out once. Whether it still stands is asked of the database every time, and a picture of
//! other keys begins with nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::oauth::bearer::MAX_TOKEN;
use crate::oauth::refusal::Reason;

/// Tokens in one generation. There are two: when the younger is full, the older is forgotten.
const GENERATION: usize = 2048;

/// By the digest of the whole token. What is not ours is never here.
#[derive(Debug)]
pub struct KnownTokens<T>(Mutex<Generations<T>>);

#[derive(Debug)]
struct Generations<T> {
    young: HashMap<[u8; 32], Arc<T>>,
    old: HashMap<[u8; 32], Arc<T>>,
}

impl<T> Default for KnownTokens<T> {
    fn default() -> Self {
        Self(Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }))
    }
}

impl<T> KnownTokens<T> {
    /// What this token was found to be before, or what `read` finds now.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn token(&self, text: &str, read: impl FnOnce() -> Result<T, Reason>) -> Result<Arc<T>, Reason> {
        // Nothing so long is ours.
        if text.len() > MAX_TOKEN {
            return read().map(Arc::new);
        }
        let digest = <[u8; 32]>::from(Sha256::digest(text.as_bytes()));
        if let Some(token) = self.known(&digest) {
            return Ok(token);
        }
        let token = Arc::new(read()?);
        self.generations().keep(digest, Arc::clone(&token));
        Ok(token)
    }

    fn known(&self, digest: &[u8; 32]) -> Option<Arc<T>> {
        let mut generations = self.generations();
        if let Some(token) = generations.young.get(digest) {
            return Some(Arc::clone(token));
        }
        let token = generations.old.remove(digest)?;
        generations.keep(*digest, Arc::clone(&token));
        Some(token)
    }

    fn generations(&self) -> MutexGuard<'_, Generations<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Generations<T> {
    fn keep(&mut self, digest: [u8; 32], token: Arc<T>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_once_and_a_bad_one_every_time() {
        let tokens = KnownTokens::default();
        assert_eq!(*tokens.token("one", || Ok(1)).unwrap(), 1);
        assert_eq!(*tokens.token("one", || panic!("again")).unwrap(), 1);
        assert_eq!(*tokens.token("two", || Ok(2)).unwrap(), 2);
        for _ in 0..2 {
            let bad = Reason::TokenMalformed { detail: String::new() };
            assert!(tokens.token("bad", || Err(bad)).is_err());
        }
    }

    #[test]
    fn what_is_too_long_is_not_looked_for() {
        let tokens = KnownTokens::default();
        for number in 0..2 {
            assert_eq!(*tokens.token(&"a".repeat(MAX_TOKEN + 1), || Ok(number)).unwrap(), number);
        }
        assert!(tokens.0.lock().unwrap().young.is_empty());
    }

    #[test]
    fn it_keeps_what_is_asked_for_and_never_more_than_two_generations() {
        let tokens = KnownTokens::default();
        for number in 0..10 * GENERATION {
            tokens.token(&number.to_string(), || Ok("n")).unwrap();
            tokens.token("often", || if number == 0 { Ok("o") } else { panic!("forgotten at {number}") }).unwrap();
            let generations = tokens.0.lock().unwrap();
            assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
        }
        assert_eq!(*tokens.token("0", || Ok("anew")).unwrap(), "anew", "the oldest are forgotten");
    }
}
