//! Resources (APIs) and their scopes. That every scope belongs to one resource (design 4.4) is a primary key.

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::resource::Resource;
use crate::storage::audit::AuditEvent;
use crate::storage::audited;
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;
use crate::storage::owners::{Guard, guarded};
use crate::storage::text::{from_json, to_json};

statements! {
    ALL = Both("SELECT identifier, document FROM resources ORDER BY identifier");
    FIND = Both("SELECT document, updated_at FROM resources WHERE identifier = $1");
    INSERT = Both("INSERT INTO resources (identifier, document, created_at, updated_at) VALUES ($1, $2, $3, $3)");
    // updated_at moves with every change, even twice in one microsecond: who knows it knows the state.
    UPDATE = Both("UPDATE resources SET document = $2, updated_at = CASE WHEN $3 > updated_at THEN $3 ELSE updated_at + 1 END
                   WHERE identifier = $1 AND (CAST($4 AS BIGINT) IS NULL OR updated_at = $4)");
    DELETE = Both("DELETE FROM resources WHERE identifier = $1 AND (CAST($2 AS BIGINT) IS NULL OR updated_at = $2)");
    INSERT_SCOPE = Both("INSERT INTO resource_scopes (scope, identifier) VALUES ($1, $2)");
    DELETE_SCOPES = Both("DELETE FROM resource_scopes WHERE identifier = $1");
}

/// Every resource, by identifier.
pub async fn all(db: &Db) -> Result<Vec<Resource>, StoreError> {
    db.all(ALL, args![]).await?.iter().map(read).collect()
}

/// All resources that this program knows how to serve, and the identifiers of those that a newer version has written.
pub async fn all_known(db: &Db) -> Result<(Vec<Resource>, Vec<String>), StoreError> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for row in db.all(ALL, args![]).await? {
        match read(&row) {
            Ok(resource) => known.push(resource),
            Err(StoreError::NewerVersion(_)) => unknown.push(row.get("identifier")?),
            Err(error) => return Err(error),
        }
    }
    Ok((known, unknown))
}

/// One resource.
pub async fn find(db: &Db, identifier: &str) -> Result<Option<Resource>, StoreError> {
    db.optional(FIND, args![identifier]).await?.as_ref().map(read).transpose()
}

/// One resource, and when it was changed last.
pub async fn find_seen(db: &Db, identifier: &str) -> Result<Option<(Resource, Timestamp)>, StoreError> {
    let row = db.optional(FIND, args![identifier]).await?;
    row.map(|row| Ok((read(&row)?, row.get("updated_at")?))).transpose()
}

/// Adds a resource.
///
/// # Errors
/// [`StoreError::Conflict`] if the identifier is taken or a scope belongs to another resource.
pub async fn insert(db: &Db, resource: &Resource, now: Timestamp, event: &AuditEvent) -> Result<(), StoreError> {
    let resource = resource.clone();
    audited(db, "resource.insert", Some(event), move |tx| {
        Box::pin(async move {
            insert_without_scopes_tx(tx, &resource, now).await?;
            insert_scopes(tx, &resource).await?;
            Ok(1)
        })
    })
    .await
    .map(drop)
}

/// Replaces a resource; `false` if there is none with this identifier.
///
/// # Errors
/// [`StoreError::Conflict`] if a scope belongs to another resource.
pub async fn update(db: &Db, resource: &Resource, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    replace(db, resource, None, now, event).await
}

/// As [`update`]; `false` also if somebody changed it since `expected`.
pub async fn update_seen(
    db: &Db,
    resource: &Resource,
    expected: Timestamp,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    replace(db, resource, Some(expected), now, event).await
}

async fn replace(
    db: &Db,
    resource: &Resource,
    expected: Option<Timestamp>,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let resource = resource.clone();
    guarded(db, "resource.update", Guard::resource(&resource.identifier), Some(event), move |tx| {
        Box::pin(async move {
            let changed = tx.execute(UPDATE, args![&resource.identifier, to_json(&resource)?, now, expected]).await?;
            if changed > 0 {
                tx.execute(DELETE_SCOPES, args![&resource.identifier]).await?;
                insert_scopes(tx, &resource).await?;
            }
            Ok(changed)
        })
    })
    .await
}

/// See [`all`].
pub(super) async fn all_tx(tx: &mut Tx) -> Result<Vec<Resource>, StoreError> {
    tx.all(ALL, args![]).await?.iter().map(read).collect()
}

/// Its scopes are to follow by [`insert_scopes`].
pub(super) async fn insert_without_scopes_tx(tx: &mut Tx, resource: &Resource, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(INSERT, args![&resource.identifier, to_json(resource)?, now]).await.map(drop)
}

/// Its scopes are to follow by [`insert_scopes`].
pub(super) async fn update_without_scopes_tx(tx: &mut Tx, resource: &Resource, now: Timestamp) -> Result<(), StoreError> {
    // In whatever state: its row is locked.
    tx.execute(UPDATE, args![&resource.identifier, to_json(resource)?, now, Option::<Timestamp>::None]).await?;
    tx.execute(DELETE_SCOPES, args![&resource.identifier]).await.map(drop)
}

/// See [`remove`].
pub(super) async fn remove_tx(tx: &mut Tx, identifier: &str) -> Result<(), StoreError> {
    tx.execute(DELETE, args![identifier, Option::<Timestamp>::None]).await.map(drop)
}

/// Removes a resource and its scopes; `false` if there is none.
pub async fn remove(db: &Db, identifier: &str, event: &AuditEvent) -> Result<bool, StoreError> {
    take_away(db, identifier, None, event).await
}

/// As [`remove`]; `false` also if somebody changed it since `expected`.
pub async fn remove_seen(db: &Db, identifier: &str, expected: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    take_away(db, identifier, Some(expected), event).await
}

async fn take_away(db: &Db, identifier: &str, expected: Option<Timestamp>, event: &AuditEvent) -> Result<bool, StoreError> {
    let values = args![identifier, expected];
    guarded(db, "resource.remove", Guard::resource(identifier), Some(event), move |tx| {
        Box::pin(async move { tx.execute(DELETE, values).await })
    })
    .await
}

/// Gives a resource its scopes.
///
/// # Errors
/// [`StoreError::Conflict`] if one belongs to another resource.
pub(super) async fn insert_scopes(tx: &mut Tx, resource: &Resource) -> Result<(), StoreError> {
    for scope in &resource.scopes {
        tx.execute(INSERT_SCOPE, args![&scope.name, &resource.identifier]).await?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<Resource, StoreError> {
    from_json(row.get("document")?)
}
