//! The strict reader of compact JWS (RFC 7515 §7.1): three segments, at most 16 KiB, and a header in which nothing is left to chance.
//!
//! It runs before any signature is looked at, and refuses whatever could make two readers see different tokens (security.md R-34 to R-36).

use serde_json::{Map, Value};

use super::base64url;
use super::strict_json;

/// The longest token that is read, in bytes.
pub(super) const MAX_JWT: usize = 16 * 1024;
/// The longest `kid` that is looked up, in bytes (R-35).
pub(super) const MAX_KID: usize = 256;

/// Header members that bring a key of the sender's choice, or change how the token is read. Refused wherever they stand.
const REFUSED: [&str; 9] = ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc", "cty"];

/// A compact JWS, split and decoded, its signature not yet verified.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    pub alg: String,
    pub kid: Option<String>,
    pub typ: Option<String>,
    /// What the signature covers: header, dot, payload, as sent.
    pub signing_input: &'a str,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// Splits and reads `jwt`. The error says what is wrong, in words for the operator.
pub(super) fn read(jwt: &str) -> Result<Compact<'_>, String> {
    if jwt.len() > MAX_JWT {
        return Err(format!("longer than {MAX_JWT} bytes"));
    }
    let mut segments = jwt.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err(if jwt.split('.').count() == 5 {
            // RFC 7516 §3.1. We have no key that anybody could encrypt to.
            "encrypted (five segments): send the signed token that is inside".to_owned()
        } else {
            "not three segments with dots between".to_owned()
        });
    };
    let signing_input = jwt.get(..header.len() + 1 + payload.len()).unwrap_or_default();
    let decoded =
        |segment: &str, name: &str| base64url::decode(segment).ok_or_else(|| format!("the {name} is not unpadded base64url"));
    let header =
        strict_json::object(&decoded(header, "header")?).map_err(|error| format!("the header is not sound JSON: {error}"))?;
    let payload = decoded(payload, "payload")?;
    let signature = decoded(signature, "signature")?;

    // RFC 7515 §4.1.11: an extension that is not understood must be refused, and we understand none.
    if let Some(name) = REFUSED.into_iter().find(|name| header.contains_key(*name)) {
        return Err(format!("the header has \"{name}\", which is not accepted"));
    }
    let alg = text(&header, "alg")?.ok_or("the header has no \"alg\"")?;
    let kid = text(&header, "kid")?;
    if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID) {
        return Err(format!("\"kid\" is empty or longer than {MAX_KID} bytes"));
    }
    let typ = text(&header, "typ")?;
    // RFC 8725 §3.1, §3.2: `none` is no algorithm of ours; named here because it is asked for so often.
    if alg.eq_ignore_ascii_case("none") || signature.is_empty() {
        return Err("the token is not signed".to_owned());
    }
    Ok(Compact { alg, kid, typ, signing_input, payload, signature })
}

fn text(header: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.clone())),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(format!("\"{name}\" in the header is not a string"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.{}.{}", base64url::encode(header.as_bytes()), base64url::encode(b"{}"), base64url::encode(b"signature"))
    }

    fn refused(header: &str) -> bool {
        read(&token(header)).is_err()
    }

    #[test]
    fn a_plain_header_is_read() {
        let jwt = token(r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#);
        let compact = read(&jwt).unwrap();
        assert_eq!((compact.alg.as_str(), compact.kid.as_deref(), compact.typ.as_deref()), ("RS256", Some("k"), Some("JWT")));
        assert_eq!(compact.signing_input, jwt.rsplit_once('.').unwrap().0);
        assert_eq!(compact.payload, b"{}");
    }

    #[test]
    fn headers_that_bring_keys_or_change_the_reading_are_refused() {
        for member in [
            r#""crit":["exp"]"#,
            r#""crit":[]"#,
            r#""crit":["b64"],"b64":false"#,
            r#""b64":true"#,
            r#""jwk":{}"#,
            r#""jku":"https://evil.test""#,
            r#""x5u":"https://evil.test""#,
            r#""x5c":[]"#,
            r#""zip":"DEF""#,
            r#""enc":"A256GCM""#,
            r#""cty":"JWT""#,
        ] {
            assert!(refused(&format!(r#"{{"alg":"RS256","kid":"k",{member}}}"#)), "{member}");
        }
    }

    #[test]
    fn wrong_types_duplicates_and_none_are_refused() {
        for header in [
            r#"{"kid":"k"}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"none"}"#,
            r#"{"alg":"NoNe"}"#,
            r#"{"alg":"RS256","alg":"RS256"}"#,
            r#"{"alg":"RS256","kid":1}"#,
            r#"{"alg":"RS256","kid":""}"#,
            r#"{"alg":"RS256","typ":7}"#,
            r#"[]"#,
            r#""#,
        ] {
            assert!(refused(header), "{header}");
        }
        assert!(refused(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(257))));
    }

    #[test]
    fn the_form_is_exact() {
        let good = token(r#"{"alg":"RS256"}"#);
        for bad in [
            String::new(),
            "a.b".to_owned(),
            format!("{good}."),
            format!("{good}.x"),
            format!("{good}="),
            format!(" {good}"),
            format!("{good}\n"),
            good.replacen('.', "..", 1),
            format!("{}.", good.rsplit_once('.').unwrap().0),
            // The JSON serialisation of RFC 7515 §7.2.
            r#"{"protected":"","payload":"","signature":""}"#.to_owned(),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
        assert!(read(&format!("{good}.x.x")).unwrap_err().contains("encrypted"));
        let long = format!("{}.{}.{}", base64url::encode(br#"{"alg":"RS256"}"#), "A".repeat(MAX_JWT), "AAAA");
        assert!(read(&long).unwrap_err().contains("longer"));
    }
}
