//! Which state of a thing somebody has seen (RFC 9110 §8.8.3, §13.1): an operator who changes what was shown to them can ask that it
//! is still so. The tag is made of what is shown, so that whatever changes is seen to have changed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::secret::Digest;
use crate::service::operator::OperationError;

/// What is there, or has to be, where there is none. No tag: those have quotes.
pub const NOTHING: &str = "nothing";
/// Bytes of the digest that a tag shows: enough that two states are never alike.
const SHOWN: usize = 16;

/// The strong entity tag of a thing as it is shown, with its quotes.
pub fn tag(shown: &Value) -> String {
    let digest = Digest::of(shown.to_string().as_bytes());
    let bytes: Vec<u8> = digest.as_bytes().iter().take(SHOWN).copied().collect();
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(bytes))
}

/// What has to hold of a thing before it is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// There is one: `If-Match: *`.
    Exists,
    /// There is none: `If-None-Match: *`.
    Absent,
    /// It is in one of these states: `If-Match` with tags.
    Tags(Vec<String>),
}

impl Precondition {
    /// To be asked of the very state that the change is then made on.
    ///
    /// # Errors
    /// `Precondition`, with what was expected and what is.
    pub fn check(&self, present: Option<&Value>) -> Result<(), OperationError> {
        let refuse = |expected: String| {
            let present = present.map_or_else(|| NOTHING.to_owned(), tag);
            Err(OperationError::Precondition { expected, present })
        };
        match (self, present) {
            (Self::None, _) | (Self::Exists, Some(_)) | (Self::Absent, None) => Ok(()),
            (Self::Exists, None) => refuse("something".to_owned()),
            (Self::Absent, Some(_)) => refuse(NOTHING.to_owned()),
            (Self::Tags(tags), Some(value)) if tags.contains(&tag(value)) => Ok(()),
            (Self::Tags(tags), _) => refuse(tags.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_holds_of_one_state() {
        let (one, two) = (json!({ "a": 1 }), json!({ "a": 2 }));
        let tags = Precondition::Tags(vec!["\"x\"".to_owned(), tag(&one)]);
        assert!(tags.check(Some(&one)).is_ok());
        assert!(tags.check(Some(&two)).is_err());
        assert!(tags.check(None).is_err());
        assert!(Precondition::Exists.check(Some(&one)).is_ok());
        assert!(Precondition::Exists.check(None).is_err());
        assert!(Precondition::Absent.check(None).is_ok());
        assert!(Precondition::Absent.check(Some(&one)).is_err());
        assert!(Precondition::None.check(None).is_ok());
    }
}
