//! What is bound to `$1`, `$2`, … of a statement: three kinds of values, each of them possibly absent, the same on both databases.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::secret::Digest;

/// One bound value. `None` is SQL's NULL, of a known type because Postgres wants to know it.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// BIGINT: counts, flags (0 and 1), instants in microseconds.
    Int(Option<i64>),
    /// TEXT: identifiers, JSON.
    Text(Option<String>),
    /// BYTEA or BLOB: row ids (16 bytes), digests (32 bytes), sealed values.
    Bytes(Option<Vec<u8>>),
    /// A column of many rows, for `unnest`: Postgres alone, see [`together::rows`](crate::storage::together::rows).
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    ByteStrings(Vec<Option<Vec<u8>>>),
}

/// The values of one statement, in the order of their numbers; made by [`args!`](crate::args).
pub type Args = Vec<Value>;

/// Makes the [`Args`] of a statement: `args![id, now, Option::<String>::None]`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::storage::value::Value::from($value)),*] };
}

macro_rules! value_from {
    ($($kind:ident from $type:ty: $value:ident => $convert:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                Self::$kind(Some($convert))
            }
        }
        impl From<Option<$type>> for Value {
            fn from(value: Option<$type>) -> Self {
                Self::$kind(value.map(|$value| $convert))
            }
        }
    )*};
}

value_from! {
    Int from i64: value => value;
    Int from i32: value => i64::from(value);
    Int from u32: value => i64::from(value);
    // Counts and seconds above 2^63 do not occur; they would be stored as the largest number there is.
    Int from u64: value => i64::try_from(value).unwrap_or(i64::MAX);
    Int from usize: value => i64::try_from(value).unwrap_or(i64::MAX);
    Int from bool: value => i64::from(value);
    Int from Timestamp: value => value.micros();
    Text from String: value => without_nul(value);
    Text from &str: value => without_nul(value.to_owned());
    Text from &String: value => without_nul(value.clone());
    Bytes from Vec<u8>: value => value;
    Bytes from &[u8]: value => value.to_vec();
    Bytes from [u8; 16]: value => value.to_vec();
    Bytes from [u8; 32]: value => value.to_vec();
    Bytes from Uuid: value => value.as_bytes().to_vec();
    Bytes from &Digest: value => value.as_bytes().to_vec();
    Bytes from Digest: value => value.as_bytes().to_vec();
}

/// Postgres cannot hold U+0000 in a text and would fail the statement; a request that names one should find nothing instead. The same
/// on both databases.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

impl std::fmt::Debug for Value {
    /// The kind alone: bound values are people's data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Int(Some(_)) => "Int(…)",
            Self::Text(Some(_)) => "Text(…)",
            Self::Bytes(Some(_)) => "Bytes(…)",
            Self::Int(None) | Self::Text(None) | Self::Bytes(None) => "NULL",
            Self::Ints(_) | Self::Texts(_) | Self::ByteStrings(_) => "list(…)",
        })
    }
}
