//! One key of a client's set: what is taken, and what it may be used for (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2; security.md R-33).

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::jose::header::MAX_KID;
use crate::jose::{Alg, PublicJwk, PublicKey, base64url};

/// An RSA modulus has at least 2,048 bits (RFC 7518 §3.3) and at most 4,096: more is work without gain.
const MAX_RSA_BYTES: usize = 512;
/// What is in the database may have come before that limit was as narrow.
const STORED_RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
const RSA_EXPONENT: &str = "is an RSA key whose \"e\" has more than 33 bits; 65537 is usual";
const RSA_SIZE: &str = "is an RSA key of fewer than 2048 or more than 4096 bits (RFC 7518 section 3.3)";
/// Members that no public key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key of a client's, as its set brought it.
#[derive(Clone)]
pub struct Jwk {
    pub key: PublicJwk,
    /// Opaque, at most 256 bytes.
    pub kid: Option<String>,
    pub(super) usage: Option<Usage>,
    /// The one algorithm that it is meant for, of signatures or of encryption.
    pub(super) alg: Option<String>,
    pub(super) key_ops: Option<Vec<String>>,
    verifier: Arc<Verifier>,
}

/// RFC 7517 §4.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Usage {
    Sig,
    Enc,
}

/// The key, parsed.
struct Verifier {
    key: PublicKey,
    /// Of RSA keys, which sign in two ways.
    pss: Option<PublicKey>,
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}

impl PublicJwk {
    /// Why nobody may bring such a key.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let Self::Rsa { n, e } = self else { return None };
        let (Some(modulus), Some(exponent)) = (base64url::decode(n), base64url::decode(e)) else {
            return Some("is not base64url without padding");
        };
        if modulus.len() > MAX_RSA_BYTES {
            return Some(RSA_SIZE);
        }
        if !is_odd(&modulus) {
            return Some("is an RSA key whose \"n\" is even, and so no product of primes");
        }
        match exponent.as_slice() {
            // RFC 8017 §3.1: odd and at least 3. Longer ones than 33 bits are for slowing down whoever verifies.
            [1] => Some("is an RSA key whose \"e\" is 1"),
            [.., last] if last % 2 == 0 => Some("is an RSA key whose \"e\" is even"),
            [first, _, _, _, _] if *first > 1 => Some(RSA_EXPONENT),
            [_, _, _, _, _, _, ..] => Some(RSA_EXPONENT),
            _ => None,
        }
    }
}

impl Jwk {
    /// Reads a member of `keys`.
    pub(super) fn of(value: Value) -> Result<Self, Refused> {
        let wrong = |why: &str| Refused::Wrong(why.to_owned());
        let Value::Object(mut members) = value else { return Err(wrong("is not an object")) };
        if let Some(name) = PRIVATE.into_iter().find(|name| members.contains_key(*name)) {
            return Err(Refused::Wrong(format!(
                "has {name:?}: it is a private or symmetric key. Replace it, it has been seen, and send the public half alone"
            )));
        }
        let mut text = |name: &str| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(Refused::Wrong(format!("has {name:?}, which is not a text, or empty"))),
        };
        let kty = text("kty")?.ok_or_else(|| wrong("has no \"kty\""))?;
        let (kid, usage, alg, crv) = (text("kid")?, text("use")?, text("alg")?, text("crv")?);
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Refused::Wrong(format!("has a \"kid\" of more than {MAX_KID} bytes")));
        }
        let mut part = |name: &str| {
            let part = text(name)?.ok_or_else(|| Refused::Wrong(format!("has no {name:?}")))?;
            match base64url::decode(&part) {
                Some(bytes) if !bytes.is_empty() => Ok((part, bytes)),
                Some(_) | None => Err(Refused::Wrong(format!("has {name:?}, which is not base64url without padding"))),
            }
        };
        let unused = |what: &str| Refused::Unused(format!("is of a kind that is not used here: {what}"));
        let key = match (kty.as_str(), crv.as_deref()) {
            ("RSA", _) => {
                let ((n, modulus), (e, exponent)) = (part("n")?, part("e")?);
                // RFC 7518 §2, Base64urlUInt: no leading zero octets.
                let top = modulus.first().copied().unwrap_or(0);
                if top == 0 || exponent.first() == Some(&0) {
                    return Err(wrong("has leading zeros in \"n\" or \"e\" (RFC 7518 section 2)"));
                }
                if !STORED_RSA_BYTES.contains(&modulus.len()) || (modulus.len() == *STORED_RSA_BYTES.start() && top < 0x80) {
                    return Err(wrong(RSA_SIZE));
                }
                PublicJwk::Rsa { n, e }
            }
            ("EC", Some("P-256")) => PublicJwk::Ec { crv: "P-256".to_owned(), x: part("x")?.0, y: part("y")?.0 },
            ("OKP", Some("Ed25519")) => PublicJwk::Okp { crv: "Ed25519".to_owned(), x: part("x")?.0 },
            ("EC", _) => return Err(unused("EC keys are those of the curve P-256")),
            ("OKP", _) => return Err(unused("OKP keys are those of the curve Ed25519")),
            ("oct", _) => return Err(wrong("is a symmetric key")),
            _ => return Err(unused("keys are RSA, EC or OKP")),
        };
        let usage = match usage.as_deref() {
            None => None,
            Some("sig") => Some(Usage::Sig),
            Some("enc") => Some(Usage::Enc),
            Some(_) => return Err(unused("\"use\" is sig or enc")),
        };
        let key_ops = match members.remove("key_ops") {
            None => None,
            Some(Value::Array(ops)) if ops.len() <= 16 && ops.iter().all(Value::is_string) => {
                Some(ops.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            Some(_) => return Err(wrong("has \"key_ops\", which is not a short list of texts")),
        };
        let verifier = Verifier::parse(&key).ok_or_else(|| wrong("is no sound key: its values are not those of its kind"))?;
        Ok(Self { key, kid, usage, alg, key_ops, verifier: Arc::new(verifier) })
    }

    /// May it have signed by `alg`?
    pub fn may_verify(&self, alg: Alg) -> bool {
        let named = self.alg.as_deref().is_none_or(|name| Alg::from_name(name).is_some_and(|own| own.is_same(alg)));
        self.key.fits(alg) && named && self.usage != Some(Usage::Enc) && self.allows(&["verify"])
    }

    /// May something be encrypted to it by `alg`?
    pub fn may_encrypt(&self, alg: &str) -> bool {
        let fits = match &self.key {
            // Stored sets may have an even modulus, to which nothing can be encrypted.
            PublicJwk::Rsa { n, .. } => alg.starts_with("RSA-OAEP") && base64url::decode(n).is_some_and(|n| is_odd(&n)),
            PublicJwk::Ec { .. } => alg.starts_with("ECDH-ES"),
            PublicJwk::Okp { .. } => false,
        };
        let named = self.alg.as_deref().is_none_or(|own| own == alg);
        fits && named && self.usage != Some(Usage::Sig) && self.allows(&["encrypt", "wrapKey", "deriveKey", "deriveBits"])
    }

    /// RFC 7517 §4.3. An empty list says nothing: browsers write it into every public key for ECDH.
    fn allows(&self, wanted: &[&str]) -> bool {
        self.key_ops.as_ref().is_none_or(|ops| ops.is_empty() || ops.iter().any(|op| wanted.contains(&op.as_str())))
    }

    /// Whether `signature` is this key's over `message` by `alg`, which it has to be for.
    pub(in crate::jose) fn verifies(&self, alg: Alg, message: &[u8], signature: &[u8]) -> bool {
        self.may_verify(alg)
            && match alg {
                Alg::PS256 => self.verifier.pss.as_ref().is_some_and(|key| key.verifies(message, signature)),
                Alg::RS256 | Alg::ES256 | Alg::EdDSA | Alg::Ed25519 => self.verifier.key.verifies(message, signature),
            }
    }
}

impl Verifier {
    fn parse(key: &PublicJwk) -> Option<Self> {
        let key_for = |alg: Alg| key.parse(alg);
        let (key, pss) = match key {
            PublicJwk::Rsa { .. } => (key_for(Alg::RS256)?, Some(key_for(Alg::PS256)?)),
            PublicJwk::Ec { .. } => (key_for(Alg::ES256)?, None),
            PublicJwk::Okp { .. } => (key_for(Alg::EdDSA)?, None),
        };
        Some(Self { key, pss })
    }
}

/// Why a key is not taken.
pub(super) enum Refused {
    /// RFC 7517 §5: not understood, and left out.
    Unused(String),
    /// A fault: the whole set is refused.
    Wrong(String),
}

impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        self.shown() == other.shown()
    }
}

impl Eq for Jwk {}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwk({:?} {})", self.kid, self.key.thumbprint())
    }
}
