//! Failed attempts, counted by keyed hash of whom they are about; shared by all replicas (security.md R-55). A row counts one window
//! of time; the first failure after its end begins a new one.

use std::time::Duration;

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oidc::user::User;
use crate::storage::audit::AuditEvent;
use crate::storage::facts::user;
use crate::storage::{Args, Db, Row, StoreError, audit};

/// The keyed hash of an account or an address.
pub type Key = [u8; 32];

/// What is counted under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    pub key: Key,
    pub count: u64,
    pub window_started_at: Timestamp,
    pub last_at: Timestamp,
}

statements! {
    FIND = Both("SELECT key, count, window_started_at, last_at FROM failures WHERE key IN ($1, $2, $3, $4)");
    // The person is in every row, and there is one even if nothing is counted and nobody has the name.
    FIND_WITH_PERSON = Both(concat!("SELECT f.key, f.count, f.window_started_at, f.last_at, u.password_hash, ", user_columns!(), "
                                     FROM (SELECT 1 AS one) AS one LEFT JOIN users u ON u.canonical_username = $5
                                     LEFT JOIN failures f ON f.key IN ($1, $2, $3, $4)"));
    ADD = Both("INSERT INTO failures (key, count, window_started_at, last_at, expires_at) VALUES ($1, 1, $2, $2, $3)
                ON CONFLICT (key) DO UPDATE SET
                    count = CASE WHEN failures.window_started_at <= $4 THEN 1 ELSE failures.count + 1 END,
                    window_started_at = CASE WHEN failures.window_started_at <= $4 THEN excluded.window_started_at
                                             ELSE failures.window_started_at END,
                    last_at = excluded.last_at,
                    expires_at = excluded.expires_at
                RETURNING count");
}

/// What is counted under each of at most four keys; keys without failures are left out.
///
/// # Errors
/// The database is away.
pub async fn find(db: &Db, keys: &[Key]) -> Result<Vec<Failures>, StoreError> {
    db.all(FIND, four(keys)).await?.iter().filter_map(|row| read(row).transpose()).collect()
}

/// A person and their password hash, if they have one.
pub type Credentials = (User, Option<String>);

/// [`find`], and in the same statement the person with this canonical username, whoever it is.
///
/// # Errors
/// The database is away.
pub async fn find_with_person(
    db: &Db,
    keys: &[Key],
    canonical_username: &str,
) -> Result<(Vec<Failures>, Option<Credentials>), StoreError> {
    let mut values = four(keys);
    values.extend(args![canonical_username]);
    let rows = db.all(FIND_WITH_PERSON, values).await?;
    let failures = rows.iter().filter_map(|row| read(row).transpose()).collect::<Result<_, _>>()?;
    Ok((failures, rows.first().map_or(Ok(None), person)?))
}

/// What is bound for at most four keys.
fn four(keys: &[Key]) -> Args {
    let key = |place: usize| keys.get(place).copied();
    args![key(0), key(1), key(2), key(3)]
}

/// `None` if an outer join found none.
fn person(row: &Row) -> Result<Option<Credentials>, StoreError> {
    let Some(_) = row.get::<Option<Uuid>>("u_id")? else { return Ok(None) };
    Ok(Some((user(row)?, row.get("password_hash")?)))
}

/// `None` if an outer join found none.
fn read(row: &Row) -> Result<Option<Failures>, StoreError> {
    let Some(key) = row.get::<Option<Vec<u8>>>("key")? else { return Ok(None) };
    Ok(Some(Failures {
        key: key.try_into().map_err(|_| StoreError::Corrupt("a failure's key is not 32 bytes".to_owned()))?,
        count: row.get("count")?,
        window_started_at: row.get("window_started_at")?,
        last_at: row.get("last_at")?,
    }))
}

/// What the audit log is told once the failures under a key are so many.
#[derive(Debug, Clone)]
pub struct Alarm {
    pub key: Key,
    /// At exactly this count, so that it is told once in a window.
    pub count: u64,
    pub event: AuditEvent,
}

/// Counts one failure under each key.
///
/// # Errors
/// The database is away; then none is counted.
pub async fn add(db: &Db, keys: &[Key], now: Timestamp, window: Duration, alarms: Vec<Alarm>) -> Result<(), StoreError> {
    // In one order everywhere, so that two units of work never wait for each other.
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    db.transaction("failures.add", move |tx| {
        Box::pin(async move {
            for key in keys {
                // A row may go once its window and a further one are over: an honest clock never needs it again.
                let row = tx.optional(ADD, args![key, now, now.plus(window * 2), now.minus(window)]).await?;
                let count = row.map_or(Ok(0), |row| row.get::<u64>("count"))?;
                for alarm in alarms.iter().filter(|alarm| alarm.key == key && alarm.count == count) {
                    audit::insert_tx(tx, &alarm.event).await?;
                }
            }
            Ok(())
        })
    })
    .await
}
