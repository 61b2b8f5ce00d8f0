//! What handlers take from a request: parameters read strictly, addresses believed only where configured, credentials untouched.
//! Every refusal here is an OAuth error or a page, never the framework's plain text (security.md S-22).

pub mod authorization;
pub mod client_id;
pub mod form;
pub mod json;
pub mod query;
pub mod remote_addr;
pub mod user_agent;

pub use authorization::RawAuthorization;
pub use client_id::PathClientId;
pub use form::{Form, OptionalForm, PageForm};
pub use json::JsonText;
pub use query::{PageQuery, Query};
pub use remote_addr::RemoteAddr;

pub use crate::http::layers::trace_id::TraceId;
