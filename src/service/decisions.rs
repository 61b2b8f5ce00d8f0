//! Why requests were refused, kept for `chancery explain` (design 4.7).
//!
//! Recording never waits and never fails a request: a bounded queue, and one task that writes what is in it in batches, several times a
//! second. Of the same rule, client and address prefix the first 20 in a minute are kept in full, the rest as a number. No secret
//! reaches a record: see [`scrub`].

mod scrub;
mod window;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::oauth::refusal::{Reason, Story};
use crate::service::address::Prefix;
use crate::service::keyed::Keyed;
use crate::storage::decisions::{self as store, Count, Record};
use crate::storage::{Db, StoreError};
use window::Window;

/// Decisions that wait to be written.
const QUEUE: usize = 4096;
/// Decisions written in one statement.
const BATCH: usize = 200;
/// How long a decision waits for others to be written with it.
const GATHER: Duration = Duration::from_millis(100);
/// How often numbers are written while nothing else is.
const TICK: Duration = Duration::from_secs(1);
/// How long a shutdown waits for the last batch.
const FLUSH: Duration = Duration::from_secs(2);

/// A refusal and where it happened.
#[derive(Debug, Clone)]
pub struct Decision {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// The route's pattern.
    pub endpoint: String,
    /// The client that asked; `None` if that is not known.
    pub client_id: Option<String>,
    pub address_prefix: Prefix,
    pub reason: Reason,
    pub now: Timestamp,
}

/// A refusal as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub trace_id: String,
    pub at: Timestamp,
    pub endpoint: String,
    pub client_id: Option<String>,
    pub address_prefix: Option<String>,
    /// The id of the rule as it was then.
    pub rule: String,
    pub reason: Reason,
}

/// Records decisions. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Decisions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: mpsc::Sender<Message>,
    window: Mutex<Window>,
    keyed: Keyed,
}

#[derive(Debug)]
enum Message {
    Decided(Box<Decision>),
    Flush(oneshot::Sender<()>),
}

impl Decisions {
    /// Starts the writer on the present runtime; it ends when the last clone is gone.
    pub fn start(db: Db, keyed: Keyed) -> Self {
        let (queue, received) = mpsc::channel(QUEUE);
        let inner = Arc::new(Inner { queue, window: Mutex::default(), keyed });
        let writer = Writer { db, received, inner: Arc::downgrade(&inner), keyed: inner.keyed.clone() };
        tokio::spawn(writer.run());
        Self(inner)
    }

    /// Puts a decision on record, or only counts it. Never waits.
    pub fn record(&self, mut decision: Decision) {
        // Handlers name the client that was claimed. Of these it is known that it does not exist, or not known that it does: then
        // what was claimed may be anything, a secret in the wrong place for one.
        if matches!(decision.reason, Reason::UnknownClient { .. } | Reason::StorageUnavailable { .. }) {
            decision.client_id = None;
        }
        let in_full = self.0.window.lock().unwrap_or_else(PoisonError::into_inner).admit(&decision);
        if in_full && self.0.queue.try_send(Message::Decided(Box::new(decision))).is_err() {
            metrics::counter!("chancery_decisions_lost_total").increment(1);
        }
    }

    /// An identifier that is unknown, or might be, as a record may hold it: its keyed hash.
    pub fn keyed(&self, identifier: &str) -> String {
        self.0.keyed.show(identifier)
    }

    /// Waits until what was recorded so far is written, two seconds at most. For shutdowns and tests.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flushed = async {
            if self.0.queue.send(Message::Flush(done)).await.is_ok() {
                drop(written.await);
            }
        };
        if tokio::time::timeout(FLUSH, flushed).await.is_err() {
            tracing::warn!("decision records could not be written in time");
        }
    }
}

/// The record of a trace id, if there is one: an id of a request that was not refused, one of the many of its minute, one older than
/// the records' lifetime, and one that never existed all look the same.
///
/// # Errors
/// The database is away.
pub async fn find(db: &Db, trace_id: &str) -> Result<Option<Found>, StoreError> {
    let Some(record) = store::find(db, trace_id).await? else { return Ok(None) };
    let reason =
        serde_json::from_str(&record.reason).map_err(|error| StoreError::Corrupt(format!("decision {trace_id}: {error}")))?;
    Ok(Some(Found {
        trace_id: record.trace_id,
        at: record.at,
        endpoint: record.endpoint,
        client_id: record.client_id,
        address_prefix: record.address_prefix,
        rule: record.rule,
        reason,
    }))
}

/// A decision as operators read it: the whole truth, without a credential in it.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "Decision")]
pub struct ShownDecision {
    trace_id: String,
    at: String,
    endpoint: String,
    #[schemars(required)]
    client_id: Option<String>,
    #[schemars(required)]
    address_prefix: Option<String>,
    rule: ShownRule,
    answer: ShownAnswer,
    story: Story,
    /// The facts, by the rule's own names.
    reason: Value,
}

/// The rule that was broken.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ShownRule {
    id: String,
    title: &'static str,
    /// Where it stands.
    spec: &'static str,
}

/// What the caller was told.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ShownAnswer {
    error: String,
    status: u16,
    description: String,
}

/// A decision as JSON.
pub fn show(found: &Found) -> Value {
    let (rule, wire) = (found.reason.rule(), found.reason.wire());
    let shown = ShownDecision {
        trace_id: found.trace_id.clone(),
        at: found.at.rfc3339(),
        endpoint: found.endpoint.clone(),
        client_id: found.client_id.clone(),
        address_prefix: found.address_prefix.clone(),
        rule: ShownRule { id: found.rule.clone(), title: rule.title, spec: rule.spec },
        answer: ShownAnswer { error: wire.error.to_owned(), status: wire.status, description: wire.description },
        story: found.reason.story(),
        reason: serde_json::to_value(&found.reason).unwrap_or(Value::Null),
    };
    serde_json::to_value(&shown).unwrap_or(Value::Null)
}

struct Writer {
    db: Db,
    received: mpsc::Receiver<Message>,
    inner: std::sync::Weak<Inner>,
    keyed: Keyed,
}

impl Writer {
    async fn run(mut self) {
        let mut waiting: Vec<Message> = Vec::new();
        loop {
            let more = tokio::time::timeout(TICK, self.received.recv_many(&mut waiting, BATCH)).await;
            if matches!(more, Ok(0)) {
                return;
            }
            if matches!(more, Ok(1..BATCH)) && !waiting.iter().any(|message| matches!(message, Message::Flush(_))) {
                tokio::time::sleep(GATHER).await;
                while waiting.len() < BATCH
                    && let Ok(message) = self.received.try_recv()
                {
                    waiting.push(message);
                }
            }
            let (mut records, mut flushes) = (Vec::new(), Vec::new());
            for message in waiting.drain(..) {
                match message {
                    Message::Decided(decision) => records.extend(record(*decision, &self.keyed)),
                    Message::Flush(done) => flushes.push(done),
                }
            }
            self.write(&records).await;
            for done in flushes {
                let _gone = done.send(());
            }
        }
    }

    /// Writes, and tries once more while the database is away; then the batch is lost, since requests must not pile up behind it.
    async fn write(&self, records: &[Record]) {
        let counts: Vec<Count> = self
            .inner
            .upgrade()
            .map(|inner| inner.window.lock().unwrap_or_else(PoisonError::into_inner).take_counts())
            .unwrap_or_default();
        if records.is_empty() && counts.is_empty() {
            return;
        }
        let mut written = store::insert_batch(&self.db, records, &counts).await;
        if let Err(StoreError::Unavailable(_)) = written {
            tokio::time::sleep(TICK).await;
            written = store::insert_batch(&self.db, records, &counts).await;
        }
        if let Err(error) = written {
            metrics::counter!("chancery_decisions_lost_total").increment(u64::try_from(records.len()).unwrap_or(u64::MAX));
            tracing::warn!(%error, lost = records.len(), "decision records could not be written");
        }
    }
}

fn record(decision: Decision, keyed: &Keyed) -> Option<Record> {
    let rule = decision.reason.rule().id;
    let reason = scrub::scrub(decision.reason, keyed);
    let json = serde_json::to_value(&reason).ok()?;
    Some(Record {
        trace_id: decision.trace_id,
        at: decision.now,
        endpoint: decision.endpoint,
        // Handlers name the client where they know it; most reasons about one carry its id themselves.
        client_id: decision.client_id.or_else(|| scrub::client_of(&reason, &json)),
        address_prefix: Some(decision.address_prefix.to_string()),
        rule: rule.to_owned(),
        reason: json.to_string(),
    })
}
