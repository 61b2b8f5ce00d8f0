//! The end of an authorization request: consent, grant and code appear together, or nothing does.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::grant::{AuthorizationCode, Grant};
use crate::secret::Digest;
use crate::storage::consents::{self, Consent};
use crate::storage::db::{Db, Tx};
use crate::storage::error::StoreError;
use crate::storage::{codes, grants};

/// What [`complete`] writes.
#[derive(Debug, Clone)]
pub struct Complete {
    /// The interaction that led here; `None` if no page was needed.
    pub interaction: Option<Digest>,
    /// The consent to remember, if the person was asked.
    pub consent: Option<Consent>,
    pub grant: Grant,
    /// Digest of the code.
    pub digest: Digest,
    pub code: AuthorizationCode,
    pub now: Timestamp,
}

statements! {
    // The decision rested on these facts. Their rows are locked until the commit: whoever disables the person or ends the session at
    // this moment either comes before, and no row answers, or after, and sees the new grant.
    STANDS = Split {
        sqlite: "SELECT u.id FROM users u JOIN clients c ON c.client_id = $2 AND c.enabled = 1 WHERE u.id = $1 AND u.enabled = 1",
        postgres: "SELECT u.id FROM users u JOIN clients c ON c.client_id = $2 AND c.enabled = 1
                   WHERE u.id = $1 AND u.enabled = 1 FOR SHARE OF u",
    };
    SESSION_STANDS = Split {
        sqlite: "SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
        postgres: "SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3 FOR SHARE",
    };
    CONSUME = Both("UPDATE interactions SET consumed_at = $2 WHERE digest = $1 AND client_id = $3 AND consumed_at IS NULL AND expires_at > $2");
}

/// Consumes the interaction, remembers the consent, adds the grant and its code. `false`, and nothing is written, if the interaction is
/// over, the person or the client was disabled, or the session has ended.
pub async fn complete(db: &Db, complete: Complete) -> Result<bool, StoreError> {
    let result = db
        .transaction("authorize.complete", move |tx| {
            Box::pin(async move { if write(tx, &complete).await? { Ok(()) } else { Err(Stopped::Changed) } })
        })
        .await;
    match result {
        Ok(()) => Ok(true),
        Err(Stopped::Changed) => Ok(false),
        Err(Stopped::Store(error)) => Err(error),
    }
}

/// Why nothing was written.
enum Stopped {
    Changed,
    Store(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn write(tx: &mut Tx, complete: &Complete) -> Result<bool, StoreError> {
    let Complete { interaction, consent, grant, digest, code, now } = complete;
    if tx.optional(STANDS, args![grant.user_id, &grant.client_id]).await?.is_none() {
        return Ok(false);
    }
    if let Some(session) = grant.session_id
        && !session_stands(tx, session, grant.user_id, *now).await?
    {
        return Ok(false);
    }
    if let Some(interaction) = interaction
        && tx.execute(CONSUME, args![interaction, *now, &grant.client_id]).await? == 0
    {
        return Ok(false);
    }
    if let Some(consent) = consent {
        consents::upsert_tx(tx, consent).await?;
    }
    grants::insert_tx(tx, grant).await?;
    codes::insert_tx(tx, digest, code).await?;
    Ok(true)
}

async fn session_stands(tx: &mut Tx, session: Uuid, user: Uuid, now: Timestamp) -> Result<bool, StoreError> {
    Ok(tx.optional(SESSION_STANDS, args![session, user, now]).await?.is_some())
}
