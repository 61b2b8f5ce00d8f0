//! The audit log: append-only, each event written in the transaction that it describes (design 4.7). The database itself refuses to
//! change or delete a row.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::storage::db::{Db, Kind, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::together;

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

/// Which events somebody looks for; `None` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub target: Option<String>,
    /// At this instant or later.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub to: Option<Timestamp>,
}

/// A place in the log, which is read from its end: all that is older than this event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub at: Timestamp,
    pub id: Uuid,
}

/// Events, newest first, and where to go on; `next` is `None` at the end of the log. There may be more although there are fewer than were
/// asked for: only so much is looked through at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub events: Vec<AuditEvent>,
    pub next: Option<Place>,
}

/// Events read at once, and how often in one search.
const BATCH: u32 = 500;
const MOST_BATCHES: usize = 10;

/// On Postgres: the events in the lists from `$first`, written for each row of `$of`, a step of a statement that does more.
macro_rules! told {
    ($of:literal, $($list:literal),+) => {
        concat!(
            "told AS (INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id)
                      SELECT e.id, e.at, e.actor, e.action, e.target, e.was, e.is_now, e.trace_id FROM ", $of, ", unnest(",
            told!(@lists $($list),+), ") AS e(id, at, actor, action, target, was, is_now, trace_id))"
        )
    };
    (@lists $id:literal, $at:literal, $actor:literal, $action:literal, $target:literal, $was:literal, $now:literal, $trace:literal) => {
        concat!(
            "CAST(", $id, " AS BYTEA[]), CAST(", $at, " AS BIGINT[]), CAST(", $actor, " AS TEXT[]), CAST(", $action, " AS TEXT[]), CAST(",
            $target, " AS TEXT[]), CAST(", $was, " AS TEXT[]), CAST(", $now, " AS TEXT[]), CAST(", $trace, " AS TEXT[])"
        )
    };
}

/// The columns of an event in a row of `$of`, beside others of its own.
macro_rules! event_columns {
    ($of:literal) => {
        concat!(
            $of,
            ".event_id, ",
            $of,
            ".at, ",
            $of,
            ".actor, ",
            $of,
            ".action, ",
            $of,
            ".target, ",
            $of,
            ".was, ",
            $of,
            ".is_now, ",
            $of,
            ".trace_id"
        )
    };
}

/// On Postgres: the [`event_columns`] of each row of `$of w`, written, a step of a statement that does more.
macro_rules! told_of {
    ($of:expr) => {
        concat!(
            "told AS (INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id) SELECT ",
            event_columns!("w"),
            " FROM ",
            $of,
            ")"
        )
    };
}

macro_rules! page {
    ($of:literal) => {
        concat!(
            "SELECT id, at, actor, action, target, was, is_now, trace_id FROM audit_events
             WHERE (at, id) < ($1, $2) AND at >= $3",
            $of,
            " ORDER BY at DESC, id DESC LIMIT $4"
        )
    };
}

statements! {
    // One index each; what else is looked for is compared afterwards.
    PAGE = Both(page!(""));
    PAGE_OF_TARGET = Both(page!(" AND target = $5"));
    PAGE_OF_ACTOR = Both(page!(" AND actor = $5"));
    PAGE_OF_ACTION = Both(page!(" AND action = $5"));
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

/// What is bound to write events in a statement that does more ([`told`]): eight lists.
pub(super) fn lists(kind: Kind, events: &[AuditEvent]) -> crate::storage::Args {
    together::rows(kind, events.iter().map(values).collect())
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

/// The newest events that are looked for, older than `before`, at most `limit`.
pub async fn search(db: &Db, filter: &Filter, before: Option<Place>, limit: u32) -> Result<Found, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
    let (sql, of, exact) = filter.narrowest();
    let batch = if exact { u32::try_from(limit).unwrap_or(BATCH).min(BATCH) } else { BATCH };
    let mut found = Found { events: Vec::new(), next: Some(filter.beginning(before)) };
    for _ in 0..MOST_BATCHES {
        let Some(place) = found.next else { break };
        let mut values = args![place.at, place.id, filter.from.unwrap_or(Timestamp::from_micros(i64::MIN)), batch];
        values.extend(of.map(crate::storage::Value::from));
        let rows = db.all(sql, values).await?;
        let last_batch = rows.len() < usize::try_from(batch).unwrap_or(usize::MAX);
        for (position, row) in rows.iter().enumerate() {
            let event = read(row)?;
            found.next = Some(Place { at: event.at, id: event.id });
            if filter.matches(&event) {
                found.events.push(event);
            }
            if found.events.len() >= limit {
                if last_batch && position + 1 == rows.len() {
                    found.next = None;
                }
                return Ok(found);
            }
        }
        if last_batch {
            found.next = None;
        }
    }
    Ok(found)
}

impl Filter {
    /// The statement that looks through the fewest rows, its value, and whether it finds nothing else than what is looked for.
    fn narrowest(&self) -> (crate::storage::Sql, Option<&String>, bool) {
        match (&self.target, &self.actor, &self.action) {
            (Some(target), actor, action) => (PAGE_OF_TARGET, Some(target), actor.is_none() && action.is_none()),
            (None, Some(actor), action) => (PAGE_OF_ACTOR, Some(actor), action.is_none()),
            (None, None, Some(action)) => (PAGE_OF_ACTION, Some(action), true),
            (None, None, None) => (PAGE, None, true),
        }
    }

    fn beginning(&self, before: Option<Place>) -> Place {
        // No id is smaller than the nil one: what was written at `to` itself is left out.
        let end = self.to.map(|to| Place { at: to, id: Uuid::nil() });
        let end = end.unwrap_or(Place { at: Timestamp::from_micros(i64::MAX), id: Uuid::max() });
        match before {
            Some(place) if (place.at, place.id) < (end.at, end.id) => place,
            Some(_) | None => end,
        }
    }

    fn matches(&self, event: &AuditEvent) -> bool {
        let is = |wanted: &Option<String>, found: &String| wanted.as_ref().is_none_or(|wanted| wanted == found);
        is(&self.actor, &event.actor) && is(&self.action, &event.action) && is(&self.target, &event.target)
    }
}

/// What is bound to write an event, in the order of [`INSERT`].
pub(super) fn values(event: &AuditEvent) -> crate::storage::Args {
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
