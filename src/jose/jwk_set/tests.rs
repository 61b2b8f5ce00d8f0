//! Which keys are taken, which are chosen, and what for.

use serde_json::json;

use super::*;
use crate::jose::{KeyMaker as _, NewKeyPairs, base64url};

fn public(alg: Alg) -> Value {
    serde_json::to_value(NewKeyPairs.make(alg).unwrap().public).unwrap()
}

fn with(mut key: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        key[name] = value.clone();
    }
    key
}

fn read(keys: Value) -> Result<JwkSet, String> {
    JwkSet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

#[test]
fn a_set_is_read_and_written_as_itself() {
    let keys = json!([
        with(public(Alg::RS256), json!({ "kid": "a", "use": "sig", "alg": "PS256" })),
        with(public(Alg::ES256), json!({ "kid": "b", "use": "enc", "alg": "ECDH-ES", "key_ops": ["deriveKey"] })),
        public(Alg::EdDSA),
    ]);
    let set = read(keys.clone()).unwrap();
    assert_eq!(serde_json::to_value(&set).unwrap(), json!({ "keys": keys }));
    assert_eq!(serde_json::from_value::<JwkSet>(serde_json::to_value(&set).unwrap()).unwrap(), set);
}

#[test]
fn what_is_not_understood_is_left_out_and_what_is_wrong_is_refused() {
    let good = public(Alg::ES256);
    let beside = |other: Value| read(json!([good, other])).map(|set| set.keys().len());
    for unused in [
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }),
        json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
        with(public(Alg::EdDSA), json!({ "use": "wrap" })),
    ] {
        assert_eq!(beside(unused.clone()), Ok(1), "{unused}");
        assert!(read(json!([unused])).unwrap_err().contains("has no key that can be used"), "alone it is no set");
    }
    assert_eq!(beside(with(public(Alg::RS256), json!({ "x5c": ["AA"], "x5t": "AA", "iat": 1 }))), Ok(2));
    for wrong in [
        json!(1),
        json!({}),
        json!({ "kty": "RSA" }),
        json!({ "kty": 1 }),
        json!({ "kty": "oct" }),
        json!({ "kty": "oct", "k": "AAAA" }),
        with(public(Alg::EdDSA), json!({ "d": "AA" })),
        with(public(Alg::RS256), json!({ "d": "AA" })),
        with(public(Alg::RS256), json!({ "p": null })),
        with(public(Alg::RS256), json!({ "n": "AQAB" })),
        with(public(Alg::RS256), json!({ "e": "AA" })),
        with(public(Alg::RS256), json!({ "e": "AQAB=" })),
        with(public(Alg::ES256), json!({ "x": "AA" })),
        with(public(Alg::ES256), json!({ "y": public(Alg::ES256)["y"] })),
        with(public(Alg::EdDSA), json!({ "x": "AA" })),
        with(public(Alg::EdDSA), json!({ "kid": 1 })),
        with(public(Alg::EdDSA), json!({ "kid": "k".repeat(257) })),
        with(public(Alg::EdDSA), json!({ "key_ops": "verify" })),
    ] {
        assert!(beside(wrong.clone()).is_err(), "{wrong}");
    }
    for text in [&b"[]"[..], b"{}", br#"{"keys":{}}"#, br#"{"keys":[]}"#, br#"{"keys":[],"keys":[]}"#, b"x"] {
        assert!(JwkSet::parse(text).is_err());
    }
    assert!(read(Value::Array(vec![good.clone(); 16])).is_ok());
    assert!(read(Value::Array(vec![good; 17])).is_err());
}

#[test]
fn a_private_key_is_not_repeated() {
    let message = read(json!([with(public(Alg::EdDSA), json!({ "d": "hunter2" }))])).unwrap_err();
    assert!(message.contains("private") && !message.contains("hunter2"), "{message}");
}

/// R-33: a key is used for what it is, and for no more than it says.
#[test]
fn a_key_knows_its_algorithms() {
    let allowed = |key: Value| -> Vec<&str> {
        let set = read(json!([key])).unwrap();
        Alg::ALL.into_iter().filter(|alg| set.keys()[0].may_verify(*alg)).map(Alg::as_str).collect()
    };
    assert_eq!(allowed(public(Alg::RS256)), ["RS256", "PS256"]);
    assert_eq!(allowed(public(Alg::ES256)), ["ES256"]);
    assert_eq!(allowed(public(Alg::EdDSA)), ["EdDSA", "Ed25519"]);
    assert_eq!(allowed(with(public(Alg::EdDSA), json!({ "alg": "Ed25519" }))), ["EdDSA", "Ed25519"]);
    assert_eq!(allowed(with(public(Alg::RS256), json!({ "alg": "PS256" }))), ["PS256"]);
    let none: [&str; 0] = [];
    for members in [
        json!({ "use": "enc" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "RSA-OAEP-256" }),
        json!({ "alg": "ES256" }),
        json!({ "key_ops": ["encrypt"] }),
    ] {
        assert_eq!(allowed(with(public(Alg::RS256), members.clone())), none, "{members}");
    }
    let encrypts = |key: Value, alg: &str| read(json!([key])).unwrap().to_encrypt(alg).is_some();
    assert!(encrypts(public(Alg::RS256), "RSA-OAEP-256"));
    assert!(encrypts(with(public(Alg::ES256), json!({ "use": "enc", "key_ops": [] })), "ECDH-ES"));
    assert!(!encrypts(with(public(Alg::ES256), json!({ "use": "sig" })), "ECDH-ES"));
    assert!(!encrypts(with(public(Alg::RS256), json!({ "alg": "RS256" })), "RSA-OAEP-256"));
    assert!(!encrypts(public(Alg::EdDSA), "ECDH-ES"));
}

#[test]
fn the_key_is_chosen_by_its_name_or_because_there_is_no_other() {
    let named = |kid: &str| with(public(Alg::ES256), json!({ "kid": kid }));
    let count = |keys: Value, kid: Option<&str>| read(keys).unwrap().to_verify(Alg::ES256, kid).len();
    assert_eq!(count(json!([named("a"), named("b")]), Some("a")), 1);
    assert_eq!(count(json!([named("a"), named("b")]), Some("c")), 0, "a name that is not there");
    assert_eq!(count(json!([named("a"), named("b")]), None), 0, "no telling which");
    assert_eq!(count(json!([named("a"), public(Alg::RS256)]), None), 1, "the only one of its kind");
    assert_eq!(count(json!([public(Alg::ES256)]), Some("c")), 1, "a set without names");
    assert_eq!(count(json!([named("a")]), Some("c")), 0);
    // Each key that is tried is work, which anybody can ask for.
    assert_eq!(count(Value::Array((0..16).map(|_| named("a")).collect()), Some("a")), 2);
}

/// What nobody may bring any more, and what may stand in the database since somebody brought it.
#[test]
fn new_keys_have_narrower_limits_than_stored_ones() {
    let number = |bytes: &[u8]| base64url::encode(bytes);
    let rsa = |bytes: usize, e: &[u8]| {
        let mut n = vec![0xA5; bytes];
        n[bytes - 1] = 1;
        json!({ "kty": "RSA", "n": number(&n), "e": number(e) })
    };
    let usual: &[u8] = &[1, 0, 1];
    assert!(read(json!([rsa(512, usual)])).is_ok());
    assert!(read(json!([rsa(256, &[3])])).is_ok());
    assert!(read(json!([rsa(256, &[1, 0, 0, 0, 1])])).is_ok());
    let many = Value::Array((0..17).map(|_| public(Alg::ES256)).collect());
    let even = json!({ "kty": "RSA", "n": number(&[0xA6; 256]), "e": "AQAB" });
    let stored = serde_json::from_value::<JwkSet>(json!({ "keys": [even.clone()] })).unwrap();
    assert!(stored.to_encrypt("RSA-OAEP-256").is_none(), "nothing can be encrypted to it");
    for (keys, stays) in [
        (json!([even]), true),
        (json!([rsa(513, usual)]), true),
        (json!([rsa(1024, usual)]), true),
        (json!([rsa(1025, usual)]), false),
        (json!([rsa(256, &[1])]), false),
        (json!([rsa(256, &[1, 0, 0])]), false),
        (json!([rsa(256, &[2, 0, 0, 0, 1])]), false),
        (json!([rsa(256, &[1, 0, 0, 0, 0, 1])]), false),
        (many, true),
    ] {
        assert!(read(keys.clone()).is_err(), "{keys}");
        let stored = serde_json::from_value::<JwkSet>(json!({ "keys": keys }));
        if stays {
            assert!(stored.unwrap().check().is_err(), "{keys}");
        } else if let Ok(set) = stored {
            assert!(set.check().is_err(), "{keys}");
        }
    }
}
