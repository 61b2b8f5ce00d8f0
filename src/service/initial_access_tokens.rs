//! Initial access tokens (RFC 7591 §1.2), as operators keep them: who has one may register clients, within its limits.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::entropy;
use crate::oauth::client::GrantType;
use crate::oauth::registration::{InitialAccessToken, Limits};
use crate::secret::Secret;
use crate::service::document::{Document, DocumentError, check_text};
use crate::service::operator::{OperationError, Operator};
use crate::service::revision::Precondition;
use crate::storage::initial_access_tokens as store;

const USUAL_LIFETIME: u64 = 7 * 86_400;
const LONGEST_LIFETIME: u64 = 365 * 86_400;
const MOST_REGISTRATIONS: u64 = 1_000_000;
const LONGEST_NOTE: usize = 200;
const ATTEMPTS: usize = 8;

/// What a token is made of; everything has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InitialAccessToken")]
pub struct TokenFile {
    /// What it is for, in the words of the one who makes it.
    pub note: Option<String>,
    /// Seconds, at most 365 days; 7 days if it is left out.
    pub expires_in: Option<u64>,
    /// How many clients may be registered with it; one if it is left out.
    pub registrations: Option<u64>,
    /// Grants that these clients may register for; as `[registration] grant_types` says if it is left out.
    pub grant_types: Option<Vec<GrantType>>,
    /// Scopes that these clients may register for; as `[registration] scopes` says if it is left out.
    pub scopes: Option<Vec<String>>,
}

/// A token without itself, as operators see it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InitialAccessToken", deny_unknown_fields)]
pub struct ShownToken {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// `cli`, `client:ID` or `user:ID`, as in the audit log.
    created_by: String,
    created_at: String,
    expires_at: String,
    registrations: u64,
    registrations_left: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_types: Option<Vec<GrantType>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
}

/// A token, told this once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewInitialAccessToken", deny_unknown_fields)]
pub struct ToldToken {
    #[serde(flatten)]
    shown: ShownToken,
    /// Told this once.
    token: String,
}

impl TokenFile {
    /// Reads a document.
    ///
    /// # Errors
    /// The first member that cannot be read.
    pub fn of(document: Document) -> Result<Self, DocumentError> {
        document.rest(&["note", "expires_in", "registrations", "grant_types", "scopes"])
    }
}

/// Makes a token.
///
/// # Errors
/// When a member is not acceptable.
pub async fn add(operator: &Operator<'_>, file: TokenFile) -> Result<(InitialAccessToken, Secret<String>), OperationError> {
    let within = |name: &str, value: Option<u64>, usual: u64, most: u64| match value.unwrap_or(usual) {
        value if (1..=most).contains(&value) => Ok(value),
        _ => Err(DocumentError::member(name, format!("is a number from 1 to {most}"))),
    };
    if let Some(note) = &file.note {
        check_text("note", note, LONGEST_NOTE)?;
    }
    let lifetime = within("expires_in", file.expires_in, USUAL_LIFETIME, LONGEST_LIFETIME)?;
    let registrations = within("registrations", file.registrations, 1, MOST_REGISTRATIONS)?;
    let limits = Limits { grant_types: file.grant_types, scopes: file.scopes };
    limits.check().map_err(|(member, message)| DocumentError::member(member, message))?;
    let token = InitialAccessToken {
        id: entropy::row_id(operator.entropy, operator.now),
        note: file.note,
        created_by: operator.actor.clone(),
        limits,
        registrations,
        registrations_left: registrations,
        created_at: operator.now,
        expires_at: operator.now.plus(Duration::from_secs(lifetime)),
    };
    let secret = entropy::token(operator.entropy);
    let event = operator.event("initial_access_token.add", &token.id.to_string(), None, Some(show(&token)));
    store::insert(operator.db, &secret.digest(), &token, &event).await?;
    Ok((token, secret))
}

/// The token with this id, spent and expired ones too.
///
/// # Errors
/// When there is none.
pub async fn find(operator: &Operator<'_>, id: Uuid) -> Result<InitialAccessToken, OperationError> {
    store::find(operator.db, id).await?.ok_or_else(|| not_found(id))
}

/// Tokens in the order in which they were made, after `after`.
///
/// # Errors
/// When the database does not answer.
pub async fn list(operator: &Operator<'_>, limit: u32, after: Option<Uuid>) -> Result<Vec<InitialAccessToken>, OperationError> {
    Ok(store::list(operator.db, limit, after).await?)
}

/// Removes a token: nobody registers with it any more. Clients that were registered with it stay.
///
/// # Errors
/// When there is none, or the precondition does not hold.
pub async fn remove_if(
    operator: &Operator<'_>,
    id: Uuid,
    precondition: &Precondition,
) -> Result<InitialAccessToken, OperationError> {
    for _ in 0..ATTEMPTS {
        let before = find(operator, id).await?;
        precondition.check(Some(&show(&before)))?;
        let seen = (*precondition != Precondition::None).then_some(before.registrations_left);
        let event = operator.event("initial_access_token.remove", &id.to_string(), Some(show(&before)), None);
        if store::remove(operator.db, id, seen, &event).await? {
            return Ok(before);
        }
    }
    Err(OperationError::Conflict(format!("the initial access token {id} is being used all the time; try again")))
}

/// A token without itself.
pub fn show(token: &InitialAccessToken) -> Value {
    serde_json::to_value(shown(token)).unwrap_or(Value::Null)
}

/// A token that was made just now.
pub fn tell(token: &InitialAccessToken, secret: &Secret<String>) -> Value {
    serde_json::to_value(ToldToken { shown: shown(token), token: secret.expose().clone() }).unwrap_or(Value::Null)
}

fn shown(token: &InitialAccessToken) -> ShownToken {
    ShownToken {
        id: token.id.to_string(),
        note: token.note.clone(),
        created_by: token.created_by.clone(),
        created_at: token.created_at.rfc3339(),
        expires_at: token.expires_at.rfc3339(),
        registrations: token.registrations,
        registrations_left: token.registrations_left,
        grant_types: token.limits.grant_types.clone(),
        scopes: token.limits.scopes.clone(),
    }
}

fn not_found(id: Uuid) -> OperationError {
    OperationError::NotFound { kind: "initial access token", id: id.to_string() }
}
