//! OpenID Connect, pure: ID tokens, claims, prompt and max_age, userinfo, logout, discovery. The same rules as for `oauth`.

pub mod session;
pub mod user;
