//! Initial access tokens (RFC 7591 §1.2), by digest.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::registration::InitialAccessToken;
use crate::secret::Digest;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::audited;
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::text::{from_json, to_json};

macro_rules! columns {
    () => {
        "SELECT id, note, created_by, limits, registrations, registrations_left, created_at, expires_at FROM initial_access_tokens "
    };
}

statements! {
    INSERT = Both("INSERT INTO initial_access_tokens (id, digest, note, created_by, limits, registrations, registrations_left, created_at,
                                                      expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    FIND = Both(concat!(columns!(), "WHERE id = $1"));
    FIND_BY_DIGEST = Both(concat!(columns!(), "WHERE digest = $1"));
    LIST = Both(concat!(columns!(), "WHERE id > $1 ORDER BY id LIMIT $2"));
    DELETE = Both("DELETE FROM initial_access_tokens WHERE id = $1 AND (CAST($2 AS BIGINT) IS NULL OR registrations_left = $2)");
    // Of any number at once, as many succeed as are left.
    SPEND = Both("UPDATE initial_access_tokens SET registrations_left = registrations_left - 1
                  WHERE id = $1 AND registrations_left > 0 AND expires_at > $2");
}

/// Adds a token under its digest.
pub async fn insert(db: &Db, digest: &Digest, token: &InitialAccessToken, event: &AuditEvent) -> Result<(), StoreError> {
    let values = args![
        token.id,
        digest,
        token.note.clone(),
        &token.created_by,
        to_json(&token.limits)?,
        token.registrations,
        token.registrations_left,
        token.created_at,
        token.expires_at
    ];
    let event = event.clone();
    db.transaction("initial_access_token.insert", move |tx| {
        Box::pin(async move {
            tx.execute(INSERT, values).await?;
            audit::insert_tx(tx, &event).await
        })
    })
    .await
}

/// The token with this id, spent and expired ones too.
pub async fn find(db: &Db, id: Uuid) -> Result<Option<InitialAccessToken>, StoreError> {
    db.optional(FIND, args![id]).await?.as_ref().map(read).transpose()
}

/// As [`find`], by what somebody presented.
pub async fn find_by_digest(db: &Db, digest: &Digest) -> Result<Option<InitialAccessToken>, StoreError> {
    db.optional(FIND_BY_DIGEST, args![digest]).await?.as_ref().map(read).transpose()
}

/// Tokens in the order in which they were made, after the one of this id.
pub async fn list(db: &Db, limit: u32, after: Option<Uuid>) -> Result<Vec<InitialAccessToken>, StoreError> {
    db.all(LIST, args![after.unwrap_or(Uuid::nil()), limit]).await?.iter().map(read).collect()
}

/// Removes a token, if it still has this many registrations left where a number is named; `false` if there is none, or another number.
pub async fn remove(db: &Db, id: Uuid, registrations_left: Option<u64>, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![id, registrations_left];
    audited(db, "initial_access_token.remove", Some(event), move |tx| Box::pin(async move { tx.execute(DELETE, values).await }))
        .await
}

/// Takes one of its registrations; `false` if none is left, or it has expired or gone.
pub(super) async fn spend_tx(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
    Ok(tx.execute(SPEND, args![id, now]).await? > 0)
}

fn read(row: &Row) -> Result<InitialAccessToken, StoreError> {
    let count = |name| row.get::<i64>(name).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(InitialAccessToken {
        id: row.get("id")?,
        note: row.get("note")?,
        created_by: row.get("created_by")?,
        limits: from_json(row.get("limits")?)?,
        registrations: count("registrations")?,
        registrations_left: count("registrations_left")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
    })
}
