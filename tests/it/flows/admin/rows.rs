//! One row for each operation of the admin API: how it is called so that it succeeds. A new operation fails the tests until it has one.

use serde_json::{Value, json};

use crate::harness::{Admin, Server, unique};

/// A call that succeeds when it is made with `admin:write`.
pub struct Row {
    /// Below `/admin/api/v1`.
    pub path: String,
    pub body: Option<Value>,
    pub status: u16,
}

fn row(path: impl Into<String>, body: Option<Value>, status: u16) -> Row {
    Row { path: path.into(), body, status }
}

/// A client's file that is acceptable.
pub fn client_file() -> Value {
    json!({ "client_name": "Shop", "redirect_uris": ["https://shop.example/cb"], "grant_types": ["authorization_code", "refresh_token"] })
}

/// A resource's file that is acceptable.
pub fn resource_file(identifier: &str, scope: &str) -> Value {
    json!({ "identifier": identifier, "name": "Orders", "scopes": [{ "name": scope, "description": "Read your orders" }] })
}

/// The path of a resource.
pub fn resource_path(identifier: &str) -> String {
    let encode = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("/resources/{}", identifier.bytes().map(encode).collect::<String>())
}

/// The row of an operation. What it needs is made with `admin`.
pub async fn of(operation: &str, server: &Server, admin: &Admin) -> Row {
    let client = async || admin.post("/clients", client_file()).await.json()["client_id"].as_str().unwrap().to_owned();
    let initial_access_token = async || admin.post("/initial-access-tokens", json!({})).await.str("id");
    let new = || {
        let name = unique("api");
        (format!("https://{name}.example"), format!("{name}:read"))
    };
    let resource = async || {
        let (identifier, scope) = new();
        admin.post("/resources", resource_file(&identifier, &scope)).await;
        resource_path(&identifier)
    };
    let user = async || admin.post("/users", json!({ "username": unique("user") })).await.str("id");
    let group = async || {
        let identifier = unique("group");
        admin.post("/groups", json!({ "identifier": identifier })).await;
        identifier
    };
    // Somebody who is signed in to a client that asked for consent.
    let signed_in = async || {
        let (_, person, client) = server.actors().await;
        person.tokens(&client, "openid").await;
        let found = admin.get(&format!("/users?username={}", person.username)).await.json();
        (found["items"][0]["id"].as_str().unwrap().to_owned(), client.client_id)
    };
    let first = async |path: String, member: &str| {
        let found = admin.get(&path).await.json();
        found["items"][0][member].as_str().unwrap_or_else(|| panic!("{path}: {found}")).to_owned()
    };
    match operation {
        "listClients" => row("/clients?limit=2", None, 200),
        "addClient" => row("/clients", Some(client_file()), 201),
        "getClient" => row(format!("/clients/{}", client().await), None, 200),
        "putClient" => row(format!("/clients/{}", unique("shop")), Some(client_file()), 201),
        "patchClient" => row(format!("/clients/{}", client().await), Some(json!({ "client_name": "New" })), 200),
        "removeClient" => row(format!("/clients/{}", client().await), None, 204),
        "listSecrets" => row(format!("/clients/{}/secrets", client().await), None, 200),
        "addSecret" => row(format!("/clients/{}/secrets", client().await), None, 201),
        "endOlderSecrets" => row(format!("/clients/{}/secrets", client().await), None, 204),
        "endSecret" => {
            let id = client().await;
            let second = admin.call("POST", &format!("/clients/{id}/secrets"), None).await.json();
            row(format!("/clients/{id}/secrets/{}", second["id"].as_str().unwrap()), None, 204)
        }
        "listInitialAccessTokens" => row("/initial-access-tokens?limit=2", None, 200),
        "addInitialAccessToken" => {
            row("/initial-access-tokens", Some(json!({ "registrations": 3, "note": "for the shop", "scopes": ["openid"] })), 201)
        }
        "getInitialAccessToken" => row(format!("/initial-access-tokens/{}", initial_access_token().await), None, 200),
        "removeInitialAccessToken" => row(format!("/initial-access-tokens/{}", initial_access_token().await), None, 204),
        "listResources" => row("/resources", None, 200),
        "addResource" => row("/resources", Some(resource_file(&new().0, &new().1)), 201),
        "getResource" => row(resource().await, None, 200),
        "putResource" => {
            let (identifier, scope) = new();
            let mut file = resource_file(&identifier, &scope);
            // The path says it.
            file.as_object_mut().unwrap().remove("identifier");
            row(resource_path(&identifier), Some(file), 201)
        }
        "patchResource" => row(resource().await, Some(json!({ "access_token_lifetime": null, "name": "New" })), 200),
        "removeResource" => row(resource().await, None, 204),
        "listKeys" => row("/keys", None, 200),
        "rotateKeys" => row("/keys/rotate", Some(json!({ "alg": "ES256" })), 200),
        "listUsers" => row("/users?limit=2", None, 200),
        "addUser" => row("/users", Some(json!({ "username": unique("user") })), 201),
        "getUser" => row(format!("/users/{}", user().await), None, 200),
        "putUser" => row("/users/0198c1d5-0000-7000-8000-0000000000aa", Some(json!({ "username": unique("user") })), 201),
        "patchUser" => row(format!("/users/{}", user().await), Some(json!({ "name": "New" })), 200),
        "removeUser" => row(format!("/users/{}", user().await), None, 204),
        "setPassword" => row(format!("/users/{}/password", user().await), Some(json!({ "password": "a long passphrase" })), 204),
        "getFactors" => row(format!("/users/{}/factors", user().await), None, 200),
        "resetFactors" => row(format!("/users/{}/factors", user().await), None, 204),
        "listSessions" => row(format!("/users/{}/sessions", signed_in().await.0), None, 200),
        "endSessions" => row(format!("/users/{}/sessions", signed_in().await.0), None, 204),
        "endSession" => {
            let path = format!("/users/{}/sessions", signed_in().await.0);
            row(format!("{path}/{}", first(path.clone(), "sid").await), None, 204)
        }
        "listGrants" => row(format!("/users/{}/grants", signed_in().await.0), None, 200),
        "endGrants" => row(format!("/users/{}/grants", signed_in().await.0), None, 204),
        "endGrant" => {
            let path = format!("/users/{}/grants", signed_in().await.0);
            row(format!("{path}/{}", first(path.clone(), "id").await), None, 204)
        }
        "listConsents" => row(format!("/users/{}/consents", signed_in().await.0), None, 200),
        "withdrawConsent" => {
            let (id, client_id) = signed_in().await;
            row(format!("/users/{id}/consents/{client_id}"), None, 204)
        }
        "listGroups" => row("/groups", None, 200),
        "addGroup" => row("/groups", Some(json!({ "identifier": unique("group"), "roles": ["clerk"] })), 201),
        "getGroup" => row(format!("/groups/{}", group().await), None, 200),
        "putGroup" => row(format!("/groups/{}", unique("group")), Some(json!({ "roles": ["clerk"] })), 201),
        "patchGroup" => row(format!("/groups/{}", group().await), Some(json!({ "name": "New" })), 200),
        "removeGroup" => row(format!("/groups/{}", group().await), None, 204),
        "listMembers" => row(format!("/groups/{}/members", group().await), None, 200),
        "listAuditEvents" => row("/audit-events?action=user.add", None, 200),
        "getDecision" => {
            let (_, _, client) = server.actors().await;
            let refused = client.redeem("no-code", "no-verifier").await;
            server.app.decisions.flush().await;
            row(format!("/decisions/{}", refused.trace_id()), None, 200)
        }
        other => panic!("the operation {other} has no row here: write down how it is called"),
    }
}
