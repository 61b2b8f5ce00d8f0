//! The id by which a request is talked about: 128 random bits of ours, never the caller's (design 4.7).

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Arrival;
use crate::entropy::{self, Entropy};

/// The header in which every response carries it (contract.md).
pub const HEADER: HeaderName = HeaderName::from_static("chancery-trace-id");

/// 128 random bits; shown as 32 lower-case hexadecimal digits. In the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Where trace ids come from. They tell requests apart and open nothing.
pub struct TraceIds {
    entropy: Arc<dyn Entropy>,
}

impl TraceIds {
    /// From this randomness.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy }
    }

    /// A new one.
    pub fn next(&self) -> TraceId {
        TraceId(u128::from_be_bytes(entropy::shown(self.entropy.as_ref())))
    }
}

impl TraceId {
    /// The 128 bits.
    pub fn number(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Puts the id into a response.
pub fn set(headers: &mut HeaderMap, trace_id: TraceId) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let mut text = [0; 32];
    for (two, byte) in text.chunks_exact_mut(2).zip(trace_id.0.to_be_bytes()) {
        two.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(HEADER, value);
    }
}

impl<S: Sync> FromRequestParts<S> for TraceId {
    type Rejection = Infallible;

    /// The request's id; all zeroes outside the layers, which no request is.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Arrival::of(&parts.extensions).map_or(Self(0), |arrival| arrival.trace_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_32_hexadecimal_digits() {
        let mut headers = HeaderMap::new();
        set(&mut headers, TraceId(0x0123_4567_89ab_cdef << 60));
        assert_eq!(headers[HEADER], TraceId(0x0123_4567_89ab_cdef << 60).to_string());
        assert_eq!(TraceId(0xabc).to_string(), "00000000000000000000000000000abc");
        let ids = TraceIds::new(Arc::new(entropy::SystemEntropy));
        let many: std::collections::HashSet<TraceId> = (0..100).map(|_| ids.next()).collect();
        assert_eq!(many.len(), 100);
    }
}
