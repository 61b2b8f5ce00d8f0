//! Whom a request comes from: the socket's peer, unless that is a configured proxy (security.md R-81).
//!
//! Of the headers that proxies send only `X-Forwarded-For` is read, and from the right: each configured proxy is believed about the
//! hop before it, and the first address that is not a proxy's is the client's. What stands left of it anybody may have written.
//! `Forwarded` (RFC 7239) is not read: a proxy that writes one of the two passes the other on as the client sent it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::http::layers::Arrival;
use crate::http::server::Peer;
use crate::service::address::Prefix;

/// The client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddr(pub IpAddr);

/// Hops that are looked at, from the right.
const HOPS: usize = 16;

impl RemoteAddr {
    /// Where a request comes from that came over no socket.
    pub const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    /// Works it out for a request that no layer has seen.
    pub fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        Self::behind(Peer::of(extensions).unwrap_or(Self::NOBODY), headers, trusted)
    }

    /// Who speaks through this peer.
    pub fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        Self(client_of(peer, headers, trusted))
    }

    /// Does the connection come from a configured proxy?
    pub fn is_proxy(peer: IpAddr, trusted: &[IpNet]) -> bool {
        trusted.iter().any(|network| network.contains(&peer.to_canonical()))
    }

    /// What failures and records are counted under.
    pub fn prefix(self) -> Prefix {
        Prefix::of(self.0)
    }
}

/// Headers by which proxies say for whom they speak.
static FORWARDED: [HeaderName; 3] =
    [HeaderName::from_static("x-forwarded-for"), header::FORWARDED, HeaderName::from_static("x-real-ip")];

/// The peer, if it forwards somebody else's request, or says so, and is no configured proxy.
pub fn untrusted_proxy(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let forwards = FORWARDED.iter().any(|name| headers.contains_key(name));
    let peer = peer.filter(|_| forwards)?.to_canonical();
    (!trusted.iter().any(|network| network.contains(&peer))).then_some(peer)
}

fn client_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_proxy = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    let mut client = peer.to_canonical();
    if !is_proxy(client) {
        return client;
    }
    // Several header lines are one list (RFC 9110 §5.3); both are walked from their ends.
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.take(HOPS) {
        // Not an address: whoever wrote it, the last proxy that is believed is all that is known.
        let Some(ip) = address(hop) else { break };
        client = ip;
        if !is_proxy(client) {
            break;
        }
    }
    client
}

/// An address, with or without port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse::<IpAddr>().ok();
    bare().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|ip| ip.to_canonical())
}

impl<S: Sync> FromRequestParts<S> for RemoteAddr {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Arrival::of(&parts.extensions)
            .map_or_else(|| Self::of(&parts.extensions, &parts.headers, &[]), |arrival| arrival.address))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        headers.insert("forwarded", HeaderValue::from_static("for=198.51.100.99"));
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_of(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn strangers_are_not_believed_about_themselves() {
        assert_eq!(client("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
    }

    #[test]
    fn a_proxy_is_believed_about_the_hop_before_it_only() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn ports_brackets_and_nonsense() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }
}
