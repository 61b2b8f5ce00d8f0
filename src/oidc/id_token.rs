//! ID tokens (OpenID Connect Core §2, §3.1.3.6, §12.2), and what one says when it comes back as a hint.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};

use super::user::ClaimMap;
use crate::clock::Timestamp;
use crate::jose::Alg;
use crate::oauth::access_token::read_audience;
use crate::oauth::grant::Grant;
use crate::oauth::refusal::Reason;

/// What an ID token says beside the grant.
#[derive(Debug, Clone, Copy)]
pub struct IdToken<'a> {
    pub issuer: &'a str,
    /// OpenID Connect Core §2: echoed unchanged; `None` in a refresh answer (§12.2).
    pub nonce: Option<&'a str>,
    /// The access token beside it.
    pub access_token: &'a str,
    /// With which it will be signed: `at_hash` depends on it.
    pub alg: Alg,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// OpenID Connect Core §2. `aud` is the client alone and as a string, so there is no `azp`. Claims about the person are at the
/// userinfo endpoint, since an access token goes with every ID token of ours (§5.4); here are only those that were asked for here (§5.5).
pub fn claims(grant: &Grant, token: &IdToken<'_>) -> ClaimMap {
    let mut claims = ClaimMap::new();
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("iss", token.issuer.into());
    put("sub", grant.sub.as_str().into());
    put("aud", grant.client_id.as_str().into());
    put("iat", token.issued_at.seconds().into());
    put("exp", token.expires_at.seconds().into());
    put("auth_time", grant.auth_time.seconds().into());
    if let Some(nonce) = token.nonce {
        put("nonce", nonce.into());
    }
    // Never empty: a reader would take that for a level.
    if let Some(acr) = grant.acr.as_deref().filter(|acr| !acr.is_empty()) {
        put("acr", acr.into());
    }
    if !grant.amr.is_empty() {
        put("amr", grant.amr.clone().into());
    }
    // OpenID Connect Front-Channel Logout §3, Back-Channel Logout §2.4: the same in every token of the session.
    if let Some(sid) = grant.sid.as_deref() {
        put("sid", sid.into());
    }
    put("at_hash", at_hash(token.access_token, token.alg).into());
    claims
}

/// OpenID Connect Core §3.1.3.6: the left half of the hash of the access token's ASCII, with the hash of the ID token's own `alg`.
/// Ed25519 hashes with SHA-512 (RFC 8032 §5.1).
pub fn at_hash(access_token: &str, alg: Alg) -> String {
    match alg {
        Alg::RS256 | Alg::PS256 | Alg::ES256 => left_half(&Sha256::digest(access_token.as_bytes())),
        Alg::EdDSA | Alg::Ed25519 => left_half(&Sha512::digest(access_token.as_bytes())),
    }
}

fn left_half(digest: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest.get(..digest.len() / 2).unwrap_or_default())
}

/// An ID token that came back as `id_token_hint`: whom and which session it speaks of. Its age does not matter (Core §3.1.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub sub: String,
    pub client_id: String,
    pub sid: Option<String>,
}

impl Hint {
    /// Reads verified claims.
    ///
    /// # Errors
    /// `IdTokenHintInvalid` if it is another issuer's, or lacks what our ID tokens have.
    pub fn read(claims: &ClaimMap, issuer: &str) -> Result<Self, Reason> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        if text("iss").as_deref() != Some(issuer) {
            return Err(invalid("its issuer is another one"));
        }
        let sub = text("sub").ok_or_else(|| invalid("it has no subject"))?;
        let client_id = match read_audience(claims).as_deref() {
            Ok([only]) => only.clone(),
            _ => return Err(invalid("its audience is not one client")),
        };
        let sid = match claims.get("sid") {
            None => None,
            Some(_) => Some(text("sid").ok_or_else(|| invalid("its sid is not a text"))?),
        };
        Ok(Self { sub, client_id, sid })
    }
}

fn invalid(detail: &str) -> Reason {
    Reason::IdTokenHintInvalid { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::grant::samples::{self, at};

    fn made(grant: &Grant, nonce: Option<&str>) -> ClaimMap {
        let token = IdToken {
            issuer: "https://id.test",
            nonce,
            access_token: "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y",
            alg: Alg::RS256,
            issued_at: at(0),
            expires_at: at(600),
        };
        claims(grant, &token)
    }

    #[test]
    fn an_id_token_says_who_signed_in_where_when_and_how() {
        let expected = json!({
            "iss": "https://id.test", "sub": "sub-of-alice", "aud": "app", "iat": 1_800_000_000, "exp": 1_800_000_600,
            "auth_time": 1_799_999_970, "nonce": "n-0S6", "amr": ["pwd"], "sid": "sid-of-alice", "at_hash": "77QmUPtjPfzWtF2AnpK9RQ",
        });
        assert_eq!(Value::Object(made(&samples::grant(), Some("n-0S6"))), expected);
    }

    #[test]
    fn what_was_not_sent_or_is_empty_is_left_out() {
        let grant = Grant { acr: Some(String::new()), amr: Vec::new(), sid: None, ..samples::grant() };
        let claims = made(&grant, None);
        for absent in ["nonce", "acr", "amr", "sid", "azp"] {
            assert!(!claims.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn a_refreshed_id_token_speaks_of_the_same_sign_in() {
        let (first, refreshed) = (made(&samples::grant(), Some("n-0S6")), made(&samples::grant(), None));
        for same in ["iss", "sub", "aud", "auth_time", "sid"] {
            assert_eq!(first[same], refreshed[same], "{same}");
        }
    }

    /// The example of OpenID Connect Core appendix A.3 and its `at_hash`.
    #[test]
    fn at_hash_is_that_of_core_appendix_a() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(at_hash(token, Alg::RS256), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(at_hash(token, Alg::PS256), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(at_hash(token, Alg::ES256), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(at_hash(token, Alg::EdDSA).len(), 43);
        assert_eq!(at_hash(token, Alg::Ed25519), at_hash(token, Alg::EdDSA));
    }

    #[test]
    fn a_hint_names_subject_client_and_session() {
        let hint = Hint::read(&made(&samples::grant(), None), "https://id.test").unwrap();
        let expected = Hint { sub: "sub-of-alice".to_owned(), client_id: "app".to_owned(), sid: Some("sid-of-alice".to_owned()) };
        assert_eq!(hint, expected);
    }

    #[test]
    fn what_is_not_one_of_our_id_tokens_is_no_hint() {
        let good = made(&samples::grant(), None);
        assert!(Hint::read(&good, "https://other.test").is_err());
        for (name, wrong) in
            [("sub", json!(1)), ("aud", json!(["a", "b"])), ("aud", json!(null)), ("sid", json!(7)), ("iss", json!(""))]
        {
            let mut claims = good.clone();
            claims.insert(name.to_owned(), wrong);
            assert!(matches!(Hint::read(&claims, "https://id.test"), Err(Reason::IdTokenHintInvalid { .. })), "{name}");
        }
    }
}
