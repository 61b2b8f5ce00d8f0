//! R-87: docs/runbooks.md as it stands, each section played through with the built binary on each database, with a person, an application
//! and a machine that are in the middle of something.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::clock::{Clock as _, SystemClock};
use chancery::factors::totp::TotpSecret;
use chancery::service::audit::DATABASE_WENT_BACK;
use chancery::storage::audit;
use serde_json::{Value, json};

use super::factors::{is_step, recovery_page, shown_secret};
use crate::harness::machine::{MASTER_KEY, Machine, OTHER_MASTER_KEY, until};
use crate::harness::{Answer, Browser, Client, Page, Person, Request, dump};

/// How soon every replica must know.
const SOON: Duration = Duration::from_secs(6);
const NEW_MASTER_KEY: &str = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8";

/// The commands of a section's blocks.
fn section(title: &str) -> Vec<String> {
    let text = include_str!("../../../docs/runbooks.md");
    let from = text.find(&format!("## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    let rest = &text[from + 3..];
    let section = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
    let lines = section.split("```sh\n").skip(1).flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    let commands: Vec<String> = lines.map(str::to_owned).collect();
    assert!(!commands.is_empty(), "{title}");
    commands
}

/// Does what a section says.
fn follow(machine: &Machine, title: &str, names: &[(&str, &str)]) {
    for mut command in section(title) {
        for (name, value) in names {
            command = command.replace(name, value);
        }
        let words: Vec<&str> = command.strip_prefix("chancery ").unwrap().split(' ').collect();
        machine.run(&words);
    }
}

/// Machines whose master key the test knows.
async fn machines() -> [Machine; 2] {
    let mut machines = Machine::both().await;
    machines.iter_mut().for_each(|machine| machine.set("CHANCERY_MASTER_KEY", MASTER_KEY));
    machines
}

async fn machine_token(client: &Client) -> String {
    client.token(&[("grant_type", "client_credentials")]).await.ok().str("access_token")
}

async fn is_refused(client: &Client, refresh_token: &str) -> bool {
    let answer = client.refresh(refresh_token).await;
    answer.status != 200 && answer.json()["error"] == "invalid_grant"
}

/// Whether the person's browser gets a code without being asked anything.
async fn is_signed_in(person: &Person, client: &Client) -> bool {
    let answer = person.answer(&Request::of(client).with("prompt", "none")).await;
    answer.is_ok_and(|back| back.params.contains_key("code"))
}

/// Whether a sign-in from nothing works, with the password that the person knows.
async fn can_sign_in(person: &Person, client: &Client) -> bool {
    person.browser.forget_cookies();
    person.answer(&Request::of(client)).await.is_ok_and(|back| back.params.contains_key("code"))
}

/// An authenticator app and the codes on paper, set up at a running server.
struct Phone {
    secret: TotpSecret,
    recovery_codes: Vec<String>,
}

impl Phone {
    async fn of(person: &Person) -> Self {
        let (browser, _) = sign_in(person).await;
        let page = browser.get("/second-factor/enrol").await;
        let secret = shown_secret(&page);
        let done = browser.submit(&page, &[("code", &secret.code(SystemClock::default().now()))]).await;
        let html = scraper::Html::parse_document(&done.body);
        let found = scraper::Selector::parse(".recovery code").unwrap();
        let recovery_codes: Vec<String> = html.select(&found).map(|code| code.text().collect()).collect();
        assert_eq!(recovery_codes.len(), 10, "{} {}", done.status, done.body);
        Self { secret, recovery_codes }
    }

    /// The code after the one that was typed to set it up: good already, and for the first time.
    fn code(&self) -> String {
        self.secret.code(SystemClock::default().now().plus(Duration::from_secs(30)))
    }
}

/// A new browser, and where the password leads.
async fn sign_in(person: &Person) -> (Browser, Page) {
    let browser = Browser::new(Arc::clone(person.browser.site()));
    let page = browser.get("/login").await;
    let page = browser.submit(&page, &[("username", &person.username), ("password", &person.password)]).await;
    let page = browser.settle(page).await;
    (browser, page)
}

/// Whether password and code let somebody in. Without the code nobody gets in.
async fn factor_lets_in(person: &Person, code: &str) -> bool {
    let (browser, page) = sign_in(person).await;
    assert!(is_step(&page), "no second factor was asked for at {}:\n{}", page.url, page.body);
    let page = if code.len() > 6 { recovery_page(&browser, &page).await } else { page };
    browser.submit(&page, &[("code", code)]).await;
    let account = browser.settle(browser.get("/account").await).await;
    assert_eq!(account.status, 200, "{}", account.body);
    !account.is_login()
}

/// Whether the password alone lets somebody in.
async fn password_lets_in(person: &Person) -> bool {
    let (browser, _) = sign_in(person).await;
    let account = browser.settle(browser.get("/account").await).await;
    !account.is_login()
}

fn refresh_token(tokens: &Answer) -> String {
    tokens.str("refresh_token")
}

async fn kids(client: &Client) -> Vec<String> {
    let keys = client.site.get("/jwks").await.ok().json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signing_key_may_be_out() {
    for machine in machines().await {
        let (alice, client) = (machine.person("alice"), machine.client());
        let server = machine.start(&["serve"]).await;
        let tokens = alice.tokens_for_long(&client).await;
        let (old, robots) = (tokens.str("access_token"), machine_token(&client).await);
        let before = kids(&client).await;
        assert!(client.is_active(&old).await && client.is_active(&robots).await);
        follow(&machine, "A signing key", &[]);
        until(SOON, async || !client.is_active(&old).await && !client.is_active(&robots).await).await;
        assert_eq!(client.site.userinfo(&old).await.status, 401);
        let after = kids(&client).await;
        assert_eq!(before.iter().filter(|kid| after.contains(kid)).count(), 3, "the active ones are gone, the next ones sign");
        // Nobody signs in again.
        let renewed = client.refresh(&refresh_token(&tokens)).await.ok();
        client.site.userinfo(&renewed.str("access_token")).await.ok();
        assert!(is_signed_in(&alice, &client).await);
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_may_be_out() {
    for machine in machines().await {
        let (alice, bob, client) = (machine.person("alice"), machine.person("bob"), machine.client());
        let server = machine.start(&["serve"]).await;
        let tokens = alice.tokens_for_long(&client).await;
        let (old, robots) = (tokens.str("access_token"), machine_token(&client).await);
        let phone = Phone::of(&bob).await;
        // What the thief has: nothing that opens, and nothing that can be presented.
        let copy = dump(&machine.database_url()).await;
        let secrets =
            [old.clone(), refresh_token(&tokens), client.secret.clone().unwrap(), alice.password.clone(), MASTER_KEY.into()];
        let factors = [phone.secret.text().expose().clone(), URL_SAFE_NO_PAD.encode(phone.secret.expose())];
        for secret in secrets.iter().chain(&factors).chain(&phone.recovery_codes).chain(alice.browser.cookies().values()) {
            assert!(!copy.contains(secret), "the copy holds a secret");
        }
        server.stop();
        let mut thief = Machine::sqlite();
        thief.set("CHANCERY_MASTER_KEY", OTHER_MASTER_KEY);
        thief.restore(&machine.backup().await).await;
        assert!(thief.refuses(&["serve"]).contains("master key does not fit"));

        let server = machine.start(&["serve"]).await;
        assert!(is_signed_in(&alice, &client).await && client.is_active(&old).await);
        follow(&machine, "The database, or a backup of it", &[("USERNAME", "alice")]);
        assert!(!client.is_active(&old).await);
        assert!(is_refused(&client, &refresh_token(&tokens)).await);
        assert!(!is_signed_in(&alice, &client).await);
        assert!(!can_sign_in(&alice, &client).await, "her old password is worth nothing");
        assert!(client.is_active(&robots).await, "machines are not concerned");
        assert!(factor_lets_in(&bob, &phone.code()).await, "second factors go on");
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_may_be_out() {
    for mut machine in machines().await {
        let (alice, bob, client) = (machine.person("alice"), machine.person("bob"), machine.client());
        let server = machine.start(&["serve"]).await;
        let tokens = alice.tokens_for_long(&client).await;
        let (old, robots) = (tokens.str("access_token"), machine_token(&client).await);
        let (_, his) = (Phone::of(&alice).await, Phone::of(&bob).await);
        let before = kids(&client).await;
        server.stop();
        machine.set("CHANCERY_MASTER_KEY", &format!("{NEW_MASTER_KEY},{MASTER_KEY}"));
        let server = machine.start(&["serve"]).await;
        assert!(client.is_active(&old).await, "two keys, newest first: nothing has ended yet");
        follow(&machine, "The master key, and with it the database", &[("USERNAME", "alice")]);
        until(SOON, async || !client.is_active(&old).await && !client.is_active(&robots).await).await;
        let after = kids(&client).await;
        assert!(before.iter().all(|kid| !after.contains(kid)), "no key of before is published");
        assert!(is_refused(&client, &refresh_token(&tokens)).await);
        assert!(!is_signed_in(&alice, &client).await);
        machine_token(&client).await;
        server.stop();
        machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
        assert!(machine.refuses(&["serve"]).contains("master key does not fit"), "the old key opens nothing any more");
        machine.set("CHANCERY_MASTER_KEY", NEW_MASTER_KEY);
        let server = machine.start(&["serve"]).await;
        assert!(client.is_active(&machine_token(&client).await).await);
        // Whoever read the secrets of the apps has nothing; who has a recovery code gets in, and who has none after the reset.
        assert!(!factor_lets_in(&bob, &his.code()).await);
        assert!(factor_lets_in(&bob, &his.recovery_codes[0]).await);
        assert!(can_sign_in(&alice, &client).await);
        server.stop();
    }
}

/// Design 4.6: `rewrap` re-seals without ending a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_exchanged_and_nobody_notices() {
    for mut machine in machines().await {
        let (alice, client) = (machine.person("alice"), machine.client());
        let server = machine.start(&["serve"]).await;
        let tokens = alice.tokens_for_long(&client).await;
        let (old, robots) = (tokens.str("access_token"), machine_token(&client).await);
        let bob = machine.person("bob");
        let phone = Phone::of(&bob).await;
        let before = kids(&client).await;
        server.stop();
        machine.set("CHANCERY_MASTER_KEY", &format!("{NEW_MASTER_KEY},{MASTER_KEY}"));
        let server = machine.start(&["serve"]).await;
        follow(&machine, "The master key, as a matter of routine", &[]);
        // In the wrong order nothing is lost either: the old key alone is refused, and changes nothing.
        server.stop();
        machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
        assert!(machine.refuses(&["serve"]).contains("master key does not fit"));
        machine.set("CHANCERY_MASTER_KEY", NEW_MASTER_KEY);
        let server = machine.start(&["serve"]).await;
        assert_eq!(kids(&client).await, before);
        assert!(factor_lets_in(&bob, &phone.code()).await);
        assert!(client.is_active(&old).await && client.is_active(&robots).await);
        assert!(is_signed_in(&alice, &client).await);
        client.refresh(&refresh_token(&tokens)).await.ok();
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_back() {
    for mut machine in machines().await {
        let (alice, bob, client) = (machine.person("alice"), machine.person("bob"), machine.client());
        let carol = machine.person("carol");
        let server = machine.start(&["serve"]).await;
        let (hers, his) = (alice.tokens_for_long(&client).await, bob.tokens_for_long(&client).await);
        let compromised = kids(&client).await;
        let robots = machine_token(&client).await;
        let phone = Phone::of(&carol).await;
        // In the middle of its work.
        let backup = machine.backup().await;

        // What the backup does not know.
        assert!(factor_lets_in(&carol, &phone.code()).await && factor_lets_in(&carol, &phone.recovery_codes[0]).await);
        assert!(!factor_lets_in(&carol, &phone.recovery_codes[0]).await, "used up");
        let ahead = client.refresh(&refresh_token(&hers)).await.ok();
        let unused = alice.visit(&client, "openid").await;
        client.revoke(&robots).await.ok();
        client.revoke(&refresh_token(&his)).await.ok();
        machine.run(&["user", "sign-out", "bob"]);
        machine.run(&["key", "rotate", "--compromised"]);
        until(SOON, async || !client.is_active(&his.str("access_token")).await && !client.is_active(&robots).await).await;
        machine.run(&["user", "reset-factors", "carol"]);
        let lost = Phone::of(&alice).await;
        server.stop();

        // Without the runbook: what is newer than the database is refused and harms nobody, what was revoked is back.
        machine.restore(&backup).await;
        let server = machine.start(&["serve"]).await;
        let refused = client.refresh(&refresh_token(&ahead)).await.refused(400, "invalid_grant");
        client.refresh(&refresh_token(&ahead)).await.refused(400, "invalid_grant");
        client.redeem(unused.code(), &unused.verifier).await.refused(400, "invalid_grant");
        assert!(
            client.is_active(&his.str("access_token")).await && client.is_active(&robots).await,
            "that is what the runbook is for"
        );
        assert_eq!(kids(&client).await, compromised);
        assert!(client.is_active(&hers.str("access_token")).await, "nothing is revoked for a token that is ahead");
        assert!(factor_lets_in(&carol, &phone.recovery_codes[0]).await, "used up, taken away, and good again");
        assert!(password_lets_in(&alice).await, "an app that is newer than the backup is not asked for");
        until(SOON, async || explained(&machine, &refused.trace_id()).is_some_and(|story| story.contains("runbooks.md"))).await;
        let db = machine.db().await;
        let events = audit::list(&db, 100, None).await.unwrap();
        db.close().await;
        let reports: Vec<_> = events.iter().filter(|event| event.action == DATABASE_WENT_BACK).collect();
        assert_eq!(reports.len(), 1, "said once, however often it is presented");
        server.stop();

        // With it.
        machine.restore(&backup).await;
        follow(&machine, "A restored backup", &[]);
        machine.run(&["user", "reset-factors", "carol"]);
        let server = machine.start(&["serve"]).await;
        for token in [refresh_token(&hers), refresh_token(&his), refresh_token(&ahead)] {
            assert!(is_refused(&client, &token).await);
        }
        for token in [hers.str("access_token"), his.str("access_token"), ahead.str("access_token"), robots] {
            assert!(!client.is_active(&token).await);
        }
        client.redeem(unused.code(), &unused.verifier).await.refused(400, "invalid_grant");
        let after = kids(&client).await;
        assert!(compromised.iter().all(|kid| !after.contains(kid)), "a key that was compromised is not back");
        assert!(!is_signed_in(&alice, &client).await && !is_signed_in(&bob, &client).await);
        assert!(can_sign_in(&alice, &client).await && can_sign_in(&bob, &client).await);
        assert!(password_lets_in(&carol).await, "the factors that were taken away are gone once more");
        let again = Phone::of(&alice).await;
        assert_ne!(again.secret.expose(), lost.secret.expose());
        machine_token(&client).await;
        server.stop();
    }
}

fn explained(machine: &Machine, trace_id: &str) -> Option<String> {
    let output = machine.command(&["explain", trace_id]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_secret_may_be_out() {
    for machine in machines().await {
        let client = machine.client();
        let server = machine.start(&["serve"]).await;
        let old = machine_token(&client).await;
        let rotated: Value = machine.json(&["client", "rotate-secret", &client.client_id]);
        let new = Client { secret: rotated["client_secret"].as_str().map(str::to_owned), ..client.clone() };
        until(SOON, async || new.token(&[("grant_type", "client_credentials")]).await.status == 200).await;
        machine_token(&client).await;
        machine.run(&["client", "rotate-secret", &client.client_id, "--grace", "0"]);
        until(SOON, async || client.token(&[("grant_type", "client_credentials")]).await.status == 401).await;
        follow(&machine, "A client's secret", &[("CLIENT_ID", &client.client_id)]);
        let watcher = machine.json(&[
            "client",
            "add",
            "--file",
            &machine.file(
                "watcher.json",
                &json!({ "client_name": "W", "grant_types": ["client_credentials"], "introspection": "any" }),
            ),
        ]);
        let text = |name: &str| watcher[name].as_str().unwrap().to_owned();
        let watcher = Client { client_id: text("client_id"), secret: Some(text("client_secret")), ..client.clone() };
        assert!(watcher.is_active(&old).await, "enabled again");
        machine.run(&["client", "disable", &client.client_id]);
        until(SOON, async || !watcher.is_active(&old).await).await;
        server.stop();
    }
}
