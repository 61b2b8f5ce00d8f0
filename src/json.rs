//! JSON written by hand, where a serializer would cost more than what it writes: the claims and the answers that are made thousands of
//! times a second.

use serde::Serialize;

/// What can be written as JSON: whatever serde knows how to write, and what does it by itself.
pub trait ToJson {
    /// Writes it at the end of `out`.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

impl<T: Serialize> ToJson for T {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }
}

/// An object that is being written, member by member. Names are ours and need no escapes.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Begins one at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Goes on with one that has members.
    pub fn go_on(out: &'a mut Vec<u8>) -> Self {
        Self { out, empty: false }
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        text(self.out, value);
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: i64) {
        self.name(name);
        number(self.out, value);
    }

    /// Texts, in their order.
    pub fn texts(&mut self, name: &str, values: &[String]) {
        self.name(name);
        self.out.push(b'[');
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            text(self.out, value);
        }
        self.out.push(b']');
    }

    /// Texts with a space between each two.
    pub fn words(&mut self, name: &str, words: &[String]) {
        self.name(name);
        match words {
            [only] => text(self.out, only),
            several => text(self.out, &several.join(" ")),
        }
    }

    /// Anything else.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn value(&mut self, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
        self.name_of_any(name);
        serde_json::to_writer(&mut *self.out, value)
    }

    /// No more members.
    pub fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn name_of_any(&mut self, name: &str) {
        self.comma();
        text(self.out, name);
        self.out.push(b':');
    }

    fn comma(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }
}

/// Bytes that are looked at together.
const PIECE: usize = 32;

/// A text in quotes. Most need no escapes, and many bytes are looked at in one instruction.
fn text(out: &mut Vec<u8>, value: &str) {
    let plain = |piece: &[u8]| piece.iter().fold(true, |plain, byte| plain & is_plain(*byte));
    if value.as_bytes().chunks(PIECE).all(plain) {
        out.reserve(value.len() + 2);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else if serde_json::to_writer(&mut *out, value).is_err() {
        // A text into memory: neither can fail.
        out.extend_from_slice(b"\"\"");
    }
}

/// RFC 8259 §7: what stands for itself in a string.
fn is_plain(byte: u8) -> bool {
    (byte >= b' ') & (byte != b'"') & (byte != b'\\')
}

fn number(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        if let (Some(place), Ok(digit)) = (digits.get_mut(at), u8::try_from(rest % 10)) {
            *place = b'0' + digit;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn members_stand_in_their_order() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text("a", "x\"\\\n\u{1}é");
        object.number("b", -7);
        object.texts("c", &["1".to_owned(), "2".to_owned()]);
        object.words("d", &["1".to_owned(), "2".to_owned()]);
        object.value("\"e", &json!({ "f": [1] })).unwrap();
        object.end();
        let expected = "{\"a\":\"x\\\"\\\\\\n\\u0001é\",\"b\":-7,\"c\":[\"1\",\"2\"],\"d\":\"1 2\",\"\\\"e\":{\"f\":[1]}}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        Object::begin(&mut out).end();
        assert_eq!(out, b"{}");
    }

    proptest! {
        #[test]
        fn any_text_and_any_number_come_back(value in any::<String>(), long in "[ -~]{60,70}\\PC{0,3}", number in any::<i64>()) {
            let mut out = b"{\"first\":1".to_vec();
            let mut object = Object::go_on(&mut out);
            object.text("text", &value);
            object.text("long", &long);
            object.number("number", number);
            object.end();
            let read: Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, json!({ "first": 1, "text": value, "long": long, "number": number }));
        }
    }
}
