//! Consent: asked in words, remembered per client and scope set, asked again when more is wanted (design 4.1, 7; security.md R-24).

use serde_json::json;

use crate::harness::{Page, Person, Request, Server, on_both};

on_both![
    the_page_says_who_asks_for_what_and_where_it_leads,
    consent_is_remembered_and_asked_again_when_scopes_grow,
    saying_no_comes_back_as_access_denied,
    a_change_of_redirects_asks_again,
    native_clients_are_asked_every_time,
    a_first_party_client_skips_the_page_only_where_it_is_safe,
    withdrawing_consent_ends_what_came_from_it,
    the_decision_cannot_be_forged,
];

async fn consent_page(person: &Person, request: &Request) -> Page {
    let mut page = person.open(request).await;
    for _ in 0..6 {
        if page.location().is_some() {
            page = person.browser.follow(&page).await;
        } else if page.is_login() {
            page = person.browser.submit(&page, &[("username", &person.username), ("password", &person.password)]).await;
        }
    }
    assert!(page.is_consent() && !page.is_login(), "{} {}", page.status, page.body);
    page
}

/// Whether the request passes without a page that asks.
async fn is_silent(person: &Person, request: &Request) -> bool {
    person
        .browser
        .get(request.url(person.browser.site()))
        .await
        .location()
        .is_some_and(|to| to.as_str().starts_with(request.get("redirect_uri").unwrap()))
}

async fn the_page_says_who_asks_for_what_and_where_it_leads(server: Server) {
    let alice = server.person("alice").await;
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read", "description": "Read your orders" }] })).await;
    let client = server.client(json!({ "client_name": "Shop <b>&co", "scope": "openid email orders:read", "logo_uri": "https://tracker.test/logo.png" })).await;
    let page = consent_page(&alice, &Request::of(&client).with("scope", "openid email orders:read")).await;
    let words = page.text("main").unwrap();
    for expected in ["Shop <b>&co", "app.test", "Read your orders"] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
    assert!(!page.body.contains("<b>&co") && !page.body.contains("tracker.test"), "R-53: {}", page.body);
    let values: Vec<String> =
        page.form().buttons.iter().filter(|button| button.0 == "decision").map(|button| button.1.clone()).collect();
    assert!(values.contains(&"allow".to_owned()) && values.contains(&"deny".to_owned()), "{values:?}");
    // The form carries an id, a token and the decision, and nothing of the request itself.
    for (name, value) in page.form().fields {
        assert!(!["scope", "redirect_uri", "client_id", "state", "code_challenge"].contains(&name.as_str()), "{name}={value}");
    }
}

async fn consent_is_remembered_and_asked_again_when_scopes_grow(server: Server) {
    let (server, alice, client) = server.actors().await;
    let asks = |scope: &str| Request::of(&client).with("scope", scope);
    alice.arrive(&asks("openid email")).await.code();
    assert!(is_silent(&alice, &asks("openid email")).await);
    assert!(is_silent(&alice, &asks("email openid")).await, "order is nothing");
    assert!(is_silent(&alice, &asks("openid")).await, "less than before");
    alice.answer(&asks("openid email profile").with("prompt", "none")).await.unwrap().refused("consent_required");
    let more = consent_page(&alice, &asks("openid email profile")).await;
    alice.browser.submit(&more, &[("decision", "allow")]).await;
    assert!(is_silent(&alice, &asks("openid email profile")).await);
    consent_page(&alice, &asks("openid").with("prompt", "consent")).await;
    // Another client of the same person, and another person at the same client, are other consents.
    let other = server.client(json!({})).await;
    consent_page(&alice, &Request::of(&other)).await;
    let bob = server.person("bob").await;
    consent_page(&bob, &asks("openid")).await;
}

async fn saying_no_comes_back_as_access_denied(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.deny(&Request::of(&client)).await.unwrap();
    assert_eq!(back.refused("access_denied").params["iss"], server.issuer);
    assert!(back.params.contains_key("state"));
    let back = alice.deny(&Request::of(&client).with("response_mode", "form_post")).await.unwrap();
    back.refused("access_denied");
    // And nothing was remembered.
    assert!(!is_silent(&alice, &Request::of(&client)).await);
}

async fn a_change_of_redirects_asks_again(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    assert!(is_silent(&alice, &Request::of(&client)).await);
    server.update_client(&client, json!({ "redirect_uris": [client.redirect_uri, "https://app.test/new"] })).await;
    consent_page(&alice, &Request::of(&client)).await;
}

/// Design 7: any program on the machine can claim a loopback port or a scheme.
async fn native_clients_are_asked_every_time(server: Server) {
    let alice = server.person("alice").await;
    for redirect in ["http://127.0.0.1/cb", "com.example.app:/cb"] {
        let native = server.public_client(json!({ "redirect_uris": [redirect], "application_type": "native" })).await;
        for _ in 0..2 {
            let page = consent_page(&alice, &Request::of(&native)).await;
            let to = alice.browser.submit(&page, &[("decision", "allow")]).await.location().unwrap();
            assert!(to.as_str().starts_with(redirect), "{to}");
        }
        alice.answer(&Request::of(&native).with("prompt", "none")).await.unwrap().refused("consent_required");
    }
}

async fn a_first_party_client_skips_the_page_only_where_it_is_safe(server: Server) {
    let (server, alice, _) = server.actors().await;
    let own = server.client(json!({ "first_party": true })).await;
    assert!(alice.visit(&own, "openid").await.params.contains_key("code"));
    assert!(is_silent(&alice, &Request::of(&own).with("scope", "openid profile")).await);
    consent_page(&alice, &Request::of(&own).with("prompt", "consent")).await;
    let spa = server.public_client(json!({ "first_party": true })).await;
    assert!(is_silent(&alice, &Request::of(&spa)).await, "an https redirect off loopback");
    let native = server
        .public_client(json!({ "first_party": true, "redirect_uris": ["http://127.0.0.1/cb"], "application_type": "native" }))
        .await;
    consent_page(&alice, &Request::of(&native)).await;
}

async fn withdrawing_consent_ends_what_came_from_it(server: Server) {
    let (_, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let account = alice.browser.get("/account").await;
    assert_eq!(account.status, 200, "{}", account.body);
    assert!(account.text("main").unwrap().contains("Test client"), "{}", account.body);
    let (name, value) = account.form().buttons.into_iter().find(|button| button.0 == "withdraw").expect("a button to withdraw");
    let done = alice.browser.submit(&account, &[(&name, &value)]).await;
    assert!(done.status == 303 || done.status == 200, "{} {}", done.status, done.body);
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    consent_page(&alice, &Request::of(&client)).await;
}

async fn the_decision_cannot_be_forged(server: Server) {
    let (server, alice, client) = server.actors().await;
    let page = consent_page(&alice, &Request::of(&client)).await;
    let form = page.form();
    let send = |fields: Vec<(String, String)>, headers: &'static [(&'static str, &'static str)]| {
        let (browser, action) = (&alice.browser, form.action.clone());
        async move { browser.send(reqwest::Method::POST, action.as_str(), Some(fields), headers).await }
    };
    let with = |value: &str| form.fields.iter().cloned().chain([("decision".to_owned(), value.to_owned())]).collect::<Vec<_>>();
    let cross: &[(&str, &str)] = &[("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")];
    let refused = send(with("allow"), cross).await;
    assert!((400..500).contains(&refused.status) && refused.location().is_none());
    for value in ["", "ALLOW", "yes"] {
        let odd = send(with(value), &[]).await;
        assert!(!odd.location().is_some_and(|to| to.as_str().contains("code=")), "{value:?}");
    }
    let bare = send(vec![("decision".to_owned(), "allow".to_owned())], &[]).await;
    assert!((400..500).contains(&bare.status), "{}", bare.status);
    // Another person signs in in this browser meanwhile: the first person's answer does not count for them.
    let page = consent_page(&alice, &Request::of(&client)).await;
    let bob = server.person("bob").await;
    let mut login = alice.browser.get(Request::of(&client).with("prompt", "login").url(&server)).await;
    while login.location().is_some() {
        login = alice.browser.follow(&login).await;
    }
    alice.browser.submit(&login, &[("username", &bob.username), ("password", &bob.password)]).await;
    let stale = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(
        !stale.location().is_some_and(|to| to.as_str().contains("code=")),
        "alice's page authorized bob: {:?}",
        stale.location()
    );
}
