//! What is different between the file and what there is, and what is to be written. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::file::{SetupFile, WantedClient, WantedGroup, WantedResource};
use super::{Author, SetupError, Wishes};
use crate::config::{ConfigError, ConfigErrors};
use crate::oauth::client::{Client, ClientSecret};
use crate::oauth::resource::{self, Catalogue, Resource};
use crate::secret::Digest;
use crate::service::document::{DocumentError, check_shown};
use crate::service::groups::{self, Kept};
use crate::service::{clients, resources};
use crate::storage::owners::{Guard, Kind, Object, Owned};
use crate::storage::setup::{ChangedClient, Changes, Present};

/// What a file would change.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The file's `name`.
    pub owner: String,
    pub steps: Vec<Step>,
    /// What is worth knowing beside it.
    pub notes: Vec<String>,
}

/// What becomes of one object.
#[derive(Debug, Clone)]
pub struct Step {
    pub object: Object,
    pub action: Action,
    /// What is different; of an object that is new or goes, nothing.
    pub members: Vec<Member>,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Create,
    Change,
    /// Taken over from whoever made it by hand, and changed where it differs.
    Adopt,
    Remove,
    /// Given up as it is.
    Release,
    /// Nothing: the file owns it, and does not name it any more.
    Leave,
}

/// One member that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub name: String,
    /// Null where there was none.
    pub was: Value,
    pub is_now: Value,
}

impl Action {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Adopt => "adopt",
            Self::Remove => "remove",
            Self::Release => "release",
            Self::Leave => "leave",
        }
    }
}

impl Plan {
    /// Is everything as the file says?
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.action == Action::Leave)
    }
}

/// Compares the file with what there is.
pub(super) fn decide(
    file: &SetupFile,
    present: Present,
    wishes: Wishes,
    issuer: &str,
    author: &Author,
) -> Result<(Plan, Changes), SetupError> {
    let mut decider = Decider {
        owner: &file.owner,
        present: &present,
        wishes,
        author,
        plan: Plan { owner: file.owner.clone(), ..Plan::default() },
        changes: Changes::default(),
        errors: Vec::new(),
    };
    let catalogue = decider.catalogue(file, issuer);
    for wanted in &file.resources {
        decider.resource(wanted, &catalogue);
    }
    for wanted in &file.clients {
        decider.client(wanted);
        decider.unknown_scopes(wanted, &catalogue);
    }
    for wanted in &file.groups {
        decider.group(wanted);
    }
    let named: BTreeSet<Object> = file.objects().collect();
    for owned in present.owned.values().filter(|owned| owned.owner == file.owner && !named.contains(&owned.object)) {
        decider.no_longer_named(&owned.object);
    }
    let Decider { plan, changes, errors, .. } = decider;
    if errors.is_empty() { Ok((plan, changes)) } else { Err(ConfigErrors(errors).into()) }
}

struct Decider<'a> {
    owner: &'a str,
    present: &'a Present,
    wishes: Wishes,
    author: &'a Author,
    plan: Plan,
    changes: Changes,
    errors: Vec<ConfigError>,
}

/// What may be done to an object that exists.
enum Claim {
    Ours,
    Adopted,
}

impl Decider<'_> {
    /// All resources as they will be.
    fn catalogue(&self, file: &SetupFile, issuer: &str) -> Catalogue {
        let named: BTreeSet<&str> = file.resources.iter().map(|wanted| wanted.resource.identifier.as_str()).collect();
        let goes = |identifier: &str| {
            let owned = self.present.owned.get(&Object::resource(identifier));
            self.wishes.prune && owned.is_some_and(|owned| owned.owner == self.owner)
        };
        let stay = self.present.resources.iter().filter(|present| {
            let identifier = present.identifier.as_str();
            !named.contains(identifier) && !goes(identifier)
        });
        let wanted = file.resources.iter().map(|wanted| &wanted.resource);
        Catalogue::new(stay.chain(wanted).cloned().collect(), issuer)
    }

    fn resource(&mut self, wanted: &WantedResource, catalogue: &Catalogue) {
        let after = match resource::validate(wanted.resource.clone(), catalogue) {
            Ok(after) => after,
            Err(error) => {
                self.errors.push(wanted.at.error(&error.into()));
                return;
            }
        };
        let object = Object::resource(&after.identifier);
        let before = self.present.resources.iter().find(|present| present.identifier == after.identifier);
        if let Err(error) = check_shown(&resources::show(&after), before.map(resources::show).as_ref()) {
            self.errors.push(wanted.at.error(&error));
            return;
        }
        let Some(before) = before else {
            self.event("resource.add", &object.id, None, Some(resources::show(&after)));
            self.changes.added_resources.push(after);
            self.own(&object, false);
            return self.step(object, Action::Create, Vec::new());
        };
        let Some(claim) = self.claim(&object, &wanted.at) else { return };
        let members = differences(&comparable(before), &comparable(&after));
        if !members.is_empty() {
            self.event("resource.update", &object.id, Some(resources::show(before)), Some(resources::show(&after)));
            self.changes.changed_resources.push(after);
        }
        self.kept(object, claim, false, members);
    }

    fn client(&mut self, wanted: &WantedClient) {
        let object = Object::client(&wanted.client_id);
        let now = self.author.now;
        let enabled = wanted.document.enabled.unwrap_or(true);
        let metadata = wanted.document.metadata.clone();
        let Some(before) = self.present.clients.get(&wanted.client_id) else {
            let digests = wanted.secrets.iter().flatten();
            let client = Client {
                client_id: wanted.client_id.clone(),
                metadata,
                enabled,
                secrets: digests.map(|digest| self.secret(*digest)).collect(),
                tokens_not_before: None,
                metadata_version: 1,
                registered: None,
                created_at: now,
                updated_at: now,
            };
            if client.metadata.token_endpoint_auth_method.has_secret() && wanted.secrets.is_none() {
                self.plan.notes.push(format!(
                    "the client {0:?} has no secret yet; `chancery client rotate-secret {0}` makes one",
                    wanted.client_id
                ));
            }
            self.event("client.add", &object.id, None, Some(clients::show(&client)));
            self.changes.added_clients.push(client);
            self.own(&object, wanted.secrets.is_some());
            return self.step(object, Action::Create, Vec::new());
        };
        let Some(claim) = self.claim(&object, &wanted.at) else { return };
        let live: Vec<&ClientSecret> = before.secrets.iter().filter(|secret| secret.is_live(now)).collect();
        let (mut new_secrets, mut ended_secrets) = (Vec::new(), Vec::new());
        if let Some(digests) = &wanted.secrets {
            let missing = digests.iter().filter(|digest| !live.iter().any(|secret| secret.digest == **digest));
            new_secrets.extend(missing.map(|digest| self.secret(*digest)));
            ended_secrets.extend(live.iter().filter(|secret| !digests.contains(&secret.digest)).map(|secret| secret.id));
        }
        let mut after = Client {
            metadata,
            enabled,
            metadata_version: before.metadata_version + i64::from(clients::asks_again(&before.metadata, &wanted.document.metadata)),
            updated_at: now.max(before.updated_at.plus(Duration::from_micros(1))),
            ..before.clone()
        };
        let mut members = differences(&described(before), &described(&after));
        if !new_secrets.is_empty() || !ended_secrets.is_empty() {
            members.push(Member {
                name: format!("secrets ({} new, {} ended)", new_secrets.len(), ended_secrets.len()),
                was: json!(live.len()),
                is_now: json!(wanted.secrets.as_ref().map_or(0, Vec::len)),
            });
        }
        if !members.is_empty() {
            after.secrets.extend(new_secrets.iter().cloned());
            let taken_over = clients::takes_over(before, &after);
            self.event("client.update", &object.id, Some(clients::show(before)), Some(clients::show_changed(&after, taken_over)));
            let expected = before.updated_at;
            self.changes.changed_clients.push(ChangedClient { client: after, expected, new_secrets, ended_secrets, taken_over });
        }
        self.kept(object, claim, wanted.secrets.is_some(), members);
    }

    fn group(&mut self, wanted: &WantedGroup) {
        let object = Object::group(&wanted.group.identifier);
        let now = self.author.now;
        let before = self.present.groups.get(&wanted.group.identifier);
        let made = Kept { group: wanted.group.clone(), created_at: now, updated_at: now };
        if let Err(error) = check_shown(&groups::show(&made), before.map(groups::show).as_ref()) {
            self.errors.push(wanted.at.error(&error));
            return;
        }
        let Some(before) = before else {
            self.event("group.add", &object.id, None, Some(groups::show(&made)));
            self.changes.added_groups.push(made);
            self.own(&object, false);
            return self.step(object, Action::Create, Vec::new());
        };
        let Some(claim) = self.claim(&object, &wanted.at) else { return };
        let members = differences(&members_of(&before.group), &members_of(&wanted.group));
        if !members.is_empty() {
            let updated_at = now.max(before.updated_at.plus(Duration::from_micros(1)));
            let after = Kept { group: wanted.group.clone(), updated_at, ..before.clone() };
            self.event("group.update", &object.id, Some(groups::show(before)), Some(groups::show(&after)));
            self.changes.changed_groups.push((after, before.updated_at));
        }
        self.kept(object, claim, false, members);
    }

    /// May the file keep an object that exists?
    fn claim(&mut self, object: &Object, at: &super::file::Place) -> Option<Claim> {
        let owned = self.present.owned.get(object);
        if let Err(error) = guard(object).by(Some(self.owner)).check(owned) {
            let hint = "one file owns an object: take it out here, or apply the other file without it and with --release first";
            self.errors.push(at.error(&DocumentError::whole(error.to_string())).hint(hint));
            return None;
        }
        if owned.is_some() {
            return Some(Claim::Ours);
        }
        if self.wishes.adopt {
            return Some(Claim::Adopted);
        }
        let message = "exists and belongs to no file";
        self.errors.push(at.error(&DocumentError::whole(message)).hint("--adopt takes it over, and plan shows what would change"));
        None
    }

    /// Notes what becomes of an object that exists.
    fn kept(&mut self, object: Object, claim: Claim, secrets: bool, mut members: Vec<Member>) {
        match claim {
            Claim::Adopted => {
                self.event("setup.adopt", &object.id, None, Some(json!({ "owner": self.owner, "kind": object.kind.as_str() })));
                self.own(&object, secrets);
                self.step(object, Action::Adopt, members);
            }
            Claim::Ours => {
                let before = self.present.owned.get(&object).is_some_and(|owned| owned.secrets);
                if before != secrets {
                    let whose = |file: bool| Value::from(if file { "this file" } else { "client rotate-secret" });
                    members.push(Member { name: "secrets, given by".to_owned(), was: whose(before), is_now: whose(secrets) });
                    self.own(&object, secrets);
                }
                if !members.is_empty() {
                    self.step(object, Action::Change, members);
                }
            }
        }
    }

    fn no_longer_named(&mut self, object: &Object) {
        let action = match (self.wishes.prune, self.wishes.release) {
            (true, _) => Action::Remove,
            (false, true) => Action::Release,
            (false, false) => Action::Leave,
        };
        match (action, object.kind) {
            (Action::Remove, Kind::Client) => {
                if let Some(client) = self.present.clients.get(&object.id).filter(|client| client.enabled) {
                    let off = Client { enabled: false, ..client.clone() };
                    self.event("client.disable", &object.id, Some(clients::show(client)), Some(clients::show(&off)));
                }
                self.changes.suspended_clients.push(object.id.clone());
            }
            (Action::Remove, Kind::Resource) => {
                let before = self.present.resources.iter().find(|present| present.identifier == object.id);
                self.event("resource.remove", &object.id, before.map(resources::show), None);
                self.changes.removed_resources.push(object.id.clone());
            }
            // When this is done: taking everybody out of it may take a while.
            (Action::Remove, Kind::Group) => {}
            (Action::Release, Kind::Client | Kind::Resource | Kind::Group) => {
                let was = json!({ "owner": self.owner, "kind": object.kind.as_str() });
                self.event("setup.release", &object.id, Some(was), None);
                self.changes.released.push(object.clone());
            }
            (Action::Create | Action::Change | Action::Adopt | Action::Leave, Kind::Client | Kind::Resource | Kind::Group) => {}
        }
        self.step(object.clone(), action, Vec::new());
    }

    /// Scopes that no resource has count for nothing until one does.
    fn unknown_scopes(&mut self, wanted: &WantedClient, catalogue: &Catalogue) {
        let scopes = wanted.document.metadata.scope.as_deref().unwrap_or_default().split(' ');
        for scope in scopes.filter(|scope| !scope.is_empty() && !catalogue.knows(scope)) {
            self.plan.notes.push(format!("no resource has the scope {scope:?} of the client {:?}", wanted.client_id));
        }
    }

    fn secret(&self, digest: Digest) -> ClientSecret {
        ClientSecret { id: self.author.row_id(), digest, created_at: self.author.now, expires_at: None }
    }

    fn own(&mut self, object: &Object, secrets: bool) {
        self.changes.owned.push(Owned { object: object.clone(), owner: self.owner.to_owned(), secrets });
    }

    fn event(&mut self, action: &'static str, target: &str, was: Option<Value>, is_now: Option<Value>) {
        self.changes.events.push(self.author.event(action, target, was, is_now));
    }

    fn step(&mut self, object: Object, action: Action, members: Vec<Member>) {
        self.plan.steps.push(Step { object, action, members });
    }
}

fn guard(object: &Object) -> Guard {
    match object.kind {
        Kind::Client => Guard::client(&object.id),
        Kind::Resource => Guard::resource(&object.id),
        Kind::Group => Guard::group(&object.id),
    }
}

/// A client as its file says it, without its secrets.
fn described(client: &Client) -> BTreeMap<String, Value> {
    let mut members = members_of(&client.metadata);
    members.insert("enabled".to_owned(), json!(client.enabled));
    members
}

/// A resource as its file says it, each scope a member of its own.
fn comparable(resource: &Resource) -> BTreeMap<String, Value> {
    let mut members = members_of(resource);
    members.remove("scopes");
    let scopes = resource.scopes.iter().map(|scope| (format!("scope {}", scope.name), json!(scope.description)));
    members.into_iter().chain(scopes).collect()
}

fn members_of(document: &impl Serialize) -> BTreeMap<String, Value> {
    match serde_json::to_value(document) {
        Ok(Value::Object(members)) => members.into_iter().collect(),
        Ok(_) | Err(_) => BTreeMap::new(),
    }
}

fn differences(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<Member> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let side = |side: &BTreeMap<String, Value>, name: &String| side.get(name).cloned().unwrap_or(Value::Null);
    let members = names.into_iter().map(|name| Member { name: name.clone(), was: side(before, name), is_now: side(after, name) });
    members.filter(|member| member.was != member.is_now).collect()
}
