//! Audit events of what people and clients do at the endpoints. Operators' events are made in `operator`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::oauth::grant::Grant;
use crate::oidc::session::Session;
use crate::storage::audit::AuditEvent;
use crate::storage::consents::Consent;

pub use crate::storage::audit::search;

/// A genuine refresh token is newer than the database: commits were lost, or a backup was restored (design 4.2).
pub const DATABASE_WENT_BACK: &str = "grant.ahead_of_database";

/// A refresh token came back that must not: the family and its grant have ended (design 4.2).
pub const STOLEN_REFRESH_TOKEN: &str = "grant.theft";
/// A code was redeemed a second time: what was issued from it has ended (RFC 6749 §4.1.2).
pub const REPLAYED_CODE: &str = "grant.code_replay";

tokio::task_local! {
    static REQUEST: u128;
}

/// Does the work of a request: whatever event comes of it names the request by this id.
pub fn in_request<F: Future>(trace_id: u128, work: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(trace_id, work)
}

/// The request that is at work, as `chancery explain` knows it; nothing outside of requests.
pub fn trace_id() -> Option<String> {
    REQUEST.try_with(|trace_id| format!("{trace_id:032x}")).ok()
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A person, by row id.
    User(Uuid),
    /// A client, by client_id.
    Client(String),
    /// This server, by a rule of its own.
    Server,
}

impl Actor {
    /// As the audit log writes it.
    pub fn words(&self) -> String {
        match self {
            Self::User(id) => format!("user:{id}"),
            Self::Client(client_id) => format!("client:{client_id}"),
            Self::Server => "server".to_owned(),
        }
    }
}

/// What an authorization leaves: the consent, if the person was asked, and the grant.
pub fn authorized(app: &App, consent: Option<&Consent>, grant: &Grant, now: Timestamp) -> Vec<AuditEvent> {
    let by = Actor::User(grant.user_id);
    let about = |scopes: &[String], resources: &[String], claims: &[String]| {
        let mut about = json!({ "client_id": grant.client_id, "scopes": scopes, "resources": resources });
        if let (false, Some(members)) = (claims.is_empty(), about.as_object_mut()) {
            members.insert("claims".to_owned(), json!(claims));
        }
        about
    };
    let given = consent.map(|consent| {
        let event = event(app, now, &by, "consent.give", &grant.client_id);
        with_now(event, about(&consent.scopes, &consent.resources, &consent.claims))
    });
    let begun = with_now(
        event(app, now, &by, "grant.begin", &grant.id.to_string()),
        about(&grant.scopes, &grant.resources, &grant.claims.beyond(&[])),
    );
    given.into_iter().chain([begun]).collect()
}

/// The event with what was before and what is now. Neither may hold a secret.
pub fn with_change(event: AuditEvent, was: &Value, is_now: &Value) -> AuditEvent {
    AuditEvent { was: Some(was.to_string()), is_now: Some(is_now.to_string()), ..event }
}

/// The event with what explains it. It may not hold a secret.
pub fn with_now(event: AuditEvent, is_now: Value) -> AuditEvent {
    AuditEvent { is_now: Some(is_now.to_string()), ..event }
}

/// An event as operators read it.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "AuditEvent")]
pub struct ShownEvent {
    id: String,
    at: String,
    /// `cli`, `server`, `client:ID` or `user:ID`.
    actor: String,
    action: String,
    /// The id of what it was done to.
    target: String,
    /// What was there, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    /// What is there now, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
    /// The request behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// An event as JSON.
pub fn show(event: &AuditEvent) -> Value {
    let read =
        |text: &Option<String>| text.as_ref().map(|text| serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()));
    let shown = ShownEvent {
        id: event.id.to_string(),
        at: event.at.rfc3339_micros(),
        actor: event.actor.clone(),
        action: event.action.clone(),
        target: event.target.clone(),
        before: read(&event.was),
        after: read(&event.is_now),
        trace_id: event.trace_id.clone(),
    };
    serde_json::to_value(&shown).unwrap_or(Value::Null)
}

/// An event, to be written in the transaction that it describes.
pub fn event(app: &App, now: Timestamp, actor: &Actor, action: &'static str, target: &str) -> AuditEvent {
    AuditEvent {
        id: entropy::row_id(app.entropy.as_ref(), now),
        at: now,
        actor: actor.words(),
        action: action.to_owned(),
        target: target.to_owned(),
        was: None,
        is_now: None,
        trace_id: trace_id(),
    }
}

/// A session's end: what happened to the person, with the session by its name and the reason.
pub fn session_end(app: &App, now: Timestamp, actor: &Actor, session: &Session, because: &str) -> AuditEvent {
    let was = json!({ "sid": session.sid, "because": because });
    AuditEvent { was: Some(was.to_string()), ..event(app, now, actor, "session.end", &session.user_id.to_string()) }
}
