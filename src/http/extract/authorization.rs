//! The Authorization header's values as they came. Client authentication decides what they mean, more than one included.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderValue, header};

/// All Authorization header values, in order, as raw bytes. Nearly always it is one.
#[derive(Clone, Default)]
pub struct RawAuthorization {
    first: Option<HeaderValue>,
    others: Vec<HeaderValue>,
}

/// The values, as a slice.
#[derive(Debug)]
pub enum Values<'a> {
    One([&'a [u8]; 1]),
    All(Vec<&'a [u8]>),
}

impl RawAuthorization {
    /// The values.
    pub fn values(&self) -> Values<'_> {
        match (&self.first, self.others.as_slice()) {
            (Some(only), []) => Values::One([only.as_bytes()]),
            (first, others) => Values::All(first.iter().chain(others).map(HeaderValue::as_bytes).collect()),
        }
    }
}

impl<'a> Deref for Values<'a> {
    type Target = [&'a [u8]];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::One(only) => only,
            Self::All(all) => all,
        }
    }
}

impl fmt::Debug for RawAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawAuthorization({} values)", self.values().len())
    }
}

impl<S: Sync> FromRequestParts<S> for RawAuthorization {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let mut all = parts.headers.get_all(header::AUTHORIZATION).iter().cloned();
        Ok(Self { first: all.next(), others: all.collect() })
    }
}
