//! A lock that processes on one machine share: an `flock` beside the SQLite file. The kernel lets go of it when its holder dies.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use fs4::{FileExt, TryLockError};

use crate::storage::error::StoreError;

/// Held until it is dropped.
pub struct FileLock(#[expect(dead_code, reason = "kept for its drop: closing the file lets go of the lock")] File);

impl FileLock {
    /// Waits for `FILE.lock` beside `file`, at most so long.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the time is over or the lock file cannot be made.
    pub async fn acquire(file: &Path, at_most: Duration) -> Result<Self, StoreError> {
        let mut name = file.as_os_str().to_owned();
        name.push(".lock");
        let failed =
            |error: std::io::Error| StoreError::Unavailable(format!("cannot lock {}: {error}", Path::new(&name).display()));
        let lock = File::options().read(true).write(true).create(true).truncate(false).open(&name).map_err(failed)?;
        let started = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            match FileExt::try_lock(&lock) {
                Ok(()) => return Ok(Self(lock)),
                Err(TryLockError::WouldBlock) if started.elapsed() < at_most => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Unavailable(format!(
                        "another process holds {} for too long",
                        Path::new(&name).display()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}
