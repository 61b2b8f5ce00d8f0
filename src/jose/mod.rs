//! JOSE: keys, signing, strict verification, encryption to others (RFC 7515 to 7518, 7638, 8037).
//!
//! Our tokens are signed by aws-lc keys that were parsed once. What comes back passes a strict reader of our own before any
//! signature is looked at; the algorithm is the key's, never the token's (RFC 8725 §3.1). This room knows no database and no HTTP.

mod alg;
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

pub use alg::Alg;
pub use jwe::{Content, ContentEncryption, EncryptError, KeyManagement, encrypt};
pub use jwk::{PublicJwk, PublicKey};
pub use jwk_set::{Jwk, JwkSet};
pub use keyset::{KeyEntry, KeySet};
pub use life::{Event, KeyLife, KeyState, KeyTimes, plan};
pub use signing_key::{KeyMaker, KeyPair, NewKeyPairs, SignError, SigningKey};
pub use strict_json::{JsonError, object};
pub use theirs::{ClientJwt, NotVerified};
pub use verify::{Typ, Verified};
