//! Back-channel logout: OpenID Connect Back-Channel Logout 1.0, openid.md 96 and 97. What is told by which end is in `storage::logouts`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chancery::config::Allowed;
use serde_json::{Value, json};

use crate::harness::receiver::{Answers, Receiver};
use crate::harness::{Backend, Client, Person, Recipient, Server, Setup, jwt, on_both};

on_both![
    every_client_of_the_session_gets_its_own_token,
    nobody_waits_for_a_receiver,
    what_failed_is_tried_again_and_what_was_refused_is_not,
    every_end_reaches_the_clients,
    two_servers_deliver_once,
    a_logout_token_is_good_for_nothing_else,
    who_has_id_tokens_encrypted_gets_no_other_logout_token,
];

/// A developer's machine, where receivers may be on loopback.
async fn on_loopback(backend: Backend) -> Server {
    Setup::on(backend).config(|config| config.outbound.allow = vec![Allowed::Network("127.0.0.0/8".parse().unwrap())]).start().await
}

async fn app(server: &Server, receiver: &Receiver, more: Value) -> Client {
    let mut metadata = more;
    metadata["backchannel_logout_uri"] = json!(receiver.uri);
    metadata["backchannel_logout_session_required"] = json!(true);
    server.client(metadata).await
}

async fn sign_out(person: &Person) {
    let page = person.browser.get("/logout").await;
    let done = person.browser.submit(&page, &[("decision", "allow")]).await;
    assert_eq!(done.status, 200, "{}", done.body);
}

/// Waits for something that happens at once.
async fn soon(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn nothing_waits(server: &Server) {
    soon("something still waits", async || chancery::storage::logouts::waiting(&server.app.db).await.unwrap().is_empty()).await;
}

async fn every_client_of_the_session_gets_its_own_token(server: Server) {
    let server = on_loopback(server.backend).await;
    let alice = server.person("alice").await;
    let (one, two, silent) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    two.answers(&[Answers::Status(204)]);
    let rs256 = app(&server, &one, json!({})).await;
    let es256 = app(&server, &two, json!({ "id_token_signed_response_alg": "ES256" })).await;
    let elsewhere = app(&server, &silent, json!({})).await;
    server.person("bob").await.tokens(&elsewhere, "openid").await;
    let hints = [alice.tokens(&rs256, "openid").await.str("id_token"), alice.tokens(&es256, "openid").await.str("id_token")];
    // The same client once more is the same client.
    alice.tokens(&rs256, "openid").await;
    // Long after every grant and token of the session is over.
    server.wait(Duration::from_secs(7200));
    let answer = alice.browser.get(format!("/logout?id_token_hint={}", hints[0])).await;
    assert_eq!(answer.status, 200);
    for (receiver, client, hint, alg) in [(&one, &rs256, &hints[0], "RS256"), (&two, &es256, &hints[1], "ES256")] {
        let received = receiver.wait_for(1).await.remove(0);
        assert_eq!(received.headers["content-type"], "application/x-www-form-urlencoded");
        assert!(received.headers.get("cookie").is_none() && received.headers.get("authorization").is_none());
        let token = received.token();
        server.verify_signature(&token).await;
        let (header, claims) = jwt(&token);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("logout+jwt"), &json!(alg)));
        let (_, id) = jwt(hint);
        for same in ["iss", "sub", "aud", "sid"] {
            assert_eq!(claims[same], id[same], "{same}");
        }
        assert_eq!(claims["aud"], json!(client.client_id));
        assert_eq!(claims["events"], json!({ "http://schemas.openid.net/event/backchannel-logout": {} }));
        let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!(iat == server.clock_seconds() && (1..=120).contains(&(exp - iat)), "{claims}");
        assert!(claims["jti"].as_str().unwrap().len() >= 22);
        let names: BTreeSet<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["iss", "sub", "aud", "iat", "exp", "jti", "events", "sid"].into());
    }
    assert_ne!(one.received()[0].claims()["jti"], two.received()[0].claims()["jti"]);
    nothing_waits(&server).await;
    assert!(silent.received().is_empty(), "bob is still signed in");
    assert_eq!((one.received().len(), two.received().len()), (1, 1));
}

async fn nobody_waits_for_a_receiver(server: Server) {
    let server = on_loopback(server.backend).await;
    let (stuck, well) = (Receiver::start().await, Receiver::start().await);
    stuck.answers(&[Answers::Never; 200]);
    let stuck_app = app(&server, &stuck, json!({ "first_party": true })).await;
    let well_app = app(&server, &well, json!({ "first_party": true })).await;
    // A whole company signs out of what hangs.
    let alice = server.person("alice").await;
    for _ in 0..15 {
        alice.browser.forget_cookies();
        alice.visit(&stuck_app, "openid").await;
    }
    server.disable_user(&alice).await;
    soon("nothing began", async || !stuck.received().is_empty()).await;
    // Meanwhile somebody signs out of it and of what is well; the quickest of several: a busy machine adds what it likes to one.
    let (mut waited, mut came) = (Duration::MAX, Duration::MAX);
    for round in 1..=3 {
        let bob = server.person("bob").await;
        bob.visit(&stuck_app, "openid").await;
        bob.visit(&well_app, "openid").await;
        let begun = Instant::now();
        sign_out(&bob).await;
        waited = waited.min(begun.elapsed());
        let told = well.wait_for(round).await.remove(round - 1);
        came = came.min(told.at.duration_since(begun));
        if waited.max(came) < Duration::from_secs(2) {
            break;
        }
    }
    assert!(waited < Duration::from_secs(2), "bob waited {waited:?}");
    assert!(came < Duration::from_secs(2), "it came after {came:?}");
    // So many at once at one host, however many there are.
    assert!(stuck.received().len() <= 8, "{}", stuck.received().len());
}

async fn what_failed_is_tried_again_and_what_was_refused_is_not(server: Server) {
    let server = on_loopback(server.backend).await;
    let alice = server.person("alice").await;
    let (ill, strict) = (Receiver::start().await, Receiver::start().await);
    ill.answers(&[Answers::Status(503), Answers::Status(302)]);
    strict.answers(&[Answers::Status(400)]);
    let (ill_app, strict_app) = (app(&server, &ill, json!({})).await, app(&server, &strict, json!({})).await);
    alice.visit(&ill_app, "openid").await;
    alice.visit(&strict_app, "openid").await;
    sign_out(&alice).await;
    ill.wait_for(1).await;
    strict.wait_for(1).await;
    for (attempt, pause) in [(2, 5), (3, 15)] {
        let written_down = async || {
            chancery::storage::logouts::waiting(&server.app.db).await.unwrap()[0].1.seconds() == server.clock_seconds() + pause
        };
        soon("the outcome was not written down", written_down).await;
        server.wait(Duration::from_secs(u64::try_from(pause).unwrap()));
        ill.wait_for(attempt).await;
    }
    nothing_waits(&server).await;
    let jtis: BTreeSet<String> = ill.received().iter().map(|received| received.claims()["jti"].to_string()).collect();
    assert_eq!(jtis.len(), 3, "each attempt is signed anew");
    server.wait(Duration::from_secs(86_400));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!((ill.received().len(), strict.received().len()), (3, 1));
    let given_up: Vec<_> = server.audit().await.into_iter().filter(|action| action == "logout.undelivered").collect();
    assert_eq!(given_up.len(), 1, "the one that was refused");
    // Each attempt that came to nothing is explained, and the last one by the audit event's trace.
    let events = chancery::storage::audit::list(&server.app.db, 100, None).await.unwrap();
    let trace_id = events.into_iter().find(|event| event.action == "logout.undelivered").unwrap().trace_id.unwrap();
    let explained = async || chancery::service::decisions::find(&server.app.db, &trace_id).await.unwrap().is_some();
    soon("no decision was recorded", explained).await;
    let recorded =
        server.app.db.all("SELECT client_id FROM decisions WHERE rule = 'logout-undelivered'", chancery::args![]).await.unwrap();
    let of = |app: &Client| recorded.iter().filter(|row| row.get::<String>("client_id").unwrap() == app.client_id).count();
    assert_eq!((of(&ill_app), of(&strict_app)), (2, 1));
}

async fn every_end_reaches_the_clients(server: Server) {
    let server = on_loopback(server.backend).await;
    let (one, two) = (Receiver::start().await, Receiver::start().await);
    let (first, second) = (app(&server, &one, json!({})).await, app(&server, &two, json!({})).await);
    let admin = server.admin("admin:write").await;
    let mut expected = (0, 0);
    for end in ["withdraw", "session", "account session", "everywhere", "grant", "disable", "password", "remove"] {
        let alice = server.person("alice").await;
        let tokens = alice.tokens(&first, "openid").await;
        alice.visit(&second, "openid").await;
        let found = admin.get(&format!("/users?username={}", alice.username)).await.ok().json();
        let user = format!("/users/{}", found["items"][0]["id"].as_str().unwrap());
        let page = alice.browser.get("/account").await;
        let own =
            page.form().buttons.iter().find(|button| button.0 == "end_session").map(|button| button.1.clone()).unwrap_or_default();
        match end {
            "withdraw" => drop(alice.browser.submit(&page, &[("withdraw", &first.client_id)]).await),
            "account session" => drop(alice.browser.submit(&page, &[("end_session", &own)]).await),
            "everywhere" => drop(alice.browser.submit(&page, &[("sign_out", "everywhere")]).await),
            "session" => {
                let sessions = admin.get(&format!("{user}/sessions")).await.ok().json();
                admin.delete(&format!("{user}/sessions/{}", sessions["items"][0]["sid"].as_str().unwrap())).await;
            }
            "grant" => {
                let grants = admin.get(&format!("{user}/grants")).await.ok().json();
                let of_first = |grant: &&Value| grant["client_id"] == json!(first.client_id);
                let grant = grants["items"].as_array().unwrap().iter().find(of_first).unwrap()["id"].clone();
                admin.delete(&format!("{user}/grants/{}", grant.as_str().unwrap())).await;
            }
            "disable" => server.disable_user(&alice).await,
            "password" => server.set_password(&alice, "another long passphrase").await,
            "remove" => server.remove_user(&alice).await,
            _ => unreachable!(),
        }
        let only_first = ["withdraw", "grant"].contains(&end);
        expected = (expected.0 + 1, expected.1 + usize::from(!only_first));
        let told = one.wait_for(expected.0).await;
        assert_eq!(told.last().unwrap().claims()["sub"], json!(alice.sub), "{end}");
        two.wait_for(expected.1).await;
        client_is_out(&first, &tokens.str("refresh_token")).await;
    }
    // A client that gives its own token back knows.
    let bob = server.person("bob").await;
    let tokens = bob.tokens(&first, "openid").await;
    first.revoke(&tokens.str("refresh_token")).await.ok();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(one.received().len(), expected.0);
}

async fn client_is_out(client: &Client, refresh_token: &str) {
    client.refresh(refresh_token).await.refused(400, "invalid_grant");
}

async fn two_servers_deliver_once(server: Server) {
    let server = on_loopback(server.backend).await;
    let _replica = server.replica().await;
    let receiver = Receiver::start().await;
    let client = app(&server, &receiver, json!({ "first_party": true })).await;
    let alice = server.person("alice").await;
    for _ in 0..12 {
        alice.browser.forget_cookies();
        alice.visit(&client, "openid").await;
    }
    server.set_password(&alice, "another long passphrase").await;
    receiver.wait_for(12).await;
    nothing_waits(&server).await;
    let sids: BTreeSet<String> = receiver.wait_for(12).await.iter().map(|received| received.claims()["sid"].to_string()).collect();
    assert_eq!(sids.len(), 12, "each session once");
}

///
async fn a_logout_token_is_good_for_nothing_else(server: Server) {
    let server = on_loopback(server.backend).await;
    let alice = server.person("alice").await;
    let receiver = Receiver::start().await;
    let client = app(&server, &receiver, json!({ "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    alice.visit(&client, "openid").await;
    sign_out(&alice).await;
    let token = receiver.wait_for(1).await[0].token();
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("id_token_hint", token.as_str()), ("post_logout_redirect_uri", "https://app.test/bye")])
        .finish();
    let page = alice.browser.get(format!("/logout?{query}")).await;
    assert_eq!((page.status, page.location()), (400, None));
    assert_eq!(server.userinfo(&token).await.status, 401);
    assert!(!client.is_active(&token).await);
}

/// §2.6, step 1.
async fn who_has_id_tokens_encrypted_gets_no_other_logout_token(server: Server) {
    let server = on_loopback(server.backend).await;
    let alice = server.person("alice").await;
    let (receiver, recipient) = (Receiver::start().await, Recipient::new());
    let sealed = json!({ "jwks": recipient.jwks(), "id_token_encrypted_response_alg": "ECDH-ES" });
    let client = app(&server, &receiver, sealed).await;
    let (_, id_token) = recipient.open(&alice.tokens(&client, "openid").await.str("id_token"));
    sign_out(&alice).await;
    let (header, logout_token) = recipient.open(&receiver.wait_for(1).await[0].token());
    assert_eq!(header["cty"], "JWT");
    server.verify_signature(&logout_token).await;
    assert_eq!(jwt(&logout_token).0["typ"], "logout+jwt");
    assert_eq!(jwt(&logout_token).1["sid"], jwt(&id_token).1["sid"]);
}
