//! What the operations of operators need, whoever calls them.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::entropy::{self, Entropy};
use crate::oauth::client::MetadataError;
use crate::oauth::refusal::Reason;
use crate::service::document::DocumentError;
use crate::service::passwords::{PasswordError, Passwords, PolicyError};
use crate::storage::audit::AuditEvent;
use crate::storage::{Db, StoreError};

/// Who acts, on what, and when.
pub struct Operator<'a> {
    pub db: &'a Db,
    pub config: &'a Config,
    pub entropy: &'a dyn Entropy,
    pub passwords: &'a Passwords,
    /// How the audit log calls the one who acts: `cli`, `client:ID`, `user:ID`.
    pub actor: String,
    pub now: Timestamp,
    /// The request behind it, if there is one.
    pub trace_id: Option<String>,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// Nothing has this name.
    #[error("no {kind} {id:?}")]
    NotFound {
        /// `user`, `client`, `resource`.
        kind: &'static str,
        id: String,
    },
    /// A document is not what it should be.
    #[error(transparent)]
    Invalid(#[from] DocumentError),
    /// A password breaks the policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// It is not in the state that the caller asked for.
    #[error("it is not as it was: expected {expected}, there is {present}")]
    Precondition { expected: String, present: String },
    /// It was changed meanwhile, or does not fit what is there.
    #[error("{0}")]
    Conflict(String),
    /// Something else has what this member says.
    #[error("{detail}")]
    Taken {
        /// `username`, `identifier`.
        member: &'static str,
        detail: String,
    },
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A set-up file keeps it (`chancery apply`).
    #[error("{0}")]
    Owned(String),
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        match error {
            owned @ StoreError::Owned { .. } => Self::Owned(owned.to_string()),
            StoreError::Unavailable(_)
            | StoreError::Conflict(_)
            | StoreError::Corrupt(_)
            | StoreError::NewerVersion(_)
            | StoreError::Schema(_) => Self::Store(error),
        }
    }
}

impl From<MetadataError> for OperationError {
    fn from(error: MetadataError) -> Self {
        Self::Invalid(error.into())
    }
}

impl From<OperationError> for Reason {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::NotFound { kind, id } => Self::AdminNotFound { kind: kind.to_owned(), id },
            OperationError::Invalid(error) => Self::DocumentRefused { member: error.member, detail: error.message },
            OperationError::Policy(error) => {
                Self::DocumentRefused { member: Some("password".to_owned()), detail: error.to_string() }
            }
            OperationError::Precondition { expected, present } => Self::PreconditionFailed { expected, present },
            OperationError::Conflict(detail) | OperationError::Owned(detail) => Self::AdminConflict { member: None, detail },
            OperationError::Taken { member, detail } => Self::AdminConflict { member: Some(member.to_owned()), detail },
            OperationError::Password(PasswordError::Overloaded { retry_after }) => Self::Overloaded { retry_after },
            OperationError::Password(error @ PasswordError::Failed(_)) => Self::Internal { detail: error.to_string() },
            OperationError::Store(error) => error.into(),
        }
    }
}

impl Operator<'_> {
    /// The audit event of an operation, to be written in the transaction that it describes. `was` and `is_now` never hold secrets.
    pub fn event(&self, action: &'static str, target: &str, was: Option<Value>, is_now: Option<Value>) -> AuditEvent {
        AuditEvent {
            id: entropy::row_id(self.entropy, self.now),
            at: self.now,
            actor: self.actor.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            was: was.map(|value| value.to_string()),
            is_now: is_now.map(|value| value.to_string()),
            trace_id: self.trace_id.clone(),
        }
    }
}
