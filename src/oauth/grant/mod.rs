//! Grants: one authorization each, and everything issued from it (design 4.1). One file per grant type of the token endpoint.

pub mod facts;

pub use facts::{ClientTokenFacts, CodeFacts, FamilyFacts, GrantFacts, SessionFacts, Standing, TokenFacts};

use uuid::Uuid;

use crate::clock::Timestamp;

/// One authorization: who, for whom, what, how the person proved themselves, and in which browser session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub id: Uuid,
    pub client_id: String,
    /// Row id of the user.
    pub user_id: Uuid,
    /// The `sub` that this client sees.
    pub sub: String,
    /// Granted scopes, space-separated in the store.
    pub scopes: Vec<String>,
    /// The resources of the authorization request (RFC 8707).
    pub resources: Vec<String>,
    pub auth_time: Timestamp,
    pub acr: Option<String>,
    pub amr: Vec<String>,
    /// The browser session, by its row id, and the `sid` that clients see.
    pub session_id: Option<Uuid>,
    pub sid: Option<String>,
    /// `auth_time` was asked for by max_age, so ID tokens carry it (they always do here).
    pub nonce: Option<String>,
    pub created_at: Timestamp,
    /// After this nothing issued from it can be alive: it may be swept.
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ended_because: Option<String>,
}

/// An authorization code as the store holds it (RFC 6749 §4.1.2), by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationCode {
    pub grant_id: Uuid,
    pub client_id: String,
    /// The redirect_uri of the request, byte for byte, if it carried one.
    pub redirect_uri: Option<String>,
    pub code_challenge: Option<String>,
    pub nonce: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub consumed_at: Option<Timestamp>,
}
