//! The audit log: append-only, each event written in the transaction that it describes (design 4.7). The database itself refuses to
//! change or delete a row.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;

/// Somebody did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Time-ordered (UUIDv7).
    pub id: Uuid,
    pub at: Timestamp,
    /// `cli`, `client:ID`, `user:ID`, `server`.
    pub actor: String,
    /// `user.disable`, `grant.end`, …
    pub action: String,
    /// The id of what it was done to.
    pub target: String,
    /// JSON without secrets: what was before.
    pub was: Option<String>,
    /// JSON without secrets: what is now.
    pub is_now: Option<String>,
    /// The request behind it.
    pub trace_id: Option<String>,
}

statements! {
    INSERT = Both("INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    LIST = Both("SELECT id, at, actor, action, target, was, is_now, trace_id FROM audit_events WHERE id < $1 ORDER BY id DESC LIMIT $2");
    LIST_TARGET = Both("SELECT id, at, actor, action, target, was, is_now, trace_id FROM audit_events
                        WHERE target = $1 ORDER BY at DESC LIMIT $2");
    SINCE = Both("SELECT at FROM audit_events WHERE target = $1 AND action = $2 AND at > $3 LIMIT 1");
    LAST = Both("SELECT at FROM audit_events WHERE action = $1 AND at > $2 ORDER BY at DESC LIMIT 1");
}

/// Writes an event as part of a unit of work.
pub async fn insert_tx(tx: &mut Tx, event: &AuditEvent) -> Result<(), StoreError> {
    tx.execute(INSERT, values(event)).await.map(drop)
}

/// Writes an event that stands alone.
pub async fn insert(db: &Db, event: &AuditEvent) -> Result<(), StoreError> {
    db.execute(INSERT, values(event)).await.map(drop)
}

/// Writes an event that stands alone, unless the same happened to the same target after `since`.
pub async fn insert_unless_since(db: &Db, event: &AuditEvent, since: Timestamp) -> Result<(), StoreError> {
    let event = event.clone();
    db.transaction("audit.insert_unless_since", move |tx| {
        Box::pin(async move {
            if tx.optional(SINCE, args![&event.target, &event.action, since]).await?.is_some() {
                return Ok(());
            }
            insert_tx(tx, &event).await
        })
    })
    .await
}

/// When this last happened, to whatever target, after `since`.
pub async fn last(db: &Db, action: &str, since: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    db.optional(LAST, args![action, since]).await?.map(|row| row.get("at")).transpose()
}

/// The newest events, at most `limit`; older than the event `before`, if one is named.
pub async fn list(db: &Db, limit: u32, before: Option<Uuid>) -> Result<Vec<AuditEvent>, StoreError> {
    db.all(LIST, args![before.unwrap_or(Uuid::max()), limit]).await?.iter().map(read).collect()
}

/// The newest events about one target, at most `limit`.
pub async fn list_for_target(db: &Db, target: &str, limit: u32) -> Result<Vec<AuditEvent>, StoreError> {
    db.all(LIST_TARGET, args![target, limit]).await?.iter().map(read).collect()
}

fn values(event: &AuditEvent) -> crate::storage::Args {
    args![
        event.id,
        event.at,
        &event.actor,
        &event.action,
        &event.target,
        event.was.clone(),
        event.is_now.clone(),
        event.trace_id.clone()
    ]
}

fn read(row: &Row) -> Result<AuditEvent, StoreError> {
    Ok(AuditEvent {
        id: row.get("id")?,
        at: row.get("at")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        target: row.get("target")?,
        was: row.get("was")?,
        is_now: row.get("is_now")?,
        trace_id: row.get("trace_id")?,
    })
}
