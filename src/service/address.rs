//! Whom an address stands for when failures, rows or connections are counted: one IPv4 address, or one IPv6 /64, since a household
//! has the whole of it (security.md R-55).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address or the /64 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prefix {
    /// One address.
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(u64),
}

impl Prefix {
    /// The prefix that `ip` belongs to; IPv4 in IPv6's clothes (`::ffff:192.0.2.1`) counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::V6(u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d))
            }
        }
    }
}

/// Whether the world can reach the address: not loopback, private (RFC 1918, RFC 4193), shared (RFC 6598), link-local, multicast, or no
/// address at all.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || a == 0
                || shared)
        }
        IpAddr::V6(ip) => {
            let unspecified = ip.is_unspecified();
            !(ip.is_loopback() || unspecified || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_multicast())
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => ip.fmt(f),
            Self::V6(bits) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*bits) << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_is_what_the_world_can_reach() {
        for (text, public) in [
            ("8.8.8.8", true),
            ("2606:4700::1", true),
            ("::ffff:8.8.8.8", true),
            ("100.128.0.1", true),
            ("0.0.0.0", false),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.1.1", false),
            ("100.64.0.1", false),
            ("::1", false),
            ("::", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }

    #[test]
    fn prefixes_are_one_ipv4_address_or_one_ipv6_household() {
        let prefix = |text: &str| Prefix::of(text.parse().unwrap()).to_string();
        assert_eq!(prefix("203.0.113.7"), "203.0.113.7");
        assert_eq!(prefix("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(prefix("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }
}
