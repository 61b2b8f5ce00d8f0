//! Drops what is in memory as soon as PostgreSQL says that clients, resources or keys have changed.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::http::server::Shutdown;
use crate::service::keys::KeyError;

/// How long to wait after the connection was lost for good. Until then entries live on their time alone.
pub const PAUSE: Duration = Duration::from_secs(5);

/// Listens until the connection fails. On SQLite there is nothing to listen to.
///
/// # Errors
/// The database is away; the next round connects anew.
pub async fn follow(app: Arc<App>, shutdown: Shutdown) -> Result<(), KeyError> {
    let Some(mut changes) = app.db.changes().await? else { return Ok(()) };
    loop {
        tokio::select! {
            () = shutdown.begun() => return Ok(()),
            heard = changes.next() => heard?,
        }
        app.registry.clear();
        app.keys.refresh(app.clock.now()).await?;
    }
}
