//! `/token` (RFC 6749 §3.2).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value};

use super::{private_json, refused};
use crate::app::App;
use crate::http::error::OAuthError;
use crate::http::extract::{Form, Query, RawAuthorization};
use crate::service::token::{self, Tokens};

/// POST alone; everything is in the body.
///
/// # Errors
/// RFC 6749 §5.2.
pub async fn post(
    State(app): State<Arc<App>>,
    authorization: RawAuthorization,
    Query(query): Query,
    Form(params): Form,
) -> Result<Response, OAuthError> {
    query.refuse_beside(&params)?;
    let now = app.clock.now();
    let tokens = token::token(&app, &authorization.values(), &params, now).await.map_err(refused)?;
    Ok(private_json(body(tokens)))
}

/// RFC 6749 §5.1 and OpenID Connect Core §3.1.3.3. Members that are not there are omitted.
fn body(tokens: Tokens) -> Map<String, Value> {
    let Tokens { minted, refresh_token } = tokens;
    let mut body = Map::new();
    body.insert("access_token".to_owned(), minted.access_token.expose().as_str().into());
    body.insert("token_type".to_owned(), "Bearer".into());
    body.insert("expires_in".to_owned(), minted.expires_in.as_secs().into());
    if !minted.scopes.is_empty() {
        body.insert("scope".to_owned(), minted.scopes.join(" ").into());
    }
    if let Some(refresh_token) = refresh_token {
        body.insert("refresh_token".to_owned(), refresh_token.expose().as_str().into());
    }
    if let Some(id_token) = minted.id_token {
        body.insert("id_token".to_owned(), id_token.expose().as_str().into());
    }
    body
}
