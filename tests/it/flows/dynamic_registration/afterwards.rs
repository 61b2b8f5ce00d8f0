//! What others make of clients that registered themselves: operators, the people who are asked for consent, and the job that forgets the unused.

use std::time::Duration;

use chancery::config::RegistrationMode;
use chancery::service::registration;
use serde_json::{Value, json};

use super::{DAY, Registered, is_no_token, open, token, web, web_with, with};
use crate::harness::{Request, Server, on_both};

on_both![
    clients_that_nobody_uses_go,
    operators_see_who_registered_what,
    the_consent_page_shows_what_a_client_says_of_itself_as_its_own_word,
];

async fn clients_that_nobody_uses_go(server: Server) {
    let server = open(&server).await;
    let initial = token(&server, json!({ "registrations": 2 })).await;
    let passing = Registered::new(&server, None, web()).await;
    let (unused, by_person, by_itself) = (
        Registered::new(&server, Some(&initial), web()).await,
        Registered::new(&server, Some(&initial), web()).await,
        Registered::new(
            &server,
            Some(&token(&server, json!({ "grant_types": ["client_credentials"] })).await),
            json!({
                "grant_types": ["client_credentials"]
            }),
        )
        .await,
    );
    let operators = server.client(json!({})).await;
    let admin = server.admin("admin:read").await;
    let left = async |made: &Registered| {
        admin.get(&format!("/clients/{}", made.str("client_id"))).await.json()["registered"]["unused_until"].is_string()
    };
    assert!(left(&unused).await && left(&by_person).await && left(&by_itself).await);
    // Looking is no use, nor is a sign-in that nobody ends.
    unused.own("GET", None).await.ok();
    let alice = server.person("alice").await;
    alice.open(&Request::of(&unused.client())).await;
    alice.deny(&Request::of(&unused.client())).await.unwrap().refused("access_denied");
    alice.answer(&Request::of(&by_person.client())).await.unwrap().code();
    by_itself.client().token(&[("grant_type", "client_credentials")]).await.ok();
    assert!(left(&unused).await && !left(&by_person).await && !left(&by_itself).await);
    // Without a token it goes the next day.
    server.wait(Duration::from_secs(86_399));
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    passing.own("GET", None).await.ok();
    server.wait(Duration::from_secs(2));
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    is_no_token(passing.own("GET", None).await);
    server.wait(DAY * 28);
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    unused.own("GET", None).await.ok();
    server.wait(DAY * 2);
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    is_no_token(unused.own("GET", None).await);
    by_person.own("GET", None).await.ok();
    by_itself.own("GET", None).await.ok();
    let admin = server.admin("admin:read").await;
    admin.get(&format!("/clients/{}", unused.str("client_id"))).await.problem(404, "admin-not-found");
    admin.get(&format!("/clients/{}", operators.client_id)).await.ok();
    let told = admin.get(&format!("/audit-events?target={}", unused.str("client_id"))).await.ok().json();
    assert_eq!((&told["items"][0]["action"], &told["items"][0]["actor"]), (&json!("client.remove"), &json!("server")));
    assert_eq!(told["items"][0]["before"]["client_name"], "Self-made");
    // Many go in their batches.
    let many = with(&server, |config| {
        config.registration.mode = RegistrationMode::Open;
        config.registration.open_per_address = 1000;
    });
    let many = many.await;
    for _ in 0..120 {
        Registered::new(&many, None, web()).await;
    }
    many.wait(DAY * 31);
    registration::forget_unused(&many.app, many.operator().now).await.unwrap();
    let admin = many.admin("admin:read").await;
    assert_eq!(admin.get("/clients?limit=200").await.json()["items"].as_array().unwrap().len(), 1, "the administrator's");
}

async fn operators_see_who_registered_what(server: Server) {
    let server = open(&server).await;
    let admin = server.admin("admin:write").await;
    let made = admin.post("/initial-access-tokens", json!({ "note": "for the shop" })).await;
    let by_token = Registered::new(&server, Some(&made.str("token")), web()).await;
    let openly = Registered::new(&server, None, web()).await;
    let shown = async |client: &Registered| admin.get(&format!("/clients/{}", client.str("client_id"))).await.ok();
    let registered = shown(&by_token).await.json()["registered"].clone();
    assert_eq!(registered["initial_access_token"], made.str("id"));
    assert_eq!(registered["address"], "127.0.0.1");
    assert!(registered["at"].is_string() && registered["unused_until"].is_string());
    assert_eq!(shown(&openly).await.json()["registered"]["initial_access_token"], Value::Null);
    // What was read may be sent back, and nobody sets it.
    let path = format!("/clients/{}", openly.str("client_id"));
    let seen = shown(&openly).await;
    admin.call_with("PUT", &path, Some(&seen.json()), &[("if-match", seen.header("etag"))]).await.ok();
    let mut forged = seen.json();
    forged["registered"] = json!({ "address": "192.0.2.1" });
    admin.put(&path, forged).await.problem(422, "document-refused").about("pointer", "/registered");
    let events = admin.get(&format!("/audit-events?target={}", by_token.str("client_id"))).await.ok().json();
    assert_eq!(events["items"][0]["action"], "client.register");
    assert_eq!(events["items"][0]["actor"], format!("initial_access_token:{}", made.str("id")));
    assert!(events["items"][0]["trace_id"].is_string());
    let events = admin.get(&format!("/audit-events?target={}", openly.str("client_id"))).await.ok().json();
    assert_eq!(events["items"][0]["actor"], "anonymous");
    // The token tells what is left of it, and goes as it was seen or not at all.
    let path = format!("/initial-access-tokens/{}", made.str("id"));
    let token = admin.get(&path).await.ok();
    assert_eq!((&token.json()["registrations_left"], &token.json()["note"]), (&json!(0), &json!("for the shop")));
    assert!(
        !token.text.contains(&made.str("token")) && !admin.get("/initial-access-tokens").await.text.contains(&made.str("token"))
    );
    let stale = made.header("etag").to_owned();
    assert_ne!(token.header("etag"), stale);
    admin.call_with("DELETE", &path, None, &[("if-match", &stale)]).await.problem(412, "precondition-failed");
    assert_eq!(admin.call_with("DELETE", &path, None, &[("if-match", token.header("etag"))]).await.status, 204);
    admin.get(&path).await.problem(404, "admin-not-found");
    admin.delete(&path).await.problem(404, "admin-not-found");
    for (name, value) in [
        ("expires_in", json!(0)),
        ("expires_in", json!(366 * 86_400)),
        ("registrations", json!(0)),
        ("registrations", json!(-1)),
        ("grant_types", json!([])),
        ("grant_types", json!(["password"])),
        ("scopes", json!(["admin:read"])),
        ("scopes", json!(["a b"])),
        ("note", json!(" ")),
        ("token", json!("chosen")),
    ] {
        let refused = admin.post("/initial-access-tokens", json!({ name: value })).await;
        refused.problem(422, "document-refused").about("pointer", &format!("/{name}"));
    }
    // Pages of the list.
    for _ in 0..5 {
        admin.post("/initial-access-tokens", json!({})).await;
    }
    let first = admin.get("/initial-access-tokens?limit=3").await.ok().json();
    let next =
        admin.get(&format!("/initial-access-tokens?limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await.ok().json();
    assert_eq!((first["items"].as_array().unwrap().len(), next["items"].as_array().unwrap().len()), (3, 2));
    assert_eq!(next["next_cursor"], Value::Null);
}

/// openid.md 90, R-53.
async fn the_consent_page_shows_what_a_client_says_of_itself_as_its_own_word(server: Server) {
    let server = open(&server).await;
    let body = web_with(json!({
        "client_name": "Shop <b>", "client_uri": "https://app.test/about", "policy_uri": "https://legal.test:8443/privacy",
        "tos_uri": "https://app.test/terms", "logo_uri": "https://pictures.test/logo.png", "contacts": ["<i>dev@app.test"],
    }));
    let open = Registered::new(&server, None, body.clone()).await;
    let vouched = Registered::new(&server, Some(&token(&server, json!({})).await), body).await;
    let alice = server.person("alice").await;
    let mut pages = Vec::new();
    for client in [&open, &vouched] {
        let mut page = alice.open(&Request::of(&client.client())).await;
        while page.is_login() || page.location().is_some() {
            page = match page.is_login() {
                true => alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await,
                false => alice.browser.follow(&page).await,
            };
        }
        let words = page.text("main").unwrap();
        for expected in ["Shop <b>", "<i>dev@app.test", "legal.test:8443", "app.test"] {
            assert!(words.contains(expected), "{expected}: {words}");
        }
        for expected in [
            "href=\"https://legal.test:8443/privacy\" target=\"_blank\" rel=\"noopener noreferrer nofollow\"",
            "href=\"https://app.test/terms\"",
            "href=\"https://app.test/about\"",
        ] {
            assert!(page.body.contains(expected), "{expected}: {}", page.body);
        }
        assert!(!page.body.contains("<b>") && !page.body.contains("<i>") && !page.body.contains("pictures.test"), "{}", page.body);
        pages.push(page.body.clone());
    }
    assert!(pages[0].contains("id=\"unverified\""), "{}", pages[0]);
    assert!(!pages[1].contains("id=\"unverified\""), "{}", pages[1]);
    // The picture comes from here, and where none can be fetched there is none: this host does not exist.
    let picture = pages[0].split("<img src=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(picture.starts_with("/") && picture.contains(&format!("/logo/{}?v=", open.str("client_id"))), "{picture}");
    for path in [picture, "/logo/nobody", "/logo/%ff", &format!("/logo/{}", server.client(json!({})).await.client_id)] {
        assert_eq!(server.get(&format!("{}{path}", server.site().origin())).await.status, 404, "{path}");
    }
}
