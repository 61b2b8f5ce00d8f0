//! A client's JSON: RFC 7591 metadata and our own members; beside them what the server sets.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::WithSecret;
use crate::clock::Timestamp;
use crate::oauth::client::{Client, ClientMetadata, ClientSecret};
use crate::secret::Secret;
use crate::service::document::{Document, DocumentError};

/// What the server says about a client and nobody else.
const SET_BY_SERVER: [&str; 8] = [
    "client_id",
    "client_id_issued_at",
    "client_secret",
    "client_secret_expires_at",
    "registered",
    "secrets",
    "tokens_not_before",
    "updated_at",
];

/// A client's file, read. Whether the metadata is acceptable is decided when it is registered.
#[derive(Debug, Clone)]
pub struct ClientDocument {
    pub metadata: ClientMetadata,
    pub enabled: Option<bool>,
}

impl ClientDocument {
    /// Reads a client's file.
    ///
    /// # Errors
    /// The first member that cannot be read.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        Self::of(Document::parse(text)?)
    }

    /// From members that have been read strictly already, those that the server sets left out.
    ///
    /// # Errors
    /// The first member that cannot be read.
    pub fn of(document: Document) -> Result<Self, DocumentError> {
        for name in SET_BY_SERVER {
            document.refuse(name, "is set by the server")?;
        }
        Self::read(document)
    }

    /// The document for a client of this id that is not there yet; it may name the id.
    pub(super) fn naming(client_id: &str, mut document: Document) -> Result<Self, DocumentError> {
        document.repeat("client_id", &Value::String(client_id.to_owned()))?;
        for name in SET_BY_SERVER {
            document.refuse(name, "is set by the server")?;
        }
        Self::read(document)
    }

    /// The document that replaces a client's: what the server sets may be sent back as it was shown. Without `enabled` it is on, as
    /// everything else that is left out has its default.
    pub(super) fn replacing(client: &Client, mut document: Document) -> Result<Self, DocumentError> {
        let Value::Object(members) = show(client) else { return Err(DocumentError::whole("not an object")) };
        for name in SET_BY_SERVER {
            document.repeat(name, members.get(name).unwrap_or(&Value::Null))?;
        }
        let read = Self::read(document)?;
        Ok(Self { enabled: Some(read.enabled.unwrap_or(true)), ..read })
    }

    fn read(mut document: Document) -> Result<Self, DocumentError> {
        document.refuse(
            "sector_identifier_uri",
            "is not offered: the sector of a pairwise client is the host that all of its redirect_uris have",
        )?;
        let enabled = document.take("enabled")?;
        let known = members();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        Ok(Self { enabled, metadata: document.rest(&known)? })
    }
}

/// A client's file: what may be sent.
#[derive(JsonSchema)]
#[schemars(rename = "Client", deny_unknown_fields)]
#[allow(dead_code, reason = "the shape of a document, which is read member by member")]
pub struct ClientFile {
    /// `false` refuses everything that the client asks for.
    enabled: Option<bool>,
    #[serde(flatten)]
    metadata: ClientMetadata,
}

/// A client as operators see it: its secrets by their times alone.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Client", deny_unknown_fields)]
pub struct ShownClient {
    client_id: String,
    /// Seconds since 1970 (RFC 7591 section 3.2.1).
    client_id_issued_at: i64,
    /// `false` refuses everything that the client asks for.
    enabled: bool,
    #[serde(flatten)]
    metadata: ClientMetadata,
    secrets: Vec<ShownSecret>,
    /// How it came to be, if it registered itself (RFC 7591).
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<ShownRegistered>,
    /// Tokens of the client_credentials grant that were issued before are inactive.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_not_before: Option<String>,
    updated_at: String,
    /// The set-up file that keeps it (`chancery apply`): then it is read-only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

/// How a client registered itself.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Registered", deny_unknown_fields)]
pub struct ShownRegistered {
    at: String,
    /// The address that it came from, or the /64 of an IPv6 address.
    address: String,
    /// The id of the initial access token; `null`: registration was open to everybody.
    initial_access_token: Option<String>,
    /// It is removed then unless somebody uses it before; absent once that happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    unused_until: Option<String>,
}

/// One of a client's secrets, by its times alone.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ClientSecret", deny_unknown_fields)]
pub struct ShownSecret {
    id: String,
    created_at: String,
    /// `null`: until it is ended.
    expires_at: Option<String>,
}

/// A client with the secret that is told this once, where one was made.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ClientWithSecret", deny_unknown_fields)]
pub struct ToldClient {
    #[serde(flatten)]
    client: ShownClient,
    /// Told this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    /// 0: it does not expire (RFC 7591 section 3.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
}

/// A new secret, told this once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewClientSecret", deny_unknown_fields)]
pub struct ToldSecret {
    client_id: String,
    #[serde(flatten)]
    secret: ShownSecret,
    /// Told this once.
    client_secret: String,
}

/// A client as JSON, as operators see it.
pub fn show(client: &Client) -> Value {
    json(&shown(client))
}

/// A secret by its times alone.
pub fn show_secret(secret: &ClientSecret) -> Value {
    json(&shown_secret(secret))
}

/// The client, and its secret if one was made: it is told now and never again.
pub fn tell(told: &WithSecret) -> Value {
    let client_secret = told.secret.as_ref().map(|secret| secret.expose().clone());
    json(&ToldClient { client: shown(&told.client), client_secret_expires_at: client_secret.as_ref().map(|_| 0), client_secret })
}

/// A secret that was made beside another.
pub fn tell_secret(client_id: &str, stored: &ClientSecret, secret: &Secret<String>) -> Value {
    json(&ToldSecret { client_id: client_id.to_owned(), secret: shown_secret(stored), client_secret: secret.expose().clone() })
}

fn shown(client: &Client) -> ShownClient {
    ShownClient {
        client_id: client.client_id.clone(),
        client_id_issued_at: client.created_at.seconds(),
        enabled: client.enabled,
        metadata: client.metadata.clone(),
        secrets: client.secrets.iter().map(shown_secret).collect(),
        registered: client.registered.as_ref().map(|registered| ShownRegistered {
            at: registered.at.rfc3339(),
            address: registered.address.clone(),
            initial_access_token: registered.initial_access_token.map(|id| id.to_string()),
            unused_until: registered.unused_until.map(Timestamp::rfc3339),
        }),
        tokens_not_before: client.tokens_not_before.map(Timestamp::rfc3339),
        updated_at: client.updated_at.rfc3339(),
        owner: None,
    }
}

fn shown_secret(secret: &ClientSecret) -> ShownSecret {
    ShownSecret {
        id: secret.id.to_string(),
        created_at: secret.created_at.rfc3339(),
        expires_at: secret.expires_at.map(Timestamp::rfc3339),
    }
}

fn json(shown: &impl Serialize) -> Value {
    serde_json::to_value(shown).unwrap_or(Value::Null)
}

/// What a client's file says after a merge patch.
pub(crate) fn patched(client: &Client, mut patch: Document) -> Result<ClientDocument, DocumentError> {
    let Value::Object(mut members) = show(client) else { return Err(DocumentError::whole("not an object")) };
    for name in SET_BY_SERVER {
        patch.repeat(name, members.get(name).unwrap_or(&Value::Null))?;
        members.remove(name);
    }
    let known = self::members();
    let known: Vec<&str> = known.iter().map(String::as_str).chain(["enabled"]).collect();
    patch.check_names(&known)?;
    patch.merge_into(&mut members);
    ClientDocument::read(Document::of(members))
}

/// The names of all members that metadata may have, those that are left out when they are empty included.
pub(crate) fn members() -> Vec<String> {
    let text = |text: &str| Some(text.to_owned());
    let full = ClientMetadata {
        client_name: text(""),
        post_logout_redirect_uris: vec![String::new()],
        scope: text(""),
        jwks: serde_json::from_value(
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] }),
        )
        .ok(),
        userinfo_signed_response_alg: Some(crate::jose::Alg::RS256),
        id_token_encrypted_response_alg: Some(crate::jose::KeyManagement::EcdhEs),
        id_token_encrypted_response_enc: Some(crate::jose::ContentEncryption::A128Gcm),
        userinfo_encrypted_response_alg: Some(crate::jose::KeyManagement::EcdhEs),
        userinfo_encrypted_response_enc: Some(crate::jose::ContentEncryption::A128Gcm),
        jwks_uri: text(""),
        token_endpoint_auth_signing_alg: Some(crate::jose::Alg::ES256),
        request_object_signing_alg: Some(crate::jose::Alg::ES256),
        require_signed_request_object: true,
        default_max_age: Some(0),
        require_auth_time: true,
        default_acr_values: vec![String::new()],
        client_uri: text(""),
        logo_uri: text(""),
        policy_uri: text(""),
        tos_uri: text(""),
        initiate_login_uri: text(""),
        backchannel_logout_uri: text(""),
        backchannel_logout_session_required: true,
        frontchannel_logout_uri: text(""),
        frontchannel_logout_session_required: true,
        contacts: vec![String::new()],
        software_id: text(""),
        software_version: text(""),
        profile: Some(crate::oauth::client::Profile::Fapi2),
        claims: serde_json::from_value(json!({ "groups": "groups" })).unwrap_or_default(),
        second_factor: Some(crate::oidc::authentication::Demand::Required),
        ..ClientMetadata::default()
    };
    let mut names: Vec<String> = match serde_json::to_value(&full) {
        Ok(Value::Object(members)) => members.keys().cloned().collect(),
        Ok(_) | Err(_) => Vec::new(),
    };
    names.push("enabled".to_owned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::oauth::client::GrantType;

    fn client() -> Client {
        let text = br#"{"client_name":"Shop","redirect_uris":["https://shop.example/cb"],"grant_types":["authorization_code"],"enabled":true}"#;
        Client {
            client_id: "abc".to_owned(),
            metadata: ClientDocument::parse(text).unwrap().metadata,
            enabled: true,
            secrets: Vec::new(),
            tokens_not_before: None,
            metadata_version: 1,
            registered: None,
            created_at: Timestamp::from_seconds(5),
            updated_at: Timestamp::from_seconds(5),
        }
    }

    #[test]
    fn an_unknown_member_is_refused_with_the_one_that_was_meant() {
        let error = ClientDocument::parse(br#"{"redirect_uri":["https://shop.example/cb"]}"#).unwrap_err();
        assert_eq!(error.to_string(), "redirect_uri: unknown member; did you mean \"redirect_uris\"?");
    }

    #[test]
    fn wrong_types_and_values_are_refused_by_name() {
        for (member, value) in [
            ("redirect_uris", r#""https://shop.example/cb""#),
            ("grant_types", r#"["password"]"#),
            ("token_endpoint_auth_method", r#""client_secret_jwt""#),
            ("enabled", "1"),
            ("client_id", r#""mine""#),
            ("client_secret", r#""mine""#),
            ("refresh_rotation", r#""sometimes""#),
            ("require_pkce", r#""no""#),
        ] {
            let error = ClientDocument::parse(format!(r#"{{"{member}":{value}}}"#).as_bytes()).unwrap_err();
            assert_eq!(error.member.as_deref(), Some(member), "{error}");
        }
        assert!(ClientDocument::parse(br#"{"redirect_uris":[],"redirect_uris":["https://evil.example/"]}"#).is_err());
    }

    #[test]
    fn every_member_of_the_metadata_is_known() {
        let source = include_str!("../../oauth/client.rs");
        let body = source.split_once("pub struct ClientMetadata {").unwrap().1.split_once("\n}").unwrap().0;
        let fields =
            body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':')).map(|(name, _)| name.to_owned());
        let known = members();
        for field in fields {
            assert!(known.contains(&field), "{field}");
        }
    }

    #[test]
    fn a_patch_touches_what_it_names_alone_and_what_was_shown_may_be_sent_back() {
        let client = client();
        let patch = |text: &str| patched(&client, Document::parse(text.as_bytes()).unwrap());
        let after = patch(r#"{"client_name":null,"grant_types":["authorization_code","refresh_token"],"enabled":false}"#).unwrap();
        assert_eq!(after.metadata.client_name, None);
        assert_eq!(after.metadata.grant_types, [GrantType::AuthorizationCode, GrantType::RefreshToken]);
        assert_eq!(after.metadata.redirect_uris, client.metadata.redirect_uris);
        assert_eq!(after.enabled, Some(false));
        assert_eq!(patch(&show(&client).to_string()).unwrap().metadata, client.metadata);
        assert!(patch(r#"{"client_id":"other"}"#).is_err());
    }
}
