//! Redirect URIs: compared as raw bytes (RFC 9700 §2.1, RFC 6749 §3.1.2), extended as raw text, parsed only to reject one at
//! registration. A URL parser maps many strings to one (security.md X-1), so no decision to redirect ever rests on it.

mod doubt;

use std::fmt::Write as _;

use url::{Host, Url};

pub use doubt::{Doubt, doubts};

/// Longest redirect URI, in bytes.
pub const MAX_LENGTH: usize = 2048;

/// Response parameters that must not stand in a registered URI: an attacker could tell them from ours no better than the client
/// can (security.md R-15).
const RESPONSE_PARAMETERS: [&str; 11] = [
    "access_token",
    "code",
    "error",
    "error_description",
    "expires_in",
    "id_token",
    "iss",
    "response",
    "session_state",
    "state",
    "token_type",
];

/// Schemes that never lead to an application (design 7), whatever the configuration says.
const NEVER: [&str; 16] = [
    "about",
    "blob",
    "chrome",
    "content",
    "data",
    "file",
    "filesystem",
    "ftp",
    "intent",
    "javascript",
    "mailto",
    "resource",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

const LOOPBACK_HOSTS: [&str; 3] = ["http://127.0.0.1", "http://[::1]", "http://localhost"];

/// Does the received URI name this registered one? Byte for byte; the only exception is the port of a registered loopback URI
/// of a native client (RFC 8252 §7.3).
pub fn matches(registered: &str, received: &str, native: bool) -> bool {
    registered == received
        || native
            && match (split_loopback(registered), split_loopback(received)) {
                (Some(registered), Some(received)) => registered == received,
                _ => false,
            }
}

/// The registered URI that the received one names.
pub fn find<'a>(registered: &'a [String], received: &str, native: bool) -> Option<&'a String> {
    registered.iter().find(|uri| matches(uri, received, native))
}

/// An http URI on the loopback interface, over the host's three spellings; the port does not matter.
pub fn is_http_loopback(uri: &str) -> bool {
    split_loopback(uri).is_some()
}

/// A private-use URI scheme (RFC 8252 §7.1): an application, not a web address.
pub fn is_private_use(uri: &str) -> bool {
    !uri.starts_with("https:") && !uri.starts_with("http:")
}

/// May another program on the person's device receive what is sent here? True for private-use schemes and for every loopback
/// address; false for an https address elsewhere, whose owner a certificate proves (RFC 8252 §8.6).
pub fn is_interceptable(uri: &str) -> bool {
    if !uri.starts_with("https://") {
        return true;
    }
    match Url::parse(uri).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => true,
    }
}

/// What a content security policy needs to let a form lead here: `scheme://host:port`, or `scheme:` for private-use schemes.
pub fn origin(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            format!("{scheme}://{authority}")
        }
        _ => format!("{}:", uri.split(':').next().unwrap_or_default()),
    }
}

/// The URI with more query parameters; what it has stays as it is (RFC 6749 §4.1.2). Values are escaped byte by byte, everything
/// but RFC 3986 unreserved characters, so that each arrives exactly as it was.
pub fn with_query(uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut out = uri.to_owned();
    let mut glue = match uri.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    for (name, value) in parameters {
        out.push_str(glue);
        glue = "&";
        out.push_str(name);
        out.push('=');
        escape(value, &mut out);
    }
    out
}

fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Host and everything behind the port of an http loopback URI; `None` for every other URI.
fn split_loopback(uri: &str) -> Option<(&'static str, &str)> {
    let (host, rest) = LOOPBACK_HOSTS.iter().find_map(|host| uri.strip_prefix(host).map(|rest| (*host, rest)))?;
    let tail = match rest.strip_prefix(':') {
        None => rest,
        Some(after) => {
            let end = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
            let (port, tail) = after.split_at_checked(end)?;
            if port.is_empty() || port.starts_with('0') || port.parse::<u16>().is_err() {
                return None;
            }
            tail
        }
    };
    (tail.is_empty() || tail.starts_with('/') || tail.starts_with('?')).then_some((host, tail))
}

/// May this URI be registered (security.md R-15, design 7)? `schemes` are the private-use schemes without a dot that the
/// configuration permits.
///
/// # Errors
/// What is wrong and what to write instead.
pub fn check_registered(uri: &str, schemes: &[String]) -> Result<(), String> {
    if uri.is_empty() || uri.len() > MAX_LENGTH {
        return Err(format!("must have between 1 and {MAX_LENGTH} bytes"));
    }
    if let Some(bad) = uri.chars().find(|letter| !letter.is_ascii_graphic()) {
        return Err(format!("contains {}; write it percent-encoded, and host names in punycode", bad.escape_unicode()));
    }
    if uri.contains('\\') {
        return Err("contains a backslash, which browsers read as a slash".to_owned());
    }
    if uri.contains('*') {
        return Err("contains a wildcard; register every redirect URI in full".to_owned());
    }
    if uri.contains('#') {
        return Err("contains a fragment, which RFC 6749 section 3.1.2 forbids; remove the # and what follows".to_owned());
    }
    if let Some(at) = uri.find('%').filter(|_| super::params::decode(uri.as_bytes()).is_err()) {
        return Err(format!("contains a broken or forbidden percent-encoding, the first % stands at position {}", at + 1));
    }
    let parsed = Url::parse(uri).map_err(|error| format!("is not an absolute URI: {error}"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("contains a user name or password before the host; remove it".to_owned());
    }
    let (beginning, query) = uri.split_once('?').map_or((uri, None), |(beginning, query)| (beginning, Some(query)));
    if beginning.split('/').any(is_dot_segment) {
        return Err("contains a dot segment; write the path without . and ..".to_owned());
    }
    match parsed.scheme() {
        "https" => check_web(uri, &parsed)?,
        "http" => {
            check_web(uri, &parsed)?;
            if !is_http_loopback(uri) {
                return Err(
                    "uses http off the loopback interface; use https (http is for 127.0.0.1, [::1] and localhost)".to_owned()
                );
            }
        }
        scheme => check_private_use(uri, scheme, schemes)?,
    }
    // what the parser would write differently, a browser would read differently from the bytes that we compare.
    let normal = parsed.as_str();
    let bare_host = query.is_none() && normal.strip_suffix('/') == Some(uri);
    if normal != uri && !bare_host {
        return Err(format!("is not in normal form; browsers read it as {normal}, so register that"));
    }
    for pair in query.unwrap_or_default().split('&') {
        let name = pair.split('=').next().unwrap_or_default();
        let name = super::params::decode(name.as_bytes()).unwrap_or_default();
        if RESPONSE_PARAMETERS.contains(&name.as_str()) {
            return Err(format!(
                "carries the response parameter {name} in its query; the authorization response adds that one itself"
            ));
        }
    }
    Ok(())
}

fn is_dot_segment(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

fn check_web(uri: &str, parsed: &Url) -> Result<(), String> {
    let authority = uri.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()).unwrap_or_default();
    if authority.is_empty() || parsed.host().is_none() {
        return Err("has no host".to_owned());
    }
    // What a URL parser lets stand in a host could end a source expression in a content security policy (`;`, `,`, quotes).
    if let Some(bad) = authority.chars().find(|letter| !letter.is_ascii_alphanumeric() && !".-_:[]@".contains(*letter)) {
        return Err(format!("has the character {bad:?} in its host"));
    }
    // An empty one too.
    if authority.contains('@') {
        return Err("contains a user name or password before the host; remove it".to_owned());
    }
    Ok(())
}

/// RFC 8252 §7.1: a reversed domain name, so that schemes of different makers do not meet; or a scheme that the operator allows.
fn check_private_use(uri: &str, scheme: &str, schemes: &[String]) -> Result<(), String> {
    if NEVER.contains(&scheme) {
        return Err(format!("uses the scheme {scheme}:, which never leads back to an application"));
    }
    if !scheme.contains('.') && !schemes.iter().any(|allowed| allowed == scheme) {
        return Err(format!(
            "uses the private-use scheme {scheme}: without a dot; use a reversed domain name such as com.example.app: (RFC 8252 section 7.1), \
             or let the operator add it to [registration] redirect_schemes"
        ));
    }
    if uri.len() <= scheme.len() + 1 {
        return Err("has nothing behind its scheme".to_owned());
    }
    Ok(())
}

/// Where a received URI first differs from the registered one that is most like it, in words. For the decision record alone.
pub fn first_difference(registered: &[String], received: &str) -> String {
    let common = |uri: &str| uri.chars().zip(received.chars()).take_while(|(a, b)| a == b).count();
    let Some(closest) = registered.iter().min_by_key(|uri| {
        let suffix = uri.chars().rev().zip(received.chars().rev()).take_while(|(a, b)| a == b).count();
        uri.chars().count().max(received.chars().count()).saturating_sub(common(uri) + suffix)
    }) else {
        return "the client has no redirect URI registered at all".to_owned();
    };
    let at = common(closest);
    let rest = |uri: &str| {
        let rest: String = uri.chars().skip(at).take(40).collect();
        if rest.is_empty() { "the end".to_owned() } else { format!("{rest:?}") }
    };
    let place = format!(
        "closest is {closest}; the first difference is at character {}: registered {}, received {}",
        at + 1,
        rest(closest),
        rest(received)
    );
    match kind_of_difference(closest, received) {
        Some(kind) => format!("{place} ({kind})"),
        None => place,
    }
}

/// The mistakes that people make, by name.
fn kind_of_difference(registered: &str, received: &str) -> Option<&'static str> {
    let host_and_path = |uri: &str| uri.split_once("://").map(|(_, rest)| rest.to_owned());
    if registered.eq_ignore_ascii_case(received) {
        return Some("only upper and lower case differ; the comparison is exact");
    }
    if registered.trim_end_matches('/') == received.trim_end_matches('/') {
        return Some("only the trailing slash differs");
    }
    if received.trim() == registered {
        return Some("there is a space around the URI");
    }
    if host_and_path(registered).is_some() && host_and_path(registered) == host_and_path(received) {
        return Some("the scheme differs");
    }
    let beginning = |uri: &str| uri.split(['?', '#']).next().unwrap_or_default().to_owned();
    if beginning(registered) == beginning(received) {
        return Some("the query or fragment differs");
    }
    let parts = |uri: &str| Url::parse(uri).ok().map(|url| (url.host_str().map(str::to_owned), url.port(), url.path().to_owned()));
    let (registered, received) = (parts(registered)?, parts(received)?);
    if registered.0 != received.0 {
        let local = |host: &Option<String>| host.as_deref().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        return Some(if local(&registered.0) && local(&received.0) {
            "localhost, 127.0.0.1 and [::1] are different hosts here"
        } else {
            "the host differs"
        });
    }
    if registered.1 != received.1 {
        return Some("the port differs; only native clients on a loopback address may choose theirs");
    }
    (registered.2 != received.2).then_some("the path differs")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn no_schemes() -> Vec<String> {
        Vec::new()
    }

    #[test]
    fn a_redirect_uri_is_compared_byte_for_byte() {
        let registered = "https://client.example/cb?tenant=1";
        assert!(matches(registered, registered, false));
        for other in [
            "https://client.example/cb",
            "https://client.example/cb?tenant=1&x=2",
            "https://client.example/cb?tenant=2",
            "https://client.example/cb/?tenant=1",
            "https://client.example/CB?tenant=1",
            "HTTPS://client.example/cb?tenant=1",
            "https://client.example:443/cb?tenant=1",
            "https://client.example/x/../cb?tenant=1",
            "https://client.example/%63b?tenant=1",
            "https://client.example\\cb?tenant=1",
            "https:/client.example/cb?tenant=1",
            " https://client.example/cb?tenant=1",
            "https://client.example/cb?tenant=1 ",
            "https://client.example/c\tb?tenant=1",
            "https://client.example./cb?tenant=1",
            "https://client.example@evil.test/cb?tenant=1",
            "https://client.example.evil.test/cb?tenant=1",
            "http://client.example/cb?tenant=1",
            "https://client.example/cb?tenant=1#",
            "",
        ] {
            assert!(!matches(registered, other, false), "{other}");
            assert!(!matches(registered, other, true), "{other}");
        }
    }

    #[test]
    fn the_port_of_a_native_clients_loopback_uri_is_free() {
        for registered in ["http://127.0.0.1/cb", "http://127.0.0.1:3000/cb"] {
            for received in ["http://127.0.0.1/cb", "http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb"] {
                assert!(matches(registered, received, true), "{received}");
            }
            assert!(!matches(registered, "http://127.0.0.1:5/cb", false), "only for native clients");
        }
        assert!(matches("http://[::1]:9/", "http://[::1]:51004/", true));
        assert!(matches("http://localhost", "http://localhost:8080", true));
    }

    #[test]
    fn the_free_port_lets_nothing_else_through() {
        for received in [
            "http://localhost:80/cb",
            "http://[::1]:80/cb",
            "http://127.0.0.1:0/cb",
            "http://127.0.0.1:080/cb",
            "http://127.0.0.1:65536/cb",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:80@evil.test/cb",
            "http://127.0.0.1:80.evil.test/cb",
            "http://127.0.0.1.evil.test/cb",
            "http://127.0.0.1:80/cb/",
            "http://127.0.0.1:80/cb?x",
            "http://127.0.0.1:80/CB",
            "http://127.0.0.1:+80/cb",
            "http://127.0.0.1:8\u{660}/cb",
            "http://127.1:80/cb",
            "http://0x7f.1:80/cb",
            "https://127.0.0.1:80/cb",
            "HTTP://127.0.0.1:80/cb",
        ] {
            assert!(!matches("http://127.0.0.1/cb", received, true), "{received}");
        }
        assert!(!matches("https://client.example/cb", "https://client.example:8443/cb", true), "https keeps its port");
    }

    #[test]
    fn what_may_be_registered() {
        let schemes = vec!["cursor".to_owned()];
        for good in [
            "https://client.example/cb",
            "https://client.example",
            "https://client.example:8443/cb?tenant=1&x=%2F",
            "http://localhost:8080/callback",
            "http://127.0.0.1/",
            "http://[::1]:9/cb",
            "com.example.app:/oauth2redirect",
            "com.example.app://cb",
            "cursor://anysphere.cursor-mcp/oauth/callback",
        ] {
            assert_eq!(check_registered(good, &schemes), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_may_not_be_registered() {
        for bad in [
            "",
            "/cb",
            "//evil.test/cb",
            "https://",
            "https:client.example/cb",
            "https:/client.example/cb",
            "https:\\\\client.example\\cb",
            "http://client.example/cb",
            "http://127.1/cb",
            "http://localhost.evil.test/cb",
            "https://client.example;sandbox/cb",
            "https://client.example,b/cb",
            "https://client.example'/cb",
            "https://client.example!/cb",
            "https://client%2eexample/cb",
            "https://user@client.example/cb",
            "https://user:pw@client.example/cb",
            "https://client.example@evil.test/cb",
            "https://client.example/cb#",
            "https://client.example/cb#x",
            "https://*.example/cb",
            "https://client.example/*",
            "https://client.example/a/../cb",
            "https://client.example/a/./cb",
            "https://client.example/%2e%2e/cb",
            "https://client.example/.%2E/cb",
            "https://client.example/c\tb",
            "https://client.example/c\nb",
            "https://client.example/cb\0",
            " https://client.example/cb",
            "https://client.example/cb%00",
            "https://client.example/cb%0d%0a",
            "https://client.example/cb%zz",
            "https://client.example:443/cb",
            "https://CLIENT.example/cb",
            "HTTPS://client.example/cb",
            "https://clíent.example/cb",
            "https://ｃlient.example/cb",
            "https://client.example/cb?code=1",
            "https://client.example/cb?a=1&st%61te=1",
            "https://client.example/cb?iss=",
            "https://client.example/cb?response=x",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "blob:https://client.example/1",
            "vscode://x",
            "myapp:/cb",
            "com.example.app:",
            "com.example.app://user@cb",
            "com.example.app://user:pw@cb/x",
            "urn:ietf:wg:oauth:2.0:oob",
        ] {
            assert!(check_registered(bad, &no_schemes()).is_err(), "{bad:?}");
        }
        assert!(check_registered("javascript:alert(1)", &["javascript".to_owned()]).is_err(), "whatever the configuration says");
        assert!(check_registered(&format!("https://client.example/{}", "a".repeat(MAX_LENGTH)), &no_schemes()).is_err());
    }

    #[test]
    fn a_query_that_is_there_is_kept() {
        let add = [("code", "a b&c"), ("state", "x=~")];
        assert_eq!(with_query("https://c.test/cb", &add), "https://c.test/cb?code=a%20b%26c&state=x%3D~");
        assert_eq!(with_query("https://c.test/cb?t=1", &add), "https://c.test/cb?t=1&code=a%20b%26c&state=x%3D~");
        assert_eq!(with_query("https://c.test/cb?", &add[..0]), "https://c.test/cb?");
        assert_eq!(with_query("https://c.test/cb?", &add[1..]), "https://c.test/cb?state=x%3D~");
        assert_eq!(with_query("https://c.test/cb?t=1&", &add[1..]), "https://c.test/cb?t=1&state=x%3D~");
        assert_eq!(with_query("com.example.app:/cb", &add[1..]), "com.example.app:/cb?state=x%3D~");
    }

    #[test]
    fn who_else_could_receive_the_answer() {
        for uri in
            ["http://127.0.0.1/cb", "http://localhost:1/", "https://localhost/cb", "https://127.0.0.1:8/cb", "com.example.app:/cb"]
        {
            assert!(is_interceptable(uri), "{uri}");
        }
        assert!(!is_interceptable("https://client.example/cb"));
        assert_eq!(origin("https://client.example:8443/cb?x"), "https://client.example:8443");
        assert_eq!(origin("http://[::1]:9/cb"), "http://[::1]:9");
        assert_eq!(origin("com.example.app:/cb"), "com.example.app:");
        assert_eq!(origin("cursor://x/y"), "cursor:");
    }

    #[test]
    fn the_first_difference_is_told_in_words() {
        let registered = vec!["https://client.example/cb".to_owned(), "https://other.example/very/long/path".to_owned()];
        let told = |received: &str| first_difference(&registered, received);
        assert!(told("https://client.example/cb/").contains("only the trailing slash differs"));
        assert!(told("http://client.example/cb").contains("the scheme differs"));
        assert!(told("https://client.example/CB").contains("upper and lower case"));
        assert!(told("https://client.example/cb?x=1").contains("the query or fragment differs"));
        assert!(told("https://client.example:444/cb").contains("the port differs"));
        assert!(told("https://client.example/callback").contains("the path differs"));
        assert!(told("https://cliemt.example/cb").contains("character 13"));
        assert!(first_difference(&["http://localhost/cb".to_owned()], "http://127.0.0.1/cb").contains("different hosts"));
        assert!(first_difference(&[], "x").contains("no redirect URI"));
    }

    proptest! {
        #[test]
        fn nothing_but_the_same_bytes_matches_a_web_clients_uri(received in ".{0,60}") {
            let registered = "http://127.0.0.1:80/cb";
            prop_assert_eq!(matches(registered, &received, false), received == registered);
        }

        #[test]
        fn a_native_match_has_the_host_and_path_that_were_registered(received in "http://127[.]0[.]0[.]1[:0-9a-z@./?]{0,12}(/cb)?") {
            if matches("http://127.0.0.1/cb", &received, true) {
                let parsed = Url::parse(&received).unwrap();
                prop_assert_eq!(parsed.host_str(), Some("127.0.0.1"));
                prop_assert_eq!(parsed.path(), "/cb");
                prop_assert_eq!(parsed.query(), None);
                prop_assert_eq!(parsed.username(), "");
            }
        }

        #[test]
        fn what_is_registered_is_what_a_browser_would_open(uri in "(https|http|HTTPS|javascript|com[.]x)?:/{0,3}[a-z0-9.@:%\\\\*?#/ -]{0,30}") {
            if check_registered(&uri, &[]).is_ok() {
                let parsed = Url::parse(&uri).unwrap();
                let same = parsed.as_str() == uri || parsed.as_str().strip_suffix('/') == Some(uri.as_str());
                prop_assert!(same, "{} is read as {}", uri, parsed);
                prop_assert_eq!(parsed.username(), "");
                prop_assert_eq!(parsed.fragment(), None);
                let source = origin(&uri);
                prop_assert!(source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._:/[]".contains(&byte)), "{}", source);
            }
        }

        #[test]
        fn escaped_values_arrive_as_they_were(value in "\\PC{0,60}") {
            let uri = with_query("https://c.test/cb?t=1", &[("state", &value)]);
            let state = Url::parse(&uri).unwrap().query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
            prop_assert_eq!(state, Some(value));
        }

        #[test]
        fn telling_the_difference_never_fails(received in ".{0,80}") {
            first_difference(&["https://client.example/cb".to_owned()], &received);
        }
    }
}
