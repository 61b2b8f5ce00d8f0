//! The code that a person copies from one screen to another (RFC 8628 §6.1): eight letters of twenty, shown as `WDJB-MJHT`.
//!
//! Consonants alone: no two look alike, none is a digit, and no words come of it. Twenty to the eighth is 34.5 bits, against guesses
//! that are slowed down and a life of ten minutes (RFC 8628 §5.1, security.md R-65).

use std::fmt;

use crate::secret::Secret;

const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;
/// Bytes that somebody types at most: nothing behind them is passed over unread.
const LONGEST_TYPED: usize = 256;

/// A user code, in the one form in which it is compared.
#[derive(Clone)]
pub struct UserCode(Secret<String>);

impl UserCode {
    /// Out of random bytes, every letter as likely as any other; `None` if too many of the bytes would favour some, which hardly ever
    /// happens: take others then.
    pub fn of_random(bytes: &[u8; 32]) -> Option<Self> {
        // 240 = 12 * 20: bytes above it would favour the first letters.
        let even = bytes.iter().filter(|byte| **byte < 240);
        let letters: String =
            even.filter_map(|byte| ALPHABET.get(usize::from(byte % 20))).take(LENGTH).copied().map(char::from).collect();
        (letters.len() == LENGTH).then(|| Self(Secret::new(letters)))
    }

    /// As somebody typed it: capital or small, with dashes, spaces and dots wherever they like. `None` if it is no user code, however it
    /// is read.
    pub fn read(typed: &str) -> Option<Self> {
        if typed.len() > LONGEST_TYPED {
            return None;
        }
        let mut letters = String::with_capacity(LENGTH);
        for letter in typed.chars().filter(|letter| letter.is_alphanumeric()) {
            let letter = letter.to_ascii_uppercase();
            if letters.len() >= LENGTH || !u8::try_from(letter).is_ok_and(|byte| ALPHABET.contains(&byte)) {
                return None;
            }
            letters.push(letter);
        }
        (letters.len() == LENGTH).then(|| Self(Secret::new(letters)))
    }

    /// What the keyed hash is made of.
    pub fn letters(&self) -> &str {
        self.0.expose()
    }

    /// As the device shows it.
    pub fn shown(&self) -> String {
        let (left, right) = self.letters().split_at_checked(LENGTH / 2).unwrap_or((self.letters(), ""));
        format!("{left}-{right}")
    }
}

/// Not the code: whoever reads the log could decide in the person's place.
impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::secret::Digest;

    /// Made of SHA-256 of a number: as even as the operating system's bytes, and the same in every run.
    fn made(number: u64) -> UserCode {
        UserCode::of_random(Digest::of(&number.to_be_bytes()).as_bytes().try_into().unwrap()).unwrap()
    }

    fn read(typed: &str) -> Option<String> {
        UserCode::read(typed).map(|code| code.shown())
    }

    #[test]
    fn it_has_at_least_34_bits_of_letters_that_do_not_look_alike() {
        let distinct: HashSet<u8> = ALPHABET.iter().copied().collect();
        assert_eq!(distinct.len(), 20);
        assert!((distinct.len() as f64).powi(8).log2() >= 34.0);
        for letter in "AEIOUY0123456789".bytes() {
            assert!(!distinct.contains(&letter));
        }
        let mut counts = [0_u32; 20];
        let mut seen = HashSet::new();
        for number in 0..5000 {
            let code = made(number);
            for letter in code.letters().bytes() {
                counts[ALPHABET.iter().position(|known| *known == letter).unwrap()] += 1;
            }
            seen.insert(code.letters().to_owned());
        }
        assert!(seen.len() >= 4999, "{}", seen.len());
        // 2,000 of each are expected; five standard deviations are 220.
        assert!(counts.iter().all(|count| (1780..2220).contains(count)), "{counts:?}");
        assert!(UserCode::of_random(&[255; 32]).is_none());
    }

    #[test]
    fn it_is_read_however_it_is_typed() {
        for typed in ["WDJB-MJHT", "wdjbmjht", " Wdjb mjht ", "wd-jb-mj-ht", "WDJB–MJHT", "W.D.J.B.M.J.H.T", "\"wdjb_mjht\""] {
            assert_eq!(read(typed).as_deref(), Some("WDJB-MJHT"), "{typed:?}");
        }
    }

    #[test]
    fn what_is_no_user_code_is_none() {
        let long = "WDJB-MJHT".repeat(1000);
        let behind = format!("WDJB-MJHT{}XXXX", " ".repeat(60));
        for typed in
            ["", "WDJB-MJH", "WDJB-MJHTT", "WDJA-MJHT", "WDJ0-MJHT", "ＷＤＪＢＭＪＨＴ", "WDJB\u{0}MJH", "ßdjbmjht", &long, &behind]
        {
            assert_eq!(read(typed), None, "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_itself(seed: u64, lower: bool, blanks in "[ \\-._]{0,6}") {
            let code = made(seed);
            let shown = if lower { code.shown().to_lowercase() } else { code.shown() };
            let read = UserCode::read(&format!("{blanks}{shown}{blanks}")).unwrap();
            prop_assert_eq!(read.letters(), code.letters());
        }

        #[test]
        fn nothing_that_is_typed_breaks_it(typed in "(?s).{0,80}") {
            if let Some(code) = UserCode::read(&typed) {
                prop_assert_eq!(code.letters().len(), LENGTH);
            }
        }
    }
}
