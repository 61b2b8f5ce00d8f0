//! Grants: one authorization each, and what everything issued from it depends on (design 4.1).

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::grant::{Grant, GrantFacts};
use crate::storage::audit::AuditEvent;
use crate::storage::audited;
use crate::storage::db::{Db, Tx};
use crate::storage::error::StoreError;
use crate::storage::facts;
use crate::storage::text::{join, to_json};

statements! {
    FIND = Both(concat!("SELECT ", standing_columns!(), ", ", family_columns!(), " FROM grants g", standing_joins!(),
                 "LEFT JOIN families f ON f.grant_id = g.id WHERE g.id = $1"));
    LIST_FOR_USER = Both(concat!("SELECT ", standing_columns!(), " FROM grants g", standing_joins!(),
                          "WHERE g.user_id = $1 AND g.ended_at IS NULL AND g.expires_at > $2 ORDER BY g.id DESC LIMIT $3"));
    INSERT = Both("INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, acr, amr, session_id, sid, nonce, offline,
                                       created_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)");
    END = Both("UPDATE grants SET ended_at = $2, ended_because = $3 WHERE id = $1 AND ended_at IS NULL");
    END_FAMILY = Both("UPDATE families SET ended_at = $2, ended_because = $3 WHERE grant_id = $1 AND ended_at IS NULL");
}

/// The grant, everybody on whom it depends, and the family issued from it. Ended grants too.
pub async fn find(db: &Db, id: Uuid) -> Result<Option<GrantFacts>, StoreError> {
    let row = db.optional(FIND, args![id]).await?;
    row.map(|row| Ok(GrantFacts { standing: facts::standing(&row)?, family: facts::family(&row)? })).transpose()
}

/// The live grants of a person, newest first, at most `limit`.
pub async fn list_for_user(db: &Db, user_id: Uuid, now: Timestamp, limit: u32) -> Result<Vec<Grant>, StoreError> {
    db.all(LIST_FOR_USER, args![user_id, now, limit]).await?.iter().map(facts::grant).collect()
}

/// Adds a grant as part of a unit of work.
pub async fn insert_tx(tx: &mut Tx, grant: &Grant) -> Result<(), StoreError> {
    let values = args![
        grant.id,
        &grant.client_id,
        grant.user_id,
        &grant.sub,
        join(&grant.scopes),
        to_json(&grant.resources)?,
        grant.auth_time,
        grant.acr.clone(),
        to_json(&grant.amr)?,
        grant.session_id,
        grant.sid.clone(),
        grant.nonce.clone(),
        grant.has_scope("offline_access"),
        grant.created_at,
        grant.expires_at
    ];
    tx.execute(INSERT, values).await.map(drop)
}

/// Ends a grant and everything issued from it. `false`, and no event, if it had ended before or is gone.
pub async fn end(db: &Db, id: Uuid, because: &'static str, now: Timestamp, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
    audited(db, "grant.end", event, move |tx| Box::pin(end_tx(tx, id, because, now))).await
}

/// The same as part of a unit of work: how many grants ended, 0 or 1.
pub async fn end_tx(tx: &mut Tx, id: Uuid, because: &'static str, now: Timestamp) -> Result<u64, StoreError> {
    let ended = tx.execute(END, args![id, now, because]).await?;
    tx.execute(END_FAMILY, args![id, now, because]).await?;
    Ok(ended)
}
