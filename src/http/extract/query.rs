//! The query string as parameters, decoded strictly (security.md ).

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::http::error::{OAuthError, PageError};
use crate::oauth::params::Params;

/// The query's parameters, for endpoints that answer in JSON.
#[derive(Debug)]
pub struct Query(pub Params);

/// The query's parameters, for endpoints that answer with pages.
#[derive(Debug)]
pub struct PageQuery(pub Params);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = OAuthError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, OAuthError> {
        Ok(Self(Params::parse_query(parts.uri.query().unwrap_or_default())?))
    }
}

impl<S: Sync> FromRequestParts<S> for PageQuery {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PageError> {
        Ok(Self(Params::parse_query(parts.uri.query().unwrap_or_default())?))
    }
}
