//! What a statement answers, read alike on both databases.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::trouble::store_error;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::storage::error::StoreError;

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
