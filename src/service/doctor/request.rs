//! One GET as a client of this issuer would make it, with a limit on everything, and with a look at the certificate that was shown.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::{Host, Url};

/// Longest answer that is read, in bytes.
const LONGEST: usize = 256 * 1024;
/// How long a name may take to be resolved, and a connection to be made.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long the rest may take.
const ANSWERING: Duration = Duration::from_secs(8);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The `Date` header; none of an answer that a cache kept (RFC 9111 §5.1), which tells of the past.
    pub date: Option<String>,
    /// The `Location` header.
    pub location: Option<String>,
    pub body: Vec<u8>,
}

/// What a visit to a URL showed, however far it came.
#[derive(Debug)]
pub struct Visit {
    /// The certificates that were shown, the server's own first; none without TLS.
    pub chain: Vec<CertificateDer<'static>>,
    pub answer: Result<Answer, String>,
}

/// Asks. The certificate is not judged here: a wrong one must not hide what else is wrong.
pub async fn get(url: &Url) -> Visit {
    let shown = Arc::new(Shown::new());
    let answer = ask(url, &shown).await;
    let chain = shown.chain.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Visit { chain, answer }
}

async fn ask(url: &Url, shown: &Arc<Shown>) -> Result<Answer, String> {
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return Err("it names no host".to_owned()) };
    let stream = connect(&resolve(&host, port).await?).await?;
    let talk = async {
        if url.scheme() == "https" {
            let name = server_name(&host).ok_or_else(|| format!("{host} cannot stand in a certificate"))?;
            let stream = tokio_rustls::TlsConnector::from(tls(Arc::clone(shown))?).connect(name, stream).await;
            speak(url, stream.map_err(|error| format!("TLS fails: {error}"))?).await
        } else {
            speak(url, stream).await
        }
    };
    tokio::time::timeout(ANSWERING, talk)
        .await
        .unwrap_or_else(|_elapsed| Err(format!("no answer within {} seconds", ANSWERING.as_secs())))
}

/// The addresses of a host.
pub async fn resolve(host: &Host<&str>, port: u16) -> Result<Vec<SocketAddr>, String> {
    let name = match host {
        Host::Domain(name) => *name,
        Host::Ipv4(ip) => return Ok(vec![SocketAddr::new((*ip).into(), port)]),
        Host::Ipv6(ip) => return Ok(vec![SocketAddr::new((*ip).into(), port)]),
    };
    match tokio::time::timeout(CONNECTING, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => {
            let mut found: Vec<SocketAddr> = found.collect();
            found.dedup();
            if found.is_empty() { Err(format!("the name {name} has no address")) } else { Ok(found) }
        }
        Ok(Err(error)) => Err(format!("the name {name} cannot be resolved: {error}")),
        Err(_elapsed) => Err(format!("the name {name} cannot be resolved within {} seconds", CONNECTING.as_secs())),
    }
}

/// A connection to the first address that takes one.
pub async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let each = async {
        let mut last = "there is no address".to_owned();
        for address in addresses.iter().take(8) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        Err(last)
    };
    let all = || addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    tokio::time::timeout(CONNECTING, each)
        .await
        .unwrap_or_else(|_elapsed| Err(format!("{} does not take connections within {} seconds", all(), CONNECTING.as_secs())))
}

async fn speak(url: &Url, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Answer, String> {
    let no_http = |error: hyper::Error| format!("it does not speak HTTP: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_http)?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
        .header(http::header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::USER_AGENT, "chancery-doctor")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(no_http)?;
    let header = |name| answer.headers().get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::to_owned);
    let is_kept = answer.headers().contains_key(http::header::AGE);
    let (status, location) = (answer.status().as_u16(), header(http::header::LOCATION));
    let date = header(http::header::DATE).filter(|_| !is_kept);
    let body =
        Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|error| format!("its answer breaks off: {error}"))?;
    connection.abort();
    Ok(Answer { status, date, location, body: body.to_bytes().to_vec() })
}

/// The name that a certificate must be for.
pub fn server_name(host: &Host<&str>) -> Option<ServerName<'static>> {
    match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned()).ok(),
        Host::Ipv4(ip) => Some(ServerName::from(std::net::IpAddr::from(*ip))),
        Host::Ipv6(ip) => Some(ServerName::from(std::net::IpAddr::from(*ip))),
    }
}

fn tls(shown: Arc<Shown>) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(Arc::clone(&shown.provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(shown)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes down whatever certificate is shown. Nothing secret is ever sent to whoever showed it.
#[derive(Debug)]
struct Shown {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Shown {
    fn new() -> Self {
        Self { provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()), chain: Mutex::default() }
    }
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
