//! The server around the protocol: limits, CORS, health, caching headers, overload, and the database going away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use chancery::http::health::Readiness;
use chancery::http::router;
use chancery::http::server::Shutdown;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::harness::client::basic_header;
use crate::harness::machine::until;
use crate::harness::{Backend, Request, Server, Setup, on_both, postgres, raw};

on_both![
    cors_is_for_registered_origins_and_never_with_credentials,
    many_who_ask_for_an_origin_at_once_cause_one_reading,
    health_says_nothing_else,
    what_must_not_be_cached_is_not,
    heads_and_bodies_have_limits,
    every_answer_carries_a_trace_id_of_ours,
    broken_requests_never_break_the_server,
    too_many_open_sign_ins_are_refused,
    what_is_found_without_the_router_is_answered_as_with_it,
];

async fn what_is_found_without_the_router_is_answered_as_with_it(server: Server) {
    let client = server.client(json!({ "grant_types": ["client_credentials"], "redirect_uris": [] })).await;
    let basic = basic_header(&client.client_id, client.secret.as_deref().unwrap());
    let readiness = Readiness::new(server.app.db.clone(), Arc::clone(&server.app.keys), Shutdown::new());
    let routers = router::routers(&server.app, &readiness);
    let straight = routers.straight.unwrap();
    let form = "application/x-www-form-urlencoded";
    let (wrong, bearer) = (basic_header(&client.client_id, "wrong"), "Bearer nobodys".to_owned());
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    for (method, target, authorization, content_type, body, status) in [
        (Method::POST, "/token", &basic, form, "grant_type=client_credentials", 200),
        (Method::POST, "/token", &wrong, form, "grant_type=client_credentials", 401),
        (Method::POST, "/token", &basic, "text/plain", "grant_type=client_credentials", 400),
        (Method::POST, "/token?token=x", &basic, form, "grant_type=client_credentials", 400),
        (Method::POST, "/introspect", &basic, form, "token=nobodys", 200),
        (Method::POST, "/introspect", &wrong, form, "token=nobodys", 401),
        (Method::POST, "/revoke", &basic, form, "token=nobodys", 200),
        (Method::GET, "/userinfo", &bearer, "", "", 401),
        (Method::GET, "/authorize?client_id=nobodys", &String::new(), "", "", 400),
    ] {
        let request = || {
            let request = http::Request::builder().method(method.clone()).uri(target).header("host", "id.test");
            let headers = [("authorization", authorization.as_str()), ("content-type", content_type)];
            let request =
                headers.iter().filter(|(_, value)| !value.is_empty()).fold(request, |all, (name, value)| all.header(*name, *value));
            request.body(Body::from(body)).unwrap()
        };
        let told = async |answer: http::Response<Body>| {
            let mut headers = answer.headers().clone();
            assert!(headers.remove("chancery-trace-id").is_some());
            headers.remove("content-length");
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            // Each has its own token, or its own trace id on a page.
            let body = if status == 200 || target.starts_with("/authorize") {
                body.len().to_string()
            } else {
                String::from_utf8(body.to_vec()).unwrap()
            };
            let mut headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
            headers.sort();
            (status, headers, body)
        };
        let without = told(straight.answer(request(), peer).unwrap_or_else(|_| panic!("{target} goes by the router")).await).await;
        let with = told(routers.public.clone().oneshot(request()).await.unwrap()).await;
        assert_eq!(without, with, "{method} {target}");
        assert_eq!(without.0, status, "{method} {target}");
    }
    for (method, target) in
        [(Method::GET, "/token"), (Method::OPTIONS, "/token"), (Method::HEAD, "/authorize"), (Method::POST, "/token/")]
    {
        let request = http::Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
        assert!(straight.answer(request, peer).is_err(), "{target}");
    }
}

/// anybody may send a preflight.
async fn many_who_ask_for_an_origin_at_once_cause_one_reading(server: Server) {
    let client = server.public_client(json!({ "redirect_uris": ["https://spa.test/cb", "https://two.test/cb"] })).await;
    for number in 0..3 {
        server.public_client(json!({ "redirect_uris": [format!("https://number{number}.test/cb")] })).await;
    }
    let registry = &server.app.registry;
    for round in 1..4 {
        registry.clear();
        let before = registry.origin_readings().await;
        let asked = join_all((0..30).map(|_| registry.is_origin("https://two.test"))).await;
        assert!(asked.into_iter().all(|known| known.unwrap()));
        // One, and one more for each of the clients above of which PostgreSQL tells meanwhile.
        let readings = registry.origin_readings().await - before;
        assert!((1..=5).contains(&readings), "round {round}: {readings}");
    }
    assert!(registry.is_origin("https://number2.test").await.unwrap());
    assert!(!registry.is_origin("https://evil.test").await.unwrap());
    server.disable_client(&client).await;
    registry.clear();
    assert!(!registry.is_origin("https://two.test").await.unwrap());
    assert!(registry.is_origin("https://number2.test").await.unwrap());
}

/// R-86, design 7.
async fn cors_is_for_registered_origins_and_never_with_credentials(server: Server) {
    let client = server.public_client(json!({ "redirect_uris": ["https://spa.test/cb", "http://127.0.0.1:3000/cb"] })).await;
    for path in ["/.well-known/openid-configuration", "/jwks"] {
        let answer = server.send(Method::GET, path, &[("origin", "https://anybody.test")], None).await.ok();
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    for path in ["/token", "/userinfo", "/revoke"] {
        for (origin, allowed) in [
            ("https://spa.test", true),
            ("http://127.0.0.1:3000", true),
            ("https://evil.test", false),
            ("https://spa.test.evil.test", false),
            ("http://spa.test", false),
            ("https://spa.test:8443", false),
            ("null", false),
        ] {
            let asked = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization"),
            ];
            let preflight = server.send(Method::OPTIONS, path, &asked, None).await;
            let answer = server.post(path, &[("client_id", &client.client_id)], &[("origin", origin)]).await;
            for (what, answer) in [("preflight", &preflight), ("answer", &answer)] {
                let got = answer.header("access-control-allow-origin");
                assert_eq!(got, if allowed { origin } else { "" }, "{what} of {path} for {origin}");
                assert_eq!(answer.header("access-control-allow-credentials"), "");
            }
            if allowed {
                assert!(answer.header("vary").to_lowercase().contains("origin"), "{path}: a shared cache would mix origins up");
                let exposed = answer.header("access-control-expose-headers").to_lowercase();
                assert!(exposed.contains("www-authenticate") && exposed.contains("chancery-trace-id"), "{exposed}");
            }
        }
    }
    for path in ["/authorize", "/login", "/logout", "/account", "/introspect"] {
        let answer = server.send(Method::GET, path, &[("origin", "https://spa.test")], None).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
}

async fn health_says_nothing_else(server: Server) {
    for path in ["/healthz", "/readyz"] {
        let answer = server.get(path).await.ok();
        assert!(answer.text.len() < 40, "{}", answer.text);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    // nothing for operators on the public listener.
    for path in ["/metrics", "/debug", "/debug/pprof", "/admin", "/demo", "/.env", "/server-status"] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    assert_eq!(server.get("/robots.txt").await.status, 200);
}

///
async fn what_must_not_be_cached_is_not(server: Server) {
    let (server, alice, client) = server.actors().await;
    let page = alice.open(&Request::of(&client)).await;
    assert_eq!(page.header("cache-control"), "no-store", "a redirect");
    let tokens = alice.tokens(&client, "openid").await;
    assert_eq!(tokens.header("cache-control"), "no-store");
    assert_eq!(server.userinfo(&tokens.str("access_token")).await.header("cache-control"), "no-store");
    assert_eq!(client.call("/introspect", &[("token", "x")]).await.header("cache-control"), "no-store");
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"] {
        assert!(server.get(path).await.header("cache-control").contains("max-age="), "{path}");
    }
}

///
async fn heads_and_bodies_have_limits(server: Server) {
    let long = format!("GET /healthz HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\nX-Long: {}\r\n\r\n", "x".repeat(17_000));
    assert!([400, 431].contains(&raw::status(&raw::send(&server, long.as_bytes()).await)));
    let many = (0..70).map(|number| format!("X-{number}: 1\r\n")).collect::<String>();
    let many = format!("GET /healthz HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\n{many}\r\n");
    assert!([400, 431].contains(&raw::status(&raw::send(&server, many.as_bytes()).await)));
    let huge = format!(
        "POST /token HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 70000\r\n\r\n{}",
        "x".repeat(70_000)
    );
    assert!([400, 413].contains(&raw::status(&raw::send(&server, huge.as_bytes()).await)));
    let claimed = b"POST /token HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99999999999\r\n\r\nx";
    assert!([400, 413].contains(&raw::status(&raw::send(&server, claimed).await)));
    let chunked = format!(
        "POST /token HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        70_000,
        "x".repeat(70_000)
    );
    assert!([400, 413].contains(&raw::status(&raw::send(&server, chunked.as_bytes()).await)));
}

async fn every_answer_carries_a_trace_id_of_ours(server: Server) {
    let first =
        server.send(Method::GET, "/nowhere", &[("chancery-trace-id", &"a".repeat(32)), ("x-request-id", "mine")], None).await;
    let second = server.get("/nowhere").await;
    assert_ne!(first.trace_id(), "a".repeat(32), "ours, not the caller's");
    assert_ne!(first.trace_id(), second.trace_id());
    server.post("/token", &[], &[]).await.trace_id();
}

/// whatever arrives, the answer is 4xx and the next request is served.
async fn broken_requests_never_break_the_server(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens(&client, "openid").await;
    let hostile: Vec<String> = vec![
        "\0".into(),
        "%".into(),
        "[".repeat(10_000),
        format!("{}.{}.x", "e30", "e30"),
        "🦀".repeat(500),
        "../../../etc/passwd".into(),
        "' OR 1=1 --".into(),
        "{{7*7}}${7*7}".into(),
        "-1".into(),
        "99999999999999999999999".into(),
        "\r\nSet-Cookie: x=1".into(),
    ];
    for value in &hostile {
        for name in [
            "state",
            "scope",
            "prompt",
            "max_age",
            "id_token_hint",
            "resource",
            "claims",
            "ui_locales",
            "login_hint",
            "redirect_uri",
            "client_id",
            "response_mode",
        ] {
            let page = alice.browser.get(Request::of(&client).with(name, value).url(&server)).await;
            assert!(page.status < 500 && page.headers.get("x").is_none(), "{name}={value:?}: {}", page.status);
        }
        for name in ["code", "refresh_token", "redirect_uri", "code_verifier", "scope", "resource", "grant_type", "token"] {
            for path in ["/token", "/introspect", "/revoke"] {
                let answer = client.call(path, &[("grant_type", "refresh_token"), (name, value)]).await;
                assert!(answer.status < 500, "{path} {name}={value:?}: {}", answer.status);
            }
        }
        for name in ["id_token_hint", "post_logout_redirect_uri", "state", "client_id"] {
            let query = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            assert!(alice.browser.get(format!("/logout?{query}")).await.status < 500);
        }
        let page = alice
            .browser
            .get(format!(
                "/login?{}",
                url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("interaction", value)
                    .append_pair("id", value)
                    .finish()
            ))
            .await;
        assert!(page.status < 500);
    }
    for bytes in [
        &b"GET / HTTP/9.9\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"POST /token HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ] {
        raw::send(&server, bytes).await;
    }
    server.userinfo(&tokens.str("access_token")).await.ok();
}

/// rows that nobody signed in for are rationed.
async fn too_many_open_sign_ins_are_refused(server: Server) {
    let small = Setup::on(server.backend).config(|config| config.throttle.interactions_per_address = 10).start().await;
    small.may_fail();
    let (small, alice, client) = small.actors().await;
    let mut statuses = Vec::new();
    for _ in 0..15 {
        alice.browser.forget_cookies();
        statuses.push(alice.open(&Request::of(&client)).await.status);
    }
    assert!(statuses[..9].iter().all(|status| *status < 400), "{statuses:?}");
    assert!(statuses[11..].iter().all(|status| [429, 503].contains(status)), "{statuses:?}");
    let answer = alice.open(&Request::of(&client)).await;
    assert!(answer.header("retry-after").parse::<u64>().is_ok(), "R-79");
    small.get("/healthz").await.ok();
}

/// a connection that says nothing, or says it slowly, is closed; others are served meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_are_closed() {
    let server = Setup::on(Backend::Sqlite)
        .config(|config| {
            config.limits.header_read_timeout = Duration::from_millis(300);
            config.limits.body_read_timeout = Duration::from_millis(300);
            config.limits.idle_timeout = Duration::from_millis(500);
        })
        .start()
        .await;
    let mut open = Vec::new();
    for sent in [
        &b""[..],
        b"GET /healthz HTTP/1.1\r\nHos",
        b"POST /token HTTP/1.1\r\nHost: id.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\nab",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        open.push(stream);
    }
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: id.test\r\n\r\n").await.unwrap();
    open.push(idle);
    server.get("/healthz").await.ok();
    for mut stream in open {
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("still open").unwrap();
    }
}

/// one address cannot take all connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_are_capped() {
    let server = Setup::on(Backend::Sqlite).config(|config| config.limits.connections_per_address = 5).start().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: id.test\r\n\r\n").await.unwrap();
        let mut first = [0; 1];
        stream.read_exact(&mut first).await.unwrap();
        open.push(stream);
    }
    let refused = raw::get(&server, "/healthz").await;
    assert!(refused.is_empty() || raw::status(&refused) == 503 || raw::status(&refused) == 429, "{refused}");
    open.clear();
    until(Duration::from_secs(10), async || raw::status(&raw::get(&server, "/healthz").await) == 200).await;
}

/// while the database is away nothing is acknowledged, and afterwards everything works without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_and_comes_back() {
    let cluster = tokio::task::spawn_blocking(postgres::Cluster::start).await.unwrap();
    let cluster = std::sync::Arc::new(cluster);
    let url = cluster.database().await;
    let server = Setup::on(Backend::Postgres)
        .config(move |config| {
            config.database.url = chancery::secret::Secret::new(url);
            config.database.acquire_timeout = Duration::from_millis(500);
        })
        .start()
        .await;
    let (server, alice, client) = server.actors().await;
    let machine = server.machine(json!({})).await;
    let tokens = alice.tokens_for_long(&client).await;
    let back = alice.visit(&client, "openid").await;
    machine.token(&[("grant_type", "client_credentials")]).await.ok();
    let from_a_page = || server.post("/token", &[("grant_type", "refresh_token")], &[("origin", "https://app.test")]);
    assert_eq!(from_a_page().await.header("access-control-allow-origin"), "https://app.test");
    let order = |order: fn(&postgres::Cluster)| {
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || order(&cluster))
    };
    order(postgres::Cluster::kill).await.unwrap();
    server.may_fail();
    let started = std::time::Instant::now();
    for answer in [
        client.refresh(&tokens.str("refresh_token")).await,
        client.redeem(back.code(), &back.verifier).await,
        client.revoke(&tokens.str("refresh_token")).await,
        client.call("/introspect", &[("token", &tokens.str("access_token"))]).await,
        server.userinfo(&tokens.str("access_token")).await,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.header("retry-after").parse::<u64>().is_ok(), "{:?}", answer.headers);
        answer.trace_id();
    }
    assert_eq!(alice.open(&Request::of(&client)).await.status, 503);
    // Pages can read that and when to come back, and many that ask at once do not wait for each other.
    server.app.registry.clear();
    let pages = std::time::Instant::now();
    let fields = [("grant_type", "refresh_token"), ("client_id", &client.client_id), ("refresh_token", "x")];
    let asked = join_all((0..12).map(|_| server.post("/token", &fields, &[("origin", "https://app.test")]))).await;
    for answer in asked {
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.test", "{:?}", answer.headers);
        assert!(answer.header("access-control-expose-headers").to_lowercase().contains("retry-after"), "{:?}", answer.headers);
    }
    assert!(pages.elapsed() < Duration::from_secs(5), "{:?}", pages.elapsed());
    assert!(started.elapsed() < Duration::from_secs(18), "fails within the acquire timeout: {:?}", started.elapsed());
    until(Duration::from_secs(30), async || server.get("/readyz").await.status == 503).await;
    server.get("/healthz").await.ok();
    // Nothing is signed from an entry past its time (design 5).
    server.wait(Duration::from_secs(6));
    assert_eq!(machine.token(&[("grant_type", "client_credentials")]).await.status, 503);
    order(postgres::Cluster::restart).await.unwrap();
    until(Duration::from_secs(30), async || server.get("/readyz").await.status == 200).await;
    client.redeem(back.code(), &back.verifier).await.ok();
    client.refresh(&tokens.str("refresh_token")).await.ok();
    server.get("/readyz").await.ok();
}

/// R-91, trap X-10: callers that hang up leave no poisoned connection behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_up_poisons_nothing() {
    let server = Setup::on(Backend::Postgres).config(|config| config.database.max_connections = 3).start().await;
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let header = crate::harness::basic_header(&client.client_id, client.secret.as_ref().unwrap());
    let body = format!("grant_type=refresh_token&refresh_token={}", tokens.str("refresh_token"));
    for round in 0..crate::harness::rounds(150, 3000) {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "POST /token HTTP/1.1\r\nHost: id.test\r\nAuthorization: {header}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(round as u64 * 37 % 2500)).await;
        drop(stream);
    }
    // What was rotated is within its burst: every honest request works.
    for _ in 0..10 {
        let answer = client.refresh(&tokens.str("refresh_token")).await.ok();
        assert!(client.is_active(&answer.str("access_token")).await);
        alice.tokens(&client, "openid").await;
    }
}
