//! What a client is: RFC 7591 metadata plus this server's own members, and the one validator for both.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jose::Alg;
use crate::secret::Digest;

/// A registered client with all that a decision about it needs.
#[derive(Debug, Clone)]
pub struct Client {
    /// RFC 6749 §2.2.
    pub client_id: String,
    /// What was registered, validated and with defaults filled in.
    pub metadata: ClientMetadata,
    /// `false` refuses everything that the client asks for.
    pub enabled: bool,
    /// The live and recently ended secrets, newest first; at most two are live.
    pub secrets: Vec<ClientSecret>,
    /// Access tokens of the client_credentials grant issued before this instant are inactive.
    pub tokens_not_before: Option<Timestamp>,
    /// Counts changes of the metadata: a remembered consent holds for one version of redirects and keys.
    pub metadata_version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One of a client's secrets, by digest: they are random values of 256 bits made here (design 6).
#[derive(Debug, Clone)]
pub struct ClientSecret {
    pub id: uuid::Uuid,
    pub digest: Digest,
    pub created_at: Timestamp,
    /// `None`: until it is rotated out.
    pub expires_at: Option<Timestamp>,
}

/// RFC 7591 §2 members, OpenID Connect Registration §2 members, and ours. The JSON of `chancery client add` and the admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientMetadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_logout_redirect_uris: Vec<String>,
    #[serde(default = "defaults::grant_types")]
    pub grant_types: Vec<GrantType>,
    #[serde(default = "defaults::response_types")]
    pub response_types: Vec<String>,
    #[serde(default)]
    pub token_endpoint_auth_method: AuthMethod,
    /// Space-separated, RFC 7591 §2. `None`: the server's default set (contract.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default)]
    pub application_type: ApplicationType,
    #[serde(default)]
    pub id_token_signed_response_alg: Alg,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_max_age: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_auth_time: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiate_login_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,

    // Ours.
    /// PKCE is demanded unless a confidential client turns it off here (design 7).
    #[serde(default = "defaults::yes")]
    pub require_pkce: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Skips the consent page as design 7 says. Set by the command line and the admin API alone.
    #[serde(default)]
    pub first_party: bool,
    #[serde(default)]
    pub refresh_rotation: RefreshRotation,
    /// Seconds for which a public client's previous refresh token may still be recovered (design 4.2).
    #[serde(default = "defaults::refresh_recovery")]
    pub refresh_recovery: u64,
    #[serde(default)]
    pub introspection: Introspection,
}

/// RFC 6749 grants that a client may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
}

/// How a client proves itself at the token endpoint (RFC 7591 §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    #[default]
    ClientSecretBasic,
    ClientSecretPost,
    None,
}

/// OpenID Connect Registration §2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    #[default]
    Web,
    Native,
}

/// A bundle of stricter rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// FAPI 2.0 Security Profile.
    Fapi2,
}

/// What happens to a refresh token when it is used (design 4.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshRotation {
    /// Rotates, and survives lost answers and simultaneous tabs.
    #[default]
    Recover,
    /// Rotates; anything redeemed before is theft.
    Strict,
    /// The same token again.
    None,
}

/// Whose tokens a client may introspect (design 4.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Introspection {
    /// Its own, and those of resources that name it.
    #[default]
    Own,
    /// Everybody's.
    Any,
}

mod defaults {
    use super::GrantType;

    pub fn grant_types() -> Vec<GrantType> {
        vec![GrantType::AuthorizationCode]
    }
    pub fn response_types() -> Vec<String> {
        vec!["code".to_owned()]
    }
    pub fn yes() -> bool {
        true
    }
    pub fn refresh_recovery() -> u64 {
        3600
    }
}
