//! Redeeming a code: RFC 6749 §4.1.3, RFC 7636 §4.6, OpenID Connect Core §3.1.3, design 4.3.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Person, Request, Server, jwt, on_both};

on_both![
    tokens_are_what_the_specifications_say,
    a_replayed_code_revokes_its_grant,
    an_honest_retry_is_refused_and_revokes_nothing,
    a_code_dies_after_a_minute,
    a_code_is_bound_to_its_client,
    a_code_is_bound_to_its_redirect_uri,
    a_code_is_bound_to_its_verifier,
    one_artefact_in_anothers_place_consumes_nothing,
    a_disabled_user_or_client_gets_nothing_from_an_old_code,
    a_code_ends_with_the_session_it_came_from,
    every_request_at_the_token_endpoint_is_read_strictly,
    audiences_follow_the_resources,
    algorithms_follow_client_and_resource,
    a_clock_that_was_set_back_revives_nothing,
];

async fn tokens_are_what_the_specifications_say(server: Server) {
    let (server, alice, client) = server.actors().await;
    let request = Request::of(&client).with("scope", "openid profile email").with("max_age", "600");
    let back = alice.arrive(&request).await;
    server.wait(Duration::from_secs(3));
    let answer = client.redeem(back.code(), &back.verifier).await.ok();
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type").split(';').next(), Some("application/json"));
    assert_eq!(answer.json()["expires_in"], 600);
    assert_eq!(answer.str("token_type"), "Bearer");
    assert!(answer.str("refresh_token").len() >= 43);

    let (header, id) = jwt(&answer.str("id_token"));
    assert_eq!(header["alg"], "RS256");
    assert!(header["kid"].is_string());
    let now = server.clock_seconds();
    assert_eq!(id["iss"], server.issuer.as_str());
    assert_eq!(id["sub"], alice.sub);
    assert_eq!(id["aud"], client.client_id, "a string for one audience");
    assert_eq!(id["iat"], now);
    assert_eq!(id["exp"], now + 600);
    assert_eq!(id["auth_time"], now - 3);
    assert_eq!(id["nonce"], back.nonce);
    assert!(id["sid"].as_str().is_some_and(|sid| sid.len() >= 22));
    assert!(id["amr"].as_array().is_some_and(|amr| amr.contains(&json!("pwd"))));
    for personal in ["name", "email", "given_name", "phone_number", "address"] {
        assert!(id.get(personal).is_none(), "{personal} belongs to userinfo");
    }
    assert!(!id.as_object().unwrap().values().any(|value| value.is_null() || value == ""));
    if let Some(hash) = id.get("at_hash") {
        assert_eq!(*hash, json!(crate::harness::half_hash(&answer.str("access_token"))));
    }

    let (header, access) = jwt(&answer.str("access_token"));
    assert_eq!(header["typ"], "at+jwt", "RFC 9068 §2.1");
    for claim in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope", "auth_time"] {
        assert!(access.get(claim).is_some(), "{claim}: {access}");
    }
    assert_eq!(access["sub"], alice.sub);
    assert_eq!(access["client_id"], client.client_id);
    assert_eq!(access["exp"], now + 600);
    // Each token has a jti of its own, and it tells nothing of the grant.
    let again = client.refresh(&answer.str("refresh_token")).await.ok();
    assert_ne!(jwt(&again.str("access_token")).1["jti"], access["jti"]);
    // No ID token without openid.
    let plain = alice.tokens(&client, "email").await;
    assert!(plain.json().get("id_token").is_none());
}

/// R-05, RFC 6749 §4.1.2.
async fn a_replayed_code_revokes_its_grant(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    server.userinfo(&tokens.str("access_token")).await.ok();
    server.wait(Duration::from_secs(5));
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    assert!(!client.is_active(&tokens.str("refresh_token")).await);
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    // Another grant of the same person and client is another matter.
    let fresh = alice.tokens(&client, "openid").await;
    assert!(client.is_active(&fresh.str("access_token")).await);
}

/// Design 4.3: within two seconds, the same authenticated client, the right verifier, nothing redeemed since.
async fn an_honest_retry_is_refused_and_revokes_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    server.wait(Duration::from_secs(1));
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    assert!(client.is_active(&tokens.str("access_token")).await);
    // With the wrong verifier it is not an honest retry.
    client.redeem(back.code(), &"w".repeat(43)).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    // Nor after the grant went on.
    let back = alice.visit(&client, "openid").await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    let renewed = client.refresh(&tokens.str("refresh_token")).await.ok();
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&renewed.str("access_token")).await);
    // Nor for a client that asked to be strict.
    let strict = server.client(json!({ "refresh_rotation": "strict" })).await;
    let back = alice.visit(&strict, "openid").await;
    let tokens = strict.redeem(back.code(), &back.verifier).await.ok();
    strict.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    assert!(!strict.is_active(&tokens.str("access_token")).await);
}

/// R-07.
async fn a_code_dies_after_a_minute(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    server.wait(Duration::from_secs(59));
    let in_time = alice.visit(&client, "openid").await;
    client.redeem(back.code(), &back.verifier).await.ok();
    server.wait(Duration::from_secs(61));
    client.redeem(in_time.code(), &in_time.verifier).await.refused(400, "invalid_grant");
}

/// R-06, R-10: neither tokens, nor a word about whether the code exists, nor any harm to it.
async fn a_code_is_bound_to_its_client(server: Server) {
    let (server, alice, client) = server.actors().await;
    let other = server.client(json!({})).await;
    let public = server.public_client(json!({})).await;
    let back = alice.visit(&client, "openid").await;
    let known = other.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    let unknown = other.redeem(&"A".repeat(back.code().len()), &back.verifier).await.refused(400, "invalid_grant");
    assert_eq!(known.json(), unknown.json(), "the answer tells that the code exists");
    public.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    client.redeem(back.code(), &back.verifier).await.ok();
}

/// R-08.
async fn a_code_is_bound_to_its_redirect_uri(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "redirect_uris": ["https://app.test/callback", "https://app.test/other"] })).await;
    for wrong in ["https://app.test/other", "https://app.test/callback/", "https://APP.test/callback"] {
        let back = alice.visit(&client, "openid").await;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", back.code()),
            ("redirect_uri", wrong),
            ("code_verifier", &back.verifier),
        ];
        client.token(&fields).await.refused(400, "invalid_grant");
    }
    let back = alice.visit(&client, "openid").await;
    let fields = [("grant_type", "authorization_code"), ("code", back.code()), ("code_verifier", back.verifier.as_str())];
    let missing = client.token(&fields).await;
    assert_eq!(missing.status, 400, "{}", missing.text);
}

/// R-16, RFC 7636 §4.6.
async fn a_code_is_bound_to_its_verifier(server: Server) {
    let (_, alice, client) = server.actors().await;
    for wrong in ["", "short", &"w".repeat(43), &"w".repeat(129), &format!("{}!", "w".repeat(43))] {
        let back = alice.visit(&client, "openid").await;
        let answer = client.redeem(back.code(), wrong).await;
        assert!(["invalid_grant", "invalid_request"].contains(&answer.str("error").as_str()), "{wrong:?}: {}", answer.text);
    }
    // The challenge itself is not the verifier.
    let request = Request::of(&client);
    let back = alice.arrive(&request).await;
    client.redeem(back.code(), request.get("code_challenge").unwrap()).await.refused(400, "invalid_grant");
}

/// R-10.
async fn one_artefact_in_anothers_place_consumes_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens(&client, "openid").await;
    let back = alice.visit(&client, "openid").await;
    let (access, refresh, id) = (tokens.str("access_token"), tokens.str("refresh_token"), tokens.str("id_token"));
    for token in [&access, &refresh, &id] {
        client.redeem(token, &back.verifier).await.refused(400, "invalid_grant");
    }
    for token in [&access, &id, &back.code().to_owned()] {
        client.refresh(token).await.refused(400, "invalid_grant");
    }
    for token in [&refresh, &id, &back.code().to_owned()] {
        server.userinfo(token).await.refused(401, "invalid_token");
        if *token != refresh {
            assert!(!client.is_active(token).await);
        }
    }
    client.revoke(back.code()).await.ok();
    client.revoke(&id).await.ok();
    let cookie = alice.browser.cookies()["__Host-chancery-session"].clone();
    client.refresh(&cookie).await.refused(400, "invalid_grant");
    client.redeem(back.code(), &back.verifier).await.ok();
    client.refresh(&refresh).await.ok();
    server.userinfo(&access).await.ok();
}

/// R-09.
async fn a_disabled_user_or_client_gets_nothing_from_an_old_code(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    server.disable_user(&alice).await;
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    server.enable_user(&alice).await;
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    let back = alice.visit(&client, "openid").await;
    server.disable_client(&client).await;
    client.redeem(back.code(), &back.verifier).await.refused(401, "invalid_client");
}

async fn a_code_ends_with_the_session_it_came_from(server: Server) {
    let (_, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    sign_out(&alice).await;
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
}

async fn sign_out(person: &Person) {
    let page = person.browser.get("/logout").await;
    person.browser.submit(&page, &[("decision", "allow")]).await;
}

async fn every_request_at_the_token_endpoint_is_read_strictly(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    let good = [
        ("grant_type", "authorization_code"),
        ("code", back.code()),
        ("redirect_uri", &client.redirect_uri),
        ("code_verifier", &back.verifier),
    ];
    for name in ["grant_type", "code", "redirect_uri", "code_verifier", "unknown"] {
        let fields: Vec<_> = good.iter().copied().chain([(name, "x"), (name, "x")]).collect();
        client.token(&fields).await.refused(400, "invalid_request");
    }
    client.token(&[("code", back.code())]).await.refused(400, "invalid_request");
    for grant_type in ["implicit", "password", "urn:ietf:params:oauth:grant-type:token-exchange", "Authorization_Code", "x"] {
        let answer = client.token(&[("grant_type", grant_type), ("username", "alice"), ("password", "p")]).await;
        answer.refused(400, "unsupported_grant_type");
    }
    let basic = crate::harness::basic_header(&client.client_id, client.secret.as_ref().unwrap());
    for (content_type, body) in [
        ("application/json", r#"{"grant_type":"client_credentials"}"#),
        ("text/plain", "grant_type=client_credentials"),
        ("multipart/form-data; boundary=x", "--x--"),
    ] {
        let lines = [format!("Authorization: {basic}"), format!("Content-Type: {content_type}")];
        let answer = crate::harness::raw::post(&server, "/token", &[&lines[0], &lines[1]], body.as_bytes()).await;
        assert_eq!(crate::harness::raw::status(&answer), 400, "{answer}");
        assert!(answer.contains("invalid_request"), "{answer}");
    }
    let lines = [format!("Authorization: {basic}"), "Content-Type: application/x-www-form-urlencoded".to_owned()];
    for (body, what) in [
        ("grant_type=client_credentials&scope=%ff", "UTF-8"),
        ("grant_type=client_credentials&scope=%00", "NUL"),
        ("grant_type=%zz", "percent"),
    ] {
        let answer = crate::harness::raw::post(&server, "/token", &[&lines[0], &lines[1]], body.as_bytes()).await;
        assert_eq!(crate::harness::raw::status(&answer), 400, "{what}: {answer}");
    }
    let huge = format!("grant_type=client_credentials&x={}", "y".repeat(70_000));
    let answer = crate::harness::raw::post(&server, "/token", &[&lines[0], &lines[1]], huge.as_bytes()).await;
    assert!([400, 413].contains(&crate::harness::raw::status(&answer)), "{answer}");
    let several = crate::harness::raw::post(
        &server,
        "/token?grant_type=client_credentials",
        &[&lines[0], &lines[1]],
        b"grant_type=client_credentials",
    )
    .await;
    assert_eq!(crate::harness::raw::status(&several), 400, "{several}");
    client.redeem(back.code(), &back.verifier).await.ok();
}

/// Design 4.4, RFC 8707.
async fn audiences_follow_the_resources(server: Server) {
    let alice = server.person("alice").await;
    server.resource(json!({ "identifier": "https://a.test/api", "name": "A", "scopes": [{ "name": "a:read" }, { "name": "a:write" }], "access_token_lifetime": 300 })).await;
    server.resource(json!({ "identifier": "https://b.test/api", "name": "B", "scopes": [{ "name": "b:read" }] })).await;
    let client = server.client(json!({ "scope": "openid offline_access a:read a:write b:read" })).await;
    let both = alice.arrive(&Request::of(&client).with("scope", "openid a:read b:read")).await;
    let tokens = client.redeem(both.code(), &both.verifier).await.ok();
    let (_, access) = jwt(&tokens.str("access_token"));
    let audiences: Vec<&str> = access["aud"].as_array().unwrap().iter().map(|aud| aud.as_str().unwrap()).collect();
    assert!(audiences.contains(&"https://a.test/api") && audiences.contains(&"https://b.test/api"), "{audiences:?}");
    // RFC 8707 §2.2: the refresh names one of them, and the access token is narrowed to it.
    let one = client
        .token(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &tokens.str("refresh_token")),
            ("resource", "https://a.test/api"),
        ])
        .await
        .ok();
    let (_, access) = jwt(&one.str("access_token"));
    assert_eq!(access["aud"], "https://a.test/api");
    assert!(!access["scope"].as_str().unwrap().split(' ').any(|scope| scope == "b:read"), "{access}");
    assert_eq!(one.json()["expires_in"], 300);
    let wrong = [("grant_type", "refresh_token"), ("refresh_token", &one.str("refresh_token")), ("resource", "https://c.test/api")];
    client.token(&wrong).await.refused(400, "invalid_target");
    // At the code exchange, too.
    let back = alice.arrive(&Request::of(&client).with("scope", "openid a:read b:read")).await;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", back.code()),
        ("redirect_uri", &client.redirect_uri),
        ("code_verifier", &back.verifier),
        ("resource", "https://b.test/api"),
    ];
    assert_eq!(jwt(&client.token(&fields).await.ok().str("access_token")).1["aud"], "https://b.test/api");
    // A token for an API is not for userinfo, and one for nobody in particular is for the issuer.
    server.userinfo(&one.str("access_token")).await.refused(401, "invalid_token");
    let plain = alice.tokens(&client, "openid").await;
    assert_eq!(jwt(&plain.str("access_token")).1["aud"], server.issuer.as_str());
}

async fn algorithms_follow_client_and_resource(server: Server) {
    let alice = server.person("alice").await;
    for name in ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"] {
        let resource = format!("https://{}.test/api", name.to_lowercase());
        let scope = format!("{name}:read");
        server
            .resource(
                json!({ "identifier": resource, "name": name, "scopes": [{ "name": scope }], "access_token_signing_alg": name }),
            )
            .await;
        let client = server.client(json!({ "scope": format!("openid {scope}"), "id_token_signed_response_alg": name })).await;
        let tokens = alice.tokens(&client, &format!("openid {scope}")).await;
        for token in ["id_token", "access_token"] {
            let (header, _) = jwt(&tokens.str(token));
            assert_eq!(header["alg"], name, "{token}");
            server.verify_signature(&tokens.str(token)).await;
        }
    }
}

/// R-94.
async fn a_clock_that_was_set_back_revives_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let then = server.app.clock.now();
    let back = alice.visit(&client, "openid").await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    server.wait(Duration::from_secs(30));
    client.revoke(&tokens.str("refresh_token")).await.ok();
    server.clock.set(then);
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&tokens.str("access_token")).await);
}
