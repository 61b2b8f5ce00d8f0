//! `/device/code` (RFC 8628 §3.1).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::{private_json, refused};
use crate::app::App;
use crate::http::browser::paths;
use crate::http::error::OAuthError;
use crate::http::extract::{Form, Query, RawAuthorization, RemoteAddr};
use crate::service::device::{self, Begun};

/// POST alone; everything is in the body. The client authenticates as at the token endpoint.
///
/// # Errors
/// RFC 6749 §5.2, and 429 where too many are open.
pub async fn post(
    State(app): State<Arc<App>>,
    authorization: RawAuthorization,
    address: RemoteAddr,
    Query(query): Query,
    Form(params): Form,
) -> Result<Response, OAuthError> {
    query.refuse_beside(&params)?;
    let begun = device::begin(&app, &authorization.values(), &params, address.prefix(), app.clock.now()).await.map_err(refused)?;
    let Begun { device_code, user_code, expires_in, interval } = begun;
    // RFC 8628 §3.2.
    let verification_uri = app.config.issuer.url(paths::DEVICE);
    Ok(private_json(json!({
        "device_code": device_code.expose(),
        "user_code": user_code.shown(),
        "verification_uri": verification_uri,
        "verification_uri_complete": format!("{verification_uri}?user_code={}", user_code.shown()),
        "expires_in": expires_in.as_secs(),
        "interval": interval.as_secs(),
    })))
}
