//! The schema: numbered scripts, embedded in the binary, applied in order under a lock, each once and for ever.
//!
//! All that is pending is applied in one transaction, so a crash half-way leaves the schema as it was. A database that a newer
//! binary has migrated, or one whose applied scripts differ from ours, is refused rather than guessed at.

use std::time::Duration;

use crate::args;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::storage::db::{Db, Kind, Tx};
use crate::storage::error::StoreError;
use crate::storage::lock::FileLock;

/// One numbered script, in the form of each database.
struct Migration {
    number: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

impl Migration {
    const fn script(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Sqlite => self.sqlite,
            Kind::Postgres => self.postgres,
        }
    }
}

macro_rules! migrations {
    ($($number:literal $name:literal)*) => {
        /// In order. Append only: a script that was released never changes.
        const MIGRATIONS: &[Migration] = &[$(Migration {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
        }),*];
    };
}

migrations! {
    1 "0001_keys"
    2 "0002_clients"
    3 "0003_people"
    4 "0004_grants"
    5 "0005_operation"
    6 "0006_changes"
    7 "0007_setup"
    8 "0008_account"
    9 "0009_groups"
    10 "0010_device_codes"
    11 "0011_audit"
    12 "0012_factors"
    13 "0013_secret_uses"
    14 "0014_passkeys"
    15 "0015_passkey_devices"
    16 "0016_claims"
    17 "0017_registration"
    18 "0018_spent_assertions"
    19 "0019_logout"
    20 "0020_fewer_indexes"
    21 "0021_disabled"
    22 "0022_registration_retry"
}

/// How long to wait for another process that is migrating.
const PATIENCE: Duration = Duration::from_secs(60);
/// "chancery" in ASCII: the key of the advisory lock.
const POSTGRES_LOCK: i64 = 0x6368_616e_6365_7279;
/// An index over a large table is sorted on the disk, while what units of work need to be undone is kept in memory (`connect::sqlite`).
const SORT_ON_DISK: &str = "PRAGMA temp_store = FILE";
const SORT_IN_MEMORY: &str = "PRAGMA temp_store = MEMORY";

statements! {
    CREATE = Split {
        sqlite: "CREATE TABLE IF NOT EXISTS schema_migrations (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL,
                 checksum BLOB NOT NULL, applied_at INTEGER NOT NULL) STRICT",
        postgres: "CREATE TABLE IF NOT EXISTS schema_migrations (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL,
                   checksum BYTEA NOT NULL, applied_at BIGINT NOT NULL)",
    };
    EXISTS = Split {
        sqlite: "SELECT COUNT(*) AS tables FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'",
        postgres: "SELECT COUNT(*) AS tables FROM pg_catalog.pg_class WHERE oid = to_regclass('schema_migrations')",
    };
    APPLIED = Both("SELECT number, name, checksum FROM schema_migrations ORDER BY number");
    RECORD = Both("INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)");
    // Transaction-level: a session lock would be lost behind a pooler. Tried, not waited for: a waiting statement holds a snapshot.
    TRY_LOCK = Split {
        sqlite: "SELECT 1 AS locked",
        postgres: "SELECT CASE WHEN pg_try_advisory_xact_lock($1) THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END AS locked",
    };
    NO_TIMEOUT = Split { sqlite: "SELECT 1", postgres: "SET LOCAL statement_timeout = 0" };
}

/// The number of the newest script that this binary knows.
pub fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
}

/// Applies what is pending, waiting for another process that does the same. Answers the names of the scripts applied here.
///
/// # Errors
/// [`StoreError::Schema`] if a newer binary was here or an applied script differs from ours.
pub async fn run(db: &Db, now: Timestamp) -> Result<Vec<&'static str>, StoreError> {
    // Held to the end: BEGIN IMMEDIATE alone would do for the tables, but its waiting is bounded by busy_timeout.
    let _turn = match db.file() {
        Some(file) => Some(FileLock::acquire(file, PATIENCE).await?),
        None => None,
    };
    let started = std::time::Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        let applied = db.transaction("migrate", move |tx| Box::pin(apply_if_locked(tx, now))).await?;
        match applied {
            Some(names) => return Ok(names),
            None if started.elapsed() < PATIENCE => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(250));
            }
            None => return Err(StoreError::Unavailable("another process has been migrating for too long".to_owned())),
        }
    }
}

/// The names of the scripts that [`run`] would apply. Changes nothing.
///
/// # Errors
/// [`StoreError::Schema`] as [`run`].
pub async fn pending(db: &Db) -> Result<Vec<&'static str>, StoreError> {
    Ok(names(&unapplied(&applied(db).await?, db.kind())?))
}

/// Refuses a schema that is not exactly the one this binary knows: for a start with `--no-migrate`.
///
/// # Errors
/// [`StoreError::Schema`] naming what is pending.
pub async fn require_current(db: &Db) -> Result<(), StoreError> {
    none(&pending(db).await?)
}

/// Refuses a schema that lacks a script of this binary, or has one in another form. What a newer binary has added since is welcome:
/// scripts only add, so that the version before goes on serving while its successors start. For the readiness of a running server.
///
/// # Errors
/// [`StoreError::Schema`] naming what is pending.
pub async fn require_ours(db: &Db) -> Result<(), StoreError> {
    let mut applied = applied(db).await?;
    applied.retain(|row| row.number <= newest());
    none(&names(&unapplied(&applied, db.kind())?))
}

fn none(pending: &[&str]) -> Result<(), StoreError> {
    if pending.is_empty() {
        return Ok(());
    }
    Err(StoreError::Schema(format!("{} pending ({}): run `chancery migrate`", pending.len(), pending.join(", "))))
}

fn names(migrations: &[&'static Migration]) -> Vec<&'static str> {
    migrations.iter().map(|migration| migration.name).collect()
}

async fn applied(db: &Db) -> Result<Vec<Applied>, StoreError> {
    let exists = db.optional(EXISTS, args![]).await?.map_or(Ok(0), |row| row.get::<i64>("tables"))? > 0;
    let rows = if exists { db.all(APPLIED, args![]).await? } else { Vec::new() };
    rows.iter().map(Applied::read).collect()
}

/// `None` while another process holds the lock.
async fn apply_if_locked(tx: &mut Tx, now: Timestamp) -> Result<Option<Vec<&'static str>>, StoreError> {
    if tx.kind() == Kind::Postgres {
        tx.execute(NO_TIMEOUT, args![]).await?;
        let locked = tx.optional(TRY_LOCK, args![POSTGRES_LOCK]).await?.map_or(Ok(false), |row| row.get::<bool>("locked"))?;
        if !locked {
            return Ok(None);
        }
    }
    tx.execute(CREATE, args![]).await?;
    let applied = tx.all(APPLIED, args![]).await?.iter().map(Applied::read).collect::<Result<Vec<_>, _>>()?;
    let mut names = Vec::new();
    let unapplied = unapplied(&applied, tx.kind())?;
    if tx.kind() == Kind::Sqlite && !unapplied.is_empty() {
        tx.script(SORT_ON_DISK).await?;
    }
    for migration in unapplied {
        let script = migration.script(tx.kind());
        tx.script(script).await?;
        tx.execute(RECORD, args![migration.number, migration.name, Digest::of(script.as_bytes()), now]).await?;
        names.push(migration.name);
    }
    if tx.kind() == Kind::Sqlite && !names.is_empty() {
        tx.script(SORT_IN_MEMORY).await?;
    }
    Ok(Some(names))
}

struct Applied {
    number: i64,
    name: String,
    checksum: Digest,
}

impl Applied {
    fn read(row: &crate::storage::db::Row) -> Result<Self, StoreError> {
        Ok(Self { number: row.get("number")?, name: row.get("name")?, checksum: row.get("checksum")? })
    }
}

/// The scripts still to apply, after checking that those applied are ours.
fn unapplied(applied: &[Applied], kind: Kind) -> Result<Vec<&'static Migration>, StoreError> {
    for row in applied {
        let Some(migration) = MIGRATIONS.iter().find(|migration| migration.number == row.number) else {
            return Err(StoreError::Schema(format!(
                "the database has script {} ({}), and this binary knows scripts up to {}: a newer Chancery was here; run that one or a newer one",
                row.number,
                row.name,
                newest()
            )));
        };
        if Digest::of(migration.script(kind).as_bytes()) != row.checksum {
            return Err(StoreError::Schema(format!("script {} was applied in another form than this binary knows", row.name)));
        }
    }
    Ok(MIGRATIONS.iter().filter(|migration| applied.iter().all(|row| row.number != migration.number)).collect())
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn the_list_holds_every_script_of_both_folders_in_order() {
        let listed: Vec<String> = MIGRATIONS.iter().map(|migration| format!("{}.sql", migration.name)).collect();
        for folder in ["sqlite", "postgres"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
            let mut found: Vec<String> =
                std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            found.sort();
            assert_eq!(found, listed, "{folder}");
        }
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.number, i64::try_from(index).unwrap() + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.number)));
        }
    }
}
