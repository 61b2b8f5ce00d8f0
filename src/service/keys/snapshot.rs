//! The picture of all keys that requests work with, and how it is loaded: parsed keys of the picture before are taken over.

use std::sync::Arc;

use super::known::KnownTokens;
use super::{FRESH, KeyError};
use crate::clock::Timestamp;
use crate::jose::{Alg, KeyEntry, KeySet, KeyState, KeyTimes, SigningKey};
use crate::seal::{DataKeys, MasterKey, Purpose};
use crate::service::bearer::Token;
use crate::storage::Db;
use crate::storage::keys::{self as store, Rows, SigningKeyRecord, Unknown};

/// Signing keys and data keys as they were at one instant.
#[derive(Debug)]
pub struct Snapshot {
    pub set: Arc<KeySet>,
    pub data: Arc<DataKeys>,
    pub known: KnownTokens<Token>,
    /// What was left out: a newer version of this program has written it.
    pub unknown: Vec<Unknown>,
    loaded_at: Timestamp,
    times: Vec<(Alg, KeyTimes)>,
}

impl Snapshot {
    /// Whether the snapshot may still be used.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.loaded_at) <= FRESH && self.loaded_at.since(now) <= FRESH
    }

    pub(super) fn times(&self, alg: Alg) -> Vec<KeyTimes> {
        self.times.iter().filter(|(of, _)| *of == alg).map(|(_, times)| times.clone()).collect()
    }
}

/// Says what was left out that was not left out before, and how much it is.
pub(super) fn tell_unknown(before: &[Unknown], now: &[Unknown]) {
    for one in now.iter().filter(|one| !before.contains(one)) {
        tracing::warn!(
            "the database holds a {one}, which this version does not know: a newer one made it, and it is left alone here"
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!("chancery_unknown_keys").set(now.len() as f64);
}

/// What a private signing key is sealed for.
pub(super) fn signing_context(kid: &str) -> Vec<u8> {
    format!("chancery signing key {kid}").into_bytes()
}

/// Reads all keys. `before` saves opening and parsing what was there already.
pub(super) async fn load(db: &Db, master: &MasterKey, before: Option<&Snapshot>, now: Timestamp) -> Result<Snapshot, KeyError> {
    // In this order: the data key that seals a signing key was there before it.
    let Rows { known: signing, unknown } = store::signing_keys(db).await?;
    let data = store::data_keys(db).await?;
    let unknown: Vec<Unknown> = unknown.into_iter().chain(data.unknown).collect();
    // A new data key seals only when every replica has had the time to load it.
    let data = DataKeys::open_records(master, &data.known, now.minus(2 * FRESH), before.map(|before| &*before.data))?;
    let times = signing.iter().map(|record| (record.alg, record.times())).collect();
    let mut entries = Vec::with_capacity(signing.len());
    for record in signing {
        entries.push(entry(record, &data, before.map(|before| &*before.set))?);
    }
    Ok(Snapshot {
        set: Arc::new(KeySet::new(entries)),
        data: Arc::new(data),
        known: KnownTokens::default(),
        unknown,
        loaded_at: now,
        times,
    })
}

fn entry(record: SigningKeyRecord, data: &DataKeys, before: Option<&KeySet>) -> Result<KeyEntry, KeyError> {
    let known = before.and_then(|before| before.find(&record.kid)).filter(|known| known.public == record.public);
    let verifier = match known {
        Some(known) => Arc::clone(&known.verifier),
        None => {
            let damaged = || KeyError::Damaged(record.kid.clone());
            // The kid is the key's own thumbprint: a row whose public part was exchanged is noticed.
            let parsed = record.public.parse(record.alg).ok_or_else(damaged)?;
            if record.public.thumbprint() != record.kid {
                return Err(damaged());
            }
            Arc::new(parsed)
        }
    };
    let signer = match record.state {
        KeyState::Active | KeyState::Next => match known.and_then(|known| known.signer.clone()) {
            Some(signer) => Some(signer),
            None => Some(Arc::new(signer(&record, data)?)),
        },
        KeyState::Retiring | KeyState::VerifyOnly | KeyState::Compromised => None,
    };
    Ok(KeyEntry {
        kid: record.kid,
        alg: record.alg,
        state: record.state,
        state_since: record.state_since,
        created_at: record.created_at,
        public: record.public,
        verifier,
        signer,
    })
}

fn signer(record: &SigningKeyRecord, data: &DataKeys) -> Result<SigningKey, KeyError> {
    let pkcs8 = data.open(Purpose::Signing, &signing_context(&record.kid), &record.sealed_private)?;
    let key = SigningKey::from_pkcs8(record.alg, pkcs8.expose())?;
    if key.kid != record.kid {
        return Err(KeyError::Damaged(record.kid.clone()));
    }
    Ok(key)
}
