//! Chancery: an OAuth 2.0 and OpenID Connect authorization server that explains itself when it says no.
//!
//! Folders are layers, and a lower one never names a higher one: `clock`, `entropy`, `secret`, `printable`, `typed`, `json`, `seal`, `jose`, `factors` and the
//! pure core (`oauth`, `oidc`) know nothing of databases or HTTP; `storage` holds facts; `service` loads facts, asks the core, applies its
//! decisions; `http`, `cli` and `jobs` are the edges; `app` is the one place where all is put together.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod factors;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod jobs;
pub mod jose;
pub mod json;
pub mod log;
pub mod measure;
pub mod oauth;
pub mod oidc;
pub mod printable;
pub mod seal;
pub mod secret;
pub mod service;
pub mod spans;
pub mod storage;
pub mod typed;
