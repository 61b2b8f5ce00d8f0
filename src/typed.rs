//! What people type, in the form in which it is compared: two machines send the same letters in different code points (Unicode Standard Annex 15;
//! RFC 8265, RFC 8264).

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// In Unicode's composed form (NFC), as it is kept and shown.
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// A username as it is compared: trimmed, without regard to case, width and composition (RFC 8265 §3.3).
pub fn username(typed: &str) -> String {
    if typed.is_ascii() {
        return typed.trim().to_ascii_lowercase();
    }
    // Composed before: then what follows is the same for all that mean the same. And after, for what case and width have left beside each other.
    let narrow: String = typed.nfc().flat_map(narrow).nfc().collect();
    composed(narrow.to_lowercase().trim())
}

/// A password as it is hashed: any blank is a blank, and composed (RFC 8265 §4.2.2).
pub fn password(typed: &str) -> Cow<'_, str> {
    let is_other_blank = |letter: char| !letter.is_ascii() && letter.is_whitespace();
    if is_nfc(typed) && !typed.contains(is_other_blank) {
        return Cow::Borrowed(typed);
    }
    Cow::Owned(typed.chars().map(|letter| if is_other_blank(letter) { ' ' } else { letter }).nfc().collect())
}

/// Keyboards for Chinese and Japanese write ASCII in full width and katakana in half (RFC 8264 §5.2.1).
fn narrow(letter: char) -> impl Iterator<Item = char> {
    let (wide, other) = match letter {
        '\u{3000}' | '\u{ff01}'..='\u{ff5e}' | '\u{ff61}'..='\u{ff9f}' => (Some(letter), None),
        _ => (None, Some(letter)),
    };
    wide.into_iter().nfkd().chain(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        for (typed, expected) in [
            ("  ALICE ", "alice"),
            ("Rene\u{301}", "ren\u{e9}"),
            ("REN\u{c9}", "ren\u{e9}"),
            ("A\u{30a}", "\u{e5}"),
            ("\u{212b}", "\u{e5}"),
            ("\u{ff21}lice\u{ff20}example\u{ff0e}com\u{3000}", "alice@example.com"),
            ("\u{ff76}\u{ff9e}", "\u{30ac}"),
            ("\u{30ab}\u{3099}", "\u{30ac}"),
            ("q\u{323}\u{307}", "q\u{323}\u{307}"),
            ("q\u{307}\u{323}", "q\u{323}\u{307}"),
        ] {
            assert_eq!(username(typed), expected, "{typed:?}");
        }
    }

    #[test]
    fn what_looks_alike_is_not_the_same() {
        // Latin and Cyrillic; a ligature, a superscript and a letter in a circle, which NFKC would take for their letters.
        for (one, other) in
            [("a", "\u{430}"), ("file", "\u{fb01}le"), ("m2", "m\u{b2}"), ("a", "\u{24d0}"), ("strasse", "stra\u{df}e")]
        {
            assert_ne!(username(one), username(other));
        }
    }

    #[test]
    fn a_password_is_its_letters() {
        assert_eq!(password("pa\u{a0}ss e\u{301}"), "pa ss \u{e9}");
        assert_eq!(password(" P\u{ff21}ss  "), " P\u{ff21}ss  ");
        assert!(matches!(password("correct horse \u{e9}"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn composition_never_matters(typed in "\\PC{0,12}") {
            let decomposed: String = typed.nfd().collect();
            prop_assert_eq!(username(&typed), username(&decomposed));
            prop_assert_eq!(username(&typed), username(&composed(&typed)));
            prop_assert_eq!(password(&typed), password(&decomposed));
            prop_assert_eq!(composed(&typed), composed(&decomposed));
        }

        #[test]
        fn the_form_is_its_own_form(typed in "\\PC{0,12}") {
            let once = username(&typed);
            prop_assert_eq!(username(&once), once.clone());
            let once = password(&typed);
            prop_assert_eq!(password(&once), once.as_ref());
        }
    }
}
