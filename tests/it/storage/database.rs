//! What `Db` promises, whatever is stored in it: units of work, waiting, losing the database and getting it back.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use chancery::args;
use chancery::clock::Timestamp;
use chancery::config::database::DatabaseConfig;
use chancery::storage::{Db, Kind, StoreError, clients, migrate};
use futures_util::future::join_all;

use super::Store;
use super::fixtures::World;
use crate::harness::postgres::Cluster;

const CREATE: &str = "CREATE TABLE notes (id BIGINT PRIMARY KEY)";
const WRITE: &str = "INSERT INTO notes (id) VALUES ($1)";

async fn notes(kind: Kind) -> Store {
    let store = Store::empty(kind).await;
    store.db.execute(CREATE, args![]).await.unwrap();
    store
}

async fn count(db: &Db) -> i64 {
    db.optional("SELECT COUNT(*) AS notes FROM notes", args![]).await.unwrap().unwrap().get("notes").unwrap()
}

/// The same database with other settings.
async fn with(store: &Store, change: impl FnOnce(&mut DatabaseConfig)) -> Db {
    let mut config = store.config.clone();
    change(&mut config);
    Db::connect(&config).await.unwrap()
}

on_both! {
    async fn a_unit_of_work_that_errs_leaves_nothing(kind) {
        let store = notes(kind).await;
        let refused: Result<(), StoreError> = store.db.transaction("test", |tx| Box::pin(async move {
            tx.execute(WRITE, args![1]).await?;
            Err(StoreError::Conflict("changed my mind".to_owned()))
        })).await;
        assert_eq!(refused, Err(StoreError::Conflict("changed my mind".to_owned())));
        assert_eq!(count(&store.db).await, 0);
    }

    async fn a_unit_of_work_that_goes_on_after_a_failure_leaves_nothing_and_says_so(kind) {
        let store = notes(kind).await;
        let swallowed: Result<(), StoreError> = store.db.transaction("test", |tx| Box::pin(async move {
            tx.execute(WRITE, args![1]).await?;
            let twice = tx.execute(WRITE, args![1]).await;
            assert!(matches!(twice, Err(StoreError::Conflict(_))));
            Ok(())
        })).await;
        assert!(swallowed.is_err());
        assert_eq!(count(&store.db).await, 0);
    }

    async fn a_unit_of_work_that_panics_leaves_nothing_and_spoils_no_connection(kind) {
        let store = notes(kind).await;
        let db = with(&store, |config| config.max_connections = 1).await;
        for _ in 0..3 {
            let stopped: Result<(), StoreError> = db.transaction("test", |tx| Box::pin(async move {
                tx.execute(WRITE, args![1]).await?;
                panic!("a fault");
            })).await;
            assert!(matches!(stopped, Err(StoreError::Unavailable(_))));
        }
        db.execute(WRITE, args![2]).await.unwrap();
        assert_eq!(count(&store.db).await, 1);
    }

    async fn a_unit_of_work_ends_even_if_nobody_waits_for_it(kind) {
        let store = notes(kind).await;
        let work = store.db.transaction("test", |tx| Box::pin(async move {
            tx.execute(WRITE, args![1]).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            tx.execute(WRITE, args![2]).await?;
            Ok::<_, StoreError>(())
        }));
        tokio::time::timeout(Duration::from_millis(30), work).await.unwrap_err();
        let started = Instant::now();
        while count(&store.db).await != 2 && started.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(count(&store.db).await, 2);
    }

    /// sqlx 0.9.0: a `begin()` that is cancelled leaves the next borrower inside a stale transaction, and what it writes is lost.
    async fn callers_that_hang_up_spoil_no_connection(kind) {
        let store = notes(kind).await;
        let db = with(&store, |config| config.max_connections = 2).await;
        let mut expected = 0;
        for round in 0_u64..300 {
            let (id, patience) = (i64::try_from(round).unwrap(), Duration::from_micros(round * 37 % 1500));
            let unit = db.transaction("test", move |tx| Box::pin(async move {
                tx.optional("SELECT 1 AS one", args![]).await?;
                Err::<(), _>(StoreError::Conflict("nothing to do".to_owned()))
            }));
            let _ = tokio::time::timeout(patience, unit).await;
            let _ = tokio::time::timeout(patience, db.optional("SELECT 1 AS one", args![])).await;
            if round % 3 == 0 {
                db.execute(WRITE, args![id]).await.unwrap();
                expected += 1;
                // Seen by somebody else: it was committed.
                assert_eq!(count(&store.db).await, expected, "round {round}");
            }
        }
    }

    async fn whoever_waits_too_long_for_a_connection_is_told_so(kind) {
        let store = notes(kind).await;
        let db = with(&store, |config| {
            config.max_connections = 1;
            config.acquire_timeout = Duration::from_millis(200);
        }).await;
        let (begun, holds) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let holder = tokio::spawn({
            let db = db.clone();
            async move {
                db.transaction("hold", |tx| Box::pin(async move {
                    tx.execute(WRITE, args![1]).await?;
                    begun.send(()).unwrap();
                    released.await.unwrap();
                    Ok::<_, StoreError>(())
                })).await
            }
        });
        holds.await.unwrap();
        // Otherwise it would wait until it is let go.
        let refused = tokio::time::timeout(Duration::from_secs(20), db.execute(WRITE, args![2])).await.unwrap();
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        db.execute(WRITE, args![2]).await.unwrap();
    }

    async fn a_missing_table_is_a_matter_of_the_schema(kind) {
        let store = Store::empty(kind).await;
        assert!(matches!(clients::find(&store.db, "app").await, Err(StoreError::Schema(_))));
    }

    async fn a_value_of_another_type_is_an_error_and_no_panic(kind) {
        let store = notes(kind).await;
        store.db.execute(WRITE, args![7]).await.unwrap();
        let row = store.db.optional("SELECT id FROM notes", args![]).await.unwrap().unwrap();
        assert_eq!(row.get::<i64>("id").unwrap(), 7);
        assert!(matches!(row.get::<String>("id"), Err(StoreError::Corrupt(_))));
        assert!(matches!(row.get::<bool>("id"), Err(StoreError::Corrupt(_))));
        assert!(matches!(row.get::<i64>("nothing"), Err(StoreError::Corrupt(_))));
    }

    async fn a_text_with_nul_finds_nothing_and_fails_nothing(kind) {
        let world = World::new(kind).await;
        assert!(clients::find(&world.store.db, "app\0").await.unwrap().is_none());
        assert!(clients::find(&world.store.db, "\0").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_sqlite_file_is_private_durable_and_written_by_the_writer_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a/b/store.db");
    let db = Db::connect(&DatabaseConfig::new(format!("sqlite://{}", file.display()))).await.unwrap();
    db.execute(CREATE, args![]).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&file.with_file_name("store.db-wal")), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    let pragma =
        async |name: &'static str, sql: &'static str| db.returning(sql, args![]).await.unwrap().unwrap().get::<i64>(name).unwrap();
    assert_eq!(pragma("synchronous", "PRAGMA synchronous").await, 2, "FULL");
    assert_eq!(pragma("foreign_keys", "PRAGMA foreign_keys").await, 1);
    let journal = db.returning("PRAGMA journal_mode", args![]).await.unwrap().unwrap();
    assert_eq!(journal.get::<String>("journal_mode").unwrap(), "wal");
    assert!(db.all("INSERT INTO notes (id) VALUES (1) RETURNING id", args![]).await.is_err(), "readers do not write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_server_sees_at_once_that_clients_changed_and_never_waits_for_a_write() {
    let store = notes(Kind::Sqlite).await;
    migrate::run(&store.db, Timestamp::from_seconds(1)).await.unwrap();
    let number = async || store.db.change_number().await.unwrap().unwrap();
    let before = number().await;
    // What servers do all day is none of it, theirs or another's.
    store.db.execute(WRITE, args![1]).await.unwrap();
    store.replica().await.execute(WRITE, args![2]).await.unwrap();
    assert_eq!(number().await, before);
    let change = "INSERT INTO clients (client_id, metadata, metadata_version, enabled, created_at, updated_at) VALUES ('a', '{}', 1, 1, 0, 0)";
    store.replica().await.execute(change, args![]).await.unwrap();
    let after = number().await;
    assert!(after > before);
    store.db.execute("UPDATE clients SET enabled = 0", args![]).await.unwrap();
    assert!(number().await > after, "our own changes, too");
    let (replica, mut last) = (store.replica().await, number().await);
    for round in 0..100 {
        for db in [&store.db, &replica] {
            db.execute("UPDATE clients SET enabled = 1 - enabled", args![]).await.unwrap();
            let next = number().await;
            assert!(next > last, "round {round}");
            assert_eq!(number().await, next);
            last = next;
        }
        // The log begins anew.
        if round % 10 == 9 {
            store.db.returning_all("PRAGMA wal_checkpoint(TRUNCATE)", args![]).await.unwrap();
            assert_eq!(number().await, last);
        }
    }
    // A write that takes its time, in this process or another, holds nobody up.
    let (started, holding) = tokio::sync::oneshot::channel();
    let (done, release) = tokio::sync::oneshot::channel::<()>();
    let db = store.db.clone();
    let writing = tokio::spawn(async move {
        db.transaction::<_, StoreError>("slow", |tx| {
            Box::pin(async move {
                tx.execute(WRITE, args![3]).await?;
                started.send(()).unwrap();
                release.await.unwrap();
                Ok(())
            })
        })
        .await
    });
    holding.await.unwrap();
    // It would wait until the write is let go.
    tokio::time::timeout(Duration::from_secs(20), number()).await.unwrap();
    done.send(()).unwrap();
    writing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_runs_too_long_on_postgres_is_cancelled_and_the_pool_lives() {
    let store = notes(Kind::Postgres).await;
    let db = with(&store, |config| {
        config.max_connections = 1;
        config.statement_timeout = Duration::from_millis(200);
    })
    .await;
    let started = Instant::now();
    let refused = db.all("SELECT 1 AS one FROM pg_sleep(60)", args![]).await;
    let refused = refused.map(drop);
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("57014")), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
    db.execute(WRITE, args![1]).await.unwrap();
}

/// Who is at the other end of the connection that goes out next.
async fn process(db: &Db) -> i64 {
    let row = db.optional("SELECT CAST(pg_backend_pid() AS BIGINT) AS process", args![]).await.unwrap();
    row.unwrap().get("process").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_connections_to_postgres_the_last_to_come_back_goes_out_first() {
    let store = notes(Kind::Postgres).await;
    let db = with(&store, |config| config.max_connections = 8).await;
    let slow = (0..8).map(|_| db.all("SELECT 1 AS one FROM pg_sleep(0.2)", args![]));
    assert!(join_all(slow).await.iter().all(Result::is_ok), "eight connections are open");
    // A process that is held up for a second finds them all in the pool again, which deals them out in turn.
    let mut same = false;
    for _ in 0..50 {
        let first = process(&db).await;
        same |= first == process(&db).await && first == process(&db).await;
    }
    assert!(same);
    // Whoever comes while all are out waits no longer than until the next comes back.
    let tasks = (0..200).map(|id| {
        let db = db.clone();
        tokio::spawn(async move {
            db.transaction::<_, StoreError>("test", move |tx| Box::pin(async move { tx.execute(WRITE, args![id]).await })).await?;
            db.optional("SELECT id FROM notes WHERE id = $1", args![id]).await
        })
    });
    let all = tokio::time::timeout(Duration::from_secs(60), join_all(tasks.collect::<Vec<_>>())).await.unwrap();
    assert!(all.into_iter().all(|found| matches!(found, Ok(Ok(Some(_))))));
    // Closing waits for every one of them, those at hand too.
    tokio::time::timeout(Duration::from_secs(20), db.close()).await.unwrap();
    assert!(matches!(db.all("SELECT 1 AS one", args![]).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_behind_a_statement_on_postgres_that_was_given_up() {
    const SLEEPING: &str =
        "SELECT COUNT(*) AS asleep FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let store = notes(Kind::Postgres).await;
    let db = with(&store, |config| config.max_connections = 8).await;
    let asleep = async || db.optional(SLEEPING, args![]).await.unwrap().unwrap().get::<i64>("asleep").unwrap();
    let given_up = tokio::spawn({
        let db = db.clone();
        async move { db.all("SELECT 1 AS one FROM pg_sleep(20)", args![]).await }
    });
    while asleep().await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    given_up.abort();
    assert!(given_up.await.is_err());
    for _ in 0..4 {
        assert_eq!(asleep().await, 1, "it still runs, and others are answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_restarts_costs_nobody_a_read_and_no_more_than_one_write() {
    let cluster = Cluster::start();
    let db = Db::connect(&DatabaseConfig::new(cluster.database().await)).await.unwrap();
    db.execute(CREATE, args![]).await.unwrap();
    let warm = async || {
        let slow = (0..8).map(|_| db.all("SELECT 1 AS one FROM pg_sleep(0.2)", args![]));
        assert!(join_all(slow).await.iter().all(Result::is_ok), "eight connections are open");
    };
    warm().await;
    tokio::task::block_in_place(|| {
        cluster.stop();
        cluster.restart();
    });
    for _ in 0..12 {
        db.ping().await.unwrap();
    }
    warm().await;
    tokio::task::block_in_place(|| {
        cluster.kill();
        cluster.restart();
    });
    let mut failed = 0;
    for id in 0..12 {
        failed += usize::from(db.execute(WRITE, args![id]).await.is_err());
    }
    assert!(failed <= 1, "{failed} writes failed, one for each connection of the pool");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_postgres_is_unavailable_within_the_acquire_timeout_and_comes_back_by_itself() {
    let cluster = Cluster::start();
    let mut config = DatabaseConfig::new(cluster.database().await);
    config.acquire_timeout = Duration::from_secs(1);
    let db = Db::connect(&config).await.unwrap();
    db.execute(CREATE, args![]).await.unwrap();
    db.execute(WRITE, args![1]).await.unwrap();
    // Under load when it goes.
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { while db.ping().await.is_ok() {} })
        })
        .collect();
    tokio::task::block_in_place(|| cluster.kill());
    for task in busy {
        task.await.unwrap();
    }
    // The quickest of several: a busy machine adds what it likes to one.
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        let refused = db.execute(WRITE, args![2]).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        quickest = quickest.min(started.elapsed());
    }
    assert!(quickest < Duration::from_secs(3), "{quickest:?}");
    tokio::task::block_in_place(|| cluster.restart());
    let started = Instant::now();
    while db.execute(WRITE, args![3]).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "it did not come back");
    }
    assert_eq!(count(&db).await, 2);
}

#[tokio::test]
async fn a_database_url_must_be_one_of_ours_and_name_a_user() {
    for (url, expected) in
        [("mysql://root@localhost/x", "begin with"), ("", "begin with"), ("postgres://localhost/x", "names no user")]
    {
        let refused = Db::connect(&DatabaseConfig::new(url)).await.map(drop);
        assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains(expected)), "{url}: {refused:?}");
    }
}

/// A connection that is given up while it is being opened closes by itself some time later, and not before everything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_database_that_was_closed_is_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = DatabaseConfig::new(format!("sqlite://{}", folder.path().join("store.db").display()));
    let log = folder.path().join("store.db-wal");
    let mut left = Vec::new();
    for round in 0_u64..40 {
        let db = Db::connect(&config).await.unwrap();
        db.execute("CREATE TABLE IF NOT EXISTS notes (id BIGINT PRIMARY KEY)", args![]).await.unwrap();
        db.execute(WRITE, args![i64::try_from(round).unwrap()]).await.unwrap();
        // More than there are connections: some are opened.
        let questions = join_all((0..8).map(|_| db.all("SELECT 1 AS one", args![])));
        let _ = tokio::time::timeout(Duration::from_micros(round * 53 % 2000), questions).await;
        db.close().await;
        if log.exists() {
            left.push(round);
        }
    }
    assert_eq!(left, [0; 0]);
}
