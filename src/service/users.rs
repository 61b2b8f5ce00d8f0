//! People, as operators keep them: the operations of `chancery user`, each with its audit event.

mod document;

use std::time::Duration;

use uuid::Uuid;

use crate::entropy;
use crate::oidc::user::User;
use crate::secret::Secret;
use crate::service::document::{Document, DocumentError};
use crate::service::operator::{OperationError, Operator};
use crate::service::passwords::check_policy;
use crate::storage::StoreError;
use crate::storage::users as store;

pub use document::{UserDocument, show};

/// Characters of a password that is made here: about 119 bits.
const MADE_PASSWORD: usize = 20;
/// People read at once when everybody is meant.
const PAGE: u32 = 500;

/// Adds a person. Without a password one can be set later; until then nobody can sign in as them.
///
/// # Errors
/// When the document or password is not acceptable, or the username is taken.
pub async fn add(
    operator: &Operator<'_>,
    document: UserDocument,
    password: Option<Secret<String>>,
) -> Result<User, OperationError> {
    let hash = match password.or_else(|| document.password.clone()) {
        Some(password) => Some(hash(operator, password).await?),
        None => None,
    };
    let username = document.username.ok_or_else(|| DocumentError::member("username", "is required"))?;
    let user = User {
        id: entropy::row_id(operator.entropy, operator.now),
        sub: entropy::alphanumeric(operator.entropy, 32),
        username,
        enabled: document.enabled.unwrap_or(true),
        admin: document.admin.unwrap_or(false),
        groups: document.groups.unwrap_or_default(),
        claims: document.claims,
        created_at: operator.now,
        updated_at: operator.now,
    };
    let event = operator.event("user.add", &user.id.to_string(), None, Some(show(&user)));
    match store::insert(operator.db, &user, hash.as_deref(), &event).await {
        Ok(()) => Ok(user),
        Err(StoreError::Conflict(_)) => Err(OperationError::Conflict(format!("there is a user {:?} already", user.username))),
        Err(error) => Err(error.into()),
    }
}

/// A password that the server makes, to be shown once.
pub fn make_password(operator: &Operator<'_>) -> Secret<String> {
    Secret::new(entropy::alphanumeric(operator.entropy, MADE_PASSWORD))
}

/// The person whom an operator means: by username, row id or subject, in this order.
///
/// # Errors
/// When there is none.
pub async fn find(operator: &Operator<'_>, name: &str) -> Result<User, OperationError> {
    if let Some(user) = store::find_by_username(operator.db, &store::canonical(name)).await? {
        return Ok(user);
    }
    if let Ok(id) = Uuid::parse_str(name)
        && let Some(user) = store::find(operator.db, id).await?
    {
        return Ok(user);
    }
    store::find_by_sub(operator.db, name).await?.ok_or_else(|| OperationError::NotFound { kind: "user", id: name.to_owned() })
}

/// People in the order of their ids, which is the order in which they were added, after the one with the id `after`.
///
/// # Errors
/// When the database does not answer.
pub async fn list(operator: &Operator<'_>, limit: u32, after: Option<Uuid>) -> Result<Vec<User>, OperationError> {
    Ok(store::list(operator.db, limit, after).await?)
}

/// Lets a person sign in again.
///
/// # Errors
/// When there is no such person.
pub async fn enable(operator: &Operator<'_>, name: &str) -> Result<User, OperationError> {
    set_enabled(operator, name, true).await
}

/// Keeps a person out. In the same transaction sessions, grants and families end, and codes and open sign-ins are used up.
///
/// # Errors
/// When there is no such person.
pub async fn disable(operator: &Operator<'_>, name: &str) -> Result<User, OperationError> {
    set_enabled(operator, name, false).await
}

async fn set_enabled(operator: &Operator<'_>, name: &str, enabled: bool) -> Result<User, OperationError> {
    let user = find(operator, name).await?;
    let after = User { enabled, updated_at: operator.now, ..user.clone() };
    let action = if enabled { "user.enable" } else { "user.disable" };
    let event = operator.event(action, &user.id.to_string(), Some(show(&user)), Some(show(&after)));
    if !store::set_enabled(operator.db, user.id, enabled, operator.now, &event).await? {
        return Err(OperationError::NotFound { kind: "user", id: name.to_owned() });
    }
    Ok(after)
}

/// Gives a person another password. Everything that was signed in with the old one ends in the same transaction.
///
/// # Errors
/// When there is no such person, or the password breaks the policy.
pub async fn set_password(operator: &Operator<'_>, name: &str, password: Secret<String>) -> Result<User, OperationError> {
    let user = find(operator, name).await?;
    let hash = hash(operator, password).await?;
    let event = operator.event("user.set_password", &user.id.to_string(), None, None);
    if !store::set_password(operator.db, user.id, &hash, operator.now, &event).await? {
        return Err(OperationError::NotFound { kind: "user", id: name.to_owned() });
    }
    Ok(user)
}

/// Ends everything that a person is signed in to: sessions, grants, families, codes, open sign-ins.
///
/// # Errors
/// When there is no such person.
pub async fn sign_out(operator: &Operator<'_>, name: &str) -> Result<User, OperationError> {
    let user = find(operator, name).await?;
    let event = operator.event("user.sign_out", &user.id.to_string(), None, None);
    store::sign_out(operator.db, user.id, operator.now, &event).await?;
    Ok(user)
}

/// The same for everybody, one person after the other. Answers how many there are. Doing it once more goes over those who came since.
///
/// # Errors
/// When the database does not answer.
pub async fn sign_out_all(operator: &Operator<'_>) -> Result<usize, OperationError> {
    let (mut people, mut after) = (0, None);
    loop {
        let page = store::list(operator.db, PAGE, after).await?;
        let Some(last) = page.last() else { return Ok(people) };
        after = Some(last.id);
        people += page.len();
        for user in &page {
            let event = operator.event("user.sign_out", &user.id.to_string(), None, None);
            store::sign_out(operator.db, user.id, operator.now, &event).await?;
        }
    }
}

/// Changes what a document names and leaves the rest (RFC 7396).
///
/// # Errors
/// When there is no such person, the document is not acceptable, the new username is taken, or somebody else changed the person meanwhile.
pub async fn update(operator: &Operator<'_>, name: &str, patch: Document) -> Result<User, OperationError> {
    let before = find(operator, name).await?;
    let after = document::patched(&before, patch, operator.now)?;
    write(operator, before, after).await
}

/// Writes a person as they shall be in the place of `before`. Disabling ends in the same transaction what [`disable`] ends.
///
/// # Errors
/// As [`update`].
pub async fn write(operator: &Operator<'_>, before: User, after: User) -> Result<User, OperationError> {
    if (User { updated_at: before.updated_at, ..after.clone() }) == before {
        return Ok(before);
    }
    let after = User { updated_at: operator.now.max(before.updated_at.plus(Duration::from_micros(1))), ..after };
    let action = match (before.enabled, after.enabled) {
        (true, false) => "user.disable",
        (false, true) => "user.enable",
        (true, true) | (false, false) => "user.update",
    };
    let event = operator.event(action, &before.id.to_string(), Some(show(&before)), Some(show(&after)));
    match store::update(operator.db, &before, &after, &event).await {
        Ok(true) => Ok(after),
        Ok(false) => Err(OperationError::Conflict(format!(
            "the user {:?} was changed by somebody else just now; try again",
            before.username
        ))),
        Err(StoreError::Conflict(_)) => Err(OperationError::Conflict(format!("there is a user {:?} already", after.username))),
        Err(error) => Err(error.into()),
    }
}

/// Removes a person. In the same transaction everything that was issued for them ends; their `sub` is never given to anybody else.
///
/// # Errors
/// When there is no such person.
pub async fn remove(operator: &Operator<'_>, name: &str) -> Result<User, OperationError> {
    let user = find(operator, name).await?;
    let event = operator.event("user.remove", &user.id.to_string(), Some(show(&user)), None);
    if !store::remove(operator.db, user.id, operator.now, &event).await? {
        return Err(OperationError::NotFound { kind: "user", id: name.to_owned() });
    }
    Ok(user)
}

async fn hash(operator: &Operator<'_>, password: Secret<String>) -> Result<String, OperationError> {
    check_policy(&operator.config.passwords, password.expose())?;
    Ok(operator.passwords.hash(password).await?)
}
