//! The server among others: commands and replicas that change things beside it, writes that take their time, methods and paths that
//! nobody offers (design 5, security.md ).

use std::time::{Duration, Instant};

use chancery::http::server::Shutdown;
use chancery::jobs::changes;
use chancery::service::keys::By;
use chancery::storage::StoreError;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::machine;
use crate::harness::{Backend, Server, on_both, raw};

on_both![
    what_another_process_changes_counts_at_once,
    every_method_and_path_is_answered_by_us_and_only_the_offered_ones_do_anything,
    a_request_that_could_be_two_is_one_or_none,
    a_request_has_one_host_and_it_is_one,
    nothing_is_read_behind_trailers,
    a_line_of_a_head_ends_in_cr_and_lf,
];

const GRANT: [(&str, &str); 1] = [("grant_type", "client_credentials")];

/// Design 5: with the next request where the database is a file, and as soon as PostgreSQL has spoken.
async fn what_another_process_changes_counts_at_once(server: Server) {
    let (server, alice, client) = server.actors().await;
    let elsewhere = server.replica().await;
    let patience = match server.backend {
        Backend::Sqlite => Duration::ZERO,
        Backend::Postgres => Duration::from_secs(3),
    };
    let shutdown = Shutdown::new();
    let listening = tokio::spawn(changes::follow(server.app.clone(), shutdown.clone()));
    let until = async |what: &str, holds: &mut dyn AsyncHolds| {
        let begun = Instant::now();
        while !holds.holds().await {
            assert!(begun.elapsed() < patience, "{what} is not seen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // The listener needs a moment before it can hear anything.
    if server.backend == Backend::Postgres {
        let listens =
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'";
        machine::until(Duration::from_secs(20), async || !server.app.db.all(listens, chancery::args![]).await.unwrap().is_empty())
            .await;
    }

    let machine = server.machine(json!({})).await;
    let token = machine.token(&GRANT).await.ok().str("access_token");
    elsewhere.disable_client(&machine).await;
    until("a disabled client", &mut Status { client: &machine, wanted: 401 }).await;
    assert!(!client.is_active(&token).await);

    let machine = server.machine(json!({})).await;
    machine.token(&GRANT).await.ok();
    let mut rotated = machine.clone();
    rotated.secret = Some(elsewhere.rotate_secret(&machine).await);
    until("a new secret", &mut Status { client: &rotated, wanted: 200 }).await;

    // People are never cached: no patience at all.
    let tokens = alice.tokens_for_long(&client).await;
    elsewhere.disable_user(&alice).await;
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");

    let token = machine.token(&GRANT).await.ok().str("access_token");
    assert!(machine.is_active(&token).await);
    elsewhere.app.keys.rotate(&By::server(), elsewhere.app.clock.now(), None, true).await.unwrap();
    until("a compromised key", &mut Inactive { client: &machine, token: &token }).await;
    let anew = machine.token(&GRANT).await.ok().str("access_token");
    assert!(machine.is_active(&anew).await);
    shutdown.begin();
    listening.await.unwrap().unwrap();
}

trait AsyncHolds {
    fn holds(&mut self) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

struct Status<'a> {
    client: &'a crate::harness::Client,
    wanted: u16,
}

impl AsyncHolds for Status<'_> {
    fn holds(&mut self) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { self.client.token(&GRANT).await.status == self.wanted })
    }
}

struct Inactive<'a> {
    client: &'a crate::harness::Client,
    token: &'a str,
}

impl AsyncHolds for Inactive<'_> {
    fn holds(&mut self) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { !self.client.is_active(self.token).await })
    }
}

/// on SQLite there is one writer, and it may have to wait for another process. Who only reads does not wait with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_takes_its_time_holds_up_no_reader() {
    let (server, alice, client) = Server::start(Backend::Sqlite).await.actors().await;
    let machine = server.machine(json!({})).await;
    let tokens = alice.tokens(&client, "openid").await;
    machine.token(&GRANT).await.ok();
    let (begun, holding) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let db = server.app.db.clone();
    let writing = tokio::spawn(async move {
        db.transaction::<_, StoreError>("slow", |_| {
            Box::pin(async move {
                begun.send(()).unwrap();
                ended.await.unwrap();
                Ok(())
            })
        })
        .await
    });
    holding.await.unwrap();
    let asked = Instant::now();
    machine.token(&GRANT).await.ok();
    server.userinfo(&tokens.str("access_token")).await.ok();
    assert!(client.is_active(&tokens.str("access_token")).await);
    client.refresh("chr_x").await.refused(400, "invalid_grant");
    // Who waited for the writer would do so until the test lets go of it.
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    end.send(()).unwrap();
    writing.await.unwrap().unwrap();
    client.refresh(&tokens.str("refresh_token")).await.ok();
}

/// A method that is not offered is 405 with `Allow`, a path that is not there 404, each with a trace id, and nothing is cached.
async fn every_method_and_path_is_answered_by_us_and_only_the_offered_ones_do_anything(server: Server) {
    let paths = [
        ("/token", "POST"),
        ("/introspect", "POST"),
        ("/revoke", "POST"),
        ("/userinfo", "GET HEAD POST"),
        ("/authorize", "GET POST"),
        ("/logout", "GET POST"),
        ("/login", "GET HEAD POST"),
        ("/account", "GET HEAD POST"),
        ("/account/confirm", "GET HEAD POST"),
        ("/account/profile", "GET HEAD POST"),
        ("/account/password", "GET HEAD POST"),
        ("/.well-known/change-password", "GET HEAD"),
        ("/jwks", "GET HEAD"),
        ("/.well-known/openid-configuration", "GET HEAD"),
        ("/healthz", "GET HEAD"),
        ("/readyz", "GET HEAD"),
        ("/metrics", ""),
        ("/token/", ""),
        ("/TOKEN", ""),
        ("/par", ""),
        ("/admin", ""),
        ("/device/code", "POST"),
        ("/device", "GET POST"),
        ("/demo", ""),
    ];
    // What scripts of other sites may call answers OPTIONS as a preflight (Fetch §4.8).
    let for_scripts = ["/token", "/device/code", "/revoke", "/userinfo", "/jwks", "/.well-known/openid-configuration"];
    for (path, offered) in paths {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
            let answer = server.send(Method::from_bytes(method.as_bytes()).unwrap(), path, &[], None).await;
            answer.trace_id();
            if method == "OPTIONS" && for_scripts.contains(&path) {
                assert_eq!((answer.status, answer.text.len()), (200, 0), "{method} {path}");
            } else if offered.is_empty() {
                assert_eq!(answer.status, 404, "{method} {path}");
            } else if !offered.split(' ').any(|offered| offered == method) {
                assert_eq!(answer.status, 405, "{method} {path}");
                assert!(!answer.header("allow").is_empty(), "{method} {path}");
                let told = answer.text.contains(&format!("does not answer to {method}"));
                assert!(told || method == "HEAD", "{method} {path}: {}", answer.text);
            } else {
                assert!(![404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
            }
            if answer.status >= 400 {
                assert_eq!(answer.header("cache-control"), "no-store", "{method} {path}");
            }
            if method == "HEAD" {
                assert_eq!(answer.text, "", "{path}");
            }
        }
    }
}

/// RFC 9112 §6.3, §11.2: whoever stands before us must never see another number of requests than we do.
async fn a_request_that_could_be_two_is_one_or_none(server: Server) {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: id.test\r\n\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (what, head) in [
        ("both lengths", format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n{form}\r\n0\r\n\r\n{inner}")),
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: 44\r\n{form}\r\n{inner}")),
        ("a list of lengths", format!("Content-Length: 0, 44\r\n{form}\r\n{inner}")),
        ("a signed length", format!("Content-Length: +0\r\n{form}\r\n{inner}")),
        ("chunked not last", format!("Transfer-Encoding: chunked, identity\r\n{form}\r\n0\r\n\r\n{inner}")),
        ("chunked in disguise", format!("Transfer-Encoding: xchunked\r\n{form}\r\n0\r\n\r\n{inner}")),
        ("a folded line", format!("X: a\r\n Content-Length: 0\r\n{form}\r\n{inner}")),
        ("a space before the colon", format!("Content-Length : 0\r\n{form}\r\n{inner}")),
        ("a chunk of a size that overflows", format!("Transfer-Encoding: chunked\r\n{form}\r\nffffffffffffffff1\r\n{inner}")),
    ] {
        let request = format!("POST /token HTTP/1.1\r\nHost: id.test\r\n{head}");
        let answer = tokio::time::timeout(Duration::from_secs(20), raw::send(&server, request.as_bytes())).await.expect(what);
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{what}: {answer}");
        assert!(!answer.contains("404 Not Found"), "{what}: {answer}");
    }
    server.get("/healthz").await.ok();
}

/// RFC 9112 §3.2, wherever the request goes: a document from memory, a route, a page, a preflight, and nowhere at all.
async fn a_request_has_one_host_and_it_is_one(server: Server) {
    let long = format!("Host: {}.test\r\n", "a".repeat(4000));
    let ask = async |line: &str, version: &str, host: &str| {
        let request = format!("{line} {version}\r\n{host}Connection: close\r\nContent-Length: 0\r\n\r\n");
        raw::send(&server, request.as_bytes()).await
    };
    for line in [
        "GET /jwks",
        "GET /.well-known/openid-configuration",
        "POST /token",
        "POST /introspect",
        "GET /userinfo",
        "GET /authorize",
        "GET /login",
        "GET /admin/v1/users",
        "GET /nowhere",
        "DELETE /token",
        "OPTIONS /jwks",
        "OPTIONS /token",
        "OPTIONS *",
        "GET https://id.test/jwks",
        "GET http://elsewhere.test:80/nowhere",
    ] {
        let expected = |answer: &str, wanted: bool, what: &str| {
            let is_refused = raw::status(answer) == 400 && answer.contains("RFC 9112 section 3.2");
            assert_eq!(!is_refused, wanted, "{line}, {what}: {answer}");
            assert!(answer.contains("chancery-trace-id: "), "{line}, {what}: {answer}");
        };
        for host in [
            "",
            "Host: id.test\r\nHost: id.test\r\n",
            "Host: id.test\r\nHost: evil.test\r\n",
            "Host:\r\n",
            "Host: :80\r\n",
            "Host: alice@id.test\r\n",
            "Host: id test\r\n",
            "Host: id.test, evil.test\r\n",
            "Host: id.test:port\r\n",
            "Host: id.test:65536\r\n",
            "Host: id.test/evil\r\n",
            "Host: b\u{fc}cher.test\r\n",
            "Host: [::1\r\n",
        ] {
            expected(&ask(line, "HTTP/1.1", host).await, false, host);
            // RFC 9112 §3.2: whoever speaks HTTP/1.0 need not send one, and whoever does sends one that is right.
            expected(&ask(line, "HTTP/1.0", host).await, host.is_empty(), &format!("1.0 {host}"));
        }
        for host in ["Host: id.test\r\n", "hOST:elsewhere.test:8443  \r\n", "Host: [::1]:80\r\n", "Host: a_b:\r\n", &long] {
            expected(&ask(line, "HTTP/1.1", host).await, true, host);
            expected(&ask(line, "HTTP/1.0", host).await, true, &format!("1.0 {host}"));
        }
    }
    // What is no header field at all is refused before anybody looks which it is.
    for host in ["Host : id.test\r\n", "Host: id\0.test\r\n", "Host: id\u{7f}.test\r\n", "Host\r\n", "Host: id.test\r\n .evil\r\n"]
    {
        assert_eq!(raw::status(&ask("GET /jwks", "HTTP/1.1", host).await), 400, "{host:?}");
    }
}

/// RFC 9112 §7.1.2, §2.2: whoever stands before us may see trailers end where we do not, and then takes the next answer over this connection
/// for another request's.
async fn nothing_is_read_behind_trailers(server: Server) {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: id.test\r\n\r\n";
    for (what, end) in [
        ("an empty line of LF alone", "0\r\n\n"),
        ("a trailer that ends with LF alone", "0\r\nX: y\n\r\n"),
        ("a trailer as it should be", "0\r\nX: y\r\n\r\n"),
    ] {
        let head = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n";
        let request = format!("POST /token HTTP/1.1\r\nHost: id.test\r\n{head}\r\n3\r\na=b\r\n{end}{inner}");
        let answer = raw::send(&server, request.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{what}: {answer}");
    }
    server.get("/healthz").await.ok();
}

/// RFC 9112 §2.2: to whom a bare LF is the end of a line, and to whom it is not, are different requests. On a connection that is kept, too.
async fn a_line_of_a_head_ends_in_cr_and_lf(server: Server) {
    let good = "GET /healthz HTTP/1.1\r\nHost: id.test\r\n\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded";
    let inner = "GET /smuggled HTTP/1.1\r\nHost: id.test\r\n\r\n";
    for (what, loose) in [
        ("the request line", "GET /healthz HTTP/1.1\nHost: id.test\r\n\r\n".to_owned()),
        ("a header", "GET /healthz HTTP/1.1\r\nHost: id.test\r\nA: b\nC: d\r\n\r\n".to_owned()),
        ("the empty line", "GET /healthz HTTP/1.1\r\nHost: id.test\r\n\n".to_owned()),
        ("all", "GET /healthz HTTP/1.1\nHost: id.test\n\n".to_owned()),
        (
            "a length that others read as a part of a value",
            format!("POST /token HTTP/1.1\r\nHost: id.test\r\n{form}\r\nA: b\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        ),
        (
            "the end of the head, for some",
            format!("POST /token HTTP/1.1\r\nHost: id.test\r\n{form}\r\nContent-Length: 3\r\n\na=b{inner}"),
        ),
    ] {
        let answer = raw::send(&server.site(), loose.as_bytes()).await;
        assert_eq!(raw::status(&answer), 400, "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{what}: {answer}");
        // As the second one of a connection, in two pieces.
        let mut stream = tokio::net::TcpStream::connect(server.site().address).await.unwrap();
        stream.write_all(good.as_bytes()).await.unwrap();
        let mut first = Vec::new();
        while !first.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut first).await.unwrap(), 0);
        }
        assert_eq!(raw::status(&String::from_utf8_lossy(&first)), 200);
        let (begin, end) = loose.split_at(10);
        stream.write_all(begin.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        let _ = stream.write_all(end.as_bytes()).await;
        let mut second = Vec::new();
        let _ = stream.read_to_end(&mut second).await;
        let second = String::from_utf8_lossy(&second).into_owned();
        assert!(second.contains("HTTP/1.1 400 ") && !second.contains("/smuggled"), "{what}: {second}");
    }
    // Before a request there may be empty lines, and in its body there may be anything.
    for fine in [
        format!("\r\n{}", good.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")),
        format!("POST /token HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\n{form}\r\nContent-Length: 9\r\n\r\na=b\n\nc\n\n"),
    ] {
        let answer = raw::send(&server.site(), fine.as_bytes()).await;
        assert!(answer.contains("ancery-trace-id") || raw::status(&answer) == 200, "{answer}");
    }
}
