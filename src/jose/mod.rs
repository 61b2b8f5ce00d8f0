//! JOSE: keys, signing, strict verification, encryption to others (RFC 7515 to 7518, 7638, 8037).
//!
//! Our tokens are signed by aws-lc keys that were parsed once. What comes back passes a strict reader of our own before any
//! signature is looked at; the algorithm is the key's, never the token's (RFC 8725 §3.1). This room knows no database and no HTTP.

mod base64url;
mod header;
mod jwe;
mod jwk;
mod jwk_set;
mod keyset;
mod life;
mod signing_key;
pub(crate) mod strict_json;
mod theirs;
mod verify;

#[cfg(test)]
mod rfc_vectors;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use jwe::{Content, ContentEncryption, EncryptError, KeyManagement, encrypt};
pub use jwk::{PublicJwk, PublicKey};
pub use jwk_set::{ClientAlg, Jwk, JwkSet};
pub use keyset::{KeyEntry, KeySet};
pub use life::{Event, KeyLife, KeyState, KeyTimes, plan};
pub use signing_key::{KeyMaker, KeyPair, NewKeyPairs, SignError, SigningKey};
pub use strict_json::{JsonError, object};
pub use theirs::{ClientJwt, NotVerified};
pub use verify::{Typ, Verified};

/// A signature algorithm that this server makes keys for (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2). Each has keys of its own:
/// what a key is for is one thing, and its JWK says which.
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

    /// Are its keys made at the first start? Those of the others are made when a client or a resource registers the algorithm: every
    /// reader of the JWKS would have to know them, and making an RSA key takes its time.
    pub const fn is_made_at_start(self) -> bool {
        match self {
            Self::RS256 | Self::ES256 | Self::EdDSA => true,
            Self::PS256 | Self::Ed25519 => false,
        }
    }

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
}

impl fmt::Display for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
