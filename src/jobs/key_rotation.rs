//! The key job: every few seconds it reloads the keys and takes the steps in their lives that are due. All replicas run it; the first
//! one that comes takes the step.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::service::keys::{KeyError, Keys};

/// How often the job runner should call [`tick`]: well within the time for which a snapshot of the keys is good.
pub const EVERY: Duration = Duration::from_secs(2);

/// One round. An error is for the log: requests that need keys find out for themselves, and the next round tries again.
pub async fn tick(keys: &Keys, now: Timestamp) -> Result<(), KeyError> {
    keys.refresh(now).await
}
