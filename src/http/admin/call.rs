//! One call of an operation, checked in the order: token, right, path, query, body. Nothing is said to whom the token does not name.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::operation::{Body, Operation, Verb};
use crate::app::App;
use crate::clock::Timestamp;
use crate::http::error::{OAuthError, Trouble};
use crate::http::extract::form;
use crate::http::extract::{RemoteAddr, TraceId};
use crate::oauth::bearer;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::service::admin::{self, Caller};
use crate::service::document::{Document, DocumentError};
use crate::service::keys::By;
use crate::service::operator::Operator;
use crate::service::revision::Precondition;

/// Bytes of a parameter in the path.
const LONGEST_SEGMENT: usize = 2048;
/// Tags in one If-Match header.
const MOST_TAGS: usize = 20;

/// A call by somebody who holds the operation's right.
pub struct Call {
    pub app: Arc<App>,
    pub caller: Caller,
    pub operation: &'static Operation,
    pub now: Timestamp,
    pub headers: HeaderMap,
    trace_id: TraceId,
    path: Vec<(String, String)>,
    query: Params,
    body: Bytes,
}

/// The caller of any request here: the bearer of a good token in the Authorization header. Cookies say nothing.
///
/// # Errors
/// RFC 6750 §3.1.
pub async fn caller(
    app: &App,
    headers: &HeaderMap,
    query: &Params,
    address: RemoteAddr,
    now: Timestamp,
) -> Result<Caller, OAuthError> {
    let values: Vec<&[u8]> = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect();
    let token = bearer::token(&values, query, None)?;
    admin::authenticate(app, token.expose(), &address.prefix(), now).await.map_err(|refused| match refused.client_id {
        Some(client_id) => OAuthError::from(refused.reason).for_client(client_id),
        None => refused.reason.into(),
    })
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// The first check that fails.
    pub(super) async fn read(app: Arc<App>, operation: &'static Operation, request: Request) -> Result<Self, OAuthError> {
        let now = app.clock.now();
        let (mut parts, body) = request.into_parts();
        let query = Params::parse_query(parts.uri.query().unwrap_or_default())?;
        let Ok(address) = RemoteAddr::from_request_parts(&mut parts, &()).await;
        let caller = caller(&app, &parts.headers, &query, address, now).await?;
        let named = |reason: Trouble| OAuthError::from(reason).for_client(&caller.client_id);
        caller.check(operation.right).map_err(|reason| named(reason.into()))?;

        let path =
            path(&RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|error| named(undecodable(&error).into()))?)
                .map_err(|reason| named(reason.into()))?;
        check_query(operation, &query).map_err(|reason| named(reason.into()))?;
        check_conditions(operation, &parts.headers).map_err(|reason| named(reason.into()))?;
        let limit = form::limit(&parts.extensions);
        let body = form::bytes(&parts.headers, body, limit).await.map_err(named)?;
        check_media_type(operation, &parts.headers, &body).map_err(|reason| named(reason.into()))?;
        let Ok(trace_id) = TraceId::from_request_parts(&mut parts, &()).await;
        Ok(Self { app, caller, operation, now, headers: parts.headers, trace_id, path, query, body })
    }

    /// The means to act in the caller's name; every change has its audit event.
    pub fn operator(&self) -> Operator<'_> {
        Operator {
            db: &self.app.db,
            config: &self.app.config,
            entropy: self.app.entropy.as_ref(),
            passwords: &self.app.passwords,
            actor: self.caller.actor(),
            now: self.now,
            trace_id: Some(self.trace_id.to_string()),
        }
    }

    /// The same for changes of keys.
    pub fn by(&self) -> By {
        By { actor: self.caller.actor(), trace_id: Some(self.trace_id.to_string()) }
    }

    /// A parameter of the path, decoded.
    ///
    /// # Errors
    /// When the operation's path has none of this name: a fault of its row.
    pub fn path(&self, name: &str) -> Result<&str, Reason> {
        let found = self.path.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.ok_or_else(|| Reason::Internal { detail: format!("{} has no {name} in its path", self.operation.id) })
    }

    /// A UUID in the path, as it is shown everywhere: one thing has one address.
    ///
    /// # Errors
    /// When it is none, or written in another way.
    pub fn id(&self, name: &str) -> Result<Uuid, Reason> {
        let text = self.path(name)?;
        let id = Uuid::parse_str(text).ok().filter(|id| id.to_string() == text && !id.is_nil() && !id.is_max());
        id.ok_or_else(|| Reason::MalformedParameter {
            name: name.to_owned(),
            received: text.chars().take(100).collect(),
            detail: "it is a UUID in lower case, such as 01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        })
    }

    /// A parameter of the query; without a value it counts as not sent.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name)
    }

    /// The body as sent.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as a document whose members are taken out one by one.
    ///
    /// # Errors
    /// Not one JSON object, or a member twice.
    pub fn document(&self) -> Result<Document, DocumentError> {
        if self.body.is_empty() && matches!(self.operation.body, Body::Optional(_)) {
            return Ok(Document::default());
        }
        Document::parse(&self.body)
    }

    /// What the caller wants to be the case before something is changed (RFC 9110 §13.1).
    ///
    /// # Errors
    /// `MalformedParameter` if a header is none of those that are understood here.
    pub fn precondition(&self) -> Result<Precondition, Reason> {
        precondition(&self.headers)
    }
}

/// The condition that these headers state.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, Reason> {
    let tags = tags(headers, &IF_MATCH)?;
    let none = tags_of_none(headers)?;
    match (tags, none) {
        (None, false) => Ok(Precondition::None),
        (None, true) => Ok(Precondition::Absent),
        (Some(_), true) => Err(malformed(&IF_NONE_MATCH, "it cannot be sent together with If-Match")),
        (Some(tags), false) if tags == ["*"] => Ok(Precondition::Exists),
        (Some(tags), false) => Ok(Precondition::Tags(tags)),
    }
}

fn path(params: &RawPathParams) -> Result<Vec<(String, String)>, Reason> {
    let mut path = Vec::new();
    for (name, value) in params {
        // PostgreSQL's texts hold no NUL; nor does an id hold other control characters.
        if value.len() > LONGEST_SEGMENT {
            return Err(Reason::ParameterTooLong { name: name.to_owned(), limit: LONGEST_SEGMENT });
        }
        if value.chars().any(char::is_control) {
            let (name, received) = (name.to_owned(), value.chars().filter(|letter| !letter.is_control()).take(80).collect());
            return Err(Reason::MalformedParameter { name, received, detail: "it holds control characters".to_owned() });
        }
        path.push((name.to_owned(), value.to_owned()));
    }
    Ok(path)
}

fn undecodable(error: &impl std::fmt::Display) -> Reason {
    Reason::MalformedParameter { name: "(path)".to_owned(), received: String::new(), detail: error.to_string() }
}

fn check_query(operation: &Operation, query: &Params) -> Result<(), Reason> {
    let Some(unknown) = query.names().find(|name| operation.query_parameters().all(|known| known.name != *name)) else {
        return Ok(());
    };
    let known: Vec<&str> = operation.query_parameters().map(|known| known.name).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(Reason::MalformedParameter {
        name: unknown.chars().take(80).collect(),
        received: String::new(),
        detail: format!("this operation does not know it; it knows {known}"),
    })
}

fn check_conditions(operation: &Operation, headers: &HeaderMap) -> Result<(), Reason> {
    let reads = operation.verb == Verb::Get;
    match headers.keys().find(|name| **name == IF_MATCH || (!reads && **name == IF_NONE_MATCH)) {
        Some(name) if !operation.conditional => Err(malformed(name, "this operation knows no such condition")),
        Some(_) | None => Ok(()),
    }
}

fn check_media_type(operation: &Operation, headers: &HeaderMap, body: &Bytes) -> Result<(), Reason> {
    let (expected, allowed): (&str, &[&str]) = match operation.body {
        Body::None if body.is_empty() => return Ok(()),
        Body::None => {
            return Err(Reason::DocumentRefused { member: None, detail: "one too many: this operation takes no body".to_owned() });
        }
        Body::Optional(_) if body.is_empty() => return Ok(()),
        Body::Json(_) | Body::Optional(_) => ("application/json", &["application/json"]),
        Body::Patch(_) => {
            ("application/merge-patch+json or application/json", &["application/merge-patch+json", "application/json"])
        }
    };
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let (first, second) = (all.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()), all.next());
    let kind = first.as_deref().map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if second.is_none() && kind.is_some_and(|kind| allowed.contains(&kind.as_str())) {
        return Ok(());
    }
    Err(Reason::WrongMediaType { expected: expected.to_owned(), received: first })
}

/// The tags of a conditional header; `*` alone stands for any. Weak tags match nothing in If-Match (RFC 9110 §13.1.1).
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<String>>, Reason> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| malformed(name, "it is not ASCII"))?;
        for tag in text.split(',').map(str::trim) {
            let strong = tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
            if tag != "*" && !strong && !tag.starts_with("W/\"") {
                return Err(malformed(name, "it holds entity tags in double quotes, or * alone"));
            }
            tags.push(tag.to_owned());
        }
    }
    if tags.len() > MOST_TAGS || (tags.len() > 1 && tags.iter().any(|tag| tag == "*")) {
        return Err(malformed(name, "it holds at most twenty entity tags, or * alone"));
    }
    Ok((!tags.is_empty()).then_some(tags))
}

/// `If-None-Match: *` asks that there is nothing. With tags it belongs to GET.
fn tags_of_none(headers: &HeaderMap) -> Result<bool, Reason> {
    match tags(headers, &IF_NONE_MATCH)? {
        None => Ok(false),
        Some(tags) if tags == ["*"] => Ok(true),
        Some(_) => Err(malformed(&IF_NONE_MATCH, "only * has a meaning here; use If-Match with the tag that you have seen")),
    }
}

fn malformed(name: &HeaderName, detail: &str) -> Reason {
    Reason::MalformedParameter { name: name.as_str().to_owned(), received: String::new(), detail: detail.to_owned() }
}
