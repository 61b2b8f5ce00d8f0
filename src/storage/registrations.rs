//! Clients that registered themselves (RFC 7591, RFC 7592): how they came, the digest of their registration access token, and whether
//! anybody has used them yet.

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::client::{Client, ClientSecret};
use crate::secret::Digest;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::clients;
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::initial_access_tokens;
use crate::storage::owners::{Guard, guarded};
use crate::storage::text::to_json;

/// A client that registers itself.
#[derive(Debug, Clone)]
pub struct Register {
    /// With `registered` filled in.
    pub client: Client,
    /// Of its registration access token.
    pub digest: Digest,
    /// Where nobody gave it an initial access token: no more than so many clients may be there that were never used.
    pub most_unused: u32,
    pub event: AuditEvent,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The initial access token had no registration left.
    Spent,
    /// Too many clients were never used.
    Full,
}

statements! {
    INSERT = Both("INSERT INTO registrations (client_id, digest, initial_access_token, address, limits, registered_at)
                   VALUES ($1, $2, $3, $4, $5, $6)");
    TOKENS = Both("SELECT digest, previous, replaced_at FROM registrations WHERE client_id = $1");
    ROTATE = Both("UPDATE registrations SET digest = $2, previous = $3, replaced_at = $4 WHERE client_id = $1 AND digest = $3");
    // What comes after it stays as it is; nobody may use that before this is done.
    REPEAT = Both("UPDATE registrations SET previous = $2 WHERE client_id = $1 AND previous = $2");
    SETTLE = Both("UPDATE registrations SET previous = NULL, replaced_at = NULL WHERE client_id = $1 AND digest = $2 AND previous IS NOT NULL");
    CLOSE = Both("UPDATE registrations SET digest = $2, previous = NULL, replaced_at = NULL WHERE client_id = $1");
    // One of them, after so many others.
    ONE_MORE_UNUSED = Both("SELECT client_id FROM clients WHERE unused_until > $1 ORDER BY unused_until LIMIT 1 OFFSET $2");
    USED = Both("UPDATE clients SET unused_until = NULL WHERE client_id = $1 AND unused_until IS NOT NULL");
    // What a set-up file keeps is its owner's to remove.
    FORGET = Split {
        sqlite: "DELETE FROM clients WHERE client_id IN
                   (SELECT c.client_id FROM clients c WHERE c.unused_until < $1
                      AND NOT EXISTS (SELECT 1 FROM owned_objects o WHERE o.kind = 'client' AND o.id = c.client_id)
                    ORDER BY c.unused_until LIMIT $2)
                 RETURNING client_id, metadata",
        postgres: "DELETE FROM clients WHERE client_id IN
                     (SELECT c.client_id FROM clients c WHERE c.unused_until < $1
                        AND NOT EXISTS (SELECT 1 FROM owned_objects o WHERE o.kind = 'client' AND o.id = c.client_id)
                      ORDER BY c.unused_until LIMIT $2 FOR UPDATE OF c SKIP LOCKED)
                   RETURNING client_id, metadata",
    };
}

/// Registers a client; nothing is written unless the outcome is `Done`.
pub async fn register(db: &Db, register: Register) -> Result<Outcome, StoreError> {
    db.transaction("client.register", move |tx| {
        Box::pin(async move {
            let Register { client, digest, most_unused, event } = register;
            let Some(registered) = &client.registered else {
                return Err(StoreError::Corrupt("a client registers itself without saying how".to_owned()));
            };
            match registered.initial_access_token {
                Some(id) => {
                    if !initial_access_tokens::spend_tx(tx, id, registered.at).await? {
                        return Ok(Outcome::Spent);
                    }
                }
                None => {
                    if tx.optional(ONE_MORE_UNUSED, args![registered.at, most_unused.saturating_sub(1)]).await?.is_some() {
                        return Ok(Outcome::Full);
                    }
                }
            }
            clients::insert_tx(tx, &client).await?;
            let values = args![
                &client.client_id,
                digest,
                registered.initial_access_token,
                &registered.address,
                to_json(&registered.limits)?,
                registered.at
            ];
            tx.execute(INSERT, values).await?;
            audit::insert_tx(tx, &event).await?;
            Ok(Outcome::Done)
        })
    })
    .await
}

/// The registration access tokens of a client, by digest.
#[derive(Debug, Clone, Copy)]
pub struct Tokens {
    pub current: Digest,
    /// The one before and when it was replaced, as long as nobody has used the current one.
    pub previous: Option<(Digest, Timestamp)>,
}

/// What a change by the client does to its registration access tokens.
#[derive(Debug, Clone, Copy)]
pub enum Turn {
    /// The current one was presented, and gives way to the next.
    Next { presented: Digest, next: Digest, now: Timestamp },
    /// The previous one was presented once more.
    Again { presented: Digest },
}

/// The registration access tokens of a client, if it registered itself.
pub async fn tokens(db: &Db, client_id: &str) -> Result<Option<Tokens>, StoreError> {
    let read = |row: Row| {
        let (previous, replaced_at): (Option<Digest>, Option<Timestamp>) = (row.get("previous")?, row.get("replaced_at")?);
        Ok(Tokens { current: row.get("digest")?, previous: previous.zip(replaced_at) })
    };
    db.optional(TOKENS, args![client_id]).await?.map(read).transpose()
}

/// The current token was used: whoever has it needs the one before no more.
pub async fn settle(db: &Db, client_id: &str, current: Digest) -> Result<(), StoreError> {
    db.execute(SETTLE, args![client_id, current]).await.map(drop)
}

/// Nothing was changed yet, so a lost race writes nothing.
async fn turn_tx(tx: &mut Tx, client_id: &str, turn: Turn) -> Result<u64, StoreError> {
    match turn {
        Turn::Next { presented, next, now } => tx.execute(ROTATE, args![client_id, next, presented, now]).await,
        Turn::Again { presented } => tx.execute(REPEAT, args![client_id, presented]).await,
    }
}

/// As [`clients::update`], by the client itself: its registration access token gives way to the next, if it still counts.
pub async fn update(
    db: &Db,
    client: &Client,
    expected: Timestamp,
    secret: Option<&ClientSecret>,
    turn: Turn,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let guard = Guard::client(&client.client_id);
    let (client, secret) = (client.clone(), secret.cloned());
    guarded(db, "client.update_itself", guard, Some(event), move |tx| {
        Box::pin(async move {
            if turn_tx(tx, &client.client_id, turn).await? == 0 {
                return Ok(0);
            }
            match clients::update_tx(tx, &client, expected, secret.as_ref()).await? {
                0 => Err(StoreError::Conflict(format!("the client {:?}", client.client_id))),
                changed => Ok(changed),
            }
        })
    })
    .await
    .or_else(|error| match error {
        StoreError::Conflict(_) => Ok(false),
        error @ (StoreError::Unavailable(_)
        | StoreError::Owned { .. }
        | StoreError::Corrupt(_)
        | StoreError::NewerVersion(_)
        | StoreError::Schema(_)) => Err(error),
    })
}

/// As [`update`] where nothing of the client changes: only its registration access token gives way.
pub async fn rotate(db: &Db, client_id: &str, turn: Turn) -> Result<bool, StoreError> {
    let id = client_id.to_owned();
    guarded(db, "client.rotate_registration", Guard::client(client_id), None, move |tx| {
        Box::pin(async move { turn_tx(tx, &id, turn).await })
    })
    .await
}

/// Ends the client's registration access tokens, if it has any.
pub(super) async fn close_tx(tx: &mut Tx, client_id: &str) -> Result<(), StoreError> {
    tx.execute(CLOSE, args![client_id, Digest::NOBODYS]).await.map(drop)
}

/// Somebody uses the client: it does not go by itself any more.
pub async fn used(db: &Db, client_id: &str) -> Result<(), StoreError> {
    db.execute(USED, args![client_id]).await.map(drop)
}

/// Removes clients that registered themselves and were not used in their time, a batch of them; how many. Each has its event, of which `events`
/// holds as many as the batch is large: their targets are filled in here.
pub async fn forget_unused(db: &Db, now: Timestamp, events: Vec<AuditEvent>) -> Result<u64, StoreError> {
    db.transaction("client.forget_unused", move |tx| {
        Box::pin(async move {
            let gone = tx.all(FORGET, args![now, events.len()]).await?;
            for (row, event) in gone.iter().zip(&events) {
                let target: String = row.get("client_id")?;
                let was = row.get::<String>("metadata")?;
                audit::insert_tx(tx, &AuditEvent { target, was: Some(was), ..event.clone() }).await?;
            }
            Ok(u64::try_from(gone.len()).unwrap_or(u64::MAX))
        })
    })
    .await
}
