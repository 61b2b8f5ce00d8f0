//! Every protocol endpoint and its path, once: the router serves them, discovery names them, decision records speak of them.

use serde::{Deserialize, Serialize};

/// An endpoint below the issuer (contract.md, "Endpoints").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// OpenID Connect Discovery §4.
    OpenidConfiguration,
    /// RFC 8414 §3.
    AuthorizationServerMetadata,
    /// RFC 7517 §5.
    Jwks,
    /// The same under the path where some resource servers look first.
    WellKnownJwks,
    /// RFC 6749 §3.1.
    Authorize,
    /// RFC 6749 §3.2.
    Token,
    /// RFC 8628 §3.1.
    DeviceAuthorization,
    /// RFC 7662 §2.
    Introspect,
    /// RFC 7009 §2.
    Revoke,
    /// OpenID Connect Core §5.3.
    Userinfo,
    /// OpenID Connect RP-Initiated Logout §2.
    Logout,
    /// RFC 7591 §3, where registration is on.
    Registration,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::OpenidConfiguration,
        Self::AuthorizationServerMetadata,
        Self::Jwks,
        Self::WellKnownJwks,
        Self::Authorize,
        Self::Token,
        Self::DeviceAuthorization,
        Self::Introspect,
        Self::Revoke,
        Self::Userinfo,
        Self::Logout,
        Self::Registration,
    ];

    /// The path below the issuer.
    pub const fn path(self) -> &'static str {
        match self {
            Self::OpenidConfiguration => "/.well-known/openid-configuration",
            Self::AuthorizationServerMetadata => "/.well-known/oauth-authorization-server",
            Self::Jwks => "/jwks",
            Self::WellKnownJwks => "/.well-known/jwks.json",
            Self::Authorize => "/authorize",
            Self::Token => "/token",
            Self::DeviceAuthorization => "/device/code",
            Self::Introspect => "/introspect",
            Self::Revoke => "/revoke",
            Self::Userinfo => "/userinfo",
            Self::Logout => "/logout",
            Self::Registration => "/register",
        }
    }

    /// How decision records and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenidConfiguration => "openid_configuration",
            Self::AuthorizationServerMetadata => "authorization_server_metadata",
            Self::Jwks | Self::WellKnownJwks => "jwks",
            Self::Authorize => "authorize",
            Self::Token => "token",
            Self::DeviceAuthorization => "device_authorization",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Userinfo => "userinfo",
            Self::Logout => "logout",
            Self::Registration => "registration",
        }
    }

    /// The metadata member that names it; `None` for what discovery itself is found by.
    pub const fn metadata_member(self) -> Option<&'static str> {
        match self {
            Self::OpenidConfiguration | Self::AuthorizationServerMetadata | Self::WellKnownJwks => None,
            Self::Jwks => Some("jwks_uri"),
            Self::Authorize => Some("authorization_endpoint"),
            Self::Token => Some("token_endpoint"),
            Self::DeviceAuthorization => Some("device_authorization_endpoint"),
            Self::Introspect => Some("introspection_endpoint"),
            Self::Revoke => Some("revocation_endpoint"),
            Self::Userinfo => Some("userinfo_endpoint"),
            Self::Logout => Some("end_session_endpoint"),
            Self::Registration => Some("registration_endpoint"),
        }
    }

    /// The absolute URL below an issuer without trailing slash.
    pub fn url(self, issuer: &str) -> String {
        format!("{issuer}{}", self.path())
    }
}
