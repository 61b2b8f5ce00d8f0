//! The end of an authorization request: consent, grant and code appear together, or nothing does.

use futures_util::future::BoxFuture;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::grant::{AuthorizationCode, Grant};
use crate::secret::Digest;
use crate::storage::audit::AuditEvent;
use crate::storage::commits::Rows;
use crate::storage::consents::{self, Consent};
use crate::storage::db::{Db, Kind, Tx};
use crate::storage::error::StoreError;
use crate::storage::together::{self, Answers};
use crate::storage::{Args, audit, codes, grants, logouts};

/// What [`complete`] writes.
#[derive(Debug, Clone)]
pub struct Complete {
    /// The interaction that led here; `None` if no page was needed.
    pub interaction: Option<Digest>,
    /// The consent to remember, if the person was asked.
    pub consent: Option<Consent>,
    /// When the consent that this rests on was last changed, if there was one: withdrawn or changed meanwhile, it does not count.
    pub rests_on: Option<Timestamp>,
    pub grant: Grant,
    /// Digest of the code.
    pub digest: Digest,
    pub code: AuthorizationCode,
    /// What the audit log is told, if it is done.
    pub events: Vec<AuditEvent>,
    /// The client wants to hear when the session ends: few do, and their sign-ins take a few more statements.
    pub joins: bool,
    pub now: Timestamp,
}

statements! {
    // The decision rested on these facts. Their rows are locked until the commit: whoever disables the person, removes the client or ends
    // the session at this moment either comes before, and no row answers, or after, and sees the new grant.
    STANDS = Split {
        sqlite: "SELECT u.id FROM users u JOIN clients c ON c.client_id = $2 AND c.enabled = 1 WHERE u.id = $1 AND u.enabled = 1",
        postgres: "SELECT u.id FROM users u JOIN clients c ON c.client_id = $2 AND c.enabled = 1
                   WHERE u.id = $1 AND u.enabled = 1 FOR SHARE OF u FOR KEY SHARE OF c",
    };
    SESSION_STANDS = Split {
        sqlite: "SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
        postgres: "SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3 FOR SHARE",
    };
    // All of it in one round trip and one commit, where no page was shown: what most sign-ins of a person with a session are. On SQLite
    // several statements of one text, within a unit of work; each after the first rests on what the first has done.
    COMPLETE = Split {
        sqlite: "INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, acr, amr, session_id, sid, nonce, offline,
                                     created_at, expires_at, claims)
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
                 WHERE EXISTS (SELECT 1 FROM users u JOIN clients c ON c.client_id = $2 AND c.enabled = 1 WHERE u.id = $3 AND u.enabled = 1)
                   AND EXISTS (SELECT 1 FROM sessions WHERE id = $10 AND user_id = $3 AND ended_at IS NULL AND expires_at > $17)
                   AND ($24 IS NULL OR EXISTS (SELECT 1 FROM consents WHERE user_id = $3 AND client_id = $2 AND updated_at = $24));
                 INSERT INTO codes (grant_id, digest, client_id, redirect_uri, code_challenge, nonce, created_at, expires_at)
                 SELECT id, $18, $2, $19, $20, $21, $22, $23 FROM grants WHERE id = $1;
                 INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id)
                 SELECT unhex(e.value ->> 0), e.value ->> 1, e.value ->> 2, e.value ->> 3, e.value ->> 4, e.value ->> 5, e.value ->> 6,
                        e.value ->> 7 FROM grants CROSS JOIN json_each($25) e WHERE grants.id = $1;
                 SELECT id FROM grants WHERE id = $1",
        postgres: concat!("WITH person AS (SELECT u.id FROM users u JOIN clients c ON c.client_id = $2 AND c.enabled = 1
                                 WHERE u.id = $3 AND u.enabled = 1 FOR SHARE OF u FOR KEY SHARE OF c),
                 session AS (SELECT s.id FROM person JOIN sessions s ON s.user_id = person.id
                             WHERE s.id = $10 AND s.ended_at IS NULL AND s.expires_at > $17 FOR SHARE OF s),
                 agreed AS (SELECT k.user_id FROM person JOIN consents k ON k.user_id = person.id
                            WHERE k.client_id = $2 AND k.updated_at = $24 FOR SHARE OF k),
                 given AS (INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, acr, amr, session_id, sid, nonce,
                                               offline, created_at, expires_at, claims)
                           SELECT CAST($1 AS BYTEA), CAST($2 AS TEXT), CAST($3 AS BYTEA), CAST($4 AS TEXT), CAST($5 AS TEXT),
                                  CAST($6 AS TEXT), CAST($7 AS BIGINT), CAST($8 AS TEXT), CAST($9 AS TEXT), session.id,
                                  CAST($11 AS TEXT), CAST($12 AS TEXT), CAST($13 AS BIGINT), CAST($14 AS BIGINT), CAST($15 AS BIGINT),
                                  CAST($16 AS TEXT)
                           FROM session WHERE CAST($24 AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM agreed) RETURNING id),
                 code AS (INSERT INTO codes (grant_id, digest, client_id, redirect_uri, code_challenge, nonce, created_at, expires_at)
                          SELECT given.id, CAST($18 AS BYTEA), CAST($2 AS TEXT), CAST($19 AS TEXT), CAST($20 AS TEXT), CAST($21 AS TEXT),
                                 CAST($22 AS BIGINT), CAST($23 AS BIGINT) FROM given), ",
                 told!("given", "$25", "$26", "$27", "$28", "$29", "$30", "$31", "$32"), "
                 SELECT id FROM given"),
    };
    // For many at once: on SQLite those that stand, on Postgres also only those whose rows nobody holds but to share them. `IS NOT DISTINCT FROM` and a difference are
    // nothing that an index finds: with few rows, all sessions that live or all consents of a client would look as cheap as the one by its key.
    COMPLETE_TOGETHER = Split {
        sqlite: "INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, acr, amr, session_id, sid, nonce, offline,
                                     created_at, expires_at, claims)
                 SELECT unhex(w.value ->> 0), w.value ->> 1, unhex(w.value ->> 2), w.value ->> 3, w.value ->> 4, w.value ->> 5, w.value ->> 6,
                        w.value ->> 7, w.value ->> 8, unhex(w.value ->> 9), w.value ->> 10, w.value ->> 11, w.value ->> 12, w.value ->> 13,
                        w.value ->> 14, w.value ->> 15
                 FROM jsonb_each($1) AS w
                 WHERE EXISTS (SELECT 1 FROM users u JOIN clients c ON c.client_id = w.value ->> 1 AND c.enabled = 1
                               WHERE u.id = unhex(w.value ->> 2) AND u.enabled = 1)
                   AND EXISTS (SELECT 1 FROM sessions WHERE id = unhex(w.value ->> 9) AND user_id = unhex(w.value ->> 2)
                                 AND ended_at IS NULL AND expires_at > w.value ->> 16)
                   AND (w.value ->> 23 IS NULL OR EXISTS (SELECT 1 FROM consents WHERE user_id = unhex(w.value ->> 2)
                                                            AND client_id = w.value ->> 1 AND updated_at = w.value ->> 23))
                 RETURNING id;
                 INSERT INTO codes (grant_id, digest, client_id, redirect_uri, code_challenge, nonce, created_at, expires_at)
                 SELECT g.id, unhex(w.value ->> 17), g.client_id, w.value ->> 18, w.value ->> 19, w.value ->> 20, w.value ->> 21,
                        w.value ->> 22 FROM jsonb_each($1) AS w CROSS JOIN grants g WHERE g.id = unhex(w.value ->> 0);
                 INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id)
                 SELECT unhex(w.value ->> 24), w.value ->> 25, w.value ->> 26, w.value ->> 27, w.value ->> 28, w.value ->> 29, w.value ->> 30,
                        w.value ->> 31 FROM jsonb_each($1) AS w CROSS JOIN grants g WHERE g.id = unhex(w.value ->> 0)",
        postgres: concat!("WITH standing AS MATERIALIZED
                     (SELECT w.* FROM ",
                 asked!("id" "BYTEA" "$1", "client_id" "TEXT" "$2", "user_id" "BYTEA" "$3", "sub" "TEXT" "$4", "scopes" "TEXT" "$5",
                        "resources" "TEXT" "$6", "auth_time" "BIGINT" "$7", "acr" "TEXT" "$8", "amr" "TEXT" "$9", "session_id" "BYTEA" "$10",
                        "sid" "TEXT" "$11", "nonce" "TEXT" "$12", "offline" "BIGINT" "$13", "created_at" "BIGINT" "$14",
                        "expires_at" "BIGINT" "$15", "claims" "TEXT" "$16", "now" "BIGINT" "$17", "digest" "BYTEA" "$18",
                        "redirect_uri" "TEXT" "$19", "code_challenge" "TEXT" "$20", "code_nonce" "TEXT" "$21",
                        "code_created_at" "BIGINT" "$22", "code_expires_at" "BIGINT" "$23", "rests_on" "BIGINT" "$24",
                        "event_id" "BYTEA" "$25", "at" "BIGINT" "$26", "actor" "TEXT" "$27", "action" "TEXT" "$28", "target" "TEXT" "$29",
                        "was" "TEXT" "$30", "is_now" "TEXT" "$31", "trace_id" "TEXT" "$32"), " AS w
                      CROSS JOIN LATERAL (SELECT 1 FROM users WHERE users.id = w.user_id AND users.enabled = 1
                                          FOR SHARE SKIP LOCKED) AS u
                      CROSS JOIN LATERAL (SELECT 1 FROM clients WHERE clients.client_id = w.client_id AND clients.enabled = 1
                                          FOR KEY SHARE SKIP LOCKED) AS c
                      CROSS JOIN LATERAL (SELECT 1 FROM sessions WHERE sessions.id = w.session_id AND sessions.user_id IS NOT DISTINCT FROM w.user_id
                                            AND sessions.ended_at IS NULL AND sessions.expires_at - w.now > 0 FOR SHARE SKIP LOCKED) AS s
                      LEFT JOIN LATERAL (SELECT 1 AS agreed FROM consents WHERE w.rests_on IS NOT NULL AND consents.user_id = w.user_id
                                           AND consents.client_id IS NOT DISTINCT FROM w.client_id AND consents.updated_at = w.rests_on
                                         FOR SHARE SKIP LOCKED) AS k ON TRUE
                      WHERE w.rests_on IS NULL OR k.agreed IS NOT NULL),
                 given AS (INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, acr, amr, session_id, sid, nonce,
                                               offline, created_at, expires_at, claims)
                           SELECT w.id, w.client_id, w.user_id, w.sub, w.scopes, w.resources, w.auth_time, w.acr, w.amr, w.session_id, w.sid,
                                  w.nonce, w.offline, w.created_at, w.expires_at, w.claims FROM standing w),
                 code AS (INSERT INTO codes (digest, grant_id, client_id, redirect_uri, code_challenge, nonce, created_at, expires_at)
                          SELECT w.digest, w.id, w.client_id, w.redirect_uri, w.code_challenge, w.code_nonce, w.code_created_at,
                                 w.code_expires_at FROM standing w), ",
                 told_of!("standing w"), "
                 SELECT id FROM standing"),
    };
    // Withdrawing holds the person's row: it comes before, or waits for the commit and sees the new grant.
    AGREED = Split {
        sqlite: "SELECT user_id FROM consents WHERE user_id = $1 AND client_id = $2 AND updated_at = $3",
        postgres: "SELECT user_id FROM consents WHERE user_id = $1 AND client_id = $2 AND updated_at = $3 FOR SHARE",
    };
    CONSUME = Both("UPDATE interactions SET consumed_at = $2 WHERE digest = $1 AND client_id = $3 AND consumed_at IS NULL AND expires_at > $2");
}

/// Consumes the interaction, remembers the consent, adds the grant and its code. `false`, and nothing is written, if the interaction is
/// over, the person or the client was disabled, the session has ended, or the consent was withdrawn, changed or given meanwhile.
pub async fn complete(db: &Db, complete: Complete) -> Result<bool, StoreError> {
    if let Some(event) = complete.at_once() {
        let mut values = complete.values()?;
        let mut row = values.clone();
        row.extend(audit::values(event));
        if let Some(done) = db.written(Rows { sql: COMPLETE_TOGETHER, key: "id" }, &db.shared().completions, row).await? {
            return Ok(done);
        }
        values.extend(audit::lists(db.kind(), &complete.events));
        let done = match db.kind() {
            Kind::Postgres => db.returning(COMPLETE, values).await?,
            Kind::Sqlite => db.transaction("authorize.complete", move |tx| Box::pin(tx.returning(COMPLETE, values))).await?,
        };
        return Ok(done.is_some());
    }
    all_or_nothing(db, "authorize.complete", move |tx| Box::pin(async move { write(tx, &complete).await })).await
}

/// Where no page was shown, for many, on Postgres. `None`: to be tried alone.
pub(super) fn complete_together(_: Db, mut writer: Tx, asked: Vec<Args>) -> BoxFuture<'static, Answers<Option<bool>>> {
    Box::pin(async move { together::written(&mut writer, COMPLETE_TOGETHER, "id", asked).await })
}

impl Complete {
    /// Its one event, if no page was shown and nobody but the audit log is told: then one statement writes all of it.
    fn at_once(&self) -> Option<&AuditEvent> {
        let plain = self.interaction.is_none() && self.consent.is_none() && self.grant.session_id.is_some() && !self.joins;
        match self.events.as_slice() {
            [event] if plain => Some(event),
            _ => None,
        }
    }

    /// What that statement binds but for the event.
    fn values(&self) -> Result<Args, StoreError> {
        let Self { rests_on, grant, digest, code, now, .. } = self;
        let mut values = grants::values(grant)?;
        values.extend(args![
            *now,
            digest,
            code.redirect_uri.clone(),
            code.code_challenge.clone(),
            code.nonce.clone(),
            code.created_at,
            code.expires_at,
            *rests_on
        ]);
        Ok(values)
    }
}

/// Why nothing was written.
pub(super) enum Stopped {
    Changed,
    Store(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A unit of work that writes everything or, if what it rests on has changed, nothing: then `false`.
pub(super) async fn all_or_nothing(
    db: &Db,
    name: &'static str,
    work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<(), Stopped>> + Send + 'static,
) -> Result<bool, StoreError> {
    match db.transaction(name, work).await {
        Ok(()) => Ok(true),
        Err(Stopped::Changed) => Ok(false),
        Err(Stopped::Store(error)) => Err(error),
    }
}

/// Do the person, the client and the session of a grant that is about to be added still stand? If so they do until the commit.
pub(super) async fn stands(tx: &mut Tx, grant: &Grant, now: Timestamp) -> Result<bool, StoreError> {
    if tx.optional(STANDS, args![grant.user_id, &grant.client_id]).await?.is_none() {
        return Ok(false);
    }
    match grant.session_id {
        Some(session) => Ok(tx.optional(SESSION_STANDS, args![session, grant.user_id, now]).await?.is_some()),
        None => Ok(true),
    }
}

async fn write(tx: &mut Tx, complete: &Complete) -> Result<(), Stopped> {
    let Complete { interaction, consent, rests_on, grant, digest, code, events, joins, now } = complete;
    if !stands(tx, grant, *now).await? {
        return Err(Stopped::Changed);
    }
    if let Some(interaction) = interaction
        && tx.execute(CONSUME, args![interaction, *now, &grant.client_id]).await? == 0
    {
        return Err(Stopped::Changed);
    }
    let agreed = match (consent, rests_on) {
        (Some(consent), rests_on) => consents::agree_tx(tx, consent, *rests_on).await?,
        (None, Some(rests_on)) => tx.optional(AGREED, args![grant.user_id, &grant.client_id, *rests_on]).await?.is_some(),
        (None, None) => true,
    };
    if !agreed {
        return Err(Stopped::Changed);
    }
    grants::insert_tx(tx, grant).await?;
    codes::insert_tx(tx, digest, code).await?;
    if *joins {
        logouts::join_tx(tx, grant).await?;
    }
    for event in events {
        audit::insert_tx(tx, event).await?;
    }
    Ok(())
}
