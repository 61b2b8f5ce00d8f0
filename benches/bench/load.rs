//! Closed loops: so many connections, each with one request in flight, until a fixed number was answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::http::Connection;

/// What one connection does again and again.
pub trait Work: Send + 'static {
    /// Does it once, and says how long the server took.
    fn step(&mut self, connection: &mut Connection) -> impl Future<Output = Duration> + Send;
}

/// What one loop took.
#[derive(Debug, Clone)]
pub struct Measured {
    pub steps: usize,
    pub took: Duration,
    /// Of each step, sorted.
    latencies: Vec<Duration>,
}

impl Measured {
    pub fn new(mut latencies: Vec<Duration>, took: Duration) -> Self {
        latencies.sort_unstable();
        Self { steps: latencies.len(), took, latencies }
    }

    pub fn per_second(&self) -> f64 {
        self.steps as f64 / self.took.as_secs_f64()
    }

    /// The latency that this share of the steps did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        self.latencies[((self.latencies.len() - 1) as f64 * share) as usize]
    }
}

/// Runs all workers, each over a connection of its own that is opened before, until `steps` were done; gives the workers back.
pub async fn run<W: Work>(address: SocketAddr, steps: usize, workers: Vec<W>) -> (Measured, Vec<W>) {
    let mut open = Vec::with_capacity(workers.len());
    for worker in workers {
        open.push((worker, Connection::open(address).await));
    }
    let taken = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = open
        .into_iter()
        .map(|(mut worker, mut connection)| {
            let taken = Arc::clone(&taken);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while taken.fetch_add(1, Ordering::Relaxed) < steps {
                    latencies.push(worker.step(&mut connection).await);
                }
                (worker, latencies)
            })
        })
        .collect();
    let mut latencies = Vec::with_capacity(steps);
    let mut back = Vec::new();
    for task in tasks {
        let (worker, own) = task.await.unwrap();
        latencies.extend(own);
        back.push(worker);
    }
    let took = started.elapsed();
    assert_eq!(latencies.len(), steps);
    (Measured::new(latencies, took), back)
}
