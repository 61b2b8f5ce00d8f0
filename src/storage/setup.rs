//! Applying a set-up file: everything that it names is locked, read, decided on and written in one transaction. One file at a time.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oauth::client::{Client, ClientSecret};
use crate::oauth::resource::Resource;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::db::{Db, Tx};
use crate::storage::error::StoreError;
use crate::storage::groups::{self, Kept};
use crate::storage::owners::{self, Kind, Object, Owned};
use crate::storage::{clients, resources};

/// "setup" in ASCII: the key of the advisory lock.
const POSTGRES_LOCK: i64 = 0x73_6574_7570;

statements! {
    // SQLite's unit of work is alone anyway.
    ONE_AT_A_TIME = Split { sqlite: "SELECT $1 AS alone", postgres: "SELECT pg_advisory_xact_lock($1)" };
}

/// What a file names.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub owner: String,
    pub clients: Vec<String>,
    pub resources: Vec<String>,
    pub groups: Vec<String>,
}

/// What there is, as far as the file is concerned.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// Those that the file names or owns.
    pub clients: BTreeMap<String, Client>,
    /// All of them: a scope has one resource.
    pub resources: Vec<Resource>,
    /// Those that the file names or owns.
    pub groups: BTreeMap<String, Kept>,
    /// What the file owns, and what others own of what it names.
    pub owned: BTreeMap<Object, Owned>,
}

/// What is to be written.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub added_clients: Vec<Client>,
    pub changed_clients: Vec<ChangedClient>,
    /// To be removed when this is done.
    pub suspended_clients: Vec<String>,
    pub removed_resources: Vec<String>,
    pub added_resources: Vec<Resource>,
    pub changed_resources: Vec<Resource>,
    pub added_groups: Vec<Kept>,
    /// Each with the time of its last change before.
    pub changed_groups: Vec<(Kept, Timestamp)>,
    pub owned: Vec<Owned>,
    pub released: Vec<Object>,
    pub events: Vec<AuditEvent>,
}

/// A client with its new metadata, and what becomes of its secrets.
#[derive(Debug, Clone)]
pub struct ChangedClient {
    pub client: Client,
    /// When it was changed last before.
    pub expected: Timestamp,
    pub new_secrets: Vec<ClientSecret>,
    pub ended_secrets: Vec<Uuid>,
    /// It registered itself, and no longer changes itself.
    pub taken_over: bool,
}

/// Reads what `names` says, lets `decide` decide, and writes. Nothing is written if `decide` refuses.
///
/// # Errors
/// Those of `decide` and of the store.
pub async fn apply<T, E>(
    db: &Db,
    names: Names,
    now: Timestamp,
    decide: impl FnOnce(Present) -> Result<(Changes, T), E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    db.transaction("setup.apply", move |tx| {
        Box::pin(async move {
            let owner = names.owner.clone();
            let present = read(tx, names).await?;
            let (changes, told) = decide(present)?;
            write(tx, &owner, changes, now).await?;
            Ok(told)
        })
    })
    .await
}

async fn read(tx: &mut Tx, names: Names) -> Result<Present, StoreError> {
    tx.all(ONE_AT_A_TIME, args![POSTGRES_LOCK]).await?;
    let mut present = Present::default();
    for owned in owners::of_owner_tx(tx, &names.owner).await? {
        present.owned.insert(owned.object.clone(), owned);
    }
    let clients = names.clients.iter().map(|id| Object::client(id));
    let resources = names.resources.iter().map(|id| Object::resource(id));
    let groups = names.groups.iter().map(|id| Object::group(id));
    // In order, so that nobody waits for what another holds who waits for this one.
    let all: BTreeSet<Object> = clients.chain(resources).chain(groups).chain(present.owned.keys().cloned()).collect();
    for object in all {
        owners::lock_tx(tx, &object).await?;
        if let Some(owned) = owners::find_tx(tx, &object).await? {
            present.owned.insert(object.clone(), owned);
        }
        match object.kind {
            Kind::Client => {
                if let Some(client) = clients::find_tx(tx, &object.id).await? {
                    present.clients.insert(object.id, client);
                }
            }
            // They are all read below.
            Kind::Resource => {}
            Kind::Group => {
                if let Some(kept) = groups::find_tx(tx, &object.id).await? {
                    present.groups.insert(object.id, kept);
                }
            }
        }
    }
    present.resources = resources::all_tx(tx).await?;
    Ok(present)
}

async fn write(tx: &mut Tx, owner: &str, changes: Changes, now: Timestamp) -> Result<(), StoreError> {
    for identifier in &changes.removed_resources {
        resources::remove_tx(tx, identifier).await?;
    }
    // A scope may move from one resource to another: all are taken away before any is given.
    for resource in &changes.changed_resources {
        resources::update_without_scopes_tx(tx, resource, now).await?;
    }
    for resource in &changes.added_resources {
        resources::insert_without_scopes_tx(tx, resource, now).await?;
    }
    for resource in changes.changed_resources.iter().chain(&changes.added_resources) {
        resources::insert_scopes(tx, resource).await?;
    }
    for client in &changes.added_clients {
        clients::insert_tx(tx, client).await?;
    }
    for change in &changes.changed_clients {
        clients::change_tx(tx, change, now).await?;
    }
    for client_id in &changes.suspended_clients {
        clients::suspend_tx(tx, client_id, now).await?;
    }
    for kept in &changes.added_groups {
        groups::insert_tx(tx, kept).await?;
    }
    for (kept, seen) in &changes.changed_groups {
        groups::update_tx(tx, kept, *seen).await?;
    }
    for owned in &changes.owned {
        owners::own_tx(tx, owned, now).await?;
    }
    for object in &changes.released {
        owners::release_tx(tx, object, owner).await?;
    }
    for event in &changes.events {
        audit::insert_tx(tx, event).await?;
    }
    Ok(())
}
