//! Facts at rest, on SQLite or PostgreSQL: one file per aggregate, one SQL text for both databases.
//!
//! This folder decides nothing. It hands facts to the core and applies decisions by conditional writes whose WHERE repeats every fact
//! that can have changed since; a write that finds nothing to change says so, and the caller reads and decides once more. It never
//! reads in order to write. No bearer value and nothing that a person typed in secret comes here: digests and sealed bytes only. SQL
//! never asks for the time; `now` is an argument.
//!
//! Rows that a unit of work locks on Postgres are taken in this order, so that two of them never wait for each other: users,
//! initial access tokens, clients (and how they registered),
//! factors and sign-ins, sessions, interactions, codes, device codes, grants (by id), families, the clients of
//! sessions.

/// Declares the statements of a file, each a constant [`Sql`](db::Sql), and lists them all in `STATEMENTS` for the test that prepares
/// every one of them on both databases.
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $kind:ident $body:tt;)*) => {
        $($(#[$meta])* const $name: $crate::storage::db::Sql = $crate::storage::db::Sql::$kind $body;)*
        pub(super) const STATEMENTS: &[(&str, $crate::storage::db::Sql)] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}

#[macro_use]
mod facts;

#[macro_use]
pub mod audit;
pub mod authorize;
pub mod clients;
pub mod clock_offset;
pub mod codes;
mod commits;
pub mod consents;
pub mod counts;
pub mod db;
pub mod decisions;
pub mod device_codes;
pub mod doctor;
pub mod error;
pub mod factors;
pub mod failures;
pub mod families;
pub mod forwarded;
pub mod grants;
pub mod groups;
pub mod initial_access_tokens;
pub mod interactions;
pub mod keys;
pub mod lock;
pub mod logouts;
mod losses;
pub mod migrate;
pub mod owners;
mod places;
pub mod reach;
pub mod registrations;
pub mod resources;
pub mod revoked_tokens;
pub mod second_step;
pub mod secret_uses;
pub mod sessions;
pub mod setup;
mod shared;
pub mod sign_ins;
pub mod spent_assertions;
pub mod sweep;
mod text;
pub mod together;
pub mod users;
pub mod value;

pub use db::{Db, Kind, Row, Sql, Tx};
pub use error::StoreError;
pub use value::{Args, Value};

use audit::AuditEvent;
use futures_util::future::BoxFuture;

/// Every statement of the store with its name. For the test that prepares each on both databases.
pub fn statements() -> Vec<(&'static str, Sql)> {
    [
        audit::STATEMENTS,
        authorize::STATEMENTS,
        clients::STATEMENTS,
        clock_offset::STATEMENTS,
        codes::STATEMENTS,
        consents::STATEMENTS,
        counts::STATEMENTS,
        decisions::STATEMENTS,
        device_codes::STATEMENTS,
        factors::STATEMENTS,
        doctor::STATEMENTS,
        failures::STATEMENTS,
        families::STATEMENTS,
        forwarded::STATEMENTS,
        grants::STATEMENTS,
        groups::STATEMENTS,
        initial_access_tokens::STATEMENTS,
        interactions::STATEMENTS,
        keys::STATEMENTS,
        logouts::STATEMENTS,
        migrate::STATEMENTS,
        owners::STATEMENTS,
        registrations::STATEMENTS,
        resources::STATEMENTS,
        revoked_tokens::STATEMENTS,
        second_step::STATEMENTS,
        secret_uses::STATEMENTS,
        sessions::STATEMENTS,
        setup::STATEMENTS,
        sign_ins::STATEMENTS,
        spent_assertions::STATEMENTS,
        sweep::STATEMENTS,
        users::STATEMENTS,
    ]
    .concat()
}

/// A change and the audit event that tells of it, in one unit of work; no event if `change` found nothing to change (answered 0).
async fn audited(
    db: &Db,
    name: &'static str,
    event: Option<&AuditEvent>,
    change: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<u64, StoreError>> + Send + 'static,
) -> Result<bool, StoreError> {
    let event = event.cloned();
    db.transaction(name, move |tx| {
        Box::pin(async move {
            let changed = change(tx).await? > 0;
            if changed && let Some(event) = &event {
                audit::insert_tx(tx, event).await?;
            }
            Ok(changed)
        })
    })
    .await
}
