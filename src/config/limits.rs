//! `[limits]`: what one connection and one request may cost (security.md ).

use std::time::Duration;

use super::reader::Section;

/// Sizes in bytes, times, and counts of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, all together.
    pub connections: u32,
    /// Connections at once from one address; configured proxies are exempt.
    pub connections_per_address: u32,
    /// Requests that are worked on at once.
    pub requests: u32,
    /// Requests that wait for their turn; one more is sent away.
    pub waiting: u32,
    /// How long a request waits for its turn before it is sent away.
    pub longest_wait: Duration,
    /// From the opening of a connection, or the first byte of a request, to the end of its headers.
    pub header_read_timeout: Duration,
    /// From the end of the headers to the end of the body.
    pub body_read_timeout: Duration,
    /// From the end of the headers to the answer.
    pub request_timeout: Duration,
    /// A kept-alive connection between two requests.
    pub idle_timeout: Duration,
    /// After SIGTERM: readiness is down, and connections are still taken for this long.
    pub drain_delay: Duration,
    /// After SIGTERM and the delay: how long requests in flight may take.
    pub drain_deadline: Duration,
    /// A request's body, in bytes.
    pub body: u32,
    /// A request's headers together, in bytes.
    pub header_bytes: u32,
    /// A request's headers, counted.
    pub headers: u32,
}

impl Limits {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let seconds = Duration::from_secs;
        let least = Duration::from_millis(10);
        Self {
            connections: section.number32("connections", 1024, 1, 1_000_000),
            connections_per_address: section.number32("connections_per_address", 256, 1, 1_000_000),
            requests: section.number32("requests", 256, 1, 1_000_000),
            waiting: section.number32("waiting", 1024, 0, 1_000_000),
            longest_wait: section.duration("longest_wait", seconds(1), Duration::ZERO, seconds(60)),
            header_read_timeout: section.duration("header_read_timeout", seconds(10), least, seconds(120)),
            body_read_timeout: section.duration("body_read_timeout", seconds(10), least, seconds(120)),
            request_timeout: section.duration("request_timeout", seconds(30), least, seconds(300)),
            idle_timeout: section.duration("idle_timeout", seconds(60), least, seconds(3600)),
            drain_delay: section.duration("drain_delay", seconds(0), seconds(0), seconds(60)),
            drain_deadline: section.duration("drain_deadline", seconds(25), least, seconds(300)),
            body: section.number32("body", 65_536, 1024, 1_048_576),
            header_bytes: section.number32("header_bytes", 16_384, 8192, 1_048_576),
            headers: section.number32("headers", 64, 16, 1024),
        }
    }
}
