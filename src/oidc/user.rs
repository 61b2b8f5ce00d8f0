//! A person as the protocol knows them: OpenID Connect Core §5.1 claims with their types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::clock::Timestamp;

/// A user as the store holds it, the password hash apart.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Row id, never shown to clients.
    pub id: Uuid,
    /// The subject identifier: random, never reassigned, at most 255 ASCII characters (OpenID Connect Core §8).
    pub sub: String,
    /// As the person types it, composed; compared as [`crate::typed::username`] has it.
    pub username: String,
    pub enabled: bool,
    /// May use the admin pages and is granted admin scopes.
    pub admin: bool,
    pub groups: Vec<String>,
    pub claims: Claims,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What of a user there is to tell under the names of §5.1.
#[derive(Debug, Clone, Copy)]
pub struct Profile<'a> {
    /// See [`User::username`].
    pub username: &'a str,
    pub claims: &'a Claims,
    pub updated_at: Timestamp,
}

impl User {
    /// What there is to tell.
    pub fn profile(&self) -> Profile<'_> {
        Profile { username: &self.username, claims: &self.claims, updated_at: self.updated_at }
    }
}

/// OpenID Connect Core §5.1. Absent claims are omitted, never null or blank.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub middle_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// YYYY-MM-DD, 0000-MM-DD or YYYY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birthdate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zoneinfo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number_verified: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
}

/// OpenID Connect Core §5.1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formatted: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub street_address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// A JSON object of claims.
pub type ClaimMap = Map<String, Value>;
