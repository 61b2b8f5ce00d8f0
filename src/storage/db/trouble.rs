//! What a statement can run into, and what that means in the words of the store.

use std::time::Duration;

use crate::storage::error::StoreError;

/// What a statement can run into.
pub(super) enum Trouble {
    Driver(sqlx::Error),
    TooSlow(Duration),
}

impl Trouble {
    /// Can it have ended the transaction? What SQLite refuses for what it says it undoes alone ("Response To Errors Within A Transaction").
    pub(super) fn is_fatal(&self) -> bool {
        let Self::Driver(sqlx::Error::Database(error)) = self else { return true };
        let code = error.code().and_then(|code| code.parse::<u32>().ok()).map(|extended| extended & 0xff);
        // SQLITE_ERROR, SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_RANGE.
        !matches!(code, Some(1 | 18 | 19 | 20 | 25))
    }

    pub(super) fn told(self) -> StoreError {
        match self {
            Self::Driver(error) => store_error(error),
            Self::TooSlow(limit) => StoreError::Unavailable(format!("a statement did not answer within {} ms", limit.as_millis())),
        }
    }
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
        // PERM, ABORT, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
        3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15 => StoreError::Unavailable(message),
        _ => StoreError::Corrupt(format!("{code}: {message}")),
    }
}
