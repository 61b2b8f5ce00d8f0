//! The one signal to stop: set once, seen by everybody.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A switch that goes one way. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Not begun.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Begins the shutdown; further calls change nothing.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun. Readiness is down from then on.
    pub fn is_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the beginning.
    pub async fn begun(&self) {
        let mut seen = self.0.subscribe();
        // The sender lives as long as `self`, so this cannot fail; were it to, waiting for ever is right.
        if seen.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Begins `shutdown` at the first SIGTERM or SIGINT. A second one ends the process at once.
///
/// # Errors
/// The handlers cannot be installed.
pub fn on_signal(shutdown: Shutdown) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if shutdown.is_begun() {
                tracing::warn!(signal = name, "second signal: stopping at once");
                std::process::exit(1);
            }
            tracing::info!(signal = name, "shutting down");
            shutdown.begin();
        }
    });
    Ok(())
}

/// Runs `work` at every SIGHUP, until the process ends.
///
/// # Errors
/// The handler cannot be installed.
pub fn on_hangup(work: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            work();
        }
    });
    Ok(())
}
