//! kill -9 while an older database is brought up to date: by `chancery migrate`, and by a server that starts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chancery::args;
use chancery::config::DatabaseConfig;
use chancery::storage::{Db, migrate};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::harness::machine::{Backup, Machine};
use crate::harness::{Backend, fill_audit_log, postgres, rounds, unique};

use super::chance::Seed;
use super::stage::{SOON, examine};

/// The oldest schema to begin with: from there on the database can hold what is counted.
const OLDEST: usize = 5;
/// Audit events that must survive.
const EVENTS: i64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_is_migrated_wholly_or_not_at_all() {
    migrate_killed(Backend::Sqlite, Machine::sqlite(), rounds(20, 200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_migrated_wholly_or_not_at_all() {
    migrate_killed(Backend::Postgres, Machine::postgres().await, rounds(20, 200)).await;
}

async fn migrate_killed(backend: Backend, mut machine: Machine, rounds: usize) {
    let seed = Seed::pick();
    let mut chance = seed.chance();
    let newest = usize::try_from(migrate::newest()).unwrap();
    let mut older: BTreeMap<usize, Backup> = BTreeMap::new();
    // How long it takes when nobody interferes.
    let mut whole = Duration::from_millis(300);
    let (mut before, mut after) = (0, 0);
    for round in 0..rounds {
        let from = OLDEST + chance.below(newest - OLDEST);
        let older = match older.entry(from) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(missing) => missing.insert(older_database(backend, from).await),
        };
        restore(&mut machine, older).await;
        // The first, which is not killed, tells how long a migration takes.
        let serves = round > 0 && chance.once_in(3);
        let mut child = machine.command(if serves { &["serve"] } else { &["migrate"] });
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if round > 0 {
            let span = usize::try_from(whole.as_millis()).unwrap();
            tokio::time::sleep(chance.millis(5, span)).await;
            drop(child.kill());
        } else {
            let begun = Instant::now();
            while child.try_wait().unwrap().is_none() && begun.elapsed() < SOON {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            whole = begun.elapsed();
            drop(child.kill());
        }
        child.wait().unwrap();

        let db = machine.db().await;
        let pending = settled(&db).await;
        assert!(pending == 0 || pending == newest - from, "{pending} scripts are pending of {}", newest - from);
        *(if pending == 0 { &mut after } else { &mut before }) += 1;
        db.close().await;
        // No repair: the same command again, or a server that starts.
        if round % 4 == 0 {
            drop(machine.start(&["serve"]).await);
        } else {
            machine.run(&["migrate"]);
        }
        let db = machine.db().await;
        assert_eq!(migrate::pending(&db).await.unwrap().len(), 0);
        let kept = db.all("SELECT COUNT(*) AS kept FROM audit_events WHERE action = 'test.fill'", args![]).await.unwrap();
        assert_eq!(kept[0].get::<i64>("kept").unwrap(), EVENTS);
        if round % 4 == 0 {
            examine(&db).await;
        }
        db.close().await;
    }
    println!("killed before the end of a migration {before} times, after it {after} times");
    assert!(before > 0, "it was never killed in time");
}

/// How many scripts are pending once the database has let go of what was killed.
async fn settled(db: &Db) -> usize {
    let begun = Instant::now();
    if db.file().is_none() {
        let others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                      AND application_name = 'chancery' AND backend_start < now() - interval '10 milliseconds' AND state <> 'idle'";
        while !db.all(others, args![]).await.unwrap().is_empty() {
            assert!(begun.elapsed() < SOON, "a killed migration does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    migrate::pending(db).await.unwrap().len()
}

/// Puts an older database in the place of the machine's own; a file under a name of its own, since no connection to the one before may
/// have anything to do with it.
async fn restore(machine: &mut Machine, older: &Backup) {
    if let Backup::File(_) = older {
        let folder = machine.path().join(unique("round"));
        std::fs::create_dir(&folder).unwrap();
        machine.set("CHANCERY_DATABASE_URL", &format!("sqlite://{}", folder.join("chancery.db").display()));
    }
    machine.restore(older).await;
}

/// A database as a binary made it that knew so many scripts.
async fn older_database(backend: Backend, scripts: usize) -> Backup {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("older.db");
    let url = match backend {
        Backend::Sqlite => format!("sqlite://{}?mode=rwc", file.display()),
        Backend::Postgres => postgres::database().await,
    };
    let kind = if backend == Backend::Sqlite { "sqlite" } else { "postgres" };
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(kind);
    let mut names: Vec<String> =
        std::fs::read_dir(&migrations).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let blob = if backend == Backend::Sqlite { "BLOB" } else { "BYTEA" };
    let mut script = format!(
        "CREATE TABLE schema_migrations (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum {blob} NOT NULL, applied_at BIGINT NOT NULL);\n"
    );
    for (index, name) in names.iter().take(scripts).enumerate() {
        let text = std::fs::read_to_string(migrations.join(name)).unwrap();
        let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let checksum = if backend == Backend::Sqlite { format!("x'{digest}'") } else { format!("'\\x{digest}'") };
        let name = name.trim_end_matches(".sql");
        script.push_str(&text);
        script.push_str(&format!("\nINSERT INTO schema_migrations VALUES ({}, '{name}', {checksum}, 0);\n", index + 1));
    }
    match backend {
        Backend::Sqlite => {
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        Backend::Postgres => {
            let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
    let db = Db::connect(&DatabaseConfig::new(url.clone())).await.unwrap();
    fill_audit_log(&db, EVENTS).await;
    db.close().await;
    match backend {
        Backend::Sqlite => Backup::File(std::fs::read(&file).unwrap()),
        Backend::Postgres => Backup::Database(url),
    }
}
