//! The line of a request. Every request has one: written by hand, it costs a third of what an event does that is made of fields, and
//! looks the same; a test compares them.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::OnceLock;

use super::gathered::Gathered;
use crate::clock::{Clock as _, SystemClock};
use crate::config::LogFormat;
use crate::service::address::Prefix;

/// What is said of a request.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    pub trace_id: u128,
    pub method: &'static str,
    /// The pattern of the route, never what was typed.
    pub route: &'a str,
    pub status: u16,
    pub micros: u64,
    pub address: Prefix,
    /// The rule of a refusal.
    pub rule: Option<&'static str>,
}

static LOG: OnceLock<(LogFormat, &'static Gathered)> = OnceLock::new();

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
}

#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    /// The second that was written last, and how.
    second: i64,
    date: String,
}

/// From now on lines go where the log goes.
pub(super) fn begin(format: LogFormat, log: &'static Gathered) {
    LOG.get_or_init(|| (format, log));
}

impl Access<'_> {
    /// Writes the line, if the log of this process is there.
    pub fn write(&self) -> bool {
        let Some((format, log)) = LOG.get() else { return false };
        let now = SystemClock::default().now();
        LINE.with_borrow_mut(|line| {
            line.write(self, *format, now.seconds(), now.micros().rem_euclid(1_000_000));
            log.add(&line.bytes);
        });
        true
    }
}

impl Line {
    fn write(&mut self, access: &Access<'_>, format: LogFormat, second: i64, micros: i64) {
        if self.second != second || self.date.is_empty() {
            self.second = second;
            self.date = crate::clock::Timestamp::from_seconds(second).rfc3339().trim_end_matches('Z').to_owned();
        }
        let Self { bytes, date, .. } = self;
        let Access { trace_id, method, route, status, micros: took, address, rule } = access;
        bytes.clear();
        // Writing to a vector cannot fail.
        let _written = match format {
            LogFormat::Text => {
                let rule = rule.map(|rule| (" rule=\"", rule, "\"")).unwrap_or_default();
                writeln!(
                    bytes,
                    "{date}.{micros:06}Z  INFO chancery::access: trace_id={trace_id:032x} method=\"{method}\" route=\"{route}\" \
                     status={status} micros={took} address={address}{}{}{}",
                    rule.0, rule.1, rule.2
                )
            }
            LogFormat::Json => {
                let rule = rule.map(|rule| (",\"rule\":\"", rule, "\"")).unwrap_or_default();
                writeln!(
                    bytes,
                    "{{\"timestamp\":\"{date}.{micros:06}Z\",\"level\":\"INFO\",\"trace_id\":\"{trace_id:032x}\",\"method\":\"{method}\",\
                     \"route\":\"{route}\",\"status\":{status},\"micros\":{took},\"address\":\"{address}\"{}{}{},\"target\":\"chancery::access\"}}",
                    rule.0, rule.1, rule.2
                )
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(access: &Access<'_>, format: LogFormat) -> String {
        let mut line = Line::default();
        line.write(access, format, 1_800_000_000, 42);
        String::from_utf8(line.bytes).unwrap()
    }

    /// As `tracing` writes the same fields.
    fn event(access: &Access<'_>, format: LogFormat) -> String {
        super::super::tests::logged(format, || {
            tracing::info!(
                target: "chancery::access",
                trace_id = %format!("{:032x}", access.trace_id),
                method = access.method,
                route = access.route,
                status = access.status,
                micros = access.micros,
                address = %access.address,
                rule = access.rule,
            );
        })
    }

    #[test]
    fn the_line_is_what_an_event_would_be() {
        let access = Access {
            trace_id: 0xabc,
            method: "GET",
            route: "/assets/{file}",
            status: 404,
            micros: 17,
            address: Prefix::of("2001:db8::1".parse().unwrap()),
            rule: None,
        };
        for access in [access, Access { rule: Some("not-found"), ..access }] {
            let (text, expected) = (line(&access, LogFormat::Text), event(&access, LogFormat::Text));
            let after = |line: &str| line.split_once("Z ").unwrap().1.to_owned();
            assert_eq!(after(&text), after(&expected));
            assert!(text.starts_with("2027-01-15T08:00:00.000042Z "), "{text}");
            let member = |line: &str| {
                let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
                (object.remove("timestamp").unwrap().as_str().unwrap().len(), object)
            };
            assert_eq!(member(&line(&access, LogFormat::Json)), member(&event(&access, LogFormat::Json)));
        }
    }
}
