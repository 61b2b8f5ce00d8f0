//! PostgreSQL's connections that are needed all the time, and who has them.
//!
//! sqlx's pool deals its connections out in turn: with sixteen of them each statement finds the process at the other end cold. It also asks
//! each one that comes back for a sign of life, which wakes that process once more and is as much as a short statement takes. So those whose
//! last statement was seen to end well stay at hand, and the last to come back goes out first. All others go back to the pool, and so does
//! what nobody has needed for a moment: it is the pool that tests, renews and closes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;

use crate::storage::losses::Losses;

/// What nobody has needed for so long goes back to the pool: a network may let go of what is silent.
const MOMENT: Duration = Duration::from_secs(1);
/// So often each goes back to the pool, which closes what is too old.
const RENEWED_EVERY: Duration = Duration::from_secs(60);

/// The connections at hand.
pub(super) struct Kept {
    pool: PgPool,
    losses: Arc<Losses>,
    most: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// Who came back last is last.
    idle: Vec<Idle>,
    /// Somebody asks the pool: what comes back goes there.
    asking: usize,
    /// Somebody looks after what nobody needs.
    watched: bool,
    closed: bool,
}

struct Idle {
    connection: PoolConnection<Postgres>,
    origin: Origin,
    since: Instant,
}

/// When the pool gave a connection out.
#[derive(Clone, Copy)]
struct Origin {
    at: Instant,
    /// The last loss before.
    losses: u64,
}

/// A connection that somebody has.
pub(super) struct Lent {
    connection: Option<PoolConnection<Postgres>>,
    origin: Origin,
    /// No statement is under way, was given up, or failed.
    sound: bool,
    kept: Arc<Kept>,
}

/// Somebody who asks the pool.
struct Asking<'k>(&'k Kept);

impl Kept {
    /// Nothing at hand yet. Of the pool's connections half are never kept, for those who ask it themselves.
    pub(super) fn of(pool: PgPool, losses: Arc<Losses>) -> Arc<Self> {
        let most = usize::try_from(pool.options().get_max_connections() / 2).unwrap_or(usize::MAX);
        Arc::new(Self { pool, losses, most, shelf: Mutex::default() })
    }

    /// A connection that the pool has looked at.
    pub(super) async fn lend(self: &Arc<Self>) -> Result<Lent, sqlx::Error> {
        let asking = match self.at_hand() {
            Ok(lent) => return Ok(lent),
            Err(asking) => asking,
        };
        let origin = Origin { at: Instant::now(), losses: self.losses.last() };
        let connection = Box::pin(self.pool.acquire()).await;
        drop(asking);
        Ok(Lent { connection: Some(connection?), origin, sound: true, kept: Arc::clone(self) })
    }

    /// Closes what is at hand; from now on all goes back to the pool.
    pub(super) fn close(&self) {
        let idle = {
            let mut shelf = self.shelf();
            shelf.closed = true;
            std::mem::take(&mut shelf.idle)
        };
        drop(idle);
    }

    /// The last to come back, unless one was lost since. `Err`: there is none, and the pool is to be asked.
    fn at_hand(self: &Arc<Self>) -> Result<Lent, Asking<'_>> {
        let mut shelf = self.shelf();
        while let Some(Idle { mut connection, origin, .. }) = shelf.idle.pop() {
            if origin.losses == self.losses.last() {
                return Ok(Lent { connection: Some(connection), origin, sound: true, kept: Arc::clone(self) });
            }
            connection.close_on_drop();
        }
        shelf.asking += 1;
        Err(Asking(self))
    }

    fn take_back(self: &Arc<Self>, connection: PoolConnection<Postgres>, origin: Origin) {
        let Ok(runtime) = Handle::try_current() else { return };
        let now = Instant::now();
        let mut shelf = self.shelf();
        let full = shelf.closed || shelf.asking > 0 || shelf.idle.len() >= self.most;
        if full || now.duration_since(origin.at) > RENEWED_EVERY || origin.losses != self.losses.last() {
            return;
        }
        shelf.idle.push(Idle { connection, origin, since: now });
        if !std::mem::replace(&mut shelf.watched, true) {
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// What nobody has needed of late. `None`: there is nothing left to look after.
    fn needless(&self) -> Option<Vec<Idle>> {
        let mut shelf = self.shelf();
        shelf.watched = !shelf.idle.is_empty();
        let needless = shelf.idle.partition_point(|idle| idle.since.elapsed() > MOMENT);
        shelf.watched.then(|| shelf.idle.drain(..needless).collect())
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(kept: Weak<Kept>) {
    loop {
        tokio::time::sleep(MOMENT).await;
        let Some(needless) = kept.upgrade().and_then(|kept| kept.needless()) else { return };
        drop(needless);
    }
}

impl Drop for Kept {
    /// Nobody waits for them any more, perhaps not even a runtime that they could go back in.
    fn drop(&mut self) {
        for idle in std::mem::take(&mut self.shelf().idle) {
            drop(idle.connection.detach());
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.shelf().asking -= 1;
    }
}

impl Lent {
    /// The connection, for a statement. Whoever sees that end well [says so](Self::done).
    ///
    /// # Errors
    /// Never, while somebody has it.
    pub(super) fn at_work(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.sound = false;
        self.connection.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// The statement has ended well.
    pub(super) fn done(&mut self) {
        self.sound = true;
    }

    /// It is closed when it is given back.
    pub(super) fn spoil(&mut self) {
        self.sound = false;
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // What is not kept goes back to the pool, which asks it for a sign of life first.
        if let Some(connection) = self.connection.take().filter(|_| self.sound) {
            self.kept.take_back(connection, self.origin);
        }
    }
}
