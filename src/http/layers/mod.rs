//! What happens around every request, in one order for all routes:
//!
//! 1. trace id: ours, made here, whatever the caller sends;
//! 2. the client's address, from the socket or from a configured proxy;
//! 3. who may read the answer from another site, which differs by route ([`cors`]);
//! 4. the size of the head, and its Host;
//! 5. the body, and a place among the requests that are worked on;
//! 6. the handler, with a time limit, and with panics caught; a moment's wait for those who are sent away;
//! 7. errors put into words (JSON or a page) and the decision recorded;
//! 8. security headers and the trace header;
//! 9. metrics, the access log and the span, without query strings.
//!
//! [`documents`] answers what is the same for everybody before all that, with the same headers; [`straight`] finds a few routes without the
//! router.

pub mod access_log;
pub mod admission;
pub mod cors;
pub mod documents;
pub mod head_limits;
pub mod host;
pub mod panics;
pub mod security_headers;
pub mod straight;
pub mod trace_id;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use admission::Admission;
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::Route;
use cors::Cors;
use http::Extensions;
use hyper::body::Body as _;
use ipnet::IpNet;
use tower::{Layer, Service};
use trace_id::{TraceId, TraceIds};

use crate::clock::Clock;
use crate::http::error::{self, ErrorPage, Matched};
use crate::http::extract::remote_addr::{self, RemoteAddr};
use crate::http::server::Peer;
use crate::service::audit;
use crate::service::decisions::Decisions;
use crate::service::forwarded::Forwarded;
use crate::spans;

/// What the layers need.
pub struct Edge {
    pub trace_ids: TraceIds,
    /// For the time of a decision record.
    pub clock: Arc<dyn Clock>,
    /// Where refusals are recorded.
    pub decisions: Decisions,
    /// Networks of configured reverse proxies: only they are believed about whom they speak for (security.md R-81).
    pub trusted_proxies: Arc<[IpNet]>,
    /// Where forwarded headers of other peers are noted.
    pub forwarded: Arc<Forwarded>,
    /// The issuer: the realm of challenges.
    pub issuer: String,
    /// Whether the issuer is https: then HSTS is sent.
    pub https: bool,
    /// Bytes of a request's body.
    pub body_limit: usize,
    /// Header lines of a request.
    pub header_lines: usize,
    /// Bytes of all headers of a request.
    pub header_bytes: usize,
    /// Who may read answers from another site.
    pub cors: Cors,
    /// Who is worked on, and who waits.
    pub admission: Admission,
    /// How long a handler may take.
    pub request_timeout: Duration,
    /// Renders an error for a person.
    pub error_page: ErrorPage,
}

/// What is known of a request before anybody reads it; in the extensions of every request.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub trace_id: TraceId,
    pub address: RemoteAddr,
    /// Bytes of a body.
    pub body_limit: usize,
}

impl Arrival {
    /// Of a request that came through the layers.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}

/// Wraps all routes of `router` that were added so far.
pub fn wrap(router: Router, edge: Arc<Edge>) -> Router {
    router.layer(Layers(edge))
}

#[derive(Clone)]
struct Layers(Arc<Edge>);

impl Layer<Route> for Layers {
    type Service = Layered;

    fn layer(&self, route: Route) -> Layered {
        Layered { edge: Arc::clone(&self.0), route }
    }
}

/// A route in its layers. All of them are one service: each that axum puts around another costs a request two allocations and a copy.
#[derive(Clone)]
struct Layered {
    edge: Arc<Edge>,
    route: Route,
}

impl Service<Request> for Layered {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { edge, mut route } = self.clone();
        let (peer, matched) = (Peer::of(request.extensions()), Matched::of(&request));
        Box::pin(async move { Ok(around(&edge, request, peer, matched, |request| route.call(request)).await) })
    }
}

async fn around<Answer>(
    edge: &Edge,
    mut request: Request,
    peer: Option<IpAddr>,
    matched: Option<Matched>,
    handler: impl FnOnce(Request) -> Answer,
) -> Response
where
    Answer: Future<Output = Result<Response, Infallible>>,
{
    let begin = Instant::now();
    let trace_id = edge.trace_ids.next();
    let address = RemoteAddr::behind(peer.unwrap_or(RemoteAddr::NOBODY), request.headers(), &edge.trusted_proxies);
    if let Some(peer) = remote_addr::untrusted_proxy(peer, request.headers(), &edge.trusted_proxies) {
        edge.forwarded.note(peer, edge.clock.now());
    }
    request.extensions_mut().insert(Arrival { trace_id, address, body_limit: edge.body_limit });
    let about = error::About::of(&request, matched, trace_id, address);
    // Whose traceparent counts is whose X-Forwarded-For counts.
    let by_proxy = peer.is_some_and(|peer| RemoteAddr::is_proxy(peer, &edge.trusted_proxies));
    let parent = by_proxy.then(|| request.headers());
    let span = spans::request(trace_id.number(), access_log::method_label(&about.method), about.route(), parent);

    let refused = |request: &Request| in_order(edge, request).err();
    let answer = edge.cors.around(about.matched(), request, refused, |request| in_turn(edge, &about, request, handler));
    // In its place: each hand that it went through would make this future larger by its size.
    let response = span.around(pin!(audit::in_request(trace_id.number(), answer))).await;
    let mut response = error::finish(response, &about, edge);
    security_headers::set(response.headers_mut(), edge.https);
    trace_id::set(response.headers_mut(), trace_id);
    let (status, rule) = (response.status().as_u16(), response.extensions().get::<error::Refused>().map(error::Refused::rule_id));
    let line = access_log::Line { trace_id, route: about.route(), method: access_log::method_label(&about.method), status, rule };
    line.write(|| address, begin.elapsed());
    span.end(status, rule);
    response
}

/// Whether the head is.
#[expect(clippy::result_large_err, reason = "both sides are responses on their way out")]
fn in_order(edge: &Edge, request: &Request) -> Result<(), Response> {
    let (headers, uri) = (request.headers(), request.uri());
    let (version, is_measured) = (request.version(), request.body().size_hint().exact().is_some());
    head_limits::check(headers, version, uri, is_measured, edge.header_lines, edge.header_bytes)
}

async fn in_turn<Answer>(edge: &Edge, about: &error::About, request: Request, handler: impl FnOnce(Request) -> Answer) -> Response
where
    Answer: Future<Output = Result<Response, Infallible>>,
{
    if let Err(refused) = in_order(edge, &request) {
        return refused;
    }
    if !edge.admission.concerns(about.matched()) {
        return panics::caught(edge.request_timeout, handler(request)).await;
    }
    let request = admission::arrived(request, edge.body_limit).await;
    let came = Instant::now();
    let response = match edge.admission.enter().await {
        Ok(_place) => panics::caught(edge.request_timeout, handler(request)).await,
        Err(sent_away) => {
            drop((request, handler));
            sent_away.refuse()
        }
    };
    // Also where something behind the handler has no room, the passwords for one.
    if response.extensions().get::<error::Refused>().is_some_and(error::Refused::is_overload) {
        Box::pin(edge.admission.hold_back(came)).await;
    }
    response
}
