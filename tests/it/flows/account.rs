//! The account page: what a person sees of themselves, and ends (security.md ).

use std::time::Duration;

use chancery::storage::{audit, users};
use reqwest::Method;
use serde_json::json;
use url::Url;

use crate::harness::{Answer, Browser, Page, Person, Request, Server, Setup, jwt, on_both, rounds};

on_both![
    sessions_are_listed_and_ended_one_by_one,
    what_others_have_cannot_be_ended,
    everywhere_else_is_everywhere_else,
    apps_with_access_are_listed_with_or_without_consent,
    an_app_with_a_beginning_of_its_own_is_opened_there,
    taking_access_back_ends_everything_at_once,
    the_forms_cannot_be_forged,
    a_page_of_an_ended_or_expired_session_does_nothing,
    confirming_renews_the_cookie_and_tells_clients_nothing,
    confirming_is_slowed_down_and_fails_like_a_sign_in,
    a_profile_is_edited_and_apps_are_told,
    nobody_makes_more_of_themselves,
    what_an_operator_changes_stays_changed,
    a_new_password_ends_everything_and_goes_on_here,
    a_password_that_breaks_the_rules_is_not_taken,
    a_wrong_current_password_counts_like_a_sign_in,
    a_stolen_session_guesses_no_password,
    a_page_of_somebody_else_does_nothing,
    of_two_changes_of_a_password_one_counts,
    nothing_survives_an_end_that_was_acknowledged,
    password_managers_find_the_way,
];

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6 Mobile Safari/604.1";
const SESSION: &str = "__Host-chancery-session";

/// The same person at another device.
fn at(server: &Server, person: &Person, device: &str) -> Person {
    let mut browser = Browser::new(server.site());
    browser.headers.push(("user-agent", device.to_owned()));
    Person { browser, username: person.username.clone(), password: person.password.clone(), sub: person.sub.clone() }
}

/// The person's account page, after signing in if that is due.
pub(super) async fn account(person: &Person) -> Page {
    let mut page = person.browser.get("/account").await;
    for _ in 0..4 {
        if page.location().is_some() {
            page = person.browser.follow(&page).await;
        } else if page.is_login() {
            page = person.browser.submit(&page, &[("username", &person.username), ("password", &person.password)]).await;
        } else {
            assert_eq!(page.status, 200, "{}", page.body);
            return page;
        }
    }
    panic!("no account page at {} ({}):\n{}", page.url, page.status, page.body);
}

fn values(page: &Page, button: &str) -> Vec<String> {
    page.form().buttons.into_iter().filter(|(name, _)| name == button).map(|(_, value)| value).collect()
}

/// Presses a button of the account page and follows to the page after it.
async fn press(person: &Person, page: &Page, name: &str, value: &str) -> Page {
    let done = person.browser.submit(page, &[(name, value)]).await;
    if done.location().is_some() { person.browser.follow(&done).await } else { done }
}

async fn is_signed_in(person: &Person) -> bool {
    person.browser.get("/account").await.status == 200
}

async fn sessions_are_listed_and_ended_one_by_one(server: Server) {
    let (server, alice, client) = server.actors().await;
    let (desk, phone) = (at(&server, &alice, FIREFOX), at(&server, &alice, PHONE));
    account(&desk).await;
    let tokens = phone.tokens(&client, "openid").await;
    let offline = phone.tokens_for_long(&client).await;
    server.wait(Duration::from_secs(2 * 3600));
    let page = account(&desk).await;
    let shown = page.text("#sessions").unwrap();
    assert!(shown.contains("Firefox · Linux") && shown.contains("Safari · iPhone"), "{shown}");
    assert!(shown.contains("2 hours ago") && shown.contains("127.0.0.1") && shown.contains("This browser"), "{shown}");
    let sids = values(&page, "end_session");
    assert_eq!(sids.len(), 2);
    // One's own comes first; the other one is ended.
    let page = press(&desk, &page, "end_session", &sids[1]).await;
    assert_eq!(values(&page, "end_session"), sids[..1], "{}", page.body);
    assert!(page.text("[role=status]").unwrap().contains("signed out"), "{}", page.body);
    assert!(!is_signed_in(&phone).await);
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    // What was allowed to outlive the browser session does (design 4.2).
    client.refresh(&offline.str("refresh_token")).await.ok();
    // Once more is no error; and one's own session is signed out of.
    let again = desk.browser.submit(&page, &[("end_session", &sids[1])]).await;
    assert_eq!(again.status, 303);
    desk.browser.submit(&page, &[("end_session", &sids[0])]).await;
    assert!(!desk.browser.cookies().contains_key(SESSION));
    let actions = server.audit().await;
    assert_eq!(actions.iter().filter(|action| *action == "session.end").count(), 2, "{actions:?}");
}

/// ids of other people's sessions and of apps that one never used do nothing, and tell nothing.
async fn what_others_have_cannot_be_ended(server: Server) {
    let (server, alice, client) = server.actors().await;
    let bob = server.person("bob").await;
    let hidden = server.client(json!({ "client_name": "Secret project" })).await;
    let bobs = bob.tokens_for_long(&hidden).await;
    let theirs = values(&account(&bob).await, "end_session");
    alice.tokens(&client, "openid").await;
    let page = account(&alice).await;
    for sid in [theirs[0].as_str(), "", "x", "' OR 1=1"] {
        let done = press(&alice, &page, "end_session", sid).await;
        assert!(done.status == 200 || done.status == 400, "{} {}", done.status, done.body);
    }
    for client_id in [hidden.client_id.as_str(), "nobody", "' OR 1=1"] {
        let done = press(&alice, &page, "withdraw", client_id).await;
        assert!(!done.body.contains("Secret project"), "{}", done.body);
    }
    assert!(is_signed_in(&bob).await);
    assert!(hidden.is_active(&bobs.str("access_token")).await);
    hidden.refresh(&bobs.str("refresh_token")).await.ok();
    assert!(server.audit().await.iter().all(|action| !["session.end", "consent.withdraw"].contains(&action.as_str())));
}

async fn everywhere_else_is_everywhere_else(server: Server) {
    let (server, alice, client) = server.actors().await;
    let (desk, phone) = (at(&server, &alice, FIREFOX), at(&server, &alice, PHONE));
    let (here, here_for_long) = (desk.tokens(&client, "openid").await, desk.tokens_for_long(&client).await);
    let (there, there_for_long) = (phone.tokens(&client, "openid").await, phone.tokens_for_long(&client).await);
    let unused = phone.visit(&client, "openid").await;
    let page = press(&desk, &account(&desk).await, "sign_out", "elsewhere").await;
    assert_eq!(values(&page, "end_session").len(), 1);
    assert!(!is_signed_in(&phone).await);
    for tokens in [&there, &there_for_long] {
        client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
        assert!(!client.is_active(&tokens.str("access_token")).await);
    }
    client.redeem(unused.code(), &unused.verifier).await.refused(400, "invalid_grant");
    for tokens in [&here, &here_for_long] {
        assert!(client.is_active(&tokens.str("access_token")).await);
        client.refresh(&tokens.str("refresh_token")).await.ok();
    }
    assert!(server.audit().await.contains(&"user.sign_out_elsewhere".to_owned()));
}

async fn apps_with_access_are_listed_with_or_without_consent(server: Server) {
    let (server, alice, client) = server.actors().await;
    let own = server.client(json!({ "client_name": "House app", "first_party": true })).await;
    alice.tokens(&client, "openid profile").await;
    alice.tokens(&own, "openid email").await;
    let page = account(&alice).await;
    let apps = page.text("#apps").unwrap();
    assert!(apps.contains("Test client") && apps.contains("See your profile"), "{apps}");
    assert!(apps.contains("House app") && apps.contains("See your email address"), "{apps}");
    // With the session everything ends that needs no consent; what was allowed stays allowed until it is taken back.
    press(&alice, &page, "sign_out", "here").await;
    let apps = account(&alice).await.text("#apps").unwrap();
    assert!(apps.contains("Test client") && !apps.contains("House app"), "{apps}");
    alice.tokens(&own, "openid").await;
    let page = press(&alice, &account(&alice).await, "withdraw", &own.client_id).await;
    assert!(!page.text("#apps").unwrap().contains("House app"));
    // A refresh token that idles out is no access.
    let long = server.client(json!({ "client_name": "Long app", "first_party": true })).await;
    let request = Request::of(&long).with("scope", "openid offline_access").with("prompt", "consent");
    let back = alice.arrive(&request).await;
    long.redeem(back.code(), &back.verifier).await.ok();
    press(&alice, &account(&alice).await, "withdraw", &client.client_id).await;
    server.wait(Duration::from_secs(29 * 86_400));
    assert!(account(&alice).await.text("#apps").unwrap().contains("Long app"));
}

/// OpenID Connect Core §4.
async fn an_app_with_a_beginning_of_its_own_is_opened_there(server: Server) {
    let alice = server.person("alice").await;
    let begins = |uri: &str| json!({ "client_name": "Shop \"&<b>", "initiate_login_uri": uri, "scope": "openid profile" });
    let shop = server.client(begins("https://app.test/start?tenant=a%26b&x=1#top")).await;
    let plain = server.client(json!({})).await;
    alice.visit(&shop, "openid").await.code();
    alice.visit(&plain, "openid").await.code();
    let links = |page: &Page| -> Vec<Url> {
        let html = scraper::Html::parse_document(&page.body);
        let selector = scraper::Selector::parse("#apps a").unwrap();
        let found = html.select(&selector).map(|link| {
            assert_eq!(link.value().attr("rel"), Some("noreferrer nofollow"));
            Url::parse(link.value().attr("href").unwrap()).unwrap()
        });
        found.collect()
    };
    let page = account(&alice).await;
    let [open] = &links(&page)[..] else { panic!("{}", page.body) };
    assert_eq!(
        open.as_str(),
        "https://app.test/start?tenant=a%26b&x=1&iss=https%3A%2F%2Fid.test#top",
        "no target, and no name for who is not told it"
    );
    assert!(!page.body.contains("<b>") && page.text("#apps a").unwrap().starts_with("Open"), "{}", page.body);
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    alice.visit(&shop, "openid profile").await.code();
    let [open] = &links(&account(&alice).await)[..] else { panic!("one link") };
    let hint = open.query_pairs().find(|(name, _)| name == "login_hint").map(|(_, value)| value.into_owned());
    assert_eq!(hint.as_deref(), Some(alice.username.as_str()), "the app is told that name anyway");
    // What the app does there: a request with what it was sent.
    let request = Request::of(&shop).with("login_hint", &hint.unwrap());
    assert!(alice.open(&request).await.location().unwrap().as_str().contains("code="));
    server.disable_client(&shop).await;
    assert!(links(&account(&alice).await).is_empty(), "an app that is switched off begins nothing");
    for wrong in ["http://app.test/start", "javascript:alert(1)", "https://user:pw@app.test/", "/start", "https://app.test/ start"]
    {
        let refused = server.try_client(begins(wrong)).await.err().unwrap_or_else(|| panic!("{wrong}"));
        assert!(refused.contains("initiate_login_uri"), "{refused}");
    }
}

async fn taking_access_back_ends_everything_at_once(server: Server) {
    let (server, alice, client) = server.actors().await;
    let other = server.client(json!({})).await;
    let (tokens, kept) = (alice.tokens_for_long(&client).await, alice.tokens_for_long(&other).await);
    let unused = alice.visit(&client, "openid").await;
    let page = press(&alice, &account(&alice).await, "withdraw", &client.client_id).await;
    assert!(page.text("[role=status]").unwrap().contains("no longer has access"), "{}", page.body);
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    client.redeem(unused.code(), &unused.verifier).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    other.refresh(&kept.str("refresh_token")).await.ok();
    let silent = Request::of(&client).with("prompt", "none");
    alice.answer(&silent).await.unwrap().refused("consent_required");
}

async fn the_forms_cannot_be_forged(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let bob = server.person("bob").await;
    let page = account(&alice).await;
    let confirm = alice.browser.get("/account/confirm").await;
    let foreign = account(&bob).await.form().fields;
    let ours: &[(&str, &str)] = &[("origin", "https://id.test"), ("sec-fetch-site", "same-origin")];
    let cross: &[(&str, &str)] = &[("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")];
    for (page, typed) in [
        (&page, ("sign_out", "everywhere")),
        (&page, ("sign_out", "elsewhere")),
        (&page, ("withdraw", client.client_id.as_str())),
        (&confirm, ("password", alice.password.as_str())),
    ] {
        let form = page.form();
        let own = form.fields.clone();
        for (fields, headers) in [(own.clone(), cross), (foreign.clone(), ours), (Vec::new(), ours)] {
            let fields =
                fields.into_iter().filter(|field| field.0 != typed.0).chain([(typed.0.to_owned(), typed.1.to_owned())]).collect();
            let refused = alice.browser.send(Method::POST, form.action.as_str(), Some(fields), headers).await;
            assert_eq!(refused.status, 403, "{typed:?}: {}", refused.body);
            refused.trace_id();
        }
    }
    assert!(is_signed_in(&alice).await);
    client.refresh(&tokens.str("refresh_token")).await.ok();
    // A token of one form opens no other.
    let crossed = alice
        .browser
        .send(Method::POST, "/account", Some([confirm.form().fields, vec![("sign_out".into(), "here".into())]].concat()), ours)
        .await;
    assert_eq!(crossed.status, 403);
}

async fn a_page_of_an_ended_or_expired_session_does_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let desk = at(&server, &alice, FIREFOX);
    let tokens = desk.tokens_for_long(&client).await;
    let stale = account(&desk).await;
    // Ended from elsewhere.
    let phone = at(&server, &alice, PHONE);
    let sids = values(&account(&phone).await, "end_session");
    press(&phone, &account(&phone).await, "end_session", &sids[1]).await;
    for typed in [("withdraw", client.client_id.as_str()), ("sign_out", "everywhere"), ("end_session", sids[0].as_str())] {
        let page = press(&desk, &stale, typed.0, typed.1).await;
        assert!(page.is_login(), "{typed:?}: {}", page.body);
    }
    assert!(is_signed_in(&phone).await);
    client.refresh(&tokens.str("refresh_token")).await.ok();
    // Expired.
    let stale = account(&phone).await;
    server.wait(Duration::from_secs(13 * 3600));
    assert!(press(&phone, &stale, "withdraw", &client.client_id).await.is_login());
    assert!(phone.browser.get("/account/confirm").await.location().unwrap().path().ends_with("/login"));
    client.refresh(&tokens.str("refresh_token")).await.ok();
}

fn auth_time(tokens: &Answer) -> i64 {
    jwt(&tokens.str("id_token")).1["auth_time"].as_i64().unwrap()
}

/// a new cookie, the old one dead. What clients are told of the sign-in stays as it was.
async fn confirming_renews_the_cookie_and_tells_clients_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let first = alice.tokens(&client, "openid").await;
    server.wait(Duration::from_secs(3600));
    let before = alice.browser.cookies()[SESSION].clone();
    let page = alice.browser.get("/account/confirm?to=account").await;
    let done = alice.browser.submit(&page, &[("password", &alice.password)]).await;
    assert_eq!((done.status, done.location().unwrap().path()), (303, "/account"));
    assert!(is_signed_in(&alice).await);
    let thief = Browser::new(server.site());
    thief.set_cookie(SESSION, &before);
    assert_eq!(thief.get("/account").await.status, 303, "the cookie from before is dead");
    let silent = Request::of(&client).with("prompt", "none").with("max_age", "7200");
    let back = alice.arrive(&silent).await;
    let second = client.redeem(back.code(), &back.verifier).await.ok();
    assert_eq!(auth_time(&first), auth_time(&second));
    alice.answer(&silent.with("max_age", "60")).await.unwrap().refused("login_required");
    client.refresh(&first.str("refresh_token")).await.ok();
    // Where it goes on is one of our pages, whatever the address says.
    for to in ["https://evil.test", "//evil.test", "/logout", "account%2F..%2Flogout"] {
        let page = alice.browser.get(format!("/account/confirm?to={to}")).await;
        let done = alice.browser.submit(&page, &[("password", &alice.password)]).await;
        assert_eq!(done.location().unwrap().as_str(), "https://id.test/account", "{to}");
    }
    assert!(server.audit().await.contains(&"session.confirm".to_owned()));
}

/// the same counters as for signing in, and the same page on every branch.
async fn confirming_is_slowed_down_and_fails_like_a_sign_in(server: Server) {
    let (server, alice, _) = server.actors().await;
    account(&alice).await;
    let page = alice.browser.get("/account/confirm").await;
    let mut bodies = Vec::new();
    for password in ["wrong wrong", "", &"ü".repeat(600)] {
        let failed = alice.browser.submit(&page, &[("password", password)]).await;
        assert_eq!(failed.status, 200, "{}", failed.body);
        assert!(failed.headers.get("set-cookie").is_none());
        let csrf = failed.form().fields.into_iter().find(|field| field.0 == "csrf").unwrap().1;
        bodies.push(failed.body.replace(&csrf, ""));
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]) && bodies[0].contains("not the password"), "{bodies:?}");
    let mut slowed = None;
    for guess in 0..30 {
        let refused = alice.browser.submit(&page, &[("password", "guess")]).await;
        if refused.status == 429 {
            assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
            slowed = Some(guess);
            break;
        }
    }
    assert!(slowed.is_some_and(|guess| guess <= 20), "{slowed:?}");
    // The right one has to wait, too; and so has a sign-in: it is one throttle.
    assert_eq!(alice.browser.submit(&page, &[("password", &alice.password)]).await.status, 429);
    let login = alice.browser.get("/login").await;
    assert_eq!(alice.browser.submit(&login, &[("username", &alice.username), ("password", &alice.password)]).await.status, 429);
    server.wait(Duration::from_secs(16 * 60));
    assert_eq!(alice.browser.submit(&page, &[("password", &alice.password)]).await.status, 303);
}

async fn a_profile_is_edited_and_apps_are_told(server: Server) {
    let (server, alice, client) = server.actors().await;
    account(&alice).await;
    let tokens = alice.tokens(&client, "openid profile").await;
    let page = alice.browser.get("/account/profile").await;
    assert!(page.form().fields.contains(&("name".to_owned(), "alice Example".to_owned())), "{}", page.body);
    let typed = [("name", " <b>Alice</b> Ádams "), ("nickname", "Al"), ("locale", "de-AT"), ("zoneinfo", "Europe/Vienna")];
    let done = alice.browser.submit(&page, &[&typed[..], &[("website", "https://alice.example/?a=1&b=2")]].concat()).await;
    assert_eq!((done.status, done.location().unwrap().path()), (303, "/account"));
    let page = alice.browser.follow(&done).await;
    assert!(page.text("[role=status]").unwrap().contains("saved"), "{}", page.body);
    assert!(page.text("#profile").unwrap().contains("<b>Alice</b> Ádams") && !page.body.contains("<b>"), "{}", page.body);
    let told = server.userinfo(&tokens.str("access_token")).await.ok().json();
    assert_eq!(
        (told["name"].as_str(), told["locale"].as_str(), told["zoneinfo"].as_str(), told["website"].as_str()),
        (Some("<b>Alice</b> Ádams"), Some("de-AT"), Some("Europe/Vienna"), Some("https://alice.example/?a=1&b=2"))
    );
    // An empty field is taken away; a field that was not sent stays.
    let page = alice.browser.get("/account/profile").await;
    let fields = page.form().fields.into_iter().filter(|field| field.0 == "csrf").chain([("nickname".to_owned(), String::new())]);
    let ours = [("origin", "https://id.test"), ("sec-fetch-site", "same-origin")];
    let done = alice.browser.send(Method::POST, "/account/profile", Some(fields.collect()), &ours).await;
    assert_eq!(done.status, 303);
    let told = server.userinfo(&tokens.str("access_token")).await.ok().json();
    assert!(told.get("nickname").is_none() && told["locale"] == "de-AT", "{told}");
    // What is wrong is said beside its field, and nothing of the form is taken.
    for (field, value) in [
        ("website", "http://alice.example"),
        ("picture", "javascript:alert(1)"),
        ("picture", "\"><script>alert(1)</script>"),
        ("locale", "German"),
        ("zoneinfo", "+01:00"),
    ] {
        let shown = alice.browser.submit(&page, &[(field, value), ("name", "Mallory")]).await;
        assert_eq!(shown.status, 200, "{value}");
        assert!(shown.text(&format!("#{field}-problem")).is_some(), "{value}: {}", shown.body);
        assert!(!shown.body.contains("<script>alert"), "{}", shown.body);
    }
    assert_eq!(server.userinfo(&tokens.str("access_token")).await.ok().json()["name"], "<b>Alice</b> Ádams");
    let events = audit::list(&server.app.db, 1000, None).await.unwrap();
    let mut edits = events.iter().filter(|event| event.action == "user.edit_profile" && event.actor.starts_with("user:"));
    assert!(edits.any(|event| event.was.as_deref().unwrap().contains("alice Example")), "{events:?}");
}

/// what others rely on is no field of this form, whatever is sent.
async fn nobody_makes_more_of_themselves(server: Server) {
    let (server, alice, _) = server.actors().await;
    account(&alice).await;
    let page = alice.browser.get("/account/profile").await;
    let before = users::find_by_sub(&server.app.db, &alice.sub).await.unwrap().unwrap();
    let more = [
        ("username", "root"),
        ("admin", "true"),
        ("groups", "admins"),
        ("roles", "admin"),
        ("enabled", "true"),
        ("email", "root@example.com"),
        ("email_verified", "true"),
        ("phone_number", "+1"),
        ("phone_number_verified", "true"),
        ("preferred_username", "root"),
        ("sub", "root"),
        ("updated_at", "1"),
        ("nickname", "Al"),
    ];
    assert_eq!(alice.browser.submit(&page, &more).await.status, 303);
    let mut after = users::find_by_sub(&server.app.db, &alice.sub).await.unwrap().unwrap();
    assert_eq!(after.claims.nickname.take().as_deref(), Some("Al"));
    after.updated_at = before.updated_at;
    assert_eq!(after, before);
}

/// Between reading and writing an operator took something away: the person's own change does not bring it back.
async fn what_an_operator_changes_stays_changed(server: Server) {
    let (server, alice, _) = server.actors().await;
    // What is sent with a page that was shown before changes its own field alone.
    account(&alice).await;
    let page = alice.browser.get("/account/profile").await;
    server.update_user(&alice, json!({ "email": "newer@example.com" })).await;
    assert_eq!(alice.browser.submit(&page, &[("nickname", "Al")]).await.status, 303);
    let after = users::find_by_sub(&server.app.db, &alice.sub).await.unwrap().unwrap();
    assert_eq!((after.claims.email.as_deref(), after.claims.nickname.as_deref()), (Some("newer@example.com"), Some("Al")));
}

const NEW: &str = "another long passphrase";

async fn change(person: &Person, current: &str, new: &str, again: &str) -> Page {
    let page = person.browser.get("/account/password").await;
    assert_eq!(page.status, 200, "{}", page.body);
    fill_in(person, &page, current, new, again).await
}

async fn fill_in(person: &Person, page: &Page, current: &str, new: &str, again: &str) -> Page {
    person.browser.submit(page, &[("password", current), ("new_password", new), ("new_password_again", again)]).await
}

/// all sessions, refresh families and codes die in that transaction; this browser goes on under another cookie.
async fn a_new_password_ends_everything_and_goes_on_here(server: Server) {
    let (server, alice, client) = server.actors().await;
    let (desk, phone) = (at(&server, &alice, FIREFOX), at(&server, &alice, PHONE));
    let first = desk.tokens(&client, "openid").await;
    let ended = [
        first.clone(),
        desk.tokens_for_long(&client).await,
        phone.tokens(&client, "openid").await,
        phone.tokens_for_long(&client).await,
    ];
    let unused = phone.visit(&client, "openid").await;
    let old = desk.browser.cookies()[SESSION].clone();
    server.wait(Duration::from_secs(60));
    let done = change(&desk, &alice.password, NEW, NEW).await;
    assert_eq!((done.status, done.location().unwrap().path()), (303, "/account"));
    let page = desk.browser.follow(&done).await;
    assert!(page.text("[role=status]").unwrap().contains("password is changed"), "{}", page.body);
    assert_eq!(values(&page, "end_session").len(), 1);
    assert!(!is_signed_in(&phone).await);
    let thief = Browser::new(server.site());
    thief.set_cookie(SESSION, &old);
    assert_eq!(thief.get("/account").await.status, 303, "the cookie from before is dead");
    for tokens in &ended {
        client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
        assert!(!client.is_active(&tokens.str("access_token")).await);
    }
    client.redeem(unused.code(), &unused.verifier).await.refused(400, "invalid_grant");
    // Consents stand; the sign-in is the one from before.
    let back = desk.arrive(&Request::of(&client).with("prompt", "none")).await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    assert_eq!(auth_time(&tokens), auth_time(&first));
    assert_ne!(jwt(&tokens.str("id_token")).1["sid"], jwt(&first.str("id_token")).1["sid"]);
    let login = phone.browser.get("/login").await;
    let failed = phone.browser.submit(&login, &[("username", &alice.username), ("password", &alice.password)]).await;
    assert!(failed.is_login() && failed.status == 200, "{}", failed.body);
    let signed_in = phone.browser.submit(&login, &[("username", &alice.username), ("password", NEW)]).await;
    assert_eq!(signed_in.status, 303);
    assert!(server.audit().await.contains(&"user.change_password".to_owned()));
}

async fn a_password_that_breaks_the_rules_is_not_taken(server: Server) {
    let (_, alice, _) = server.actors().await;
    account(&alice).await;
    let current = alice.password.clone();
    let long = "x".repeat(129);
    for (new, again, says) in [
        ("short", "short", "at least 8"),
        (long.as_str(), long.as_str(), "at most 128"),
        (current.as_str(), current.as_str(), "have already"),
        (NEW, "another long passphrasf", "differ"),
        ("", "", "at least 8"),
    ] {
        let page = change(&alice, &current, new, again).await;
        assert_eq!(page.status, 200, "{says}");
        assert!(page.text("#failure").unwrap().contains(says), "{says}: {}", page.body);
        assert!(!page.body.contains(NEW) && !page.body.contains(&current), "nothing that was typed comes back");
        // The same is said whatever the current one is.
        assert!(change(&alice, "wrong wrong", new, again).await.text("#failure").unwrap().contains(says) || new == current);
    }
    assert_eq!(change(&alice, &current, NEW, NEW).await.status, 303);
}

///
async fn a_wrong_current_password_counts_like_a_sign_in(server: Server) {
    let (server, alice, _) = server.actors().await;
    account(&alice).await;
    let mut bodies = Vec::new();
    for current in ["wrong wrong", "", &"ü".repeat(600)] {
        let failed = change(&alice, current, NEW, NEW).await;
        assert_eq!(failed.status, 200);
        assert!(failed.headers.get("set-cookie").is_none());
        let csrf = failed.form().fields.into_iter().find(|field| field.0 == "csrf").unwrap().1;
        bodies.push(failed.body.replace(&csrf, ""));
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]) && bodies[0].contains("not right"), "{bodies:?}");
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(change(&alice, "guess", NEW, NEW).await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert_eq!(change(&alice, &alice.password, NEW, NEW).await.status, 429);
    server.wait(Duration::from_secs(16 * 60));
    assert_eq!(change(&alice, &alice.password, NEW, NEW).await.status, 303);
}

/// R-55, the attack: every cookie of a browser was stolen, and whoever has them tries passwords wherever one is asked for, at all replicas.
async fn a_stolen_session_guesses_no_password(server: Server) {
    let (server, alice, _) = server.actors().await;
    account(&alice).await;
    let replica = server.replica().await;
    let thieves = [alice.browser.through(server.site()), alice.browser.through(replica.site())];
    let mut tried = 0;
    let mut refused = 0;
    for guess in 0..24 {
        let thief = &thieves[guess / 2 % 2];
        let typed = format!("guess {guess}");
        let page = match guess % 2 {
            0 => {
                let page = thief.get("/account/confirm").await;
                thief.submit(&page, &[("password", &typed)]).await
            }
            _ => {
                let page = thief.get("/account/password").await;
                thief.submit(&page, &[("password", &typed), ("new_password", NEW), ("new_password_again", NEW)]).await
            }
        };
        match page.status {
            200 => tried += 1,
            429 => refused += 1,
            other => panic!("{other}: {}", page.body),
        }
    }
    assert_eq!((tried, refused), (10, 14), "ten tries in all");
    // Being right does not help while it lasts, anywhere.
    for thief in &thieves {
        let page = thief.get("/account/confirm").await;
        assert_eq!(thief.submit(&page, &[("password", &alice.password)]).await.status, 429);
    }
    assert_eq!(server.audit().await.iter().filter(|action| *action == "throttle.reached").count(), 1, "and the log tells it");
    // Its owner sees it, and ends it, without a password.
    let page = account(&alice).await;
    press(&alice, &page, "sign_out", "everywhere").await;
    for thief in &thieves {
        assert_eq!(thief.get("/account").await.location().unwrap().path(), "/login");
    }
}

/// pages that alice left open, in a browser in which bob has signed in since.
async fn a_page_of_somebody_else_does_nothing(server: Server) {
    let (server, alice, _) = server.actors().await;
    let bob = server.person("bob").await;
    let overview = account(&alice).await;
    let profile = alice.browser.get("/account/profile").await;
    let password = alice.browser.get("/account/password").await;
    let confirm = alice.browser.get("/account/confirm").await;
    let hers = alice.browser.cookies()[SESSION].clone();
    let login = alice.browser.get("/login").await;
    alice.browser.submit(&login, &[("username", &bob.username), ("password", &bob.password)]).await;
    let his = alice.browser.cookies()[SESSION].clone();
    assert_ne!(his, hers);
    let events = server.audit().await.len();
    let new = [("password", bob.password.as_str()), ("new_password", NEW), ("new_password_again", NEW)];
    for (page, typed) in [
        (&overview, &[("sign_out", "everywhere")][..]),
        (&profile, &[("nickname", "Alice's")]),
        (&password, &new),
        (&confirm, &[("password", &bob.password)]),
    ] {
        let done = alice.browser.submit(page, typed).await;
        assert_eq!(done.location().unwrap().path(), page.url.path().replace("/confirm", ""), "his page instead: {}", done.body);
        assert_eq!(alice.browser.cookies()[SESSION], his);
    }
    assert_eq!(server.audit().await.len(), events);
    assert!(!account(&alice).await.body.contains("Alice's"));
}

/// From two browsers at once: one of them changes it, and is the only one that stays signed in.
async fn of_two_changes_of_a_password_one_counts(server: Server) {
    for _ in 0..rounds(3, 20) {
        let alice = server.person("alice").await;
        let (desk, phone) = (at(&server, &alice, FIREFOX), at(&server, &alice, PHONE));
        account(&desk).await;
        account(&phone).await;
        // Both forms are open before either is sent: whoever loses is not signed in any more.
        let (hers, other) = (desk.browser.get("/account/password").await, phone.browser.get("/account/password").await);
        let (one, two) = tokio::join!(
            fill_in(&desk, &hers, &alice.password, NEW, NEW),
            fill_in(&phone, &other, &alice.password, "a third passphrase", "a third passphrase")
        );
        let counted: Vec<_> =
            [&one, &two].iter().map(|page| page.location().is_some_and(|to| to.as_str().contains("password-changed"))).collect();
        assert_eq!(counted.iter().filter(|counted| **counted).count(), 1, "{} {}", one.status, two.status);
        let (winner, loser) = if counted[0] { (&desk, &phone) } else { (&phone, &desk) };
        assert!(is_signed_in(winner).await && !is_signed_in(loser).await);
    }
}

/// refreshes and code exchanges that race with an end on the account page leave nothing behind.
async fn nothing_survives_an_end_that_was_acknowledged(server: Server) {
    for round in 0..rounds(6, 60) {
        let (server, alice, client) = server.actors().await;
        let (desk, phone) = (at(&server, &alice, FIREFOX), at(&server, &alice, PHONE));
        let tokens = phone.tokens(&client, "openid").await;
        let unused = phone.visit(&client, "openid").await;
        let page = account(&desk).await;
        let phones = values(&page, "end_session").remove(1);
        let end = async {
            let done = match round % 4 {
                0 => desk.browser.submit(&page, &[("end_session", &phones)]).await,
                1 => desk.browser.submit(&page, &[("withdraw", &client.client_id)]).await,
                2 => desk.browser.submit(&page, &[("sign_out", "elsewhere")]).await,
                _ => change(&desk, &alice.password, NEW, NEW).await,
            };
            assert_eq!(done.status, 303, "{}", done.body);
        };
        let refresh = async {
            let mut token = tokens.str("refresh_token");
            let mut seen = vec![tokens.str("access_token")];
            for _ in 0..4 {
                let answer = client.refresh(&token).await;
                if answer.status == 200 {
                    token = answer.str("refresh_token");
                    seen.push(answer.str("access_token"));
                }
            }
            (token, seen)
        };
        let exchange = client.redeem(unused.code(), &unused.verifier);
        let ((), (token, mut seen), exchanged) = tokio::join!(end, refresh, exchange);
        client.refresh(&token).await.refused(400, "invalid_grant");
        if exchanged.status == 200 {
            seen.push(exchanged.str("access_token"));
            client.refresh(&exchanged.str("refresh_token")).await.refused(400, "invalid_grant");
        }
        for access_token in seen {
            assert!(!client.is_active(&access_token).await, "round {round}");
        }
    }
}

async fn password_managers_find_the_way(server: Server) {
    let (server, alice, _) = server.actors().await;
    let page = alice.browser.get("/.well-known/change-password").await;
    assert_eq!((page.status, page.location().unwrap().as_str()), (303, "https://id.test/account/password"));
    let mut page = alice.browser.follow(&page).await;
    while page.location().is_some() {
        page = alice.browser.follow(&page).await;
    }
    assert!(page.url.path() == "/login", "{}", page.url);
    // A failed try does not forget where it was going.
    let page = alice.browser.submit(&page, &[("username", &alice.username), ("password", "wrong")]).await;
    let page = alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await;
    assert_eq!(page.location().unwrap().as_str(), "https://id.test/account/password");
    assert!(alice.browser.follow(&page).await.text("[name=new_password]").is_some());
    // At the origin's root, wherever the issuer is; and nowhere else does it lead.
    let below = Setup::on(server.backend).issuer("https://id.test/auth").start().await;
    let answer = below.get("https://id.test/.well-known/change-password").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/auth/account/password"));
    for to in ["https://evil.test", "//evil.test", "/logout"] {
        let login = alice.browser.get(format!("/login?to={to}")).await;
        let page = alice.browser.submit(&login, &[("username", &alice.username), ("password", &alice.password)]).await;
        assert_eq!(page.location().unwrap().as_str(), "https://id.test/account", "{to}");
    }
}
