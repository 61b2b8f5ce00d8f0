//! Introspection (RFC 7662) and revocation (RFC 7009): who may, what is told, and that both read the database.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, Server, Setup, jwt, on_both};

on_both![
    introspection_tells_the_token_as_it_is,
    only_those_who_may_learn_anything,
    nobody_finds_tokens_by_trying,
    an_old_generation_is_inactive_and_unharmed,
    each_thing_that_a_token_stands_on_ends_it_by_itself,
    revoking_an_access_token_leaves_the_grant,
    revoking_a_refresh_token_ends_everything,
    a_foreign_or_unknown_token_is_a_silent_success,
    hints_are_only_hints,
    public_clients_revoke_but_do_not_introspect,
    the_forms_are_read_strictly,
];

async fn introspection_tells_the_token_as_it_is(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let access = client.call("/introspect", &[("token", &tokens.str("access_token"))]).await.ok();
    assert_eq!(access.header("cache-control"), "no-store");
    let (seen, claims) = (access.json(), jwt(&tokens.str("access_token")).1);
    assert_eq!(seen["active"], true);
    for claim in ["iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope"] {
        assert_eq!(seen[claim], claims[claim], "{claim}");
    }
    assert_eq!(seen["token_type"], "Bearer");
    let refresh = client.introspect(&tokens.str("refresh_token")).await;
    assert_eq!(refresh["active"], true);
    assert_eq!(refresh["client_id"], client.client_id);
    assert_eq!(refresh["sub"], alice.sub);
    server.wait(Duration::from_secs(601));
    assert!(!client.is_active(&tokens.str("access_token")).await);
    assert!(client.is_active(&tokens.str("refresh_token")).await);
    assert!(!client.is_active(&tokens.str("id_token")).await, "an ID token is no token for an API");
}

///
async fn only_those_who_may_learn_anything(server: Server) {
    let (server, alice, client) = server.actors().await;
    let stranger = server.client(json!({})).await;
    let any = server.client(json!({ "introspection": "any" })).await;
    let reader = server.client(json!({})).await;
    server
        .resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }], "introspection_clients": [reader.client_id] }))
        .await;
    let tokens = alice.tokens(&client, "openid").await;
    for token in [tokens.str("access_token"), tokens.str("refresh_token")] {
        assert!(client.is_active(&token).await);
        assert!(any.is_active(&token).await);
        assert!(!stranger.is_active(&token).await);
        assert!(!reader.is_active(&token).await);
    }
    let ordering = server.client(json!({ "scope": "openid orders:read" })).await;
    let token = alice.tokens(&ordering, "openid orders:read").await.str("access_token");
    assert!(reader.is_active(&token).await);
    assert!(!stranger.is_active(&token).await);
    for nothing in ["", "x", "a.b.c"] {
        let answer = client.call("/introspect", &[("token", nothing)]).await;
        if nothing.is_empty() {
            answer.refused(400, "invalid_request");
        } else {
            assert_eq!(answer.ok().json(), json!({ "active": false }));
        }
    }
    client.call("/introspect", &[]).await.refused(400, "invalid_request");
}

/// R-48, RFC 7662 §4. A flood of rubbish is refused, and silences nobody: neither its own client's good tokens nor other clients.
async fn nobody_finds_tokens_by_trying(server: Server) {
    let small = Setup::on(server.backend).config(|config| config.throttle.unknown_tokens_per_minute = 5).start().await;
    small.may_fail();
    let (small, alice, client) = small.actors().await;
    let other = small.client(json!({})).await;
    let tokens = alice.tokens_for_long(&client).await;
    let (access, refresh) = (tokens.str("access_token"), tokens.str("refresh_token"));
    // Of each kind that is told apart, one wrong character at the end of the signature or MAC.
    let wrong = |token: &str| format!("{}{}", &token[..token.len() - 3], if token.ends_with("AAA") { "BBB" } else { "AAA" });
    let rubbish = ["x".to_owned(), "a.b.c".to_owned(), wrong(&access), wrong(&refresh), "A".repeat(200)];
    for token in &rubbish {
        assert_eq!(client.call("/introspect", &[("token", token)]).await.ok().json(), json!({ "active": false }));
    }
    for token in &rubbish {
        let answer = client.call("/introspect", &[("token", token)]).await.refused(429, "temporarily_unavailable");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(small.explain(&answer.trace_id()).await.mend.contains("unknown_tokens_per_minute"));
    }
    assert!(client.is_active(&access).await && client.is_active(&refresh).await, "its own tokens are still answered");
    assert!(!other.is_active("x").await, "others have a share of their own");
    small.wait(Duration::from_secs(60));
    assert!(!client.is_active("x").await, "the next minute has a new share");
}

/// Design 4.2: looking at an old generation is not presenting it.
async fn an_old_generation_is_inactive_and_unharmed(server: Server) {
    let (server, alice, client) = server.actors().await;
    let first = alice.tokens_for_long(&client).await;
    let second = client.refresh(&first.str("refresh_token")).await.ok();
    server.wait(Duration::from_secs(60));
    let third = client.refresh(&second.str("refresh_token")).await.ok();
    server.wait(Duration::from_secs(60));
    assert!(!client.is_active(&first.str("refresh_token")).await);
    assert!(client.is_active(&third.str("refresh_token")).await);
    client.refresh(&third.str("refresh_token")).await.ok();
}

/// What ends a token mostly ends its grant too; here one thing at a time, so that none stands in for another.
async fn each_thing_that_a_token_stands_on_ends_it_by_itself(server: Server) {
    let (server, alice, client) = server.actors().await;
    let watcher = server.client(json!({ "introspection": "any" })).await;
    server
        .resource(json!({ "identifier": "https://opaque.test", "name": "Opaque", "scopes": [{ "name": "opaque" }], "access_token_format": "opaque" }))
        .await;
    let opaque = server.client(json!({ "scope": "openid opaque" })).await;
    let online = [alice.tokens(&client, "openid").await, alice.tokens(&opaque, "openid opaque").await];
    let offline = [alice.tokens_for_long(&client).await];
    assert_eq!(online.each_ref().map(|tokens| tokens.str("access_token").contains('.')), [true, false]);
    let db = &server.app.db;
    let execute = async |sql: &'static str| db.execute(sql, chancery::args![]).await.unwrap();
    let all_are = async |active: bool, tokens: &[Answer], kinds: &[&str], what: &str| {
        for (tokens, kind) in tokens.iter().flat_map(|tokens| kinds.iter().map(move |kind| (tokens, kind))) {
            let token = tokens.str(kind);
            assert_eq!(watcher.is_active(&token).await, active, "{what}: {kind}");
            // Of the others some are for an API, and the others no access tokens.
            if token.contains('.') {
                assert_eq!(server.userinfo(&token).await.status, if active { 200 } else { 401 }, "{what}");
            }
        }
    };
    let (access, both) = (&["access_token"][..], &["access_token", "refresh_token"][..]);
    for (sql, back, kinds, of_session) in [
        ("UPDATE users SET enabled = 0", "UPDATE users SET enabled = 1", both, false),
        (
            "UPDATE clients SET enabled = 0 WHERE client_id IN (SELECT client_id FROM grants)",
            "UPDATE clients SET enabled = 1",
            both,
            false,
        ),
        ("UPDATE grants SET ended_at = 1", "UPDATE grants SET ended_at = NULL", both, false),
        ("UPDATE grants SET expires_at = -expires_at", "UPDATE grants SET expires_at = -expires_at", both, false),
        ("UPDATE grants SET sub = 'x' || sub", "UPDATE grants SET sub = substr(sub, 2)", access, false),
        ("UPDATE grants SET client_id = 'x' || client_id", "UPDATE grants SET client_id = substr(client_id, 2)", both, false),
        ("UPDATE sessions SET ended_at = 1", "UPDATE sessions SET ended_at = NULL", both, true),
        ("UPDATE sessions SET expires_at = -expires_at", "UPDATE sessions SET expires_at = -expires_at", both, true),
        ("UPDATE sessions SET last_used_at = -last_used_at", "UPDATE sessions SET last_used_at = -last_used_at", both, true),
    ] {
        execute(sql).await;
        all_are(false, &online, kinds, sql).await;
        all_are(of_session, &offline, kinds, sql).await;
        execute(back).await;
        all_are(true, &online, both, back).await;
        all_are(true, &offline, both, back).await;
    }
    client.revoke(&online[0].str("access_token")).await.ok();
    all_are(false, &online[..1], access, "revoked").await;
    execute("DELETE FROM sessions").await;
    all_are(false, &online, both, "no session").await;
    all_are(true, &offline, both, "no session").await;
    execute("DELETE FROM grants").await;
    all_are(false, &offline, both, "no grant").await;
}

/// Design 4.4.
async fn revoking_an_access_token_leaves_the_grant(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    client.revoke(&tokens.str("access_token")).await.ok();
    assert!(!client.is_active(&tokens.str("access_token")).await);
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    let renewed = client.refresh(&tokens.str("refresh_token")).await.ok();
    assert!(client.is_active(&renewed.str("access_token")).await);
    // Twice is once.
    client.revoke(&tokens.str("access_token")).await.ok();
}

/// any generation will do.
async fn revoking_a_refresh_token_ends_everything(server: Server) {
    let (server, alice, client) = server.actors().await;
    let first = alice.tokens_for_long(&client).await;
    let second = client.refresh(&first.str("refresh_token")).await.ok();
    server.wait(Duration::from_secs(60));
    let third = client.refresh(&second.str("refresh_token")).await.ok();
    client.revoke(&first.str("refresh_token")).await.ok();
    for answer in [&first, &second, &third] {
        assert!(!client.is_active(&answer.str("access_token")).await);
        assert!(!client.is_active(&answer.str("refresh_token")).await);
    }
    client.refresh(&third.str("refresh_token")).await.refused(400, "invalid_grant");
}

async fn a_foreign_or_unknown_token_is_a_silent_success(server: Server) {
    let (server, alice, client) = server.actors().await;
    let stranger = server.client(json!({ "introspection": "any" })).await;
    let tokens = alice.tokens_for_long(&client).await;
    for token in [tokens.str("access_token"), tokens.str("refresh_token"), "x".into(), "a.b.c".into(), "A".repeat(90)] {
        let answer = stranger.revoke(&token).await.ok();
        assert!(answer.text.is_empty() || answer.json() == json!({}), "{}", answer.text);
    }
    assert!(client.is_active(&tokens.str("access_token")).await);
    assert!(client.is_active(&tokens.str("refresh_token")).await);
}

async fn hints_are_only_hints(server: Server) {
    let (_, alice, client) = server.actors().await;
    for hint in ["access_token", "refresh_token", "something_else"] {
        let tokens = alice.tokens_for_long(&client).await;
        let answer = client.call("/introspect", &[("token", &tokens.str("refresh_token")), ("token_type_hint", hint)]).await.ok();
        assert_eq!(answer.json()["active"], true, "{hint}");
        client.call("/revoke", &[("token", &tokens.str("refresh_token")), ("token_type_hint", hint)]).await.ok();
        assert!(!client.is_active(&tokens.str("refresh_token")).await, "{hint}");
    }
}

async fn public_clients_revoke_but_do_not_introspect(server: Server) {
    let (server, alice, _) = server.actors().await;
    let public = server.public_client(json!({})).await;
    let tokens = alice.tokens_for_long(&public).await;
    let answer = public.call("/introspect", &[("token", &tokens.str("access_token"))]).await;
    assert!([400, 401, 403].contains(&answer.status), "{} {}", answer.status, answer.text);
    public.revoke(&tokens.str("refresh_token")).await.ok();
    public.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    let watcher = server.client(json!({ "introspection": "any" })).await;
    assert!(!watcher.is_active(&tokens.str("access_token")).await);
}

async fn the_forms_are_read_strictly(server: Server) {
    let (server, _, client) = server.actors().await;
    for path in ["/introspect", "/revoke"] {
        client.call(path, &[("token", "x"), ("token", "y")]).await.refused(400, "invalid_request");
        client.call(path, &[]).await.refused(400, "invalid_request");
        let answer = server.get(&format!("{path}?token=x")).await;
        assert_eq!(answer.status, 405, "{path}");
        client.call(&format!("{path}?token=x"), &[]).await.refused(400, "invalid_request");
    }
}
