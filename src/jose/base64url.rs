//! base64url without padding, strictly (RFC 7515 §2, Appendix C): padding, other alphabets, white space and non-zero trailing bits
//! are errors, so that one value has one spelling.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_value_has_one_spelling() {
        assert_eq!(super::decode("AQ").unwrap(), [1]);
        for other in ["AQ==", "AQ=", "AR", "A", "A Q", "AQ\n", "-_+/", "ÄQ"] {
            assert_eq!(super::decode(other), None, "{other}");
        }
    }
}
