//! Removing what nobody can use any more, in small batches over an index, so that no request waits for it. Any number of replicas may
//! sweep at once: on Postgres they skip each other's rows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::storage::db::{Db, Kind, Row, Sql};
use crate::storage::error::StoreError;
use crate::storage::value::Args;

/// How long decision records are kept, and how many (design 4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub decisions: Duration,
    pub most_decisions: u64,
}

/// How far this server's walk through the grants has come: all up to this one. It begins anew after the last of them, and with the server.
#[derive(Debug, Default)]
pub struct Walk(Mutex<Uuid>);

impl Walk {
    fn place(&self) -> Uuid {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self, from: Uuid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = from;
    }
}

/// Postgres: whatever the planner believes to find, all that is over is not read and sorted for each batch anew.
const ALONG_THE_INDEX: &str = "SET LOCAL enable_sort = off";

/// Rows of one table in one [`run`]; the rest waits for the next.
const MOST_ROWS: usize = 100_000;
/// Between two batches others write for so many times as long as the first one took.
const REST: u32 = 9;
const SHORTEST_REST: Duration = Duration::from_millis(2);
const LONGEST_REST: Duration = Duration::from_millis(50);

/// SQLite: after so many rows, what the log holds goes into the file. Rows that are over lie in many pages, each of them in the log for every
/// batch: left to the requests, that would be a long wait for one of them again and again.
const CHECKPOINT: usize = 200;

/// Rows in one statement. A grant takes its codes and its family with it. SQLite has one writer: whoever wants to write while a batch goes
/// waits for all of it, so batches there are short.
const fn batch(kind: Kind) -> usize {
    match kind {
        Kind::Sqlite => 10,
        Kind::Postgres => 100,
    }
}

/// Postgres: grants looked at in one statement, and in one [`run`]. A round a minute comes by twenty-eight million in a day.
const LOOK_AT: u64 = 200;
const MOST_LOOKED_AT: u64 = 20_000;

const NOTHING: Duration = Duration::ZERO;
const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Takes the oldest rows of a table, at most `$3`, whose time is before `$2` and not before `$1`: that is where the batch before ended, so
/// that none reads through the rows that the others have left dead on Postgres. There the list is made once, whatever the planner
/// thinks of the table, and rows are reached by where they are.
macro_rules! oldest {
    (sqlite $table:literal, $key:literal, $time:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE (",
            $key,
            ") IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $time,
            " >= $1 AND ",
            $time,
            " < $2 ORDER BY ",
            $time,
            " LIMIT $3) RETURNING ",
            $time,
            " AS time"
        )
    };
    (postgres $table:literal, $time:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ctid = ANY (ARRAY(SELECT ctid FROM ",
            $table,
            " WHERE ",
            $time,
            " >= $1 AND ",
            $time,
            " < $2 ORDER BY ",
            $time,
            " LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING ",
            $time,
            " AS time"
        )
    };
}

/// `NAME = "table" ("key"): "time" + how long a row is kept after it`.
macro_rules! sweeps {
    ($($name:ident = $table:literal ($key:literal): $time:literal + $kept:expr;)*) => {
        statements! {
            $($name = Split { sqlite: oldest!(sqlite $table, $key, $time), postgres: oldest!(postgres $table, $time) };)*
            DECISIONS = Split { sqlite: oldest!(sqlite "decisions", "trace_id", "at"), postgres: oldest!(postgres "decisions", "at") };
            DECISION_COUNTS = Split {
                sqlite: oldest!(sqlite "decision_counts", "minute, rule, client_id, address_prefix", "minute"),
                postgres: oldest!(postgres "decision_counts", "minute"),
            };
            // An index on the end of a grant would make every end write anew into all indexes of the table (Postgres' heap-only updates are for
            // columns without one), which is half of what a revocation costs. So the sweep walks along the keys instead.
            ENDED_GRANTS = Split {
                sqlite: oldest!(sqlite "grants", "id", "ended_at"),
                postgres: "WITH seen AS MATERIALIZED (SELECT id, ended_at FROM grants WHERE id > $1 ORDER BY id LIMIT $2),
                     gone AS (DELETE FROM grants WHERE ctid = ANY (ARRAY(SELECT ctid FROM grants
                                  WHERE id = ANY (ARRAY(SELECT id FROM seen WHERE ended_at < $3)) FOR UPDATE SKIP LOCKED)) RETURNING 1)
                     SELECT (SELECT COUNT(*) FROM seen) AS seen, (SELECT COUNT(*) FROM gone) AS gone,
                            (SELECT id FROM seen ORDER BY id DESC LIMIT 1) AS last",
            };
            OLDEST_KEPT_DECISION = Both("SELECT at FROM decisions ORDER BY at DESC LIMIT 1 OFFSET $1");
        }
        const SWEEPS: &[(&str, Sql, Duration)] = &[$(($table, $name, $kept)),*];
    };
}

// What has just ended is kept a while: "expired" is a better story than "unknown", and a replay is still seen for what it is.
sweeps! {
    INTERACTIONS = "interactions" ("digest"): "expires_at" + HOUR;
    CODES = "codes" ("digest"): "expires_at" + DAY;
    DEVICE_CODES = "device_codes" ("digest"): "expires_at" + HOUR;
    GRANTS = "grants" ("id"): "expires_at" + NOTHING;
    SESSIONS = "sessions" ("id"): "expires_at" + DAY;
    REVOKED_TOKENS = "revoked_tokens" ("jti"): "expires_at" + HOUR;
    SECRETS = "client_secrets" ("id"): "expires_at" + MONTH;
    INITIAL_ACCESS_TOKENS = "initial_access_tokens" ("id"): "expires_at" + MONTH;
    SIGN_INS = "sign_ins" ("digest"): "expires_at" + HOUR;
    SPENT_CHALLENGES = "spent_challenges" ("digest"): "expires_at" + HOUR;
    SPENT_ASSERTIONS = "spent_assertions" ("digest"): "expires_at" + FIVE_MINUTES;
    // Every delivery is done with or given up long before; these are of a server that never delivered.
    LOGOUT_DELIVERIES = "logout_deliveries" ("id"): "created_at" + WEEK;
    FAILURES = "failures" ("key"): "expires_at" + NOTHING;
}

/// Sweeps every table once. Answers how many rows went, by table. It can be cut off anywhere.
///
/// # Errors
/// The database is away; what was swept until then stays swept.
pub async fn run(db: &Db, now: Timestamp, retention: Retention) -> Result<Vec<(&'static str, u64)>, StoreError> {
    let mut decisions_before = now.minus(retention.decisions);
    if let Some(beyond) = db.optional(OLDEST_KEPT_DECISION, args![retention.most_decisions]).await? {
        // The first record too many and all before it.
        decisions_before = decisions_before.max(beyond.get::<Timestamp>("at")?.plus(Duration::from_micros(1)));
    }
    let minute = now.minus(retention.decisions).seconds().div_euclid(60);
    let ended = SWEEPS.iter().map(|(table, statement, kept)| (*table, *statement, now.minus(*kept).micros()));
    let recorded = [("decisions", DECISIONS, decisions_before.micros()), ("decision_counts", DECISION_COUNTS, minute)];
    let mut swept = Vec::new();
    for (table, statement, before) in ended.chain(recorded) {
        swept.push((table, in_batches(db, statement, before).await?));
    }
    let before = now.minus(WEEK).micros();
    let grants = match db.kind() {
        Kind::Sqlite => in_batches(db, ENDED_GRANTS, before).await?,
        Kind::Postgres => ended_grants(db, before).await?,
    };
    swept.push(("grants", grants));
    Ok(swept)
}

/// Postgres: as far as one round comes in the walk through all grants.
async fn ended_grants(db: &Db, before: i64) -> Result<u64, StoreError> {
    let (mut gone, mut looked_at) = (0, 0);
    while looked_at < MOST_LOOKED_AT {
        let begun = Instant::now();
        let rows = one_batch(db, ENDED_GRANTS, args![db.walk().place(), LOOK_AT, before]).await?;
        let Some(row) = rows.first() else { break };
        let seen = row.get::<u64>("seen")?;
        gone += row.get::<u64>("gone")?;
        looked_at += seen;
        let last = if seen < LOOK_AT { None } else { row.get("last")? };
        db.walk().go_on(last.unwrap_or(Uuid::nil()));
        if last.is_none() {
            break;
        }
        rest(begun.elapsed()).await;
    }
    Ok(gone)
}

async fn rest(after: Duration) {
    tokio::time::sleep((after * REST).clamp(SHORTEST_REST, LONGEST_REST)).await;
}

async fn in_batches(db: &Db, statement: Sql, before: i64) -> Result<u64, StoreError> {
    let most = batch(db.kind());
    let (mut gone, mut logged, mut from) = (0, 0, i64::MIN);
    while gone < MOST_ROWS {
        let begun = Instant::now();
        let rows = one_batch(db, statement, args![from, before, most]).await?;
        for row in &rows {
            from = from.max(row.get("time")?);
        }
        gone += rows.len();
        logged += rows.len();
        if rows.len() < most {
            break;
        }
        rest(begun.elapsed()).await;
        if logged >= CHECKPOINT {
            logged = 0;
            db.checkpoint().await?;
        }
    }
    Ok(gone as u64)
}

async fn one_batch(db: &Db, statement: Sql, values: Args) -> Result<Vec<Row>, StoreError> {
    match db.kind() {
        Kind::Sqlite => db.returning_all(statement, values).await,
        Kind::Postgres => {
            db.transaction("sweep", move |tx| {
                Box::pin(async move {
                    tx.execute(ALONG_THE_INDEX, args![]).await?;
                    tx.all(statement, values).await
                })
            })
            .await
        }
    }
}
