//! Recovery codes: the way in for who has lost the other factors. Each counts once. They are shown when they are made and stored as
//! digests: 66 bits of randomness, bound to their person, so that a stolen table tells none of them in any time that matters.

use crate::entropy::{self, Entropy};
use crate::secret::{Digest, Secret};

/// How many a person gets at once.
pub const COUNT: usize = 10;
/// Digits of a code: typed on any keyboard, in any language.
const DIGITS: usize = 20;
/// Shown in groups of so many.
const GROUP: usize = 5;

/// One recovery code.
#[derive(Debug, Clone)]
pub struct RecoveryCode(Secret<String>);

impl RecoveryCode {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut digits = String::with_capacity(DIGITS);
        while digits.len() < DIGITS {
            for byte in entropy::bytes::<32>(entropy) {
                // 250 = 25 * 10: bytes above it would favour the first digits.
                if byte < 250 && digits.len() < DIGITS {
                    digits.push(char::from(b'0' + byte % 10));
                }
            }
        }
        Self(Secret::new(digits))
    }

    /// What somebody typed, with or without spaces and dashes. `None` if it could be none.
    pub fn read(typed: &str) -> Option<Self> {
        let digits: String = typed.chars().filter(|letter| !letter.is_whitespace() && *letter != '-').take(DIGITS + 1).collect();
        (digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| Self(Secret::new(digits)))
    }

    /// As it is shown: `12345-67890-12345-67890`.
    pub fn text(&self) -> String {
        let groups: Vec<&str> =
            self.0.expose().as_bytes().chunks(GROUP).filter_map(|group| std::str::from_utf8(group).ok()).collect();
        groups.join("-")
    }

    /// What is stored: of this person's code alone.
    pub fn digest(&self, user_id: uuid::Uuid) -> Digest {
        let text = Secret::new(format!("recovery code {user_id} {}", self.0.expose()));
        text.digest()
    }
}

/// A person's new set.
pub fn generate(entropy: &dyn Entropy) -> Vec<RecoveryCode> {
    (0..COUNT).map(|_| RecoveryCode::generate(entropy)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn codes_are_digits_in_groups_and_all_different() {
        let codes: HashSet<String> = (0..50).flat_map(|_| generate(&SystemEntropy)).map(|code| code.text()).collect();
        assert_eq!(codes.len(), 500);
        for code in &codes {
            assert_eq!(code.len(), 23, "{code}");
            assert!(code.split('-').all(|group| group.len() == 5 && group.bytes().all(|byte| byte.is_ascii_digit())), "{code}");
        }
        for digit in '0'..='9' {
            assert!(codes.iter().any(|code| code.contains(digit)), "{digit} never occurs");
        }
    }

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let user = uuid::Uuid::from_u128(7);
        let code = RecoveryCode::generate(&SystemEntropy);
        for typed in [code.text(), code.text().replace('-', ""), format!(" {} ", code.text().replace('-', " - "))] {
            assert_eq!(RecoveryCode::read(&typed).unwrap().digest(user), code.digest(user), "{typed}");
        }
        let long = format!("{}0", code.text());
        for typed in
            ["", "123456", &code.text()[..22], &long, "abcde-fghij-klmno-pqrst", "１２３４５６７８９０１２３４５６７８９０"]
        {
            assert!(RecoveryCode::read(typed).is_none(), "{typed}");
        }
    }

    #[test]
    fn a_digest_belongs_to_one_person_and_nothing_prints_the_code() {
        let code = RecoveryCode::generate(&SystemEntropy);
        assert_ne!(code.digest(uuid::Uuid::from_u128(1)), code.digest(uuid::Uuid::from_u128(2)));
        assert_eq!(format!("{code:?}"), "RecoveryCode(Secret(…))");
    }
}
