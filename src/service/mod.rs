//! I/O around the core: load facts, let the core decide, apply what it decided.
//!
//! A service knows storage and the core, never HTTP. Its refusals are [`Reason`]s; the edge turns them into answers and records.

pub mod account;
pub mod address;
pub mod admin;
pub mod audit;
pub mod authorize;
pub mod backchannel;
pub mod bearer;
pub mod browser;
pub mod client_keys;
pub mod clients;
pub mod decisions;
pub mod device;
pub mod doctor;
pub mod document;
pub mod encrypt;
pub mod factors;
pub mod forwarded;
pub mod groups;
pub mod initial_access_tokens;
pub mod introspect;
pub mod issue;
pub mod keyed;
pub mod keys;
pub mod login;
pub mod logos;
pub mod logout;
pub mod master_key;
pub mod operator;
pub mod outbound;
pub mod passwords;
pub mod quota;
pub mod registration;
pub mod registry;
pub mod resources;
pub mod revision;
pub mod revoke;
pub mod scans;
pub mod secret_uses;
pub mod setup;
pub mod throttle;
pub mod token;
pub mod turns;
pub mod userinfo;
pub mod users;

use crate::oauth::refusal::Reason;
use crate::storage::StoreError;

impl From<StoreError> for Reason {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(detail) => Reason::StorageUnavailable { detail },
            newer @ StoreError::NewerVersion(_) => Reason::StorageUnavailable { detail: newer.to_string() },
            StoreError::Conflict(detail) | StoreError::Corrupt(detail) | StoreError::Schema(detail) => Reason::Internal { detail },
            owned @ StoreError::Owned { .. } => Reason::Internal { detail: owned.to_string() },
        }
    }
}
