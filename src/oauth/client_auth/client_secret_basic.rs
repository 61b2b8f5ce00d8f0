//! client_secret_basic: HTTP Basic with form-encoded halves (RFC 6749 §2.3.1, RFC 7617), read strictly (security.md R-26).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Compared, Credentials, Presented, check_secret, wrong_method};
use crate::oauth::client::Client;
use crate::oauth::params;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;

/// Longest header that is looked at, in bytes.
const MAX_HEADER: usize = 4096;

/// client_id and secret of the Authorization header, if there is one.
pub(crate) fn read(headers: &[&[u8]]) -> Result<Option<(String, Secret<String>)>, Reason> {
    let malformed = |detail: &str| Reason::MalformedAuthorization { detail: detail.to_owned() };
    let header = match headers {
        [] => return Ok(None),
        [header] => *header,
        [_, _, ..] => return Err(malformed("there is more than one Authorization header")),
    };
    if header.len() > MAX_HEADER {
        return Err(malformed("it is too long"));
    }
    let header = std::str::from_utf8(header).map_err(|_| malformed("it is not ASCII"))?;
    // RFC 9110 §11.1: the scheme is case-insensitive; §11.4: one space or more; RFC 7617 §2: base64 with padding.
    let (scheme, encoded) = header.split_once(' ').ok_or_else(|| malformed("it has no scheme and value"))?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed("its scheme is not Basic"));
    }
    let decoded = Zeroizing::new(
        STANDARD.decode(encoded.trim_start_matches(' ')).map_err(|_| malformed("its value is not base64 with padding"))?,
    );
    let colon =
        decoded.iter().position(|byte| *byte == b':').ok_or_else(|| malformed("it has no colon between client_id and secret"))?;
    let (client_id, secret) = decoded.split_at_checked(colon).ok_or_else(|| malformed("it has no colon"))?;
    let secret = secret.get(1..).unwrap_or_default();
    let part = |name: &str, encoded: &[u8]| {
        params::decode(encoded).map_err(|problem| malformed(&format!("its {name} is not form-encoded: {problem}")))
    };
    let client_id = part("client_id", client_id)?;
    if client_id.is_empty() {
        return Err(malformed("its client_id is empty"));
    }
    Ok(Some((client_id, Secret::new(part("secret", secret)?))))
}

/// The rule for a client that registered client_secret_basic.
pub(super) fn check(credentials: &Credentials, client: &Client, compared: Compared) -> Result<(), Reason> {
    match credentials.presented {
        Presented::Basic(_) => check_secret(client, compared),
        Presented::Post(_) | Presented::Assertion(_) | Presented::Nothing => Err(wrong_method(credentials, client)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(header: &str) -> Result<Option<(String, String)>, Reason> {
        read(&[header.as_bytes()]).map(|found| found.map(|(client_id, secret)| (client_id, secret.expose().clone())))
    }

    fn header(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn the_example_of_rfc_6749_section_2_3_1_is_read() {
        let found = one("Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3").unwrap();
        assert_eq!(found, Some(("s6BhdRkqt3".into(), "7Fjfp0ZBr1KtDRbnfVdmIw".into())));
        assert_eq!(read(&[]).map(|found| found.is_none()), Ok(true));
    }

    #[test]
    fn both_halves_are_form_decoded() {
        assert_eq!(one(&header("a%3Ab:p%25+%2B%3A%C3%A9:x")).unwrap(), Some(("a:b".into(), "p% +:é:x".into())));
    }

    #[test]
    fn the_scheme_has_any_case_and_any_number_of_spaces_behind_it() {
        for header in ["Basic YTpi", "bAsIc YTpi", "Basic  YTpi", "basic    YTpi"] {
            assert_eq!(one(header).unwrap(), Some(("a".into(), "b".into())), "{header}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Basic   ",
            "Basic\tYTpi",
            "Basic YTpi ",
            "Basic YTpiYw",
            "Basic YTpiYx==",
            "Basic YTp\u{fc}",
            "Basic YTpi, Basic YTpi",
            "Bearer abc",
            "DPoP abc",
            &header("no colon"),
            &header(":secret"),
            &header("a:%zz"),
            &header("a:%"),
            &header("a%00:b"),
            &header("a:b%0d%0a"),
            &header("a:b\n"),
            &header(&format!("a:{}", "x".repeat(4000))),
        ] {
            assert!(matches!(one(bad), Err(Reason::MalformedAuthorization { .. })), "{bad:?}");
        }
        assert!(read(&[b"Basic YTpi", b"Basic YTpi"]).is_err(), "two headers, even the same");
        assert!(read(&[b"Basic \xff"]).is_err());
        let not_utf8 = format!("Basic {}", STANDARD.encode(b"a:\xff"));
        assert!(one(&not_utf8).is_err());
    }

    #[test]
    fn a_refusal_does_not_repeat_the_header() {
        let refused = one(&header("client:hunter2%zz")).unwrap_err();
        assert!(!format!("{refused:?}{:?}", refused.story()).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_secret_survives_form_encoding(client_id in "[^\\p{C}]{1,20}", secret in "[^\\p{C}]{0,20}") {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let found = one(&header(&format!("{}:{}", encode(&client_id), encode(&secret)))).unwrap();
            prop_assert_eq!(found, Some((client_id, secret)));
        }

        #[test]
        fn no_header_breaks_the_reader(header in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&[&header]);
            let mut basic = b"Basic ".to_vec();
            basic.extend(STANDARD.encode(&header).bytes());
            let _ = read(&[&basic]);
        }
    }
}
