//! Groups and who is in them. A membership is written with the person (`users.group_names`) and turned around by triggers (migration
//! 0009), so the people of a group are found over an index.

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oidc::groups::Group;
use crate::oidc::user::User;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::audited;
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::facts::user;
use crate::storage::owners::{Guard, guarded};
use crate::storage::text::{from_json, to_json};

/// People taken out of a removed group in one unit of work.
const BATCH: u32 = 500;

/// A group as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub group: Group,
    pub created_at: Timestamp,
    /// Moves with every change: an update names the one that it saw.
    pub updated_at: Timestamp,
}

statements! {
    FIND = Both("SELECT document, created_at, updated_at FROM user_groups WHERE identifier = $1");
    LIST = Both("SELECT document, created_at, updated_at FROM user_groups WHERE identifier > $1 ORDER BY identifier LIMIT $2");
    INSERT = Both("INSERT INTO user_groups (identifier, document, created_at, updated_at) VALUES ($1, $2, $3, $4)");
    UPDATE = Both("UPDATE user_groups SET document = $2, updated_at = $3 WHERE identifier = $1 AND updated_at = $4");
    DELETE = Both("DELETE FROM user_groups WHERE identifier = $1 AND updated_at = $2");
    MEMBERS = Both(concat!("SELECT ", user_columns!(), " FROM memberships m JOIN users u ON u.id = m.user_id
                            WHERE m.identifier = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3"));
    ROLES = Both("SELECT g.document FROM memberships m JOIN user_groups g ON g.identifier = m.identifier WHERE m.user_id = $1");
    // By id, so that two of them never wait for each other.
    LEAVE = Split {
        sqlite: "UPDATE users SET updated_at = $2, group_names = (SELECT json_group_array(value) FROM json_each(group_names) WHERE value <> $1)
                 WHERE id IN (SELECT user_id FROM memberships WHERE identifier = $1 ORDER BY user_id LIMIT $3)",
        postgres: "UPDATE users SET updated_at = $2, group_names =
                       (SELECT COALESCE(json_agg(held), '[]')::text FROM json_array_elements_text(group_names::json) AS held WHERE held <> $1)
                   WHERE id IN (SELECT u.id FROM memberships m JOIN users u ON u.id = m.user_id
                                WHERE m.identifier = $1 ORDER BY u.id LIMIT $3 FOR NO KEY UPDATE OF u)",
    };
}

/// One group.
pub async fn find(db: &Db, identifier: &str) -> Result<Option<Kept>, StoreError> {
    db.optional(FIND, args![identifier]).await?.as_ref().map(read).transpose()
}

/// Groups in the order of their identifiers, after the one named `after`.
pub async fn list(db: &Db, limit: u32, after: Option<&str>) -> Result<Vec<Kept>, StoreError> {
    db.all(LIST, args![after.unwrap_or_default(), limit]).await?.iter().map(read).collect()
}

/// The people who name this group, in the order of their ids, after the one with the id `after`. There need not be such a group.
pub async fn members(db: &Db, identifier: &str, limit: u32, after: Option<Uuid>) -> Result<Vec<User>, StoreError> {
    db.all(MEMBERS, args![identifier, after.unwrap_or(Uuid::nil()), limit]).await?.iter().map(user).collect()
}

/// The roles of all groups of a person, in no order, some perhaps twice.
pub async fn roles_of(db: &Db, user_id: Uuid) -> Result<Vec<String>, StoreError> {
    let groups = db.all(ROLES, args![user_id]).await?;
    let roles = groups.iter().map(|row| Ok(from_json::<Group>(&row.get::<String>("document")?)?.roles));
    Ok(roles.collect::<Result<Vec<_>, StoreError>>()?.concat())
}

/// Adds a group.
///
/// # Errors
/// [`StoreError::Conflict`] if the identifier is taken.
pub async fn insert(db: &Db, kept: &Kept, event: &AuditEvent) -> Result<(), StoreError> {
    let values = args![&kept.group.identifier, to_json(&kept.group)?, kept.created_at, kept.updated_at];
    audited(db, "group.insert", Some(event), move |tx| Box::pin(async move { tx.execute(INSERT, values).await })).await.map(drop)
}

/// Writes a group if nobody has changed it since `seen`; `false` if somebody has, or it is gone.
pub async fn update(db: &Db, kept: &Kept, seen: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![&kept.group.identifier, to_json(&kept.group)?, kept.updated_at, seen];
    let guard = Guard::group(&kept.group.identifier);
    guarded(db, "group.update", guard, Some(event), move |tx| Box::pin(async move { tx.execute(UPDATE, values).await })).await
}

/// See [`find`].
pub(super) async fn find_tx(tx: &mut Tx, identifier: &str) -> Result<Option<Kept>, StoreError> {
    tx.optional(FIND, args![identifier]).await?.as_ref().map(read).transpose()
}

/// See [`insert`].
pub(super) async fn insert_tx(tx: &mut Tx, kept: &Kept) -> Result<(), StoreError> {
    let values = args![&kept.group.identifier, to_json(&kept.group)?, kept.created_at, kept.updated_at];
    tx.execute(INSERT, values).await.map(drop)
}

/// See [`update`].
///
/// # Errors
/// [`StoreError::Conflict`] if somebody has changed it since `seen`.
pub(super) async fn update_tx(tx: &mut Tx, kept: &Kept, seen: Timestamp) -> Result<(), StoreError> {
    let values = args![&kept.group.identifier, to_json(&kept.group)?, kept.updated_at, seen];
    match tx.execute(UPDATE, values).await? {
        0 => Err(StoreError::Conflict(format!("the group {:?}", kept.group.identifier))),
        _ => Ok(()),
    }
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Done,
    /// There was neither a group nor anybody in it.
    Nothing,
    /// Somebody else has changed, added or removed it since it was read.
    Changed,
}

/// Removes the group that was `seen` in this state, or what is left of one that nobody described: at once the roles that it carried, then
/// its people, some at a time, so that no other write waits long. If that is interrupted, removing it once more goes on.
pub async fn remove(
    db: &Db,
    identifier: &str,
    seen: Option<Timestamp>,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<Removal, StoreError> {
    remove_by(db, None, identifier, seen, (now, event)).await
}

/// As [`remove`], in the name of a set-up file if one is named.
pub async fn remove_by(
    db: &Db,
    file: Option<&str>,
    identifier: &str,
    seen: Option<Timestamp>,
    (now, event): (Timestamp, &AuditEvent),
) -> Result<Removal, StoreError> {
    let guard = Guard::group(identifier).by(file);
    let (name, event) = (identifier.to_owned(), event.clone());
    let removal = db
        .transaction("group.remove", move |tx| {
            Box::pin(async move {
                guard.pass(tx).await?;
                let described = match seen {
                    Some(seen) => tx.execute(DELETE, args![&name, seen]).await? > 0,
                    None => tx.optional(FIND, args![&name]).await?.is_some(),
                };
                if described != seen.is_some() {
                    return Ok::<_, StoreError>(Removal::Changed);
                }
                let left = tx.execute(LEAVE, args![&name, now, BATCH]).await?;
                if !described && left == 0 {
                    return Ok(Removal::Nothing);
                }
                audit::insert_tx(tx, &event).await?;
                Ok(Removal::Done)
            })
        })
        .await?;
    if removal == Removal::Done {
        while db.execute(LEAVE, args![identifier, now, BATCH]).await? > 0 {}
    }
    Ok(removal)
}

fn read(row: &Row) -> Result<Kept, StoreError> {
    Ok(Kept { group: from_json(row.get("document")?)?, created_at: row.get("created_at")?, updated_at: row.get("updated_at")? })
}
