//! The admin API (contract.md): JSON for programs that administrate this server.
//!
//! [`table`] is all there is: one row per operation, with the right that it needs. The router is made of it, the OpenAPI document is
//! made of it, and what has no row is refused (security.md R-70). A handler gets a [`Call`]: by then the caller's token was checked, it
//! holds the right of the row, and path, query and body are within their limits. It calls a service and renders the answer; audit events
//! are written by the service, in the transaction that they describe. Refusals are RFC 9457 problem documents. No cookie is read here,
//! and no page of another site may read an answer.
//!
//! Something new: a file with its `OPERATIONS`, a line in [`table`], and a row in `tests/it/flows/admin/rows.rs`, which fails until then.

pub(crate) mod audit;
pub(crate) mod call;
mod clients;
mod decisions;
mod groups;
mod initial_access_tokens;
mod keys;
pub mod openapi;
pub mod operation;
pub mod page;
pub mod problem;
pub mod reference;
mod reply;
mod resources;
pub mod router;
pub mod table;
mod users;

pub use call::Call;
pub use operation::{Answer, Body, Operation, Parameter, Verb, schema};
pub use reply::Reply;
pub use router::router;

/// Where all of it is, below the issuer: also the audience of its tokens.
pub const BASE: &str = "/admin/api";
/// Where its operations are.
pub const V1: &str = "/admin/api/v1";
