//! prompt, max_age, id_token_hint, login_hint: OpenID Connect Core §3.1.2.1, openid.md part C.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Person, Request, Server, jwt, on_both};

on_both![
    without_a_session_prompt_none_is_login_required,
    with_a_session_prompt_none_is_silent_and_the_same_person,
    prompt_login_asks_again_and_moves_auth_time,
    max_age_is_measured_when_the_login_completes,
    a_hint_names_the_person,
    select_account_offers_the_account_and_another,
    the_login_hint_is_typed_in,
    default_max_age_counts_where_the_request_says_nothing,
];

async fn id_token(person: &Person, request: &Request, client: &crate::harness::Client) -> serde_json::Value {
    let back = person.arrive(request).await;
    jwt(&client.redeem(back.code(), &back.verifier).await.ok().str("id_token")).1
}

async fn shows_login(person: &Person, request: &Request) -> bool {
    let mut page = person.open(request).await;
    while page.location().is_some_and(|to| to.as_str().starts_with("https://id.test")) {
        page = person.browser.follow(&page).await;
    }
    page.location().is_none() && page.is_login()
}

async fn without_a_session_prompt_none_is_login_required(server: Server) {
    let (_, alice, client) = server.actors().await;
    let page = alice.open(&Request::of(&client).with("prompt", "none")).await;
    let to = page.location().expect("at once, without a page");
    assert!(to.as_str().starts_with(&client.redirect_uri) && to.as_str().contains("error=login_required"), "{to}");
}

async fn with_a_session_prompt_none_is_silent_and_the_same_person(server: Server) {
    let (server, alice, client) = server.actors().await;
    let first = id_token(&alice, &Request::of(&client), &client).await;
    server.wait(Duration::from_secs(30));
    let second = id_token(&alice, &Request::of(&client).with("prompt", "none"), &client).await;
    assert_eq!(second["sub"], first["sub"]);
    assert_eq!(second["auth_time"], first["auth_time"]);
    assert_eq!(second["sid"], first["sid"]);
    assert_eq!(second["sub"], alice.sub);
}

async fn prompt_login_asks_again_and_moves_auth_time(server: Server) {
    let (server, alice, client) = server.actors().await;
    let first = id_token(&alice, &Request::of(&client), &client).await;
    server.wait(Duration::from_secs(5));
    let request = Request::of(&client).with("prompt", "login");
    assert!(shows_login(&alice, &request).await);
    let second = id_token(&alice, &Request::of(&client).with("prompt", "login"), &client).await;
    assert!(second["auth_time"].as_i64() > first["auth_time"].as_i64());
    assert_eq!(second["sid"], first["sid"], "the same browser session");
}

async fn max_age_is_measured_when_the_login_completes(server: Server) {
    let (server, alice, client) = server.actors().await;
    let first = id_token(&alice, &Request::of(&client), &client).await;
    server.wait(Duration::from_secs(2));
    let same = id_token(&alice, &Request::of(&client).with("max_age", "10000"), &client).await;
    assert_eq!(same["auth_time"], first["auth_time"]);
    assert!(shows_login(&alice, &Request::of(&client).with("max_age", "1")).await);
    alice.answer(&Request::of(&client).with("max_age", "1").with("prompt", "none")).await.unwrap().refused("login_required");
    // max_age=0 asks for a fresh sign-in, and a person who reads the consent page slowly is not asked for ever.
    let request = Request::of(&client).with("max_age", "0").with("scope", "openid profile");
    let mut page = alice.open(&request).await;
    for _ in 0..8 {
        server.wait(Duration::from_secs(7));
        page = match page.location() {
            Some(to) if to.as_str().starts_with(&client.redirect_uri) => break,
            Some(_) => alice.browser.follow(&page).await,
            None if page.is_login() => {
                alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await
            }
            None => alice.browser.submit(&page, &[("decision", "allow")]).await,
        };
    }
    let to = page.location().expect("it ends");
    assert!(to.as_str().contains("code="), "{to}");
}

/// An expired ID token will do as a hint (openid.md 44); a forged one is an error, never ignored.
async fn a_hint_names_the_person(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens(&client, "openid").await;
    let hint = tokens.str("id_token");
    server.wait(Duration::from_secs(3600));
    let silent = Request::of(&client).with("prompt", "none").with("id_token_hint", &hint);
    alice.arrive(&silent).await.code();
    let bob = server.person("bob").await;
    bob.visit(&client, "openid").await.code();
    bob.arrive(&silent).await.refused("login_required");
    let mut forged = hint.clone();
    forged.replace_range(forged.len() - 4.., "AAAA");
    alice.arrive(&Request::of(&client).with("id_token_hint", &forged)).await.refused("invalid_request");
    alice.arrive(&Request::of(&client).with("id_token_hint", &tokens.str("access_token"))).await.refused("invalid_request");
    alice
        .arrive(&Request::of(&client).with("id_token_hint", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."))
        .await
        .refused("invalid_request");
}

async fn select_account_offers_the_account_and_another(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    let mut page = alice.open(&Request::of(&client).with("prompt", "select_account")).await;
    while page.location().is_some_and(|to| to.as_str().starts_with("https://id.test")) {
        page = alice.browser.follow(&page).await;
    }
    assert!(page.location().is_none() && !page.is_login(), "{} {:?}", page.status, page.location());
    assert!(page.form().buttons.iter().any(|button| *button == ("account".to_owned(), "current".to_owned())), "{}", page.body);
    let on = alice.browser.submit(&page, &[("account", "current")]).await;
    assert!(on.location().is_some_and(|to| to.as_str().contains("code=")), "{} {:?}", on.status, on.location());
    let mut page = alice.open(&Request::of(&client).with("prompt", "select_account")).await;
    while page.location().is_some_and(|to| to.as_str().starts_with("https://id.test")) {
        page = alice.browser.follow(&page).await;
    }
    let mut other = alice.browser.submit(&page, &[("account", "other")]).await;
    while other.location().is_some() {
        other = alice.browser.follow(&other).await;
    }
    assert!(other.is_login(), "{} {}", other.status, other.body);
    // Another person signs in, and it is their code that comes back.
    let bob = server.person("bob").await;
    let mut page = alice.browser.submit(&other, &[("username", &bob.username), ("password", &bob.password)]).await;
    for _ in 0..4 {
        match page.location() {
            Some(to) if to.as_str().starts_with(&client.redirect_uri) => break,
            Some(_) => page = alice.browser.follow(&page).await,
            None => page = alice.browser.submit(&page, &[("decision", "allow")]).await,
        }
    }
    assert!(page.location().unwrap().as_str().contains("code="), "{} {}", page.status, page.body);
    assert_eq!(id_token(&bob, &Request::of(&client), &client).await["sub"], bob.sub);
    let in_this_browser = id_token(&alice, &Request::of(&client).with("prompt", "none"), &client).await;
    assert_eq!(in_this_browser["sub"], bob.sub);
}

async fn the_login_hint_is_typed_in(server: Server) {
    let (_, alice, client) = server.actors().await;
    let mut page = alice.open(&Request::of(&client).with("login_hint", "bob@\"example.com")).await;
    while page.location().is_some() {
        page = alice.browser.follow(&page).await;
    }
    let username = page.form().fields.into_iter().find(|field| field.0 == "username").unwrap().1;
    assert_eq!(username, "bob@\"example.com");
}

async fn default_max_age_counts_where_the_request_says_nothing(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "default_max_age": 60 })).await;
    let first = id_token(&alice, &Request::of(&client), &client).await;
    assert!(first["auth_time"].is_i64());
    server.wait(Duration::from_secs(61));
    assert!(shows_login(&alice, &Request::of(&client)).await);
    assert!(!shows_login(&alice, &Request::of(&client).with("max_age", "3600")).await);
}
