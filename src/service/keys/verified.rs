//! Access tokens whose signature was verified lately. Whoever guards an API asks about the same token again and again, and the answer
//! to "did this key sign these bytes" never changes: it is worked out once. Whether the token still stands is asked of the database
//! every time, and a picture of other keys begins with nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::oauth::access_token::Claims;
use crate::oauth::refusal::Reason;

/// Tokens in one generation. There are two: when the younger is full, the older is forgotten.
const GENERATION: usize = 2048;

/// By the digest of the whole token. What does not verify is never here.
#[derive(Debug, Default)]
pub struct VerifiedTokens(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<[u8; 32], Arc<Claims>>,
    old: HashMap<[u8; 32], Arc<Claims>>,
}

impl VerifiedTokens {
    /// The claims of this token, as they were found before or as `verify` finds them now.
    ///
    /// # Errors
    /// Those of `verify`.
    pub fn claims(&self, token: &str, verify: impl FnOnce() -> Result<Claims, Reason>) -> Result<Arc<Claims>, Reason> {
        let digest = <[u8; 32]>::from(Sha256::digest(token.as_bytes()));
        if let Some(claims) = self.known(&digest) {
            return Ok(claims);
        }
        let claims = Arc::new(verify()?);
        self.keep(digest, Arc::clone(&claims));
        Ok(claims)
    }

    fn known(&self, digest: &[u8; 32]) -> Option<Arc<Claims>> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = generations.young.get(digest) {
            return Some(Arc::clone(claims));
        }
        let claims = generations.old.remove(digest)?;
        generations.keep(*digest, Arc::clone(&claims));
        Some(claims)
    }

    fn keep(&self, digest: [u8; 32], claims: Arc<Claims>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(digest, claims);
    }
}

impl Generations {
    fn keep(&mut self, digest: [u8; 32], claims: Arc<Claims>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, claims);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(jti: &str) -> Claims {
        let claims = json!({ "iss": "i", "sub": "s", "aud": "a", "client_id": "c", "jti": jti, "iat": 1, "exp": 2 });
        Claims::read(claims.as_object().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_token_is_verified_once_and_a_bad_one_every_time() {
        let tokens = VerifiedTokens::default();
        assert_eq!(tokens.claims("one", || Ok(claims("1"))).unwrap().jti, "1");
        assert_eq!(tokens.claims("one", || panic!("again")).unwrap().jti, "1");
        assert_eq!(tokens.claims("two", || Ok(claims("2"))).unwrap().jti, "2");
        for _ in 0..2 {
            let bad = Reason::TokenMalformed { detail: String::new() };
            assert!(tokens.claims("bad", || Err(bad)).is_err());
        }
    }

    #[test]
    fn it_keeps_what_is_asked_for_and_never_more_than_two_generations() {
        let tokens = VerifiedTokens::default();
        for number in 0..10 * GENERATION {
            tokens.claims(&number.to_string(), || Ok(claims("n"))).unwrap();
            tokens.claims("often", || if number == 0 { Ok(claims("o")) } else { panic!("forgotten at {number}") }).unwrap();
            let generations = tokens.0.lock().unwrap();
            assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
        }
        let mut verified = false;
        tokens
            .claims("0", || {
                verified = true;
                Ok(claims("n"))
            })
            .unwrap();
        assert!(verified, "the oldest are forgotten");
    }
}
