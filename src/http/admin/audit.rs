//! `/audit-events`: who did what to whom, a page at a time or all of it as JSON lines.

use axum::body::Body as Lines;
use bytes::Bytes;
use futures_util::stream;
use http::header::ACCEPT;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::operation::{Answer, Body, Operation, Parameter, Verb, schema};
use super::page::Page;
use super::{Call, Reply};
use crate::clock::Timestamp;
use crate::http::error::OAuthError;
use crate::oauth::admin::Right;
use crate::oauth::refusal::Reason;
use crate::service::audit::{self, ShownEvent};
use crate::storage::audit::{Filter, Place};

pub const OPERATIONS: &[Operation] = &[Operation {
    id: "listAuditEvents",
    verb: Verb::Get,
    path: "/audit-events",
    right: Right::Read,
    summary: "Lists audit events, the newest first. With Accept: application/x-ndjson all that match, one on each line; a page may hold \
              fewer than its limit while there are more.",
    query: &[
        Parameter { name: "actor", description: "Who did it: cli, server, client:ID or user:ID." },
        Parameter { name: "action", description: "What was done, such as user.disable." },
        Parameter { name: "target", description: "The id of what it was done to." },
        Parameter { name: "from", description: "At this instant or later (RFC 3339)." },
        Parameter { name: "to", description: "Before this instant (RFC 3339)." },
    ],
    body: Body::None,
    answer: Answer::Lines(schema::<ShownEvent>),
    conditional: false,
    run: |call| Box::pin(list(call)),
}];

/// The media types of JSON lines.
const JSON_LINES: [&str; 3] = ["application/x-ndjson", "application/jsonl", "application/json-lines"];
/// Events in memory at once while lines are written.
const BATCH: u32 = 500;

async fn list(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let filter = filter(&call)?;
    let before = page.after.as_deref().map(place).transpose()?;
    if wants_lines(&call) {
        return Ok(Reply::lines(lines(call, filter, before)));
    }
    let found = audit::search(&call.app.db, &filter, before, page.limit).await.map_err(Reason::from)?;
    let next = found.next.map(|place| format!("{}:{}", place.at.micros(), place.id));
    Ok(page.reply_before(&call, found.events.iter().map(audit::show).collect(), next.as_deref()))
}

/// All that match, a batch at a time: no more is read than the caller takes. If the database goes away the connection is broken off, so
/// that half a log never looks whole.
fn lines(call: Call, filter: Filter, before: Option<Place>) -> Lines {
    let begin = Some((call.app, filter, before));
    Lines::from_stream(stream::try_unfold(begin, async |state| {
        let Some((app, filter, before)) = state else { return Ok::<_, crate::storage::StoreError>(None) };
        let found = audit::search(&app.db, &filter, before, BATCH).await?;
        let mut text = String::new();
        for event in &found.events {
            text.push_str(&audit::show(event).to_string());
            text.push('\n');
        }
        Ok(Some((Bytes::from(text), found.next.map(|next| (app, filter, Some(next))))))
    }))
}

fn wants_lines(call: &Call) -> bool {
    let accepted = call.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    accepted
        .map(|kind| kind.split(';').next().unwrap_or_default().trim())
        .any(|kind| JSON_LINES.iter().any(|lines| kind.eq_ignore_ascii_case(lines)))
}

fn filter(call: &Call) -> Result<Filter, Reason> {
    let text = |name: &str| call.query(name).map(str::to_owned);
    Ok(Filter {
        actor: text("actor"),
        action: text("action"),
        target: text("target"),
        from: instant(call, "from")?,
        to: instant(call, "to")?,
    })
}

fn instant(call: &Call, name: &str) -> Result<Option<Timestamp>, Reason> {
    call.query(name).map(|text| read_instant(name, text)).transpose()
}

/// The instant that the parameter `name` says.
pub(crate) fn read_instant(name: &str, text: &str) -> Result<Timestamp, Reason> {
    let micros = OffsetDateTime::parse(text, &Rfc3339).ok().and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1000).ok());
    let micros = micros.ok_or_else(|| Reason::MalformedParameter {
        name: name.to_owned(),
        received: text.chars().take(100).collect(),
        detail: "it is an instant such as 2026-11-21T13:00:00Z; a + in it is written %2B".to_owned(),
    })?;
    Ok(Timestamp::from_micros(micros))
}

/// Where a cursor of ours stands.
pub(crate) fn place(key: &str) -> Result<Place, Reason> {
    let read = || {
        let (at, id) = key.split_once(':')?;
        Some(Place { at: Timestamp::from_micros(at.parse().ok()?), id: Uuid::parse_str(id).ok()? })
    };
    read().ok_or_else(|| Reason::Internal { detail: "a cursor of the audit log that cannot be read".to_owned() })
}
