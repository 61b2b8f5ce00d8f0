//! The routes, made of the table. What is not in it is refused: to strangers with 401 like everything here, to callers with 404 or 405.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, any, get, on};
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::call::{self, Call};
use super::operation::{Operation, Verb};
use super::reference::{self, Reference};
use super::{BASE, V1, table};
use crate::app::App;
use crate::http::error::OAuthError;
use crate::http::extract::RemoteAddr;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;

/// All of the admin API.
pub fn router(app: &Arc<App>) -> Router {
    let issuer_path = app.config.issuer.path();
    let mut paths: BTreeMap<&str, Vec<&'static Operation>> = BTreeMap::new();
    for operation in table::operations() {
        paths.entry(operation.path).or_default().push(operation);
    }
    let mut router = Router::new();
    for (path, operations) in paths {
        router = router.route(&format!("{issuer_path}{V1}{path}"), methods(&operations));
    }
    let reference = Arc::new(Reference::new(app));
    let (shown, read) = (Arc::clone(&reference), Arc::clone(&reference));
    let openapi = get(async move |headers: HeaderMap| reference.openapi_json(&headers));
    let ui = get(async move |State(app): State<Arc<App>>| shown.ui(&app));
    let page = get(async move |State(app): State<Arc<App>>| read.page(&app));
    router
        .route(&format!("{issuer_path}{}", reference::OPENAPI), openapi)
        .route(&format!("{issuer_path}{}", reference::UI), ui)
        .route(&format!("{issuer_path}{BASE}"), page.clone())
        .route(&format!("{issuer_path}{BASE}/"), page)
        .route(&format!("{issuer_path}{BASE}/{{*path}}"), any(nothing_here))
        .with_state(Arc::clone(app))
}

fn methods(operations: &[&'static Operation]) -> MethodRouter<Arc<App>> {
    let mut router = MethodRouter::new();
    for operation in operations {
        let operation: &'static Operation = operation;
        let run = async move |State(app): State<Arc<App>>, request: Request| run(app, operation, request).await;
        router = router.merge(on(filter(operation.verb), run));
    }
    let allowed = operations.iter().map(|operation| operation.verb.as_str()).collect::<Vec<_>>().join(", ");
    // A path with other methods.
    router.fallback(async move |State(app): State<Arc<App>>, address: RemoteAddr, method: Method, uri: Uri, headers: HeaderMap| {
        let method = method.as_str().chars().take(32).collect();
        let reason = Reason::MethodNotAllowed { method, allowed: allowed.clone() };
        let error = refusal(&app, &headers, &uri, address, reason).await;
        let is_callers = matches!(error.reason(), Reason::MethodNotAllowed { .. });
        let mut response = error.into_response();
        if let (true, Ok(allowed)) = (is_callers, HeaderValue::from_str(&allowed)) {
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    })
}

fn filter(verb: Verb) -> MethodFilter {
    match verb {
        Verb::Get => MethodFilter::GET,
        Verb::Post => MethodFilter::POST,
        Verb::Put => MethodFilter::PUT,
        Verb::Patch => MethodFilter::PATCH,
        Verb::Delete => MethodFilter::DELETE,
    }
}

async fn run(app: Arc<App>, operation: &'static Operation, request: Request) -> Result<Response, OAuthError> {
    let headers = request.headers().clone();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let call = Call::read(Arc::clone(&app), operation, request).await?;
    let client_id = call.caller.client_id.clone();
    let reply = (operation.run)(call).await.map_err(|error| error.for_client(client_id))?;
    if !reads {
        // What the caller changed counts for its next request; other replicas hear of it (design 5).
        app.registry.clear();
    }
    Ok(reply.into_response(&format!("{}{V1}", app.config.issuer.as_str()), &headers, reads))
}

/// A path that no row has.
async fn nothing_here(State(app): State<Arc<App>>, address: RemoteAddr, uri: Uri, headers: HeaderMap) -> OAuthError {
    let path = uri.path().chars().take(256).collect();
    refusal(&app, &headers, &uri, address, Reason::NotFound { path }).await
}

/// Who has no token learns nothing but that.
async fn refusal(app: &App, headers: &HeaderMap, uri: &Uri, address: RemoteAddr, reason: Reason) -> OAuthError {
    let query = match Params::parse_query(uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(reason) => return reason.into(),
    };
    match call::caller(app, headers, &query, address, app.clock.now()).await {
        Ok(caller) => OAuthError::from(reason).for_client(caller.client_id),
        Err(error) => error,
    }
}
