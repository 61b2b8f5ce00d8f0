//! Declarative set-up: one TOML file says which clients, resources and groups there are, `chancery plan` shows what is different, and `chancery
//! apply` makes it so.
//!
//! What a file has made or adopted it owns: nobody else changes it (`storage::owners`). Everything that is added or changed is one
//! transaction, decided on what the transaction itself has read, and only one file is applied at a time: a plan and what is done never
//! differ. Only removing a client or a group comes after it, since a big one takes several units of work; a client is switched off until it
//! is gone, and still the file's, so that applying the file once more goes on where it stopped.

mod file;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::ConfigErrors;
use crate::entropy::{self, Entropy};
use crate::service::operator::{OperationError, Operator};
use crate::service::{clients, groups, keys};
use crate::storage::audit::AuditEvent;
use crate::storage::groups::Removal;
use crate::storage::owners::{self, Kind};
use crate::storage::{Db, StoreError, clients as client_store, groups as group_store, setup as store};

pub use file::SetupFile;
pub use plan::{Action, Member, Plan, Step};

/// What the one who applies a file has asked for beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// Take over what exists and belongs to no file.
    pub adopt: bool,
    /// Remove what the file owned and does not name any more.
    pub prune: bool,
    /// Give up what the file owned and does not name any more, as it is.
    pub release: bool,
}

/// Why a file was not applied. Nothing of it was done, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file, line by line.
    #[error(transparent)]
    File(#[from] ConfigErrors),
    #[error(transparent)]
    Operation(#[from] OperationError),
    #[error(
        "everything of the file is applied but for the removal of the {kind} {id:?}: {why}; a client is switched off until it is gone, and applying the file with --prune once more goes on"
    )]
    NotRemoved { kind: &'static str, id: String, why: String },
}

impl From<StoreError> for SetupError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(what) => {
                Self::Operation(OperationError::Conflict(format!("something else was changed just now ({what}); try again")))
            }
            other => Self::Operation(other.into()),
        }
    }
}

/// What [`apply`] would do. Changes nothing.
///
/// # Errors
/// Whatever would keep the file from being applied.
pub async fn plan(operator: &Operator<'_>, file: SetupFile, wishes: Wishes) -> Result<Plan, SetupError> {
    let author = Author::of(operator, &file, Arc::new(entropy::SystemEntropy));
    let issuer = operator.config.issuer.as_str().to_owned();
    store::apply(operator.db, file.names(), operator.now, move |present| {
        let (plan, _) = plan::decide(&file, present, wishes, &issuer, &author)?;
        Ok::<_, SetupError>((store::Changes::default(), plan))
    })
    .await
}

/// Makes it so.
///
/// # Errors
/// Whatever keeps the file from being applied.
pub async fn apply(
    operator: &Operator<'_>,
    entropy: Arc<dyn Entropy>,
    file: SetupFile,
    wishes: Wishes,
) -> Result<Plan, SetupError> {
    let author = Author::of(operator, &file, entropy);
    let issuer = operator.config.issuer.as_str().to_owned();
    let owner = file.owner.clone();
    keys::want(operator.db, file.signing_algs(), operator.now).await?;
    let (decider, names) = (author.clone(), file.names());
    let plan = store::apply(operator.db, names, operator.now, move |present| {
        let (plan, changes) = plan::decide(&file, present, wishes, &issuer, &decider)?;
        Ok::<_, SetupError>((changes, plan))
    })
    .await?;
    for step in plan.steps.iter().filter(|step| step.action == Action::Remove) {
        let id = &step.object.id;
        let removed = match step.object.kind {
            Kind::Client => {
                let Some(client) = client_store::find(operator.db, id).await? else { continue };
                let event = author.event("client.remove", id, Some(clients::show(&client)), None);
                client_store::remove_by(operator.db, Some(&owner), id, operator.now, &event).await.map(drop)
            }
            Kind::Group => {
                let Some(kept) = group_store::find(operator.db, id).await? else { continue };
                let event = author.event("group.remove", id, Some(groups::show(&kept)), None);
                let seen = Some(kept.updated_at);
                match group_store::remove_by(operator.db, Some(&owner), id, seen, (operator.now, &event)).await {
                    Ok(Removal::Done | Removal::Nothing) => Ok(()),
                    Ok(Removal::Changed) => Err(StoreError::Conflict("somebody else changed it just now".to_owned())),
                    Err(error) => Err(error),
                }
            }
            // Gone with the rest.
            Kind::Resource => continue,
        };
        removed.map_err(|error| SetupError::NotRemoved {
            kind: step.object.kind.as_str(),
            id: id.clone(),
            why: error.to_string(),
        })?;
    }
    Ok(plan)
}

/// What is shown of objects of one kind, with `owner` beside what a file owns; `id` is the member that names each.
///
/// # Errors
/// When the database does not answer.
pub async fn marked(db: &Db, kind: Kind, id: &str, mut shown: Vec<Value>) -> Result<Vec<Value>, StoreError> {
    let owned = owners::of_kind(db, kind).await?;
    let owners: HashMap<&str, &str> = owned.iter().map(|owned| (owned.object.id.as_str(), owned.owner.as_str())).collect();
    for members in shown.iter_mut().filter_map(Value::as_object_mut) {
        let owner = members.get(id).and_then(Value::as_str).and_then(|id| owners.get(id));
        if let Some(owner) = owner {
            members.insert("owner".to_owned(), Value::from(*owner));
        }
    }
    Ok(shown)
}

/// In whose name audit events are written: the file's.
#[derive(Clone)]
struct Author {
    entropy: Arc<dyn Entropy>,
    now: Timestamp,
    actor: String,
    trace_id: Option<String>,
}

impl Author {
    fn of(operator: &Operator<'_>, file: &SetupFile, entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, now: operator.now, actor: format!("setup:{}", file.owner), trace_id: operator.trace_id.clone() }
    }

    fn row_id(&self) -> uuid::Uuid {
        entropy::row_id(self.entropy.as_ref(), self.now)
    }

    fn event(&self, action: &'static str, target: &str, was: Option<Value>, is_now: Option<Value>) -> AuditEvent {
        AuditEvent {
            id: self.row_id(),
            at: self.now,
            actor: self.actor.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            was: was.map(|value| value.to_string()),
            is_now: is_now.map(|value| value.to_string()),
            trace_id: self.trace_id.clone(),
        }
    }
}
