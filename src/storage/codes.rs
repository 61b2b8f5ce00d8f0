//! Authorization codes, by digest. Redeeming one is a single conditional UPDATE: of any number of redemptions at once, one succeeds.

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::family::Family;
use crate::oauth::grant::{AuthorizationCode, CodeFacts};
use crate::secret::Digest;
use crate::storage::db::{Db, Kind, Tx};
use crate::storage::error::StoreError;
use crate::storage::{facts, families};

/// What [`redeem`] needs.
#[derive(Debug, Clone)]
pub struct Redeem {
    pub digest: Digest,
    /// The authenticated client.
    pub client_id: String,
    /// The refresh family that begins with this redemption, if any.
    pub family: Option<Family>,
    pub now: Timestamp,
}

macro_rules! redeem {
    () => {
        // RFC 6749 §4.1.2: short-lived, used once, bound to the client; and everything that the decision rested on, once more.
        concat!(
            "UPDATE codes SET consumed_at = $3 WHERE digest = $1 AND client_id = $2 AND consumed_at IS NULL AND expires_at > $3 AND ",
            grant_stands!("codes.grant_id", "$3")
        )
    };
}

statements! {
    FIND = Both(concat!("SELECT k.client_id, k.redirect_uri, k.code_challenge, k.nonce, k.created_at, k.expires_at, k.consumed_at, ",
                 standing_columns!(), ", ", family_columns!(), " FROM codes k JOIN grants g ON g.id = k.grant_id", standing_joins!(),
                 "LEFT JOIN families f ON f.grant_id = g.id WHERE k.digest = $1"));
    INSERT = Both("INSERT INTO codes (digest, grant_id, client_id, redirect_uri, code_challenge, nonce, created_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    REDEEM = Both(redeem!());
    // On Postgres the family appears in the same statement: one round trip, one commit.
    REDEEM_WITH_FAMILY = Split {
        sqlite: redeem!(),
        postgres: with_family!(redeem!()),
    };
}

/// The code, the grant behind it with everybody on whom it depends, and the family that its redemption made. Consumed and expired codes
/// too.
pub async fn find(db: &Db, digest: &Digest) -> Result<Option<CodeFacts>, StoreError> {
    let Some(row) = db.optional(FIND, args![digest]).await? else { return Ok(None) };
    let standing = facts::standing(&row)?;
    let code = AuthorizationCode {
        grant_id: standing.grant.id,
        client_id: row.get("client_id")?,
        redirect_uri: row.get("redirect_uri")?,
        code_challenge: row.get("code_challenge")?,
        nonce: row.get("nonce")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        consumed_at: row.get("consumed_at")?,
    };
    Ok(Some(CodeFacts { code, standing, family: facts::family(&row)? }))
}

/// Adds a code as part of a unit of work.
pub async fn insert_tx(tx: &mut Tx, digest: &Digest, code: &AuthorizationCode) -> Result<(), StoreError> {
    let values = args![
        digest,
        code.grant_id,
        &code.client_id,
        code.redirect_uri.clone(),
        code.code_challenge.clone(),
        code.nonce.clone(),
        code.created_at,
        code.expires_at
    ];
    tx.execute(INSERT, values).await.map(drop)
}

/// Spends the code and begins the family. `false`, and nothing is written, if anything that the decision rested on has changed: then
/// read the facts again and decide once more.
pub async fn redeem(db: &Db, redeem: Redeem) -> Result<bool, StoreError> {
    let spend = args![&redeem.digest, &redeem.client_id, redeem.now];
    let Some(family) = redeem.family else { return Ok(db.execute(REDEEM, spend).await? > 0) };
    match db.kind() {
        Kind::Postgres => {
            let mut values = spend;
            values.extend(families::values(&family));
            Ok(db.execute(REDEEM_WITH_FAMILY, values).await? > 0)
        }
        Kind::Sqlite => {
            db.transaction("code.redeem", move |tx| {
                Box::pin(async move {
                    let spent = tx.execute(REDEEM_WITH_FAMILY, spend).await? > 0;
                    if spent {
                        families::insert_tx(tx, &family).await?;
                    }
                    Ok(spent)
                })
            })
            .await
        }
    }
}
