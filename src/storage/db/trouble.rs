//! What a statement can run into, and what that means in the words of the store.

use std::time::Duration;

use crate::storage::error::StoreError;

/// What a statement can run into.
pub(super) enum Trouble {
    Driver(sqlx::Error),
    TooSlow(Duration),
}

impl Trouble {
    /// Can it have ended the transaction?
    pub(super) fn is_fatal(&self) -> bool {
        let Self::Driver(sqlx::Error::Database(error)) = self else { return true };
        error.code().and_then(|code| code.parse().ok()).is_none_or(ends_transaction)
    }

    pub(super) fn told(self) -> StoreError {
        match self {
            Self::Driver(error) => store_error(error),
            Self::TooSlow(limit) => StoreError::Unavailable(format!("a statement did not answer within {} ms", limit.as_millis())),
        }
    }
}

/// SQLite undoes alone what it refuses for what it says, and may undo the transaction for everything else (sqlite.org/lang_transaction.html,
/// "Response To Errors Within A Transaction"). Of the extended codes of a constraint (a value of another type is one, 3091) two can end
/// a transaction too: a commit hook and a trigger that raises ROLLBACK; there is neither.
const fn ends_transaction(code: u32) -> bool {
    // ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE
    !matches!(code & 0xff, 1 | 18 | 19 | 20 | 25)
}

pub(super) async fn in_time<T>(limit: Duration, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, statement).await {
        Ok(result) => result.map_err(Trouble::Driver),
        Err(_elapsed) => Err(Trouble::TooSlow(limit)),
    }
}

/// Did the connection go away under the statement? Not: the statement was refused or cancelled.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
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
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
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
        // A prepared statement that is not there, or is there already; see `connect::postgres`.
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
        // READONLY
        8 => {
            StoreError::Unavailable(format!("{message}: the file, what lies beside it, or all of its file system may only be read"))
        }
        // FULL
        13 => StoreError::Unavailable(format!("{message}: make room on the file system of the database")),
        // PERM, ABORT, BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, CANTOPEN, PROTOCOL, SCHEMA (changed again and again)
        3 | 4 | 5 | 6 | 7 | 9 | 10 | 14 | 15 | 17 => StoreError::Unavailable(message),
        // NOTADB
        26 => StoreError::Corrupt(format!("{message}, or its beginning is damaged: is [database] url the right one?")),
        _ => StoreError::Corrupt(format!("{code}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sqlite.org/rescode.html, extended codes included.
    #[test]
    fn what_sqlite_refuses_for_what_it_says_ends_no_transaction_and_is_not_tried_again() {
        // ERROR, MISSING_COLLSEQ; TOOBIG; CHECK, FOREIGNKEY, NOTNULL, PRIMARYKEY, TRIGGER, UNIQUE, ROWID, DATATYPE; MISMATCH; RANGE
        for code in [1, 257, 18, 275, 787, 1299, 1555, 1811, 2067, 2579, 3091, 20, 25] {
            assert!(!ends_transaction(code), "{code}");
            assert!(matches!(sqlite_error(&code.to_string(), String::new()), StoreError::Corrupt(_)), "{code}");
        }
        // ABORT_ROLLBACK; BUSY, BUSY_RECOVERY, BUSY_SNAPSHOT; LOCKED; NOMEM; READONLY_DBMOVED; INTERRUPT; IOERR, IOERR_FSYNC; FULL; SCHEMA
        for code in [516, 5, 261, 517, 6, 7, 1032, 9, 10, 1034, 13, 17] {
            assert!(ends_transaction(code), "{code}");
            assert!(matches!(sqlite_error(&code.to_string(), String::new()), StoreError::Unavailable(_)), "{code}");
        }
        // CORRUPT, CORRUPT_INDEX; MISUSE; NOTADB
        for code in [11, 779, 21, 26] {
            assert!(ends_transaction(code), "{code}");
            assert!(matches!(sqlite_error(&code.to_string(), String::new()), StoreError::Corrupt(_)), "{code}");
        }
    }
}
