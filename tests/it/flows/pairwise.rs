//! Pairwise subjects (OpenID Connect Core §8.1): stable in one sector, unlinkable between two, in everything that a client sees.

use chancery::seal::Purpose;
use chancery::service::keys::By;
use serde_json::{Value, json};

use crate::harness::{Client, Person, Request, Server, jwt, on_both};

on_both![
    two_sectors_never_see_one_subject,
    one_sector_sees_one_subject,
    everything_that_a_client_sees_agrees,
    a_rotation_of_the_key_changes_no_subject,
    a_hint_speaks_of_the_clients_own_subject,
    operators_find_the_person,
    several_hosts_are_refused,
    a_device_sees_the_same_subject,
];

async fn pairwise(server: &Server, redirect_uri: &str) -> Client {
    server
        .client(json!({ "subject_type": "pairwise", "redirect_uris": [redirect_uri], "scope": "openid offline_access email" }))
        .await
}

async fn signed_in(person: &Person, client: &Client) -> Value {
    let back = person.arrive(&Request::of(client)).await;
    jwt(&client.redeem(back.code(), &back.verifier).await.ok().str("id_token")).1
}

/// Everything about the person or the session that may be compared, of one client's tokens.
async fn traces(server: &Server, person: &Person, client: &Client) -> Vec<String> {
    let tokens = person.tokens_for_long(client).await;
    let (access, id) = (tokens.str("access_token"), tokens.str("id_token"));
    let userinfo = server.userinfo(&access).await.ok().json();
    let mut found = Vec::new();
    for claims in [jwt(&access).1, jwt(&id).1, userinfo, client.introspect(&access).await] {
        for (name, value) in claims.as_object().unwrap() {
            // What two sign-ins at different seconds or two clients have apart, and what says nothing about whom.
            if !["iss", "aud", "auth_time", "acr", "amr", "scope", "iat", "exp", "token_type", "active"].contains(&name.as_str()) {
                found.push(value.to_string());
            }
        }
    }
    found
}

async fn two_sectors_never_see_one_subject(server: Server) {
    let alice = server.person("alice").await;
    let (one, other) = (pairwise(&server, "https://one.test/cb").await, pairwise(&server, "https://other.test/cb").await);
    let here = traces(&server, &alice, &one).await;
    for trace in traces(&server, &alice, &other).await {
        assert!(!here.contains(&trace), "{trace} is the same for both");
    }
    for trace in here {
        assert!(!trace.contains(&alice.sub), "the public subject is out: {trace}");
    }
    let public = server.client(json!({})).await;
    assert_eq!(signed_in(&alice, &public).await["sub"], alice.sub);
}

async fn one_sector_sees_one_subject(server: Server) {
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    let one = pairwise(&server, "https://app.test/one").await;
    let two = pairwise(&server, "https://app.test:8443/two").await;
    let first = signed_in(&alice, &one).await;
    assert_eq!(signed_in(&alice, &two).await["sub"], first["sub"]);
    assert_ne!(signed_in(&bob, &one).await["sub"], first["sub"]);
    server.disable_user(&alice).await;
    server.enable_user(&alice).await;
    alice.browser.forget_cookies();
    let again = signed_in(&alice, &one).await;
    assert_eq!(again["sub"], first["sub"]);
    assert_ne!(again["sid"], first["sid"], "another session");
}

async fn everything_that_a_client_sees_agrees(server: Server) {
    let alice = server.person("alice").await;
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }], "introspection_clients": ["api"] })).await;
    let client = server
        .client(json!({ "subject_type": "pairwise", "scope": "openid offline_access orders:read", "redirect_uris": ["https://one.test/cb"] }))
        .await;
    let request = Request::of(&client).with("scope", "openid offline_access orders:read").with("prompt", "consent");
    let back = alice.arrive(&request).await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    let sub = jwt(&tokens.str("id_token")).1["sub"].clone();
    let refreshed = client.refresh(&tokens.str("refresh_token")).await.ok();
    for answer in [&tokens, &refreshed] {
        let access = answer.str("access_token");
        assert_eq!(jwt(&answer.str("id_token")).1["sub"], sub);
        assert_eq!(jwt(&access).1["sub"], sub, "a JWT is read by the client that carries it");
        assert_eq!(server.userinfo(&access).await.ok().json()["sub"], sub);
        assert_eq!(client.introspect(&access).await["sub"], sub);
    }
    assert_eq!(client.introspect(&refreshed.str("refresh_token")).await["sub"], sub);
    let narrowed = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &refreshed.str("refresh_token")),
        ("resource", "https://api.test"),
        ("scope", "orders:read"),
    ];
    let for_the_api = client.token(&narrowed).await.ok().str("access_token");
    assert_eq!(jwt(&for_the_api).1["aud"], "https://api.test");
    assert_eq!(jwt(&for_the_api).1["sub"], sub);
}

async fn a_rotation_of_the_key_changes_no_subject(server: Server) {
    let (alice, replica) = (server.person("alice").await, server.replica().await);
    let client = pairwise(&server, "https://one.test/cb").await;
    let before = signed_in(&alice, &client).await;
    let by = By { actor: "test".to_owned(), trace_id: None };
    server.app.keys.rotate_data(&by, server.app.clock.now(), Purpose::Subject, false).await.unwrap();
    for _ in 0..2 {
        let after = signed_in(&alice, &client).await;
        assert_eq!((&after["sub"], &after["sid"]), (&before["sub"], &before["sid"]));
        server.wait(std::time::Duration::from_secs(60));
        for server in [&server, &replica] {
            server.app.keys.refresh(server.app.clock.now()).await.unwrap();
        }
    }
    let there = client.through(replica.site());
    let browser = alice.browser.through(replica.site());
    let back = Person { browser, username: alice.username.clone(), password: alice.password.clone(), sub: alice.sub.clone() };
    assert_eq!(signed_in(&back, &there).await["sub"], before["sub"]);
}

async fn a_hint_speaks_of_the_clients_own_subject(server: Server) {
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    let client = server.client(json!({ "subject_type": "pairwise", "post_logout_redirect_uris": ["https://app.test/out"] })).await;
    let tokens = alice.tokens(&client, "openid").await;
    let silent = Request::of(&client).with("prompt", "none").with("id_token_hint", &tokens.str("id_token"));
    alice.arrive(&silent).await.code();
    bob.visit(&client, "openid").await.code();
    bob.arrive(&silent).await.refused("login_required");
    // The same at the end-session endpoint: the hint is of this very session, so nobody is asked.
    let url = format!("/logout?id_token_hint={}&post_logout_redirect_uri=https://app.test/out", tokens.str("id_token"));
    let out = alice.browser.get(&url).await;
    assert_eq!(out.location().map(String::from).as_deref(), Some("https://app.test/out"), "{} {}", out.status, out.body);
    let kept = bob.browser.get(&url).await;
    assert!(kept.location().is_none() && kept.is_consent(), "another session's hint asks first: {} {}", kept.status, kept.body);
}

async fn operators_find_the_person(server: Server) {
    let (alice, _bob) = (server.person("alice").await, server.person("bob").await);
    let client = pairwise(&server, "https://one.test/cb").await;
    let sub = signed_in(&alice, &client).await["sub"].as_str().unwrap().to_owned();
    let admin = server.admin("admin:read").await;
    for wanted in [&sub, &alice.sub] {
        let found = admin.get(&format!("/users?sub={wanted}")).await.ok().json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found["items"][0]["sub"], alice.sub);
    }
    let elsewhere = admin.get(&format!("/users?sub={sub}&username=bob")).await.ok().json();
    assert_eq!(elsewhere["items"], json!([]));
    let nobody = admin.get(&format!("/users?sub={}", "A".repeat(64))).await.ok().json();
    assert_eq!(nobody["items"], json!([]));
}

async fn several_hosts_are_refused(server: Server) {
    let refused = |metadata: Value| {
        let server = server.clone();
        async move { server.try_client(metadata).await.err().expect("refused") }
    };
    let several = json!({ "subject_type": "pairwise", "redirect_uris": ["https://one.test/cb", "https://other.test/cb"] });
    let said = refused(several).await;
    assert!(said.contains("subject_type") && said.contains("one.test, other.test"), "{said}");
    let fetched = json!({ "subject_type": "pairwise", "sector_identifier_uri": "https://one.test/sector.json" });
    let said = refused(fetched).await;
    assert!(said.contains("sector_identifier_uri") && said.contains("not offered"), "{said}");
    assert!(refused(json!({ "subject_type": "ephemeral" })).await.contains("subject_type"));
    // Nor later, by a change of what is there.
    let client = pairwise(&server, "https://one.test/cb").await;
    let more = json!({ "redirect_uris": ["https://one.test/cb", "https://other.test/cb"] });
    assert!(server.try_update_client(&client, more).await.unwrap_err().contains("subject_type"));
}

async fn a_device_sees_the_same_subject(server: Server) {
    let alice = server.person("alice").await;
    let grants = ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"];
    let tv =
        server.client(json!({ "subject_type": "pairwise", "redirect_uris": ["https://one.test/cb"], "grant_types": grants })).await;
    let sub = signed_in(&alice, &tv).await["sub"].clone();
    let asked = tv.call("/device/code", &[("scope", "openid")]).await.ok();
    let mut page = alice.browser.get(&asked.str("verification_uri_complete")).await;
    for _ in 0..4 {
        page = match page.location() {
            Some(_) => alice.browser.follow(&page).await,
            None if page.is_consent() => break,
            None => alice.browser.submit(&page, &[("user_code", &asked.str("user_code"))]).await,
        };
    }
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    let fields = [("grant_type", grants[1]), ("device_code", &asked.str("device_code"))];
    let tokens = tv.token(&fields).await.ok();
    assert_eq!(jwt(&tokens.str("id_token")).1["sub"], sub);
}
