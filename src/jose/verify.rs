//! Verification of our own tokens: form, type, key, signature, claims, in this order. Lifetimes are the caller's business.

use serde_json::{Map, Value};

use super::{Alg, KeySet, KeyState, header, strict_json};
use crate::clock::Timestamp;
use crate::oauth::refusal::Reason;

/// A kind of token that we sign, told by `typ` in its header (RFC 8725 §3.11). One kind is never accepted as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Typ {
    /// RFC 9068 §2.1.
    AccessToken,
    /// OpenID Connect Core §2; also what an `id_token_hint` is.
    IdToken,
    /// OpenID Connect Back-Channel Logout §2.4.
    LogoutToken,
}

impl Typ {
    /// Every type that we sign.
    pub const ALL: [Self; 3] = [Self::AccessToken, Self::IdToken, Self::LogoutToken];

    /// The header's `typ`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "at+jwt",
            Self::IdToken => "JWT",
            Self::LogoutToken => "logout+jwt",
        }
    }
}

/// A token that one of our keys signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    pub kid: String,
    pub alg: Alg,
    /// When the key was made: no token by it can be older.
    pub key_created_at: Timestamp,
    pub claims: Map<String, Value>,
}

impl KeySet {
    /// Verifies that one of our keys signed `jwt` as a token of this type. `exp` and the other claims are for the caller.
    ///
    /// Errors: `TokenMalformed` for form, header and claims; `TokenSignatureInvalid` for unknown, unpublished and compromised keys and for wrong
    /// signatures.
    pub fn verify(&self, jwt: &str, typ: Typ, now: Timestamp) -> Result<Verified, Reason> {
        let malformed = |detail: String| Reason::TokenMalformed { detail };
        let token = header::read(jwt).map_err(malformed)?;
        // RFC 8725 §3.11, security.md R-38: explicit typing, exactly as we write it.
        if token.typ.as_deref() != Some(typ.as_str()) {
            return Err(malformed(format!("\"typ\" is {:?}, not {:?}", token.typ.as_deref().unwrap_or(""), typ.as_str())));
        }
        let kid = token.kid.ok_or_else(|| malformed("the header has no \"kid\"".to_owned()))?;
        let invalid = |kid: String| Reason::TokenSignatureInvalid { kid: Some(kid) };
        let Some(key) = self.find(&kid) else {
            return Err(invalid(kid));
        };
        let believed = match key.state {
            KeyState::Active | KeyState::Next | KeyState::Retiring => true,
            KeyState::VerifyOnly => typ == Typ::IdToken && now >= key.created_at,
            KeyState::Compromised => false,
        };
        // RFC 8725 §3.1: the algorithm is the key's; a token that says otherwise is refused, not obeyed.
        if !believed || token.alg != key.alg.as_str() || !key.verifier.verifies(token.signing_input.as_bytes(), &token.signature) {
            return Err(invalid(kid));
        }
        let claims =
            strict_json::object(&token.payload).map_err(|error| malformed(format!("the claims are not sound JSON: {error}")))?;
        Ok(Verified { kid, alg: key.alg, key_created_at: key.created_at, claims })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::keyset::tests::entry;
    use crate::jose::{KeyEntry, base64url};

    const NOW: Timestamp = Timestamp::from_seconds(2_000);

    fn sign(entry: &KeyEntry, typ: &str) -> String {
        entry.signer.as_ref().unwrap().sign_jwt(typ, &json!({ "sub": "s" })).unwrap()
    }

    /// Signs an arbitrary header and payload with the key.
    fn forge(entry: &KeyEntry, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()));
        let signature = entry.signer.as_ref().unwrap().sign(input.as_bytes()).unwrap();
        format!("{input}.{}", base64url::encode(&signature))
    }

    #[test]
    fn what_we_sign_verifies_with_every_algorithm() {
        for alg in Alg::ALL {
            let key = entry(alg, KeyState::Active);
            let set = KeySet::new(vec![key.clone()]);
            let verified = set.verify(&sign(&key, "at+jwt"), Typ::AccessToken, NOW).unwrap();
            assert_eq!((verified.kid.as_str(), verified.alg), (key.kid.as_str(), alg));
            assert_eq!(verified.claims["sub"], "s");
        }
    }

    #[test]
    fn one_type_is_never_accepted_as_another() {
        let key = entry(Alg::EdDSA, KeyState::Active);
        let set = KeySet::new(vec![key.clone()]);
        for made in ["at+jwt", "JWT", "logout+jwt", "AT+JWT", "application/at+jwt", "jwt", ""] {
            for asked in Typ::ALL {
                assert_eq!(set.verify(&sign(&key, made), asked, NOW).is_ok(), made == asked.as_str(), "{made} as {asked:?}");
            }
        }
        let untyped = forge(&key, &format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, key.kid), "{}");
        assert!(Typ::ALL.into_iter().all(|typ| set.verify(&untyped, typ, NOW).is_err()));
    }

    #[test]
    fn the_algorithm_is_the_keys_and_not_the_tokens() {
        let key = entry(Alg::ES256, KeyState::Active);
        let set = KeySet::new(vec![key.clone()]);
        let with = |alg: &str| forge(&key, &format!(r#"{{"alg":"{alg}","kid":"{}","typ":"JWT"}}"#, key.kid), "{}");
        assert!(set.verify(&with("ES256"), Typ::IdToken, NOW).is_ok());
        for alg in ["RS256", "HS256", "EdDSA", "es256", "ES256 ", "none", "ES384"] {
            assert!(set.verify(&with(alg), Typ::IdToken, NOW).is_err(), "{alg}");
        }
    }

    #[test]
    fn a_changed_token_and_a_strangers_key_do_not_verify() {
        let (ours, theirs) = (entry(Alg::ES256, KeyState::Active), entry(Alg::ES256, KeyState::Active));
        let set = KeySet::new(vec![ours.clone()]);
        let good = sign(&ours, "JWT");
        let signature_of_other_claims = {
            let other = ours.signer.as_ref().unwrap().sign_jwt("JWT", &json!({ "sub": "other" })).unwrap();
            format!("{}.{}", good.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1)
        };
        assert!(matches!(
            set.verify(&signature_of_other_claims, Typ::IdToken, NOW),
            Err(Reason::TokenSignatureInvalid { kid: Some(kid) }) if kid == ours.kid
        ));
        assert!(set.verify(&sign(&theirs, "JWT"), Typ::IdToken, NOW).is_err());
        let under_our_kid = forge(&theirs, &format!(r#"{{"alg":"ES256","kid":"{}","typ":"JWT"}}"#, ours.kid), "{}");
        assert!(set.verify(&under_our_kid, Typ::IdToken, NOW).is_err());
        let without_kid = forge(&ours, r#"{"alg":"ES256","typ":"JWT"}"#, "{}");
        assert!(set.verify(&without_kid, Typ::IdToken, NOW).is_err());
    }

    #[test]
    fn claims_with_duplicates_or_no_object_are_refused_although_signed() {
        let key = entry(Alg::EdDSA, KeyState::Active);
        let set = KeySet::new(vec![key.clone()]);
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"JWT"}}"#, key.kid);
        for payload in [r#"{"sub":"a","sub":"b"}"#, "[]", "1", "", r#"{"a":1"#] {
            assert!(
                matches!(set.verify(&forge(&key, &header, payload), Typ::IdToken, NOW), Err(Reason::TokenMalformed { .. })),
                "{payload}"
            );
        }
    }

    #[test]
    fn the_state_of_the_key_decides_what_is_believed() {
        for (state, access, id) in [
            (KeyState::Active, true, true),
            (KeyState::Next, true, true),
            (KeyState::Retiring, true, true),
            (KeyState::VerifyOnly, false, true),
            (KeyState::Compromised, false, false),
        ] {
            let key = entry(Alg::EdDSA, state);
            let set = KeySet::new(vec![key.clone()]);
            assert_eq!(set.verify(&sign(&key, "at+jwt"), Typ::AccessToken, NOW).is_ok(), access, "{state}");
            assert_eq!(set.verify(&sign(&key, "JWT"), Typ::IdToken, NOW).is_ok(), id, "{state}");
        }
    }
}
