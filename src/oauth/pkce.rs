//! PKCE (RFC 7636): S256 alone. `plain` is never offered (RFC 9700 §2.1.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::refusal::Reason;
use crate::secret::constant_time_eq;

/// The one code_challenge_method that this server knows (RFC 7636 §4.2).
pub const S256: &str = "S256";

/// `BASE64URL-ENCODE(SHA256(ASCII(code_verifier)))` (RFC 7636 §4.2).
pub fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// The challenge of an authorization request: 32 bytes, base64url without padding, hence 43 characters (RFC 7636 §4.2).
///
/// # Errors
/// `PkceChallengeMalformed` for what no verifier could ever match.
pub fn check_challenge(challenge: &str) -> Result<(), Reason> {
    match URL_SAFE_NO_PAD.decode(challenge) {
        Ok(bytes) if bytes.len() == 32 => Ok(()),
        _ => Err(Reason::PkceChallengeMalformed { received: challenge.chars().take(256).collect() }),
    }
}

/// The token endpoint's rule (RFC 7636 §4.5, §4.6): a code with a challenge needs its verifier, a code without must not get one.
///
/// # Errors
/// `VerifierMissing`, `VerifierMalformed`, `VerifierWrong`, `VerifierWithoutChallenge`.
pub fn verify(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), Reason> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        // RFC 9700 §4.8.2: otherwise an attacker strips the challenge from the request and nobody notices.
        (None, Some(_)) => Err(Reason::VerifierWithoutChallenge),
        (Some(_), None) => Err(Reason::VerifierMissing),
        (Some(challenge), Some(verifier)) => {
            if !is_verifier(verifier) {
                return Err(Reason::VerifierMalformed { length: verifier.chars().count() });
            }
            let received = challenge_of(verifier);
            if constant_time_eq(received.as_bytes(), challenge.as_bytes()) {
                Ok(())
            } else {
                Err(Reason::VerifierWrong { expected: challenge.to_owned(), received })
            }
        }
    }
}

/// RFC 7636 §4.1: 43 to 128 unreserved characters.
fn is_verifier(verifier: &str) -> bool {
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_rfc_7636_appendix_b_verifies() {
        assert_eq!(challenge_of(VERIFIER), CHALLENGE);
        assert_eq!(check_challenge(CHALLENGE), Ok(()));
        assert_eq!(verify(Some(CHALLENGE), Some(VERIFIER)), Ok(()));
    }

    #[test]
    fn a_challenge_that_no_verifier_could_match_is_refused_early() {
        for bad in ["", "short", VERIFIER.get(1..).unwrap(), &format!("{CHALLENGE}="), &format!("{CHALLENGE}A"), &"ä".repeat(43)] {
            assert!(matches!(check_challenge(bad), Err(Reason::PkceChallengeMalformed { .. })), "{bad}");
        }
        // Standard base64 instead of base64url, and stray bits in the last character.
        assert!(check_challenge(&CHALLENGE.replace('-', "+")).is_err());
        assert!(check_challenge("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cN").is_err());
    }

    #[test]
    fn a_code_with_a_challenge_needs_its_verifier() {
        assert_eq!(verify(Some(CHALLENGE), None), Err(Reason::VerifierMissing));
        let other = "x".repeat(43);
        assert_eq!(
            verify(Some(CHALLENGE), Some(&other)),
            Err(Reason::VerifierWrong { expected: CHALLENGE.to_owned(), received: challenge_of(&other) })
        );
    }

    #[test]
    fn the_challenge_itself_is_not_a_verifier() {
        assert!(matches!(verify(Some(CHALLENGE), Some(CHALLENGE)), Err(Reason::VerifierWrong { .. })), "plain is not offered");
    }

    #[test]
    fn a_verifier_without_a_challenge_is_a_downgrade() {
        assert_eq!(verify(None, Some(VERIFIER)), Err(Reason::VerifierWithoutChallenge));
        assert_eq!(verify(None, None), Ok(()));
    }

    #[test]
    fn the_verifiers_grammar_is_enforced() {
        for bad in ["x".repeat(42), "x".repeat(129), format!("{}!", "x".repeat(43)), format!("{} ", "x".repeat(43)), "é".repeat(43)]
        {
            assert!(matches!(verify(Some(&challenge_of(&bad)), Some(&bad)), Err(Reason::VerifierMalformed { .. })), "{bad}");
        }
        let longest = "~".repeat(128);
        assert_eq!(verify(Some(&challenge_of(&longest)), Some(&longest)), Ok(()));
    }

    proptest! {
        #[test]
        fn every_grammatical_verifier_matches_its_own_challenge_alone(
            verifier in "[A-Za-z0-9._~-]{43,128}", other in "[A-Za-z0-9._~-]{43,128}"
        ) {
            let challenge = challenge_of(&verifier);
            prop_assert_eq!(check_challenge(&challenge), Ok(()));
            prop_assert_eq!(verify(Some(&challenge), Some(&verifier)), Ok(()));
            prop_assert_eq!(verify(Some(&challenge), Some(&other)).is_ok(), verifier == other);
        }
    }
}
