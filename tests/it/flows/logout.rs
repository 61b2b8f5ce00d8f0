//! RP-initiated logout: OpenID Connect RP-Initiated Logout 1.0, security.md R-57, openid.md part J.

use std::time::Duration;

use chancery::service::keys::By;
use serde_json::json;

use crate::harness::{Client, Page, Person, Request, Server, jwt, on_both};

on_both![
    a_hint_and_a_registered_uri_lead_back_with_the_state,
    anything_less_ends_on_a_page,
    without_a_hint_a_page_asks_first,
    the_session_and_what_hangs_on_it_end,
    another_persons_hint_ends_nobodys_session_unasked,
    the_form_cannot_be_forged,
    a_replayed_form_ends_nobody_elses_session,
    what_was_wrong_is_on_record,
    whose_app_sends_a_hint_that_counts_no_more_can_still_sign_out,
    without_a_hint_the_person_is_asked_and_stays,
    the_other_apps_are_shown_in_frames,
    frames_are_those_of_this_session_alone,
    every_way_out_of_this_browser_shows_the_frames,
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

async fn a_replayed_form_ends_nobody_elses_session(server: Server) {
    let (_, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await;
    let page = alice.browser.get("/logout").await;
    let done = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(done.location().is_none() && !is_signed_in(&alice, Request::of(&client)).await);
    // Once more, with nobody here: there is nothing to end, and no harm in it.
    assert_eq!(alice.browser.submit(&page, &[("decision", "allow")]).await.status, 200);
    // And when she is here again: the form was about another session.
    alice.visit(&client, "openid").await;
    let asked = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(asked.is_consent(), "{}", asked.body);
    assert!(is_signed_in(&alice, Request::of(&client)).await);
}

async fn what_was_wrong_is_on_record(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    let other = server.client(json!({ "post_logout_redirect_uris": ["https://other.test/bye"] })).await;
    let hint = alice.tokens(&client, "openid").await.str("id_token");
    let parts: Vec<&str> = hint.split('.').collect();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    let forged = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len()));
    // Signed by us, for something else: a logout token of this very session.
    let keys = server.app.keys.current();
    let mut claims = jwt(&hint).1;
    let key = keys.active(chancery::jose::Alg::RS256).unwrap();
    let logout_token = key.sign_jwt("logout+jwt", &claims).unwrap();
    claims["iss"] = json!("https://other-issuer.test");
    let foreign = key.sign_jwt("JWT", &claims).unwrap();
    claims["iss"] = json!("https://id.test");
    claims["aud"] = json!("gone");
    let of_nobody = key.sign_jwt("JWT", &claims).unwrap();
    let bye = ("post_logout_redirect_uri", "https://app.test/bye");
    for (fields, rule) in [
        (
            vec![("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", "https://evil.test/")],
            "post-logout-redirect-uri-mismatch",
        ),
        (
            vec![("id_token_hint", &hint), ("post_logout_redirect_uri", "https://app.test/bye?a=b")],
            "post-logout-redirect-uri-mismatch",
        ),
        (
            vec![("id_token_hint", &hint), ("post_logout_redirect_uri", "https://other.test/bye")],
            "post-logout-redirect-uri-mismatch",
        ),
        (vec![("id_token_hint", &hint), ("client_id", &other.client_id), bye], "client-id-mismatch"),
        (vec![("id_token_hint", &unsigned), bye], "id-token-hint"),
        (vec![("id_token_hint", &forged), bye], "id-token-hint"),
        (vec![("id_token_hint", &foreign), bye], "id-token-hint"),
        (vec![("id_token_hint", &logout_token), bye], "id-token-hint"),
        (vec![("id_token_hint", "x")], "id-token-hint"),
        (vec![("id_token_hint", &of_nobody), bye], "client"),
        (vec![bye], "post-logout-redirect-uri"),
        (vec![("client_id", &client.client_id), bye, ("state", "s")], "post-logout-redirect-uri"),
    ] {
        let page = alice.browser.get(logout(&fields)).await;
        assert!(page.location().is_none(), "{fields:?} led to {:?}", page.location());
        let trace_id = page.header("chancery-trace-id").to_owned();
        server.app.decisions.flush().await;
        let found = chancery::service::decisions::find(&server.app.db, &trace_id).await.unwrap();
        let found = found.unwrap_or_else(|| panic!("nothing is recorded for {fields:?}: {}", page.body));
        assert!(found.rule.contains(rule), "{fields:?}: {}", found.rule);
        assert!(is_signed_in(&alice, Request::of(&client)).await, "{fields:?}");
    }
}

/// Nothing that the app sent was malformed: its key was declared compromised since. That is the app's trouble, and the person wants to leave.
async fn whose_app_sends_a_hint_that_counts_no_more_can_still_sign_out(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    let hint = alice.tokens(&client, "openid").await.str("id_token");
    let by = By { actor: "cli".to_owned(), trace_id: None };
    server.app.keys.rotate(&by, server.app.clock.now(), None, true).await.unwrap();

    let fields = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", "https://app.test/bye")];
    for (lang, said) in
        [("en", ["ID token is not accepted", "not signed out"]), ("de", ["wird nicht anerkannt", "nicht abgemeldet"])]
    {
        let page = alice.browser.get(logout(&[fields[0], fields[1], ("ui_locales", lang)])).await;
        assert_eq!(page.status, 400, "{}", page.body);
        assert!(said.iter().all(|said| page.body.contains(said)), "{}", page.body);
        assert!(page.body.contains(r#"id="sign-out" href="/logout""#), "{}", page.body);
    }
    assert!(is_signed_in(&alice, Request::of(&client)).await);
    let asked = alice.browser.get("/logout").await;
    let done = alice.browser.submit(&asked, &[("decision", "allow")]).await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert!(!is_signed_in(&alice, Request::of(&client)).await);
    // Elsewhere nobody was about to sign out.
    let page = alice.browser.get("/authorize?client_id=nobody").await;
    assert!(page.status == 400 && !page.body.contains("sign-out"), "{}", page.body);
}

async fn without_a_hint_the_person_is_asked_and_stays(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    alice.visit(&client, "openid").await;
    let fields = [
        ("client_id", client.client_id.as_str()),
        ("post_logout_redirect_uri", "https://app.test/bye"),
        ("state", "s"),
        ("logout_hint", "alice"),
        ("ui_locales", "de"),
    ];
    let page = alice.browser.get(logout(&fields)).await;
    assert!(page.is_consent() && page.body.contains("Abmelden?"), "{}", page.body);
    assert!(page.header("content-security-policy").contains("form-action 'self';"), "nobody is sent anywhere");
    let done = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert_eq!((done.status, done.location()), (200, None));
    assert!(!done.body.contains("app.test") && done.body.contains("Sie sind abgemeldet"), "{}", done.body);
    assert!(!is_signed_in(&alice, Request::of(&client)).await);
    // Nobody here: the same page, and no redirect either.
    let page = alice.browser.get(logout(&fields)).await;
    assert!(page.location().is_none() && page.body.contains("Sie sind abgemeldet"), "{}", page.body);
}

/// Two applications with pages of their own to sign out, and one without.
async fn three(server: &Server) -> [Client; 3] {
    let app = |name: &str| {
        json!({
            "redirect_uris": [format!("https://{name}.test/callback")],
            "post_logout_redirect_uris": [format!("https://{name}.test/bye")],
            "frontchannel_logout_uri": format!("https://{name}.test/out?x=1"),
            "frontchannel_logout_session_required": true,
        })
    };
    [server.client(app("one")).await, server.client(app("two")).await, server.client(json!({})).await]
}

/// The addresses in the frames of a page.
fn frames(page: &Page) -> Vec<url::Url> {
    let html = scraper::Html::parse_document(&page.body);
    let frames = scraper::Selector::parse("iframe").unwrap();
    html.select(&frames).map(|frame| url::Url::parse(frame.value().attr("src").unwrap()).unwrap()).collect()
}

fn frame_src(page: &Page) -> String {
    let policy = page.header("content-security-policy").to_owned();
    policy.split("; ").find(|part| part.starts_with("frame-src")).unwrap_or_default().to_owned()
}

async fn the_other_apps_are_shown_in_frames(server: Server) {
    let (server, alice, _) = server.actors().await;
    let [one, two, plain] = three(&server).await;
    let hint = alice.tokens(&one, "openid").await.str("id_token");
    let sid_two = jwt(&alice.tokens(&two, "openid").await.str("id_token")).1["sid"].clone();
    let sid_one = jwt(&hint).1["sid"].clone();
    alice.visit(&plain, "openid").await;
    // Long after the grants are gone.
    server.wait(Duration::from_secs(3600));
    chancery::storage::sweep::run(
        &server.app.db,
        server.app.clock.now(),
        chancery::storage::sweep::Retention { decisions: Duration::from_secs(3600), most_decisions: 10 },
    )
    .await
    .unwrap();
    let state = "a b\"<&";
    let fields = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", "https://one.test/bye"), ("state", state)];
    let page = alice.browser.get(logout(&fields)).await;
    assert_eq!((page.status, page.location()), (200, None), "{}", page.body);
    let told: Vec<(String, Vec<(String, String)>)> =
        frames(&page).iter().map(|url| (url.host_str().unwrap().to_owned(), url.query_pairs().into_owned().collect())).collect();
    let expected = |sid: &serde_json::Value| {
        [("x", "1"), ("iss", "https://id.test"), ("sid", sid.as_str().unwrap())]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    };
    let mut sorted = told.clone();
    sorted.sort();
    assert_eq!(sorted, [("one.test".to_owned(), expected(&sid_one)), ("two.test".to_owned(), expected(&sid_two))]);
    assert_eq!(frame_src(&page), "frame-src https://one.test https://two.test");
    // Without a script: the page goes on by itself, later than at once, and has a link.
    let onward = page.text("a#onward").is_some();
    let html = scraper::Html::parse_document(&page.body);
    let refresh = html.select(&scraper::Selector::parse("meta[http-equiv=refresh]").unwrap()).next().unwrap();
    let (seconds, to) = refresh.value().attr("content").unwrap().split_once("; url=").unwrap();
    assert!(onward && (1..=10).contains(&seconds.parse::<u32>().unwrap()));
    let to = url::Url::parse(to).unwrap();
    assert_eq!(to.query_pairs().into_owned().collect::<Vec<_>>(), [("state".to_owned(), state.to_owned())]);
    assert!(!is_signed_in(&alice, Request::of(&one)).await, "the session is over before any frame is loaded");
    assert!(!alice.browser.cookies().contains_key("__Host-chancery-session"));
    // Nobody here: back at once.
    let page = alice.browser.get(logout(&fields)).await;
    assert!(page.location().unwrap().as_str().starts_with("https://one.test/bye?state="));
}

async fn frames_are_those_of_this_session_alone(server: Server) {
    let (server, alice, _) = server.actors().await;
    let [one, two, _] = three(&server).await;
    let elsewhere = Person { browser: crate::harness::Browser::new(server.site()), ..again(&alice) };
    elsewhere.visit(&two, "openid").await;
    let hint = alice.tokens(&one, "openid").await.str("id_token");
    // Whoever was turned off shows nothing.
    let page = alice.browser.get(logout(&[("id_token_hint", &hint)])).await;
    assert_eq!(frames(&page).len(), 1);
    assert_eq!(frame_src(&page), "frame-src https://one.test");
    assert!(page.body.contains("You are signed out"), "{}", page.body);
    assert!(is_signed_in(&elsewhere, Request::of(&two)).await);
    server.disable_client(&two).await;
    let page = elsewhere.browser.get("/logout").await;
    let page = elsewhere.browser.submit(&page, &[("decision", "allow")]).await;
    assert_eq!((frames(&page).len(), frame_src(&page)), (0, String::new()), "{}", page.body);
}

async fn every_way_out_of_this_browser_shows_the_frames(server: Server) {
    let (server, alice, _) = server.actors().await;
    let [one, ..] = three(&server).await;
    for (name, value) in [("sign_out", "here"), ("sign_out", "everywhere"), ("end_session", "")] {
        alice.visit(&one, "openid").await;
        let page = alice.browser.get("/account").await;
        let form = page.form();
        let own = form.buttons.iter().find(|button| button.0 == "end_session").map(|button| button.1.clone()).unwrap_or_default();
        let value = if name == "end_session" { own.as_str() } else { value };
        let page = alice.browser.submit(&page, &[(name, value)]).await;
        assert_eq!(frames(&page).len(), 1, "{name} {value}: {}", page.body);
        assert_eq!(frame_src(&page), "frame-src https://one.test");
        assert!(!is_signed_in(&alice, Request::of(&one)).await);
    }
}

fn again(person: &Person) -> Person {
    Person {
        browser: person.browser.through(person.browser.site().clone()),
        username: person.username.clone(),
        password: person.password.clone(),
        sub: person.sub.clone(),
    }
}
