//! Clients and their secrets. Of a secret only the digest is here; at most two are live, so that rotating one needs no outage.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::client::{Client, ClientMetadata, ClientSecret};
use crate::oauth::registration::Registered;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::owners::{Guard, guarded};
use crate::storage::registrations;
use crate::storage::setup::ChangedClient;
use crate::storage::text::{from_json, to_json};

/// What becomes of one client.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its metadata, version and switch from now on.
    pub client: Client,
    /// When it was changed last before.
    pub expected: Timestamp,
    /// One that the change needs.
    pub secret: Option<ClientSecret>,
    /// It registered itself, and an operator changes it: no registration access token opens it from now on.
    pub taken_over: bool,
}

/// Grants ended in one unit of work when a client is removed.
const BATCH: i64 = 2000;

const ENDED_BECAUSE: &str = "client removed";

/// How far a unit of work of a removal came.
enum Removal {
    /// There is none, or it was changed.
    Nothing,
    /// It is off, and may have more grants.
    Begun,
    Done,
}

macro_rules! columns {
    () => {
        "SELECT c.client_id, c.metadata, c.metadata_version, c.enabled, c.tokens_not_before, c.created_at, c.updated_at, c.unused_until,
                r.registered_at, r.address, r.initial_access_token, r.limits,
                s.id AS secret_id, s.digest AS secret_digest, s.created_at AS secret_created_at, s.expires_at AS secret_expires_at "
    };
}

statements! {
    FIND = Both(concat!(columns!(), "FROM clients c LEFT JOIN registrations r ON r.client_id = c.client_id
                 LEFT JOIN client_secrets s ON s.client_id = c.client_id
                 WHERE c.client_id = $1 ORDER BY s.created_at DESC, s.id DESC"));
    LIST = Both(concat!(columns!(), "FROM (SELECT * FROM clients WHERE client_id > $1 ORDER BY client_id LIMIT $2) c
                 LEFT JOIN registrations r ON r.client_id = c.client_id
                 LEFT JOIN client_secrets s ON s.client_id = c.client_id ORDER BY c.client_id, s.created_at DESC, s.id DESC"));
    // No more of the documents than that: they are large, and all clients are read at once.
    REDIRECT_URIS = Split {
        sqlite: "SELECT client_id, metadata ->> 'redirect_uris' AS redirect_uris FROM clients
                 WHERE client_id > $1 AND enabled = 1 ORDER BY client_id LIMIT $2",
        postgres: "SELECT client_id, CAST(metadata AS JSON) ->> 'redirect_uris' AS redirect_uris FROM clients
                   WHERE client_id > $1 AND enabled = 1 ORDER BY client_id LIMIT $2",
    };
    INSERT = Both("INSERT INTO clients (client_id, metadata, metadata_version, enabled, tokens_not_before, created_at, updated_at,
                                        unused_until)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    // updated_at moves with every change, even twice in one microsecond: who knows it knows the state.
    UPDATE = Both("UPDATE clients SET metadata = $2, metadata_version = $3, enabled = $4, updated_at = $5
                   WHERE client_id = $1 AND updated_at = $6");
    SET_ENABLED = Both("UPDATE clients SET enabled = $2, updated_at = CASE WHEN $3 > updated_at THEN $3 ELSE updated_at + 1 END
                        WHERE client_id = $1");
    SHUT = Both("UPDATE clients SET enabled = $2, updated_at = CASE WHEN $3 > updated_at THEN $3 ELSE updated_at + 1 END
                 WHERE client_id = $1 AND (CAST($4 AS BIGINT) IS NULL OR updated_at = $4)");
    END_TOKENS = Both("UPDATE clients SET tokens_not_before = $2, updated_at = CASE WHEN $2 > updated_at THEN $2 ELSE updated_at + 1 END
                       WHERE client_id = $1");
    TOUCH = Both("UPDATE clients SET updated_at = CASE WHEN $2 > updated_at THEN $2 ELSE updated_at + 1 END WHERE client_id = $1");
    // Sign-ins hold the rows of their clients. While one follows the other, whoever waits for all of them could wait for ever.
    UNHELD = Split {
        sqlite: "SELECT client_id FROM clients WHERE client_id = $1",
        postgres: "SELECT client_id FROM clients WHERE client_id = $1 FOR UPDATE SKIP LOCKED",
    };
    WAIT_UNTIL_UNHELD = Split {
        sqlite: "SELECT client_id FROM clients WHERE client_id = $1",
        postgres: "SELECT client_id FROM clients WHERE client_id = $1 FOR UPDATE",
    };
    DELETE = Both("DELETE FROM clients WHERE client_id = $1");
    FORGET_CONSENTS = Both("DELETE FROM consents WHERE client_id = $1");
    // Ordered by id, so that two units of work never hold each other's next row.
    END_GRANTS = Split {
        sqlite: "UPDATE grants SET ended_at = $2, ended_because = $3
                 WHERE id IN (SELECT id FROM grants WHERE client_id = $1 AND ended_at IS NULL ORDER BY id LIMIT $4)",
        postgres: "UPDATE grants SET ended_at = $2, ended_because = $3
                   WHERE id IN (SELECT id FROM grants WHERE client_id = $1 AND ended_at IS NULL ORDER BY id LIMIT $4 FOR UPDATE)",
    };
    INSERT_SECRET = Both("INSERT INTO client_secrets (id, client_id, digest, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)");
    LIVE_SECRETS = Both("SELECT COUNT(*) AS live FROM client_secrets WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2)");
    EXPIRE_SECRET = Both("UPDATE client_secrets SET expires_at = $3 WHERE client_id = $1 AND id = $2 AND (expires_at IS NULL OR expires_at > $3)");
    // The one without an end was not rotated out yet: it is the newest even among secrets of the same instant.
    EXPIRE_ALL_BUT_NEWEST = Both("UPDATE client_secrets SET expires_at = $2
                                  WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2)
                                    AND id <> (SELECT id FROM client_secrets WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2)
                                               ORDER BY CASE WHEN expires_at IS NULL THEN 0 ELSE 1 END, created_at DESC, id DESC LIMIT 1)");
    EXPIRE_OLD = Both("UPDATE client_secrets SET expires_at = $2 WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2)");
}

/// Adds a client with its secrets.
///
/// # Errors
/// [`StoreError::Conflict`] if the client id is taken.
pub async fn insert(db: &Db, client: &Client, event: &AuditEvent) -> Result<(), StoreError> {
    let (client, event) = (client.clone(), event.clone());
    db.transaction("client.insert", move |tx| {
        Box::pin(async move {
            insert_tx(tx, &client).await?;
            audit::insert_tx(tx, &event).await
        })
    })
    .await
}

/// See [`insert`].
pub(super) async fn insert_tx(tx: &mut Tx, client: &Client) -> Result<(), StoreError> {
    let metadata = to_json(&client.metadata)?;
    let values = args![
        &client.client_id,
        metadata,
        client.metadata_version,
        client.enabled,
        client.tokens_not_before,
        client.created_at,
        client.updated_at,
        client.registered.as_ref().and_then(|registered| registered.unused_until)
    ];
    tx.execute(INSERT, values).await?;
    for secret in &client.secrets {
        insert_secret(tx, &client.client_id, secret).await?;
    }
    Ok(())
}

/// Writes a client's metadata, whether it is on, and its secrets, behind the lock of its row.
pub(super) async fn change_tx(tx: &mut Tx, change: &ChangedClient, now: Timestamp) -> Result<(), StoreError> {
    let client = &change.client;
    let metadata = to_json(&client.metadata)?;
    let values = args![&client.client_id, metadata, client.metadata_version, client.enabled, client.updated_at, change.expected];
    if tx.execute(UPDATE, values).await? == 0 {
        return Err(StoreError::Conflict(format!("the client {:?}", client.client_id)));
    }
    if change.taken_over {
        registrations::close_tx(tx, &client.client_id).await?;
    }
    for id in &change.ended_secrets {
        tx.execute(EXPIRE_SECRET, args![&client.client_id, *id, now]).await?;
    }
    for secret in &change.new_secrets {
        insert_secret(tx, &client.client_id, secret).await?;
    }
    Ok(())
}

/// As [`update`], behind the lock of its row: how many rows were changed.
pub(super) async fn update_tx(
    tx: &mut Tx,
    client: &Client,
    expected: Timestamp,
    secret: Option<&ClientSecret>,
) -> Result<u64, StoreError> {
    let metadata = to_json(&client.metadata)?;
    let values = args![&client.client_id, metadata, client.metadata_version, client.enabled, client.updated_at, expected];
    let changed = tx.execute(UPDATE, values).await?;
    if let Some(secret) = secret.filter(|_| changed > 0) {
        insert_secret(tx, &client.client_id, secret).await?;
    }
    Ok(changed)
}

/// Turns a client off that is about to be removed.
pub(super) async fn suspend_tx(tx: &mut Tx, client_id: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(SET_ENABLED, args![client_id, false, now]).await.map(drop)
}

/// The client with all its secrets that were not swept yet, newest first.
pub async fn find(db: &Db, client_id: &str) -> Result<Option<Client>, StoreError> {
    Ok(group(&db.all(FIND, args![client_id]).await?)?.pop())
}

/// See [`find`].
pub async fn find_tx(tx: &mut Tx, client_id: &str) -> Result<Option<Client>, StoreError> {
    Ok(group(&tx.all(FIND, args![client_id]).await?)?.pop())
}

/// Clients in the order of their ids, after the one named `after`.
pub async fn list(db: &Db, limit: u32, after: Option<&str>) -> Result<Vec<Client>, StoreError> {
    group(&db.all(LIST, args![after.unwrap_or_default(), limit]).await?)
}

/// The redirect URIs of enabled clients with their ids, in the order of these, after `after`.
pub async fn redirect_uris(db: &Db, limit: u32, after: Option<&str>) -> Result<Vec<(String, Vec<String>)>, StoreError> {
    let rows = db.all(REDIRECT_URIS, args![after.unwrap_or_default(), limit]).await?;
    let read = |row: &Row| {
        let uris = row.get::<Option<String>>("redirect_uris")?;
        Ok((row.get("client_id")?, uris.map_or_else(|| Ok(Vec::new()), |text| from_json(&text))?))
    };
    rows.iter().map(read).collect()
}

/// Writes a change, if nobody changed the client since `expected`; `false` if somebody did, or it is gone. `client.updated_at` has to be
/// later than `expected`.
pub async fn update(db: &Db, change: Change, event: &AuditEvent) -> Result<bool, StoreError> {
    let name = if change.taken_over { "client.take_over" } else { "client.update" };
    guarded(db, name, Guard::client(&change.client.client_id), Some(event), move |tx| {
        Box::pin(async move {
            let Change { client, expected, secret, taken_over } = change;
            let changed = update_tx(tx, &client, expected, secret.as_ref()).await?;
            if changed > 0 && taken_over {
                registrations::close_tx(tx, &client.client_id).await?;
            }
            Ok(changed)
        })
    })
    .await
}

/// Turns a client on or off. Off suspends everything of it, on brings back what has not expired. `false` if there is none.
pub async fn set_enabled(db: &Db, client_id: &str, enabled: bool, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![client_id, enabled, now];
    guarded(db, "client.set_enabled", Guard::client(client_id), Some(event), move |tx| {
        Box::pin(async move { tx.execute(SET_ENABLED, values).await })
    })
    .await
}

/// Makes every client_credentials token that was issued before `now` inactive. `false` if there is no such client.
pub async fn end_tokens(db: &Db, client_id: &str, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![client_id, now];
    guarded(db, "client.end_tokens", Guard::client(client_id), Some(event), move |tx| {
        Box::pin(async move { tx.execute(END_TOKENS, values).await })
    })
    .await
}

/// Removes a client, its secrets and consents, and ends every grant under it. `false` if there is none.
///
/// All of it or nothing, but for a client with so many grants that ending them would hold up everybody else's writes, and for one to which
/// people sign in at this moment: that takes several units of work. It is turned off in the first of them, so nothing of it works any more
/// whatever happens in between, and removing it once more goes on where it stopped.
pub async fn remove(db: &Db, client_id: &str, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    remove_by(db, None, client_id, now, event).await
}

/// As [`remove`], in the name of a set-up file if one is named.
pub async fn remove_by(
    db: &Db,
    file: Option<&str>,
    client_id: &str,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    take_away(db, Guard::client(client_id).by(file), client_id, None, now, event).await
}

/// As [`remove`]; `false` also if somebody changed it since `expected`, its `updated_at` as read.
pub async fn remove_seen(
    db: &Db,
    client_id: &str,
    expected: Timestamp,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    take_away(db, Guard::client(client_id), client_id, Some(expected), now, event).await
}

async fn take_away(
    db: &Db,
    guard: Guard,
    client_id: &str,
    expected: Option<Timestamp>,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let (mut expected, mut off) = (expected, false);
    loop {
        let (guard, client_id, event) = (guard.clone(), client_id.to_owned(), event.clone());
        let step = db.transaction("client.remove", move |tx| {
            Box::pin(async move {
                guard.pass(tx).await?;
                // Sign-ins that came before have written their grants then, and those that come later find no client. Once it is off there
                // is an end of those that hold it.
                let unheld = tx.optional(if off { WAIT_UNTIL_UNHELD } else { UNHELD }, args![&client_id]).await?.is_some();
                if tx.execute(SHUT, args![&client_id, false, now, expected]).await? == 0 {
                    return Ok(Removal::Nothing);
                }
                let ended = tx.execute(END_GRANTS, args![&client_id, now, ENDED_BECAUSE, BATCH]).await?;
                if unheld && i64::try_from(ended).is_ok_and(|ended| ended < BATCH) {
                    delete_tx(tx, &client_id).await?;
                    audit::insert_tx(tx, &event).await?;
                    return Ok(Removal::Done);
                }
                Ok::<_, StoreError>(Removal::Begun)
            })
        });
        match step.await? {
            Removal::Nothing => return Ok(false),
            Removal::Begun => (expected, off) = (None, true),
            Removal::Done => return Ok(true),
        }
    }
}

async fn delete_tx(tx: &mut Tx, client_id: &str) -> Result<(), StoreError> {
    tx.execute(DELETE, args![client_id]).await?;
    tx.execute(FORGET_CONSENTS, args![client_id]).await.map(drop)
}

/// Adds a secret; `false` if two are live already, or the client is gone.
pub async fn add_secret(
    db: &Db,
    client_id: &str,
    secret: &ClientSecret,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let (client_id, secret) = (client_id.to_owned(), secret.clone());
    guarded(db, "client.add_secret", Guard::secrets(&client_id), Some(event), move |tx| {
        Box::pin(async move {
            // The client's row is the lock: two that add at the same moment take turns.
            let client = tx.execute(TOUCH, args![&client_id, now]).await?;
            let live: i64 = tx.optional(LIVE_SECRETS, args![&client_id, now]).await?.map_or(Ok(0), |row| row.get("live"))?;
            if client == 0 || live >= 2 {
                return Ok(0);
            }
            insert_secret(tx, &client_id, &secret).await?;
            Ok(1)
        })
    })
    .await
}

/// Ends one secret at `at`; `false` if it is not there or ends earlier anyway.
pub async fn expire_secret(
    db: &Db,
    client_id: &str,
    secret_id: Uuid,
    at: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let values = args![client_id, secret_id, at];
    guarded(db, "client.expire_secret", Guard::secrets(client_id), Some(event), move |tx| {
        Box::pin(async move { tx.execute(EXPIRE_SECRET, values).await })
    })
    .await
}

/// Ends one secret now, unless it is the only one that lives; `false` if it is, or if there is no such live secret.
pub async fn end_secret(db: &Db, client_id: &str, secret_id: Uuid, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let guard = Guard::secrets(client_id);
    let client_id = client_id.to_owned();
    guarded(db, "client.end_secret", guard, Some(event), move |tx| {
        Box::pin(async move {
            // The client's row is the lock: of two that end one secret each, one is refused.
            tx.execute(TOUCH, args![&client_id, now]).await?;
            let live: i64 = tx.optional(LIVE_SECRETS, args![&client_id, now]).await?.map_or(Ok(0), |row| row.get("live"))?;
            if live < 2 {
                return Ok(0);
            }
            tx.execute(EXPIRE_SECRET, args![&client_id, secret_id, now]).await
        })
    })
    .await
}

/// Ends all secrets but the newest now; `false` if there is no other.
pub async fn end_older_secrets(db: &Db, client_id: &str, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![client_id, now];
    guarded(db, "client.end_older_secrets", Guard::secrets(client_id), Some(event), move |tx| {
        Box::pin(async move {
            tx.execute(TOUCH, values.clone()).await?;
            tx.execute(EXPIRE_ALL_BUT_NEWEST, values).await
        })
    })
    .await
}

/// Adds a secret and lets the newest of the others live until `old_until`; older ones end now. `false` if the client is gone.
pub async fn rotate_secret(
    db: &Db,
    client_id: &str,
    secret: &ClientSecret,
    old_until: Timestamp,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let (client_id, secret) = (client_id.to_owned(), secret.clone());
    guarded(db, "client.rotate_secret", Guard::secrets(&client_id), Some(event), move |tx| {
        Box::pin(async move {
            if tx.execute(TOUCH, args![&client_id, now]).await? == 0 {
                return Ok(0);
            }
            tx.execute(EXPIRE_ALL_BUT_NEWEST, args![&client_id, now]).await?;
            tx.execute(EXPIRE_OLD, args![&client_id, old_until]).await?;
            insert_secret(tx, &client_id, &secret).await?;
            Ok(1)
        })
    })
    .await
}

async fn insert_secret(tx: &mut Tx, client_id: &str, secret: &ClientSecret) -> Result<(), StoreError> {
    tx.execute(INSERT_SECRET, args![secret.id, client_id, &secret.digest, secret.created_at, secret.expires_at]).await.map(drop)
}

/// Whole or not at all: a member that is not known may be a rule that the client must keep, and would be lost with the next change.
fn metadata(client_id: &str, text: &str) -> Result<ClientMetadata, StoreError> {
    from_json(text).map_err(|error| match error {
        StoreError::NewerVersion(what) => StoreError::NewerVersion(format!("the metadata of the client {client_id:?}, {what}")),
        other => other,
    })
}

fn registered(row: &Row) -> Result<Option<Registered>, StoreError> {
    let Some(at) = row.get::<Option<Timestamp>>("registered_at")? else { return Ok(None) };
    Ok(Some(Registered {
        initial_access_token: row.get("initial_access_token")?,
        address: row.get("address")?,
        at,
        limits: from_json(row.get("limits")?)?,
        unused_until: row.get("unused_until")?,
    }))
}

/// Rows of clients joined with their secrets, as clients.
fn group(rows: &[Row]) -> Result<Vec<Client>, StoreError> {
    let mut clients: Vec<Client> = Vec::new();
    for row in rows {
        let client_id: String = row.get("client_id")?;
        if clients.last().is_none_or(|client| client.client_id != client_id) {
            clients.push(Client {
                metadata: metadata(&client_id, &row.get::<String>("metadata")?)?,
                client_id,
                enabled: row.get("enabled")?,
                secrets: Vec::new(),
                tokens_not_before: row.get("tokens_not_before")?,
                metadata_version: row.get("metadata_version")?,
                registered: registered(row)?,
                created_at: row.get("created_at")?,
                updated_at: row.get("updated_at")?,
            });
        }
        if let (Some(id), Some(client)) = (row.get::<Option<Uuid>>("secret_id")?, clients.last_mut()) {
            client.secrets.push(ClientSecret {
                id,
                digest: row.get("secret_digest")?,
                created_at: row.get("secret_created_at")?,
                expires_at: row.get("secret_expires_at")?,
            });
        }
    }
    Ok(clients)
}
