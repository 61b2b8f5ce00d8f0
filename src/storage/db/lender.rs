//! SQLite's connections, and who has them.
//!
//! They have numbers, and of those at hand the first goes out: its cache is the warmest, and only as many caches are filled as connections
//! are needed at once. sqlx's pool deals them out in turn, each colder than the last. It also asks each one that comes back for a sign of
//! life, over to its thread and back, which is as much as a short statement takes; here only those are asked whose last statement was not
//! seen to end well.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long somebody waits for a connection to close that is of no use any more.
const CLOSING: Duration = Duration::from_secs(5);

type Options = Box<dyn Fn(u32) -> SqliteConnectOptions + Send + Sync>;

/// The connections to one file that do the same.
pub(super) struct Lender {
    /// How the one of this number is opened.
    options: Options,
    /// How long somebody waits for one.
    patience: Duration,
    most: u32,
    /// As many as may still be lent.
    places: Arc<Semaphore>,
    /// By number; `None` is not open.
    idle: Mutex<BTreeMap<u32, Option<SqliteConnection>>>,
    closed: AtomicBool,
}

/// A connection that somebody has.
pub(super) struct Lent {
    number: u32,
    connection: Option<SqliteConnection>,
    state: State,
    lender: Arc<Lender>,
    /// Free again when everything else is done.
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is under way.
    Sound,
    /// A statement is under way, or was given up, or failed.
    Unsure,
    /// Nobody may have it any more.
    Spoilt,
}

impl Lender {
    /// Opens the first one, so that a file that cannot be opened is known at once.
    pub(super) async fn open(
        options: impl Fn(u32) -> SqliteConnectOptions + Send + Sync + 'static,
        most: u32,
        patience: Duration,
    ) -> Result<Arc<Self>, sqlx::Error> {
        let places = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX)));
        let idle = Mutex::new((0..most).map(|number| (number, None)).collect());
        let closed = AtomicBool::new(false);
        let lender = Arc::new(Self { options: Box::new(options), patience, most, places, idle, closed });
        drop(lender.lend().await?);
        Ok(lender)
    }

    /// A connection, at once if one is idle. One that has to be opened first is opened to the end even if nobody waits for it any more: one
    /// that was given up halfway would close by itself some time after all others, and leave SQLite's log behind a server that has stopped.
    pub(super) async fn lend(self: &Arc<Self>) -> Result<Lent, sqlx::Error> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => match tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await {
                Ok(place) => place.map_err(|_| sqlx::Error::PoolClosed)?,
                Err(_elapsed) => return Err(sqlx::Error::PoolTimedOut),
            },
        };
        if self.closed.load(Ordering::Acquire) {
            return Err(sqlx::Error::PoolClosed);
        }
        let first = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
        let (number, connection) = first.ok_or(sqlx::Error::PoolTimedOut)?;
        let mut lent = Lent { number, connection, state: State::Sound, lender: Arc::clone(self), place: Some(place) };
        if lent.connection.is_some() {
            return Ok(lent);
        }
        let opened = tokio::spawn(async move {
            let options = (lent.lender.options)(number);
            lent.connection = Some(options.connect().await?);
            Ok(lent)
        });
        opened.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Waits until every connection has been given back, and closes them all.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // `Err`: somebody else has closed it.
        let Ok(_all) = self.places.acquire_many(self.most).await else { return };
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle.into_values().flatten() {
            closed(connection).await;
        }
        self.places.close();
    }

    fn take_back(&self, number: u32, connection: Option<SqliteConnection>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).insert(number, connection);
    }
}

impl Lent {
    /// The connection, for a statement. Whoever sees that end well [says so](Self::done).
    ///
    /// # Errors
    /// Never, while somebody has it.
    pub(super) fn at_work(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        if self.state == State::Sound {
            self.state = State::Unsure;
        }
        self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// The statement has ended well.
    pub(super) fn done(&mut self) {
        if self.state == State::Unsure {
            self.state = State::Sound;
        }
    }

    /// It is closed when it is given back.
    pub(super) fn spoil(&mut self) {
        self.state = State::Spoilt;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (lender, number, connection) = (Arc::clone(&self.lender), self.number, self.connection.take());
        let (state, place) = (self.state, self.place.take());
        match (connection, tokio::runtime::Handle::try_current()) {
            (Some(mut connection), Ok(runtime)) if state != State::Sound => drop(runtime.spawn(async move {
                // Answered after whatever it is still at.
                if state == State::Unsure && connection.ping().await.is_ok() {
                    lender.take_back(number, Some(connection));
                } else {
                    closed(connection).await;
                    lender.take_back(number, None);
                }
                drop(place);
            })),
            (connection, _) => lender.take_back(number, connection.filter(|_| state == State::Sound)),
        }
    }
}

async fn closed(connection: SqliteConnection) {
    if let Ok(Err(error)) = tokio::time::timeout(CLOSING, connection.close()).await {
        tracing::debug!(%error, "a connection did not close well");
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    async fn lender(folder: &tempfile::TempDir, most: u32, patience: u64) -> Arc<Lender> {
        let options = SqliteConnectOptions::new().filename(folder.path().join("store.db")).create_if_missing(true);
        Lender::open(move |_| options.clone(), most, Duration::from_millis(patience)).await.unwrap()
    }

    async fn ask(lent: &mut Lent, text: &'static str) -> Option<i64> {
        let row = sqlx::raw_sql(text).fetch_optional(lent.at_work().unwrap()).await.unwrap();
        lent.done();
        row.map(|row| row.get(0))
    }

    #[tokio::test]
    async fn of_those_at_hand_the_first_goes_out_and_no_more_than_the_most_do() {
        let folder = tempfile::tempdir().unwrap();
        let lender = lender(&folder, 2, 50).await;
        let (mut one, mut other) = (lender.lend().await.unwrap(), lender.lend().await.unwrap());
        ask(&mut one, "PRAGMA cache_size = 11").await;
        ask(&mut other, "PRAGMA cache_size = 12").await;
        assert!(matches!(lender.lend().await, Err(sqlx::Error::PoolTimedOut)));
        drop(one);
        drop(other);
        for _ in 0..3 {
            assert_eq!(ask(&mut lender.lend().await.unwrap(), "PRAGMA cache_size").await, Some(11));
        }
        let (_first, mut other) = (lender.lend().await.unwrap(), lender.lend().await.unwrap());
        assert_eq!(ask(&mut other, "PRAGMA cache_size").await, Some(12));
    }

    #[tokio::test]
    async fn a_statement_that_was_given_up_ends_before_anybody_has_the_connection_again() {
        const LONG: &str =
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000000) SELECT max(n) FROM n";
        let folder = tempfile::tempdir().unwrap();
        let lender = lender(&folder, 1, 20_000).await;
        let mut lent = lender.lend().await.unwrap();
        ask(&mut lent, "PRAGMA cache_size = 11").await;
        tokio::time::timeout(Duration::from_millis(5), ask(&mut lent, LONG)).await.unwrap_err();
        drop(lent);
        assert!(lender.idle.lock().unwrap().is_empty(), "it is still at work");
        let mut again = lender.lend().await.unwrap();
        assert_eq!(ask(&mut again, "PRAGMA cache_size").await, Some(11), "the same one");
    }

    #[tokio::test]
    async fn a_spoilt_connection_is_closed_and_another_one_opened() {
        let folder = tempfile::tempdir().unwrap();
        let lender = lender(&folder, 1, 20_000).await;
        let mut lent = lender.lend().await.unwrap();
        ask(&mut lent, "PRAGMA cache_size = 11").await;
        lent.spoil();
        drop(lent);
        let mut another = lender.lend().await.unwrap();
        assert_ne!(ask(&mut another, "PRAGMA cache_size").await, Some(11));
    }

    #[tokio::test]
    async fn who_closes_waits_for_what_is_out_and_nobody_gets_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let lender = lender(&folder, 2, 50).await;
        let lent = lender.lend().await.unwrap();
        let closing = tokio::spawn({
            let lender = Arc::clone(&lender);
            async move { lender.close().await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!closing.is_finished());
        assert!(matches!(lender.lend().await, Err(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)));
        drop(lent);
        closing.await.unwrap();
        lender.close().await;
        assert!(matches!(lender.lend().await, Err(sqlx::Error::PoolClosed)));
        assert!(lender.idle.lock().unwrap().is_empty());
    }
}
