//! In which form clients are told about people: the algorithms that sign ID tokens and userinfo, and encrypt them.

use std::time::Duration;

use chancery::config::Allowed;
use serde_json::json;

use crate::harness::keyring::Host;
use crate::harness::{Backend, Recipient, Request, Server, Setup, jwt, on_both};

on_both![
    userinfo_is_signed_for_those_who_registered_it,
    a_token_of_each_algorithm_is_a_hint,
    an_algorithm_that_is_not_offered_is_refused,
    what_is_encrypted_opens_with_the_clients_key,
    encryption_without_a_key_to_encrypt_to_is_refused,
    an_encrypted_hint_is_refused_and_says_what_to_send
];

/// OpenID Connect Core §5.3.2; openid.md 75.
async fn userinfo_is_signed_for_those_who_registered_it(server: Server) {
    let alice = server.person("alice").await;
    for alg in offered(&server, "userinfo_signing_alg_values_supported").await {
        let client = server.client(json!({ "userinfo_signed_response_alg": alg })).await;
        let tokens = alice.tokens(&client, "openid email").await;
        let answer = server.userinfo(&tokens.str("access_token")).await.ok();
        assert_eq!((answer.header("content-type"), answer.header("cache-control")), ("application/jwt", "no-store"));
        server.verify_signature(&answer.text).await;
        let (header, claims) = jwt(&answer.text);
        assert_eq!(header["alg"], alg);
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(server.issuer), &json!(client.client_id)));
        assert_eq!((&claims["sub"], &claims["email"]), (&json!(alice.sub), &json!("alice@example.com")));
        for absent in ["nonce", "exp", "at_hash", "sid"] {
            assert!(claims.get(absent).is_none(), "{absent}");
        }
        // It speaks of a client and a person as an ID token does, and is none: neither here nor as an access token.
        alice
            .arrive(&Request::of(&client).with("id_token_hint", &answer.text).with("prompt", "none"))
            .await
            .refused("invalid_request");
        server.userinfo(&answer.text).await.refused(401, "invalid_token");
        // Who asks for nothing gets JSON.
        server.update_client(&client, json!({ "userinfo_signed_response_alg": null })).await;
        let plain = server.userinfo(&tokens.str("access_token")).await.ok();
        assert_eq!(plain.header("content-type"), "application/json");
        assert!(plain.json().get("iss").is_none() && plain.json().get("aud").is_none());
    }
}

/// OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2: whatever the token was signed with, also when the client has changed its mind.
async fn a_token_of_each_algorithm_is_a_hint(server: Server) {
    let alice = server.person("alice").await;
    for alg in offered(&server, "id_token_signing_alg_values_supported").await {
        let client = server.client(json!({ "id_token_signed_response_alg": alg, "first_party": true })).await;
        let hint = alice.tokens(&client, "openid").await.str("id_token");
        assert_eq!(jwt(&hint).0["alg"], alg);
        server.update_client(&client, json!({ "id_token_signed_response_alg": "RS256" })).await;
        let request = Request::of(&client).with("prompt", "none").with("id_token_hint", &hint);
        alice.arrive(&request).await.code();
    }
}

async fn an_algorithm_that_is_not_offered_is_refused(server: Server) {
    let admin = server.admin("admin:write").await;
    for member in ["id_token_signed_response_alg", "userinfo_signed_response_alg"] {
        for alg in ["none", "HS256", "RS512", "PS384", "ES384", "ES256K", "Ed448", "rs256", ""] {
            assert!(server.try_client(json!({ member: alg })).await.is_err(), "{member}: {alg}");
            let client = json!({ "redirect_uris": ["https://app.test/cb"], member: alg });
            admin.post("/clients", client).await.problem(422, "document-refused").about("pointer", &format!("/{member}"));
        }
    }
    let jwks = Recipient::new().jwks();
    for kind in ["id_token", "userinfo"] {
        let (alg, enc) = (format!("{kind}_encrypted_response_alg"), format!("{kind}_encrypted_response_enc"));
        let unknown = ["RSA1_5", "RSA-OAEP", "RSA-OAEP-512", "ECDH-ES+A128KW", "A128KW", "dir", "none", "ecdh-es", ""];
        for (member, values) in [(&alg, &unknown[..]), (&enc, &["A128CBC", "A192GCM", "A256CBC-HS512", "none", "a256gcm", ""])] {
            for value in values {
                let client = json!({ "redirect_uris": ["https://app.test/cb"], "jwks": jwks, &alg: "ECDH-ES", member: value });
                assert!(server.try_client(client.clone()).await.is_err(), "{member}: {value}");
                admin.post("/clients", client).await.problem(422, "document-refused").about("pointer", &format!("/{member}"));
            }
        }
    }
}

/// OpenID Connect Core §10.2: every algorithm that is offered, for ID tokens and for userinfo, signed or not.
async fn what_is_encrypted_opens_with_the_clients_key(server: Server) {
    let alice = server.person("alice").await;
    let recipient = Recipient::new();
    let jwks = recipient.jwks();
    let encs = offered(&server, "id_token_encryption_enc_values_supported").await;
    let algs = offered(&server, "id_token_encryption_alg_values_supported").await;
    assert_eq!(offered(&server, "userinfo_encryption_enc_values_supported").await, encs);
    assert_eq!(offered(&server, "userinfo_encryption_alg_values_supported").await, algs);
    let client = server.client(json!({ "jwks": jwks, "id_token_signed_response_alg": "ES256", "first_party": true })).await;
    for alg in &algs {
        for enc in &encs {
            let asked = json!({
                "id_token_encrypted_response_alg": alg, "id_token_encrypted_response_enc": enc,
                "userinfo_encrypted_response_alg": alg, "userinfo_encrypted_response_enc": enc, "userinfo_signed_response_alg": null,
            });
            server.update_client(&client, asked).await;
            let tokens = alice.tokens(&client, "openid email").await;
            let (header, inside) = recipient.open(&tokens.str("id_token"));
            assert_eq!((&header["alg"], &header["enc"], &header["cty"]), (&json!(alg), &json!(enc), &json!("JWT")));
            server.verify_signature(&inside).await;
            let (header, claims) = jwt(&inside);
            assert_eq!(
                (&header["alg"], &claims["aud"], &claims["sub"]),
                (&json!("ES256"), &json!(client.client_id), &json!(alice.sub))
            );
            // The signed token is the hint (Core §3.1.2.1).
            alice.arrive(&Request::of(&client).with("prompt", "none").with("id_token_hint", &inside)).await.code();
            let refreshed = client.refresh(&tokens.str("refresh_token")).await.ok();
            server.verify_signature(&recipient.open(&refreshed.str("id_token")).1).await;

            let answer = server.userinfo(&tokens.str("access_token")).await.ok();
            assert_eq!(answer.header("content-type"), "application/jwt");
            let (header, claims) = recipient.open(&answer.text);
            assert!(header.get("cty").is_none());
            let claims: serde_json::Value = serde_json::from_str(&claims).unwrap();
            assert_eq!((&claims["sub"], &claims["email"]), (&json!(alice.sub), &json!("alice@example.com")));
            server.update_client(&client, json!({ "userinfo_signed_response_alg": "PS256" })).await;
            let (header, inside) = recipient.open(&server.userinfo(&tokens.str("access_token")).await.ok().text);
            assert_eq!(header["cty"], "JWT");
            server.verify_signature(&inside).await;
            assert_eq!((&jwt(&inside).0["alg"], &jwt(&inside).1["email"]), (&json!("PS256"), &json!("alice@example.com")));
        }
    }
    // OpenID Connect Registration §2: the default of enc, and what is not registered is not encrypted.
    let plain = json!({ "id_token_encrypted_response_alg": "ECDH-ES", "id_token_encrypted_response_enc": null, "userinfo_encrypted_response_alg": null, "userinfo_encrypted_response_enc": null, "userinfo_signed_response_alg": null });
    server.update_client(&client, plain).await;
    let tokens = alice.tokens(&client, "openid email").await;
    assert_eq!(recipient.open(&tokens.str("id_token")).0["enc"], "A128CBC-HS256");
    assert_eq!(server.userinfo(&tokens.str("access_token")).await.ok().json()["email"], "alice@example.com");
}

async fn encryption_without_a_key_to_encrypt_to_is_refused(server: Server) {
    let admin = server.admin("admin:write").await;
    let jwks = Recipient::new().jwks();
    let key = |at: usize| json!({ "keys": [jwks["keys"][at]] });
    for kind in ["id_token", "userinfo"] {
        let (alg, enc) = (format!("{kind}_encrypted_response_alg"), format!("{kind}_encrypted_response_enc"));
        for (at_fault, members) in [
            (&alg, json!({ &alg: "ECDH-ES" })),
            (&alg, json!({ &alg: "ECDH-ES", "jwks": key(0) })),
            (&alg, json!({ &alg: "ECDH-ES", "jwks": key(1) })),
            (&alg, json!({ &alg: "RSA-OAEP-256", "jwks": key(2) })),
            (&enc, json!({ &enc: "A256GCM", "jwks": jwks })),
        ] {
            assert!(server.try_client(members.clone()).await.is_err_and(|error| error.contains(at_fault.as_str())), "{members}");
            let mut client = members;
            client["redirect_uris"] = json!(["https://app.test/cb"]);
            admin.post("/clients", client).await.problem(422, "document-refused").about("pointer", &format!("/{at_fault}"));
        }
        // What stands cannot be undermined by an update.
        let client = server.client(json!({ &alg: "ECDH-ES", "jwks": jwks })).await;
        for patch in [json!({ "jwks": null }), json!({ "jwks": key(1) }), json!({ &alg: null })] {
            assert!(server.try_update_client(&client, patch.clone()).await.is_err(), "{patch}");
        }
    }
}

/// OpenID Connect Core §10.2.1: keys at a jwks_uri, replaced while the client goes on; without any, nothing is told in clear.
#[tokio::test(flavor = "multi_thread")]
async fn keys_at_a_jwks_uri_are_encrypted_to() {
    let home = Allowed::Network("127.0.0.0/8".parse().unwrap());
    let server = Setup::on(Backend::Sqlite).config(move |config| config.outbound.allow = vec![home]).start().await;
    let alice = server.person("alice").await;
    let (first, second) = (Recipient::new(), Recipient::new());
    let host = Host::start(&first.jwks()).await;
    let registered = json!({ "jwks_uri": host.url(), "id_token_encrypted_response_alg": "ECDH-ES", "userinfo_encrypted_response_alg": "RSA-OAEP-256" });
    let client = server.client(registered).await;
    let tokens = alice.tokens(&client, "openid").await;
    server.verify_signature(&first.open(&tokens.str("id_token")).1).await;
    assert!(first.open(&server.userinfo(&tokens.str("access_token")).await.ok().text).1.contains(&alice.sub));
    assert_eq!(host.visits(), 1);

    host.publish(&second.jwks());
    server.wait(Duration::from_secs(6 * 60));
    let tokens = client.refresh(&tokens.str("refresh_token")).await.ok();
    server.verify_signature(&second.open(&tokens.str("id_token")).1).await;

    // Keys that only sign: looked for once more, and then refused without using the code up.
    let signing = json!({ "keys": [first.jwks()["keys"][0]] });
    host.publish(&signing);
    server.wait(Duration::from_secs(6 * 60));
    let back = alice.visit(&client, "openid").await;
    let refused = client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_request");
    let story = server.explain(&refused.trace_id()).await;
    assert!(story.happened.contains("none of its keys"), "{story:?}");
    host.publish(&first.jwks());
    server.wait(Duration::from_secs(31));
    let issued = client.redeem(back.code(), &back.verifier).await.ok();
    first.open(&issued.str("id_token"));
    // The server with the keys is away, longer than what was known is believed.
    host.answer("503 Service Unavailable", "", Duration::ZERO);
    server.wait(Duration::from_secs(2 * 60 * 60));
    let refused = client.refresh(&issued.str("refresh_token")).await.refused(400, "invalid_request");
    assert!(!refused.text.contains("503") && !refused.text.contains("127.0.0.1"), "R-58: {}", refused.text);
    assert!(server.explain(&refused.trace_id()).await.happened.contains("503"));
}

/// OpenID Connect Core §3.1.2.1: who gets encrypted ID tokens sends what is inside. We have no key to open them with.
async fn an_encrypted_hint_is_refused_and_says_what_to_send(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "jwks": Recipient::new().jwks(), "id_token_encrypted_response_alg": "ECDH-ES", "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    let hint = alice.tokens(&client, "openid").await.str("id_token");
    let refused = alice.arrive(&Request::of(&client).with("id_token_hint", &hint)).await;
    refused.refused("invalid_request");
    let description = &refused.params["error_description"];
    assert!(description.contains("send the signed one that is inside"), "{description}");
    // At /logout a hint that cannot be read is a page, never a redirect (openid.md 94).
    let fields = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", "https://app.test/bye")];
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let page = alice.browser.get(format!("/logout?{query}")).await;
    assert_eq!((page.status, page.location()), (400, None));
    let story = server.explain(&page.trace_id()).await;
    assert!(story.happened.contains("it is encrypted"), "{story:?}");
}

async fn offered(server: &Server, member: &str) -> Vec<String> {
    let listed = server.metadata().await[member].clone();
    let values = listed.as_array().unwrap_or_else(|| panic!("no {member}")).iter().map(|value| value.as_str().unwrap().to_owned());
    let values: Vec<String> = values.collect();
    assert!(!values.is_empty());
    values
}
