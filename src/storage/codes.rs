//! Authorization codes, by digest. Redeeming one is a single conditional UPDATE: of any number of redemptions at once, one succeeds.

use futures_util::future::BoxFuture;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::family::Family;
use crate::oauth::grant::{AuthorizationCode, CodeFacts};
use crate::secret::Digest;
use crate::storage::commits::Rows;
use crate::storage::db::{Db, Kind, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::together::{self, Answers};
use crate::storage::{Args, facts, families};

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

/// Codes by the digests of `a`, each with all that it stands on. `CROSS JOIN` is how SQLite is told to begin with what is asked.
macro_rules! found {
    ($asked:expr, $join:literal) => {
        concat!(
            "SELECT a.n, k.client_id, k.redirect_uri, k.code_challenge, k.nonce, k.created_at, k.expires_at, k.consumed_at, ",
            standing_columns!(),
            ", ",
            family_columns!(),
            " FROM ",
            $asked,
            $join,
            "codes k ON k.digest = a.digest ",
            $join,
            "grants g ON g.id = k.grant_id",
            standing_joins!(),
            "LEFT JOIN families f ON f.grant_id = g.id"
        )
    };
}

/// RFC 6749 §4.1.2: short-lived, used once, bound to the client; and everything that the decision rested on, once more.
macro_rules! unspent {
    () => {
        concat!(
            "digest = $1 AND client_id = $2 AND consumed_at IS NULL AND expires_at > $3 AND ",
            grant_stands!("codes.grant_id", "$3")
        )
    };
}

statements! {
    FIND = Split {
        sqlite: found!("(SELECT key + 1 AS n, unhex(value ->> 0) AS digest FROM json_each($1)) AS a", " CROSS JOIN "),
        postgres: found!(concat!("unnest(", list!("$1", "BYTEA"), ") WITH ORDINALITY AS a(digest, n)"), " JOIN "),
    };
    INSERT = Both("INSERT INTO codes (digest, grant_id, client_id, redirect_uri, code_challenge, nonce, created_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    REDEEM = Both(concat!("UPDATE codes SET consumed_at = $3 WHERE ", unspent!()));
    // For many at once: those that stand, each with its family, if it has one. On Postgres only those whose rows nobody holds, and the
    // grant is held as it stands, as in `with_family`. On SQLite the family comes first, for what is about to be spent.
    REDEEM_TOGETHER = Split {
        sqlite: concat!("INSERT INTO families (id, grant_id, client_id, salt, key_id, generation, previous, previous_redeemed_at, burst_first,
                                       burst_recovered, burst_started_at, created_at, last_used_at, expires_at)
                 SELECT unhex(w.value ->> 3), k.grant_id, k.client_id, unhex(w.value ->> 4), w.value ->> 5, w.value ->> 6, w.value ->> 7,
                        w.value ->> 8, w.value ->> 9, w.value ->> 10, w.value ->> 11, w.value ->> 12, w.value ->> 13, w.value ->> 14
                 FROM jsonb_each($1) AS w CROSS JOIN codes k
                 WHERE w.value ->> 3 IS NOT NULL AND k.digest = unhex(w.value ->> 0) AND k.client_id = w.value ->> 1
                   AND k.consumed_at IS NULL AND k.expires_at > w.value ->> 2 AND ", grant_stands!("k.grant_id", "w.value ->> 2"), ";
                 UPDATE codes SET consumed_at = w.now
                 FROM (SELECT unhex(value ->> 0) AS digest, value ->> 1 AS client_id, value ->> 2 AS now FROM jsonb_each($1)) AS w
                 WHERE codes.digest = w.digest AND codes.client_id = w.client_id AND codes.consumed_at IS NULL AND codes.expires_at > w.now
                   AND ", grant_stands!("codes.grant_id", "w.now"), " RETURNING digest"),
        postgres: concat!("WITH standing AS MATERIALIZED
                     (SELECT w.*, k.grant_id FROM ",
                 asked!("digest" "BYTEA" "$1", "client_id" "TEXT" "$2", "now" "BIGINT" "$3", "id" "BYTEA" "$4", "salt" "BYTEA" "$5",
                        "key_id" "BIGINT" "$6", "generation" "BIGINT" "$7", "previous" "BIGINT" "$8", "previous_redeemed_at" "BIGINT" "$9",
                        "burst_first" "BIGINT" "$10", "burst_recovered" "BIGINT" "$11", "burst_started_at" "BIGINT" "$12",
                        "created_at" "BIGINT" "$13", "last_used_at" "BIGINT" "$14", "expires_at" "BIGINT" "$15"), " AS w
                      CROSS JOIN LATERAL (SELECT codes.grant_id FROM codes WHERE codes.digest = w.digest AND codes.client_id = w.client_id
                                            AND codes.consumed_at IS NULL AND codes.expires_at > w.now FOR NO KEY UPDATE SKIP LOCKED) AS k
                      CROSS JOIN LATERAL (SELECT 1 FROM grants WHERE grants.id = k.grant_id AND grants.ended_at IS NULL
                                          FOR SHARE SKIP LOCKED) AS g
                      WHERE ", grant_stands!("k.grant_id", "w.now"), "),
                 spent AS (UPDATE codes SET consumed_at = w.now FROM standing w WHERE codes.digest = w.digest),
                 begun AS (INSERT INTO families (id, grant_id, client_id, salt, key_id, generation, previous, previous_redeemed_at, burst_first,
                                                 burst_recovered, burst_started_at, created_at, last_used_at, expires_at)
                           SELECT w.id, w.grant_id, w.client_id, w.salt, w.key_id, w.generation, w.previous, w.previous_redeemed_at,
                                  w.burst_first, w.burst_recovered, w.burst_started_at, w.created_at, w.last_used_at, w.expires_at
                           FROM standing w WHERE w.id IS NOT NULL)
                 SELECT digest FROM standing"),
    };
    // The family appears in one round trip and one commit: on SQLite by a second statement of the same text, within a unit of work.
    REDEEM_WITH_FAMILY = Split {
        sqlite: concat!("UPDATE codes SET consumed_at = $3 WHERE ", unspent!(), ";
                 INSERT INTO families (id, grant_id, client_id, salt, key_id, generation, previous, previous_redeemed_at, burst_first,
                                       burst_recovered, burst_started_at, created_at, last_used_at, expires_at)
                 SELECT $4, grant_id, $2, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 FROM codes WHERE digest = $1 AND changes() > 0"),
        postgres: with_family!("codes", unspent!()),
    };
}

/// The code, the grant behind it with everybody on whom it depends, and the family that its redemption made. Consumed and expired codes
/// too.
pub async fn find(db: &Db, digest: &Digest) -> Result<Option<CodeFacts>, StoreError> {
    db.seen(FIND, db.shared().codes.ask(db, *digest)).await
}

/// [`find`] for many.
pub(super) fn find_together(db: Db, reader: Tx, digests: Vec<Digest>) -> BoxFuture<'static, Answers<Option<CodeFacts>>> {
    Box::pin(async move {
        let asked = together::rows(db.kind(), digests.iter().map(|digest| args![digest]).collect());
        together::found(&db.read_over(reader, FIND, asked).await?, digests.len(), code_facts)
    })
}

fn code_facts(row: &Row) -> Result<CodeFacts, StoreError> {
    let standing = facts::standing(row)?;
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
    Ok(CodeFacts { code, standing, family: facts::family(row)? })
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
    let mut values = args![&redeem.digest, &redeem.client_id, redeem.now];
    let mut row = values.clone();
    row.extend(redeem.family.as_ref().map_or_else(families::no_values, families::values));
    if let Some(spent) = db.written(Rows { sql: REDEEM_TOGETHER, key: "digest" }, &db.shared().redemptions, row).await? {
        return Ok(spent);
    }
    let Some(family) = redeem.family else { return Ok(db.execute(REDEEM, values).await? > 0) };
    values.extend(families::values(&family));
    match db.kind() {
        Kind::Postgres => Ok(db.execute(REDEEM_WITH_FAMILY, values).await? > 0),
        Kind::Sqlite => {
            let spent = db.transaction("code.redeem", move |tx| Box::pin(tx.execute(REDEEM_WITH_FAMILY, values))).await;
            spent.map(|rows: u64| rows > 0)
        }
    }
}

/// [`redeem`] for many, on Postgres. `None`: to be tried alone.
pub(super) fn redeem_together(_: Db, mut writer: Tx, asked: Vec<Args>) -> BoxFuture<'static, Answers<Option<bool>>> {
    Box::pin(async move { together::written(&mut writer, REDEEM_TOGETHER, "digest", asked).await })
}
