//! What a person agreed to: one row per user and client, kept until it is withdrawn (design 4.1).

use std::time::Duration;

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::authorize::decision;
use crate::storage::audit::AuditEvent;
use crate::storage::audited;
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::logouts::{self, Ended};
use crate::storage::text::{from_json, join, split, to_json};

/// A remembered consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    pub user_id: Uuid,
    pub client_id: String,
    pub scopes: Vec<String>,
    pub resources: Vec<String>,
    /// Names of claims beside those of the scopes.
    pub claims: Vec<String>,
    /// The version of the client's metadata that the person saw.
    pub metadata_version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", consent_columns!(), " FROM consents k ", $rest)
    };
}

statements! {
    FIND = Both(select!("WHERE k.user_id = $1 AND k.client_id = $2"));
    LIST_FOR_USER = Both(select!("WHERE k.user_id = $1 ORDER BY k.client_id"));
    PAGE_FOR_USER = Both(select!("WHERE k.user_id = $1 AND k.client_id > $2 ORDER BY k.client_id LIMIT $3"));
    // Of two first ones the second waits for the first, and does nothing.
    BEGIN = Both("INSERT INTO consents (user_id, client_id, scopes, resources, metadata_version, updated_at, claims, created_at)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (user_id, client_id) DO NOTHING");
    CHANGE = Both("UPDATE consents SET scopes = $3, resources = $4, metadata_version = $5, updated_at = $6, claims = $7
                   WHERE user_id = $1 AND client_id = $2 AND updated_at = $8");
    // Whoever signs in to the same client at this moment comes before or after, never between.
    LOCK_USER = Split {
        sqlite: "SELECT id FROM users WHERE id = $1",
        postgres: "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE",
    };
    DELETE = Both("DELETE FROM consents WHERE user_id = $1 AND client_id = $2");
    CONSUME_CODES = Both("UPDATE codes SET consumed_at = $3 WHERE consumed_at IS NULL
                          AND grant_id IN (SELECT id FROM grants WHERE user_id = $1 AND client_id = $2)");
    WITHDRAW_DEVICE_CODES = Both("UPDATE device_codes SET withdrawn_at = $3 WHERE consumed_at IS NULL AND withdrawn_at IS NULL
                                  AND grant_id IN (SELECT id FROM grants WHERE user_id = $1 AND client_id = $2)");
    END_GRANTS = Split {
        sqlite: "UPDATE grants SET ended_at = $3, ended_because = $4 WHERE user_id = $1 AND client_id = $2 AND ended_at IS NULL",
        postgres: "UPDATE grants SET ended_at = $3, ended_because = $4 WHERE id IN
                   (SELECT id FROM grants WHERE user_id = $1 AND client_id = $2 AND ended_at IS NULL ORDER BY id FOR UPDATE)",
    };
    END_FAMILIES = Both("UPDATE families SET ended_at = $3, ended_because = $4 WHERE ended_at IS NULL
                         AND grant_id IN (SELECT id FROM grants WHERE user_id = $1 AND client_id = $2)");
}

impl Consent {
    /// What a person agreed to, as it is written down at `now` in the place of one that was changed at `before`.
    pub fn of(agreed: decision::Consent, user_id: Uuid, client_id: String, before: Option<Timestamp>, now: Timestamp) -> Self {
        let decision::Consent { scopes, resources, claims, metadata_version } = agreed;
        let updated_at = Self::changed_at(now, before);
        Self { user_id, client_id, scopes, resources, claims, metadata_version, created_at: now, updated_at }
    }

    /// What was agreed to, as a decision looks at it.
    pub fn agreed(self) -> decision::Consent {
        let Self { scopes, resources, claims, metadata_version, .. } = self;
        decision::Consent { scopes, resources, claims, metadata_version }
    }

    /// When a consent is changed that was last changed at `before`: later, whatever the clocks say, since by this it is told apart.
    pub fn changed_at(now: Timestamp, before: Option<Timestamp>) -> Timestamp {
        before.map_or(now, |before| now.max(before.plus(Duration::from_micros(1))))
    }
}

/// What the person agreed to for this client.
pub async fn find(db: &Db, user_id: Uuid, client_id: &str) -> Result<Option<Consent>, StoreError> {
    db.optional(FIND, args![user_id, client_id]).await?.as_ref().map(read).transpose()
}

/// Everything the person agreed to.
pub async fn list_for_user(db: &Db, user_id: Uuid) -> Result<Vec<Consent>, StoreError> {
    db.all(LIST_FOR_USER, args![user_id]).await?.iter().map(read).collect()
}

/// What the person agreed to, in the order of the clients' ids, at most `limit`, after the one of the client `after`.
pub async fn page_for_user(db: &Db, user_id: Uuid, limit: u32, after: Option<&str>) -> Result<Vec<Consent>, StoreError> {
    db.all(PAGE_FOR_USER, args![user_id, after.unwrap_or_default(), limit]).await?.iter().map(read).collect()
}

/// Remembers a consent in place of the one that was last changed at `rests_on`, or as the first one. `false`, and nothing is written, if
/// there is another one by now: what was agreed to there would be lost.
pub async fn agree_tx(tx: &mut Tx, consent: &Consent, rests_on: Option<Timestamp>) -> Result<bool, StoreError> {
    let mut values = args![
        consent.user_id,
        &consent.client_id,
        join(&consent.scopes),
        to_json(&consent.resources)?,
        consent.metadata_version,
        consent.updated_at,
        to_json(&consent.claims)?
    ];
    values.extend(args![rests_on.unwrap_or(consent.created_at)]);
    Ok(tx.execute(if rests_on.is_some() { CHANGE } else { BEGIN }, values).await? > 0)
}

/// Forgets a consent and ends every grant of the person to this client, offline ones too. `false` if there was neither.
pub async fn withdraw(db: &Db, user_id: Uuid, client_id: &str, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    const BECAUSE: &str = "consent withdrawn";
    let client_id = client_id.to_owned();
    audited(db, "consent.withdraw", Some(event), move |tx| {
        Box::pin(async move {
            tx.optional(LOCK_USER, args![user_id]).await?;
            let forgotten = tx.execute(DELETE, args![user_id, &client_id]).await?;
            tx.execute(CONSUME_CODES, args![user_id, &client_id, now]).await?;
            tx.execute(WITHDRAW_DEVICE_CODES, args![user_id, &client_id, now]).await?;
            let ended = tx.execute(END_GRANTS, args![user_id, &client_id, now, BECAUSE]).await?;
            tx.execute(END_FAMILIES, args![user_id, &client_id, now, BECAUSE]).await?;
            logouts::tell_tx(tx, Ended::Client { user: user_id, client_id: &client_id }, now).await?;
            Ok(forgotten + ended)
        })
    })
    .await
}

/// Reads `consent_columns!`.
pub(super) fn read(row: &Row) -> Result<Consent, StoreError> {
    Ok(Consent {
        user_id: row.get("k_user_id")?,
        client_id: row.get("k_client_id")?,
        scopes: split(row.get("k_scopes")?),
        resources: from_json(row.get("k_resources")?)?,
        claims: from_json(row.get("k_claims")?)?,
        metadata_version: row.get("k_metadata_version")?,
        created_at: row.get("k_created_at")?,
        updated_at: row.get("k_updated_at")?,
    })
}
