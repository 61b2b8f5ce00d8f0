//! In which form clients are told about people: the algorithms that sign ID tokens and userinfo.

use serde_json::json;

use crate::harness::{Request, Server, jwt, on_both};

on_both![
    userinfo_is_signed_for_those_who_registered_it,
    a_token_of_each_algorithm_is_a_hint,
    an_algorithm_that_is_not_offered_is_refused
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
}

async fn offered(server: &Server, member: &str) -> Vec<String> {
    let listed = server.metadata().await[member].clone();
    let values = listed.as_array().unwrap_or_else(|| panic!("no {member}")).iter().map(|value| value.as_str().unwrap().to_owned());
    let values: Vec<String> = values.collect();
    assert!(!values.is_empty());
    values
}
