//! The userinfo endpoint: OpenID Connect Core §5.3 and §5.4, RFC 6750.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Request, Server, on_both};

on_both![
    each_scope_gives_exactly_its_claims,
    every_claim_has_the_type_of_core_5_1,
    the_token_may_come_in_three_ways_but_only_one_at_a_time,
    what_is_no_token_is_refused_with_a_challenge,
    a_token_is_read_from_the_database_too,
    a_token_for_another_audience_is_refused,
    a_token_without_openid_lacks_scope,
    a_dead_token_is_invalid_whatever_it_lacks,
    a_damaged_document_fails_whoever_needs_it,
];

async fn each_scope_gives_exactly_its_claims(server: Server) {
    let address = json!({ "street_address": "1 Rabbit Hole", "locality": "Oxford", "country": "GB" });
    let full = json!({
        "name": "Alice Liddell", "given_name": "Alice", "family_name": "Liddell", "middle_name": "P", "nickname": "Al",
        "preferred_username": "alice", "profile": "https://example.com/alice", "picture": "https://example.com/alice.png",
        "website": "https://alice.example.com", "gender": "female", "birthdate": "1852-05-04", "zoneinfo": "Europe/London", "locale": "en-GB",
        "email": "alice@example.com", "email_verified": true, "phone_number": "+44 1234", "phone_number_verified": false, "address": address,
    });
    let alice = server.person_with("full", full).await;
    let client = server.client(json!({ "scope": "openid profile email phone address" })).await;
    let claims_of = |scope: &'static str| {
        let (server, alice, client) = (&server, &alice, &client);
        async move {
            let tokens = alice.tokens(client, scope).await;
            let answer = server.userinfo(&tokens.str("access_token")).await.ok();
            assert_eq!(answer.header("content-type").split(';').next(), Some("application/json"));
            assert_eq!(answer.header("cache-control"), "no-store");
            let mut claims = answer.json();
            assert_eq!(claims["sub"], alice.sub);
            claims.as_object_mut().unwrap().remove("sub");
            claims
        }
    };
    let names = |claims: &serde_json::Value| claims.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(claims_of("openid").await, json!({}));
    assert_eq!(claims_of("openid email").await, json!({ "email": "alice@example.com", "email_verified": true }));
    assert_eq!(claims_of("openid phone").await, json!({ "phone_number": "+44 1234", "phone_number_verified": false }));
    assert_eq!(claims_of("openid address").await, json!({ "address": address }));
    let profile = claims_of("openid profile").await;
    let expected = [
        "birthdate",
        "family_name",
        "gender",
        "given_name",
        "locale",
        "middle_name",
        "name",
        "nickname",
        "picture",
        "preferred_username",
        "profile",
        "updated_at",
        "website",
        "zoneinfo",
    ];
    let mut found = names(&profile);
    found.sort();
    assert_eq!(found, expected);
    assert!(profile["updated_at"].is_i64(), "seconds");
    // Absent claims are absent, never null or blank.
    let bob = server.person_with("bare", json!({})).await;
    let tokens = bob.tokens(&client, "openid profile email phone address").await;
    let claims = server.userinfo(&tokens.str("access_token")).await.ok().json();
    assert!(!claims.as_object().unwrap().values().any(|value| value.is_null() || value == ""), "{claims}");
}

/// openid.md 64, 73 and part N, over everything that a person can have, by scope and by name, in userinfo and in the ID token.
async fn every_claim_has_the_type_of_core_5_1(server: Server) {
    let address = json!({
        "formatted": "1 Rabbit Hole\nOxford\nOX1\nUnited Kingdom", "street_address": "1 Rabbit Hole", "locality": "Oxford",
        "region": "Oxfordshire", "postal_code": "OX1", "country": "GB",
    });
    let full = json!({
        "name": "Alice Liddell", "given_name": "Alice", "family_name": "Liddell", "middle_name": "P", "nickname": "Al",
        "preferred_username": "alice", "profile": "https://example.com/alice", "picture": "https://example.com/alice.png",
        "website": "https://alice.example.com", "gender": "female", "birthdate": "0000-05-04", "zoneinfo": "Europe/London",
        "locale": "en-GB", "email": "alice@example.com", "email_verified": true, "phone_number": "+44 1234",
        "phone_number_verified": true, "address": address,
    });
    let names: Vec<String> = full.as_object().unwrap().keys().cloned().chain(["updated_at".to_owned()]).collect();
    let everything: serde_json::Map<String, serde_json::Value> = names.iter().map(|name| (name.clone(), json!(null))).collect();
    let asked = json!({ "userinfo": everything, "id_token": everything }).to_string();
    let client = server.client(json!({ "scope": "openid profile email phone address" })).await;
    let alice = server.person_with("full", full.clone()).await;
    for request in
        [Request::of(&client).with("scope", "openid profile email phone address"), Request::of(&client).with("claims", &asked)]
    {
        let back = alice.arrive(&request).await;
        let tokens = client.redeem(back.code(), &back.verifier).await.ok();
        let told = server.userinfo(&tokens.str("access_token")).await.ok().json();
        assert_eq!(told.as_object().unwrap().len(), names.len() + 1, "{told}");
        let id_token = crate::harness::jwt(&tokens.str("id_token")).1;
        assert!(id_token["sub"].as_str().is_some_and(|sub| sub.len() <= 255 && sub.is_ascii()));
        let by_name = request.get("claims").is_some();
        for name in &names {
            assert_eq!(id_token.get(name).is_some(), by_name, "{name} in the ID token");
            let both = [Some(&told[name]), id_token.get(name)];
            for value in both.into_iter().flatten() {
                match name.as_str() {
                    "email_verified" | "phone_number_verified" => assert_eq!(*value, true),
                    "updated_at" => assert_eq!(value.as_i64(), Some(server.clock_seconds())),
                    _ => assert_eq!(*value, full[name], "{name}"),
                }
            }
        }
    }
    // Nothing is ever blank, null, or the word for it: such claims cannot be stored, and what is not stored is not told.
    for blank in
        [json!({ "name": "" }), json!({ "nickname": "  " }), json!({ "birthdate": "4 May" }), json!({ "email_verified": "true" })]
    {
        let document = json!({ "username": "blank", "claims": {} });
        let mut document = document.as_object().unwrap().clone();
        document.remove("claims");
        document.extend(blank.as_object().unwrap().clone());
        let text = serde_json::Value::Object(document).to_string();
        assert!(chancery::service::users::UserDocument::parse(text.as_bytes()).is_err(), "{text}");
    }
    // What changes is told with its time.
    server.wait(Duration::from_secs(90));
    server
        .update_user(&alice, json!({ "nickname": null, "birthdate": "1852", "address": { "formatted": null, "region": null } }))
        .await;
    let told = {
        let back = alice.arrive(&Request::of(&client).with("claims", &asked)).await;
        let tokens = client.redeem(back.code(), &back.verifier).await.ok();
        server.userinfo(&tokens.str("access_token")).await.ok().json()
    };
    assert_eq!(told["updated_at"].as_i64(), Some(server.clock_seconds()));
    assert!(told.get("nickname").is_none() && told["birthdate"] == "1852", "{told}");
    assert_eq!(told["address"].as_object().unwrap().len(), 4, "{told}");
    // Somebody about whom little is known: an unverified address is said to be so, and a missing one is not mentioned.
    let bob = server.person_with("bob", json!({ "email": "bob@example.com" })).await;
    let back = bob.arrive(&Request::of(&client).with("claims", &asked)).await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    let told = server.userinfo(&tokens.str("access_token")).await.ok().json();
    let expected = json!({
        "sub": bob.sub, "preferred_username": bob.username, "email": "bob@example.com", "email_verified": false,
        "updated_at": server.clock_seconds(),
    });
    assert_eq!(told, expected);
}

async fn the_token_may_come_in_three_ways_but_only_one_at_a_time(server: Server) {
    let (server, alice, client) = server.actors().await;
    let token = alice.tokens(&client, "openid").await.str("access_token");
    let bearer = format!("Bearer {token}");
    for method in [Method::GET, Method::POST] {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            server.send(method.clone(), "/userinfo", &[("authorization", &format!("{scheme} {token}"))], None).await.ok();
        }
    }
    server.post("/userinfo", &[("access_token", &token)], &[]).await.ok();
    server.post("/userinfo", &[("access_token", &token)], &[("authorization", &bearer)]).await.refused(400, "invalid_request");
    // RFC 9700 §4.3.2: never in the address line.
    let in_query = server.get(&format!("/userinfo?access_token={token}")).await;
    assert!([400, 401].contains(&in_query.status), "{}", in_query.status);
    let twice = [("access_token", token.as_str()), ("access_token", token.as_str())];
    server.post("/userinfo", &twice, &[]).await.refused(400, "invalid_request");
}

async fn what_is_no_token_is_refused_with_a_challenge(server: Server) {
    let (server, alice, client) = server.actors().await;
    // RFC 6750 §3.1: no error code where no token was sent.
    let none = server.get("/userinfo").await;
    assert_eq!(none.status, 401);
    assert!(
        none.header("www-authenticate").starts_with("Bearer") && !none.header("www-authenticate").contains("error="),
        "{:?}",
        none.headers
    );
    let tokens = alice.tokens(&client, "openid").await;
    let token = tokens.str("access_token");
    let parts: Vec<&str> = token.split('.').collect();
    let forged = [
        String::new(),
        "x".into(),
        "a.b.c".into(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len())),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.x"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        // {"alg":"none"} and HS256 with the public key as secret cannot even be said (R-33).
        format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.", parts[1]),
        format!("eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.{}.{}", parts[1], parts[2]),
        tokens.str("id_token"),
        tokens.str("refresh_token"),
        "x".repeat(20_000 - 100),
    ];
    for bad in forged {
        if bad.is_empty() {
            continue;
        }
        let answer = server.userinfo(&bad).await;
        if bad.len() > 16_000 {
            assert!([400, 401, 431].contains(&answer.status), "{}", answer.status);
            continue;
        }
        let answer = answer.refused(401, "invalid_token");
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "{:?}", answer.headers);
    }
}

/// R-49.
async fn a_token_is_read_from_the_database_too(server: Server) {
    let (server, alice, client) = server.actors().await;
    let token = alice.tokens(&client, "openid").await.str("access_token");
    server.userinfo(&token).await.ok();
    client.revoke(&token).await.ok();
    server.userinfo(&token).await.refused(401, "invalid_token");
    let token = alice.tokens(&client, "openid").await.str("access_token");
    server.wait(Duration::from_secs(599));
    server.userinfo(&token).await.ok();
    server.wait(Duration::from_secs(2));
    server.userinfo(&token).await.refused(401, "invalid_token");
    let token = alice.tokens(&client, "openid").await.str("access_token");
    server.disable_user(&alice).await;
    server.userinfo(&token).await.refused(401, "invalid_token");
}

async fn a_token_for_another_audience_is_refused(server: Server) {
    let (server, alice, _) = server.actors().await;
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }] })).await;
    let client = server.client(json!({ "scope": "openid orders:read" })).await;
    let back = alice.arrive(&Request::of(&client).with("scope", "openid orders:read").with("resource", "https://api.test")).await;
    let token = client.redeem(back.code(), &back.verifier).await.ok().str("access_token");
    server.userinfo(&token).await.refused(401, "invalid_token");
}

async fn a_token_without_openid_lacks_scope(server: Server) {
    let (server, alice, client) = server.actors().await;
    let token = alice.tokens(&client, "email").await.str("access_token");
    server.userinfo(&token).await.refused(403, "insufficient_scope");
}

/// RFC 6750 §3.1: a client that is told of a scope asks for more; one whose token is dead has to get another.
async fn a_dead_token_is_invalid_whatever_it_lacks(server: Server) {
    let (server, alice, client) = server.actors().await;
    let machine = server.machine(json!({})).await;
    let own = async || machine.token(&[("grant_type", "client_credentials")]).await.ok().str("access_token");
    let others = async || alice.tokens(&client, "email").await.str("access_token");
    for (owner, token) in [(&machine, own().await), (&client, others().await)] {
        server.userinfo(&token).await.refused(403, "insufficient_scope");
        owner.revoke(&token).await.ok();
        server.userinfo(&token).await.refused(401, "invalid_token");
    }
    let tokens = [own().await, others().await];
    server.wait(Duration::from_secs(599));
    for token in &tokens {
        server.userinfo(token).await.refused(403, "insufficient_scope");
    }
    server.wait(Duration::from_secs(2));
    for token in &tokens {
        server.userinfo(token).await.refused(401, "invalid_token");
    }
    let tokens = [own().await, others().await];
    server.disable_client(&machine).await;
    server.disable_user(&alice).await;
    for token in &tokens {
        server.userinfo(token).await.refused(401, "invalid_token");
    }
}

/// What is stored as JSON: nothing is told that cannot be read, and what the answer does not need does not fail it.
async fn a_damaged_document_fails_whoever_needs_it(server: Server) {
    let alice = server.person_with("alice", json!({ "nickname": "Al", "groups": ["staff"] })).await;
    let (plain, grouped) = (server.client(json!({})).await, server.client(json!({ "claims": { "groups": "groups" } })).await);
    let by_name = Request::of(&plain).with("scope", "openid").with("claims", r#"{"userinfo":{"nickname":null}}"#);
    let back = alice.arrive(&by_name).await;
    let tokens = [
        alice.tokens(&plain, "openid profile").await,
        plain.redeem(back.code(), &back.verifier).await.ok(),
        alice.tokens(&grouped, "openid").await,
    ];
    let tokens = tokens.each_ref().map(|tokens| tokens.str("access_token"));
    let told = async || {
        let mut told = Vec::new();
        for token in &tokens {
            let request = server.request(Method::GET, &server.url("/userinfo")).bearer_auth(token);
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.unwrap();
            told.push((status, body["error"].as_str().unwrap_or_default().to_owned()));
        }
        told
    };
    let is = |answers: [(u16, &str); 3]| answers.map(|(status, error)| (status, error.to_owned())).to_vec();
    let (fine, damaged, newer) = ((200, ""), (500, "server_error"), (503, "temporarily_unavailable"));
    let execute = async |sql: &'static str| server.app.db.execute(sql, chancery::args![]).await.unwrap();
    for (sql, back, expected) in [
        ("UPDATE grants SET amr = '['", "UPDATE grants SET amr = '[]'", [fine, fine, fine]),
        ("UPDATE grants SET resources = '['", "UPDATE grants SET resources = '[]'", [fine, fine, fine]),
        (
            "UPDATE grants SET claims = '{' WHERE claims IS NOT NULL",
            r#"UPDATE grants SET claims = '{"userinfo":["nickname"]}' WHERE claims IS NOT NULL"#,
            [fine, damaged, fine],
        ),
        ("UPDATE users SET group_names = '[1]'", r#"UPDATE users SET group_names = '["staff"]'"#, [fine, fine, newer]),
        ("UPDATE users SET claims = '{'", "UPDATE users SET claims = '{}'", [damaged, damaged, damaged]),
        (
            r#"UPDATE users SET claims = '{"shoe_size":44}'"#,
            r#"UPDATE users SET claims = '{"nickname":"Al"}'"#,
            [newer, newer, newer],
        ),
    ] {
        execute(sql).await;
        assert_eq!(told().await, is(expected), "{sql}");
        execute(back).await;
        assert_eq!(told().await, is([fine, fine, fine]), "{back}");
    }
    let answers = [server.userinfo(&tokens[1]).await.ok().json(), server.userinfo(&tokens[2]).await.ok().json()];
    assert_eq!(answers, [json!({ "sub": alice.sub, "nickname": "Al" }), json!({ "sub": alice.sub, "groups": ["staff"] })]);
}
