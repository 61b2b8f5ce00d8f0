//! Decision records: each refusal that operators ask about tells its cause and the change that mends it (design 4.7), and a caller sees
//! none of it. One test for each case that the issue names.

use std::time::Duration;

use chancery::oauth::refusal::Story;
use serde_json::json;

use crate::harness::{Request, Server, basic_header, on_both, raw};

on_both![
    redirect_uri_mismatch_shows_the_first_difference,
    wrong_issuer_in_a_clients_configuration,
    missing_pkce,
    wrong_verifier,
    wrong_secret,
    wrong_client_authentication_method,
    unknown_client,
    disabled_client,
    scope_not_allowed,
    wrong_audience_at_userinfo,
    expired_code,
    replayed_code,
    code_of_another_client,
    stolen_refresh_token,
    expired_family,
    disabled_user,
    expired_session_with_prompt_none,
    clock_skew,
    duplicated_parameter,
    wrong_content_type,
    a_caller_sees_nothing_of_it,
    a_password_typed_as_a_username_is_not_recorded,
    records_are_counted_when_they_are_many,
];

/// All that the story says.
fn words(story: &Story) -> String {
    serde_json::to_string(story).unwrap()
}

#[track_caller]
fn tells(story: &Story, happened: &[&str], mend: &[&str]) {
    let all = words(story).to_lowercase();
    for word in happened {
        assert!(all.contains(&word.to_lowercase()), "the story does not tell {word:?}: {story:#?}");
    }
    assert!(!story.mend.is_empty());
    for word in mend {
        assert!(story.mend.to_lowercase().contains(&word.to_lowercase()), "the mend does not say {word:?}: {}", story.mend);
    }
}

/// The trace id of an error that went to the client by redirect: the response's header.
async fn redirected(person: &crate::harness::Person, request: &Request, error: &str) -> String {
    let page = person.open(request).await;
    let to = page.location().unwrap_or_else(|| panic!("{} {}", page.status, page.body));
    assert!(to.as_str().contains(&format!("error={error}")), "{to}");
    page.header("chancery-trace-id").to_owned()
}

async fn redirect_uri_mismatch_shows_the_first_difference(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "redirect_uris": ["https://app.test/callback"] })).await;
    let page = alice.open(&Request::of(&client).with("redirect_uri", "https://app.test/Callback")).await;
    let story = server.explain(&page.trace_id()).await;
    tells(&story, &["https://app.test/callback", "https://app.test/Callback"], &["redirect_uri"]);
    let difference = story.difference.expect("the first difference");
    assert!(difference.contains('C') && difference.contains('c'), "{difference}");
    assert!(story.expected.unwrap().contains("https://app.test/callback"));
    assert!(story.received.unwrap().contains("https://app.test/Callback"));
}

async fn wrong_issuer_in_a_clients_configuration(server: Server) {
    // The client was configured with the login page's address, or a path that is no issuer.
    let answer = server.get("/realms/main/.well-known/openid-configuration").await;
    assert_eq!(answer.status, 404);
    let story = server.explain(&answer.trace_id()).await;
    tells(&story, &[&server.issuer], &[&server.issuer]);
}

async fn missing_pkce(server: Server) {
    let (server, alice, client) = server.actors().await;
    let trace =
        redirected(&alice, &Request::of(&client).without("code_challenge").without("code_challenge_method"), "invalid_request")
            .await;
    tells(&server.explain(&trace).await, &["code_challenge"], &["S256"]);
}

async fn wrong_verifier(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    let answer = client.redeem(back.code(), &"w".repeat(43)).await.refused(400, "invalid_grant");
    let story = server.explain(&answer.trace_id()).await;
    tells(&story, &["verifier", "challenge"], &["verifier"]);
    assert!(!words(&story).contains(&"w".repeat(43)), "the verifier itself is a secret");
}

async fn wrong_secret(server: Server) {
    let client = server.machine(json!({})).await;
    let header = basic_header(&client.client_id, "not-the-secret-of-this-client");
    let answer = server
        .post("/token", &[("grant_type", "client_credentials")], &[("authorization", &header)])
        .await
        .refused(401, "invalid_client");
    let story = server.explain(&answer.trace_id()).await;
    tells(&story, &["secret"], &["rotate-secret"]);
    assert!(!words(&story).contains("not-the-secret"));
}

async fn wrong_client_authentication_method(server: Server) {
    let client = server.machine(json!({})).await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", client.client_id.as_str()),
        ("client_secret", client.secret.as_deref().unwrap()),
    ];
    let answer = server.post("/token", &fields, &[]).await;
    assert_eq!(answer.str("error"), "invalid_client");
    tells(
        &server.explain(&answer.trace_id()).await,
        &["client_secret_basic", "client_secret_post"],
        &["token_endpoint_auth_method"],
    );
}

async fn unknown_client(server: Server) {
    let alice = server.person("alice").await;
    let page = alice.browser.get("/authorize?client_id=shop-staging&response_type=code").await;
    tells(&server.explain(&page.trace_id()).await, &["client"], &["client"]);
    let answer = server
        .post("/token", &[("grant_type", "client_credentials")], &[("authorization", &basic_header("shop-staging", "x"))])
        .await;
    tells(&server.explain(&answer.refused(401, "invalid_client").trace_id()).await, &["client"], &["client"]);
}

async fn disabled_client(server: Server) {
    let (server, alice, client) = server.actors().await;
    server.disable_client(&client).await;
    let page = alice.open(&Request::of(&client)).await;
    tells(&server.explain(&page.trace_id()).await, &["disabled", &client.client_id], &["enable"]);
    let answer = client.refresh("x").await.refused(401, "invalid_client");
    tells(&server.explain(&answer.trace_id()).await, &["disabled"], &["enable"]);
}

async fn scope_not_allowed(server: Server) {
    let alice = server.person("alice").await;
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }] })).await;
    let client = server.client(json!({ "scope": "openid email" })).await;
    let trace = redirected(&alice, &Request::of(&client).with("scope", "openid orders:read"), "invalid_scope").await;
    tells(&server.explain(&trace).await, &["orders:read", "email"], &["scope"]);
    let trace = redirected(&alice, &Request::of(&client).with("scope", "openid emial"), "invalid_scope").await;
    tells(&server.explain(&trace).await, &["emial"], &[]);
}

async fn wrong_audience_at_userinfo(server: Server) {
    let (server, alice, _) = server.actors().await;
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }] })).await;
    let client = server.client(json!({ "scope": "openid orders:read" })).await;
    let back = alice.arrive(&Request::of(&client).with("scope", "openid orders:read").with("resource", "https://api.test")).await;
    let token = client.redeem(back.code(), &back.verifier).await.ok().str("access_token");
    let answer = server.userinfo(&token).await.refused(401, "invalid_token");
    tells(&server.explain(&answer.trace_id()).await, &["https://api.test", &server.issuer], &["resource"]);
}

async fn expired_code(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    server.wait(Duration::from_secs(75));
    let answer = client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    tells(&server.explain(&answer.trace_id()).await, &["15"], &["code"]);
}

async fn replayed_code(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    client.redeem(back.code(), &back.verifier).await.ok();
    server.wait(Duration::from_secs(20));
    let answer = client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    tells(&server.explain(&answer.trace_id()).await, &["20", "revoked"], &["once"]);
}

async fn code_of_another_client(server: Server) {
    let (server, alice, client) = server.actors().await;
    let other = server.client(json!({})).await;
    let back = alice.visit(&client, "openid").await;
    let answer = other.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    tells(&server.explain(&answer.trace_id()).await, &[&client.client_id, &other.client_id], &["client"]);
}

async fn stolen_refresh_token(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "refresh_rotation": "strict" })).await;
    let tokens = alice.tokens_for_long(&client).await;
    client.refresh(&tokens.str("refresh_token")).await.ok();
    server.wait(Duration::from_secs(3600));
    let answer = client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    let story = server.explain(&answer.trace_id()).await;
    tells(&story, &["revoked"], &["signs in again"]);
    assert!(!words(&story).contains(&tokens.str("refresh_token")));
}

async fn expired_family(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    server.wait(Duration::from_secs(31 * 86_400));
    let answer = client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    tells(&server.explain(&answer.trace_id()).await, &["31 days"], &["refresh_idle"]);
}

async fn disabled_user(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    server.disable_user(&alice).await;
    let answer = client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    tells(&server.explain(&answer.trace_id()).await, &["disabled"], &["enable"]);
}

async fn expired_session_with_prompt_none(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await;
    server.wait(Duration::from_secs(13 * 3600));
    let trace = redirected(&alice, &Request::of(&client).with("prompt", "none"), "login_required").await;
    tells(&server.explain(&trace).await, &["session", "12"], &["session_idle"]);
}

async fn clock_skew(server: Server) {
    let (server, alice, client) = server.actors().await;
    server.wait(Duration::from_secs(600));
    let token = alice.tokens(&client, "openid").await.str("access_token");
    // This replica's clock is set back by five minutes: the token comes from the future.
    server.clock.set(chancery::clock::Timestamp::from_seconds(server.clock_seconds() - 300));
    let answer = server.userinfo(&token).await.refused(401, "invalid_token");
    tells(&server.explain(&answer.trace_id()).await, &["clock", "5 minutes"], &["clock"]);
}

async fn duplicated_parameter(server: Server) {
    let (server, alice, client) = server.actors().await;
    let page = alice.open(&Request::of(&client).and("client_id", &client.client_id)).await;
    tells(&server.explain(&page.trace_id()).await, &["client_id"], &["once"]);
    let answer =
        client.token(&[("grant_type", "refresh_token"), ("grant_type", "refresh_token")]).await.refused(400, "invalid_request");
    tells(&server.explain(&answer.trace_id()).await, &["grant_type"], &["once"]);
}

async fn wrong_content_type(server: Server) {
    let client = server.machine(json!({})).await;
    let header = format!("Authorization: {}", basic_header(&client.client_id, client.secret.as_ref().unwrap()));
    let answer =
        raw::post(&server, "/token", &[&header, "Content-Type: application/json"], b"{\"grant_type\":\"client_credentials\"}")
            .await;
    let trace = answer.lines().find_map(|line| line.to_lowercase().strip_prefix("chancery-trace-id: ").map(str::to_owned)).unwrap();
    tells(&server.explain(trace.trim()).await, &["application/json", "application/x-www-form-urlencoded"], &["content-type"]);
}

async fn a_caller_sees_nothing_of_it(server: Server) {
    let (server, alice, client) = server.actors().await;
    let other = server.client(json!({ "redirect_uris": ["https://secret-project.test/callback"] })).await;
    let page = alice.open(&Request::of(&other).with("redirect_uri", "https://guess.test/")).await;
    assert!(!page.body.contains("secret-project"), "{}", page.body);
    assert!(
        page.body.contains("guess.test") && page.body.contains("redirect_uri"),
        "what was received may be shown: {}",
        page.body
    );
    let back = alice.visit(&client, "openid").await;
    let answer = other.redeem(back.code(), &back.verifier).await;
    assert!(!answer.text.contains(&client.client_id), "{}", answer.text);
    // Somebody else's trace id tells a browser nothing.
    let missing = server.get(&format!("/explain/{}", answer.trace_id())).await;
    assert_eq!(missing.status, 404);
}

async fn a_password_typed_as_a_username_is_not_recorded(server: Server) {
    let (server, mut alice, client) = server.actors().await;
    alice.username = "MyPassword-typed-in-the-wrong-box".to_owned();
    let page = alice.answer(&Request::of(&client)).await.unwrap_err();
    assert!(page.is_login());
    server.app.decisions.flush().await;
    let dump = server.dump().await;
    for typed in [alice.username.clone(), alice.username.to_lowercase()] {
        assert!(!dump.contains(&typed));
    }
}

/// The first twenty a minute in full, then counts: an attacker fills no disk.
async fn records_are_counted_when_they_are_many(server: Server) {
    let client = server.machine(json!({})).await;
    let header = basic_header(&client.client_id, "wrong");
    let mut traces = Vec::new();
    for _ in 0..40 {
        let answer = server.post("/token", &[("grant_type", "client_credentials")], &[("authorization", &header)]).await;
        if answer.status == 401 {
            traces.push(answer.trace_id());
        }
    }
    server.app.decisions.flush().await;
    let mut kept = 0;
    for trace in &traces {
        kept += usize::from(chancery::service::decisions::find(&server.app.db, trace).await.unwrap().is_some());
    }
    assert!((10..=20).contains(&kept), "{kept} of {}", traces.len());
}
