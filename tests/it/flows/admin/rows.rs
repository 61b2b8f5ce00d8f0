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
    let _ = server;
    let new = || {
        let name = unique("api");
        (format!("https://{name}.example"), format!("{name}:read"))
    };
    let resource = async || {
        let (identifier, scope) = new();
        admin.post("/resources", resource_file(&identifier, &scope)).await;
        resource_path(&identifier)
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
        "listResources" => row("/resources", None, 200),
        "addResource" => row("/resources", Some(resource_file(&new().0, &new().1)), 201),
        "getResource" => row(resource().await, None, 200),
        "putResource" => {
            let (identifier, scope) = new();
            row(resource_path(&identifier), Some(resource_file(&identifier, &scope)), 201)
        }
        "patchResource" => row(resource().await, Some(json!({ "access_token_lifetime": null, "name": "New" })), 200),
        "removeResource" => row(resource().await, None, 204),
        "listKeys" => row("/keys", None, 200),
        "rotateKeys" => row("/keys/rotate", Some(json!({ "alg": "ES256" })), 200),
        other => panic!("the operation {other} has no row here: write down how it is called"),
    }
}
