//! Encryption to a client's key (RFC 7516 compact serialisation, RFC 7518 §4 and §5). This server encrypts and never decrypts: it has no
//! key that anybody could encrypt to.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{PublicJwk, base64url, jwk};
use crate::entropy::{self, Entropy};

/// The longest text that is encrypted, in bytes.
const MAX_PLAIN: usize = 1024 * 1024;

/// How the key of the content gets to the client (RFC 7518 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum KeyManagement {
    /// RFC 7518 §4.3, to an RSA key.
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
    /// RFC 7518 §4.6 in direct agreement, to a key on P-256.
    #[serde(rename = "ECDH-ES")]
    EcdhEs,
}

/// How the content is encrypted (RFC 7518 §5.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ContentEncryption {
    /// RFC 7518 §5.2.3. OpenID Connect Registration §2: the default where a client registers the key management alone.
    #[default]
    #[serde(rename = "A128CBC-HS256")]
    A128CbcHs256,
    #[serde(rename = "A128GCM")]
    A128Gcm,
    #[serde(rename = "A256GCM")]
    A256Gcm,
}

/// What is inside, as the header says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A signed JWT (RFC 7519 §5.2, §11.2).
    Nested,
    /// Claims.
    Claims,
}

/// Why nothing was encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The key is not sound, or not of the kind that the algorithm needs.
    #[error("the key cannot be used with {0}")]
    Key(KeyManagement),
    #[error("{0} bytes are too many to be encrypted")]
    TooLong(usize),
    /// aws-lc could not encrypt.
    #[error("encrypting with {0} failed")]
    Encrypt(ContentEncryption),
}

impl KeyManagement {
    /// Every algorithm: the order in discovery.
    pub const ALL: [Self; 2] = [Self::RsaOaep256, Self::EcdhEs];

    /// As in `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::EcdhEs => "ECDH-ES",
        }
    }
}

impl ContentEncryption {
    /// Every algorithm: the order in discovery.
    pub const ALL: [Self; 3] = [Self::A128CbcHs256, Self::A128Gcm, Self::A256Gcm];

    /// As in `enc`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A128CbcHs256 => "A128CBC-HS256",
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
        }
    }

    /// The bytes of its key (RFC 7518 §5.2.3, §5.3).
    const fn key_len(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A128CbcHs256 | Self::A256Gcm => 32,
        }
    }
}

impl fmt::Display for KeyManagement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ContentEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    enc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cty: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epk: Option<PublicJwk>,
}

/// Encrypts `plain` to `key` (RFC 7516 §5.1): five segments.
///
/// # Errors
/// A key that does not fit, or a text without end.
pub fn encrypt(
    (alg, enc): (KeyManagement, ContentEncryption),
    (key, kid): (&PublicJwk, Option<&str>),
    content: Content,
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Result<String, EncryptError> {
    if plain.len() > MAX_PLAIN {
        return Err(EncryptError::TooLong(plain.len()));
    }
    let (content_key, encrypted_key, epk) = match alg {
        KeyManagement::RsaOaep256 => {
            let mut fresh = Zeroizing::new(vec![0; enc.key_len()]);
            entropy.fill(&mut fresh);
            let encrypted = wrap(key, &fresh).ok_or(EncryptError::Key(alg))?;
            (fresh, encrypted, None)
        }
        KeyManagement::EcdhEs => {
            let (agreed, epk) = agree(key, enc).ok_or(EncryptError::Key(alg))?;
            (agreed, Vec::new(), Some(epk))
        }
    };
    let cty = match content {
        Content::Nested => Some("JWT"),
        Content::Claims => None,
    };
    let failed = || EncryptError::Encrypt(enc);
    let header = serde_json::to_vec(&Header { alg: alg.as_str(), enc: enc.as_str(), kid, cty, epk }).map_err(|_| failed())?;
    let mut jwe = base64url::encode(&header);
    let sealed = seal(enc, &content_key, jwe.as_bytes(), plain, entropy).ok_or_else(failed)?;
    jwe.reserve(4 + (encrypted_key.len() + sealed.text.len() + sealed.iv.len() + sealed.tag.len()) * 4 / 3 + 12);
    for part in [&encrypted_key, &sealed.iv, &sealed.text, &sealed.tag] {
        jwe.push('.');
        URL_SAFE_NO_PAD.encode_string(part, &mut jwe);
    }
    Ok(jwe)
}

/// RFC 7518 §4.3: RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
fn wrap(key: &PublicJwk, content_key: &[u8]) -> Option<Vec<u8>> {
    let PublicJwk::Rsa { n, e } = key else { return None };
    let components = RsaPublicKeyComponents { n: base64url::decode(n)?, e: base64url::decode(e)? };
    let key = PublicEncryptingKey::from_der(components.as_der().ok()?.as_ref()).ok()?;
    let key = OaepPublicEncryptingKey::new(key).ok()?;
    let mut out = vec![0; key.ciphertext_size()];
    let len = key.encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut out, None).ok()?.len();
    out.truncate(len);
    Some(out)
}

/// RFC 7518 §4.6: a key agreed between a pair that is made for this message alone and the client's, and the public half of that pair.
fn agree(key: &PublicJwk, enc: ContentEncryption) -> Option<(Zeroizing<Vec<u8>>, PublicJwk)> {
    let theirs = UnparsedPublicKey::new(&ECDH_P256, key.point()?);
    let ours = agreement::PrivateKey::generate(&ECDH_P256).ok()?;
    let epk = jwk::ec_from_point(ours.compute_public_key().ok()?.as_ref())?;
    let agreed = agreement::agree(&ours, theirs, (), |z| Ok(concat_kdf(z, enc.as_str(), (b"", b""), enc.key_len()))).ok()?;
    Some((agreed, epk))
}

/// RFC 7518 §4.6.2: the Concat KDF of NIST SP 800-56A with SHA-256, in the one round that keys of up to 32 bytes need.
fn concat_kdf(z: &[u8], algorithm_id: &str, (apu, apv): (&[u8], &[u8]), len: usize) -> Zeroizing<Vec<u8>> {
    // None of these is longer than 2³² bytes.
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut hash = Sha256::new();
    hash.update(1_u32.to_be_bytes());
    hash.update(z);
    for part in [algorithm_id.as_bytes(), apu, apv] {
        hash.update(length(part.len()));
        hash.update(part);
    }
    hash.update(length(len * 8));
    Zeroizing::new(hash.finalize().iter().copied().take(len).collect())
}

/// Ciphertext, initialization vector and authentication tag.
struct Sealed {
    iv: Vec<u8>,
    text: Vec<u8>,
    tag: Vec<u8>,
}

fn seal(enc: ContentEncryption, key: &[u8], aad: &[u8], plain: &[u8], entropy: &dyn Entropy) -> Option<Sealed> {
    match enc {
        ContentEncryption::A128CbcHs256 => aes_cbc_hmac(key, &entropy::bytes::<16>(entropy), aad, plain),
        ContentEncryption::A128Gcm | ContentEncryption::A256Gcm => {
            let algorithm = if enc == ContentEncryption::A128Gcm { &AES_128_GCM } else { &AES_256_GCM };
            let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
            // The key is for this message alone, and so is the IV.
            let iv = entropy::bytes::<NONCE_LEN>(entropy);
            let mut text = plain.to_vec();
            let nonce = Nonce::assume_unique_for_key(iv);
            let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut text).ok()?;
            Some(Sealed { iv: iv.to_vec(), text, tag: tag.as_ref().to_vec() })
        }
    }
}

/// RFC 7518 §5.2.2.1 with the lengths of §5.2.3: the first half of the key authenticates, the second encrypts.
fn aes_cbc_hmac(key: &[u8], iv: &[u8; 16], aad: &[u8], plain: &[u8]) -> Option<Sealed> {
    let (mac_key, enc_key) = key.split_at_checked(16)?;
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, enc_key).ok()?).ok()?;
    let mut text = plain.to_vec();
    cipher.less_safe_encrypt(&mut text, EncryptionContext::Iv128(iv.into())).ok()?;
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, mac_key));
    mac.update(aad);
    mac.update(iv);
    mac.update(&text);
    // AL: the bits of the additional data, as 64-bit integer.
    mac.update(&u64::try_from(aad.len()).ok()?.checked_mul(8)?.to_be_bytes());
    let tag = mac.sign().as_ref().get(..16)?.to_vec();
    Some(Sealed { iv: iv.to_vec(), text, tag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;
    use crate::jose::{Alg, KeyMaker as _, NewKeyPairs, strict_json};

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 7518 appendix B.1.
    #[test]
    fn rfc_7518_appendix_b_a128cbc_hs256() {
        let key: Vec<u8> = (0..32).collect();
        let plain = b"A cipher system must not be required to be secret, and it must be able to fall into the hands of the enemy \
                      without inconvenience";
        let iv = hex("1af38c2dc2b96ffdd86694092341bc04").try_into().unwrap();
        let sealed = aes_cbc_hmac(&key, &iv, b"The second principle of Auguste Kerckhoffs", plain).unwrap();
        let expected = concat!(
            "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9a94ac9b47ad2655c5f10f9aef71427e2",
            "fc6f9b3f399a221489f16362c703233609d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b",
            "384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade54b8851ffb598f7f80074b9473c82e2db",
        );
        assert_eq!(sealed.text, hex(expected));
        assert_eq!(sealed.tag, hex("652c3fa36b0a7c5b3219fab3a30bc1c4"));
    }

    /// RFC 7516 appendix A.1.
    #[test]
    fn rfc_7516_appendix_a1_a256gcm() {
        struct Fixed;
        impl Entropy for Fixed {
            fn fill(&self, out: &mut [u8]) {
                out.copy_from_slice(&[227, 197, 117, 252, 2, 219, 233, 68, 180, 225, 77, 219]);
            }
        }
        let key = [
            177, 161, 244, 128, 84, 143, 225, 115, 63, 180, 3, 255, 107, 154, 212, 246, 138, 7, 110, 91, 112, 46, 34, 105, 47, 130,
            203, 46, 122, 234, 64, 252,
        ];
        let header = b"eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ";
        let plain = b"The true sign of intelligence is not knowledge but imagination.";
        let sealed = seal(ContentEncryption::A256Gcm, &key, header, plain, &Fixed).unwrap();
        let expected = "5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A";
        assert_eq!(
            (base64url::encode(&sealed.text).as_str(), base64url::encode(&sealed.tag).as_str()),
            (expected, "XFBoMYUZodetZdvTiFvSkQ")
        );
    }

    /// RFC 7518 appendix C.
    #[test]
    fn rfc_7518_appendix_c_concat_kdf() {
        let z = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128, 106, 72, 246,
            218, 167, 121, 140, 254, 144, 196,
        ];
        assert_eq!(base64url::encode(&concat_kdf(&z, "A128GCM", (b"Alice", b"Bob"), 16)), "VqqN6vgjbSBcIijNcacQGg");
    }

    /// That clients can open it is shown by theirs: tests/it/flows/sealed.rs, tests/clients, tests/python.
    #[test]
    fn nothing_is_the_same_twice_and_the_header_says_how() {
        let [rsa, ec] = [Alg::RS256, Alg::ES256].map(|alg| NewKeyPairs.make(alg).unwrap().public);
        for enc in ContentEncryption::ALL {
            for (alg, key) in [(KeyManagement::RsaOaep256, &rsa), (KeyManagement::EcdhEs, &ec)] {
                let made = || encrypt((alg, enc), (key, Some("k")), Content::Nested, b"a.b.c", &SystemEntropy).unwrap();
                let (one, two) = (made(), made());
                let [one, two] = [&one, &two].map(|jwe| jwe.split('.').collect::<Vec<_>>());
                assert_eq!(one.len(), 5);
                assert_eq!(
                    one[1].is_empty(),
                    alg == KeyManagement::EcdhEs,
                    "RFC 7518 section 4.6: direct agreement has no encrypted key"
                );
                assert!(one[2] != two[2] && one[3] != two[3] && one[4] != two[4]);
                assert_eq!(one[0] == two[0], alg == KeyManagement::RsaOaep256, "a fresh key pair for each message");
                let header = strict_json::object(&base64url::decode(one[0]).unwrap()).unwrap();
                assert_eq!((&header["alg"], &header["enc"]), (&alg.as_str().into(), &enc.as_str().into()));
                assert_eq!((&header["kid"], &header["cty"]), (&"k".into(), &"JWT".into()));
            }
        }
        let algs = (KeyManagement::EcdhEs, ContentEncryption::A128Gcm);
        let plain = encrypt(algs, (&ec, None), Content::Claims, b"{}", &SystemEntropy).unwrap();
        let header = strict_json::object(&base64url::decode(plain.split('.').next().unwrap()).unwrap()).unwrap();
        assert!(
            !header.contains_key("kid") && !header.contains_key("cty") && !header["epk"].as_object().unwrap().contains_key("d")
        );
    }

    #[test]
    fn a_key_of_another_kind_or_a_text_without_end_is_refused() {
        let keys = [Alg::RS256, Alg::ES256, Alg::EdDSA].map(|alg| NewKeyPairs.make(alg).unwrap().public);
        let works = |alg: KeyManagement, key: &PublicJwk, plain: &[u8]| {
            encrypt((alg, ContentEncryption::A256Gcm), (key, None), Content::Nested, plain, &SystemEntropy).is_ok()
        };
        assert_eq!([0, 1, 2].map(|at| works(KeyManagement::RsaOaep256, &keys[at], b"x")), [true, false, false]);
        assert_eq!([0, 1, 2].map(|at| works(KeyManagement::EcdhEs, &keys[at], b"x")), [false, true, false]);
        assert!(works(KeyManagement::EcdhEs, &keys[1], &vec![0; MAX_PLAIN]));
        assert!(!works(KeyManagement::EcdhEs, &keys[1], &vec![0; MAX_PLAIN + 1]));
        // RFC 7518 §8.1, the invalid curve attack: a point that is not on the curve.
        let off = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU".to_owned();
        let off = PublicJwk::Ec { crv: "P-256".to_owned(), x: off.clone(), y: off };
        assert!(!works(KeyManagement::EcdhEs, &off, b"x"));
    }

    #[test]
    fn names_are_those_that_registration_knows() {
        for alg in KeyManagement::ALL {
            assert_eq!(serde_json::json!(alg), alg.as_str());
        }
        for enc in ContentEncryption::ALL {
            assert_eq!(serde_json::json!(enc), enc.as_str());
        }
    }
}
