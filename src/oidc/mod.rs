//! OpenID Connect, pure: ID tokens, claims, prompt and max_age, pairwise subjects, userinfo, logout, discovery. The same rules as for `oauth`.

pub mod authentication;
pub mod claims;
pub mod claims_request;
pub mod discovery;
pub mod groups;
pub mod id_token;
pub mod logout;
pub mod logout_token;
pub mod pairwise;
pub mod session;
pub mod third_party_login;
pub mod user;
pub mod userinfo;
