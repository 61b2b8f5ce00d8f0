//! `/introspect` (RFC 7662).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::{private, refused};
use crate::app::App;
use crate::http::error::{self, OAuthError};
use crate::http::extract::{Form, Query, RawAuthorization};
use crate::oauth::introspection::Answer;
use crate::oauth::refusal::Reason;
use crate::service::introspect;
use crate::service::token::Refused;

/// What the token is worth, to those whom it concerns; `{"active": false}` to everybody else.
///
/// # Errors
/// The client is not authenticated or is public, the token is missing, or the database is away.
pub async fn post(
    State(app): State<Arc<App>>,
    authorization: RawAuthorization,
    Query(query): Query,
    Form(params): Form,
) -> Result<Response, OAuthError> {
    query.refuse_beside(&params)?;
    let now = app.clock.now();
    let mut client_id = None;
    match introspect::introspect(&app, &authorization.values(), &params, &mut client_id, now).await {
        Ok(Answer::Inactive(reason)) => Ok(error::refused(render(Answer::Inactive(reason.clone())), reason, client_id)),
        Ok(answer @ (Answer::Token(_) | Answer::Active(_))) => Ok(render(answer)),
        Err(reason) => Err(refused(Refused { reason, client_id })),
    }
}

fn render(answer: Answer) -> Response {
    match answer.json() {
        Ok(json) => private(StatusCode::OK, json),
        Err(error) => OAuthError::from(Reason::Internal { detail: error.to_string() }).into_response(),
    }
}
