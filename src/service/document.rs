//! JSON documents as operators write them: one object, no member twice, no member that nobody reads (contract.md: a user's, a client's and
//! a resource's file). An error names the member and, if it looks like a slip of the pen, the one that was meant.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::jose;
use crate::oauth::client::MetadataError;
use crate::printable::{is_deceiving, printable};

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", member.as_ref().map(|name| format!("{}: ", printable(name))).unwrap_or_default(), printable(message))]
pub struct DocumentError {
    /// The member, unless the whole document is meant.
    pub member: Option<String>,
    pub message: String,
}

impl From<MetadataError> for DocumentError {
    fn from(error: MetadataError) -> Self {
        Self { member: Some(error.field.to_owned()), message: error.message }
    }
}

impl DocumentError {
    /// Something is wrong with the document as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { member: None, message: message.into() }
    }

    /// Something is wrong with one member.
    pub fn member(name: &str, message: impl Into<String>) -> Self {
        Self { member: Some(name.to_owned()), message: message.into() }
    }
}

/// A document whose members are taken out one by one; what is left at the end is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    members: Map<String, Value>,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// When the text is not one JSON object, or has a member twice.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        match jose::object(text) {
            Ok(members) => Ok(Self { members }),
            Err(error) => Err(DocumentError::whole(format!("not a JSON object as expected: {error}"))),
        }
    }

    /// From members that have been read strictly already.
    pub fn of(members: Map<String, Value>) -> Self {
        Self { members }
    }

    /// Takes a member out and reads it; `None` if it is absent or null.
    ///
    /// # Errors
    /// When it has the wrong type.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, DocumentError> {
        match self.members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| DocumentError::member(name, words(&error))),
        }
    }

    /// Takes a member out that may only repeat what is known already, such as the id in a document that was shown before.
    ///
    /// # Errors
    /// When it says something else.
    pub fn repeat(&mut self, name: &str, known: &Value) -> Result<(), DocumentError> {
        match self.members.remove(name) {
            None => Ok(()),
            Some(value) if value == *known => Ok(()),
            Some(_) => Err(DocumentError::member(name, "is set by the server and cannot be changed")),
        }
    }

    /// The members as they are.
    pub fn into_members(self) -> Map<String, Value> {
        self.members
    }

    /// Puts a member in, or another value in its place.
    pub fn set(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }

    /// Is this member there, be it null?
    pub fn names(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Does this merge patch give a member another value than it has?
    pub fn changes(&self, name: &str, known: Option<&Value>) -> bool {
        self.members.get(name).is_some_and(|value| value != known.unwrap_or(&Value::Null))
    }

    /// Puts a member in, in the place of what was said.
    pub fn put(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }

    /// Refuses a member that is never sent.
    ///
    /// # Errors
    /// When it is there.
    pub fn refuse(&self, name: &str, why: &str) -> Result<(), DocumentError> {
        if self.members.contains_key(name) { Err(DocumentError::member(name, why)) } else { Ok(()) }
    }

    /// Refuses a name that nobody reads, whatever it holds: a merge patch that takes away what nobody knows is a slip too.
    ///
    /// # Errors
    /// When there is one.
    pub fn check_names(&self, known: &[&str]) -> Result<(), DocumentError> {
        match self.members.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(DocumentError::member(unknown, unknown_member(unknown, known))),
            None => Ok(()),
        }
    }

    /// Reads what is left as one struct. Nulls count as absent. `known` are the members that may be left.
    ///
    /// # Errors
    /// When a member is unknown, is missing or has the wrong type.
    pub fn rest<T: DeserializeOwned>(self, known: &[&str]) -> Result<T, DocumentError> {
        self.check_names(known)?;
        let mut members = self.members;
        members.retain(|_, value| !value.is_null());
        // One member at a time, so that the error can name it.
        for (name, value) in &members {
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            if let Err(error) = serde_json::from_value::<T>(Value::Object(alone))
                && !error.to_string().starts_with("missing field")
            {
                return Err(DocumentError::member(name, words(&error)));
            }
        }
        serde_json::from_value(Value::Object(members.clone())).map_err(|error| missing::<T>(&members, &error.to_string()))
    }

    /// Applies this document to `target` as a JSON merge patch (RFC 7396): null removes, objects merge, everything else replaces.
    pub fn merge_into(self, target: &mut Map<String, Value>) {
        merge(target, self.members, 0);
    }
}

/// Documents are at most sixteen levels deep, so the recursion is bounded.
fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>, depth: usize) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(inner) if depth < 16 => {
                let mut merged = match target.remove(&name) {
                    Some(Value::Object(members)) => members,
                    Some(_) | None => Map::new(),
                };
                merge(&mut merged, inner, depth + 1);
                target.insert(name, Value::Object(merged));
            }
            Value::Object(_) | Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_) => {
                target.insert(name, value);
            }
        }
    }
}

fn unknown_member(unknown: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::jaro_winkler(unknown, known), *known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, near)) => format!("unknown member; did you mean {near:?}?"),
        None => format!("unknown member; known are {}", known.join(", ")),
    }
}

/// What serde says of a wrong type, in JSON's words.
fn words(error: &serde_json::Error) -> String {
    let words =
        error.to_string().replace("expected struct Address", "expected an object").replace("expected a map", "expected an object");
    words.replace("expected a sequence", "expected a list").replace("expected u64", "expected a whole number")
}

/// What is missing, and where: a member of the document, or something within the member without which there is another complaint.
fn missing<T: DeserializeOwned>(members: &Map<String, Value>, error: &str) -> DocumentError {
    let name = error.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match name.filter(|name| !members.contains_key(*name)) {
        Some(name) => DocumentError::member(name, "is required"),
        None => {
            let is_at_fault = |name: &&String| {
                let mut others = members.clone();
                others.remove(*name);
                serde_json::from_value::<T>(Value::Object(others)).err().is_none_or(|other| other.to_string() != error)
            };
            match members.keys().find(is_at_fault) {
                Some(name) => DocumentError::member(name, error),
                None => DocumentError::whole(error),
            }
        }
    }
}

/// What is wrong with an identifier that [`is_step`].
pub const STEP: &str = "must not be . or ..: in an address these are steps through its path";

/// Is it a segment that programs take out of an address before they ask for it (RFC 3986 §5.2.4), percent-encoded too?
pub fn is_step(identifier: &str) -> bool {
    matches!(identifier, "." | "..")
}

/// Text for one line: not blank, at most `most` bytes, no control characters.
///
/// # Errors
/// Which of these it is not.
pub fn check_text(name: &str, text: &str, most: usize) -> Result<(), DocumentError> {
    if text.trim().is_empty() {
        return Err(DocumentError::member(name, "must not be blank; leave it out instead"));
    }
    if text.len() > most {
        return Err(DocumentError::member(name, format!("must have at most {most} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(DocumentError::member(name, "must not hold control characters"));
    }
    Ok(())
}

/// No text of an object, as it is shown, may hold what cannot be seen or turns the direction of writing around: people tell people, groups and
/// APIs apart by these texts. What was there before this was asked for may stay, so that the rest can be changed.
///
/// # Errors
/// The member that has such a text.
pub fn check_shown(after: &Value, before: Option<&Value>) -> Result<(), DocumentError> {
    let member = |name: &str| before.and_then(|before| before.get(name));
    let mut members = after.as_object().into_iter().flatten();
    match members.find(|(name, value)| is_deceiving_anew(value, member(name), 0)) {
        Some((name, _)) => {
            Err(DocumentError::member(name, "must not hold invisible characters, or those that turn the direction of writing"))
        }
        None => Ok(()),
    }
}

/// As deep as documents are.
fn is_deceiving_anew(value: &Value, before: Option<&Value>, depth: usize) -> bool {
    if before == Some(value) || depth > 16 {
        return false;
    }
    match value {
        // Lines may end.
        Value::String(text) => text.lines().any(is_deceiving),
        Value::Array(list) => {
            let known = before.and_then(Value::as_array);
            list.iter().any(|one| !known.is_some_and(|known| known.contains(one)) && is_deceiving_anew(one, None, depth + 1))
        }
        Value::Object(members) => members.iter().any(|(name, value)| {
            is_deceiving(name) || is_deceiving_anew(value, before.and_then(|before| before.get(name)), depth + 1)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_deceives_may_stay_and_not_come() {
        let old = json!({ "name": "a\u{202e}b", "roles": ["x\u{200b}", "y"], "address": { "region": "\u{feff}", "formatted": "Weg 1\r\nBerlin" } });
        let member = |after: Value| check_shown(&after, Some(&old)).err().and_then(|error| error.member);
        let with = |name: &str, value: Value| {
            let mut after = old.clone();
            after[name] = value;
            member(after)
        };
        assert_eq!(check_shown(&old, None).unwrap_err().member.as_deref(), Some("address"));
        assert_eq!(member(old.clone()), None);
        assert_eq!(with("nickname", json!("c")), None);
        assert_eq!(with("name", json!("ab")), None);
        assert_eq!(with("roles", json!(["z", "x\u{200b}"])), None);
        assert_eq!(with("address", json!({ "region": "\u{feff}", "country": "DE" })), None);
        assert_eq!(with("name", json!("a\u{202e}c")).as_deref(), Some("name"));
        assert_eq!(with("roles", json!(["y\u{2066}"])).as_deref(), Some("roles"));
        assert_eq!(with("address", json!({ "region": "x\u{feff}" })).as_deref(), Some("address"));
        assert_eq!(with("claims", json!({ "a\u{200d}b": "groups" })).as_deref(), Some("claims"));
    }

    fn merged(target: &str, patch: &str) -> Value {
        let mut target = Document::parse(target.as_bytes()).unwrap().members;
        Document::parse(patch.as_bytes()).unwrap().merge_into(&mut target);
        Value::Object(target)
    }

    #[test]
    fn a_merge_patch_works_as_in_rfc_7396() {
        // Cases of RFC 7396, appendix A, that are objects.
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merged(target, patch), serde_json::from_str::<Value>(result).unwrap(), "{target} {patch}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        #[derive(Debug, serde::Deserialize)]
        struct Part {
            #[allow(dead_code, reason = "read to be there")]
            name: String,
        }
        #[derive(Debug, serde::Deserialize)]
        #[allow(dead_code, reason = "read to be there")]
        struct Whole {
            name: String,
            parts: Option<Vec<Part>>,
            note: Option<String>,
        }
        let fault = |text: &str| {
            let read = Document::parse(text.as_bytes()).unwrap().rest::<Whole>(&["name", "parts", "note"]);
            read.map(drop).map_err(|error| error.member.unwrap_or_default())
        };
        for (text, expected) in [
            (r#"{"name":"a","parts":[{"name":"b"}],"note":null}"#, Ok(())),
            ("{}", Err("name")),
            (r#"{"name":null}"#, Err("name")),
            (r#"{"name":"a","parts":[{}]}"#, Err("parts")),
            (r#"{"name":"a","note":7}"#, Err("note")),
            (r#"{"name":"a","nota":null}"#, Err("nota")),
        ] {
            assert_eq!(fault(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_member_that_occurs_twice_is_refused() {
        assert!(Document::parse(br#"{"username":"alice","username":"mallory"}"#).is_err());
    }
}
