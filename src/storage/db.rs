//! The one room that names SQL drivers: [`Db`], [`Tx`] and [`Row`] over the two drivers.
//!
//! SQLite (the default): write-ahead log, one writer whose units of work start with BEGIN IMMEDIATE, a pool of readers that cannot
//! write, `synchronous=FULL`, so that nothing acknowledged is lost with the power. PostgreSQL: one pool, READ COMMITTED, on which every
//! conditional UPDATE is decided by the row as it is when its lock is held.
//!
//! sqlx's `begin()` is not used at all: in 0.9.0, cancelled at the wrong moment (a caller that hangs up), it leaves the next borrower
//! of the connection inside a stale transaction. A unit of work here runs to its end in its own task, whatever becomes of its caller,
//! and a connection whose unit did not end in an acknowledged COMMIT or ROLLBACK is closed, never given back. That costs nothing,
//! where a ROLLBACK at every release would cost a round trip and a warning in the server's log.

mod connect;
mod disk;
mod hosts;
mod kept;
mod lender;
mod log_index;
mod row;
mod trouble;
mod turnstile;
mod tx;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Executor, PgPool, SqlSafeStr};

use crate::config::database::DatabaseConfig;
use crate::spans;
use crate::storage::commits::{Commits, Rows};
use crate::storage::error::StoreError;
use crate::storage::losses::Losses;
use crate::storage::shared::Shared;
use crate::storage::sweep::Walk;
use crate::storage::together::{Answers, Together};
use crate::storage::value::Args;

pub use row::{Column, Row};
pub(super) use turnstile::Turn;
pub use tx::Tx;
pub(super) use tx::went_on;

use disk::Disk;
use hosts::Hosts;
use kept::Kept;
use lender::Lender;
use log_index::LogIndex;
use trouble::{Trouble, in_time, store_error};
use turnstile::Turnstile;
use tx::{Connection, State};

/// How long somebody who only looks waits for anything.
const LOOKING: Duration = Duration::from_secs(5);
/// The database cancels a statement by itself after the limit; so much later it does not answer at all, and we stop waiting.
const GRACE: Duration = Duration::from_secs(1);
/// After so long without a notification, the connection that hears of them is asked whether it is still there: a network that falls
/// silent closes nothing.
const QUIET: Duration = Duration::from_secs(20);

/// SQLite: after so many commits, what the log holds goes into the file, beside the writer. They may be of one request each, or of dozens.
const CHECKPOINT_EVERY: u32 = 32;

/// Where the triggers count on SQLite.
const CHANGE_NUMBER: &str = "SELECT number FROM changes";
/// The channel that the triggers speak on.
const CHANGED: &str = "chancery_changed";

/// Which database this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// As OpenTelemetry calls it (`db.system.name`).
    fn system(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
        }
    }
}

/// The text of one statement, with `$1`, `$2`, … on both databases.
#[derive(Debug, Clone, Copy)]
pub enum Sql {
    /// The same on both.
    Both(&'static str),
    /// Where a hot path, or a lock that SQLite does not need, deserves its own form.
    Split { sqlite: &'static str, postgres: &'static str },
}

impl Sql {
    /// The text for one database.
    pub const fn text(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Both(text), Kind::Sqlite | Kind::Postgres) => text,
            (Self::Split { sqlite, .. }, Kind::Sqlite) => sqlite,
            (Self::Split { postgres, .. }, Kind::Postgres) => postgres,
        }
    }
}

impl Sql {
    /// The single statements of the text: on SQLite a unit of work may send several at once.
    pub fn statements(self, kind: Kind) -> impl Iterator<Item = &'static str> {
        self.text(kind).split(';').map(str::trim)
    }
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self::Both(text)
    }
}

/// The store. Cheap to clone; all clones share the pools.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    pools: Pools,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    shared: Shared,
    /// Postgres' alone.
    walk: Walk,
    /// SQLite's alone.
    commits: Commits,
    checkpoints: Checkpoints,
    answers: AtomicU64,
}

/// When the log was last moved into the file.
#[derive(Default)]
struct Checkpoints {
    turns_of_the_writer: AtomicU32,
    under_way: AtomicBool,
}

enum Pools {
    Sqlite { readers: Arc<Lender>, writer: Arc<Lender>, file: PathBuf, turnstile: Turnstile, index: LogIndex, disk: Disk },
    Postgres(Postgresql),
}

struct Postgresql {
    pool: PgPool,
    kept: Arc<Kept>,
    losses: Arc<Losses>,
    /// Where a pooler gives each transaction another session: what every transaction begins with, since no session keeps settings or
    /// prepared statements, and every statement needs a transaction, since a statement is parsed and run in two steps.
    pooled: Option<Arc<str>>,
    /// Where to hear of changes, if anywhere.
    hears: Option<Arc<Hosts>>,
    /// While they are here somebody watches them.
    _hosts: Arc<Hosts>,
}

impl Pools {
    fn kind(&self) -> Kind {
        match self {
            Self::Sqlite { .. } => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }
}

/// Hears of changes; see [`Db::changes`].
pub struct Changes {
    listener: PgListener,
    /// Of the pool, if its connections lead to where this one does.
    losses: Option<Arc<Losses>>,
}

impl Changes {
    /// Waits for the next change. After a connection that was lost it answers too, since something may have been missed.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        let heard = loop {
            match tokio::time::timeout(QUIET, self.listener.try_recv()).await {
                Ok(heard) => break heard.map(|heard| heard.is_some()).map_err(store_error),
                Err(_quiet) => match in_time(LOOKING, sqlx::raw_sql("SELECT 1").execute(&mut self.listener)).await {
                    Ok(_) => {}
                    Err(trouble) => break Err(trouble.told()),
                },
            }
        };
        // It hears of a restart at once, before any request does.
        if let (Ok(false) | Err(_), Some(losses)) = (&heard, &self.losses) {
            losses.note();
        }
        heard.map(drop)
    }
}

impl Db {
    /// Opens the database; a missing SQLite file is made, readable by its owner alone. Migrates nothing.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.url.expose();
        let pools = if url.starts_with("sqlite:") {
            connect::sqlite(config).await?
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            connect::postgres(config, false).await?
        } else {
            return Err(StoreError::Unavailable("the database URL must begin with sqlite:// or postgres://".to_owned()));
        };
        Ok(Self::over(pools, config))
    }

    fn over(pools: Pools, config: &DatabaseConfig) -> Self {
        let (acquire_timeout, statement_timeout) = (config.acquire_timeout, config.statement_timeout);
        let shared = Shared::new(pools.kind(), if config.transaction_pooler { 0 } else { config.max_connections });
        let commits = Commits::default();
        let (walk, checkpoints) = (Walk::default(), Checkpoints::default());
        let answers = AtomicU64::new(0);
        Self(Arc::new(Inner { pools, acquire_timeout, statement_timeout, shared, walk, commits, checkpoints, answers }))
    }

    /// Opens the database to look at it: no connection can write, no file is made, and waiting is short. Beside a running server.
    pub async fn look(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let patience = |configured: Duration| configured.min(LOOKING);
        let config = DatabaseConfig {
            max_connections: 2,
            acquire_timeout: patience(config.acquire_timeout),
            statement_timeout: patience(config.statement_timeout),
            ..config.clone()
        };
        let pools = if config.is_sqlite() { connect::look_at(&config).await? } else { connect::postgres(&config, true).await? };
        Ok(Self::over(pools, &config))
    }

    /// Which database this is.
    pub fn kind(&self) -> Kind {
        self.0.pools.kind()
    }

    /// The queues of the statements that requests share.
    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// What the sweep remembers from one round to the next.
    pub(super) fn walk(&self) -> &Walk {
        &self.0.walk
    }

    /// The file of a SQLite database.
    pub fn file(&self) -> Option<&Path> {
        match &self.0.pools {
            Pools::Sqlite { file, .. } => Some(file),
            Pools::Postgres(_) => None,
        }
    }

    /// Reads at most one row.
    pub async fn optional(&self, sql: impl Into<Sql>, args: Args) -> Result<Option<Row>, StoreError> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// Reads all rows. Where the connection turns out to be lost, the question is asked once more over another: reading does no harm.
    pub async fn all(&self, sql: impl Into<Sql>, args: Args) -> Result<Vec<Row>, StoreError> {
        let sql = sql.into();
        // A driver's future is thousands of bytes, and whatever asks something holds it: in a box, a request that finds its answers in
        // memory does not carry that from hand to hand.
        self.seen(sql, Box::pin(self.read(sql, args))).await
    }

    async fn read(&self, sql: Sql, args: Args) -> Result<Vec<Row>, StoreError> {
        self.read_over(self.reader().await?, sql, args).await
    }

    /// Reads over this connection; over another, if it turns out to be lost.
    pub(super) async fn read_over(&self, mut reader: Tx, sql: Sql, args: Args) -> Result<Vec<Row>, StoreError> {
        let read = reader.all_alone(sql, args.clone()).await;
        if read.is_ok() || !reader.lost {
            return read;
        }
        drop(reader);
        Box::pin(async { self.reader().await?.all_alone(sql, args).await }).await
    }

    /// One statement that writes, durable when it returns. Answers how many rows it changed.
    pub async fn execute(&self, sql: impl Into<Sql>, args: Args) -> Result<u64, StoreError> {
        let (sql, inner) = (sql.into(), &self.0);
        let work = async {
            match self.kind() {
                Kind::Sqlite => inner.commits.execute(self, inner.acquire_timeout, sql, args).await,
                Kind::Postgres => self.writer().await?.execute_alone(sql, args).await,
            }
        };
        self.seen(sql, Box::pin(work)).await
    }

    /// One statement that writes and answers at most one row (`… RETURNING`), durable when it returns.
    pub async fn returning(&self, sql: impl Into<Sql>, args: Args) -> Result<Option<Row>, StoreError> {
        Ok(self.returning_all(sql, args).await?.into_iter().next())
    }

    /// [`Db::returning`] of any number of rows.
    pub async fn returning_all(&self, sql: impl Into<Sql>, args: Args) -> Result<Vec<Row>, StoreError> {
        let (sql, inner) = (sql.into(), &self.0);
        let work = async {
            match self.kind() {
                Kind::Sqlite => inner.commits.all(self, inner.acquire_timeout, sql, args).await,
                Kind::Postgres => self.writer().await?.all_alone(sql, args).await,
            }
        };
        self.seen(sql, Box::pin(work)).await
    }

    /// A row for a statement that writes many, together with those that others write at the moment. `None`: to be tried alone. On SQLite in
    /// the commit that all share who wait for the writer, on Postgres in one of the `queue`.
    pub(super) async fn written(
        &self,
        rows: Rows,
        queue: &Together<Args, Option<bool>>,
        row: Args,
    ) -> Result<Option<bool>, StoreError> {
        let inner = &self.0;
        let work = async {
            match self.kind() {
                Kind::Sqlite => inner.commits.row(self, inner.acquire_timeout, rows, row).await,
                Kind::Postgres => queue.ask(self, row).await,
            }
        };
        self.seen(rows.sql, Box::pin(work)).await
    }

    /// A unit of work: all of it or nothing. It runs to its end in its own task even if the caller goes away. `Err` rolls back, and so
    /// does a statement that failed, whatever `work` made of it: Postgres allows nothing else, and SQLite follows.
    pub async fn transaction<T, E>(
        &self,
        name: &'static str,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (db, started) = (self.clone(), Instant::now());
        let result = match self.kind() {
            Kind::Sqlite => {
                let unit = self.0.commits.unit(self, self.0.acquire_timeout, work);
                spans::database(self.kind().system(), name, None, unit).await
            }
            Kind::Postgres => {
                let unit = async move { spans::database(db.kind().system(), name, None, db.run(work)).await };
                match tokio::spawn(spans::along(Box::pin(unit))).await {
                    Ok(result) => result,
                    Err(stopped) => Err(StoreError::Unavailable(format!("the unit of work `{name}` stopped: {stopped}")).into()),
                }
            }
        };
        self.answered(&result);
        let outcome = if result.is_ok() { "committed" } else { "rolled back" };
        tracing::trace!(unit = name, outcome, micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        result
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.all("SELECT 1 AS one", Args::new()).await.map(drop)
    }

    /// SQLite: moves what was committed from the log into the file, beside the writer. Otherwise the next commits do it, and whoever waits
    /// for them waits for that too.
    pub(super) async fn checkpoint(&self) -> Result<(), StoreError> {
        match self.kind() {
            Kind::Sqlite => self.all("PRAGMA wal_checkpoint(PASSIVE)", Args::new()).await.map(drop),
            Kind::Postgres => Ok(()),
        }
    }

    /// The same every so often, while others write, and to the disk: whoever wrote the page too many for the log would move and sync all of it
    /// first, with everybody else behind them.
    fn checkpoint_in_turn(&self) {
        let Checkpoints { turns_of_the_writer, under_way } = &self.0.checkpoints;
        let turn = turns_of_the_writer.fetch_add(1, Ordering::Relaxed);
        if turn % CHECKPOINT_EVERY != CHECKPOINT_EVERY - 1 || under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let db = self.clone();
        tokio::spawn(async move {
            let moved = db.checkpoint().await;
            if let Err(error) = &moved {
                tracing::debug!(%error, "the log could not be moved into the file");
            }
            if let (Ok(()), Pools::Sqlite { disk, .. }) = (moved, &db.0.pools)
                && let Err(error) = disk.sync().await
            {
                // What could not be written is not in the operating system's memory any more, and it says so once for each open file. From
                // here on the writer alone moves the log: its file was open, and it hears of it before it begins the log anew.
                tracing::error!(%error, "the database's file could not be synced");
                return;
            }
            db.0.checkpoints.under_way.store(false, Ordering::Release);
        });
    }

    /// SQLite: a number that moves whenever clients, resources or keys were changed by anybody (triggers of migration 0006), so that caches
    /// can be dropped at once. Asked of a reader, so that nobody waits for a write in progress; and not asked at all while nothing was committed. Postgres: `None`, see [`Db::changes`].
    pub async fn change_number(&self) -> Result<Option<i64>, StoreError> {
        let Pools::Sqlite { index, .. } = &self.0.pools else { return Ok(None) };
        // Before the question: what is committed in between is read, or is another header by then.
        let header = index.header();
        if let Some(number) = header.as_ref().and_then(|header| index.known(header)) {
            return Ok(Some(number));
        }
        let asked = self.seen(CHANGE_NUMBER.into(), self.0.shared.change_number.ask(self, ()));
        let number = Box::pin(asked).await?;
        if let (Some(header), Some(number)) = (header, number) {
            index.keep(header, number);
        }
        Ok(number)
    }

    /// Postgres: a connection of its own that hears when clients, resources or keys were changed by anybody (triggers of migration
    /// 0006). `None` on SQLite, see [`Db::change_number`], and behind a pooler that no notification passes.
    pub async fn changes(&self) -> Result<Option<Changes>, StoreError> {
        let Pools::Postgres(Postgresql { losses, pooled, hears: Some(hears), .. }) = &self.0.pools else { return Ok(None) };
        hears.look(self.0.acquire_timeout).await;
        let own = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.0.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(hears.current().clone());
        let mut listener = PgListener::connect_with(&own).await.map_err(store_error)?;
        in_time(LOOKING, listener.listen(CHANGED)).await.map_err(Trouble::told)?;
        Ok(Some(Changes { listener, losses: pooled.is_none().then(|| Arc::clone(losses)) }))
    }

    /// Parses and plans a statement without running it, for the test that does so with every one on both databases.
    pub async fn prepare(&self, text: &'static str) -> Result<(), StoreError> {
        match &self.0.pools {
            Pools::Sqlite { writer, .. } => {
                let mut writer = writer.lend().await.map_err(store_error)?;
                writer.at_work().map_err(store_error)?.prepare(text.into_sql_str()).await.map(drop)
            }
            Pools::Postgres(Postgresql { pool, .. }) => {
                pool.acquire().await.map_err(store_error)?.prepare(text.into_sql_str()).await.map(drop)
            }
        }
        .map_err(store_error)
    }

    /// Waits until every connection has been given back, and closes them all.
    pub async fn close(&self) {
        match &self.0.pools {
            Pools::Sqlite { readers, writer, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(Postgresql { pool, kept, .. }) => {
                kept.close();
                pool.close().await;
            }
        }
    }

    /// A statement as a part of the present request's span.
    pub(super) async fn seen<T>(&self, sql: Sql, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let text = sql.text(self.kind());
        let verb = text.split_once(' ').map_or(text, |(verb, _)| verb);
        let result = spans::database(self.kind().system(), verb, Some(text), work).await;
        self.answered(&result);
        result
    }

    /// How often the database has done since the start what it was asked: while this number moves, it is there.
    pub fn answers(&self) -> u64 {
        self.0.answers.load(Ordering::Relaxed)
    }

    fn answered<T, E>(&self, result: &Result<T, E>) {
        if result.is_ok() {
            self.0.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) async fn reader(&self) -> Result<Tx, StoreError> {
        let asked = Instant::now();
        Ok(self.borrowed(
            asked,
            match &self.0.pools {
                Pools::Sqlite { readers, .. } => Connection::Sqlite(readers.lend().await.map_err(store_error)?),
                Pools::Postgres(Postgresql { kept, .. }) => Connection::Postgres(kept.lend().await.map_err(store_error)?),
            },
        ))
    }

    pub(super) async fn writer(&self) -> Result<Tx, StoreError> {
        let asked = Instant::now();
        Ok(self.borrowed(
            asked,
            match &self.0.pools {
                Pools::Sqlite { writer, .. } => {
                    let writer = writer.lend().await.map_err(store_error)?;
                    self.checkpoint_in_turn();
                    Connection::Sqlite(writer)
                }
                Pools::Postgres(Postgresql { kept, .. }) => Connection::Postgres(kept.lend().await.map_err(store_error)?),
            },
        ))
    }

    /// To be held until a unit of work has begun, where other processes write too; see [`turnstile`].
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        match &self.0.pools {
            Pools::Sqlite { turnstile, .. } => turnstile.pass().await,
            Pools::Postgres(_) => None,
        }
    }

    fn borrowed(&self, asked: Instant, connection: Connection) -> Tx {
        let (losses, pooled) = match &self.0.pools {
            Pools::Sqlite { .. } => (None, None),
            Pools::Postgres(postgres) => (Some(Arc::clone(&postgres.losses)), postgres.pooled.clone()),
        };
        let begin_by = match &self.0.pools {
            // Busy for so long by itself.
            Pools::Sqlite { .. } => self.0.acquire_timeout + GRACE,
            // What is left: behind a pooler this is where one waits for a connection.
            Pools::Postgres(_) => self.0.acquire_timeout.saturating_sub(asked.elapsed()).max(Duration::from_millis(10)),
        };
        let limit = self.0.statement_timeout + GRACE;
        Tx { connection, state: State::Idle, limit, begin_by, pooled, lost: false, silent: false, broken: false, losses }
    }

    async fn run<T, E: From<StoreError>>(
        &self,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send,
    ) -> Result<T, E> {
        let mut tx = self.writer().await?;
        if let Err(failed) = tx.begin().await {
            if !tx.lost {
                return Err(failed.into());
            }
            // Nothing has happened yet.
            drop(tx);
            tx = self.writer().await?;
            tx.begin().await?;
        }
        match work(&mut tx).await {
            Ok(done) => match tx.state {
                State::Failed => {
                    tx.rollback().await;
                    Err(went_on().into())
                }
                State::Idle | State::Open => {
                    tx.commit().await?;
                    Ok(done)
                }
            },
            Err(refused) => {
                tx.rollback().await;
                Err(refused)
            }
        }
    }
}

/// See [`Db::change_number`].
pub(super) fn change_numbers(db: Db, reader: Tx, askers: Vec<()>) -> BoxFuture<'static, Answers<Option<i64>>> {
    Box::pin(async move {
        let rows = db.read_over(reader, CHANGE_NUMBER.into(), Args::new()).await?;
        let number = rows.first().map(|row| row.get("number")).transpose();
        Ok(vec![number; askers.len()])
    })
}
