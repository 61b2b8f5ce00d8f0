//! `/token` (RFC 6749 §3.2).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::{private, refused};
use crate::app::App;
use crate::http::error::OAuthError;
use crate::http::extract::{Form, Query, RawAuthorization};
use crate::json::Object;
use crate::service::issue::Minted;
use crate::service::token::{self, Tokens};

/// Bytes of an answer beside its tokens, unless it has many scopes.
const USUAL: usize = 128;

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
    Ok(render(tokens))
}

/// RFC 6749 §5.1 and OpenID Connect Core §3.1.3.3. Members that are not there are omitted. The access token, base64url with dots, becomes
/// the answer itself: by far the longest of what is in it, it is not looked through, and leaves no copy to be wiped.
fn render(tokens: Tokens) -> Response {
    const BEFORE: &[u8] = br#"{"access_token":""#;
    let Tokens { minted, refresh_token } = tokens;
    let Minted { access_token, expires_in, id_token, scopes } = minted;
    let mut json = access_token.give().into_bytes();
    let others = [&id_token, &refresh_token].into_iter().flatten().map(|token| token.expose().len() + 32).sum::<usize>();
    json.reserve(BEFORE.len() + others + USUAL);
    json.splice(0..0, BEFORE.iter().copied());
    json.push(b'"');
    let mut answer = Object::go_on(&mut json);
    answer.number("expires_in", i64::try_from(expires_in.as_secs()).unwrap_or(i64::MAX));
    if let Some(id_token) = &id_token {
        answer.text("id_token", id_token.expose());
    }
    if let Some(refresh_token) = &refresh_token {
        answer.text("refresh_token", refresh_token.expose());
    }
    if !scopes.is_empty() {
        answer.words("scope", &scopes);
    }
    answer.text("token_type", "Bearer");
    answer.end();
    private(StatusCode::OK, json)
}
