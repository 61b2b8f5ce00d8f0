//! How lists and documents are written into TEXT columns.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::storage::StoreError;

/// A document as it is stored. Who needs it reads it; nobody else takes its text apart, or hears that it is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    json: String,
    read: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Stored<T> {
    /// The text of a column.
    pub fn new(json: String) -> Self {
        Self { json, read: PhantomData }
    }

    /// The document.
    ///
    /// # Errors
    /// Those of [`from_json`].
    pub fn read(&self) -> Result<T, StoreError> {
        from_json(&self.json)
    }
}

/// Scope-tokens hold no space (RFC 6749 §3.3), so a space separates them here as on the wire.
pub fn join(scopes: &[String]) -> String {
    scopes.join(" ")
}

/// The reverse of [`join`].
pub fn split(text: &str) -> Vec<String> {
    text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// A document as JSON.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(format!("cannot be written as JSON: {error}")))
}

/// A document read back. The text itself is people's data and stays out of the error.
///
/// # Errors
/// [`StoreError::NewerVersion`] where it is JSON, and has members or values that this program does not know.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        let place = format!("(line {}, column {})", error.line(), error.column());
        match error.classify() {
            Category::Data => StoreError::NewerVersion(format!("a stored document {place}")),
            Category::Io | Category::Syntax | Category::Eof => {
                StoreError::Corrupt(format!("a stored document is not what it should be {place}"))
            }
        }
    })
}
