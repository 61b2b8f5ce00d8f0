//! `[throttle]`: how many failures and open requests are borne before a caller has to wait (security.md ).

use std::time::Duration;

use super::reader::Section;

/// Limits that all replicas count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// The stretch of time over which failures are counted.
    pub window: Duration,
    /// Failures of one account in the window before each further try has to wait.
    pub account_failures: u32,
    /// Failures from one address (IPv4) or /64 (IPv6) in the window before further tries are refused.
    pub address_failures: u32,
    /// Failures of everybody in the window before all sign-ins slow down.
    pub global_failures: u32,
    /// The longest that one account has to wait between two tries: strangers never lock a person out for good.
    pub longest_wait: Duration,
    /// Authorization requests from one address that may be open at once.
    pub interactions_per_address: u32,
    /// Authorization requests of one client that may be open at once.
    pub interactions_per_client: u32,
    /// Tokens that nobody issued that one client may ask about in a minute.
    pub unknown_tokens_per_minute: u32,
}

impl ThrottleConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let seconds = Duration::from_secs;
        Self {
            window: section.duration("window", seconds(900), seconds(1), seconds(86_400)),
            account_failures: section.number32("account_failures", 10, 1, 1_000_000),
            address_failures: section.number32("address_failures", 100, 1, 1_000_000),
            global_failures: section.number32("global_failures", 10_000, 1, 100_000_000),
            longest_wait: section.duration("longest_wait", seconds(60), seconds(1), seconds(3600)),
            interactions_per_address: section.number32("interactions_per_address", 5_000, 1, 1_000_000),
            interactions_per_client: section.number32("interactions_per_client", 100_000, 1, 100_000_000),
            unknown_tokens_per_minute: section.number32("unknown_tokens_per_minute", 300, 1, 100_000_000),
        }
    }
}
