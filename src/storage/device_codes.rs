//! Device codes, by digest, and the user codes that go with them, by keyed hash (RFC 8628). Each step of their life is one conditional
//! UPDATE: of any number of steps at once, one is taken.

use std::time::Duration;

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::device::{Asked, DeviceCode, Pace, State};
use crate::oauth::grant::{DeviceCodeFacts, Grant};
use crate::secret::Digest;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::authorize::{self, Stopped};
use crate::storage::codes::Redeem;
use crate::storage::consents::{self, Consent};
use crate::storage::db::{Db, Kind, Row};
use crate::storage::error::StoreError;
use crate::storage::text::{from_json, join, split, to_json};
use crate::storage::{audited, facts, families, grants, logouts};

/// The keyed hash of a user code.
pub type UserCodeHash = [u8; 32];

/// What [`approve`] writes.
#[derive(Debug, Clone)]
pub struct Approve {
    pub digest: Digest,
    pub grant: Grant,
    pub consent: Consent,
    /// When the consent was last changed that this one holds too; `None` if there was none.
    pub rests_on: Option<Timestamp>,
    /// What the audit log is told, if it is done.
    pub events: Vec<AuditEvent>,
    /// The client wants to hear when the session ends.
    pub joins: bool,
    pub now: Timestamp,
}

macro_rules! columns {
    () => {
        "d.digest, d.client_id, d.scopes, d.resources, d.requested_from, d.poll_interval, d.polled_at, d.claimed_by, d.grant_id, d.denied_at,
         d.consumed_at, d.withdrawn_at, d.created_at, d.expires_at"
    };
}

/// Not decided about, not taken back, in time.
macro_rules! open {
    ($now:literal) => {
        concat!(" AND grant_id IS NULL AND denied_at IS NULL AND withdrawn_at IS NULL AND expires_at > ", $now)
    };
}

/// RFC 8628 §3.4: bound to the client, used once; and everything that the decision rested on, once more.
macro_rules! unspent {
    () => {
        concat!(
            "digest = $1 AND client_id = $2 AND consumed_at IS NULL AND withdrawn_at IS NULL AND expires_at > $3 AND ",
            grant_stands!("device_codes.grant_id", "$3")
        )
    };
}

statements! {
    INSERT = Both("INSERT INTO device_codes (digest, user_code, key_id, client_id, scopes, resources, requested_from, poll_interval, created_at,
                                             expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
    FIND = Both(concat!("SELECT ", columns!(), ", ", standing_columns!(), ", ", family_columns!(),
                 " FROM device_codes d LEFT JOIN grants g ON g.id = d.grant_id", standing_joins!(),
                 "LEFT JOIN families f ON f.grant_id = d.grant_id WHERE d.digest = $1"));
    FIND_BY_USER_CODE = Both(concat!("SELECT ", columns!(), " FROM device_codes d WHERE d.user_code IN ($1, $2, $3, $4)"));
    // The lock that `users::set_enabled` waits for: nobody claims a code while they are being disabled.
    LOCK_USER = Split {
        sqlite: "SELECT id FROM users WHERE id = $1 AND enabled = 1",
        postgres: "SELECT id FROM users WHERE id = $1 AND enabled = 1 FOR SHARE",
    };
    CLAIM = Both(concat!("UPDATE device_codes SET claimed_by = $2, claimed_at = $3 WHERE digest = $1 AND claimed_by IS NULL", open!("$3")));
    APPROVE = Both(concat!("UPDATE device_codes SET grant_id = $3 WHERE digest = $1 AND claimed_by = $2 AND client_id = $4", open!("$5")));
    DENY = Both(concat!("UPDATE device_codes SET denied_at = $3 WHERE digest = $1 AND claimed_by = $2", open!("$3")));
    KEEP_PACE = Both("UPDATE device_codes SET poll_interval = $2, polled_at = $3
                      WHERE digest = $1 AND poll_interval = $4 AND polled_at IS NOT DISTINCT FROM $5 AND grant_id IS NULL AND denied_at IS NULL
                        AND withdrawn_at IS NULL");
    REDEEM = Both(concat!("UPDATE device_codes SET consumed_at = $3 WHERE ", unspent!()));
    // On Postgres the family appears in the same statement: one round trip, one commit.
    REDEEM_WITH_FAMILY = Split {
        sqlite: concat!("UPDATE device_codes SET consumed_at = $3 WHERE ", unspent!()),
        postgres: with_family!("device_codes", unspent!()),
    };
}

/// Adds a code under the keyed hash of its user code and the id of that hash's data key.
///
/// # Errors
/// [`StoreError::Conflict`] if another code has the same user code: take another.
pub async fn insert(db: &Db, digest: &Digest, user_code: (i64, UserCodeHash), code: &DeviceCode) -> Result<(), StoreError> {
    let (key_id, hash) = user_code;
    let values = args![
        digest,
        hash,
        key_id,
        &code.client_id,
        join(&code.asked.scopes),
        to_json(&code.asked.resources)?,
        &code.requested_from,
        micros(code.pace.interval),
        code.created_at,
        code.expires_at
    ];
    db.execute(INSERT, values).await.map(drop)
}

/// The code, what came of it, and everybody on whom that depends. Redeemed, refused and expired ones too.
pub async fn find(db: &Db, digest: &Digest) -> Result<Option<DeviceCodeFacts>, StoreError> {
    let Some(row) = db.optional(FIND, args![digest]).await? else { return Ok(None) };
    let (_, code) = read(&row)?;
    let standing = match row.get::<Option<Uuid>>("g_id")? {
        Some(_) => Some(facts::standing(&row)?),
        None => None,
    };
    Ok(Some(DeviceCodeFacts { code, standing, family: facts::family(&row)? }))
}

/// The code whose user code has one of these hashes, at most four, and its digest.
pub async fn find_by_user_code(db: &Db, hashes: &[UserCodeHash]) -> Result<Option<(Digest, DeviceCode)>, StoreError> {
    let Some(first) = hashes.first() else { return Ok(None) };
    let hash = |place: usize| *hashes.get(place).unwrap_or(first);
    db.optional(FIND_BY_USER_CODE, args![hash(0), hash(1), hash(2), hash(3)]).await?.as_ref().map(read).transpose()
}

/// The first who looks at it. `false` if somebody did, it is decided or over, or the person was disabled.
pub async fn claim(db: &Db, digest: &Digest, by: Uuid, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![digest, by, now];
    audited(db, "device_code.claim", Some(event), move |tx| {
        Box::pin(async move {
            if tx.optional(LOCK_USER, args![by]).await?.is_none() {
                return Ok(0);
            }
            tx.execute(CLAIM, values).await
        })
    })
    .await
}

/// Says yes: the consent, the grant and the code's state appear together. `false`, and nothing is written, if the code is not this
/// person's to decide any more, the person or the client was disabled, the session has ended, or the consent was changed or given
/// meanwhile.
pub async fn approve(db: &Db, approve: Approve) -> Result<bool, StoreError> {
    authorize::all_or_nothing(db, "device_code.approve", move |tx| {
        Box::pin(async move {
            let Approve { digest, grant, consent, rests_on, events, joins, now } = &approve;
            if !authorize::stands(tx, grant, *now).await? || !consents::agree_tx(tx, consent, *rests_on).await? {
                return Err(Stopped::Changed);
            }
            // First what the code will point at.
            grants::insert_tx(tx, grant).await?;
            if tx.execute(APPROVE, args![digest, grant.user_id, grant.id, &grant.client_id, *now]).await? == 0 {
                return Err(Stopped::Changed);
            }
            if *joins {
                logouts::join_tx(tx, grant).await?;
            }
            for event in events {
                audit::insert_tx(tx, event).await?;
            }
            Ok(())
        })
    })
    .await
}

/// Says no. `false` if the code is not this person's to decide any more.
pub async fn deny(db: &Db, digest: &Digest, by: Uuid, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![digest, by, now];
    audited(db, "device_code.deny", Some(event), move |tx| Box::pin(async move { tx.execute(DENY, values).await })).await
}

/// Notes a poll. `false`, and nothing is written, if another one came between or the person has decided: then read and decide once more.
pub async fn keep_pace(db: &Db, digest: &Digest, before: Pace, after: Pace) -> Result<bool, StoreError> {
    let values = args![digest, micros(after.interval), after.polled_at, micros(before.interval), before.polled_at];
    Ok(db.execute(KEEP_PACE, values).await? > 0)
}

/// Spends the code and begins the family. `false`, and nothing is written, if anything that the decision rested on has changed: then
/// read the facts again and decide once more.
pub async fn redeem(db: &Db, redeem: Redeem) -> Result<bool, StoreError> {
    let mut spend = args![&redeem.digest, &redeem.client_id, redeem.now];
    let Some(family) = redeem.family else { return Ok(db.execute(REDEEM, spend).await? > 0) };
    match db.kind() {
        Kind::Postgres => {
            spend.extend(families::values(&family));
            Ok(db.execute(REDEEM_WITH_FAMILY, spend).await? > 0)
        }
        Kind::Sqlite => {
            db.transaction("device_code.redeem", move |tx| {
                Box::pin(async move {
                    let spent = tx.execute(REDEEM_WITH_FAMILY, spend).await? > 0;
                    if spent {
                        families::insert_tx(tx, &family).await?;
                    }
                    Ok(spent)
                })
            })
            .await
        }
    }
}

fn read(row: &Row) -> Result<(Digest, DeviceCode), StoreError> {
    let interval: i64 = row.get("poll_interval")?;
    let code = DeviceCode {
        client_id: row.get("client_id")?,
        asked: Asked { scopes: split(row.get("scopes")?), resources: from_json(row.get("resources")?)? },
        requested_from: row.get("requested_from")?,
        state: state(row)?,
        pace: Pace { interval: Duration::from_micros(u64::try_from(interval).unwrap_or(0)), polled_at: row.get("polled_at")? },
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
    };
    Ok((row.get("digest")?, code))
}

fn state(row: &Row) -> Result<State, StoreError> {
    let (claimed_by, grant_id): (Option<Uuid>, Option<Uuid>) = (row.get("claimed_by")?, row.get("grant_id")?);
    let (denied_at, consumed_at, withdrawn_at): (Option<Timestamp>, Option<Timestamp>, Option<Timestamp>) =
        (row.get("denied_at")?, row.get("consumed_at")?, row.get("withdrawn_at")?);
    Ok(match (consumed_at, grant_id) {
        (Some(at), Some(grant_id)) => State::Redeemed { grant_id, at },
        (Some(_), None) => return Err(StoreError::Corrupt("a device code was redeemed without a grant".to_owned())),
        (None, _) if denied_at.is_some() => State::Denied,
        (None, _) if withdrawn_at.is_some() => State::Withdrawn,
        (None, Some(grant_id)) => State::Approved { grant_id },
        (None, None) => claimed_by.map_or(State::Pending, |by| State::Claimed { by }),
    })
}

fn micros(interval: Duration) -> i64 {
    i64::try_from(interval.as_micros()).unwrap_or(i64::MAX)
}
