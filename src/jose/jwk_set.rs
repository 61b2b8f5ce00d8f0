//! Other people's keys: a client's JWK Set (RFC 7517 §5), by value or fetched from its `jwks_uri`.
//!
//! Private and symmetric keys are refused: a client that sends one has lost it, or wants HMAC. Keys of a kind that is not used here
//! are left out as §5 asks, and so are members that say nothing about the key itself (certificates among them, RFC 8725 §3.10). What
//! remains is parsed once, and each key knows which algorithms it may be used with (security.md R-33).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::header::MAX_KID;
use super::{Alg, PublicJwk, PublicKey, base64url, strict_json};

/// The most keys of a set.
const MAX_KEYS: usize = 16;
/// An RSA modulus has at least 2,048 bits (RFC 7518 §3.3) and at most 4,096: more is work without gain.
const MAX_RSA_BYTES: usize = 512;
/// What is in the database may have come before these limits were as narrow.
const MAX_STORED_KEYS: usize = 32;
const STORED_RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Keys that are tried on one signature: trying is work, which anybody can ask for.
const MAX_TRIED: usize = 2;
const RSA_EXPONENT: &str = "is an RSA key whose \"e\" has more than 33 bits; 65537 is usual";
const RSA_SIZE: &str = "is an RSA key of fewer than 2048 or more than 4096 bits (RFC 7518 section 3.3)";
/// Members that no public key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A client's public keys, at least one.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct JwkSet {
    keys: Arc<[Jwk]>,
}

/// One of them.
#[derive(Clone)]
pub struct Jwk {
    pub key: PublicJwk,
    /// Opaque, at most 256 bytes (R-35).
    pub kid: Option<String>,
    usage: Option<Usage>,
    /// The one algorithm that it is meant for, of signatures or of encryption.
    alg: Option<String>,
    key_ops: Option<Vec<String>>,
    verifier: Arc<Verifier>,
}

/// RFC 7517 §4.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Usage {
    Sig,
    Enc,
}

/// The key, parsed.
struct Verifier {
    key: PublicKey,
    /// Of RSA keys, which sign in two ways.
    pss: Option<PublicKey>,
}

impl JwkSet {
    /// Reads the text of a JWK Set document.
    ///
    /// # Errors
    /// What is wrong, in words for whoever keeps the document. Values are not repeated: one may be a private key.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let members = strict_json::object(text).map_err(|error| format!("is not sound JSON: {error}"))?;
        let set = Self::of(members)?;
        set.check()?;
        Ok(set)
    }

    /// May it be brought anew? What was stored once is read with wider limits.
    ///
    /// # Errors
    /// What is too much of it.
    pub fn check(&self) -> Result<(), String> {
        if self.keys.len() > MAX_KEYS {
            return Err(format!("has more than {MAX_KEYS} keys"));
        }
        let fault = self.keys.iter().enumerate().find_map(|(place, key)| key.key.fault().map(|fault| (place, fault)));
        fault.map_or(Ok(()), |(place, fault)| Err(format!("keys[{place}] {fault}")))
    }

    fn of(mut members: Map<String, Value>) -> Result<Self, String> {
        let Some(Value::Array(keys)) = members.remove("keys") else {
            return Err("must be an object with \"keys\", a list of public keys (RFC 7517 section 5)".to_owned());
        };
        if keys.len() > MAX_STORED_KEYS {
            return Err(format!("has more than {MAX_KEYS} keys"));
        }
        let mut read = Vec::new();
        let mut unused = None;
        for (place, key) in keys.into_iter().enumerate() {
            match Jwk::of(key) {
                Ok(key) => read.push(key),
                Err(Refused::Unused(why)) => unused = Some(format!("keys[{place}] {why}")),
                Err(Refused::Wrong(why)) => return Err(format!("keys[{place}] {why}")),
            }
        }
        if read.is_empty() {
            let why = unused.unwrap_or_else(|| "there is none".to_owned());
            return Err(format!("has no key that can be used: {why}"));
        }
        Ok(Self { keys: read.into() })
    }

    /// All of them, in the order of the document.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The key to encrypt with by `alg` (RFC 7518 §4.1): the first that says it is for encryption, else the first that says nothing against it.
    pub fn to_encrypt(&self, alg: &str) -> Option<&Jwk> {
        self.keys.iter().filter(|key| key.may_encrypt(alg)).min_by_key(|key| key.usage != Some(Usage::Enc))
    }

    /// The keys that may have made a signature by `alg` under this `kid`. A token without one, or a set without any, leaves the choice
    /// open: then there has to be exactly one (openid.md 63).
    pub(super) fn to_verify(&self, alg: Alg, kid: Option<&str>) -> Vec<&Jwk> {
        let fitting = || self.keys.iter().filter(|key| key.may_verify(alg));
        let named: Vec<&Jwk> = match kid {
            Some(kid) => fitting().filter(|key| key.kid.as_deref() == Some(kid)).take(MAX_TRIED).collect(),
            None => Vec::new(),
        };
        if !named.is_empty() {
            return named;
        }
        let open: Vec<&Jwk> = fitting().filter(|key| kid.is_none() || key.kid.is_none()).collect();
        if open.len() == 1 { open } else { Vec::new() }
    }
}

impl PublicJwk {
    /// Why nobody may bring such a key.
    fn fault(&self) -> Option<&'static str> {
        let Self::Rsa { n, e } = self else { return None };
        let (Some(modulus), Some(exponent)) = (base64url::decode(n), base64url::decode(e)) else {
            return Some("is not base64url without padding");
        };
        if modulus.len() > MAX_RSA_BYTES {
            return Some(RSA_SIZE);
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
    fn of(value: Value) -> Result<Self, Refused> {
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
            PublicJwk::Rsa { .. } => alg.starts_with("RSA-OAEP"),
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
    pub(super) fn verifies(&self, alg: Alg, message: &[u8], signature: &[u8]) -> bool {
        self.may_verify(alg)
            && match alg {
                Alg::PS256 => self.verifier.pss.as_ref().is_some_and(|key| key.verifies(message, signature)),
                Alg::RS256 | Alg::ES256 | Alg::EdDSA | Alg::Ed25519 => {
                    self.verifier.key.verifies(message, signature)
                }
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
enum Refused {
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

impl fmt::Debug for JwkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter()).finish()
    }
}

impl TryFrom<Value> for JwkSet {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(members) => Self::of(members),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Self::of(Map::new()),
        }
    }
}

/// A key as it is written: what was read, and nothing more.
#[derive(PartialEq, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    key: &'a PublicJwk,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ops: Option<&'a [String]>,
}

impl Jwk {
    fn shown(&self) -> Shown<'_> {
        let (kid, alg, key_ops) = (self.kid.as_deref(), self.alg.as_deref(), self.key_ops.as_deref());
        Shown { key: &self.key, kid, usage: self.usage, alg, key_ops }
    }
}

impl Serialize for JwkSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Set<'a> {
            keys: Vec<Shown<'a>>,
        }
        Set { keys: self.keys.iter().map(Jwk::shown).collect() }.serialize(serializer)
    }
}

impl JsonSchema for JwkSet {
    fn schema_name() -> Cow<'static, str> {
        "JwkSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "Public keys (RFC 7517): RSA of 2048 to 4096 bits, EC on P-256, OKP Ed25519. Private and symmetric keys are refused.",
            "required": ["keys"],
            "properties": { "keys": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_KEYS,
                "items": { "type": "object", "required": ["kty"], "properties": {
                    "kty": { "type": "string", "enum": ["RSA", "EC", "OKP"] },
                    "kid": { "type": "string", "maxLength": MAX_KID },
                    "use": { "type": "string", "enum": ["sig", "enc"] },
                    "alg": { "type": "string" },
                    "key_ops": { "type": "array", "items": { "type": "string" } },
                    "n": { "type": "string" },
                    "e": { "type": "string" },
                    "crv": { "type": "string", "enum": ["P-256", "Ed25519"] },
                    "x": { "type": "string" },
                    "y": { "type": "string" },
                } },
            } },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::{KeyMaker as _, NewKeyPairs};

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
        for (keys, stays) in [
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
}
