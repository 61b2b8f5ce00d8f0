//! Keys at rest: the master key's check value, data keys, signing keys. Private parts are sealed before they come here.
//!
//! Whoever changes keys takes [`lock`] first, so that changes happen one after the other on all replicas; the unique indexes (one
//! active and one next signing key per algorithm, one current data key per purpose) stand behind it.
//!
//! While replicas are replaced by newer ones there may be keys whose purpose or algorithm this program does not know. They are told apart
//! and left alone: [`Rows::unknown`].

use std::fmt;

use crate::args;
use crate::clock::Timestamp;
use crate::jose::{Alg, KeyState, KeyTimes, PublicJwk};
use crate::seal::{DataKeyRecord, Purpose};
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;

statements! {
    INSERT_CHECK = Both("INSERT INTO meta (name, value) VALUES ('master_key_check', $1) ON CONFLICT (name) DO NOTHING");
    // A write that changes nothing: on Postgres it holds the row until the unit of work ends; SQLite has one writer anyway.
    LOCK = Both("UPDATE meta SET value = value WHERE name = 'master_key_check' RETURNING value");
    SET_CHECK = Both("UPDATE meta SET value = $1 WHERE name = 'master_key_check'");
    CHECK = Both("SELECT value FROM meta WHERE name = 'master_key_check'");
    // One statement, so one instant.
    TRACES = Both("SELECT (SELECT COUNT(*) FROM meta WHERE name = 'master_key_check') + (SELECT COUNT(*) FROM data_keys)
                   + (SELECT COUNT(*) FROM signing_keys) AS traces");

    NEWEST_DATA_KEY = Both("SELECT MAX(id) AS newest FROM data_keys");
    DATA_KEYS = Both("SELECT id, purpose, sealed, created_at, retired_at, compromised_at FROM data_keys ORDER BY id");
    INSERT_DATA_KEY = Both("INSERT INTO data_keys (id, purpose, sealed, created_at) VALUES ($1, $2, $3, $4)");
    RETIRE_DATA_KEYS = Both("UPDATE data_keys SET retired_at = $2 WHERE purpose = $1 AND retired_at IS NULL");
    COMPROMISE_DATA_KEYS = Both("UPDATE data_keys SET compromised_at = $2 WHERE purpose = $1 AND compromised_at IS NULL");
    RESEAL_DATA_KEY = Both("UPDATE data_keys SET sealed = $2 WHERE id = $1");

    SIGNING_KEYS = Both("SELECT kid, alg, state, sealed_private, public_jwk, created_at, state_since, published_at, activated_at
                         FROM signing_keys ORDER BY created_at, kid");
    INSERT_SIGNING_KEY = Both("INSERT INTO signing_keys
        (kid, alg, state, sealed_private, public_jwk, created_at, state_since, published_at, activated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6, $6, $7)");
    ACTIVATE = Both("UPDATE signing_keys SET state = 'active', state_since = $2, activated_at = $2 WHERE kid = $1");
    // A key that signs no more loses its private part.
    RETIRE = Both("UPDATE signing_keys SET state = $2, state_since = $3, retired_at = $3, sealed_private = $4 WHERE kid = $1");
    UNPUBLISH = Both("UPDATE signing_keys SET state = 'verify_only', state_since = $2 WHERE kid = $1");
    RESEAL_SIGNING_KEY = Both("UPDATE signing_keys SET sealed_private = $2 WHERE kid = $1");
    FORGET = Both("DELETE FROM signing_keys WHERE kid = $1");

    WANT = Both("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
    ANY_OF = Both("SELECT kid FROM signing_keys WHERE alg = $1 LIMIT 1");
    WANTED = Both("SELECT name FROM meta WHERE name LIKE 'rotate_wanted:%'");
    SATISFIED = Both("DELETE FROM meta WHERE name = $1");
}

/// A signing key as the database holds it.
#[derive(Debug, Clone)]
pub struct SigningKeyRecord {
    pub kid: String,
    pub alg: Alg,
    pub state: KeyState,
    /// PKCS#8, sealed; empty once the key signs no more.
    pub sealed_private: Vec<u8>,
    pub public: PublicJwk,
    pub created_at: Timestamp,
    pub state_since: Timestamp,
    pub published_at: Timestamp,
    pub activated_at: Option<Timestamp>,
}

impl SigningKeyRecord {
    /// What the key's life depends on.
    pub fn times(&self) -> KeyTimes {
        KeyTimes {
            kid: self.kid.clone(),
            state: self.state,
            state_since: self.state_since,
            published_at: self.published_at,
            activated_at: self.activated_at,
        }
    }
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Rows<T> {
    pub known: Vec<T>,
    /// What a newer version of this program has written.
    pub unknown: Vec<Unknown>,
}

/// A key that this program does not know what to do with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    /// `data key`, `signing key`.
    pub kind: &'static str,
    /// Its id or kid.
    pub id: String,
    /// `purpose`, `algorithm`, `state`.
    pub property: &'static str,
    pub value: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} with the {} {:?}", self.kind, self.id, self.property, self.value)
    }
}

impl Unknown {
    /// Does it sign, or stand over keys that do?
    pub fn is_signing(&self) -> bool {
        self.kind == "signing key"
    }
}

impl<T> Rows<T> {
    fn read(rows: &[Row], one: impl Fn(&Row) -> Result<Result<T, Unknown>, StoreError>) -> Result<Self, StoreError> {
        let mut read = Self { known: Vec::with_capacity(rows.len()), unknown: Vec::new() };
        for row in rows {
            match one(row)? {
                Ok(key) => read.known.push(key),
                Err(unknown) => read.unknown.push(unknown),
            }
        }
        Ok(read)
    }

    /// Is there nothing, known or not?
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.unknown.is_empty()
    }
}

/// The value by which the master key is recognised; `None` on a database without keys.
pub async fn check_value(db: &Db) -> Result<Option<Vec<u8>>, StoreError> {
    db.optional(CHECK, args![]).await?.map(|row| row.get("value")).transpose()
}

/// Whether there are any keys, or a check value: a database like that never gets a new master key.
pub async fn exist(db: &Db) -> Result<bool, StoreError> {
    let traces: Option<i64> = db.optional(TRACES, args![]).await?.map(|row| row.get("traces")).transpose()?;
    Ok(traces != Some(0))
}

/// The check value, once the lock is held.
#[derive(Debug)]
pub struct Locked {
    pub check_value: Vec<u8>,
    /// Whether there was none before.
    pub is_new: bool,
}

/// Begins a change of keys: holds off every other change, on all replicas, until the unit of work ends. `if_none` becomes the check
/// value of a database that has none.
pub async fn lock(tx: &mut Tx, if_none: Vec<u8>) -> Result<Locked, StoreError> {
    let is_new = tx.execute(INSERT_CHECK, args![if_none]).await? > 0;
    let row = tx.returning(LOCK, args![]).await?;
    let check_value =
        row.ok_or_else(|| StoreError::Corrupt("the check value of the master key is gone".to_owned()))?.get("value")?;
    Ok(Locked { check_value, is_new })
}

/// Replaces the check value: the master key is being changed.
pub async fn set_check_value(tx: &mut Tx, value: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(SET_CHECK, args![value]).await.map(drop)
}

/// All data keys, oldest id first.
pub async fn data_keys(db: &Db) -> Result<Rows<DataKeyRecord>, StoreError> {
    Rows::read(&db.all(DATA_KEYS, args![]).await?, data_key)
}

/// All data keys, within a unit of work.
pub async fn data_keys_tx(tx: &mut Tx) -> Result<Rows<DataKeyRecord>, StoreError> {
    Rows::read(&tx.all(DATA_KEYS, args![]).await?, data_key)
}

/// The id of a data key that is to be written: whatever the others are for.
pub async fn next_data_key_id_tx(tx: &mut Tx) -> Result<i64, StoreError> {
    let newest: Option<i64> = tx.optional(NEWEST_DATA_KEY, args![]).await?.map_or(Ok(None), |row| row.get("newest"))?;
    Ok(newest.unwrap_or(0) + 1)
}

/// Writes a new data key; the purpose's current one must have been retired.
pub async fn insert_data_key(tx: &mut Tx, key: &DataKeyRecord) -> Result<(), StoreError> {
    tx.execute(INSERT_DATA_KEY, args![key.id, key.purpose.as_str(), key.sealed.clone(), key.created_at]).await.map(drop)
}

/// Makes room for a new data key of the purpose. `compromised`: nothing under any older key of it is believed from now on.
pub async fn retire_data_keys(tx: &mut Tx, purpose: Purpose, compromised: bool, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(RETIRE_DATA_KEYS, args![purpose.as_str(), now]).await?;
    if compromised {
        tx.execute(COMPROMISE_DATA_KEYS, args![purpose.as_str(), now]).await?;
    }
    Ok(())
}

/// The same data key, sealed anew.
pub async fn reseal_data_key(tx: &mut Tx, id: i64, sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(RESEAL_DATA_KEY, args![id, sealed]).await.map(drop)
}

/// All signing keys, oldest first.
pub async fn signing_keys(db: &Db) -> Result<Rows<SigningKeyRecord>, StoreError> {
    Rows::read(&db.all(SIGNING_KEYS, args![]).await?, signing_key)
}

/// All signing keys, within a unit of work.
pub async fn signing_keys_tx(tx: &mut Tx) -> Result<Rows<SigningKeyRecord>, StoreError> {
    Rows::read(&tx.all(SIGNING_KEYS, args![]).await?, signing_key)
}

/// Writes a new signing key, published from `created_at` on.
pub async fn insert_signing_key(tx: &mut Tx, key: &SigningKeyRecord) -> Result<(), StoreError> {
    let public = serde_json::to_string(&key.public).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let args =
        args![&key.kid, key.alg.as_str(), key.state.as_str(), key.sealed_private.clone(), public, key.created_at, key.activated_at];
    tx.execute(INSERT_SIGNING_KEY, args).await.map(drop)
}

/// Moves a signing key into its next state.
pub async fn become_state(tx: &mut Tx, kid: &str, state: KeyState, now: Timestamp) -> Result<(), StoreError> {
    match state {
        KeyState::Active => tx.execute(ACTIVATE, args![kid, now]).await,
        KeyState::Retiring | KeyState::Compromised => tx.execute(RETIRE, args![kid, state.as_str(), now, Vec::<u8>::new()]).await,
        KeyState::VerifyOnly => tx.execute(UNPUBLISH, args![kid, now]).await,
        KeyState::Next => Err(StoreError::Corrupt("no key goes back to being the next one".to_owned())),
    }
    .map(drop)
}

/// The same private key, sealed anew.
pub async fn reseal_signing_key(tx: &mut Tx, kid: &str, sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(RESEAL_SIGNING_KEY, args![kid, sealed]).await.map(drop)
}

/// Removes a key that nothing can ask for any more.
pub async fn forget(tx: &mut Tx, kid: &str) -> Result<(), StoreError> {
    tx.execute(FORGET, args![kid]).await.map(drop)
}

/// Remembers that a rotation was asked for, until the next key may sign.
pub async fn want_rotation(tx: &mut Tx, alg: Alg, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(WANT, args![wanted_name(alg), now.micros().to_be_bytes().to_vec()]).await.map(drop)
}

/// Asks for the first keys of an algorithm, if it has none. (Two who ask at once may get a rotation more.)
pub async fn want_first(db: &Db, alg: Alg, now: Timestamp) -> Result<(), StoreError> {
    if db.optional(ANY_OF, args![alg.as_str()]).await?.is_none() {
        db.execute(WANT, args![wanted_name(alg), now.micros().to_be_bytes().to_vec()]).await?;
    }
    Ok(())
}

/// The algorithms whose rotation, or whose first keys, were asked for and have not come yet.
pub async fn wanted_rotations(db: &Db) -> Result<Vec<Alg>, StoreError> {
    db.all(WANTED, args![]).await?.iter().filter_map(wanted).collect()
}

/// The same, within a unit of work.
pub async fn wanted_rotations_tx(tx: &mut Tx) -> Result<Vec<Alg>, StoreError> {
    tx.all(WANTED, args![]).await?.iter().filter_map(wanted).collect()
}

/// The rotation that was asked for has happened.
pub async fn rotation_done(tx: &mut Tx, alg: Alg) -> Result<(), StoreError> {
    tx.execute(SATISFIED, args![wanted_name(alg)]).await.map(drop)
}

fn wanted_name(alg: Alg) -> String {
    format!("rotate_wanted:{alg}")
}

fn wanted(row: &Row) -> Option<Result<Alg, StoreError>> {
    let name: Result<String, StoreError> = row.get("name");
    name.map(|name| Alg::ALL.into_iter().find(|alg| wanted_name(*alg) == name)).transpose()
}

fn data_key(row: &Row) -> Result<Result<DataKeyRecord, Unknown>, StoreError> {
    let (id, purpose): (i64, String) = (row.get("id")?, row.get("purpose")?);
    let Some(purpose) = Purpose::from_name(&purpose) else {
        return Ok(Err(Unknown { kind: "data key", id: id.to_string(), property: "purpose", value: purpose }));
    };
    Ok(Ok(DataKeyRecord {
        id,
        purpose,
        sealed: row.get("sealed")?,
        created_at: row.get("created_at")?,
        retired_at: row.get("retired_at")?,
        compromised_at: row.get("compromised_at")?,
    }))
}

fn signing_key(row: &Row) -> Result<Result<SigningKeyRecord, Unknown>, StoreError> {
    let kid: String = row.get("kid")?;
    let (alg, state, public): (String, String, String) = (row.get("alg")?, row.get("state")?, row.get("public_jwk")?);
    let unknown = |property, value| Ok(Err(Unknown { kind: "signing key", id: kid.clone(), property, value }));
    let Some(alg) = Alg::from_name(&alg) else { return unknown("algorithm", alg) };
    let Some(state) = KeyState::from_name(&state) else { return unknown("state", state) };
    let created_at = row.get("created_at")?;
    Ok(Ok(SigningKeyRecord {
        kid,
        alg,
        state,
        sealed_private: row.get("sealed_private")?,
        public: serde_json::from_str(&public).map_err(|error| StoreError::Corrupt(format!("a public key is damaged: {error}")))?,
        created_at,
        state_since: row.get("state_since")?,
        published_at: row.get::<Option<Timestamp>>("published_at")?.unwrap_or(created_at),
        activated_at: row.get("activated_at")?,
    }))
}
