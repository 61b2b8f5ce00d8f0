//! The Authorization header's values as they came. Client authentication decides what they mean, more than one included.

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderValue, header};

/// All Authorization header values, in order, as raw bytes.
#[derive(Clone, Default)]
pub struct RawAuthorization(Vec<HeaderValue>);

impl RawAuthorization {
    /// The values.
    pub fn values(&self) -> Vec<&[u8]> {
        self.0.iter().map(HeaderValue::as_bytes).collect()
    }
}

impl fmt::Debug for RawAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawAuthorization({} values)", self.0.len())
    }
}

impl<S: Sync> FromRequestParts<S> for RawAuthorization {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get_all(header::AUTHORIZATION).iter().cloned().collect()))
    }
}
