//! Request objects by value (RFC 9101, OpenID Connect Core §6): an authorization request as a JWT that the client signed.
//!
//! Only what is inside counts: of the parameters beside it client_id alone is looked at, and it has to be the same (RFC 9101 §6.3). Unsigned ones
//! are refused, and so is a reference to one elsewhere. The signature is for whoever has the client's keys.

use serde_json::{Map, Value};

use super::client::Client;
use super::client_auth::private_key_jwt::{audience, instant};
use super::params::{MAX_BODY, Params};
use super::refusal::Reason;
use crate::clock::Timestamp;
use crate::jose::{Alg, ClientJwt};

use std::time::Duration;

/// The header's `typ` (RFC 9101 §10.8).
const TYP: &str = "oauth-authz-req+jwt";
/// FAPI 2.0 Message Signing §5.3.1: how far ahead exp may lie, and how far back nbf.
const FAPI2_SPAN: Duration = Duration::from_secs(60 * 60);
/// Claims that say something about the JWT and are no parameters (RFC 9101 §4).
const ABOUT_THE_JWT: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// A request object whose form is sound.
#[derive(Debug)]
pub struct RequestObject<'a> {
    jwt: ClientJwt<'a>,
    claims: Map<String, Value>,
}

fn invalid(detail: impl Into<String>) -> Reason {
    Reason::RequestObjectInvalid { detail: detail.into() }
}

impl<'a> RequestObject<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// `RequestObjectUnsupported` for one that is not signed, `RequestObjectInvalid` for everything else that is wrong with its form.
    pub fn read(text: &'a str) -> Result<Self, Reason> {
        if ClientJwt::is_unsigned(text) {
            return Err(Reason::RequestObjectUnsupported);
        }
        let jwt = ClientJwt::read(text).map_err(invalid)?;
        if !jwt.is_typed(TYP) {
            return Err(invalid(format!("\"typ\" is neither {TYP} nor JWT nor left out")));
        }
        let claims = jwt.claims().map_err(invalid)?;
        Ok(Self { jwt, claims })
    }

    /// What was signed.
    pub fn jwt(&self) -> &ClientJwt<'a> {
        &self.jwt
    }

    /// The parameters inside, once everything but the signature has been checked.
    ///
    /// # Errors
    /// `RequestObjectInvalid`, or what is wrong with the parameters themselves.
    pub fn params(&self, client: &Client, issuer: &str, tolerance: Duration, now: Timestamp) -> Result<Params, Reason> {
        self.check_alg(client)?;
        self.check_claims(client, issuer, tolerance, now)?;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.claims {
            if ABOUT_THE_JWT.contains(&name.as_str()) {
                continue;
            }
            // RFC 9101 §4: neither may be inside.
            if matches!(name.as_str(), "request" | "request_uri") {
                return Err(invalid(format!("it holds {name}, which may not be inside")));
            }
            match value {
                Value::Null => {}
                Value::String(text) => drop(form.append_pair(name, text)),
                // RFC 9101 §4: numbers and objects as JSON, such as max_age and claims.
                Value::Number(_) | Value::Bool(_) | Value::Object(_) => drop(form.append_pair(name, &value.to_string())),
                // Parameters that may be repeated, such as resource (RFC 8707 §2).
                Value::Array(items) => {
                    for item in items {
                        match item {
                            Value::String(text) => drop(form.append_pair(name, text)),
                            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                                return Err(invalid("it holds a list of other things than texts"));
                            }
                        }
                    }
                }
            }
        }
        let form = form.finish();
        if form.len() > MAX_BODY {
            return Err(invalid("it is too long"));
        }
        Params::parse_form(form.as_bytes())
    }

    fn check_alg(&self, client: &Client) -> Result<(), Reason> {
        let registered = client.metadata.request_object_signing_alg;
        let allowed = |alg: Alg| (!client.is_fapi2() || alg.is_for_fapi2()) && registered.is_none_or(|own| own.is_same(alg));
        if allowed(self.jwt.alg()) {
            return Ok(());
        }
        Err(invalid(format!("it is signed by {}, which this client may not use", self.jwt.alg())))
    }

    fn check_claims(&self, client: &Client, issuer: &str, tolerance: Duration, now: Timestamp) -> Result<(), Reason> {
        let is = |name: &str| self.claims.get(name).and_then(Value::as_str) == Some(client.client_id.as_str());
        // RFC 9101 §6.3.
        if !is("client_id") {
            return Err(invalid("its client_id is missing, or not the one beside it"));
        }
        // RFC 9101 §4 and OpenID Connect Core §6.1 say SHOULD; without them one server's object would be good at another's.
        if !is("iss") {
            return Err(invalid("its iss is missing, or not the client_id"));
        }
        let (audience, _) = audience(&self.claims).map_err(invalid)?;
        if !audience.iter().any(|aud| aud == issuer) {
            return Err(invalid("its aud is not the issuer of this server"));
        }
        // RFC 9101 §10.8: what proves a client has the client as its subject, and is no request.
        if is("sub") {
            return Err(invalid("its sub is the client, as in a client assertion"));
        }
        let time = |name: &str| instant(&self.claims, name).map_err(invalid);
        let (exp, nbf, iat) = (time("exp")?, time("nbf")?, time("iat")?);
        if exp.is_some_and(|exp| exp.plus(tolerance) <= now) {
            return Err(invalid("it has expired"));
        }
        let latest = now.plus(tolerance);
        if nbf.into_iter().chain(iat).any(|at| at > latest) {
            return Err(invalid("its nbf or iat lies ahead"));
        }
        if !client.is_fapi2() {
            return Ok(());
        }
        // openid.md 105.
        match (exp, nbf) {
            (Some(exp), Some(nbf)) if exp <= latest.plus(FAPI2_SPAN) && nbf.plus(FAPI2_SPAN).plus(tolerance) >= now => Ok(()),
            (Some(_), Some(_)) => Err(invalid("its exp lies more than an hour ahead, or its nbf more than an hour back")),
            (None, _) | (_, None) => Err(invalid("it has no exp or no nbf")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::{KeyMaker as _, NewKeyPairs, SigningKey};
    use crate::oauth::client::Profile;
    use crate::oauth::grant::samples;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const ISSUER: &str = "https://id.test";

    fn signed(alg: Alg, typ: &str, members: Value) -> String {
        let mut claims = json!({ "iss": "app", "aud": ISSUER, "client_id": "app", "response_type": "code" });
        for (name, value) in members.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        let pair = NewKeyPairs.make(alg).unwrap();
        SigningKey::from_pkcs8(alg, pair.pkcs8.expose()).unwrap().sign_jwt(typ, &claims).unwrap()
    }

    fn opened(client: &Client, jwt: &str) -> Result<Params, Reason> {
        RequestObject::read(jwt)?.params(client, ISSUER, Duration::from_secs(60), NOW)
    }

    fn of(members: Value) -> Result<Params, Reason> {
        opened(&samples::client("app"), &signed(Alg::EdDSA, TYP, members))
    }

    #[test]
    fn claims_become_parameters() {
        let params = of(json!({
            "scope": "openid profile", "state": "a b&c=d", "max_age": 300, "claims": { "id_token": { "email": null } },
            "resource": ["https://a.test", "https://b.test"], "aud": [ISSUER, "https://other.test"], "exp": 1_800_000_060, "jti": "x", "nonce": null,
        }))
        .unwrap();
        assert_eq!((params.get("state"), params.get("max_age")), (Some("a b&c=d"), Some("300")));
        assert_eq!(params.get("claims"), Some(r#"{"id_token":{"email":null}}"#));
        assert_eq!(params.all("resource"), ["https://a.test", "https://b.test"]);
        for none in ["iss", "aud", "exp", "jti", "nonce"] {
            assert_eq!(params.get(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_not_for_us_now_and_of_this_client_is_refused() {
        for members in [
            json!({ "client_id": "other" }),
            json!({ "client_id": null }),
            json!({ "client_id": ["app"] }),
            json!({ "iss": "other" }),
            json!({ "iss": null }),
            json!({ "aud": null }),
            json!({ "aud": "https://evil.test" }),
            json!({ "aud": [] }),
            json!({ "aud": 1 }),
            json!({ "sub": "app" }),
            json!({ "exp": 1_799_999_940 }),
            json!({ "exp": "1800000060" }),
            json!({ "nbf": 1_800_000_061 }),
            json!({ "iat": 1_800_000_061 }),
            json!({ "request": "x" }),
            json!({ "request_uri": "https://evil.test" }),
            json!({ "state": ["a", 1] }),
        ] {
            let refused = of(members.clone()).unwrap_err();
            assert_eq!(refused.wire().error, "invalid_request_object", "{members}");
        }
        assert!(of(json!({ "state": "x".repeat(3000) })).is_err(), "the limits are those of every request");
        assert!(of(json!({ "state": ["a", "b"] })).is_err(), "and so is the rule that a parameter is sent once");
    }

    #[test]
    fn unsigned_ones_have_an_error_of_their_own() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let unsigned = |header: &str| format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"None","typ":"JWT"}"#] {
            let refused = RequestObject::read(&unsigned(header)).unwrap_err();
            assert_eq!((refused.clone(), refused.wire().error), (Reason::RequestObjectUnsupported, "request_not_supported"));
        }
        for other in ["", "x", "a.b.c", "a.b.c.d.e", &unsigned(r#"{"alg":"HS256"}"#), &signed(Alg::EdDSA, "at+jwt", json!({}))] {
            assert_eq!(RequestObject::read(other).unwrap_err().wire().error, "invalid_request_object", "{other}");
        }
    }

    /// openid.md 105.
    #[test]
    fn fapi2_asks_for_more_and_a_registered_algorithm_is_the_only_one() {
        let mut client = samples::client("app");
        client.metadata.request_object_signing_alg = Some(Alg::ES256);
        assert!(opened(&client, &signed(Alg::ES256, TYP, json!({}))).is_ok());
        assert!(opened(&client, &signed(Alg::EdDSA, TYP, json!({}))).is_err());
        let mut fapi2 = samples::client("app");
        fapi2.metadata.profile = Some(Profile::Fapi2);
        let with = |alg, exp: Value, nbf: Value| opened(&fapi2, &signed(alg, TYP, json!({ "exp": exp, "nbf": nbf }))).is_ok();
        let (soon, now) = (json!(1_800_000_300), json!(1_800_000_000));
        assert!(with(Alg::ES256, soon.clone(), now.clone()));
        assert!(!with(Alg::RS256, soon.clone(), now.clone()));
        assert!(!with(Alg::ES256, Value::Null, now.clone()) && !with(Alg::ES256, soon.clone(), Value::Null));
        assert!(!with(Alg::ES256, json!(1_800_003_661), now));
        assert!(!with(Alg::ES256, soon, json!(1_799_996_339)));
    }
}
