//! The key set: an immutable picture of all signing keys, with the JWKS document ready to send.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::jwk::PublishedJwk;
use super::{Alg, KeyState, PublicJwk, PublicKey, SigningKey, base64url};
use crate::clock::Timestamp;

/// One key of the set.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    pub kid: String,
    pub alg: Alg,
    pub state: KeyState,
    pub state_since: Timestamp,
    pub created_at: Timestamp,
    pub public: PublicJwk,
    /// Parsed, to verify with.
    pub verifier: Arc<PublicKey>,
    /// Parsed, to sign with; only for the active and the next key.
    pub signer: Option<Arc<SigningKey>>,
}

/// All keys at one instant. A rotation makes a new set.
#[derive(Debug)]
pub struct KeySet {
    keys: HashMap<String, KeyEntry>,
    active: Vec<Arc<SigningKey>>,
    jwks: Bytes,
    etag: Bytes,
}

impl KeySet {
    /// Takes the keys in and prepares the documents.
    pub fn new(mut entries: Vec<KeyEntry>) -> Self {
        // Active keys first, in the order of the algorithms: a client that takes the first key takes the right one most often.
        entries.sort_by(|a, b| (a.state, a.alg, b.created_at, &a.kid).cmp(&(b.state, b.alg, a.created_at, &b.kid)));
        let active =
            entries.iter().filter(|entry| entry.state == KeyState::Active).filter_map(|entry| entry.signer.clone()).collect();
        let jwks = document(&entries);
        let etag = Bytes::from(format!("\"{}\"", base64url::encode(&Sha256::digest(&jwks))));
        let keys = entries
            .into_iter()
            .filter(|entry| entry.state != KeyState::Compromised)
            .map(|entry| (entry.kid.clone(), entry))
            .collect();
        Self { keys, active, jwks: Bytes::from(jwks), etag }
    }

    /// The key that signs with `alg`.
    pub fn active(&self, alg: Alg) -> Option<&Arc<SigningKey>> {
        self.active.iter().find(|key| key.alg == alg)
    }

    /// The JWKS document (RFC 7517 §5): active, next and retiring keys, public members alone.
    pub fn jwks(&self) -> &Bytes {
        &self.jwks
    }

    /// The strong entity tag of [`KeySet::jwks`], in its quotes (RFC 9110 §8.8.3).
    pub fn etag(&self) -> &Bytes {
        &self.etag
    }

    /// The algorithms that have an active key, the default first.
    pub fn algs(&self) -> Vec<Alg> {
        Alg::ALL.into_iter().filter(|alg| self.active(*alg).is_some()).collect()
    }

    /// The key of that id, unless it was compromised.
    pub fn find(&self, kid: &str) -> Option<&KeyEntry> {
        self.keys.get(kid)
    }

    /// Every key that is not compromised, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &KeyEntry> {
        self.keys.values()
    }
}

#[derive(Serialize)]
struct Jwks<'a> {
    keys: Vec<PublishedJwk<'a>>,
}

fn document(entries: &[KeyEntry]) -> Vec<u8> {
    let keys = entries
        .iter()
        .filter(|entry| entry.state.is_published())
        .map(|entry| PublishedJwk { key: &entry.public, kid: &entry.kid, use_: "sig", alg: entry.alg.as_str() })
        .collect();
    // Strings in structs: this cannot fail, and an empty set is what a failure would have to look like.
    serde_json::to_vec(&Jwks { keys }).unwrap_or_else(|_| br#"{"keys":[]}"#.to_vec())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::jose::{KeyMaker as _, NewKeyPairs};

    /// A new key in that state.
    pub(crate) fn entry(alg: Alg, state: KeyState) -> KeyEntry {
        let pair = NewKeyPairs.make(alg).unwrap();
        let at = Timestamp::from_seconds(1_000);
        KeyEntry {
            kid: pair.kid.clone(),
            alg,
            state,
            state_since: at,
            created_at: at,
            verifier: Arc::new(pair.public.parse(alg).unwrap()),
            signer: Some(Arc::new(SigningKey::from_pkcs8(alg, pair.pkcs8.expose()).unwrap())),
            public: pair.public,
        }
    }

    #[test]
    fn the_document_has_published_keys_and_public_members_alone() {
        let entries: Vec<_> = [
            (Alg::EdDSA, KeyState::Active),
            (Alg::RS256, KeyState::Next),
            (Alg::RS256, KeyState::Active),
            (Alg::ES256, KeyState::Retiring),
            (Alg::ES256, KeyState::VerifyOnly),
            (Alg::EdDSA, KeyState::Compromised),
        ]
        .into_iter()
        .map(|(alg, state)| entry(alg, state))
        .collect();
        let order = [&entries[2], &entries[0], &entries[1], &entries[3]].map(|entry| entry.kid.clone());
        let set = KeySet::new(entries.clone());
        let document: serde_json::Value = serde_json::from_slice(set.jwks()).unwrap();
        let keys = document["keys"].as_array().unwrap();
        assert_eq!(keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), order);
        for key in keys {
            let allowed = ["kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"];
            assert!(key.as_object().unwrap().keys().all(|name| allowed.contains(&name.as_str())), "{key}");
            assert_eq!(key["use"], "sig");
        }
        assert_eq!(set.algs(), [Alg::RS256, Alg::EdDSA]);
        assert!(set.find(&entries[4].kid).is_some());
        assert!(set.find(&entries[5].kid).is_none());
        assert_eq!(set.etag(), KeySet::new(entries.clone()).etag());
        assert_ne!(set.etag(), KeySet::new(entries[..2].to_vec()).etag());
    }
}
