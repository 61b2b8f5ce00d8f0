//! Grants: one authorization each, and everything issued from it (design 4.1). One file per grant type of the token endpoint.

pub mod authorization_code;
pub mod client_credentials;
pub mod device_code;
pub mod facts;
pub mod issuance;
pub mod narrow;
pub mod refresh_token;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the fuzzers need some of them"))]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "facts for tests and fuzzers, which may fail loudly")]
pub(crate) mod samples;

pub use facts::{
    ClientTokenFacts, CodeFacts, DeviceCodeFacts, Fallen, FamilyFacts, GrantFacts, Life, SessionFacts, Standing, TokenFacts,
};
pub use issuance::{Issuance, Limits, RefreshPlan};

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::oauth::client::{Client, GrantType};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oidc::claims_request::ClaimsRequest;

/// A request to the token endpoint, read as its grant wants it.
#[derive(Debug, Clone)]
pub enum TokenRequest {
    AuthorizationCode(authorization_code::Request),
    RefreshToken(refresh_token::Request),
    ClientCredentials(client_credentials::Request),
    DeviceCode(device_code::Request),
}

impl TokenRequest {
    /// Reads `grant_type` and, if the client may use that grant at all, what belongs to it.
    ///
    /// # Errors
    /// `MissingParameter`, `UnauthorizedGrantType`, `UnsupportedGrantType` (RFC 6749 §5.2; password and implicit are never offered), and those of the grant.
    pub fn parse(params: &Params, client: &Client) -> Result<Self, Reason> {
        let grant_type = params.require("grant_type")?;
        let known = GrantType::ALL.into_iter().find(|known| known.as_str() == grant_type);
        let grant = known.ok_or_else(|| Reason::UnsupportedGrantType { received: grant_type.chars().take(100).collect() })?;
        // Before the artefact is looked at: whose code or token it is concerns nobody who may not use the grant.
        allowed(client, grant)?;
        match grant {
            GrantType::AuthorizationCode => authorization_code::Request::parse(params).map(Self::AuthorizationCode),
            GrantType::RefreshToken => refresh_token::Request::parse(params).map(Self::RefreshToken),
            GrantType::ClientCredentials => client_credentials::Request::parse(params).map(Self::ClientCredentials),
            GrantType::DeviceCode => device_code::Request::parse(params).map(Self::DeviceCode),
        }
    }

    /// Which grant this is.
    pub fn grant_type(&self) -> GrantType {
        match self {
            Self::AuthorizationCode(_) => GrantType::AuthorizationCode,
            Self::RefreshToken(_) => GrantType::RefreshToken,
            Self::ClientCredentials(_) => GrantType::ClientCredentials,
            Self::DeviceCode(_) => GrantType::DeviceCode,
        }
    }
}

/// RFC 6749 §5.2, unauthorized_client: is the client registered for this grant?
///
/// # Errors
/// `UnauthorizedGrantType`.
pub fn allowed(client: &Client, grant: GrantType) -> Result<(), Reason> {
    if client.metadata.grant_types.contains(&grant) {
        return Ok(());
    }
    Err(Reason::UnauthorizedGrantType {
        client_id: client.client_id.clone(),
        grant_type: grant.as_str().to_owned(),
        registered: client.metadata.grant_types.iter().map(|grant| grant.as_str().to_owned()).collect(),
    })
}

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
    /// Claims that were asked for by name, and where they go (OpenID Connect Core §5.5).
    pub claims: ClaimsRequest,
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
