//! What a client is: RFC 7591 metadata plus this server's own members, and the one validator for both.

mod validate;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::redirect_uri;
use super::registration::Registered;
use super::resource::{self, Resource};
use super::scope;
use crate::clock::Timestamp;
use crate::jose::{Alg, ContentEncryption, JwkSet, KeyManagement};
use crate::oidc::authentication::Demand;
use crate::oidc::groups::ClaimMapping;
use crate::secret::Digest;

pub use validate::{MetadataCode, MetadataError, Policy, WHOLE, validate};

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
    /// Of a client that registered itself: how.
    pub registered: Option<Registered>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Whether it sees people under the same `sub` as everybody else (OpenID Connect Core section 8).
    #[serde(default)]
    pub subject_type: SubjectType,
    #[serde(default)]
    pub id_token_signed_response_alg: Alg,
    /// Its public keys, by value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwkSet>,
    /// `None`: userinfo answers as plain JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_signed_response_alg: Option<Alg>,
    /// `None`: ID tokens are not encrypted. Needs a key in `jwks` or at `jwks_uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token_encrypted_response_alg: Option<KeyManagement>,
    /// `A128CBC-HS256` where the `alg` stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token_encrypted_response_enc: Option<ContentEncryption>,
    /// `None`: userinfo is not encrypted. Needs a key in `jwks` or at `jwks_uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_encrypted_response_alg: Option<KeyManagement>,
    /// `A128CBC-HS256` where the `alg` stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_encrypted_response_enc: Option<ContentEncryption>,
    /// Where they are, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The one algorithm of its assertions; `None`: any that its key can have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<Alg>,
    /// The one algorithm of its request objects; `None`: any that its key can have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_object_signing_alg: Option<Alg>,
    /// RFC 9101 §10.5: an authorization request that it has not signed is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_signed_request_object: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_max_age: Option<u64>,
    /// ID tokens always have `auth_time`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_auth_time: bool,
    /// What counts as `acr_values` where a request has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_acr_values: Vec<String>,
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
    /// OpenID Connect Back-Channel Logout §2.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
    /// Every logout token of ours has a `sid`; this is told and kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backchannel_logout_session_required: bool,
    /// OpenID Connect Front-Channel Logout §2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontchannel_logout_uri: Option<String>,
    /// `iss` and `sid` are always added; this is told and kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frontchannel_logout_session_required: bool,
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
    /// What its ID tokens and userinfo say about the person's groups and roles. Set by the command line and the admin API alone.
    #[serde(default, skip_serializing_if = "ClaimMapping::is_empty")]
    pub claims: ClaimMapping,
    /// Whether people must prove a second factor for this client; `None`: as `[factors] second_factor` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<Demand>,
}

/// How the content's key gets to the client, and how the content is encrypted.
pub type Encryption = (KeyManagement, ContentEncryption);

/// RFC 6749 grants that a client may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
    /// RFC 8628 §3.4.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
}

/// How a client proves itself at the token endpoint (RFC 7591 §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    #[default]
    ClientSecretBasic,
    ClientSecretPost,
    /// OpenID Connect Core §9, RFC 7523: assertions signed with a key of its own.
    PrivateKeyJwt,
    None,
}

/// OpenID Connect Registration §2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    #[default]
    Web,
    Native,
}

/// OpenID Connect Core §8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectType {
    /// The same for every client.
    #[default]
    Public,
    /// Another one for every sector: the host of its redirect URIs.
    Pairwise,
}

/// A bundle of stricter rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// FAPI 2.0 Security Profile.
    Fapi2,
}

/// What happens to a refresh token when it is used (design 4.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Introspection {
    /// Its own, and those of resources that name it.
    #[default]
    Own,
    /// Everybody's.
    Any,
}

impl Client {
    /// May the client use this grant?
    pub fn uses(&self, grant: GrantType) -> bool {
        self.metadata.grant_types.contains(&grant)
    }

    /// RFC 6749 §2.1: a public client cannot keep a secret and does not authenticate.
    pub fn is_public(&self) -> bool {
        self.metadata.token_endpoint_auth_method == AuthMethod::None
    }

    /// RFC 8252: an application on the person's device. Registered as such, or public with loopback and private-use redirects
    /// alone (design 7).
    pub fn is_native(&self) -> bool {
        let uris = &self.metadata.redirect_uris;
        let on_the_device = |uri: &String| redirect_uri::is_http_loopback(uri) || redirect_uri::is_private_use(uri);
        self.metadata.application_type == ApplicationType::Native
            || (self.is_public() && !uris.is_empty() && uris.iter().all(on_the_device))
    }

    /// Is PKCE demanded? Always, except of a confidential client without strict profile that turned it off (design 7).
    pub fn requires_pkce(&self) -> bool {
        self.metadata.require_pkce || self.is_public() || self.is_fapi2()
    }

    /// FAPI 2.0 Security Profile.
    pub fn is_fapi2(&self) -> bool {
        self.metadata.profile == Some(Profile::Fapi2)
    }

    /// Does it want to know when a session ends that its people signed in with?
    pub fn hears_of_sign_outs(&self) -> bool {
        self.metadata.backchannel_logout_uri.is_some() || self.metadata.frontchannel_logout_uri.is_some()
    }

    /// What happens to its refresh tokens when they are used; the `fapi2` profile forces `none` (design 4.2).
    pub fn refresh_rotation(&self) -> RefreshRotation {
        if self.is_fapi2() { RefreshRotation::None } else { self.metadata.refresh_rotation }
    }

    /// The scopes that it is registered for, as registered, or the server's default set for clients with a person's grant
    /// (contract.md). Some may not exist any more.
    pub fn registered_scopes(&self) -> Vec<String> {
        self.registered().map(str::to_owned).collect()
    }

    fn registered(&self) -> impl Iterator<Item = &str> {
        let written = self.metadata.scope.as_deref();
        let default = written.is_none() && self.metadata.grant_types.iter().any(|grant| grant.asks_a_person());
        let defaults = scope::DEFAULT.iter().copied().filter(move |_| default);
        written.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).chain(defaults)
    }

    /// Is this one of [`Self::allowed_scopes`]?
    pub fn allows(&self, scope: &str, resources: &[Resource]) -> bool {
        let is_registered = |scope: &str| self.registered().any(|registered| registered == scope);
        let registered = is_registered(scope) || (scope == resource::ADMIN_READ && is_registered(resource::ADMIN_WRITE));
        registered && counts(scope, resources)
    }

    /// The scopes that it may ask for: registered, and either OpenID Connect's own or defined by one of `resources` (which
    /// includes the built-in admin API, see [`resource::Catalogue::resources`]). `admin:write` includes `admin:read`.
    pub fn allowed_scopes(&self, resources: &[Resource]) -> Vec<String> {
        let is_registered = |scope: &str| self.registered().any(|registered| registered == scope);
        let implies = is_registered(resource::ADMIN_WRITE) && !is_registered(resource::ADMIN_READ);
        let all = self.registered().chain(implies.then_some(resource::ADMIN_READ));
        let mut allowed = Vec::with_capacity(2);
        allowed.extend(all.filter(|scope| counts(scope, resources)).map(str::to_owned));
        allowed
    }

    /// The scopes of a client_credentials request without `scope` (contract.md): those that it is registered for at resources.
    pub fn resource_scopes(&self, resources: &[Resource]) -> Vec<String> {
        let mut scopes = self.allowed_scopes(resources);
        scopes.retain(|scope| !scope::is_openid_connect(scope));
        scopes
    }
}

/// Is this scope OpenID Connect's own, or one of these resources?
fn counts(scope: &str, resources: &[Resource]) -> bool {
    scope::is_openid_connect(scope) || resource::owner(resources, scope).is_some()
}

impl ClientMetadata {
    /// How its ID tokens are encrypted, if they are.
    pub fn id_token_encryption(&self) -> Option<Encryption> {
        Some((self.id_token_encrypted_response_alg?, self.id_token_encrypted_response_enc.unwrap_or_default()))
    }

    /// How its userinfo is encrypted, if it is.
    pub fn userinfo_encryption(&self) -> Option<Encryption> {
        Some((self.userinfo_encrypted_response_alg?, self.userinfo_encrypted_response_enc.unwrap_or_default()))
    }

    /// What signs the documents that it is told by.
    pub fn signing_algs(&self) -> impl Iterator<Item = Alg> + use<> {
        [Some(self.id_token_signed_response_alg), self.userinfo_signed_response_alg].into_iter().flatten()
    }
}

impl GrantType {
    /// Every grant that is offered; discovery and registration are built from it.
    pub const ALL: [Self; 4] = [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials, Self::DeviceCode];

    /// As in `grant_type` and `grant_types`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
        }
    }

    /// Is it a person who grants, and not the client itself?
    pub fn asks_a_person(self) -> bool {
        match self {
            Self::AuthorizationCode | Self::DeviceCode => true,
            Self::RefreshToken | Self::ClientCredentials => false,
        }
    }
}

impl SubjectType {
    /// Every type that is offered; discovery is built from it.
    pub const ALL: [Self; 2] = [Self::Public, Self::Pairwise];

    /// As in `subject_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Pairwise => "pairwise",
        }
    }
}

impl AuthMethod {
    /// Every method that is offered; discovery and registration are built from it.
    pub const ALL: [Self; 4] = [Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt, Self::None];

    /// As in `token_endpoint_auth_method`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::None => "none",
        }
    }

    /// Does a client prove anything by it?
    pub const fn proves(self) -> bool {
        match self {
            Self::ClientSecretBasic | Self::ClientSecretPost | Self::PrivateKeyJwt => true,
            Self::None => false,
        }
    }

    /// Does a client share a secret with this server for it?
    pub const fn has_secret(self) -> bool {
        match self {
            Self::ClientSecretBasic | Self::ClientSecretPost => true,
            Self::PrivateKeyJwt | Self::None => false,
        }
    }
}

impl ClientSecret {
    /// May it be used at `now`?
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

impl Default for ClientMetadata {
    /// What an empty JSON object means.
    fn default() -> Self {
        Self {
            client_name: None,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            grant_types: defaults::grant_types(),
            response_types: defaults::response_types(),
            token_endpoint_auth_method: AuthMethod::default(),
            scope: None,
            application_type: ApplicationType::default(),
            subject_type: SubjectType::default(),
            id_token_signed_response_alg: Alg::default(),
            jwks: None,
            userinfo_signed_response_alg: None,
            id_token_encrypted_response_alg: None,
            id_token_encrypted_response_enc: None,
            userinfo_encrypted_response_alg: None,
            userinfo_encrypted_response_enc: None,
            jwks_uri: None,
            token_endpoint_auth_signing_alg: None,
            request_object_signing_alg: None,
            require_signed_request_object: false,
            default_max_age: None,
            require_auth_time: false,
            default_acr_values: Vec::new(),
            client_uri: None,
            logo_uri: None,
            policy_uri: None,
            tos_uri: None,
            initiate_login_uri: None,
            backchannel_logout_uri: None,
            backchannel_logout_session_required: false,
            frontchannel_logout_uri: None,
            frontchannel_logout_session_required: false,
            contacts: Vec::new(),
            software_id: None,
            software_version: None,
            require_pkce: true,
            profile: None,
            first_party: false,
            refresh_rotation: RefreshRotation::default(),
            refresh_recovery: defaults::refresh_recovery(),
            introspection: Introspection::default(),
            claims: ClaimMapping::default(),
            second_factor: None,
        }
    }
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
