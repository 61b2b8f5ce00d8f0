//! How an access token is carried to us (RFC 6750 §2): in the Authorization header, or in a form body. Never in the URL.

use std::fmt;

use super::params::Params;
use super::refusal::Reason;
use crate::secret::{Digest, Secret};

/// Longest access token, in bytes (design 7).
pub const MAX_TOKEN: usize = 16 * 1024;

/// A token in the request that brought it: no copy that would have to be wiped. `Debug` does not show it.
#[derive(Clone, Copy)]
pub struct Token<'a>(&'a str);

impl<'a> Token<'a> {
    /// The token itself. Every call is a place to look at in a review.
    pub fn expose(self) -> &'a str {
        self.0
    }

    /// SHA-256 of it: what the store keeps in its place.
    pub fn digest(self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// For longer than the request.
    pub fn keep(self) -> Secret<String> {
        Secret::new(self.0.to_owned())
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Finds the one access token of a request. `headers` are its Authorization headers as sent, `form` its parameters if it has a form body.
///
/// # Errors
/// `TokenMissing`, `TokenSentTwice`, `TokenMalformed`, `CredentialsInQuery`.
pub fn token<'a>(headers: &[&'a [u8]], query: &Params, form: Option<&'a Params>) -> Result<Token<'a>, Reason> {
    // RFC 9700 §4.3.2: clients must not pass access tokens in a query.
    if query.get("access_token").is_some() {
        return Err(Reason::CredentialsInQuery { name: "access_token".to_owned() });
    }
    let in_body = form.and_then(|form| form.get("access_token"));
    let found = match (headers, in_body) {
        ([], None) => return Err(Reason::TokenMissing),
        ([], Some(token)) => token,
        ([header], None) => from_header(header)?,
        // RFC 6750 §2: not more than one method.
        _ => return Err(Reason::TokenSentTwice),
    };
    if found.len() > MAX_TOKEN || !is_b64token(found) {
        return Err(Reason::TokenMalformed { detail: "it is not a b64token (RFC 6750 §2.1)".to_owned() });
    }
    Ok(Token(found))
}

/// RFC 6750 §2.1: `Bearer`, in any case (RFC 9110 §11.1), spaces, token.
fn from_header(header: &[u8]) -> Result<&str, Reason> {
    let header = std::str::from_utf8(header).map_err(|_| malformed())?;
    let (scheme, token) = header.trim_matches(' ').split_once(' ').ok_or_else(malformed)?;
    // Another scheme carries no access token at all.
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Reason::TokenMissing);
    }
    Ok(token.trim_start_matches(' '))
}

fn malformed() -> Reason {
    Reason::TokenMalformed { detail: "the Authorization header is not `Bearer` and a token".to_owned() }
}

/// Bytes that are looked at together, many of them in one instruction.
const PIECE: usize = 32;

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_good = |byte: u8| {
        // From - to 9 are - . / and the digits.
        byte.is_ascii_alphabetic() | matches!(byte, b'-'..=b'9') | (byte == b'_') | (byte == b'~') | (byte == b'+')
    };
    let are_good = |piece: &[u8]| piece.iter().fold(true, |good, byte| good & is_good(*byte));
    !body.is_empty() && body.as_bytes().chunks(PIECE).all(are_good)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(headers: &[&str], query: &str, form: Option<&str>) -> Result<String, Reason> {
        let headers: Vec<&[u8]> = headers.iter().map(|header| header.as_bytes()).collect();
        let form = form.map(|form| Params::parse_form(form.as_bytes()).unwrap());
        token(&headers, &Params::parse_query(query).unwrap(), form.as_ref()).map(|token| token.expose().to_owned())
    }

    #[test]
    fn a_token_is_read_from_header_or_body() {
        for header in ["Bearer mF_9.B5f-4.1JqM", "bearer mF_9.B5f-4.1JqM", "BEARER  mF_9.B5f-4.1JqM "] {
            assert_eq!(read(&[header], "", None).unwrap(), "mF_9.B5f-4.1JqM");
        }
        assert_eq!(read(&[], "", Some("access_token=abc")).unwrap(), "abc");
    }

    #[test]
    fn no_token_is_missing_and_two_are_too_many() {
        assert_eq!(read(&[], "", None), Err(Reason::TokenMissing));
        assert_eq!(read(&["Basic YTpi"], "", None), Err(Reason::TokenMissing));
        assert_eq!(read(&["Bearer a"], "", Some("access_token=a")), Err(Reason::TokenSentTwice));
        assert_eq!(read(&["Bearer a", "Bearer a"], "", None), Err(Reason::TokenSentTwice));
    }

    #[test]
    fn a_token_in_the_query_is_refused() {
        assert!(matches!(read(&[], "access_token=a", None), Err(Reason::CredentialsInQuery { .. })));
        assert!(matches!(read(&["Bearer a"], "access_token=a", None), Err(Reason::CredentialsInQuery { .. })));
    }

    #[test]
    fn what_is_no_b64token_is_refused() {
        for header in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer =", "Bearer \u{e4}", "token"] {
            assert!(matches!(read(&[header], "", None), Err(Reason::TokenMalformed { .. })), "{header}");
        }
        assert!(token(&[b"Bearer \xff"], &Params::default(), None).is_err());
        assert!(read(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN + 1))], "", None).is_err());
    }

    #[test]
    fn each_byte_of_a_b64token_is_looked_at() {
        for byte in 0..=127_u8 {
            let is_good = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            for at in [0, 1, PIECE - 1, PIECE, 3 * PIECE + 5] {
                let mut token = "a".repeat(4 * PIECE);
                token.replace_range(at..=at, char::from(byte).encode_utf8(&mut [0; 4]));
                assert_eq!(is_b64token(&token), is_good, "{token}");
            }
        }
        assert_eq!(["a==", "a=b", "=", ""].map(is_b64token), [true, false, false, false]);
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_stumble(header in prop::collection::vec(any::<u8>(), 0..200), prefix in any::<bool>()) {
            let header = if prefix { [b"Bearer ".as_slice(), &header].concat() } else { header };
            if let Ok(token) = token(&[&header], &Params::default(), None) {
                prop_assert!(is_b64token(token.expose()));
            }
        }
    }
}
