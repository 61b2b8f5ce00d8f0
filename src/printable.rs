//! Text for a terminal or a log: names come from strangers, and what they hold must not move the cursor or turn the line around.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_write_to_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
    }
}
