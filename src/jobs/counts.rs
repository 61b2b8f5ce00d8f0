//! Tables that have grown since PostgreSQL counted them are counted again, long before autovacuum comes by. Nothing depends on it for being
//! right: until then statements are slow.

use std::time::Duration;

use crate::storage::{Db, StoreError, counts};

/// How often the job runner should call [`tick`]: in between, whoever looks something up in such a table may read all of it.
pub const EVERY: Duration = Duration::from_secs(2);

/// One round. Most find nothing to do.
///
/// # Errors
/// The database is away; the next round tries again.
pub async fn tick(db: &Db) -> Result<(), StoreError> {
    counts::renew(db).await.map(drop)
}
