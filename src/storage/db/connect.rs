//! How the databases are opened: SQLite's file with one writer and its readers, PostgreSQL with the settings of our sessions, directly or
//! behind a pooler.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgPool, Row as _};

use super::disk::Disk;
use super::hosts::Hosts;
use super::kept::Kept;
use super::lender::Lender;
use super::log_index::LogIndex;
use super::trouble::store_error;
use super::turnstile::Turnstile;
use super::{Pools, Postgresql};
use crate::config::database::DatabaseConfig;
use crate::storage::error::StoreError;
use crate::storage::lock::FileLock;
use crate::storage::losses::Losses;
use crate::storage::reach;

/// How many statements each connection keeps prepared: more than the store has.
const PREPARED_STATEMENTS: usize = 400;
/// More of them only cost memory.
const MOST_SQLITE_READERS: u32 = 8;
/// Each has a page cache of its own. Two groups of requests read at a time, and what else is asked seldom needs more than a third
/// connection: the first few, which are used nearly always, share what there is for caches.
const WARM_READERS: u32 = 3;
/// KiB of their caches, and of all others'.
const WARM_CACHE: u32 = 3_000;
const COLD_CACHE: u32 = 500;
/// Pages in SQLite's log, after which whoever commits moves them into the file: what is left of them, since it is done beside the writer all the
/// time ([`Db::checkpoint_in_turn`](super::Db)). Only a writer that finds nothing left to move begins the log anew.
const LONGEST_LOG: u32 = 4_000;
/// Every statement finds its rows by an index (a test has each explained). A table that was small when its plan was made is not small for
/// ever, and a few rows that change all the time leave thousands of dead ones behind: reading it whole is never what we want, nor is reading
/// an index whole and keeping it, to be looked through for each of a group, nor, in a table of a hundred rows, making a bitmap of all that have
/// not expired beside the row with the key. What has to be read whole then looks dear enough for just-in-time compilation, which takes longer
/// than any statement here. A way by an index is the same for all values: left to itself, Postgres would plan each statement anew for its first
/// five executions over each connection, which takes it longer than to execute them.
const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
                        SET enable_material = off; SET jit = off; SET plan_cache_mode = force_generic_plan";

pub(super) async fn sqlite(config: &DatabaseConfig) -> Result<Pools, StoreError> {
    let options = SqliteConnectOptions::from_str(config.url.expose()).map_err(store_error)?;
    let file = options.get_filename().to_path_buf();
    if let Some(hindrance) = reach::to_files(&file) {
        return Err(StoreError::Unavailable(hindrance.to_string()));
    }
    open(&file, options, config).await.map_err(|error| match (error, reach::to_folder(&file)) {
        (StoreError::Unavailable(_), Some(hindrance)) => StoreError::Unavailable(hindrance.to_string()),
        (error, _) => error,
    })
}

async fn open(file: &Path, options: SqliteConnectOptions, config: &DatabaseConfig) -> Result<Pools, StoreError> {
    make_private(file)?;
    let options = options
        .create_if_missing(true)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(config.acquire_timeout)
        // No `optimize_on_close`: counted while the tables are small, they would be read whole when they are not.
        .statement_cache_capacity(PREPARED_STATEMENTS);
    // Switching a new file to the write-ahead log cannot wait for another process that does the same: one at a time.
    let turn = FileLock::acquire(file, config.acquire_timeout).await?;
    // What a statement or a unit of work needs to be undone alone goes into a temporary file beyond 64 KiB: for a group of requests, more
    // than the database itself is written.
    let writes = options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("temp_store", "MEMORY")
        .pragma("wal_autocheckpoint", LONGEST_LOG.to_string());
    let writer = Lender::open(move |_| writes.clone(), 1, config.acquire_timeout).await.map_err(store_error)?;
    let most = config.max_connections.clamp(1, MOST_SQLITE_READERS);
    let reads = move |number| {
        let cache = if number < WARM_READERS { WARM_CACHE } else { COLD_CACHE };
        options.clone().pragma("query_only", "ON").pragma("cache_size", format!("-{cache}"))
    };
    let readers = Lender::open(reads, most, config.acquire_timeout).await.map_err(store_error)?;
    drop(turn);
    let (turnstile, index, disk) = (Turnstile::beside(file), LogIndex::of(file), Disk::of(file));
    Ok(Pools::Sqlite { readers, writer, file: file.to_owned(), turnstile, index, disk })
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
pub(super) async fn look_at(config: &DatabaseConfig) -> Result<Pools, StoreError> {
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
    let readers = Lender::open(move |_| options.clone(), 2, config.acquire_timeout).await.map_err(store_error)?;
    let (turnstile, index, disk) = (Turnstile::none(), LogIndex::of(&file), Disk::of(&file));
    Ok(Pools::Sqlite { writer: Arc::clone(&readers), readers, file, turnstile, index, disk })
}

/// `looking`: nothing can be written.
pub(super) async fn postgres(config: &DatabaseConfig, looking: bool) -> Result<Pools, StoreError> {
    let hosts = hosts(config.url.expose(), |options| {
        if config.transaction_pooler {
            // PgBouncer refuses the first as a parameter that it does not know; the second, see `postgres_query`.
            options.extra_float_digits(None).statement_cache_capacity(0)
        } else {
            options.statement_cache_capacity(PREPARED_STATEMENTS)
        }
    })?;
    let hears = match &config.notifications_url {
        Some(url) => Some(self::hosts(url.expose(), |options| options)?),
        None => (!config.transaction_pooler).then(|| Arc::clone(&hosts)),
    };
    hosts.look(config.acquire_timeout).await;
    let options = hosts.current().clone();
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
    hosts.watch(&pool, &losses, config.acquire_timeout);
    let kept = Kept::of(pool.clone(), Arc::clone(&losses));
    Ok(Pools::Postgres(Postgresql { pool, kept, losses, pooled, hears, _hosts: hosts }))
}

fn hosts(url: &str, each: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Result<Arc<Hosts>, StoreError> {
    if !url.contains('@') && std::env::var_os("PGUSER").is_none() {
        // The driver would quietly sign in as "anonymous".
        return Err(StoreError::Unavailable("the database URL names no user: postgres://USER@HOST/DATABASE".to_owned()));
    }
    Hosts::of(url, each).map(Arc::new)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What `.cargo/config.toml` says (docs/decisions/sqlite-as-it-is-built.md) has reached the library.
    #[tokio::test]
    async fn sqlite_is_built_as_it_was_decided() {
        let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
        let rows = sqlx::raw_sql("PRAGMA compile_options").fetch_all(&mut connection).await.unwrap();
        let options: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        for wanted in ["DEFAULT_MEMSTATUS=0", "MAX_MMAP_SIZE=0", "DQS=0", "THREADSAFE=1"] {
            assert!(options.iter().any(|option| option == wanted), "{wanted} is missing in {options:?}");
        }
        for unwanted in ["ENABLE_MEMORY_MANAGEMENT", "ENABLE_FTS5", "ENABLE_RTREE"] {
            assert!(!options.iter().any(|option| option == unwanted), "{unwanted} is there");
        }
    }
}
