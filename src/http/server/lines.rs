//! The line ends of a request's head (RFC 9112 §2.2). A recipient may take a bare LF for one; a proxy in front may not have, and then the two see
//! different requests in the same bytes. So here it is none.

/// Watches one head as it comes in, piece by piece.
#[derive(Debug, Default)]
pub struct Lines {
    /// How the line began that has not ended yet.
    line: Line,
    /// A line that is not blank was here: blank ones before it do not end the head.
    has_begun: bool,
    is_over: bool,
}

/// What of a line is here.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Nothing,
    /// A CR and nothing before it.
    Return,
    Text,
    TextAndReturn,
}

impl Line {
    /// With more bytes, none of which is a LF.
    fn with(self, more: &[u8]) -> Self {
        match (self, more) {
            (line, []) => line,
            (Self::Nothing, [b'\r']) => Self::Return,
            (_, [.., b'\r']) => Self::TextAndReturn,
            (_, [..]) => Self::Text,
        }
    }
}

impl Lines {
    /// Takes the next bytes of the head, and whatever comes behind it; `false` if a line of the head ended in a bare LF.
    pub fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !self.is_over {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.line = self.line.with(bytes);
                return true;
            };
            let (line, rest) = bytes.split_at(end);
            match std::mem::take(&mut self.line).with(line) {
                // Before a request it ends nothing, and bytes that came while the one before it was being answered may have ended in the CR.
                Line::Nothing if !self.has_begun => {}
                Line::Nothing | Line::Text => return false,
                Line::Return => self.is_over = self.has_begun,
                Line::TextAndReturn => self.has_begun = true,
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In one piece, and byte by byte.
    fn is_taken(head: &str) -> bool {
        let whole = Lines::default().take(head.as_bytes());
        let mut lines = Lines::default();
        assert_eq!(head.bytes().all(|byte| lines.take(&[byte])), whole, "{head:?}");
        whole
    }

    #[test]
    fn every_line_of_a_head_ends_in_both() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na\nb",
            "GET / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\rHost: a\r\r\n\r\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "",
        ] {
            assert!(is_taken(head), "{head:?}");
        }
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\n",
            "\r\n\r\nGET / HTTP/1.1\r\nA: b\nB: c\r\n\r\n",
            "GET / HTTP/1.1\r\n\rA: b\n\r\n",
        ] {
            assert!(!is_taken(head), "{head:?}");
        }
    }
}
