//! Browser sessions, found by the digest of their cookie. A grant without `offline_access` ends with its session (design 4.2).

use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::secret::Digest;
use crate::storage::Args;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::audited;
use crate::storage::consents::{self, Consent};
use crate::storage::db::{Db, Kind, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::facts::user;
use crate::storage::logouts::{self, Ended, Participant};
use crate::storage::text::{from_json, to_json};
use crate::storage::together::{self, Answers};

/// Last use is written at most so often, whatever a browser does.
pub const TOUCH_AT_MOST_EVERY: Duration = Duration::from_secs(60);

macro_rules! columns {
    () => {
        "s.id AS s_id, s.sid AS s_sid, s.user_id AS s_user_id, s.auth_time AS s_auth_time, s.acr AS s_acr, s.amr AS s_amr,
         s.created_at AS s_created_at, s.last_used_at AS s_last_used_at, s.expires_at AS s_expires_at, s.ended_at AS s_ended_at,
         s.confirmed_at AS s_confirmed_at, s.device AS s_device, s.address AS s_address"
    };
}

/// Sessions by the cookies of `a`. `CROSS JOIN`: as in `codes`.
macro_rules! for_client {
    ($asked:expr, $join:literal) => {
        concat!(
            "SELECT a.n, ",
            columns!(),
            ", ",
            user_columns!(),
            ", ",
            consent_columns!(),
            " FROM ",
            $asked,
            $join,
            "sessions s ON s.cookie = a.cookie ",
            $join,
            "users u ON u.id = s.user_id
              LEFT JOIN consents k ON k.user_id = s.user_id AND k.client_id = a.client_id"
        )
    };
}

/// What a session that is there may become.
macro_rules! renewed {
    () => {
        "ON CONFLICT (id) DO UPDATE SET cookie = excluded.cookie, auth_time = excluded.auth_time, acr = excluded.acr,
             amr = excluded.amr, last_used_at = excluded.last_used_at, expires_at = excluded.expires_at,
             device = excluded.device, address = excluded.address
         WHERE sessions.ended_at IS NULL AND sessions.user_id = excluded.user_id AND sessions.expires_at > excluded.last_used_at"
    };
}

/// Has this person a second factor?
macro_rules! has_factor {
    ($user:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM totp_secrets WHERE user_id = ",
            $user,
            ") OR EXISTS (SELECT 1 FROM passkeys WHERE user_id = ",
            $user,
            "))"
        )
    };
}

/// A session, its person, and what they agreed to for a client.
pub type FoundForClient = (Session, User, Option<Consent>);

/// One session of a person takes the place of another, see [`users::change_password`](super::users::change_password).
#[derive(Debug, Clone)]
pub struct Change {
    /// Row id of the session that must still live.
    pub from: Uuid,
    pub to: Session,
    /// Digest of the new session's cookie.
    pub cookie: Digest,
    pub now: Timestamp,
}

statements! {
    // The lock that `users::set_enabled` waits for: whoever signs in while a person is disabled comes before or after, never between.
    LOCK_USER = Split {
        sqlite: "SELECT id FROM users WHERE id = $1 AND enabled = 1",
        postgres: "SELECT id FROM users WHERE id = $1 AND enabled = 1 FOR SHARE",
    };
    // As above, and the password that was checked is still the person's: checking one takes long enough for it to be changed meanwhile.
    LOCK_USER_WITH_PASSWORD = Split {
        sqlite: "SELECT id FROM users WHERE id = $1 AND enabled = 1 AND password_hash = $2",
        postgres: "SELECT id FROM users WHERE id = $1 AND enabled = 1 AND password_hash = $2 FOR SHARE",
    };
    BEGIN = Both(concat!("INSERT INTO sessions (id, cookie, sid, user_id, auth_time, acr, amr, created_at, last_used_at, expires_at,
                                                device, address)
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ", renewed!()));
    // All of it in one round trip and one commit: what most sign-ins with a password are. On SQLite several statements of one text, within
    // a unit of work. The lock is that of `LOCK_USER_WITH_PASSWORD`; nothing is locked for who has a second factor.
    BEGIN_WITH_PASSWORD = Split {
        sqlite: concat!("INSERT INTO sessions (id, cookie, sid, user_id, auth_time, acr, amr, created_at, last_used_at, expires_at, device, address)
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
                 WHERE EXISTS (SELECT 1 FROM users WHERE id = $4 AND enabled = 1 AND password_hash = $13) AND NOT ", has_factor!("$4"), " ",
                 renewed!(), ";
                 INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id)
                 SELECT $14, $15, $16, $17, $18, $19, $20, $21 FROM sessions WHERE id = $1 AND cookie = $2;
                 SELECT (SELECT COUNT(*) FROM sessions WHERE id = $1 AND cookie = $2) AS begun, ", has_factor!("$4"), " AS second_factor"),
        postgres: concat!("WITH factor AS (SELECT ", has_factor!("CAST($4 AS BYTEA)"), " AS due),
                 person AS (SELECT id FROM users WHERE id = $4 AND enabled = 1 AND password_hash = $13 AND NOT (SELECT due FROM factor)
                            FOR SHARE),
                 begun AS (INSERT INTO sessions (id, cookie, sid, user_id, auth_time, acr, amr, created_at, last_used_at, expires_at, device,
                                                 address)
                           SELECT CAST($1 AS BYTEA), CAST($2 AS BYTEA), CAST($3 AS TEXT), person.id, CAST($5 AS BIGINT), CAST($6 AS TEXT),
                                  CAST($7 AS TEXT), CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), CAST($11 AS TEXT),
                                  CAST($12 AS TEXT) FROM person ", renewed!(), " RETURNING id),
                 told AS (INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id)
                          SELECT CAST($14 AS BYTEA), CAST($15 AS BIGINT), CAST($16 AS TEXT), CAST($17 AS TEXT), CAST($18 AS TEXT),
                                 CAST($19 AS TEXT), CAST($20 AS TEXT), CAST($21 AS TEXT) FROM begun)
                 SELECT (SELECT COUNT(*) FROM begun) AS begun,
                        CASE WHEN due THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END AS second_factor FROM factor"),
    };
    FIND = Both(concat!("SELECT ", columns!(), ", ", user_columns!(), " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.cookie = $1"));
    // With what the person agreed to for one client.
    FIND_FOR_CLIENT = Split {
        sqlite: for_client!("(SELECT key + 1 AS n, unhex(value ->> 0) AS cookie, value ->> 1 AS client_id FROM json_each($1)) AS a", " CROSS JOIN "),
        postgres: for_client!(concat!("unnest(", list!("$1", "BYTEA"), ", CAST($2 AS TEXT[])) WITH ORDINALITY AS a(cookie, client_id, n)"), " JOIN "),
    };
    // The cookie from before the confirmation is worth nothing any more (security.md R-50).
    CONFIRM = Both("UPDATE sessions SET cookie = $4, confirmed_at = $3, last_used_at = $3, device = $5, address = $6
                    WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3");
    CONFIRMED_AT = Both("UPDATE sessions SET confirmed_at = $2 WHERE id = $1");
    TOUCH = Both("UPDATE sessions SET last_used_at = $2, address = COALESCE($4, address)
                  WHERE id = $1 AND ended_at IS NULL AND last_used_at <= $3");
    FIND_FOR_USER = Both(concat!("SELECT ", columns!(), " FROM sessions s WHERE s.user_id = $1 AND s.sid = $2"));
    LIST_FOR_USER = Both(concat!("SELECT ", columns!(), " FROM sessions s WHERE s.user_id = $1 AND s.ended_at IS NULL AND s.expires_at > $2
                          ORDER BY s.id DESC LIMIT $3"));
    PAGE_FOR_USER = Both(concat!("SELECT ", columns!(), " FROM sessions s WHERE s.user_id = $1 AND s.ended_at IS NULL AND s.expires_at > $2
                          AND s.last_used_at > $3 AND s.id < $4 ORDER BY s.id DESC LIMIT $5"));
    OF_USER = Both("SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL");
    END = Both("UPDATE sessions SET ended_at = $2, ended_because = $3 WHERE id = $1 AND ended_at IS NULL");
    CONSUME_CODES = Both("UPDATE codes SET consumed_at = $2
                          WHERE consumed_at IS NULL AND grant_id IN (SELECT id FROM grants WHERE session_id = $1 AND offline = 0)");
    WITHDRAW_DEVICE_CODES = Both("UPDATE device_codes SET withdrawn_at = $2 WHERE consumed_at IS NULL AND withdrawn_at IS NULL
                                  AND grant_id IN (SELECT id FROM grants WHERE session_id = $1 AND offline = 0)");
    END_GRANTS = Split {
        sqlite: "UPDATE grants SET ended_at = $2, ended_because = $3 WHERE session_id = $1 AND offline = 0 AND ended_at IS NULL",
        postgres: "UPDATE grants SET ended_at = $2, ended_because = $3 WHERE id IN
                   (SELECT id FROM grants WHERE session_id = $1 AND offline = 0 AND ended_at IS NULL ORDER BY id FOR UPDATE)",
    };
    END_FAMILIES = Both("UPDATE families SET ended_at = $2, ended_because = $3 WHERE ended_at IS NULL
                         AND grant_id IN (SELECT id FROM grants WHERE session_id = $1 AND offline = 0)");
}

/// Begins a session, or, if one with this row id lives, renews it under a new cookie with a new authentication event. `false` if the
/// person was disabled meanwhile, or the session to renew has ended, is past its time or is another person's.
pub async fn begin(db: &Db, session: &Session, cookie: &Digest, event: &AuditEvent) -> Result<bool, StoreError> {
    let (session, cookie) = (session.clone(), *cookie);
    audited(db, "session.begin", Some(event), move |tx| {
        Box::pin(async move {
            if !lock_user_tx(tx, session.user_id, None).await? {
                return Ok(0);
            }
            begin_tx(tx, &session, &cookie).await
        })
    })
    .await
}

/// What became of a session that rests on a password alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithPassword {
    Begun,
    /// The person has a second factor, which comes first. Nothing was written.
    SecondFactor,
    /// Nothing was written.
    Changed,
}

/// As [`begin`], for a person who proved themselves with the password of this hash and has no second factor. It does not begin, too, if
/// they have another password by now, since changing it ended everything that was signed in with it (security.md R-46).
pub async fn begin_with_password(
    db: &Db,
    session: &Session,
    cookie: &Digest,
    password_hash: &str,
    event: &AuditEvent,
) -> Result<WithPassword, StoreError> {
    let mut values = values(session, cookie)?;
    values.extend(args![password_hash]);
    values.extend(audit::values(event));
    let row = match db.kind() {
        Kind::Postgres => db.returning(BEGIN_WITH_PASSWORD, values).await?,
        Kind::Sqlite => db.transaction("session.begin", move |tx| Box::pin(tx.returning(BEGIN_WITH_PASSWORD, values))).await?,
    };
    let row = row.ok_or_else(|| StoreError::Corrupt("a session neither began nor did not".to_owned()))?;
    Ok(match (row.get("begun")?, row.get("second_factor")?) {
        (true, _) => WithPassword::Begun,
        (false, true) => WithPassword::SecondFactor,
        (false, false) => WithPassword::Changed,
    })
}

/// Takes the lock under which a session may begin. `false` if the person is disabled, or has another password than this by now.
pub(super) async fn lock_user_tx(tx: &mut Tx, user_id: Uuid, password_hash: Option<String>) -> Result<bool, StoreError> {
    let user = match password_hash {
        Some(hash) => tx.optional(LOCK_USER_WITH_PASSWORD, args![user_id, hash]).await?,
        None => tx.optional(LOCK_USER, args![user_id]).await?,
    };
    Ok(user.is_some())
}

/// Writes a session that begins; 0 rows if the one to renew has ended, is past its time or is another person's.
pub(super) async fn begin_tx(tx: &mut Tx, session: &Session, cookie: &Digest) -> Result<u64, StoreError> {
    tx.execute(BEGIN, values(session, cookie)?).await
}

/// Adds a session as part of a unit of work that holds the person's lock.
pub async fn insert_tx(tx: &mut Tx, session: &Session, cookie: &Digest) -> Result<(), StoreError> {
    tx.execute(BEGIN, values(session, cookie)?).await?;
    tx.execute(CONFIRMED_AT, args![session.id, session.confirmed_at]).await.map(drop)
}

fn values(session: &Session, cookie: &Digest) -> Result<Args, StoreError> {
    Ok(args![
        session.id,
        cookie,
        &session.sid,
        session.user_id,
        session.auth_time,
        session.acr.clone(),
        to_json(&session.amr)?,
        session.created_at,
        session.last_used_at,
        session.expires_at,
        session.device.clone(),
        session.address.clone()
    ])
}

/// The session behind a cookie, ended or not, and its person.
pub async fn find(db: &Db, cookie: &Digest) -> Result<Option<(Session, User)>, StoreError> {
    let row = db.optional(FIND, args![cookie]).await?;
    row.map(|row| Ok((read(&row)?, user(&row)?))).transpose()
}

/// The same, and what the person agreed to for this client.
pub async fn find_for_client(db: &Db, cookie: &Digest, client_id: &str) -> Result<Option<FoundForClient>, StoreError> {
    db.seen(FIND_FOR_CLIENT, db.shared().sessions.ask(db, (*cookie, client_id.to_owned()))).await
}

/// [`find_for_client`] for many.
pub(super) fn find_together(
    db: Db,
    reader: Tx,
    asked: Vec<(Digest, String)>,
) -> BoxFuture<'static, Answers<Option<FoundForClient>>> {
    Box::pin(async move {
        let rows = together::rows(db.kind(), asked.iter().map(|(cookie, client_id)| args![cookie, client_id]).collect());
        let found = |row: &Row| {
            let consent = row.get::<Option<String>>("k_client_id")?.map(|_| consents::read(row)).transpose()?;
            Ok((read(row)?, user(row)?, consent))
        };
        together::found(&db.read_over(reader, FIND_FOR_CLIENT, rows).await?, asked.len(), found)
    })
}

/// The person has proved with the password of this hash that it is them: the session goes on under a new cookie. `false` if it has ended,
/// or the person is disabled or has another password by now.
pub async fn confirm(
    db: &Db,
    session: &Session,
    cookie: &Digest,
    password_hash: &str,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let (user_id, hash) = (session.user_id, password_hash.to_owned());
    let values = args![session.id, user_id, now, cookie, session.device.clone(), session.address.clone()];
    audited(db, "session.confirm", Some(event), move |tx| {
        Box::pin(async move {
            match tx.optional(LOCK_USER_WITH_PASSWORD, args![user_id, hash]).await? {
                Some(_) => tx.execute(CONFIRM, values).await,
                None => Ok(0),
            }
        })
    })
    .await
}

/// Notes that the session was used, at most once a minute, and from where if that is known. An ended session stays ended. `last_used_at`
/// is what was read of it: most uses need no write at all.
pub async fn touch(db: &Db, id: Uuid, last_used_at: Timestamp, address: Option<String>, now: Timestamp) -> Result<(), StoreError> {
    if last_used_at > now.minus(TOUCH_AT_MOST_EVERY) {
        return Ok(());
    }
    db.execute(TOUCH, args![id, now, now.minus(TOUCH_AT_MOST_EVERY), address]).await.map(drop)
}

/// A person's own session by its `sid`, ended or not. Other people's are not found.
pub async fn find_for_user(db: &Db, user_id: Uuid, sid: &str) -> Result<Option<Session>, StoreError> {
    db.optional(FIND_FOR_USER, args![user_id, sid]).await?.as_ref().map(read).transpose()
}

/// The live sessions of a person, newest first, at most `limit`.
pub async fn list_for_user(db: &Db, user_id: Uuid, now: Timestamp, limit: u32) -> Result<Vec<Session>, StoreError> {
    db.all(LIST_FOR_USER, args![user_id, now, limit]).await?.iter().map(read).collect()
}

/// The live sessions of a person, newest first, at most `limit`, older than the one with the row id `before`.
pub async fn page_for_user(
    db: &Db,
    user_id: Uuid,
    (now, idle): (Timestamp, Duration),
    limit: u32,
    before: Option<Uuid>,
) -> Result<Vec<Session>, StoreError> {
    let values = args![user_id, now, now.minus(idle), before.unwrap_or(Uuid::max()), limit];
    db.all(PAGE_FOR_USER, values).await?.iter().map(read).collect()
}

/// Is this a session of this person that has not ended?
pub async fn belongs_to(db: &Db, id: Uuid, user_id: Uuid) -> Result<bool, StoreError> {
    Ok(db.optional(OF_USER, args![id, user_id]).await?.is_some())
}

/// Ends a session, and with it the grants without `offline_access` that began in it, their families and codes. The clients that want to
/// hear of it are told. `false` if it had ended before. Open interactions go on: they belong to the browser, and whoever signs in next
/// answers their pages anew.
pub async fn end(db: &Db, id: Uuid, now: Timestamp, because: &'static str, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
    Ok(sign_out(db, id, now, because, event).await?.is_some())
}

/// As [`end`]: the clients that are told, `None` if it had ended before.
pub async fn sign_out(
    db: &Db,
    id: Uuid,
    now: Timestamp,
    because: &'static str,
    event: Option<&AuditEvent>,
) -> Result<Option<Vec<Participant>>, StoreError> {
    let event = event.cloned();
    db.transaction("session.end", move |tx| {
        Box::pin(async move {
            if !end_tx(tx, id, now, because).await? {
                return Ok(None);
            }
            let clients = logouts::of_session_tx(tx, id).await?;
            if !clients.is_empty() {
                logouts::tell_tx(tx, Ended::Session(id), now).await?;
            }
            if let Some(event) = &event {
                audit::insert_tx(tx, event).await?;
            }
            Ok(Some(clients))
        })
    })
    .await
}

/// As [`end`], of a session whose time was over and whose person has signed in anew: nobody is told, as nobody was when it expired.
pub async fn replace(db: &Db, id: Uuid, now: Timestamp, because: &'static str, event: &AuditEvent) -> Result<bool, StoreError> {
    audited(db, "session.replace", Some(event), move |tx| {
        Box::pin(async move { Ok(u64::from(end_tx(tx, id, now, because).await?)) })
    })
    .await
}

async fn end_tx(tx: &mut Tx, id: Uuid, now: Timestamp, because: &'static str) -> Result<bool, StoreError> {
    let ended = tx.execute(END, args![id, now, because]).await? > 0;
    if ended {
        tx.execute(CONSUME_CODES, args![id, now]).await?;
        tx.execute(WITHDRAW_DEVICE_CODES, args![id, now]).await?;
        tx.execute(END_GRANTS, args![id, now, because]).await?;
        tx.execute(END_FAMILIES, args![id, now, because]).await?;
    }
    Ok(ended)
}

fn read(row: &Row) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.get("s_id")?,
        sid: row.get("s_sid")?,
        user_id: row.get("s_user_id")?,
        auth_time: row.get("s_auth_time")?,
        acr: row.get("s_acr")?,
        amr: from_json(row.get("s_amr")?)?,
        created_at: row.get("s_created_at")?,
        last_used_at: row.get("s_last_used_at")?,
        expires_at: row.get("s_expires_at")?,
        ended_at: row.get("s_ended_at")?,
        confirmed_at: row.get("s_confirmed_at")?,
        device: row.get("s_device")?,
        address: row.get("s_address")?,
    })
}
