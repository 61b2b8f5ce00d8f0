//! The audit log is complete: sign-ins, consents, grants, revocations, thefts, and every change by an operator. The list of its actions is
//! docs/audit.md; the code writes nothing that is not in it, and each of them is made to happen.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chancery::seal::Purpose;
use chancery::service::audit::DATABASE_WENT_BACK;
use chancery::service::keys::By as Changed;
use chancery::service::setup::{self, SetupFile, Wishes};
use chancery::service::{clients, groups, resources, users};
use chancery::storage::audit;
use serde_json::{Value, json};

use super::{device, factors};
use crate::harness::{Server, on_both};

on_both![what_people_apps_and_operators_do_is_in_the_log, a_refused_change_leaves_nothing_in_the_log];

const LIST: &str = include_str!("../../../docs/audit.md");

/// Who is behind an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The person whom it is about.
    Person,
    App,
    /// By a rule, at somebody's request.
    Server,
    /// The command line, the admin API or a set-up file.
    Operator,
    /// A person, an app or the server: it says who.
    Anybody,
}
use By::{Anybody, App, Operator, Person, Server as Rule};

/// Every action of the log: who is behind it, and members that say what happened. What people, apps and the server do names its request.
const TABLE: &[(&str, By, &[&str])] = &[
    ("session.begin", Person, &["sid", "acr", "amr", "device", "address"]),
    ("session.confirm", Person, &["sid", "amr"]),
    ("session.step_up", Person, &["sid", "acr", "amr"]),
    ("session.end", Anybody, &["sid", "because"]),
    ("consent.give", Person, &["client_id", "scopes", "resources"]),
    ("consent.withdraw", Person, &[]),
    ("grant.begin", Person, &["client_id", "scopes", "resources"]),
    ("grant.revoke", App, &[]),
    ("grant.end", Operator, &["user"]),
    ("grant.theft", Rule, &[]),
    ("grant.code_replay", Rule, &[]),
    ("token.revoke", App, &[]),
    ("device.claim", Person, &[]),
    ("device.allow", Person, &[]),
    ("device.deny", Person, &[]),
    // Long after the request: by a trace of its own.
    ("logout.undelivered", Rule, &["sid", "attempts", "since", "because"]),
    ("throttle.reached", Rule, &["failures", "window"]),
    ("factor.add", Person, &["factor"]),
    ("factor.remove", Person, &["factor"]),
    ("factor.recovery_codes", Person, &["codes"]),
    ("user.edit_profile", Person, &[]),
    ("user.change_password", Person, &["first", "sid"]),
    ("user.sign_out_elsewhere", Person, &[]),
    ("user.sign_out", Anybody, &[]),
    ("user.add", Operator, &["username"]),
    ("user.update", Operator, &["username"]),
    ("user.enable", Operator, &["username"]),
    ("user.disable", Operator, &["username"]),
    ("user.set_password", Operator, &[]),
    ("user.reset_factors", Operator, &["factors", "recovery_codes"]),
    ("user.end_sessions", Operator, &[]),
    ("user.end_grants", Operator, &[]),
    ("user.remove", Operator, &["username"]),
    ("group.add", Operator, &["identifier"]),
    ("group.update", Operator, &["identifier"]),
    ("group.remove", Operator, &["identifier"]),
    ("client.add", Operator, &["client_id"]),
    ("client.update", Operator, &["client_id"]),
    ("client.enable", Operator, &["client_id"]),
    ("client.disable", Operator, &["client_id"]),
    ("client.remove", Operator, &["client_id"]),
    ("client.rotate_secret", Operator, &[]),
    ("client.add_secret", Operator, &[]),
    ("client.end_secret", Operator, &[]),
    ("client.end_older_secrets", Operator, &[]),
    ("resource.add", Operator, &["identifier"]),
    ("resource.update", Operator, &["identifier"]),
    ("resource.remove", Operator, &["identifier"]),
    ("setup.adopt", Operator, &[]),
    ("setup.release", Operator, &[]),
    ("key.make", Operator, &[]),
    ("key.activate", Operator, &[]),
    ("key.retire", Operator, &[]),
    ("key.unpublish", Operator, &[]),
    ("key.forget", Operator, &[]),
    ("key.rotate", Operator, &[]),
    ("key.compromise", Operator, &[]),
    ("key.rewrap", Operator, &[]),
    ("data_key.rotate", Operator, &[]),
    ("data_key.compromise", Operator, &[]),
];

/// What other tests make happen: it takes a database that goes back, and a server that lets clients register themselves.
const ELSEWHERE: [&str; 2] = ["grant.ahead_of_database", "client.register"];

/// Kinds of things that are acted on: `kind.action` in the services is an action of the log.
const KINDS: &[&str] = &[
    "client", "consent", "data_key", "device", "factor", "grant", "group", "key", "logout", "resource", "session", "setup",
    "throttle", "token", "user",
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
            found.extend(named(text.split("#[cfg(test)]\nmod tests").next().unwrap(), '"'));
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
    let revoked = client.revoke(&tokens.str("access_token")).await.ok();
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

    // Second factors: added to a session from before, proved in it, used, renewed, removed.
    let bob = server.person("bob").await;
    let old = factors::signed_in(&server, &bob).await;
    let phone = factors::enrol(&server, &bob).await;
    let page = old.get("/second-factor").await;
    old.submit(&page, &[("code", &phone.code(&server))]).await;
    for change in ["recovery_codes", "remove_app"] {
        let page = old.get("/account/factors").await;
        old.submit(&page, &[("change", change)]).await;
    }
    // Devices.
    let television = server.public_client(json!({ "redirect_uris": [], "grant_types": [device::GRANT] })).await;
    for decision in ["allow", "deny"] {
        let begun = television.call("/device/code", &[("scope", "openid")]).await.ok();
        let page = old.get(format!("/device?user_code={}", begun.str("user_code"))).await;
        old.submit(&page, &[("decision", decision)]).await;
    }

    // An app that could not be told in time that somebody signed out.
    let deaf = server.client(json!({ "backchannel_logout_uri": "https://nowhere.invalid/out" })).await;
    bob.visit(&deaf, "openid").await;
    bob.browser.submit(&bob.browser.get("/account").await, &[("sign_out", "here")]).await;
    server.wait(Duration::from_secs(86_400));
    let given_up = async || chancery::storage::logouts::waiting(&server.app.db).await.unwrap().is_empty();
    crate::harness::machine::until(Duration::from_secs(20), given_up).await;

    // Operators, at the admin API and elsewhere.
    let admin = server.admin("admin:write").await;
    bob.tokens_for_long(&client).await;
    let found = admin.get(&format!("/users?username={}", bob.username)).await.ok().json();
    let bobs = format!("/users/{}", found["items"][0]["id"].as_str().unwrap());
    let grants = admin.get(&format!("{bobs}/grants")).await.ok().json();
    let sessions = admin.get(&format!("{bobs}/sessions")).await.ok().json();
    let below = [
        format!("/grants/{}", grants["items"][0]["id"].as_str().unwrap()),
        "/grants".to_owned(),
        format!("/sessions/{}", sessions["items"][0]["sid"].as_str().unwrap()),
        "/sessions".to_owned(),
        "/factors".to_owned(),
    ];
    for path in below {
        let answer = admin.delete(&format!("{bobs}{path}")).await;
        assert_eq!(answer.status, 204, "{path}: {}", answer.text);
    }
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
    let (keys, by) = (&server.app.keys, Changed { actor: "test".to_owned(), trace_id: None });
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
    let rows: BTreeSet<String> = TABLE.iter().map(|row| row.0).chain(ELSEWHERE).map(str::to_owned).collect();
    assert_eq!(rows, listed(), "the table of this test, and that of docs/audit.md");
    assert_eq!(ELSEWHERE[0], DATABASE_WENT_BACK);
    for (action, by, members) in TABLE {
        let found: Vec<_> = events.iter().filter(|event| event.action == *action).collect();
        assert!(!found.is_empty(), "{action}: nobody made it happen, or it is not in the log");
        for event in found {
            let is = |kind: &str| event.actor.starts_with(kind);
            let operator = is("setup:") || ["test", "cli"].contains(&event.actor.as_str());
            let good = match by {
                Person => is("user:"),
                App => is("client:"),
                Rule => event.actor == "server",
                // Keys are also made, activated and forgotten by the time.
                Operator => operator || is("client:") || event.actor == "server",
                Anybody => operator || is("user:") || is("client:") || event.actor == "server",
            };
            assert!(good && !event.target.is_empty(), "{event:?}");
            let in_request = *by != Operator && !operator || is("client:") || is("user:");
            let named = event.trace_id.as_deref().is_some_and(|id| id.len() == 32 && id != "0".repeat(32));
            assert_eq!(named, in_request, "names its request: {event:?}");
            let told = format!("{} {}", event.was.as_deref().unwrap_or_default(), event.is_now.as_deref().unwrap_or_default());
            for member in *members {
                assert!(told.contains(&format!("\"{member}\":")), "{member}: {event:?}");
            }
        }
    }
    assert!(events.iter().all(|event| rows.contains(&event.action)), "nothing else is in it");

    // A session's events name the same session, from its beginning to its end.
    let member = |event: &audit::AuditEvent, name: &str| {
        let text = event.was.as_deref().or(event.is_now.as_deref()).unwrap();
        serde_json::from_str::<Value>(text).unwrap()[name].as_str().unwrap().to_owned()
    };
    let of_sessions =
        |action: &str| events.iter().filter(|event| event.action == action).map(|event| member(event, "sid")).collect();
    let begun: BTreeSet<String> = of_sessions("session.begin");
    let changed: BTreeSet<String> = of_sessions("user.change_password");
    for action in ["session.confirm", "session.step_up", "session.end"] {
        let others: BTreeSet<String> = of_sessions(action);
        assert!(!others.is_empty() && others.iter().all(|sid| begun.contains(sid) || changed.contains(sid)), "{action}");
    }
    // The request is the one whose answer told its id.
    assert_eq!(events.iter().find(|event| event.action == "token.revoke").unwrap().trace_id, Some(revoked.trace_id()));

    let of = |action: &str| events.iter().find(|event| event.action == action).unwrap();
    assert!(of("token.revoke").actor == format!("client:{}", client.client_id));
    for action in ["session.begin", "consent.give", "grant.begin", "user.change_password", "user.sign_out_elsewhere"] {
        assert!(of(action).actor.starts_with("user:"), "{:?}", of(action));
    }
    for action in ["grant.theft", "grant.code_replay", "throttle.reached"] {
        assert_eq!(of(action).actor, "server");
    }
    let told = events.iter().filter(|event| event.action == "consent.give").map(|event| event.is_now.as_deref().unwrap());
    let told: Vec<Value> = told.map(|text| serde_json::from_str(text).unwrap()).collect();
    let offline = |told: &Value| told["client_id"] == client.client_id && told["scopes"] == json!(["openid", "offline_access"]);
    assert!(told.iter().any(offline), "{told:?}");
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
