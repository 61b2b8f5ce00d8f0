//! What a client that registered itself may do with itself afterwards (RFC 7592): openid.md 85 and 86, security.md.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chancery::jose::Alg;
use chancery::service::registration;
use chancery::storage::owners::{self, Object, Owned};
use futures_util::future::join_all;
use serde_json::json;

use super::{DAY, Registered, is_no_token, open, send, web, web_with};
use crate::harness::keyring::{AppKey, jwks};
use crate::harness::{Answer, Client, Request, Server, on_both};

on_both![
    a_client_looks_after_itself_and_nobody_else,
    an_update_resets_what_it_leaves_out_and_keeps_ours,
    the_management_token_dies_with_its_client,
    changes_at_once_leave_everybody_with_the_token_that_works,
    an_answer_that_was_lost_locks_nobody_out,
    a_secret_that_was_lost_with_its_answer_is_told_again,
    what_operators_keep_is_theirs,
    a_client_changes_itself_so_often_and_no_more,
    what_an_operator_changed_stays_changed,
    another_kind_of_subject_is_another_question,
];

/// RFC 7592, openid.md 85 and 86.
async fn a_client_looks_after_itself_and_nobody_else(server: Server) {
    let server = open(&server).await;
    let login = json!({ "initiate_login_uri": "https://app.test/login" });
    let (mine, other) = (Registered::new(&server, None, web_with(login)).await, Registered::new(&server, None, web()).await);
    let shown = mine.own("GET", None).await.ok();
    assert_eq!(shown.header("cache-control"), "no-store");
    let mut expected = mine.answer.clone();
    for name in ["client_secret", "client_secret_expires_at"] {
        expected.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(shown.json(), expected);
    assert_eq!(shown.json()["initiate_login_uri"], "https://app.test/login");
    let uri = mine.str("registration_client_uri");
    // Every change makes another token, and its first use ends the one before.
    let changed = mine.put(web_with(json!({ "client_name": "New name" }))).await.ok().json();
    assert_eq!(changed["client_name"], "New name");
    let fresh = changed["registration_access_token"].as_str().unwrap().to_owned();
    assert_ne!(fresh, mine.str("registration_access_token"));
    assert!(!server.dump().await.contains(&fresh));
    send(&server.site(), "GET", &uri, Some(&fresh), None).await.ok();
    // One answer for all that is wrong.
    let by_operator = server.client(json!({})).await;
    let nobody = format!("{}/register/nobody", server.issuer);
    let operators = format!("{}/register/{}", server.issuer, by_operator.client_id);
    let mut answers = BTreeSet::new();
    for method in ["GET", "PUT", "DELETE"] {
        let body = (method == "PUT").then(web);
        for (uri, token, cause) in [
            (&uri, mine.str("registration_access_token"), "not this client's"),
            (&uri, other.str("registration_access_token"), "not this client's"),
            (&uri, other.str("client_secret"), "not this client's"),
            (&nobody, fresh.clone(), "no client of this id"),
            (&operators, fresh.clone(), "An operator registered"),
        ] {
            let refused = is_no_token(send(&server.site(), method, uri, Some(&token), body.as_ref()).await);
            assert!(server.explain(&refused.trace_id()).await.happened.contains(cause), "{method} {uri}");
            answers.insert(refused.text);
        }
        let bare = is_no_token(send(&server.site(), method, &uri, None, body.as_ref()).await);
        assert!(!bare.header("www-authenticate").contains("error="));
    }
    for id in ["%ff", "%00", "a%2fb", &"x".repeat(3000), "%F0%9F%98%80"] {
        let refused = is_no_token(send(&server.site(), "GET", &format!("/register/{id}"), Some(&fresh), None).await);
        answers.insert(refused.text);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(send(&server.site(), "POST", &uri, Some(&fresh), Some(&web())).await.status, 405);
    // No longer a client: neither it nor anything that it was given.
    let alice = server.person("alice").await;
    let client = mine.client();
    let tokens = alice.tokens(&client, "openid").await;
    let gone = send(&server.site(), "DELETE", &uri, Some(&fresh), None).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    is_no_token(send(&server.site(), "GET", &uri, Some(&fresh), None).await);
    is_no_token(send(&server.site(), "DELETE", &uri, Some(&fresh), None).await);
    assert_eq!(server.userinfo(&tokens.str("access_token")).await.status, 401);
    client.call("/introspect", &[("token", "x")]).await.refused(401, "invalid_client");
    assert!(alice.answer(&Request::of(&client)).await.is_err(), "no sign-in for a client that is gone");
    other.own("GET", None).await.ok();
    let actions = server.audit().await;
    for action in ["client.register", "client.update", "client.remove"] {
        assert!(actions.iter().any(|known| known == action), "{action}: {actions:?}");
    }
}

/// RFC 7592 §2.2, R-31.
async fn an_update_resets_what_it_leaves_out_and_keeps_ours(server: Server) {
    let server = open(&server).await;
    let full = web_with(json!({
        "client_uri": "https://app.test/", "contacts": ["a@app.test"], "scope": "openid", "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"],
    }));
    let mut made = Registered::new(&server, None, full).await;
    let secret = made.str("client_secret");
    // Ours, set by an operator and no privilege, stays.
    let admin = server.admin("admin:write").await;
    let path = format!("/clients/{}", made.str("client_id"));
    admin.patch(&path, json!({ "refresh_rotation": "strict" })).await.ok();
    let changed = made.put(web_with(json!({ "client_name": null, "client_secret": secret }))).await.ok();
    made.answer = changed.json();
    for name in ["client_name", "client_uri", "contacts"] {
        assert_eq!(made.answer.get(name), None, "{name}");
    }
    assert_eq!(made.answer["grant_types"], json!(["authorization_code"]));
    assert_eq!(
        (&made.answer["application_type"], &made.answer["scope"]),
        (&json!("web"), &json!("openid profile email offline_access"))
    );
    assert_eq!(made.answer.get("client_secret"), None, "it has its own");
    assert_eq!(admin.get(&path).await.ok().json()["refresh_rotation"], "strict");
    // What the request may not hold.
    for (name, value) in [
        ("client_id", json!("other")),
        ("client_id", json!(null)),
        ("client_secret", json!("chosen")),
        ("client_secret_expires_at", json!(0)),
        ("client_id_issued_at", json!(0)),
        ("registration_access_token", json!("x")),
        ("registration_client_uri", json!("https://app.test/")),
        ("redirect_uris", json!([])),
        ("redirect_uris", json!(["https://app.test/#x"])),
        ("logo_uri", json!("http://app.test/logo.png")),
        ("scope", json!("openid admin:read")),
    ] {
        let mut body = web_with(json!({ "client_id": made.str("client_id") }));
        body[name] = value;
        let refused = made.own("PUT", Some(&body)).await;
        assert_eq!(refused.status, 400, "{name}: {}", refused.text);
    }
    // A refusal leaves the token as it is. From public to confidential: there is a secret from now on.
    let public = made.put(web_with(json!({ "token_endpoint_auth_method": "none" }))).await.ok();
    assert_eq!(public.json().get("client_secret"), None);
    let public = Registered::new(&server, None, web_with(json!({ "token_endpoint_auth_method": "none" }))).await;
    let confidential = public.put(web()).await.ok().json();
    assert_eq!((confidential["client_secret"].as_str().unwrap().len(), &confidential["client_secret_expires_at"]), (43, &json!(0)));
    // Another redirect URI is another question to people.
    let mut moving = Registered::new(&server, None, web()).await;
    let alice = server.person("alice").await;
    alice.tokens(&moving.client(), "openid").await;
    moving.answer = moving.put(json!({ "redirect_uris": ["https://elsewhere.test/cb"] })).await.ok().json();
    let asked = Request::of(&moving.client()).with("prompt", "none");
    alice.answer(&asked).await.unwrap().refused("consent_required");
}

///
async fn the_management_token_dies_with_its_client(server: Server) {
    let server = open(&server).await;
    let admin = server.admin("admin:write").await;
    let made = Registered::new(&server, None, web()).await;
    let path = format!("/clients/{}", made.str("client_id"));
    admin.patch(&path, json!({ "enabled": false })).await.ok();
    let disabled = is_no_token(made.own("GET", None).await);
    assert!(server.explain(&disabled.trace_id()).await.happened.contains("disabled"));
    is_no_token(made.put(web()).await);
    is_no_token(made.own("DELETE", None).await);
    admin.patch(&path, json!({ "enabled": true })).await.ok();
    made.own("GET", None).await.ok();
    // Whoever gets the id once more is somebody else.
    assert_eq!(admin.delete(&path).await.status, 204);
    is_no_token(made.own("GET", None).await);
    assert_eq!(admin.put(&path, web()).await.status, 201);
    is_no_token(made.own("GET", None).await);
    is_no_token(made.own("DELETE", None).await);
}

async fn changes_at_once_leave_everybody_with_the_token_that_works(server: Server) {
    let server = open(&server).await;
    for _ in 0..3 {
        let made = Arc::new(Registered::new(&server, None, web()).await);
        let changes = (0..6).map(|number| {
            let made = Arc::clone(&made);
            tokio::spawn(async move { made.put(web_with(json!({ "client_name": format!("Number {number}") }))).await })
        });
        let answers: Vec<Answer> = join_all(changes).await.into_iter().map(Result::unwrap).collect();
        // Who tells two that ask at once from one that asks twice?
        let told: BTreeSet<(u16, String)> =
            answers.iter().map(|answer| (answer.status, answer.str("registration_access_token"))).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let (status, fresh) = told.into_iter().next().unwrap();
        assert_eq!(status, 200);
        let shown = send(&server.site(), "GET", &made.str("registration_client_uri"), Some(&fresh), None).await.ok();
        assert!(answers.iter().any(|answer| answer.str("client_name") == shown.str("client_name")));
        is_no_token(made.own("GET", None).await);
    }
}

/// RFC 7592 §3: the token may be another one after each update. Whoever never heard which has the one before.
async fn an_answer_that_was_lost_locks_nobody_out(server: Server) {
    let server = open(&server).await;
    let named = |name: &str| web_with(json!({ "client_name": name }));
    let made = Registered::new(&server, None, web()).await;
    let (uri, first) = (made.str("registration_client_uri"), made.str("registration_access_token"));
    let with = async |token: &str| send(&server.site(), "GET", &uri, Some(token), None).await;
    // The same request once more, another one, and a look: all are told what the first answer told.
    let second = made.put(named("One")).await.ok().str("registration_access_token");
    assert_ne!(second, first);
    for name in ["One", "Two"] {
        let again = made.put(named(name)).await.ok();
        assert_eq!((again.str("registration_access_token"), again.str("client_name")), (second.clone(), name.to_owned()));
    }
    assert_eq!(made.own("GET", None).await.ok().str("registration_access_token"), second);
    assert!(!server.dump().await.contains(&second));
    // Once it has arrived the one before is dead, for the client and for whoever stole it.
    assert_eq!(with(&second).await.ok().str("client_name"), "Two");
    for method in ["GET", "PUT", "DELETE"] {
        let mut body = named("Thief");
        body["client_id"] = json!(made.str("client_id"));
        is_no_token(made.own(method, (method == "PUT").then_some(&body)).await);
    }
    assert_eq!(with(&second).await.ok().str("client_name"), "Two");
    // A request that is refused is a use of it too.
    let mut body = named("Three");
    body["client_id"] = json!(made.str("client_id"));
    let third = send(&server.site(), "PUT", &uri, Some(&second), Some(&body)).await.ok().str("registration_access_token");
    assert_eq!(send(&server.site(), "PUT", &uri, Some(&third), Some(&json!({}))).await.status, 400);
    is_no_token(with(&second).await);
    is_no_token(with(&first).await);
    // Nor does it wait for ever.
    let fourth = send(&server.site(), "PUT", &uri, Some(&third), Some(&body)).await.ok().str("registration_access_token");
    server.wait(registration::RETRY - Duration::from_secs(1));
    assert_eq!(with(&third).await.ok().str("registration_access_token"), fourth);
    server.wait(Duration::from_secs(1));
    is_no_token(with(&third).await);
    with(&fourth).await.ok();
    // What an operator takes over has no token before it either.
    let fifth = send(&server.site(), "PUT", &uri, Some(&fourth), Some(&body)).await.ok().str("registration_access_token");
    let admin = server.admin("admin:write").await;
    admin.patch(&format!("/clients/{}", made.str("client_id")), json!({ "client_name": "Ours" })).await.ok();
    is_no_token(with(&fourth).await);
    is_no_token(with(&fifth).await);
    // And one may go without ever having heard.
    let other = Registered::new(&server, None, web()).await;
    other.put(named("Lost")).await.ok();
    assert_eq!(other.own("DELETE", None).await.status, 204);
    is_no_token(other.own("GET", None).await);
}

/// RFC 7591 §3.2.1: a secret is told once, to whoever got the answer.
async fn a_secret_that_was_lost_with_its_answer_is_told_again(server: Server) {
    let server = open(&server).await;
    let admin = server.admin("admin:write").await;
    let public = web_with(json!({ "token_endpoint_auth_method": "none" }));
    let made = Registered::new(&server, None, public).await;
    assert!(made.client().secret.is_none());
    let confidential = || web_with(json!({ "token_endpoint_auth_method": "client_secret_basic" }));
    let secret = made.put(confidential()).await.ok().str("client_secret");
    for again in [made.put(confidential()).await, made.own("GET", None).await] {
        assert_eq!(again.ok().str("client_secret"), secret);
    }
    assert!(!server.dump().await.contains(&secret));
    let client = Client { secret: Some(secret.clone()), ..made.client() };
    client.call("/introspect", &[("token", "x")]).await.ok();
    let secrets = format!("/clients/{}/secrets", made.str("client_id"));
    assert_eq!(admin.get(&secrets).await.ok().json()["items"].as_array().unwrap().len(), 1);
    // One that was ended since is not told, and never comes back.
    let other = admin.call("POST", &secrets, None).await;
    assert_eq!(other.status, 201, "{}", other.text);
    assert_eq!(admin.delete(&secrets).await.status, 204);
    let again = made.put(confidential()).await.ok().json();
    assert!(again.get("client_secret").is_none(), "{again}");
    client.call("/introspect", &[("token", "x")]).await.refused(401, "invalid_client");
}

async fn what_operators_keep_is_theirs(server: Server) {
    let server = open(&server).await;
    let admin = server.admin("admin:write").await;
    // A privilege that an operator gave is no ladder for who holds the token.
    for (name, value) in [
        ("first_party", json!(true)),
        ("introspection", json!("any")),
        ("require_pkce", json!(false)),
        ("claims", json!({ "groups": "groups" })),
        ("second_factor", json!("optional")),
    ] {
        let made = Registered::new(&server, None, web()).await;
        admin.patch(&format!("/clients/{}", made.str("client_id")), json!({ name: value })).await.ok();
        let refused = made.put(json!({ "redirect_uris": ["https://evil.test/cb"] })).await.refused(400, "invalid_client_metadata");
        assert!(refused.str("error_description").contains("operator"), "{}", refused.text);
        made.own("GET", None).await.ok();
    }
    // Nor is a scope.
    let made = Registered::new(&server, None, web()).await;
    admin.patch(&format!("/clients/{}", made.str("client_id")), json!({ "scope": "openid admin:read" })).await.ok();
    is_no_token(made.put(web_with(json!({ "scope": "openid admin:read" }))).await);
    // What a set-up file keeps.
    let made = Registered::new(&server, None, web()).await;
    let owned = Owned { object: Object::client(&made.str("client_id")), owner: "apps".to_owned(), secrets: true };
    let now = server.operator().now;
    let taken = server.app.db.transaction("own", move |tx| Box::pin(async move { owners::own_tx(tx, &owned, now).await }));
    taken.await.unwrap_or_else(|error: chancery::storage::StoreError| panic!("{error}"));
    for answer in [made.put(web()).await, made.own("DELETE", None).await] {
        let refused = answer.refused(400, "invalid_client_metadata");
        assert!(refused.text.contains("operators") && !refused.text.contains("apps"), "{}", refused.text);
    }
    server.wait(DAY * 31);
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    made.own("GET", None).await.ok();
}

/// each change stays in the audit log, and every replica forgets what it knows of clients.
async fn a_client_changes_itself_so_often_and_no_more(server: Server) {
    let server = open(&server).await;
    let admin = server.admin("admin:read").await;
    let mut made = Registered::new(&server, None, web()).await;
    let path = format!("/clients/{}", made.str("client_id"));
    let events = format!("/audit-events?action=client.update&target={}", made.str("client_id"));
    // Strangers do not use up what it has.
    for _ in 0..25 {
        let stranger = web_with(json!({ "client_id": made.str("client_id") }));
        let uri = made.str("registration_client_uri");
        is_no_token(send(&server.site(), "PUT", &uri, Some("nonsense"), Some(&stranger)).await);
    }
    // Nothing new: another token, and nothing else is written.
    let seen = admin.get(&path).await.ok();
    let again = made.put(web()).await.ok().json();
    let before = std::mem::replace(&mut made.answer, again)["registration_access_token"].as_str().unwrap().to_owned();
    made.own("GET", None).await.ok();
    is_no_token(send(&server.site(), "GET", &made.str("registration_client_uri"), Some(&before), None).await);
    assert_eq!(admin.get(&path).await.ok().header("etag"), seen.header("etag"));
    assert_eq!(admin.get(&events).await.ok().json()["items"], json!([]));
    // Of a change only what is different, and keys by their thumbprints.
    let key = jwks(&[&AppKey::new(Alg::ES256)]);
    made.answer = made.put(web_with(json!({ "client_name": "Other", "jwks": key }))).await.ok().json();
    let written = admin.get(&events).await.ok().json()["items"][0].clone();
    assert_eq!(written["before"], json!({ "client_name": "Self-made" }));
    assert_eq!(written["after"]["client_name"], "Other");
    assert_eq!(written["after"]["jwks"]["keys"][0].as_str().unwrap().len(), 43, "{written}");
    assert_eq!(written["after"].as_object().unwrap().len(), 2, "{written}");
    for number in 0..18 {
        made.answer = made.put(web_with(json!({ "client_name": format!("Number {number}") }))).await.ok().json();
    }
    let refused = made.put(web()).await.refused(429, "temporarily_unavailable");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(refused.str("error_description").contains("changed itself"), "{}", refused.text);
    assert!(server.explain(&refused.trace_id()).await.happened.contains("changed itself"));
    // The token is as it was; others have a count of their own, and it may again after an hour.
    made.own("GET", None).await.ok();
    Registered::new(&server, None, web()).await.put(web()).await.ok();
    server.wait(Duration::from_secs(3600));
    made.put(web()).await.ok();
}

/// whoever holds the token does not undo what an operator took away.
async fn what_an_operator_changed_stays_changed(server: Server) {
    let server = open(&server).await;
    let admin = server.admin("admin:write").await;
    let wide = json!({ "redirect_uris": ["https://app.test/callback", "https://old.test/callback"] });
    for narrower in [json!({ "redirect_uris": ["https://app.test/callback"] }), json!({ "scope": "openid" })] {
        let made = Registered::new(&server, None, wide.clone()).await;
        let path = format!("/clients/{}", made.str("client_id"));
        // What the client could not set anyway leaves it its right, and so does turning it off and on.
        for ours in [json!({ "refresh_rotation": "strict" }), json!({ "enabled": false }), json!({ "enabled": true })] {
            admin.patch(&path, ours).await.ok();
        }
        made.own("GET", None).await.ok();
        admin.patch(&path, narrower.clone()).await.ok();
        let refused = is_no_token(made.put(wide.clone()).await);
        assert!(server.explain(&refused.trace_id()).await.happened.contains("operator"));
        is_no_token(made.own("GET", None).await);
        is_no_token(made.own("DELETE", None).await);
        let now = admin.get(&path).await.ok().json();
        for (name, value) in narrower.as_object().unwrap() {
            assert_eq!(now[name], *value);
        }
        let events = admin.get(&format!("/audit-events?action=client.update&target={}", made.str("client_id"))).await.ok().json();
        let ended =
            events["items"].as_array().unwrap().iter().filter(|event| event["after"]["registration_access_token"] == "ended");
        assert_eq!(ended.count(), 1, "{events}");
    }
}

async fn another_kind_of_subject_is_another_question(server: Server) {
    let server = open(&server).await;
    let mut made = Registered::new(&server, None, web_with(json!({ "subject_type": "pairwise" }))).await;
    let alice = server.person("alice").await;
    alice.tokens(&made.client(), "openid").await;
    let silent = |made: &Registered| Request::of(&made.client()).with("prompt", "none");
    alice.answer(&silent(&made)).await.unwrap().code();
    made.answer = made.put(web()).await.ok().json();
    alice.answer(&silent(&made)).await.unwrap().refused("consent_required");
}
