//! Public keys: as JWK (RFC 7517, RFC 7518 §6, RFC 8037 §2), with their thumbprint (RFC 7638), and ready to verify.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Alg, base64url};

/// The public members of a key, each value base64url. Private members cannot be expressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty", deny_unknown_fields)]
pub enum PublicJwk {
    /// RFC 7518 §6.3.1.
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
    /// RFC 7518 §6.2.1; `crv` is P-256.
    #[serde(rename = "EC")]
    Ec { crv: String, x: String, y: String },
    /// RFC 8037 §2; `crv` is Ed25519.
    #[serde(rename = "OKP")]
    Okp { crv: String, x: String },
}

/// A key as it stands in the JWKS.
#[derive(Serialize)]
pub(super) struct PublishedJwk<'a> {
    #[serde(flatten)]
    pub key: &'a PublicJwk,
    pub kid: &'a str,
    #[serde(rename = "use")]
    pub use_: &'static str,
    pub alg: &'static str,
}

impl PublicJwk {
    /// Can a key of this type be one of `alg`? Which of several an RSA or an Ed25519 key is for, the key itself does not say: that stands
    /// beside it.
    pub fn fits(&self, alg: Alg) -> bool {
        match (alg, self) {
            (Alg::RS256 | Alg::PS256, Self::Rsa { .. }) => true,
            (Alg::ES256, Self::Ec { crv, .. }) => crv == "P-256",
            (Alg::EdDSA | Alg::Ed25519, Self::Okp { crv, .. }) => crv == "Ed25519",
            (Alg::RS256 | Alg::PS256, Self::Ec { .. } | Self::Okp { .. })
            | (Alg::ES256, Self::Rsa { .. } | Self::Okp { .. })
            | (Alg::EdDSA | Alg::Ed25519, Self::Rsa { .. } | Self::Ec { .. }) => false,
        }
    }

    /// SHA-256 over the required members in lexicographic order, base64url (RFC 7638 §3; RFC 8037 §2 for OKP). Our `kid`.
    pub fn thumbprint(&self) -> String {
        // The values are base64url or curve names, which JSON need not escape.
        let canonical = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Self::Ec { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Okp { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
        };
        base64url::encode(&Sha256::digest(canonical.as_bytes()))
    }

    /// The uncompressed point of a key on P-256: 4, x, y. Whether it is on the curve, parsing tells.
    pub(super) fn point(&self) -> Option<Vec<u8>> {
        let Self::Ec { crv, x, y } = self else { return None };
        let (x, y) = (base64url::decode(x)?, base64url::decode(y)?);
        // RFC 7518 §6.2.1.2: the full size of a coordinate, leading zeros included.
        (crv == "P-256" && x.len() == 32 && y.len() == 32).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    }

    /// The key, parsed to verify `alg` and nothing else; `None` if it is not a sound key of that algorithm.
    pub fn parse(&self, alg: Alg) -> Option<PublicKey> {
        if !self.fits(alg) {
            return None;
        }
        let key = match self {
            Self::Rsa { n, e } => {
                let components = RsaPublicKeyComponents { n: base64url::decode(n)?, e: base64url::decode(e)? };
                let parameters = if alg == Alg::PS256 { &RSA_PSS_2048_8192_SHA256 } else { &RSA_PKCS1_2048_8192_SHA256 };
                components.to_parsed_public_key(parameters).ok()?
            }
            Self::Ec { .. } => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.point()?).ok()?,
            Self::Okp { x, .. } => {
                let x = base64url::decode(x)?;
                if x.len() != 32 {
                    return None;
                }
                ParsedPublicKey::new(&ED25519, x).ok()?
            }
        };
        Some(PublicKey { alg, key })
    }
}

/// A public key, parsed once. Its algorithm is its own and not the token's.
pub struct PublicKey {
    alg: Alg,
    key: ParsedPublicKey,
}

impl PublicKey {
    /// The one algorithm that this key verifies.
    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// Whether `signature`, in JWS form (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1), is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.alg)
    }
}

/// The JWK of an RSA public key in PKCS#1 DER (RFC 8017 A.1.1): SEQUENCE { INTEGER n, INTEGER e }.
pub(super) fn rsa_from_der(der: &[u8]) -> Option<PublicJwk> {
    let (sequence, rest) = der_value(0x30, der)?;
    let (n, after_n) = der_value(0x02, sequence)?;
    let (e, after_e) = der_value(0x02, after_n)?;
    if !rest.is_empty() || !after_e.is_empty() {
        return None;
    }
    // RFC 7518 §2: Base64urlUInt has no leading zero octets; DER has one where the top bit is set.
    let unsigned = |integer: &[u8]| base64url::encode(integer.strip_prefix(&[0]).unwrap_or(integer));
    Some(PublicJwk::Rsa { n: unsigned(n), e: unsigned(e) })
}

/// The JWK of an uncompressed P-256 point: 4, x, y.
pub(super) fn ec_from_point(point: &[u8]) -> Option<PublicJwk> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    (y.len() == 32).then(|| PublicJwk::Ec { crv: "P-256".to_owned(), x: base64url::encode(x), y: base64url::encode(y) })
}

/// The JWK of an Ed25519 public key of 32 bytes.
pub(super) fn okp_from_bytes(key: &[u8]) -> Option<PublicJwk> {
    (key.len() == 32).then(|| PublicJwk::Okp { crv: "Ed25519".to_owned(), x: base64url::encode(key) })
}

/// RFC 7518 §3.4: an ECDSA signature as JWS has it, r and s of 32 bytes each, from DER: SEQUENCE { INTEGER r, INTEGER s }. aws-lc makes DER,
/// and its own way from there to the other form costs as much as a tenth of the signature.
pub(super) fn fixed_from_der(der: &[u8]) -> Option<[u8; 64]> {
    let (sequence, rest) = der_value(0x30, der)?;
    let (r, after_r) = der_value(0x02, sequence)?;
    let (s, after_s) = der_value(0x02, after_r)?;
    let mut fixed = [0; 64];
    let (left, right) = fixed.split_at_mut(32);
    for (half, integer) in [(left, r), (right, s)] {
        let digits = integer.strip_prefix(&[0]).unwrap_or(integer);
        half.get_mut(32_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    }
    (rest.is_empty() && after_s.is_empty()).then_some(fixed)
}

/// The contents of the DER value with that tag at the front, and what follows it.
fn der_value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
        0x82 => rest.split_first_chunk::<2>().map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?,
        0x80 | 0x83..=0xff => return None,
    };
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(digits: &[u8]) -> Vec<u8> {
        [&[0x02, u8::try_from(digits.len()).unwrap()], digits].concat()
    }

    fn signature(r: &[u8], s: &[u8]) -> Vec<u8> {
        let both = [integer(r), integer(s)].concat();
        [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
    }

    #[test]
    fn both_halves_of_a_signature_have_32_bytes_however_long_their_numbers_are() {
        let positive = [&[0][..], &[0xff; 32]].concat();
        for (r, s, left, right) in [
            (&[7; 32][..], &positive[..], [7; 32], [0xff; 32]),
            (
                &[1],
                &[0, 0x80],
                {
                    let mut one = [0; 32];
                    one[31] = 1;
                    one
                },
                {
                    let mut high = [0; 32];
                    high[31] = 0x80;
                    high
                },
            ),
        ] {
            assert_eq!(fixed_from_der(&signature(r, s)).unwrap()[..], [left, right].concat());
        }
        let good = signature(&[1; 32], &[2; 32]);
        for bad in [
            signature(&[1; 33], &[2; 32]),
            signature(&[1; 32], &[2; 33]),
            [&good[..], &[0]].concat(),
            good[..60].to_vec(),
            Vec::new(),
        ] {
            assert_eq!(fixed_from_der(&bad), None);
        }
    }

    /// One in 128 has a number with a leading zero.
    #[test]
    fn every_signature_of_ours_verifies() {
        use crate::jose::{Alg, KeyMaker as _, NewKeyPairs, SigningKey};
        let pair = NewKeyPairs.make(Alg::ES256).unwrap();
        let key = SigningKey::from_pkcs8(Alg::ES256, pair.pkcs8.expose()).unwrap();
        let public = pair.public.parse(Alg::ES256).unwrap();
        for number in 0..1000_u32 {
            let message = number.to_be_bytes();
            let signature = key.sign(&message).unwrap();
            assert!(signature.len() == 64 && public.verifies(&message, &signature), "{number}");
        }
    }
}
