//! The one file that names SQL drivers: [`Db`], [`Tx`] and [`Row`] over the two native pools.
//!
//! SQLite (the default): write-ahead log, one writer whose units of work start with BEGIN IMMEDIATE, a pool of readers that cannot
//! write, `synchronous=FULL`, so that nothing acknowledged is lost with the power. PostgreSQL: one pool, READ COMMITTED, on which every
//! conditional UPDATE is decided by the row as it is when its lock is held.
//!
//! sqlx's `begin()` is not used at all: in 0.9.0, cancelled at the wrong moment (a caller that hangs up), it leaves the next borrower
//! of the connection inside a stale transaction. A unit of work here runs to its end in its own task, whatever becomes of its caller,
//! and a connection whose unit did not end in an acknowledged COMMIT or ROLLBACK is closed, never given back. That costs nothing,
//! where a ROLLBACK at every release would cost a round trip and a warning in the server's log.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgListener, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor, PgPool, Postgres, Row as _, SqlSafeStr, Sqlite, SqlitePool};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::config::database::DatabaseConfig;
use crate::secret::Digest;
use crate::spans;
use crate::storage::commits::Commits;
use crate::storage::error::StoreError;
use crate::storage::lock::FileLock;
use crate::storage::losses::Losses;
use crate::storage::shared::Shared;
use crate::storage::together::Answers;
use crate::storage::value::{Args, Value};

/// How many statements each connection keeps prepared: more than the store has.
const PREPARED_STATEMENTS: usize = 400;
/// SQLite readers share one page cache each and one disk; more of them only cost memory.
const MOST_SQLITE_READERS: u32 = 8;

/// Every statement finds its rows by an index (a test has each explained). A table that was small when its plan was made is not small for
/// ever, and a few rows that change all the time leave thousands of dead ones behind: reading it whole is never what we want. What has to
/// be read whole then looks dear enough for just-in-time compilation, which takes longer than any statement here.
const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// How long somebody who only looks waits for anything.
const LOOKING: Duration = Duration::from_secs(5);
/// The database cancels a statement by itself after the limit; so much later it does not answer at all, and we stop waiting.
const GRACE: Duration = Duration::from_secs(1);
/// After so long without a notification, the connection that hears of them is asked whether it is still there: a network that falls
/// silent closes nothing.
const QUIET: Duration = Duration::from_secs(20);

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
    /// SQLite's alone.
    commits: Commits,
}

enum Pools {
    Sqlite { readers: SqlitePool, writer: SqlitePool, file: PathBuf },
    Postgres(Postgresql),
}

struct Postgresql {
    pool: PgPool,
    losses: Arc<Losses>,
    /// Where a pooler gives each transaction another session: what every transaction begins with, since no session keeps settings or
    /// prepared statements, and every statement needs a transaction, since a statement is parsed and run in two steps.
    pooled: Option<Arc<str>>,
    /// Where to hear of changes, if anywhere.
    hears: Option<PgConnectOptions>,
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
            connect_sqlite(config).await?
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            connect_postgres(config, false).await?
        } else {
            return Err(StoreError::Unavailable("the database URL must begin with sqlite:// or postgres://".to_owned()));
        };
        Ok(Self::over(pools, config))
    }

    fn over(pools: Pools, config: &DatabaseConfig) -> Self {
        let (acquire_timeout, statement_timeout) = (config.acquire_timeout, config.statement_timeout);
        let (shared, commits) = (Shared::new(pools.kind()), Commits::default());
        Self(Arc::new(Inner { pools, acquire_timeout, statement_timeout, shared, commits }))
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
        let pools = if config.is_sqlite() { look_at_sqlite(&config).await? } else { connect_postgres(&config, true).await? };
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
        self.seen(sql, self.read(sql, args)).await
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
        self.reader().await?.all_alone(sql, args).await
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
        self.seen(sql, work).await
    }

    /// One statement that writes and answers at most one row (`… RETURNING`), durable when it returns.
    pub async fn returning(&self, sql: impl Into<Sql>, args: Args) -> Result<Option<Row>, StoreError> {
        let (sql, inner) = (sql.into(), &self.0);
        let work = async {
            let rows = match self.kind() {
                Kind::Sqlite => inner.commits.all(self, inner.acquire_timeout, sql, args).await?,
                Kind::Postgres => self.writer().await?.all_alone(sql, args).await?,
            };
            Ok(rows.into_iter().next())
        };
        self.seen(sql, work).await
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
                match tokio::spawn(spans::along(unit)).await {
                    Ok(result) => result,
                    Err(stopped) => Err(StoreError::Unavailable(format!("the unit of work `{name}` stopped: {stopped}")).into()),
                }
            }
        };
        let outcome = if result.is_ok() { "committed" } else { "rolled back" };
        tracing::trace!(unit = name, outcome, micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        result
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.all("SELECT 1 AS one", Args::new()).await.map(drop)
    }

    /// SQLite: a number that moves whenever clients, resources or keys were changed by anybody (triggers of migration 0006), so that caches
    /// can be dropped at once. Asked of a reader, so that nobody waits for a write in progress. Postgres: `None`, see [`Db::changes`].
    pub async fn change_number(&self) -> Result<Option<i64>, StoreError> {
        match self.kind() {
            Kind::Sqlite => self.seen(CHANGE_NUMBER.into(), self.0.shared.change_number.ask(self, ())).await,
            Kind::Postgres => Ok(None),
        }
    }

    /// Postgres: a connection of its own that hears when clients, resources or keys were changed by anybody (triggers of migration
    /// 0006). `None` on SQLite, see [`Db::change_number`], and behind a pooler that no notification passes.
    pub async fn changes(&self) -> Result<Option<Changes>, StoreError> {
        let Pools::Postgres(Postgresql { losses, pooled, hears: Some(hears), .. }) = &self.0.pools else { return Ok(None) };
        let own = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.0.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(hears.clone());
        let mut listener = PgListener::connect_with(&own).await.map_err(store_error)?;
        in_time(LOOKING, listener.listen(CHANGED)).await.map_err(Trouble::told)?;
        Ok(Some(Changes { listener, losses: pooled.is_none().then(|| Arc::clone(losses)) }))
    }

    /// Parses and plans a statement without running it, for the test that does so with every one on both databases.
    pub async fn prepare(&self, text: &'static str) -> Result<(), StoreError> {
        match &self.0.pools {
            Pools::Sqlite { writer, .. } => {
                writer.acquire().await.map_err(store_error)?.prepare(text.into_sql_str()).await.map(drop)
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
            Pools::Postgres(Postgresql { pool, .. }) => pool.close().await,
        }
    }

    /// A statement as a part of the present request's span.
    pub(super) async fn seen<T>(&self, sql: Sql, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let text = sql.text(self.kind());
        let verb = text.split_once(' ').map_or(text, |(verb, _)| verb);
        spans::database(self.kind().system(), verb, Some(text), work).await
    }

    pub(super) async fn reader(&self) -> Result<Tx, StoreError> {
        let asked = Instant::now();
        Ok(self.borrowed(
            asked,
            match &self.0.pools {
                Pools::Sqlite { readers, .. } => Connection::Sqlite(readers.acquire().await.map_err(store_error)?),
                Pools::Postgres(Postgresql { pool, .. }) => Connection::Postgres(pool.acquire().await.map_err(store_error)?),
            },
        ))
    }

    pub(super) async fn writer(&self) -> Result<Tx, StoreError> {
        let asked = Instant::now();
        Ok(self.borrowed(
            asked,
            match &self.0.pools {
                Pools::Sqlite { writer, .. } => Connection::Sqlite(writer.acquire().await.map_err(store_error)?),
                Pools::Postgres(Postgresql { pool, .. }) => Connection::Postgres(pool.acquire().await.map_err(store_error)?),
            },
        ))
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

/// A unit of work in progress, or one borrowed connection. See [`Db::transaction`].
pub struct Tx {
    connection: Connection,
    state: State,
    /// For a statement.
    limit: Duration,
    /// For the beginning of a transaction.
    begin_by: Duration,
    pooled: Option<Arc<str>>,
    /// The connection went away under a statement.
    lost: bool,
    /// A statement was not answered.
    silent: bool,
    /// A statement failed, and may have ended the transaction.
    broken: bool,
    losses: Option<Arc<Losses>>,
}

enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No transaction is open on the connection.
    Idle,
    /// BEGIN was sent.
    Open,
    /// A statement of the unit failed: it can only be rolled back.
    Failed,
}

impl Tx {
    /// Which database this is.
    pub fn kind(&self) -> Kind {
        match &self.connection {
            Connection::Sqlite(_) => Kind::Sqlite,
            Connection::Postgres(_) => Kind::Postgres,
        }
    }

    /// Reads at most one row.
    pub async fn optional(&mut self, sql: impl Into<Sql>, args: Args) -> Result<Option<Row>, StoreError> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// One statement that writes and answers at most one row.
    pub async fn returning(&mut self, sql: impl Into<Sql>, args: Args) -> Result<Option<Row>, StoreError> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// Runs a statement and takes all its rows. Always to the last one: the commit of a lone `UPDATE … RETURNING` comes after it.
    pub async fn all(&mut self, sql: impl Into<Sql>, args: Args) -> Result<Vec<Row>, StoreError> {
        let text = sql.into().text(self.kind());
        let (limit, keep) = (self.limit, self.pooled.is_none());
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => in_time(limit, sqlite_query(text, args).fetch_all(&mut **connection))
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect()),
            Connection::Postgres(connection) => in_time(limit, postgres_query(text, args, keep).fetch_all(&mut **connection))
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
        };
        self.noted(result)
    }

    /// One statement that writes. Answers how many rows it changed.
    pub async fn execute(&mut self, sql: impl Into<Sql>, args: Args) -> Result<u64, StoreError> {
        let text = sql.into().text(self.kind());
        let (limit, keep) = (self.limit, self.pooled.is_none());
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => {
                in_time(limit, sqlite_query(text, args).execute(&mut **connection)).await.map(|done| done.rows_affected())
            }
            Connection::Postgres(connection) => {
                in_time(limit, postgres_query(text, args, keep).execute(&mut **connection)).await.map(|done| done.rows_affected())
            }
        };
        self.noted(result)
    }

    /// [`Tx::all`] of one statement that is a unit of work by itself.
    pub(super) async fn all_alone(&mut self, sql: Sql, args: Args) -> Result<Vec<Row>, StoreError> {
        if self.pooled.is_none() {
            return self.all(sql, args).await;
        }
        self.begin().await?;
        let result = self.all(sql, args).await;
        self.end(result).await
    }

    /// [`Tx::execute`] of one statement that is a unit of work by itself.
    pub(super) async fn execute_alone(&mut self, sql: Sql, args: Args) -> Result<u64, StoreError> {
        if self.pooled.is_none() {
            return self.execute(sql, args).await;
        }
        self.begin().await?;
        let result = self.execute(sql, args).await;
        self.end(result).await
    }

    async fn end<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match result {
            Ok(done) => self.commit().await.map(|()| done),
            Err(failed) => {
                self.rollback().await;
                Err(failed)
            }
        }
    }

    /// Runs a script of several statements without values: a migration. It may take as long as it needs.
    pub(super) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => sqlx::raw_sql(text).execute(&mut **connection).await.map(drop),
            Connection::Postgres(connection) => sqlx::raw_sql(text).execute(&mut **connection).await.map(drop),
        };
        self.noted(result.map_err(Trouble::Driver))
    }

    /// BEGIN, COMMIT and the like.
    async fn control(&mut self, text: impl SqlSafeStr, limit: Duration) -> Result<(), StoreError> {
        let text = text.into_sql_str();
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => in_time(limit, sqlx::raw_sql(text).execute(&mut **connection)).await.map(drop),
            Connection::Postgres(connection) => in_time(limit, sqlx::raw_sql(text).execute(&mut **connection)).await.map(drop),
        };
        self.noted(result)
    }

    /// Did a statement of the unit fail?
    pub(super) fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// SQLite: from here a unit that shares its transaction with others can be [undone](Self::undo).
    pub(super) async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.control("SAVEPOINT unit", self.limit).await
    }

    /// SQLite: undoes what was written since the last savepoint.
    ///
    /// # Errors
    /// The whole transaction is gone.
    pub(super) async fn undo(&mut self) -> Result<(), StoreError> {
        self.control("ROLLBACK TO unit", self.limit).await?;
        self.state = State::Open;
        Ok(())
    }

    /// SQLite: goes on after a statement that failed and was undone by itself.
    ///
    /// # Errors
    /// It took the whole transaction along.
    pub(super) fn go_on(&mut self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Unavailable("the transaction was rolled back".to_owned()));
        }
        self.state = State::Open;
        Ok(())
    }

    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        // Set first: if this is cut off, nobody knows what the database made of it.
        self.state = State::Open;
        let limit = self.begin_by;
        if let Some(begin) = self.pooled.clone() {
            return self.control(AssertSqlSafe(begin), limit).await;
        }
        let begin = match self.kind() {
            // A deferred transaction that reads and then writes fails with "database is locked" at once.
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        };
        self.control(begin, limit).await
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.control("COMMIT", self.limit).await?;
        self.state = State::Idle;
        Ok(())
    }

    pub(super) async fn rollback(&mut self) {
        // A connection that does not answer is closed, and so is one that is gone.
        if !self.silent && !self.lost && self.control("ROLLBACK", self.limit).await.is_ok() {
            self.state = State::Idle;
        }
    }

    /// Translates the outcome of a statement, and remembers what it means for the connection.
    fn noted<T>(&mut self, result: Result<T, Trouble>) -> Result<T, StoreError> {
        result.map_err(|trouble| {
            if self.state == State::Open {
                self.state = State::Failed;
            }
            self.broken |= trouble.is_fatal();
            match trouble {
                Trouble::Driver(error) => {
                    if let Some(losses) = self.losses.as_ref().filter(|_| is_lost(&error)) {
                        losses.note();
                        self.lost = true;
                    }
                    store_error(error)
                }
                Trouble::TooSlow(_) => {
                    // The answer may still come, long after; nobody else must read it.
                    self.close_on_drop();
                    self.silent = true;
                    // The database would have cancelled it by itself: most likely nobody is at the other end, of none of them.
                    if let Some(losses) = self.losses.as_ref() {
                        losses.note();
                    }
                    trouble.told()
                }
            }
        })
    }

    fn close_on_drop(&mut self) {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.close_on_drop(),
            Connection::Postgres(connection) => connection.close_on_drop(),
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if self.state != State::Idle {
            self.close_on_drop();
        }
    }
}

/// The outcome of a unit that made something else of a failed statement.
pub(super) fn went_on() -> StoreError {
    StoreError::Corrupt("a unit of work went on after a statement of it had failed".to_owned())
}

/// What a statement can run into.
enum Trouble {
    Driver(sqlx::Error),
    TooSlow(Duration),
}

impl Trouble {
    /// Can it have ended the transaction? What SQLite refuses for what it says it undoes alone ("Response To Errors Within A Transaction").
    fn is_fatal(&self) -> bool {
        let Self::Driver(sqlx::Error::Database(error)) = self else { return true };
        let code = error.code().and_then(|code| code.parse::<u32>().ok()).map(|extended| extended & 0xff);
        // SQLITE_ERROR, SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_RANGE.
        !matches!(code, Some(1 | 18 | 19 | 20 | 25))
    }

    fn told(self) -> StoreError {
        match self {
            Self::Driver(error) => store_error(error),
            Self::TooSlow(limit) => StoreError::Unavailable(format!("a statement did not answer within {} ms", limit.as_millis())),
        }
    }
}

async fn in_time<T>(limit: Duration, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, statement).await {
        Ok(result) => result.map_err(Trouble::Driver),
        Err(_elapsed) => Err(Trouble::TooSlow(limit)),
    }
}

fn sqlite_query(text: &'static str, args: Args) -> Query<'static, Sqlite, SqliteArguments> {
    args.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
        // There is no such type; a statement that is given one finds nothing.
        Value::Ints(_) | Value::Texts(_) | Value::ByteStrings(_) => query.bind(Option::<i64>::None),
    })
}

/// `keep`: the session is ours and keeps it prepared.
fn postgres_query(text: &'static str, args: Args, keep: bool) -> Query<'static, Postgres, PgArguments> {
    args.into_iter().fold(sqlx::query(text).persistent(keep), |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
        Value::Ints(values) => query.bind(values),
        Value::Texts(values) => query.bind(values),
        Value::ByteStrings(values) => query.bind(values),
    })
}

/// One row of an answer.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if there is no such column or the value is not of this type.
    pub fn get<T: Column>(&self, column: &str) -> Result<T, StoreError> {
        T::read(self, column)
    }

    fn int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(store_error)
    }

    fn text(&self, column: &str) -> Result<Option<String>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(store_error)
    }

    fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(store_error)
    }
}

/// A type that a column can be read as.
pub trait Column: Sized {
    /// See [`Row::get`].
    fn read(row: &Row, column: &str) -> Result<Self, StoreError>;
}

macro_rules! column {
    ($($type:ty: $from:ident, $value:ident => $convert:expr;)*) => {$(
        impl Column for Option<$type> {
            fn read(row: &Row, column: &str) -> Result<Self, StoreError> {
                match row.$from(column)? {
                    None => Ok(None),
                    Some($value) => match $convert {
                        Some(value) => Ok(Some(value)),
                        None => Err(StoreError::Corrupt(format!("column `{column}` does not hold a {}", stringify!($type)))),
                    },
                }
            }
        }
        impl Column for $type {
            fn read(row: &Row, column: &str) -> Result<Self, StoreError> {
                Option::<$type>::read(row, column)?.ok_or_else(|| StoreError::Corrupt(format!("column `{column}` is empty")))
            }
        }
    )*};
}

column! {
    i64: int, value => Some(value);
    u64: int, value => u64::try_from(value).ok();
    bool: int, value => match value { 0 => Some(false), 1 => Some(true), _ => None };
    Timestamp: int, value => Some(Timestamp::from_micros(value));
    String: text, value => Some(value);
    Vec<u8>: bytes, value => Some(value);
    [u8; 16]: bytes, value => <[u8; 16]>::try_from(value).ok();
    Uuid: bytes, value => Uuid::from_slice(&value).ok();
    Digest: bytes, value => Digest::from_stored(&value);
}

async fn connect_sqlite(config: &DatabaseConfig) -> Result<Pools, StoreError> {
    let options = SqliteConnectOptions::from_str(config.url.expose()).map_err(store_error)?;
    let file = options.get_filename().to_path_buf();
    make_private(&file)?;
    let options = options
        .create_if_missing(true)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(config.acquire_timeout)
        .statement_cache_capacity(PREPARED_STATEMENTS)
        .optimize_on_close(true, 400);
    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(config.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    // Switching a new file to the write-ahead log cannot wait for another process that does the same: one at a time.
    let turn = FileLock::acquire(&file, config.acquire_timeout).await?;
    let writer =
        pool().max_connections(1).connect_with(options.clone().journal_mode(SqliteJournalMode::Wal)).await.map_err(store_error)?;
    let readers = pool()
        .max_connections(config.max_connections.clamp(1, MOST_SQLITE_READERS))
        .connect_with(options.pragma("query_only", "ON"))
        .await
        .map_err(store_error)?;
    drop(turn);
    Ok(Pools::Sqlite { readers, writer, file })
}

/// Makes the file and the folders above it where they are missing, for the owner's eyes only; SQLite gives the log the same mode.
fn make_private(file: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let failed = |error: std::io::Error| StoreError::Unavailable(format!("cannot make {}: {error}", file.display()));
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(_made) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A database that a server is using is read through its log, one that nobody uses as it stands: then not even the log is made.
async fn look_at_sqlite(config: &DatabaseConfig) -> Result<Pools, StoreError> {
    let options = SqliteConnectOptions::from_str(config.url.expose()).map_err(store_error)?;
    let file = options.get_filename().to_path_buf();
    if !file.exists() {
        return Err(StoreError::Unavailable(format!("there is no file {}", file.display())));
    }
    let mut log = file.clone().into_os_string();
    log.push("-wal");
    let options = options
        .read_only(true)
        .immutable(!Path::new(&log).exists())
        .busy_timeout(config.acquire_timeout)
        .pragma("query_only", "ON");
    let pool = SqlitePoolOptions::new().max_connections(2).acquire_timeout(config.acquire_timeout).connect_with(options);
    let pool = pool.await.map_err(store_error)?;
    Ok(Pools::Sqlite { readers: pool.clone(), writer: pool, file })
}

/// `looking`: nothing can be written.
async fn connect_postgres(config: &DatabaseConfig, looking: bool) -> Result<Pools, StoreError> {
    let options = postgres_options(config.url.expose())?;
    let options = if config.transaction_pooler {
        // PgBouncer refuses the first as a parameter that it does not know; the second, see `postgres_query`.
        options.extra_float_digits(None).statement_cache_capacity(0)
    } else {
        options.statement_cache_capacity(PREPARED_STATEMENTS)
    };
    let hears = match &config.notifications_url {
        Some(url) => Some(postgres_options(url.expose())?),
        None => (!config.transaction_pooler).then(|| options.clone()),
    };
    let limit = config.statement_timeout.as_millis();
    let (idle, mode) = (limit.saturating_mul(2), if looking { "ONLY" } else { "WRITE" });
    // Numbers from our own configuration; as statements and not as start-up options, which poolers refuse.
    let (pooled, settings): (Option<Arc<str>>, Arc<str>) = if config.transaction_pooler {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ {mode}; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}; \
             SET LOCAL idle_in_transaction_session_timeout = {idle}"
        );
        (Some(begin.into()), "".into())
    } else {
        let settings = format!(
            "SET statement_timeout = {limit}; SET lock_timeout = {limit}; SET idle_in_transaction_session_timeout = {idle}; \
             SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = {}; {BY_INDEX}",
            if looking { "on" } else { "off" }
        );
        (None, settings.into())
    };
    let losses = Arc::new(Losses::none());
    let known = Arc::clone(&losses);
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections.max(1))
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(move |_, about| {
            let doomed = known.doom(about.age);
            Box::pin(async move { Ok(!doomed) })
        })
        .after_connect(move |connection, _| {
            let settings = Arc::clone(&settings);
            Box::pin(async move {
                if settings.is_empty() {
                    return Ok(());
                }
                sqlx::raw_sql(AssertSqlSafe(settings)).execute(connection).await.map(drop)
            })
        })
        .connect_with(options.clone())
        .await;
    let pool = match pool {
        // The pool tries until its patience ends and then says no more than that; asked directly, the driver says why.
        Err(sqlx::Error::PoolTimedOut) => {
            return Err(match tokio::time::timeout(config.acquire_timeout, options.connect()).await {
                Ok(Err(why)) => store_error(why),
                Ok(Ok(_)) | Err(_) => store_error(sqlx::Error::PoolTimedOut),
            });
        }
        pool => pool.map_err(store_error)?,
    };
    if pooled.is_none()
        && matches!(tokio::time::timeout(config.acquire_timeout, shares_sessions(&pool, &options)).await, Ok(Ok(true)))
    {
        return Err(StoreError::Unavailable(
            "the URL leads to a pooler that gives each transaction another session (PgBouncer's pool_mode = transaction), where one request \
             would run what another has prepared: set [database] transaction_pooler = true"
                .to_owned(),
        ));
    }
    Ok(Pools::Postgres(Postgresql { pool, losses, pooled, hears }))
}

fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(store_error)?.application_name("chancery");
    if !url.contains('@') && std::env::var_os("PGUSER").is_none() {
        // The driver would quietly sign in as "anonymous".
        return Err(StoreError::Unavailable("the database URL names no user: postgres://USER@HOST/DATABASE".to_owned()));
    }
    Ok(options)
}

/// Do two open connections meet the same session, or one of them two? Then a pooler deals out sessions for single transactions.
async fn shares_sessions(pool: &PgPool, options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    const SESSION: &str = "SELECT pg_backend_pid()";
    let mut one = pool.acquire().await?;
    let mut two = options.connect().await?;
    let first: i32 = sqlx::raw_sql(SESSION).fetch_one(&mut *one).await?.try_get(0)?;
    sqlx::raw_sql("BEGIN").execute(&mut two).await?;
    let second: i32 = sqlx::raw_sql(SESSION).fetch_one(&mut two).await?.try_get(0)?;
    let shared = first == second || first != sqlx::raw_sql(SESSION).fetch_one(&mut *one).await?.try_get::<i32, _>(0)?;
    sqlx::Connection::close(two).await?;
    Ok(shared)
}

/// Did the connection go away under the statement? Not: the statement was refused or cancelled.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        // Connection exceptions; terminated by an administrator, a crash, or a server that is not up yet; a server that has become a
        // standby: another one may take writes where a new connection leads; a plan that a migration has outdated.
        sqlx::Error::Database(database) => database
            .code()
            .is_some_and(|code| code.starts_with("08") || ["57P01", "57P02", "57P03", "25006", "0A000"].contains(&code.as_ref())),
        _ => false,
    }
}

/// What the driver said, in the words of [`StoreError`].
fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            let message = database.message().to_owned();
            if database.is_unique_violation() || database.is_foreign_key_violation() {
                return StoreError::Conflict(database.constraint().map_or(message, str::to_owned));
            }
            let code = database.code().unwrap_or_default().into_owned();
            if database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                postgres_error(&code, message)
            } else {
                sqlite_error(&code, message)
            }
        }
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection was free in time".to_owned()),
        sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Configuration(_) => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Corrupt(error.to_string()),
    }
}

/// By SQLSTATE class (PostgreSQL manual, appendix A).
fn postgres_error(code: &str, message: String) -> StoreError {
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        // Undefined table, column or function.
        (_, "42P01" | "42703" | "42883") => StoreError::Schema(message),
        // PgBouncer.
        (_, "08P01") if message.contains("unsupported startup parameter") => {
            StoreError::Unavailable(format!("{message}: behind a pooler set [database] transaction_pooler = true"))
        }
        // Connection, resources, operator intervention (also: statement timeout), system; deadlock and serialization; read-only
        // server after a failover, which refuses READ WRITE as a feature that it has not; object in use; sign-in refused; no such database.
        ("08" | "53" | "57" | "58" | "40" | "55" | "28" | "3D", _) | (_, "25006" | "25P03" | "0A000") => {
            StoreError::Unavailable(format!("{code}: {message}"))
        }
        // A prepared statement that is not there, or is there already; see `connect_postgres`.
        (_, "26000" | "42P05") => StoreError::Unavailable(format!(
            "{code}: {message}: sessions are not ours alone; behind a pooler that deals them out for single transactions set [database] \
             transaction_pooler = true"
        )),
        _ => StoreError::Corrupt(format!("{code}: {message}")),
    }
}

/// By primary result code (sqlite.org/rescode.html); extended codes keep it in their low byte.
fn sqlite_error(code: &str, message: String) -> StoreError {
    match code.parse::<i64>().map_or(0, |code| code & 0xff) {
        1 if message.starts_with("no such table")
            || message.starts_with("no such column")
            || message.contains("has no column named") =>
        {
            StoreError::Schema(message)
        }
        // PERM, ABORT, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
        3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15 => StoreError::Unavailable(message),
        _ => StoreError::Corrupt(format!("{code}: {message}")),
    }
}
