//! The client_credentials grant: RFC 6749 §4.4, contract.md's rules on scope, design 4.4.

use serde_json::json;

use crate::harness::{Server, jwt, on_both};

on_both![
    a_machine_gets_a_token_for_itself,
    scope_and_resource_are_checked,
    without_scope_it_gets_what_it_is_registered_for,
    a_person_is_never_involved,
    a_disabled_client_loses_its_tokens,
    an_opaque_token_tells_its_bearer_nothing,
    who_may_not_is_told_so,
];

async fn a_machine_gets_a_token_for_itself(server: Server) {
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }, { "name": "orders:write" }] })).await;
    let machine = server.machine(json!({ "scope": "orders:read orders:write" })).await;
    let answer = machine.token(&[("grant_type", "client_credentials"), ("scope", "orders:read")]).await.ok();
    assert_eq!(answer.str("token_type"), "Bearer");
    assert_eq!(answer.json()["expires_in"], 600);
    for member in ["refresh_token", "id_token"] {
        assert!(answer.json().get(member).is_none(), "{member}");
    }
    let (header, claims) = jwt(&answer.str("access_token"));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("RS256")));
    assert_eq!(claims["sub"], machine.client_id, "RFC 9068 §2.2");
    assert_eq!(claims["client_id"], machine.client_id);
    assert_eq!(claims["aud"], "https://api.test");
    assert_eq!(claims["scope"], "orders:read");
    assert!(claims.get("auth_time").is_none());
    server.verify_signature(&answer.str("access_token")).await;
    assert!(machine.is_active(&answer.str("access_token")).await);
    machine.revoke(&answer.str("access_token")).await.ok();
    assert!(!machine.is_active(&answer.str("access_token")).await);
}

async fn scope_and_resource_are_checked(server: Server) {
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }] })).await;
    server.resource(json!({ "identifier": "https://pay.test", "name": "Pay", "scopes": [{ "name": "pay" }] })).await;
    let machine = server.machine(json!({ "scope": "orders:read" })).await;
    let ask = |fields: &'static [(&'static str, &'static str)]| {
        let machine = machine.clone();
        async move {
            let all: Vec<_> = [("grant_type", "client_credentials")].into_iter().chain(fields.iter().copied()).collect();
            machine.token(&all).await
        }
    };
    ask(&[("scope", "pay")]).await.refused(400, "invalid_scope");
    ask(&[("scope", "no:such")]).await.refused(400, "invalid_scope");
    ask(&[("scope", "admin:write")]).await.refused(400, "invalid_scope");
    ask(&[("resource", "https://pay.test")]).await.refused(400, "invalid_target");
    ask(&[("resource", "https://nowhere.test")]).await.refused(400, "invalid_target");
    let answer = ask(&[("resource", "https://api.test")]).await.ok();
    assert_eq!(jwt(&answer.str("access_token")).1["aud"], "https://api.test");
}

async fn without_scope_it_gets_what_it_is_registered_for(server: Server) {
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }, { "name": "orders:write" }] })).await;
    let machine = server.machine(json!({ "scope": "orders:read orders:write" })).await;
    let answer = machine.token(&[("grant_type", "client_credentials")]).await.ok();
    let (_, claims) = jwt(&answer.str("access_token"));
    let mut scopes: Vec<&str> = claims["scope"].as_str().unwrap().split(' ').collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["orders:read", "orders:write"]);
    let bare = server.machine(json!({})).await;
    let answer = bare.token(&[("grant_type", "client_credentials")]).await.ok();
    let (_, claims) = jwt(&answer.str("access_token"));
    assert_eq!(claims["aud"], server.issuer.as_str());
    assert!(claims.get("scope").is_none_or(|scope| scope == ""), "{claims}");
}

async fn a_person_is_never_involved(server: Server) {
    let (server, _, client) = server.actors().await;
    let machine = server.client(json!({ "grant_types": ["authorization_code", "client_credentials"] })).await;
    for scope in ["openid", "profile", "offline_access"] {
        let answer = machine.token(&[("grant_type", "client_credentials"), ("scope", scope)]).await;
        answer.refused(400, "invalid_scope");
    }
    let token = machine.token(&[("grant_type", "client_credentials")]).await.ok().str("access_token");
    let answer = server.userinfo(&token).await;
    assert!([401, 403].contains(&answer.status), "{} {}", answer.status, answer.text);
    drop(client);
}

async fn a_disabled_client_loses_its_tokens(server: Server) {
    let machine = server.machine(json!({})).await;
    let watcher = server.client(json!({ "introspection": "any" })).await;
    let token = machine.token(&[("grant_type", "client_credentials")]).await.ok().str("access_token");
    assert!(watcher.is_active(&token).await);
    server.disable_client(&machine).await;
    assert!(!watcher.is_active(&token).await);
    machine.token(&[("grant_type", "client_credentials")]).await.refused(401, "invalid_client");
    let answer = machine.call("/introspect", &[("token", &token)]).await;
    answer.refused(401, "invalid_client");
}

async fn an_opaque_token_tells_its_bearer_nothing(server: Server) {
    let reader = server.client(json!({})).await;
    server
        .resource(json!({ "identifier": "https://opaque.test", "name": "Opaque", "scopes": [{ "name": "opaque" }], "access_token_format": "opaque",
                          "introspection_clients": [reader.client_id] }))
        .await;
    let machine = server.machine(json!({ "scope": "opaque" })).await;
    let answer = machine.token(&[("grant_type", "client_credentials"), ("scope", "opaque")]).await.ok();
    let token = answer.str("access_token");
    assert!(!token.contains('.') || jwt_is_unreadable(&token), "{token}");
    let seen = reader.introspect(&token).await;
    assert_eq!(seen["active"], true);
    assert_eq!(seen["client_id"], machine.client_id);
    assert_eq!(seen["aud"], "https://opaque.test");
    server.wait(std::time::Duration::from_secs(601));
    assert!(!reader.is_active(&token).await);
}

fn jwt_is_unreadable(token: &str) -> bool {
    std::panic::catch_unwind(|| jwt(token)).is_err()
}

async fn who_may_not_is_told_so(server: Server) {
    let (_, _, client) = server.actors().await;
    client.token(&[("grant_type", "client_credentials")]).await.refused(400, "unauthorized_client");
    let machine = server.machine(json!({})).await;
    machine.redeem("x", &"v".repeat(43)).await.refused(400, "unauthorized_client");
    machine.refresh("x").await.refused(400, "unauthorized_client");
    let public = server.public_client(json!({})).await;
    public.token(&[("grant_type", "client_credentials")]).await.refused(400, "unauthorized_client");
}
