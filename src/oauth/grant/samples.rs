//! Facts for unit tests: one ordinary client, user, grant, code and family, to be changed where a test wants it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::issuance::Draft;
use super::{AuthorizationCode, Grant, Issuance, Limits, RefreshPlan, SessionFacts, Standing};
use crate::clock::Timestamp;
use crate::oauth::client::{AuthMethod, Client, ClientMetadata, ClientSecret};
use crate::oauth::client_auth::{AuthenticatedClient, Credentials, authenticate};
use crate::oauth::device::{Asked, DeviceCode};
use crate::oauth::family::{Family, Seed};
use crate::oauth::params::Params;
use crate::oauth::resource::{Catalogue, Resource, ResourceScope};
use crate::oidc::user::{Claims, User};
use crate::secret::Digest;

pub const LIMITS: Limits = Limits { session_idle: Duration::from_secs(12 * 3600), refresh_idle: Duration::from_secs(30 * 86_400) };

/// Seconds after the beginning of the test.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

/// A confidential web client with the code and refresh grants.
pub fn client(client_id: &str) -> Client {
    let metadata: ClientMetadata = serde_json::from_value(serde_json::json!({
        "client_name": "An app",
        "redirect_uris": ["https://app.test/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid profile email offline_access orders:read",
    }))
    .unwrap();
    Client {
        client_id: client_id.to_owned(),
        metadata,
        enabled: true,
        secrets: Vec::new(),
        tokens_not_before: None,
        metadata_version: 1,
        registered: None,
        created_at: at(-1000),
        updated_at: at(-1000),
    }
}

/// The client, after it proved itself by its registered method.
pub fn authenticated(mut client: Client) -> AuthenticatedClient {
    let id = Uuid::from_u128(5);
    client.secrets = vec![ClientSecret { id, digest: Digest::of(b"secret"), created_at: at(-1000), expires_at: None }];
    let client_id = client.client_id.clone();
    let basic = format!("Basic {}", STANDARD.encode(format!("{client_id}:secret")));
    let (headers, body) = match client.metadata.token_endpoint_auth_method {
        AuthMethod::ClientSecretBasic => (vec![basic.as_bytes()], String::new()),
        AuthMethod::ClientSecretPost => (Vec::new(), format!("client_id={client_id}&client_secret=secret")),
        // The samples sign nothing.
        AuthMethod::PrivateKeyJwt => (Vec::new(), String::new()),
        AuthMethod::None => (Vec::new(), format!("client_id={client_id}")),
    };
    let credentials = Credentials::read(&headers, &Params::parse_form(body.as_bytes()).unwrap()).unwrap();
    authenticate(&credentials, Some(&Arc::new(client)), None, at(0)).unwrap()
}

/// Two resources, `https://orders.test` and `https://mail.test`, beside the admin API of `https://id.test`.
pub fn catalogue() -> Catalogue {
    let orders = resource("https://orders.test", &["orders:read", "orders:write"]);
    Catalogue::new(vec![orders, resource("https://mail.test", &["mail:send"])], "https://id.test")
}

pub fn resource(identifier: &str, scopes: &[&str]) -> Resource {
    Resource {
        identifier: identifier.to_owned(),
        name: identifier.to_owned(),
        scopes: scopes.iter().map(|name| ResourceScope { name: (*name).to_owned(), description: String::new() }).collect(),
        access_token_lifetime: None,
        access_token_signing_alg: Default::default(),
        access_token_format: Default::default(),
        introspection_clients: Vec::new(),
        claims: Default::default(),
    }
}

pub fn user() -> User {
    User {
        id: Uuid::from_u128(3),
        sub: "sub-of-alice".to_owned(),
        username: "alice".to_owned(),
        enabled: true,
        admin: false,
        groups: Vec::new(),
        claims: Claims::default(),
        created_at: at(-1000),
        updated_at: at(-1000),
    }
}

/// A grant of `openid offline_access orders:read` to `app`, made at 0.
pub fn grant() -> Grant {
    Grant {
        id: Uuid::from_u128(2),
        client_id: "app".to_owned(),
        user_id: Uuid::from_u128(3),
        sub: "sub-of-alice".to_owned(),
        scopes: ["openid", "offline_access", "orders:read"].map(str::to_owned).to_vec(),
        resources: Vec::new(),
        auth_time: at(-30),
        acr: None,
        amr: vec!["pwd".to_owned()],
        session_id: Some(Uuid::from_u128(4)),
        sid: Some("sid-of-alice".to_owned()),
        nonce: Some("n-0S6".to_owned()),
        claims: Default::default(),
        created_at: at(0),
        expires_at: at(180 * 86_400),
        ended_at: None,
        ended_because: None,
    }
}

pub fn standing() -> Standing {
    let session = SessionFacts { last_used_at: at(0), expires_at: at(7 * 86_400), ended_at: None };
    Standing { grant: grant(), user: user(), client_enabled: true, session: Some(session) }
}

/// A code with the challenge of RFC 7636 appendix B, made at 0 and alive for 60 s.
pub fn code() -> AuthorizationCode {
    AuthorizationCode {
        grant_id: Uuid::from_u128(2),
        client_id: "app".to_owned(),
        redirect_uri: Some("https://app.test/callback".to_owned()),
        code_challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned()),
        nonce: Some("n-0S6".to_owned()),
        created_at: at(0),
        expires_at: at(60),
        consumed_at: None,
    }
}

/// A device code that nobody has looked at yet, made at 0 for `app` and alive for ten minutes.
pub fn device_code() -> DeviceCode {
    let asked = Asked { scopes: grant().scopes, resources: Vec::new() };
    DeviceCode::begin("app", asked, "192.0.2.1".to_owned(), Duration::from_secs(600), at(0))
}

/// A family made at 0, of which nothing was redeemed.
pub fn family() -> Family {
    let seed = Seed { id: Uuid::from_u128(1), salt: [7; 16], key_id: 1 };
    Family::begin(&grant(), seed, Duration::from_secs(180 * 86_400), at(0))
}

/// What is issued to `app` for these scopes, by the way that every grant goes.
pub fn issuance(standing: Option<Standing>, scopes: &[&str]) -> Issuance {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let draft = Draft { standing, scopes, resources: Vec::new(), refresh: RefreshPlan::None, nonce: None };
    draft.settle(&authenticated(client("app")), &catalogue(), &LIMITS, at(0)).unwrap()
}
