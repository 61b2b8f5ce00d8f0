//! Redirect URIs that registration allows and that deserve a second look in a deployment that serves people: left over from trying things
//! out, or a place where somebody else may read along (RFC 9700 §4.1, §4.11).

use url::{Host, Url};

use super::{is_http_loopback, is_private_use};

/// What is doubtful about a registered redirect URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A web application's code goes to a port of whatever machine the browser runs on.
    Loopback,
    /// A name that is reserved for examples and tests (RFC 2606, RFC 6761), or an internal one that the public cannot have a certificate for.
    Reserved(String),
    /// A service that shows requests to whoever made the address, or lends its name to anybody's machine.
    Tunnel(&'static str),
    /// An address instead of a name: whoever gets the address next gets the codes.
    Address,
    /// A name without a dot.
    Unqualified,
    /// A name whose letters may look like those of another one.
    Lookalike,
    /// It carries another address, as open redirectors do.
    CarriesAddress(String),
}

/// Services that forward or show requests. Each may be right while somebody tries something out.
const TUNNELS: [&str; 22] = [
    "beeceptor.com",
    "burpcollaborator.net",
    "devtunnels.ms",
    "interact.sh",
    "localhost.run",
    "loca.lt",
    "localtunnel.me",
    "lhr.life",
    "ngrok-free.app",
    "ngrok-free.dev",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "oast.fun",
    "oastify.com",
    "pagekite.me",
    "pipedream.net",
    "requestbin.com",
    "serveo.net",
    "tunnelmole.net",
    "trycloudflare.com",
    "webhook.site",
];

const RESERVED: [&str; 9] = ["example", "example.com", "example.net", "example.org", "internal", "invalid", "lan", "local", "test"];

/// What is doubtful about `uri`. `native`: the application runs on the person's device, where loopback is right. `trial`: the issuer
/// itself is on loopback, where everything but a forwarder is.
pub fn doubts(uri: &str, native: bool, trial: bool) -> Vec<Doubt> {
    let mut found = Vec::new();
    if is_private_use(uri) {
        return found;
    }
    if is_http_loopback(uri) {
        if !native && !trial {
            found.push(Doubt::Loopback);
        }
        return found;
    }
    let Ok(url) = Url::parse(uri) else { return found };
    match url.host() {
        Some(Host::Domain(name)) => found.extend(doubts_of_name(name.trim_end_matches('.'), trial)),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) if !trial => found.push(Doubt::Address),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => {}
    }
    let carried = url.query_pairs().find(|(_, value)| {
        let value = value.trim_start().to_ascii_lowercase();
        value.starts_with("http://") || value.starts_with("https://") || value.starts_with("//")
    });
    found.extend(carried.map(|(name, _)| Doubt::CarriesAddress(name.into_owned())));
    found
}

fn doubts_of_name(name: &str, trial: bool) -> Option<Doubt> {
    let is_below = |zone: &&str| name == *zone || name.strip_suffix(*zone).is_some_and(|rest| rest.ends_with('.'));
    if let Some(tunnel) = TUNNELS.iter().copied().find(is_below) {
        return Some(Doubt::Tunnel(tunnel));
    }
    if trial {
        return None;
    }
    if name == "localhost" || name.ends_with(".localhost") {
        return Some(Doubt::Loopback);
    }
    if let Some(zone) = RESERVED.iter().copied().find(is_below) {
        return Some(Doubt::Reserved(zone.to_owned()));
    }
    if !name.contains('.') {
        return Some(Doubt::Unqualified);
    }
    name.split('.').any(|label| label.starts_with("xn--")).then_some(Doubt::Lookalike)
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loopback => {
                f.write_str("it leads to whatever runs on the person's own machine, and this is no native application")
            }
            Self::Reserved(zone) => write!(f, "its host is below {zone}, which is for examples, tests or one's own network"),
            Self::Tunnel(zone) => write!(f, "its host is below {zone}, which hands requests on to anybody's machine or shows them"),
            Self::Address => f.write_str("its host is an address: whoever has that address next gets the codes"),
            Self::Unqualified => f.write_str("its host has no dot: where it leads depends on the network of the person"),
            Self::Lookalike => f.write_str("its host has letters beyond ASCII, which may look like another name"),
            Self::CarriesAddress(name) => {
                write!(f, "its parameter {name} holds another address: if the page redirects there, it hands out the code")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_applications_in_use_register_raises_no_doubt() {
        for uri in [
            "https://app.acme.com/callback",
            "https://app.acme.com/callback?tenant=7",
            "com.acme.app:/callback",
            "https://examples.acme.com/cb",
            "https://ngrok.io.acme.com/cb",
        ] {
            assert_eq!(doubts(uri, false, false), [], "{uri}");
        }
        assert_eq!(doubts("http://127.0.0.1/cb", true, false), []);
        assert_eq!(doubts("http://localhost:3000/cb", false, true), []);
        assert_eq!(doubts("https://app.test/cb", false, true), []);
    }

    #[test]
    fn each_doubt_has_its_name() {
        for (uri, doubt) in [
            ("http://localhost:3000/cb", Doubt::Loopback),
            ("https://localhost/cb", Doubt::Loopback),
            ("https://app.example.com/cb", Doubt::Reserved("example.com".into())),
            ("https://app.test/cb", Doubt::Reserved("test".into())),
            ("https://printer.local/cb", Doubt::Reserved("local".into())),
            ("https://0a1b.ngrok-free.app/cb", Doubt::Tunnel("ngrok-free.app")),
            ("https://webhook.site/6f1e", Doubt::Tunnel("webhook.site")),
            ("https://203.0.113.9/cb", Doubt::Address),
            ("https://[2001:db8::1]/cb", Doubt::Address),
            ("https://intranet/cb", Doubt::Unqualified),
            ("https://xn--pple-43d.com/cb", Doubt::Lookalike),
            ("https://app.acme.com/go?next=https%3A%2F%2Fevil.acme.org", Doubt::CarriesAddress("next".into())),
        ] {
            assert_eq!(doubts(uri, false, false), [doubt], "{uri}");
        }
        assert_eq!(doubts("https://x.ngrok.io/cb", false, true), [Doubt::Tunnel("ngrok.io")], "even while trying things out");
    }
}
