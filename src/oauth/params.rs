//! Request parameters, decoded strictly (RFC 6749 §3.1, §3.2 and appendix B; WHATWG form encoding where that is well defined).
//!
//! Nothing here guesses: a broken escape, bytes that are not UTF-8, a control character and a parameter sent twice are refusals,
//! because two readers of one request must never see two different requests. What a parameter means is for others to say.

use std::collections::HashSet;
use std::fmt;

use zeroize::Zeroize;

use super::refusal::Reason;

/// Longest query, in bytes (security.md R-20).
pub const MAX_QUERY: usize = 16 * 1024;
/// Longest form body, in bytes (design 7).
pub const MAX_BODY: usize = 64 * 1024;

/// As many parameters as an honest request has.
const FEW: usize = 16;

/// Parameters that may be sent more than once (RFC 8707 §2, RFC 8693 §2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// Parameters whose value must not be shown, logged or recorded (security.md R-84).
const SECRETS: [&str; 17] = [
    "access_token",
    "actor_token",
    "assertion",
    "client_assertion",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "id_token_hint",
    "new_password",
    "new_password_again",
    "password",
    "refresh_token",
    "request",
    "subject_token",
    "token",
    "user_code",
];

/// Credentials that have no place in a URL (RFC 6749 §2.3.1, RFC 9700 §4.3.2).
const CREDENTIALS: [&str; 13] = [
    "access_token",
    "actor_token",
    "assertion",
    "client_assertion",
    "client_secret",
    "code_verifier",
    "device_code",
    "new_password",
    "new_password_again",
    "password",
    "refresh_token",
    "subject_token",
    "token",
];

/// The parameters of one request: every name once (the repeatable ones apart), every value decoded and within its limit.
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query of a URL, without its `?`.
    ///
    /// # Errors
    /// A query over [`MAX_QUERY`] bytes; a parameter that is sent twice, malformed or too long.
    pub fn parse_query(query: &str) -> Result<Self, Reason> {
        if query.len() > MAX_QUERY {
            return Err(Reason::ParameterTooLong { name: "query".to_owned(), limit: MAX_QUERY });
        }
        Self::parse(query.as_bytes())
    }

    /// Reads a body of type application/x-www-form-urlencoded.
    ///
    /// # Errors
    /// A body over [`MAX_BODY`] bytes; a parameter that is sent twice, malformed or too long.
    pub fn parse_form(body: &[u8]) -> Result<Self, Reason> {
        if body.len() > MAX_BODY {
            return Err(Reason::BodyTooLarge { limit: MAX_BODY });
        }
        Self::parse(body)
    }

    /// One request that has both a query and a body. A name in both is a parameter sent twice (security.md R-19).
    ///
    /// # Errors
    /// `DuplicateParameter`.
    pub fn merge(query: Self, body: Self) -> Result<Self, Reason> {
        let mut pairs = query.0.clone();
        pairs.extend(body.0.iter().cloned());
        unique(&pairs)?;
        Ok(Self(pairs))
    }

    /// The parameter's value. Sent without a value counts as not sent (RFC 6749 §3.1).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The parameter's value, which has to be there.
    ///
    /// # Errors
    /// `MissingParameter`.
    pub fn require(&self, name: &str) -> Result<&str, Reason> {
        self.get(name).ok_or_else(|| Reason::MissingParameter { name: name.to_owned() })
    }

    /// The names of all that was sent, with a value or without.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// All values of a repeatable parameter, in their order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str()).collect()
    }

    /// No secret or token may stand in a URL (security.md R-28).
    ///
    /// # Errors
    /// `CredentialsInQuery` if a secret or token is among the parameters, even without a value.
    pub fn refuse_credentials(&self) -> Result<(), Reason> {
        match self.0.iter().find(|(name, _)| CREDENTIALS.contains(&name.as_str())) {
            Some((name, _)) => Err(Reason::CredentialsInQuery { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// To be called on the query of every endpoint that reads its body alone (RFC 6749 §3.2): what else stands there is ignored, but a
    /// secret is refused, and so is a parameter of the body, since two readers of the request could differ about which one counts.
    ///
    /// # Errors
    /// `CredentialsInQuery`, `DuplicateParameter`.
    pub fn refuse_beside(&self, body: &Self) -> Result<(), Reason> {
        self.refuse_credentials()?;
        if self.0.iter().any(|(name, _)| name == "code") {
            return Err(Reason::CredentialsInQuery { name: "code".to_owned() });
        }
        match self.0.iter().find(|(name, _)| body.0.iter().any(|(other, _)| other == name)) {
            Some((name, _)) => Err(Reason::DuplicateParameter { name: short(name) }),
            None => Ok(()),
        }
    }

    /// The same parameters as a query string.
    pub fn to_query(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.0);
        query.finish()
    }

    /// Was nothing sent?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(encoded: &[u8]) -> Result<Self, Reason> {
        let mut pairs = Vec::new();
        for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
                None => (pair, [].as_slice()),
            };
            let name = decode(name).map_err(|detail| Reason::MalformedParameter {
                name: "(a parameter's name)".to_owned(),
                received: excerpt(name),
                detail: detail.to_owned(),
            })?;
            let decoded = decode(value).map_err(|detail| Reason::MalformedParameter {
                received: if is_secret(&name) { "(withheld)".to_owned() } else { excerpt(value) },
                name: short(&name),
                detail: detail.to_owned(),
            })?;
            let limit = limit(&name);
            if decoded.len() > limit {
                return Err(Reason::ParameterTooLong { name: short(&name), limit });
            }
            pairs.push((name, decoded));
        }
        unique(&pairs)?;
        Ok(Self(pairs))
    }
}

/// Is the value of this parameter a credential or otherwise not to be shown?
pub fn is_secret(name: &str) -> bool {
    SECRETS.contains(&name)
}

/// Decodes one name or value of a form: `+` is a space, `%` needs two hexadecimal digits, the result is UTF-8 without control
/// characters.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn decode(encoded: &[u8]) -> Result<String, &'static str> {
    // Tokens are long and stand for themselves. Looked at in pieces, many bytes take one instruction.
    let plain = |piece: &[u8]| piece.iter().fold(true, |plain, byte| plain & is_plain(*byte));
    if encoded.chunks(PIECE).all(plain) {
        return String::from_utf8(encoded.to_vec()).map_err(|_| "the bytes are not UTF-8");
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    // What stands for itself is copied at once.
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'+' | b'%')) {
        let (plain, code) = rest.split_at(at);
        bytes.extend_from_slice(plain);
        rest = match code {
            [b'+', after @ ..] => {
                bytes.push(b' ');
                after
            }
            [_, high, low, after @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high * 16 + low);
                    after
                }
                _ => return Err(NOT_HEXADECIMAL),
            },
            _ => return Err(NOT_HEXADECIMAL),
        };
    }
    bytes.extend_from_slice(rest);
    let text = String::from_utf8(bytes).map_err(|_| "the bytes are not UTF-8")?;
    // All of ASCII's are below the space, but for one; the others take two bytes.
    let may_have = text.bytes().any(|byte| !(b' '..0x7f).contains(&byte));
    if may_have && text.chars().any(char::is_control) {
        return Err("it contains a control character");
    }
    Ok(text)
}

/// Bytes that are looked at together.
const PIECE: usize = 32;

/// Does this byte stand for itself? ASCII that can be seen, or a space, but for the two that encode something.
fn is_plain(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte) & (byte != b'+') & (byte != b'%')
}

const NOT_HEXADECIMAL: &str = "a % is not followed by two hexadecimal digits";

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Bytes that the value of this parameter may have (security.md R-20, design 7).
fn limit(name: &str) -> usize {
    match name {
        "nonce" => 512,
        "login_hint" => 255,
        "scope" | "claims" => 4 * 1024,
        "access_token"
        | "actor_token"
        | "assertion"
        | "authorization_details"
        | "client_assertion"
        | "id_token_hint"
        | "logout_token"
        | "passkey"
        | "request"
        | "subject_token"
        | "token" => 16 * 1024,
        _ => 2 * 1024,
    }
}

/// RFC 6749 §3.1: parameters must not be included more than once. A second one is refused even when one of the two is empty:
/// no honest client sends it, and readers disagree about which one counts.
fn unique(pairs: &[(String, String)]) -> Result<(), Reason> {
    let once = pairs.iter().map(|(name, _)| name.as_str()).filter(|name| !REPEATABLE.contains(name));
    // The few of an honest request are compared faster than they are hashed.
    let twice = if pairs.len() <= FEW {
        once.clone().enumerate().find(|(at, name)| once.clone().take(*at).any(|before| before == *name)).map(|(_, name)| name)
    } else {
        let mut seen = HashSet::with_capacity(pairs.len());
        once.clone().find(|name| !seen.insert(*name))
    };
    twice.map_or(Ok(()), |name| Err(Reason::DuplicateParameter { name: short(name) }))
}

/// The first characters of an undecodable value, for the record.
fn excerpt(raw: &[u8]) -> String {
    short(&String::from_utf8_lossy(raw.get(..raw.len().min(256)).unwrap_or_default()))
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Names only: values may be credentials.
impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Drop for Params {
    fn drop(&mut self) {
        for (name, value) in &mut self.0 {
            if is_secret(name) {
                value.zeroize();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Result<Params, Reason> {
        Params::parse_query(text)
    }

    #[test]
    fn values_are_decoded_and_found_by_name() {
        let params = query("client_id=s6BhdRkqt3&state=a%20b+c%C3%A9&&empty=&flag").unwrap();
        assert_eq!(params.get("client_id"), Some("s6BhdRkqt3"));
        assert_eq!(params.get("state"), Some("a b cé"));
        assert_eq!(params.get("absent"), None);
    }

    #[test]
    fn sent_without_a_value_counts_as_not_sent() {
        let params = query("client_id=&client_secret=&resource=&resource=https://a.test").unwrap();
        assert_eq!(params.get("client_id"), None);
        assert_eq!(params.require("client_id"), Err(Reason::MissingParameter { name: "client_id".into() }));
        assert_eq!(params.all("resource"), ["https://a.test"]);
    }

    #[test]
    fn a_parameter_sent_twice_is_refused_at_the_first_glance() {
        for twice in [
            "client_id=a&client_id=b",
            "client_id=a&client_id=a",
            "client_id=&client_id=a",
            "client%5Fid=a&client_id=b",
            "unknown=1&x=2&unknown=3",
            "state=1&state",
        ] {
            assert!(matches!(query(twice), Err(Reason::DuplicateParameter { .. })), "{twice}");
        }
    }

    #[test]
    fn resource_and_audience_may_be_repeated() {
        let params = query("resource=https://a.test&audience=x&resource=https://b.test&audience=y").unwrap();
        assert_eq!(params.all("resource"), ["https://a.test", "https://b.test"]);
        assert_eq!(params.all("audience"), ["x", "y"]);
    }

    #[test]
    fn a_parameter_in_query_and_body_is_sent_twice() {
        let twice = Params::merge(query("state=a").unwrap(), Params::parse_form(b"state=b").unwrap());
        assert_eq!(twice.unwrap_err(), Reason::DuplicateParameter { name: "state".into() });
        let both = Params::merge(query("state=a").unwrap(), Params::parse_form(b"nonce=b").unwrap()).unwrap();
        assert_eq!((both.get("state"), both.get("nonce")), (Some("a"), Some("b")));
    }

    /// X-4: the usual decoders let all of these through.
    #[test]
    fn broken_escapes_bad_utf8_and_control_characters_are_refused() {
        for bad in
            ["a=%zz", "a=%", "a=%4", "a=%4g", "a=%ff", "a=%c3", "a=%00", "a=%0d%0aSet-Cookie", "a=\t", "%00=1", "a=%c2%85", "a=%7f"]
        {
            assert!(matches!(query(bad), Err(Reason::MalformedParameter { .. })), "{bad}");
        }
        assert!(matches!(Params::parse_form(b"a=\xff\xfe"), Err(Reason::MalformedParameter { .. })));
        assert!(matches!(Params::parse_form(b"a=\0"), Err(Reason::MalformedParameter { .. })));
    }

    #[test]
    fn a_malformed_secret_is_not_repeated_in_the_refusal() {
        let refused = Params::parse_form(b"client_secret=hunter2%zz").unwrap_err();
        assert!(!format!("{refused:?}").contains("hunter2"));
    }

    #[test]
    fn limits_are_those_of_the_requirement() {
        for (name, limit) in [
            ("state", 2048),
            ("nonce", 512),
            ("login_hint", 255),
            ("scope", 4096),
            ("claims", 4096),
            ("id_token_hint", 16384),
            ("x", 2048),
        ] {
            let at = format!("{name}={}", "a".repeat(limit));
            assert!(Params::parse_form(at.as_bytes()).is_ok(), "{name}");
            let over = format!("{name}={}", "a".repeat(limit + 1));
            assert_eq!(
                Params::parse_form(over.as_bytes()).unwrap_err(),
                Reason::ParameterTooLong { name: name.to_owned(), limit },
                "{name}"
            );
        }
        assert!(matches!(query(&"a".repeat(MAX_QUERY + 1)), Err(Reason::ParameterTooLong { .. })));
        assert_eq!(Params::parse_form(&vec![b'&'; MAX_BODY + 1]).unwrap_err(), Reason::BodyTooLarge { limit: MAX_BODY });
    }

    #[test]
    fn credentials_in_the_query_are_refused() {
        for name in CREDENTIALS {
            let params = query(&format!("client_id=a&{name}=x")).unwrap();
            assert_eq!(params.refuse_credentials(), Err(Reason::CredentialsInQuery { name: name.to_owned() }));
        }
        assert_eq!(query("client_id=a&scope=openid").unwrap().refuse_credentials(), Ok(()));
    }

    #[test]
    fn debug_shows_names_alone() {
        let shown = format!("{:?}", query("client_secret=hunter2&state=xyz").unwrap());
        assert_eq!(shown, r#"["client_secret", "state"]"#);
    }

    fn encode(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(value in "[^\\p{C}]{1,200}") {
            let params = query(&format!("state={}", encode(&value))).unwrap();
            prop_assert_eq!(params.get("state"), Some(value.as_str()));
        }

        #[test]
        fn no_input_breaks_the_reader(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(params) = Params::parse_form(&body) {
                for (name, value) in &params.0 {
                    prop_assert!(!name.chars().chain(value.chars()).any(char::is_control));
                }
            }
        }
    }
}
