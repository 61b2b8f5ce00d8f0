//! The database's own time: for comparing clocks, and for nothing else. Everything that is decided takes `now` as an argument.

use crate::args;
use crate::clock::Timestamp;
use crate::storage::{Db, StoreError};

statements! {
    NOW = Split {
        sqlite: "SELECT CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) AS at",
        postgres: "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS at",
    };
}

/// What the database's clock shows.
///
/// # Errors
/// The database is away.
pub async fn database_time(db: &Db) -> Result<Timestamp, StoreError> {
    let row = db.optional(NOW, args![]).await?.ok_or_else(|| StoreError::Corrupt("the database tells no time".to_owned()))?;
    row.get("at")
}
