//! Request objects by value (RFC 9101, OpenID Connect Core §6; openid.md 32, 33, 105, 106).

use chancery::jose::Alg;
use serde_json::{Value, json};

use crate::harness::keyring::{AppKey, assertion_claims, jwks};
use crate::harness::person::Request;
use crate::harness::{Client, Server, jwt, on_both};

on_both![
    a_signed_request_is_the_whole_request,
    what_is_beside_it_does_not_count,
    what_has_no_place_beside_it_is_refused,
    what_the_client_has_not_signed_is_refused,
    a_client_that_signs_its_requests_signs_all_of_them,
];

const TYP: &str = "oauth-authz-req+jwt";

/// The request's fields as claims about this client, for this server, now.
fn claims(server: &Server, client: &Client, request: &Request) -> Value {
    let now = server.clock_seconds();
    let mut claims =
        json!({ "iss": client.client_id, "aud": server.issuer, "iat": now, "nbf": now, "exp": now + 300, "jti": "one" });
    for (name, value) in &request.fields {
        claims[name] = json!(value);
    }
    claims
}

fn header(key: &AppKey) -> Value {
    json!({ "alg": key.alg.as_str(), "kid": key.kid, "typ": TYP })
}

/// The request as one parameter, with client_id beside it.
fn object(client: &Client, request: &Request, jwt: &str) -> Request {
    let fields = [("client_id", client.client_id.as_str()), ("request", jwt)];
    Request { fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(), ..request.clone() }
}

async fn a_signed_request_is_the_whole_request(server: Server) {
    let keys = [Alg::RS256, Alg::ES256, Alg::EdDSA].map(AppKey::new);
    let all: Vec<&AppKey> = keys.iter().collect();
    let client = server.client(json!({ "jwks": jwks(&all) })).await;
    let alice = server.person("alice").await;
    for key in &keys {
        let request = Request::of(&client).with("scope", "openid email");
        let mut inside = claims(&server, &client, &request);
        inside["max_age"] = json!(3600);
        let back = alice.arrive(&object(&client, &request, &key.sign(&header(key), &inside))).await;
        assert_eq!(back.params["state"], request.get("state").unwrap());
        let tokens = client.redeem(back.code(), &back.verifier).await.ok();
        let (_, id_token) = jwt(&tokens.str("id_token"));
        assert_eq!(id_token["nonce"].as_str(), request.get("nonce"));
        assert!(id_token["auth_time"].is_i64(), "max_age was read");
        assert!(tokens.str("scope").contains("email"));
    }
    // Without a type, or as any JWT; without exp, nbf, iat and jti; as a POST.
    let [_, _, key] = &keys;
    let request = Request::of(&client);
    for typ in [Value::Null, json!("JWT")] {
        let mut inside = claims(&server, &client, &request);
        inside.as_object_mut().unwrap().retain(|name, _| !["exp", "nbf", "iat", "jti"].contains(&name.as_str()));
        let mut header = header(key);
        header["typ"] = typ;
        header.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        alice.arrive(&object(&client, &request, &key.sign(&header, &inside))).await.code();
    }
}

/// RFC 9101 §6.3: only the parameters inside count.
async fn what_is_beside_it_does_not_count(server: Server) {
    let key = AppKey::new(Alg::ES256);
    let client = server.client(json!({ "jwks": jwks(&[&key]) })).await;
    let alice = server.person("alice").await;
    let request = Request::of(&client);
    let signed = key.sign(&header(&key), &claims(&server, &client, &request));
    let beside = object(&client, &request, &signed)
        .with("state", "beside")
        .with("nonce", "beside")
        .with("redirect_uri", "https://evil.test/")
        .with("response_type", "token")
        .with("scope", "openid email phone")
        .with("prompt", "none");
    let back = alice.arrive(&beside).await;
    assert!(back.url.starts_with(&client.redirect_uri));
    assert_eq!(back.params["state"], request.get("state").unwrap());
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    assert_eq!(jwt(&tokens.str("id_token")).1["nonce"].as_str(), request.get("nonce"));
    assert_eq!(tokens.str("scope"), "openid");
    // What is missing inside is missing.
    let mut inside = claims(&server, &client, &request);
    inside.as_object_mut().unwrap().remove("code_challenge");
    let back = alice.arrive(&object(&client, &request, &key.sign(&header(&key), &inside)).with("code_challenge", "x")).await;
    back.refused("invalid_request");
    // client_id beside it is required, and the same.
    let other = server.client(json!({ "jwks": jwks(&[&key]) })).await;
    let page = alice.answer(&object(&other, &request, &signed)).await.unwrap_err();
    assert_eq!(page.status, 400, "{}", page.body);
    let page = alice.answer(&object(&client, &request, &signed).without("client_id")).await.unwrap_err();
    assert_eq!(page.status, 400);
}

/// a secret in a URL is refused wherever the request itself stands. And there is one request, not two.
async fn what_has_no_place_beside_it_is_refused(server: Server) {
    let key = AppKey::new(Alg::ES256);
    let client = server.client(json!({ "jwks": jwks(&[&key]) })).await;
    let alice = server.person("alice").await;
    let request = Request::of(&client);
    let signed = key.sign(&header(&key), &claims(&server, &client, &request));
    for (name, value, error) in [
        ("client_secret", "hunter2", "invalid_request"),
        ("client_assertion", "a.b.c", "invalid_request"),
        ("request_uri", "https://evil.test/request", "request_uri_not_supported"),
        ("registration", "{}", "registration_not_supported"),
    ] {
        let beside = object(&client, &request, &signed).with("redirect_uri", &client.redirect_uri).with(name, value);
        alice.answer(&beside).await.unwrap().refused(error);
        let page = alice.answer(&beside.without("redirect_uri")).await.unwrap_err();
        assert_eq!(page.status, 400, "{name}");
    }
}

/// openid.md 32, 105. The error goes to the client where the parameters beside the object name one of its redirect URIs, and
/// stays on a page where they do not.
async fn what_the_client_has_not_signed_is_refused(server: Server) {
    let (key, mallory) = (AppKey::new(Alg::ES256), AppKey::new(Alg::ES256));
    let client = server.client(json!({ "jwks": jwks(&[&key]), "request_object_signing_alg": "ES256" })).await;
    let keyless = server.client(json!({})).await;
    let alice = server.person("alice").await;
    let request = Request::of(&client);
    let good = claims(&server, &client, &request);
    let now = server.clock_seconds();
    let with = |members: Value| {
        let mut claims = good.clone();
        for (name, value) in members.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        key.sign(&header(&key), &claims)
    };
    let mut assertion = assertion_claims(&client.client_id, &server.issuer, now);
    assertion["client_id"] = json!(client.client_id);
    let ed = AppKey::new(Alg::EdDSA);
    for (what, jwt) in [
        ("a foreign key", mallory.sign(&header(&key), &good)),
        ("another algorithm", ed.sign(&header(&ed), &good)),
        ("a foreign issuer", with(json!({ "iss": "https://evil.test" }))),
        ("no issuer", with(json!({ "iss": null }))),
        ("a foreign audience", with(json!({ "aud": "https://evil.test" }))),
        ("no audience", with(json!({ "aud": null }))),
        ("another client inside", with(json!({ "client_id": keyless.client_id }))),
        ("no client inside", with(json!({ "client_id": null }))),
        ("expired", with(json!({ "exp": now - 61 }))),
        ("not yet", with(json!({ "nbf": now + 62 }))),
        ("one in one", with(json!({ "request": "x" }))),
        ("a reference in one", with(json!({ "request_uri": "https://evil.test" }))),
        ("an assertion", key.sign(&json!({ "alg": "ES256", "kid": key.kid }), &assertion)),
        ("an access token's type", key.sign(&json!({ "alg": "ES256", "kid": key.kid, "typ": "at+jwt" }), &good)),
        ("a key that it brings", key.sign(&json!({ "alg": "ES256", "jwk": key.public() }), &good)),
        ("a key from elsewhere", key.sign(&json!({ "alg": "ES256", "kid": key.kid, "jku": "https://evil.test/" }), &good)),
        ("an extension", key.sign(&json!({ "alg": "ES256", "kid": key.kid, "crit": ["exp"] }), &good)),
        ("nothing", "x".to_owned()),
        ("encrypted", "a.b.c.d.e".to_owned()),
    ] {
        let refused = Request { fields: request.fields.clone(), ..request.clone() }.and("request", &jwt);
        let back = alice.arrive(&refused).await;
        assert_eq!(back.refused("invalid_request_object").params["state"], request.get("state").unwrap(), "{what}");
        let page = alice.answer(&object(&client, &request, &jwt)).await.unwrap_err();
        assert!(page.status == 400 && page.location().is_none(), "{what}: {}", page.status);
        let elsewhere = object(&client, &request, &jwt).with("redirect_uri", "https://evil.test/");
        let page = alice.answer(&elsewhere).await.unwrap_err();
        assert!(page.status == 400 && page.location().is_none(), "{what}: {}", page.status);
    }
    // Not signed at all, and a client without keys.
    let unsigned = request.clone().and("request", "eyJhbGciOiJub25lIn0.e30.");
    alice.arrive(&unsigned).await.refused("request_not_supported");
    let plain = Request::of(&keyless);
    let signed = key.sign(&header(&key), &claims(&server, &keyless, &plain));
    alice.arrive(&plain.and("request", &signed)).await.refused("invalid_request_object");
    // A refusal names its story, and the good one still works.
    alice.arrive(&object(&client, &request, &with(json!({})))).await.code();
}

/// openid.md 106.
async fn a_client_that_signs_its_requests_signs_all_of_them(server: Server) {
    let key = AppKey::new(Alg::EdDSA);
    assert!(server.try_client(json!({ "require_signed_request_object": true })).await.is_err(), "by which key?");
    let client = server.client(json!({ "jwks": jwks(&[&key]), "require_signed_request_object": true })).await;
    let alice = server.person("alice").await;
    let request = Request::of(&client);
    alice.arrive(&request).await.refused("invalid_request");
    let signed = key.sign(&header(&key), &claims(&server, &client, &request));
    alice.arrive(&object(&client, &request, &signed)).await.code();
}
