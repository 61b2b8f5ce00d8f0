//! Dynamic client registration (RFC 7591, OpenID Connect Dynamic Client Registration) and its management (RFC 7592): openid.md I,
//! security.md R-61, R-62 and R-77.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chancery::config::{Allowed, Config, RegistrationMode};
use chancery::jose::Alg;
use chancery::oauth::client::{ClientMetadata, GrantType};
use chancery::oauth::registration::is_registered_member;
use chancery::service::registration;
use chancery::storage::keys;
use chancery::storage::owners::{self, Object, Owned};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::keyring::{ASSERTION_TYPE, AppKey, Host, assertion_claims, jwks};
use crate::harness::{Answer, Backend, Client, Request, Server, Setup, Site, on_both};

on_both![
    where_it_is_off_there_is_nothing,
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
    a_client_looks_after_itself_and_nobody_else,
    an_update_resets_what_it_leaves_out_and_keeps_ours,
    the_management_token_dies_with_its_client,
    of_two_changes_at_once_one_token_makes_one,
    what_operators_keep_is_theirs,
    a_client_changes_itself_so_often_and_no_more,
    what_an_operator_changed_stays_changed,
    a_host_that_nobody_proved_is_no_sector,
    another_kind_of_subject_is_another_question,
    a_registration_that_is_refused_orders_no_keys,
    clients_that_nobody_uses_go,
    operators_see_who_registered_what,
    the_consent_page_shows_what_a_client_says_of_itself_as_its_own_word,
];

const DAY: Duration = Duration::from_secs(86_400);

async fn with(server: &Server, change: impl FnOnce(&mut Config) + Send + 'static) -> Server {
    Setup::on(server.backend).config(change).start().await
}

async fn by_token(server: &Server) -> Server {
    with(server, |config| config.registration.mode = RegistrationMode::Token).await
}

async fn open(server: &Server) -> Server {
    with(server, |config| config.registration.mode = RegistrationMode::Open).await
}

/// A request with a JSON body.
async fn send(site: &Site, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
    let url = site.url(path);
    let mut request = site.request(Method::from_bytes(method.as_bytes()).unwrap(), &url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = Answer::of(request.send().await.unwrap()).await;
    site.note(answer.status, url.path());
    answer
}

async fn register(server: &Server, token: Option<&str>, body: Value) -> Answer {
    send(&server.site(), "POST", "/register", token, Some(&body)).await
}

fn web() -> Value {
    json!({ "redirect_uris": ["https://app.test/callback"], "client_name": "Self-made" })
}

/// `web` with these members.
fn web_with(members: Value) -> Value {
    let mut all = web();
    for (name, value) in members.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

/// An initial access token, as an operator makes it.
async fn token(server: &Server, file: Value) -> String {
    let made = server.admin("admin:write").await.post("/initial-access-tokens", file).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.str("token")
}

/// A client that was registered just now.
struct Registered {
    site: Arc<Site>,
    answer: Value,
}

impl Registered {
    async fn new(server: &Server, initial: Option<&str>, body: Value) -> Self {
        let answer = register(server, initial, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        Self { site: server.site(), answer: answer.json() }
    }

    fn str(&self, name: &str) -> String {
        self.answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", self.answer)).to_owned()
    }

    /// A request to its own address with its own token.
    async fn own(&self, method: &str, body: Option<&Value>) -> Answer {
        send(&self.site, method, &self.str("registration_client_uri"), Some(&self.str("registration_access_token")), body).await
    }

    /// What it sends to change itself to `body`.
    async fn put(&self, mut body: Value) -> Answer {
        body["client_id"] = json!(self.str("client_id"));
        self.own("PUT", Some(&body)).await
    }

    fn client(&self) -> Client {
        Client {
            site: self.site.clone(),
            client_id: self.str("client_id"),
            secret: self.answer["client_secret"].as_str().map(str::to_owned),
            redirect_uri: self.answer["redirect_uris"][0].as_str().unwrap_or_default().to_owned(),
            posts: self.answer["token_endpoint_auth_method"] == "client_secret_post",
        }
    }
}

/// RFC 6750 §3.1 for both kinds of tokens: one answer, whatever is wrong.
#[track_caller]
fn is_no_token(answer: Answer) -> Answer {
    let answer = answer.refused(401, "invalid_token");
    assert!(answer.header("www-authenticate").starts_with("Bearer "), "{:?}", answer.headers);
    answer
}

async fn where_it_is_off_there_is_nothing(server: Server) {
    assert_eq!(server.metadata().await.get("registration_endpoint"), None);
    let token = token(&server, json!({})).await;
    assert_eq!(register(&server, Some(&token), web()).await.status, 404);
    assert_eq!(send(&server.site(), "GET", "/register/x", Some(&token), None).await.status, 404);
}

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
    // Every change makes another token, and ends the one before.
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

/// R-62.
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

async fn of_two_changes_at_once_one_token_makes_one(server: Server) {
    let server = open(&server).await;
    for _ in 0..3 {
        let made = Arc::new(Registered::new(&server, None, web()).await);
        let changes = (0..6).map(|number| {
            let made = Arc::clone(&made);
            tokio::spawn(async move { made.put(web_with(json!({ "client_name": format!("Number {number}") }))).await })
        });
        let answers: Vec<Answer> = join_all(changes).await.into_iter().map(Result::unwrap).collect();
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((done.len(), refused.len()), (1, 5));
        refused.into_iter().for_each(|answer| drop(is_no_token(answer)));
        let fresh = done[0].str("registration_access_token");
        let shown = send(&server.site(), "GET", &made.str("registration_client_uri"), Some(&fresh), None).await.ok();
        assert_eq!(shown.str("client_name"), done[0].str("client_name"));
    }
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

/// R-77: each change stays in the audit log, and every replica forgets what it knows of clients.
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
    is_no_token(made.own("GET", None).await);
    made.answer = again;
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

/// R-31: whoever holds the token does not undo what an operator took away.
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

async fn clients_that_nobody_uses_go(server: Server) {
    let server = open(&server).await;
    let initial = token(&server, json!({ "registrations": 2 })).await;
    let passing = Registered::new(&server, None, web()).await;
    let (unused, by_person, by_itself) = (
        Registered::new(&server, Some(&initial), web()).await,
        Registered::new(&server, Some(&initial), web()).await,
        Registered::new(
            &server,
            Some(&token(&server, json!({ "grant_types": ["client_credentials"] })).await),
            json!({
                "grant_types": ["client_credentials"]
            }),
        )
        .await,
    );
    let operators = server.client(json!({})).await;
    let admin = server.admin("admin:read").await;
    let left = async |made: &Registered| {
        admin.get(&format!("/clients/{}", made.str("client_id"))).await.json()["registered"]["unused_until"].is_string()
    };
    assert!(left(&unused).await && left(&by_person).await && left(&by_itself).await);
    // Looking is no use, nor is a sign-in that nobody ends.
    unused.own("GET", None).await.ok();
    let alice = server.person("alice").await;
    alice.open(&Request::of(&unused.client())).await;
    alice.deny(&Request::of(&unused.client())).await.unwrap().refused("access_denied");
    alice.answer(&Request::of(&by_person.client())).await.unwrap().code();
    by_itself.client().token(&[("grant_type", "client_credentials")]).await.ok();
    assert!(left(&unused).await && !left(&by_person).await && !left(&by_itself).await);
    // Without a token it goes the next day.
    server.wait(Duration::from_secs(86_399));
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    passing.own("GET", None).await.ok();
    server.wait(Duration::from_secs(2));
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    is_no_token(passing.own("GET", None).await);
    server.wait(DAY * 28);
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    unused.own("GET", None).await.ok();
    server.wait(DAY * 2);
    registration::forget_unused(&server.app, server.operator().now).await.unwrap();
    is_no_token(unused.own("GET", None).await);
    by_person.own("GET", None).await.ok();
    by_itself.own("GET", None).await.ok();
    let admin = server.admin("admin:read").await;
    admin.get(&format!("/clients/{}", unused.str("client_id"))).await.problem(404, "admin-not-found");
    admin.get(&format!("/clients/{}", operators.client_id)).await.ok();
    let told = admin.get(&format!("/audit-events?target={}", unused.str("client_id"))).await.ok().json();
    assert_eq!((&told["items"][0]["action"], &told["items"][0]["actor"]), (&json!("client.remove"), &json!("server")));
    assert_eq!(told["items"][0]["before"]["client_name"], "Self-made");
    // Many go in their batches.
    let many = with(&server, |config| {
        config.registration.mode = RegistrationMode::Open;
        config.registration.open_per_address = 1000;
    });
    let many = many.await;
    for _ in 0..120 {
        Registered::new(&many, None, web()).await;
    }
    many.wait(DAY * 31);
    registration::forget_unused(&many.app, many.operator().now).await.unwrap();
    let admin = many.admin("admin:read").await;
    assert_eq!(admin.get("/clients?limit=200").await.json()["items"].as_array().unwrap().len(), 1, "the administrator's");
}

async fn operators_see_who_registered_what(server: Server) {
    let server = open(&server).await;
    let admin = server.admin("admin:write").await;
    let made = admin.post("/initial-access-tokens", json!({ "note": "for the shop" })).await;
    let by_token = Registered::new(&server, Some(&made.str("token")), web()).await;
    let openly = Registered::new(&server, None, web()).await;
    let shown = async |client: &Registered| admin.get(&format!("/clients/{}", client.str("client_id"))).await.ok();
    let registered = shown(&by_token).await.json()["registered"].clone();
    assert_eq!(registered["initial_access_token"], made.str("id"));
    assert_eq!(registered["address"], "127.0.0.1");
    assert!(registered["at"].is_string() && registered["unused_until"].is_string());
    assert_eq!(shown(&openly).await.json()["registered"]["initial_access_token"], Value::Null);
    // What was read may be sent back, and nobody sets it.
    let path = format!("/clients/{}", openly.str("client_id"));
    let seen = shown(&openly).await;
    admin.call_with("PUT", &path, Some(&seen.json()), &[("if-match", seen.header("etag"))]).await.ok();
    let mut forged = seen.json();
    forged["registered"] = json!({ "address": "192.0.2.1" });
    admin.put(&path, forged).await.problem(422, "document-refused").about("pointer", "/registered");
    let events = admin.get(&format!("/audit-events?target={}", by_token.str("client_id"))).await.ok().json();
    assert_eq!(events["items"][0]["action"], "client.register");
    assert_eq!(events["items"][0]["actor"], format!("initial_access_token:{}", made.str("id")));
    assert!(events["items"][0]["trace_id"].is_string());
    let events = admin.get(&format!("/audit-events?target={}", openly.str("client_id"))).await.ok().json();
    assert_eq!(events["items"][0]["actor"], "anonymous");
    // The token tells what is left of it, and goes as it was seen or not at all.
    let path = format!("/initial-access-tokens/{}", made.str("id"));
    let token = admin.get(&path).await.ok();
    assert_eq!((&token.json()["registrations_left"], &token.json()["note"]), (&json!(0), &json!("for the shop")));
    assert!(
        !token.text.contains(&made.str("token")) && !admin.get("/initial-access-tokens").await.text.contains(&made.str("token"))
    );
    let stale = made.header("etag").to_owned();
    assert_ne!(token.header("etag"), stale);
    admin.call_with("DELETE", &path, None, &[("if-match", &stale)]).await.problem(412, "precondition-failed");
    assert_eq!(admin.call_with("DELETE", &path, None, &[("if-match", token.header("etag"))]).await.status, 204);
    admin.get(&path).await.problem(404, "admin-not-found");
    admin.delete(&path).await.problem(404, "admin-not-found");
    for (name, value) in [
        ("expires_in", json!(0)),
        ("expires_in", json!(366 * 86_400)),
        ("registrations", json!(0)),
        ("registrations", json!(-1)),
        ("grant_types", json!([])),
        ("grant_types", json!(["password"])),
        ("scopes", json!(["admin:read"])),
        ("scopes", json!(["a b"])),
        ("note", json!(" ")),
        ("token", json!("chosen")),
    ] {
        let refused = admin.post("/initial-access-tokens", json!({ name: value })).await;
        refused.problem(422, "document-refused").about("pointer", &format!("/{name}"));
    }
    // Pages of the list.
    for _ in 0..5 {
        admin.post("/initial-access-tokens", json!({})).await;
    }
    let first = admin.get("/initial-access-tokens?limit=3").await.ok().json();
    let next =
        admin.get(&format!("/initial-access-tokens?limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await.ok().json();
    assert_eq!((first["items"].as_array().unwrap().len(), next["items"].as_array().unwrap().len()), (3, 2));
    assert_eq!(next["next_cursor"], Value::Null);
}

/// openid.md 90, R-53.
async fn the_consent_page_shows_what_a_client_says_of_itself_as_its_own_word(server: Server) {
    let server = open(&server).await;
    let body = web_with(json!({
        "client_name": "Shop <b>", "client_uri": "https://app.test/about", "policy_uri": "https://legal.test:8443/privacy",
        "tos_uri": "https://app.test/terms", "logo_uri": "https://pictures.test/logo.png", "contacts": ["<i>dev@app.test"],
    }));
    let open = Registered::new(&server, None, body.clone()).await;
    let vouched = Registered::new(&server, Some(&token(&server, json!({})).await), body).await;
    let alice = server.person("alice").await;
    let mut pages = Vec::new();
    for client in [&open, &vouched] {
        let mut page = alice.open(&Request::of(&client.client())).await;
        while page.is_login() || page.location().is_some() {
            page = match page.is_login() {
                true => alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await,
                false => alice.browser.follow(&page).await,
            };
        }
        let words = page.text("main").unwrap();
        for expected in ["Shop <b>", "<i>dev@app.test", "legal.test:8443", "app.test"] {
            assert!(words.contains(expected), "{expected}: {words}");
        }
        for expected in [
            "href=\"https://legal.test:8443/privacy\" target=\"_blank\" rel=\"noopener noreferrer nofollow\"",
            "href=\"https://app.test/terms\"",
            "href=\"https://app.test/about\"",
        ] {
            assert!(page.body.contains(expected), "{expected}: {}", page.body);
        }
        assert!(!page.body.contains("<b>") && !page.body.contains("<i>") && !page.body.contains("pictures.test"), "{}", page.body);
        pages.push(page.body.clone());
    }
    assert!(pages[0].contains("id=\"unverified\""), "{}", pages[0]);
    assert!(!pages[1].contains("id=\"unverified\""), "{}", pages[1]);
    // The picture comes from here, and where none can be fetched there is none: this host does not exist.
    let picture = pages[0].split("<img src=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(picture.starts_with("/") && picture.contains(&format!("/logo/{}?v=", open.str("client_id"))), "{picture}");
    for path in [picture, "/logo/nobody", "/logo/%ff", &format!("/logo/{}", server.client(json!({})).await.client_id)] {
        assert_eq!(server.get(&format!("{}{path}", server.site().origin())).await.status, 404, "{path}");
    }
}

/// The registration endpoint may be read by scripts of registered apps; the management endpoint by nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_read_where_design_7_says() {
    let server = Setup::on(Backend::Sqlite).config(|config| config.registration.mode = RegistrationMode::Open).start().await;
    server.client(json!({})).await;
    let origin = [("origin", "https://app.test"), ("access-control-request-method", "POST")];
    let asked = server.send(Method::OPTIONS, "/register", &origin, None).await;
    assert_eq!(asked.header("access-control-allow-origin"), "https://app.test");
    let managed = server.send(Method::OPTIONS, "/register/x", &origin, None).await;
    assert_eq!(managed.header("access-control-allow-origin"), "");
}
