//! Passkeys: as a second factor, and as all that it takes; bound to the site, the page, the browser and the person, good for one answer
//! (Web Authentication Level 3 §7; security.md ). In Chromium, with its own authenticator: `passkeys.test.js`.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::factors::{self, password};
use crate::harness::{Browser, Page, Person, Request, Server, jwt, on_both, unique};

on_both![
    a_passkey_is_all_that_it_takes,
    a_passkey_is_a_second_factor,
    an_answer_counts_once,
    an_answer_is_for_its_page_browser_site_and_time,
    passkeys_of_others_are_nothing,
    without_verification_it_is_no_sign_in,
    a_copied_key_is_noticed,
    passkeys_are_enrolled_and_removed_by_who_proved_it,
    failures_count_with_all_others,
    whoever_is_disabled_stays_outside,
    whoever_must_have_a_second_factor_may_make_a_passkey,
    a_stolen_password_enrols_nothing_beside_what_there_is,
    a_challenge_enrols_one_passkey,
    there_are_not_endlessly_many,
    a_passkey_confirms_in_place_of_the_password,
    without_a_password_a_passkey_confirms_and_sets_one,
];

const SESSION: &str = "__Host-chancery-session";
const LEVEL: &str = "urn:chancery:acr:phishing-resistant";

/// An authenticator in software.
pub struct Key {
    pair: EcdsaKeyPair,
    id: String,
    flags: u8,
    count: u32,
    origin: String,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn attribute(page: &Page, name: &str) -> String {
    let html = scraper::Html::parse_document(&page.body);
    let form = html.select(&scraper::Selector::parse("main form").unwrap()).next().unwrap();
    form.attr(name).unwrap_or_default().to_owned()
}

pub fn challenge(page: &Page) -> String {
    let field = page.form().fields.into_iter().find(|field| field.0 == "challenge");
    field.unwrap_or_else(|| panic!("no passkey is asked for at {}:\n{}", page.url, page.body)).1
}

impl Key {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self { pair, id: unique("credential"), flags: 0x05, count: 0, origin: "https://id.test".to_owned() }
    }

    fn client_data(&self, ceremony: &str, page: &Page) -> String {
        let challenge = challenge(page).split('.').nth(1).unwrap().to_owned();
        json!({ "type": ceremony, "challenge": challenge, "origin": self.origin, "crossOrigin": false }).to_string()
    }

    fn head(&self, flags: u8) -> Vec<u8> {
        let mut bytes = Sha256::digest(b"id.test").to_vec();
        bytes.push(flags);
        bytes.extend(self.count.to_be_bytes());
        bytes
    }

    pub fn answer(&mut self, page: &Page) -> Value {
        self.count = self.count.wrapping_add(1);
        let (head, client_data) = (self.head(self.flags), self.client_data("webauthn.get", page));
        let message = [head.as_slice(), &Sha256::digest(client_data.as_bytes())].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &message).unwrap();
        json!({ "id": b64(&self.id), "client_data": b64(client_data), "authenticator_data": b64(head), "signature": b64(signature.as_ref()) })
    }

    pub fn registration(&self, page: &Page) -> Value {
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let data = [self.head(self.flags | 0x40), vec![0; 16], length.to_vec(), self.id.clone().into_bytes(), vec![0xa5]].concat();
        let public_key: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        json!({
            "client_data": b64(self.client_data("webauthn.create", page)), "authenticator_data": b64(data),
            "public_key": b64(public_key.as_ref()), "algorithm": -7,
        })
    }
}

pub async fn send(browser: &Browser, page: &Page, answer: &Value) -> Page {
    browser.settle(browser.submit(page, &[("passkey", &answer.to_string())]).await).await
}

/// Signs in with the password and makes a passkey on the account page.
pub async fn enrol(server: &Server, person: &Person) -> Key {
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    password(person, &browser, page).await;
    let page = browser.get("/account/factors").await;
    let key = Key::new();
    let before = browser.cookies()[SESSION].clone();
    let done = browser.submit(&page, &[("change", "add_passkey"), ("passkey", &key.registration(&page).to_string())]).await;
    assert!(done.text(".recovery").is_some(), "{} {}", done.status, done.body);
    assert_ne!(browser.cookies()[SESSION], before, "a new cookie at a privilege change");
    key
}

async fn tokens(server: &Server, browser: &Browser, page: Page, request: &Request, client: &crate::harness::Client) -> Value {
    let mut page = browser.settle(page).await;
    if page.location().is_none() && page.is_consent() {
        page = browser.settle(browser.submit(&page, &[("decision", "allow")]).await).await;
    }
    let to = page.location().unwrap_or_else(|| panic!("no code at {}\n{}", page.url, page.body));
    let code = to.query_pairs().find(|pair| pair.0 == "code").unwrap().1.into_owned();
    let answer = client.redeem(&code, &request.verifier).await.ok();
    assert!(server.clock_seconds() > 0);
    jwt(&answer.str("id_token")).1
}

async fn a_passkey_is_all_that_it_takes(server: Server) {
    let (server, alice, client) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    let browser = Browser::new(server.site());
    let request = Request::of(&client);
    let page = browser.settle(browser.get(request.url(&server)).await).await;
    // Nobody is named, so nothing tells who has passkeys here.
    assert!(page.is_login() && attribute(&page, "data-allow").is_empty() && attribute(&page, "data-rp-id") == "id.test");
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    let page = send(&browser, &page, &key.answer(&page)).await;
    let claims = tokens(&server, &browser, page, &request, &client).await;
    assert_eq!(
        (&claims["sub"], &claims["acr"], &claims["amr"]),
        (&json!(alice.sub), &json!(LEVEL), &json!(["hwk", "user", "mfa"]))
    );
    // It is two factors, so a demand is content with it.
    let strict = server.client(json!({ "second_factor": "required" })).await;
    let request = Request::of(&strict);
    let page = browser.get(request.url(&server)).await;
    assert_eq!(tokens(&server, &browser, page, &request, &strict).await["acr"], LEVEL);
}

async fn a_passkey_is_a_second_factor(server: Server) {
    let (server, alice, client) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    key.flags = 0x01;
    let browser = Browser::new(server.site());
    let request = Request::of(&client).with("acr_values", LEVEL);
    let page = password(&alice, &browser, browser.get(request.url(&server)).await).await;
    assert!(page.url.path() == "/second-factor" && !browser.cookies().contains_key(SESSION));
    assert_eq!(attribute(&page, "data-allow"), b64(&key.id));
    let page = send(&browser, &page, &key.answer(&page)).await;
    let claims = tokens(&server, &browser, page, &request, &client).await;
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!(LEVEL), &json!(["pwd", "hwk", "user", "mfa"])));
    assert!(server.metadata().await["acr_values_supported"].as_array().unwrap().contains(&json!(LEVEL)));
}

async fn an_answer_counts_once(server: Server) {
    let (server, alice, _) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    let replica = server.replica().await;
    // One that does not count, as synced ones do: the challenge alone keeps it from coming again.
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    key.count = u32::MAX;
    let answer = key.answer(&page);
    let thieves: Vec<Browser> =
        (0..6).map(|number| browser.through(if number % 2 == 0 { server.site() } else { replica.site() })).collect();
    join_all(thieves.iter().map(async |thief| thief.submit(&page, &[("passkey", &answer.to_string())]).await)).await;
    assert_eq!(thieves.iter().filter(|thief| thief.cookies().contains_key(SESSION)).count(), 1);
    let late = browser.submit(&page, &[("passkey", &answer.to_string())]).await;
    assert!(late.is_login() && !browser.cookies().contains_key(SESSION));
    let story = server.explain(late.header("chancery-trace-id")).await;
    assert!(story.happened.contains("sent before"), "{story:?}");
}

async fn an_answer_is_for_its_page_browser_site_and_time(server: Server) {
    let (server, alice, _) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    let refused = async |browser: &Browser, page: &Page, answer: &Value, story: &str| {
        let page = browser.submit(page, &[("passkey", &answer.to_string())]).await;
        assert!(page.location().is_none() && !browser.cookies().contains_key(SESSION), "{story}: {:?}", page.location());
        let told = server.explain(page.header("chancery-trace-id")).await;
        assert!(told.happened.contains(story), "{story}: {told:?}");
    };
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    // A site that poses as this one.
    key.origin = "https://id.test.evil.example".to_owned();
    let phished = key.answer(&page);
    refused(&browser, &page, &phished, "another site").await;
    key.origin = "https://id.test".to_owned();
    // Another page of the same browser: its challenge is not this one's.
    let other = browser.get("/login").await;
    let answer = key.answer(&other);
    refused(&browser, &page, &answer, "another site or page").await;
    // The step after the password is another subject.
    let step = password(&alice, &browser, browser.get("/login").await).await;
    let answer = key.answer(&step);
    let typed = [("passkey", answer.to_string()), ("challenge", challenge(&step))];
    let typed: Vec<(&str, &str)> = typed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(browser.submit(&page, &typed).await.is_login() && !browser.cookies().contains_key(SESSION));
    // Another browser.
    let thief = Browser::new(server.site());
    let own = thief.get("/login").await;
    let answer = key.answer(&page);
    let typed = [("passkey", answer.to_string()), ("challenge", challenge(&page))];
    let typed: Vec<(&str, &str)> = typed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(thief.submit(&own, &typed).await.is_login() && !thief.cookies().contains_key(SESSION));
    // Nonsense, and a changed signature.
    for nonsense in [json!({}), json!("x"), json!([])] {
        refused(&browser, &page, &nonsense, "nothing that our script sends").await;
    }
    let mut forged = key.answer(&page);
    forged["signature"] = Key::new().answer(&page)["signature"].clone();
    refused(&browser, &page, &forged, "does not hold").await;
    // Too late.
    let answer = key.answer(&page);
    server.wait(Duration::from_secs(1801));
    refused(&browser, &page, &answer, "open for too long").await;
}

async fn passkeys_of_others_are_nothing(server: Server) {
    let (server, alice, _) = server.actors().await;
    let bob = server.person("bob").await;
    let (_, mut bobs) = (enrol(&server, &alice).await, enrol(&server, &bob).await);
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    let step = password(&alice, &browser, page).await;
    let refused = send(&browser, &step, &bobs.answer(&step)).await;
    assert!(refused.url.path() == "/second-factor" && !browser.cookies().contains_key(SESSION), "{}", refused.body);
    let story = server.explain(refused.header("chancery-trace-id")).await;
    assert!(story.happened.contains("anybody here"), "{story:?}");
    let mut stranger = Key::new();
    let page = browser.get("/login").await;
    assert!(send(&browser, &page, &stranger.answer(&page)).await.is_login() && !browser.cookies().contains_key(SESSION));
}

async fn without_verification_it_is_no_sign_in(server: Server) {
    let (server, alice, _) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    key.flags = 0x01;
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    let refused = browser.submit(&page, &[("passkey", &key.answer(&page).to_string())]).await;
    assert!(refused.is_login() && refused.text("[role=alert]").is_some() && !browser.cookies().contains_key(SESSION));
    assert!(server.explain(refused.header("chancery-trace-id")).await.happened.contains("did not verify"));
}

async fn a_copied_key_is_noticed(server: Server) {
    let (server, alice, _) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    for (count, good) in [(4, true), (4, false), (2, false), (5, true)] {
        let browser = Browser::new(server.site());
        let page = browser.get("/login").await;
        key.count = count;
        send(&browser, &page, &key.answer(&page)).await;
        assert_eq!(browser.cookies().contains_key(SESSION), good, "{count}");
    }
}

async fn passkeys_are_enrolled_and_removed_by_who_proved_it(server: Server) {
    let (server, alice, client) = server.actors().await;
    // A session from before, with the password alone.
    alice.tokens(&client, "openid").await;
    let key = enrol(&server, &alice).await;
    let page = alice.browser.get("/account/factors").await;
    let html = scraper::Html::parse_document(&page.body);
    let button = html.select(&scraper::Selector::parse("button[name=remove_passkey]").unwrap()).next().unwrap();
    let id = button.attr("value").unwrap().to_owned();
    let planted = Key::new().registration(&page).to_string();
    for typed in [vec![("change", "add_passkey"), ("passkey", planted.as_str())], vec![("remove_passkey", id.as_str())]] {
        let asked = alice.browser.settle(alice.browser.submit(&page, &typed).await).await;
        assert_eq!(asked.url.path(), "/second-factor", "{typed:?} {}", asked.body);
    }
    // Bob's session takes nothing from alice.
    let bob = server.person("bob").await;
    let bobs = Browser::new(server.site());
    let login = bobs.get("/login").await;
    password(&bob, &bobs, login).await;
    let own = bobs.get("/account/factors").await;
    bobs.submit(&own, &[("remove_passkey", &id)]).await;
    // The same key twice, and a registration from another page, are refused.
    let again = bobs.submit(&own, &[("change", "add_passkey"), ("passkey", &key.registration(&own).to_string())]).await;
    assert!(again.text("[role=alert]").is_some(), "somebody has it already: {}", again.body);
    let stale = Key::new().registration(&page).to_string();
    assert!(bobs.submit(&own, &[("change", "add_passkey"), ("passkey", &stale)]).await.text("[role=alert]").is_some());
    // Who proved it removes it, and the recovery codes go with the last factor.
    let mut key = key;
    let asked = alice.browser.settle(alice.browser.submit(&page, &[("remove_passkey", &id)]).await).await;
    let page = send(&alice.browser, &asked, &key.answer(&asked)).await;
    assert_eq!(page.url.path(), "/account/factors", "{}", page.body);
    let gone = alice.browser.settle(alice.browser.submit(&page, &[("remove_passkey", &id)]).await).await;
    assert!(gone.text("button[name=remove_passkey]").is_none() && gone.text("button[value=recovery_codes]").is_none());
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    assert!(send(&browser, &page, &key.answer(&page)).await.is_login());
    let events = server.audit().await;
    assert!(events.contains(&"factor.add".to_owned()) && events.contains(&"factor.remove".to_owned()), "{events:?}");
}

async fn failures_count_with_all_others(server: Server) {
    let (server, alice, _) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    key.flags = 0x01;
    let browser = Browser::new(server.site());
    let mut last = 0;
    for _ in 0..12 {
        let page = browser.get("/login").await;
        last = browser.submit(&page, &[("passkey", &key.answer(&page).to_string())]).await.status;
    }
    assert_eq!(last, 429);
    let page = browser.get("/login").await;
    let refused = browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await;
    assert_eq!(refused.status, 429, "the password waits with it");
}

async fn whoever_is_disabled_stays_outside(server: Server) {
    let (server, alice, _) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    server.disable_user(&alice).await;
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    assert!(send(&browser, &page, &key.answer(&page)).await.is_login() && !browser.cookies().contains_key(SESSION));
    server.enable_user(&alice).await;
    server.reset_factors(&alice).await;
    let page = browser.get("/login").await;
    assert!(send(&browser, &page, &key.answer(&page)).await.is_login() && !browser.cookies().contains_key(SESSION));
}

/// In mid-sign-in, where the authenticator app is offered too.
async fn whoever_must_have_a_second_factor_may_make_a_passkey(server: Server) {
    let (server, alice, client) = factors::demanding(&server).await.actors().await;
    let browser = Browser::new(server.site());
    let request = Request::of(&client);
    let page = password(&alice, &browser, browser.get(request.url(&server)).await).await;
    assert!(factors::is_enrolment(&page) && attribute(&page, "data-rp-id") == "id.test", "{} {}", page.url, page.body);
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    assert!(!browser.cookies().contains_key(SESSION), "no session before the factor");
    // One that is made for another site is none; the app's secret stays the same meanwhile.
    let mut key = Key::new();
    key.origin = "https://id.test.evil".to_owned();
    let refused = send(&browser, &page, &key.registration(&page)).await;
    assert!(factors::is_enrolment(&refused) && refused.text("[role=alert]").is_some() && !browser.cookies().contains_key(SESSION));
    assert_eq!(refused.text("#secret"), page.text("#secret"));
    key.origin = "https://id.test".to_owned();
    let codes = send(&browser, &refused, &key.registration(&refused)).await;
    assert!(codes.text(".recovery").is_some() && browser.cookies().contains_key(SESSION), "{}", codes.body);
    let next = codes.body.split("href=\"").last().unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let claims = tokens(&server, &browser, browser.get(next).await, &request, &client).await;
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!(LEVEL), &json!(["pwd", "hwk", "user", "mfa"])));
    assert_eq!(server.audit().await.iter().filter(|action| *action == "factor.add").count(), 1);
    // From now on it is asked for, and lets in.
    let other = Browser::new(server.site());
    let step = password(&alice, &other, other.get("/login").await).await;
    assert_eq!(step.url.path(), "/second-factor", "{}", step.body);
    send(&other, &step, &key.answer(&step)).await;
    assert!(other.cookies().contains_key(SESSION));
    // By who came of their own accord an app is set up and nothing else: passkeys have their place on the account page.
    let page = other.get("/second-factor/enrol").await;
    assert!(factors::is_enrolment(&page) && attribute(&page, "data-rp-id").is_empty(), "{}", page.body);
}

/// Two sign-ins wait for a first factor, and one of the two knows the password because they stole it.
async fn a_stolen_password_enrols_nothing_beside_what_there_is(server: Server) {
    let (server, alice, _) = factors::demanding(&server).await.actors().await;
    let (hers, thief) = (Browser::new(server.site()), Browser::new(server.site()));
    let page = password(&alice, &hers, hers.get("/login").await).await;
    let open = password(&alice, &thief, thief.get("/login").await).await;
    assert!(factors::is_enrolment(&page) && factors::is_enrolment(&open));
    let key = Key::new();
    send(&hers, &page, &key.registration(&page)).await;
    assert!(hers.cookies().contains_key(SESSION));
    let refused = send(&thief, &open, &Key::new().registration(&open)).await;
    assert!(refused.url.path() == "/second-factor" && !thief.cookies().contains_key(SESSION), "{} {}", refused.url, refused.body);
    // Nor in the other's browser, nor from another page.
    let elsewhere = Browser::new(server.site());
    let form: Vec<(String, String)> = open.form().fields;
    let forged = elsewhere.send(reqwest::Method::POST, "/second-factor/enrol", Some(form), &[("origin", "https://id.test")]).await;
    assert!((400..500).contains(&forged.status) && !elsewhere.cookies().contains_key(SESSION));
    let found = hers.get("/account/factors").await;
    assert_eq!(found.body.matches("name=\"remove_passkey\"").count(), 1, "{}", found.body);
}

async fn a_challenge_enrols_one_passkey(server: Server) {
    let (server, alice, _) = server.actors().await;
    let browser = Browser::new(server.site());
    password(&alice, &browser, browser.get("/login").await).await;
    let page = browser.get("/account/factors").await;
    for (key, codes) in [(Key::new(), true), (Key::new(), false)] {
        let typed = [("change", "add_passkey"), ("passkey", &key.registration(&page).to_string())];
        let done = browser.submit(&page, &typed).await;
        assert_eq!((done.text(".recovery").is_some(), done.text("[role=alert]").is_some()), (codes, !codes), "{}", done.body);
    }
    let page = browser.get("/account/factors").await;
    assert_eq!(page.body.matches("name=\"remove_passkey\"").count(), 1);
}

async fn there_are_not_endlessly_many(server: Server) {
    let (server, alice, _) = server.actors().await;
    let browser = Browser::new(server.site());
    password(&alice, &browser, browser.get("/login").await).await;
    let early = browser.get("/account/factors").await;
    for _ in 0..20 {
        let page = browser.get("/account/factors").await;
        browser.submit(&page, &[("change", "add_passkey"), ("passkey", &Key::new().registration(&page).to_string())]).await;
    }
    let page = browser.get("/account/factors").await;
    assert!(page.body.matches("name=\"remove_passkey\"").count() == 20 && attribute(&page, "data-rp-id").is_empty());
    let typed = [("change", "add_passkey"), ("passkey", &Key::new().registration(&early).to_string())];
    assert!(browser.submit(&early, &typed).await.text("[role=alert]").is_some());
}

async fn a_passkey_confirms_in_place_of_the_password(server: Server) {
    let (server, alice, client) = server.actors().await;
    let mut key = enrol(&server, &alice).await;
    let browser = &alice.browser;
    let page = browser.settle(browser.get("/login").await).await;
    send(browser, &page, &key.answer(&page)).await;
    let own = browser.get("/account/factors").await;
    server.wait(Duration::from_secs(3600));
    let asked = browser.submit(&own, &[("change", "recovery_codes")]).await;
    assert_eq!(asked.location().unwrap().path(), "/account/confirm", "an hour later: {}", asked.body);
    let page = browser.get("/account/confirm?to=factors").await;
    assert!(page.is_login() && attribute(&page, "data-verification") == "required", "{}", page.body);
    let before = browser.cookies()[SESSION].clone();
    // Touched by whoever sits there; somebody else's; an answer that the sign-in page got.
    key.flags = 0x01;
    let touched = key.answer(&page);
    key.flags = 0x05;
    let bob = server.person("bob").await;
    let mut bobs = enrol(&server, &bob).await;
    let login = browser.get("/login").await;
    let elsewhere = key.answer(&login);
    for (answer, happened) in
        [(touched, "did not verify"), (bobs.answer(&page), "anybody here"), (elsewhere, "another site or page")]
    {
        let refused = browser.submit(&page, &[("passkey", &answer.to_string())]).await;
        assert!(refused.text("[role=alert]").is_some() && browser.cookies()[SESSION] == before, "{happened}: {}", refused.body);
        let story = server.explain(refused.header("chancery-trace-id")).await;
        assert!(story.happened.contains(happened), "{happened}: {story:?}");
    }
    let answer = key.answer(&page).to_string();
    let done = browser.submit(&page, &[("passkey", &answer)]).await;
    assert_eq!(done.location().unwrap().path(), "/account/factors", "{}", done.body);
    assert_ne!(browser.cookies()[SESSION], before);
    assert!(browser.submit(&own, &[("change", "recovery_codes")]).await.text(".recovery").is_some());
    let again = browser.submit(&page, &[("passkey", &answer)]).await;
    assert!(again.text("[role=alert]").is_some(), "it was spent");
    let events = server.audit().await;
    let count = |action: &str| events.iter().filter(|event| *event == action).count();
    assert_eq!((count("session.confirm"), count("session.step_up")), (1, 2), "only the two enrolments raised one: {events:?}");
    drop(client);
}

async fn without_a_password_a_passkey_confirms_and_sets_one(server: Server) {
    let (server, alice, client) = server.actors().await;
    // A session from before, in which the passkey was never proved.
    password(&alice, &alice.browser, alice.browser.get("/login").await).await;
    let mut key = enrol(&server, &alice).await;
    server
        .app
        .db
        .execute("UPDATE users SET password_hash = NULL WHERE sub = $1", chancery::args![alice.sub.clone()])
        .await
        .unwrap();
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    send(&browser, &page, &key.answer(&page)).await;
    let account = browser.get("/account").await;
    assert!(account.text("#password").unwrap().contains("Set a password"), "{}", account.body);
    let form = browser.get("/account/password").await;
    assert!(form.text("input[name=new_password]").is_some() && form.text("input[name=password]").is_none(), "{}", form.body);
    // The session that never saw the passkey is young, and has to show it all the same.
    let below = alice.browser.get("/account/password").await;
    assert_eq!(below.location().unwrap().path(), "/account/confirm", "{}", below.body);
    // Later somebody finds the screen unlocked.
    server.wait(Duration::from_secs(11 * 60));
    let new = [("new_password", "a first long passphrase"), ("new_password_again", "a first long passphrase")];
    for page in [browser.get("/account/password").await, browser.submit(&form, &new).await] {
        assert_eq!(page.location().unwrap().path(), "/account/confirm", "{}", page.body);
    }
    let confirm = browser.get("/account/confirm?to=password").await;
    assert!(!confirm.is_login() && confirm.text("input[name=code]").is_none() && attribute(&confirm, "data-rp-id") == "id.test");
    for password in ["", "a guess"] {
        assert!(browser.submit(&confirm, &[("password", password)]).await.text("[role=alert]").is_some());
    }
    let form = browser.settle(browser.submit(&confirm, &[("passkey", &key.answer(&confirm).to_string())]).await).await;
    assert_eq!((form.status, form.url.path()), (200, "/account/password"), "{}", form.body);
    let held = alice.browser.cookies()[SESSION].clone();
    let short = browser.submit(&form, &[("new_password", "short"), ("new_password_again", "short")]).await;
    assert!(short.text("[role=alert]").is_some());
    let done = browser.submit(&form, &new).await;
    assert_eq!(done.location().unwrap().path(), "/account", "{}", done.body);
    assert_eq!(browser.get("/account").await.status, 200, "this browser goes on");
    let thief = Browser::new(server.site());
    thief.set_cookie(SESSION, &held);
    assert_eq!(thief.get("/account").await.location().unwrap().path(), "/login", "what was signed in elsewhere has ended");
    // It is no way around the one that there is now.
    let again =
        browser.submit(&form, &[("new_password", "another passphrase"), ("new_password_again", "another passphrase")]).await;
    assert!(again.location().is_none_or(|to| to.path() != "/account"), "{:?}", again.location());
    let alice = Person { password: "a first long passphrase".to_owned(), ..alice };
    let step = password(&alice, &thief, thief.get("/login").await).await;
    assert_eq!(step.url.path(), "/second-factor", "{}", step.body);
    assert!(server.audit().await.contains(&"user.change_password".to_owned()));
    drop(client);
}
