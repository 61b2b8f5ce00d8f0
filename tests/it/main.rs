//! The one integration-test binary: real sockets, both databases.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

mod faults;
mod flows;
mod golden;
mod harness;
mod outages;
mod storage;
