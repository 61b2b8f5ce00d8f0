//! What requests noted in passing is written down here, outside of their way: which client secrets are in use, and proxies that are not
//! trusted. `chancery doctor` reads it.

use std::time::Duration;

use crate::app::App;
use crate::storage::StoreError;

/// How often the job runner should call [`tick`]. Most rounds have nothing to write.
pub const EVERY: Duration = Duration::from_secs(5);

/// One round.
///
/// # Errors
/// The database is away; the next round goes on.
pub async fn tick(app: &App) -> Result<(), StoreError> {
    app.secret_uses.write(&app.db).await?;
    app.forwarded.write(&app.db).await
}
