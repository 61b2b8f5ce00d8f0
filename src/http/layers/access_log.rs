//! One line and two measurements per request. Routes are named by their pattern, never by what was typed: neither a query string nor
//! a path that somebody made up reaches a log or a label (security.md ).

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use http::Method;
use metrics::{Counter, Histogram};

use crate::http::extract::RemoteAddr;
use crate::http::layers::trace_id::TraceId;
use crate::{log, measure};

/// What is counted of one route with one method and status.
struct Measures {
    method: &'static str,
    status: u16,
    requests: Counter,
    seconds: Histogram,
}

thread_local! {
    /// Looked up by its labels at every request, a measurement would cost more than all else that is done here.
    static BY_ROUTE: RefCell<HashMap<String, Vec<Measures>>> = RefCell::default();
}

/// What is said of one request.
pub struct Line<'a> {
    pub trace_id: TraceId,
    /// The pattern of the route, never what was typed.
    pub route: &'a str,
    /// From [`method_label`].
    pub method: &'static str,
    pub status: u16,
    /// The rule of a refusal.
    pub rule: Option<&'static str>,
}

impl Line<'_> {
    /// Counts the request and writes its line; `address` is asked for only if the line is wanted.
    pub fn write(&self, address: impl FnOnce() -> RemoteAddr, took: Duration) {
        let Self { trace_id, route, method, status, rule } = *self;
        if measure::is_on() {
            BY_ROUTE.with_borrow_mut(|by_route| count(by_route, route, method, status, took));
        }
        if !tracing::enabled!(target: "chancery::access", tracing::Level::INFO) {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let address = address().prefix();
        if !(log::Access { trace_id: trace_id.number(), method, route, status, micros, address, rule }).write() {
            tracing::info!(target: "chancery::access", %trace_id, method, route, status, micros, %address, rule);
        }
    }
}

fn count(by_route: &mut HashMap<String, Vec<Measures>>, route: &str, method: &'static str, status: u16, took: Duration) {
    let known = |measures: &&Measures| measures.status == status && measures.method == method;
    if let Some(measures) = by_route.get(route).and_then(|of_route| of_route.iter().find(known)) {
        return measures.add(took);
    }
    let labels = [("route", route.to_owned()), ("method", method.to_owned()), ("status", status.to_string())];
    let measures = Measures {
        method,
        status,
        requests: metrics::counter!("chancery_http_requests_total", &labels),
        seconds: metrics::histogram!("chancery_http_request_seconds", "route" => route.to_owned()),
    };
    measures.add(took);
    by_route.entry(route.to_owned()).or_default().push(measures);
}

impl Measures {
    fn add(&self, took: Duration) {
        self.requests.increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

/// Methods come from the network; labels come from here.
pub fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
