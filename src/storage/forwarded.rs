//! Notes about forwarded headers from peers that are not trusted: one row for each kind of peer.

use crate::args;
use crate::storage::db::Db;
use crate::storage::error::StoreError;

statements! {
    NOTE = Both("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value");
    NOTED = Both("SELECT value FROM meta WHERE name LIKE 'forwarded:%'");
}

/// Replaces the note about one kind of peer.
pub async fn note(db: &Db, kind: &str, text: &[u8]) -> Result<(), StoreError> {
    db.execute(NOTE, args![format!("forwarded:{kind}"), text]).await.map(drop)
}

/// All notes.
pub async fn noted(db: &Db) -> Result<Vec<Vec<u8>>, StoreError> {
    db.all(NOTED, args![]).await?.iter().map(|row| row.get("value")).collect()
}
