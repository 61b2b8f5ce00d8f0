//! Who hears that a session has ended: the clients of each session, and the logout tokens that are still to be delivered to them
//! (OpenID Connect Back-Channel Logout §2.5).
//!
//! A delivery is written by the unit of work that ends what it tells of, as its last step: both are there or neither. It leaves the
//! table when the client has answered. In between it is claimed by moving its time on, so that of any number of servers one tries, and
//! who dies while trying leaves it to the next.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::grant::Grant;
use crate::storage::audit::AuditEvent;
use crate::storage::audited;
use crate::storage::db::{Db, Kind, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::value::Args;

/// A client that a person signed in to in a session, as its ID tokens speak of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    pub client_id: String,
    pub sub: String,
    pub sid: String,
}

/// A logout token to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub id: Uuid,
    pub to: Participant,
    pub created_at: Timestamp,
    /// This one included; it says whose claim it is, too.
    pub attempts: i64,
}

/// What has ended, and with it what clients remember of it.
#[derive(Debug, Clone, Copy)]
pub enum Ended<'a> {
    Session(Uuid),
    /// All sessions of a person.
    User(Uuid),
    /// All sessions of a person but this one.
    Elsewhere {
        user: Uuid,
        this: Uuid,
    },
    /// Everything that a person had with a client.
    Client {
        user: Uuid,
        client_id: &'a str,
    },
    Grant(Uuid),
}

macro_rules! owed {
    ($which:expr, $now:literal) => {
        concat!(
            "INSERT INTO logout_deliveries (id, client_id, sub, sid, created_at, due_at, attempts)
             SELECT randomblob(16), client_id, sub, sid, ",
            $now,
            ", ",
            $now,
            ", 0 FROM session_clients WHERE ",
            $which
        )
    };
}

/// On Postgres in one step with forgetting the clients: of two that end the same at once, one finds the row.
macro_rules! moved {
    ($which:expr, $now:literal) => {
        concat!(
            "WITH gone AS (DELETE FROM session_clients WHERE ",
            $which,
            " RETURNING client_id, sub, sid)
             INSERT INTO logout_deliveries (id, client_id, sub, sid, created_at, due_at, attempts)
             SELECT uuid_send(gen_random_uuid()), client_id, sub, sid, CAST(",
            $now,
            " AS BIGINT), CAST(",
            $now,
            " AS BIGINT), 0 FROM gone"
        )
    };
}

macro_rules! of_session {
    () => {
        "session_id = $1"
    };
}
macro_rules! of_user {
    () => {
        "user_id = $1"
    };
}
macro_rules! elsewhere {
    () => {
        "user_id = $1 AND session_id <> $2"
    };
}
macro_rules! of_client {
    () => {
        "user_id = $1 AND client_id = $2"
    };
}
macro_rules! of_grant {
    () => {
        "session_id = (SELECT session_id FROM grants WHERE id = $1) AND client_id = (SELECT client_id FROM grants WHERE id = $1)"
    };
}
macro_rules! forget {
    ($which:expr) => {
        concat!("DELETE FROM session_clients WHERE ", $which)
    };
}

statements! {
    JOIN = Both("INSERT INTO session_clients (session_id, client_id, user_id, sub, sid) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (session_id, client_id) DO UPDATE SET sub = excluded.sub, sid = excluded.sid
                 WHERE session_clients.sub <> excluded.sub OR session_clients.sid <> excluded.sid");
    OF_SESSION = Both("SELECT client_id, sub, sid FROM session_clients WHERE session_id = $1 ORDER BY client_id");

    TELL_OF_SESSION = Split { sqlite: owed!(of_session!(), "$2"), postgres: moved!(of_session!(), "$2") };
    TELL_OF_USER = Split { sqlite: owed!(of_user!(), "$2"), postgres: moved!(of_user!(), "$2") };
    TELL_ELSEWHERE = Split { sqlite: owed!(elsewhere!(), "$3"), postgres: moved!(elsewhere!(), "$3") };
    TELL_CLIENT = Split { sqlite: owed!(of_client!(), "$3"), postgres: moved!(of_client!(), "$3") };
    TELL_OF_GRANT = Split { sqlite: owed!(of_grant!(), "$2"), postgres: moved!(of_grant!(), "$2") };
    // SQLite, where one writes at a time.
    FORGET_OF_SESSION = Both(forget!(of_session!()));
    FORGET_OF_USER = Both(forget!(of_user!()));
    FORGET_ELSEWHERE = Both(forget!(elsewhere!()));
    FORGET_CLIENT = Both(forget!(of_client!()));
    FORGET_OF_GRANT = Both(forget!(of_grant!()));

    // From client to client along the index: however many tokens wait for one of them, the others are found at once.
    WAITING = Both("WITH RECURSIVE waiting(client_id) AS (SELECT MIN(client_id) FROM logout_deliveries UNION ALL
                        SELECT (SELECT MIN(d.client_id) FROM logout_deliveries d WHERE d.client_id > waiting.client_id)
                        FROM waiting WHERE waiting.client_id IS NOT NULL)
                    SELECT waiting.client_id, (SELECT MIN(d.due_at) FROM logout_deliveries d WHERE d.client_id = waiting.client_id) AS due_at
                    FROM waiting WHERE waiting.client_id IS NOT NULL");
    OLD = Both("SELECT COUNT(CASE WHEN created_at <= $2 THEN 1 END) AS number, MIN(created_at) AS since, MAX(attempts) AS attempts
                FROM logout_deliveries WHERE client_id = $1");
    CLAIM = Split {
        sqlite: "UPDATE logout_deliveries SET due_at = $3, attempts = attempts + 1 WHERE id IN
                 (SELECT id FROM logout_deliveries WHERE client_id = $1 AND due_at <= $2 ORDER BY due_at LIMIT $4)
                 RETURNING id, client_id, sub, sid, created_at, attempts",
        postgres: "WITH due AS MATERIALIZED (SELECT id FROM logout_deliveries WHERE client_id = $1 AND due_at <= $2
                                             ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED)
                   UPDATE logout_deliveries l SET due_at = $3, attempts = attempts + 1 FROM due WHERE l.id = due.id
                   RETURNING l.id, l.client_id, l.sub, l.sid, l.created_at, l.attempts",
    };
    // Whoever was too slow finds that it is somebody else's by now.
    AGAIN = Both("UPDATE logout_deliveries SET due_at = $3 WHERE id = $1 AND attempts = $2");
    DONE = Both("DELETE FROM logout_deliveries WHERE id = $1 AND attempts = $2");
}

/// A sign-in of a client that wants to hear of its end, as part of the unit of work that adds its grant. A grant without a session has
/// nothing that could end.
pub(super) async fn join_tx(tx: &mut Tx, grant: &Grant) -> Result<(), StoreError> {
    let (Some(session), Some(sid)) = (grant.session_id, &grant.sid) else { return Ok(()) };
    tx.execute(JOIN, args![session, &grant.client_id, grant.user_id, &grant.sub, sid]).await.map(drop)
}

/// The clients of a session that want to hear of its end.
pub async fn of_session(db: &Db, session: Uuid) -> Result<Vec<Participant>, StoreError> {
    db.all(OF_SESSION, args![session]).await?.iter().map(participant).collect()
}

/// As [`of_session`], in a unit of work.
pub(super) async fn of_session_tx(tx: &mut Tx, session: Uuid) -> Result<Vec<Participant>, StoreError> {
    tx.all(OF_SESSION, args![session]).await?.iter().map(participant).collect()
}

/// Writes down who is to be told, as the last step of the unit of work that ends it.
pub(super) async fn tell_tx(tx: &mut Tx, ended: Ended<'_>, now: Timestamp) -> Result<(), StoreError> {
    let (tell, forget, which): (_, _, Args) = match ended {
        Ended::Session(id) => (TELL_OF_SESSION, FORGET_OF_SESSION, args![id]),
        Ended::User(id) => (TELL_OF_USER, FORGET_OF_USER, args![id]),
        Ended::Elsewhere { user, this } => (TELL_ELSEWHERE, FORGET_ELSEWHERE, args![user, this]),
        Ended::Client { user, client_id } => (TELL_CLIENT, FORGET_CLIENT, args![user, client_id]),
        Ended::Grant(id) => (TELL_OF_GRANT, FORGET_OF_GRANT, args![id]),
    };
    let mut values = which.clone();
    values.extend(args![now]);
    let told = tx.execute(tell, values).await?;
    if told > 0 && tx.kind() == Kind::Sqlite {
        tx.execute(forget, which).await?;
    }
    Ok(())
}

/// The clients that deliveries wait for, each with the time at which the first of them is due.
pub async fn waiting(db: &Db) -> Result<Vec<(String, Timestamp)>, StoreError> {
    db.all(WAITING, args![]).await?.iter().map(|row| Ok((row.get("client_id")?, row.get("due_at")?))).collect()
}

/// Deliveries to one client that have waited for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Old {
    pub number: i64,
    /// When the first of them was written.
    pub since: Timestamp,
    /// How often one of the client's was tried, at most.
    pub attempts: i64,
}

/// What was written for a client by `until`, if any of it is still to be delivered.
pub async fn old(db: &Db, client_id: &str, until: Timestamp) -> Result<Option<Old>, StoreError> {
    let Some(row) = db.optional(OLD, args![client_id, until]).await? else { return Ok(None) };
    let (since, attempts): (Option<Timestamp>, Option<i64>) = (row.get("since")?, row.get("attempts")?);
    let number: i64 = row.get("number")?;
    Ok(since.zip(attempts).filter(|_| number > 0).map(|(since, attempts)| Old { number, since, attempts }))
}

/// Takes at most `limit` of a client's deliveries that are due; until `until` nobody else does.
pub async fn claim(
    db: &Db,
    client_id: &str,
    (now, until): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<Delivery>, StoreError> {
    let values = args![client_id, now, until, limit];
    let claimed = db.transaction("logout.claim", move |tx| Box::pin(async move { tx.all(CLAIM, values).await })).await;
    let rows: Vec<Row> = claimed?;
    rows.iter()
        .map(|row| {
            Ok(Delivery {
                id: row.get("id")?,
                to: participant(row)?,
                created_at: row.get("created_at")?,
                attempts: row.get("attempts")?,
            })
        })
        .collect()
}

/// The client did not take it: once more at `due_at`. `false` if the claim is over.
pub async fn again(db: &Db, delivery: &Delivery, due_at: Timestamp) -> Result<bool, StoreError> {
    Ok(db.execute(AGAIN, args![delivery.id, delivery.attempts, due_at]).await? > 0)
}

/// The client took it, or never will, which the event tells. `false`, and no event, if the claim is over.
pub async fn done(db: &Db, delivery: &Delivery, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
    let values = args![delivery.id, delivery.attempts];
    audited(db, "logout.done", event, move |tx| Box::pin(async move { tx.execute(DONE, values).await })).await
}

fn participant(row: &Row) -> Result<Participant, StoreError> {
    Ok(Participant { client_id: row.get("client_id")?, sub: row.get("sub")?, sid: row.get("sid")? })
}
