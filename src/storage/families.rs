//! Refresh-token families: one row each, for ever (design 4.2). Rotating is a single conditional UPDATE that repeats what was read.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::family::Family;
use crate::oauth::grant::FamilyFacts;
use crate::storage::audit::AuditEvent;
use crate::storage::db::{Db, Tx};
use crate::storage::error::StoreError;
use crate::storage::{Args, audited, facts, grants};

/// What [`rotate`] needs: the family as it was read, and as the decision leaves it.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub before: Family,
    pub after: Family,
    pub now: Timestamp,
}

statements! {
    FIND = Both(concat!("SELECT ", standing_columns!(), ", ", family_columns!(), " FROM families f JOIN grants g ON g.id = f.grant_id",
                 standing_joins!(), "WHERE f.id = $1"));
    INSERT = Both("INSERT INTO families (id, grant_id, client_id, salt, key_id, generation, previous, previous_redeemed_at, burst_first,
                                         burst_recovered, burst_started_at, created_at, last_used_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)");
    // Last use never moves back: of two that share a burst, the later one may be written first.
    ROTATE = Both(concat!("UPDATE families SET generation = $2, previous = $3, previous_redeemed_at = $4, burst_first = $5,
                              burst_recovered = $6, burst_started_at = $7,
                              last_used_at = CASE WHEN last_used_at > $8 THEN last_used_at ELSE $8 END
                           WHERE id = $1 AND ended_at IS NULL AND expires_at > $9
                             AND generation = $10 AND previous = $11 AND previous_redeemed_at IS NOT DISTINCT FROM $12
                             AND burst_first = $13 AND burst_recovered = $14 AND burst_started_at IS NOT DISTINCT FROM $15 AND ",
                          grant_stands!("families.grant_id", "$9")));
    GRANT = Both("SELECT grant_id FROM families WHERE id = $1");
}

/// The family, its grant, and everybody on whom it depends. Ended families too.
pub async fn find(db: &Db, id: Uuid) -> Result<Option<FamilyFacts>, StoreError> {
    let Some(row) = db.optional(FIND, args![id]).await? else { return Ok(None) };
    let standing = facts::standing(&row)?;
    Ok(facts::family(&row)?.map(|family| FamilyFacts { family, standing }))
}

/// What [`with_family`] binds of a family that begins: all but its grant and its client, which are those of the code.
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

/// Adds a family as part of a unit of work.
pub async fn insert_tx(tx: &mut Tx, family: &Family) -> Result<(), StoreError> {
    let values = args![
        family.id,
        family.grant_id,
        &family.client_id,
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
    ];
    tx.execute(INSERT, values).await.map(drop)
}

/// Applies a decision about a refresh token, also the ones that leave the generation as it is. `false`, and nothing is written, if the
/// family moved on or anything else that the decision rested on has changed: then read it again and decide once more.
pub async fn rotate(db: &Db, rotation: Rotation) -> Result<bool, StoreError> {
    let Rotation { before, after, now } = rotation;
    let values = args![
        before.id,
        after.generation,
        after.previous,
        after.previous_redeemed_at,
        after.burst_first,
        after.burst_recovered,
        after.burst_started_at,
        after.last_used_at,
        now,
        before.generation,
        before.previous,
        before.previous_redeemed_at,
        before.burst_first,
        before.burst_recovered,
        before.burst_started_at
    ];
    Ok(db.execute(ROTATE, values).await? > 0)
}

/// Ends a family and its grant, and with it every token issued from that (RFC 7009 §2.1). `false`, and no event, if they had ended
/// before or are gone.
pub async fn end(db: &Db, id: Uuid, because: &'static str, now: Timestamp, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
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
