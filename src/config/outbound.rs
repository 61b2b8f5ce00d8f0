//! `[outbound]`: where the guarded fetcher may go beside public addresses, and whom it trusts (security.md R-58).

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
}
