//! Authorization requests that wait for a person: found by the digest of the id in the page's URL, bound to a browser by the digest of
//! its cookie (security.md R-22). What the request and its state say is the business of the layers above.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::storage::db::Db;
use crate::storage::error::StoreError;

/// A pending authorization request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interaction {
    pub client_id: String,
    /// Digest of the cookie of the browser that it belongs to.
    pub browser: Digest,
    /// The validated request as JSON, at most 64 KiB.
    pub request: String,
    /// What has happened so far, as JSON, at most 64 KiB.
    pub state: String,
    /// The browser session that the person signed in to or came with: when it ends, the interaction ends.
    pub session_id: Option<Uuid>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub consumed_at: Option<Timestamp>,
}

statements! {
    INSERT = Both("INSERT INTO interactions (digest, client_id, browser, request, state, session_id, created_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    FIND = Both("SELECT client_id, browser, request, state, session_id, created_at, expires_at, consumed_at
                 FROM interactions WHERE digest = $1");
    UPDATE_STATE = Both("UPDATE interactions SET state = $2, session_id = COALESCE($3, session_id) WHERE digest = $1 AND consumed_at IS NULL");
    CONSUME = Both("UPDATE interactions SET consumed_at = $2 WHERE digest = $1 AND consumed_at IS NULL");
}

/// Opens an interaction.
pub async fn insert(db: &Db, digest: &Digest, interaction: &Interaction) -> Result<(), StoreError> {
    let values = args![
        digest,
        &interaction.client_id,
        &interaction.browser,
        &interaction.request,
        &interaction.state,
        interaction.session_id,
        interaction.created_at,
        interaction.expires_at
    ];
    db.execute(INSERT, values).await.map(drop)
}

/// The interaction, consumed and expired ones too.
pub async fn find(db: &Db, digest: &Digest) -> Result<Option<Interaction>, StoreError> {
    let row = db.optional(FIND, args![digest]).await?;
    row.map(|row| {
        Ok(Interaction {
            client_id: row.get("client_id")?,
            browser: row.get("browser")?,
            request: row.get("request")?,
            state: row.get("state")?,
            session_id: row.get("session_id")?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
            consumed_at: row.get("consumed_at")?,
        })
    })
    .transpose()
}

/// Notes what has happened, and in which session if that is known now. `false` if the interaction is over.
pub async fn update_state(db: &Db, digest: &Digest, state: &str, session_id: Option<Uuid>) -> Result<bool, StoreError> {
    Ok(db.execute(UPDATE_STATE, args![digest, state, session_id]).await? > 0)
}

/// Ends an interaction without issuing anything. `false` if it was over before: somebody else answers it.
pub async fn consume(db: &Db, digest: &Digest, now: Timestamp) -> Result<bool, StoreError> {
    Ok(db.execute(CONSUME, args![digest, now]).await? > 0)
}
