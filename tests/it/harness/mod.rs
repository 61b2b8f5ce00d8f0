//! The stage for the flows: a server over real sockets on either database, with a clock that the test moves, people with browsers, and
//! registered applications. `let (server, alice, client) = server.actors().await;`
//!
//! The issuer is an https URL as in production; the browser and the clients reach it over plain sockets, as a TLS proxy would.

pub mod admin;
pub mod browser;
pub mod cast;
pub mod client;
pub mod collector;
mod jwe;
pub mod keyed;
pub mod keyring;
pub mod machine;
pub mod person;
pub mod postgres;
pub mod raw;
pub mod receiver;
pub mod schema;
pub mod server;
pub mod site;

use std::sync::atomic::{AtomicU64, Ordering};

pub use admin::Admin;
pub use browser::{Browser, Page};
pub use cast::{dump, fill_audit_log, half_hash};
pub use client::{Answer, Client, basic_header, jwt};
pub use jwe::Recipient;
pub use person::{Person, Request};
pub use server::{Backend, Server, Setup};
pub use site::Site;

/// `prefix` with a number that no other call in this process gets.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Rounds for a race or a sample: many more with `./test --long`.
pub fn rounds(short: usize, long: usize) -> usize {
    // As ./test reads it: empty is as good as not there.
    if std::env::var_os("CHANCERY_TEST_LONG").is_some_and(|value| !value.is_empty()) { long } else { short }
}

/// Runs each test on both databases: `async fn name(server: Server)` becomes `on_sqlite::name` and `on_postgres::name`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::harness::Server::start(crate::harness::Backend::Sqlite).await).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::harness::Server::start(crate::harness::Backend::Postgres).await).await;
            })+
        }
    };
}
pub(crate) use on_both;
