//! What happens around every request, in one order for all routes:
//!
//! 1. trace id: ours, made here, whatever the caller sends;
//! 2. the client's address, from the socket or from a configured proxy;
//! 3. the size of the head;
//! 4. the body, and a place among the requests that are worked on;
//! 5. the handler, with a time limit, and with panics caught;
//! 6. errors put into words (JSON or a page) and the decision recorded;
//! 7. security headers and the trace header;
//! 8. metrics, the access log and the span, without query strings.
//!
//! [`cors`] stands beside it, since it differs by route.

pub mod access_log;
pub mod admission;
pub mod cors;
pub mod head_limits;
pub mod panics;
pub mod security_headers;
pub mod trace_id;

use std::sync::Arc;
use std::time::{Duration, Instant};

use admission::Admission;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::Method;
use ipnet::IpNet;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::http::error::{self, ErrorPage};
use crate::http::extract::form::BodyLimit;
use crate::http::extract::remote_addr::{self, RemoteAddr};
use crate::service::audit;
use crate::service::decisions::Decisions;
use crate::service::forwarded::Forwarded;
use crate::spans;

/// What the layers need.
pub struct Edge {
    /// For trace ids.
    pub entropy: Arc<dyn Entropy>,
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
    /// Who is worked on, and who waits.
    pub admission: Admission,
    /// Which pages may read what is answered here.
    pub readers: cors::Readers,
    /// How long a handler may take.
    pub request_timeout: Duration,
    /// Renders an error for a person.
    pub error_page: ErrorPage,
}

/// Wraps all routes of `router` that were added so far.
pub fn wrap(router: Router, edge: Arc<Edge>) -> Router {
    router.layer(from_fn_with_state(edge, around))
}

async fn around(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let trace_id = trace_id::TraceId::generate(edge.entropy.as_ref());
    let address = RemoteAddr::of(request.extensions(), request.headers(), &edge.trusted_proxies);
    if let Some(peer) = remote_addr::untrusted_proxy(request.extensions(), request.headers(), &edge.trusted_proxies) {
        edge.forwarded.note(peer, edge.clock.now());
    }
    request.extensions_mut().insert(trace_id);
    request.extensions_mut().insert(address);
    request.extensions_mut().insert(BodyLimit(edge.body_limit));
    let about = error::About::of(&request, trace_id, address);
    // Whose traceparent counts is whose X-Forwarded-For counts.
    let by_proxy = RemoteAddr::is_proxy(request.extensions(), &edge.trusted_proxies);
    let parent = by_proxy.then(|| request.headers());
    let span = spans::request(trace_id.number(), access_log::method_label(&about.method), about.route(), parent);

    let response = match head_limits::check(&request, edge.header_lines, edge.header_bytes) {
        Ok(()) => span.around(audit::in_request(trace_id.number(), in_turn(&edge, &about, request, next))).await,
        Err(too_large) => too_large,
    };
    let mut response = error::finish(response, &about, &edge);
    edge.readers.admit(about.matched(), about.origin.as_ref(), response.headers_mut()).await;
    security_headers::set(response.headers_mut(), edge.https);
    trace_id::set(response.headers_mut(), trace_id);
    access_log::write(&about, &response, begin.elapsed());
    span.end(response.status().as_u16(), response.extensions().get::<error::Refused>().map(error::Refused::rule_id));
    response
}

/// The handler, once the request is here and its turn has come.
async fn in_turn(edge: &Edge, about: &error::About, request: Request, next: Next) -> Response {
    // A preflight is answered from memory: without its yes a browser does not even send what could be told to come back later.
    if about.method == Method::OPTIONS || !edge.admission.concerns(about.matched()) {
        return panics::caught(edge.request_timeout, next.run(request)).await;
    }
    let request = admission::arrived(request, edge.body_limit).await;
    match edge.admission.enter().await {
        Ok(_place) => panics::caught(edge.request_timeout, next.run(request)).await,
        Err(sent_away) => sent_away.refuse(),
    }
}
