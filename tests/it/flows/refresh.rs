//! Refresh tokens by family and generation: design 4.2, RFC 6749 §6, RFC 9700 §4.14, OpenID Connect Core §12.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, Request, Server, jwt, on_both};

on_both![
    a_refresh_rotates_and_gives_a_new_id_token,
    retries_within_a_burst_receive_the_head,
    a_lost_answer_is_recovered_by_a_client_that_authenticates,
    a_lost_answer_is_recovered_by_a_public_client_for_an_hour,
    an_old_generation_after_the_burst_is_theft,
    strict_clients_have_no_burst,
    without_rotation_the_same_token_stays,
    a_family_idles_out_and_ages_out,
    a_family_belongs_to_its_client,
    a_refused_presentation_changes_nothing,
    scope_narrows_one_access_token_only,
    without_offline_access_it_ends_with_the_session,
    using_it_is_using_the_session,
    with_offline_access_it_outlives_the_session,
    only_who_may_gets_one,
    a_password_change_ends_them_all,
    a_token_is_of_one_length_and_not_stored,
];

const BURST: Duration = Duration::from_secs(11);

fn token(answer: &Answer) -> String {
    answer.str("refresh_token")
}

async fn a_refresh_rotates_and_gives_a_new_id_token(server: Server) {
    let (server, alice, client) = server.actors().await;
    let first = alice.tokens_for_long(&client).await;
    server.wait(Duration::from_secs(60));
    let second = client.refresh(&token(&first)).await.ok();
    assert_ne!(token(&second), token(&first));
    let (old, new) = (jwt(&first.str("id_token")).1, jwt(&second.str("id_token")).1);
    for claim in ["iss", "sub", "aud", "auth_time", "sid"] {
        assert_eq!(old[claim], new[claim], "{claim}");
    }
    assert!(new["iat"].as_i64() > old["iat"].as_i64());
    assert_eq!(second.json()["expires_in"], 600);
    server.userinfo(&second.str("access_token")).await.ok();
    server.userinfo(&first.str("access_token")).await.ok();
    let third = client.refresh(&token(&second)).await.ok();
    assert_ne!(token(&third), token(&second));
}

/// kubectl and browser tabs refresh at the same moment: all hold the same token afterwards.
async fn retries_within_a_burst_receive_the_head(server: Server) {
    let alice = server.person("alice").await;
    for client in [server.client(json!({})).await, server.public_client(json!({})).await] {
        let first = alice.tokens_for_long(&client).await;
        let second = client.refresh(&token(&first)).await.ok();
        server.wait(Duration::from_secs(9));
        let again = client.refresh(&token(&first)).await.ok();
        assert_eq!(token(&again), token(&second), "the head of the chain");
        // A tab that goes on with the head does not hurt the others in the burst.
        let third = client.refresh(&token(&second)).await.ok();
        assert_eq!(token(&client.refresh(&token(&first)).await.ok()), token(&third));
        assert_eq!(token(&client.refresh(&token(&second)).await.ok()), token(&third));
        // The burst is never extended: it began with the first redemption.
        server.wait(Duration::from_secs(2));
        client.refresh(&token(&first)).await.refused(400, "invalid_grant");
        client.refresh(&token(&third)).await.refused(400, "invalid_grant");
    }
}

async fn a_lost_answer_is_recovered_by_a_client_that_authenticates(server: Server) {
    let (server, alice, client) = server.actors().await;
    let first = alice.tokens_for_long(&client).await;
    let lost = client.refresh(&token(&first)).await.ok();
    server.wait(Duration::from_secs(5 * 3600));
    let recovered = client.refresh(&token(&first)).await.ok();
    assert_eq!(token(&recovered), token(&lost), "the head again");
    client.refresh(&token(&recovered)).await.ok();
}

async fn a_lost_answer_is_recovered_by_a_public_client_for_an_hour(server: Server) {
    let alice = server.person("alice").await;
    let client = server.public_client(json!({})).await;
    let first = alice.tokens_for_long(&client).await;
    let lost = client.refresh(&token(&first)).await.ok();
    server.wait(Duration::from_secs(3000));
    let recovered = client.refresh(&token(&first)).await.ok();
    assert_ne!(token(&recovered), token(&lost), "a fresh generation: the old head is dead");
    server.wait(BURST);
    client.refresh(&token(&recovered)).await.ok();
    // Too late: refused, nothing revoked.
    let first = alice.tokens_for_long(&client).await;
    let head = client.refresh(&token(&first)).await.ok();
    server.wait(Duration::from_secs(3700));
    client.refresh(&token(&first)).await.refused(400, "invalid_grant");
    client.refresh(&token(&head)).await.ok();
    // The window is the client's own to choose.
    let short = server.public_client(json!({ "refresh_recovery": 60 })).await;
    let first = alice.tokens_for_long(&short).await;
    let head = short.refresh(&token(&first)).await.ok();
    server.wait(Duration::from_secs(90));
    short.refresh(&token(&first)).await.refused(400, "invalid_grant");
    short.refresh(&token(&head)).await.ok();
}

/// the family, its grant and every access token of it.
async fn an_old_generation_after_the_burst_is_theft(server: Server) {
    let alice = server.person("alice").await;
    let watcher = server.client(json!({ "introspection": "any" })).await;
    for client in [server.client(json!({})).await, server.public_client(json!({})).await] {
        let first = alice.tokens_for_long(&client).await;
        let second = client.refresh(&token(&first)).await.ok();
        server.wait(BURST);
        let third = client.refresh(&token(&second)).await.ok();
        server.wait(BURST);
        assert!(watcher.is_active(&third.str("access_token")).await);
        client.refresh(&token(&first)).await.refused(400, "invalid_grant");
        client.refresh(&token(&third)).await.refused(400, "invalid_grant");
        for answer in [&first, &second, &third] {
            assert!(!watcher.is_active(&answer.str("access_token")).await);
            server.userinfo(&answer.str("access_token")).await.refused(401, "invalid_token");
        }
        // Only this family: the person's next sign-in is not touched.
        let fresh = alice.tokens_for_long(&client).await;
        client.refresh(&token(&fresh)).await.ok();
        assert!(server.audit().await.iter().any(|action| action == "grant.theft"), "an audit event");
    }
}

async fn strict_clients_have_no_burst(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "refresh_rotation": "strict" })).await;
    let first = alice.tokens_for_long(&client).await;
    let second = client.refresh(&token(&first)).await.ok();
    client.refresh(&token(&first)).await.refused(400, "invalid_grant");
    client.refresh(&token(&second)).await.refused(400, "invalid_grant");
}

async fn without_rotation_the_same_token_stays(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "refresh_rotation": "none" })).await;
    let first = alice.tokens_for_long(&client).await;
    for _ in 0..3 {
        server.wait(Duration::from_secs(3600));
        let answer = client.refresh(&token(&first)).await.ok();
        assert!(answer.json().get("refresh_token").is_none_or(|same| *same == json!(token(&first))), "{}", answer.text);
    }
}

/// R-44, with a confidential client, so that no recovery window hides an end.
async fn a_family_idles_out_and_ages_out(server: Server) {
    let (server, alice, client) = server.actors().await;
    let day = Duration::from_secs(86_400);
    let idle = alice.tokens_for_long(&client).await;
    server.wait(day * 29);
    let idle = client.refresh(&token(&idle)).await.ok();
    server.wait(day * 30 + Duration::from_secs(1));
    client.refresh(&token(&idle)).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&token(&idle)).await);
    let mut current = alice.tokens_for_long(&client).await;
    for _ in 0..7 {
        server.wait(day * 25);
        current = client.refresh(&token(&current)).await.ok();
    }
    server.wait(day * 4 + Duration::from_secs(3600));
    current = client.refresh(&token(&current)).await.ok();
    assert!(jwt(&current.str("access_token")).1["exp"].as_i64().unwrap() > 0);
    server.wait(day);
    client.refresh(&token(&current)).await.refused(400, "invalid_grant");
}

/// R-43 and lesson 1; the answer does not tell that the token exists.
async fn a_family_belongs_to_its_client(server: Server) {
    let (server, alice, client) = server.actors().await;
    let other = server.client(json!({})).await;
    let public = server.public_client(json!({})).await;
    let tokens = alice.tokens_for_long(&client).await;
    let known = other.refresh(&token(&tokens)).await.refused(400, "invalid_grant");
    let unknown = other.refresh("no-such-token").await.refused(400, "invalid_grant");
    assert_eq!(known.json(), unknown.json());
    public.refresh(&token(&tokens)).await.refused(400, "invalid_grant");
    // Without its secret the client itself is nobody.
    let bare = [("grant_type", "refresh_token"), ("refresh_token", &token(&tokens)), ("client_id", &client.client_id)];
    server.post("/token", &bare, &[]).await.refused(401, "invalid_client");
    client.refresh(&token(&tokens)).await.ok();
}

/// A token of a wrong MAC, or one presented by a stranger, is not theft: nothing is revoked.
async fn a_refused_presentation_changes_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let good = token(&tokens);
    for place in [0, good.len() / 2, good.len() - 1] {
        let mut letters: Vec<char> = good.chars().collect();
        letters[place] = if letters[place] == 'A' { 'B' } else { 'A' };
        client.refresh(&letters.into_iter().collect::<String>()).await.refused(400, "invalid_grant");
    }
    for odd in ["", "x", &good[1..], &format!("{good}A"), &good.to_uppercase(), &"A".repeat(5000)] {
        let answer = client.refresh(odd).await;
        assert_eq!(answer.status, 400, "{odd}: {}", answer.text);
    }
    let stranger = server.client(json!({})).await;
    server.wait(BURST);
    stranger.refresh(&good).await.refused(400, "invalid_grant");
    client.refresh(&good).await.ok();
}

/// R-45, RFC 6749 §6.
async fn scope_narrows_one_access_token_only(server: Server) {
    let (_, alice, client) = server.actors().await;
    let back =
        alice.arrive(&Request::of(&client).with("scope", "openid email profile offline_access").with("prompt", "consent")).await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    let refresh = |refresh_token: String, scope: &'static str| {
        let client = client.clone();
        async move { client.token(&[("grant_type", "refresh_token"), ("refresh_token", &refresh_token), ("scope", scope)]).await }
    };
    let narrow = refresh(token(&tokens), "openid email").await.ok();
    let scopes = jwt(&narrow.str("access_token")).1["scope"].as_str().unwrap().to_owned();
    assert!(scopes.contains("email") && !scopes.contains("profile"), "{scopes}");
    // RFC 6749 §3.3: said, since it differs from what the grant holds.
    assert!(narrow.str("scope").split(' ').all(|scope| scope != "profile"));
    let whole = client.refresh(&token(&narrow)).await.ok();
    assert!(jwt(&whole.str("access_token")).1["scope"].as_str().unwrap().contains("profile"), "the family keeps the grant's scope");
    refresh(token(&whole), "openid phone").await.refused(400, "invalid_scope");
    client.refresh(&token(&whole)).await.ok();
}

async fn without_offline_access_it_ends_with_the_session(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens(&client, "openid").await;
    let tokens = client.refresh(&token(&tokens)).await.ok();
    let page = alice.browser.get("/logout").await;
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    client.refresh(&token(&tokens)).await.refused(400, "invalid_grant");
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    // And with the session's own end.
    let tokens = alice.tokens(&client, "openid").await;
    server.wait(Duration::from_secs(7 * 86_400 + 60));
    client.refresh(&token(&tokens)).await.refused(400, "invalid_grant");
}

/// An app in daily use keeps the session alive that its tokens live with, until the session's absolute end; one with `offline_access` has
/// no part in it.
async fn using_it_is_using_the_session(server: Server) {
    let (server, alice, client) = server.actors().await;
    let bob = server.person("bob").await;
    let mut tokens = alice.tokens(&client, "openid").await;
    let mut apart = bob.tokens_for_long(&client).await;
    for _ in 0..3 {
        server.wait(Duration::from_secs(11 * 3600));
        tokens = client.refresh(&token(&tokens)).await.ok();
        apart = client.refresh(&token(&apart)).await.ok();
    }
    let silent = Request::of(&client).with("prompt", "none");
    alice.answer(&silent).await.unwrap().code();
    bob.answer(&silent).await.unwrap().refused("login_required");
    // Idle it ends all the same, and a refused refresh does not bring it back.
    server.wait(Duration::from_secs(13 * 3600));
    client.refresh(&token(&tokens)).await.refused(400, "invalid_grant");
    alice.answer(&silent).await.unwrap().refused("login_required");
    // And after seven days it is over, however often it was used.
    let mut tokens = alice.tokens(&client, "openid").await;
    for _ in 0..16 {
        server.wait(Duration::from_secs(10 * 3600));
        tokens = client.refresh(&token(&tokens)).await.ok();
    }
    server.wait(Duration::from_secs(9 * 3600));
    client.refresh(&token(&tokens)).await.refused(400, "invalid_grant");
}

async fn with_offline_access_it_outlives_the_session(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let page = alice.browser.get("/logout").await;
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    server.wait(Duration::from_secs(8 * 86_400));
    client.refresh(&token(&tokens)).await.ok();
}

async fn only_who_may_gets_one(server: Server) {
    let (server, alice, _) = server.actors().await;
    let without = server.client(json!({ "grant_types": ["authorization_code"] })).await;
    let tokens = alice.tokens_for_long(&without).await;
    assert!(tokens.json().get("refresh_token").is_none());
    let other = server.client(json!({})).await;
    let foreign = alice.tokens_for_long(&other).await;
    without.refresh(&token(&foreign)).await.refused(400, "unauthorized_client");
    other.refresh(&token(&foreign)).await.ok();
    // OpenID Connect Core §11: offline_access without consent for it is left out, not an error.
    let trusted = server.client(json!({})).await;
    let tokens = alice.tokens(&trusted, "openid offline_access").await;
    assert!(!tokens.text.is_empty());
}

///
async fn a_password_change_ends_them_all(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    server.set_password(&alice, "another correct horse").await;
    client.refresh(&token(&tokens)).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    alice.answer(&Request::of(&client).with("prompt", "none")).await.unwrap().refused("login_required");
}

/// R-01 and design 4: a dump of the database holds nothing that can be presented.
async fn a_token_is_of_one_length_and_not_stored(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.arrive(&Request::of(&client).with("scope", "openid offline_access").with("prompt", "consent")).await;
    let first = client.redeem(back.code(), &back.verifier).await.ok();
    let second = client.refresh(&token(&first)).await.ok();
    assert_eq!(token(&first).len(), token(&second).len());
    let unused = alice.visit(&client, "openid").await;
    let dump = server.dump().await;
    let cookie = alice.browser.cookies()["__Host-chancery-session"].clone();
    for (what, secret) in [
        ("code", unused.code().to_owned()),
        ("session cookie", cookie),
        ("refresh token", token(&second)),
        ("MAC of the refresh token", token(&second)[token(&second).len() - 40..].to_owned()),
        ("access token", second.str("access_token")),
        ("client secret", client.secret.clone().unwrap()),
        ("password", alice.password.clone()),
        ("verifier", unused.verifier.clone()),
    ] {
        assert!(!dump.contains(&secret), "the database holds the {what}");
    }
}
