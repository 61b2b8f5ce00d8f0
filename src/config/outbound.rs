//! `[outbound]`: where the guarded fetcher may go beside public addresses, and whom it trusts (security.md R-58).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::proxies::network;
use super::reader::Section;

/// Rules for requests that this server makes.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Hosts and networks that may be reached although they are not public.
    pub allow: Vec<Allowed>,
    /// PEM file of further certificate authorities.
    pub extra_ca_file: Option<PathBuf>,
}

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    Host(String),
    Network(IpNet),
}

impl Outbound {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let allow = section.list("allow", &[], |text| match network(text) {
            Ok(network) => Ok(Allowed::Network(network)),
            Err(_) => match url::Host::parse(text) {
                Ok(url::Host::Domain(host)) if host == text => Ok(Allowed::Host(host)),
                _ => Err(format!("must hold host names in lower case or networks such as 10.0.0.0/8, and {text:?} is neither")),
            },
        });
        Self { allow, extra_ca_file: section.optional("extra_ca_file").map(PathBuf::from) }
    }

    /// May `ip` be reached although it is not public? `host` is the name that led there; without one it was written as an address.
    pub fn allows(&self, host: Option<&str>, ip: IpAddr) -> bool {
        self.allow.iter().any(|allowed| match allowed {
            Allowed::Host(name) => host == Some(name),
            Allowed::Network(network) => network.contains(&ip.to_canonical()) || network.contains(&ip),
        })
    }

    /// Is this machine itself among what may be reached? Then `http://localhost` and its like are accepted too: a developer's machine.
    pub fn allows_loopback(&self) -> bool {
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        here.into_iter().any(|ip| self.allows(Some("localhost"), ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_for_its_host_or_network_alone() {
        let rules = |allow: Vec<Allowed>| Outbound { allow, extra_ca_file: None };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let named = rules(vec![Allowed::Host("idp.internal".to_owned())]);
        assert!(named.allows(Some("idp.internal"), ip("10.0.0.1")));
        assert!(!named.allows(Some("other.internal"), ip("10.0.0.1")) && !named.allows(None, ip("10.0.0.1")));
        assert!(!named.allows_loopback());
        let net = rules(vec![Allowed::Network("127.0.0.0/8".parse().unwrap())]);
        assert!(net.allows(None, ip("127.0.0.1")) && net.allows(Some("any.example"), ip("::ffff:127.0.0.1")));
        assert!(!net.allows(None, ip("10.0.0.1")));
        assert!(net.allows_loopback() && rules(vec![Allowed::Host("localhost".to_owned())]).allows_loopback());
        assert!(!rules(Vec::new()).allows_loopback());
    }
}
