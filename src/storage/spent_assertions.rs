//! What clients have signed to prove themselves, by digest of client and `jti`: each counts once, on every replica and across restarts
//! (security.md ). A row stays until its assertion could not be accepted any more.

use crate::args;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::storage::db::Db;
use crate::storage::error::StoreError;

statements! {
    SPEND = Both("INSERT INTO spent_assertions (digest, expires_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING");
}

/// Spends it; `false` if it was spent before.
pub async fn spend(db: &Db, digest: &Digest, expires_at: Timestamp) -> Result<bool, StoreError> {
    Ok(db.execute(SPEND, args![digest, expires_at]).await? > 0)
}
