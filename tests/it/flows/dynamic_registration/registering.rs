//! Who registers, with what, and how often (RFC 7591, OpenID Connect Dynamic Client Registration): openid.md I, security.md R-61, R-62 and R-77.

use std::collections::BTreeSet;
use std::time::Duration;

use chancery::config::{Allowed, RegistrationMode};
use chancery::jose::Alg;
use chancery::oauth::client::{ClientMetadata, GrantType};
use chancery::oauth::registration::is_registered_member;
use chancery::storage::keys;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Registered, by_token, is_no_token, open, register, send, token, web, web_with, with};
use crate::harness::keyring::{ASSERTION_TYPE, AppKey, Host, assertion_claims, jwks};
use crate::harness::{Answer, Request, Server, on_both};

on_both![
    who_has_a_token_registers_and_signs_people_in,
    an_editor_registers_openly_and_comes_back_on_any_port,
    without_a_good_token_nobody_registers,
    the_limits_of_a_token_hold,
    what_cannot_be_registered_is_refused_by_its_own_error,
    every_address_passes_the_validator,
    only_what_the_registry_names_can_be_set,
    every_member_that_a_client_may_set_is_kept_and_told,
    a_client_registers_with_a_key_of_its_own,
    fifty_registrations_with_a_token_for_three_give_three,
    what_is_open_to_everybody_has_bounds,
    a_host_that_nobody_proved_is_no_sector,
    a_registration_that_is_refused_orders_no_keys,
];

/// openid.md 84.
async fn who_has_a_token_registers_and_signs_people_in(server: Server) {
    let server = by_token(&server).await;
    let metadata = server.metadata().await;
    assert_eq!(metadata["registration_endpoint"], format!("{}/register", server.issuer));
    let initial = token(&server, json!({ "registrations": 2 })).await;
    let body = web_with(json!({
        "grant_types": ["authorization_code", "refresh_token"], "contacts": ["dev@app.test"], "client_name#de": "Selbstgemacht",
        "request_uris": ["https://app.test/request"], "nobody_knows_this": [1, { "a": 2 }],
    }));
    let answer = register(&server, Some(&initial), body).await;
    assert_eq!((answer.status, answer.header("cache-control")), (201, "no-store"), "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    let registered = Registered { site: server.site(), answer: answer.json() };
    let expected = json!({
        "client_id": registered.str("client_id"),
        "client_id_issued_at": server.clock_seconds(),
        "client_secret": registered.str("client_secret"),
        "client_secret_expires_at": 0,
        "registration_access_token": registered.str("registration_access_token"),
        "registration_client_uri": format!("{}/register/{}", server.issuer, registered.str("client_id")),
        "client_name": "Self-made",
        "redirect_uris": ["https://app.test/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "application_type": "web",
        "contacts": ["dev@app.test"],
        "scope": "openid profile email offline_access",
        "id_token_signed_response_alg": "RS256",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(registered.answer[name], *value, "{name}");
    }
    assert!(registered.answer.as_object().unwrap().values().all(|value| !value.is_null()), "{}", registered.answer);
    // Of the three secrets the database holds none.
    let dump = server.dump().await;
    for secret in [&initial, &registered.str("client_secret"), &registered.str("registration_access_token")] {
        assert!(!dump.contains(secret));
    }
    let alice = server.person("alice").await;
    let client = registered.client();
    let tokens = alice.tokens(&client, "openid email offline_access").await;
    assert_eq!(server.userinfo(&tokens.str("access_token")).await.ok().json()["sub"], alice.sub);
    client.refresh(&tokens.str("refresh_token")).await.ok();
    // A browser's application has no secret to keep.
    let public = Registered::new(&server, Some(&initial), web_with(json!({ "token_endpoint_auth_method": "none" }))).await;
    assert_eq!((public.answer.get("client_secret"), public.answer.get("client_secret_expires_at")), (None, None));
    alice.tokens(&public.client(), "openid").await;
}

/// As an editor that speaks MCP registers itself: natively, without a secret, with every grant that discovery names and it knows.
async fn an_editor_registers_openly_and_comes_back_on_any_port(server: Server) {
    let server = open(&server).await;
    let editor = Registered::new(&server, None, json!({
        "client_name": "Editor", "client_uri": "https://editor.test", "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"], "token_endpoint_auth_method": "none",
        "redirect_uris": ["https://editor.test/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/", "cursor://anysphere.test/callback"],
    }))
    .await;
    assert_eq!(editor.answer.get("client_secret"), None);
    let alice = server.person("alice").await;
    let mut client = editor.client();
    for uri in ["http://127.0.0.1:4711/", "https://editor.test/redirect", "cursor://anysphere.test/callback"] {
        client.redirect_uri = uri.to_owned();
        let back = alice.answer(&Request::of(&client)).await.unwrap();
        client.redeem(back.code(), &back.verifier).await.ok();
    }
}

async fn without_a_good_token_nobody_registers(server: Server) {
    let server = by_token(&server).await;
    let admin = server.admin("admin:write").await;
    // RFC 6750 §3.1: who sends none is told what is needed, and nothing else.
    let bare = is_no_token(register(&server, None, web()).await);
    assert!(!bare.header("www-authenticate").contains("error="), "{}", bare.header("www-authenticate"));
    let spent = token(&server, json!({})).await;
    Registered::new(&server, Some(&spent), web()).await;
    let removed = admin.post("/initial-access-tokens", json!({})).await;
    assert_eq!(admin.delete(&format!("/initial-access-tokens/{}", removed.str("id"))).await.status, 204);
    let old = token(&server, json!({ "expires_in": 60 })).await;
    server.wait(Duration::from_secs(60));
    let access_token = admin.token.clone().unwrap();
    let mut answers = BTreeSet::new();
    for (wrong, cause) in [
        (spent.as_str(), "all were used"),
        (&removed.str("token"), "was removed"),
        (&old, "expired"),
        (&access_token, "none that was made here"),
        ("nonsense", "none that was made here"),
    ] {
        let refused = is_no_token(register(&server, Some(wrong), web()).await);
        let story = server.explain(&refused.trace_id()).await;
        assert!(story.happened.contains(cause), "{story:?}");
        answers.insert(refused.text);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    // In the URL it is seen by everybody.
    let good = token(&server, json!({})).await;
    send(&server.site(), "POST", &format!("/register?access_token={good}"), None, Some(&web()))
        .await
        .refused(400, "invalid_request");
    // What is refused costs no registration.
    register(&server, Some(&good), json!({ "redirect_uris": ["https://app.test/#x"] })).await.refused(400, "invalid_redirect_uri");
    Registered::new(&server, Some(&good), web()).await;
}

/// R-62.
async fn the_limits_of_a_token_hold(server: Server) {
    let server = by_token(&server).await;
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }] })).await;
    // Without limits of its own: persons' grants and OpenID Connect's scopes.
    let usual = token(&server, json!({ "registrations": 100 })).await;
    for (members, member) in [
        (json!({ "grant_types": ["client_credentials"] }), "grant_types"),
        (json!({ "grant_types": ["authorization_code", "client_credentials"] }), "grant_types"),
        (json!({ "scope": "openid orders:read" }), "scope"),
        (json!({ "scope": "openid admin:read" }), "scope"),
        (json!({ "scope": "admin:write" }), "scope"),
    ] {
        let refused = register(&server, Some(&usual), web_with(members.clone())).await.refused(400, "invalid_client_metadata");
        assert!(refused.str("error_description").contains(&format!("member {member} ")), "{members}: {}", refused.text);
    }
    let machine =
        token(&server, json!({ "registrations": 9, "grant_types": ["client_credentials"], "scopes": ["orders:read"] })).await;
    let body = json!({ "grant_types": ["client_credentials"], "scope": "orders:read" });
    let made = Registered::new(&server, Some(&machine), body.clone()).await;
    assert_eq!(made.answer["response_types"], json!([]));
    let issued = made.client().token(&[("grant_type", "client_credentials")]).await.ok();
    assert_eq!(issued.str("scope"), "orders:read");
    register(&server, Some(&machine), web()).await.refused(400, "invalid_client_metadata");
    register(&server, Some(&machine), json!({ "grant_types": ["client_credentials"], "scope": "openid" }))
        .await
        .refused(400, "invalid_client_metadata");
    // The limits stay with the client: it cannot change itself out of them, even after the token is gone.
    let admin = server.admin("admin:write").await;
    let id = admin.get("/initial-access-tokens").await.json()["items"][1]["id"].as_str().unwrap().to_owned();
    assert_eq!(admin.delete(&format!("/initial-access-tokens/{id}")).await.status, 204);
    for more in [json!({ "grant_types": ["client_credentials"], "scope": "orders:read openid" }), web()] {
        made.put(more).await.refused(400, "invalid_client_metadata");
    }
    let changed = made.put(body).await.ok();
    assert_eq!(changed.json()["scope"], "orders:read");
}

/// openid.md 87 and 88, R-15.
async fn what_cannot_be_registered_is_refused_by_its_own_error(server: Server) {
    let server = open(&server).await;
    for bad in [
        "https://app.test/cb#fragment",
        "http://app.test/cb",
        "https://user@app.test/cb",
        "https://app.test/../cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "/cb",
        "",
    ] {
        register(&server, None, json!({ "redirect_uris": [bad] })).await.refused(400, "invalid_redirect_uri");
    }
    register(&server, None, json!({ "redirect_uris": "https://app.test/cb" })).await.refused(400, "invalid_redirect_uri");
    register(&server, None, json!({})).await.refused(400, "invalid_redirect_uri");
    // A minute has a number of records for each rule.
    server.wait(Duration::from_secs(61));
    for (name, value) in [
        ("initiate_login_uri", json!("http://app.test/login")),
        ("sector_identifier_uri", json!("https://app.test/sector.json")),
        ("token_endpoint_auth_method", json!("client_secret_jwt")),
        ("grant_types", json!(["implicit"])),
        ("grant_types", json!(["refresh_token"])),
        ("response_types", json!(["code id_token"])),
        ("client_name", json!("Pay\u{202e}lap")),
        ("client_name", json!(1)),
        ("contacts", json!("dev@app.test")),
        ("id_token_signed_response_alg", json!("none")),
        ("id_token_signed_response_alg", json!("HS256")),
        ("default_max_age", json!("1h")),
        ("scope", json!(["openid"])),
    ] {
        let refused = register(&server, None, web_with(json!({ name: value }))).await.refused(400, "invalid_client_metadata");
        let description = refused.str("error_description");
        assert!(description.contains(name), "{name}: {description}");
        let story = server.explain(&refused.trace_id()).await;
        assert!(story.happened.contains(name), "{story:?}");
    }
    register(&server, None, web_with(json!({ "software_statement": "eyJhbGciOiJub25lIn0.e30." })))
        .await
        .refused(400, "invalid_software_statement");
    // Not JSON, not one object, a member twice, nested too deeply, too large.
    let url = server.site().url("/register");
    let raw = async |kind: &str, body: String| {
        let request = server.site().request(Method::POST, &url).header("content-type", kind).body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    let deep = format!("{{\"jwks\":{}{}}}", "[".repeat(100), "]".repeat(100));
    for body in ["", "[]", "null", "{", r#"{"client_name":"a","client_name":"b"}"#, deep.as_str()] {
        raw("application/json", body.to_owned()).await.refused(400, "invalid_client_metadata");
    }
    // Each member within its limits, and together more than a row holds.
    let many: Vec<String> = (0..95).map(|number| format!("https://app.test/{number}/{}", "x".repeat(640))).collect();
    register(&server, None, json!({ "redirect_uris": many })).await.refused(400, "invalid_client_metadata");
    raw("application/x-www-form-urlencoded", "redirect_uris=x".to_owned()).await.refused(415, "invalid_request");
    raw("application/json", format!("{{\"a\":\"{}\"}}", "x".repeat(70_000))).await.refused(413, "invalid_request");
    assert_eq!(send(&server.site(), "GET", "/register", None, None).await.status, 405);
    assert_eq!(server.audit().await.iter().filter(|action| *action == "client.register").count(), 0);
}

/// R-61: every member that is an address, found by the schema, so that a new one cannot be forgotten.
async fn every_address_passes_the_validator(server: Server) {
    let server = open(&server).await;
    let schema = serde_json::to_value(schemars::schema_for!(ClientMetadata)).unwrap();
    let members = schema["properties"].as_object().unwrap();
    let addresses: Vec<&String> =
        members.keys().filter(|name| ["_uri", "_uris", "_url", "_endpoint"].iter().any(|end| name.ends_with(end))).collect();
    assert!(addresses.len() >= 7, "{addresses:?}");
    for name in addresses {
        let many = name.ends_with('s');
        let value = |address: &str| if many { json!([address]) } else { json!(address) };
        for bad in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "vbscript:x",
            "blob:https://app.test/x",
            "file:///etc/passwd",
            "http://app.test/",
            "https://user@app.test/",
            "https://user:password@app.test/",
            "https://app.test\\@evil.test/",
            "https:app.test",
            "https:///app.test",
            " https://app.test/",
            "https://app.test/\n",
            "https://app.test/\u{202e}",
            "//app.test/",
            "/app",
            "",
        ] {
            let answer = register(&server, None, web_with(json!({ name: value(bad) }))).await;
            assert_eq!(answer.status, 400, "{name}: {bad:?} was registered: {}", answer.text);
            assert!(["invalid_redirect_uri", "invalid_client_metadata"].contains(&answer.str("error").as_str()));
        }
        // A fragment means something to a browser that follows a link, and nothing to anybody else.
        let followed = ["client_uri", "logo_uri", "policy_uri", "tos_uri", "initiate_login_uri"].contains(&name.as_str());
        let fragment = register(&server, None, web_with(json!({ name: value("https://app.test/x#y") }))).await;
        assert!(followed || fragment.status == 400, "{name}: {}", fragment.text);
    }
}

/// R-62.
async fn only_what_the_registry_names_can_be_set(server: Server) {
    let server = open(&server).await;
    let ours = json!({
        "first_party": true, "introspection": "any", "require_pkce": false, "profile": "fapi2", "refresh_rotation": "none",
        "refresh_recovery": 86_400, "claims": { "groups": "groups" }, "second_factor": "optional", "enabled": false,
        "client_id": "admin", "client_secret": "chosen", "client_id_issued_at": 1, "secrets": [], "tokens_not_before": null,
        "registered": { "address": "" }, "owner": "setup", "registration_access_token": "chosen", "metadata_version": 7,
    });
    let made = Registered::new(&server, None, web_with(ours.clone())).await;
    assert_ne!(made.str("client_id"), "admin");
    assert_ne!(made.str("client_secret"), "chosen");
    assert_ne!(made.str("registration_access_token"), "chosen");
    let shown = server.admin("admin:read").await.get(&format!("/clients/{}", made.str("client_id"))).await.ok().json();
    let usual = server.admin("admin:write").await.post("/clients", web()).await.json();
    for (name, value) in ours.as_object().unwrap() {
        let set = ["client_id", "client_secret", "client_id_issued_at", "secrets", "registered", "registration_access_token"];
        if !set.contains(&name.as_str()) {
            assert_eq!(shown[name], usual[name], "{name}");
            assert!(shown[name].is_null() || shown[name] != *value, "{name}");
            assert_eq!(made.answer[name], Value::Null, "{name} is not the client's to see");
        }
    }
    // By an update neither.
    let mut again = web_with(ours);
    for name in ["client_id", "client_secret", "client_id_issued_at", "registration_access_token"] {
        again.as_object_mut().unwrap().remove(name);
    }
    made.put(again).await.ok();
    let after = server.admin("admin:read").await.get(&format!("/clients/{}", made.str("client_id"))).await.ok().json();
    assert_eq!(
        (&after["first_party"], &after["introspection"], &after["require_pkce"]),
        (&json!(false), &json!("own"), &json!(true))
    );
    assert_eq!(after["enabled"], true);
}

/// openid.md 91: all at once, found by the schema. A new member needs a value here.
async fn every_member_that_a_client_may_set_is_kept_and_told(server: Server) {
    let server = open(&server).await;
    let values = json!({
        "application_type": "native",
        "backchannel_logout_session_required": true,
        "backchannel_logout_uri": "https://app.test/backchannel",
        "client_name": "All of it",
        "client_uri": "https://app.test/",
        "contacts": ["dev@app.test"],
        "default_acr_values": ["urn:chancery:acr:mfa"],
        "default_max_age": 3600,
        "frontchannel_logout_session_required": true,
        "frontchannel_logout_uri": "https://app.test/frontchannel",
        "grant_types": ["authorization_code", "refresh_token"],
        "id_token_encrypted_response_alg": "ECDH-ES",
        "id_token_encrypted_response_enc": "A256GCM",
        "id_token_signed_response_alg": "ES256",
        "initiate_login_uri": "https://app.test/login",
        "jwks": { "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "one", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }] },
        "logo_uri": "https://app.test/logo.png",
        "policy_uri": "https://app.test/privacy",
        "post_logout_redirect_uris": ["https://app.test/bye"],
        "redirect_uris": ["https://app.test/callback", "https://app.test/other"],
        "request_object_signing_alg": "ES256",
        "require_auth_time": true,
        "require_signed_request_object": false,
        "response_types": ["code"],
        "scope": "openid email",
        "software_id": "4NRB1-0XZABZI9E6-5SM3R",
        "software_version": "2.1",
        "subject_type": "pairwise",
        "token_endpoint_auth_method": "client_secret_post",
        "tos_uri": "https://app.test/terms",
        "userinfo_encrypted_response_alg": "ECDH-ES",
        "userinfo_encrypted_response_enc": "A128GCM",
        "userinfo_signed_response_alg": "ES256",
    });
    // What goes with another value of these alone is shown by the tests of what it is for.
    let elsewhere = ["jwks_uri", "token_endpoint_auth_signing_alg"];
    let schema = serde_json::to_value(schemars::schema_for!(ClientMetadata)).unwrap();
    let mut body = json!({});
    for name in schema["properties"].as_object().unwrap().keys() {
        if is_registered_member(name) && !elsewhere.contains(&name.as_str()) {
            body[name] = values.get(name).unwrap_or_else(|| panic!("{name} needs a value here")).clone();
        }
    }
    let made = Registered::new(&server, None, body.clone()).await;
    let shown = made.own("GET", None).await.ok().json();
    for (name, value) in body.as_object().unwrap() {
        let told =
            |document: &Value| if name == "jwks" { document[name]["keys"][0]["kid"].clone() } else { document[name].clone() };
        let value = if name == "jwks" { &json!("one") } else { value };
        // A default may be left out.
        let fits = |told: Value| told == *value || (told.is_null() && *value == json!(false));
        assert!(fits(told(&made.answer)) && fits(told(&shown)), "{name}: {} {shown}", made.answer);
    }
    let again = made.put(body).await.ok().json();
    assert_eq!((&again["software_id"], &again["jwks"]), (&shown["software_id"], &shown["jwks"]));
}

/// openid.md 91: private_key_jwt, with keys by value and by address.
async fn a_client_registers_with_a_key_of_its_own(server: Server) {
    let server = with(&server, |config| {
        config.registration.mode = RegistrationMode::Open;
        config.registration.grant_types = vec![GrantType::ClientCredentials];
        config.outbound.allow = vec![Allowed::Network("127.0.0.0/8".parse().unwrap())];
    });
    let server = server.await;
    let [first, second] = [Alg::ES256, Alg::EdDSA].map(AppKey::new);
    let host = Host::start(&jwks(&[&second])).await;
    let machine = |keys: Value| {
        let mut body = json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt" });
        body.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        body
    };
    register(&server, None, machine(json!({}))).await.refused(400, "invalid_client_metadata");
    let mut made = Registered::new(&server, None, machine(json!({ "jwks": jwks(&[&first]) }))).await;
    assert_eq!((made.answer.get("client_secret"), made.answer.get("client_secret_expires_at")), (None, None));
    let proves = async |client_id: &str, key: &AppKey| {
        let claims = assertion_claims(client_id, &server.issuer, server.clock_seconds());
        let assertion = key.sign(&key.header(), &claims);
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ];
        server.post("/token", &fields, &[]).await.status == 200
    };
    assert!(server.audit().await.iter().any(|action| *action == "client.register"));
    let client_id = made.str("client_id");
    assert!(proves(&client_id, &first).await && !proves(&client_id, &second).await);
    // It moves its keys to an address of its own.
    made.answer = made.put(machine(json!({ "jwks_uri": host.url() }))).await.ok().json();
    assert_eq!((made.answer.get("jwks"), &made.answer["jwks_uri"]), (None, &json!(host.url())));
    assert!(proves(&client_id, &second).await && !proves(&client_id, &first).await);
    // To a secret and back.
    let by_secret = made.put(json!({ "grant_types": ["client_credentials"] })).await.ok().json();
    assert_eq!(by_secret["client_secret"].as_str().unwrap().len(), 43);
    assert!(!proves(&client_id, &second).await);
}

async fn fifty_registrations_with_a_token_for_three_give_three(server: Server) {
    let server = by_token(&server).await;
    let replica = server.replica().await;
    let initial = token(&server, json!({ "registrations": 3 })).await;
    let attempts = (0..50).map(|number| {
        let (server, initial) = (if number % 2 == 0 { server.clone() } else { replica.clone() }, initial.clone());
        tokio::spawn(async move { register(&server, Some(&initial), web()).await.status })
    });
    let statuses: Vec<u16> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 3, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 47, "{statuses:?}");
    let admin = server.admin("admin:read").await;
    assert_eq!(admin.get("/initial-access-tokens").await.json()["items"][0]["registrations_left"], 0);
    let clients = admin.get("/clients").await.json();
    let registered = clients["items"].as_array().unwrap().iter().filter(|client| client["registered"].is_object());
    assert_eq!(registered.count(), 3);
}

/// R-77.
async fn what_is_open_to_everybody_has_bounds(server: Server) {
    let limited = with(&server, |config| {
        config.registration.mode = RegistrationMode::Open;
        config.registration.open_per_address = 3;
    });
    let limited = limited.await;
    for _ in 0..3 {
        Registered::new(&limited, None, web()).await;
    }
    let refused = register(&limited, None, web()).await.refused(429, "temporarily_unavailable");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(limited.explain(&refused.trace_id()).await.mend.contains("open_per_address"));
    // Who has a token is not counted; the others may again after an hour.
    let initial = token(&limited, json!({})).await;
    Registered::new(&limited, Some(&initial), web()).await;
    limited.wait(Duration::from_secs(3600));
    Registered::new(&limited, None, web()).await;
    // Whatever addresses there are: so many rows that nobody uses, and no more.
    let full = with(&server, |config| {
        config.registration.mode = RegistrationMode::Open;
        config.registration.open_unused = 2;
    });
    let full = full.await;
    let first = Registered::new(&full, None, web()).await;
    Registered::new(&full, None, web()).await;
    let refused = register(&full, None, web()).await.refused(429, "temporarily_unavailable");
    assert!(full.explain(&refused.trace_id()).await.mend.contains("open_unused"));
    let alice = full.person("alice").await;
    alice.tokens(&first.client(), "openid").await;
    Registered::new(&full, None, web()).await;
    // A token is asked for its own sake, be it open or not.
    is_no_token(register(&full, Some("nonsense"), web()).await);
}

/// OpenID Connect Core §8.1: who never gets anything at a redirect URI could name anybody's.
async fn a_host_that_nobody_proved_is_no_sector(server: Server) {
    let server = open(&server).await;
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    let pairwise = |grants: &[&str]| web_with(json!({ "subject_type": "pairwise", "grant_types": grants }));
    let refused = register(&server, None, pairwise(&["authorization_code", device])).await.refused(400, "invalid_client_metadata");
    assert!(refused.str("error_description").contains("subject_type"), "{}", refused.text);
    let made = Registered::new(&server, None, pairwise(&["authorization_code"])).await;
    made.put(pairwise(&["authorization_code", device])).await.refused(400, "invalid_client_metadata");
    // Alone it knows nobody that others know; and operators know whose a host is.
    let alone = json!({ "subject_type": "pairwise", "grant_types": [device], "token_endpoint_auth_method": "none" });
    Registered::new(&server, None, alone).await;
    server.try_client(pairwise(&["authorization_code", device])).await.unwrap();
}

/// Keys of the rarer algorithms are made for clients that are there.
async fn a_registration_that_is_refused_orders_no_keys(server: Server) {
    let full = with(&server, |config| {
        config.registration.mode = RegistrationMode::Open;
        config.registration.open_unused = 1;
    });
    let full = full.await;
    let rare = web_with(json!({ "id_token_signed_response_alg": "PS256" }));
    let mut first = Registered::new(&full, None, web()).await;
    register(&full, None, rare.clone()).await.refused(429, "temporarily_unavailable");
    assert_eq!(keys::wanted_rotations(&full.app.db).await.unwrap(), []);
    first.answer = first.put(rare).await.ok().json();
    assert_eq!(keys::wanted_rotations(&full.app.db).await.unwrap(), [Alg::PS256]);
}
