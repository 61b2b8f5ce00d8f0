//! Resources (APIs): RFC 8707 identifiers, the scopes that belong to each, and the audience rules of design 4.4.

use serde::{Deserialize, Serialize};

use crate::jose::Alg;

/// An API that access tokens are made for. The JSON of `chancery resource add` and the admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Absolute URI without fragment (RFC 8707 §2): the `aud` of its tokens.
    pub identifier: String,
    pub name: String,
    #[serde(default)]
    pub scopes: Vec<ResourceScope>,
    /// Seconds; `None` means the server's `[lifetimes] access_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<u64>,
    #[serde(default)]
    pub access_token_signing_alg: Alg,
    #[serde(default)]
    pub access_token_format: TokenFormat,
    /// Clients that may introspect tokens for this resource.
    #[serde(default)]
    pub introspection_clients: Vec<String>,
}

/// A scope of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceScope {
    pub name: String,
    /// What the consent page says.
    #[serde(default)]
    pub description: String,
}

/// What an access token looks like to those who carry it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    /// RFC 9068.
    #[default]
    Jwt,
    /// The same claims, sealed.
    Opaque,
}
