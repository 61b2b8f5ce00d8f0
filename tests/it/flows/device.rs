//! The device authorization grant (RFC 8628): a device shows a code, a person decides elsewhere, the device asks (security.md R-65 to
//! as they touch it).

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Answer, Backend, Browser, Client, Page, Person, Server, Setup, jwt, on_both, rounds};

on_both![
    a_person_lets_a_device_in,
    a_device_needs_no_redirect_uri_and_no_secret,
    the_page_says_who_asks_for_what_and_from_where,
    polls_that_come_too_soon_slow_down_on_every_replica,
    saying_no_is_told_to_the_device,
    a_code_that_nobody_decides_about_expires,
    nobody_but_the_first_who_looked_decides,
    a_device_code_is_bound_to_its_client,
    one_artefact_in_anothers_place_consumes_nothing,
    the_decision_cannot_be_forged,
    a_page_shown_to_one_person_is_not_answered_for_another,
    fifty_polls_give_one_set_of_tokens,
    one_decision_counts_however_many_are_sent_at_once,
    of_devices_that_are_let_in_at_once_each_consent_is_remembered,
    a_device_code_that_comes_back_ends_its_grant,
    whoever_is_switched_off_lets_no_device_in,
    what_lives_with_the_browser_session_ends_with_it,
    guesses_of_codes_are_slowed_down_and_sign_ins_are_not,
    too_many_open_device_codes_are_refused,
    nothing_of_a_code_is_in_the_database,
    a_code_from_before_a_key_rotation_is_found_after_it,
    the_endpoint_authenticates_and_checks_like_the_others,
    every_step_is_in_the_audit_log_and_every_refusal_explained,
    the_oauth2_crate_completes_it_unchanged,
];

pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A public client on a television.
async fn television(server: &Server) -> Client {
    let metadata = json!({ "client_name": "Television", "redirect_uris": [], "grant_types": [GRANT, "refresh_token"] });
    server.public_client(metadata).await
}

struct Device {
    client: Client,
    answer: Answer,
}

impl Device {
    async fn begin(client: &Client, scope: &str) -> Self {
        let answer = client.call("/device/code", &[("scope", scope)]).await.ok();
        Self { client: client.clone(), answer }
    }

    fn user_code(&self) -> String {
        self.answer.str("user_code")
    }

    fn device_code(&self) -> String {
        self.answer.str("device_code")
    }

    async fn poll(&self) -> Answer {
        poll(&self.client, &self.device_code()).await
    }
}

async fn poll(client: &Client, device_code: &str) -> Answer {
    client.token(&[("grant_type", GRANT), ("device_code", device_code)]).await
}

/// What the browser shows at an address, after signing in where that is due.
async fn opened(person: &Person, path: &str) -> Page {
    settle(person, person.browser.get(format!("{}{path}", person.browser.site().issuer)).await).await
}

async fn settle(person: &Person, mut page: Page) -> Page {
    for _ in 0..8 {
        if page.location().is_some() {
            page = person.browser.follow(&page).await;
        } else if page.is_login() {
            page = person.browser.submit(&page, &[("username", &person.username), ("password", &person.password)]).await;
        } else {
            return page;
        }
    }
    panic!("the pages never end: {}", page.url);
}

/// The page to decide on, by the address that a QR code holds.
async fn look(person: &Person, user_code: &str) -> Page {
    opened(person, &format!("/device?user_code={user_code}")).await
}

async fn decide(person: &Person, user_code: &str, decision: &str) -> Page {
    let page = look(person, user_code).await;
    assert!(page.is_consent(), "{} {}", page.status, page.body);
    person.browser.submit(&page, &[("decision", decision)]).await
}

fn is_code_form(page: &Page) -> bool {
    page.text("input[name=user_code]:not([type=hidden])").is_some()
}

#[track_caller]
fn pending(answer: Answer) {
    answer.refused(400, "authorization_pending");
}

async fn a_person_lets_a_device_in(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "grant_types": [GRANT, "refresh_token"], "redirect_uris": [] })).await;
    let device = Device::begin(&client, "openid email offline_access").await;
    let answer = &device.answer;
    assert_eq!(answer.header("cache-control"), "no-store");
    let issuer = &server.issuer;
    assert_eq!(answer.str("verification_uri"), format!("{issuer}/device"));
    assert_eq!(answer.str("verification_uri_complete"), format!("{issuer}/device?user_code={}", device.user_code()));
    assert_eq!((answer.json()["expires_in"].as_u64(), answer.json()["interval"].as_u64()), (Some(600), Some(5)));
    pending(device.poll().await);

    // The code typed by hand, in small letters and without the dash; she signs in on the way.
    let page = alice.browser.get(format!("{issuer}/device")).await;
    assert!(is_code_form(&page), "{}", page.body);
    let typed = device.user_code().to_lowercase().replace('-', " ");
    let page = settle(&alice, alice.browser.submit(&page, &[("user_code", &typed)]).await).await;
    assert!(page.is_consent(), "{}", page.body);
    server.wait(Duration::from_secs(5));
    pending(device.poll().await);
    let done = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert_eq!((done.status, done.try_form().is_none()), (200, true), "{}", done.body);

    server.wait(Duration::from_secs(5));
    let tokens = device.poll().await.ok();
    assert_eq!(tokens.str("scope"), "openid email offline_access");
    assert_eq!(tokens.header("cache-control"), "no-store");
    let claims = jwt(&tokens.str("id_token")).1;
    assert_eq!((claims["sub"].as_str(), claims["aud"].as_str()), (Some(alice.sub.as_str()), Some(client.client_id.as_str())));
    assert!(claims.get("nonce").is_none() && claims["auth_time"].is_i64(), "{claims}");
    server.verify_signature(&tokens.str("id_token")).await;
    assert_eq!(server.userinfo(&tokens.str("access_token")).await.ok().json()["sub"], json!(alice.sub));
    client.refresh(&tokens.str("refresh_token")).await.ok();
    // A second device asks again: it is never silent.
    assert!(look(&alice, &Device::begin(&client, "openid email").await.user_code()).await.is_consent());
}

async fn a_device_needs_no_redirect_uri_and_no_secret(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    decide(&alice, &device.user_code(), "allow").await;
    let tokens = device.poll().await.ok();
    tv.refresh(&tokens.str("refresh_token")).await.ok();
    // What it was not registered for stays closed.
    tv.token(&[("grant_type", "authorization_code"), ("code", "x")]).await.refused(400, "unauthorized_client");
    // Without scope: no scope, and a token for the issuer all the same.
    let bare = Device { client: tv.clone(), answer: tv.call("/device/code", &[]).await.ok() };
    let page = look(&alice, &bare.user_code()).await;
    assert!(page.text("#asks").unwrap().contains("Television"), "{}", page.body);
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(bare.poll().await.ok().json().get("scope").is_none());
}

///
async fn the_page_says_who_asks_for_what_and_from_where(server: Server) {
    let alice = server.person("alice").await;
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read", "description": "Read your orders" }] })).await;
    let metadata =
        json!({ "client_name": "TV <b>&co", "redirect_uris": [], "grant_types": [GRANT], "scope": "openid orders:read" });
    let tv = server.public_client(metadata).await;
    let device = Device::begin(&tv, "openid orders:read").await;
    server.wait(Duration::from_secs(150));
    let page = look(&alice, &device.user_code()).await;
    let words = page.text("main").unwrap();
    for expected in ["TV <b>&co", "Read your orders", "127.0.0.1", "2 minutes", &device.user_code()] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
    assert!(!page.body.contains("<b>&co"), "R-53");
    assert!(page.text("#warning").unwrap().len() > 50);
    let values: Vec<String> =
        page.form().buttons.iter().filter(|button| button.0 == "decision").map(|button| button.1.clone()).collect();
    assert_eq!(values, ["deny", "allow"]);
    // The code and a token are all that the form carries.
    let names: Vec<String> = page.form().fields.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["csrf", "user_code"]);
    for (name, value) in [("cache-control", "no-store"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer")] {
        assert_eq!(page.header(name), value);
    }
    assert!(page.header("content-security-policy").contains("form-action 'self';"));
    // Nobody is told about a code before they have signed in.
    let stranger = Browser::new(server.site());
    let away = stranger.get(format!("{}/device?user_code={}", server.issuer, device.user_code())).await;
    assert!(away.location().unwrap().as_str().ends_with(&format!("/login?user_code={}", device.user_code())));
    let unknown = stranger.get(format!("{}/device?user_code=BBBB-BBBB", server.issuer)).await;
    assert!(unknown.location().unwrap().as_str().ends_with("/login?user_code=BBBB-BBBB"));
    assert_eq!(server.send(reqwest::Method::HEAD, "/device", &[], None).await.status, 405);
}

/// the pace is in the database, so it holds whichever replica is asked.
async fn polls_that_come_too_soon_slow_down_on_every_replica(server: Server) {
    let (alice, tv, replica) = (server.person("alice").await, television(&server).await, server.replica().await);
    let device = Device::begin(&tv, "openid").await;
    let elsewhere = tv.through(replica.site());
    let code = device.device_code();
    pending(poll(&tv, &code).await);
    poll(&elsewhere, &code).await.refused(400, "slow_down");
    // Five seconds are not enough any more: ten are.
    server.wait(Duration::from_secs(5));
    poll(&tv, &code).await.refused(400, "slow_down");
    server.wait(Duration::from_secs(14));
    poll(&elsewhere, &code).await.refused(400, "slow_down");
    server.wait(Duration::from_secs(20));
    pending(poll(&tv, &code).await);
    // Once it is decided even a hasty poll is told.
    decide(&alice, &device.user_code(), "allow").await;
    poll(&elsewhere, &code).await.ok();
}

async fn saying_no_is_told_to_the_device(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    let done = decide(&alice, &device.user_code(), "deny").await;
    assert_eq!(done.status, 200);
    for _ in 0..2 {
        device.poll().await.refused(400, "access_denied");
    }
    // A no is final.
    assert!(is_code_form(&look(&alice, &device.user_code()).await));
}

async fn a_code_that_nobody_decides_about_expires(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let [unseen, seen, allowed] =
        [Device::begin(&tv, "openid").await, Device::begin(&tv, "openid").await, Device::begin(&tv, "openid").await];
    let page = look(&alice, &seen.user_code()).await;
    server.wait(Duration::from_secs(599));
    decide(&alice, &allowed.user_code(), "allow").await;
    server.wait(Duration::from_secs(1));
    for device in [&unseen, &seen, &allowed] {
        device.poll().await.refused(400, "expired_token");
    }
    assert!(is_code_form(&look(&alice, &unseen.user_code()).await));
    let late = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(is_code_form(&late), "{}", late.body);
    seen.poll().await.refused(400, "expired_token");
}

///
async fn nobody_but_the_first_who_looked_decides(server: Server) {
    let (alice, bob, tv) = (server.person("alice").await, server.person("bob").await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    // Whoever is not signed in claims nothing, however often they look.
    let stranger = Browser::new(server.site());
    stranger.get(format!("{}/device?user_code={}", server.issuer, device.user_code())).await;
    let page = look(&alice, &device.user_code()).await;
    let other = look(&bob, &device.user_code()).await;
    assert!(is_code_form(&other) && !other.body.contains("Television"), "{}", other.body);
    // Neither by the form of another code of his own.
    let own = look(&bob, &Device::begin(&tv, "openid").await.user_code()).await;
    let forged = bob.browser.submit(&own, &[("user_code", &device.user_code()), ("decision", "allow")]).await;
    assert!(is_code_form(&forged), "{}", forged.body);
    pending(device.poll().await);
    // Looking twice is no harm, and in another browser she goes on.
    let phone = Person {
        browser: Browser::new(server.site()),
        username: alice.username.clone(),
        password: alice.password.clone(),
        sub: alice.sub.clone(),
    };
    assert!(look(&phone, &device.user_code()).await.is_consent());
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert_eq!(jwt(&device.poll().await.ok().str("id_token")).1["sub"], json!(alice.sub));

    // However many look at once, one of them has it.
    let people: Vec<Person> = join_all((0..6).map(|_| server.person("viewer"))).await;
    for person in &people {
        opened(person, "/account").await;
    }
    for _ in 0..rounds(2, 20) {
        let device = Device::begin(&tv, "openid").await;
        let code = device.user_code();
        let pages = join_all(people.iter().map(|person| look(person, &code))).await;
        assert_eq!(pages.iter().filter(|page| page.is_consent()).count(), 1);
        server.wait(Duration::from_secs(16 * 60));
    }
}

///
async fn a_device_code_is_bound_to_its_client(server: Server) {
    let (alice, tv, other) = (server.person("alice").await, television(&server).await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    let foreign = poll(&other, &device.device_code()).await.refused(400, "invalid_grant");
    let unknown = poll(&other, "no-such-device-code").await.refused(400, "invalid_grant");
    assert_eq!(foreign.text, unknown.text, "whether it exists is nobody's business");
    pending(device.poll().await);
    decide(&alice, &device.user_code(), "allow").await;
    poll(&other, &device.device_code()).await.refused(400, "invalid_grant");
    let tokens = device.poll().await.ok();
    poll(&other, &device.device_code()).await.refused(400, "invalid_grant");
    server.userinfo(&tokens.str("access_token")).await.ok();
    // A client that lost the grant meanwhile gets nothing.
    let device = Device::begin(&other, "openid").await;
    decide(&alice, &device.user_code(), "allow").await;
    server.update_client(&other, json!({ "grant_types": ["authorization_code"], "redirect_uris": ["https://app.test/cb"] })).await;
    device.poll().await.refused(400, "unauthorized_client");
    server.disable_client(&tv).await;
    let late = tv.call("/device/code", &[("scope", "openid")]).await;
    assert_eq!(late.json()["error"], "invalid_client");
}

///
async fn one_artefact_in_anothers_place_consumes_nothing(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "grant_types": ["authorization_code", "refresh_token", GRANT] })).await;
    let device = Device::begin(&client, "openid").await;
    let back = alice.visit(&client, "openid").await;
    decide(&alice, &device.user_code(), "allow").await;
    for wrong in [device.user_code().as_str(), back.code()] {
        poll(&client, wrong).await.refused(400, "invalid_grant");
    }
    client.redeem(&device.device_code(), &back.verifier).await.refused(400, "invalid_grant");
    client.refresh(&device.device_code()).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&device.device_code()).await);
    client.token(&[("grant_type", GRANT)]).await.refused(400, "invalid_request");
    client.redeem(back.code(), &back.verifier).await.ok();
    device.poll().await.ok();
    // Not in the URL.
    let fields = [("grant_type", GRANT), ("client_id", client.client_id.as_str())];
    server.post("/token?device_code=x", &fields, &[]).await.refused(400, "invalid_request");
}

///
async fn the_decision_cannot_be_forged(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    let page = look(&alice, &device.user_code()).await;
    let form = page.form();
    let with = |value: &str| form.fields.iter().cloned().chain([("decision".to_owned(), value.to_owned())]).collect::<Vec<_>>();
    let send = |fields: Vec<(String, String)>, headers: &'static [(&'static str, &'static str)]| {
        let (browser, action) = (&alice.browser, form.action.clone());
        async move { browser.send(reqwest::Method::POST, action.as_str(), Some(fields), headers).await }
    };
    let cross: &[(&str, &str)] = &[("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")];
    assert_eq!(send(with("allow"), cross).await.status, 403);
    let bare = vec![("user_code".to_owned(), device.user_code()), ("decision".to_owned(), "allow".to_owned())];
    assert_eq!(send(bare, &[]).await.status, 403);
    for value in ["ALLOW", "yes"] {
        assert_eq!(send(with(value), &[]).await.status, 400, "{value}");
    }
    // The token of the page for typing a code decides nothing.
    let typing = alice.browser.get(format!("{}/device", server.issuer)).await;
    let csrf = typing.form().fields.into_iter().find(|field| field.0 == "csrf").unwrap().1;
    let mixed =
        vec![("csrf".to_owned(), csrf), ("user_code".to_owned(), device.user_code()), ("decision".to_owned(), "allow".to_owned())];
    assert_eq!(send(mixed, &[]).await.status, 403);
    // Neither does looking, nor an address that already decides.
    look(&alice, &format!("{}&decision=allow", device.user_code())).await;
    pending(device.poll().await);
    // Another device's page does not decide about this one.
    let second = Device::begin(&tv, "openid email").await;
    let other = look(&alice, &second.user_code()).await;
    let swapped = alice.browser.submit(&other, &[("user_code", &device.user_code()), ("decision", "allow")]).await;
    assert!(swapped.is_consent(), "it is asked as it stands: {}", swapped.body);
    server.wait(Duration::from_secs(30));
    pending(device.poll().await);
    pending(second.poll().await);
}

async fn a_page_shown_to_one_person_is_not_answered_for_another(server: Server) {
    let (alice, bob, tv) = (server.person("alice").await, server.person("bob").await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    let page = look(&alice, &device.user_code()).await;
    // Bob signs in in the same browser.
    let login = alice.browser.get(format!("{}/login", server.issuer)).await;
    alice.browser.submit(&login, &[("username", &bob.username), ("password", &bob.password)]).await;
    let stale = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(is_code_form(&stale), "{}", stale.body);
    pending(device.poll().await);
    // The client asks for what it may not have any more: the page asks again.
    let device = Device::begin(&tv, "openid email").await;
    let here = Person {
        browser: Browser::new(server.site()),
        username: alice.username.clone(),
        password: alice.password.clone(),
        sub: alice.sub.clone(),
    };
    let page = look(&here, &device.user_code()).await;
    server.update_client(&tv, json!({ "scope": "openid" })).await;
    let again = here.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(again.is_consent() && !again.body.contains("data-scope=\"email\""), "{}", again.body);
    here.browser.submit(&again, &[("decision", "allow")]).await;
    assert_eq!(device.poll().await.ok().str("scope"), "openid");
    // Signed out meanwhile: sign in first.
    let device = Device::begin(&tv, "openid").await;
    let page = look(&here, &device.user_code()).await;
    here.browser.set_cookie("__Host-chancery-session", &"x".repeat(43));
    let away = here.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(away.location().unwrap().path().ends_with("/login"));
    pending(device.poll().await);
}

///
async fn fifty_polls_give_one_set_of_tokens(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let replicas = [server.clone(), server.replica().await];
    for round in 0..rounds(3, 40) {
        let device = Device::begin(&tv, "openid offline_access").await;
        decide(&alice, &device.user_code(), "allow").await;
        let answers = join_all((0..50).map(|index| {
            let (client, code) = (tv.through(replicas[index % 2].site()), device.device_code());
            tokio::spawn(async move { poll(&client, &code).await })
        }))
        .await;
        let (ok, refused): (Vec<Answer>, Vec<Answer>) =
            answers.into_iter().map(Result::unwrap).partition(|answer| answer.status == 200);
        assert_eq!((ok.len(), refused.len()), (1, 49), "round {round}");
        for answer in refused {
            answer.refused(400, "invalid_grant");
        }
        // Polls that crossed are no theft: the tokens that were given work.
        server.userinfo(&ok[0].str("access_token")).await.ok();
        tv.refresh(&ok[0].str("refresh_token")).await.ok();
    }
    // While nothing is decided each poll but one of those that cross slows the device down, and none fails.
    let device = Device::begin(&tv, "openid").await;
    let answers = join_all((0..20).map(|index| {
        let (client, code) = (tv.through(replicas[index % 2].site()), device.device_code());
        tokio::spawn(async move { poll(&client, &code).await })
    }))
    .await;
    let errors: Vec<String> = answers.into_iter().map(|answer| answer.unwrap().str("error")).collect();
    assert_eq!(errors.iter().filter(|error| *error == "authorization_pending").count(), 1, "{errors:?}");
    assert!(errors.iter().all(|error| error == "authorization_pending" || error == "slow_down"), "{errors:?}");
}

async fn one_decision_counts_however_many_are_sent_at_once(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    for _ in 0..rounds(3, 20) {
        let device = Device::begin(&tv, "openid").await;
        let page = look(&alice, &device.user_code()).await;
        let done = join_all((0..8).map(|index| {
            let (browser, page) = (&alice.browser, &page);
            async move { browser.submit(page, &[("decision", if index % 2 == 0 { "allow" } else { "deny" })]).await }
        }))
        .await;
        assert_eq!(done.iter().filter(|page| page.try_form().is_none()).count(), 1);
        let answer = device.poll().await;
        assert!(answer.status == 200 || answer.str("error") == "access_denied", "{}", answer.text);
        server.wait(Duration::from_secs(16 * 60));
        opened(&alice, "/account").await;
    }
    assert_eq!(
        server.audit().await.iter().filter(|action| ["device.allow", "device.deny"].contains(&action.as_str())).count(),
        rounds(3, 20)
    );
}

/// Each answer adds to what was agreed to before, and none of those that cross takes away what another one added.
async fn of_devices_that_are_let_in_at_once_each_consent_is_remembered(server: Server) {
    const SCOPES: [&str; 5] = ["profile", "email", "address", "phone", "offline_access"];
    let alice = server.person("alice").await;
    let replicas = [server.clone(), server.replica().await];
    for round in 0..rounds(3, 20) {
        let metadata = json!({ "redirect_uris": [], "grant_types": [GRANT, "refresh_token"], "scope": format!("openid {}", SCOPES.join(" ")) });
        let tv = server.public_client(metadata).await;
        let mut pages = Vec::new();
        for scope in SCOPES {
            let device = Device::begin(&tv, &format!("openid {scope}")).await;
            pages.push((look(&alice, &device.user_code()).await, device));
        }
        let cookies = alice.browser.cookies();
        let done = join_all(pages.iter().enumerate().map(|(index, (page, _))| {
            let browser = Browser::new(replicas[index % 2].site());
            for (name, value) in &cookies {
                browser.set_cookie(name, value);
            }
            async move { browser.submit(page, &[("decision", "allow")]).await }
        }))
        .await;
        assert!(done.iter().all(|page| page.status == 200 && page.try_form().is_none()), "round {round}");
        for (_, device) in &pages {
            device.poll().await.ok();
        }
        let user = server.app.db.all("SELECT id FROM users", chancery::args![]).await.unwrap()[0].get::<uuid::Uuid>("id").unwrap();
        let consent = chancery::storage::consents::find(&server.app.db, user, &tv.client_id).await.unwrap().unwrap();
        let missing: Vec<&&str> = SCOPES.iter().filter(|scope| !consent.scopes.iter().any(|given| given == *scope)).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?} of {:?}", consent.scopes);
        server.wait(Duration::from_secs(16 * 60));
        opened(&alice, "/account").await;
    }
}

/// Design 4.3.
async fn a_device_code_that_comes_back_ends_its_grant(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let device = Device::begin(&tv, "openid offline_access").await;
    decide(&alice, &device.user_code(), "allow").await;
    let tokens = device.poll().await.ok();
    server.wait(Duration::from_secs(1));
    device.poll().await.refused(400, "invalid_grant");
    server.userinfo(&tokens.str("access_token")).await.ok();
    server.wait(Duration::from_secs(2));
    let replayed = device.poll().await.refused(400, "invalid_grant");
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    tv.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    assert!(server.explain(&replayed.trace_id()).await.happened.contains("second time"));
}

///
async fn whoever_is_switched_off_lets_no_device_in(server: Server) {
    let tv = television(&server).await;
    // Before the decision, after it, and by another password.
    for step in 0..3 {
        let alice = server.person("alice").await;
        let device = Device::begin(&tv, "openid offline_access").await;
        let page = look(&alice, &device.user_code()).await;
        if step > 0 {
            alice.browser.submit(&page, &[("decision", "allow")]).await;
        }
        if step == 2 {
            server.set_password(&alice, "another long passphrase").await;
        } else {
            server.disable_user(&alice).await;
        }
        device.poll().await.refused(400, "invalid_grant");
        server.enable_user(&alice).await;
        device.poll().await.refused(400, "invalid_grant");
        if step == 0 {
            let late = alice.browser.submit(&page, &[("decision", "allow")]).await;
            assert!(late.location().is_some_and(|to| to.path().ends_with("/login")), "{}", late.body);
        }
    }
    // At the same moment: whoever comes first, no token of theirs is active in the end.
    for round in 0..rounds(4, 40) {
        let alice = server.person("alice").await;
        let device = Device::begin(&tv, "openid offline_access").await;
        decide(&alice, &device.user_code(), "allow").await;
        let (client, code) = (tv.clone(), device.device_code());
        let polling = tokio::spawn(async move { poll(&client, &code).await });
        tokio::time::sleep(Duration::from_millis(round as u64 % 5)).await;
        server.disable_user(&alice).await;
        let answer = polling.await.unwrap();
        if answer.status == 200 {
            server.userinfo(&answer.str("access_token")).await.refused(401, "invalid_token");
            tv.refresh(&answer.str("refresh_token")).await.refused(400, "invalid_grant");
        } else {
            answer.refused(400, "invalid_grant");
        }
    }
    // Withdrawn consent takes back what was not fetched yet.
    let alice = server.person("alice").await;
    let device = Device::begin(&tv, "openid offline_access").await;
    decide(&alice, &device.user_code(), "allow").await;
    let event =
        chancery::service::audit::event(&server.app, server.app.clock.now(), &chancery::service::audit::Actor::Server, "test", "x");
    let user = chancery::storage::users::find_by_sub(&server.app.db, &alice.sub).await.unwrap().unwrap();
    let now = server.app.clock.now();
    chancery::storage::consents::withdraw(&server.app.db, user.id, &tv.client_id, now, &event).await.unwrap();
    device.poll().await.refused(400, "invalid_grant");
}

/// Design 4.2: without offline_access a grant ends with the browser session in which it was given.
async fn what_lives_with_the_browser_session_ends_with_it(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let [short, long, waiting] =
        [Device::begin(&tv, "openid").await, Device::begin(&tv, "openid offline_access").await, Device::begin(&tv, "openid").await];
    for device in [&short, &long, &waiting] {
        decide(&alice, &device.user_code(), "allow").await;
    }
    let (short, long) = (short.poll().await.ok(), long.poll().await.ok());
    let page = alice.browser.get(format!("{}/logout", server.issuer)).await;
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    waiting.poll().await.refused(400, "invalid_grant");
    server.userinfo(&short.str("access_token")).await.refused(401, "invalid_token");
    tv.refresh(&short.str("refresh_token")).await.refused(400, "invalid_grant");
    server.userinfo(&long.str("access_token")).await.ok();
    tv.refresh(&long.str("refresh_token")).await.ok();
}

///
async fn guesses_of_codes_are_slowed_down_and_sign_ins_are_not(server: Server) {
    let (alice, mallory, tv) = (server.person("alice").await, server.person("mallory").await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    let mut slowed = None;
    for guess in 0..30 {
        let page = look(&mallory, "BBBB-BBBB").await;
        assert!(is_code_form(&page), "{}", page.body);
        if page.status == 429 {
            assert!(page.header("retry-after").parse::<u64>().unwrap() >= 1);
            slowed = Some(guess);
            break;
        }
    }
    assert!(slowed.is_some_and(|guess| (3..=20).contains(&guess)), "{slowed:?}");
    // A right code tells nothing while one has to wait, signing in anew does not help, and another replica knows.
    assert_eq!(look(&mallory, &device.user_code()).await.status, 429);
    let login = mallory.browser.get(format!("{}/login", server.issuer)).await;
    mallory.browser.submit(&login, &[("username", &mallory.username), ("password", &mallory.password)]).await;
    assert_eq!(look(&mallory, &device.user_code()).await.status, 429);
    let replica = server.replica().await;
    let elsewhere = mallory.browser.through(replica.site());
    assert_eq!(elsewhere.get(format!("{}/device?user_code=BBBB-BBBB", server.issuer)).await.status, 429);
    // Neither she nor anybody's sign-in is slowed down by it.
    assert!(look(&alice, &device.user_code()).await.is_consent());
    // It ends by itself.
    server.wait(Duration::from_secs(16 * 60));
    assert_eq!(look(&mallory, "BBBB-BBBB").await.status, 200);

    // One address, many accounts.
    let small = Setup::on(server.backend).config(|config| config.throttle.address_failures = 12).start().await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let guesser = small.person("guesser").await;
        for _ in 0..4 {
            statuses.push(look(&guesser, "BBBB-BBBB").await.status);
        }
    }
    assert_eq!((statuses[11], statuses[13]), (200, 429), "{statuses:?}");
    // Everybody together: the limits shrink.
    let small = Setup::on(server.backend).config(|config| config.throttle.global_failures = 3).start().await;
    let guesser = small.person("guesser").await;
    for _ in 0..3 {
        assert_eq!(look(&guesser, "BBBB-BBBB").await.status, 200);
    }
    assert_eq!(look(&guesser, "BBBB-BBBB").await.status, 429);
}

///
async fn too_many_open_device_codes_are_refused(server: Server) {
    let small = Setup::on(server.backend).config(|config| config.throttle.interactions_per_client = 10).start().await;
    let (tv, other) = (television(&small).await, television(&small).await);
    for _ in 0..10 {
        Device::begin(&tv, "openid").await;
    }
    let refused = tv.call("/device/code", &[("scope", "openid")]).await.refused(429, "temporarily_unavailable");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    Device::begin(&other, "openid").await;
    small.wait(Duration::from_secs(601));
    Device::begin(&tv, "openid").await;
}

///
async fn nothing_of_a_code_is_in_the_database(server: Server) {
    use sha2::Digest as _;
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    decide(&alice, &device.user_code(), "allow").await;
    look(&alice, "WDJB-MJHT").await;
    server.app.decisions.flush().await;
    let (shown, plain) = (device.user_code(), device.user_code().replace('-', ""));
    let dump = server.dump().await;
    assert!(!dump.contains(&device.device_code()));
    for text in [&shown, &plain, &plain.to_lowercase(), "WDJB-MJHT", "WDJBMJHT"] {
        assert!(!dump.contains(text), "{text}");
        let digest =
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, sha2::Sha256::digest(text.as_bytes()));
        assert!(!dump.contains(&digest), "a plain digest of {text} could be searched through");
    }
    assert!(dump.contains(&tv.client_id));
}

async fn a_code_from_before_a_key_rotation_is_found_after_it(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let before = Device::begin(&tv, "openid").await;
    let by = chancery::service::keys::By::server();
    let keys = &server.app.keys;
    keys.rotate_data(&by, server.app.clock.now(), chancery::seal::Purpose::UserCode, false).await.unwrap();
    server.wait(Duration::from_secs(60));
    let after = Device::begin(&tv, "openid").await;
    for device in [before, after] {
        decide(&alice, &device.user_code(), "allow").await;
        device.poll().await.ok();
    }
}

async fn the_endpoint_authenticates_and_checks_like_the_others(server: Server) {
    let web = server.client(json!({})).await;
    let tv = server
        .client(json!({ "grant_types": [GRANT], "redirect_uris": [], "token_endpoint_auth_method": "client_secret_post" }))
        .await;
    web.call("/device/code", &[("scope", "openid")]).await.refused(400, "unauthorized_client");
    server.post("/device/code", &[("client_id", "nobody")], &[]).await.refused(401, "invalid_client");
    // A confidential client proves itself.
    server.post("/device/code", &[("client_id", &tv.client_id)], &[]).await.refused(401, "invalid_client");
    server.post("/device/code", &[], &[]).await.refused(401, "invalid_client");
    for (fields, error) in [
        (vec![("scope", "openid nonsense")], "invalid_scope"),
        (vec![("scope", "admin:read")], "invalid_scope"),
        (vec![("scope", "openid"), ("resource", "https://nowhere.test")], "invalid_target"),
        (vec![("scope", "openid"), ("scope", "email")], "invalid_request"),
    ] {
        tv.call("/device/code", &fields).await.refused(400, error);
    }
    let query = [("client_id", tv.client_id.as_str()), ("client_secret", tv.secret.as_deref().unwrap())];
    server.post("/device/code?client_secret=x", &query[..1], &[]).await.refused(400, "invalid_request");
    assert_eq!(server.get("/device/code").await.status, 405);
    let metadata = server.metadata().await;
    assert_eq!(metadata["device_authorization_endpoint"], json!(format!("{}/device/code", server.issuer)));
    assert!(metadata["grant_types_supported"].as_array().unwrap().contains(&json!(GRANT)));
    // Scripts of registered apps may call it.
    server.public_client(json!({ "redirect_uris": ["https://spa.test/cb"], "grant_types": ["authorization_code", GRANT] })).await;
    let answer = server.post("/device/code", &query, &[("origin", "https://spa.test")]).await.ok();
    assert_eq!(answer.header("access-control-allow-origin"), "https://spa.test");
    // An issuer with a path has its page below it.
    let tenant = Setup::on(server.backend).issuer("https://id.test/tenant").start().await;
    let alice = tenant.person("alice").await;
    let device = Device::begin(&television(&tenant).await, "openid").await;
    assert!(device.answer.str("verification_uri_complete").starts_with("https://id.test/tenant/device?"));
    decide(&alice, &device.user_code(), "allow").await;
    device.poll().await.ok();
}

async fn every_step_is_in_the_audit_log_and_every_refusal_explained(server: Server) {
    let (alice, tv) = (server.person("alice").await, television(&server).await);
    let device = Device::begin(&tv, "openid").await;
    let waiting = device.poll().await.refused(400, "authorization_pending");
    assert!(server.explain(&waiting.trace_id()).await.mend.contains("has not found the page"));
    let hasty = device.poll().await.refused(400, "slow_down");
    assert!(server.explain(&hasty.trace_id()).await.happened.contains("10 seconds"));
    let wrong = look(&alice, "WDJB-MJHT").await;
    let id = wrong.header("chancery-trace-id").to_owned();
    assert!(server.explain(&id).await.happened.contains("no device shows"));
    decide(&alice, &device.user_code(), "deny").await;
    let denied = device.poll().await.refused(400, "access_denied");
    assert!(server.explain(&denied.trace_id()).await.happened.contains("says no to the device"));
    let second = Device::begin(&tv, "openid").await;
    decide(&alice, &second.user_code(), "allow").await;
    let events = chancery::storage::audit::list(&server.app.db, 1000, None).await.unwrap();
    let mut told: Vec<(&str, &str)> = events
        .iter()
        .filter(|event| event.action.starts_with("device."))
        .map(|event| (event.action.as_str(), event.target.as_str()))
        .collect();
    let target = tv.client_id.as_str();
    // The clock stands still, so their order says nothing.
    told.sort_unstable();
    assert_eq!(told, [("device.allow", target), ("device.claim", target), ("device.claim", target), ("device.deny", target)]);
    let allowed = events.iter().find(|event| event.action == "device.allow").unwrap();
    assert!(allowed.actor.starts_with("user:") && allowed.is_now.as_deref().unwrap().contains("127.0.0.1"), "{allowed:?}");
    assert!(!format!("{events:?}").contains(&second.user_code()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_speaks_german() {
    let server = Server::start(Backend::Sqlite).await;
    let (mut alice, tv) = (server.person("alice").await, television(&server).await);
    alice.browser.headers.push(("accept-language", "de".to_owned()));
    let page = look(&alice, &Device::begin(&tv, "openid").await.user_code()).await;
    assert!(page.text("#warning").unwrap().starts_with("Fahren Sie nur fort"), "{}", page.body);
}

/// The `oauth2` crate as anybody uses it; only its requests go to the socket, as through a proxy, and its sleep moves the server's clock.
async fn the_oauth2_crate_completes_it_unchanged(server: Server) {
    use oauth2::basic::BasicClient;
    use oauth2::{
        ClientId, ClientSecret, DeviceAuthorizationUrl, HttpRequest, Scope, StandardDeviceAuthorizationResponse,
        TokenResponse as _, TokenUrl,
    };

    let alice = server.person("alice").await;
    let site = server.site();
    let http = |request: HttpRequest| {
        let site = site.clone();
        async move {
            let (parts, body) = request.into_parts();
            let url = site.url(&parts.uri.to_string());
            let answer = site.request(parts.method, &url).headers(parts.headers).body(body).send().await?;
            let mut response = http::Response::builder().status(answer.status());
            *response.headers_mut().unwrap() = answer.headers().clone();
            Ok::<_, reqwest::Error>(response.body(answer.bytes().await?.to_vec()).unwrap())
        }
    };
    let metadata = json!({ "redirect_uris": [], "grant_types": [GRANT, "refresh_token"] });
    for registered in [server.public_client(metadata.clone()).await, server.client(metadata.clone()).await] {
        let url = |path: &str| format!("{}{path}", server.issuer);
        let mut client = BasicClient::new(ClientId::new(registered.client_id.clone()))
            .set_token_uri(TokenUrl::new(url("/token")).unwrap())
            .set_device_authorization_url(DeviceAuthorizationUrl::new(url("/device/code")).unwrap());
        if let Some(secret) = registered.secret.clone() {
            client = client.set_client_secret(ClientSecret::new(secret));
        }
        for decision in ["allow", "deny"] {
            let begun: StandardDeviceAuthorizationResponse =
                client.exchange_device_code().add_scope(Scope::new("openid".to_owned())).request_async(&http).await.unwrap();
            assert_eq!(begun.interval(), Duration::from_secs(5));
            let sleep = |duration| {
                server.wait(duration);
                // Many steps of the person's go by in it: the code's lifetime, which the server's clock measures, is not to end before.
                tokio::time::sleep(Duration::from_millis(100))
            };
            let polling = client.exchange_device_access_token(&begun).request_async(&http, sleep, None);
            let (polled, _) = tokio::join!(polling, decide(&alice, begun.user_code().secret(), decision));
            match polled {
                Ok(tokens) => {
                    assert_eq!(decision, "allow");
                    server.userinfo(tokens.access_token().secret()).await.ok();
                    let renewed =
                        client.exchange_refresh_token(tokens.refresh_token().unwrap()).request_async(&http).await.unwrap();
                    assert!(renewed.refresh_token().is_some());
                }
                Err(error) => {
                    assert_eq!(decision, "deny", "{error:?}");
                    assert!(format!("{error:?}").contains("error: access_denied"), "{error:?}");
                }
            }
        }
    }
}
