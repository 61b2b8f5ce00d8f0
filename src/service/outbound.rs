//! The one guarded fetcher: every request that this server makes because a client's registration names a URL (security.md ).
//!
//! It asks the resolver itself and connects to the very addresses that it has judged: public unicast ones, and those that `[outbound] allow`
//! names. https alone, or http to an allowed loopback address on a developer's machine. No redirect is followed, no proxy of the environment
//! is used, and size, time and type of the answer have limits. Whoever registered the URL learns nothing from the outcome: an
//! [`OutboundError`] is for the decision record and the log.
//!
//! How to use it: `app.outbound` is one of these.
//! - [`Outbound::json`] gets a JSON document of at most so many bytes. Keys of clients come through [`crate::service::client_keys`], which remembers
//!   them, and never from here.
//! - [`Outbound::image`] gets a picture in the same way.
//! - [`Outbound::post_form`] posts a form, as logout tokens are delivered, and answers the status: what it means is the caller's business.
//!   3xx is a status like any other. The body of the answer is not read.
//!
//! None of them tries again. All end within [`PATIENCE`], after a short wait for a place. Deliveries have places of their own, and at one host
//! there are few at once: a host that hangs holds up those who want something of it, and nobody else.

mod address;
mod places;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use crate::config;
use crate::service::doctor::certificate;

use places::Places;

pub use address::is_global_unicast;

/// From the beginning of a request to its end, in which it is answered or given up.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Of these, how long one address may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(1);
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 3;
/// Documents and pictures that are fetched at once.
const FETCHES: usize = 32;
/// Forms that are delivered at once.
const DELIVERIES: usize = 24;
/// Bytes and lines of an answer's head.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_LINES: usize = 64;

/// Why a request came to nothing, in words for the operator alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// There was no place: nobody was asked, and nothing is known about the host.
    #[error("busy: too many requests to other hosts are under way, or to this one")]
    Busy,
    #[error("{0}")]
    Failed(String),
}

/// The fetcher. One for the whole server.
pub struct Outbound {
    rules: config::Outbound,
    tls: TlsConnector,
    fetches: Places,
    deliveries: Places,
}

fn failed(why: impl Into<String>) -> OutboundError {
    OutboundError::Failed(why.into())
}

impl Outbound {
    /// As `[outbound]` says.
    ///
    /// # Errors
    /// `extra_ca_file` cannot be read.
    pub fn new(rules: &config::Outbound) -> Result<Self, String> {
        let roots = certificate::authorities(rules.extra_ca_file.as_deref())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut tls = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every request has a connection of its own, and nothing of one client's server is remembered for another's.
        tls.resumption = rustls::client::Resumption::disabled();
        let (fetches, deliveries) = (Places::new(FETCHES), Places::new(DELIVERIES));
        Ok(Self { rules: rules.clone(), tls: TlsConnector::from(Arc::new(tls)), fetches, deliveries })
    }

    /// Gets a JSON document of at most `most` bytes: status 200, a JSON media type, not compressed.
    ///
    /// # Errors
    /// Everything else, with the reason.
    pub async fn json(&self, url: &str, most: usize) -> Result<Bytes, OutboundError> {
        self.get(url, "application/jwk-set+json, application/json", check_json, most).await
    }

    /// Gets a picture of at most `most` bytes: status 200, an image's media type, not compressed. What the bytes are is the caller's business.
    ///
    /// # Errors
    /// Everything else, with the reason.
    pub async fn image(&self, url: &str, most: usize) -> Result<Bytes, OutboundError> {
        self.get(url, "image/png, image/jpeg, image/webp", check_image, most).await
    }

    async fn get(
        &self,
        url: &str,
        accept: &'static str,
        check: fn(&HeaderMap) -> Result<(), OutboundError>,
        most: usize,
    ) -> Result<Bytes, OutboundError> {
        in_time(&self.fetches, url, async {
            let request =
                Request::builder().method(Method::GET).header(header::ACCEPT, accept).header(header::ACCEPT_ENCODING, "identity");
            let (_driver, response) = self.exchange(url, request, Bytes::new()).await?;
            if response.status() != StatusCode::OK {
                let what = if response.status().is_redirection() { "a redirect, which is not followed" } else { "not 200" };
                return Err(failed(format!("it answered {}: {what}", response.status().as_u16())));
            }
            check(response.headers())?;
            let body = Limited::new(response.into_body(), most).collect().await;
            let body = body.map_err(|_| failed(format!("its answer breaks off, or is longer than {most} bytes")))?;
            Ok(body.to_bytes())
        })
        .await
    }

    /// Posts a form and answers the status.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn post_form(&self, url: &str, form: &[(&str, &str)]) -> Result<StatusCode, OutboundError> {
        in_time(&self.deliveries, url, async {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            let request = Request::builder().method(Method::POST).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            let (_driver, response) = self.exchange(url, request, Bytes::from(body)).await?;
            Ok(response.status())
        })
        .await
    }

    /// One request over a connection of its own, which lives as long as the first half of the answer.
    async fn exchange(
        &self,
        url: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(JoinSet<()>, Response<Incoming>), OutboundError> {
        let url = Url::parse(url).map_err(|error| failed(format!("it is no URL: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(failed("it holds a user name or password"));
        }
        let host = url.host().ok_or_else(|| failed("it names no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| failed("it names no port"))?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(failed("it is not https")),
        };
        let stream = self.connect(&host, port, secure).await?;
        let request = request
            .uri(&url[Position::BeforePath..Position::AfterQuery])
            .header(header::HOST, &url[Position::BeforeHost..Position::AfterPort])
            .header(header::USER_AGENT, concat!("chancery/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| failed(format!("no request can be made of it: {error}")))?;
        if !secure {
            return speak(stream, request).await;
        }
        let name = match host {
            Host::Domain(name) => {
                ServerName::try_from(name.to_owned()).map_err(|_| failed("its host cannot stand in a certificate"))?
            }
            Host::Ipv4(ip) => ServerName::IpAddress(IpAddr::from(ip).into()),
            Host::Ipv6(ip) => ServerName::IpAddress(IpAddr::from(ip).into()),
        };
        let stream = self.tls.connect(name, stream).await.map_err(|error| failed(format!("TLS fails: {error}")))?;
        speak(stream, request).await
    }

    /// A connection to an address of `host` that may be reached.
    async fn connect(&self, host: &Host<&str>, port: u16, secure: bool) -> Result<TcpStream, OutboundError> {
        let (name, found) = match *host {
            Host::Ipv4(ip) => (None, vec![IpAddr::from(ip)]),
            Host::Ipv6(ip) => (None, vec![IpAddr::from(ip)]),
            Host::Domain(name) => {
                let found = tokio::net::lookup_host((name, port)).await;
                let found = found.map_err(|error| failed(format!("its name is not resolved: {error}")))?;
                (Some(name), found.map(|address| address.ip()).collect())
            }
        };
        let may = |ip: &IpAddr| {
            let allowed = self.rules.allows(name, *ip);
            if secure { allowed || is_global_unicast(*ip) } else { allowed && ip.to_canonical().is_loopback() }
        };
        let mut addresses: Vec<IpAddr> = found.iter().copied().filter(may).collect();
        addresses.dedup();
        if addresses.is_empty() {
            let shown = found.first().map_or_else(|| "none".to_owned(), IpAddr::to_string);
            return Err(failed(if secure {
                format!("its address ({shown}) is not public, and [outbound] allow does not name it")
            } else {
                format!("it is http, and its address ({shown}) is no loopback address that [outbound] allow names")
            }));
        }
        let mut last = failed("no address was tried");
        for ip in addresses.into_iter().take(MOST_ADDRESSES) {
            match tokio::time::timeout(CONNECTING, TcpStream::connect(SocketAddr::new(ip, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = failed(format!("no connection to {ip}: {error}")),
                Err(_) => last = failed(format!("no connection to {ip} within {} second", CONNECTING.as_secs())),
            }
        }
        Err(last)
    }
}

/// Does the work once there is a place at the host. Its time begins then: who had to wait is not to blame.
async fn in_time<T>(places: &Places, url: &str, work: impl Future<Output = Result<T, OutboundError>>) -> Result<T, OutboundError> {
    let host = Url::parse(url).map_or_else(|_| String::new(), |url| url[Position::BeforeHost..Position::AfterPort].to_owned());
    let _place = places.take(&host).await.ok_or(OutboundError::Busy)?;
    let ended = tokio::time::timeout(PATIENCE, work).await;
    ended.unwrap_or_else(|_| Err(failed(format!("no whole answer within {} seconds", PATIENCE.as_secs()))))
}

/// HTTP/1.1 over `io`. What drives the connection is stopped when it is dropped.
async fn speak(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(JoinSet<()>, Response<Incoming>), OutboundError> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES).max_headers(HEAD_LINES);
    let broken = |error: hyper::Error| failed(format!("HTTP fails: {error}"));
    let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(broken)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await.map_err(broken)?;
    Ok((driver, response))
}

/// `application/json`, or a type that says it is JSON (RFC 6839 §3.1), as it is and not compressed.
fn check_json(headers: &HeaderMap) -> Result<(), OutboundError> {
    let json = |media: &str| media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"));
    check_media(headers, json, "JSON")
}

/// Any picture, as it is and not compressed.
fn check_image(headers: &HeaderMap) -> Result<(), OutboundError> {
    check_media(headers, |media| media.starts_with("image/"), "an image")
}

fn check_media(headers: &HeaderMap, fits: fn(&str) -> bool, expected: &str) -> Result<(), OutboundError> {
    let one = |name: header::HeaderName| {
        let mut values = headers.get_all(&name).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (None, _) => Ok(None),
            (Some(Ok(value)), None) => Ok(Some(value.trim().to_ascii_lowercase())),
            (Some(_), _) => Err(failed(format!("its {name} header is unreadable"))),
        }
    };
    let media = one(header::CONTENT_TYPE)?.unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !fits(media) {
        let shown: String = media.chars().take(60).collect();
        return Err(failed(format!("its Content-Type is {shown:?}, not {expected}")));
    }
    match one(header::CONTENT_ENCODING)?.as_deref() {
        None | Some("" | "identity") => Ok(()),
        Some(_) => Err(failed("its answer is compressed, which was not asked for")),
    }
}

#[cfg(test)]
mod tests;
