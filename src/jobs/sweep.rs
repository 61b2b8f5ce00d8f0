//! The sweep: what nobody can use any more leaves the database, in small batches (security.md R-93). All replicas run it. Nothing
//! depends on it for being right: every expiry is checked at use.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::http::server::Shutdown;
use crate::storage::sweep::{self, Retention};
use crate::storage::{Db, StoreError};

/// How often the job runner should call [`tick`].
pub const EVERY: Duration = Duration::from_secs(60);
/// Decision records that are kept (design 4.7).
const MOST_DECISIONS: u64 = 1_000_000;

/// One round, or what the shutdown leaves of it: a round that has much to do rests for most of its time. `decisions` is how long decision
/// records are kept.
///
/// # Errors
/// The database is away; the next round goes on.
pub async fn tick(db: &Db, now: Timestamp, decisions: Duration, shutdown: Shutdown) -> Result<(), StoreError> {
    let swept = tokio::select! {
        biased;
        () = shutdown.begun() => return Ok(()),
        swept = sweep::run(db, now, Retention { decisions, most_decisions: MOST_DECISIONS }) => swept?,
    };
    for (table, rows) in swept {
        if rows > 0 {
            metrics::counter!("chancery_swept_rows_total", "table" => table).increment(rows);
        }
    }
    Ok(())
}
