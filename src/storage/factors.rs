//! Second factors. Whatever counts once is spent by a conditional write, in the transaction that makes something of it: a time step of
//! an authenticator app only upwards, a recovery code only while it is unused. Secrets are here sealed, recovery codes as digests.
//!
//! A unit of work takes the person's row first, then these tables, then sessions.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::storage::audit::AuditEvent;
use crate::storage::audited;
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;

/// What a person has, without any secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Since when there is an authenticator app, and when a code of it was last accepted.
    pub totp: Option<(Timestamp, Timestamp)>,
    pub passkeys: u64,
    /// Unused recovery codes.
    pub recovery_codes: u64,
}

impl Summary {
    /// Is there a second factor? Recovery codes are none: they stand in for one.
    pub fn any(&self) -> bool {
        self.totp.is_some() || self.passkeys > 0
    }
}

/// An authenticator app's secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totp {
    pub sealed: Vec<u8>,
    pub last_step: i64,
}

/// A passkey as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    pub id: Uuid,
    pub user_id: Uuid,
    pub credential_id: Vec<u8>,
    /// COSE identifier.
    pub algorithm: i64,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub sign_count: i64,
    pub synced: bool,
    /// The browser and system in which it was made.
    pub device: Option<String>,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
}

/// A challenge that was answered: once, and while it was young.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub digest: Digest,
    pub expires_at: Timestamp,
}

/// A change of a person's factors that happens together with something else, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A code of this step was right.
    SpendTotp { step: i64 },
    /// A recovery code was right.
    SpendRecoveryCode { digest: Digest },
    /// A passkey answered a challenge.
    SpendPasskey { id: Uuid, sign_count: i64, challenge: Spent },
    /// A new passkey. `first`: only while there is no factor at all.
    EnrolPasskey { passkey: Passkey, first: bool, challenge: Spent, recovery_codes: Vec<Digest> },
    /// An authenticator app where there is none, confirmed by a code of `step`. `first`: only while there is no factor at all.
    EnrolTotp { sealed: Vec<u8>, first: bool, step: i64, recovery_codes: Vec<Digest> },
}

impl Change {
    /// Is it the use of a factor that was there?
    pub fn spends(&self) -> bool {
        match self {
            Self::SpendTotp { .. } | Self::SpendRecoveryCode { .. } | Self::SpendPasskey { .. } => true,
            Self::EnrolPasskey { .. } | Self::EnrolTotp { .. } => false,
        }
    }
}

statements! {
    SUMMARY = Both("SELECT (SELECT t.created_at FROM totp_secrets t WHERE t.user_id = $1) AS totp_created_at,
                           (SELECT t.last_used_at FROM totp_secrets t WHERE t.user_id = $1) AS totp_last_used_at,
                           (SELECT COUNT(*) FROM passkeys p WHERE p.user_id = $1) AS passkeys,
                           (SELECT COUNT(*) FROM recovery_codes r WHERE r.user_id = $1 AND r.used_at IS NULL) AS recovery_codes");
    TOTP = Both("SELECT sealed, last_step FROM totp_secrets WHERE user_id = $1");
    RECOVERY_CODE = Both("SELECT used_at FROM recovery_codes WHERE user_id = $1 AND digest = $2");
    SPEND_TOTP = Both("UPDATE totp_secrets SET last_step = $2, last_used_at = $3 WHERE user_id = $1 AND last_step < $2");
    SPEND_RECOVERY_CODE = Both("UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND digest = $2 AND used_at IS NULL");
    ENROL_TOTP = Both("INSERT INTO totp_secrets (user_id, sealed, last_step, created_at, last_used_at) VALUES ($1, $2, $3, $4, $4)
                       ON CONFLICT (user_id) DO NOTHING");
    INSERT_RECOVERY_CODE = Both("INSERT INTO recovery_codes (user_id, digest, created_at) VALUES ($1, $2, $3)");
    REMOVE_RECOVERY_CODES = Both("DELETE FROM recovery_codes WHERE user_id = $1");
    // With the last factor they go too: they stand in for one.
    REMOVE_IDLE_RECOVERY_CODES = Both("DELETE FROM recovery_codes WHERE user_id = $1
                                       AND NOT EXISTS (SELECT 1 FROM totp_secrets t WHERE t.user_id = $1)
                                       AND NOT EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = $1)");
    SPEND_CHALLENGE = Both("INSERT INTO spent_challenges (digest, expires_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING");
    // An authenticator that counts must count upwards; one that does not stays at 0.
    SPEND_PASSKEY = Both("UPDATE passkeys SET sign_count = $3, last_used_at = $4
                          WHERE id = $1 AND user_id = $2 AND (sign_count < $3 OR (sign_count = 0 AND $3 = 0))");
    ENROL_PASSKEY = Both("INSERT INTO passkeys (id, user_id, credential_id, algorithm, public_key, sign_count, synced, device, created_at,
                                                last_used_at)
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (credential_id) DO NOTHING");
    PASSKEY = Both("SELECT id, user_id, credential_id, algorithm, public_key, sign_count, synced, device, created_at, last_used_at
                    FROM passkeys WHERE credential_id = $1");
    PASSKEYS = Both("SELECT id, user_id, credential_id, algorithm, public_key, sign_count, synced, device, created_at, last_used_at
                     FROM passkeys WHERE user_id = $1 ORDER BY id");
    ANY = Both("SELECT 1 AS one FROM totp_secrets WHERE user_id = $1 UNION ALL SELECT 1 AS one FROM passkeys WHERE user_id = $1 LIMIT 1");
    REMOVE_PASSKEY = Both("DELETE FROM passkeys WHERE user_id = $1 AND id = $2");
    REMOVE_PASSKEYS = Both("DELETE FROM passkeys WHERE user_id = $1");
    REMOVE_TOTP = Both("DELETE FROM totp_secrets WHERE user_id = $1");
    // Changes of one person's factors come one after the other.
    LOCK_USER = Split {
        sqlite: "SELECT id FROM users WHERE id = $1 AND enabled = 1",
        postgres: "SELECT id FROM users WHERE id = $1 AND enabled = 1 FOR NO KEY UPDATE",
    };
}

/// What a person has.
pub async fn summary(db: &Db, user_id: Uuid) -> Result<Summary, StoreError> {
    let Some(row) = db.optional(SUMMARY, args![user_id]).await? else { return Ok(Summary::default()) };
    let created_at: Option<Timestamp> = row.get("totp_created_at")?;
    let last_used_at: Option<Timestamp> = row.get("totp_last_used_at")?;
    Ok(Summary { totp: created_at.zip(last_used_at), passkeys: row.get("passkeys")?, recovery_codes: row.get("recovery_codes")? })
}

/// The passkey with this credential id, whose ever it is.
pub async fn passkey(db: &Db, credential_id: &[u8]) -> Result<Option<Passkey>, StoreError> {
    db.optional(PASSKEY, args![credential_id]).await?.as_ref().map(read_passkey).transpose()
}

/// A person's passkeys, oldest first.
pub async fn passkeys(db: &Db, user_id: Uuid) -> Result<Vec<Passkey>, StoreError> {
    db.all(PASSKEYS, args![user_id]).await?.iter().map(read_passkey).collect()
}

fn read_passkey(row: &Row) -> Result<Passkey, StoreError> {
    Ok(Passkey {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        credential_id: row.get("credential_id")?,
        algorithm: row.get("algorithm")?,
        public_key: row.get("public_key")?,
        sign_count: row.get("sign_count")?,
        synced: row.get("synced")?,
        device: row.get("device")?,
        created_at: row.get("created_at")?,
        last_used_at: row.get("last_used_at")?,
    })
}

/// The secret of a person's authenticator app.
pub async fn totp(db: &Db, user_id: Uuid) -> Result<Option<Totp>, StoreError> {
    let row = db.optional(TOTP, args![user_id]).await?;
    row.map(|row| Ok(Totp { sealed: row.get("sealed")?, last_step: row.get("last_step")? })).transpose()
}

/// Is this a recovery code of this person, and was it used?
pub async fn recovery_code(db: &Db, user_id: Uuid, digest: &Digest) -> Result<Option<Option<Timestamp>>, StoreError> {
    db.optional(RECOVERY_CODE, args![user_id, digest]).await?.map(|row| row.get("used_at")).transpose()
}

/// Takes the lock under which this change may be made, before any other of the person's: of two who enrol a first factor at the same
/// moment the second must find the other's. Whoever may begin a session only shares the person's row.
pub(super) async fn lock_tx(tx: &mut Tx, user_id: Uuid, change: &Change) -> Result<(), StoreError> {
    if change.spends() { Ok(()) } else { tx.optional(LOCK_USER, args![user_id]).await.map(drop) }
}

/// Makes the change, under the lock of [`lock_tx`]. `false`, and then nothing may be made of it, if the code was used meanwhile or the factor is gone, or there is one
/// already.
pub(super) async fn apply_tx(tx: &mut Tx, user_id: Uuid, change: &Change, now: Timestamp) -> Result<bool, StoreError> {
    match change {
        Change::SpendTotp { step } => Ok(tx.execute(SPEND_TOTP, args![user_id, *step, now]).await? > 0),
        Change::SpendRecoveryCode { digest } => Ok(tx.execute(SPEND_RECOVERY_CODE, args![user_id, digest, now]).await? > 0),
        Change::SpendPasskey { id, sign_count, challenge } => {
            let fresh = tx.execute(SPEND_CHALLENGE, args![challenge.digest, challenge.expires_at]).await? > 0;
            Ok(fresh && tx.execute(SPEND_PASSKEY, args![*id, user_id, *sign_count, now]).await? > 0)
        }
        Change::EnrolPasskey { passkey, first, challenge, recovery_codes } => {
            let fresh = tx.execute(SPEND_CHALLENGE, args![challenge.digest, challenge.expires_at]).await? > 0;
            if *first && tx.optional(ANY, args![user_id]).await?.is_some() {
                return Ok(false);
            }
            let values = args![
                passkey.id,
                user_id,
                passkey.credential_id.clone(),
                passkey.algorithm,
                passkey.public_key.clone(),
                passkey.sign_count,
                passkey.synced,
                passkey.device.clone(),
                passkey.created_at,
                passkey.last_used_at
            ];
            if !fresh || tx.execute(ENROL_PASSKEY, values).await? == 0 {
                return Ok(false);
            }
            replace_recovery_codes_tx(tx, user_id, recovery_codes, now).await?;
            Ok(true)
        }
        Change::EnrolTotp { sealed, first, step, recovery_codes } => {
            if *first && tx.optional(ANY, args![user_id]).await?.is_some() {
                return Ok(false);
            }
            if tx.execute(ENROL_TOTP, args![user_id, sealed.clone(), *step, now]).await? == 0 {
                return Ok(false);
            }
            replace_recovery_codes_tx(tx, user_id, recovery_codes, now).await?;
            Ok(true)
        }
    }
}

/// A new list of recovery codes; those of the old one are worth nothing any more. `false` if the person is gone or disabled.
pub async fn replace_recovery_codes(
    db: &Db,
    user_id: Uuid,
    codes: Vec<Digest>,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    audited(db, "factors.recovery_codes", Some(event), move |tx| {
        Box::pin(async move {
            if tx.optional(LOCK_USER, args![user_id]).await?.is_none() {
                return Ok(0);
            }
            replace_recovery_codes_tx(tx, user_id, &codes, now).await?;
            Ok(1)
        })
    })
    .await
}

async fn replace_recovery_codes_tx(tx: &mut Tx, user_id: Uuid, codes: &[Digest], now: Timestamp) -> Result<(), StoreError> {
    if codes.is_empty() {
        return Ok(());
    }
    tx.execute(REMOVE_RECOVERY_CODES, args![user_id]).await?;
    for digest in codes {
        tx.execute(INSERT_RECOVERY_CODE, args![user_id, digest, now]).await?;
    }
    Ok(())
}

/// Takes the authenticator app away, and the recovery codes with the last factor. `false` if there was none.
pub async fn remove_totp(db: &Db, user_id: Uuid, event: &AuditEvent) -> Result<bool, StoreError> {
    audited(db, "factors.remove_totp", Some(event), move |tx| {
        Box::pin(async move {
            tx.optional(LOCK_USER, args![user_id]).await?;
            let removed = tx.execute(REMOVE_TOTP, args![user_id]).await?;
            tx.execute(REMOVE_IDLE_RECOVERY_CODES, args![user_id]).await?;
            Ok(removed)
        })
    })
    .await
}

/// Takes a passkey of this person away, and the recovery codes with the last factor. `false` if they have no such passkey.
pub async fn remove_passkey(db: &Db, user_id: Uuid, id: Uuid, event: &AuditEvent) -> Result<bool, StoreError> {
    audited(db, "factors.remove_passkey", Some(event), move |tx| {
        Box::pin(async move {
            tx.optional(LOCK_USER, args![user_id]).await?;
            let removed = tx.execute(REMOVE_PASSKEY, args![user_id, id]).await?;
            tx.execute(REMOVE_IDLE_RECOVERY_CODES, args![user_id]).await?;
            Ok(removed)
        })
    })
    .await
}

/// Takes everything away; the person's row is locked already.
pub(super) async fn remove_all_tx(tx: &mut Tx, user_id: Uuid) -> Result<(), StoreError> {
    tx.execute(REMOVE_TOTP, args![user_id]).await?;
    tx.execute(REMOVE_PASSKEYS, args![user_id]).await?;
    tx.execute(REMOVE_RECOVERY_CODES, args![user_id]).await?;
    Ok(())
}
