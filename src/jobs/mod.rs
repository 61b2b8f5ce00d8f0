//! What runs beside the requests: one task per job, each with its own rhythm, all with one end. A round that fails or panics is logged
//! and measured, and the next one comes all the same.

pub mod changes;
pub mod counts;
pub mod key_rotation;
pub mod logout;
pub mod observations;
pub mod sweep;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::app::App;
use crate::http::health::{self, Readiness};
use crate::http::server::Shutdown;
use crate::measure;
use crate::service::registration;

/// Starts what this server does beside its requests.
pub fn start(app: &Arc<App>, readiness: &Readiness, jobs: &mut Jobs) {
    let probed = readiness.clone();
    jobs.every("readiness", health::EVERY, move || {
        let readiness = probed.clone();
        async move {
            readiness.probe().await;
            Ok::<(), Infallible>(())
        }
    });
    let swept = Arc::clone(app);
    let shutdown = jobs.shutdown.clone();
    jobs.every("sweep", sweep::EVERY, move || {
        let app = Arc::clone(&swept);
        let shutdown = shutdown.clone();
        async move { sweep::tick(&app.db, app.clock.now(), app.config.lifetimes.decision, shutdown).await }
    });
    jobs.every("measurements", measure::UPKEEP_EVERY, || async {
        measure::upkeep();
        Ok::<(), Infallible>(())
    });
    let kept = Arc::clone(app);
    jobs.every("unused clients", sweep::EVERY, move || {
        let app = Arc::clone(&kept);
        async move { registration::forget_unused(&app, app.clock.now()).await }
    });
    let observing = Arc::clone(app);
    jobs.every("observations", observations::EVERY, move || {
        let app = Arc::clone(&observing);
        async move { observations::tick(&app).await }
    });
    let counted = Arc::clone(app);
    jobs.every("counts", counts::EVERY, move || {
        let app = Arc::clone(&counted);
        async move { counts::tick(&app.db).await }
    });
    let told = Arc::clone(app);
    let shutdown = jobs.shutdown.clone();
    jobs.every("changes", changes::PAUSE, move || changes::follow(Arc::clone(&told), shutdown.clone()));
    let owing = Arc::clone(app);
    let shutdown = jobs.shutdown.clone();
    jobs.every("logout", logout::PAUSE, move || logout::deliver(Arc::clone(&owing), shutdown.clone()));
    let app = Arc::clone(app);
    jobs.every("key rotation", key_rotation::EVERY, move || {
        let app = Arc::clone(&app);
        async move { key_rotation::tick(&app.keys, app.clock.now()).await }
    });
}

/// How long the rounds at work may still take once the shutdown has begun.
const LAST_ROUND: Duration = Duration::from_secs(5);

/// The running jobs.
#[derive(Debug)]
pub struct Jobs {
    tasks: JoinSet<()>,
    shutdown: Shutdown,
}

impl Jobs {
    /// None yet. All end when `shutdown` begins.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { tasks: JoinSet::new(), shutdown }
    }

    /// Runs `round` now and then every `period`, counted from the end of the last one if that took longer.
    pub fn every<F, E>(&mut self, name: &'static str, period: Duration, mut round: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), E>> + Send,
        E: std::fmt::Display,
    {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let mut rhythm = tokio::time::interval(period);
            rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.begun() => return,
                    _ = rhythm.tick() => {}
                }
                let begin = Instant::now();
                let outcome = match AssertUnwindSafe(async { round().await }).catch_unwind().await {
                    Ok(Ok(())) => "done",
                    Ok(Err(error)) => {
                        tracing::warn!(job = name, %error, "a background job failed; it will run again");
                        "failed"
                    }
                    Err(_panic) => {
                        metrics::counter!("chancery_panics_total").increment(1);
                        "panicked"
                    }
                };
                metrics::counter!("chancery_job_runs_total", "job" => name, "outcome" => outcome).increment(1);
                metrics::histogram!("chancery_job_seconds", "job" => name).record(begin.elapsed().as_secs_f64());
            }
        });
    }

    /// Waits until all have ended, five seconds at most once the shutdown has begun.
    pub async fn finished(mut self) {
        self.shutdown.begun().await;
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ROUND, all).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "background jobs did not end in time");
            self.tasks.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_job_goes_on_after_failures_and_panics_and_ends_with_the_shutdown() {
        let shutdown = Shutdown::new();
        let mut jobs = Jobs::new(shutdown.clone());
        let rounds = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&rounds);
        jobs.every("test", Duration::from_millis(5), move || {
            let round = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match round {
                    0 => Err("no"),
                    1 => panic!("never"),
                    _ => Ok(()),
                }
            }
        });
        let going_on = async {
            while rounds.load(Ordering::SeqCst) <= 2 {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
        };
        tokio::time::timeout(Duration::from_secs(20), going_on).await.unwrap();
        shutdown.begin();
        tokio::time::timeout(Duration::from_secs(20), jobs.finished()).await.unwrap();
        let after = rounds.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(rounds.load(Ordering::SeqCst), after);
    }
}
