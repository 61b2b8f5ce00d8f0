//! Applications, as operators keep them: the operations of `chancery client`, each with its audit event.

mod document;

use std::time::Duration;

use crate::entropy;
use crate::oauth::client::{Client, ClientSecret, Policy, validate};
use crate::secret::Secret;
use crate::service::document::Document;
use crate::service::operator::{OperationError, Operator};
use crate::storage::clients as store;
use crate::storage::owners::Guard;

pub use document::{ClientDocument, show};

/// Characters of a client id: 142 bits, so that no two are alike.
const CLIENT_ID: usize = 24;
/// Characters of a client secret: 256 bits, so that a plain digest of it is enough (design 6).
const CLIENT_SECRET: usize = 43;
/// A secret that was rotated out stays valid no longer than this.
pub const LONGEST_GRACE: Duration = Duration::from_secs(90 * 86_400);

/// A client with the secret that is told once.
pub struct WithSecret {
    pub client: Client,
    /// `None` for a client that does not authenticate, or that keeps the secrets it has.
    pub secret: Option<Secret<String>>,
}

/// Registers an application.
///
/// # Errors
/// When the metadata is not acceptable.
pub async fn add(operator: &Operator<'_>, document: ClientDocument) -> Result<WithSecret, OperationError> {
    let client_id = entropy::alphanumeric(operator.entropy, CLIENT_ID);
    add_as(operator, client_id, document).await
}

/// Keeps a client of this id as the document says: adds it, changes it, or leaves it as it is.
///
/// # Errors
/// When the metadata is not acceptable.
pub async fn keep(operator: &Operator<'_>, client_id: &str, document: ClientDocument) -> Result<WithSecret, OperationError> {
    let Some(before) = store::find(operator.db, client_id).await? else {
        return add_as(operator, client_id.to_owned(), document).await;
    };
    if before.metadata == validate(document.metadata.clone(), &policy(operator))? {
        return Ok(WithSecret { client: before, secret: None });
    }
    change(operator, before, document).await
}

async fn add_as(operator: &Operator<'_>, client_id: String, document: ClientDocument) -> Result<WithSecret, OperationError> {
    let metadata = validate(document.metadata, &policy(operator))?;
    let mut client = Client {
        client_id,
        metadata,
        enabled: document.enabled.unwrap_or(true),
        secrets: Vec::new(),
        tokens_not_before: None,
        metadata_version: 1,
        created_at: operator.now,
        updated_at: operator.now,
    };
    let secret = (!client.is_public()).then(|| make_secret(operator));
    client.secrets.extend(secret.as_ref().map(|(_, stored)| stored.clone()));
    let event = operator.event("client.add", &client.client_id, None, Some(show(&client)));
    store::insert(operator.db, &client, &event).await?;
    Ok(WithSecret { client, secret: secret.map(|(secret, _)| secret) })
}

/// The client with this id.
///
/// # Errors
/// When there is none.
pub async fn find(operator: &Operator<'_>, client_id: &str) -> Result<Client, OperationError> {
    store::find(operator.db, client_id).await?.ok_or_else(|| not_found(client_id))
}

/// Clients in the order of their ids, after `after`.
///
/// # Errors
/// When the database does not answer.
pub async fn list(operator: &Operator<'_>, limit: u32, after: Option<&str>) -> Result<Vec<Client>, OperationError> {
    Ok(store::list(operator.db, limit, after).await?)
}

/// Changes what a document names and leaves the rest (RFC 7396). A client that has to authenticate from now on gets a secret.
///
/// # Errors
/// When there is no such client, or the merged metadata is not acceptable.
pub async fn update(operator: &Operator<'_>, client_id: &str, patch: Document) -> Result<WithSecret, OperationError> {
    let before = find(operator, client_id).await?;
    Guard::client(client_id).ask(operator.db).await?;
    let read = document::patched(&before, patch)?;
    change(operator, before, read).await
}

async fn change(operator: &Operator<'_>, before: Client, read: ClientDocument) -> Result<WithSecret, OperationError> {
    let client_id = before.client_id.as_str();
    let metadata = validate(read.metadata, &policy(operator))?;
    // A remembered consent holds for one version: whoever changes where answers go, how the client proves itself, or what it is told,
    // asks again.
    let moved = metadata.redirect_uris != before.metadata.redirect_uris
        || metadata.token_endpoint_auth_method != before.metadata.token_endpoint_auth_method
        || metadata.client_name != before.metadata.client_name
        || metadata.claims != before.metadata.claims;
    let after = Client {
        metadata,
        enabled: read.enabled.unwrap_or(before.enabled),
        metadata_version: before.metadata_version + i64::from(moved),
        updated_at: operator.now,
        ..before.clone()
    };
    let event = operator.event("client.update", client_id, Some(show(&before)), Some(show(&after)));
    if !store::update(operator.db, &after, before.metadata_version, &event).await? {
        return Err(OperationError::Conflict(format!("the client {client_id:?} was changed by somebody else just now; try again")));
    }
    if after.enabled != before.enabled {
        set_enabled(operator, client_id, after.enabled).await?;
    }
    let has_secret = after.secrets.iter().any(|secret| secret.is_live(operator.now));
    if after.is_public() || has_secret {
        return Ok(WithSecret { client: after, secret: None });
    }
    rotate_secret(operator, client_id, Duration::ZERO).await
}

/// Refuses everything that the client asks for, and ends what it was issued.
///
/// # Errors
/// When there is no such client.
pub async fn disable(operator: &Operator<'_>, client_id: &str) -> Result<Client, OperationError> {
    set_enabled(operator, client_id, false).await
}

/// Serves the client again.
///
/// # Errors
/// When there is no such client.
pub async fn enable(operator: &Operator<'_>, client_id: &str) -> Result<Client, OperationError> {
    set_enabled(operator, client_id, true).await
}

async fn set_enabled(operator: &Operator<'_>, client_id: &str, enabled: bool) -> Result<Client, OperationError> {
    let before = find(operator, client_id).await?;
    let after = Client { enabled, updated_at: operator.now, ..before.clone() };
    let action = if enabled { "client.enable" } else { "client.disable" };
    let event = operator.event(action, client_id, Some(show(&before)), Some(show(&after)));
    if !store::set_enabled(operator.db, client_id, enabled, operator.now, &event).await? {
        return Err(not_found(client_id));
    }
    Ok(after)
}

/// Removes the client and everything that was issued to it.
///
/// # Errors
/// When there is no such client.
pub async fn remove(operator: &Operator<'_>, client_id: &str) -> Result<Client, OperationError> {
    let before = find(operator, client_id).await?;
    let event = operator.event("client.remove", client_id, Some(show(&before)), None);
    if !store::remove(operator.db, client_id, operator.now, &event).await? {
        return Err(not_found(client_id));
    }
    Ok(before)
}

/// Makes another secret. The newest of those that live stays valid for `grace`, so that rotation needs no outage; older ones end now:
/// there are never more than two.
///
/// # Errors
/// When there is no such client, or it does not authenticate.
pub async fn rotate_secret(operator: &Operator<'_>, client_id: &str, grace: Duration) -> Result<WithSecret, OperationError> {
    let before = find(operator, client_id).await?;
    if before.is_public() {
        return Err(OperationError::Conflict(format!(
            "the client {client_id:?} has token_endpoint_auth_method none, and no secret"
        )));
    }
    let (secret, stored) = make_secret(operator);
    let until = operator.now.plus(grace.min(LONGEST_GRACE));
    let event = operator.event("client.rotate_secret", client_id, None, None);
    if !store::rotate_secret(operator.db, client_id, &stored, until, operator.now, &event).await? {
        return Err(not_found(client_id));
    }
    Ok(WithSecret { client: find(operator, client_id).await?, secret: Some(secret) })
}

fn make_secret(operator: &Operator<'_>) -> (Secret<String>, ClientSecret) {
    let secret = Secret::new(entropy::alphanumeric(operator.entropy, CLIENT_SECRET));
    let id = entropy::row_id(operator.entropy, operator.now);
    let stored = ClientSecret { id, digest: secret.digest(), created_at: operator.now, expires_at: None };
    (secret, stored)
}

fn policy(operator: &Operator<'_>) -> Policy {
    Policy { redirect_schemes: operator.config.registration.redirect_schemes.clone(), operator: true }
}

fn not_found(client_id: &str) -> OperationError {
    OperationError::NotFound { kind: "client", id: client_id.to_owned() }
}
