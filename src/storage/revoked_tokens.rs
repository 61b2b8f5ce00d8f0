//! Single access tokens that were revoked before their time, by digest of their `jti`, and what an access token's life depends on
//! (design 4.4). Nothing is here for a token that was not revoked.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::grant::{ClientTokenFacts, TokenFacts};
use crate::secret::Digest;
use crate::storage::audit::AuditEvent;
use crate::storage::audited;
use crate::storage::db::{Db, Row};
use crate::storage::error::StoreError;
use crate::storage::facts;

macro_rules! revoked {
    ($jti:literal) => {
        concat!(
            "CASE WHEN EXISTS (SELECT 1 FROM revoked_tokens r WHERE r.jti = ",
            $jti,
            ") THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END AS revoked"
        )
    };
}

statements! {
    INSERT = Both("INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2) ON CONFLICT (jti) DO NOTHING");
    // The outer join answers one row whether the grant is there or not.
    TOKEN_FACTS = Both(concat!("SELECT ", revoked!("$2"), ", ", standing_columns!(),
                        " FROM (SELECT 1 AS one) AS always LEFT JOIN grants g ON g.id = $1", standing_joins!()));
    CLIENT_TOKEN_FACTS = Both(concat!("SELECT ", revoked!("$2"), ", COALESCE(c.enabled, 0) AS enabled, c.created_at, c.tokens_not_before
                               FROM (SELECT 1 AS one) AS always LEFT JOIN clients c ON c.client_id = $1"));
}

/// Revokes one access token; `expires_at` is its own `exp`, after which the row is swept. `false`, and no event, if it was revoked before.
pub async fn insert(db: &Db, jti: &Digest, expires_at: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![jti, expires_at];
    audited(db, "token.revoke", Some(event), move |tx| Box::pin(async move { tx.execute(INSERT, values).await })).await
}

/// Whether this token was revoked, and the grant that it came from. One statement: security.md R-49.
pub async fn token_facts(db: &Db, grant_id: Uuid, jti: &Digest) -> Result<TokenFacts, StoreError> {
    let row = one(db.optional(TOKEN_FACTS, args![grant_id, jti]).await?)?;
    let grant = match row.get::<Option<Uuid>>("g_id")? {
        Some(_) => Some(facts::standing(&row)?),
        None => None,
    };
    Ok(TokenFacts { revoked: row.get("revoked")?, grant })
}

/// The same for a token of the client_credentials grant.
pub async fn client_token_facts(db: &Db, client_id: &str, jti: &Digest) -> Result<ClientTokenFacts, StoreError> {
    let row = one(db.optional(CLIENT_TOKEN_FACTS, args![client_id, jti]).await?)?;
    Ok(ClientTokenFacts {
        revoked: row.get("revoked")?,
        client_enabled: row.get("enabled")?,
        registered_at: row.get("created_at")?,
        tokens_not_before: row.get("tokens_not_before")?,
    })
}

fn one(row: Option<Row>) -> Result<Row, StoreError> {
    row.ok_or_else(|| StoreError::Corrupt("a statement that always answers one row answered none".to_owned()))
}
