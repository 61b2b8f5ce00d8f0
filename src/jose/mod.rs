//! JOSE: keys, signing, strict verification (RFC 7515, 7517, 7518, 7638, 8037).

use serde::{Deserialize, Serialize};

/// A signature algorithm that this server makes keys for (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Alg {
    #[default]
    RS256,
    ES256,
    EdDSA,
}
