//! Verification of what others signed: a client's assertions and request objects. The form first, then the key by the client's own set,
//! then the signature; what the claims mean is the caller's business (RFC 7515 §5.2, RFC 8725 §3, security.md R-33 to R-38).

use serde_json::{Map, Value};

use super::header::{self, Compact};
use super::{Alg, JwkSet, base64url, strict_json};

/// A client's JWT, its form read and its signature not yet verified.
#[derive(Debug)]
pub struct ClientJwt<'a> {
    token: Compact<'a>,
    alg: Alg,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotVerified {
    /// The set has no key for this token: it may have been replaced.
    NoKey,
    /// A key was there, and it did not sign this.
    Wrong,
}

impl<'a> ClientJwt<'a> {
    /// Reads a compact JWS. The algorithm is one that a public key can have: `none` and HMAC cannot be expressed.
    ///
    /// # Errors
    /// What is wrong, in words for the client's developer.
    pub fn read(jwt: &'a str) -> Result<Self, String> {
        let token = header::read(jwt)?;
        let Some(alg) = Alg::from_name(&token.alg) else {
            let known = Alg::ALL.map(Alg::as_str).join(", ");
            let shown: String = token.alg.chars().take(40).collect();
            return Err(format!("\"alg\" is {shown:?}; accepted are {known}"));
        };
        Ok(Self { token, alg })
    }

    /// Does this say of itself that nobody has signed it (RFC 7515 §4.1.1, RFC 7518 §3.6)?
    pub fn is_unsigned(jwt: &str) -> bool {
        let header = jwt.split('.').next().filter(|header| header.len() <= header::MAX_JWT);
        let header = header.and_then(base64url::decode).and_then(|header| strict_json::object(&header).ok());
        let alg = header.as_ref().and_then(|header| header.get("alg")).and_then(Value::as_str);
        alg.is_some_and(|alg| alg.eq_ignore_ascii_case("none"))
    }

    /// What the header says the algorithm is. It counts for nothing until a key of that kind has verified the signature.
    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// Which key it names.
    pub fn kid(&self) -> Option<&str> {
        self.token.kid.as_deref()
    }

    /// Is it typed as `typ`, as plain JWT, or not at all? Media types have no case, and `application/` may stand before (RFC 7515 §4.1.9).
    pub fn is_typed(&self, typ: &str) -> bool {
        let Some(own) = &self.token.typ else { return true };
        let own = own.to_ascii_lowercase();
        let own = own.strip_prefix("application/").unwrap_or(&own);
        own == typ || own == "jwt"
    }

    /// `typ` as it was sent.
    pub fn typ(&self) -> Option<&str> {
        self.token.typ.as_deref()
    }

    /// Verifies the signature by one of the client's keys.
    ///
    /// # Errors
    /// None of them fits the token, or the one that does has not signed it.
    pub fn verify(&self, keys: &JwkSet) -> Result<(), NotVerified> {
        let keys = keys.to_verify(self.alg, self.kid());
        if keys.is_empty() {
            return Err(NotVerified::NoKey);
        }
        let signed = |key: &&super::Jwk| key.verifies(self.alg, self.token.signing_input.as_bytes(), &self.token.signature);
        if keys.iter().any(signed) { Ok(()) } else { Err(NotVerified::Wrong) }
    }

    /// The claims: one JSON object, no member twice. Nobody vouches for them until [`ClientJwt::verify`] has.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn claims(&self) -> Result<Map<String, Value>, String> {
        strict_json::object(&self.token.payload).map_err(|error| format!("the claims are not sound JSON: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaKeyPair};
    use serde_json::json;

    use super::*;
    use crate::jose::{KeyMaker as _, KeyPair, NewKeyPairs, SigningKey, base64url};

    fn set(pairs: &[&KeyPair]) -> JwkSet {
        let keys: Vec<Value> = pairs
            .iter()
            .map(|pair| {
                let mut key = serde_json::to_value(&pair.public).unwrap();
                key["kid"] = json!(pair.kid);
                key
            })
            .collect();
        JwkSet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn signed(pair: &KeyPair, header: Value, claims: &str) -> String {
        let input = format!("{}.{}", base64url::encode(header.to_string().as_bytes()), base64url::encode(claims.as_bytes()));
        let signature = if header["alg"] == "PS256" {
            let key = RsaKeyPair::from_pkcs8(pair.pkcs8.expose()).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
            signature
        } else {
            SigningKey::from_pkcs8(pair.alg, pair.pkcs8.expose()).unwrap().sign(input.as_bytes()).unwrap()
        };
        format!("{input}.{}", base64url::encode(&signature))
    }

    fn outcome(jwt: &str, keys: &JwkSet) -> Result<(), NotVerified> {
        ClientJwt::read(jwt).unwrap().verify(keys)
    }

    #[test]
    fn every_algorithm_verifies_with_a_key_of_its_kind_and_with_no_other() {
        let (rsa, ec, ed) =
            (NewKeyPairs.make(Alg::RS256).unwrap(), NewKeyPairs.make(Alg::ES256).unwrap(), NewKeyPairs.make(Alg::EdDSA).unwrap());
        let all = set(&[&rsa, &ec, &ed]);
        for (alg, pair) in [("RS256", &rsa), ("PS256", &rsa), ("ES256", &ec), ("EdDSA", &ed), ("Ed25519", &ed)] {
            let jwt = signed(pair, json!({ "alg": alg, "kid": pair.kid }), r#"{"sub":"s"}"#);
            assert_eq!(outcome(&jwt, &all), Ok(()), "{alg}");
            assert_eq!(outcome(&jwt, &set(&[pair])), Ok(()), "{alg}");
            assert_eq!(ClientJwt::read(&jwt).unwrap().claims().unwrap()["sub"], "s");
            let without_kid = signed(pair, json!({ "alg": alg }), "{}");
            assert_eq!(outcome(&without_kid, &all), Ok(()), "the only one of its kind");
            let stranger = NewKeyPairs.make(pair.alg).unwrap();
            assert_eq!(outcome(&jwt, &set(&[&stranger])), Err(NotVerified::NoKey));
            let forged = signed(&stranger, json!({ "alg": alg, "kid": pair.kid }), "{}");
            assert_eq!(outcome(&forged, &all), Err(NotVerified::Wrong));
        }
        // One kind of padding under the other's name.
        let crossed = signed(&rsa, json!({ "alg": "RS256", "kid": rsa.kid }), "{}").replacen(
            &base64url::encode(json!({ "alg": "RS256", "kid": rsa.kid }).to_string().as_bytes()),
            &base64url::encode(json!({ "alg": "PS256", "kid": rsa.kid }).to_string().as_bytes()),
            1,
        );
        assert_eq!(outcome(&crossed, &all), Err(NotVerified::Wrong));
        assert_eq!(outcome(&signed(&rsa, json!({ "alg": "ES256", "kid": rsa.kid }), "{}"), &all), Err(NotVerified::NoKey));
    }

    #[test]
    fn what_is_not_signed_by_a_private_key_cannot_be_read() {
        let pair = NewKeyPairs.make(Alg::EdDSA).unwrap();
        for alg in ["none", "None", "HS256", "HS512", "RS1", "ES384", "eddsa", "RSA-OAEP-256", "dir", ""] {
            assert!(ClientJwt::read(&signed(&pair, json!({ "alg": alg, "kid": pair.kid }), "{}")).is_err(), "{alg}");
        }
        for members in [
            json!({ "crit": ["exp"] }),
            json!({ "jku": "https://evil.test/jwks" }),
            json!({ "x5u": "https://evil.test/cert" }),
            json!({ "x5c": ["AA"] }),
            json!({ "jwk": pair.public }),
            json!({ "b64": false }),
            json!({ "cty": "JWT" }),
        ] {
            let mut header = json!({ "alg": "EdDSA", "kid": pair.kid });
            header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            assert!(ClientJwt::read(&signed(&pair, header, "{}")).is_err(), "{members}");
        }
    }

    #[test]
    fn the_type_is_its_own_or_none() {
        let pair = NewKeyPairs.make(Alg::EdDSA).unwrap();
        let typed = |typ: &str| {
            let jwt = signed(&pair, json!({ "alg": "EdDSA", "typ": typ }), "{}");
            ClientJwt::read(&jwt).unwrap().is_typed("oauth-authz-req+jwt")
        };
        assert!(["oauth-authz-req+jwt", "application/OAuth-Authz-Req+JWT", "JWT"].into_iter().all(typed));
        assert!(!["at+jwt", "logout+jwt", "client-authentication+jwt", "", "dpop+jwt"].into_iter().any(typed));
    }
}
