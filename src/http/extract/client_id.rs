//! A client's id in the path. What cannot be decoded is nobody's id, and no error of its own (security.md S-22).

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

/// The one parameter of the path, as a client's id.
#[derive(Debug)]
pub struct PathClientId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathClientId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Path::from_request_parts(parts, state).await.map(|Path(client_id)| client_id).unwrap_or_default()))
    }
}
