//! The signature algorithms, ours and our clients': those of RFC 7518 §3.1 that need no shared secret and no SHA-1, and Ed25519 under
//! both of its names (RFC 8037 §3.1, RFC 9864 §2.2).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signature algorithm, for what this server signs and for what its clients do. Of our own keys each is for one of them alone, and its
/// JWK says for which.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Alg {
    #[default]
    RS256,
    PS256,
    ES256,
    /// Ed25519 under the name of RFC 8037.
    EdDSA,
    /// Ed25519 under the name of RFC 9864.
    Ed25519,
}

impl Alg {
    /// Every algorithm, the default first: the order in JWKS and discovery.
    pub const ALL: [Self; 5] = [Self::RS256, Self::PS256, Self::ES256, Self::EdDSA, Self::Ed25519];

    /// The `alg` of RFC 7518, RFC 8037 and RFC 9864.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The algorithm of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.as_str() == name)
    }

    /// Are its keys made at the first start? Those of the others are made when a client or a resource registers the algorithm: every
    /// reader of the JWKS would have to know them, and making an RSA key takes its time.
    pub const fn is_made_at_start(self) -> bool {
        match self {
            Self::RS256 | Self::ES256 | Self::EdDSA => true,
            Self::PS256 | Self::Ed25519 => false,
        }
    }

    /// FAPI 2.0 Security Profile §5.4.1: the padding of RS256 is not to be used.
    pub const fn is_for_fapi2(self) -> bool {
        match self {
            Self::RS256 => false,
            Self::PS256 | Self::ES256 | Self::EdDSA | Self::Ed25519 => true,
        }
    }

    /// Is it the same, perhaps under another name? A client that is registered for `EdDSA` may say `Ed25519`.
    pub fn is_same(self, other: Self) -> bool {
        let one = |alg| if alg == Self::Ed25519 { Self::EdDSA } else { alg };
        one(self) == one(other)
    }
}

impl fmt::Display for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
