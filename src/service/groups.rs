//! Groups, as operators keep them: the operations of `chancery group`, each with its audit event.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::oidc::groups::Group;
use crate::oidc::user::User;
use crate::service::document::{Document, DocumentError, STEP, check_shown, check_text, is_step};
use crate::service::operator::{OperationError, Operator};
use crate::service::revision::Precondition;
use crate::storage::StoreError;
use crate::storage::groups as store;
use crate::storage::owners::Guard;

pub use store::Kept;
use store::Removal;

/// How often a change is decided anew after somebody else was faster: so many that come at once are all made.
const ATTEMPTS: usize = 64;
/// What a group's file may hold.
const MEMBERS: [&str; 4] = ["identifier", "name", "description", "roles"];
/// What the server says about a group and nobody else.
const SET_BY_SERVER: [&str; 2] = ["created_at", "updated_at"];
/// The most bytes of an identifier, name or role.
pub(super) const LONGEST_NAME: usize = 255;
/// The most bytes of a description.
const LONGEST_TEXT: usize = 1024;
/// The most roles of one group.
const MOST_ROLES: usize = 100;

/// Reads and checks a group's file.
///
/// # Errors
/// The first member that is not acceptable.
pub fn parse(text: &[u8]) -> Result<Group, DocumentError> {
    let document = Document::parse(text)?;
    for name in SET_BY_SERVER {
        document.refuse(name, "is set by the server")?;
    }
    read(document)
}

/// The one validator of groups: create, update and every import go through it, an update with the merged result.
///
/// # Errors
/// The first member that is not acceptable.
pub fn check(group: &Group) -> Result<(), DocumentError> {
    let identifier = &group.identifier;
    check_text("identifier", identifier, LONGEST_NAME)?;
    if is_step(identifier) {
        return Err(DocumentError::member("identifier", STEP));
    }
    if identifier.trim() != identifier || identifier.contains('*') {
        return Err(DocumentError::member("identifier", "must not begin or end with a blank, or hold a *"));
    }
    if let Some(name) = &group.name {
        check_text("name", name, LONGEST_NAME)?;
    }
    if let Some(description) = &group.description {
        check_text("description", description, LONGEST_TEXT)?;
    }
    if group.roles.len() > MOST_ROLES {
        return Err(DocumentError::member("roles", format!("must be at most {MOST_ROLES}")));
    }
    for (at, role) in group.roles.iter().enumerate() {
        check_text("roles", role, LONGEST_NAME)?;
        if group.roles.iter().take(at).any(|before| before == role) {
            return Err(DocumentError::member("roles", format!("{role:?} occurs twice")));
        }
    }
    Ok(())
}

/// A group's file where its identifier stands in the address.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "the shape of a document, which is read member by member")]
pub struct GroupThere {
    identifier: Option<String>,
    name: Option<String>,
    description: Option<String>,
    roles: Option<Vec<String>>,
}

/// A group as operators see it.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "Group")]
pub struct ShownGroup {
    #[serde(flatten)]
    group: Group,
    created_at: String,
    updated_at: String,
    /// The set-up file that keeps it (`chancery apply`): then it is read-only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

/// A group as JSON, as operators see it.
pub fn show(kept: &Kept) -> Value {
    let shown = ShownGroup {
        group: kept.group.clone(),
        created_at: kept.created_at.rfc3339(),
        updated_at: kept.updated_at.rfc3339(),
        owner: None,
    };
    serde_json::to_value(&shown).unwrap_or(Value::Null)
}

/// Adds a group.
///
/// # Errors
/// When it is not acceptable, or there is one with this identifier.
pub async fn add(operator: &Operator<'_>, group: Group) -> Result<Kept, OperationError> {
    check(&group)?;
    let kept = Kept { group, created_at: operator.now, updated_at: operator.now };
    check_shown(&show(&kept), None)?;
    let identifier = kept.group.identifier.as_str();
    let event = operator.event("group.add", identifier, None, Some(show(&kept)));
    match store::insert(operator.db, &kept, &event).await {
        Ok(()) => Ok(kept),
        Err(StoreError::Conflict(_)) => Err(taken(identifier)),
        Err(error) => Err(error.into()),
    }
}

/// The group with this identifier.
///
/// # Errors
/// When there is none.
pub async fn find(operator: &Operator<'_>, identifier: &str) -> Result<Kept, OperationError> {
    store::find(operator.db, identifier).await?.ok_or_else(|| not_found(identifier))
}

/// Groups in the order of their identifiers, after `after`.
///
/// # Errors
/// When the database does not answer.
pub async fn list(operator: &Operator<'_>, limit: u32, after: Option<&str>) -> Result<Vec<Kept>, OperationError> {
    Ok(store::list(operator.db, limit, after).await?)
}

/// The people of a group in the order of their ids, after the one with the id `after`. A group that nobody described may have some.
///
/// # Errors
/// When the database does not answer.
pub async fn members(
    operator: &Operator<'_>,
    identifier: &str,
    limit: u32,
    after: Option<Uuid>,
) -> Result<Vec<User>, OperationError> {
    Ok(store::members(operator.db, identifier, limit, after).await?)
}

/// Changes what a document names and leaves the rest (RFC 7396). Whoever holds a token keeps it as it is until it expires.
///
/// # Errors
/// When there is no such group, or the document is not acceptable.
pub async fn update(operator: &Operator<'_>, identifier: &str, patch: Document) -> Result<Kept, OperationError> {
    update_if(operator, identifier, patch, &Precondition::None).await
}

/// [`update`], where the group has to be in a state that the caller has seen.
///
/// # Errors
/// The same, or that the precondition does not hold.
pub async fn update_if(
    operator: &Operator<'_>,
    identifier: &str,
    patch: Document,
    precondition: &Precondition,
) -> Result<Kept, OperationError> {
    for _ in 0..ATTEMPTS {
        let before = find(operator, identifier).await?;
        Guard::group(identifier).ask(operator.db).await?;
        precondition.check(Some(&show(&before)))?;
        let group = patched(&before, patch.clone())?;
        if let Some(changed) = change(operator, before, group).await? {
            return Ok(changed);
        }
    }
    Err(contended(identifier))
}

/// Replaces the group of this identifier by the document, or adds it. What the document leaves out is gone. Also answers whether it was
/// added.
///
/// # Errors
/// When the document is not acceptable, or the precondition does not hold.
pub async fn put(
    operator: &Operator<'_>,
    identifier: &str,
    document: Document,
    precondition: &Precondition,
) -> Result<(Kept, bool), OperationError> {
    for _ in 0..ATTEMPTS {
        let before = store::find(operator.db, identifier).await?;
        if before.is_some() {
            Guard::group(identifier).ask(operator.db).await?;
        }
        precondition.check(before.as_ref().map(show).as_ref())?;
        let group = replacing(identifier, before.as_ref(), document.clone())?;
        let Some(before) = before else {
            match add(operator, group).await {
                // Somebody else has added it meanwhile.
                Err(OperationError::Taken { .. }) => continue,
                added => return Ok((added?, true)),
            }
        };
        if let Some(changed) = change(operator, before, group).await? {
            return Ok((changed, false));
        }
    }
    Err(contended(identifier))
}

/// The group in the place of `before`; `None` if somebody else has changed it since.
async fn change(operator: &Operator<'_>, before: Kept, group: Group) -> Result<Option<Kept>, OperationError> {
    if group == before.group {
        return Ok(Some(before));
    }
    let updated_at = operator.now.max(before.updated_at.plus(Duration::from_micros(1)));
    let after = Kept { group, updated_at, ..before.clone() };
    check_shown(&show(&after), Some(&show(&before)))?;
    let event = operator.event("group.update", &after.group.identifier, Some(show(&before)), Some(show(&after)));
    let changed = store::update(operator.db, &after, before.updated_at, &event).await?;
    Ok(changed.then_some(after))
}

/// Removes a group, and takes everybody out of it: another one of this name later begins empty.
///
/// # Errors
/// When there is no such group, and nobody is in it either.
pub async fn remove(operator: &Operator<'_>, identifier: &str) -> Result<(), OperationError> {
    remove_if(operator, identifier, &Precondition::None).await
}

/// [`remove`], where the group has to be in a state that the caller has seen.
///
/// # Errors
/// The same, or that the precondition does not hold.
pub async fn remove_if(operator: &Operator<'_>, identifier: &str, precondition: &Precondition) -> Result<(), OperationError> {
    for _ in 0..ATTEMPTS {
        let before = store::find(operator.db, identifier).await?;
        Guard::group(identifier).ask(operator.db).await?;
        precondition.check(before.as_ref().map(show).as_ref())?;
        let event = operator.event("group.remove", identifier, before.as_ref().map(show), None);
        let seen = before.as_ref().map(|before| before.updated_at);
        match store::remove(operator.db, identifier, seen, operator.now, &event).await? {
            Removal::Done => return Ok(()),
            Removal::Nothing => return Err(not_found(identifier)),
            Removal::Changed => {}
        }
    }
    Err(contended(identifier))
}

/// From members that have been read strictly already, checked.
///
/// # Errors
/// The first member that is not acceptable.
pub fn read(document: Document) -> Result<Group, DocumentError> {
    let group = document.rest(&MEMBERS)?;
    check(&group)?;
    Ok(group)
}

fn patched(before: &Kept, mut patch: Document) -> Result<Group, DocumentError> {
    let Value::Object(mut members) = show(before) else { return Err(DocumentError::whole("not an object")) };
    for name in SET_BY_SERVER.iter().chain(["identifier"].iter()) {
        patch.repeat(name, members.get(*name).unwrap_or(&Value::Null))?;
    }
    for name in SET_BY_SERVER {
        members.remove(name);
    }
    patch.check_names(&MEMBERS)?;
    patch.merge_into(&mut members);
    read(Document::of(members))
}

/// The document for the group of this identifier, which it may leave out. What the server sets may be sent back as it was shown.
fn replacing(identifier: &str, before: Option<&Kept>, mut document: Document) -> Result<Group, DocumentError> {
    let shown = before.map_or(Value::Null, show);
    for name in SET_BY_SERVER {
        document.repeat(name, shown.get(name).unwrap_or(&Value::Null))?;
    }
    document.repeat("identifier", &json!(identifier))?;
    document.set("identifier", json!(identifier));
    read(document)
}

fn taken(identifier: &str) -> OperationError {
    OperationError::Taken { member: "identifier", detail: format!("there is a group {identifier:?} already") }
}

fn contended(identifier: &str) -> OperationError {
    OperationError::Conflict(format!("the group {identifier:?} is being changed by many at once; try again"))
}

fn not_found(identifier: &str) -> OperationError {
    OperationError::NotFound { kind: "group", id: identifier.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const STAFF: &str = r#"{"identifier":"staff","name":"Staff","description":"Everybody","roles":["clerk","reader"]}"#;

    #[test]
    fn what_is_no_group_is_refused_by_name() {
        assert_eq!(parse(STAFF.as_bytes()).unwrap().roles, ["clerk", "reader"]);
        assert_eq!(parse(br#"{"identifier":"a"}"#).unwrap().name, None);
        for (member, text) in [
            ("identifier", r#"{"identifier":""}"#),
            ("identifier", r#"{"identifier":" a"}"#),
            ("identifier", r#"{"identifier":"orders-*"}"#),
            ("identifier", r#"{"identifier":7}"#),
            ("name", r#"{"identifier":"a","name":"\u0007"}"#),
            ("roles", r#"{"identifier":"a","roles":["x","x"]}"#),
            ("roles", r#"{"identifier":"a","roles":"x"}"#),
            ("role", r#"{"identifier":"a","role":["x"]}"#),
            ("created_at", r#"{"identifier":"a","created_at":"now"}"#),
        ] {
            assert_eq!(parse(text.as_bytes()).expect_err(text).member.as_deref(), Some(member));
        }
        assert!(parse(br#"{"name":"x"}"#).is_err());
    }

    #[test]
    fn a_patch_touches_what_it_names_alone() {
        let at = Timestamp::from_seconds(5);
        let before = Kept { group: parse(STAFF.as_bytes()).unwrap(), created_at: at, updated_at: at };
        let patch = |text: &str| patched(&before, Document::parse(text.as_bytes()).unwrap());
        let after = patch(r#"{"name":null,"roles":["clerk"]}"#).unwrap();
        assert_eq!((after.name, after.roles, after.description.as_deref()), (None, vec!["clerk".to_owned()], Some("Everybody")));
        assert_eq!(patch(&show(&before).to_string()).unwrap(), before.group);
        assert!(patch(r#"{"identifier":"other"}"#).is_err());
        assert!(patch(r#"{"updated_at":"2020-01-01T00:00:00Z"}"#).is_err());
    }
}
