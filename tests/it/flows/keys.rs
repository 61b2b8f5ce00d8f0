//! Keys in emergencies (design 4.5, 4.6; security.md R-39): what a rotation leaves as it was, and what a compromise ends on every replica
//! within five seconds, also for a thief who holds the key itself.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::entropy::SystemEntropy;
use chancery::jose::{Alg, KeySet};
use chancery::oauth::family::{self, Presented};
use chancery::seal::{DataKeys, Purpose};
use chancery::service::keys::By;
use chancery::storage::families;
use serde_json::{Value, json};

use super::factors::{SESSION, at_the_step, enrol, is_step, recovery_page, send_code};
use crate::harness::{Answer, Client, Person, Request, Server, jwt, on_both};

on_both![
    a_compromised_signing_key_is_believed_nowhere,
    a_rotated_signing_key_ends_nothing,
    rotating_every_data_key_ends_nothing,
    a_compromised_refresh_key_ends_every_refresh_token,
    a_compromised_token_key_ends_every_access_token,
    a_compromised_cookie_key_closes_open_forms_and_no_session,
    a_compromised_factor_key_ends_authenticator_apps_and_no_recovery_code,
    a_compromised_user_code_key_ends_what_nobody_has_approved,
    a_compromised_key_over_the_signing_keys_replaces_them_all,
];

/// All replicas must know by then (design 4.5).
const FIVE_SECONDS: Duration = Duration::from_micros(5_000_001);
/// A new data key seals when all replicas had the time to load it.
const SETTLED: Duration = Duration::from_secs(11);

fn by() -> By {
    By { actor: "test".to_owned(), trace_id: None }
}

impl Server {
    async fn compromise(&self, purpose: Purpose) {
        self.app.keys.rotate_data(&by(), self.app.clock.now(), purpose, true).await.unwrap();
    }

    async fn rotate(&self, purpose: Purpose) {
        self.app.keys.rotate_data(&by(), self.app.clock.now(), purpose, false).await.unwrap();
    }
}

/// An API that introspects opaque tokens, and somebody with one of each kind.
async fn opaque(server: &Server, reader: &Client) -> String {
    server
        .resource(json!({ "identifier": "https://opaque.test", "name": "Opaque", "scopes": [{ "name": "opaque" }],
                          "access_token_format": "opaque", "introspection_clients": [reader.client_id] }))
        .await;
    let machine = server.machine(json!({ "scope": "opaque" })).await;
    machine.token(&[("grant_type", "client_credentials"), ("scope", "opaque")]).await.ok().str("access_token")
}

async fn signs_in_silently(person: &Person, client: &Client) -> bool {
    person.answer(&Request::of(client).with("prompt", "none")).await.unwrap().params.contains_key("code")
}

/// The claims of a token, signed anew by whoever holds the keys.
fn forged(keys: &KeySet, token: &str) -> String {
    let (header, claims) = jwt(token);
    let alg = Alg::from_name(header["alg"].as_str().unwrap()).unwrap();
    keys.active(alg).unwrap().sign_jwt(header["typ"].as_str().unwrap(), &claims).unwrap()
}

async fn a_compromised_signing_key_is_believed_nowhere(server: Server) {
    let (alice, replica) = (server.person("alice").await, server.replica().await);
    let client = server.client(json!({ "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    let there = client.through(replica.site());
    let tokens = alice.tokens_for_long(&client).await;
    let (access, hint) = (tokens.str("access_token"), tokens.str("id_token"));
    let stolen: Arc<KeySet> = server.app.keys.current();
    assert!(there.is_active(&forged(&stolen, &access)).await, "the thief's signature is as good as ours, until then");

    server.app.keys.rotate(&by(), server.app.clock.now(), None, true).await.unwrap();
    server.wait(FIVE_SECONDS);
    for (site, client) in [(&server, &client), (&replica, &there)] {
        for token in [&access, &forged(&stolen, &access)] {
            assert!(!client.is_active(token).await);
            let refused = site.userinfo(token).await;
            assert_eq!(refused.status, 401);
            assert!(refused.header("www-authenticate").contains("invalid_token"), "{:?}", refused.headers);
        }
        let published = site.get("/jwks").await.ok().text;
        assert!(!published.contains(&stolen.active(Alg::RS256).unwrap().kid));
        let browser = Person { browser: alice.browser.through(site.site()), username: alice.username.clone(), ..person_of(&alice) };
        for hint in [&hint, &forged(&stolen, &hint)] {
            let request = Request::of(client).with("prompt", "none").with("id_token_hint", hint);
            browser.arrive(&request).await.refused("invalid_request");
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", "https://app.test/bye")])
                .finish();
            let page = browser.browser.get(format!("/logout?{query}")).await;
            assert!(page.location().is_none_or(|to| !to.as_str().starts_with("https://app.test")), "no hint leads anywhere");
        }
    }
    // Nothing else ended.
    assert!(signs_in_silently(&alice, &client).await);
    let renewed = there.refresh(&tokens.str("refresh_token")).await.ok();
    server.userinfo(&renewed.str("access_token")).await.ok();
    server.verify_signature(&renewed.str("id_token")).await;
}

fn person_of(person: &Person) -> Person {
    Person {
        browser: person.browser.through(person.browser.site().clone()),
        username: person.username.clone(),
        password: person.password.clone(),
        sub: person.sub.clone(),
    }
}

async fn a_rotated_signing_key_ends_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    server.app.keys.rotate(&by(), server.app.clock.now(), None, false).await.unwrap();
    server.wait(Duration::from_secs(306));
    server.app.keys.refresh(server.app.clock.now()).await.unwrap();
    let renewed = client.refresh(&tokens.str("refresh_token")).await.ok();
    assert_ne!(jwt(&renewed.str("id_token")).0["kid"], jwt(&tokens.str("id_token")).0["kid"]);
    server.userinfo(&tokens.str("access_token")).await.ok();
    server.verify_signature(&tokens.str("id_token")).await;
    let silent = Request::of(&client).with("prompt", "none").with("id_token_hint", &tokens.str("id_token"));
    alice.arrive(&silent).await.code();
}

async fn rotating_every_data_key_ends_nothing(server: Server) {
    let (alice, replica) = (server.person("alice").await, server.replica().await);
    let client = server.client(json!({})).await;
    let there = client.through(replica.site());
    let tokens = alice.tokens_for_long(&client).await;
    let sealed = opaque(&server, &client).await;
    replica.app.registry.clear();
    let form = server.person("bob").await;
    let mut page = form.open(&Request::of(&client)).await;
    while page.location().is_some() {
        page = form.browser.follow(&page).await;
    }
    for purpose in Purpose::ALL {
        server.rotate(purpose).await;
    }
    for _ in 0..2 {
        for client in [&client, &there] {
            assert!(client.is_active(&tokens.str("access_token")).await && client.is_active(&sealed).await);
        }
        assert!(signs_in_silently(&alice, &client).await);
        server.wait(SETTLED);
    }
    // The new keys are at work, the old ones still open.
    let renewed = there.refresh(&tokens.str("refresh_token")).await.ok();
    client.refresh(&renewed.str("refresh_token")).await.ok();
    server.userinfo(&renewed.str("access_token")).await.ok();
    let after = form.browser.submit(&page, &[("username", &form.username), ("password", &form.password)]).await;
    assert!(after.location().is_some(), "a form that was open goes through: {} {}", after.status, after.body);
    let newest = alice.tokens_for_long(&client).await;
    there.refresh(&newest.str("refresh_token")).await.ok();
}

/// The MAC of a family's head, made by a thief who has the data key and the database.
async fn forged_refresh(server: &Server, stolen: &DataKeys, token: &str) -> String {
    let presented = Presented::parse(token).unwrap();
    let family = families::find(&server.app.db, presented.family_id).await.unwrap().unwrap().family;
    let mac = stolen.mac_with(Purpose::Refresh, family.key_id, &[&family.mac_message(family.generation)]).unwrap();
    family::encode(family.id, family.generation, &mac).expose().clone()
}

async fn a_compromised_refresh_key_ends_every_refresh_token(server: Server) {
    let (alice, replica) = (server.person("alice").await, server.replica().await);
    let public = server.public_client(json!({})).await;
    let stolen = server.app.keys.data();
    let first = alice.tokens_for_long(&public).await;
    let forgery = forged_refresh(&server, &stolen, &first.str("refresh_token")).await;
    let second: Answer = public.refresh(&forgery).await.ok();

    server.compromise(Purpose::Refresh).await;
    server.wait(FIVE_SECONDS);
    let forgery = forged_refresh(&server, &stolen, &second.str("refresh_token")).await;
    for public in [public.clone(), public.through(replica.site())] {
        for token in [&forgery, &second.str("refresh_token"), &first.str("refresh_token")] {
            let refused = public.refresh(token).await.refused(400, "invalid_grant");
            let story: Value =
                serde_json::to_value(server_of(&public, &server, &replica).explain(&refused.trace_id()).await).unwrap();
            assert!(story.to_string().contains("--compromised"), "{story}");
        }
    }
    // No theft: what is no token of ours proves nothing against anybody.
    server.userinfo(&second.str("access_token")).await.ok();
    assert!(signs_in_silently(&alice, &public).await);
    let anew = alice.tokens_for_long(&public).await;
    public.through(replica.site()).refresh(&anew.str("refresh_token")).await.ok();
}

fn server_of<'a>(client: &Client, one: &'a Server, two: &'a Server) -> &'a Server {
    if client.site.address == one.address { one } else { two }
}

async fn a_compromised_token_key_ends_every_access_token(server: Server) {
    let (alice, replica) = (server.person("alice").await, server.replica().await);
    let client = server.client(json!({})).await;
    let there = client.through(replica.site());
    let tokens = alice.tokens_for_long(&client).await;
    let sealed = opaque(&server, &client).await;
    replica.app.registry.clear();
    assert!(there.is_active(&sealed).await);
    let stolen = server.app.keys.data();
    // Sealed by the thief, under the key that is theirs too.
    let plain = stolen.open(Purpose::Token, b"access token", &URL_SAFE_NO_PAD.decode(&sealed).unwrap()).unwrap();
    let forgery = URL_SAFE_NO_PAD.encode(stolen.seal(Purpose::Token, &SystemEntropy, b"access token", plain.expose()));
    assert!(there.is_active(&forgery).await);
    server.compromise(Purpose::Token).await;
    server.wait(FIVE_SECONDS);
    for (site, client) in [(&server, &client), (&replica, &there)] {
        for token in [&tokens.str("access_token"), &sealed, &forgery] {
            assert!(!client.is_active(token).await);
        }
        assert_eq!(site.userinfo(&tokens.str("access_token")).await.status, 401);
    }
    let renewed = there.refresh(&tokens.str("refresh_token")).await.ok();
    server.userinfo(&renewed.str("access_token")).await.ok();
}

async fn a_compromised_cookie_key_closes_open_forms_and_no_session(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    let bob = server.person("bob").await;
    let mut page = bob.open(&Request::of(&client)).await;
    while page.location().is_some() {
        page = bob.browser.follow(&page).await;
    }
    server.compromise(Purpose::Cookie).await;
    server.wait(FIVE_SECONDS);
    let refused = bob.browser.submit(&page, &[("username", &bob.username), ("password", &bob.password)]).await;
    assert!(refused.status >= 400 && refused.location().is_none(), "{} {}", refused.status, refused.body);
    bob.visit(&client, "openid").await.code();
    assert!(signs_in_silently(&alice, &client).await);
}

async fn a_compromised_factor_key_ends_authenticator_apps_and_no_recovery_code(server: Server) {
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    let (phone, others) = (enrol(&server, &alice).await, enrol(&server, &bob).await);
    server.rotate(Purpose::Factor).await;
    server.wait(SETTLED);
    let (browser, page) = at_the_step(&server, &alice).await;
    send_code(&browser, &page, &phone.next_code(&server)).await;
    assert!(browser.cookies().contains_key(SESSION), "rotated, not compromised: the app goes on");

    server.compromise(Purpose::Factor).await;
    server.wait(FIVE_SECONDS);
    // The thief has the secret of the app, and the password for this matter.
    let (thief, page) = at_the_step(&server, &alice).await;
    let refused = send_code(&thief, &page, &phone.next_code(&server)).await;
    assert!(is_step(&refused) && !thief.cookies().contains_key(SESSION), "{} {}", refused.status, refused.body);
    let story = server.explain(refused.header("chancery-trace-id")).await;
    assert!(story.happened.contains("compromised"), "{story:?}");
    let (browser, page) = at_the_step(&server, &alice).await;
    send_code(&browser, &recovery_page(&browser, &page).await, &phone.recovery_codes[0]).await;
    assert!(browser.cookies().contains_key(SESSION), "the way back in");
    let (_, page) = at_the_step(&server, &bob).await;
    assert!(is_step(&page) && others.recovery_codes.len() == 10);
}

async fn a_compromised_user_code_key_ends_what_nobody_has_approved(server: Server) {
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let alice = server.person("alice").await;
    let client = server.public_client(json!({ "redirect_uris": [], "grant_types": [grant, "refresh_token"] })).await;
    let begun = client.call("/device/code", &[("scope", "openid")]).await.ok();
    server.compromise(Purpose::UserCode).await;
    server.wait(FIVE_SECONDS);
    let web = server.client(json!({})).await;
    alice.visit(&web, "openid").await.code();
    let page = alice.browser.get(format!("/device?user_code={}", begun.str("user_code"))).await;
    assert!(!page.is_consent() && page.location().is_none(), "{} {}", page.status, page.body);
    let device_code = begun.str("device_code");
    client.token(&[("grant_type", grant), ("device_code", &device_code)]).await.refused(400, "authorization_pending");
    let anew = client.call("/device/code", &[("scope", "openid")]).await.ok();
    assert!(alice.browser.get(format!("/device?user_code={}", anew.str("user_code"))).await.is_consent());
}

async fn a_compromised_key_over_the_signing_keys_replaces_them_all(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let stolen = server.app.keys.current();
    let known: Vec<String> = stolen.entries().map(|entry| entry.kid.clone()).collect();
    server.compromise(Purpose::Signing).await;
    server.wait(FIVE_SECONDS);
    let published = server.get("/jwks").await.ok().text;
    assert!(known.iter().all(|kid| !published.contains(kid)), "the next keys were in the thief's hands too");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    assert!(!client.is_active(&forged(&stolen, &tokens.str("access_token"))).await);
    let renewed = client.refresh(&tokens.str("refresh_token")).await.ok();
    server.verify_signature(&renewed.str("id_token")).await;
}
