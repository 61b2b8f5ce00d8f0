//! `/token` (RFC 6749 §3.2).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

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
    Ok(render(&tokens))
}

/// RFC 6749 §5.1 and OpenID Connect Core §3.1.3.3. Members that are not there are omitted.
#[derive(Serialize)]
struct Body<'a> {
    access_token: &'a str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    token_type: &'static str,
}

fn render(tokens: &Tokens) -> Response {
    let Tokens { minted, refresh_token } = tokens;
    private_json(Body {
        access_token: minted.access_token.expose(),
        expires_in: minted.expires_in.as_secs(),
        id_token: minted.id_token.as_ref().map(|token| token.expose().as_str()),
        refresh_token: refresh_token.as_ref().map(|token| token.expose().as_str()),
        scope: (!minted.scopes.is_empty()).then(|| minted.scopes.join(" ")),
        token_type: "Bearer",
    })
}
