//! private_key_jwt: an assertion that the client signed (RFC 7521 §4.2, RFC 7523 §3, OpenID Connect Core §9; security.md R-29, openid.md E).
//!
//! The claims are judged here, before anybody looks for a key: they are the client's word about itself, and worth nothing until its signature
//! has been verified and its `jti` spent. Both are facts that [`super::authenticate`] is told.

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::jose::{Alg, ClientJwt};
use crate::oauth::client::Client;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::secret::{Digest, Secret};

use super::Rules;

/// RFC 7523 §2.2.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The header's `typ`, where it is not left out or plain (draft-ietf-oauth-rfc7523bis).
const TYP: &str = "client-authentication+jwt";
/// The longest `jti`, in bytes.
const MAX_JTI: usize = 256;

/// An assertion as it was sent: its form is sound, its claims are of their types.
#[derive(Debug, Clone)]
pub struct Assertion {
    jwt: Secret<String>,
    alg: Alg,
    issuer: String,
    subject: String,
    audience: Vec<String>,
    /// `aud` was a list, be it of one.
    audience_is_list: bool,
    expires_at: Timestamp,
    issued_at: Timestamp,
    not_before: Option<Timestamp>,
    jti: String,
}

impl Assertion {
    /// The assertion of the body, if there is one.
    ///
    /// # Errors
    /// `ClientAssertionMalformed`.
    pub(super) fn read(params: &Params) -> Result<Option<Self>, Reason> {
        let client_id = || params.get("client_id").map(str::to_owned);
        let malformed = |detail: String| Reason::ClientAssertionMalformed { client_id: client_id(), detail };
        let (jwt, kind) = match (params.get("client_assertion"), params.get("client_assertion_type")) {
            (None, None) => return Ok(None),
            (Some(jwt), Some(kind)) => (jwt, kind),
            (Some(_), None) => return Err(malformed(format!("client_assertion_type is missing; it is {ASSERTION_TYPE}"))),
            (None, Some(_)) => return Err(malformed("client_assertion is missing".to_owned())),
        };
        if kind != ASSERTION_TYPE {
            return Err(malformed(format!("client_assertion_type is not {ASSERTION_TYPE}")));
        }
        Self::parse(jwt).map(Some).map_err(malformed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let jwt = ClientJwt::read(text)?;
        if !jwt.is_typed(TYP) {
            return Err(format!("\"typ\" is neither {TYP} nor JWT nor left out"));
        }
        let claims = jwt.claims()?;
        // RFC 9101 §10.8: one thing that was signed is not to pass for the other. A request object travels through the browser.
        if let Some(name) = ["response_type", "redirect_uri"].into_iter().find(|name| claims.contains_key(*name)) {
            return Err(format!("it has \"{name}\", so it is a request object and no client assertion; sign one of its own"));
        }
        let (audience, audience_is_list) = audience(&claims)?;
        let jti = string(&claims, "jti")?;
        if jti.is_empty() || jti.len() > MAX_JTI {
            return Err(format!("\"jti\" is empty or longer than {MAX_JTI} bytes"));
        }
        Ok(Self {
            alg: jwt.alg(),
            issuer: string(&claims, "iss")?,
            subject: string(&claims, "sub")?,
            audience,
            audience_is_list,
            expires_at: required(&claims, "exp")?,
            issued_at: required(&claims, "iat")?,
            not_before: instant(&claims, "nbf")?,
            jti,
            jwt: Secret::new(text.to_owned()),
        })
    }

    /// Whom it says it is about. Nobody has vouched for that.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What was signed, for whoever has the key.
    pub fn jwt(&self) -> &Secret<String> {
        &self.jwt
    }

    /// The one use of it: by client and `jti`, until the last instant at which it could be accepted.
    pub fn spending(&self, client_id: &str, rules: &Rules<'_>) -> (Digest, Timestamp) {
        let name = format!("client assertion\n{}\n{client_id}\n{}", client_id.len(), self.jti);
        (Digest::of(name.as_bytes()), self.expires_at.plus(rules.tolerance))
    }

    /// RFC 7523 §3 and R-29, all but the signature and the `jti`'s being unused.
    ///
    /// # Errors
    /// What does not hold of it.
    pub fn check(&self, client: &Client, rules: &Rules<'_>, now: Timestamp) -> Result<(), Reason> {
        let client_id = || client.client_id.clone();
        let registered = client.metadata.token_endpoint_auth_signing_alg;
        let fapi2 = client.is_fapi2();
        let allowed = |alg: Alg| (!fapi2 || alg.is_for_fapi2()) && registered.is_none_or(|own| own.is_same(alg));
        if !allowed(self.alg) {
            let allowed = Alg::ALL.into_iter().filter(|alg| allowed(*alg)).map(|alg| alg.as_str().to_owned()).collect();
            return Err(Reason::ClientAssertionAlgorithm {
                client_id: client_id(),
                received: self.alg.as_str().to_owned(),
                allowed,
            });
        }
        // RFC 7523 §3 (1), (2): both name the client.
        if self.issuer != client.client_id || self.subject != client.client_id {
            let (issuer, subject) = (self.issuer.clone(), self.subject.clone());
            return Err(Reason::ClientAssertionOfAnotherClient { client_id: client_id(), issuer, subject });
        }
        // RFC 7523 §3 (3); FAPI 2.0 Security Profile §5.3.2.1: the issuer as a string, and nothing else.
        let ours = |aud: &String| aud == rules.issuer || (!fapi2 && *aud == rules.token_endpoint);
        if self.audience.is_empty() || !self.audience.iter().all(ours) || (fapi2 && self.audience_is_list) {
            let mut accepted = vec![rules.issuer.to_owned()];
            accepted.extend((!fapi2).then(|| rules.token_endpoint.clone()));
            return Err(Reason::ClientAssertionAudience {
                client_id: client_id(),
                accepted,
                received: format!("{}{}", if self.audience_is_list { "a list: " } else { "" }, self.audience.join(", ")),
            });
        }
        let time = |claim: &str, at: Timestamp, detail: String| {
            Err(Reason::ClientAssertionTime { client_id: client_id(), at, now, detail: format!("{claim}, {detail}") })
        };
        let (latest, tolerance) = (now.plus(rules.tolerance), rules.tolerance.as_secs());
        if self.expires_at.plus(rules.tolerance) <= now {
            return time("exp", self.expires_at, "it has expired".to_owned());
        }
        if self.expires_at > latest.plus(rules.longest) {
            return time("exp", self.expires_at, format!("it lives for more than {} seconds", rules.longest.as_secs()));
        }
        for (claim, at) in [("iat", Some(self.issued_at)), ("nbf", self.not_before)] {
            if let Some(at) = at.filter(|at| *at > latest) {
                return time(claim, at, format!("it lies more than {tolerance} seconds ahead"));
            }
        }
        if self.issued_at > self.expires_at {
            return time("iat", self.issued_at, "it lies behind exp".to_owned());
        }
        Ok(())
    }

    /// It was used before.
    pub fn replayed(&self, client: &Client) -> Reason {
        Reason::ClientAssertionReplayed { client_id: client.client_id.clone(), jti: self.jti.clone() }
    }
}

/// RFC 7519 §4.1.3: a string, or a list of strings.
pub(crate) fn audience(claims: &Map<String, Value>) -> Result<(Vec<String>, bool), String> {
    match claims.get("aud") {
        Some(Value::String(one)) => Ok((vec![one.clone()], false)),
        Some(Value::Array(several)) if several.iter().all(Value::is_string) => {
            Ok((several.iter().filter_map(Value::as_str).map(str::to_owned).collect(), true))
        }
        Some(_) => Err("\"aud\" is neither a string nor a list of strings".to_owned()),
        None => Err("there is no \"aud\"".to_owned()),
    }
}

/// A claim that is there and a string.
fn string(claims: &Map<String, Value>, name: &str) -> Result<String, String> {
    match claims.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("\"{name}\" is not a string")),
        None => Err(format!("there is no \"{name}\"")),
    }
}

/// RFC 7519 §2: a NumericDate is a number of seconds, of which fractions are dropped. A wrong type is no absence (S-16).
pub(crate) fn instant(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, String> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    // Up to the year 9999; every such number is exact.
    const MOST: f64 = 253_402_300_799.0;
    match value.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "it lies between 0 and MOST")]
        Some(seconds) if value.is_number() && (0.0..=MOST).contains(&seconds) => Ok(Some(Timestamp::from_seconds(seconds as i64))),
        Some(_) | None => Err(format!("\"{name}\" is not a number of seconds")),
    }
}

fn required(claims: &Map<String, Value>, name: &str) -> Result<Timestamp, String> {
    instant(claims, name)?.ok_or_else(|| format!("there is no \"{name}\""))
}

/// The rule for a client that registered private_key_jwt; `outcome` is what became of its assertion's signature and `jti`.
pub(super) fn check(credentials: &super::Credentials, client: &Client, outcome: Option<Result<(), Reason>>) -> Result<(), Reason> {
    match (&credentials.presented, outcome) {
        (super::Presented::Assertion(_), Some(outcome)) => outcome,
        // Nobody has looked at it: it proves nothing.
        (super::Presented::Assertion(_), None) => Err(Reason::Internal { detail: "an assertion was not verified".to_owned() }),
        (super::Presented::Basic(_) | super::Presented::Post(_) | super::Presented::Nothing, _) => {
            Err(super::wrong_method(credentials, client))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::jose::{KeyMaker as _, NewKeyPairs, SigningKey};
    use crate::oauth::client::{AuthMethod, Profile};
    use crate::oauth::client_auth::{Credentials, authenticate};
    use crate::oauth::grant::samples;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn rules() -> Rules<'static> {
        Rules {
            issuer: "https://id.test",
            token_endpoint: "https://id.test/token".to_owned(),
            longest: Duration::from_secs(300),
            tolerance: Duration::from_secs(60),
        }
    }

    fn client(change: impl FnOnce(&mut Client)) -> Client {
        let mut client = samples::client("app");
        client.metadata.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt;
        change(&mut client);
        client
    }

    fn good() -> Value {
        json!({ "iss": "app", "sub": "app", "aud": "https://id.test", "exp": 1_800_000_060, "iat": 1_800_000_000, "jti": "1" })
    }

    fn with(members: Value) -> Value {
        let mut claims = good();
        for (name, value) in members.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    fn signed(alg: Alg, typ: &str, claims: &Value) -> String {
        let pair = NewKeyPairs.make(alg).unwrap();
        SigningKey::from_pkcs8(alg, pair.pkcs8.expose()).unwrap().sign_jwt(typ, claims).unwrap()
    }

    fn params(jwt: &str) -> Params {
        let body = format!("client_assertion_type={ASSERTION_TYPE}&client_assertion={jwt}");
        Params::parse_form(body.as_bytes()).unwrap()
    }

    fn read(claims: &Value) -> Result<Assertion, Reason> {
        Assertion::read(&params(&signed(Alg::EdDSA, "JWT", claims))).map(Option::unwrap)
    }

    fn checked(claims: Value, client: &Client) -> Result<(), &'static str> {
        read(&claims).and_then(|assertion| assertion.check(client, &rules(), NOW)).map_err(|reason| reason.rule().id)
    }

    #[test]
    fn an_assertion_by_the_book_holds() {
        let client = client(|_| ());
        for claims in [
            good(),
            with(json!({ "aud": "https://id.test/token" })),
            with(json!({ "aud": ["https://id.test", "https://id.test/token"] })),
            with(json!({ "iat": 1_800_000_008, "nbf": 1_800_000_008 })),
            with(json!({ "iat": 1_800_000_000.5, "exp": 1_800_000_060.25 })),
            // The client's clock is a minute ahead of ours, or behind.
            with(json!({ "iat": 1_800_000_060, "exp": 1_800_000_360 })),
            with(json!({ "iat": 1_799_999_900, "exp": 1_799_999_950 })),
        ] {
            assert_eq!(checked(claims.clone(), &client), Ok(()), "{claims}");
        }
    }

    #[test]
    fn each_claim_is_judged() {
        let client = client(|_| ());
        for (members, rule) in [
            (json!({ "iss": "other" }), "client-assertion-of-another-client"),
            (json!({ "sub": "other" }), "client-assertion-of-another-client"),
            (json!({ "iss": "other", "sub": "other" }), "client-assertion-of-another-client"),
            (json!({ "aud": "https://evil.test" }), "client-assertion-audience"),
            (json!({ "aud": "https://id.test/" }), "client-assertion-audience"),
            (json!({ "aud": "https://id.test/par" }), "client-assertion-audience"),
            (json!({ "aud": ["https://id.test", "https://evil.test"] }), "client-assertion-audience"),
            (json!({ "aud": [] }), "client-assertion-audience"),
            (json!({ "exp": 1_799_999_940 }), "client-assertion-time"),
            (json!({ "exp": 1_799_999_700, "iat": 1_799_999_640 }), "client-assertion-time"),
            (json!({ "exp": 1_800_000_361 }), "client-assertion-time"),
            (json!({ "iat": 1_800_000_062, "exp": 1_800_000_120 }), "client-assertion-time"),
            (json!({ "nbf": 1_800_000_062 }), "client-assertion-time"),
            (json!({ "iat": 1_800_000_010, "exp": 1_800_000_000 }), "client-assertion-time"),
        ] {
            assert_eq!(checked(with(members.clone()), &client), Err(rule), "{members}");
        }
        for members in [
            json!({ "iss": null }),
            json!({ "sub": null }),
            json!({ "aud": null }),
            json!({ "exp": null }),
            json!({ "iat": null }),
            json!({ "jti": null }),
            json!({ "iss": 1 }),
            json!({ "sub": ["app"] }),
            json!({ "aud": 1 }),
            json!({ "aud": ["https://id.test", 1] }),
            json!({ "exp": "1800000060" }),
            json!({ "exp": true }),
            json!({ "exp": -1 }),
            json!({ "exp": 1e300 }),
            json!({ "iat": "x" }),
            json!({ "nbf": "x" }),
            json!({ "jti": "" }),
            json!({ "jti": 7 }),
            json!({ "jti": "j".repeat(257) }),
            // RFC 9101 §10.8: what was signed to be an authorization request, with the client as its subject.
            json!({ "response_type": "code" }),
            json!({ "redirect_uri": "https://app.test/cb" }),
        ] {
            assert_eq!(checked(with(members.clone()), &client), Err("client-assertion-malformed"), "{members}");
        }
    }

    /// openid.md 57, 58, 61.
    #[test]
    fn fapi2_and_the_registered_algorithm_narrow_it() {
        let fapi2 = client(|client| client.metadata.profile = Some(Profile::Fapi2));
        assert_eq!(checked(good(), &fapi2), Ok(()));
        for aud in [json!("https://id.test/token"), json!(["https://id.test"]), json!("https://id.test/par")] {
            assert_eq!(checked(with(json!({ "aud": aud })), &fapi2), Err("client-assertion-audience"), "{aud}");
        }
        let outcome = |alg: Alg, client: &Client| {
            let assertion = Assertion::read(&params(&signed(alg, "JWT", &good()))).unwrap().unwrap();
            assertion.check(client, &rules(), NOW).map_err(|reason| reason.rule().id)
        };
        assert_eq!(outcome(Alg::RS256, &fapi2), Err("client-assertion-algorithm"));
        assert_eq!(outcome(Alg::ES256, &fapi2), Ok(()));
        let only = |alg| client(move |client| client.metadata.token_endpoint_auth_signing_alg = Some(alg));
        assert_eq!(outcome(Alg::EdDSA, &only(Alg::Ed25519)), Ok(()), "two names of one algorithm");
        assert_eq!(outcome(Alg::EdDSA, &only(Alg::ES256)), Err("client-assertion-algorithm"));
        assert_eq!(outcome(Alg::RS256, &only(Alg::PS256)), Err("client-assertion-algorithm"));
    }

    #[test]
    fn the_form_is_exact() {
        let jwt = signed(Alg::EdDSA, "JWT", &good());
        let refused = |body: String| {
            let params = Params::parse_form(body.as_bytes()).unwrap();
            Credentials::read(&[], &params).map(drop).map_err(|reason| (reason.rule().id, reason.wire().error))
        };
        let malformed = Err(("client-assertion-malformed", "invalid_client"));
        assert_eq!(refused(format!("client_assertion={jwt}")), malformed);
        assert_eq!(refused(format!("client_assertion_type={ASSERTION_TYPE}")), malformed);
        assert_eq!(refused(format!("client_assertion_type=urn:x&client_assertion={jwt}")), malformed);
        assert_eq!(refused(format!("client_assertion_type={ASSERTION_TYPE}&client_assertion=a.b.c")), malformed);
        for typ in ["at+jwt", "logout+jwt", "oauth-authz-req+jwt", "dpop+jwt"] {
            let jwt = signed(Alg::EdDSA, typ, &good());
            assert_eq!(refused(format!("client_assertion_type={ASSERTION_TYPE}&client_assertion={jwt}")), malformed, "{typ}");
        }
        for typ in ["client-authentication+jwt", "JWT"] {
            assert!(Assertion::read(&params(&signed(Alg::EdDSA, typ, &good()))).is_ok());
        }
    }

    /// The core believes nobody: without the facts about signature and use there is no client.
    #[test]
    fn an_assertion_that_nobody_verified_proves_nothing() {
        let client = Arc::new(client(|_| ()));
        let credentials = Credentials::read(&[], &params(&signed(Alg::EdDSA, "JWT", &good()))).unwrap();
        assert_eq!(credentials.client_id(), Some("app"), "the client is named by the assertion");
        assert!(authenticate(&credentials, Some(&client), None, NOW).is_err());
        let replayed = credentials.assertion().unwrap().replayed(&client);
        assert_eq!(authenticate(&credentials, Some(&client), Some(Err(replayed.clone())), NOW).unwrap_err(), replayed);
        let proved = authenticate(&credentials, Some(&client), Some(Ok(())), NOW).unwrap();
        assert_eq!((proved.method(), proved.secret_id()), (AuthMethod::PrivateKeyJwt, None));
        let other = Arc::new(samples::client("app"));
        assert!(authenticate(&credentials, Some(&other), Some(Ok(())), NOW).is_err(), "it registered another method");
        assert!(!format!("{credentials:?}").contains("eyJ"));
    }
}
