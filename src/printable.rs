//! Text for a terminal, a log or a page: names come from strangers, and what they hold must not move the cursor, turn the line around or
//! pass for what it is not.

use std::borrow::Cow;

/// Text in which control and direction characters are escaped.
pub fn printable(text: &str) -> String {
    let disguises = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}');
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() || disguises(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    })
}

/// Control characters, and those that are invisible or turn the direction of the text around (Unicode TR36 §2.4, §2.5).
pub fn is_deceptive(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
        || matches!(letter, '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// Does a text hold a letter that [`is_deceptive`]? The joiners that Arabic and Indic scripts and emoji need are none behind what they join.
pub fn is_deceiving(text: &str) -> bool {
    letters(text).any(|(_, deceives)| deceives)
}

/// The text without such letters.
pub fn honest(text: &str) -> Cow<'_, str> {
    if is_deceiving(text) {
        letters(text).filter(|(_, deceives)| !deceives).map(|(letter, _)| letter).collect()
    } else {
        Cow::Borrowed(text)
    }
}

fn letters(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut before = None;
    text.chars().map(move |letter| {
        let joins = matches!(letter, '\u{200C}' | '\u{200D}') && before.is_some_and(takes_joiners);
        before = Some(letter);
        (letter, is_deceptive(letter) && !joins)
    })
}

/// Letters of the scripts that are written with joiners (RFC 5892, appendix A, by block), and emoji.
fn takes_joiners(letter: char) -> bool {
    matches!(letter, '\u{0620}'..='\u{0DFF}' | '\u{0F00}'..='\u{109F}' | '\u{1780}'..='\u{180D}' | '\u{180F}'..='\u{18AF}')
        || matches!(letter, '\u{1900}'..='\u{1CFF}' | '\u{A800}'..='\u{ABFF}' | '\u{10A00}'..='\u{11FFF}' | '\u{1E900}'..='\u{1E95F}')
        || matches!(letter, '\u{2190}'..='\u{2BFF}' | '\u{FE0F}' | '\u{1F000}'..='\u{1FAFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_write_to_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
    }

    #[test]
    fn joiners_are_welcome_where_something_is_joined() {
        for name in [
            "کتاب\u{200c}خانه",
            "ശ്രീ\u{200d}",
            "क्\u{200d}ष",
            "\u{1f469}\u{1f3fd}\u{200d}\u{1f680}",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "Zoë",
            "山田",
            "",
        ] {
            assert!(!is_deceiving(name), "{name:?}");
            assert!(matches!(honest(name), Cow::Borrowed(same) if same == name));
        }
        for (name, seen) in [
            ("Al\u{200d}ice", "Alice"),
            ("Ali\u{200b}ce", "Alice"),
            ("\u{200c}Alice", "Alice"),
            ("山\u{200d}田", "山田"),
            ("کتاب\u{200c}\u{200c}خانه", "کتاب\u{200c}خانه"),
            ("کتاب\u{202e}خانه", "کتابخانه"),
            ("Bob \u{2066}x\u{2069}", "Bob x"),
            ("a\u{ad}\u{feff}\u{e0041}\nb", "ab"),
        ] {
            assert!(is_deceiving(name), "{name:?}");
            assert_eq!(honest(name), seen);
        }
    }
}
