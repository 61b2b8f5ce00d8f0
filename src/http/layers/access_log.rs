//! One line and two measurements per request. Routes are named by their pattern, never by what was typed: neither a query string nor
//! a path that somebody made up reaches a log or a label (security.md ).

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use axum::response::Response;
use http::Method;
use metrics::{Counter, Histogram};

use crate::http::error::{About, Refused};
use crate::measure;

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

/// Writes the line and the measurements.
pub fn write(about: &About, response: &Response, took: Duration) {
    let status = response.status();
    let route = about.route();
    let method = method_label(&about.method);
    if measure::is_on() {
        BY_ROUTE.with_borrow_mut(|by_route| count(by_route, route, method, status.as_u16(), took));
    }
    let rule = response.extensions().get::<Refused>().map(Refused::rule_id);
    tracing::info!(
        target: "chancery::access",
        trace_id = %about.trace_id,
        method,
        route,
        status = status.as_u16(),
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        address = %about.address.prefix(),
        rule,
    );
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
