//! Refresh-token families: one row each, for ever (design 4.2). Rotating is a single conditional UPDATE that repeats what was read.

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::family::Family;
use crate::oauth::grant::FamilyFacts;
use crate::storage::audit::AuditEvent;
use crate::storage::commits::Rows;
use crate::storage::db::{Db, Kind, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::together::{self, Answers};
use crate::storage::{Args, Value, audit, audited, facts, grants};

/// What [`rotate`] needs: the family as it was read, and as the decision leaves it.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub before: Family,
    pub after: Family,
    pub now: Timestamp,
}

/// The row of a family as a decision in the row `w` leaves it.
macro_rules! rotated {
    () => {
        "generation = w.generation, previous = w.previous, previous_redeemed_at = w.previous_redeemed_at, burst_first = w.burst_first,
         burst_recovered = w.burst_recovered, burst_started_at = w.burst_started_at,
         last_used_at = CASE WHEN families.last_used_at > w.last_used_at THEN families.last_used_at ELSE w.last_used_at END"
    };
}

/// Everything that the decision in `w` rested on.
macro_rules! unmoved {
    () => {
        concat!(
            "families.id = w.id AND families.ended_at IS NULL AND families.expires_at > w.now
             AND families.generation = w.was_generation AND families.previous = w.was_previous
             AND families.previous_redeemed_at IS NOT DISTINCT FROM w.was_redeemed_at
             AND families.burst_first = w.was_first AND families.burst_recovered = w.was_recovered
             AND families.burst_started_at IS NOT DISTINCT FROM w.was_started_at AND ",
            grant_stands!("families.grant_id", "w.now")
        )
    };
}

impl Rotation {
    /// In the order of [`ROTATE`].
    fn values(&self) -> Args {
        let Self { before, after, now } = self;
        args![
            before.id,
            after.generation,
            after.previous,
            after.previous_redeemed_at,
            after.burst_first,
            after.burst_recovered,
            after.burst_started_at,
            after.last_used_at,
            *now,
            before.generation,
            before.previous,
            before.previous_redeemed_at,
            before.burst_first,
            before.burst_recovered,
            before.burst_started_at
        ]
    }
}

statements! {
    FIND = Split {
        sqlite: concat!("SELECT ", standing_columns!(), ", ", family_columns!(), " FROM families f JOIN grants g ON g.id = f.grant_id",
                 standing_joins!(), "WHERE f.id IN (SELECT unhex(value ->> 0) FROM json_each($1))"),
        postgres: concat!("SELECT ", standing_columns!(), ", ", family_columns!(), " FROM families f JOIN grants g ON g.id = f.grant_id",
                 standing_joins!(), "WHERE f.id = ANY(", list!("$1", "BYTEA"), ")"),
    };
    INSERT = Both("INSERT INTO families (id, salt, key_id, generation, previous, previous_redeemed_at, burst_first, burst_recovered,
                                         burst_started_at, created_at, last_used_at, expires_at, grant_id, client_id)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)");
    // Last use never moves back: of two that share a burst, the later one may be written first.
    ROTATE = Both(concat!("UPDATE families SET generation = $2, previous = $3, previous_redeemed_at = $4, burst_first = $5,
                              burst_recovered = $6, burst_started_at = $7,
                              last_used_at = CASE WHEN last_used_at > $8 THEN last_used_at ELSE $8 END
                           WHERE id = $1 AND ended_at IS NULL AND expires_at > $9
                             AND generation = $10 AND previous = $11 AND previous_redeemed_at IS NOT DISTINCT FROM $12
                             AND burst_first = $13 AND burst_recovered = $14 AND burst_started_at IS NOT DISTINCT FROM $15 AND ",
                          grant_stands!("families.grant_id", "$9")));
    // The same for many at once; which it did comes back. Postgres looks each row up once, to see whether it stands as it was read and to
    // lock it, and passes over what somebody else is changing, so that no two groups ever wait for each other's rows: whoever is missing
    // in the answer tries alone.
    ROTATE_TOGETHER = Split {
        sqlite: concat!("UPDATE families SET ", rotated!(), " FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS generation,
                             value ->> 2 AS previous, value ->> 3 AS previous_redeemed_at, value ->> 4 AS burst_first,
                             value ->> 5 AS burst_recovered, value ->> 6 AS burst_started_at, value ->> 7 AS last_used_at,
                             value ->> 8 AS now, value ->> 9 AS was_generation, value ->> 10 AS was_previous,
                             value ->> 11 AS was_redeemed_at, value ->> 12 AS was_first, value ->> 13 AS was_recovered,
                             value ->> 14 AS was_started_at FROM json_each($1)) AS w
                         WHERE ", unmoved!(), " RETURNING id"),
        postgres: concat!("WITH standing AS MATERIALIZED (SELECT w.* FROM ",
                 asked!("id" "BYTEA" "$1", "generation" "BIGINT" "$2", "previous" "BIGINT" "$3", "previous_redeemed_at" "BIGINT" "$4",
                        "burst_first" "BIGINT" "$5", "burst_recovered" "BIGINT" "$6", "burst_started_at" "BIGINT" "$7",
                        "last_used_at" "BIGINT" "$8", "now" "BIGINT" "$9", "was_generation" "BIGINT" "$10", "was_previous" "BIGINT" "$11",
                        "was_redeemed_at" "BIGINT" "$12", "was_first" "BIGINT" "$13", "was_recovered" "BIGINT" "$14",
                        "was_started_at" "BIGINT" "$15"), " AS w
                     CROSS JOIN LATERAL (SELECT 1 FROM families WHERE ", unmoved!(), " FOR NO KEY UPDATE SKIP LOCKED) AS f)
                 UPDATE families SET ", rotated!(), " FROM standing w WHERE families.id = w.id RETURNING families.id"),
    };
    // The grant's row is locked before the family's, as everywhere: the second step looks at what the first has done.
    END = Split {
        sqlite: "SELECT 1 AS one",
        postgres: concat!("WITH ended AS (UPDATE grants SET ended_at = $2, ended_because = $3
                              WHERE id = (SELECT grant_id FROM families WHERE id = $1) AND ended_at IS NULL RETURNING id),
                 family AS (UPDATE families SET ended_at = $2, ended_because = $3
                            WHERE id = $1 AND ended_at IS NULL AND (SELECT COUNT(*) FROM ended) >= 0), ",
                 told!("ended", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11"), "
                 SELECT id FROM ended"),
    };
    // For many at once: those that stand and, on Postgres, nobody holds. There each row is looked up by its key and locked before anything is
    // changed; on SQLite whatever looks whether they stand comes before the changes.
    END_TOGETHER = Split {
        sqlite: "INSERT INTO audit_events (id, at, actor, action, target, was, is_now, trace_id)
                 SELECT unhex(w.value ->> 3), w.value ->> 4, w.value ->> 5, w.value ->> 6, w.value ->> 7, w.value ->> 8, w.value ->> 9,
                        w.value ->> 10 FROM jsonb_each($1) AS w CROSS JOIN families f CROSS JOIN grants g
                 WHERE f.id = unhex(w.value ->> 0) AND f.ended_at IS NULL AND g.id = f.grant_id AND g.ended_at IS NULL;
                 SELECT f.id FROM jsonb_each($1) AS w CROSS JOIN families f CROSS JOIN grants g
                 WHERE f.id = unhex(w.value ->> 0) AND f.ended_at IS NULL AND g.id = f.grant_id AND g.ended_at IS NULL;
                 UPDATE grants SET ended_at = w.now, ended_because = w.because
                 FROM (SELECT (SELECT grant_id FROM families WHERE id = unhex(value ->> 0) AND ended_at IS NULL) AS grant_id,
                              value ->> 1 AS now, value ->> 2 AS because FROM jsonb_each($1)) AS w
                 WHERE grants.id = w.grant_id AND grants.ended_at IS NULL;
                 UPDATE families SET ended_at = w.now, ended_because = w.because
                 FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS now, value ->> 2 AS because FROM jsonb_each($1)) AS w
                 WHERE families.id = w.id AND families.ended_at IS NULL",
        postgres: concat!("WITH standing AS MATERIALIZED
                     (SELECT w.id, f.grant_id, w.now, w.because, ", event_columns!("w"), " FROM ",
                 asked!("id" "BYTEA" "$1", "now" "BIGINT" "$2", "because" "TEXT" "$3", "event_id" "BYTEA" "$4", "at" "BIGINT" "$5",
                        "actor" "TEXT" "$6", "action" "TEXT" "$7", "target" "TEXT" "$8", "was" "TEXT" "$9", "is_now" "TEXT" "$10",
                        "trace_id" "TEXT" "$11"), " AS w
                      CROSS JOIN LATERAL (SELECT families.grant_id FROM families WHERE families.id = w.id AND families.ended_at IS NULL
                                          FOR NO KEY UPDATE SKIP LOCKED) AS f
                      CROSS JOIN LATERAL (SELECT 1 FROM grants WHERE grants.id = f.grant_id AND grants.ended_at IS NULL
                                          FOR NO KEY UPDATE SKIP LOCKED) AS g),
                 ended AS (UPDATE grants SET ended_at = w.now, ended_because = w.because FROM standing w WHERE grants.id = w.grant_id),
                 family AS (UPDATE families SET ended_at = w.now, ended_because = w.because FROM standing w WHERE families.id = w.id), ",
                 told_of!("standing w"), "
                 SELECT id FROM standing"),
    };
    GRANT = Both("SELECT grant_id FROM families WHERE id = $1");
}

/// The family, its grant, and everybody on whom it depends. Ended families too.
pub async fn find(db: &Db, id: Uuid) -> Result<Option<FamilyFacts>, StoreError> {
    db.seen(FIND, db.shared().families.ask(db, id)).await
}

/// [`find`] for many.
pub(super) fn find_together(db: Db, reader: Tx, ids: Vec<Uuid>) -> BoxFuture<'static, Answers<Option<FamilyFacts>>> {
    Box::pin(async move {
        let values = together::rows(db.kind(), ids.iter().map(|id| args![*id]).collect());
        let mut found = HashMap::with_capacity(ids.len());
        for row in db.read_over(reader, FIND, values).await? {
            let facts = family_facts(&row);
            found.insert(row.get::<Uuid>("f_id")?, facts);
        }
        // Whoever asks last for a family gets what was read itself.
        let answer = |(place, id): (usize, &Uuid)| {
            let asked_again = ids.iter().skip(place.saturating_add(1)).any(|other| other == id);
            if asked_again { found.get(id).cloned() } else { found.remove(id) }.unwrap_or(Ok(None))
        };
        Ok(ids.iter().enumerate().map(answer).collect())
    })
}

fn family_facts(row: &Row) -> Result<Option<FamilyFacts>, StoreError> {
    let standing = facts::standing(row)?;
    Ok(facts::family(row)?.map(|family| FamilyFacts { family, standing }))
}

/// All of a family that begins but its grant and its client: [`with_family`] takes those from the code.
pub(super) fn values(family: &Family) -> Args {
    args![
        family.id,
        family.salt,
        family.key_id,
        family.generation,
        family.previous,
        family.previous_redeemed_at,
        family.burst_first,
        family.burst_recovered,
        family.burst_started_at,
        family.created_at,
        family.last_used_at,
        family.expires_at
    ]
}

/// The same where none begins.
pub(super) fn no_values() -> Args {
    let (bytes, number) = (|| Value::Bytes(None), || Value::Int(None));
    let mut values = vec![bytes(), bytes()];
    values.extend((0..10).map(|_| number()));
    values
}

/// Adds a family as part of a unit of work.
pub async fn insert_tx(tx: &mut Tx, family: &Family) -> Result<(), StoreError> {
    let mut values = values(family);
    values.extend(args![family.grant_id, &family.client_id]);
    tx.execute(INSERT, values).await.map(drop)
}

/// Applies a decision about a refresh token, also the ones that leave the generation as it is. `false`, and nothing is written, if the
/// family moved on or anything else that the decision rested on has changed: then read it again and decide once more.
pub async fn rotate(db: &Db, rotation: Rotation) -> Result<bool, StoreError> {
    let values = rotation.values();
    let shared = db.shared().rotations.ask(db, values.clone());
    match db.seen(ROTATE, shared).await? {
        Some(rotated) => Ok(rotated),
        None => Ok(db.execute(ROTATE, values).await? > 0),
    }
}

/// [`rotate`] for many. `None`: to be tried alone.
pub(super) fn rotate_together(db: Db, mut writer: Tx, mut asked: Vec<Args>) -> BoxFuture<'static, Answers<Option<bool>>> {
    Box::pin(async move {
        // On Postgres somebody may hold the row, and only who asked waits for that: not the place of a group.
        if db.kind() == Kind::Sqlite
            && asked.len() == 1
            && let Some(values) = asked.pop()
        {
            return Ok(vec![Ok(Some(writer.execute_alone(ROTATE, values).await? > 0))]);
        }
        together::written(&mut writer, ROTATE_TOGETHER, "id", asked).await
    })
}

/// [`end`] for many, on Postgres. `None`: to be tried alone.
pub(super) fn end_together(_: Db, mut writer: Tx, asked: Vec<Args>) -> BoxFuture<'static, Answers<Option<bool>>> {
    Box::pin(async move { together::written(&mut writer, END_TOGETHER, "id", asked).await })
}

/// Ends a family and its grant, and with it every token issued from that (RFC 7009 §2.1). `false`, and no event, if they had ended
/// before or are gone.
pub async fn end(db: &Db, id: Uuid, because: &'static str, now: Timestamp, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
    if let Some(event) = event {
        let mut row = args![id, now, because];
        row.extend(audit::values(event));
        if let Some(ended) = db.written(Rows { sql: END_TOGETHER, key: "id" }, &db.shared().endings, row).await? {
            return Ok(ended);
        }
    }
    if let (Kind::Postgres, Some(event)) = (db.kind(), event) {
        let mut values = args![id, now, because];
        values.extend(audit::lists(db.kind(), std::slice::from_ref(event)));
        return Ok(db.returning(END, values).await?.is_some());
    }
    audited(db, "family.end", event, move |tx| {
        Box::pin(async move {
            // Which grant it is never changes; the grant's row is locked first, as everywhere.
            match tx.optional(GRANT, args![id]).await? {
                Some(row) => grants::end_tx(tx, row.get("grant_id")?, because, now).await,
                None => Ok(0),
            }
        })
    })
    .await
}
