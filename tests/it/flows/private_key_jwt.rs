//! private_key_jwt (RFC 7523, OpenID Connect Core §9, openid.md E; security.md R-12, R-25, R-29, R-33 to R-38, R-58 to R-60).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::config::Allowed;
use chancery::jose::Alg;
use serde_json::{Value, json};

use crate::harness::keyring::{ASSERTION_TYPE, AppKey, Host, assertion_claims, jwks};
use crate::harness::{Answer, Backend, Client, Server, Setup, on_both};

on_both![
    every_endpoint_takes_an_assertion_by_any_key_of_the_client,
    an_assertion_counts_once_on_all_replicas,
    forgeries_prove_nothing,
    the_fapi2_profile_is_stricter,
    a_client_is_registered_with_keys_and_without_a_secret,
];

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

async fn signing_client(server: &Server, keys: &[&AppKey]) -> Client {
    server.machine(json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks(keys) })).await
}

fn claims(server: &Server, client: &Client) -> Value {
    assertion_claims(&client.client_id, &server.issuer, server.clock_seconds())
}

async fn send(server: &Server, path: &str, jwt: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("client_assertion_type", ASSERTION_TYPE), ("client_assertion", jwt)];
    fields.extend(more);
    server.post(path, &fields, &[]).await
}

/// A token request with a fresh assertion by this key.
async fn token(server: &Server, client: &Client, key: &AppKey) -> Answer {
    send(server, "/token", &key.sign(&key.header(), &claims(server, client)), &[GRANT]).await
}

async fn every_endpoint_takes_an_assertion_by_any_key_of_the_client(server: Server) {
    let keys = [Alg::RS256, Alg::ES256, Alg::EdDSA].map(AppKey::new);
    let all: Vec<&AppKey> = keys.iter().collect();
    let grants = json!(["client_credentials", "urn:ietf:params:oauth:grant-type:device_code"]);
    let document =
        json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks(&all), "grant_types": grants, "redirect_uris": [] });
    let client = server.client(document).await;
    for key in &keys {
        let fresh = || key.sign(&key.header(), &claims(&server, &client));
        let issued = send(&server, "/token", &fresh(), &[GRANT]).await.ok().str("access_token");
        let looked = send(&server, "/introspect", &fresh(), &[("token", &issued)]).await.ok();
        assert_eq!(looked.json()["active"], true);
        send(&server, "/revoke", &fresh(), &[("token", &issued), ("client_id", &client.client_id)]).await.ok();
        let looked = send(&server, "/introspect", &fresh(), &[("token", &issued)]).await.ok();
        assert_eq!(looked.json()["active"], false);
        send(&server, "/device/code", &fresh(), &[("scope", "openid")]).await.ok();
    }
    // RFC 9864's name of the same algorithm, the type of its own, and no kid where one key alone fits.
    let [_, _, ed] = &keys;
    for header in [
        json!({ "alg": "Ed25519", "kid": ed.kid }),
        json!({ "alg": "EdDSA", "kid": ed.kid, "typ": "client-authentication+jwt" }),
        json!({ "alg": "EdDSA", "typ": "JWT" }),
    ] {
        send(&server, "/token", &ed.sign(&header, &claims(&server, &client)), &[GRANT]).await.ok();
    }
    // Another method beside it, another client's name beside it, a secret instead of it.
    let jwt = ed.sign(&ed.header(), &claims(&server, &client));
    send(&server, "/token", &jwt, &[GRANT, ("client_secret", "x")]).await.refused(400, "invalid_request");
    send(&server, "/token", &jwt, &[GRANT, ("client_id", "somebody-else")]).await.refused(400, "invalid_request");
    send(&server, "/token", &jwt, &[GRANT, ("client_id", &client.client_id)]).await.ok();
    let posted = [GRANT, ("client_id", client.client_id.as_str()), ("client_secret", "x")];
    server.post("/token", &posted, &[]).await.refused(401, "invalid_client");
    let by_secret = server.machine(json!({})).await;
    token(&server, &by_secret, ed).await.refused(401, "invalid_client");
    let metadata = server.metadata().await;
    for endpoint in ["token", "introspection", "revocation"] {
        let listed = |name: &str| metadata[format!("{endpoint}_endpoint_auth_{name}_supported")].to_string();
        assert!(listed("methods").contains("private_key_jwt") && listed("signing_alg_values").contains("Ed25519"), "{endpoint}");
        assert!(!listed("signing_alg_values").contains("HS256") && !listed("signing_alg_values").contains("none"));
    }
}

/// R-12, R-29.
async fn an_assertion_counts_once_on_all_replicas(server: Server) {
    let key = AppKey::new(Alg::ES256);
    let client = signing_client(&server, &[&key]).await;
    let replica = server.replica().await;
    let once = key.sign(&key.header(), &claims(&server, &client));
    send(&server, "/token", &once, &[GRANT]).await.ok();
    for again in [&server, &replica] {
        let refused = send(again, "/token", &once, &[GRANT]).await.refused(401, "invalid_client");
        let story = again.explain(&refused.trace_id()).await;
        assert!(story.happened.contains("twice"), "{story:?}");
    }
    // The jti counts, not the bytes: signed anew it is the same assertion.
    let mut same = claims(&server, &client);
    send(&server, "/token", &key.sign(&key.header(), &same), &[GRANT]).await.ok();
    same["exp"] = json!(server.clock_seconds() + 90);
    send(&replica, "/introspect", &key.sign(&key.header(), &same), &[("token", "x")]).await.refused(401, "invalid_client");
    // Another client's jti is its own.
    let other = signing_client(&server, &[&key]).await;
    same["iss"] = json!(other.client_id);
    same["sub"] = json!(other.client_id);
    send(&server, "/token", &key.sign(&key.header(), &same), &[GRANT]).await.ok();
    // Many at once: one of them counts.
    let crowd = key.sign(&key.header(), &claims(&server, &client));
    let sent = (0..20).map(|number| {
        let (site, crowd) = (if number % 2 == 0 { server.clone() } else { replica.clone() }, crowd.clone());
        tokio::spawn(async move { send(&site, "/token", &crowd, &[GRANT]).await.status })
    });
    let mut statuses = Vec::new();
    for answer in sent.collect::<Vec<_>>() {
        statuses.push(answer.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 401].contains(status)));
    // One that does not verify spends nothing.
    let honest = claims(&server, &client);
    let mallory = AppKey::new(Alg::ES256);
    let forged = mallory.sign(&key.header(), &honest);
    send(&server, "/token", &forged, &[GRANT]).await.refused(401, "invalid_client");
    send(&server, "/token", &key.sign(&key.header(), &honest), &[GRANT]).await.ok();
}

/// R-29, R-33, R-34, R-37, R-38, and R-27: what was read and does not hold is one answer.
async fn forgeries_prove_nothing(server: Server) {
    let (key, mallory) = (AppKey::new(Alg::EdDSA), AppKey::new(Alg::EdDSA));
    let client = signing_client(&server, &[&key]).await;
    let now = server.clock_seconds();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let fresh = || claims(&server, &client);
    let with = |members: Value| {
        let mut claims = fresh();
        for (name, value) in members.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        key.sign(&key.header(), &claims)
    };
    let uniform = send(&server, "/token", &mallory.sign(&key.header(), &fresh()), &[GRANT]).await.refused(401, "invalid_client");
    for (what, jwt) in [
        ("a foreign key under our kid", mallory.sign(&key.header(), &fresh())),
        ("a foreign key under its own kid", mallory.sign(&mallory.header(), &fresh())),
        ("another alg of the same key", key.sign(&json!({ "alg": "ES256", "kid": key.kid }), &fresh())),
        ("aud of somebody else", with(json!({ "aud": "https://evil.test" }))),
        ("aud with a slash more", with(json!({ "aud": format!("{}/", server.issuer) }))),
        ("aud of two", with(json!({ "aud": [server.issuer, "https://evil.test"] }))),
        ("iss of somebody else", with(json!({ "iss": "https://evil.test" }))),
        ("expired", with(json!({ "exp": now - 300, "iat": now - 360 }))),
        ("too long", with(json!({ "exp": now + 361 }))),
        ("from the future", with(json!({ "iat": now + 62, "exp": now + 120 }))),
        ("not yet", with(json!({ "nbf": now + 62 }))),
        ("somebody unknown", {
            let mut claims = fresh();
            (claims["iss"], claims["sub"]) = (json!("nobody"), json!("nobody"));
            key.sign(&key.header(), &claims)
        }),
    ] {
        let refused = send(&server, "/token", &jwt, &[GRANT]).await.refused(401, "invalid_client");
        assert_eq!(refused.json(), uniform.json(), "{what}");
    }
    let signed_by_the_public_key = {
        let public = key.public()["x"].as_str().unwrap().to_owned();
        let input = format!("{}.{}", part(&json!({ "alg": "HS256", "kid": key.kid })), part(&fresh()));
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&secret, input.as_bytes())))
    };
    let mut odd = vec![
        ("alg none".to_owned(), format!("{}.{}.", part(&json!({ "alg": "none" })), part(&fresh()))),
        ("alg none, signed".to_owned(), key.sign(&json!({ "alg": "none", "kid": key.kid }), &fresh())),
        ("HMAC with the public key".to_owned(), signed_by_the_public_key),
        ("no exp".to_owned(), with(json!({ "exp": null }))),
        ("no jti".to_owned(), with(json!({ "jti": null }))),
        ("no iat".to_owned(), with(json!({ "iat": null }))),
        ("no sub".to_owned(), with(json!({ "sub": null }))),
        ("no aud".to_owned(), with(json!({ "aud": null }))),
        ("exp as text".to_owned(), with(json!({ "exp": (now + 60).to_string() }))),
        ("an access token's type".to_owned(), key.sign(&json!({ "alg": "EdDSA", "kid": key.kid, "typ": "at+jwt" }), &fresh())),
        ("a claim twice".to_owned(), {
            let claims = fresh().to_string().replacen('{', r#"{"sub":"admin","#, 1);
            let input = format!("{}.{}", part(&key.header()), URL_SAFE_NO_PAD.encode(claims));
            format!("{input}.{}", key.sign(&key.header(), &fresh()).rsplit_once('.').unwrap().1)
        }),
        ("nothing".to_owned(), "x.y.z".to_owned()),
        ("too long".to_owned(), with(json!({ "filler": "x".repeat(13_000) }))),
    ];
    for member in [
        json!({ "crit": ["exp"] }),
        json!({ "jku": "https://evil.test/jwks" }),
        json!({ "x5u": "https://evil.test/cert" }),
        json!({ "x5c": ["AA"] }),
        json!({ "jwk": mallory.public() }),
        json!({ "b64": false }),
    ] {
        let mut header = key.header();
        header.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        odd.push((member.to_string(), key.sign(&header, &fresh())));
    }
    for (what, jwt) in odd {
        let answer = send(&server, "/token", &jwt, &[GRANT]).await;
        assert!([400, 401].contains(&answer.status), "{what}: {}", answer.text);
        assert!(["invalid_client", "invalid_request"].contains(&answer.str("error").as_str()), "{what}");
    }
    token(&server, &client, &key).await.ok();
}

/// openid.md 57, 58, 61.
async fn the_fapi2_profile_is_stricter(server: Server) {
    let (rsa, ec) = (AppKey::new(Alg::RS256), AppKey::new(Alg::ES256));
    let fapi2 = |document: Value| {
        let server = server.clone();
        async move {
            let mut all = json!({ "profile": "fapi2", "token_endpoint_auth_method": "private_key_jwt", "grant_types": ["client_credentials"], "redirect_uris": [] });
            all.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
            server.try_client(all).await
        }
    };
    assert!(fapi2(json!({ "jwks": jwks(&[&rsa]), "token_endpoint_auth_signing_alg": "RS256" })).await.is_err());
    assert!(fapi2(json!({ "jwks": jwks(&[&ec]), "token_endpoint_auth_method": "client_secret_basic" })).await.is_err());
    let client = fapi2(json!({ "jwks": jwks(&[&rsa, &ec]) })).await.unwrap();
    token(&server, &client, &ec).await.ok();
    token(&server, &client, &rsa).await.refused(401, "invalid_client");
    let token_endpoint = server.metadata().await["token_endpoint"].clone();
    let loose = signing_client(&server, &[&ec]).await;
    for (aud, also_loose) in
        [(token_endpoint, true), (json!([server.issuer]), true), (json!(format!("{}/par", server.issuer)), false)]
    {
        let with = |client: &Client| {
            let mut claims = claims(&server, client);
            claims["aud"] = aud.clone();
            ec.sign(&ec.header(), &claims)
        };
        send(&server, "/token", &with(&client), &[GRANT]).await.refused(401, "invalid_client");
        assert_eq!(send(&server, "/token", &with(&loose), &[GRANT]).await.status == 200, also_loose, "{aud}");
    }
}

async fn a_client_is_registered_with_keys_and_without_a_secret(server: Server) {
    let key = AppKey::new(Alg::ES256);
    let client = signing_client(&server, &[&key]).await;
    assert_eq!(client.secret, None);
    token(&server, &client, &key).await.ok();
    // Keys are replaced as everything else is.
    let next = AppKey::new(Alg::EdDSA);
    server.update_client(&client, json!({ "jwks": jwks(&[&next]) })).await;
    token(&server, &client, &key).await.refused(401, "invalid_client");
    token(&server, &client, &next).await.ok();
    let symmetric = json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] });
    for (patch, because) in [
        (json!({ "jwks_uri": "https://app.test/jwks" }), "jwks_uri"),
        (json!({ "jwks": null }), "jwks"),
        (json!({ "jwks": null, "jwks_uri": "http://app.test/jwks" }), "jwks_uri"),
        (json!({ "jwks": null, "jwks_uri": "http://127.0.0.1/jwks" }), "jwks_uri"),
        (json!({ "jwks": null, "jwks_uri": "file:///etc/passwd" }), "jwks_uri"),
        (json!({ "jwks": symmetric }), "symmetric"),
        (json!({ "token_endpoint_auth_signing_alg": "HS256" }), "token_endpoint_auth_signing_alg"),
        (json!({ "token_endpoint_auth_signing_alg": "RS256" }), "jwks"),
    ] {
        let error = server.try_update_client(&client, patch.clone()).await.unwrap_err();
        assert!(error.contains(because), "{patch}: {error}");
    }
}

async fn at_home(allow: &str) -> Server {
    let network = Allowed::Network(allow.parse().unwrap());
    Setup::on(Backend::Sqlite).config(move |config| config.outbound.allow = vec![network]).start().await
}

async fn remote(server: &Server, jwks_uri: &str) -> Client {
    server.machine(json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": jwks_uri })).await
}

/// openid.md 63, R-59: found by kid, fetched anew for an unknown one with a pause between, once for all who ask at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_at_their_jwks_uri() {
    let server = at_home("127.0.0.0/8").await;
    let (first, second) = (AppKey::new(Alg::ES256), AppKey::new(Alg::ES256));
    let host = Host::start(&jwks(&[&first])).await;
    host.answer("200 OK\r\nContent-Type: application/jwk-set+json", &jwks(&[&first]).to_string(), Duration::from_millis(300));
    let client = remote(&server, &host.url()).await;
    let crowd: Vec<_> = (0..12)
        .map(|_| {
            let (server, jwt) = (server.clone(), first.sign(&first.header(), &claims(&server, &client)));
            tokio::spawn(async move { send(&server, "/token", &jwt, &[GRANT]).await.status })
        })
        .collect();
    for one in crowd {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(host.visits(), 1, "once for all");

    host.publish(&jwks(&[&second]));
    token(&server, &client, &second).await.refused(401, "invalid_client");
    assert_eq!(host.visits(), 1, "it was asked a moment ago");
    server.clock.advance(Duration::from_secs(31));
    token(&server, &client, &second).await.ok();
    assert_eq!(host.visits(), 2);
    token(&server, &client, &first).await.refused(401, "invalid_client");
    // Whoever asks for keys that do not exist sends nobody there again and again.
    for _ in 0..5 {
        token(&server, &client, &AppKey::new(Alg::ES256)).await.refused(401, "invalid_client");
    }
    assert_eq!(host.visits(), 2);

    // While the host is away what it said counts on, for an hour.
    host.answer("503 Service Unavailable", "", Duration::ZERO);
    server.clock.advance(Duration::from_secs(20 * 60));
    token(&server, &client, &second).await.ok();
    token(&server, &client, &second).await.ok();
    assert_eq!(host.visits(), 3, "a failure is remembered, too");
    server.clock.advance(Duration::from_secs(60 * 60));
    token(&server, &client, &second).await.refused(401, "invalid_client");
}

/// What is for the client alone is encrypted to a key of the same set.
#[tokio::test(flavor = "multi_thread")]
async fn keys_at_an_address_are_encrypted_to() {
    let server = at_home("127.0.0.0/8").await;
    let (signs, opens) = (AppKey::new(Alg::ES256), AppKey::new(Alg::ES256));
    let mut enc = opens.public();
    enc["use"] = json!("enc");
    let host = Host::start(&json!({ "keys": [signs.public(), enc] })).await;
    let client = server.client(json!({ "jwks_uri": host.url(), "id_token_encrypted_response_alg": "ECDH-ES" })).await;
    let alice = server.person("alice").await;
    let back = alice.visit(&client, "openid").await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    let jwe = tokens.str("id_token");
    assert_eq!(jwe.split('.').count(), 5);
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwe.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("ECDH-ES"), &json!(opens.kid)), "the one that is for it");
}

/// R-58: an address of our own network is reached by no spelling, by no name and by no redirect, and the answer tells nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_into_our_network() {
    let server = Server::start(Backend::Sqlite).await;
    let key = AppKey::new(Alg::EdDSA);
    let inside = Host::start(&jwks(&[&key])).await;
    let wrong = AppKey::new(Alg::EdDSA);
    let by_value = signing_client(&server, &[&key]).await;
    let uniform = token(&server, &by_value, &wrong).await.refused(401, "invalid_client").json();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "[fd00::1]", "0.0.0.0"] {
        let client = remote(&server, &format!("https://{host}:{}/jwks.json", inside.port)).await;
        let refused = token(&server, &client, &key).await.refused(401, "invalid_client");
        assert_eq!(refused.json(), uniform, "{host}");
        let story = server.explain(&refused.trace_id()).await;
        assert!(story.received.as_ref().is_some_and(|why| why.contains("not public")), "{host}: {story:?}");
    }
    assert_eq!(inside.visits(), 0);
    // Even one that may be fetched from leads nowhere else.
    let server = at_home("127.0.0.0/8").await;
    let outside = Host::start(&json!({})).await;
    outside.answer(&format!("302 Found\r\nLocation: {}", inside.url()), "", Duration::ZERO);
    let client = remote(&server, &outside.url()).await;
    token(&server, &client, &key).await.refused(401, "invalid_client");
    assert_eq!((outside.visits(), inside.visits()), (1, 0));
}

/// R-59, R-60.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_fetched_look_like_a_wrong_signature() {
    let server = at_home("127.0.0.0/8").await;
    let key = AppKey::new(Alg::EdDSA);
    let wrong = AppKey::new(Alg::EdDSA);
    let by_value = signing_client(&server, &[&key]).await;
    let uniform = token(&server, &by_value, &wrong).await.refused(401, "invalid_client").json();
    let json = "200 OK\r\nContent-Type: application/json";
    let good = jwks(&[&key]).to_string();
    let mut private = key.public();
    private["d"] = json!("AA");
    let slow = Duration::from_secs(8);
    for (head, body, after, because) in [
        ("200 OK\r\nContent-Type: text/html", good.clone(), Duration::ZERO, "Content-Type"),
        (json, format!("{good}{}", " ".repeat(65 * 1024)), Duration::ZERO, "longer"),
        (json, json!({ "keys": [private] }).to_string(), Duration::ZERO, "private"),
        (json, r#"{"keys":[]}"#.to_owned(), Duration::ZERO, "no key"),
        (json, "{".to_owned(), Duration::ZERO, "JSON"),
        ("404 Not Found", String::new(), Duration::ZERO, "404"),
        (json, good.clone(), slow, "within 3 seconds"),
    ] {
        let host = Host::start(&json!({})).await;
        host.answer(head, &body, after);
        let client = remote(&server, &host.url()).await;
        for _ in 0..2 {
            let refused = token(&server, &client, &key).await.refused(401, "invalid_client");
            assert_eq!(refused.json(), uniform, "{because}");
            let story = server.explain(&refused.trace_id()).await;
            assert!(story.received.as_ref().is_some_and(|why| why.contains(because)), "{because}: {story:?}");
        }
        assert_eq!(host.visits(), 1, "{because}: a failure is remembered");
    }
}
