//! Other people's keys: a client's JWK Set (RFC 7517 §5), by value or fetched from its `jwks_uri`.
//!
//! Private and symmetric keys are refused: a client that sends one has lost it, or wants HMAC. Keys of a kind that is not used here
//! are left out as §5 asks, and so are members that say nothing about the key itself (certificates among them, RFC 8725 §3.10). What
//! remains is parsed once, and each key knows which algorithms it may be used with (security.md R-33).

mod document;
mod key;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Alg, strict_json};

use key::{Refused, Usage};

pub use key::Jwk;

/// The most keys of a set.
const MAX_KEYS: usize = 16;
/// What is in the database may have come before that limit was as narrow.
const MAX_STORED_KEYS: usize = 32;
/// Keys that are tried on one signature: trying is work, which anybody can ask for.
const MAX_TRIED: usize = 2;

/// A client's public keys, at least one.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct JwkSet {
    keys: Arc<[Jwk]>,
}

impl JwkSet {
    /// Reads the text of a JWK Set document.
    ///
    /// # Errors
    /// What is wrong, in words for whoever keeps the document. Values are not repeated: one may be a private key.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let members = strict_json::object(text).map_err(|error| format!("is not sound JSON: {error}"))?;
        let set = Self::of(members)?;
        set.check()?;
        Ok(set)
    }

    /// May it be brought anew? What was stored once is read with wider limits.
    ///
    /// # Errors
    /// What is too much of it.
    pub fn check(&self) -> Result<(), String> {
        if self.keys.len() > MAX_KEYS {
            return Err(format!("has more than {MAX_KEYS} keys"));
        }
        let fault = self.keys.iter().enumerate().find_map(|(place, key)| key.key.fault().map(|fault| (place, fault)));
        fault.map_or(Ok(()), |(place, fault)| Err(format!("keys[{place}] {fault}")))
    }

    fn of(mut members: Map<String, Value>) -> Result<Self, String> {
        let Some(Value::Array(keys)) = members.remove("keys") else {
            return Err("must be an object with \"keys\", a list of public keys (RFC 7517 section 5)".to_owned());
        };
        if keys.len() > MAX_STORED_KEYS {
            return Err(format!("has more than {MAX_KEYS} keys"));
        }
        let mut read = Vec::new();
        let mut unused = None;
        for (place, key) in keys.into_iter().enumerate() {
            match Jwk::of(key) {
                Ok(key) => read.push(key),
                Err(Refused::Unused(why)) => unused = Some(format!("keys[{place}] {why}")),
                Err(Refused::Wrong(why)) => return Err(format!("keys[{place}] {why}")),
            }
        }
        if read.is_empty() {
            let why = unused.unwrap_or_else(|| "there is none".to_owned());
            return Err(format!("has no key that can be used: {why}"));
        }
        Ok(Self { keys: read.into() })
    }

    /// All of them, in the order of the document.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The key to encrypt with by `alg` (RFC 7518 §4.1): the first that says it is for encryption, else the first that says nothing against it.
    pub fn to_encrypt(&self, alg: &str) -> Option<&Jwk> {
        self.keys.iter().filter(|key| key.may_encrypt(alg)).min_by_key(|key| key.usage != Some(Usage::Enc))
    }

    /// The keys that may have made a signature by `alg` under this `kid`. A token without one, or a set without any, leaves the choice
    /// open: then there has to be exactly one (openid.md 63).
    pub(super) fn to_verify(&self, alg: Alg, kid: Option<&str>) -> Vec<&Jwk> {
        let fitting = || self.keys.iter().filter(|key| key.may_verify(alg));
        let named: Vec<&Jwk> = match kid {
            Some(kid) => fitting().filter(|key| key.kid.as_deref() == Some(kid)).take(MAX_TRIED).collect(),
            None => Vec::new(),
        };
        if !named.is_empty() {
            return named;
        }
        let open: Vec<&Jwk> = fitting().filter(|key| kid.is_none() || key.kid.is_none()).collect();
        if open.len() == 1 { open } else { Vec::new() }
    }
}

impl fmt::Debug for JwkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter()).finish()
    }
}

impl TryFrom<Value> for JwkSet {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(members) => Self::of(members),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Self::of(Map::new()),
        }
    }
}
