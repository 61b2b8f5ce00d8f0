//! Traces for a collector over OTLP (http/protobuf), when the usual `OTEL_*` variables name one. Without them nothing is set up, and a
//! request pays one look at an empty cell.
//!
//! A span says which route, which unit of work and which statement took how long, and how it ended. Names and attributes come from
//! closed sets and from constants of this program: no query string, header, body or bound value is in reach here (security.md R-84).
//! The trace id is the one that the answer carries in `Chancery-Trace-Id`, so that `chancery explain` and the collector speak of the
//! same request; a `traceparent` counts from configured proxies alone.

mod collector;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{FutureExt as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue, SpanId, TraceId};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, SdkTracer, SdkTracerProvider};

use crate::entropy::{self, Entropy};

static SPANS: OnceLock<Spans> = OnceLock::new();

/// Routes that are asked for every few seconds and tell nothing.
const QUIET: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// How long the end of the server waits for a collector.
const LAST_WORDS: Duration = Duration::from_secs(2);

struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

thread_local! {
    /// The id of the request whose span is about to start on this thread.
    static NEXT_TRACE: Cell<Option<u128>> = const { Cell::new(None) };
}

/// Sets tracing up for this process if the environment asks for it; to be called once, inside the runtime. A collector that cannot be
/// used is said in the log and keeps no server from starting.
pub fn init(entropy: Arc<dyn Entropy>) {
    if !wanted(|name| std::env::var(name).ok()) {
        return;
    }
    match build(entropy) {
        Ok(spans) => {
            if SPANS.set(spans).is_ok() {
                tracing::info!("sending traces to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names");
            }
        }
        Err(error) => tracing::error!(%error, "no traces are sent: OTEL_EXPORTER_OTLP_… cannot be used"),
    }
}

/// Does anybody collect them?
pub fn are_sent() -> bool {
    SPANS.get().is_some()
}

/// Sends what is left.
pub async fn finish() {
    let Some(spans) = SPANS.get() else { return };
    let provider = spans.provider.clone();
    // It waits for its own thread, and must leave time for the rest of a shutdown (security.md R-92).
    drop(tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WORDS)).await);
}

/// The variables of the OpenTelemetry specification that say whether: an endpoint, not disabled, and a protocol that is spoken here.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if endpoint.is_none() || disabled {
        return false;
    }
    if let Some(exporter) = set("OTEL_TRACES_EXPORTER").filter(|exporter| exporter != "otlp") {
        if exporter != "none" {
            tracing::warn!("no traces are sent: OTEL_TRACES_EXPORTER may be otlp or none");
        }
        return false;
    }
    let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
    if protocol.is_some_and(|protocol| protocol != "http/protobuf") {
        tracing::warn!("no traces are sent: of the protocols of OTEL_EXPORTER_OTLP_PROTOCOL only http/protobuf is spoken here");
        return false;
    }
    true
}

fn build(entropy: Arc<dyn Entropy>) -> Result<Spans, Box<dyn std::error::Error + Send + Sync>> {
    let exporter = SpanExporter::builder().with_http().with_http_client(collector::Collector::new()?).build()?;
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("chancery");
    }
    let provider = SdkTracerProvider::builder()
        .with_id_generator(Ids(entropy))
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer("chancery");
    Ok(Spans { provider, tracer })
}

/// The span of one request; nothing where no traces are sent.
pub struct RequestSpan(Option<Context>);

/// Begins the span of a request. `parent` are the headers of a request that a configured proxy has sent.
pub fn request(trace_id: u128, method: &'static str, route: &str, parent: Option<&HeaderMap>) -> RequestSpan {
    let Some(spans) = SPANS.get().filter(|_| !QUIET.contains(&route)) else { return RequestSpan(None) };
    let parent = match parent {
        Some(headers) => TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers)),
        None => Context::new(),
    };
    let attributes = [
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route.to_owned()),
        KeyValue::new("chancery.trace_id", format!("{trace_id:032x}")),
    ];
    let span = SpanBuilder::from_name(format!("{method} {route}")).with_kind(SpanKind::Server).with_attributes(attributes);
    NEXT_TRACE.set(Some(trace_id));
    let span = span.start_with_context(&spans.tracer, &parent);
    NEXT_TRACE.set(None);
    RequestSpan(Some(parent.with_span(span)))
}

impl RequestSpan {
    /// Does the work of the request, under its span.
    pub async fn around<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Ends it with what was answered; `rule` is the rule of a refusal.
    pub fn end(self, status: u16, rule: Option<&'static str>) {
        let Some(context) = self.0 else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if let Some(rule) = rule {
            span.set_attribute(KeyValue::new("chancery.rule", rule));
        }
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// A part of the present request: something that the database does. `attributes` are constants of this program.
pub async fn database<T, E>(
    system: &'static str,
    name: &'static str,
    statement: Option<&'static str>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(spans) = SPANS.get() else { return work.await };
    let parent = Context::current();
    if !parent.has_active_span() {
        return work.await;
    }
    let attributes = [KeyValue::new("db.system.name", system)]
        .into_iter()
        .chain(statement.map(|statement| KeyValue::new("db.query.text", statement)));
    let span = SpanBuilder::from_name(name).with_kind(SpanKind::Client).with_attributes(attributes);
    let context = parent.with_span(span.start_with_context(&spans.tracer, &parent));
    let done = work.with_context(context.clone()).await;
    if done.is_err() {
        // What went wrong is in the log; a driver's message may quote a value.
        context.span().set_status(Status::error(""));
    }
    context.span().end();
    done
}

/// Takes the present request along into a task of its own.
pub fn along<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let context = SPANS.get().map(|_| Context::current());
    async move {
        match context {
            Some(context) => work.with_context(context).await,
            None => work.await,
        }
    }
}

/// Ids of the server's own randomness; a request's span has the request's id.
struct Ids(Arc<dyn Entropy>);

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT_TRACE.take().map_or_else(|| TraceId::from_bytes(entropy::bytes(self.0.as_ref())), TraceId::from)
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(entropy::bytes(self.0.as_ref()))
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted_with(set: &[(&str, &str)]) -> bool {
        wanted(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn only_an_endpoint_turns_it_on() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert!(!wanted_with(&[]));
        assert!(!wanted_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
        assert!(wanted_with(&[endpoint]));
        assert!(wanted_with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces")]));
        assert!(wanted_with(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_TRACES_EXPORTER", "otlp")]));
        for off in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ] {
            assert!(!wanted_with(&[endpoint, off]), "{off:?}");
        }
    }
}
