//! OpenID Connect, pure: ID tokens, claims, prompt and max_age, userinfo, logout, discovery. The same rules as for `oauth`.

pub mod authentication;
pub mod claims;
pub mod discovery;
pub mod groups;
pub mod id_token;
pub mod logout;
pub mod session;
pub mod user;
pub mod userinfo;
