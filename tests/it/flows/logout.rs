//! RP-initiated logout: OpenID Connect RP-Initiated Logout 1.0, security.md R-57, openid.md part J.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Page, Person, Request, Server, on_both};

on_both![
    a_hint_and_a_registered_uri_lead_back_with_the_state,
    anything_less_ends_on_a_page,
    without_a_hint_a_page_asks_first,
    the_session_and_what_hangs_on_it_end,
    another_persons_hint_ends_nobodys_session_unasked,
    the_form_cannot_be_forged,
];

async fn is_signed_in(person: &Person, request: Request) -> bool {
    person.answer(&request.with("prompt", "none")).await.unwrap().params.contains_key("code")
}

/// The end of the way: the page or redirect after any confirmation.
async fn finish(person: &Person, mut page: Page) -> Page {
    for _ in 0..3 {
        if page.location().is_some_and(|to| to.as_str().starts_with("https://id.test")) {
            page = person.browser.follow(&page).await;
        } else if page.is_consent() {
            page = person.browser.submit(&page, &[("decision", "allow")]).await;
        }
    }
    page
}

fn logout(fields: &[(&str, &str)]) -> String {
    format!("/logout?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish())
}

async fn a_hint_and_a_registered_uri_lead_back_with_the_state(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "post_logout_redirect_uris": ["https://app.test/bye", "https://app.test/bye?x=1"] })).await;
    for (uri, state, expected) in [
        ("https://app.test/bye", Some("-._~ &=ü\"<"), "https://app.test/bye?state="),
        ("https://app.test/bye", None, "https://app.test/bye"),
        ("https://app.test/bye?x=1", Some("s"), "https://app.test/bye?x=1&state=s"),
    ] {
        let hint = alice.tokens(&client, "openid").await.str("id_token");
        // An expired ID token will do (RP-Initiated Logout §2).
        server.wait(Duration::from_secs(3600));
        let mut fields = vec![("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", uri)];
        if let Some(state) = state {
            fields.push(("state", state));
        }
        let page = alice.browser.get(logout(&fields)).await;
        let done = finish(&alice, page).await;
        let to = done.location().unwrap_or_else(|| panic!("{} {}", done.status, done.body));
        assert!(to.as_str().starts_with(expected), "{to}");
        let got = to.query_pairs().find(|pair| pair.0 == "state").map(|pair| pair.1.into_owned());
        assert_eq!(got.as_deref(), state);
        assert!(!is_signed_in(&alice, Request::of(&client)).await);
    }
    // By POST, too.
    let hint = alice.tokens(&client, "openid").await.str("id_token");
    let fields =
        [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", "https://app.test/bye"), ("client_id", &client.client_id)];
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let page = alice
        .browser
        .send(reqwest::Method::POST, "/logout", Some(fields), &[("origin", "https://app.test"), ("sec-fetch-site", "cross-site")])
        .await;
    let done = finish(&alice, page).await;
    assert_eq!(done.location().map(String::from).as_deref(), Some("https://app.test/bye"), "{} {}", done.status, done.body);
}

async fn anything_less_ends_on_a_page(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    let other = server.client(json!({ "post_logout_redirect_uris": ["https://other.test/bye"] })).await;
    let good = alice.tokens(&client, "openid").await;
    let hint = good.str("id_token");
    let parts: Vec<&str> = hint.split('.').collect();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    let forged = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len()));
    let access = good.str("access_token");
    for fields in [
        vec![("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", "https://evil.test/")],
        vec![("id_token_hint", &hint), ("post_logout_redirect_uri", "https://app.test/bye?x=1")],
        vec![("id_token_hint", &hint), ("post_logout_redirect_uri", "https://app.test/bye/")],
        vec![("id_token_hint", &hint), ("post_logout_redirect_uri", "https://other.test/bye")],
        vec![("id_token_hint", &unsigned), ("post_logout_redirect_uri", "https://app.test/bye")],
        vec![("id_token_hint", &forged), ("post_logout_redirect_uri", "https://app.test/bye")],
        vec![("id_token_hint", &access), ("post_logout_redirect_uri", "https://app.test/bye")],
        vec![("post_logout_redirect_uri", "https://app.test/bye")],
        vec![("client_id", &client.client_id), ("post_logout_redirect_uri", "https://app.test/bye")],
        vec![("id_token_hint", &hint), ("client_id", &other.client_id), ("post_logout_redirect_uri", "https://other.test/bye")],
        vec![("state", "x")],
        vec![],
    ] {
        alice.visit(&client, "openid").await;
        let page = alice.browser.get(logout(&fields)).await;
        let done = finish(&alice, page).await;
        assert!(done.location().is_none(), "{fields:?} led to {:?}", done.location());
        assert!(done.status < 500);
    }
}

async fn without_a_hint_a_page_asks_first(server: Server) {
    let (_, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await;
    let page = alice.browser.get("/logout").await;
    assert!(page.is_consent(), "{} {}", page.status, page.body);
    assert!(is_signed_in(&alice, Request::of(&client)).await, "asking alone ends nothing");
    alice.browser.submit(&page, &[("decision", "deny")]).await;
    assert!(is_signed_in(&alice, Request::of(&client)).await, "no is no");
    let done = alice.browser.submit(&page, &[("decision", "allow")]).await;
    let done = finish(&alice, done).await;
    assert!(done.location().is_none());
    assert!(!is_signed_in(&alice, Request::of(&client)).await);
    // With nobody signed in there is nothing to ask.
    let page = alice.browser.get("/logout").await;
    assert_eq!(page.status, 200, "{}", page.body);
}

async fn the_session_and_what_hangs_on_it_end(server: Server) {
    let (server, alice, client) = server.actors().await;
    let online = alice.tokens(&client, "openid").await;
    let cookie = alice.browser.cookies()["__Host-chancery-session"].clone();
    let page = alice.browser.get(logout(&[("id_token_hint", &online.str("id_token"))])).await;
    finish(&alice, page).await;
    client.refresh(&online.str("refresh_token")).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&online.str("access_token")).await);
    // The cookie is dead on the server, and on every replica.
    let replica = server.replica().await;
    let thief = alice.browser.through(replica.site());
    thief.set_cookie("__Host-chancery-session", &cookie);
    let to = thief.get(Request::of(&client).with("prompt", "none").url(&server)).await.location().unwrap();
    assert!(to.as_str().contains("login_required"), "{to}");
}

async fn another_persons_hint_ends_nobodys_session_unasked(server: Server) {
    let (server, alice, client) = server.actors().await;
    let bob = server.person("bob").await;
    let hint = bob.tokens(&client, "openid").await.str("id_token");
    alice.visit(&client, "openid").await;
    alice.browser.get(logout(&[("id_token_hint", &hint)])).await;
    assert!(is_signed_in(&alice, Request::of(&client)).await, "an image tag with somebody's hint signed alice out");
}

async fn the_form_cannot_be_forged(server: Server) {
    let (_, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await;
    let page = alice.browser.get("/logout").await;
    let form = page.form();
    let fields: Vec<_> = form.fields.iter().cloned().chain([("decision".to_owned(), "allow".to_owned())]).collect();
    let cross = alice
        .browser
        .send(
            reqwest::Method::POST,
            form.action.as_str(),
            Some(fields),
            &[("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")],
        )
        .await;
    assert!(cross.status < 500);
    let bare = alice
        .browser
        .send(reqwest::Method::POST, form.action.as_str(), Some(vec![("decision".to_owned(), "allow".to_owned())]), &[])
        .await;
    assert!(bare.status < 500);
    assert!(is_signed_in(&alice, Request::of(&client)).await);
}
