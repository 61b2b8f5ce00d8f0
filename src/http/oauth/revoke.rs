//! `/revoke` (RFC 7009).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::refused;
use crate::app::App;
use crate::http::error::{self, OAuthError};
use crate::http::extract::{Form, Query, RawAuthorization};
use crate::service::revoke;
use crate::service::token::Refused;

/// 200 without a body, whatever the token was worth (RFC 7009 §2.2).
///
/// # Errors
/// The client is not authenticated, the token is missing, or nothing could be written.
pub async fn post(
    State(app): State<Arc<App>>,
    authorization: RawAuthorization,
    Query(query): Query,
    Form(params): Form,
) -> Result<Response, OAuthError> {
    query.refuse_beside(&params)?;
    let now = app.clock.now();
    let mut client_id = None;
    match revoke::revoke(&app, &authorization.values(), &params, &mut client_id, now).await {
        Ok(None) => Ok(StatusCode::OK.into_response()),
        Ok(Some(reason)) => Ok(error::refused(StatusCode::OK.into_response(), reason, client_id)),
        Err(reason) => Err(refused(Refused { reason, client_id })),
    }
}
