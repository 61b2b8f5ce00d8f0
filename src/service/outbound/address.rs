//! Which addresses are the world's: global unicast, and nothing that is reserved for private, local or special use (RFC 6890 and IANA's two
//! registries of special-purpose addresses). What is not known to be the world's is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// IPv4 that is not globally reachable unicast.
const NOT_GLOBAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    // 6to4 relays, deprecated: what is behind them is another address.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(255, 255, 255, 255), 32),
];

/// The global unicast addresses that are given out (RFC 4291 §2.4).
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Within these, what is not reachable, or carries an IPv4 address that nobody has judged (Teredo, 6to4).
const NOT_GLOBAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Is it an address of the public internet? IPv4 in IPv6's clothes (`::ffff:192.0.2.1`) is judged as IPv4.
pub fn is_global_unicast(ip: IpAddr) -> bool {
    let in_v4 = |ip: Ipv4Addr, (net, bits): (Ipv4Addr, u8)| Ipv4Net::new_assert(net, bits).contains(&ip);
    let in_v6 = |ip: Ipv6Addr, (net, bits): (Ipv6Addr, u8)| Ipv6Net::new_assert(net, bits).contains(&ip);
    match ip.to_canonical() {
        IpAddr::V4(ip) => !NOT_GLOBAL_V4.into_iter().any(|net| in_v4(ip, net)),
        IpAddr::V6(ip) => in_v6(ip, GLOBAL_V6) && !NOT_GLOBAL_V6.into_iter().any(|net| in_v6(ip, net)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worlds_addresses_are_told_from_all_others() {
        let global = |text: &str| is_global_unicast(text.parse().unwrap());
        for public in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.255.255",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(global(public), "{public}");
        }
        for not in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:53aa:64c::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!global(not), "{not}");
        }
    }
}
