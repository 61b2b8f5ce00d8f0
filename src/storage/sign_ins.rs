//! Sign-ins that wait for a second factor: the password was right, and no session has begun. Found by the digest of the id in the
//! page's address, bound to a browser by the digest of its cookie.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::storage::db::{Db, Tx};
use crate::storage::error::StoreError;

/// A sign-in at its second step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Digest of the cookie of the browser that it belongs to.
    pub browser: Digest,
    pub user_id: Uuid,
    /// Digest of the password hash that was checked.
    pub password_digest: Digest,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub consumed_at: Option<Timestamp>,
}

statements! {
    INSERT = Both("INSERT INTO sign_ins (digest, browser, user_id, password_digest, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)");
    FIND = Both("SELECT browser, user_id, password_digest, created_at, expires_at, consumed_at FROM sign_ins WHERE digest = $1");
    CONSUME = Both("UPDATE sign_ins SET consumed_at = $2 WHERE digest = $1 AND consumed_at IS NULL AND expires_at > $2");
}

/// Notes that a person's password was right.
pub async fn insert(db: &Db, digest: &Digest, sign_in: &SignIn) -> Result<(), StoreError> {
    let values = args![digest, sign_in.browser, sign_in.user_id, sign_in.password_digest, sign_in.created_at, sign_in.expires_at];
    db.execute(INSERT, values).await.map(drop)
}

/// The sign-in, consumed and expired ones too.
pub async fn find(db: &Db, digest: &Digest) -> Result<Option<SignIn>, StoreError> {
    let row = db.optional(FIND, args![digest]).await?;
    row.map(|row| {
        Ok(SignIn {
            browser: row.get("browser")?,
            user_id: row.get("user_id")?,
            password_digest: row.get("password_digest")?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
            consumed_at: row.get("consumed_at")?,
        })
    })
    .transpose()
}

/// One sign-in becomes one session. `false` if it did before, or took too long.
pub(super) async fn consume_tx(tx: &mut Tx, digest: &Digest, now: Timestamp) -> Result<bool, StoreError> {
    Ok(tx.execute(CONSUME, args![digest, now]).await? > 0)
}
