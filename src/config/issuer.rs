//! The issuer: the public base URL, the one source of every URL that the server says about itself (RFC 8414 §2, OpenID Connect
//! Discovery §3: https, no query, no fragment).

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// The issuer, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    origin: String,
    path: String,
    https: bool,
    loopback: bool,
    /// It was written with a trailing slash, which was dropped.
    slash: bool,
}

impl Issuer {
    /// Reads an issuer. The error says what is wrong with it and how to write it.
    ///
    /// A trailing slash is dropped: endpoints live below the issuer, and clients compare it byte for byte with what discovery says.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text)
            .map_err(|error| format!("must be a URL such as https://id.example.com, and {text:?} is not: {error}"))?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(format!("must begin with https:// (or http:// on a loopback host), and {text:?} does not")),
        };
        if url.query().is_some() || text.contains('?') {
            return Err("must not have a query (RFC 8414 §2)".to_owned());
        }
        if url.fragment().is_some() || text.contains('#') {
            return Err("must not have a fragment (RFC 8414 §2)".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err("must not hold a user name or password".to_owned());
        }
        let (host, loopback) = match url.host() {
            Some(Host::Domain(name)) => (name.to_owned(), name == "localhost" || name.ends_with(".localhost")),
            Some(Host::Ipv4(address)) => (address.to_string(), IpAddr::from(address).is_loopback()),
            Some(Host::Ipv6(address)) => (format!("[{address}]"), IpAddr::from(address).is_loopback()),
            None => return Err(format!("must have a host, and {text:?} has none")),
        };
        // A URL parser lets stand in a host what would end a quoted string or a source expression in our headers.
        if let Some(bad) = host.chars().find(|letter| !letter.is_ascii_alphanumeric() && !".-_:[]".contains(*letter)) {
            return Err(format!("must not have the character {bad:?} in its host"));
        }
        if !https && !loopback {
            return Err(format!(
                "must be https: http is for loopback hosts (localhost, 127.0.0.1, [::1]) alone, and {host:?} is none"
            ));
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let canonical = url.as_str().strip_suffix('/').unwrap_or(url.as_str());
        // URL parsers repair what they read (upper case, default ports, dot segments). What clients compare is bytes: so must this be.
        if trimmed != canonical {
            return Err(format!("must be written as every URL parser would write it: {canonical:?}"));
        }
        let path = url.path().strip_suffix('/').unwrap_or(url.path()).to_owned();
        if path.ends_with('/') || path.contains("//") {
            return Err("must not have empty path segments".to_owned());
        }
        if path.contains('%') || path.contains(';') {
            return Err("must not have '%' or ';' in its path: cookies and routes go by its bytes".to_owned());
        }
        Ok(Self {
            text: canonical.to_owned(),
            origin: url.origin().ascii_serialization(),
            path,
            https,
            loopback,
            slash: trimmed != text,
        })
    }

    /// `http://localhost` at a port: what a server is called that nobody gave a name.
    pub(super) fn on_localhost(port: u16) -> Self {
        let origin = if port == 80 { "http://localhost".to_owned() } else { format!("http://localhost:{port}") };
        Self { text: origin.clone(), origin, path: String::new(), https: false, loopback: true, slash: false }
    }

    /// The issuer as it stands in tokens and metadata, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port, as in an `Origin` header.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether a request with this `Host` header was sent to the issuer's own name and port.
    pub fn is_at(&self, host: &str) -> bool {
        self.origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    }

    /// The path: empty, or beginning and not ending with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether browsers reach it by TLS: decides cookie prefixes and HSTS.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether the configuration writes it with a trailing slash, which is not part of it: clients that were given that spelling do not match.
    pub fn was_written_with_slash(&self) -> bool {
        self.slash
    }

    /// Whether its host is a loopback host.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// A URL below the issuer; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_origin_and_path() {
        let issuer = Issuer::parse("https://id.example.com:8443/tenant/a").unwrap();
        assert_eq!(issuer.as_str(), "https://id.example.com:8443/tenant/a");
        assert_eq!(issuer.origin(), "https://id.example.com:8443");
        assert_eq!(issuer.path(), "/tenant/a");
        assert!(issuer.is_https() && !issuer.is_loopback());
    }

    #[test]
    fn a_trailing_slash_is_dropped() {
        for text in ["https://id.example.com/", "https://id.example.com"] {
            let issuer = Issuer::parse(text).unwrap();
            assert_eq!((issuer.as_str(), issuer.path()), ("https://id.example.com", ""));
        }
        assert_eq!(Issuer::parse("https://id.example.com/a/").unwrap().path(), "/a");
    }

    #[test]
    fn http_is_for_loopback_alone() {
        for text in ["http://localhost:8080", "http://127.0.0.1", "http://127.9.9.9:1", "http://[::1]:8080", "http://app.localhost"]
        {
            assert!(Issuer::parse(text).unwrap().is_loopback(), "{text}");
        }
        for text in
            ["http://id.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://0.0.0.0:8080", "http://[::]"]
        {
            assert!(Issuer::parse(text).unwrap_err().contains("https"), "{text}");
        }
    }

    #[test]
    fn what_discovery_forbids_or_parsers_would_repair_is_refused() {
        for text in [
            "https://id.example.com?x=1",
            "https://id.example.com/?",
            "https://id.example.com/#",
            "https://user@id.example.com",
            "https://:@id.example.com",
            "https://ID.example.com",
            "https://id.example.com:443",
            "https://id.example.com/a/../b",
            "https://id.example.com/a//",
            "https://id.example.com//a",
            "https:/id.example.com",
            " https://id.example.com",
            "https://id.exam\tple.com",
            "https://id.example.com/%41",
            "http://2130706433",
            "ftp://id.example.com",
            "id.example.com",
            "https://id\"none\".example.com",
            "https://id.example,com",
            "https://id;example.com",
            "/a",
            "",
        ] {
            assert!(Issuer::parse(text).is_err(), "{text}");
        }
    }
}
