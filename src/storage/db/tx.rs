//! A connection that somebody has borrowed, and the unit of work over it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, Sqlite};

use super::trouble::{Trouble, in_time, is_lost, store_error};
use super::{Kind, Row, Sql, kept, lender};
use crate::storage::error::StoreError;
use crate::storage::losses::Losses;
use crate::storage::value::{Args, Value};

/// A unit of work in progress, or one borrowed connection. See [`Db::transaction`].
pub struct Tx {
    pub(super) connection: Connection,
    pub(super) state: State,
    /// For a statement.
    pub(super) limit: Duration,
    /// For the beginning of a transaction.
    pub(super) begin_by: Duration,
    pub(super) pooled: Option<Arc<str>>,
    /// The connection went away under a statement.
    pub(super) lost: bool,
    /// A statement was not answered.
    pub(super) silent: bool,
    /// A statement failed, and may have ended the transaction.
    pub(super) broken: bool,
    pub(super) losses: Option<Arc<Losses>>,
}

pub(super) enum Connection {
    Sqlite(lender::Lent),
    Postgres(kept::Lent),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
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
            Connection::Sqlite(connection) => {
                let rows = async { sqlite_query(text, args).fetch_all(connection.at_work()?).await };
                in_time(limit, rows).await.map(|rows| rows.into_iter().map(Row::from).collect())
            }
            Connection::Postgres(connection) => {
                let rows = async { postgres_query(text, args, keep).fetch_all(connection.at_work()?).await };
                in_time(limit, rows).await.map(|rows| rows.into_iter().map(Row::from).collect())
            }
        };
        self.noted(result)
    }

    /// One statement that writes. Answers how many rows it changed.
    pub async fn execute(&mut self, sql: impl Into<Sql>, args: Args) -> Result<u64, StoreError> {
        let text = sql.into().text(self.kind());
        let (limit, keep) = (self.limit, self.pooled.is_none());
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => {
                let done = async { sqlite_query(text, args).execute(connection.at_work()?).await };
                in_time(limit, done).await.map(|done| done.rows_affected())
            }
            Connection::Postgres(connection) => {
                let done = async { postgres_query(text, args, keep).execute(connection.at_work()?).await };
                in_time(limit, done).await.map(|done| done.rows_affected())
            }
        };
        self.noted(result)
    }

    /// [`Tx::all`] of one statement that is a unit of work by itself.
    pub(in crate::storage) async fn all_alone(&mut self, sql: Sql, args: Args) -> Result<Vec<Row>, StoreError> {
        if self.pooled.is_none() {
            return self.all(sql, args).await;
        }
        self.begin().await?;
        let result = self.all(sql, args).await;
        self.end(result).await
    }

    /// [`Tx::execute`] of one statement that is a unit of work by itself.
    pub(in crate::storage) async fn execute_alone(&mut self, sql: Sql, args: Args) -> Result<u64, StoreError> {
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
    pub(in crate::storage) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => async { sqlx::raw_sql(text).execute(connection.at_work()?).await.map(drop) }.await,
            Connection::Postgres(connection) => async { sqlx::raw_sql(text).execute(connection.at_work()?).await.map(drop) }.await,
        };
        self.noted(result.map_err(Trouble::Driver))
    }

    /// BEGIN, COMMIT and the like.
    async fn control(&mut self, text: impl SqlSafeStr, limit: Duration) -> Result<(), StoreError> {
        let text = text.into_sql_str();
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => {
                in_time(limit, async { sqlx::raw_sql(text).execute(connection.at_work()?).await }).await.map(drop)
            }
            Connection::Postgres(connection) => {
                in_time(limit, async { sqlx::raw_sql(text).execute(connection.at_work()?).await }).await.map(drop)
            }
        };
        self.noted(result)
    }

    /// Did a statement of the unit fail?
    pub(in crate::storage) fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// SQLite: from here a unit that shares its transaction with others can be [undone](Self::undo). `again`: instead of from the one before.
    pub(in crate::storage) async fn savepoint(&mut self, again: bool) -> Result<(), StoreError> {
        self.control(if again { "RELEASE unit; SAVEPOINT unit" } else { "SAVEPOINT unit" }, self.limit).await
    }

    /// SQLite: undoes what was written since the last savepoint.
    ///
    /// # Errors
    /// The whole transaction is gone.
    pub(in crate::storage) async fn undo(&mut self) -> Result<(), StoreError> {
        self.control("ROLLBACK TO unit", self.limit).await?;
        self.state = State::Open;
        Ok(())
    }

    /// SQLite: goes on after a statement that failed and was undone by itself.
    ///
    /// # Errors
    /// It took the whole transaction along.
    pub(in crate::storage) fn go_on(&mut self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Unavailable("the transaction was rolled back".to_owned()));
        }
        self.state = State::Open;
        Ok(())
    }

    pub(in crate::storage) async fn begin(&mut self) -> Result<(), StoreError> {
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

    pub(in crate::storage) async fn commit(&mut self) -> Result<(), StoreError> {
        self.control("COMMIT", self.limit).await?;
        self.state = State::Idle;
        Ok(())
    }

    pub(in crate::storage) async fn rollback(&mut self) {
        // A connection that does not answer is closed, and so is one that is gone.
        if !self.silent && !self.lost && self.control("ROLLBACK", self.limit).await.is_ok() {
            self.state = State::Idle;
        }
    }

    /// Translates the outcome of a statement, and remembers what it means for the connection.
    fn noted<T>(&mut self, result: Result<T, Trouble>) -> Result<T, StoreError> {
        if result.is_ok() {
            match &mut self.connection {
                Connection::Sqlite(connection) => connection.done(),
                Connection::Postgres(connection) => connection.done(),
            }
        }
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
            Connection::Sqlite(connection) => connection.spoil(),
            Connection::Postgres(connection) => connection.spoil(),
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
pub(in crate::storage) fn went_on() -> StoreError {
    StoreError::Corrupt("a unit of work went on after a statement of it had failed".to_owned())
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
