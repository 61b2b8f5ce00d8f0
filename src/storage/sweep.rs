//! Removing what nobody can use any more, in small batches over an index, so that no request waits for it. Any number of replicas may
//! sweep at once: on Postgres they skip each other's rows.

use std::time::{Duration, Instant};

use crate::args;
use crate::clock::Timestamp;
use crate::storage::db::{Db, Kind, Sql};
use crate::storage::error::StoreError;

/// How long decision records are kept, and how many (design 4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub decisions: Duration,
    pub most_decisions: u64,
}

/// Rows of one table in one [`run`]; the rest waits for the next.
const MOST_ROWS: u64 = 100_000;
/// Between two batches others write for so many times as long as the first one took.
const REST: u32 = 3;
const SHORTEST_REST: Duration = Duration::from_millis(2);
const LONGEST_REST: Duration = Duration::from_millis(200);

/// Rows in one statement. A grant takes its codes and its family with it. SQLite has one writer: whoever wants to write while a batch goes
/// waits for all of it, so batches there are short.
const fn batch(kind: Kind) -> u32 {
    match kind {
        Kind::Sqlite => 50,
        Kind::Postgres => 500,
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);
const DAY: Duration = Duration::from_secs(24 * 3600);

macro_rules! sweep {
    ($table:literal, $key:literal, $time:literal, $lock:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $time,
            " < $1 ORDER BY ",
            $time,
            " LIMIT $2",
            $lock,
            ")"
        )
    };
    ($table:literal, $key:literal, $time:literal) => {
        sweep!($table, $key, $time, "")
    };
    ($table:literal, $key:literal, $time:literal, skip locked) => {
        sweep!($table, $key, $time, " FOR UPDATE SKIP LOCKED")
    };
}

statements! {
    INTERACTIONS = Split {
        sqlite: sweep!("interactions", "digest", "expires_at"),
        postgres: sweep!("interactions", "digest", "expires_at", skip locked),
    };
    CODES = Split { sqlite: sweep!("codes", "digest", "expires_at"), postgres: sweep!("codes", "digest", "expires_at", skip locked) };
    DEVICE_CODES = Split {
        sqlite: sweep!("device_codes", "digest", "expires_at"),
        postgres: sweep!("device_codes", "digest", "expires_at", skip locked),
    };
    GRANTS = Split { sqlite: sweep!("grants", "id", "expires_at"), postgres: sweep!("grants", "id", "expires_at", skip locked) };
    ENDED_GRANTS = Split { sqlite: sweep!("grants", "id", "ended_at"), postgres: sweep!("grants", "id", "ended_at", skip locked) };
    SESSIONS = Split { sqlite: sweep!("sessions", "id", "expires_at"), postgres: sweep!("sessions", "id", "expires_at", skip locked) };
    REVOKED_TOKENS = Split {
        sqlite: sweep!("revoked_tokens", "jti", "expires_at"),
        postgres: sweep!("revoked_tokens", "jti", "expires_at", skip locked),
    };
    SECRETS = Split {
        sqlite: sweep!("client_secrets", "id", "expires_at"),
        postgres: sweep!("client_secrets", "id", "expires_at", skip locked),
    };
    INITIAL_ACCESS_TOKENS = Split {
        sqlite: sweep!("initial_access_tokens", "id", "expires_at"),
        postgres: sweep!("initial_access_tokens", "id", "expires_at", skip locked),
    };
    SIGN_INS = Split { sqlite: sweep!("sign_ins", "digest", "expires_at"), postgres: sweep!("sign_ins", "digest", "expires_at", skip locked) };
    SPENT_CHALLENGES = Split {
        sqlite: sweep!("spent_challenges", "digest", "expires_at"),
        postgres: sweep!("spent_challenges", "digest", "expires_at", skip locked),
    };
    SPENT_ASSERTIONS = Split {
        sqlite: sweep!("spent_assertions", "digest", "expires_at"),
        postgres: sweep!("spent_assertions", "digest", "expires_at", skip locked),
    };
    // Every delivery is done with or given up long before; these are of a server that never delivered.
    LOGOUT_DELIVERIES = Split {
        sqlite: sweep!("logout_deliveries", "id", "created_at"),
        postgres: sweep!("logout_deliveries", "id", "created_at", skip locked),
    };
    FAILURES = Split { sqlite: sweep!("failures", "key", "expires_at"), postgres: sweep!("failures", "key", "expires_at", skip locked) };
    DECISIONS = Split { sqlite: sweep!("decisions", "trace_id", "at"), postgres: sweep!("decisions", "trace_id", "at", skip locked) };
    DECISION_COUNTS = Both("DELETE FROM decision_counts WHERE minute < $1");
    OLDEST_KEPT_DECISION = Both("SELECT at FROM decisions ORDER BY at DESC LIMIT 1 OFFSET $1");
}

/// Sweeps every table once. Answers how many rows went, by table.
///
/// # Errors
/// The database is away; what was swept until then stays swept.
pub async fn run(db: &Db, now: Timestamp, retention: Retention) -> Result<Vec<(&'static str, u64)>, StoreError> {
    let mut decisions_before = now.minus(retention.decisions);
    if let Some(beyond) = db.optional(OLDEST_KEPT_DECISION, args![retention.most_decisions]).await? {
        // The first record too many and all before it.
        decisions_before = decisions_before.max(beyond.get::<Timestamp>("at")?.plus(Duration::from_micros(1)));
    }
    // What has just ended is kept a while: "expired" is a better story than "unknown", and a replay is still seen for what it is.
    let tables: [(&'static str, Sql, Timestamp); 15] = [
        ("interactions", INTERACTIONS, now.minus(HOUR)),
        ("codes", CODES, now.minus(DAY)),
        ("device_codes", DEVICE_CODES, now.minus(HOUR)),
        ("grants", GRANTS, now),
        ("grants", ENDED_GRANTS, now.minus(DAY * 7)),
        ("sessions", SESSIONS, now.minus(DAY)),
        ("revoked_tokens", REVOKED_TOKENS, now.minus(HOUR)),
        ("client_secrets", SECRETS, now.minus(DAY * 30)),
        ("initial_access_tokens", INITIAL_ACCESS_TOKENS, now.minus(DAY * 30)),
        ("sign_ins", SIGN_INS, now.minus(HOUR)),
        ("spent_challenges", SPENT_CHALLENGES, now.minus(HOUR)),
        ("spent_assertions", SPENT_ASSERTIONS, now.minus(FIVE_MINUTES)),
        ("logout_deliveries", LOGOUT_DELIVERIES, now.minus(DAY * 7)),
        ("failures", FAILURES, now),
        ("decisions", DECISIONS, decisions_before),
    ];
    let mut swept = Vec::new();
    for (table, statement, before) in tables {
        swept.push((table, in_batches(db, statement, before).await?));
    }
    let minute = now.minus(retention.decisions).seconds().div_euclid(60);
    swept.push(("decision_counts", db.execute(DECISION_COUNTS, args![minute]).await?));
    Ok(swept)
}

async fn in_batches(db: &Db, statement: Sql, before: Timestamp) -> Result<u64, StoreError> {
    let most = batch(db.kind());
    let mut gone = 0;
    while gone < MOST_ROWS {
        let begun = Instant::now();
        let batch = db.execute(statement, args![before, most]).await?;
        gone += batch;
        if batch < u64::from(most) {
            break;
        }
        tokio::time::sleep((begun.elapsed() * REST).clamp(SHORTEST_REST, LONGEST_REST)).await;
    }
    Ok(gone)
}
