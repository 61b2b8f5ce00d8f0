//! APIs, as operators keep them: the operations of `chancery resource`, each with its audit event.

use schemars::JsonSchema;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::oauth::resource::{Catalogue, Resource, validate};
use crate::service::document::{Document, DocumentError, check_shown};
use crate::service::keys;
use crate::service::operator::{OperationError, Operator};
use crate::service::revision::Precondition;
use crate::storage::StoreError;
use crate::storage::owners::Guard;
use crate::storage::resources as store;

/// How often a change is decided anew after somebody else was faster: so many that come at once are all made.
const ATTEMPTS: usize = 64;
/// What a resource's file may hold (contract.md).
const MEMBERS: [&str; 8] = [
    "identifier",
    "name",
    "scopes",
    "access_token_lifetime",
    "access_token_signing_alg",
    "access_token_format",
    "introspection_clients",
    "claims",
];
/// Reads a resource's file. Whether it may be registered is decided when it is.
///
/// # Errors
/// The first member that cannot be read.
pub fn parse(text: &[u8]) -> Result<Resource, DocumentError> {
    read(Document::parse(text)?)
}

/// From members that have been read strictly already.
///
/// # Errors
/// The first member that cannot be read.
pub fn read(document: Document) -> Result<Resource, DocumentError> {
    document.rest(&MEMBERS)
}

/// Adds an API.
///
/// # Errors
/// When it is not acceptable, there is one with this identifier, or another one has one of its scopes.
pub async fn add(operator: &Operator<'_>, resource: Resource) -> Result<Resource, OperationError> {
    let resource = validate(resource, &catalogue(operator).await?)?;
    check_shown(&show(&resource), None)?;
    let event = operator.event("resource.add", &resource.identifier, None, Some(show(&resource)));
    keys::want(operator.db, [resource.access_token_signing_alg], operator.now).await?;
    match store::insert(operator.db, &resource, operator.now, &event).await {
        Ok(()) => Ok(resource),
        Err(StoreError::Conflict(_)) => Err(taken(&resource)),
        Err(error) => Err(error.into()),
    }
}

/// The API with this identifier.
///
/// # Errors
/// When there is none.
pub async fn find(operator: &Operator<'_>, identifier: &str) -> Result<Resource, OperationError> {
    find_seen(operator, identifier).await.map(|(resource, _)| resource)
}

async fn find_seen(operator: &Operator<'_>, identifier: &str) -> Result<(Resource, Timestamp), OperationError> {
    store::find_seen(operator.db, identifier)
        .await?
        .ok_or_else(|| OperationError::NotFound { kind: "resource", id: identifier.to_owned() })
}

/// All APIs in the order of their identifiers.
///
/// # Errors
/// When the database does not answer.
pub async fn list(operator: &Operator<'_>) -> Result<Vec<Resource>, OperationError> {
    Ok(store::all(operator.db).await?)
}

/// Replaces the API with this identifier by the document, or adds it. What the document leaves out gets its default. Also answers whether it
/// was added.
///
/// # Errors
/// When the document is not acceptable, another API has one of the scopes, or the precondition does not hold.
pub async fn put(
    operator: &Operator<'_>,
    identifier: &str,
    mut document: Document,
    precondition: &Precondition,
) -> Result<(Resource, bool), OperationError> {
    document.repeat("identifier", &Value::String(identifier.to_owned()))?;
    document.put("identifier", Value::String(identifier.to_owned()));
    for _ in 0..ATTEMPTS {
        let before = store::find_seen(operator.db, identifier).await?;
        if before.is_some() {
            Guard::resource(identifier).ask(operator.db).await?;
        }
        precondition.check(before.as_ref().map(|(before, _)| show(before)).as_ref())?;
        let read = document.clone().rest(&MEMBERS)?;
        if let Some(seen) = before {
            if let Some(kept) = change(operator, seen, read).await? {
                return Ok((kept, false));
            }
            continue;
        }
        match add(operator, read).await {
            // Somebody else has added it meanwhile, or has one of the scopes: the next round tells which.
            Err(OperationError::Taken { .. }) => {}
            added => return Ok((added?, true)),
        }
    }
    Err(contended(identifier))
}

/// Changes what a document names and leaves the rest (RFC 7396).
///
/// # Errors
/// When there is no such API, the document is not acceptable, or another API has one of the scopes.
pub async fn update(operator: &Operator<'_>, identifier: &str, patch: Document) -> Result<Resource, OperationError> {
    update_if(operator, identifier, patch, &Precondition::None).await
}

/// [`update`], where the API has to be in a state that the caller has seen.
///
/// # Errors
/// The same, or that the precondition does not hold.
pub async fn update_if(
    operator: &Operator<'_>,
    identifier: &str,
    patch: Document,
    precondition: &Precondition,
) -> Result<Resource, OperationError> {
    for _ in 0..ATTEMPTS {
        let seen = find_seen(operator, identifier).await?;
        Guard::resource(identifier).ask(operator.db).await?;
        precondition.check(Some(&show(&seen.0)))?;
        let read = patched(&seen.0, patch.clone())?;
        if let Some(changed) = change(operator, seen, read).await? {
            return Ok(changed);
        }
    }
    Err(contended(identifier))
}

/// The API as it was read, which is `before`; `None` if somebody else has changed it since.
async fn change(
    operator: &Operator<'_>,
    (before, seen): (Resource, Timestamp),
    read: Resource,
) -> Result<Option<Resource>, OperationError> {
    let after = validate(read, &catalogue(operator).await?)?;
    if after == before {
        return Ok(Some(before));
    }
    check_shown(&show(&after), Some(&show(&before)))?;
    let event = operator.event("resource.update", &before.identifier, Some(show(&before)), Some(show(&after)));
    keys::want(operator.db, [after.access_token_signing_alg], operator.now).await?;
    match store::update_seen(operator.db, &after, seen, operator.now, &event).await {
        Ok(changed) => Ok(changed.then_some(after)),
        Err(StoreError::Conflict(_)) => Err(taken(&after)),
        Err(error) => Err(error.into()),
    }
}

/// Removes an API. Tokens for it live on with those who check them offline until they expire; new ones are not made.
///
/// # Errors
/// When there is no such API.
pub async fn remove(operator: &Operator<'_>, identifier: &str) -> Result<Resource, OperationError> {
    remove_if(operator, identifier, &Precondition::None).await
}

/// [`remove`], where the API has to be in a state that the caller has seen.
///
/// # Errors
/// The same, or that the precondition does not hold.
pub async fn remove_if(operator: &Operator<'_>, identifier: &str, precondition: &Precondition) -> Result<Resource, OperationError> {
    for _ in 0..ATTEMPTS {
        let (before, seen) = find_seen(operator, identifier).await?;
        precondition.check(Some(&show(&before)))?;
        let event = operator.event("resource.remove", identifier, Some(show(&before)), None);
        if store::remove_seen(operator.db, identifier, seen, &event).await? {
            return Ok(before);
        }
    }
    Err(contended(identifier))
}

/// An API as the admin API shows it: its file, and who keeps it.
#[derive(JsonSchema)]
#[schemars(rename = "Resource", deny_unknown_fields)]
#[allow(dead_code, reason = "the shape of what is shown")]
pub struct ShownResource {
    #[serde(flatten)]
    resource: Resource,
    /// The set-up file that keeps it (`chancery apply`): then it is read-only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

/// An API as operators see it: the same JSON as its file.
pub fn show(resource: &Resource) -> Value {
    serde_json::to_value(resource).unwrap_or(Value::Null)
}

async fn catalogue(operator: &Operator<'_>) -> Result<Catalogue, OperationError> {
    Ok(Catalogue::new(store::all(operator.db).await?, operator.config.issuer.as_str()))
}

fn contended(identifier: &str) -> OperationError {
    OperationError::Conflict(format!("the resource {identifier:?} is being changed by others all the time; try again"))
}

fn taken(resource: &Resource) -> OperationError {
    let detail = format!("there is a resource {:?}, or one with one of its scopes, already", resource.identifier);
    OperationError::Taken { member: "identifier", detail }
}

fn patched(before: &Resource, mut patch: Document) -> Result<Resource, DocumentError> {
    let Value::Object(mut members) = show(before) else { return Err(DocumentError::whole("not an object")) };
    patch.repeat("identifier", &Value::String(before.identifier.clone()))?;
    patch.check_names(&MEMBERS)?;
    patch.merge_into(&mut members);
    Document::of(members).rest(&MEMBERS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::resource::TokenFormat;

    #[test]
    fn the_file_of_the_contract_is_read() {
        let text = r#"{"identifier": "https://api.example.com", "name": "Orders",
            "scopes": [{"name": "orders:read", "description": "Read your orders"}], "access_token_lifetime": 600,
            "access_token_signing_alg": "RS256", "access_token_format": "opaque", "introspection_clients": ["abc"]}"#;
        let resource = parse(text.as_bytes()).unwrap();
        assert_eq!(resource.access_token_format, TokenFormat::Opaque);
        assert_eq!(resource.scopes[0].name, "orders:read");
        let again = parse(show(&resource).to_string().as_bytes()).unwrap();
        assert_eq!(again, resource);
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        for (member, text) in [
            ("scopes", r#"{"identifier":"https://api.example.com","name":"x","scopes":["a"]}"#),
            ("scopes", r#"{"identifier":"https://api.example.com","name":"x","scopes":[{"nam":"a"}]}"#),
            ("access_token_lifetime", r#"{"identifier":"https://api.example.com","name":"x","access_token_lifetime":"10m"}"#),
            ("access_token_format", r#"{"identifier":"https://api.example.com","name":"x","access_token_format":"paper"}"#),
            (
                "access_token_signing_alg",
                r#"{"identifier":"https://api.example.com","name":"x","access_token_signing_alg":"none"}"#,
            ),
            ("scope", r#"{"identifier":"https://api.example.com","name":"x","scope":[]}"#),
        ] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert_eq!(error.member.as_deref(), Some(member), "{error}");
        }
        assert!(parse(br#"{"name":"x"}"#).unwrap_err().to_string().contains("identifier"));
    }

    #[test]
    fn a_patch_touches_what_it_names_alone() {
        let before = parse(br#"{"identifier":"https://api.example.com","name":"x","scopes":[{"name":"a"}]}"#).unwrap();
        let patch = |text: &str| patched(&before, Document::parse(text.as_bytes()).unwrap());
        let after = patch(r#"{"name":"y","access_token_lifetime":60}"#).unwrap();
        assert_eq!((after.name.as_str(), after.access_token_lifetime, after.scopes.len()), ("y", Some(60), 1));
        assert!(patch(r#"{"identifier":"https://other.example.com"}"#).is_err());
        assert!(patch(r#"{"scopes":null}"#).unwrap().scopes.is_empty());
    }
}
