//! How a command fails: one clear line on standard error and an exit code that is not zero.

use std::fmt;

use crate::config::ConfigErrors;
use crate::printable::printable;

/// Why a command failed, in words for the person who typed it.
#[derive(Debug)]
pub struct CliError(String);

impl CliError {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.lines().map(printable).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        Self(errors.to_string())
    }
}

macro_rules! says_itself {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}

says_itself!(
    crate::app::StartError,
    crate::log::LogError,
    crate::service::document::DocumentError,
    crate::service::keys::KeyError,
    crate::service::master_key::MasterKeyError,
    crate::service::operator::OperationError,
    crate::service::passwords::PasswordError,
    crate::service::setup::SetupError,
    crate::storage::StoreError,
);
