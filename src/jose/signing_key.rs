//! Private keys: made, kept parsed, used. Parsing an RSA key costs a good part of a signature, so it happens once (design 4.5).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Alg, PublicJwk, Typ, base64url, jwk};
use crate::json::ToJson;
use crate::secret::Secret;

/// Bytes of most claims.
const USUAL: usize = 512;

/// Why a key could not be made or read, or a token not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// aws-lc could not make a key.
    #[error("no {0} key could be made")]
    Generate(Alg),
    /// The PKCS#8 document is not a key of this algorithm.
    #[error("the stored {0} key cannot be read")]
    Unreadable(Alg),
    /// aws-lc could not sign.
    #[error("signing with {0} failed")]
    Sign(Alg),
    /// The claims are not JSON.
    #[error("the claims cannot be written as JSON: {0}")]
    Claims(String),
}

/// Where new key pairs come from. Making an RSA key takes some 40 ms of processor time: call it off the runtime's workers.
pub trait KeyMaker: Send + Sync + 'static {
    /// A new key pair: RSA of 2048 bits, P-256, or Ed25519.
    fn make(&self, alg: Alg) -> Result<KeyPair, SignError>;
}

/// Key pairs made by aws-lc, from the operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewKeyPairs;

/// A key pair before it has a row: the private half in PKCS#8.
pub struct KeyPair {
    pub alg: Alg,
    pub kid: String,
    pub public: PublicJwk,
    pub pkcs8: Secret<Vec<u8>>,
}

impl KeyMaker for NewKeyPairs {
    fn make(&self, alg: Alg) -> Result<KeyPair, SignError> {
        let failed = |_| SignError::Generate(alg);
        let pkcs8 = match alg {
            Alg::RS256 | Alg::PS256 => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                Secret::new(key.as_der().map_err(failed)?.as_ref().to_vec())
            }
            Alg::ES256 => {
                let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
                Secret::new(key.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
            }
            Alg::EdDSA | Alg::Ed25519 => {
                let key = Ed25519KeyPair::generate().map_err(failed)?;
                Secret::new(key.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
            }
        };
        let key = SigningKey::from_pkcs8(alg, pkcs8.expose())?;
        Ok(KeyPair { alg, kid: key.kid, public: key.public, pkcs8 })
    }
}

enum Private {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// As JWS wants it.
enum Signature {
    Rsa(Vec<u8>),
    Curve([u8; 64]),
}

/// A private key, parsed once and used by all requests, with its headers encoded beforehand.
pub struct SigningKey {
    /// The RFC 7638 thumbprint of the public key.
    pub kid: String,
    pub alg: Alg,
    pub public: PublicJwk,
    private: Private,
    /// One encoded header with its dot for each type that we issue.
    headers: [(Typ, String); 3],
}

impl SigningKey {
    /// Parses a PKCS#8 document.
    pub fn from_pkcs8(alg: Alg, pkcs8: &[u8]) -> Result<Self, SignError> {
        let unreadable = |_| SignError::Unreadable(alg);
        let (private, public) = match alg {
            Alg::RS256 | Alg::PS256 => {
                let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(unreadable)?;
                let public = jwk::rsa_from_der(key.public_key().as_ref());
                // RFC 7518 §3.5: the salt is as long as the hash, which is what aws-lc does.
                let encoding: &'static dyn RsaEncoding = if alg == Alg::PS256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                (Private::Rsa(key, encoding), public)
            }
            Alg::ES256 => {
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map_err(unreadable)?;
                let public = jwk::ec_from_point(key.public_key().as_ref());
                (Private::Ec(key), public)
            }
            Alg::EdDSA | Alg::Ed25519 => {
                let key = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(unreadable)?;
                let public = jwk::okp_from_bytes(key.public_key().as_ref());
                (Private::Ed(key), public)
            }
        };
        let public = public.ok_or(SignError::Unreadable(alg))?;
        let kid = public.thumbprint();
        let headers = Typ::ALL.map(|typ| (typ, header(alg, &kid, Some(typ.as_str()))));
        Ok(Self { kid, alg, public, private, headers })
    }

    /// Signs `claims` as a compact JWS whose header is `alg`, `kid` and `typ` (RFC 7515 §3.1).
    pub fn sign_jwt(&self, typ: &str, claims: &impl ToJson) -> Result<String, SignError> {
        match self.headers.iter().find(|(known, _)| known.as_str() == typ) {
            Some((_, header)) => self.sign_under(header, claims),
            None => self.sign_under(&header(self.alg, &self.kid, Some(typ)), claims),
        }
    }

    /// The same without `typ`, for what has no type of its own and must be taken for none of the others (RFC 8725 §3.11).
    pub fn sign_untyped(&self, claims: &impl ToJson) -> Result<String, SignError> {
        self.sign_under(&header(self.alg, &self.kid, None), claims)
    }

    fn sign_under(&self, header: &str, claims: &impl ToJson) -> Result<String, SignError> {
        let mut json = Vec::with_capacity(USUAL);
        claims.write(&mut json).map_err(|error| SignError::Claims(error.to_string()))?;
        let claims = json;
        // Header, claims, dot, an RSA signature, and what stands around it in an answer: one allocation, of a size that the allocator is quick at.
        let mut jwt = String::with_capacity((360 + claims.len() * 4 / 3 + self.length()).next_power_of_two());
        jwt.push_str(header);
        URL_SAFE_NO_PAD.encode_string(&claims, &mut jwt);
        let signature = self.made(jwt.as_bytes())?;
        jwt.push('.');
        match &signature {
            Signature::Rsa(signature) => URL_SAFE_NO_PAD.encode_string(signature, &mut jwt),
            Signature::Curve(signature) => URL_SAFE_NO_PAD.encode_string(signature, &mut jwt),
        }
        Ok(jwt)
    }

    /// The signature in the form that JWS wants (RFC 7518 §3.3 to §3.5; RFC 8037 §3.1).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(match self.made(message)? {
            Signature::Rsa(signature) => signature,
            Signature::Curve(signature) => signature.to_vec(),
        })
    }

    /// Characters of a signature.
    fn length(&self) -> usize {
        match &self.private {
            Private::Rsa(key, _) => key.public_modulus_len() * 4 / 3 + 1,
            Private::Ec(_) | Private::Ed(_) => 86,
        }
    }

    fn made(&self, message: &[u8]) -> Result<Signature, SignError> {
        let failed = SignError::Sign(self.alg);
        match &self.private {
            Private::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| failed)?;
                Ok(Signature::Rsa(signature))
            }
            // What aws-lc gives back has room for any signature there is, 4.6 KB, and is looked at where it lies. Hashed apart, the message
            // needs none of the contexts that it would be hashed and signed with.
            Private::Ec(key) => match &key.sign_digest(&digest(&SHA256, message)) {
                Ok(signature) => jwk::fixed_from_der(signature.as_ref()).map(Signature::Curve).ok_or(failed),
                Err(_) => Err(failed),
            },
            Private::Ed(key) => match &key.try_sign(message) {
                Ok(signature) => signature.as_ref().try_into().map(Signature::Curve).map_err(|_| failed),
                Err(_) => Err(failed),
            },
        }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({} {})", self.alg, self.kid)
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair({} {})", self.alg, self.kid)
    }
}

fn header(alg: Alg, kid: &str, typ: Option<&str>) -> String {
    let json = match typ {
        Some(typ) => serde_json::json!({ "alg": alg.as_str(), "kid": kid, "typ": typ }),
        None => serde_json::json!({ "alg": alg.as_str(), "kid": kid }),
    };
    base64url::encode(json.to_string().as_bytes()) + "."
}
