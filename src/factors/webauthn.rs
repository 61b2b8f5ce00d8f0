//! Passkeys: what a relying party checks of a registration (Web Authentication Level 3, §7.1) and of an assertion (§7.2).
//!
//! No attestation is asked for, so a registration proves nothing but that somebody at this browser made a key for this server; the key
//! itself comes as SubjectPublicKeyInfo, which browsers take out of the attestation for us (§5.2.1.1), and no CBOR is read. Signatures
//! are checked by aws-lc-rs.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::jose::strict_json;
use crate::secret::constant_time_eq;

/// A credential id has at most so many bytes (§4).
const LONGEST_ID: usize = 1023;
/// A public key in DER: an RSA key of 8192 bits and what is around it.
const LONGEST_KEY: usize = 1200;
/// rpIdHash, flags, signCount (§6.1).
const HEAD: usize = 37;

/// The algorithms that are offered (COSE identifiers), best first.
pub const ALGORITHMS: [i64; 3] = [-7, -8, -257];

/// What every answer of an authenticator is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The origin of the issuer, as a browser writes it.
    pub origin: &'a str,
    /// The host of the issuer.
    pub rp_id: &'a str,
    /// The bytes that were given to the browser.
    pub challenge: &'a [u8],
}

/// Why an answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Not what a browser sends.
    Form,
    /// Another type of ceremony, challenge, origin or relying party.
    Context,
    /// Nobody touched the authenticator, or it did not verify its person where that is needed.
    Presence,
    /// The signature does not hold.
    Signature,
    /// The counter went backwards: there may be a copy of the key (§6.1.1).
    Counter,
}

/// A new passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPasskey {
    pub credential_id: Vec<u8>,
    /// COSE identifier: one of [`ALGORITHMS`].
    pub algorithm: i64,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub sign_count: u32,
    /// It may be copied to other devices of the person (BE, §6.1.3).
    pub synced: bool,
    /// The authenticator verified its person.
    pub verified: bool,
}

/// An assertion as it came, before it is known whose passkey it is.
#[derive(Debug, Clone)]
pub struct Assertion {
    pub credential_id: Vec<u8>,
    client_data: Vec<u8>,
    authenticator_data: Vec<u8>,
    signature: Vec<u8>,
}

/// What a good assertion says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asserted {
    pub sign_count: u32,
    pub verified: bool,
    pub synced: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrationJson {
    client_data: String,
    authenticator_data: String,
    public_key: String,
    algorithm: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssertionJson {
    id: String,
    client_data: String,
    authenticator_data: String,
    signature: String,
}

/// Checks a registration as our script sends it.
///
/// # Errors
/// What is wrong with it.
pub fn register(json: &str, expected: &Expected<'_>) -> Result<NewPasskey, Wrong> {
    let sent: RegistrationJson = serde_json::from_str(json).map_err(|_| Wrong::Form)?;
    let client_data = decode(&sent.client_data)?;
    check_client_data(&client_data, "webauthn.create", expected)?;
    let bytes = decode(&sent.authenticator_data)?;
    let data = AuthenticatorData::read(&bytes, expected.rp_id)?;
    let credential_id = data.credential_id.ok_or(Wrong::Form)?.to_vec();
    let public_key = decode(&sent.public_key)?;
    if public_key.len() > LONGEST_KEY || verifier(sent.algorithm, &public_key).is_none() {
        return Err(Wrong::Form);
    }
    Ok(NewPasskey {
        credential_id,
        algorithm: sent.algorithm,
        public_key,
        sign_count: data.sign_count,
        synced: data.synced,
        verified: data.verified,
    })
}

impl Assertion {
    /// Reads an assertion as our script sends it.
    ///
    /// # Errors
    /// [`Wrong::Form`].
    pub fn read(json: &str) -> Result<Self, Wrong> {
        let sent: AssertionJson = serde_json::from_str(json).map_err(|_| Wrong::Form)?;
        let credential_id = decode(&sent.id)?;
        if credential_id.is_empty() || credential_id.len() > LONGEST_ID {
            return Err(Wrong::Form);
        }
        Ok(Self {
            credential_id,
            client_data: decode(&sent.client_data)?,
            authenticator_data: decode(&sent.authenticator_data)?,
            signature: decode(&sent.signature)?,
        })
    }

    /// Checks it with the passkey that it names. `last_count` is the counter of the last time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, algorithm: i64, public_key: &[u8], last_count: u32, expected: &Expected<'_>) -> Result<Asserted, Wrong> {
        check_client_data(&self.client_data, "webauthn.get", expected)?;
        let data = AuthenticatorData::read(&self.authenticator_data, expected.rp_id)?;
        let message = [self.authenticator_data.as_slice(), &Sha256::digest(&self.client_data)].concat();
        let key = verifier(algorithm, public_key).ok_or(Wrong::Signature)?;
        key.verify_sig(&message, &self.signature).map_err(|_| Wrong::Signature)?;
        // §7.2 step 22: an authenticator that counts must count upwards. Synced passkeys do not count.
        if (data.sign_count != 0 || last_count != 0) && data.sign_count <= last_count {
            return Err(Wrong::Counter);
        }
        Ok(Asserted { sign_count: data.sign_count, verified: data.verified, synced: data.synced })
    }
}

/// §5.8.1.
fn check_client_data(bytes: &[u8], ceremony: &str, expected: &Expected<'_>) -> Result<(), Wrong> {
    let data = strict_json::object(bytes).map_err(|_| Wrong::Form)?;
    let text = |name: &str| data.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let challenge = URL_SAFE_NO_PAD.decode(text("challenge")).map_err(|_| Wrong::Form)?;
    let same_origin = data.get("crossOrigin").is_none_or(|crossed| crossed == &serde_json::Value::Bool(false));
    let ours = text("type") == ceremony
        && text("origin") == expected.origin
        && same_origin
        && !data.contains_key("topOrigin")
        && constant_time_eq(&challenge, expected.challenge);
    if ours { Ok(()) } else { Err(Wrong::Context) }
}

/// §6.1.
struct AuthenticatorData<'a> {
    verified: bool,
    synced: bool,
    sign_count: u32,
    credential_id: Option<&'a [u8]>,
}

impl<'a> AuthenticatorData<'a> {
    fn read(bytes: &'a [u8], rp_id: &str) -> Result<Self, Wrong> {
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(Wrong::Form)?;
        let (&[flags], rest) = rest.split_first_chunk::<1>().ok_or(Wrong::Form)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(Wrong::Form)?;
        let is = |bit: u8| flags & bit != 0;
        if !constant_time_eq(rp_id_hash, &Sha256::digest(rp_id.as_bytes())) {
            return Err(Wrong::Context);
        }
        // UP: somebody was there.
        if !is(0x01) {
            return Err(Wrong::Presence);
        }
        // BE and BS: what is backed up could be.
        if is(0x10) && !is(0x08) {
            return Err(Wrong::Form);
        }
        let credential_id = if is(0x40) {
            // aaguid, length, id; the COSE key behind it is not read.
            let (_aaguid, rest) = rest.split_first_chunk::<16>().ok_or(Wrong::Form)?;
            let (length, rest) = rest.split_first_chunk::<2>().ok_or(Wrong::Form)?;
            let id = rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or(Wrong::Form)?;
            if id.is_empty() || id.len() > LONGEST_ID {
                return Err(Wrong::Form);
            }
            Some(id)
        } else {
            // Without it and without extensions there is nothing more.
            if bytes.len() != HEAD && !is(0x80) {
                return Err(Wrong::Form);
            }
            None
        };
        Ok(Self { verified: is(0x04), synced: is(0x08), sign_count: u32::from_be_bytes(*count), credential_id })
    }
}

fn verifier(algorithm: i64, public_key: &[u8]) -> Option<ParsedPublicKey> {
    let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
        -7 => &ECDSA_P256_SHA256_ASN1,
        -8 => &ED25519,
        -257 => &RSA_PKCS1_2048_8192_SHA256,
        _ => return None,
    };
    ParsedPublicKey::new(algorithm, public_key).ok()
}

fn decode(text: &str) -> Result<Vec<u8>, Wrong> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Wrong::Form)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;

    const CHALLENGE: &[u8] = b"a challenge of thirty-two bytes!";
    const EXPECTED: Expected<'static> = Expected { origin: "https://id.example", rp_id: "id.example", challenge: CHALLENGE };

    struct Authenticator {
        key: EcdsaKeyPair,
        flags: u8,
        count: u32,
        rp_id: &'static str,
        client_data: Value,
    }

    impl Authenticator {
        fn new() -> Self {
            let client_data = json!({ "type": "webauthn.get", "challenge": URL_SAFE_NO_PAD.encode(CHALLENGE), "origin": "https://id.example", "crossOrigin": false });
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
            Self { key, flags: 0x05, count: 7, rp_id: "id.example", client_data }
        }

        fn public_key(&self) -> Vec<u8> {
            let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().unwrap();
            der.as_ref().to_vec()
        }

        fn head(&self) -> Vec<u8> {
            let mut bytes = Sha256::digest(self.rp_id.as_bytes()).to_vec();
            bytes.push(self.flags);
            bytes.extend(self.count.to_be_bytes());
            bytes
        }

        fn assertion(&self) -> Value {
            let (head, client_data) = (self.head(), self.client_data.to_string());
            let message = [head.as_slice(), &Sha256::digest(client_data.as_bytes())].concat();
            let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
            json!({
                "id": URL_SAFE_NO_PAD.encode(b"credential"), "client_data": URL_SAFE_NO_PAD.encode(client_data),
                "authenticator_data": URL_SAFE_NO_PAD.encode(head), "signature": URL_SAFE_NO_PAD.encode(signature.as_ref()),
            })
        }

        fn check(&self, last_count: u32) -> Result<Asserted, Wrong> {
            let read = Assertion::read(&self.assertion().to_string()).unwrap();
            read.check(-7, &self.public_key(), last_count, &EXPECTED)
        }

        fn registration(&self) -> Value {
            let client_data = self.client_data.to_string().replace("webauthn.get", "webauthn.create");
            let data = [self.head(), vec![0; 16], vec![0, 10], b"credential".to_vec(), vec![0xa5]].concat();
            json!({
                "client_data": URL_SAFE_NO_PAD.encode(client_data), "authenticator_data": URL_SAFE_NO_PAD.encode(data),
                "public_key": URL_SAFE_NO_PAD.encode(self.public_key()), "algorithm": -7,
            })
        }
    }

    #[test]
    fn a_good_assertion_says_who_was_there() {
        let mut one = Authenticator::new();
        assert_eq!(one.check(6), Ok(Asserted { sign_count: 7, verified: true, synced: false }));
        one.flags = 0x19;
        assert_eq!(one.check(6), Ok(Asserted { sign_count: 7, verified: false, synced: true }));
        one.count = 0;
        assert_eq!(one.check(0).map(|asserted| asserted.sign_count), Ok(0), "one that does not count");
    }

    #[test]
    fn another_site_challenge_or_ceremony_is_refused() {
        for (name, value) in [
            ("type", json!("webauthn.create")),
            ("origin", json!("https://evil.example")),
            ("origin", json!("https://id.example:8443")),
            ("origin", json!("http://id.example")),
            ("challenge", json!(URL_SAFE_NO_PAD.encode(b"another challenge, of 32 bytes..."))),
            ("challenge", json!("")),
            ("crossOrigin", json!(true)),
            ("crossOrigin", json!("false")),
            ("topOrigin", json!("https://evil.example")),
        ] {
            let mut one = Authenticator::new();
            one.client_data[name] = value;
            assert_eq!(one.check(0), Err(Wrong::Context), "{name}");
        }
        let other = Authenticator { rp_id: "evil.example", ..Authenticator::new() };
        assert_eq!(other.check(0), Err(Wrong::Context));
        let absent = Authenticator { flags: 0x04, ..Authenticator::new() };
        assert_eq!(absent.check(0), Err(Wrong::Presence));
        let odd = Authenticator { flags: 0x11, ..Authenticator::new() };
        assert_eq!(odd.check(0), Err(Wrong::Form));
    }

    #[test]
    fn another_key_or_a_changed_byte_is_no_signature() {
        let (one, other) = (Authenticator::new(), Authenticator::new());
        let read = Assertion::read(&one.assertion().to_string()).unwrap();
        assert_eq!(read.check(-7, &other.public_key(), 0, &EXPECTED), Err(Wrong::Signature));
        assert_eq!(read.check(-8, &one.public_key(), 0, &EXPECTED), Err(Wrong::Signature));
        assert_eq!(read.check(0, &one.public_key(), 0, &EXPECTED), Err(Wrong::Signature));
        let mut changed = read.clone();
        changed.authenticator_data[36] ^= 1;
        assert_eq!(changed.check(-7, &one.public_key(), 0, &EXPECTED), Err(Wrong::Signature));
        let mut cut = read;
        cut.authenticator_data.truncate(36);
        assert_eq!(cut.check(-7, &one.public_key(), 0, &EXPECTED), Err(Wrong::Form));
    }

    #[test]
    fn a_counter_that_stands_still_is_a_copy() {
        for (count, last, good) in [(8, 7, true), (7, 7, false), (6, 7, false), (0, 7, false), (0, 0, true), (1, 0, true)] {
            let one = Authenticator { count, ..Authenticator::new() };
            assert_eq!(one.check(last).is_ok(), good, "{count} after {last}");
        }
    }

    #[test]
    fn a_registration_gives_the_key_and_its_name() {
        let one = Authenticator { flags: 0x45, ..Authenticator::new() };
        let new = register(&one.registration().to_string(), &EXPECTED).unwrap();
        assert_eq!((new.credential_id.as_slice(), new.algorithm, new.sign_count, new.verified), (&b"credential"[..], -7, 7, true));
        assert_eq!(new.public_key, one.public_key());
        for (name, value) in [
            ("algorithm", json!(-8)),
            ("algorithm", json!(1)),
            ("public_key", json!("AAAA")),
            ("client_data", json!("e30")),
            ("authenticator_data", json!(URL_SAFE_NO_PAD.encode(one.head()))),
            ("more", json!(1)),
        ] {
            let mut sent = one.registration();
            sent[name] = value;
            assert!(register(&sent.to_string(), &EXPECTED).is_err(), "{name}");
        }
        let without = Authenticator { flags: 0x05, ..Authenticator::new() };
        assert!(register(&without.registration().to_string(), &EXPECTED).is_err(), "no credential in it");
        for text in ["", "{}", "null", "[]", "{\"id\":1}"] {
            assert!(register(text, &EXPECTED).is_err() && Assertion::read(text).is_err(), "{text}");
        }
    }
}
