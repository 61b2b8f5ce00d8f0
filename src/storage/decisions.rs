//! Decision records: why requests were refused (design 4.7). Written in batches, read by trace id, swept by age and by number.

use serde::Serialize;

use crate::args;
use crate::clock::Timestamp;
use crate::storage::{Db, StoreError};

/// One refusal, kept in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    pub trace_id: String,
    pub at: Timestamp,
    pub endpoint: String,
    pub client_id: Option<String>,
    pub address_prefix: Option<String>,
    pub rule: String,
    /// JSON of a [`Reason`](crate::oauth::refusal::Reason), already without anything secret.
    pub reason: String,
}

/// How many refusals of one kind in one minute were only counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Minutes since the epoch.
    pub minute: i64,
    pub rule: String,
    /// Empty if unknown.
    pub client_id: String,
    /// Empty if unknown.
    pub address_prefix: String,
    pub count: i64,
}

statements! {
    // A batch is one parameter and one statement. WHERE true: SQLite would else read ON as part of a join.
    INSERT = Split {
        sqlite: "INSERT INTO decisions (trace_id, at, endpoint, client_id, address_prefix, rule, reason)
                 SELECT value ->> 'trace_id', value ->> 'at', value ->> 'endpoint', value ->> 'client_id', value ->> 'address_prefix',
                        value ->> 'rule', value ->> 'reason'
                 FROM json_each($1) WHERE true ON CONFLICT (trace_id) DO NOTHING",
        postgres: "INSERT INTO decisions (trace_id, at, endpoint, client_id, address_prefix, rule, reason)
                   SELECT trace_id, at, endpoint, client_id, address_prefix, rule, reason
                   FROM json_to_recordset(CAST($1 AS json)) AS batch(trace_id text, at bigint, endpoint text, client_id text,
                        address_prefix text, rule text, reason text)
                   ON CONFLICT (trace_id) DO NOTHING",
    };
    ADD_COUNTS = Split {
        sqlite: "INSERT INTO decision_counts (minute, rule, client_id, address_prefix, count)
                 SELECT value ->> 'minute', value ->> 'rule', value ->> 'client_id', value ->> 'address_prefix', value ->> 'count'
                 FROM json_each($1) WHERE true
                 ON CONFLICT (minute, rule, client_id, address_prefix) DO UPDATE SET count = decision_counts.count + excluded.count",
        postgres: "INSERT INTO decision_counts (minute, rule, client_id, address_prefix, count)
                   SELECT minute, rule, client_id, address_prefix, SUM(count)
                   FROM json_to_recordset(CAST($1 AS json)) AS batch(minute bigint, rule text, client_id text, address_prefix text,
                        count bigint)
                   GROUP BY minute, rule, client_id, address_prefix ORDER BY minute, rule, client_id, address_prefix
                   ON CONFLICT (minute, rule, client_id, address_prefix) DO UPDATE SET count = decision_counts.count + excluded.count",
    };
    FIND = Both("SELECT trace_id, at, endpoint, client_id, address_prefix, rule, reason FROM decisions WHERE trace_id = $1");
}

/// Writes a batch. A trace id that is there already keeps its first record; counts add up.
///
/// # Errors
/// The database is away.
pub async fn insert_batch(db: &Db, records: &[Record], counts: &[Count]) -> Result<(), StoreError> {
    if !records.is_empty() {
        db.execute(INSERT, args![json(records)?]).await?;
    }
    if !counts.is_empty() {
        db.execute(ADD_COUNTS, args![json(counts)?]).await?;
    }
    Ok(())
}

/// The record of a trace id.
///
/// # Errors
/// The database is away.
pub async fn find(db: &Db, trace_id: &str) -> Result<Option<Record>, StoreError> {
    let Some(row) = db.optional(FIND, args![trace_id]).await? else { return Ok(None) };
    Ok(Some(Record {
        trace_id: row.get("trace_id")?,
        at: row.get("at")?,
        endpoint: row.get("endpoint")?,
        client_id: row.get("client_id")?,
        address_prefix: row.get("address_prefix")?,
        rule: row.get("rule")?,
        reason: row.get("reason")?,
    }))
}

fn json(batch: &[impl Serialize]) -> Result<String, StoreError> {
    serde_json::to_string(batch).map_err(|error| StoreError::Corrupt(error.to_string()))
}
