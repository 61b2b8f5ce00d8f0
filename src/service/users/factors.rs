//! A person's second factors as operators see them, and take them away: never a secret.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::find;
use crate::oidc::user::User;
use crate::service::operator::{OperationError, Operator};
use crate::storage::{factors, users as store};

/// What a person proves beside the password. No secret is in it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "Factors")]
pub struct ShownFactors {
    pub factors: Vec<ShownFactor>,
    /// How many recovery codes are left.
    pub recovery_codes: u64,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "Factor")]
pub struct ShownFactor {
    pub kind: Kind,
    /// Of a passkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of a passkey: it may be copied to other devices of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synced: Option<bool>,
    /// The browser and system in which a passkey was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub created_at: String,
    pub last_used_at: String,
}

/// What a factor is.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(title = "FactorKind")]
pub enum Kind {
    /// An authenticator app.
    Totp,
    Passkey,
}

/// What a person has.
///
/// # Errors
/// When the database does not answer.
pub async fn of(operator: &Operator<'_>, user: &User) -> Result<ShownFactors, OperationError> {
    let summary = factors::summary(operator.db, user.id).await?;
    let app = summary.totp.map(|(created_at, last_used_at)| ShownFactor {
        kind: Kind::Totp,
        id: None,
        synced: None,
        device: None,
        created_at: created_at.rfc3339(),
        last_used_at: last_used_at.rfc3339(),
    });
    let passkeys = factors::passkeys(operator.db, user.id).await?.into_iter().map(|passkey| ShownFactor {
        kind: Kind::Passkey,
        id: Some(passkey.id.to_string()),
        synced: Some(passkey.synced),
        device: passkey.device,
        created_at: passkey.created_at.rfc3339(),
        last_used_at: passkey.last_used_at.rfc3339(),
    });
    Ok(ShownFactors { factors: app.into_iter().chain(passkeys).collect(), recovery_codes: summary.recovery_codes })
}

/// As JSON.
pub fn show(factors: &ShownFactors) -> Value {
    serde_json::to_value(factors).unwrap_or(Value::Null)
}

/// The way back in for who has lost every second factor: all are taken away, with the recovery codes, and every session and token ends.
/// Where one is demanded the person enrols anew after the password.
///
/// # Errors
/// When there is no such person.
pub async fn reset(operator: &Operator<'_>, name: &str) -> Result<User, OperationError> {
    let user = find(operator, name).await?;
    reset_of(operator, user).await
}

/// [`reset`] for a person who was found.
///
/// # Errors
/// The same.
pub async fn reset_of(operator: &Operator<'_>, user: User) -> Result<User, OperationError> {
    let was = show(&of(operator, &user).await?);
    let event = operator.event("user.reset_factors", &user.id.to_string(), Some(was), None);
    if !store::reset_factors(operator.db, user.id, operator.now, &event).await? {
        return Err(OperationError::NotFound { kind: "user", id: user.id.to_string() });
    }
    Ok(user)
}
