//! A client that gets what is encrypted to it: its key pairs, and RFC 7516 §5.2 written once more, from the reader's side.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::jose::{Alg, KeyMaker as _, KeyPair, NewKeyPairs};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An RSA and a P-256 key pair.
pub struct Recipient {
    rsa: KeyPair,
    ec: KeyPair,
}

impl Recipient {
    pub fn new() -> Self {
        Self { rsa: NewKeyPairs.make(Alg::RS256).unwrap(), ec: NewKeyPairs.make(Alg::ES256).unwrap() }
    }

    /// The public halves, and a signing key that nothing is to be encrypted to.
    pub fn jwks(&self) -> Value {
        let key = |pair: &KeyPair, kid: &str, usage: &str| {
            let mut key = serde_json::to_value(&pair.public).unwrap();
            key["kid"] = kid.into();
            key["use"] = usage.into();
            key
        };
        let signing = NewKeyPairs.make(Alg::ES256).unwrap();
        json!({ "keys": [key(&signing, "signing", "sig"), key(&self.rsa, "rsa", "enc"), key(&self.ec, "ec", "enc")] })
    }

    /// The header and what is inside; panics if it is not for this client.
    pub fn open(&self, jwe: &str) -> (Value, String) {
        let parts: Vec<&str> = jwe.split('.').collect();
        let [first, encrypted_key, iv, text, tag] = parts[..] else { panic!("not five segments: {jwe}") };
        let raw = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let header: Value = serde_json::from_slice(&raw(first)).unwrap();
        let enc = header["enc"].as_str().unwrap();
        let key = match header["alg"].as_str().unwrap() {
            "RSA-OAEP-256" => {
                assert_eq!(header["kid"], "rsa");
                self.unwrap_key(&raw(encrypted_key))
            }
            "ECDH-ES" => {
                assert_eq!((header["kid"].as_str(), encrypted_key), (Some("ec"), ""));
                self.agree(&header["epk"], enc)
            }
            other => panic!("{other}"),
        };
        let (iv, mut text, tag) = (raw(iv), raw(text), raw(tag));
        let plain = if enc == "A128CBC-HS256" {
            assert_eq!(key.len(), 32);
            let bits = u64::try_from(first.len()).unwrap() * 8;
            let covered = [first.as_bytes(), &iv, &text, &bits.to_be_bytes()].concat();
            assert_eq!(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key[..16]), &covered).as_ref()[..16], tag);
            let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, &key[16..]).unwrap()).unwrap();
            let iv: [u8; 16] = iv.try_into().unwrap();
            cipher.decrypt(&mut text, DecryptionContext::Iv128((&iv).into())).unwrap().to_vec()
        } else {
            let algorithm = if enc == "A128GCM" { &AES_128_GCM } else { &AES_256_GCM };
            let opener = LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap());
            let nonce = Nonce::try_assume_unique_for_key(&iv).unwrap();
            text.extend(tag);
            opener.open_in_place(nonce, Aad::from(first.as_bytes()), &mut text).unwrap().to_vec()
        };
        (header, String::from_utf8(plain).unwrap())
    }

    fn unwrap_key(&self, encrypted: &[u8]) -> Vec<u8> {
        let key = OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(self.rsa.pkcs8.expose()).unwrap()).unwrap();
        let mut out = vec![0; key.min_output_size()];
        key.decrypt(&OAEP_SHA256_MGF1SHA256, encrypted, &mut out, None).unwrap().to_vec()
    }

    fn agree(&self, epk: &Value, enc: &str) -> Vec<u8> {
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(epk[name].as_str().unwrap()).unwrap();
        assert_eq!((&epk["kty"], &epk["crv"], epk.get("d")), (&json!("EC"), &json!("P-256"), None));
        let theirs = UnparsedPublicKey::new(&ECDH_P256, [vec![4], coordinate("x"), coordinate("y")].concat());
        let ours = agreement::PrivateKey::from_private_key_der(&ECDH_P256, self.ec.pkcs8.expose()).unwrap();
        let len: usize = if enc == "A128GCM" { 16 } else { 32 };
        let number = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
        let party = number(0);
        agreement::agree(&ours, theirs, (), |z| {
            let round = [&number(1)[..], z, &number(enc.len()), enc.as_bytes(), &party, &party, &number(len * 8)].concat();
            Ok(Sha256::digest(round)[..len].to_vec())
        })
        .unwrap()
    }
}
