//! The real binary without a proxy: `[tls]`, and SIGHUP (openid.md 114; docs/running.md). Which suites and versions are offered, and what a handshake may
//! take, is shown beside the listener in `src/http/server/tls.rs`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::machine::free_port;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Writes a certificate for `localhost` and its key.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(folder.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    made.cert.der().clone()
}

async fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(address).await?;
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    ask_for(stream, path, "Host: localhost\r\n").await
}

async fn ask_for(stream: &mut TlsStream<TcpStream>, path: &str, host: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\n{host}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "the connection was closed");
        answer.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return text;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_speaks_tls_and_takes_a_new_certificate_at_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let first = renew(folder.path());
    let (address, management) = (free(), free());
    let issuer = format!("https://localhost:{}", address.port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command
        .arg("serve")
        .env_clear()
        .env("CHANCERY_ISSUER", &issuer)
        .env("CHANCERY_LISTEN", address.to_string())
        .env("CHANCERY_MANAGEMENT_LISTEN", management.to_string())
        .env("CHANCERY_SERVER__DATA_DIR", folder.path().join("data"))
        .env("CHANCERY_TLS__CERTIFICATE_FILE", folder.path().join("cert.pem"))
        .env("CHANCERY_TLS__PRIVATE_KEY_FILE", folder.path().join("key.pem"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Process(command.spawn().unwrap());
    let begun = Instant::now();
    let mut open = loop {
        match connect(address, &first).await {
            Ok(stream) => break stream,
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(60), "it does not answer"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let answer = ask(&mut open, "/.well-known/openid-configuration").await;
    assert!(answer.starts_with("http/1.1 200") && answer.contains(&format!("{issuer}/token")), "{answer}");
    assert!(answer.contains("strict-transport-security"), "{answer}");
    // Health stays where it was, without TLS.
    assert_eq!(reqwest::get(format!("http://{management}/healthz")).await.unwrap().status(), 200);
    // RFC 9112 §3.2 on both.
    for (host, expected) in [("", "400"), ("Host: a\r\nHost: a\r\n", "400"), ("Host: a@b\r\n", "400"), ("Host: [::1]\r\n", "200")] {
        for path in ["/jwks", "/healthz"] {
            let answer = ask_for(&mut open, path, host).await;
            assert!(answer.starts_with(&format!("http/1.1 {expected}")), "{host}: {answer}");
        }
        let mut probe = TcpStream::connect(management).await.unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        probe.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{host}: {answer}");
    }

    let second = renew(folder.path());
    let signal = |name: &str| assert!(Command::new("kill").args([name, &process.0.id().to_string()]).status().unwrap().success());
    signal("-HUP");
    let begun = Instant::now();
    while connect(address, &second).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the new certificate is not shown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(ask(&mut open, "/jwks").await.starts_with("http/1.1 200"), "who was connected stays");
    // A certificate that does not fit changes nothing.
    std::fs::write(folder.path().join("cert.pem"), "nonsense").unwrap();
    signal("-HUP");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut fresh = connect(address, &second).await.unwrap();
    assert!(ask(&mut fresh, "/jwks").await.starts_with("http/1.1 200"));
    signal("-TERM");
    drop((open, fresh));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = process.0.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}");
    // It does not start with half a pair.
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command
        .args(["serve"])
        .env_clear()
        .env("CHANCERY_ISSUER", &issuer)
        .env("CHANCERY_SERVER__DATA_DIR", folder.path().join("data"));
    command.env("CHANCERY_TLS__CERTIFICATE_FILE", folder.path().join("cert.pem"));
    let output = command.output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("private_key_file"));
}
