//! Liveness, readiness, metrics (contract.md; security.md ).
//!
//! `/healthz` says that the process answers. `/readyz` says that it can do its work: database reachable, migrations current, a signing
//! key active, the clock near the database's, not draining. Neither tells details: those are in the log and in `/metrics`. The answer
//! comes from a probe that runs beside, so that it is there at once even while the database is not.
//!
//! Much to do is no reason not to be ready: a balancer would send it all to the other replicas, and then those have too much to do. So a
//! probe that stands in line for too long behind requests whom the database answers has seen a database that is there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::time::Instant;

use crate::clock::{Clock, SystemClock};
use crate::http::server::Shutdown;
use crate::jose::Alg;
use crate::measure;
use crate::service::keys::Keys;
use crate::storage::{Db, Kind, StoreError, clock_offset, migrate};

/// How often the probe should run.
pub const EVERY: Duration = Duration::from_secs(1);
/// How long the database may take to answer the probe.
const PATIENCE: Duration = Duration::from_millis(800);
/// A probe's result older than this says nothing any more.
const STALE: Duration = Duration::from_secs(5);
/// How often the clock is compared with the database's.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// How far the two clocks may be apart (design 5).
const FARTHEST: Duration = Duration::from_secs(5);

/// Why the server is not ready. For the log and for operators, not for callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("the server is shutting down")]
    Draining,
    #[error("the probe has not answered lately")]
    NotProbed,
    #[error("the database does not answer in time")]
    DatabaseSlow,
    #[error("the database: {0}")]
    Database(String),
    #[error("{0}")]
    DatabaseAway(String),
    #[error("no signing key is active")]
    NoSigningKey,
    #[error("this machine's clock and the database's are {0} ms apart")]
    ClockOffset(i64),
}

impl From<StoreError> for NotReady {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::DatabaseAway(error.to_string()),
            other => Self::Database(other.to_string()),
        }
    }
}

/// Whether the server can do its work. Clones share the result.
#[derive(Clone)]
pub struct Readiness(Arc<Inner>);

struct Inner {
    db: Db,
    keys: Arc<Keys>,
    machine: Arc<dyn Clock>,
    shutdown: Shutdown,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    result: Option<(Instant, Result<(), NotReady>)>,
    /// What the last look saw that had an answer of the database.
    looked: Option<Result<(), NotReady>>,
    /// When the clocks were compared, and by how many microseconds ours is ahead.
    offset: Option<(Instant, i64)>,
}

impl Readiness {
    /// Not ready until the first [`Readiness::probe`].
    pub fn new(db: Db, keys: Arc<Keys>, shutdown: Shutdown) -> Self {
        Self::with_machine_clock(db, keys, shutdown, Arc::new(SystemClock::default()))
    }

    /// With another clock to compare with the database's; for tests.
    pub fn with_machine_clock(db: Db, keys: Arc<Keys>, shutdown: Shutdown, machine: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { db, keys, machine, shutdown, seen: Mutex::default() }))
    }

    /// Looks at everything, and remembers what it saw. To be called before serving and then every [`EVERY`].
    pub async fn probe(&self) {
        let answers = self.0.db.answers();
        let looked = tokio::time::timeout(PATIENCE, self.0.look()).await;
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match looked {
            Ok(result) => {
                if !matches!(result, Err(NotReady::DatabaseAway(_))) {
                    seen.looked = Some(result.clone());
                }
                result
            }
            // It is there, and has much to do.
            Err(_elapsed) if self.0.db.answers() != answers => seen.looked.clone().unwrap_or(Err(NotReady::DatabaseSlow)),
            Err(_elapsed) => Err(NotReady::DatabaseSlow),
        };
        let before = seen.result.as_ref().map(|(_, result)| result.clone());
        if before.as_ref() != Some(&result) {
            match &result {
                Ok(()) => tracing::info!("ready"),
                Err(because) => tracing::warn!(%because, "not ready"),
            }
        }
        metrics::gauge!("chancery_ready").set(if result.is_ok() && !self.0.shutdown.is_begun() { 1.0 } else { 0.0 });
        seen.result = Some((Instant::now(), result));
    }

    /// What the last probe saw.
    ///
    /// # Errors
    /// Why the server is not ready.
    pub fn check(&self) -> Result<(), NotReady> {
        if self.0.shutdown.is_begun() {
            return Err(NotReady::Draining);
        }
        match &self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).result {
            Some((at, result)) if at.elapsed() < STALE => result.clone(),
            Some(_) | None => Err(NotReady::NotProbed),
        }
    }
}

impl Inner {
    async fn look(&self) -> Result<(), NotReady> {
        migrate::require_ours(&self.db).await?;
        if self.keys.current().active(Alg::RS256).is_none() {
            return Err(NotReady::NoSigningKey);
        }
        let ahead = self.offset().await?;
        if ahead.unsigned_abs() > u64::try_from(FARTHEST.as_micros()).unwrap_or(u64::MAX) {
            return Err(NotReady::ClockOffset(ahead / 1000));
        }
        Ok(())
    }

    /// By how many microseconds this machine's clock is ahead of the database's. SQLite has no other clock than ours.
    async fn offset(&self) -> Result<i64, NotReady> {
        if self.db.kind() == Kind::Sqlite {
            return Ok(0);
        }
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).offset;
        if let Some((at, ahead)) = known
            && at.elapsed() < COMPARE_EVERY
        {
            return Ok(ahead);
        }
        let before = self.machine.now().micros();
        let theirs = clock_offset::database_time(&self.db).await?.micros();
        let after = self.machine.now().micros();
        // The database looked at its clock somewhere between the two.
        let ahead = before.midpoint(after).saturating_sub(theirs);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("chancery_clock_offset_seconds").set(ahead as f64 / 1e6);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).offset = Some((Instant::now(), ahead));
        Ok(ahead)
    }
}

/// `/healthz` and `/readyz`, for both listeners.
pub fn public(readiness: &Readiness) -> Router {
    let readiness = readiness.clone();
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(async move || ready(&readiness).await))
}

/// The same and `/metrics`, for the management listener.
pub fn management(readiness: &Readiness) -> Router {
    public(readiness)
        .route("/metrics", get(async || ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], measure::render())))
}

async fn ready(readiness: &Readiness) -> Response {
    let mut state = readiness.check();
    if state == Err(NotReady::NotProbed) {
        // Just started, or the probe hangs: look oneself, in bounded time.
        readiness.probe().await;
        state = readiness.check();
    }
    match state {
        Ok(()) => "ready\n".into_response(),
        // The next probe may see something else.
        Err(_because) => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "not ready\n").into_response(),
    }
}
