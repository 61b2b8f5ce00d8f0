//! A client's JSON: RFC 7591 metadata and our own members; beside them what the server sets.

use serde_json::{Map, Value, json};

use crate::oauth::client::{Client, ClientMetadata};
use crate::service::document::{Document, DocumentError};

/// What the server says about a client and nobody else.
const SET_BY_SERVER: [&str; 7] =
    ["client_id", "client_id_issued_at", "client_secret", "client_secret_expires_at", "secrets", "tokens_not_before", "updated_at"];

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
        let document = Document::parse(text)?;
        for name in SET_BY_SERVER {
            document.refuse(name, "is set by the server")?;
        }
        Self::read(document)
    }

    fn read(mut document: Document) -> Result<Self, DocumentError> {
        let enabled = document.take("enabled")?;
        let known = members();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        Ok(Self { enabled, metadata: document.rest(&known)? })
    }
}

/// A client as operators see it: its secrets by their times alone.
pub fn show(client: &Client) -> Value {
    let mut members = Map::new();
    members.insert("client_id".to_owned(), json!(client.client_id));
    members.insert("client_id_issued_at".to_owned(), json!(client.created_at.seconds()));
    members.insert("enabled".to_owned(), json!(client.enabled));
    if let Ok(Value::Object(metadata)) = serde_json::to_value(&client.metadata) {
        members.extend(metadata);
    }
    let secrets: Vec<Value> = client
        .secrets
        .iter()
        .map(|secret| {
            json!({
                "id": secret.id.to_string(),
                "created_at": secret.created_at.rfc3339(),
                "expires_at": secret.expires_at.map(|at| at.rfc3339()),
            })
        })
        .collect();
    members.insert("secrets".to_owned(), Value::Array(secrets));
    if let Some(at) = client.tokens_not_before {
        members.insert("tokens_not_before".to_owned(), json!(at.rfc3339()));
    }
    members.insert("updated_at".to_owned(), json!(client.updated_at.rfc3339()));
    Value::Object(members)
}

/// What a client's file says after a merge patch.
pub(super) fn patched(client: &Client, mut patch: Document) -> Result<ClientDocument, DocumentError> {
    let Value::Object(mut members) = show(client) else { return Err(DocumentError::whole("not an object")) };
    for name in SET_BY_SERVER {
        patch.repeat(name, members.get(name).unwrap_or(&Value::Null))?;
        members.remove(name);
    }
    patch.merge_into(&mut members);
    ClientDocument::read(Document::of(members))
}

/// The names of all members that metadata may have, those that are left out when they are empty included.
fn members() -> Vec<String> {
    let text = |text: &str| Some(text.to_owned());
    let full = ClientMetadata {
        client_name: text(""),
        post_logout_redirect_uris: vec![String::new()],
        scope: text(""),
        default_max_age: Some(0),
        require_auth_time: true,
        client_uri: text(""),
        logo_uri: text(""),
        policy_uri: text(""),
        tos_uri: text(""),
        initiate_login_uri: text(""),
        contacts: vec![String::new()],
        software_id: text(""),
        software_version: text(""),
        profile: Some(crate::oauth::client::Profile::Fapi2),
        claims: serde_json::from_value(json!({ "groups": "groups" })).unwrap_or_default(),
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
            ("token_endpoint_auth_method", r#""private_key_jwt""#),
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
