//! Units of work that share a commit on SQLite, seen from outside: as if each had been alone, but for the commits.

use std::time::{Duration, Instant};

use chancery::args;
use chancery::storage::authorize::complete;
use chancery::storage::codes::redeem;
use chancery::storage::{Db, Kind, StoreError};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Store;
use super::fixtures::World;

/// As long as anybody here waits for the writer, unless that is what is tested: other tests may keep the disk busy for seconds.
const PATIENCE: Duration = Duration::from_secs(60);

async fn patient(kind: Kind) -> Store {
    let mut store = Store::empty(kind).await;
    store.config.acquire_timeout = PATIENCE;
    store.db = store.replica().await;
    store
}

async fn scratch(kind: Kind) -> Store {
    let store = patient(kind).await;
    store
        .db
        .execute("CREATE TABLE scratch (id BIGINT PRIMARY KEY, half BIGINT NOT NULL, pad TEXT, CHECK (half <> 13))", args![])
        .await
        .unwrap();
    store
}

/// Two rows or none.
async fn pair(db: &Db, id: i64, pad: String, fails: bool) -> Result<(), StoreError> {
    db.transaction("test.pair", move |tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO scratch (id, half) VALUES ($1, 1)", args![2 * id]).await?;
            tx.execute("INSERT INTO scratch (id, half, pad) VALUES ($1, 2, $2)", args![2 * id + 1, pad]).await?;
            if fails { Err(StoreError::Unavailable("changed its mind".to_owned())) } else { Ok(()) }
        })
    })
    .await
}

async fn rows(db: &Db) -> Vec<i64> {
    let rows = db.all("SELECT id FROM scratch ORDER BY id", args![]).await.unwrap();
    rows.iter().map(|row| row.get("id").unwrap()).collect()
}

/// Write transactions that the file has seen: `iChange` of the index of its write-ahead log (SQLite, "WAL-mode File Format"). Read by
/// another process: closing the file in this one would end the locks that SQLite holds on it.
fn commits(db: &Db) -> u32 {
    let index = format!("{}-shm", db.file().unwrap().display());
    let printed = std::process::Command::new("od").args(["-An", "-tu4", "-j8", "-N4", &index]).output().unwrap().stdout;
    String::from_utf8(printed).unwrap().trim().parse().unwrap()
}

/// Holds the file's lock, in the middle of a unit that writes row 5000, until told to commit.
async fn hold(db: &Db) -> (JoinHandle<Result<(), StoreError>>, oneshot::Sender<()>) {
    let (db, (locked, is_locked), (release, released)) = (db.clone(), oneshot::channel(), oneshot::channel());
    let holder = tokio::spawn(async move {
        db.transaction("test.hold", |tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO scratch (id, half) VALUES (5000, 1)", args![]).await?;
                locked.send(()).unwrap();
                released.await.unwrap();
                Ok(())
            })
        })
        .await
    });
    is_locked.await.unwrap();
    (holder, release)
}

on_both! {
    async fn one_of_many_that_fails_is_undone_alone(kind) {
        let store = scratch(kind).await;
        let db = &store.db;
        db.execute("INSERT INTO scratch (id, half) VALUES (15, 9)", args![]).await.unwrap();
        let pairs = join_all((0..30).map(|id| pair(db, id, String::new(), id % 10 == 3)));
        let statements = join_all((30..60).map(|id| {
            let half = if id % 10 == 4 { 13 } else { 3 };
            db.execute("INSERT INTO scratch (id, half) VALUES ($1, $2)", args![2 * id, half])
        }));
        let panics = join_all((60..63).map(|_| {
            db.transaction("test.panic", |tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO scratch (id, half) VALUES (999, 1)", args![]).await?;
                    panic!("on purpose");
                    #[expect(unreachable_code, reason = "says what it would answer")]
                    Ok::<(), StoreError>(())
                })
            })
        }));
        let ignores = db.transaction("test.ignore", |tx| {
            Box::pin(async move {
                drop(tx.execute("INSERT INTO scratch (id, half) VALUES (15, 1)", args![]).await);
                drop(tx.execute("INSERT INTO scratch (id, half) VALUES (1001, 1)", args![]).await);
                Ok::<(), StoreError>(())
            })
        });
        let (pairs, statements, panics, ignored) = tokio::join!(pairs, statements, panics, ignores);
        let mut expected = vec![15];
        for (id, outcome) in (0..30).zip(pairs) {
            // Number 7 meets the row that was there before.
            let stands = id % 10 != 3 && id != 7;
            assert_eq!(outcome.is_ok(), stands, "{id}: {outcome:?}");
            expected.extend(if stands { vec![2 * id, 2 * id + 1] } else { vec![] });
        }
        for (id, outcome) in (30..60).zip(statements) {
            assert_eq!(outcome.is_ok(), id % 10 != 4, "{id}: {outcome:?}");
            expected.extend((id % 10 != 4).then_some(2 * id));
        }
        assert!(panics.iter().all(Result::is_err));
        assert!(matches!(ignored, Err(StoreError::Corrupt(_))), "{ignored:?}");
        expected.sort_unstable();
        assert_eq!(rows(db).await, expected);
    }

    async fn a_unit_runs_to_its_end_when_its_caller_goes_away(kind) {
        let store = scratch(kind).await;
        for id in 0..20 {
            // Hardly ever done before one looks.
            pair(&store.db, id, String::new(), false).now_or_never().unwrap_or(Ok(())).unwrap();
        }
        pair(&store.db, 99, String::new(), false).await.unwrap();
        let mut found = 0;
        for _ in 0..100 {
            found = rows(&store.db).await.len();
            if found == 42 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(found, 42);
    }
}

#[tokio::test]
async fn units_that_wait_for_the_writer_share_its_commit() {
    let store = scratch(Kind::Sqlite).await;
    let db = &store.db;
    let (before, begun) = (commits(db), Instant::now());
    join_all((0..60).map(|id| pair(db, id, String::new(), false))).await.into_iter().for_each(|done| done.unwrap());
    // Nobody is put off for more than 10 ms by those that follow: where the machine is slow, these are several commits.
    let most = 1 + u32::try_from(begun.elapsed().as_millis() / 10).unwrap();
    let took = commits(db) - before;
    assert!(took <= most, "{took} commits for 60 units that came at once, where {most} would do");
    let before = commits(db);
    for id in 60..70 {
        pair(db, id, String::new(), false).await.unwrap();
    }
    assert_eq!(commits(db) - before, 10, "one after the other each has its own");
}

/// Sign-ins and redemptions are rows for a statement each, and go along with units of every other kind.
#[tokio::test]
async fn rows_of_a_kind_share_one_statement_and_the_commit_of_all() {
    let world = World::new(Kind::Sqlite).await;
    let db = &world.store.db;
    db.execute("CREATE TABLE scratch (id BIGINT PRIMARY KEY, half BIGINT NOT NULL, pad TEXT)", args![]).await.unwrap();
    let codes: Vec<_> = (0..20).map(|_| world.completion(world.grant(true))).collect();
    let written = join_all(codes.iter().map(|code| complete(db, code.clone()))).await;
    assert!(written.into_iter().all(|done| done.unwrap()));
    let (before, begun) = (commits(db), Instant::now());
    let (redeemed, completed, pairs) = tokio::join!(
        join_all(codes.iter().map(|code| redeem(db, world.redeem(code, Some(world.family(&code.grant)))))),
        join_all((0..20).map(|_| complete(db, world.completion(world.grant(true))))),
        // The odd ones are undone, between the others.
        join_all((0..20).map(|id| pair(db, id, String::new(), id % 2 == 1))),
    );
    // As above.
    let most = 5 + u32::try_from(begun.elapsed().as_millis() / 10).unwrap();
    let took = commits(db) - before;
    assert!(took <= most, "{took} commits for 60 that came at once, where {most} would do");
    assert!(redeemed.into_iter().chain(completed).all(|done| done.unwrap()));
    assert!(pairs.iter().enumerate().all(|(id, done)| done.is_ok() == (id % 2 == 0)));
    assert_eq!(rows(db).await.len(), 20);
    let grants =
        db.optional("SELECT COUNT(*) AS n FROM grants JOIN codes ON codes.grant_id = grants.id", args![]).await.unwrap().unwrap();
    assert_eq!(grants.get::<i64>("n").unwrap(), 40);
}

/// Whoever wrote the page too many would wait for all of it.
#[tokio::test]
async fn the_log_goes_into_the_file_while_others_write() {
    let store = scratch(Kind::Sqlite).await;
    let moved = async || {
        let log = store.db.optional("PRAGMA wal_checkpoint(NOOP)", args![]).await.unwrap().unwrap();
        (log.get::<i64>("log").unwrap(), log.get::<i64>("checkpointed").unwrap())
    };
    for id in 0..40 {
        pair(&store.db, id, String::new(), false).await.unwrap();
    }
    for _ in 0..100 {
        if moved().await.1 > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing was moved of (pages, moved) {:?}", moved().await);
}

#[tokio::test]
async fn what_a_full_disk_took_along_is_acknowledged_to_nobody() {
    let store = scratch(Kind::Sqlite).await;
    let db = &store.db;
    let pages: i64 = db.optional("PRAGMA page_count", args![]).await.unwrap().unwrap().get("page_count").unwrap();
    let limit: &'static str = Box::leak(format!("PRAGMA max_page_count = {}", pages + 40).into_boxed_str());
    db.returning(limit, args![]).await.unwrap();
    let outcomes = join_all((0..60).map(|id| pair(db, id, "x".repeat(if id % 7 == 5 { 100_000 } else { 10 }), false))).await;
    assert!(outcomes.iter().any(Result::is_err), "the disk was not full");
    let told: Vec<i64> =
        (0..).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).flat_map(|(id, _)| [2 * id, 2 * id + 1]).collect();
    assert_eq!(rows(db).await, told);
    pair(db, 1000, String::new(), false).await.unwrap();
}

#[tokio::test]
async fn who_waited_too_long_has_done_nothing() {
    let store = scratch(Kind::Sqlite).await;
    let mut config = store.config.clone();
    config.acquire_timeout = Duration::from_millis(300);
    let hasty = Db::connect(&config).await.unwrap();
    let (holder, release) = hold(&store.db).await;
    let outcomes = join_all((0..10).map(|id| pair(&hasty, id, String::new(), false))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(StoreError::Unavailable(_)))), "{outcomes:?}");
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    // Nor is anything stuck; what else keeps the disk busy is not meant.
    for id in 20.. {
        match pair(&hasty, id, String::new(), false).await {
            Ok(()) => return assert_eq!(rows(&store.db).await, [2 * id, 2 * id + 1, 5000]),
            Err(error) => assert!(id < 200, "{error:?}"),
        }
    }
}

/// Another process holds the file's lock: who came while somebody before them already waited for it has their own time, and not both.
#[tokio::test]
async fn who_stands_behind_somebody_who_waits_for_a_lock_waits_no_longer() {
    let store = scratch(Kind::Sqlite).await;
    let mut config = store.config.clone();
    config.acquire_timeout = Duration::from_secs(2);
    let (hasty, half) = (Db::connect(&config).await.unwrap(), config.acquire_timeout / 2);
    let (holder, release) = hold(&store.db).await;
    let first = hasty.execute("INSERT INTO scratch (id, half) VALUES (1, 1)", args![]);
    let behind = async {
        tokio::time::sleep(half).await;
        tokio::join!(pair(&hasty, 20, String::new(), false), hasty.execute("INSERT INTO scratch (id, half) VALUES (2, 1)", args![]))
    };
    let (first, (pair_behind, behind)) = tokio::join!(first, behind);
    assert!(matches!(&first, Err(StoreError::Unavailable(why)) if why.contains("locked")), "{first:?}");
    // They gave up by themselves, when the lock was not yet lost for whoever is at the head of the line.
    let gave_up = |error: &StoreError| matches!(error, StoreError::Unavailable(why) if why.contains("busy for too long"));
    assert!(pair_behind.as_ref().is_err_and(gave_up), "{pair_behind:?}");
    assert!(behind.as_ref().is_err_and(gave_up), "{behind:?}");
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    assert_eq!(rows(&store.db).await, [5000]);
}

/// A server that is never done, each of whose commits waits for a slow disk: a command finds its turn all the same.
#[tokio::test]
async fn a_busy_process_keeps_no_other_out() {
    let store = scratch(Kind::Sqlite).await;
    let mut config = store.config.clone();
    config.acquire_timeout = Duration::from_secs(2);
    let other = Db::connect(&config).await.unwrap();
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let db = store.db.clone();
            let slow = async move || {
                let held = Box::pin(tokio::time::sleep(Duration::from_millis(40)));
                db.transaction::<_, StoreError>("test.slow", |tx| {
                    Box::pin(async move {
                        tx.execute("UPDATE scratch SET half = half", args![]).await?;
                        held.await;
                        Ok(())
                    })
                })
                .await
                .unwrap();
            };
            tokio::spawn(async move {
                loop {
                    slow().await;
                }
            })
        })
        .collect();
    for id in 0..30 {
        let written = match id % 2 {
            0 => pair(&other, id, String::new(), false).await,
            _ => other.execute("INSERT INTO scratch (id, half) VALUES ($1, 1)", args![2 * id]).await.map(drop),
        };
        assert_eq!(written, Ok(()), "{id}");
    }
    busy.into_iter().for_each(|one| one.abort());
}

/// A value of another type than the column's (SQLITE_CONSTRAINT_DATATYPE) is a fault of what was to be written, not of the database: the
/// statement is undone by itself, to its last row, and told as what no repetition mends, while those that shared the commit stand.
#[tokio::test]
async fn what_a_strict_table_refuses_fails_nobody_else() {
    let store = patient(Kind::Sqlite).await;
    let db = &store.db;
    db.execute("CREATE TABLE scratch (id BIGINT PRIMARY KEY, half BIGINT NOT NULL, pad TEXT)", args![]).await.unwrap();
    db.execute("CREATE TABLE typed (id INTEGER PRIMARY KEY, number INTEGER) STRICT", args![]).await.unwrap();
    let refused = |id: i64| {
        // The second row is the bad one.
        db.execute("INSERT INTO typed (id, number) SELECT $1, 1 UNION ALL SELECT $1 + 1, 'one'", args![id])
    };
    let unit = |id: i64| {
        db.transaction("test.strict", move |tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO typed (id, number) VALUES ($1, 1)", args![id]).await?;
                tx.execute("UPDATE typed SET number = x'00' WHERE id = $1", args![id]).await
            })
        })
    };
    let (pairs, refused, units) = tokio::join!(
        join_all((0..20).map(|id| pair(db, id, String::new(), false))),
        join_all((0..20).map(|id| refused(100 + 2 * id))),
        join_all((0..20).map(unit)),
    );
    for outcome in refused.into_iter().chain(units) {
        assert!(matches!(&outcome, Err(StoreError::Corrupt(why)) if why.starts_with("3091: ")), "{outcome:?}");
    }
    pairs.into_iter().for_each(|stands| stands.unwrap());
    assert_eq!(rows(db).await.len(), 40);
    assert_eq!(db.all("SELECT id FROM typed", args![]).await.unwrap().len(), 0);
}
