//! Sealing: the master key, the data keys, and what is put under them (design 4.6).
//!
//! The master key only wraps data keys; data keys seal and MAC everything else. What is sealed names its key, so that keys can be
//! rotated while old values still open, and is bound to a context (what it is and whose), so that a row copied over another row
//! does not open. AES-256-GCM-SIV (RFC 8452) forgives a repeated nonce; nonces are random all the same.
//!
//! A sealed value is `key id (4 bytes, big endian) ‖ nonce (12 bytes) ‖ ciphertext and tag`.
//! This room knows nothing of databases, files or HTTP.

mod cipher;
mod data_keys;
mod master;

pub use data_keys::{DataKeyRecord, DataKeys, Purpose, new_data_key};
pub use master::MasterKey;

#[cfg(test)]
pub(crate) use data_keys::tests;

/// Why something could not be opened, or a key not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The master key's text is not one or two times 32 bytes in base64url.
    #[error("the master key is malformed: {0}")]
    MalformedMasterKey(&'static str),
    /// Shorter than key id, nonce and tag together.
    #[error("the sealed value is cut short")]
    TooShort,
    /// Sealed under a key that is not here: another master key, or a data key that was compromised and removed.
    #[error("the value was sealed under key {0:08x}, which is not known here")]
    UnknownKey(u32),
    /// Changed, or sealed for another context.
    #[error("the sealed value does not open: it was changed, or belongs elsewhere")]
    DoesNotOpen,
    /// There is no data key for this purpose.
    #[error("no data key for the purpose {0}")]
    NoKey(&'static str),
    /// A data key's id or length is impossible.
    #[error("data key {0} is damaged")]
    Damaged(i64),
}
