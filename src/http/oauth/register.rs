//! `/register` (RFC 7591, OpenID Connect Dynamic Client Registration) and `/register/{client_id}` (RFC 7592).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::{private_json, private_json_with, refused};
use crate::app::App;
use crate::http::error::OAuthError;
use crate::http::extract::{JsonText, PathClientId, Query, RawAuthorization, RemoteAddr};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::refusal::Reason;
use crate::oauth::registration::shown;
use crate::service::registration::{self, Told};

/// A client registers itself.
///
/// # Errors
/// RFC 7591 §3.2.2, RFC 6750 §3.1 for the initial access token, and 429 where too many did.
pub async fn post(
    State(app): State<Arc<App>>,
    authorization: RawAuthorization,
    address: RemoteAddr,
    Query(query): Query,
    JsonText(body): JsonText,
) -> Result<Response, OAuthError> {
    let told = registration::register(&app, &authorization.values(), &query, &body, address.prefix(), app.clock.now()).await?;
    Ok(private_json_with(StatusCode::CREATED, document(&app, &told)?))
}

/// A client looks at itself.
///
/// # Errors
/// RFC 7592 §2.1: 401 for everything that is wrong.
pub async fn get(
    State(app): State<Arc<App>>,
    PathClientId(client_id): PathClientId,
    authorization: RawAuthorization,
    Query(query): Query,
) -> Result<Response, OAuthError> {
    let told = registration::show(&app, &client_id, &authorization.values(), &query, app.clock.now()).await.map_err(refused)?;
    Ok(private_json(document(&app, &told)?))
}

/// A client changes itself.
///
/// # Errors
/// As [`get`], and RFC 7591 §3.2.2.
pub async fn put(
    State(app): State<Arc<App>>,
    PathClientId(client_id): PathClientId,
    authorization: RawAuthorization,
    Query(query): Query,
    JsonText(body): JsonText,
) -> Result<Response, OAuthError> {
    let headers = authorization.values();
    let told = registration::update(&app, &client_id, &headers, &query, &body, app.clock.now()).await.map_err(refused)?;
    Ok(private_json(document(&app, &told)?))
}

/// A client removes itself.
///
/// # Errors
/// As [`get`].
pub async fn delete(
    State(app): State<Arc<App>>,
    PathClientId(client_id): PathClientId,
    authorization: RawAuthorization,
    Query(query): Query,
) -> Result<Response, OAuthError> {
    let headers = authorization.values();
    registration::remove(&app, &client_id, &headers, &query, app.clock.now()).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// RFC 7591 §3.2.1, RFC 7592 §3.
fn document(app: &App, told: &Told) -> Result<Value, Reason> {
    let mut members = shown(&told.client.metadata)?;
    let registration = Endpoint::Registration.url(app.config.issuer.as_str());
    let client_id = &told.client.client_id;
    let about = [
        ("client_id", json!(client_id)),
        ("client_id_issued_at", json!(told.client.created_at.seconds())),
        ("registration_client_uri", json!(format!("{registration}/{client_id}"))),
        ("registration_access_token", json!(told.registration_access_token.expose())),
    ];
    members.extend(about.map(|(name, value)| (name.to_owned(), value)));
    if let Some(secret) = &told.secret {
        members.insert("client_secret".to_owned(), json!(secret.expose()));
        // It does not expire.
        members.insert("client_secret_expires_at".to_owned(), json!(0));
    }
    Ok(Value::Object(members))
}
