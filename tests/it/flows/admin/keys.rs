//! `/keys`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Admin, Server, on_both};

on_both![keys_are_listed_and_rotated, a_compromised_key_is_worthless_at_once];

async fn signing(admin: &Admin, alg: &str, state: &str) -> Vec<String> {
    let items = admin.get("/keys?limit=200").await.ok().json()["items"].as_array().unwrap().clone();
    let of = items.into_iter().filter(|key| key["kind"] == "signing" && key["alg"] == alg && key["state"] == state);
    of.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn keys_are_listed_and_rotated(server: Server) {
    let admin = server.admin("admin:write").await;
    let (mut all, mut path) = (Vec::new(), "/keys?limit=2".to_owned());
    loop {
        let page = admin.get(&path).await.ok().json();
        all.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/keys?limit=2&cursor={cursor}");
    }
    let kinds: Vec<&str> = all.iter().map(|key| key["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "signing").count(), 6, "an active and a next one for each algorithm");
    assert!(kinds.iter().filter(|kind| **kind == "data").count() >= 7);
    let text = Value::Array(all).to_string();
    for secret in ["\"d\"", "\"p\"", "sealed", "private"] {
        assert!(!text.contains(secret), "{secret}");
    }

    let active = signing(&admin, "ES256", "active").await;
    let waits = admin.post("/keys/rotate", json!({ "alg": "ES256" })).await.ok().json();
    assert!(waits["rotations"][0]["signs_from"].is_string(), "too young: {waits}");
    server.wait(Duration::from_secs(400));
    let admin = server.admin("admin:write").await;
    let done = admin.post("/keys/rotate", json!({ "alg": "EdDSA" })).await.ok().json();
    assert_eq!(done["rotations"].as_array().unwrap().len(), 1);
    assert_ne!(done["rotations"][0]["old"], done["rotations"][0]["new"]);
    assert_eq!(signing(&admin, "ES256", "retiring").await, active, "what waited has happened");
    let all = admin.call("POST", "/keys/rotate", None).await.ok().json();
    assert_eq!(all["rotations"].as_array().unwrap().len(), 3);
    let data = admin.post("/keys/rotate", json!({ "purpose": "cursor" })).await.ok().json();
    assert_eq!(data["rotations"], json!([{ "purpose": "cursor" }]));

    admin.post("/keys/rotate", json!({ "alg": "RS256", "purpose": "cursor" })).await.problem(400, "document-refused");
    admin.post("/keys/rotate", json!({ "purpose": "nothing" })).await.problem(422, "document-refused").about("pointer", "/purpose");
    admin.post("/keys/rotate", json!({ "alg": "none" })).await.problem(422, "document-refused").about("pointer", "/alg");
    admin.post("/keys/rotate", json!({ "kid": "x" })).await.problem(422, "document-refused").about("pointer", "/compromised");
    admin.post("/keys/rotate", json!({ "kid": "x", "compromised": true })).await.problem(404, "admin-not-found");
    admin.post("/keys/rotate", json!({ "purposes": "x" })).await.problem(422, "document-refused").about("pointer", "/purposes");
    let events = server.audit().await;
    assert!(events.iter().any(|action| action == "data_key.rotate") && events.iter().any(|action| action == "key.activate"));
}

/// Design 4.5: the token with which it was declared is worth nothing either.
async fn a_compromised_key_is_worthless_at_once(server: Server) {
    let admin = server.admin("admin:write").await;
    let kid = signing(&admin, "RS256", "active").await.remove(0);
    let answer = admin.post("/keys/rotate", json!({ "kid": kid, "compromised": true })).await.ok().json();
    assert_eq!(answer["rotations"], json!([{ "old": kid }]));
    admin.get("/keys").await.problem(401, "token-signature-invalid");
    let admin = server.admin("admin:read").await;
    assert_eq!(signing(&admin, "RS256", "compromised").await, [kid]);
}
