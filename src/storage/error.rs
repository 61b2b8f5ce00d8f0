//! How a read or a write can fail, in the words that the layers above act on.

/// Why the store did not do what it was asked. The texts are for operators: none of them reaches a caller of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No connection in time, the connection was lost, the disk is full, a statement ran too long, or two units of work blocked each
    /// other. Nothing was acknowledged; the answer is 503 and the caller may try again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row with the same key exists, or a row that this one refers to does not.
    #[error("the row conflicts with another one: {0}")]
    Conflict(String),
    /// A set-up file keeps it: nobody else may change it.
    #[error("the {kind} {id:?} is kept by the set-up file {owner:?}: change it there and run `chancery apply`")]
    Owned {
        /// `client`, `resource`, `group`.
        kind: &'static str,
        id: String,
        /// The file's `name`.
        owner: String,
    },
    /// What was read cannot be understood, or the database refused a statement for what it says: a fault of this program or a damaged file.
    #[error("the database holds what this program does not understand: {0}")]
    Corrupt(String),
    /// What was read is well formed, and says what this program does not know. The answer is 503: a replica of the newer version can do it.
    #[error("a newer version of chancery has written what this one does not know: {0}")]
    NewerVersion(String),
    /// The schema is not the one that this binary knows: migrations are pending, or a newer binary was here.
    #[error("the database schema does not fit: {0}")]
    Schema(String),
}
