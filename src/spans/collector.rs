//! The way to the collector: HTTP/1.1 over the hyper that serves requests and the rustls that the database driver brings. One
//! connection per batch, at most one batch every few seconds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// A collector that has not answered by then is away; the next batch tries again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Sends batches of spans.
pub struct Collector {
    /// The exporter has a thread of its own, without a runtime.
    runtime: Handle,
    tls: TlsConnector,
    /// Whether the last batch was lost: said once, and once when it is over.
    failing: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl Collector {
    /// To be made inside the runtime. `OTEL_EXPORTER_OTLP_CERTIFICATE` names a PEM file of authorities in place of the public ones.
    pub fn new() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let own = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
        let own = own.into_iter().filter_map(std::env::var_os).find(|path| !path.is_empty());
        let mut roots = RootCertStore::empty();
        match own {
            Some(path) => {
                for certificate in CertificateDer::pem_file_iter(&path)? {
                    roots.add(certificate?)?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { runtime: Handle::try_current()?, tls, failing: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let tls = self.tls.clone();
        // The time limit is made inside, too: out here there is no timer.
        let sent = self.runtime.spawn(async move { tokio::time::timeout(PATIENCE, send(tls, request)).await }).await;
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("it does not answer in time".into()),
            Err(stopped) => Err(stopped.into()),
        };
        let lost = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        match (self.failing.swap(lost.is_some(), Ordering::Relaxed), lost) {
            (false, Some(why)) => tracing::warn!(why, "the collector of traces cannot be reached; spans are lost until it can"),
            (true, None) => tracing::info!("the collector of traces can be reached again"),
            (false, None) | (true, Some(_)) => {}
        }
        answer
    }
}

impl HttpClient for Collector {
    fn send_bytes<'life, 'all>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'all>>
    where
        'life: 'all,
        Self: 'all,
    {
        Box::pin(self.send(request))
    }
}

async fn send(tls: TlsConnector, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    let host = uri.host().ok_or("the endpoint names no host")?.trim_matches(['[', ']']).to_owned();
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    if https {
        let stream = tls.connect(ServerName::try_from(host)?, stream).await?;
        exchange(TokioIo::new(stream), uri, request).await
    } else {
        exchange(TokioIo::new(stream), uri, request).await
    }
}

async fn exchange(
    io: impl Read + Write + Unpin + Send + 'static,
    uri: Uri,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let mut request = request.map(Full::new);
    // RFC 9112 §3.2: origin-form, and a Host header.
    *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let host = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    request.headers_mut().insert(header::HOST, HeaderValue::try_from(host)?);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
    drop(sender);
    drop(connection.await);
    Ok(Response::from_parts(head, body))
}
