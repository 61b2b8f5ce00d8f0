//! Who begins next, where several processes write to one SQLite file.
//!
//! SQLite's lock goes to whoever asks while it is free, and who finds it taken looks again after a while, of up to a tenth of a second. Beside a
//! server that ends one transaction and begins the next within microseconds, a command could look for seconds and always find it taken. So
//! whoever is about to begin passes here first and keeps others out until they have begun: who has just committed comes behind them.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use fs4::{FileExt, TryLockError};

/// One looks again after this time.
const PAUSE: Duration = Duration::from_millis(1);

/// It decides only who comes first: longer than SQLite pauses between two looks, nobody waits for whoever holds it up.
const PATIENCE: Duration = Duration::from_millis(250);

/// An `flock` beside the SQLite file; nothing where there can be none.
pub(super) struct Turnstile(Option<File>);

/// Held until one has begun. The kernel lets go of it when its holder dies.
pub(in crate::storage) struct Turn<'a>(&'a File);

impl Turnstile {
    /// `FILE.turn` beside `file`.
    pub(super) fn beside(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".turn");
        Self(File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(name).ok())
    }

    /// Of a file that nobody writes to.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Returns when nobody else is about to begin, or has been for too long.
    pub(super) async fn pass(&self) -> Option<Turn<'_>> {
        let file = self.0.as_ref()?;
        let came = Instant::now();
        loop {
            match FileExt::try_lock(file) {
                Ok(()) => return Some(Turn(file)),
                Err(TryLockError::WouldBlock) if came.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // It was locked; and if it could not be unlocked, nobody waits for long.
        let _ = FileExt::unlock(self.0);
    }
}
