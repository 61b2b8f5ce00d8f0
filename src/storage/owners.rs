//! What a set-up file keeps (`chancery apply`), and the guard that lets nobody else change it. The guard stands in the transaction of the
//! change, behind the lock of the object's row, so that a file that takes an object over and somebody who changes it take turns.

use futures_util::future::BoxFuture;

use crate::args;
use crate::clock::Timestamp;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::db::{Db, Row, Tx};
use crate::storage::error::StoreError;

/// What a set-up file can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Client,
    Resource,
    Group,
}

impl Kind {
    /// As it is stored and as people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Resource => "resource",
            Self::Group => "group",
        }
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        match text {
            "client" => Ok(Self::Client),
            "resource" => Ok(Self::Resource),
            "group" => Ok(Self::Group),
            other => Err(StoreError::Schema(format!("a set-up file keeps a {other}, which this version does not know"))),
        }
    }
}

/// One thing by its name: `client_id`, or the `identifier` of a resource or a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    pub kind: Kind,
    pub id: String,
}

impl Object {
    /// The client with this id.
    pub fn client(id: &str) -> Self {
        Self { kind: Kind::Client, id: id.to_owned() }
    }

    /// The resource with this identifier.
    pub fn resource(identifier: &str) -> Self {
        Self { kind: Kind::Resource, id: identifier.to_owned() }
    }

    /// The group with this identifier.
    pub fn group(identifier: &str) -> Self {
        Self { kind: Kind::Group, id: identifier.to_owned() }
    }
}

/// That a file keeps an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub object: Object,
    /// The file's `name`.
    pub owner: String,
    /// Of a client: its secrets too.
    pub secrets: bool,
}

/// What a change touches, and in whose name it is made.
#[derive(Debug, Clone)]
pub struct Guard {
    object: Object,
    /// A client's secrets alone, which a file may leave to others.
    secrets: bool,
    by: Option<String>,
}

impl Guard {
    /// A change of a client.
    pub fn client(client_id: &str) -> Self {
        Self { object: Object::client(client_id), secrets: false, by: None }
    }

    /// A change of a client's secrets.
    pub fn secrets(client_id: &str) -> Self {
        Self { secrets: true, ..Self::client(client_id) }
    }

    /// A change of a resource.
    pub fn resource(identifier: &str) -> Self {
        Self { object: Object::resource(identifier), secrets: false, by: None }
    }

    /// A change of a group. Who is in it is the people's, not the group's.
    pub fn group(identifier: &str) -> Self {
        Self { object: Object::group(identifier), secrets: false, by: None }
    }

    /// In the name of a set-up file, if one is named.
    #[must_use]
    pub fn by(self, file: Option<&str>) -> Self {
        Self { by: file.map(str::to_owned), ..self }
    }

    /// # Errors
    /// [`StoreError::Owned`] if `owned` says that another file keeps what is to be changed.
    pub fn check(&self, owned: Option<&Owned>) -> Result<(), StoreError> {
        match owned {
            Some(owned) if self.by.as_deref() != Some(owned.owner.as_str()) && (owned.secrets || !self.secrets) => {
                Err(StoreError::Owned { kind: owned.object.kind.as_str(), id: owned.object.id.clone(), owner: owned.owner.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes the lock of the object's row and checks, as the first thing of a unit of work.
    ///
    /// # Errors
    /// As [`Guard::check`].
    pub(super) async fn pass(&self, tx: &mut Tx) -> Result<(), StoreError> {
        lock_tx(tx, &self.object).await?;
        self.check(find_tx(tx, &self.object).await?.as_ref())
    }

    /// Refuses early what [`guarded`] would refuse: before documents are read that only the owner may send.
    ///
    /// # Errors
    /// As [`Guard::check`].
    pub async fn ask(&self, db: &Db) -> Result<(), StoreError> {
        self.check(find(db, &self.object).await?.as_ref())
    }
}

statements! {
    // Taken before the owner is read: a file that takes the object over holds the same lock. Sign-ins, which need a client to stay, go on.
    LOCK_CLIENT = Split {
        sqlite: "SELECT client_id FROM clients WHERE client_id = $1",
        postgres: "SELECT client_id FROM clients WHERE client_id = $1 FOR NO KEY UPDATE",
    };
    LOCK_RESOURCE = Split {
        sqlite: "SELECT identifier FROM resources WHERE identifier = $1",
        postgres: "SELECT identifier FROM resources WHERE identifier = $1 FOR UPDATE",
    };
    LOCK_GROUP = Split {
        sqlite: "SELECT identifier FROM user_groups WHERE identifier = $1",
        postgres: "SELECT identifier FROM user_groups WHERE identifier = $1 FOR UPDATE",
    };
    FIND = Both("SELECT kind, id, owner, secrets FROM owned_objects WHERE kind = $1 AND id = $2");
    OF_KIND = Both("SELECT kind, id, owner, secrets FROM owned_objects WHERE kind = $1 ORDER BY id");
    OF_OWNER = Both("SELECT kind, id, owner, secrets FROM owned_objects WHERE owner = $1 ORDER BY kind, id");
    OWN = Both("INSERT INTO owned_objects (kind, id, owner, secrets, since) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (kind, id) DO UPDATE SET owner = excluded.owner, secrets = excluded.secrets");
    RELEASE = Both("DELETE FROM owned_objects WHERE kind = $1 AND id = $2 AND owner = $3");
}

/// Who keeps the object, if anybody.
pub async fn find(db: &Db, object: &Object) -> Result<Option<Owned>, StoreError> {
    db.optional(FIND, args![object.kind.as_str(), &object.id]).await?.as_ref().map(read).transpose()
}

/// Everything of one kind that some file keeps.
pub async fn of_kind(db: &Db, kind: Kind) -> Result<Vec<Owned>, StoreError> {
    db.all(OF_KIND, args![kind.as_str()]).await?.iter().map(read).collect()
}

/// See [`find`].
pub async fn find_tx(tx: &mut Tx, object: &Object) -> Result<Option<Owned>, StoreError> {
    tx.optional(FIND, args![object.kind.as_str(), &object.id]).await?.as_ref().map(read).transpose()
}

/// Everything that one file keeps.
pub async fn of_owner_tx(tx: &mut Tx, owner: &str) -> Result<Vec<Owned>, StoreError> {
    tx.all(OF_OWNER, args![owner]).await?.iter().map(read).collect()
}

/// Takes the lock of an object's row.
pub async fn lock_tx(tx: &mut Tx, object: &Object) -> Result<(), StoreError> {
    let statement = match object.kind {
        Kind::Client => LOCK_CLIENT,
        Kind::Resource => LOCK_RESOURCE,
        Kind::Group => LOCK_GROUP,
    };
    tx.all(statement, args![&object.id]).await.map(drop)
}

/// Gives an object to a file, or changes how much of it the file keeps.
pub async fn own_tx(tx: &mut Tx, owned: &Owned, now: Timestamp) -> Result<(), StoreError> {
    let values = args![owned.object.kind.as_str(), &owned.object.id, &owned.owner, owned.secrets, now];
    tx.execute(OWN, values).await.map(drop)
}

/// Leaves an object to whoever may change it.
pub async fn release_tx(tx: &mut Tx, object: &Object, owner: &str) -> Result<(), StoreError> {
    tx.execute(RELEASE, args![object.kind.as_str(), &object.id, owner]).await.map(drop)
}

/// A change and the audit event that tells of it, in one unit of work; no event if `change` found nothing to change (answered 0).
///
/// # Errors
/// [`StoreError::Owned`] if a set-up file keeps the object and the change is not made in its name.
pub(super) async fn guarded(
    db: &Db,
    name: &'static str,
    guard: Guard,
    event: Option<&AuditEvent>,
    change: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<u64, StoreError>> + Send + 'static,
) -> Result<bool, StoreError> {
    let event = event.cloned();
    db.transaction(name, move |tx| {
        Box::pin(async move {
            guard.pass(tx).await?;
            let changed = change(tx).await? > 0;
            if changed && let Some(event) = &event {
                audit::insert_tx(tx, event).await?;
            }
            Ok(changed)
        })
    })
    .await
}

fn read(row: &Row) -> Result<Owned, StoreError> {
    Ok(Owned {
        object: Object { kind: Kind::read(&row.get::<String>("kind")?)?, id: row.get("id")? },
        owner: row.get("owner")?,
        secrets: row.get("secrets")?,
    })
}
