//! What a statement answers, read alike on both databases.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, ColumnIndex, Row as _};
use uuid::Uuid;

use super::trouble::store_error;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::storage::error::StoreError;

/// One row of an answer.
pub struct Row {
    answer: Answer,
    /// Where the next column is looked for first: rows are read in the order in which they were asked for, mostly.
    next: AtomicUsize,
}

enum Answer {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self { answer: Answer::Sqlite(row), next: AtomicUsize::new(0) }
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self { answer: Answer::Postgres(row), next: AtomicUsize::new(0) }
    }
}

impl Row {
    /// The value of a column.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if there is no such column or the value is not of this type.
    pub fn get<'r, T: Column<'r>>(&'r self, column: &str) -> Result<T, StoreError> {
        T::read(self, column)
    }

    fn int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        match &self.answer {
            Answer::Sqlite(row) => row.try_get(self.place(row, column)?),
            Answer::Postgres(row) => row.try_get(self.place(row, column)?),
        }
        .map_err(store_error)
    }

    fn text(&self, column: &str) -> Result<Option<&str>, StoreError> {
        match &self.answer {
            Answer::Sqlite(row) => row.try_get(self.place(row, column)?),
            Answer::Postgres(row) => row.try_get(self.place(row, column)?),
        }
        .map_err(store_error)
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, StoreError> {
        match &self.answer {
            Answer::Sqlite(row) => row.try_get(self.place(row, column)?),
            Answer::Postgres(row) => row.try_get(self.place(row, column)?),
        }
        .map_err(store_error)
    }

    /// The place of a column in a row.
    fn place<R: sqlx::Row>(&self, row: &R, column: &str) -> Result<usize, StoreError>
    where
        for<'c> &'c str: ColumnIndex<R>,
    {
        let next = self.next.load(Relaxed);
        let place = match row.columns().get(next) {
            Some(there) if there.name() == column => next,
            Some(_) | None => column.index(row).map_err(store_error)?,
        };
        self.next.store(place.saturating_add(1), Relaxed);
        Ok(place)
    }
}

/// A type that a column can be read as.
pub trait Column<'r>: Sized {
    /// See [`Row::get`].
    fn read(row: &'r Row, column: &str) -> Result<Self, StoreError>;
}

macro_rules! column {
    ($($type:ty: $from:ident, $value:ident => $convert:expr;)*) => {$(
        impl<'r> Column<'r> for Option<$type> {
            fn read(row: &'r Row, column: &str) -> Result<Self, StoreError> {
                match row.$from(column)? {
                    None => Ok(None),
                    Some($value) => match $convert {
                        Some(value) => Ok(Some(value)),
                        None => Err(StoreError::Corrupt(format!("column `{column}` does not hold a {}", stringify!($type)))),
                    },
                }
            }
        }
        impl<'r> Column<'r> for $type {
            fn read(row: &'r Row, column: &str) -> Result<Self, StoreError> {
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
    &'r str: text, value => Some(value);
    String: text, value => Some(value.to_owned());
    Vec<u8>: bytes, value => Some(value.to_owned());
    [u8; 16]: bytes, value => <[u8; 16]>::try_from(value).ok();
    Uuid: bytes, value => Uuid::from_slice(value).ok();
    Digest: bytes, value => Digest::from_stored(value);
}
