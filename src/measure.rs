//! What is measured: counters, histograms and gauges in Prometheus' text form, for the management listener.
//!
//! Labels come from closed sets (route patterns, rule ids, statuses), never from what a request holds (security.md R-78).

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper ends of the buckets of durations, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How often [`upkeep`] should be called.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(1);

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Sets the recorder up for this process, once; further calls do nothing. Without it measuring costs nothing and shows nothing.
pub fn init() {
    RECORDER.get_or_init(install);
}

/// Counters of a thread, by a label out of a few: looked up anew by name and labels, each would cost a request more than counting does.
#[derive(Default)]
pub struct Counted(RefCell<Vec<(&'static str, Counter)>>);

impl Counted {
    /// None are known yet.
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// Counts one more of `label`; `counter` is asked for it once.
    pub fn count(&self, label: &'static str, counter: impl FnOnce() -> Counter) {
        if !is_on() {
            return;
        }
        let mut known = self.0.borrow_mut();
        if let Some((_, counter)) = known.iter().find(|(known, _)| *known == label) {
            return counter.increment(1);
        }
        let counter = counter();
        counter.increment(1);
        known.push((label, counter));
    }
}

/// Does anybody measure?
pub fn is_on() -> bool {
    RECORDER.get().is_some_and(Option::is_some)
}

/// All measurements as Prometheus reads them; empty if [`init`] was not called.
pub fn render() -> String {
    RECORDER.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

/// Folds what histograms have collected; to be called every few seconds, or they grow.
pub fn upkeep() {
    if let Some(recorder) = RECORDER.get().and_then(Option::as_ref) {
        recorder.run_upkeep();
    }
}

fn install() -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .inspect_err(|error| tracing::error!(%error, "cannot set up the histograms' buckets"))
        .ok()?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if let Err(error) = metrics::set_global_recorder(recorder) {
        tracing::warn!(%error, "something else in this process records measurements");
        return None;
    }
    describe();
    metrics::gauge!("chancery_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Some(handle)
}

fn describe() {
    describe_counter!("chancery_http_requests_total", "Answered requests by route, method and status");
    describe_histogram!("chancery_http_request_seconds", Unit::Seconds, "From the head of a request to its answer, by route");
    describe_counter!("chancery_refusals_total", "Refusals by rule and endpoint; chancery explain tells of each");
    describe_counter!("chancery_panics_total", "Handlers that panicked: each one is a fault to report");
    describe_counter!("chancery_request_timeouts_total", "Requests that took longer than [limits] request_timeout");
    describe_counter!(
        "chancery_logout_deliveries_total",
        "Attempts to tell a client's server that a session has ended, by outcome"
    );
    describe_counter!(
        "chancery_logout_deliveries_given_up_total",
        "Clients that were not told; the audit log has logout.undelivered for each"
    );
    describe_counter!("chancery_connections_refused_total", "Connections beyond the caps");
    describe_counter!(
        "chancery_accept_errors_total",
        "Connections that could not be accepted, for want of file descriptors and the like"
    );
    describe_gauge!("chancery_connections", "Open connections that count against the cap");
    describe_counter!("chancery_decisions_lost_total", "Decision records that could not be queued or written");
    describe_counter!(
        "chancery_throttled_total",
        "Sign-in attempts that were refused before any hashing, by what they were counted for"
    );
    describe_counter!("chancery_job_runs_total", "Rounds of background jobs by outcome");
    describe_histogram!("chancery_job_seconds", Unit::Seconds, "Duration of a round of a background job");
    describe_counter!("chancery_swept_rows_total", "Expired rows that were removed, by table");
    describe_gauge!("chancery_ready", "1 while /readyz says so");
    describe_gauge!("chancery_unknown_resources", "APIs in the database that a newer version wrote and this one leaves alone");
    describe_gauge!("chancery_unknown_keys", "Keys in the database that a newer version made and this one leaves alone");
    describe_gauge!("chancery_clock_offset_seconds", Unit::Seconds, "How far this machine's clock is ahead of the database's");
}
