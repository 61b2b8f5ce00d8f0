//! The cast of this folder's tests: three clients, two APIs, and a request that is right.

use super::{ValidatedAuthorize, check, prove};
use crate::clock::Timestamp;
use crate::oauth::client::{ApplicationType, AuthMethod, Client, ClientMetadata, GrantType};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oauth::resource::{Catalogue, Resource, ResourceScope, TokenFormat};

pub const ISSUER: &str = "https://id.example";
pub const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn client(client_id: &str, redirect_uri: &str, method: AuthMethod) -> Client {
    Client {
        client_id: client_id.to_owned(),
        metadata: ClientMetadata {
            redirect_uris: vec![redirect_uri.to_owned()],
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            token_endpoint_auth_method: method,
            scope: Some("openid profile email offline_access orders:read mail:send".to_owned()),
            ..ClientMetadata::default()
        },
        enabled: true,
        secrets: Vec::new(),
        tokens_not_before: None,
        metadata_version: 1,
        registered: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// A confidential web client.
pub fn web() -> Client {
    client("web", "https://client.example/cb", AuthMethod::ClientSecretBasic)
}

/// A public client in the browser.
pub fn spa() -> Client {
    client("spa", "https://spa.example/", AuthMethod::None)
}

/// A public client on the person's device.
pub fn native() -> Client {
    let mut client = client("native", "http://127.0.0.1/cb", AuthMethod::None);
    client.metadata.application_type = ApplicationType::Native;
    client
}

fn api(identifier: &str, scope: &str) -> Resource {
    Resource {
        identifier: identifier.to_owned(),
        name: identifier.to_owned(),
        scopes: vec![ResourceScope { name: scope.to_owned(), description: String::new() }],
        access_token_lifetime: None,
        access_token_signing_alg: crate::jose::Alg::RS256,
        access_token_format: TokenFormat::Jwt,
        introspection_clients: Vec::new(),
        claims: Default::default(),
    }
}

pub fn catalogue() -> Catalogue {
    let apis =
        [("https://orders.example", "orders:read"), ("https://mail.example", "mail:send"), ("https://bank.example", "bank:pay")];
    Catalogue::new(apis.into_iter().map(|(identifier, scope)| api(identifier, scope)).collect(), ISSUER)
}

/// A right request of one of the three, with `more` behind it.
pub fn query(client_id: &str, scope: &str, more: &str) -> String {
    let redirect_uri = match client_id {
        "spa" => "https://spa.example/",
        "native" => "http://127.0.0.1:51004/cb",
        _ => "https://client.example/cb",
    };
    let pkce = "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
    let scope = scope.replace(' ', "+");
    format!("client_id={client_id}&redirect_uri={redirect_uri}&response_type=code&scope={scope}&{pkce}{more}")
}

pub fn check_params(params: &Params, client: &Client) -> Result<ValidatedAuthorize, Reason> {
    let redirect = prove(params, Some(client)).expect("the scene's redirect URIs are registered");
    check(params, client, &redirect, &catalogue())
}

pub fn try_request(client: &Client, scope: &str, more: &str) -> Result<ValidatedAuthorize, Reason> {
    check_params(&Params::parse_query(&query(&client.client_id, scope, more)).expect("well-formed"), client)
}

pub fn request(client: &Client, scope: &str, more: &str) -> ValidatedAuthorize {
    try_request(client, scope, more).expect("a right request")
}
