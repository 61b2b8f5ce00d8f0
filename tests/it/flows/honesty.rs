//! Metadata honesty: whatever discovery promises is tried here over a socket, member by member and value by value, and what it does not
//! promise is refused. A member or a value without a row in [`prove`] fails: whoever advertises something shows it here, at least in short;
//! the long proofs are named in docs/specifications.md.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::config::RegistrationMode;
use chancery::jose::{Alg, KeyMaker as _, NewKeyPairs, SigningKey};
use serde_json::{Value, json};

use super::factors;
use crate::harness::person::Callback;
use crate::harness::{Answer, Client, Person, Request, Server, Setup, half_hash, jwt, on_both};

on_both![
    every_member_and_every_value_is_true,
    registration_is_advertised_where_it_is_on,
    what_is_not_advertised_is_refused,
    both_documents_are_one,
];

/// What the proofs need.
struct Stage {
    server: Server,
    document: Value,
    alice: Person,
    client: Client,
    tokens: Answer,
}

const EVERY_SCOPE: &str = "openid profile email address phone offline_access";

fn everything_about_alice() -> Value {
    json!({
        "name": "Alice Liddell", "given_name": "Alice", "family_name": "Liddell", "middle_name": "P", "nickname": "Al",
        "preferred_username": "alice", "profile": "https://example.com/alice", "picture": "https://example.com/alice.png",
        "website": "https://alice.example.com", "gender": "female", "birthdate": "1852-05-04", "zoneinfo": "Europe/London",
        "locale": "en-GB", "email": "alice@example.com", "email_verified": true, "phone_number": "+44 1234",
        "phone_number_verified": true, "address": { "locality": "Oxford" },
    })
}

impl Stage {
    async fn set(server: Server) -> Self {
        let document = server.metadata().await;
        let alice = server.person_with("alice", everything_about_alice()).await;
        let client = server.client(json!({ "scope": EVERY_SCOPE, "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
        let back = alice.arrive(&Request::of(&client).with("scope", EVERY_SCOPE).with("prompt", "consent")).await;
        let tokens = client.redeem(back.code(), &back.verifier).await.ok();
        Self { server, document, alice, client, tokens }
    }

    /// A sign-in of Alice to another client.
    async fn signed_in(&self, client: &Client, more: &[(&str, &str)]) -> Answer {
        let mut request = Request::of(client);
        for (name, value) in more {
            request = request.with(name, value);
        }
        let back = self.alice.arrive(&request).await;
        client.redeem(back.code(), &back.verifier).await.ok()
    }

    async fn authorized(&self, name: &str, value: &str) -> Callback {
        self.alice.arrive(&Request::of(&self.client).with(name, value)).await
    }

    fn list(&self, member: &str) -> Vec<String> {
        list(&self.document[member])
    }

    fn url(&self, member: &str) -> String {
        self.document[member].as_str().unwrap_or_else(|| panic!("no {member}")).to_owned()
    }
}

fn list(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap().to_owned()).collect()
}

async fn every_member_and_every_value_is_true(server: Server) {
    let stage = Stage::set(server).await;
    for (member, value) in stage.document.as_object().unwrap() {
        if let Value::Array(_) = value {
            let values = list(value);
            assert!(!values.is_empty(), "{member} is empty");
            assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), values.len(), "{member} repeats itself");
            for value in values {
                prove_value(&stage, member, &value).await;
            }
        } else {
            prove(&stage, member, value).await;
        }
    }
}

/// The long proof: `dynamic_registration`.
async fn registration_is_advertised_where_it_is_on(server: Server) {
    assert!(server.metadata().await.get("registration_endpoint").is_none());
    let open = Setup::on(server.backend).config(|config| config.registration.mode = RegistrationMode::Open).start().await;
    let document = open.metadata().await;
    let url = url::Url::parse(document["registration_endpoint"].as_str().unwrap()).unwrap();
    let asked = json!({ "redirect_uris": ["https://app.test/callback"], "client_name": "Self-made" });
    let request = open.request(reqwest::Method::POST, &url).header("content-type", "application/json").body(asked.to_string());
    let made = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let (client_id, redirect_uri) = (made.str("client_id"), "https://app.test/callback".to_owned());
    let client = Client { site: open.site(), client_id, secret: Some(made.str("client_secret")), redirect_uri, posts: false };
    let alice = open.person("alice").await;
    alice.tokens(&client, "openid").await;
    // Beside that the two servers promise the same.
    let mut rest = document;
    rest.as_object_mut().unwrap().remove("registration_endpoint");
    assert_eq!(rest, server.metadata().await);
}

/// One member that is no list.
async fn prove(stage: &Stage, member: &str, value: &Value) {
    let Stage { server, alice, client, tokens, .. } = stage;
    let (access, id_token) = (tokens.str("access_token"), tokens.str("id_token"));
    match member {
        "issuer" => {
            assert_eq!(jwt(&id_token).1["iss"], *value);
            assert_eq!(jwt(&access).1["iss"], *value);
        }
        "authorization_endpoint" => {
            let url = Request::of(client).url(server);
            assert!(url.starts_with(&format!("{}?", stage.url(member))), "{url}");
        }
        "token_endpoint" => {
            let (url, refresh) = (stage.url(member), tokens.str("refresh_token"));
            client.call(&url, &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]).await.ok();
        }
        "userinfo_endpoint" => {
            let bearer = format!("Bearer {access}");
            let told = server.send(reqwest::Method::GET, &stage.url(member), &[("authorization", &bearer)], None).await.ok();
            assert_eq!(told.json()["sub"], alice.sub);
        }
        "introspection_endpoint" => {
            assert_eq!(client.call(&stage.url(member), &[("token", &access)]).await.ok().json()["active"], true);
        }
        "revocation_endpoint" => {
            let one = stage.signed_in(client, &[]).await.str("access_token");
            assert_eq!(client.call(&stage.url(member), &[("token", &one)]).await.status, 200);
            assert!(!client.is_active(&one).await);
        }
        "jwks_uri" => {
            let jwks = server.get(&stage.url(member)).await.ok().json();
            let kid = jwt(&id_token).0["kid"].clone();
            assert!(jwks["keys"].as_array().unwrap().iter().any(|key| key["kid"] == kid), "{kid}");
            server.verify_signature(&id_token).await;
        }
        "device_authorization_endpoint" => {
            let tv = server
                .client(json!({ "grant_types": ["urn:ietf:params:oauth:grant-type:device_code"], "redirect_uris": [] }))
                .await;
            assert!(tv.call(&stage.url(member), &[("scope", "openid")]).await.ok().json()["user_code"].is_string());
        }
        "end_session_endpoint" => {
            let bob = server.person("bob").await;
            let hint = bob.tokens(client, "openid").await.str("id_token");
            let url = format!("{}?id_token_hint={hint}&post_logout_redirect_uri=https://app.test/bye&state=s", stage.url(member));
            let mut page = bob.browser.get(&url).await;
            while page.location().is_some_and(|to| to.as_str().starts_with(&server.issuer)) {
                page = bob.browser.follow(&page).await;
            }
            assert_eq!(
                page.location().map(String::from).as_deref(),
                Some("https://app.test/bye?state=s"),
                "{} {}",
                page.status,
                page.body
            );
            bob.arrive(&Request::of(client).with("prompt", "none")).await.refused("login_required");
        }
        // RFC 9207: in every answer, errors included.
        "authorization_response_iss_parameter_supported" => {
            assert_eq!(*value, true);
            for prompt in ["none", "none login"] {
                assert_eq!(stage.authorized("prompt", prompt).await.params["iss"], server.issuer);
            }
        }
        "claims_parameter_supported" => {
            assert_eq!(*value, true);
            let answer = stage.signed_in(client, &[("claims", r#"{"id_token":{"nickname":null}}"#)]).await;
            assert_eq!(jwt(&answer.str("id_token")).1["nickname"], "Al");
        }
        // The long proof: `request_object`.
        "request_parameter_supported" => {
            let error = if *value == true { "invalid_request_object" } else { "request_not_supported" };
            stage.authorized("request", "e30.e30.e30").await.refused(error);
        }
        // Its default is true (Discovery §3), so it has to be said.
        "request_uri_parameter_supported" => {
            assert_eq!(*value, false);
            stage.authorized("request_uri", "https://app.test/request").await.refused("request_uri_not_supported");
        }
        // The long proofs: `backchannel`, and what is delivered.
        "backchannel_logout_supported" | "backchannel_logout_session_supported" => {
            assert_eq!(*value, true);
            let told =
                json!({ "backchannel_logout_uri": "https://app.test/logged-out", "backchannel_logout_session_required": true });
            let other = server.client(told).await;
            assert!(jwt(&stage.signed_in(&other, &[]).await.str("id_token")).1["sid"].is_string());
        }
        // The long proof in a browser: tests/clients/browser/front-channel.test.js.
        "frontchannel_logout_supported" | "frontchannel_logout_session_supported" => {
            assert_eq!(*value, true);
            let uri = "https://app.test/frame";
            let other =
                server.client(json!({ "frontchannel_logout_uri": uri, "frontchannel_logout_session_required": true })).await;
            let bob = server.person("bob").await;
            let hint = bob.tokens(&other, "openid").await.str("id_token");
            let sid = jwt(&hint).1["sid"].as_str().unwrap().to_owned();
            let mut page = bob.browser.get(format!("{}?id_token_hint={hint}", stage.url("end_session_endpoint"))).await;
            while page.location().is_some() {
                page = bob.browser.follow(&page).await;
            }
            assert!(page.body.contains(uri) && page.body.contains(&sid), "no frame with iss and sid: {}", page.body);
        }
        unproved => panic!("{unproved} is advertised, and no row of this table proves it"),
    }
}

/// One value of a member that is a list.
async fn prove_value(stage: &Stage, member: &str, value: &str) {
    let Stage { server, alice, client, tokens, .. } = stage;
    let unproved = || -> ! { panic!("{member} advertises {value}, and no row of this table proves it") };
    match member {
        "scopes_supported" => {
            let answer = stage.signed_in(client, &[("scope", &format!("openid {value}"))]).await;
            assert!(answer.str("scope").split(' ').any(|scope| scope == value), "{value}");
            let told = server.userinfo(&answer.str("access_token")).await.ok().json();
            let expected = match value {
                "openid" => told.get("sub").is_some(),
                "profile" => told["name"] == "Alice Liddell",
                "email" => told["email"] == "alice@example.com",
                "address" => told["address"]["locality"] == "Oxford",
                "phone" => told["phone_number"] == "+44 1234",
                "offline_access" => answer.json()["refresh_token"].is_string(),
                _ => unproved(),
            };
            assert!(expected, "{value}: {told}");
        }
        "response_types_supported" => {
            stage.authorized("response_type", value).await.code();
        }
        "response_modes_supported" => {
            let back = stage.authorized("response_mode", value).await;
            match value {
                "query" => assert!(back.url.contains("code="), "{}", back.url),
                "form_post" => assert_eq!(back.url, client.redirect_uri, "nothing is in the address"),
                _ => unproved(),
            }
            back.code();
        }
        "grant_types_supported" => match value {
            "authorization_code" => drop(stage.signed_in(client, &[]).await),
            "refresh_token" => {
                let first = stage.signed_in(client, &[]).await;
                assert!(client.refresh(&first.str("refresh_token")).await.ok().json()["id_token"].is_string());
            }
            "client_credentials" => {
                let machine = server.machine(json!({})).await;
                machine.token(&[("grant_type", value)]).await.ok();
            }
            "urn:ietf:params:oauth:grant-type:device_code" => {
                let tv = server.client(json!({ "grant_types": [value], "redirect_uris": [] })).await;
                let asked = tv.call("/device/code", &[("scope", "openid")]).await.ok();
                tv.token(&[("grant_type", value), ("device_code", &asked.str("device_code"))])
                    .await
                    .refused(400, "authorization_pending");
            }
            _ => unproved(),
        },
        "prompt_values_supported" => {
            let mut page = alice.open(&Request::of(client).with("prompt", value)).await;
            while page.location().is_some_and(|to| to.as_str().starts_with(&server.issuer)) {
                page = alice.browser.follow(&page).await;
            }
            let shown = match value {
                "none" => page.location().is_some_and(|to| to.as_str().contains("code=")),
                "login" => page.is_login(),
                "consent" => page.is_consent() && !page.is_login(),
                "select_account" => page.text("[name=account]").is_some(),
                _ => unproved(),
            };
            assert!(shown, "{value}: {:?} {}", page.location(), page.body);
        }
        "subject_types_supported" => {
            let other = server.client(json!({ "subject_type": value, "redirect_uris": ["https://other.test/cb"] })).await;
            let sub = jwt(&stage.signed_in(&other, &[]).await.str("id_token")).1["sub"].clone();
            match value {
                "public" => assert_eq!(sub, alice.sub),
                "pairwise" => assert!(sub != alice.sub && sub.as_str().unwrap().len() <= 255),
                _ => unproved(),
            }
        }
        "id_token_signing_alg_values_supported" => {
            let other = server.client(json!({ "id_token_signed_response_alg": value })).await;
            let answer = stage.signed_in(&other, &[]).await;
            let id_token = answer.str("id_token");
            assert_eq!(jwt(&id_token).0["alg"], value);
            server.verify_signature(&id_token).await;
            if ["RS256", "PS256", "ES256"].contains(&value) {
                assert_eq!(jwt(&id_token).1["at_hash"], half_hash(&answer.str("access_token")));
            }
        }
        "userinfo_signing_alg_values_supported" => {
            let other = server.client(json!({ "userinfo_signed_response_alg": value })).await;
            let access = stage.signed_in(&other, &[]).await.str("access_token");
            let told = server.userinfo(&access).await.ok();
            assert_eq!(told.header("content-type"), "application/jwt");
            let (header, claims) = jwt(&told.text);
            assert_eq!(
                (&header["alg"], &claims["sub"], &claims["aud"]),
                (&json!(value), &json!(alice.sub), &json!(other.client_id))
            );
            server.verify_signature(&told.text).await;
        }
        // Opening them with the client's key: `sealed::what_is_encrypted_opens_with_the_clients_key`.
        "id_token_encryption_alg_values_supported" | "userinfo_encryption_alg_values_supported" => {
            encrypted(stage, member, value, "A128GCM").await;
        }
        "id_token_encryption_enc_values_supported" | "userinfo_encryption_enc_values_supported" => {
            let alg = stage.list(&member.replace("_enc_", "_alg_")).remove(0);
            encrypted(stage, member, &alg, value).await;
        }
        "token_endpoint_auth_signing_alg_values_supported"
        | "introspection_endpoint_auth_signing_alg_values_supported"
        | "revocation_endpoint_auth_signing_alg_values_supported" => {
            let url = stage.url(member.trim_end_matches("_auth_signing_alg_values_supported"));
            let (other, key) = signing_client(server, value).await;
            let right = asserted(server, &url, &other, &key, value).await;
            assert_ne!(error_of(&right), "invalid_client", "{member} {value}: {}", right.text);
            let (_, thief) = signing_client(server, value).await;
            assert_eq!(error_of(&asserted(server, &url, &other, &thief, value).await), "invalid_client");
        }
        "request_object_signing_alg_values_supported" => {
            let (other, key) = signing_client_with(server, value, json!({ "grant_types": ["authorization_code"] })).await;
            let mut inside = serde_json::Map::new();
            for (name, value) in Request::of(&other).with("state", "inside").fields {
                inside.insert(name, json!(value));
            }
            let now = server.clock_seconds();
            for (name, value) in
                [("iss", json!(other.client_id)), ("aud", json!(server.issuer)), ("nbf", json!(now)), ("exp", json!(now + 60))]
            {
                inside.insert(name.to_owned(), value);
            }
            let object = key.sign(value, &Value::Object(inside));
            let request = Request::of(&other).with("state", "outside").with("request", &object);
            let back = alice.arrive(&request).await;
            back.code();
            assert_eq!(back.params["state"], "inside");
        }
        "token_endpoint_auth_methods_supported" => {
            authenticated(stage, "token_endpoint", value).await;
        }
        "introspection_endpoint_auth_methods_supported" | "revocation_endpoint_auth_methods_supported" => {
            authenticated(stage, member.trim_end_matches("_auth_methods_supported"), value).await;
        }
        "code_challenge_methods_supported" => {
            let wrong = stage.alice.arrive(&Request::of(client).with("code_challenge_method", value)).await;
            let other = "another-verifier-that-is-long-enough-for-rfc-7636";
            client.redeem(wrong.code(), other).await.refused(400, "invalid_grant");
            let right = stage.alice.arrive(&Request::of(client).with("code_challenge_method", value)).await;
            client.redeem(right.code(), &right.verifier).await.ok();
        }
        "acr_values_supported" => {
            let essential = json!({ "id_token": { "acr": { "essential": true, "values": [value] } } }).to_string();
            match value {
                "urn:chancery:acr:password" => {
                    let answer = stage.signed_in(client, &[("claims", &essential)]).await;
                    assert_eq!(jwt(&answer.str("id_token")).1["acr"], value);
                }
                // Whoever has nothing to reach it with is told so, and whoever has something is asked for it: `factors`, `passkeys`.
                "urn:chancery:acr:mfa" | "urn:chancery:acr:phishing-resistant" => {
                    let bob = server.person("bob").await;
                    let request = Request::of(client).with("claims", &essential);
                    bob.arrive(&request).await.refused("unmet_authentication_requirements");
                    if value == "urn:chancery:acr:mfa" {
                        factors::enrol(server, &bob).await;
                        bob.arrive(&request.with("prompt", "none")).await.refused("login_required");
                    }
                }
                _ => unproved(),
            }
        }
        "claim_types_supported" => assert_eq!(value, "normal"),
        "claims_supported" => {
            let (id_token, access) = (jwt(&tokens.str("id_token")).1, tokens.str("access_token"));
            let told = server.userinfo(&access).await.ok().json();
            assert!(
                id_token.get(value).or_else(|| told.get(value)).is_some_and(|value| !value.is_null()),
                "{value} is told nowhere"
            );
        }
        "ui_locales_supported" => {
            let page = crate::harness::Browser::new(server.site());
            let mut page_shown = page.get(Request::of(client).with("ui_locales", value).url(server)).await;
            while page_shown.location().is_some() {
                page_shown = page.follow(&page_shown).await;
            }
            assert!(page_shown.body.contains(&format!("<html lang=\"{value}\"")), "{value}: {}", page_shown.body);
        }
        _ => unproved(),
    }
}

/// A client of this method at this endpoint: let in with its credentials, and kept out without.
async fn authenticated(stage: &Stage, endpoint: &str, method: &str) {
    let server = &stage.server;
    let url = stage.url(endpoint);
    let fields: &[(&str, &str)] = match endpoint {
        "token_endpoint" => &[("grant_type", "refresh_token"), ("refresh_token", "x")],
        _ => &[("token", "x")],
    };
    match method {
        "none" => {
            let public = server.public_client(json!({})).await;
            let answer = public.call(&url, fields).await;
            assert_ne!(error_of(&answer), "invalid_client", "{endpoint} {method}: {}", answer.text);
        }
        "client_secret_basic" | "client_secret_post" => {
            let client = server.client(json!({ "token_endpoint_auth_method": method })).await;
            let answer = client.call(&url, fields).await;
            assert_ne!(error_of(&answer), "invalid_client", "{endpoint} {method}: {}", answer.text);
            let thief = Client { secret: Some("wrong".to_owned()), ..client.clone() };
            assert_eq!(thief.call(&url, fields).await.json()["error"], "invalid_client");
        }
        "private_key_jwt" => {
            let (client, key) = signing_client(server, "ES256").await;
            let answer = asserted(server, &url, &client, &key, "ES256").await;
            assert_ne!(error_of(&answer), "invalid_client", "{endpoint} {method}: {}", answer.text);
        }
        _ => panic!("{endpoint} advertises {method}, and no row of this table proves it"),
    }
}

/// A key of an application.
struct AppKey(SigningKey);

impl AppKey {
    fn new(alg: &str) -> Self {
        let alg = Alg::from_name(alg).unwrap_or_else(|| panic!("no key for {alg}"));
        Self(SigningKey::from_pkcs8(alg, NewKeyPairs.make(alg).unwrap().pkcs8.expose()).unwrap())
    }

    fn sign(&self, alg: &str, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&json!({ "alg": alg, "kid": "one" })), part(claims));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(input.as_bytes()).unwrap()))
    }

    fn jwks(&self, usage: &str) -> Value {
        let mut key = serde_json::to_value(&self.0.public).unwrap();
        let members = key.as_object_mut().unwrap();
        members.remove("alg");
        members.extend([("kid".to_owned(), json!("one")), ("use".to_owned(), json!(usage))]);
        json!({ "keys": [key] })
    }
}

async fn signing_client_with(server: &Server, alg: &str, more: Value) -> (Client, AppKey) {
    let key = AppKey::new(alg);
    let mut metadata = json!({ "jwks": key.jwks("sig") });
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (server.client(metadata).await, key)
}

async fn signing_client(server: &Server, alg: &str) -> (Client, AppKey) {
    signing_client_with(server, alg, json!({ "token_endpoint_auth_method": "private_key_jwt" })).await
}

/// A request of this client, proved by this key.
async fn asserted(server: &Server, url: &str, client: &Client, key: &AppKey, alg: &str) -> Answer {
    let (id, now) = (&client.client_id, server.clock_seconds());
    let claims =
        json!({ "iss": id, "sub": id, "aud": server.issuer, "iat": now, "exp": now + 60, "jti": crate::harness::unique("jti") });
    let fields = [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &key.sign(alg, &claims)),
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
        ("token", "x"),
    ];
    server.post(url, &fields, &[]).await
}

/// An ID token or userinfo for a client that wants it encrypted: five parts, and a header that says how.
async fn encrypted(stage: &Stage, member: &str, alg: &str, enc: &str) {
    let key = AppKey::new(if alg.starts_with("ECDH") { "ES256" } else { "RS256" });
    let what = member.split("_encryption_").next().unwrap();
    let mut metadata = json!({ "jwks": key.jwks("enc") });
    metadata[format!("{what}_encrypted_response_alg")] = json!(alg);
    metadata[format!("{what}_encrypted_response_enc")] = json!(enc);
    let client = stage.server.client(metadata).await;
    let tokens = stage.signed_in(&client, &[]).await;
    let jwe = match what {
        "id_token" => tokens.str("id_token"),
        "userinfo" => stage.server.userinfo(&tokens.str("access_token")).await.ok().text,
        other => panic!("{other} is encrypted, and no row of this table proves it"),
    };
    let parts: Vec<&str> = jwe.split('.').collect();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    assert_eq!((parts.len(), &header["alg"], &header["enc"]), (5, &json!(alg), &json!(enc)), "{member}: {header}");
}

/// The error of an answer that may be empty.
fn error_of(answer: &Answer) -> Value {
    let body: Value = serde_json::from_str(&answer.text).unwrap_or(Value::Null);
    body["error"].clone()
}

/// From the registries of IANA and OpenID: all that is left out in discovery is refused, by its own error.
async fn what_is_not_advertised_is_refused(server: Server) {
    let stage = Stage::set(server).await;
    let Stage { server, client, .. } = &stage;
    let left_out = |member: &str, all: &[&'static str]| -> Vec<&'static str> {
        let offered = stage.list(member);
        all.iter().copied().filter(|value| !offered.iter().any(|known| known == value)).collect()
    };
    for kind in left_out(
        "response_types_supported",
        &["code", "token", "id_token", "id_token token", "code id_token", "code token", "code id_token token", "none", "CODE"],
    ) {
        stage.authorized("response_type", kind).await.refused("unsupported_response_type");
        let refused = server.try_client(json!({ "response_types": [kind] })).await.err();
        assert!(refused.is_some_and(|said| said.contains("response_types")), "{kind}");
    }
    for mode in left_out(
        "response_modes_supported",
        &["query", "form_post", "fragment", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt", "web_message"],
    ) {
        stage.authorized("response_mode", mode).await.refused("invalid_request");
    }
    for grant in left_out(
        "grant_types_supported",
        &[
            "implicit",
            "password",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "urn:ietf:params:oauth:grant-type:saml2-bearer",
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "urn:openid:params:grant-type:ciba",
            "Authorization_Code",
        ],
    ) {
        client.token(&[("grant_type", grant), ("username", "x"), ("password", "y")]).await.refused(400, "unsupported_grant_type");
        assert!(server.try_client(json!({ "grant_types": [grant] })).await.is_err(), "{grant}");
    }
    for prompt in left_out("prompt_values_supported", &["create", "None", "password", "silent"]) {
        stage.authorized("prompt", prompt).await.refused("invalid_request");
    }
    for scope in left_out("scopes_supported", &["roles", "groups", "OpenID", "offline", "web-origins", "microprofile-jwt"]) {
        stage.authorized("scope", &format!("openid {scope}")).await.refused("invalid_scope");
    }
    for method in left_out("code_challenge_methods_supported", &["plain", "S512", "s256"]) {
        stage.authorized("code_challenge_method", method).await.refused("invalid_request");
    }
    for acr in left_out("acr_values_supported", &["0", "phr", "phrh", "urn:mace:incommon:iap:silver"]) {
        let essential = json!({ "id_token": { "acr": { "essential": true, "values": [acr] } } }).to_string();
        stage.authorized("claims", &essential).await.refused("unmet_authentication_requirements");
    }
    stage.authorized("registration", "{}").await.refused("registration_not_supported");
    // What a client may not be registered for.
    for (advertised, member, all) in [
        ("subject_types_supported", "subject_type", &["ephemeral", "transient"][..]),
        (
            "token_endpoint_auth_methods_supported",
            "token_endpoint_auth_method",
            &[
                "client_secret_jwt",
                "private_key_jwt",
                "tls_client_auth",
                "self_signed_tls_client_auth",
                "bearer",
                "client_secret_query",
            ],
        ),
        ("id_token_signing_alg_values_supported", "id_token_signed_response_alg", SIGNATURES),
        ("userinfo_signing_alg_values_supported", "userinfo_signed_response_alg", SIGNATURES),
        ("request_object_signing_alg_values_supported", "request_object_signing_alg", SIGNATURES),
        ("token_endpoint_auth_signing_alg_values_supported", "token_endpoint_auth_signing_alg", SIGNATURES),
        ("introspection_signing_alg_values_supported", "introspection_signed_response_alg", SIGNATURES),
        ("authorization_signing_alg_values_supported", "authorization_signed_response_alg", SIGNATURES),
        ("id_token_encryption_alg_values_supported", "id_token_encrypted_response_alg", KEY_WRAPS),
        ("userinfo_encryption_alg_values_supported", "userinfo_encrypted_response_alg", KEY_WRAPS),
        ("request_object_encryption_alg_values_supported", "request_object_encryption_alg", KEY_WRAPS),
        ("id_token_encryption_enc_values_supported", "id_token_encrypted_response_enc", CIPHERS),
        ("userinfo_encryption_enc_values_supported", "userinfo_encrypted_response_enc", CIPHERS),
        ("request_object_encryption_enc_values_supported", "request_object_encryption_enc", CIPHERS),
    ] {
        for value in left_out(advertised, all) {
            let refused = server.try_client(json!({ member: value })).await.err();
            assert!(refused.as_ref().is_some_and(|said| said.contains(member)), "{member} {value}: {refused:?}");
        }
    }
    // Members of registration that stand for what is not here.
    for member in
        ["sector_identifier_uri", "request_uris", "tls_client_certificate_bound_access_tokens", "backchannel_token_delivery_mode"]
    {
        let refused = server.try_client(json!({ member: "https://app.test/x" })).await.err();
        assert!(refused.as_ref().is_some_and(|said| said.contains(member)), "{member}: {refused:?}");
    }
    // Endpoints.
    for (member, path) in [
        ("pushed_authorization_request_endpoint", "/par"),
        ("registration_endpoint", "/register"),
        ("backchannel_authentication_endpoint", "/bc-authorize"),
        ("check_session_iframe", "/check_session"),
    ] {
        if stage.document.get(member).is_none() {
            let answer = server.post(path, &[("client_id", &client.client_id)], &[]).await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        }
    }
    // RFC 9449 and RFC 8705 are not here, and nothing looks as if they were.
    for absent in ["dpop_signing_alg_values_supported", "tls_client_certificate_bound_access_tokens", "mtls_endpoint_aliases"] {
        assert!(stage.document.get(absent).is_none(), "{absent}");
    }
}

const SIGNATURES: &[&str] = &[
    "none", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K",
    "EdDSA", "Ed25519", "Ed448", "RS1", "rs256",
];
const KEY_WRAPS: &[&str] = &[
    "RSA1_5",
    "RSA-OAEP",
    "RSA-OAEP-256",
    "RSA-OAEP-512",
    "ECDH-ES",
    "ECDH-ES+A128KW",
    "ECDH-ES+A256KW",
    "A128KW",
    "A256KW",
    "A128GCMKW",
    "dir",
    "PBES2-HS256+A128KW",
    "none",
];
const CIPHERS: &[&str] = &["A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512", "A128GCM", "A192GCM", "A256GCM", "XC20P", "none"];

/// RFC 8414 §2 registers what OpenID Connect needs too, so that there is one truth.
async fn both_documents_are_one(server: Server) {
    let openid = server.metadata().await;
    assert_eq!(server.get("/.well-known/oauth-authorization-server").await.ok().json(), openid);
    // openid.md A: types of what everybody reads.
    for (member, value) in openid.as_object().unwrap() {
        let right = match member.as_str() {
            "issuer" => value.is_string(),
            name if name.ends_with("_endpoint") || name.ends_with("_uri") => {
                value.as_str().is_some_and(|url| url.starts_with("https://id.test/") && url::Url::parse(url).is_ok())
            }
            name if name.ends_with("_values_supported")
                || name.ends_with("_methods_supported")
                || name.ends_with("_types_supported") =>
            {
                value.is_array()
            }
            "scopes_supported" | "response_modes_supported" | "claims_supported" | "ui_locales_supported" => value.is_array(),
            _ => value.is_boolean(),
        };
        assert!(right, "{member}: {value}");
    }
    // What the specifications take for something else if it is left out.
    for said in [
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        "request_uri_parameter_supported",
    ] {
        assert!(openid.get(said).is_some(), "{said}");
    }
    for (member, value) in [
        ("id_token_signing_alg_values_supported", "RS256"),
        ("code_challenge_methods_supported", "S256"),
        ("scopes_supported", "openid"),
    ] {
        assert!(list(&openid[member]).iter().any(|known| known == value), "{member} lacks {value}");
    }
}
