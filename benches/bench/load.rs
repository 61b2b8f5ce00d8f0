//! Closed loops: so many connections, each with one request in flight, until a fixed number was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What one loop took.
#[derive(Debug, Clone)]
pub struct Measured {
    pub requests: usize,
    pub took: Duration,
    /// Of each request, sorted.
    latencies: Vec<Duration>,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }

    /// The latency that this share of the requests did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        self.latencies[((self.latencies.len() - 1) as f64 * share) as usize]
    }
}

/// The tickets of one loop: whoever holds none is done.
#[derive(Clone)]
pub struct Tickets(Arc<(AtomicUsize, usize)>);

impl Tickets {
    pub fn take(&self) -> bool {
        self.0.0.fetch_add(1, Ordering::Relaxed) < self.0.1
    }
}

/// Runs all workers until `requests` tickets are used up. A worker takes a ticket before each request, reports each latency, and gives
/// its connection back at the end.
pub async fn run<W, F, Fut>(requests: usize, workers: Vec<W>, work: F) -> (Measured, Vec<W>)
where
    W: Send + 'static,
    F: Fn(W, Tickets) -> Fut,
    Fut: Future<Output = (W, Vec<Duration>)> + Send + 'static,
{
    let tickets = Tickets(Arc::new((AtomicUsize::new(0), requests)));
    let started = Instant::now();
    let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(work(worker, tickets.clone()))).collect();
    let mut latencies = Vec::with_capacity(requests);
    let mut back = Vec::new();
    for task in tasks {
        let (worker, own) = task.await.unwrap();
        latencies.extend(own);
        back.push(worker);
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    assert_eq!(latencies.len(), requests);
    (Measured { requests, took, latencies }, back)
}
