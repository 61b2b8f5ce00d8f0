//! Second factors: what authenticators and their script send, and what people type.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::cast::{ISSUER, NOW, signing_key};
use super::text;
use crate::clock::Timestamp;
use crate::factors::recovery::RecoveryCode;
use crate::factors::totp::{SECRET_BYTES, STEP, TotpSecret, Verdict};
use crate::factors::webauthn::{self, ALGORITHMS, Assertion, Expected, Wrong};
use crate::jose::PublicJwk;
use crate::oauth::device::UserCode;

const CHALLENGE: &[u8] = b"a challenge of thirty-two bytes!";
const EXPECTED: Expected<'static> = Expected { origin: ISSUER, rp_id: "id.example", challenge: CHALLENGE };

/// SubjectPublicKeyInfo of the key that signs here (RFC 8410 §4).
fn public_key() -> Vec<u8> {
    let PublicJwk::Okp { x, .. } = &signing_key().public else { panic!("an Ed25519 key") };
    let head = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    [head.as_slice(), &URL_SAFE_NO_PAD.decode(x).expect("base64url")].concat()
}

/// An authenticator that signs whatever it is given: what is accepted is of this ceremony, challenge, origin and relying party, and
/// somebody was there.
pub fn passkey(data: &[u8]) {
    let client_data = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let rest = data.get(client_data.len() + 1..).unwrap_or_default();
    let rp_id_hash = Sha256::digest(b"id.example");
    for authenticator_data in [[rp_id_hash.as_slice(), rest].concat(), rest.to_vec()] {
        let message = [authenticator_data.as_slice(), &Sha256::digest(client_data)].concat();
        let signature = signing_key().sign(&message).expect("a signature");
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (client_data_text, authenticator_data_text) = (encode(client_data), encode(&authenticator_data));
        let sent = json!({
            "id": encode(b"credential"), "client_data": client_data_text,
            "authenticator_data": authenticator_data_text, "signature": encode(&signature),
        });
        let assertion = Assertion::read(&sent.to_string()).expect("the form is right");
        let flags = authenticator_data.get(32).copied().unwrap_or(0);
        if let Ok(asserted) = assertion.check(-8, &public_key(), 0, &EXPECTED) {
            check_ceremony(client_data, "webauthn.get");
            assert_eq!(authenticator_data.get(..32), Some(rp_id_hash.as_slice()));
            let count: [u8; 4] = authenticator_data[33..37].try_into().expect("four bytes");
            assert_eq!(asserted.sign_count, u32::from_be_bytes(count));
            assert_eq!((flags & 1, flags & 4 != 0, flags & 8 != 0), (1, asserted.verified, asserted.synced));
            // A counter that stands still is a copy; another key is another's.
            let again = assertion.check(-8, &public_key(), asserted.sign_count, &EXPECTED);
            assert_eq!(again.is_ok(), asserted.sign_count == 0);
            let mut other = public_key();
            other[43] ^= 1;
            assert!(assertion.check(-8, &other, 0, &EXPECTED).is_err());
        }
        let sent = json!({
            "client_data": client_data_text, "authenticator_data": authenticator_data_text,
            "public_key": encode(&public_key()), "algorithm": -8,
        });
        if let Ok(new) = webauthn::register(&sent.to_string(), &EXPECTED) {
            check_ceremony(client_data, "webauthn.create");
            assert!((1..=1023).contains(&new.credential_id.len()));
            assert!(authenticator_data.windows(new.credential_id.len()).any(|part| part == new.credential_id));
            assert_eq!((new.public_key, flags & 0x41), (public_key(), 0x41));
        }
    }
}

fn check_ceremony(client_data: &[u8], ceremony: &str) {
    let said: Value = serde_json::from_slice(client_data).expect("JSON");
    assert_eq!((said["type"].as_str(), said["origin"].as_str()), (Some(ceremony), Some(ISSUER)));
    assert_eq!(said["challenge"].as_str(), Some(URL_SAFE_NO_PAD.encode(CHALLENGE).as_str()));
    assert!(said.get("topOrigin").is_none() && said.get("crossOrigin").is_none_or(|crossed| crossed == false));
}

/// Without a signature there is no passkey, whatever is said.
pub fn passkey_json(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match Assertion::read(text) {
        Err(wrong) => assert_eq!(wrong, Wrong::Form),
        Ok(assertion) => {
            assert!((1..=1023).contains(&assertion.credential_id.len()));
            for algorithm in ALGORITHMS.into_iter().chain([0]) {
                assert!(assertion.check(algorithm, &public_key(), 0, &EXPECTED).is_err());
            }
        }
    }
    if let Ok(new) = webauthn::register(text, &EXPECTED) {
        assert!(ALGORITHMS.contains(&new.algorithm) && (1..=1023).contains(&new.credential_id.len()));
        assert!(new.public_key.len() <= 1200);
    }
}

/// What somebody typed is a code only if nothing but blanks and dashes stands around it, and what is shown is read as itself.
pub fn typed_codes(data: &[u8]) {
    let Some(typed) = text(data) else { return };
    if let Some(code) = UserCode::read(typed) {
        let letters: String = typed.chars().filter(|letter| letter.is_alphanumeric()).collect();
        assert_eq!(letters.to_ascii_uppercase(), code.letters());
        assert_eq!(UserCode::read(&code.shown()).expect("what is shown is read").letters(), code.letters());
    }
    if let Some(code) = RecoveryCode::read(typed) {
        let digits: String = typed.chars().filter(|letter| !letter.is_whitespace() && *letter != '-').collect();
        assert_eq!(digits, code.text().replace('-', ""));
        let owner = Uuid::from_u128(3);
        assert_eq!(RecoveryCode::read(&code.text()).expect("what is shown is read").digest(owner), code.digest(owner));
    }
    let secret = TotpSecret::from_bytes(vec![9; SECRET_BYTES]).expect("a secret");
    let present = NOW.seconds() / STEP;
    let code_of = |step: i64| secret.code(Timestamp::from_seconds(step * STEP));
    let bare: String = typed.chars().filter(|letter| !letter.is_whitespace()).collect();
    match secret.check(typed, None, NOW) {
        Verdict::Accepted { step } => {
            assert!((present - 1..=present + 1).contains(&step) && bare == code_of(step));
            assert_eq!(secret.check(typed, Some(step), NOW), Verdict::Replayed { step });
        }
        Verdict::Replayed { .. } => panic!("nothing was accepted before"),
        Verdict::Wrong => assert!((present - 1..=present + 1).all(|step| bare != code_of(step))),
    }
}
