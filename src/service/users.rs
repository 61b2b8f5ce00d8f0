//! People, as operators keep them: the operations of `chancery user`, each with its audit event.

pub mod access;
pub(crate) mod document;
pub mod factors;

use std::time::Duration;

use uuid::Uuid;

use crate::entropy;
use crate::oidc::user::User;
use crate::secret::Secret;
use crate::service::audit::with_change;
use crate::service::document::{Document, DocumentError, check_shown};
use crate::service::operator::{OperationError, Operator};
use crate::service::passwords::check_policy;
use crate::service::revision::Precondition;
use crate::storage::audit::AuditEvent;
use crate::storage::users as store;
use crate::storage::{StoreError, groups};

pub use document::{PasswordFile, ShownUser, UserDocument, UserFile, read_password, show};

/// Characters of a password that is made here: about 119 bits.
const MADE_PASSWORD: usize = 20;
/// How often it is looked once more whether somebody is there.
const ATTEMPTS: usize = 8;
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
    add_as(operator, entropy::row_id(operator.entropy, operator.now), document, password).await
}

async fn add_as(
    operator: &Operator<'_>,
    id: Uuid,
    document: UserDocument,
    password: Option<Secret<String>>,
) -> Result<User, OperationError> {
    let hash = match password.or_else(|| document.password.clone()) {
        Some(password) => Some(hash(operator, password).await?),
        None => None,
    };
    let username = document.username.ok_or_else(|| DocumentError::member("username", "is required"))?;
    let user = User {
        id,
        sub: entropy::alphanumeric(operator.entropy, 32),
        username,
        enabled: document.enabled.unwrap_or(true),
        admin: document.admin.unwrap_or(false),
        groups: document.groups.unwrap_or_default(),
        claims: document.claims,
        created_at: operator.now,
        updated_at: operator.now,
    };
    check_shown(&show(&user), None)?;
    let event = operator.event("user.add", &user.id.to_string(), None, Some(show(&user)));
    match store::insert(operator.db, &user, hash.as_deref(), &event).await {
        Ok(()) => Ok(user),
        Err(StoreError::Conflict(_)) => Err(taken(&user.username)),
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
    by_sub(operator, name).await
}

/// The person with this public subject.
///
/// # Errors
/// When there is none.
pub async fn by_sub(operator: &Operator<'_>, sub: &str) -> Result<User, OperationError> {
    store::find_by_sub(operator.db, sub).await?.ok_or_else(|| OperationError::NotFound { kind: "user", id: sub.to_owned() })
}

/// The person with this id, and nobody else: what looks like an id may be somebody's username.
///
/// # Errors
/// When there is none.
pub async fn by_id(operator: &Operator<'_>, id: Uuid) -> Result<User, OperationError> {
    store::find(operator.db, id).await?.ok_or_else(|| gone(id))
}

/// People in the order of their ids, which is the order in which they were added, after the one with the id `after`.
///
/// # Errors
/// When the database does not answer.
pub async fn list(operator: &Operator<'_>, limit: u32, after: Option<Uuid>) -> Result<Vec<User>, OperationError> {
    Ok(store::list(operator.db, limit, after).await?)
}

/// Which people somebody looks for; `None` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub username: Option<String>,
    pub sub: Option<String>,
    /// Row id: of the person behind a pairwise subject, say.
    pub id: Option<Uuid>,
    pub group: Option<String>,
}

/// [`list`] of those who are wanted.
///
/// # Errors
/// When the database does not answer.
pub async fn search(
    operator: &Operator<'_>,
    wanted: &Wanted,
    limit: u32,
    after: Option<Uuid>,
) -> Result<Vec<User>, OperationError> {
    // An id, a name and a subject are one person's.
    let one = match (wanted.id, &wanted.username, &wanted.sub) {
        (Some(id), _, _) => store::find(operator.db, id).await?,
        (None, Some(username), _) => store::find_by_username(operator.db, &store::canonical(username)).await?,
        (None, None, Some(sub)) => store::find_by_sub(operator.db, sub).await?,
        (None, None, None) => {
            return Ok(match &wanted.group {
                Some(group) => groups::members(operator.db, group, limit, after).await?,
                None => store::list(operator.db, limit, after).await?,
            });
        }
    };
    let is_wanted = |user: &User| {
        let named = wanted.username.as_ref().is_none_or(|name| store::canonical(name) == store::canonical(&user.username));
        let subject = wanted.sub.as_ref().is_none_or(|sub| *sub == user.sub);
        let member = wanted.group.as_ref().is_none_or(|group| user.groups.contains(group));
        named && subject && member && after.is_none_or(|after| user.id > after)
    };
    Ok(one.into_iter().filter(is_wanted).collect())
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
    set_password_of(operator, user, password).await
}

/// [`set_password`] of a person who was found.
///
/// # Errors
/// The same.
pub async fn set_password_of(operator: &Operator<'_>, user: User, password: Secret<String>) -> Result<User, OperationError> {
    let hash = hash(operator, password).await?;
    let event = operator.event("user.set_password", &user.id.to_string(), None, None);
    if !store::set_password(operator.db, user.id, &hash, operator.now, &event).await? {
        return Err(OperationError::NotFound { kind: "user", id: user.id.to_string() });
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
/// When there is no such person, the document is not acceptable, or the new username is taken.
pub async fn update(operator: &Operator<'_>, name: &str, patch: Document) -> Result<User, OperationError> {
    let id = find(operator, name).await?.id;
    update_if(operator, id, patch, &Precondition::None).await
}

/// [`update`] of the person with this id, who has to be in a state that the caller has seen.
///
/// # Errors
/// The same, or that the precondition does not hold.
pub async fn update_if(
    operator: &Operator<'_>,
    id: Uuid,
    patch: Document,
    precondition: &Precondition,
) -> Result<User, OperationError> {
    let (wanted, now) = (patch.clone(), operator.now);
    let changed = change(operator, id, wanted, precondition, move |before| document::patched(before, patch, now)).await?;
    changed.ok_or_else(|| gone(id))
}

/// Replaces the person with this id by the document, or adds them. What the document leaves out gets its default. Also answers whether
/// they were added.
///
/// # Errors
/// When the document is not acceptable, the username is taken, or the precondition does not hold.
pub async fn put(
    operator: &Operator<'_>,
    id: Uuid,
    mut document: Document,
    precondition: &Precondition,
) -> Result<(User, bool), OperationError> {
    for _ in 0..ATTEMPTS {
        let before = store::find(operator.db, id).await?;
        precondition.check(before.as_ref().map(show).as_ref())?;
        if before.is_none() {
            document.repeat("id", &id.to_string().into())?;
            match add_as(operator, id, UserDocument::read(document.clone())?, None).await {
                // Somebody else has added them meanwhile.
                Err(OperationError::Taken { .. }) if store::find(operator.db, id).await?.is_some() => continue,
                added => return Ok((added?, true)),
            }
        };
        let mut replacing = document.clone();
        // The request that added them, sent once more, changes nothing. Another password is set in a way of its own.
        if let Some(password) = replacing.take::<String>("password")?.map(Secret::new)
            && !operator.passwords.verify(password, store::password_hash(operator.db, id).await?).await?
        {
            return Err(DocumentError::member("password", document::PASSWORD).into());
        }
        let (wanted, now) = (replacing.clone(), operator.now);
        let decide = move |before: &User| document::replacing(before, replacing, now);
        if let Some(changed) = change(operator, id, wanted, precondition, decide).await? {
            return Ok((changed, false));
        }
    }
    Err(contended(id))
}

/// The person as `decide` makes them, if the precondition holds of what is there at that moment; `None` if they are gone. Disabling ends in the
/// same transaction what [`disable`] ends. `wanted` is the document of it.
async fn change(
    operator: &Operator<'_>,
    id: Uuid,
    mut wanted: Document,
    precondition: &Precondition,
    decide: impl FnOnce(&User) -> Result<User, DocumentError> + Send + 'static,
) -> Result<Option<User>, OperationError> {
    let (precondition, now) = (precondition.clone(), operator.now);
    let event = operator.event("user.update", &id.to_string(), None, None);
    let changed = store::change(operator.db, id, move |before| {
        precondition.check(Some(&show(before)))?;
        let after = decide(before)?;
        if (User { updated_at: before.updated_at, ..after.clone() }) == *before {
            return Ok(None);
        }
        // Later than before even if clocks are not: no two states have one time.
        let after = User { updated_at: now.max(before.updated_at.plus(Duration::from_micros(1))), ..after };
        let action = match (before.enabled, after.enabled) {
            (true, false) => "user.disable",
            (false, true) => "user.enable",
            (true, true) | (false, false) => "user.update",
        };
        let event = with_change(AuditEvent { action: action.to_owned(), ..event }, &show(before), &show(&after));
        Ok(Some((after, event)))
    });
    match changed.await {
        Err(OperationError::Store(StoreError::Conflict(_))) => Err(taken(&wanted.take::<String>("username")?.unwrap_or_default())),
        changed => changed,
    }
}

/// Removes a person. In the same transaction everything that was issued for them ends; their `sub` is never given to anybody else.
///
/// # Errors
/// When there is no such person.
pub async fn remove(operator: &Operator<'_>, name: &str) -> Result<User, OperationError> {
    let id = find(operator, name).await?.id;
    remove_if(operator, id, &Precondition::None).await
}

/// [`remove`] of the person with this id, who has to be in a state that the caller has seen.
///
/// # Errors
/// The same, or that the precondition does not hold.
pub async fn remove_if(operator: &Operator<'_>, id: Uuid, precondition: &Precondition) -> Result<User, OperationError> {
    let precondition = precondition.clone();
    let event = operator.event("user.remove", &id.to_string(), None, None);
    let removed = store::remove(operator.db, id, move |user| {
        precondition.check(Some(&show(user)))?;
        Ok::<_, OperationError>(AuditEvent { was: Some(show(user).to_string()), ..event })
    });
    removed.await?.ok_or_else(|| gone(id))
}

fn taken(username: &str) -> OperationError {
    OperationError::Taken { member: "username", detail: format!("there is a user {username:?} already") }
}

fn gone(id: Uuid) -> OperationError {
    OperationError::NotFound { kind: "user", id: id.to_string() }
}

fn contended(id: Uuid) -> OperationError {
    OperationError::Conflict(format!("the user {id} is being added and removed all the time; try again"))
}

async fn hash(operator: &Operator<'_>, password: Secret<String>) -> Result<String, OperationError> {
    check_policy(&operator.config.passwords, password.expose())?;
    Ok(operator.passwords.hash(password).await?)
}
