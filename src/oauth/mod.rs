//! The protocol, pure: facts in, decisions out. No I/O, no clock, no randomness, no HTTP types; every rule of an RFC stands in
//! one named file with its section number. A test fails if this folder names the database driver, the web framework or the runtime.

pub mod access_token;
pub mod authorize;
pub mod bearer;
pub mod client;
pub mod client_auth;
pub mod endpoint;
pub mod family;
pub mod grant;
pub mod introspection;
pub mod params;
pub mod pkce;
pub mod redirect_uri;
pub mod refusal;
pub mod resource;
pub mod revocation;
pub mod scope;
