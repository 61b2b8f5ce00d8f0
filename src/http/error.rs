//! How a refusal leaves the server: as RFC 6749 §5.2 JSON, as an RFC 9457 problem of the admin API, as a page, or with a redirect that its handler built; and always as a
//! decision record and a metric under the request's trace id.
//!
//! Handlers return [`OAuthError`] or [`PageError`], or mark a response of their own with [`refused`]. The layers around all routes
//! then call [`finish`] once: only there are trace id, address, route and issuer at hand, so no handler can forget one of them.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, ACCEPT_LANGUAGE, ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::body::Body as _;

use crate::http::admin;
use crate::http::extract::remote_addr::RemoteAddr;
use crate::http::layers::Edge;
use crate::http::layers::trace_id::TraceId;
use crate::oauth::refusal::{Challenge, Reason};
use crate::service::decisions::Decision;
use crate::service::document::DocumentError;
use crate::service::operator::OperationError;

/// What went wrong, before it is known how to say it.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// Why.
    pub reason: Reason,
    /// For troubles of HTTP itself: a status that says more than the reason's own.
    pub status: Option<StatusCode>,
}

impl From<OperationError> for Trouble {
    fn from(error: OperationError) -> Self {
        Reason::from(error).into()
    }
}

impl From<DocumentError> for Trouble {
    fn from(error: DocumentError) -> Self {
        OperationError::from(error).into()
    }
}

impl From<Reason> for Trouble {
    fn from(reason: Reason) -> Self {
        Self { reason, status: None }
    }
}

impl Trouble {
    /// A trouble of HTTP itself.
    pub fn with_status(reason: Reason, status: StatusCode) -> Self {
        Self { reason, status: Some(status) }
    }
}

/// A refusal for a program: RFC 6749 §5.2.
#[derive(Debug, Clone)]
pub struct OAuthError(Refused);

/// A refusal for a person.
#[derive(Debug, Clone)]
pub struct PageError(Refused);

/// Marks a response as a refusal; in its extensions.
#[derive(Debug, Clone)]
pub struct Refused {
    trouble: Trouble,
    client_id: Option<String>,
    face: Face,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Json,
    Page,
    /// As the caller's Accept header says.
    Either,
    /// The handler has built the answer.
    Done,
}

impl Refused {
    fn new(trouble: Trouble, face: Face) -> Self {
        Self { trouble, client_id: None, face }
    }

    /// The id of the rule behind it.
    pub fn rule_id(&self) -> &'static str {
        self.trouble.reason.rule().id
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.trouble.reason
    }

    /// Whether there was too much to do for it.
    pub fn is_overload(&self) -> bool {
        matches!(self.reason(), Reason::Overloaded { .. })
    }

    fn into_empty_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl OAuthError {
    /// For a trouble of which it is not known whether a person or a program caused it: the Accept header decides.
    pub fn negotiated(trouble: Trouble) -> Self {
        Self(Refused::new(trouble, Face::Either))
    }

    /// Names the client for the record; only one that exists.
    #[must_use]
    pub fn for_client(mut self, client_id: impl Into<String>) -> Self {
        self.0.client_id = Some(client_id.into());
        self
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        self.0.reason()
    }
}

impl PageError {
    /// Names the client for the record; only one that exists.
    #[must_use]
    pub fn for_client(mut self, client_id: impl Into<String>) -> Self {
        self.0.client_id = Some(client_id.into());
        self
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        self.0.reason()
    }
}

impl<T: Into<Trouble>> From<T> for OAuthError {
    fn from(trouble: T) -> Self {
        Self(Refused::new(trouble.into(), Face::Json))
    }
}

impl<T: Into<Trouble>> From<T> for PageError {
    fn from(trouble: T) -> Self {
        Self(Refused::new(trouble.into(), Face::Page))
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        self.0.into_empty_response()
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        self.0.into_empty_response()
    }
}

/// Marks `response`, built by its handler (an error that goes back to the client by redirect, a login form shown again), as a refusal,
/// so that it is recorded like all others.
#[must_use]
pub fn refused(mut response: Response, reason: Reason, client_id: Option<String>) -> Response {
    response.extensions_mut().insert(Refused { trouble: reason.into(), client_id, face: Face::Done });
    response
}

/// What an error page needs.
#[derive(Debug)]
pub struct PageFacts<'a> {
    pub reason: &'a Reason,
    pub status: StatusCode,
    /// 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// The browser's languages.
    pub accept_language: Option<&'a str>,
    /// The request's query, for its `ui_locales`.
    pub query: Option<&'a str>,
    /// The pattern of the route, if there is one.
    pub route: Option<&'a str>,
}

/// Renders an error page.
pub type ErrorPage = Arc<dyn Fn(&PageFacts<'_>) -> Response + Send + Sync>;

/// The pattern of the route that a request goes to.
#[derive(Debug, Clone)]
pub enum Matched {
    /// As the router found it.
    Router(MatchedPath),
    /// Of a route that is found without it.
    Straight(Arc<str>),
}

impl Matched {
    /// As the router wrote it down, if it found a route.
    pub fn of(request: &Request) -> Option<Self> {
        request.extensions().get().cloned().map(Self::Router)
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Router(path) => path.as_str(),
            Self::Straight(path) => path,
        }
    }
}

/// What is remembered about a request while its handler has it.
#[derive(Debug)]
pub struct About {
    pub trace_id: TraceId,
    pub address: RemoteAddr,
    pub method: Method,
    route: Option<Matched>,
    wants_page: bool,
    /// An Authorization header came with it.
    authorization: bool,
    accept_language: Option<HeaderValue>,
    uri: http::Uri,
}

impl About {
    /// Reads what is needed later.
    pub fn of(request: &Request, route: Option<Matched>, trace_id: TraceId, address: RemoteAddr) -> Self {
        let headers = request.headers();
        Self {
            trace_id,
            address,
            method: request.method().clone(),
            route,
            wants_page: accepts_html(headers),
            authorization: headers.contains_key(AUTHORIZATION),
            accept_language: headers.get(ACCEPT_LANGUAGE).cloned(),
            uri: request.uri().clone(),
        }
    }

    /// Does the route belong to the admin API?
    fn is_admin_api(&self) -> bool {
        self.route().contains(admin::BASE)
    }

    /// The pattern of the route, never what was typed.
    pub fn route(&self) -> &str {
        self.matched().unwrap_or("unmatched")
    }

    /// As [`Self::route`], if there is one.
    pub fn matched(&self) -> Option<&str> {
        self.route.as_ref().map(Matched::as_str)
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| accept.as_bytes().windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html")))
}

/// Puts a refusal into words and on record. Responses that are none pass through.
pub fn finish(mut response: Response, about: &About, edge: &Edge) -> Response {
    let Some(refused) = response.extensions_mut().remove::<Refused>().or_else(|| nothing_here(&response, about)) else {
        return response;
    };
    let answer = match (refused.face, about.wants_page) {
        (Face::Done, _) => response,
        // RFC 9457, for the layers' own troubles too.
        (Face::Json | Face::Either | Face::Page, _) if about.is_admin_api() => {
            carry_over(response, program(&refused.trouble, about, edge, problem))
        }
        (Face::Json, _) | (Face::Either, false) => carry_over(response, program(&refused.trouble, about, edge, oauth)),
        (Face::Page, _) | (Face::Either, true) => carry_over(response, page(&refused.trouble, about, edge)),
    };
    record(refused, answer, about, edge)
}

/// The router's own empty 404 and 405.
fn nothing_here(response: &Response, about: &About) -> Option<Refused> {
    let reason = match response.status() {
        _ if response.body().size_hint().exact() != Some(0) => return None,
        StatusCode::NOT_FOUND => Reason::NotFound { path: about.uri.path().chars().take(256).collect() },
        StatusCode::METHOD_NOT_ALLOWED => Reason::MethodNotAllowed {
            method: about.method.as_str().chars().take(32).collect(),
            allowed: response.headers().get(ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default().to_owned(),
        },
        _ => return None,
    };
    Some(Refused::new(reason.into(), Face::Either))
}

/// RFC 6749 §5.2.
fn oauth(reason: &Reason, _: StatusCode, _: &About) -> Response {
    let wire = reason.wire();
    axum::Json(serde_json::json!({ "error": wire.error, "error_description": wire.description })).into_response()
}

/// RFC 9457.
fn problem(reason: &Reason, status: StatusCode, about: &About) -> Response {
    let body = admin::problem::document(reason, status, &about.trace_id.to_string());
    ([(CONTENT_TYPE, admin::problem::MEDIA_TYPE)], body.to_string()).into_response()
}

/// A refusal for a program, with its status and headers.
fn program(trouble: &Trouble, about: &About, edge: &Edge, render: fn(&Reason, StatusCode, &About) -> Response) -> Response {
    let wire = trouble.reason.wire();
    let status = status(trouble, wire.status);
    let mut response = render(&trouble.reason, status, about);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // RFC 6749 §5.2: the Basic challenge is for those who tried the Authorization header. Libraries in the field take a challenge for
    // the whole answer and hide `invalid_client` behind it from those who sent their secret in the body.
    let challenge = wire.authenticate.filter(|challenge| about.authorization || *challenge != Challenge::Basic);
    if let Some(challenge) = challenge
        && let Ok(challenge) = HeaderValue::try_from(challenge.header(&edge.issuer))
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = wire.retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn page(trouble: &Trouble, about: &About, edge: &Edge) -> Response {
    let status = status(trouble, trouble.reason.page_status());
    let mut response = (edge.error_page)(&PageFacts {
        reason: &trouble.reason,
        status,
        trace_id: &about.trace_id.to_string(),
        accept_language: about.accept_language.as_ref().and_then(|languages| languages.to_str().ok()),
        query: about.uri.query(),
        route: about.matched(),
    });
    *response.status_mut() = status;
    if let Some(seconds) = trouble.reason.wire().retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn status(trouble: &Trouble, own: u16) -> StatusCode {
    trouble.status.or_else(|| StatusCode::from_u16(own).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Headers that layers nearer to the handler have set (CORS, Allow, Connection) stay.
fn carry_over(before: Response, mut after: Response) -> Response {
    for (name, value) in before.headers() {
        if name != CONTENT_TYPE && name != CONTENT_LENGTH && !after.headers().contains_key(name) {
            after.headers_mut().append(name, value.clone());
        }
    }
    after
}

fn record(refused: Refused, mut response: Response, about: &About, edge: &Edge) -> Response {
    let reason = refused.reason();
    metrics::counter!("chancery_refusals_total", "rule" => refused.rule_id(), "endpoint" => about.route().to_owned()).increment(1);
    if let Reason::Internal { detail } | Reason::StorageUnavailable { detail } = reason {
        tracing::error!(trace_id = %about.trace_id, detail, "a request failed");
    }
    edge.decisions.record(Decision {
        trace_id: about.trace_id.to_string(),
        endpoint: about.route().to_owned(),
        client_id: refused.client_id.clone(),
        address_prefix: about.address.prefix(),
        reason: reason.clone(),
        now: edge.clock.now(),
    });
    response.extensions_mut().insert(refused);
    response
}

/// An error page without any design: for servers without pages of their own, and for tests.
pub fn plain_page() -> ErrorPage {
    Arc::new(|facts| {
        let html = format!(
            "<!doctype html><html lang=\"en\"><title>Error</title><main><p>{}</p><p id=\"trace-id\">{}</p></main></html>",
            escape(&facts.reason.page_description()),
            facts.trace_id
        );
        (facts.status, axum::response::Html(html)).into_response()
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
