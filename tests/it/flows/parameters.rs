//! Every parameter of an authorization request (OpenID Connect Core §3.1.2.1) by the letter: what each does, and that none does harm.
//! `prompt` tells the story of sessions; here are the combinations and the edges.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Browser, Client, Page, Person, Request, Server, jwt, on_both};

on_both![
    every_combination_of_prompts_shows_its_pages,
    max_age_is_exact_to_the_second,
    auth_time_is_the_sign_ins_own,
    the_page_speaks_the_best_language,
    every_display_is_a_page,
    a_login_hint_is_only_a_hint,
    a_hint_may_be_old_but_never_shows_a_name,
    acr_values_are_answered_truthfully,
    what_is_unknown_or_empty_is_not_there,
];

/// Follows what stays on this server.
async fn settle(browser: &Browser, mut page: Page) -> Page {
    while page.location().is_some_and(|to| to.as_str().starts_with("https://id.test")) {
        page = browser.follow(&page).await;
    }
    page
}

async fn opened(person: &Person, request: &Request) -> Page {
    settle(&person.browser, person.open(request).await).await
}

fn param(page: &Page, name: &str) -> Option<String> {
    page.location()?.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

async fn redeemed(client: &Client, request: &Request, page: &Page) -> Answer {
    let code = param(page, "code").unwrap_or_else(|| panic!("no code: {} {:?} {}", page.status, page.location(), page.body));
    client.redeem(&code, &request.verifier).await.ok()
}

fn claims(answer: &Answer) -> Value {
    jwt(&answer.str("id_token")).1
}

/// The pages that the person sees, in their order, each answered with yes.
async fn pages(person: &Person, request: &Request) -> (Vec<&'static str>, Page) {
    let mut seen = Vec::new();
    let mut page = opened(person, request).await;
    while page.location().is_none() {
        let typed: &[(&str, &str)] = if page.is_login() {
            seen.push("login");
            &[("username", &person.username), ("password", &person.password)]
        } else if page.text("[name=account]").is_some() {
            seen.push("select_account");
            &[("account", "current")]
        } else if page.is_consent() {
            seen.push("consent");
            &[("decision", "allow")]
        } else {
            panic!("{} {}", page.url, page.body);
        };
        assert!(seen.len() < 6, "{seen:?}");
        page = settle(&person.browser, person.browser.submit(&page, typed).await).await;
    }
    (seen, page)
}

async fn every_combination_of_prompts_shows_its_pages(server: Server) {
    let (_, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    for (prompt, expected) in [
        ("", &[][..]),
        ("none", &[]),
        ("none none", &[]),
        ("login", &["login"]),
        ("consent", &["consent"]),
        ("select_account", &["select_account"]),
        ("login consent", &["login", "consent"]),
        ("consent login", &["login", "consent"]),
        ("consent select_account", &["select_account", "consent"]),
        // Signing in is choosing.
        ("login select_account", &["login"]),
        ("select_account login consent", &["login", "consent"]),
    ] {
        let request = Request::of(&client).with("prompt", prompt);
        let (seen, page) = pages(&alice, &request).await;
        assert_eq!(seen, expected, "prompt={prompt}");
        assert_eq!(claims(&redeemed(&client, &request, &page).await)["sub"], alice.sub, "prompt={prompt}");
    }
    for wrong in [
        "none login",
        "none consent",
        "select_account none",
        "login none consent",
        "create",
        "Login",
        "NONE",
        "login,consent",
        "none\u{a0}",
    ] {
        alice.arrive(&Request::of(&client).with("prompt", wrong)).await.refused("invalid_request");
    }
    // Whoever is not signed in anyway sees the sign-in once.
    let bob = server.person("bob").await;
    let (seen, _) = pages(&bob, &Request::of(&client).with("prompt", "login consent select_account")).await;
    assert_eq!(seen, ["login", "consent"]);
}

/// openid.md 40 to 43.
async fn max_age_is_exact_to_the_second(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    let asked = |max_age: &str| Request::of(&client).with("max_age", max_age);
    server.wait(Duration::from_secs(100));
    for (max_age, signs_in) in [("101", false), ("100", false), ("999999999999999", false), ("", false)] {
        let (seen, _) = pages(&alice, &asked(max_age)).await;
        assert_eq!(seen.contains(&"login"), signs_in, "max_age={max_age}");
    }
    let silent = |max_age: &str| asked(max_age).with("prompt", "none");
    alice.arrive(&silent("100")).await.code();
    alice.arrive(&silent("99")).await.refused("login_required");
    alice.arrive(&silent("0")).await.refused("login_required");
    for max_age in ["99", "0", "00"] {
        server.wait(Duration::from_secs(100));
        let request = asked(max_age);
        let (seen, page) = pages(&alice, &request).await;
        assert_eq!(seen, ["login"], "max_age={max_age}");
        assert_eq!(claims(&redeemed(&client, &request, &page).await)["auth_time"].as_i64(), Some(server.clock_seconds()));
    }
    for wrong in ["-1", "-0", "+1", "1.0", "1e3", "0x10", " 1", "1 ", "x", "9999999999999999", "18446744073709551616", "\u{661}"] {
        alice.arrive(&asked(wrong)).await.refused("invalid_request");
    }
}

/// openid.md 38 to 43: in whole seconds, the same until somebody signs in anew, whatever is refreshed, consented or stepped meanwhile.
async fn auth_time_is_the_sign_ins_own(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "default_max_age": 600, "scope": "openid profile offline_access" })).await;
    let signed_in_at = server.clock_seconds();
    let request = Request::of(&client).with("prompt", "consent").with("scope", "openid offline_access");
    let back = alice.arrive(&request).await;
    let first = client.redeem(back.code(), &back.verifier).await.ok();
    assert_eq!(claims(&first)["auth_time"].as_i64(), Some(signed_in_at));
    server.wait(Duration::from_millis(9_900));
    let refreshed = client.refresh(&first.str("refresh_token")).await.ok();
    let (seen, page) = pages(&alice, &request).await;
    assert_eq!(seen, ["consent"]);
    let again = redeemed(&client, &request, &page).await;
    for answer in [&refreshed, &again] {
        assert_eq!(claims(answer)["auth_time"].as_i64(), Some(signed_in_at));
        assert_eq!(jwt(&answer.str("access_token")).1["auth_time"].as_i64(), Some(signed_in_at));
    }
    // A default, and what a request says goes before it.
    server.wait(Duration::from_secs(600));
    alice.arrive(&Request::of(&client).with("prompt", "none")).await.refused("login_required");
    alice.arrive(&Request::of(&client).with("prompt", "none").with("max_age", "86400")).await.code();
}

/// ui_locales goes before what the browser says, and what nobody speaks before nothing.
async fn the_page_speaks_the_best_language(server: Server) {
    let (_, mut alice, client) = server.actors().await;
    let mut lang = Vec::new();
    for (ui_locales, accept, expected) in [
        ("de", "en", "de"),
        ("fr-CA fr de-AT en", "en", "de"),
        ("en-US de", "de", "en"),
        ("DE", "en", "de"),
        ("fr pt-BR", "de;q=0.9, en;q=0.8", "de"),
        ("", "fr, de;q=0.1", "de"),
        ("x-klingon", "fr", "en"),
        ("deutsch", "en", "en"),
    ] {
        alice.browser.headers.retain(|(name, _)| *name != "accept-language");
        alice.browser.headers.push(("accept-language", accept.to_owned()));
        let page = opened(&alice, &Request::of(&client).with("ui_locales", ui_locales)).await;
        assert!(
            page.is_login() && page.body.contains(&format!("<html lang=\"{expected}\"")),
            "{ui_locales} {accept}: {}",
            page.body
        );
        lang.push(expected);
    }
    let supported = server.metadata().await["ui_locales_supported"].clone();
    assert!(lang.iter().all(|lang| supported.as_array().unwrap().contains(&json!(lang))));
}

async fn every_display_is_a_page(server: Server) {
    let (_, alice, client) = server.actors().await;
    for display in ["page", "popup", "touch", "wap", "hologram", ""] {
        let request = Request::of(&client).with("display", display).with("prompt", "login");
        assert!(opened(&alice, &request).await.is_login(), "{display}");
        alice.arrive(&request).await.code();
    }
}

async fn a_login_hint_is_only_a_hint(server: Server) {
    let (_, alice, client) = server.actors().await;
    for hint in ["nobody@example.com", "<script>alert(1)</script>", &"x".repeat(255), "\u{1f600} \"'"] {
        let page = opened(&alice, &Request::of(&client).with("login_hint", hint)).await;
        let typed = page.form().fields.into_iter().find(|field| field.0 == "username").unwrap().1;
        assert_eq!(typed, hint);
        assert!(!page.body.contains("<script>alert"), "{}", page.body);
    }
    alice.arrive(&Request::of(&client).with("login_hint", "bob")).await.code();
    // Nor does it sign anybody out or in.
    alice.arrive(&Request::of(&client).with("login_hint", "bob").with("prompt", "none")).await.code();
    let page = alice.open(&Request::of(&client).with("login_hint", &"x".repeat(256))).await;
    assert!(page.status == 400 || param(&page, "error").as_deref() == Some("invalid_request"), "{}", page.status);
}

/// openid.md 44. An ID token in wrong hands must not tell whose it is: a page that typed the name in would.
async fn a_hint_may_be_old_but_never_shows_a_name(server: Server) {
    let (server, alice, client) = server.actors().await;
    let hint = alice.tokens(&client, "openid").await.str("id_token");
    let stranger = Browser::new(server.site());
    let request = Request::of(&client).with("id_token_hint", &hint);
    let page = settle(&stranger, stranger.get(request.url(&server)).await).await;
    assert!(page.is_login() && !page.body.contains(&alice.username), "{}", page.body);
    // Older than its key, which signs no more.
    let by = chancery::service::keys::By { actor: "test".to_owned(), trace_id: None };
    for _ in 0..2 {
        server.wait(Duration::from_secs(3600));
        server.app.keys.rotate(&by, server.app.clock.now(), None, false).await.unwrap();
        server.app.keys.refresh(server.app.clock.now()).await.unwrap();
    }
    let (seen, page) = pages(&alice, &request).await;
    assert!(seen.len() <= 1, "{seen:?}");
    assert_eq!(claims(&redeemed(&client, &request, &page).await)["sub"], alice.sub);
    alice.arrive(&request.with("prompt", "none")).await.code();
}

/// openid.md 26.
async fn acr_values_are_answered_truthfully(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "default_acr_values": ["urn:chancery:acr:password"] })).await;
    for values in [
        "",
        "urn:chancery:acr:password",
        "urn:gold urn:chancery:acr:password",
        "urn:chancery:acr:mfa urn:chancery:acr:password",
        "urn:gold",
    ] {
        let request = Request::of(&client).with("acr_values", values);
        let (_, page) = pages(&alice, &request).await;
        let told = claims(&redeemed(&client, &request, &page).await);
        assert_eq!((&told["acr"], &told["amr"]), (&json!("urn:chancery:acr:password"), &json!(["pwd"])), "{values}");
    }
    let refused = server.try_client(json!({ "default_acr_values": ["two words"] })).await.err().unwrap();
    assert!(refused.contains("default_acr_values"), "{refused}");
}

async fn what_is_unknown_or_empty_is_not_there(server: Server) {
    let (_, alice, client) = server.actors().await;
    let mut request = Request::of(&client)
        .with("claims_locales", "de-DE xx")
        .with("vendor_extension", "{\"a\": 1}")
        .with("id_token", "x")
        .with("session_state", "y");
    for name in [
        "prompt",
        "max_age",
        "display",
        "ui_locales",
        "claims_locales",
        "login_hint",
        "id_token_hint",
        "acr_values",
        "claims",
        "request",
        "request_uri",
        "registration",
        "response_mode",
        "resource",
    ] {
        request = request.with(name, "");
    }
    let back = alice.arrive(&request).await;
    let answer = client.redeem(back.code(), &back.verifier).await.ok();
    assert_eq!(claims(&answer)["nonce"], request.nonce);
}
