//! When a client's secret was last used, to the day. A table of its own: a change of `client_secrets` makes every server forget its
//! clients, and this is no change of theirs.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::storage::db::Db;
use crate::storage::error::StoreError;

/// The script that made the table: uses before it were not noted.
pub const SINCE: &str = "0013_secret_uses";

statements! {
    // A secret that was removed meanwhile finds no row.
    NOTE = Both("INSERT INTO client_secret_uses (secret_id, last_used_at)
                 SELECT id, CAST($2 AS BIGINT) FROM client_secrets WHERE id = $1
                 ON CONFLICT (secret_id) DO UPDATE SET last_used_at = excluded.last_used_at
                 WHERE client_secret_uses.last_used_at < excluded.last_used_at");
    OF_CLIENT = Both("SELECT s.id AS secret_id, u.last_used_at FROM client_secrets s JOIN client_secret_uses u ON u.secret_id = s.id
                      WHERE s.client_id = $1");
}

/// Notes that a secret was used.
pub async fn note(db: &Db, secret_id: Uuid, at: Timestamp) -> Result<(), StoreError> {
    db.execute(NOTE, args![secret_id, at]).await.map(drop)
}

/// When each secret of a client was last used; those that never were are not in it.
pub async fn of_client(db: &Db, client_id: &str) -> Result<Vec<(Uuid, Timestamp)>, StoreError> {
    let rows = db.all(OF_CLIENT, args![client_id]).await?;
    rows.iter().map(|row| Ok((row.get("secret_id")?, row.get("last_used_at")?))).collect()
}
