//! What the fetcher reaches and what it takes, tried on sockets of this machine. None of these tests needs another one.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Allowed, Outbound as Rules};

fn fetcher(allow: &[&str]) -> Outbound {
    let allow = allow.iter().map(|text| match text.parse() {
        Ok(network) => Allowed::Network(network),
        Err(_) => Allowed::Host((*text).to_owned()),
    });
    Outbound::new(&Rules { allow: allow.collect(), extra_ca_file: None }).unwrap()
}

/// A server that answers every request with these bytes and leaves the connection open for `lingers`. Counts who came.
async fn server(answer: Vec<u8>, lingers: Duration) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let visits = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&visits);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            tokio::spawn(async move {
                drop(stream.read(&mut [0; 4096]).await);
                drop(stream.write_all(&answer).await);
                tokio::time::sleep(lingers).await;
            });
        }
    });
    (port, visits)
}

fn http(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn got(answer: Vec<u8>) -> Result<Bytes, String> {
    let (port, _) = server(answer, Duration::ZERO).await;
    fetcher(&["127.0.0.0/8"]).json(&format!("http://127.0.0.1:{port}/jwks?x=y"), 64).await.map_err(|error| error.to_string())
}

const JSON: &str = "200 OK\r\nContent-Type: application/json";

#[tokio::test]
async fn a_json_document_within_its_limit_is_taken_and_nothing_else() {
    assert_eq!(got(http(JSON, r#"{"keys":[]}"#)).await.unwrap(), r#"{"keys":[]}"#);
    assert!(got(http("200 OK\r\nContent-Type: application/jwk-set+json; charset=utf-8", "{}")).await.is_ok());
    assert!(got(http("200 OK\r\nContent-Type: application/json\r\nContent-Encoding: identity", "{}")).await.is_ok());
    for (answer, because) in [
        (http("200 OK\r\nContent-Type: text/html", "{}"), "Content-Type"),
        (http("200 OK\r\nContent-Type: text/json", "{}"), "Content-Type"),
        (http("200 OK", "{}"), "Content-Type"),
        (http("200 OK\r\nContent-Type: application/json\r\nContent-Type: text/html", "{}"), "unreadable"),
        (http("200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip", "{}"), "compressed"),
        (http("204 No Content\r\nContent-Type: application/json", ""), "204"),
        (http("404 Not Found\r\nContent-Type: application/json", "{}"), "404"),
        (http(JSON, &"x".repeat(65)), "longer than 64"),
        (
            format!("HTTP/1.1 {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n{}\r\n0\r\n\r\n", "x".repeat(65)).into_bytes(),
            "longer than 64",
        ),
        (format!("HTTP/1.1 {JSON}\r\nContent-Length: 10\r\n\r\nshort").into_bytes(), "breaks off"),
        (http(&format!("{JSON}\r\nX: {}", "x".repeat(HEAD_BYTES)), "{}"), "HTTP fails"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "HTTP fails"),
        (Vec::new(), "HTTP fails"),
    ] {
        let shown = String::from_utf8_lossy(&answer).chars().take(80).collect::<String>();
        let error = got(answer).await.unwrap_err();
        assert!(error.contains(because), "{shown}: {error}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (inside, visits) = server(http(JSON, "{}"), Duration::ZERO).await;
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let (port, _) = server(http(&format!("{status}\r\nLocation: http://127.0.0.1:{inside}/"), ""), Duration::ZERO).await;
        let out = fetcher(&["127.0.0.0/8"]);
        let url = format!("http://127.0.0.1:{port}/");
        assert!(out.json(&url, 64).await.unwrap_err().to_string().contains("redirect"));
        assert_eq!(out.post_form(&url, &[("logout_token", "x")]).await.unwrap().as_u16().to_string(), status[..3]);
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

/// R-58: the address decides, however it is written, and whatever name leads there.
#[tokio::test]
async fn what_is_not_public_is_not_reached() {
    let (port, visits) = server(http(JSON, "{}"), Duration::ZERO).await;
    let closed = fetcher(&[]);
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
    ] {
        for scheme in ["https", "http"] {
            let error = closed.json(&format!("{scheme}://{host}:{port}/"), 64).await.unwrap_err().to_string();
            assert!(error.contains("not public") || error.contains("no loopback"), "{scheme} {host}: {error}");
        }
    }
    // http stays at home even where the address is allowed, and everywhere else altogether.
    let open = fetcher(&["10.0.0.0/8", "169.254.169.254/32"]);
    assert!(open.json(&format!("http://10.0.0.1:{port}/"), 64).await.unwrap_err().to_string().contains("no loopback"));
    assert!(closed.json("http://8.8.8.8/", 64).await.unwrap_err().to_string().contains("no loopback"));
    for url in [
        "",
        "/x",
        "ftp://localhost/",
        "file:///etc/passwd",
        "gopher://localhost/",
        "data:,x",
        "https://u:p@localhost/",
        "unix:/run/x",
    ] {
        assert!(fetcher(&["localhost"]).json(url, 64).await.is_err(), "{url}");
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
    // A name counts by its own entry, wherever it leads.
    let by_name = fetcher(&["localhost"]);
    assert!(by_name.json(&format!("http://localhost:{port}/"), 64).await.is_ok());
    assert!(by_name.json(&format!("http://127.0.0.1:{port}/"), 64).await.is_err());
}

/// No proxy of the environment is asked: there is none who reads it. What is here is the proof by the bytes that arrive.
#[tokio::test]
async fn a_form_arrives_as_it_was_given() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        while !text.contains("a+b%26c") {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        stream.write_all(&http("200 OK", "")).await.unwrap();
        text
    });
    let out = fetcher(&["127.0.0.0/8"]);
    let status = out.post_form(&format!("http://127.0.0.1:{port}/bye?x=1"), &[("logout_token", "a b&c")]).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let text = seen.await.unwrap().to_ascii_lowercase();
    assert!(text.starts_with("post /bye?x=1 http/1.1\r\n"), "{text}");
    assert!(text.contains(&format!("host: 127.0.0.1:{port}\r\n")) && text.ends_with("\r\n\r\nlogout_token=a+b%26c"), "{text}");
    assert!(text.contains("content-type: application/x-www-form-urlencoded\r\n"));
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_given_up() {
    let head = format!("HTTP/1.1 {JSON}\r\nContent-Length: 10\r\n\r\n{{").into_bytes();
    let (trickles, _) = server(head, Duration::from_secs(20)).await;
    let (silent, _) = server(Vec::new(), Duration::from_secs(20)).await;
    let out = fetcher(&["127.0.0.0/8"]);
    let begun = Instant::now();
    let urls = [trickles, silent].map(|port| format!("http://127.0.0.1:{port}/"));
    let (trickled, waited) = tokio::join!(out.json(&urls[0], 64), out.json(&urls[1], 64));
    for error in [trickled.unwrap_err(), waited.unwrap_err()] {
        assert!(error.to_string().contains("within 3 seconds"), "{error}");
    }
    assert!(begun.elapsed() < PATIENCE + Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(out.fetches.state(), (FETCHES, 0), "every place is given back, and no host is remembered");
}

#[tokio::test]
async fn a_host_that_hangs_holds_up_itself_alone() {
    let (silent, visits) = server(Vec::new(), Duration::from_secs(20)).await;
    let (well, _) = server(http(JSON, "{}"), Duration::ZERO).await;
    let out = Arc::new(fetcher(&["127.0.0.0/8"]));
    let hang = |number: usize| {
        let out = Arc::clone(&out);
        tokio::spawn(async move { out.json(&format!("http://127.0.0.1:{silent}/{number}"), 64).await })
    };
    let asked: Vec<_> = (0..40).map(hang).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The quickest of several: a busy machine adds what it likes to one.
    let mut quickest = PATIENCE;
    for _ in 0..5 {
        let begun = Instant::now();
        assert!(out.json(&format!("http://127.0.0.1:{well}/"), 64).await.is_ok());
        // What is delivered waits for nothing that is fetched.
        assert!(out.post_form(&format!("http://127.0.0.1:{well}/"), &[]).await.is_ok());
        quickest = quickest.min(begun.elapsed());
    }
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
    let mut busy = 0;
    for one in asked {
        busy += usize::from(one.await.unwrap() == Err(OutboundError::Busy));
    }
    assert_eq!((busy, visits.load(Ordering::SeqCst)), (36, 4));
    assert_eq!(out.fetches.state(), (FETCHES, 0));
}

/// Who waits for a place has as much time as everybody once there is one.
#[tokio::test]
async fn the_wait_for_a_place_is_not_held_against_the_host() {
    let (slow, _) = server(Vec::new(), Duration::from_millis(50)).await;
    let (url, out) = (format!("http://127.0.0.1:{slow}/"), fetcher(&["127.0.0.0/8"]));
    let answers = futures_util::future::join_all((0..8).map(|_| out.json(&url, 64))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(OutboundError::Failed(_)))), "all had their turn");
}

#[tokio::test]
async fn https_is_spoken_with_those_whom_an_authority_vouches_for() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                drop(stream.read(&mut [0; 4096]).await);
                drop(stream.write_all(&http(JSON, "{}")).await);
                drop(stream.shutdown().await);
            });
        }
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(made.cert.pem().as_bytes()).unwrap();
    let rules = |extra_ca_file| Rules { allow: vec![Allowed::Network("127.0.0.0/8".parse().unwrap())], extra_ca_file };
    let trusting = Outbound::new(&rules(Some(file.path().to_owned()))).unwrap();
    assert_eq!(trusting.json(&format!("https://localhost:{port}/"), 64).await.unwrap(), "{}");
    // Another name than the certificate's, and an authority that nobody has named.
    assert!(trusting.json(&format!("https://127.0.0.1:{port}/"), 64).await.unwrap_err().to_string().contains("TLS fails"));
    let strict = Outbound::new(&rules(None)).unwrap();
    assert!(strict.json(&format!("https://localhost:{port}/"), 64).await.unwrap_err().to_string().contains("TLS fails"));
    assert!(Outbound::new(&rules(Some("/nowhere/ca.pem".into()))).is_err());
}

#[tokio::test]
async fn a_picture_is_fetched_as_one() {
    let got = async |head: &str, body: &str| {
        let (port, _) = server(http(head, body), Duration::ZERO).await;
        fetcher(&["127.0.0.0/8"]).image(&format!("http://127.0.0.1:{port}/logo.png"), 8).await.map_err(|error| error.to_string())
    };
    assert_eq!(got("200 OK\r\nContent-Type: image/png", "picture").await.unwrap(), "picture");
    assert!(got("200 OK\r\nContent-Type: text/html", "picture").await.unwrap_err().contains("not an image"));
    assert!(got("200 OK\r\nContent-Type: image/png", "a picture").await.unwrap_err().contains("longer than 8"));
}
