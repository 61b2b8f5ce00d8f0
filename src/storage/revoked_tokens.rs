//! Single access tokens that were revoked before their time, by digest of their `jti`, and what an access token's life depends on
//! (design 4.4). Nothing is here for a token that was not revoked.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::grant::{ClientTokenFacts, TokenFacts};
use crate::oidc::claims_request::ClaimsRequest;
use crate::oidc::user::Claims;
use crate::secret::Digest;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::audited;
use crate::storage::commits::Rows;
use crate::storage::db::{Db, Kind, Row, Sql, Tx};
use crate::storage::error::StoreError;
use crate::storage::text::{Stored, split};
use crate::storage::together::{self, Answers};
use crate::storage::{Args, facts};

/// Of the outer join with `revoked_tokens r`: a subquery could be answered by reading the whole table first.
macro_rules! revoked {
    () => {
        "CASE WHEN r.jti IS NULL THEN CAST(0 AS BIGINT) ELSE CAST(1 AS BIGINT) END AS revoked"
    };
}

/// [`Person`], from `users u` and `grants g`.
macro_rules! person_columns {
    () => {
        "u.id AS u_id, u.username AS u_username, u.admin AS u_admin, u.group_names AS u_group_names, u.claims AS u_claims,
         u.updated_at AS u_updated_at, g.claims AS g_claims, g.scopes AS g_scopes"
    };
}

/// Outer joins answer one row for each question, whether the grant is there or not.
macro_rules! of_tokens {
    (sqlite) => {
        " FROM (SELECT key + 1 AS n, unhex(value ->> 0) AS grant_id, unhex(value ->> 1) AS jti FROM json_each($1)) AS a
                  LEFT JOIN revoked_tokens r ON r.jti = a.jti LEFT JOIN grants g ON g.id = a.grant_id"
    };
    (postgres) => {
        concat!(
            " FROM unnest(",
            list!("$1", "BYTEA"),
            ", CAST($2 AS BYTEA[])) WITH ORDINALITY AS a(grant_id, jti, n)
                  LEFT JOIN revoked_tokens r ON r.jti = a.jti LEFT JOIN grants g ON g.id = a.grant_id"
        )
    };
}

statements! {
    INSERT = Both("INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2) ON CONFLICT (jti) DO NOTHING");
    // In one round trip and one commit.
    REVOKE = Split {
        sqlite: "SELECT 1 AS one",
        postgres: concat!("WITH revoked AS (INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2) ON CONFLICT (jti) DO NOTHING RETURNING jti), ",
                 told!("revoked", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10"), "
                 SELECT jti FROM revoked"),
    };
    // For many at once, in the order of their keys: of two groups with the same tokens one waits for the other, never both.
    REVOKE_TOGETHER = Split {
        sqlite: "INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id)
                 SELECT unhex(w.value ->> 2), w.value ->> 3, w.value ->> 4, w.value ->> 5, w.value ->> 6, w.value ->> 7, w.value ->> 8,
                        w.value ->> 9 FROM jsonb_each($1) AS w LEFT JOIN revoked_tokens r ON r.jti = unhex(w.value ->> 0) WHERE r.jti IS NULL;
                 INSERT INTO revoked_tokens (jti, expires_at) SELECT unhex(value ->> 0), value ->> 1 FROM jsonb_each($1) WHERE TRUE
                 ON CONFLICT (jti) DO NOTHING RETURNING jti",
        postgres: concat!("WITH w AS MATERIALIZED (SELECT * FROM ",
                 asked!("jti" "BYTEA" "$1", "expires_at" "BIGINT" "$2", "event_id" "BYTEA" "$3", "at" "BIGINT" "$4", "actor" "TEXT" "$5",
                        "action" "TEXT" "$6", "target" "TEXT" "$7", "was" "TEXT" "$8", "is_now" "TEXT" "$9", "trace_id" "TEXT" "$10"), " AS w),
                 revoked AS (INSERT INTO revoked_tokens (jti, expires_at) SELECT w.jti, w.expires_at FROM w ORDER BY w.jti
                             ON CONFLICT (jti) DO NOTHING RETURNING jti), ",
                 told_of!("w JOIN revoked ON revoked.jti = w.jti"), "
                 SELECT jti FROM revoked"),
    };
    TOKEN_LIVES = Split {
        sqlite: concat!("SELECT a.n, ", revoked!(), ", ", life_columns!(), of_tokens!(sqlite), life_joins!(sqlite)),
        postgres: concat!("SELECT a.n, ", revoked!(), ", ", life_columns!(), of_tokens!(postgres), life_joins!(postgres)),
    };
    // Here the row of the person is read anyway.
    TOKEN_PEOPLE = Split {
        sqlite: concat!("SELECT a.n, ", revoked!(), ", ", life_columns!(users), ", ", person_columns!(), of_tokens!(sqlite), standing_joins!()),
        postgres: concat!("SELECT a.n, ", revoked!(), ", ", life_columns!(users), ", ", person_columns!(), of_tokens!(postgres), standing_joins!()),
    };
    CLIENT_TOKEN_FACTS = Split {
        sqlite: concat!("SELECT a.n, ", revoked!(), ", COALESCE(c.enabled, 0) AS enabled, c.created_at, c.tokens_not_before
                    FROM (SELECT key + 1 AS n, value ->> 0 AS client_id, unhex(value ->> 1) AS jti FROM json_each($1)) AS a
                    LEFT JOIN revoked_tokens r ON r.jti = a.jti LEFT JOIN clients c ON c.client_id = a.client_id"),
        postgres: concat!("SELECT a.n, ", revoked!(), ", COALESCE(c.enabled, 0) AS enabled, c.created_at, c.tokens_not_before
                    FROM unnest(", list!("$1", "TEXT"), ", CAST($2 AS BYTEA[])) WITH ORDINALITY AS a(client_id, jti, n)
                    LEFT JOIN revoked_tokens r ON r.jti = a.jti LEFT JOIN clients c ON c.client_id = a.client_id"),
    };
}

/// Revokes one access token; `expires_at` is its own `exp`, after which the row is swept. `false`, and no event, if it was revoked before.
pub async fn insert(db: &Db, jti: &Digest, expires_at: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let mut values = args![jti, expires_at];
    let mut row = values.clone();
    row.extend(audit::values(event));
    if let Some(revoked) = db.written(Rows { sql: REVOKE_TOGETHER, key: "jti" }, &db.shared().revocations, row).await? {
        return Ok(revoked);
    }
    if db.kind() == Kind::Postgres {
        values.extend(audit::lists(db.kind(), std::slice::from_ref(event)));
        return Ok(db.returning(REVOKE, values).await?.is_some());
    }
    audited(db, "token.revoke", Some(event), move |tx| Box::pin(async move { tx.execute(INSERT, values).await })).await
}

/// [`insert`] for many, on Postgres. `None`: to be tried alone.
pub(super) fn insert_together(_: Db, mut writer: Tx, asked: Vec<Args>) -> BoxFuture<'static, Answers<Option<bool>>> {
    Box::pin(async move { together::written(&mut writer, REVOKE_TOGETHER, "jti", asked).await })
}

/// Whether this token was revoked, and whether the grant that it came from lives. One statement: security.md R-49.
pub async fn token_life(db: &Db, grant_id: Uuid, jti: &Digest) -> Result<TokenFacts, StoreError> {
    db.seen(TOKEN_LIVES, db.shared().token_lives.ask(db, (grant_id, *jti))).await
}

/// [`token_life`] for many.
pub(super) fn lives_together(db: Db, reader: Tx, asked: Vec<(Uuid, Digest)>) -> BoxFuture<'static, Answers<TokenFacts>> {
    Box::pin(each(db, reader, TOKEN_LIVES, of_grants(&asked), life))
}

/// The person of a grant, and what its client was allowed to be told: what is read of it beside its life.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub id: Uuid,
    pub username: String,
    pub admin: bool,
    pub groups: Stored<Vec<String>>,
    pub claims: Stored<Claims>,
    pub updated_at: Timestamp,
    /// `None`: no claim was asked for by its name.
    pub by_name: Option<ByName>,
}

/// Claims that were asked for by their names (OpenID Connect Core §5.5), and what the grant gives anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByName {
    pub asked: Stored<ClaimsRequest>,
    /// The scopes of the grant. The token may have fewer.
    pub granted: Vec<String>,
}

/// [`token_life`], and in the same statement the person of the grant, if there is one.
pub async fn token_person(db: &Db, grant_id: Uuid, jti: &Digest) -> Result<(TokenFacts, Option<Person>), StoreError> {
    db.seen(TOKEN_PEOPLE, db.shared().token_people.ask(db, (grant_id, *jti))).await
}

/// [`token_person`] for many.
pub(super) fn people_together(
    db: Db,
    reader: Tx,
    asked: Vec<(Uuid, Digest)>,
) -> BoxFuture<'static, Answers<(TokenFacts, Option<Person>)>> {
    Box::pin(each(db, reader, TOKEN_PEOPLE, of_grants(&asked), |row| {
        let facts = life(row)?;
        let person = facts.grant.is_some().then(|| person(row)).transpose()?;
        Ok((facts, person))
    }))
}

/// Reads what [`TOKEN_LIVES`] answers.
fn life(row: &Row) -> Result<TokenFacts, StoreError> {
    Ok(TokenFacts { revoked: row.get("revoked")?, grant: facts::life(row)? })
}

/// Reads [`person_columns`].
fn person(row: &Row) -> Result<Person, StoreError> {
    Ok(Person {
        id: row.get("u_id")?,
        username: row.get("u_username")?,
        admin: row.get("u_admin")?,
        groups: Stored::new(row.get("u_group_names")?),
        claims: Stored::new(row.get("u_claims")?),
        updated_at: row.get("u_updated_at")?,
        by_name: match row.get("g_claims")? {
            Some(asked) => Some(ByName { asked: Stored::new(asked), granted: split(row.get("g_scopes")?) }),
            None => None,
        },
    })
}

fn of_grants(asked: &[(Uuid, Digest)]) -> Vec<Args> {
    asked.iter().map(|(grant_id, jti)| args![*grant_id, jti]).collect()
}

/// [`token_life`] for a token of the client_credentials grant.
pub async fn client_token_facts(db: &Db, client_id: &str, jti: &Digest) -> Result<ClientTokenFacts, StoreError> {
    db.seen(CLIENT_TOKEN_FACTS, db.shared().client_tokens.ask(db, (client_id.to_owned(), *jti))).await
}

/// [`client_token_facts`] for many.
pub(super) fn client_tokens_together(
    db: Db,
    reader: Tx,
    asked: Vec<(String, Digest)>,
) -> BoxFuture<'static, Answers<ClientTokenFacts>> {
    let questions = asked.iter().map(|(client_id, jti)| args![client_id, jti]).collect();
    Box::pin(each(db, reader, CLIENT_TOKEN_FACTS, questions, |row| {
        Ok(ClientTokenFacts {
            revoked: row.get("revoked")?,
            client_enabled: row.get("enabled")?,
            registered_at: row.get("created_at")?,
            tokens_not_before: row.get("tokens_not_before")?,
        })
    }))
}

/// The answers of a statement that gives one row, numbered `n` from 1, for each of the questions.
async fn each<T>(db: Db, reader: Tx, sql: Sql, questions: Vec<Args>, read: fn(&Row) -> Result<T, StoreError>) -> Answers<T> {
    let asked = questions.len();
    let rows = db.read_over(reader, sql, together::rows(db.kind(), questions)).await?;
    let mut answers = rows.iter().map(|row| Ok((row.get::<i64>("n")?, read(row)))).collect::<Result<Vec<_>, StoreError>>()?;
    if answers.len() != asked {
        return Err(StoreError::Corrupt("a statement that always answers one row for a question did not".to_owned()));
    }
    answers.sort_by_key(|(n, _)| *n);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}
