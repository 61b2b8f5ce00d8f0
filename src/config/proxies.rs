//! `[proxies]`: whose word about a client's address counts (security.md R-81).

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::Section;

/// The reverse proxies in front of this server.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Addresses and networks whose `X-Forwarded-For` is believed, for the client's address alone.
    pub trusted: Vec<IpNet>,
}

impl Proxies {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { trusted: section.list("trusted", &[], network) }
    }
}

/// A network in CIDR form, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("must hold addresses or networks such as 10.0.0.0/8, and {text:?} is neither"))
}
