//! The HTTP edge: listeners, layers, extractors, handlers. Everything here turns bytes into calls of `service` and back; no rule of
//! a protocol is decided here.

pub mod admin;
pub mod browser;
pub mod error;
pub mod extract;
pub mod health;
pub mod layers;
pub mod oauth;
pub mod pages;
pub mod router;
pub mod server;

use std::io;
use std::sync::Arc;

use crate::app::App;
use crate::jobs::{self, Jobs};

use health::Readiness;
use server::{Limits, Listeners, Serving, Shutdown};

/// Begins to serve: both listeners, and what runs beside them. All ends when `shutdown` begins.
///
/// # Errors
/// The listeners cannot be used.
pub async fn serve(app: &Arc<App>, listeners: Listeners, shutdown: Shutdown) -> io::Result<Serving> {
    let readiness = Readiness::new(app.db.clone(), Arc::clone(&app.keys), shutdown.clone());
    // Ready with the first answer, not a second later.
    readiness.probe().await;
    let mut running = Jobs::new(shutdown.clone());
    jobs::start(app, &readiness, &mut running);
    let serving = server::serve(router::routers(app, &readiness), listeners, Limits::of(&app.config), shutdown)?;
    let decisions = app.decisions.clone();
    Ok(serving.followed_by(async move {
        running.finished().await;
        decisions.flush().await;
    }))
}
