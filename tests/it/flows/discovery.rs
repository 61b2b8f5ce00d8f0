//! OpenID Connect Discovery 1.0 and RFC 8414: where the documents are, what they say, and that all they say is true.

use serde_json::Value;

use crate::harness::{Backend, Server, Setup, on_both, raw};

on_both![
    both_documents_say_the_same,
    the_jwks_holds_public_members_only,
    an_unknown_path_is_not_found_and_never_an_error_of_the_server
];

async fn both_documents_say_the_same(server: Server) {
    let document = server.metadata().await;
    assert_eq!(document["issuer"], server.issuer.as_str());
    let plain = server.get("/.well-known/oauth-authorization-server").await.ok();
    for (name, value) in plain.json().as_object().unwrap() {
        assert_eq!(document[name], *value, "{name} differs between the two documents");
    }
    for (name, value) in document.as_object().unwrap() {
        assert!(!value.is_null() && value.as_str() != Some(""), "{name} is null or blank");
        if name.ends_with("_endpoint") || name == "jwks_uri" {
            let url = value.as_str().unwrap();
            assert!(url.starts_with(&format!("{}/", server.issuer)), "{name}: {url}");
        }
    }
    let list = |name: &str| -> Vec<String> {
        document[name]
            .as_array()
            .unwrap_or_else(|| panic!("no {name}"))
            .iter()
            .map(|item| item.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(list("response_types_supported"), ["code"]);
    assert_eq!(list("code_challenge_methods_supported"), ["S256"]);
    assert_eq!(list("subject_types_supported"), ["public", "pairwise"]);
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);
    for (name, wanted) in [
        ("grant_types_supported", "authorization_code"),
        ("grant_types_supported", "refresh_token"),
        ("grant_types_supported", "client_credentials"),
        ("id_token_signing_alg_values_supported", "RS256"),
        ("response_modes_supported", "query"),
        ("response_modes_supported", "form_post"),
        ("scopes_supported", "openid"),
        ("token_endpoint_auth_methods_supported", "client_secret_basic"),
        ("token_endpoint_auth_methods_supported", "client_secret_post"),
        ("token_endpoint_auth_methods_supported", "none"),
        ("claims_supported", "sub"),
        ("ui_locales_supported", "de"),
    ] {
        assert!(list(name).iter().any(|item| item == wanted), "{name} lacks {wanted}: {}", document[name]);
    }
    // What this server does not offer is not promised, and what it refuses is said (openid.md 32, 33).
    for (name, refused) in
        [("grant_types_supported", "implicit"), ("grant_types_supported", "password"), ("response_modes_supported", "fragment")]
    {
        assert!(!list(name).iter().any(|item| item == refused), "{name} promises {refused}");
    }
    // Discovery 1.0 §3: request_uri_parameter_supported is true unless it is said to be false.
    assert_eq!(document["request_uri_parameter_supported"], false);
    // openid.md 11.
    assert_eq!(document["request_parameter_supported"], true);
    let signed = list("request_object_signing_alg_values_supported");
    assert!(signed.iter().any(|alg| alg == "RS256") && !signed.iter().any(|alg| alg == "none"));
}

async fn the_jwks_holds_public_members_only(server: Server) {
    let jwks_uri = server.metadata().await["jwks_uri"].as_str().unwrap().to_owned();
    for path in [jwks_uri.as_str(), "/.well-known/jwks.json"] {
        let answer = server.get(path).await.ok();
        assert!(answer.header("cache-control").contains("max-age="), "R-85: {}", answer.header("cache-control"));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let jwks = answer.json();
        let mut kids = Vec::new();
        let mut algorithms = Vec::new();
        for key in jwks["keys"].as_array().unwrap() {
            for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
                assert!(key.get(private).is_none(), "{private} is published");
            }
            assert!(["RSA", "EC", "OKP"].contains(&key["kty"].as_str().unwrap()));
            assert_eq!(key["use"], "sig");
            algorithms.push(key["alg"].as_str().unwrap().to_owned());
            kids.push(key["kid"].as_str().unwrap().to_owned());
            assert!(!kids.last().unwrap().is_empty());
        }
        let all = kids.len();
        kids.sort();
        kids.dedup();
        assert_eq!(kids.len(), all, "a kid twice");
        // the next key is published before it signs.
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            assert_eq!(algorithms.iter().filter(|name| *name == algorithm).count(), 2, "{algorithm}: the active and the next key");
        }
        // RFC 9110 §13.1.2: an unchanged document is not sent again.
        let etag = answer.header("etag").to_owned();
        let again = server.send(reqwest::Method::GET, path, &[("if-none-match", &etag)], None).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{etag}");
    }
}

async fn an_unknown_path_is_not_found_and_never_an_error_of_the_server(server: Server) {
    for path in [
        "/.well-known/webfinger",
        "/.well-known/openid-configuration/",
        "/nowhere",
        "/token/",
        "//",
        "/%00",
        "/..%2f..%2fetc/passwd",
    ] {
        let answer = raw::get(&server, path).await;
        assert!([400, 404].contains(&raw::status(&answer)), "{path}: {answer}");
    }
    let answer = server.get("/token").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), "POST");
    answer.trace_id();
}

/// The documents of an issuer with a path: Discovery 1.0 §4.1 appends, RFC 8414 §3.1 inserts; clients in the field try all forms.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_a_path_is_found_in_every_form() {
    let server = Setup::on(Backend::Sqlite).issuer("https://id.test/tenant/one").start().await;
    for path in [
        "/tenant/one/.well-known/openid-configuration",
        "/.well-known/openid-configuration/tenant/one",
        "/tenant/one/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/tenant/one",
    ] {
        let answer = server.get(&format!("https://id.test{path}")).await.ok();
        assert_eq!(answer.json()["issuer"], "https://id.test/tenant/one", "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("content-type").split(';').next(), Some("application/json"));
    }
    let wrong = server.get("https://id.test/.well-known/openid-configuration").await;
    assert_eq!(wrong.status, 404, "another issuer's document is not ours to give");
    let (_, alice, client) = server.actors().await;
    let tokens = alice.tokens(&client, "openid").await;
    let (_, claims) = crate::harness::jwt(&tokens.str("id_token"));
    assert_eq!(claims["iss"], "https://id.test/tenant/one");
    assert!(alice.browser.cookies().keys().all(|name| name.starts_with("__Host-")), "{:?}", alice.browser.cookies());
    server.get("https://id.test/healthz").await.ok();
}

/// a Host header that somebody made up reaches no URL.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_header_changes_nothing() {
    let server = Server::start(Backend::Sqlite).await;
    let request = "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\
                   X-Forwarded-Proto: http\r\nForwarded: host=evil.example\r\nConnection: close\r\n\r\n";
    let answer = raw::send(&server, request.as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert!(!answer.contains("evil.example"), "{answer}");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1.trim()).unwrap();
    assert_eq!(body["issuer"], server.issuer.as_str());
}

/// The documents are answered from memory where nothing more is asked than the document; the long way says the same to the letter.
#[tokio::test(flavor = "multi_thread")]
async fn the_short_way_and_the_long_way_say_the_same() {
    for base in ["", "/tenant/one"] {
        let server = Setup::on(Backend::Sqlite).issuer(&format!("https://id.test{base}")).start().await;
        for path in
            ["/jwks", "/.well-known/jwks.json", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]
        {
            let ask = async |more: &str| {
                let request = format!("GET {base}{path} HTTP/1.1\r\nHost: id.test\r\n{more}Connection: close\r\n\r\n");
                raw::send(&server, request.as_bytes()).await
            };
            let (short, long) = (ask("").await, ask("If-None-Match: \"another\"\r\n").await);
            assert_eq!(raw::status(&short), 200, "{short}");
            let told_apart = |answer: &str| {
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                let head = head.lines().filter(|line| !line.starts_with("date:") && !line.starts_with("chancery-trace-id:"));
                let mut head: Vec<String> = head.map(str::to_owned).collect();
                head.sort();
                (head, body.to_owned())
            };
            assert_eq!(told_apart(&short), told_apart(&long), "{base}{path}");
            let id = |answer: &str| answer.lines().find(|line| line.starts_with("chancery-trace-id: ")).map(str::to_owned).unwrap();
            assert_ne!(id(&short), id(&long));
            let etag = short.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
            assert_eq!(raw::status(&ask(&format!("If-None-Match: {etag}\r\n")).await), 304);
            for host in ["Host: evil.example\r\n", "Host: a\r\nHost: b\r\n"] {
                let request = format!("GET {base}{path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
                let expected = if host.matches("Host").count() == 1 { 200 } else { 400 };
                assert_eq!(raw::status(&raw::send(&server, request.as_bytes()).await), expected);
            }
        }
    }
}
