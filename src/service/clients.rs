//! Applications, as operators keep them: the operations of `chancery client`, each with its audit event.

pub(crate) mod document;

use std::time::Duration;

use serde_json::Value;

use crate::entropy::{self, Entropy};
use crate::oauth::client::{Client, ClientMetadata, ClientSecret, Policy, validate};
use crate::oauth::registration as rules;
use crate::secret::Secret;
use crate::service::document::{Document, DocumentError, STEP, is_step};
use crate::service::keys;
use crate::service::operator::{OperationError, Operator};
use crate::service::revision::Precondition;
use crate::storage::StoreError;
use crate::storage::clients as store;
use crate::storage::owners::Guard;

pub use document::{
    ClientDocument, ClientFile, ShownClient, ShownSecret, ToldClient, ToldSecret, show, show_secret, tell, tell_secret,
};

/// Characters of a client id: 142 bits, so that no two are alike.
const CLIENT_ID: usize = 24;
/// Characters of a client secret: 256 bits, so that a plain digest of it is enough (design 6).
const CLIENT_SECRET: usize = 43;
/// How often a change is decided anew after somebody else was faster: so many that come at once are all made.
const ATTEMPTS: usize = 64;
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
    add_as(operator, new_id(operator), document).await
}

/// Keeps a client of this id as the document says: adds it, changes it, or leaves it as it is. It stays off if somebody turned it off.
///
/// # Errors
/// When the metadata is not acceptable.
pub async fn keep(operator: &Operator<'_>, client_id: &str, document: ClientDocument) -> Result<WithSecret, OperationError> {
    let read = |_: Option<&Client>| Ok(document.clone());
    kept(operator, client_id, &read, &Precondition::None).await.map(|(kept, _)| kept)
}

/// Replaces the client of this id by the document, or adds it. What the document leaves out gets its default, `enabled` included. Also
/// answers whether it was added.
///
/// # Errors
/// When the id or the metadata is not acceptable, or the precondition does not hold.
pub async fn put(
    operator: &Operator<'_>,
    client_id: &str,
    document: Document,
    precondition: &Precondition,
) -> Result<(WithSecret, bool), OperationError> {
    check_id(client_id)?;
    let read = |before: Option<&Client>| match before {
        Some(before) => ClientDocument::replacing(before, document.clone()),
        None => ClientDocument::naming(client_id, document.clone()),
    };
    kept(operator, client_id, &read, precondition).await
}

async fn kept(
    operator: &Operator<'_>,
    client_id: &str,
    read: &(dyn Fn(Option<&Client>) -> Result<ClientDocument, DocumentError> + Sync),
    precondition: &Precondition,
) -> Result<(WithSecret, bool), OperationError> {
    for _ in 0..ATTEMPTS {
        let before = store::find(operator.db, client_id).await?;
        if before.is_some() {
            Guard::client(client_id).ask(operator.db).await?;
        }
        precondition.check(before.as_ref().map(show).as_ref())?;
        let document = read(before.as_ref())?;
        let Some(before) = before else {
            match add_as(operator, client_id.to_owned(), document).await {
                // Somebody else has added it meanwhile.
                Err(OperationError::Store(StoreError::Conflict(_))) => continue,
                added => return Ok((added?, true)),
            }
        };
        if let Some(kept) = change(operator, before, document).await? {
            return Ok((kept, false));
        }
    }
    Err(contended(client_id))
}

async fn add_as(operator: &Operator<'_>, client_id: String, document: ClientDocument) -> Result<WithSecret, OperationError> {
    let metadata = validate(document.metadata, &policy(operator))?;
    let mut made = made(operator, client_id, metadata);
    made.client.enabled = document.enabled.unwrap_or(true);
    let event = operator.event("client.add", &made.client.client_id, None, Some(show(&made.client)));
    keys::want(operator.db, made.client.metadata.signing_algs(), operator.now).await?;
    store::insert(operator.db, &made.client, &event).await?;
    Ok(made)
}

/// A new client with this metadata, and its secret if it has to authenticate by one.
pub(super) fn made(operator: &Operator<'_>, client_id: String, metadata: ClientMetadata) -> WithSecret {
    let mut client = Client {
        client_id,
        metadata,
        enabled: true,
        secrets: Vec::new(),
        tokens_not_before: None,
        metadata_version: 1,
        registered: None,
        created_at: operator.now,
        updated_at: operator.now,
    };
    let secret = client.metadata.token_endpoint_auth_method.has_secret().then(|| make_secret(operator, &[]));
    client.secrets.extend(secret.as_ref().map(|(_, stored)| stored.clone()));
    WithSecret { client, secret: secret.map(|(secret, _)| secret) }
}

/// An id that no client has.
pub(super) fn new_id(operator: &Operator<'_>) -> String {
    entropy::alphanumeric(operator.entropy, CLIENT_ID)
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
    update_if(operator, client_id, patch, &Precondition::None).await
}

/// [`update`], where the client has to be in a state that the caller has seen.
///
/// # Errors
/// The same, or that the precondition does not hold.
pub async fn update_if(
    operator: &Operator<'_>,
    client_id: &str,
    patch: Document,
    precondition: &Precondition,
) -> Result<WithSecret, OperationError> {
    for _ in 0..ATTEMPTS {
        let before = find(operator, client_id).await?;
        Guard::client(client_id).ask(operator.db).await?;
        precondition.check(Some(&show(&before)))?;
        let read = document::patched(&before, patch.clone())?;
        if let Some(changed) = change(operator, before, read).await? {
            return Ok(changed);
        }
    }
    Err(contended(client_id))
}

/// The client as the document says; `None` if somebody else has changed it since it was read.
async fn change(operator: &Operator<'_>, before: Client, read: ClientDocument) -> Result<Option<WithSecret>, OperationError> {
    let metadata = validate(read.metadata, &policy(operator))?;
    let (after, secret) = changed(operator, &before, metadata, read.enabled.unwrap_or(before.enabled));
    let turned = after.enabled != before.enabled;
    if after.metadata == before.metadata && !turned && secret.is_none() {
        return Ok(Some(WithSecret { client: before, secret: None }));
    }
    let action = match after.enabled {
        true if turned && after.metadata == before.metadata => "client.enable",
        false if turned && after.metadata == before.metadata => "client.disable",
        _ => "client.update",
    };
    let taken_over = takes_over(&before, &after);
    let event = operator.event(action, &before.client_id, Some(show(&before)), Some(show_changed(&after, taken_over)));
    keys::want(operator.db, after.metadata.signing_algs(), operator.now).await?;
    let (secret, stored) = secret.unzip();
    let change = store::Change { client: after.clone(), expected: before.updated_at, secret: stored, taken_over };
    let changed = store::update(operator.db, change, &event).await?;
    Ok(changed.then_some(WithSecret { client: after, secret }))
}

/// The client with this metadata, and the secret that it needs from now on and did not have.
pub(super) fn changed(
    operator: &Operator<'_>,
    before: &Client,
    metadata: ClientMetadata,
    enabled: bool,
) -> (Client, Option<(Secret<String>, ClientSecret)>) {
    let moved = asks_again(&before.metadata, &metadata);
    let mut after = Client {
        metadata,
        enabled,
        metadata_version: before.metadata_version + i64::from(moved),
        // Later than before even if clocks are not: it is what the next change is compared with.
        updated_at: operator.now.max(before.updated_at.plus(Duration::from_micros(1))),
        ..before.clone()
    };
    let authenticates =
        !after.metadata.token_endpoint_auth_method.has_secret() || after.secrets.iter().any(|secret| secret.is_live(operator.now));
    let secret = (!authenticates).then(|| make_secret(operator, &before.secrets));
    after.secrets.splice(0..0, secret.as_ref().map(|(_, stored)| stored.clone()));
    (after, secret)
}

/// Does this change by an operator end the client's right to change itself? It would undo it with its next update: that resets all that a
/// client may set (RFC 7592 §2.2).
pub(super) fn takes_over(before: &Client, after: &Client) -> bool {
    let own = |client: &Client| rules::shown(&client.metadata).ok();
    before.registered.is_some() && own(before) != own(after)
}

/// The client as an operator left it, for the audit log.
pub(super) fn show_changed(after: &Client, taken_over: bool) -> Value {
    let mut shown = show(after);
    if taken_over && let Value::Object(members) = &mut shown {
        members.insert("registration_access_token".to_owned(), "ended".into());
    }
    shown
}

/// A remembered consent holds for one version: whoever changes where answers go, how the client proves itself, or what it is told, asks
/// again.
pub(super) fn asks_again(before: &ClientMetadata, after: &ClientMetadata) -> bool {
    after.redirect_uris != before.redirect_uris
        || after.token_endpoint_auth_method != before.token_endpoint_auth_method
        || after.jwks != before.jwks
        || after.jwks_uri != before.jwks_uri
        || after.client_name != before.client_name
        || after.subject_type != before.subject_type
        || after.claims != before.claims
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
    remove_if(operator, client_id, &Precondition::None).await
}

/// [`remove`], where the client has to be in a state that the caller has seen.
///
/// # Errors
/// The same, or that the precondition does not hold.
pub async fn remove_if(operator: &Operator<'_>, client_id: &str, precondition: &Precondition) -> Result<Client, OperationError> {
    for _ in 0..ATTEMPTS {
        let before = find(operator, client_id).await?;
        precondition.check(Some(&show(&before)))?;
        let event = operator.event("client.remove", client_id, Some(show(&before)), None);
        let removed = match precondition {
            Precondition::None => store::remove(operator.db, client_id, operator.now, &event).await?,
            _ => store::remove_seen(operator.db, client_id, before.updated_at, operator.now, &event).await?,
        };
        if removed {
            return Ok(before);
        }
    }
    Err(contended(client_id))
}

/// Adds a second secret beside the one that lives.
///
/// # Errors
/// When there is no such client, it does not authenticate, or it has two live secrets.
pub async fn add_secret(operator: &Operator<'_>, client_id: &str) -> Result<(ClientSecret, Secret<String>), OperationError> {
    let before = authenticating(operator, client_id).await?;
    let (secret, stored) = make_secret(operator, &before.secrets);
    let event = operator.event("client.add_secret", client_id, None, Some(show_secret(&stored)));
    if store::add_secret(operator.db, client_id, &stored, operator.now, &event).await? {
        return Ok((stored, secret));
    }
    Err(match find(operator, &before.client_id).await {
        Ok(_) => OperationError::Conflict(format!("the client {client_id:?} has two live secrets; end one of them first")),
        Err(error) => error,
    })
}

/// Ends one secret at once.
///
/// # Errors
/// When there is no such live secret, or it is the only one.
pub async fn end_secret(operator: &Operator<'_>, client_id: &str, secret_id: &str) -> Result<(), OperationError> {
    let before = find(operator, client_id).await?;
    let none = || OperationError::NotFound { kind: "live secret", id: secret_id.to_owned() };
    let lives = |secret: &&ClientSecret| secret.id.to_string() == secret_id && secret.is_live(operator.now);
    let secret = before.secrets.iter().find(lives).ok_or_else(none)?;
    let event = operator.event("client.end_secret", client_id, Some(show_secret(secret)), None);
    if store::end_secret(operator.db, client_id, secret.id, operator.now, &event).await? {
        return Ok(());
    }
    Err(match find(operator, client_id).await?.secrets.iter().find(lives) {
        Some(_) => OperationError::Conflict(format!(
            "it is the only live secret of the client {client_id:?}; add another one first, or disable the client"
        )),
        None => none(),
    })
}

/// Ends all secrets but the newest: the rotation is over.
///
/// # Errors
/// When there is no such client.
pub async fn end_older_secrets(operator: &Operator<'_>, client_id: &str) -> Result<(), OperationError> {
    find(operator, client_id).await?;
    let event = operator.event("client.end_older_secrets", client_id, None, None);
    store::end_older_secrets(operator.db, client_id, operator.now, &event).await?;
    Ok(())
}

/// Makes another secret. The newest of those that live stays valid for `grace`, so that rotation needs no outage; older ones end now:
/// there are never more than two.
///
/// # Errors
/// When there is no such client, or it does not authenticate.
pub async fn rotate_secret(operator: &Operator<'_>, client_id: &str, grace: Duration) -> Result<WithSecret, OperationError> {
    let before = authenticating(operator, client_id).await?;
    let (secret, stored) = make_secret(operator, &before.secrets);
    let until = operator.now.plus(grace.min(LONGEST_GRACE));
    let event = operator.event("client.rotate_secret", client_id, None, None);
    if !store::rotate_secret(operator.db, client_id, &stored, until, operator.now, &event).await? {
        return Err(not_found(client_id));
    }
    Ok(WithSecret { client: find(operator, client_id).await?, secret: Some(secret) })
}

/// The client, which has to be one that authenticates by a secret.
async fn authenticating(operator: &Operator<'_>, client_id: &str) -> Result<Client, OperationError> {
    let client = find(operator, client_id).await?;
    let method = client.metadata.token_endpoint_auth_method;
    if !method.has_secret() {
        return Err(OperationError::Conflict(format!(
            "the client {client_id:?} has token_endpoint_auth_method {}, and no secret",
            method.as_str()
        )));
    }
    Ok(client)
}

/// An id that an operator chose: of characters that need no encoding anywhere.
pub(super) fn check_id(client_id: &str) -> Result<(), DocumentError> {
    if is_step(client_id) {
        return Err(DocumentError::member("client_id", STEP));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if (1..=255).contains(&client_id.len()) && client_id.bytes().all(plain) {
        return Ok(());
    }
    Err(DocumentError::member("client_id", "must have 1 to 255 characters of A-Z a-z 0-9 - . _ ~"))
}

fn contended(client_id: &str) -> OperationError {
    OperationError::Conflict(format!("the client {client_id:?} is being changed by others all the time; try again"))
}

/// The characters of a secret.
pub(super) fn secret_of(entropy: &dyn Entropy) -> Secret<String> {
    Secret::new(entropy::alphanumeric(entropy, CLIENT_SECRET))
}

/// A secret that is newer than those of the client, even if clocks stand still: the newest is what a rotation keeps.
fn make_secret(operator: &Operator<'_>, others: &[ClientSecret]) -> (Secret<String>, ClientSecret) {
    let secret = secret_of(operator.entropy);
    let id = entropy::row_id(operator.entropy, operator.now);
    let after = others.iter().map(|other| other.created_at.plus(Duration::from_micros(1))).max();
    let created_at = after.map_or(operator.now, |after| after.max(operator.now));
    let stored = ClientSecret { id, digest: secret.digest(), created_at, expires_at: None };
    (secret, stored)
}

/// What the command line may register.
pub fn policy(operator: &Operator<'_>) -> Policy {
    let loopback_http = operator.config.outbound.allows_loopback();
    Policy { redirect_schemes: operator.config.registration.redirect_schemes.clone(), operator: true, loopback_http }
}

fn not_found(client_id: &str) -> OperationError {
    OperationError::NotFound { kind: "client", id: client_id.to_owned() }
}
