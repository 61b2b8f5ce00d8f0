//! The HTTP server's own accept loop (security.md ).
//!
//! Every wait has an end: for the first byte, for the head, between two requests, for the body, for a reader that does not read.
//! Connections are counted, in all and per address; when there are too many, those that do nothing, or half of it, make room. A shutdown goes in this
//! order: readiness down, a pause in which balancers notice, no new connections, requests in flight finish, and at the deadline whatever
//! is left is cut off.
//!
//! This room moves bytes and counts connections; it knows nothing of OAuth, of the database, or of what a route does.

mod body;
mod caps;
mod lines;
mod room;
mod shutdown;
mod timed_io;
mod tls;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt as _;

use crate::config::Config;

pub use body::{BodyTimedOut, FinishedBody, TimedBody};
pub use caps::{Caps, Permit, Refused};
pub use shutdown::{Shutdown, on_hangup, on_signal};
pub use tls::Certificates;

use room::Room;
use timed_io::{Activity, Shaken, TimedIo};

/// How much larger than its limits a request's head may be and still be read, in bytes and lines: so that the layers can refuse it in
/// words, with a trace id. Beyond that hyper answers 431 and closes.
const HEAD_ROOM: usize = 32 * 1024;
const LINES_ROOM: usize = 36;

/// How long a fresh connection may still take to send its first byte once the server drains.
const DRAIN_FIRST_BYTE: Duration = Duration::from_millis(500);

/// From the signal to the end, whatever is configured (security.md R-92).
const DRAIN_LONGEST: Duration = Duration::from_secs(30);

/// After an accept fails for want of resources (file descriptors), before it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// So many are asked to leave for one newcomer, one after the other.
const ASKED_TO_LEAVE: usize = 3;

/// Connections that may wait to be accepted, or as many as the system allows (`net.core.somaxconn`). Whoever finds no room comes back after a
/// second, then after two, four and eight: with the 128 that is usual, a crowd that comes at once waits longer for the door than for its answers.
const BACKLOG: u32 = 4096;

/// Connections that the management listener serves at once.
const MANAGEMENT_CONNECTIONS: usize = 64;

/// The limits of one server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once, proxies not counted.
    pub connections: usize,
    /// Connections at once from one address (IPv4) or one /64 (IPv6), proxies not counted.
    pub connections_per_address: usize,
    /// From the first byte of a request's head to its last; also how long a fresh connection may stay silent.
    pub header_read_timeout: Duration,
    /// From the first look at the body to its last byte.
    pub body_read_timeout: Duration,
    /// Between two requests of one connection; also how long a peer may refuse to take the response.
    pub idle_timeout: Duration,
    /// From the signal until no more connections are accepted: time for load balancers to see that readiness is down.
    pub drain_delay: Duration,
    /// From the end of that delay until connections are cut off. Both together are 30 s at most.
    pub drain_deadline: Duration,
    /// Bytes of a request's headers.
    pub header_bytes: usize,
    /// Lines of a request's headers.
    pub headers: usize,
    /// Networks of configured reverse proxies.
    pub trusted_proxies: Arc<[IpNet]>,
}

impl Limits {
    /// As configured.
    pub fn of(config: &Config) -> Self {
        let limits = &config.limits;
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            connections: count(limits.connections),
            connections_per_address: count(limits.connections_per_address),
            header_read_timeout: limits.header_read_timeout,
            body_read_timeout: limits.body_read_timeout,
            idle_timeout: limits.idle_timeout,
            drain_delay: limits.drain_delay,
            drain_deadline: limits.drain_deadline,
            header_bytes: count(limits.header_bytes),
            headers: count(limits.headers),
            trusted_proxies: config.proxies.trusted.clone().into(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 128,
            header_read_timeout: Duration::from_secs(10),
            body_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            drain_delay: Duration::ZERO,
            drain_deadline: Duration::from_secs(25),
            header_bytes: 16 * 1024,
            headers: 64,
            trusted_proxies: Arc::from([]),
        }
    }
}

/// The sockets to serve on, already bound, so that a taken port is an error of start-up.
#[derive(Debug)]
pub struct Listeners {
    /// For everybody.
    pub public: TcpListener,
    /// Health and metrics.
    pub management: Option<TcpListener>,
    /// What the public one shows; without it, it speaks plain HTTP.
    pub tls: Option<Certificates>,
}

impl Listeners {
    /// Binds both; port 0 asks for a free one.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub fn bind(public: SocketAddr, management: Option<SocketAddr>) -> io::Result<Self> {
        Ok(Self { public: listen(public)?, management: management.map(listen).transpose()?, tls: None })
    }

    /// The public one speaks TLS.
    #[must_use]
    pub fn with_tls(self, certificates: Certificates) -> Self {
        Self { tls: Some(certificates), ..self }
    }
}

/// A socket that is bound, with room for a crowd in front of it.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As every server has it: one that is started anew need not wait until the last connection of the one before is forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The routers behind the listeners, each already wrapped in its layers.
#[derive(Debug, Clone)]
pub struct Routers {
    pub public: Router,
    /// What the public listener answers without asking its router.
    pub at_once: Option<Arc<dyn AtOnce>>,
    /// What the public listener finds without asking its router.
    pub straight: Option<Arc<dyn Straight>>,
    pub management: Router,
}

/// Answers that are ready before anybody asks.
pub trait AtOnce: fmt::Debug + Send + Sync {
    /// The answer to a request without a body, if it is one of them.
    fn answer(&self, request: &Parts, peer: SocketAddr) -> Option<Response<Body>>;
}

/// Routes that need no router.
pub trait Straight: fmt::Debug + Send + Sync {
    /// The answer to a request, or the request if it is for none of them.
    ///
    /// # Errors
    /// The request, for the router.
    #[expect(clippy::result_large_err, reason = "the request goes on to the router")]
    fn answer(&self, request: Request<Body>, peer: SocketAddr) -> Result<BoxFuture<'_, Response<Body>>, Request<Body>>;
}

/// A running server.
#[derive(Debug)]
pub struct Serving {
    /// Where the public listener is bound.
    pub address: SocketAddr,
    /// Where the management listener is bound, if there is one.
    pub management_address: Option<SocketAddr>,
    shutdown: Shutdown,
    done: JoinHandle<Drained>,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off at the deadline.
    pub cut_off: usize,
}

impl Serving {
    /// Begins the shutdown; returns at once.
    pub fn stop(&self) {
        self.shutdown.begin();
    }

    /// What has to be done once the last connection is closed, before [`Serving::finished`] answers.
    #[must_use]
    pub fn followed_by(self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let drained = self.done;
        let done = tokio::spawn(async move {
            let drained = drained.await.unwrap_or(Drained { cut_off: 0 });
            work.await;
            drained
        });
        Self { done, ..self }
    }

    /// Waits until a shutdown, begun here or by a signal, is over.
    pub async fn finished(self) -> Drained {
        self.done.await.unwrap_or(Drained { cut_off: 0 })
    }
}

/// The peer of the connection as the socket names it, in the extensions of every request that goes to a router. Behind a proxy this is the
/// proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// Of a request that came over a socket.
    pub fn of(extensions: &http::Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().map(|peer| peer.0.ip())
    }
}

/// Serves until `shutdown` begins, then drains. Returns as soon as both listeners are being served.
///
/// # Errors
/// A listener has no local address any more.
pub fn serve(routers: Routers, listeners: Listeners, limits: Limits, shutdown: Shutdown) -> io::Result<Serving> {
    let address = listeners.public.local_addr()?;
    let management_address = listeners.management.as_ref().map(TcpListener::local_addr).transpose()?;
    let done = tokio::spawn(run(routers, listeners, limits, shutdown.clone()));
    Ok(Serving { address, management_address, shutdown, done })
}

async fn run(routers: Routers, listeners: Listeners, limits: Limits, shutdown: Shutdown) -> Drained {
    // The management listener answers until the public one is drained, so that probes see "not ready" rather than nothing.
    let management = listeners.management.map(|listener| {
        let caps = Caps::new(MANAGEMENT_CONNECTIONS, MANAGEMENT_CONNECTIONS, Arc::from([]));
        let gate = Shutdown::new();
        let front = Front {
            router: routers.management,
            at_once: None,
            straight: None,
            tls: None,
            caps,
            room: Room::default(),
            limits: limits.clone(),
            shutdown: shutdown.clone(),
            gate: gate.clone(),
        };
        (gate, tokio::spawn(front.accept(listener, Duration::from_secs(1))))
    });

    let gate = Shutdown::new();
    let caps = Caps::new(limits.connections, limits.connections_per_address, Arc::clone(&limits.trusted_proxies));
    let delay = limits.drain_delay.min(DRAIN_LONGEST);
    let deadline = limits.drain_deadline.min(DRAIN_LONGEST.saturating_sub(delay));
    let front = Front {
        router: routers.public,
        at_once: routers.at_once,
        straight: routers.straight,
        tls: listeners.tls,
        caps,
        room: Room::default(),
        limits,
        shutdown: shutdown.clone(),
        gate: gate.clone(),
    };
    let public = tokio::spawn(front.accept(listeners.public, deadline));

    shutdown.begun().await;
    tracing::info!(delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), "draining: not ready, still accepting");
    tokio::time::sleep(delay).await;
    gate.begin();
    let drained = public.await.unwrap_or(Drained { cut_off: 0 });
    if let Some((gate, management)) = management {
        gate.begin();
        drop(management.await);
    }
    tracing::info!(cut_off = drained.cut_off, "drained");
    drained
}

/// One listener with what its connections need.
#[derive(Clone)]
struct Front {
    router: Router,
    at_once: Option<Arc<dyn AtOnce>>,
    straight: Option<Arc<dyn Straight>>,
    tls: Option<Certificates>,
    caps: Caps,
    room: Room,
    limits: Limits,
    /// The whole server is going down: answers ask for the connection to be closed.
    shutdown: Shutdown,
    /// This listener closes.
    gate: Shutdown,
}

impl Front {
    async fn accept(self, listener: TcpListener, patience: Duration) -> Drained {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = self.gate.begun() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer, &mut connections),
                    Err(error) if is_about_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections");
                        metrics::counter!("chancery_accept_errors_total").increment(1);
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Who has come already would be cut off with the socket.
        tokio::task::yield_now().await;
        for _ in 0..BACKLOG {
            let accepted = tokio::task::coop::unconstrained(listener.accept()).now_or_never();
            let Some(Ok((stream, peer))) = accepted else { break };
            self.admit(stream, peer, &mut connections);
        }
        drop(listener);
        let all_done = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all_done).await.is_ok() {
            return Drained { cut_off: 0 };
        }
        let cut_off = connections.len();
        connections.shutdown().await;
        Drained { cut_off }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        match self.caps.admit(peer.ip()) {
            Ok(permit) => {
                let front = self.clone();
                connections.spawn(async move {
                    front.connection(stream, peer, &permit).await;
                    drop(permit);
                });
            }
            Err(refused) => match self.caps.linger() {
                Some(lingering) => {
                    let front = self.clone();
                    connections.spawn(async move {
                        match front.wait(refused, peer).await {
                            Ok(permit) => {
                                drop(lingering);
                                front.connection(stream, peer, &permit).await;
                                drop(permit);
                            }
                            Err(refused) => {
                                front.refused(refused);
                                // In the clear there is nothing to say to somebody who speaks TLS.
                                if front.tls.is_none() {
                                    caps::refuse(stream).await;
                                }
                                drop(lingering);
                            }
                        }
                    });
                }
                None => {
                    self.refused(refused);
                    if self.tls.is_none() {
                        caps::refuse_in_passing(stream);
                    }
                }
            },
        }
    }

    /// A place for somebody who found none, if another leaves for them. Whoever was asked to may have begun something meanwhile.
    async fn wait(&self, refused: Refused, peer: SocketAddr) -> Result<Permit, Refused> {
        for _ in 0..ASKED_TO_LEAVE {
            if refused != Refused::TooMany || !self.room.make() {
                break;
            }
            match self.caps.wait(peer.ip()).await {
                Err(Refused::TooMany) => {}
                outcome => return outcome,
            }
        }
        Err(refused)
    }

    fn refused(&self, refused: Refused) {
        metrics::counter!("chancery_connections_refused_total", "because" => refused.as_str()).increment(1);
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, permit: &Permit) {
        drop(stream.set_nodelay(true));
        let activity = Activity::new();
        // Who takes no place away need not make room.
        let place = permit.is_counted().then(|| self.room.enter(activity.clone()));
        let wanted = async {
            match &place {
                Some(place) => place.is_wanted().await,
                None => std::future::pending().await,
            }
        };
        let Some(certificates) = &self.tls else { return self.speak(stream, peer, activity, wanted).await };
        let mut wanted = pin!(wanted);
        let stream = Shaken::new(stream, activity.clone());
        // A handshake has as long as a head. Whom a drain finds in it has asked for nothing yet, and is about to.
        let shaken = tokio::select! {
            biased;
            shaken = tokio::time::timeout(self.limits.header_read_timeout, certificates.acceptor().accept(stream)) => shaken,
            () = wanted.as_mut() => return,
            () = self.gate.begun().then(|()| tokio::time::sleep(DRAIN_FIRST_BYTE)) => return,
        };
        match shaken {
            Ok(Ok(mut stream)) => {
                stream.get_mut().0.done();
                self.speak(stream, peer, activity, wanted).await;
            }
            Ok(Err(error)) => {
                metrics::counter!("chancery_tls_handshakes_failed_total").increment(1);
                tracing::debug!(peer = %peer.ip(), %error, "no TLS handshake");
            }
            Err(_) => {
                metrics::counter!("chancery_tls_handshakes_failed_total").increment(1);
                tracing::debug!(peer = %peer.ip(), "no TLS handshake in time");
            }
        }
    }

    /// HTTP/1.1 over what was accepted, until it is `wanted` for somebody else.
    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        activity: Activity,
        wanted: impl Future<Output = ()>,
    ) {
        let io = TimedIo::new(stream, activity.clone(), &self.limits);
        let service = service_fn(|request| self.request(request, peer, activity.clone()));
        let mut builder = http1::Builder::new();
        builder
            // The socket's own clock tells heads from idle times; a second one would be wound up for every request.
            .header_read_timeout(None)
            .max_headers(self.limits.headers + LINES_ROOM)
            .max_buf_size(self.limits.header_bytes + HEAD_ROOM)
            // Head and body in one piece: the kernel takes that faster than two, by more than copying an answer costs.
            .writev(false)
            .half_close(false);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        // First what has come: it may be a request.
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = wanted => return,
            () = self.gate.begun() => {
                // Whoever has connected is about to ask, and is answered that the connection closes. hyper would close it at once.
                let looked = async {
                    if activity.is_fresh() {
                        tokio::time::sleep(DRAIN_FIRST_BYTE).await;
                    }
                    tokio::task::yield_now().await;
                };
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => ended,
                    () = looked => {
                        if activity.does_nothing() && !activity.is_stuck() {
                            return;
                        }
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
        };
        if let Err(error) = ended {
            // Broken connections are the peer's business; what they sent stays out of the log.
            tracing::debug!(peer = %peer.ip(), %error, "connection ended early");
        }
    }

    async fn request(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        activity: Activity,
    ) -> Result<Response<FinishedBody>, Infallible> {
        if activity.request_began(request.body().is_end_stream()) {
            // A thousand who send many requests at once would else be served one after the other, many at a time, before anybody else.
            tokio::task::yield_now().await;
        }
        if activity.is_loose() {
            // RFC 9112 §2.2 lets a recipient take it. Who stands in front may have seen another request in these bytes, and nothing that comes
            // behind them can be trusted to be one.
            let mut response = Response::new(FinishedBody::new(Body::empty(), activity));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
        let (parts, body) = request.into_parts();
        let (mut response, is_read) = if body.is_end_stream() {
            let ready = self.at_once.as_ref().and_then(|at_once| at_once.answer(&parts, peer));
            let response = match ready {
                Some(response) => response,
                None => self.route(Request::from_parts(parts, Body::empty()), peer).await,
            };
            (response, true)
        } else {
            let body = TimedBody::new(body, self.limits.body_read_timeout, activity.clone());
            let whole = body.whole();
            let response = self.route(Request::from_parts(parts, Body::new(body)), peer).await;
            (response, whole.is_read())
        };
        // Who was answered before they had said all must not send their next request over this connection: it is about to close.
        if self.shutdown.is_begun() || !is_read {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| FinishedBody::new(body, activity)))
    }

    async fn route(&self, mut request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        if let Some(straight) = &self.straight {
            match straight.answer(request, peer) {
                Ok(answer) => return answer.await,
                Err(other) => request = other,
            }
        }
        request.extensions_mut().insert(Peer(peer));
        match self.router.clone().oneshot(request).map(|done: Result<Response<Body>, Infallible>| done).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Errors of `accept` that say something about the connection, not about the listener.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crowd_that_comes_at_once_waits_in_front_of_the_door_and_is_not_turned_back() {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = listeners.public.local_addr().unwrap();
        let allowed: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
        // Nobody opens: whom the system turns back tries again for minutes.
        let mut crowd = Vec::new();
        for number in 0..allowed.min(600) {
            let coming = tokio::time::timeout(Duration::from_secs(20), TcpStream::connect(address)).await;
            crowd.push(coming.unwrap_or_else(|_| panic!("connection {number} of {allowed} was turned back")).unwrap());
        }
    }
}
