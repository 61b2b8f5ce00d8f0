//! Client authentication: RFC 6749 §2.3, RFC 7617, security.md.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{Server, basic_header, on_both, raw};

on_both![
    each_client_uses_the_method_it_registered,
    one_method_per_request,
    the_basic_header_is_read_strictly,
    unknown_client_and_wrong_secret_look_the_same,
    secrets_in_the_query_are_refused,
    both_secrets_work_while_one_is_rotated_out,
    odd_secrets_travel_through_basic,
    empty_parameters_beside_basic_count_as_not_sent,
    every_endpoint_authenticates_alike,
];

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

async fn each_client_uses_the_method_it_registered(server: Server) {
    let basic = server.machine(json!({})).await;
    let post = server.machine(json!({ "token_endpoint_auth_method": "client_secret_post" })).await;
    let public = server.public_client(json!({})).await;
    basic.token(&[GRANT]).await.ok();
    post.token(&[GRANT]).await.ok();
    let secret = |client: &crate::harness::Client| client.secret.clone().unwrap();
    let in_body = |id: &str, secret: &str| {
        [GRANT, ("client_id", id), ("client_secret", secret)].map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    for (id, secret, header) in [(&basic.client_id, secret(&basic), false), (&post.client_id, secret(&post), true)] {
        let answer = if header {
            server.post("/token", &[GRANT], &[("authorization", &basic_header(id, &secret))]).await
        } else {
            let fields = in_body(id, &secret);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            server.post("/token", &fields, &[]).await
        };
        assert_eq!(answer.str("error"), "invalid_client", "{}", answer.text);
    }
    // A public client that sends a secret, and a confidential one that sends none.
    let answer = server
        .post(
            "/token",
            &[("grant_type", "refresh_token"), ("refresh_token", "x")],
            &[("authorization", &basic_header(&public.client_id, "s"))],
        )
        .await;
    answer.refused(401, "invalid_client");
    server.post("/token", &[GRANT, ("client_id", &basic.client_id)], &[]).await.refused(401, "invalid_client");
    server.post("/token", &[GRANT], &[]).await.refused(401, "invalid_client");
}

///
async fn one_method_per_request(server: Server) {
    let client = server.machine(json!({})).await;
    let secret = client.secret.clone().unwrap();
    let header = basic_header(&client.client_id, &secret);
    let both = server
        .post("/token", &[GRANT, ("client_id", &client.client_id), ("client_secret", &secret)], &[("authorization", &header)])
        .await;
    both.refused(400, "invalid_request");
    // client_id beside Basic is no method, where it says the same.
    server.post("/token", &[GRANT, ("client_id", &client.client_id)], &[("authorization", &header)]).await.ok();
    let other = server.machine(json!({})).await;
    let mixed = server.post("/token", &[GRANT, ("client_id", &other.client_id)], &[("authorization", &header)]).await;
    assert!([400, 401].contains(&mixed.status), "{}", mixed.text);
    let assertion =
        [GRANT, ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), ("client_assertion", "x.y.z")];
    let answer = server.post("/token", &assertion, &[("authorization", &header)]).await;
    assert!([400, 401].contains(&answer.status), "{}", answer.text);
    let answer = server.post("/token", &assertion, &[]).await;
    assert_eq!(answer.str("error"), "invalid_client", "{}", answer.text);
}

///
async fn the_basic_header_is_read_strictly(server: Server) {
    let client = server.machine(json!({})).await;
    let (id, secret) = (client.client_id.clone(), client.secret.clone().unwrap());
    let good = STANDARD.encode(format!("{id}:{secret}"));
    let form = "Content-Type: application/x-www-form-urlencoded".to_owned();
    let send = |lines: Vec<String>| {
        let (server, mut lines) = (server.clone(), lines);
        lines.push(form.clone());
        async move {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            raw::post(&server, "/token", &lines, b"grant_type=client_credentials").await
        }
    };
    for fine in [
        format!("Authorization: Basic {good}"),
        format!("Authorization: basic {good}"),
        format!("authorization: BASIC {good}"),
        // RFC 9110 §11.4: one space or more.
        format!("Authorization: Basic  {good}"),
    ] {
        let answer = send(vec![fine.clone()]).await;
        assert_eq!(raw::status(&answer), 200, "{fine}: {answer}");
    }
    for bad in [
        vec![format!("Authorization: Basic {good}"), format!("Authorization: Basic {good}")],
        vec![format!("Authorization: Basic {}", good.trim_end_matches('=').to_owned() + "!")],
        vec![format!("Authorization: Basic  {good} x")],
        vec![format!("Authorization: Basic {}", STANDARD.encode(&id))],
        vec![format!("Authorization: Basic {}", STANDARD.encode(format!("{id}:{secret}%zz")))],
        vec![format!("Authorization: Basic {}", STANDARD.encode(format!(":{secret}")))],
        vec![format!("Authorization: Basic {}", STANDARD.encode([0xff, 0xfe, b':', 0xfd]))],
        vec![format!("Authorization: Basic {}", STANDARD.encode(format!("{id}:{secret}\0")))],
        vec!["Authorization: Basic".to_owned()],
        vec![format!("Authorization: Bearer {good}")],
        vec![format!("Authorization: Digest {good}")],
    ] {
        let answer = send(bad.clone()).await;
        assert!([400, 401].contains(&raw::status(&answer)), "{bad:?}: {answer}");
        assert!(answer.contains("invalid_client") || answer.contains("invalid_request"), "{bad:?}: {answer}");
    }
}

///
async fn unknown_client_and_wrong_secret_look_the_same(server: Server) {
    let client = server.machine(json!({})).await;
    let mut answers = Vec::new();
    for (id, secret) in [(client.client_id.as_str(), "wrong"), ("nobody-of-this-name", "wrong"), (client.client_id.as_str(), "")] {
        let answer =
            server.post("/token", &[GRANT], &[("authorization", &basic_header(id, secret))]).await.refused(401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic "), "RFC 6749 §5.2: {:?}", answer.headers);
        answers.push((answer.json(), answer.header("www-authenticate").to_owned()));
    }
    assert_eq!(answers[0], answers[1]);
    // No challenge where Basic was not tried is fine; the body is the same in kind.
    let answer = server.post("/token", &[GRANT, ("client_id", "nobody"), ("client_secret", "x")], &[]).await;
    answer.refused(401, "invalid_client");
}

///
async fn secrets_in_the_query_are_refused(server: Server) {
    let client = server.machine(json!({ "token_endpoint_auth_method": "client_secret_post" })).await;
    let secret = client.secret.clone().unwrap();
    let path = format!("/token?client_id={}&client_secret={secret}", client.client_id);
    let answer = server.post(&path, &[GRANT], &[]).await;
    answer.refused(400, "invalid_request");
}

/// R-32, and two live secrets at most.
async fn both_secrets_work_while_one_is_rotated_out(server: Server) {
    let client = server.machine(json!({})).await;
    let mut rotated = client.clone();
    rotated.secret = Some(server.rotate_secret(&client).await);
    assert_ne!(rotated.secret, client.secret);
    rotated.token(&[GRANT]).await.ok();
    client.token(&[GRANT]).await.ok();
    let mut third = client.clone();
    third.secret = Some(server.rotate_secret(&client).await);
    third.token(&[GRANT]).await.ok();
    rotated.token(&[GRANT]).await.ok();
    client.token(&[GRANT]).await.refused(401, "invalid_client");
}

/// Design: what we make is [A-Za-z0-9]; what is decoded is decoded as RFC 6749 Appendix B says, both halves.
async fn odd_secrets_travel_through_basic(server: Server) {
    let client = server.machine(json!({})).await;
    let secret = client.secret.clone().unwrap();
    assert!(secret.bytes().chain(client.client_id.bytes()).all(|byte| byte.is_ascii_alphanumeric()));
    assert!(secret.len() >= 43, "256 bits: {}", secret.len());
    // A client that percent-encodes every byte is understood, too.
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let header = format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(&client.client_id), encode(&secret))));
    server.post("/token", &[GRANT], &[("authorization", &header)]).await.ok();
}

/// openid.md N: mail servers send an empty client_id and client_secret beside Basic.
async fn empty_parameters_beside_basic_count_as_not_sent(server: Server) {
    let client = server.machine(json!({})).await;
    let header = basic_header(&client.client_id, client.secret.as_ref().unwrap());
    server
        .post("/token", &[GRANT, ("client_id", ""), ("client_secret", ""), ("scope", "")], &[("authorization", &header)])
        .await
        .ok();
}

async fn every_endpoint_authenticates_alike(server: Server) {
    let client = server.machine(json!({})).await;
    let secret = client.secret.clone().unwrap();
    for path in ["/token", "/introspect", "/revoke"] {
        let fields = [GRANT, ("token", "x")];
        server
            .post(path, &fields, &[("authorization", &basic_header(&client.client_id, "wrong"))])
            .await
            .refused(401, "invalid_client");
        server.post(path, &fields, &[("authorization", &basic_header("nobody", &secret))]).await.refused(401, "invalid_client");
        server.post(path, &fields, &[]).await.refused(401, "invalid_client");
        let posted = [GRANT, ("token", "x"), ("client_id", &client.client_id), ("client_secret", &secret)];
        let answer = server.post(path, &posted, &[]).await;
        assert_eq!(answer.str("error"), "invalid_client", "{path}: registered for Basic");
        server.post(path, &fields, &[("authorization", &basic_header(&client.client_id, &secret))]).await.ok();
    }
}
