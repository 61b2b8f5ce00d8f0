//! The storage contract: one set of tests, run on both databases, races included.

use chancery::config::database::DatabaseConfig;
use chancery::storage::{Db, Kind};

use crate::harness::postgres;

/// A database of one's own; the SQLite file goes with it.
pub struct Store {
    pub db: Db,
    pub config: DatabaseConfig,
    _folder: Option<tempfile::TempDir>,
}

impl Store {
    /// Empty, not even migrated.
    pub async fn empty(kind: Kind) -> Self {
        let (url, folder) = match kind {
            Kind::Postgres => (postgres::database().await, None),
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                (format!("sqlite://{}/store.db", folder.path().display()), Some(folder))
            }
        };
        let config = DatabaseConfig::new(url);
        Self { db: Db::connect(&config).await.unwrap(), config, _folder: folder }
    }

    /// A second handle with pools of its own: another replica, or a command beside the server.
    pub async fn replica(&self) -> Db {
        Db::connect(&self.config).await.unwrap()
    }
}

/// Declares tests that run once on each database: `on_both! { async fn name(kind) { … } }`.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($kind:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            async fn contract($kind: chancery::storage::Kind) $body
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                contract(chancery::storage::Kind::Sqlite).await;
            }
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                contract(chancery::storage::Kind::Postgres).await;
            }
        }
    )*};
}

mod blocking;
mod commits;
mod database;
mod decisions;
mod device_codes;
mod factors;
mod fixtures;
mod groups;
mod keys;
mod logouts;
mod owners;
mod plans;
mod plateau;
mod races;
mod registry;
mod schema;
mod signing_in;
mod sweep;
mod throttle;
