//! The audit log is complete: sign-ins, consents, grants, revocations, thefts, and every change by an operator. The list of its actions is
//! docs/audit.md; the code writes nothing that is not in it, and each of them is made to happen.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chancery::seal::Purpose;
use chancery::service::audit::DATABASE_WENT_BACK;
use chancery::service::keys::By;
use chancery::service::setup::{self, SetupFile, Wishes};
use chancery::service::{clients, groups, resources, users};
use chancery::storage::audit;
use serde_json::{Value, json};

use crate::harness::{Server, on_both};

on_both![what_people_apps_and_operators_do_is_in_the_log, a_refused_change_leaves_nothing_in_the_log];

const LIST: &str = include_str!("../../../docs/audit.md");

/// What other tests make happen, and look for by name.
const ELSEWHERE: &[(&str, &str)] = &[
    ("device.allow", "flows/device.rs"),
    ("device.claim", "flows/device.rs"),
    ("device.deny", "flows/device.rs"),
    ("factor.add", "flows/factors.rs"),
    ("factor.recovery_codes", "flows/factors.rs"),
    ("factor.remove", "flows/factors.rs"),
    ("session.step_up", "flows/factors.rs"),
    ("user.reset_factors", "flows/factors.rs"),
    ("grant.end", "flows/admin/people.rs"),
    ("user.end_grants", "flows/admin/people.rs"),
    ("user.end_sessions", "flows/admin/people.rs"),
    ("grant.ahead_of_database", "flows/runbooks.rs"),
];

/// Kinds of things that are acted on: `kind.action` in the services is an action of the log.
const KINDS: &[&str] = &[
    "client", "consent", "data_key", "device", "factor", "grant", "group", "key", "resource", "session", "setup", "throttle",
    "token", "user",
];

/// The actions that a text names in quotes.
fn named(text: &str, quote: char) -> BTreeSet<String> {
    let is_action = |word: &str| {
        let (kind, action) = word.split_once('.').unwrap_or_default();
        KINDS.contains(&kind)
            && !action.is_empty()
            && action.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && action != "json"
    };
    text.split(quote).filter(|word| is_action(word)).map(str::to_owned).collect()
}

fn in_the_code(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_the_code(&path, found);
        } else {
            // The tests of a file stand at its end.
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(named(text.split("#[cfg(test)]").next().unwrap(), '"'));
        }
    }
}

/// The first column of the table.
fn listed() -> BTreeSet<String> {
    let rows = LIST.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|line| named(line.split(" | ").next().unwrap(), '`')).collect()
}

#[test]
fn the_list_is_what_the_code_writes() {
    let mut written = BTreeSet::new();
    in_the_code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service"), &mut written);
    let listed = listed();
    assert_eq!(written.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "not in docs/audit.md");
    assert_eq!(listed.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new(), "nowhere in the code");
}

/// Makes everything happen, and finds it: who did what to what.
async fn what_people_apps_and_operators_do_is_in_the_log(server: Server) {
    let (server, mut alice, client) = server.actors().await;
    let operator = server.operator();
    let burst = Duration::from_secs(11);

    // People and their apps.
    let tokens = alice.tokens_for_long(&client).await;
    client.revoke(&tokens.str("access_token")).await.ok();
    client.revoke(&tokens.str("refresh_token")).await.ok();
    let first = alice.tokens_for_long(&client).await;
    let second = client.refresh(&first.str("refresh_token")).await.ok();
    server.wait(burst);
    client.refresh(&second.str("refresh_token")).await.ok();
    server.wait(burst);
    client.refresh(&first.str("refresh_token")).await.refused(400, "invalid_grant");
    let back = alice.visit(&client, "openid").await;
    client.redeem(back.code(), &back.verifier).await.ok();
    server.wait(burst);
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");

    // The account page.
    let page = alice.browser.get("/account/confirm").await;
    alice.browser.submit(&page, &[("password", &alice.password)]).await;
    let page = alice.browser.get("/account/profile").await;
    alice.browser.submit(&page, &[("nickname", "Al")]).await;
    let new = "another long passphrase";
    let page = alice.browser.get("/account/password").await;
    alice.browser.submit(&page, &[("password", &alice.password), ("new_password", new), ("new_password_again", new)]).await;
    alice.password = new.to_owned();
    for button in [("withdraw", client.client_id.as_str()), ("sign_out", "elsewhere"), ("sign_out", "here")] {
        let page = alice.browser.get("/account").await;
        alice.browser.submit(&page, &[button]).await;
    }
    for guess in 0..20 {
        let page = alice.browser.get("/login").await;
        alice.browser.submit(&page, &[("username", &alice.username), ("password", &format!("guess {guess}"))]).await;
    }

    // Operators.
    users::update(&operator, &alice.username, patch(json!({ "nickname": "Ali" }))).await.unwrap();
    users::set_password(&operator, &alice.username, chancery::secret::Secret::new("a third passphrase".to_owned())).await.unwrap();
    users::sign_out(&operator, &alice.username).await.unwrap();
    users::disable(&operator, &alice.username).await.unwrap();
    users::enable(&operator, &alice.username).await.unwrap();
    users::remove(&operator, &alice.username).await.unwrap();
    server.group(json!({ "identifier": "staff" })).await;
    server.update_group("staff", json!({ "roles": ["reader"] })).await;
    groups::remove(&operator, "staff").await.unwrap();
    let api = "https://api.test";
    server.resource(json!({ "identifier": api, "name": "API", "scopes": [{ "name": "api:read", "description": "Read" }] })).await;
    resources::update(&operator, api, patch(json!({ "name": "The API" }))).await.unwrap();
    resources::remove(&operator, api).await.unwrap();
    clients::update(&operator, &client.client_id, patch(json!({ "client_name": "Other" }))).await.unwrap();
    server.rotate_secret(&client).await;
    clients::end_older_secrets(&operator, &client.client_id).await.unwrap();
    let (added, _) = clients::add_secret(&operator, &client.client_id).await.unwrap();
    clients::end_secret(&operator, &client.client_id, &added.id.to_string()).await.unwrap();
    clients::disable(&operator, &client.client_id).await.unwrap();
    clients::enable(&operator, &client.client_id).await.unwrap();
    clients::remove(&operator, &client.client_id).await.unwrap();

    // A set-up file lets something go, and another takes it over.
    let file = |text: &str| SetupFile::parse(text.as_bytes(), "setup.toml", Path::new(""), &clients::policy(&operator)).unwrap();
    let phone = "[[clients]]\nclient_id = \"phone\"\nclient_name = \"Phone\"\nredirect_uris = [\"com.example.shop:/callback\"]\n\
                 token_endpoint_auth_method = \"none\"\n";
    for (text, wishes) in [
        (format!("name = \"one\"\n{phone}"), Wishes::default()),
        ("name = \"one\"\n".to_owned(), Wishes { release: true, ..Wishes::default() }),
        (format!("name = \"two\"\n{phone}"), Wishes { adopt: true, ..Wishes::default() }),
    ] {
        setup::apply(&operator, server.app.entropy.clone(), file(&text), wishes).await.unwrap();
    }

    // Keys: what is due by time, and what operators do.
    let (keys, by) = (&server.app.keys, By { actor: "test".to_owned(), trace_id: None });
    for _ in 0..30 {
        server.wait(Duration::from_secs(20 * 86_400));
        keys.refresh(server.app.clock.now()).await.unwrap();
    }
    let now = server.app.clock.now();
    keys.rotate(&by, now, None, false).await.unwrap();
    keys.rotate(&by, now, None, true).await.unwrap();
    keys.rotate_data(&by, now, Purpose::Cookie, false).await.unwrap();
    keys.rotate_data(&by, now, Purpose::Cookie, true).await.unwrap();
    keys.rewrap(&by, now).await.unwrap();

    let events = audit::list(&server.app.db, 1000, None).await.unwrap();
    let happened: BTreeSet<String> = events.iter().map(|event| event.action.clone()).collect();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut missing = listed();
    missing.retain(|action| !happened.contains(action));
    missing.retain(|action| {
        let place = ELSEWHERE.iter().find(|(other, _)| other == action);
        !place.is_some_and(|(_, file)| {
            std::fs::read_to_string(tests.join(file)).unwrap().contains(&format!("\"{action}\"")) || action == DATABASE_WENT_BACK
        })
    });
    assert_eq!(missing, BTreeSet::new(), "nobody made these happen, or they are not in the log");
    let listed = listed();
    assert!(happened.iter().all(|action| listed.contains(action)), "{happened:?}");

    // Each says who, and of what; none holds a secret.
    let prefixes = ["user:", "client:", "setup:"];
    for event in &events {
        let by =
            ["server", "test", "cli"].contains(&event.actor.as_str()) || prefixes.iter().any(|kind| event.actor.starts_with(kind));
        assert!(by && !event.target.is_empty(), "{event:?}");
    }
    let of = |action: &str| events.iter().find(|event| event.action == action).unwrap();
    assert!(of("token.revoke").actor == format!("client:{}", client.client_id));
    for action in ["session.begin", "consent.give", "grant.begin", "user.change_password", "user.sign_out_elsewhere"] {
        assert!(of(action).actor.starts_with("user:"), "{:?}", of(action));
    }
    for action in ["grant.theft", "grant.code_replay", "throttle.reached"] {
        assert_eq!(of(action).actor, "server");
    }
    let told: Value = serde_json::from_str(of("consent.give").is_now.as_deref().unwrap()).unwrap();
    assert_eq!((&told["client_id"], &told["scopes"]), (&json!(client.client_id), &json!(["openid", "offline_access"])));
    assert_eq!(events.iter().filter(|event| event.action == "throttle.reached").count(), 1, "once in a window");
    let all = format!("{events:?}");
    let (access_token, refresh_token) = (tokens.str("access_token"), first.str("refresh_token"));
    for secret in [new, "a third passphrase", "guess 1", &access_token, &refresh_token, back.code()] {
        assert!(!all.contains(secret), "{secret}");
    }
    // The username stands in what operators changed, never where somebody typed it.
    assert!(!of("throttle.reached").target.contains(&alice.username));
}

async fn a_refused_change_leaves_nothing_in_the_log(server: Server) {
    let (server, alice, client) = server.actors().await;
    let other = server.client(json!({})).await;
    let tokens = alice.tokens_for_long(&client).await;
    let before = server.audit().await;
    // A stranger's token, a code that never was, a second time what was done already, a wrong password.
    other.revoke(&tokens.str("access_token")).await.ok();
    other.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    client.redeem("nothing", "x").await.refused(400, "invalid_grant");
    assert_eq!(server.audit().await, before);
    client.revoke(&tokens.str("access_token")).await.ok();
    client.revoke(&tokens.str("access_token")).await.ok();
    assert_eq!(server.audit().await.len(), before.len() + 1);
    let page = alice.browser.get("/account").await;
    alice.browser.submit(&page, &[("withdraw", &client.client_id)]).await;
    alice.browser.submit(&page, &[("withdraw", &client.client_id)]).await;
    let page = alice.browser.get("/login").await;
    alice.browser.submit(&page, &[("username", &alice.username), ("password", "wrong wrong")]).await;
    assert_eq!(server.audit().await.len(), before.len() + 2);
}

fn patch(patch: Value) -> chancery::service::document::Document {
    chancery::service::document::Document::parse(patch.to_string().as_bytes()).unwrap()
}
