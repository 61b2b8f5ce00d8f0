//! The file of a SQLite database, brought to the disk beside SQLite.
//!
//! A checkpoint writes pages into the file and leaves them to the operating system. Only the one that has moved the whole log syncs them, all
//! that have gathered, before the log begins anew; under load that is the writer's, in the middle of a commit. In a large database every
//! row that was touched is a page of its own, and everybody waits for thousands of them.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The file of one database.
#[derive(Clone)]
pub(super) struct Disk(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// Never closed: that would take SQLite's own locks on the file away from all connections of this process (POSIX).
    file: OnceLock<ManuallyDrop<File>>,
}

impl Disk {
    pub(super) fn of(database: &Path) -> Self {
        Self(Arc::new(Inner { path: database.to_owned(), file: OnceLock::new() }))
    }

    /// Returns when what was written into the file is on the disk.
    pub(super) async fn sync(&self) -> std::io::Result<()> {
        let this = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || this.file()?.sync_data()).await?
    }
}

impl Inner {
    fn file(&self) -> std::io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let opened = ManuallyDrop::new(File::open(&self.path)?);
        Ok(self.file.get_or_init(|| opened))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::super::{CHECKPOINT_EVERY, Db, Pools};
    use super::*;
    use crate::args;
    use crate::config::database::DatabaseConfig;

    async fn store(folder: &tempfile::TempDir) -> (Db, PathBuf) {
        let file = folder.path().join("store.db");
        let db = Db::connect(&DatabaseConfig::new(format!("sqlite://{}", file.display()))).await.unwrap();
        db.execute("CREATE TABLE scratch (n BIGINT NOT NULL)", args![]).await.unwrap();
        db.execute("INSERT INTO scratch (n) VALUES (0)", args![]).await.unwrap();
        (db, file)
    }

    async fn turns(db: &Db) {
        for _ in 0..2 * CHECKPOINT_EVERY {
            db.execute("UPDATE scratch SET n = n + 1", args![]).await.unwrap();
        }
    }

    async fn moved(db: &Db) -> i64 {
        let log = db.optional("PRAGMA wal_checkpoint(NOOP)", args![]).await.unwrap().unwrap();
        log.get("checkpointed").unwrap()
    }

    async fn comes(what: &str, seen: impl Fn() -> bool) {
        for _ in 0..500 {
            if seen() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what}");
    }

    fn is_opened(db: &Db) -> bool {
        matches!(&db.0.pools, Pools::Sqlite { disk, .. } if disk.0.file.get().is_some())
    }

    #[tokio::test]
    async fn what_was_moved_into_the_file_is_synced_beside_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let (db, file) = store(&folder).await;
        turns(&db).await;
        comes("nothing was synced", || is_opened(&db) && !db.0.checkpoints.under_way.load(Ordering::Acquire)).await;
        // The log may have begun anew since: what was moved is in the file.
        assert!(std::fs::metadata(file).unwrap().len() > 4096, "nothing was moved");
        // SQLite's locks are still there: another file handle was opened, and none closed.
        turns(&db).await;
        db.close().await;
    }

    #[tokio::test]
    async fn where_nothing_can_be_synced_the_log_is_left_to_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let (db, file) = store(&folder).await;
        std::fs::remove_file(file).unwrap();
        turns(&db).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = moved(&db).await;
        assert!(before > 0, "nothing was moved");
        turns(&db).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(moved(&db).await, before, "it went on");
        assert!(!is_opened(&db));
        // Who writes does not hear of it.
        let row = db.optional("SELECT n FROM scratch", args![]).await.unwrap().unwrap();
        assert_eq!(row.get::<i64>("n").unwrap(), i64::from(4 * CHECKPOINT_EVERY));
    }
}
