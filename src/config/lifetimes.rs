//! `[lifetimes]`: how long things live (design 4.8).

use std::time::Duration;

use super::reader::Section;

/// How long what the server issues and remembers is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Access tokens, unless their resource says otherwise.
    pub access_token: Duration,
    pub id_token: Duration,
    /// Authorization codes (RFC 6749 §4.1.2 recommends 10 minutes at the most; RFC 9700 less).
    pub code: Duration,
    /// Device codes, and the user codes that go with them (RFC 8628 §3.2); never longer than 10 minutes.
    pub device_code: Duration,
    /// From the authorization request to the answer: sign-in and consent in between.
    pub interaction: Duration,
    /// A browser session without use.
    pub session_idle: Duration,
    /// A browser session at the most.
    pub session: Duration,
    /// A refresh family without use.
    pub refresh_idle: Duration,
    /// A refresh family at the most.
    pub refresh: Duration,
    /// What clients sign to prove themselves: the furthest that its `exp` may lie ahead.
    pub client_assertion: Duration,
    /// Decision records; never longer than 7 days.
    pub decision: Duration,
}

impl Lifetimes {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let mut read = |key, default, most| {
            section.duration(key, Duration::from_secs(default), Duration::from_secs(1), Duration::from_secs(most))
        };
        let lifetimes = Self {
            access_token: read("access_token", 10 * MINUTE, DAY),
            id_token: read("id_token", 10 * MINUTE, DAY),
            code: read("code", MINUTE, 10 * MINUTE),
            device_code: read("device_code", 10 * MINUTE, 10 * MINUTE),
            interaction: read("interaction", 30 * MINUTE, DAY),
            session_idle: read("session_idle", 12 * HOUR, 365 * DAY),
            session: read("session", 7 * DAY, 365 * DAY),
            refresh_idle: read("refresh_idle", 30 * DAY, 3650 * DAY),
            refresh: read("refresh", 180 * DAY, 3650 * DAY),
            client_assertion: read("client_assertion", 5 * MINUTE, HOUR),
            decision: read("decision", 7 * DAY, 7 * DAY),
        };
        if lifetimes.session_idle > lifetimes.session {
            section.contradiction("session_idle", "session_idle must not be longer than session".to_owned());
        }
        if lifetimes.refresh_idle > lifetimes.refresh {
            section.contradiction("refresh_idle", "refresh_idle must not be longer than refresh".to_owned());
        }
        lifetimes
    }
}
