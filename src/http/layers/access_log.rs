//! One line and two measurements per request. Routes are named by their pattern, never by what was typed: neither a query string nor
//! a path that somebody made up reaches a log or a label (security.md ).

use std::time::Duration;

use axum::response::Response;
use http::Method;

use crate::http::error::{About, Refused};

/// Writes the line and the measurements.
pub fn write(about: &About, response: &Response, took: Duration) {
    let status = response.status();
    let route = about.route();
    let method = method_label(&about.method);
    let labels = [("route", route.to_owned()), ("method", method.to_owned()), ("status", status.as_str().to_owned())];
    metrics::counter!("chancery_http_requests_total", &labels).increment(1);
    metrics::histogram!("chancery_http_request_seconds", "route" => route.to_owned()).record(took.as_secs_f64());
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
