//! The documents that every client reads: discovery and keys, answered before any routing.
//!
//! What takes part here is a plain GET of one of them, under the issuer's own name. Everything else about them (a condition, HEAD, a
//! preflight, another Host, spans that somebody collects) goes the way of all requests and is answered with the same headers by
//! [`metadata`](crate::http::oauth::metadata); a test compares the two.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{HOST, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::{Edge, access_log, cors, head_limits, security_headers, trace_id};
use crate::app::App;
use crate::http::extract::remote_addr::{self, RemoteAddr};
use crate::http::oauth::metadata;
use crate::http::server::AtOnce;
use crate::spans;

/// What is answered at once.
pub struct Documents {
    app: Arc<App>,
    edge: Arc<Edge>,
    /// Paths as the router has them.
    discovery: Vec<String>,
    keys: Vec<String>,
    discovery_ready: Ready,
    /// The keys as they were last asked for; made anew when there are others.
    keys_ready: RwLock<Arc<Ready>>,
    strangers: Strangers,
    begun: Instant,
}

/// Requests under another name than the issuer's. They are answered too and put on record, but not thousands of times a second.
#[derive(Debug, Default)]
struct Strangers(Mutex<(u64, u32)>);

/// On record in a second: as many as are kept in full in a minute, of one network.
const ON_RECORD: u32 = 20;

impl Strangers {
    /// Have enough been put on record in this second?
    fn are_many(&self, second: u64) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.0 != second {
            *counted = (second, 0);
        }
        counted.1 = counted.1.saturating_add(1);
        counted.1 > ON_RECORD
    }
}

/// An answer but for its trace id.
struct Ready {
    etag: Bytes,
    body: Bytes,
    head: HeaderMap,
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("discovery", &self.discovery).field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Documents {
    /// `discovery` and `keys` are their paths as the router has them.
    pub fn new(app: &Arc<App>, edge: &Arc<Edge>, discovery: Vec<String>, keys: Vec<String>) -> Self {
        let set = app.keys.current();
        Self {
            discovery_ready: Ready::of(&app.metadata.body, &app.metadata.etag, edge.https),
            keys_ready: RwLock::new(Arc::new(Ready::of(set.jwks(), set.etag(), edge.https))),
            strangers: Strangers::default(),
            begun: Instant::now(),
            app: Arc::clone(app),
            edge: Arc::clone(edge),
            discovery,
            keys,
        }
    }

    fn keys_ready(&self) -> Arc<Ready> {
        let set = self.app.keys.current();
        let ready = Arc::clone(&self.keys_ready.read().unwrap_or_else(PoisonError::into_inner));
        if ready.etag == *set.etag() {
            return ready;
        }
        let ready = Arc::new(Ready::of(set.jwks(), set.etag(), self.edge.https));
        *self.keys_ready.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ready);
        ready
    }

    /// Nothing about the request asks for more than the document.
    fn is_plain(&self, request: &Parts) -> bool {
        let headers = &request.headers;
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        request.method == Method::GET
            && request.uri.query().is_none()
            && !headers.contains_key(IF_NONE_MATCH)
            && host
                .is_some_and(|host| self.app.config.issuer.is_at(host) || self.strangers.are_many(self.begun.elapsed().as_secs()))
            && head_limits::check(headers, request.version, &request.uri, true, self.edge.header_lines, self.edge.header_bytes)
                .is_ok()
            && !spans::are_sent()
    }
}

impl AtOnce for Documents {
    fn answer(&self, request: &Parts, peer: SocketAddr) -> Option<Response> {
        let path = request.uri.path();
        let is_of = |paths: &[String]| paths.iter().any(|one| one == path);
        let is_discovery = is_of(&self.discovery);
        if (!is_discovery && !is_of(&self.keys)) || !self.is_plain(request) {
            return None;
        }
        let begin = Instant::now();
        if let Some(peer) = remote_addr::untrusted_proxy(Some(peer.ip()), &request.headers, &self.edge.trusted_proxies) {
            self.edge.forwarded.note(peer, self.edge.clock.now());
        }
        let keys;
        let ready = if is_discovery {
            &self.discovery_ready
        } else {
            keys = self.keys_ready();
            &*keys
        };
        let id = self.edge.trace_ids.next();
        let mut response = Response::new(Body::from(ready.body.clone()));
        *response.headers_mut() = ready.head.clone();
        trace_id::set(response.headers_mut(), id);
        let address = || -> IpAddr { RemoteAddr::behind(peer.ip(), &request.headers, &self.edge.trusted_proxies).0 };
        let line = access_log::Line { trace_id: id, route: path, method: "GET", status: 200, rule: None };
        line.write(|| RemoteAddr(address()), begin.elapsed());
        Some(response)
    }
}

impl Ready {
    fn of(body: &Bytes, etag: &Bytes, https: bool) -> Self {
        let response = metadata::prepared(body, etag, "application/json", &HeaderMap::new());
        let mut head = response.headers().clone();
        cors::set_open(&mut head);
        security_headers::set(&mut head, https);
        // Room for the trace id: a map that is full would grow at every answer.
        head.reserve(4);
        Self { etag: etag.clone(), body: body.clone(), head }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_strangers_a_second_go_on_record() {
        let strangers = Strangers::default();
        for second in [7, 8, 60] {
            let many = (0..ON_RECORD + 5).filter(|_| strangers.are_many(second)).count();
            assert_eq!(many, 5, "in second {second}");
        }
    }
}
