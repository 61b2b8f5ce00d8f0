//! What is signed and what is sealed: JSON, public keys, tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::cast::{Constant, ISSUER, NOW, data_keys, key_set, signed, signing_key};
use super::{check_printable, check_refusal, lines, text};
use crate::http::admin::page;
use crate::jose::{self, Alg, Content, ContentEncryption, JwkSet, KeyManagement, PublicJwk, Typ};
use crate::oauth::access_token::Claims;
use crate::oidc::id_token::Hint;
use crate::seal::Purpose;
use crate::service::bearer;

/// What the strict reader takes, the usual one takes alike; written and read again it is the same, and it is bounded.
pub fn json(data: &[u8]) {
    match jose::object(data) {
        Err(error) => check_printable(&error.to_string()),
        Ok(members) => {
            assert_eq!(serde_json::from_slice::<Value>(data).expect("JSON"), Value::Object(members.clone()));
            assert!(depth(&Value::Object(members.clone())) <= 16);
            let written = serde_json::to_vec(&members).expect("JSON");
            let again = jose::object(&written).expect("what was written is read");
            // Fractions may differ in their last bit; nothing of ours holds any.
            assert!(again == members || has_fraction(&Value::Object(members)));
        }
    }
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A key has one text, and one that is sound has an algorithm of ours.
pub fn jwk(data: &[u8]) {
    let Ok(key) = serde_json::from_slice::<PublicJwk>(data) else { return };
    let written = serde_json::to_vec(&key).expect("JSON");
    assert_eq!(serde_json::from_slice::<PublicJwk>(&written).expect("what was written is read"), key);
    assert_eq!(key.thumbprint().len(), 43);
    for alg in Alg::ALL {
        let Some(parsed) = key.parse(alg) else { continue };
        assert!(parsed.alg() == alg && key.fits(alg));
        let members: Value = serde_json::from_slice(&written).expect("JSON");
        let members = members.as_object().expect("an object");
        assert!(members.iter().filter(|(name, _)| !matches!(name.as_str(), "kty" | "crv")).all(|(_, value)| {
            value.as_str().is_some_and(|value| URL_SAFE_NO_PAD.decode(value).is_ok_and(|raw| URL_SAFE_NO_PAD.encode(raw) == value))
        }));
        for length in [0, 64, 256] {
            assert!(!parsed.verifies(b"message", &vec![1; length]));
        }
    }
}

/// A set that is read holds public members alone, is written as itself, and each of its keys is for algorithms of its own kind.
pub fn jwk_set(data: &[u8]) {
    let set = match JwkSet::parse(data) {
        Err(error) => return check_printable(&error),
        Ok(set) => set,
    };
    let written = serde_json::to_vec(&set).expect("JSON");
    assert_eq!(JwkSet::parse(&written).as_ref(), Ok(&set));
    assert!(!set.keys().is_empty());
    for key in set.keys() {
        let kinds = Alg::ALL.into_iter().filter(|alg| key.may_verify(*alg)).count();
        assert!(kinds <= 2 && key.kid.as_ref().is_none_or(|kid| (1..=256).contains(&kid.len())));
        assert!(kinds == 0 || !matches!(key.key, PublicJwk::Okp { .. }) || !key.may_encrypt("ECDH-ES"));
    }
    let members: Value = serde_json::from_slice(&written).expect("JSON");
    for key in members["keys"].as_array().expect("a list") {
        for never in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(key.get(never).is_none(), "{never}");
        }
    }
}

/// Whatever key a client has: what is encrypted to it has five segments, says how, and is not much longer than what is inside.
pub fn encryption(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let [keys, plain] = lines(text);
    let Ok(set) = JwkSet::parse(keys.as_bytes()) else { return };
    for (alg, enc) in KeyManagement::ALL.into_iter().flat_map(|alg| ContentEncryption::ALL.map(|enc| (alg, enc))) {
        let Some(key) = set.to_encrypt(alg.as_str()) else { continue };
        let to = (&key.key, key.kid.as_deref());
        let jwe =
            jose::encrypt((alg, enc), to, Content::Nested, plain.as_bytes(), &Constant).expect("a key that was read is sound");
        let parts: Vec<Vec<u8>> = jwe.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url")).collect();
        let [header, encrypted_key, iv, inside, tag] = parts.try_into().expect("five segments");
        let header = jose::object(&header).expect("a header");
        assert_eq!((&header["alg"], &header["enc"]), (&alg.as_str().into(), &enc.as_str().into()));
        assert_eq!(header.get("kid").and_then(Value::as_str), key.kid.as_deref());
        assert_eq!(
            (encrypted_key.is_empty(), header.contains_key("epk")),
            (alg == KeyManagement::EcdhEs, alg == KeyManagement::EcdhEs)
        );
        assert!((12..=16).contains(&iv.len()) && tag.len() == 16 && (0..=16).contains(&(inside.len() - plain.len())));
    }
}

/// Nothing verifies but what our key signed, in its one spelling and as its one type; what was signed is read as it was.
pub fn jws(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let verify = |jwt: &str, typ: Typ| key_set().verify(jwt, typ, NOW);
    for typ in Typ::ALL {
        match verify(text, typ) {
            Err(refused) => check_refusal(&refused),
            Ok(_) => {
                // Ed25519 makes one signature of a message: a token that verifies and is not this one would be a second spelling.
                let (input, _) = text.rsplit_once('.').expect("a signature");
                assert_eq!(text, signed(input));
            }
        }
    }

    let [header, claims] = lines(text);
    let jwt = signed(&format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)));
    let mut believed = 0;
    for typ in Typ::ALL {
        let Ok(verified) = verify(&jwt, typ) else { continue };
        believed += 1;
        let header = jose::object(header.as_bytes()).expect("a header that was read");
        let member = |name: &str| header.get(name).and_then(Value::as_str);
        assert_eq!((member("alg"), member("typ")), (Some("EdDSA"), Some(typ.as_str())));
        assert_eq!(member("kid"), Some(signing_key().kid.as_str()));
        for never in ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"] {
            assert!(!header.contains_key(never), "{never}");
        }
        assert_eq!(jose::object(claims.as_bytes()).as_ref(), Ok(&verified.claims));
        read_claims(verified.claims);
        let cut = jwt.get(..jwt.len() - 1).unwrap_or_default();
        assert!(verify(cut, typ).is_err() && verify(&format!("{jwt}A"), typ).is_err());
    }
    assert!(believed <= 1, "one type is another");
}

fn read_claims(claims: Map<String, Value>) {
    if let Ok(hint) = Hint::read(&claims, ISSUER) {
        assert_eq!(claims["iss"], ISSUER);
        assert_eq!((claims["sub"].as_str(), hint.sid.is_some()), (Some(hint.sub.as_str()), claims.contains_key("sid")));
        assert!(!hint.client_id.is_empty() || claims["aud"] == "" || claims["aud"][0] == "");
    }
    match Claims::read(&claims) {
        Err(refused) => check_refusal(&refused),
        Ok(read) => {
            check_answer(read.introspected(), &claims);
            assert!(!read.audience.is_empty() && !read.subject.is_empty() && !read.jti.is_empty() && !read.client_id.is_empty());
            match read.check(ISSUER, NOW) {
                Err(refused) => check_refusal(&refused),
                Ok(()) => assert!(claims["iss"] == ISSUER && read.expires_at > NOW && claims["exp"].as_i64() > Some(NOW.seconds())),
            }
        }
    }
}

/// Introspection tells what the token says, and twice of nothing.
fn check_answer(answer: &[u8], claims: &Map<String, Value>) {
    let mut told = jose::object(answer).expect("an answer is an object without doubles");
    assert_eq!((told.remove("active"), told.remove("token_type")), (Some(Value::from(true)), Some(Value::from("Bearer"))));
    let mut said = claims.clone();
    said.retain(|name, _| !matches!(name.as_str(), "active" | "token_type"));
    assert_eq!(told, said);
}

/// Nothing opens but what was sealed here for the same purpose, and what was sealed opens as itself.
pub fn sealed(data: &[u8]) {
    let keys = data_keys();
    if let Some(text) = text(data) {
        for refused in [
            bearer::read_with(key_set(), keys, text, NOW).err(),
            bearer::unseal_jti(keys, text).err(),
            page::open(keys, b"a list", text).err(),
        ] {
            check_refusal(&refused.expect("nobody finds a sealed text by trying"));
        }
    }
    let sealed = keys.seal(Purpose::Token, &Constant, bearer::OPAQUE_CONTEXT, data);
    let token = URL_SAFE_NO_PAD.encode(&sealed);
    let read = bearer::read_with(key_set(), keys, &token, NOW);
    match (jose::object(data).ok().and_then(|claims| Claims::read(&claims).ok()), token.len() > crate::oauth::bearer::MAX_TOKEN) {
        (Some(claims), false) => assert_eq!(read, Ok(claims)),
        (None, _) | (_, true) => check_refusal(&read.expect_err("no claims")),
    }
    assert!(bearer::unseal_jti(keys, &token).is_err(), "a token is no jti");
    assert!(page::open(keys, b"a list", &token).is_err(), "a token is no cursor");
    let cursor = URL_SAFE_NO_PAD.encode(keys.seal(Purpose::Cursor, &Constant, b"a list", data));
    match text(data) {
        Some(text) => assert_eq!(page::open(keys, b"a list", &cursor).as_deref(), Ok(text)),
        None => assert!(page::open(keys, b"a list", &cursor).is_err()),
    }
    assert!(page::open(keys, b"another list", &cursor).is_err());
    let mut changed = sealed;
    let place = data.first().map_or(0, |byte| usize::from(*byte)) % changed.len();
    changed[place] ^= 0x40;
    assert!(bearer::read_with(key_set(), keys, &URL_SAFE_NO_PAD.encode(changed), NOW).is_err());
}
