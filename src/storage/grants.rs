//! Grants: one authorization each, and what everything issued from it depends on (design 4.1).

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::grant::{Grant, GrantFacts, Standing};
use crate::storage::audit::AuditEvent;
use crate::storage::db::{Db, Tx};
use crate::storage::error::StoreError;
use crate::storage::facts;
use crate::storage::logouts::{self, Ended};
use crate::storage::text::{join, split, to_json};
use crate::storage::{Args, audited};

statements! {
    FIND = Both(concat!("SELECT ", standing_columns!(), ", ", family_columns!(), " FROM grants g", standing_joins!(),
                 "LEFT JOIN families f ON f.grant_id = g.id WHERE g.id = $1"));
    LIST_FOR_USER = Both(concat!("SELECT ", standing_columns!(), " FROM grants g", standing_joins!(),
                          "WHERE g.user_id = $1 AND g.ended_at IS NULL AND g.expires_at > $2 ORDER BY g.id DESC LIMIT $3"));
    // What a person's apps can still do: a grant that stands, with a refresh token that lives or so young that its first tokens do.
    ACCESS_OF_USER = Both(concat!("SELECT g.client_id, g.scopes, MIN(g.created_at) AS since, MAX(COALESCE(f.last_used_at, g.created_at)) AS last_used_at
                           FROM grants g LEFT JOIN families f ON f.grant_id = g.id LEFT JOIN sessions s ON s.id = g.session_id
                           WHERE g.user_id = $1 AND g.ended_at IS NULL AND g.expires_at > $2
                             AND (", outlives_session!(), " OR (s.ended_at IS NULL AND s.expires_at > $2 AND s.last_used_at > $3))
                             AND (g.created_at > $5 OR (f.ended_at IS NULL AND f.expires_at > $2 AND f.last_used_at > $4))
                           GROUP BY g.client_id, g.scopes ORDER BY g.client_id, g.scopes LIMIT $6"));
    PAGE_FOR_USER = Both(concat!("SELECT ", standing_columns!(), " FROM grants g", standing_joins!(),
                          "WHERE g.user_id = $1 AND g.ended_at IS NULL AND g.expires_at > $2 AND g.id < $3 ORDER BY g.id DESC LIMIT $4"));
    OF_USER = Both("SELECT id FROM grants WHERE id = $1 AND user_id = $2 AND ended_at IS NULL");
    INSERT = Both("INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, acr, amr, session_id, sid, nonce, offline,
                                       created_at, expires_at, claims)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)");
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

/// When something issued from a grant still lives: the instants after which each must have happened.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    pub now: Timestamp,
    pub session_used_after: Timestamp,
    pub family_used_after: Timestamp,
    /// For grants without a refresh family.
    pub granted_after: Timestamp,
}

/// What one client may do with one set of scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub client_id: String,
    pub scopes: Vec<String>,
    pub since: Timestamp,
    pub last_used_at: Timestamp,
}

/// The clients that have something of the person's, once for each set of scopes, at most `limit`.
pub async fn access_of_user(db: &Db, user_id: Uuid, live: &Live, limit: u32) -> Result<Vec<Access>, StoreError> {
    let Live { now, session_used_after, family_used_after, granted_after } = *live;
    let rows = db.all(ACCESS_OF_USER, args![user_id, now, session_used_after, family_used_after, granted_after, limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Access {
                client_id: row.get("client_id")?,
                scopes: split(row.get("scopes")?),
                since: row.get("since")?,
                last_used_at: row.get("last_used_at")?,
            })
        })
        .collect()
}

/// The grants of a person that have not ended, newest first, at most `limit`, older than the one with the id `before`, each with everybody
/// on whom it depends.
pub async fn page_for_user(
    db: &Db,
    user_id: Uuid,
    now: Timestamp,
    limit: u32,
    before: Option<Uuid>,
) -> Result<Vec<Standing>, StoreError> {
    let values = args![user_id, now, before.unwrap_or(Uuid::max()), limit];
    db.all(PAGE_FOR_USER, values).await?.iter().map(facts::standing).collect()
}

/// Is this a grant of this person that has not ended?
pub async fn belongs_to(db: &Db, id: Uuid, user_id: Uuid) -> Result<bool, StoreError> {
    Ok(db.optional(OF_USER, args![id, user_id]).await?.is_some())
}

/// Adds a grant as part of a unit of work.
pub async fn insert_tx(tx: &mut Tx, grant: &Grant) -> Result<(), StoreError> {
    tx.execute(INSERT, values(grant)?).await.map(drop)
}

/// What is bound to add a grant, in the order of [`INSERT`].
pub(super) fn values(grant: &Grant) -> Result<Args, StoreError> {
    Ok(args![
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
        grant.expires_at,
        (!grant.claims.is_empty()).then(|| to_json(&grant.claims)).transpose()?
    ])
}

/// Ends a grant and everything issued from it, and tells its client. `false`, and no event, if it had ended before or is gone.
pub async fn end(db: &Db, id: Uuid, because: &'static str, now: Timestamp, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
    audited(db, "grant.end", event, move |tx| {
        Box::pin(async move {
            let ended = end_tx(tx, id, because, now).await?;
            if ended > 0 {
                logouts::tell_tx(tx, Ended::Grant(id), now).await?;
            }
            Ok(ended)
        })
    })
    .await
}

/// The same as part of a unit of work, and its client is not told: how many grants ended, 0 or 1.
pub async fn end_tx(tx: &mut Tx, id: Uuid, because: &'static str, now: Timestamp) -> Result<u64, StoreError> {
    let ended = tx.execute(END, args![id, now, because]).await?;
    tx.execute(END_FAMILY, args![id, now, because]).await?;
    Ok(ended)
}
