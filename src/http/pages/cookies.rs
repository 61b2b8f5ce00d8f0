//! The two cookies of the pages (RFC 6265bis; design 7): which session is signed in here, and which browser this is.
//!
//! On an https issuer both carry the `__Host-` prefix and Secure: no other host and no plain connection can set them. On an http
//! loopback issuer they go without, since Safari keeps no Secure cookie there. Both are HttpOnly and SameSite=Lax, path `/`.
//!
//! A browser that restores several tabs asks for all of them before the first answer gives it a cookie. Each answer then binds the browser
//! under a name of its own, so that none takes the place of another, and every one of them is good.

use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::secret::{Digest, Secret};

/// More cookies than that are not read.
const MOST_BINDINGS: usize = 8;

/// The cookies of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookies {
    https: bool,
}

/// Which cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The browser session: a bearer value, stored as a digest.
    Session,
    /// Which browser this is, signed in or not: what interactions and CSRF tokens are bound to.
    Browser,
}

impl Cookies {
    /// For an issuer with this scheme.
    pub const fn new(issuer_is_https: bool) -> Self {
        Self { https: issuer_is_https }
    }

    /// The cookie's name on the wire.
    pub const fn name(self, name: Name) -> &'static str {
        match (self.https, name) {
            (true, Name::Session) => "__Host-chancery-session",
            (false, Name::Session) => "chancery-session",
            (true, Name::Browser) => "__Host-chancery-browser",
            (false, Name::Browser) => "chancery-browser",
        }
    }

    /// A `Set-Cookie` value. Without `max_age` it lives until the browser is closed. `None` if the value does not fit in a cookie.
    pub fn set(self, name: Name, value: &Secret<String>, max_age: Option<Duration>) -> Option<HeaderValue> {
        let value = value.expose();
        if !is_token(value) {
            return None;
        }
        let age = max_age.map(|age| format!("; Max-Age={}", age.as_secs())).unwrap_or_default();
        let own = match name {
            Name::Session => String::new(),
            Name::Browser => suffix(value),
        };
        let mut header =
            HeaderValue::try_from(format!("{}{own}={value}; Path=/{age}{}", self.name(name), self.attributes())).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// A `Set-Cookie` value that removes the cookie.
    pub fn clear(self, name: Name) -> HeaderValue {
        HeaderValue::try_from(format!("{}=; Path=/; Max-Age=0{}", self.name(name), self.attributes()))
            .unwrap_or(HeaderValue::from_static("chancery=; Max-Age=0"))
    }

    /// The cookie that the browser sent. `None` if there is none, if it is not a value of ours in form, or if several differ:
    /// then somebody else put one there.
    pub fn read(self, name: Name, headers: &HeaderMap) -> Option<Secret<String>> {
        let wanted = self.name(name);
        let mut found: Option<&str> = None;
        for header in headers.get_all(COOKIE) {
            // Byte by byte: another application on this host, or a stranger on one beside it, may have put anything into its own cookies,
            // and ours are to be found all the same.
            for pair in header.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
                let Some(value) = pair.strip_prefix(wanted.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else { continue };
                let value = std::str::from_utf8(value).ok().filter(|value| is_token(value))?;
                if found.is_some_and(|other| other != value) {
                    return None;
                }
                found = Some(value);
            }
        }
        found.map(|value| Secret::new(value.to_owned()))
    }

    /// The values that bind this browser, oldest first as browsers send them; those that are none of ours in form are passed over.
    pub fn bindings(self, headers: &HeaderMap) -> Vec<Secret<String>> {
        let prefix = self.name(Name::Browser);
        let lines = headers.get_all(COOKIE).iter().flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
        let pairs = lines.filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok()?.strip_prefix(prefix)?.split_once('='));
        let ours = pairs.filter(|(own, value)| is_token(value) && *own == suffix(value));
        ours.take(MOST_BINDINGS).map(|(_, value)| Secret::new(value.to_owned())).collect()
    }

    const fn attributes(self) -> &'static str {
        if self.https { "; Secure; HttpOnly; SameSite=Lax" } else { "; HttpOnly; SameSite=Lax" }
    }
}

/// What tells the cookies of one browser apart: the beginning of the value's digest.
fn suffix(value: &str) -> String {
    Digest::of(value.as_bytes()).as_bytes().iter().take(4).fold("-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// 43 characters of base64url: [`crate::entropy::token`].
fn is_token(value: &str) -> bool {
    value.len() == 43 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";
    const TWO: &str = "bbcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

    fn read(https: bool, header: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::try_from(header).unwrap());
        Cookies::new(https).read(Name::Session, &headers).map(|value| value.expose().clone())
    }

    #[test]
    fn an_https_issuer_has_host_cookies() {
        let header = Cookies::new(true).set(Name::Session, &Secret::new(ONE.into()), Some(Duration::from_secs(60))).unwrap();
        assert_eq!(header, format!("__Host-chancery-session={ONE}; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax").as_str());
        assert_eq!(
            Cookies::new(true).clear(Name::Browser),
            "__Host-chancery-browser=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn an_http_loopback_issuer_has_plain_cookies() {
        let header = Cookies::new(false).set(Name::Browser, &Secret::new(ONE.into()), None).unwrap();
        assert_eq!(header, format!("chancery-browser{}={ONE}; Path=/; HttpOnly; SameSite=Lax", suffix(ONE)).as_str());
    }

    #[test]
    fn tabs_that_were_opened_together_each_bind_the_browser() {
        let (one, two) = (suffix(ONE), suffix(TWO));
        assert_ne!(one, two);
        let mut headers = HeaderMap::new();
        // The third has another's name, the fourth no value of ours.
        let line =
            format!("chancery-browser{one}={ONE}; chancery-browser{two}={TWO}; chancery-browser{one}={TWO}; chancery-browser-00=x");
        headers.insert(COOKIE, HeaderValue::try_from(line).unwrap());
        let found: Vec<_> = Cookies::new(false).bindings(&headers).iter().map(|value| value.expose().clone()).collect();
        assert_eq!(found, [ONE, TWO]);
        assert!(Cookies::new(true).bindings(&headers).is_empty());
    }

    #[test]
    fn only_a_value_of_ours_is_read_and_never_one_of_two() {
        assert_eq!(read(true, &format!("a=b; __Host-chancery-session={ONE}")), Some(ONE.into()));
        assert_eq!(read(true, &format!("chancery-session={ONE}")), None);
        assert_eq!(read(true, "__Host-chancery-session=short"), None);
        assert_eq!(read(false, &format!("chancery-session={ONE}; chancery-session={TWO}")), None);
        assert_eq!(read(false, &format!("chancery-session={ONE};chancery-session={ONE}")), Some(ONE.into()));
        assert_eq!(Cookies::new(true).set(Name::Session, &Secret::new("a; b".into()), None), None);
    }

    #[test]
    fn other_peoples_cookies_do_not_hide_ours() {
        let mut headers = HeaderMap::new();
        let line = [b"shop=\xff\xfe; name=\xc3\xbc; =; ;chancery-session=".as_slice(), ONE.as_bytes(), b"; x"].concat();
        headers.append(COOKIE, HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append(COOKIE, HeaderValue::from_bytes(&line).unwrap());
        let found = Cookies::new(false).read(Name::Session, &headers).unwrap();
        assert_eq!(found.expose(), ONE);
        assert!(Cookies::new(false).bindings(&headers).is_empty());
    }
}
