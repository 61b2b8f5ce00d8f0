//! TLS of our own, for deployments without a proxy (`[tls]`): TLS 1.3, and of 1.2 the suites with ECDHE and AES-GCM alone, as FAPI 2.0 Security
//! Profile §5.2 and RFC 9325 allow. HTTP/1.1 is what is spoken behind it, so that is all that ALPN offers.
//!
//! Certificate and key are read anew at SIGHUP. Connections that are open go on under the old ones; if the new ones do not fit together, the old
//! ones stay.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::is_world_readable;

/// The certificate that the public listener shows, with its key. Clones are the same.
#[derive(Debug, Clone)]
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Certificates {
    /// Reads both PEM files.
    ///
    /// # Errors
    /// Which of them cannot be read, or that they do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let current = Arc::new(RwLock::new(Arc::new(read(certificate, key)?)));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Reads both files again; connections from now on get what they hold.
    ///
    /// # Errors
    /// As [`Certificates::load`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), String> {
        let fresh = Arc::new(read(&self.certificate, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, String> {
    if is_world_readable(key) {
        return Err(format!("every user of this machine may read the private key {0}; chmod o-rwx {0}", key.display()));
    }
    let in_file = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate).and_then(|chain| chain.collect::<Result<Vec<_>, _>>());
    let chain = chain.map_err(|error| in_file(certificate, &error))?;
    if chain.is_empty() {
        return Err(in_file(certificate, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
    let builder = builder.map_err(|error| error.to_string())?.with_no_client_auth();
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| format!("{} and {} do not belong together: {error}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The suites: all of TLS 1.3, and four of TLS 1.2.
fn provider() -> CryptoProvider {
    let cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ];
    CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, Instant};

    use axum::Router;
    use axum::routing::get;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;
    use crate::http::server::{Limits, Listeners, Routers, Serving, Shutdown, serve};

    /// A folder with a certificate for `localhost` and its key.
    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let files = Self { folder: tempfile::tempdir().unwrap() };
            files.renew();
            files
        }

        fn paths(&self) -> (PathBuf, PathBuf) {
            (self.folder.path().join("cert.pem"), self.folder.path().join("key.pem"))
        }

        /// Another certificate and key; its DER.
        fn renew(&self) -> CertificateDer<'static> {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let (certificate, key) = self.paths();
            std::fs::write(certificate, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
            made.cert.der().clone()
        }

        fn load(&self) -> Certificates {
            let (certificate, key) = self.paths();
            Certificates::load(&certificate, &key).unwrap()
        }

        fn shown(&self) -> CertificateDer<'static> {
            CertificateDer::from_pem_file(self.paths().0).unwrap()
        }
    }

    async fn server(certificates: Certificates) -> Serving {
        limited(certificates, Limits::default()).await
    }

    async fn limited(certificates: Certificates, limits: Limits) -> Serving {
        let router = Router::new().route("/", get(|| async { "here" }));
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners::bind(any, None).unwrap().with_tls(certificates);
        serve(
            Routers { public: router.clone(), at_once: None, straight: None, management: router },
            listeners,
            limits,
            Shutdown::new(),
        )
        .unwrap()
    }

    fn connector(
        trusted: CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
        suites: Option<Vec<SupportedCipherSuite>>,
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let all = aws_lc_rs::default_provider();
        let provider = CryptoProvider { cipher_suites: suites.unwrap_or(all.cipher_suites.clone()), ..all };
        let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(serving: &Serving, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(serving.address).await?;
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            let mut bytes = [0; 512];
            match stream.read(&mut bytes).await? {
                0 => break,
                read => answer.extend_from_slice(&bytes[..read]),
            }
        }
        Ok(String::from_utf8(answer).unwrap())
    }

    const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

    /// openid.md 114.
    #[tokio::test]
    async fn tls_13_is_preferred_and_12_has_four_suites() {
        let files = Files::new();
        let serving = server(files.load()).await;
        let mut stream = connect(&serving, &connector(files.shown(), &BOTH, None)).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "h2 is not spoken, so it is not offered");
        assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
        drop(stream);

        let old: Vec<SupportedCipherSuite> =
            aws_lc_rs::default_provider().cipher_suites.into_iter().filter(|suite| suite.tls13().is_none()).collect();
        let mut accepted = Vec::new();
        for suite in old {
            let only = connector(files.shown(), &[&rustls::version::TLS12], Some(vec![suite]));
            if let Ok(mut stream) = connect(&serving, &only).await {
                assert!(ask(&mut stream).await.unwrap().contains("200"));
                accepted.push(format!("{:?}", suite.suite()));
            }
        }
        // The certificate here is for ECDSA.
        accepted.sort();
        assert_eq!(accepted, ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]);
    }

    /// A ClientHello of an older version (RFC 4346 §7.4.1.2), with the suites that such clients have.
    fn client_hello(minor: u8) -> Vec<u8> {
        let mut body = vec![3, minor];
        body.extend([7; 32]);
        body.push(0);
        // TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_128_CBC_SHA, and one of ours.
        body.extend([0, 6, 0xc0, 0x13, 0, 0x2f, 0xc0, 0x2b]);
        body.extend([1, 0]);
        let mut handshake = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
        handshake.extend(body);
        let mut record = vec![22, 3, 1, 0, u8::try_from(handshake.len()).unwrap()];
        record.extend(handshake);
        record
    }

    #[tokio::test]
    async fn older_versions_and_plain_text_are_refused() {
        let files = Files::new();
        let serving = server(files.load()).await;
        for minor in [0, 1, 2] {
            let mut stream = TcpStream::connect(serving.address).await.unwrap();
            stream.write_all(&client_hello(minor)).await.unwrap();
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
            // An alert (21), fatal (2), and never a ServerHello (22).
            assert_eq!((answer.first(), answer.get(5)), (Some(&21), Some(&2)), "version 3.{minor}: {answer:?}");
        }
        let mut stream = TcpStream::connect(serving.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        assert!(!answer.starts_with(b"HTTP"), "no answer in the clear");
    }

    #[tokio::test]
    async fn a_reload_shows_the_new_certificate_and_drops_nobody() {
        let files = Files::new();
        let certificates = files.load();
        let serving = server(certificates.clone()).await;
        let old = connector(files.shown(), &BOTH, None);
        let mut open = connect(&serving, &old).await.unwrap();
        assert!(ask(&mut open).await.unwrap().contains("200"));

        let fresh = files.renew();
        assert!(connect(&serving, &old).await.is_ok(), "nothing is read before it is asked for");
        certificates.reload().unwrap();
        assert!(connect(&serving, &old).await.is_err());
        let new = connector(fresh, &BOTH, None);
        let mut second = connect(&serving, &new).await.unwrap();
        assert!(ask(&mut second).await.unwrap().contains("200"));
        assert!(ask(&mut open).await.unwrap().contains("200"), "who was connected stays");

        // Half a renewal: the new key is not the old certificate's.
        let (certificate, key) = files.paths();
        let before = std::fs::read(&certificate).unwrap();
        files.renew();
        std::fs::write(&certificate, before).unwrap();
        assert!(certificates.reload().unwrap_err().contains("do not belong together"));
        std::fs::write(&certificate, "nonsense").unwrap();
        assert!(certificates.reload().is_err());
        std::fs::remove_file(&certificate).unwrap();
        assert!(certificates.reload().is_err());
        files.renew();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(certificates.reload().unwrap_err().contains("chmod"));
        drop(second);
        assert!(connect(&serving, &new).await.is_ok(), "what worked goes on");
    }

    /// a handshake has an end, and counts as a connection from its first byte on.
    #[tokio::test]
    async fn silent_and_slow_handshakes_are_closed_and_counted() {
        let files = Files::new();
        let limits = Limits { header_read_timeout: Duration::from_millis(400), connections_per_address: 3, ..Limits::default() };
        let serving = limited(files.load(), limits).await;
        let mut at_once = false;
        // On a busy machine the others may be over before the one too many has come.
        for _ in 0..10 {
            let begun = Instant::now();
            let mut silent = TcpStream::connect(serving.address).await.unwrap();
            let mut slow = TcpStream::connect(serving.address).await.unwrap();
            slow.write_all(&client_hello(3)[..10]).await.unwrap();
            let mut third = TcpStream::connect(serving.address).await.unwrap();
            let mut fourth = TcpStream::connect(serving.address).await.unwrap();
            let mut bytes = Vec::new();
            drop(tokio::time::timeout(Duration::from_secs(5), fourth.read_to_end(&mut bytes)).await.unwrap());
            assert!(bytes.is_empty());
            at_once |= begun.elapsed() < Duration::from_millis(390);
            for stream in [&mut silent, &mut slow, &mut third] {
                drop(tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await.unwrap());
            }
            if at_once {
                break;
            }
        }
        assert!(at_once, "one too many is closed at once");
        assert!(connect(&serving, &connector(files.shown(), &BOTH, None)).await.is_ok());
        serving.stop();
        serving.finished().await;
    }

    /// a record that trickles in is no head that has come.
    #[tokio::test]
    async fn a_record_that_trickles_in_after_the_handshake_is_cut_off() {
        let files = Files::new();
        let serving = limited(files.load(), Limits { header_read_timeout: Duration::from_millis(400), ..Limits::default() }).await;
        let shaken = connect(&serving, &connector(files.shown(), &BOTH, None)).await.unwrap();
        let (mut stream, _) = shaken.into_inner();
        // Application data of 16 KiB.
        stream.write_all(&[23, 3, 3, 64, 0]).await.unwrap();
        let begun = Instant::now();
        while stream.write_all(&[0]).await.is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(20), "still open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// whoever is silent in a handshake makes room like anybody who says nothing.
    #[tokio::test]
    async fn silent_handshakes_do_not_shut_the_door() {
        let files = Files::new();
        let serving =
            limited(files.load(), Limits { header_read_timeout: Duration::from_secs(60), connections: 3, ..Limits::default() });
        let serving = serving.await;
        let mut held = Vec::new();
        for sent in [0, 1, 10] {
            let mut stream = TcpStream::connect(serving.address).await.unwrap();
            stream.write_all(&client_hello(3)[..sent]).await.unwrap();
            held.push(stream);
        }
        let connector = connector(files.shown(), &BOTH, None);
        let begun = Instant::now();
        while connect(&serving, &connector).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the door is shut");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// With `drain_delay = 0` nobody was told before.
    #[tokio::test]
    async fn a_handshake_that_a_drain_finds_under_way_may_end_and_ask() {
        let files = Files::new();
        let mut seen = Vec::new();
        // On a busy machine the time for it may be over.
        for _ in 0..5 {
            let serving = server(files.load()).await;
            let stream = TcpStream::connect(serving.address).await.unwrap();
            // Who comes later has been let in, and so was the first.
            let connector = connector(files.shown(), &BOTH, None);
            drop(connect(&serving, &connector).await.unwrap());
            serving.stop();
            while TcpStream::connect(serving.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
            let shaken = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await;
            let answer = match shaken {
                Ok(mut stream) => ask(&mut stream).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => return,
                other => seen.push(other),
            }
        }
        panic!("{seen:?}");
    }
}
