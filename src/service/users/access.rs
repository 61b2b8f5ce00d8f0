//! What a person is signed in to and has agreed to, as operators see it and end it; each end has its audit event.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::oauth::grant::Standing;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::service::operator::{OperationError, Operator};
use crate::storage::consents::{self, Consent};
use crate::storage::{grants, sessions, users as store};

/// A browser session.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "Session")]
pub struct ShownSession {
    /// As ID tokens name it.
    sid: String,
    auth_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    amr: Vec<String>,
    /// Browser and system.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// The address prefix of the last use.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    created_at: String,
    last_used_at: String,
    expires_at: String,
}

/// What one client was granted at one sign-in.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "Grant")]
pub struct ShownGrant {
    id: String,
    client_id: String,
    scopes: Vec<String>,
    resources: Vec<String>,
    /// Asked for by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    claims: Vec<String>,
    auth_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    amr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    /// It outlives the browser session.
    offline: bool,
    /// It stands: its session lives where it needs one, and user and client are enabled.
    active: bool,
    created_at: String,
    expires_at: String,
}

/// What the person agreed to for one client.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "Consent")]
pub struct ShownConsent {
    client_id: String,
    scopes: Vec<String>,
    resources: Vec<String>,
    /// Asked for by name, beside those of the scopes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    claims: Vec<String>,
    created_at: String,
    updated_at: String,
}

/// The live sessions of a person, newest first, older than the one with the row id `before`.
///
/// # Errors
/// When the database does not answer.
pub async fn sessions(
    operator: &Operator<'_>,
    user: &User,
    limit: u32,
    before: Option<Uuid>,
) -> Result<Vec<Session>, OperationError> {
    let live = (operator.now, operator.config.lifetimes.session_idle);
    Ok(sessions::page_for_user(operator.db, user.id, live, limit, before).await?)
}

/// Ends one session of this person; other people's are not found.
///
/// # Errors
/// When there is none.
pub async fn end_session(operator: &Operator<'_>, user: &User, sid: &str) -> Result<(), OperationError> {
    let not_found = || OperationError::NotFound { kind: "session", id: sid.to_owned() };
    // Whose session it is never changes, so that it may be looked at first.
    let session = sessions::find_for_user(operator.db, user.id, sid).await?.ok_or_else(not_found)?;
    let because = "ended by an operator";
    let event = operator.event("session.end", &user.id.to_string(), Some(json!({ "sid": sid, "because": because })), None);
    if sessions::end(operator.db, session.id, operator.now, because, Some(&event)).await? { Ok(()) } else { Err(not_found()) }
}

/// Ends all browser sessions of a person, and with them what does not outlive a session.
///
/// # Errors
/// When the database does not answer.
pub async fn end_sessions(operator: &Operator<'_>, user: &User) -> Result<(), OperationError> {
    let event = operator.event("user.end_sessions", &user.id.to_string(), None, None);
    store::end_sessions(operator.db, user.id, operator.now, &event).await?;
    Ok(())
}

/// The grants of a person that have not ended, newest first, older than the one with the id `before`.
///
/// # Errors
/// When the database does not answer.
pub async fn grants(
    operator: &Operator<'_>,
    user: &User,
    limit: u32,
    before: Option<Uuid>,
) -> Result<Vec<Standing>, OperationError> {
    Ok(grants::page_for_user(operator.db, user.id, operator.now, limit, before).await?)
}

/// Ends one grant of this person and everything issued from it; other people's are not found.
///
/// # Errors
/// When there is none.
pub async fn end_grant(operator: &Operator<'_>, user: &User, id: Uuid) -> Result<(), OperationError> {
    let not_found = || OperationError::NotFound { kind: "grant", id: id.to_string() };
    // Whose grant it is never changes, so that it may be looked at first.
    if !grants::belongs_to(operator.db, id, user.id).await? {
        return Err(not_found());
    }
    let event = operator.event("grant.end", &id.to_string(), Some(json!({ "user": user.id.to_string() })), None);
    if grants::end(operator.db, id, "ended by an operator", operator.now, Some(&event)).await? { Ok(()) } else { Err(not_found()) }
}

/// Ends all grants of a person and everything issued from them.
///
/// # Errors
/// When the database does not answer.
pub async fn end_grants(operator: &Operator<'_>, user: &User) -> Result<(), OperationError> {
    let event = operator.event("user.end_grants", &user.id.to_string(), None, None);
    store::end_grants(operator.db, user.id, operator.now, &event).await?;
    Ok(())
}

/// What a person agreed to, in the order of the clients' ids, after the one of the client `after`.
///
/// # Errors
/// When the database does not answer.
pub async fn consents(
    operator: &Operator<'_>,
    user: &User,
    limit: u32,
    after: Option<&str>,
) -> Result<Vec<Consent>, OperationError> {
    Ok(consents::page_for_user(operator.db, user.id, limit, after).await?)
}

/// Forgets a consent and ends every grant of the person to this client.
///
/// # Errors
/// When there is neither.
pub async fn withdraw_consent(operator: &Operator<'_>, user: &User, client_id: &str) -> Result<(), OperationError> {
    let event = operator.event("consent.withdraw", client_id, Some(json!({ "user": user.id.to_string() })), None);
    if consents::withdraw(operator.db, user.id, client_id, operator.now, &event).await? {
        Ok(())
    } else {
        Err(OperationError::NotFound { kind: "consent", id: client_id.to_owned() })
    }
}

/// A session as operators see it: never its cookie.
pub fn show_session(session: &Session) -> Value {
    let shown = ShownSession {
        sid: session.sid.clone(),
        auth_time: session.auth_time.rfc3339(),
        acr: session.acr.clone(),
        amr: session.amr.clone(),
        device: session.device.clone(),
        address: session.address.clone(),
        created_at: session.created_at.rfc3339(),
        last_used_at: session.last_used_at.rfc3339(),
        expires_at: session.expires_at.rfc3339(),
    };
    serde_json::to_value(&shown).unwrap_or(Value::Null)
}

/// A grant as operators see it.
pub fn show_grant(operator: &Operator<'_>, standing: &Standing) -> Value {
    let grant = &standing.grant;
    let shown = ShownGrant {
        id: grant.id.to_string(),
        client_id: grant.client_id.clone(),
        scopes: grant.scopes.clone(),
        resources: grant.resources.clone(),
        claims: grant.claims.beyond(&[]),
        auth_time: grant.auth_time.rfc3339(),
        acr: grant.acr.clone(),
        amr: grant.amr.clone(),
        sid: grant.sid.clone(),
        offline: !grant.lives_with_session(),
        active: standing.check(operator.config.lifetimes.session_idle, operator.now).is_ok(),
        created_at: grant.created_at.rfc3339(),
        expires_at: grant.expires_at.rfc3339(),
    };
    serde_json::to_value(&shown).unwrap_or(Value::Null)
}

/// A consent as operators see it.
pub fn show_consent(consent: &Consent) -> Value {
    let shown = ShownConsent {
        client_id: consent.client_id.clone(),
        scopes: consent.scopes.clone(),
        resources: consent.resources.clone(),
        claims: consent.claims.clone(),
        created_at: consent.created_at.rfc3339(),
        updated_at: consent.updated_at.rfc3339(),
    };
    serde_json::to_value(&shown).unwrap_or(Value::Null)
}
