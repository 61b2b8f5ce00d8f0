//! Access tokens (RFC 9068): the claims that go in, the claims that come back, and whether such a token still lives.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::grant::{ClientTokenFacts, Fallen, Issuance, TokenFacts};
use super::refusal::Reason;
use super::scope;
use crate::clock::Timestamp;
use crate::json::{Object, ToJson};
use crate::oidc::user::ClaimMap;

/// How far ahead of our clock another replica's may have been when it signed (design 5: a replica is unready above 5 s).
const REPLICA_OFFSET: Duration = Duration::from_secs(5);

/// Bytes of most answers about a token.
const USUAL: usize = 512;

/// What a token says beside its issuance.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    pub issuer: &'a str,
    /// The grant's id, sealed (design 4.4).
    pub jti: &'a str,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// The claims of a token that is to be made. Written down at once: as a map of values each of them would be copied, and most tokens need
/// nothing but these.
#[derive(Debug, Clone)]
pub struct Issued<'a> {
    acr: Option<&'a str>,
    amr: &'a [String],
    aud: &'a [String],
    auth_time: Option<i64>,
    client_id: &'a str,
    exp: i64,
    iat: i64,
    iss: &'a str,
    jti: &'a str,
    scopes: &'a [String],
    sub: &'a str,
    /// What the API's mapping asks for.
    mapped: ClaimMap,
}

impl ToJson for Issued<'_> {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut claims = Object::begin(out);
        if let Some(acr) = self.acr {
            claims.text("acr", acr);
        }
        if !self.amr.is_empty() {
            claims.texts("amr", self.amr);
        }
        // RFC 7519 §4.1.3: one audience may be a plain string, and most readers expect it.
        match self.aud {
            [only] => claims.text("aud", only),
            several => claims.texts("aud", several),
        }
        if let Some(auth_time) = self.auth_time {
            claims.number("auth_time", auth_time);
        }
        claims.text("client_id", self.client_id);
        claims.number("exp", self.exp);
        claims.number("iat", self.iat);
        claims.text("iss", self.iss);
        claims.text("jti", self.jti);
        // RFC 9068 §2.2.3: if there is a scope, it is here.
        if !self.scopes.is_empty() {
            claims.words("scope", self.scopes);
        }
        claims.text("sub", self.sub);
        for (name, value) in &self.mapped {
            claims.value(name, value)?;
        }
        claims.end();
        Ok(())
    }
}

/// The names that [`Issued`] has of its own.
const OWN: [&str; 11] = ["acr", "amr", "aud", "auth_time", "client_id", "exp", "iat", "iss", "jti", "scope", "sub"];

impl Issued<'_> {
    /// Adds what a mapping found. Its names are checked when it is registered; whatever got past that replaces nothing.
    pub fn add(&mut self, mapped: ClaimMap) {
        self.mapped.extend(mapped.into_iter().filter(|(name, _)| !OWN.contains(&name.as_str())));
    }
}

/// RFC 9068 §2.2. A user's grant says how the user signed in (§2.2.1); a client's own token has the client as its subject.
pub fn claims<'a>(issuance: &'a Issuance, token: &Token<'a>) -> Issued<'a> {
    let grant = issuance.grant();
    Issued {
        acr: grant.and_then(|grant| grant.acr.as_deref()).filter(|acr| !acr.is_empty()),
        amr: grant.map(|grant| grant.amr.as_slice()).unwrap_or_default(),
        // RFC 9068 §3: never empty.
        aud: &issuance.audience.aud,
        auth_time: grant.map(|grant| grant.auth_time.seconds()),
        client_id: &issuance.client_id,
        exp: token.expires_at.seconds(),
        iat: token.issued_at.seconds(),
        iss: token.issuer,
        jti: token.jti,
        scopes: &issuance.audience.scopes,
        sub: issuance.sub(),
        mapped: ClaimMap::new(),
    }
}

/// The claims of one of our own access tokens, typed (security.md R-37). Holding one means that signature and `typ` were verified,
/// or that the seal of an opaque token was opened; it says nothing about time and revocation: see [`Claims::check`] and
/// [`Claims::is_live`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub issuer: String,
    pub subject: String,
    pub audience: Vec<String>,
    pub client_id: String,
    pub scopes: Vec<String>,
    pub jti: String,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    introspected: Bytes,
}

impl Claims {
    /// Reads verified claims.
    ///
    /// # Errors
    /// `TokenMalformed` if a claim of RFC 9068 §2.2 is missing or has the wrong type.
    pub fn read(claims: &ClaimMap) -> Result<Self, Reason> {
        let issued_at = seconds(claims, "iat")?;
        let expires_at = seconds(claims, "exp")?;
        let scopes = match claims.get("scope") {
            None => Vec::new(),
            Some(Value::String(scopes)) => scope::parse(scopes).map_err(|_| malformed("scope"))?,
            Some(_) => return Err(malformed("scope")),
        };
        Ok(Self {
            issuer: text(claims, "iss")?,
            subject: text(claims, "sub")?,
            audience: read_audience(claims)?,
            client_id: text(claims, "client_id")?,
            scopes,
            jti: text(claims, "jti")?,
            issued_at,
            expires_at,
            introspected: introspected(claims).map_err(|error| Reason::Internal { detail: error.to_string() })?,
        })
    }

    /// The answer of introspection while the token lives, in JSON: all its claims (RFC 7662 §2.2, RFC 9068 §2.2: the same names mean the
    /// same). It never changes, and who guards an API asks about a token again and again.
    pub fn introspected(&self) -> &Bytes {
        &self.introspected
    }

    /// RFC 9068 §2.2: is the client its own subject? Then no user's grant stands behind the token.
    pub fn is_clients_own(&self) -> bool {
        self.subject == self.client_id
    }

    /// Issuer and time.
    ///
    /// # Errors
    /// `TokenWrongIssuer`, `TokenExpired`, `TokenFromTheFuture`.
    pub fn check(&self, issuer: &str, now: Timestamp) -> Result<(), Reason> {
        if self.issuer != issuer {
            return Err(Reason::TokenWrongIssuer { expected: issuer.to_owned(), received: self.issuer.clone() });
        }
        // Our own clock measured both: no tolerance (design 5).
        if now >= self.expires_at {
            return Err(Reason::TokenExpired { expired_at: self.expires_at, now });
        }
        if self.issued_at > now.plus(REPLICA_OFFSET) {
            return Err(Reason::TokenFromTheFuture { issued_at: self.issued_at, now });
        }
        Ok(())
    }

    /// A token of a user's grant: not revoked itself, and its grant stands (design 4.4).
    ///
    /// # Errors
    /// `TokenRevoked`.
    pub fn is_live<Text: AsRef<str>>(
        &self,
        facts: &TokenFacts<Text>,
        session_idle: Duration,
        now: Timestamp,
    ) -> Result<(), Reason> {
        if facts.revoked {
            return Err(revoked("the token was revoked"));
        }
        match &facts.grant {
            // Design 4.1: a missing grant means inactive. Nor may a token stand on somebody else's grant.
            None => Err(revoked("its grant is gone")),
            Some(grant) if grant.client_id.as_ref() != self.client_id || grant.sub.as_ref() != self.subject => {
                Err(revoked("its grant is another one"))
            }
            Some(grant) => grant.check(session_idle, now).map_err(Fallen::of_token),
        }
    }

    /// A client's own token: not revoked, the client enabled, and not older than its `tokens_not_before` (design 4.4).
    ///
    /// # Errors
    /// `TokenRevoked`.
    pub fn is_live_for_client(&self, facts: &ClientTokenFacts) -> Result<(), Reason> {
        if facts.revoked {
            return Err(revoked("the token was revoked"));
        }
        if !facts.client_enabled {
            return Err(revoked("the client was disabled or removed"));
        }
        // An id that an operator chose may come back after its client was removed; the tokens of the one before do not. What another
        // replica issued just now may seem older than the client.
        if facts.registered_at.is_some_and(|registered_at| self.issued_at.plus(REPLICA_OFFSET) < registered_at) {
            return Err(revoked("it was issued to an earlier client of the same id"));
        }
        // `iat` has whole seconds: a token of the very second is taken for older.
        if facts.tokens_not_before.is_some_and(|not_before| self.issued_at < not_before) {
            return Err(revoked("the client's earlier tokens were revoked"));
        }
        Ok(())
    }
}

fn introspected(claims: &ClaimMap) -> serde_json::Result<Bytes> {
    let mut json = Vec::with_capacity(USUAL);
    let mut body = Object::begin(&mut json);
    body.value("active", &true)?;
    // Whatever a token calls by these names, here they mean something else.
    for (name, value) in claims.iter().filter(|(name, _)| !matches!(name.as_str(), "active" | "token_type")) {
        body.value(name, value)?;
    }
    body.text("token_type", "Bearer");
    body.end();
    json.shrink_to_fit();
    Ok(json.into())
}

fn revoked(because: &str) -> Reason {
    Reason::TokenRevoked { because: because.to_owned() }
}

fn malformed(claim: &str) -> Reason {
    Reason::TokenMalformed { detail: format!("the claim {claim} is missing or has the wrong type") }
}

fn text(claims: &ClaimMap, name: &str) -> Result<String, Reason> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(|| malformed(name))
}

fn seconds(claims: &ClaimMap, name: &str) -> Result<Timestamp, Reason> {
    claims.get(name).and_then(Value::as_i64).map(Timestamp::from_seconds).ok_or_else(|| malformed(name))
}

/// RFC 7519 §4.1.3: a string, or an array of strings.
pub(crate) fn read_audience(claims: &ClaimMap) -> Result<Vec<String>, Reason> {
    let audience: Option<Vec<String>> = match claims.get("aud") {
        Some(Value::String(only)) => Some(vec![only.clone()]),
        Some(Value::Array(several)) => several.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    audience.filter(|audience| !audience.is_empty()).ok_or_else(|| malformed("aud"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oauth::grant::samples::{self, at};
    use crate::oauth::grant::{Life, SessionFacts};

    const IDLE: Duration = Duration::from_secs(12 * 3600);

    fn made(issuance: &Issuance) -> ClaimMap {
        let token = Token { issuer: "https://id.test", jti: "sealed", issued_at: at(0), expires_at: at(600) };
        let Value::Object(claims) = read(&text(&claims(issuance, &token))) else { panic!("no object") };
        claims
    }

    fn text(issued: &Issued<'_>) -> String {
        let mut json = Vec::new();
        issued.write(&mut json).unwrap();
        String::from_utf8(json).unwrap()
    }

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn made_for_alice() -> ClaimMap {
        made(&samples::issuance(Some(samples::standing()), &["orders:read"]))
    }

    fn made_for_a_service() -> ClaimMap {
        made(&samples::issuance(None, &[]))
    }

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|one| (*one).to_owned()).collect()
    }

    fn users() -> Claims {
        Claims::read(&made_for_alice()).unwrap()
    }

    #[test]
    fn a_users_token_has_the_claims_of_rfc_9068() {
        let expected = json!({
            "iss": "https://id.test", "sub": "sub-of-alice", "aud": "https://orders.test", "client_id": "app",
            "iat": 1_800_000_000, "exp": 1_800_000_600, "jti": "sealed", "scope": "orders:read",
            "auth_time": 1_799_999_970, "amr": ["pwd"],
        });
        assert_eq!(Value::Object(made_for_alice()), expected);
    }

    #[test]
    fn a_clients_own_token_has_the_client_as_subject_and_no_empty_scope() {
        let claims = made_for_a_service();
        assert_eq!((&claims["sub"], &claims["aud"]), (&json!("app"), &json!("https://id.test")));
        assert!(!claims.contains_key("scope") && !claims.contains_key("auth_time"));
        assert!(Claims::read(&claims).unwrap().is_clients_own());
    }

    #[test]
    fn introspection_tells_the_claims_and_nothing_twice() {
        let mut all = made_for_alice();
        all.extend([
            ("active".to_owned(), json!(false)),
            ("token_type".to_owned(), json!("mac")),
            ("groups".to_owned(), json!(["a", "\"b\""])),
        ]);
        let told = Claims::read(&all).unwrap().introspected().clone();
        let told = std::str::from_utf8(&told).unwrap();
        all.extend([("active".to_owned(), json!(true)), ("token_type".to_owned(), json!("Bearer"))]);
        assert_eq!(read(told), Value::Object(all));
        assert_eq!((told.matches("\"active\":").count(), told.matches("\"token_type\":").count()), (1, 1));
    }

    #[test]
    fn what_a_mapping_finds_replaces_nothing_of_the_tokens_own() {
        let issuance = samples::issuance(None, &[]);
        let mut issued =
            claims(&issuance, &Token { issuer: "https://id.test", jti: "sealed", issued_at: at(0), expires_at: at(600) });
        let own = read(&text(&issued));
        let mapped = OWN.iter().chain(&["groups"]).map(|name| ((*name).to_owned(), json!("mapped"))).collect();
        issued.add(mapped);
        let text = text(&issued);
        for name in own.as_object().unwrap().keys() {
            assert!(OWN.contains(&name.as_str()) && text.matches(&format!("\"{name}\":")).count() == 1, "{text}");
        }
        let mut expected = own;
        expected["groups"] = json!("mapped");
        assert_eq!(read(&text), expected);
    }

    #[test]
    fn several_audiences_are_an_array() {
        let claims = made(&samples::issuance(Some(samples::standing()), &["openid", "orders:read"]));
        assert_eq!(claims["aud"], json!(["https://id.test", "https://orders.test"]));
    }

    #[test]
    fn what_goes_in_comes_back() {
        let read = users();
        assert_eq!((read.subject.as_str(), read.client_id.as_str(), read.jti.as_str()), ("sub-of-alice", "app", "sealed"));
        assert_eq!((read.audience, read.scopes), (owned(&["https://orders.test"]), owned(&["orders:read"])));
        assert_eq!((read.issued_at, read.expires_at), (at(0), at(600)));
    }

    #[test]
    fn a_missing_or_wrongly_typed_claim_is_no_token() {
        let good = made_for_alice();
        for name in ["iss", "sub", "aud", "client_id", "iat", "exp", "jti"] {
            for wrong in [None, Some(json!(null)), Some(json!("")), Some(json!({})), Some(json!([1])), Some(json!(1.5))] {
                let mut claims = good.clone();
                match wrong {
                    None => claims.remove(name),
                    Some(wrong) if name == "aud" && wrong == json!("") => continue,
                    Some(wrong) => claims.insert(name.to_owned(), wrong),
                };
                assert!(matches!(Claims::read(&claims), Err(Reason::TokenMalformed { .. })), "{name}");
            }
        }
        let mut claims = good;
        claims.insert("scope".to_owned(), json!(["orders:read"]));
        assert!(Claims::read(&claims).is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_makes_the_reader_stumble(text in r#"\{("(iss|sub|aud|exp|iat|jti|scope|client_id)":("[ -~]{0,9}"|-?[0-9]{1,25}|null|\["x"\]),?){0,9}\}"#) {
            if let Ok(Value::Object(claims)) = serde_json::from_str(&text) {
                let _ = Claims::read(&claims).map(|claims| claims.check("https://id.test", at(0)));
            }
        }
    }

    #[test]
    fn issuer_and_time_are_checked_without_tolerance() {
        let claims = users();
        assert_eq!(claims.check("https://id.test", at(599)), Ok(()));
        assert!(matches!(claims.check("https://id.test", at(600)), Err(Reason::TokenExpired { .. })));
        assert!(matches!(claims.check("https://id.test/", at(1)), Err(Reason::TokenWrongIssuer { .. })));
        assert_eq!(claims.check("https://id.test", at(-5)), Ok(()));
        assert!(matches!(claims.check("https://id.test", at(-6)), Err(Reason::TokenFromTheFuture { .. })));
    }

    #[test]
    fn a_token_lives_as_long_as_its_grant_stands_and_nobody_revoked_it() {
        let standing = samples::standing();
        let (life, session) = (Life { lives_with_session: true, ..standing.life() }, standing.session.unwrap());
        let alive = TokenFacts { revoked: false, grant: Some(life.clone()) };
        let claims = users();
        assert_eq!(claims.is_live(&alive, IDLE, at(2)), Ok(()));
        let on_session = |session| Life { session, ..life.clone() };
        for (grant, because) in [
            (Life { client_id: "other", ..life.clone() }, "another one"),
            (Life { sub: "sub-of-bob", ..life.clone() }, "another one"),
            (Life { user_enabled: false, ..life.clone() }, "the user was disabled"),
            (Life { client_enabled: false, ..life.clone() }, "the client was disabled"),
            (Life { ended_at: Some(at(1)), ended_because: Some("at the desk"), ..life.clone() }, "ended: at the desk"),
            (Life { ended_at: Some(at(1)), ..life.clone() }, "ended: "),
            (Life { expires_at: at(2), ..life.clone() }, "its lifetime is over"),
            (on_session(None), "browser session"),
            (on_session(Some(SessionFacts { ended_at: Some(at(1)), ..session })), "browser session"),
            (on_session(Some(SessionFacts { expires_at: at(2), ..session })), "browser session"),
            (on_session(Some(SessionFacts { last_used_at: at(2).minus(IDLE), ..session })), "browser session"),
        ] {
            let dead = TokenFacts { revoked: false, grant: Some(grant) };
            let told = claims.is_live(&dead, IDLE, at(2));
            assert!(matches!(&told, Err(Reason::TokenRevoked { because: told }) if told.contains(because)), "{because}: {told:?}");
        }
        for dead in [TokenFacts { revoked: true, ..alive.clone() }, TokenFacts { grant: None, ..alive }] {
            assert!(matches!(claims.is_live(&dead, IDLE, at(2)), Err(Reason::TokenRevoked { .. })));
        }
        let outlives = TokenFacts { revoked: false, grant: Some(Life { lives_with_session: false, ..on_session(None) }) };
        assert_eq!(claims.is_live(&outlives, IDLE, at(2)), Ok(()));
    }

    #[test]
    fn a_clients_own_token_answers_to_the_client() {
        let claims = Claims::read(&made_for_a_service()).unwrap();
        let alive =
            ClientTokenFacts { revoked: false, client_enabled: true, registered_at: Some(at(5)), tokens_not_before: Some(at(0)) };
        assert_eq!(claims.is_live_for_client(&alive), Ok(()));
        for dead in [
            ClientTokenFacts { revoked: true, ..alive },
            ClientTokenFacts { client_enabled: false, ..alive },
            ClientTokenFacts { registered_at: Some(at(6)), ..alive },
            ClientTokenFacts { tokens_not_before: Some(at(1)), ..alive },
        ] {
            assert!(matches!(claims.is_live_for_client(&dead), Err(Reason::TokenRevoked { .. })));
        }
    }
}
