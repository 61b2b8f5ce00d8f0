//! What a person is shown of the app that sent them: its name, where it will send them, and its links.
//!
//! A client chooses its own metadata, so nothing of it is trusted here: text is escaped by the templates, a URL becomes a link
//! only if it is https (security.md R-53), and logos come through this server (docs/decisions/logos-through-the-server.md).

use url::{Host, Url};

use crate::http::browser::paths;
use crate::oauth::client::Client;
use crate::printable::honest;
use crate::secret::Digest;

use super::i18n::Lang;

/// Contacts that are shown.
const MOST_CONTACTS: usize = 3;

/// A client as the pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSeen {
    /// Its `client_name`, or its id.
    pub name: String,
    /// Where it will send the person.
    pub destination: Destination,
    pub website: Option<HttpsLink>,
    pub privacy_policy: Option<HttpsLink>,
    pub terms_of_service: Option<HttpsLink>,
    /// Whom to ask: addresses of the client's own choice, to be shown as text.
    pub contacts: Vec<String>,
    /// Where its picture is, below the issuer.
    pub logo: Option<String>,
    /// It registered itself, and nobody vouched for it.
    pub unverified: bool,
}

impl ClientSeen {
    /// The client with the redirect URI that this request proved.
    pub fn of(client: &Client, redirect_uri: &str) -> Self {
        let metadata = &client.metadata;
        let link = |url: &Option<String>| url.as_deref().and_then(HttpsLink::of);
        Self {
            name: shown_name(metadata.client_name.as_deref(), &client.client_id),
            destination: Destination::of(redirect_uri),
            website: link(&metadata.client_uri),
            privacy_policy: link(&metadata.policy_uri),
            terms_of_service: link(&metadata.tos_uri),
            contacts: metadata.contacts.iter().take(MOST_CONTACTS).map(|contact| shown_name(Some(contact), "")).collect(),
            logo: link(&metadata.logo_uri).map(|url| logo(&client.client_id, &url)),
            unverified: client.registered.as_ref().is_some_and(|registered| registered.initial_access_token.is_none()),
        }
    }

    /// The client of a device, which sends nobody anywhere.
    pub fn of_device(client: &Client) -> Self {
        Self { destination: Destination::ThisDevice, ..Self::of(client, "") }
    }

    /// The first letter of the name, for the tile beside it.
    pub fn initial(&self) -> String {
        initial(&self.name)
    }

    /// Whether there is a link, or somebody to ask, to show.
    pub fn has_links(&self) -> bool {
        self.website.is_some() || self.privacy_policy.is_some() || self.terms_of_service.is_some() || !self.contacts.is_empty()
    }
}

/// The path of a client's picture: another one for another picture, since browsers keep it for a while.
fn logo(client_id: &str, url: &HttpsLink) -> String {
    let version: String = Digest::of(url.as_str().as_bytes()).as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}/{client_id}?v={version}", paths::LOGO)
}

/// A name's first letter or digit, upper-cased; nothing if there is none.
pub fn initial(name: &str) -> String {
    name.chars().find(|letter| letter.is_alphanumeric()).map(|letter| letter.to_uppercase().collect()).unwrap_or_default()
}

/// The name to show: what was registered, without the characters that would let it pretend, or the client's id.
pub fn shown_name(registered: Option<&str>, client_id: &str) -> String {
    let name: String = honest(registered.unwrap_or_default()).chars().take(100).collect();
    if name.trim().is_empty() { client_id.to_owned() } else { name.trim().to_owned() }
}

/// Where a redirect URI leads, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A web site, by its host (and port, unless it is the usual one).
    Site(String),
    /// A loopback address: something that runs on this device (RFC 8252 §7.3).
    ThisDevice,
    /// A private-use scheme: an app on this device (RFC 8252 §7.1).
    App(String),
}

impl Destination {
    /// Of a registered redirect URI. International host names are shown in their ASCII form, so that none looks like another.
    pub fn of(redirect_uri: &str) -> Self {
        let Ok(url) = Url::parse(redirect_uri) else { return Destination::ThisDevice };
        if !matches!(url.scheme(), "https" | "http") {
            return Destination::App(url.scheme().to_owned());
        }
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => true,
        };
        match (loopback, url.host_str(), url.port()) {
            (true, _, _) | (_, None, _) => Destination::ThisDevice,
            (false, Some(host), None) => Destination::Site(host.to_owned()),
            (false, Some(host), Some(port)) => Destination::Site(format!("{host}:{port}")),
        }
    }

    /// In words of this language.
    pub fn words(&self, lang: Lang) -> String {
        let texts = lang.texts();
        match self {
            Destination::Site(host) => host.clone(),
            Destination::ThisDevice => texts.this_device.to_owned(),
            Destination::App(scheme) => format!("{}{scheme}{}", texts.app_scheme.0, texts.app_scheme.1),
        }
    }
}

/// A URL that a client chose and that may be shown as a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsLink(String);

impl HttpsLink {
    /// `None` unless it is an https URL with a host and without user info.
    pub fn of(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let plain = url.scheme() == "https" && url.has_host() && url.username().is_empty() && url.password().is_none();
        plain.then(|| Self(url.into()))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its host, and its port if it is not the usual one: international names in their ASCII form.
    pub fn place(&self) -> &str {
        self.0.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_urls_become_links() {
        assert_eq!(HttpsLink::of("https://a.test/x?y").map(|link| link.0), Some("https://a.test/x?y".to_owned()));
        for bad in [
            "http://a.test",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "//a.test",
            "https://u:p@a.test",
            "",
        ] {
            assert_eq!(HttpsLink::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_link_tells_where_it_leads() {
        let place = |url: &str| HttpsLink::of(url).unwrap().place().to_owned();
        assert_eq!(place("https://a.test/privacy?x#y"), "a.test");
        assert_eq!(place("https://a.test:8443"), "a.test:8443");
        assert_eq!(place("https://bücher.example?x"), "xn--bcher-kva.example");
        assert_eq!(place("https://a.test\\@b.test/"), "a.test");
    }

    #[test]
    fn a_destination_is_named_by_what_matters() {
        assert_eq!(Destination::of("https://app.example.com/cb"), Destination::Site("app.example.com".into()));
        assert_eq!(Destination::of("https://app.example.com:8443/cb"), Destination::Site("app.example.com:8443".into()));
        assert_eq!(Destination::of("https://bücher.example/cb"), Destination::Site("xn--bcher-kva.example".into()));
        assert_eq!(Destination::of("http://127.0.0.1:4711/cb"), Destination::ThisDevice);
        assert_eq!(Destination::of("http://[::1]/cb"), Destination::ThisDevice);
        assert_eq!(Destination::of("com.example.app:/cb"), Destination::App("com.example.app".into()));
    }

    #[test]
    fn a_name_cannot_turn_the_text_around() {
        assert_eq!(shown_name(Some("Pay\u{202E}lap"), "c1"), "Paylap");
        assert_eq!(shown_name(Some(" \u{200B} "), "c1"), "c1");
        assert_eq!(shown_name(None, "c1"), "c1");
        assert_eq!(initial("— ärzte"), "Ä");
    }
}
