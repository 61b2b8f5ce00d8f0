//! Tokens that nobody issued: signed with keys of the attacker's, with our own keys by somebody who got at them for other claims, or put
//! together from pieces of honest ones. All of them go to every place that reads tokens (security.md R-33 to R-38, R-47 to R-49).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::entropy::SystemEntropy;
use chancery::jose::{Alg, KeyMaker as _, NewKeyPairs, SigningKey};
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, jwt, on_both};

on_both![
    tokens_of_foreign_keys_and_odd_headers_are_nothing,
    a_signature_of_ours_is_not_enough,
    pieces_of_two_tokens_make_none,
    an_opaque_token_cannot_be_changed_or_made_of_anything_else,
    query_and_body_never_speak_with_two_voices,
];

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Worthless at every endpoint, and nothing about it is said to anybody.
#[track_caller]
fn assert_refused(what: &str, answer: &Answer) {
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("invalid_token")), "{what}: {}", answer.text);
    assert!(answer.header("www-authenticate").starts_with("Bearer "), "{what}");
    answer.trace_id();
}

async fn is_worthless(server: &Server, client: &Client, what: &str, token: &str) {
    assert_refused(what, &server.userinfo(token).await);
    assert!(!client.is_active(token).await, "{what}");
    client.revoke(token).await.ok();
    // A longer one is not even looked at.
    let error = if token.len() <= 2048 { "invalid_grant" } else { "invalid_request" };
    client.refresh(token).await.refused(400, error);
}

/// R-33 to R-36, from outside.
async fn tokens_of_foreign_keys_and_odd_headers_are_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens(&client, "openid").await;
    let token = tokens.str("access_token");
    let (header, claims) = jwt(&token);
    let with = |name: &str, value: Value| {
        let mut changed = header.clone();
        changed[name] = value;
        changed
    };
    let pair = NewKeyPairs.make(Alg::RS256).unwrap();
    let foreign = SigningKey::from_pkcs8(Alg::RS256, pair.pkcs8.expose()).unwrap();
    let signed = foreign.sign_jwt("at+jwt", &claims).unwrap();
    let signature = signed.rsplit('.').next().unwrap().to_owned();
    is_worthless(&server, &client, "another's key under its own kid", &signed).await;

    let public: Value = serde_json::to_value(&pair.public).unwrap();
    let own = server.get("/jwks").await.ok().json()["keys"][0].clone();
    let jwks_text = own.to_string();
    for (what, header) in [
        ("another's key under our kid", header.clone()),
        ("none", with("alg", json!("none"))),
        ("None", with("alg", json!("nOnE"))),
        ("PS256", with("alg", json!("PS256"))),
        ("an algorithm of another key of ours", with("alg", json!("ES256"))),
        ("alg is no string", with("alg", json!(["RS256"]))),
        ("kid is a path", with("kid", json!("../../../../../dev/null"))),
        ("kid is SQL", with("kid", json!("' OR 1=1 --"))),
        ("kid is a URL", with("kid", json!("http://127.0.0.1:1/key"))),
        ("kid is long", with("kid", json!("k".repeat(5000)))),
        ("kid is a number", with("kid", json!(1))),
        ("kid is empty", with("kid", json!(""))),
        ("jwk", with("jwk", public)),
        ("jku", with("jku", json!("http://127.0.0.1:1/jwks"))),
        ("x5u", with("x5u", json!("http://127.0.0.1:1/cert"))),
        ("x5c", with("x5c", json!(["MIIB"]))),
        ("crit", with("crit", json!(["exp"]))),
        ("an empty crit", with("crit", json!([]))),
        ("b64", with("b64", json!(false))),
        ("zip", with("zip", json!("DEF"))),
        ("an ID token's type", with("typ", json!("JWT"))),
        ("no type", with("typ", Value::Null)),
        ("a media type", with("typ", json!("application/at+jwt"))),
    ] {
        let forged = format!("{}.{}.{signature}", encode(&header), encode(&claims));
        is_worthless(&server, &client, what, &forged).await;
    }
    // HMAC with everything public as the secret (CVE-2015-9235 and its kin).
    for secret in
        [jwks_text.as_bytes(), own["n"].as_str().unwrap_or_default().as_bytes(), own["kid"].as_str().unwrap().as_bytes(), b""]
    {
        let input = format!("{}.{}", encode(&with("alg", json!("HS256"))), encode(&claims));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let mac = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, input.as_bytes()).as_ref());
        is_worthless(&server, &client, "HMAC with a public key", &format!("{input}.{mac}")).await;
    }
    // A header with a member twice, and JSON as deep as a stack.
    let twice = format!(r#"{{"alg":"RS256","alg":"none","typ":"at+jwt","kid":{}}}"#, header["kid"]);
    let deep = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":{},"x":{}{}}}"#, header["kid"], "[".repeat(3000), "]".repeat(3000));
    let payload = encode(&claims);
    for (what, text) in [("a member twice", twice), ("depth", deep)] {
        is_worthless(&server, &client, what, &format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(text))).await;
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [head, body, signature] = parts[..] else { panic!("{token}") };
    // The last character of a 2048-bit signature carries bits that mean nothing; they must be zero (RFC 4648 §3.5).
    let last = signature.chars().last().unwrap();
    let other = char::from_u32(last as u32 + 1).unwrap();
    for (what, bad) in [
        ("without signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{token}.x")),
        ("five parts, as a JWE", format!("{head}.{body}.{signature}.{body}.{signature}")),
        ("padding", format!("{token}=")),
        ("padding within", format!("{head}=.{body}.{signature}")),
        ("surplus bits", format!("{head}.{body}.{}{other}", &signature[..signature.len() - 1])),
    ] {
        is_worthless(&server, &client, what, &bad).await;
    }
    server.userinfo(&token).await.ok();
    assert!(client.is_active(&token).await);
}

/// R-37, R-38: claims of another shape, type, person or time under a good signature of an active key.
async fn a_signature_of_ours_is_not_enough(server: Server) {
    let (server, alice, client) = server.actors().await;
    let bob = server.person("bob").await;
    let other = server.client(json!({ "client_name": "Other" })).await;
    let tokens = alice.tokens(&client, "openid email").await;
    let keys = server.app.keys.current();
    let signer = keys.active(Alg::RS256).unwrap();
    let (_, claims) = jwt(&tokens.str("access_token"));
    let (_, id_claims) = jwt(&tokens.str("id_token"));
    let now = server.clock_seconds();
    // The way of signing is the right one, so that everything below fails for its own reason.
    let honest = signer.sign_jwt("at+jwt", &claims).unwrap();
    server.userinfo(&honest).await.ok();
    assert!(client.is_active(&honest).await);

    let changes = [
        ("iss", json!("https://id.test/")),
        ("iss", json!("https://evil.test")),
        ("iss", json!(["https://id.test"])),
        ("sub", json!(bob.sub)),
        ("sub", json!("")),
        ("sub", json!(1)),
        ("client_id", json!(other.client_id)),
        ("exp", json!(now)),
        ("exp", json!(now.to_string())),
        ("exp", json!(1e300)),
        ("exp", Value::Null),
        ("iat", json!(now + 3600)),
        ("iat", json!("now")),
        ("aud", json!([])),
        ("aud", json!([1])),
        ("aud", json!({ "https://id.test": true })),
        ("jti", json!("AAAA")),
        ("jti", json!("")),
        ("jti", Value::Null),
        ("scope", json!(["openid"])),
    ];
    for (name, value) in changes {
        let mut changed = claims.clone();
        let what = format!("{name}: {value}");
        changed[name] = value;
        let forged = signer.sign_jwt("at+jwt", &changed).unwrap();
        assert_refused(&what, &server.userinfo(&forged).await);
        assert!(!client.is_active(&forged).await, "{what}");
        assert!(!other.is_active(&forged).await, "{what}");
    }
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"] {
        let mut changed = claims.clone();
        changed.as_object_mut().unwrap().remove(name);
        is_worthless(&server, &client, &format!("without {name}"), &signer.sign_jwt("at+jwt", &changed).unwrap()).await;
    }
    // Every other type of token, and the claims of one under the type of another.
    for (what, typ, claims) in [
        ("an ID token as access token", "at+jwt", &id_claims),
        ("an access token as ID token", "JWT", &claims),
        ("an access token as logout token", "logout+jwt", &claims),
        ("a type in other letters", "AT+JWT", &claims),
    ] {
        is_worthless(&server, &client, what, &signer.sign_jwt(typ, claims).unwrap()).await;
    }
    // None of this revoked anything.
    server.userinfo(&tokens.str("access_token")).await.ok();

    // A member twice: two readers would see two people.
    let text = claims.to_string();
    let doubled = format!(r#"{{"sub":"{}",{}"#, bob.sub, &text[1..]);
    let input = format!("{}.{}", tokens.str("access_token").split('.').next().unwrap(), URL_SAFE_NO_PAD.encode(doubled));
    assert!(!client.is_active(&format!("{input}.{}", "A".repeat(342))).await);
}

/// The `jti` leads to the grant: one token's cannot speak for another's.
async fn pieces_of_two_tokens_make_none(server: Server) {
    let (server, alice, client) = server.actors().await;
    let bob = server.person("bob").await;
    let machine = server.machine(json!({})).await;
    let (hers, his) = (alice.tokens(&client, "openid email").await, bob.tokens(&client, "openid").await);
    let own = machine.token(&[("grant_type", "client_credentials")]).await.ok();
    let claims = |answer: &Answer| jwt(&answer.str("access_token")).1;
    let keys = server.app.keys.current();
    let signer = keys.active(Alg::RS256).unwrap();
    let with_jti = |claims: Value, jti: &Value| {
        let mut changed = claims;
        changed["jti"] = jti.clone();
        signer.sign_jwt("at+jwt", &changed).unwrap()
    };
    for (what, token) in [
        ("his jti", with_jti(claims(&hers), &claims(&his)["jti"])),
        ("a machine's jti", with_jti(claims(&hers), &claims(&own)["jti"])),
        ("her jti in a machine's token", with_jti(claims(&own), &claims(&hers)["jti"])),
    ] {
        assert!([401, 403].contains(&server.userinfo(&token).await.status), "{what}");
        for asks in [&client, &machine] {
            assert!(!asks.is_active(&token).await, "{what}");
        }
    }
    // Halves of two good tokens, signature included.
    let (left, right) = (hers.str("access_token"), his.str("access_token"));
    let (left, right): (Vec<&str>, Vec<&str>) = (left.split('.').collect(), right.split('.').collect());
    is_worthless(&server, &client, "her claims, his signature", &format!("{}.{}.{}", left[0], left[1], right[2])).await;
    // Refresh tokens: her family with his MAC, and another generation under the same MAC.
    let raw = |answer: &Answer| URL_SAFE_NO_PAD.decode(answer.str("refresh_token").trim_start_matches("chr_")).unwrap();
    let (hers_raw, his_raw) = (raw(&hers), raw(&his));
    let token = |bytes: &[u8]| format!("chr_{}", URL_SAFE_NO_PAD.encode(bytes));
    let mut generation = hers_raw.clone();
    generation[23] = 2;
    let mut negative = hers_raw.clone();
    negative[16] = 0xff;
    for forged in [
        token(&[&hers_raw[..24], &his_raw[24..]].concat()),
        token(&[&his_raw[..16], &hers_raw[16..]].concat()),
        token(&generation),
        token(&negative),
        token(&hers_raw[..55]),
        hers.str("refresh_token").to_uppercase(),
        format!("{} ", hers.str("refresh_token")),
    ] {
        client.refresh(&forged).await.refused(400, "invalid_grant");
        assert!(!client.is_active(&forged).await);
        client.revoke(&forged).await.ok();
    }
    client.refresh(&hers.str("refresh_token")).await.ok();
    client.refresh(&his.str("refresh_token")).await.ok();
}

/// Design 4.4: the same claims, sealed.
async fn an_opaque_token_cannot_be_changed_or_made_of_anything_else(server: Server) {
    server
        .resource(json!({
            "identifier": "https://api.test", "name": "API", "access_token_format": "opaque",
            "scopes": [{ "name": "api:read", "description": "Read" }],
        }))
        .await;
    let machine = server.machine(json!({ "scope": "api:read" })).await;
    let token = machine.token(&[("grant_type", "client_credentials")]).await.ok().str("access_token");
    assert!(machine.is_active(&token).await);
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let changed = URL_SAFE_NO_PAD.encode(changed);
        assert!(!machine.is_active(&changed).await, "byte {at}");
    }
    for cut in [1, 4, 16, 28, bytes.len() / 2] {
        assert!(!machine.is_active(&URL_SAFE_NO_PAD.encode(&bytes[..bytes.len() - cut])).await);
    }
    // What the same data key seals for another purpose of its own is no token: a jti is sealed under it, too.
    let jti = machine.introspect(&token).await["jti"].as_str().unwrap().to_owned();
    assert!(!machine.is_active(&jti).await);
    let grant: [u8; 32] = chancery::entropy::bytes(&SystemEntropy);
    assert!(!machine.is_active(&URL_SAFE_NO_PAD.encode(grant)).await);
    machine.revoke(&token).await.ok();
    assert!(!machine.is_active(&token).await);
}

/// R-19, R-28: what stands in both, or is a secret in the URL, is refused at every endpoint that reads a body.
async fn query_and_body_never_speak_with_two_voices(server: Server) {
    let (server, alice, client) = server.actors().await;
    let back = alice.visit(&client, "openid").await;
    let header = crate::harness::basic_header(&client.client_id, client.secret.as_ref().unwrap());
    let code = back.code().to_owned();
    let body = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", &back.verifier),
        ("redirect_uri", &client.redirect_uri),
    ];
    let headers = [("authorization", header.as_str())];
    for query in [
        "grant_type=client_credentials".to_owned(),
        "grant_type=authorization_code".to_owned(),
        "redirect_uri=https://evil.test".to_owned(),
        "redirect_uri=".to_owned(),
        format!("code={code}"),
        "code_verifier=x".to_owned(),
        "client_secret=x".to_owned(),
        "client_secret=".to_owned(),
        "refresh_token=x".to_owned(),
        "a=1&a=2".to_owned(),
        "%zz".to_owned(),
    ] {
        let answer = server.post(&format!("/token?{query}"), &body, &headers).await;
        let answer = answer.refused(400, "invalid_request");
        assert!(!answer.text.contains(&code), "{}", answer.text);
    }
    for path in ["/introspect", "/revoke"] {
        for query in ["token=x", "token_type_hint=access_token", "client_secret=x"] {
            let fields = [("token", "y"), ("token_type_hint", "refresh_token")];
            server.post(&format!("{path}?{query}"), &fields, &headers).await.refused(400, "invalid_request");
        }
    }
    // What nobody reads is ignored (RFC 6749 §3.2); the code is as good as before.
    server.post("/token?tenant=1", &body, &headers).await.ok();
}
