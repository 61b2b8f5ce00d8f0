//! What an operator reads with `chancery explain`: what happened, what was expected, what came, where the two first differ, and
//! the change that mends it. This is the full truth, for the command line and `admin:read` alone; it holds no credential.

pub(super) mod branches;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use crate::clock::Timestamp;

/// A refusal, told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Story {
    pub happened: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    /// The first place where expected and received part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// The change that mends it.
    pub mend: String,
}

impl Story {
    pub(super) fn new(happened: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { happened: happened.into(), expected: None, received: None, difference: None, mend: mend.into() }
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn received(mut self, received: impl Into<String>) -> Self {
        self.received = Some(received.into());
        self
    }

    pub(super) fn difference(mut self, difference: impl Into<String>) -> Self {
        self.difference = Some(difference.into());
        self
    }
}

/// A moment as people in operations write it.
pub(super) fn at(moment: Timestamp) -> String {
    match OffsetDateTime::from_unix_timestamp(moment.seconds()) {
        Ok(time) => {
            let (year, month, day) = time.to_calendar_date();
            let (hour, minute, second) = time.to_hms();
            format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
        }
        Err(_) => format!("{} seconds after 1970", moment.seconds()),
    }
}

pub(super) fn ago(earlier: Timestamp, later: Timestamp) -> String {
    words(later.since(earlier))
}

/// A span in its two largest units.
pub(super) fn words(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return format!("{} milliseconds", span.as_millis());
    }
    let seconds = span.as_secs();
    let parts = [(seconds / 86_400, "day"), (seconds / 3600 % 24, "hour"), (seconds / 60 % 60, "minute"), (seconds % 60, "second")];
    let told: Vec<String> = parts
        .into_iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
        .collect();
    told.join(" ")
}

pub(super) fn one_of(values: &[String]) -> String {
    match values {
        [] => "(none)".to_owned(),
        [one] => one.clone(),
        several => format!("one of: {}", several.join(", ")),
    }
}

pub(super) fn or_none(value: &str) -> String {
    if value.is_empty() { "none".to_owned() } else { value.to_owned() }
}

/// The first character at which two texts part.
pub(super) fn text_difference(expected: &str, received: &str) -> String {
    let place = expected.chars().zip(received.chars()).take_while(|(a, b)| a == b).count();
    let next = |text: &str| text.chars().nth(place).map_or_else(|| "the end".to_owned(), |letter| format!("{letter:?}"));
    format!("at character {}: expected {}, received {}", place + 1, next(expected), next(received))
}

pub(super) fn closest_difference(allowed: &[String], received: &str) -> String {
    let common = |value: &String| value.chars().zip(received.chars()).take_while(|(a, b)| a == b).count();
    match allowed.iter().max_by_key(|value| common(value)) {
        Some(closest) if closest != received => format!("closest is {closest}, {}", text_difference(closest, received)),
        Some(_) => "the client is not allowed it here".to_owned(),
        None => "the client has no scope at any resource".to_owned(),
    }
}
