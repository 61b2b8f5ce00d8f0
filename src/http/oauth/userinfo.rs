//! `/userinfo`, GET and POST (OpenID Connect Core §5.3, RFC 6750 §2).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::{private_json, private_jwt};
use crate::app::App;
use crate::http::error::OAuthError;
use crate::http::extract::{OptionalForm, Query, RawAuthorization};
use crate::oauth::bearer;
use crate::service::userinfo::{self, Answer};

/// The token is in the Authorization header.
///
/// # Errors
/// RFC 6750 §3.1.
pub async fn get(
    State(app): State<Arc<App>>,
    authorization: RawAuthorization,
    Query(query): Query,
) -> Result<Response, OAuthError> {
    let values = authorization.values();
    let token = bearer::token(&values, &query, None)?;
    answer(&app, token.expose()).await
}

/// The token is in the Authorization header or in the form, never in both.
///
/// # Errors
/// RFC 6750 §3.1.
pub async fn post(
    State(app): State<Arc<App>>,
    authorization: RawAuthorization,
    Query(query): Query,
    OptionalForm(params): OptionalForm,
) -> Result<Response, OAuthError> {
    let values = authorization.values();
    let token = bearer::token(&values, &query, Some(&params))?;
    answer(&app, token.expose()).await
}

async fn answer(app: &App, token: &str) -> Result<Response, OAuthError> {
    Ok(match userinfo::answer(app, token, app.clock.now()).await? {
        Answer::Json(claims) => private_json(claims),
        Answer::Jwt(jwt) => private_jwt(jwt),
    })
}
