//! Scopes (RFC 6749 §3.3) and the ones that belong to OpenID Connect itself (Core §5.4, §11).

use super::refusal::Reason;

/// OpenID Connect Core §3.1.2.1: makes a request an authentication request.
pub const OPENID: &str = "openid";
/// OpenID Connect Core §11: access while the person is away.
pub const OFFLINE_ACCESS: &str = "offline_access";
/// The scopes of OpenID Connect: Core §5.4 and §11. Every other one belongs to a resource.
pub const OPENID_CONNECT: [&str; 6] = [OPENID, "profile", "email", "address", "phone", OFFLINE_ACCESS];
/// What a client registered without `scope` may ask for with a user's grant (contract.md).
pub const DEFAULT: [&str; 4] = [OPENID, "profile", "email", OFFLINE_ACCESS];

/// Most scopes in one request (security.md R-20).
pub const MAX_SCOPES: usize = 100;

/// Does this scope belong to OpenID Connect itself?
pub fn is_openid_connect(scope: &str) -> bool {
    OPENID_CONNECT.contains(&scope)
}

/// Reads a `scope` value: tokens in their order, repetitions dropped. The order has no meaning (RFC 6749 §3.3); surplus spaces
/// are forgiven.
///
/// # Errors
/// A character outside of the grammar, or more than [`MAX_SCOPES`] tokens.
pub fn parse(text: &str) -> Result<Vec<String>, Reason> {
    let mut scopes: Vec<String> = Vec::new();
    for token in text.split(' ').filter(|token| !token.is_empty()) {
        if !is_token(token) || scopes.len() >= MAX_SCOPES {
            return Err(Reason::ScopeMalformed { received: text.chars().take(256).collect() });
        }
        if !scopes.iter().any(|known| known == token) {
            scopes.push(token.to_owned());
        }
    }
    Ok(scopes)
}

/// scope-token of RFC 6749 §3.3: `1*( %x21 / %x23-5B / %x5D-7E )`.
pub fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

/// The scopes as one `scope` value.
pub fn join(scopes: &[String]) -> String {
    scopes.join(" ")
}

/// Is every scope of `asked` in `allowed`?
pub fn is_subset(asked: &[String], allowed: &[String]) -> bool {
    asked.iter().all(|scope| allowed.contains(scope))
}

/// The first scope of `asked` that is not in `allowed`.
pub fn first_outside<'a>(asked: &'a [String], allowed: &[String]) -> Option<&'a String> {
    asked.iter().find(|scope| !allowed.contains(scope))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_keep_their_order_and_lose_their_repetitions() {
        assert_eq!(parse("openid  email openid orders:read ").unwrap(), ["openid", "email", "orders:read"]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn quotes_backslashes_and_non_ascii_are_refused() {
        for bad in ["a\"b", "a\\b", "öffnen", "a\u{7f}", "openid e\u{a0}mail"] {
            assert!(matches!(parse(bad), Err(Reason::ScopeMalformed { .. })), "{bad}");
        }
    }

    #[test]
    fn a_hundred_scopes_are_enough() {
        let many = |count: usize| (0..count).map(|number| format!("s{number}")).collect::<Vec<_>>().join(" ");
        assert_eq!(parse(&many(100)).unwrap().len(), 100);
        assert!(matches!(parse(&many(101)), Err(Reason::ScopeMalformed { .. })));
    }

    #[test]
    fn case_matters() {
        assert_eq!(first_outside(&["OpenID".to_owned()], &["openid".to_owned()]), Some(&"OpenID".to_owned()));
    }

    proptest! {
        #[test]
        fn joining_and_reading_is_the_same_list(tokens in proptest::collection::hash_set("[!#-\\[\\]-~]{1,20}", 0..20)) {
            let tokens: Vec<String> = tokens.into_iter().collect();
            prop_assert_eq!(parse(&join(&tokens)).unwrap(), tokens);
        }
    }
}
