//! What a person recognises a browser by: "Firefox · Windows". Made of the `User-Agent` header (RFC 9110 §10.1.5), which anybody may
//! fill with anything: only words of the two lists below are kept of it, or the name of its first product, short and tame.

use http::HeaderMap;
use http::header::USER_AGENT;

/// Looked for in this order: most browsers also name the ones that they descend from.
const BROWSERS: [(&str, &str); 13] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str); 9] = [
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
    ("BSD", "BSD"),
];

/// More of the header than that is not looked at.
const MOST_BYTES: usize = 512;
/// The longest name of a product that we do not know.
const LONGEST_PRODUCT: usize = 32;

/// The device in a few words; `None` if the browser says nothing that could be shown.
pub fn device(headers: &HeaderMap) -> Option<String> {
    let sent = headers.get(USER_AGENT)?.as_bytes();
    let sent = String::from_utf8_lossy(sent.get(..MOST_BYTES).unwrap_or(sent)).into_owned();
    let known = |list: &[(&str, &'static str)]| list.iter().find(|(mark, _)| sent.contains(mark)).map(|(_, name)| *name);
    let browser = known(&BROWSERS).map(str::to_owned).or_else(|| product(&sent));
    match (browser, known(&SYSTEMS)) {
        (Some(browser), Some(system)) => Some(format!("{browser} · {system}")),
        (Some(browser), None) => Some(browser),
        (None, system) => system.map(str::to_owned),
    }
}

/// The first product token, as far as it is a name.
fn product(sent: &str) -> Option<String> {
    let name = sent.split(['/', ' ']).next().unwrap_or_default();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (is_name && !name.is_empty() && name.len() <= LONGEST_PRODUCT && name != "Mozilla").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn seen(sent: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_bytes(sent).unwrap());
        device(&headers)
    }

    #[test]
    fn a_browser_is_told_from_the_ones_that_it_descends_from() {
        for (sent, expected) in [
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0", "Firefox · Windows"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36 Edg/141.0",
                "Edge · Windows",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36", "Chrome · Linux"),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
                "Safari · macOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0 Mobile/15E148 Safari/604.1",
                "Chrome · iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0 Mobile Safari/537.36",
                "Samsung Internet · Android",
            ),
            ("curl/8.14.1", "curl"),
            ("Mozilla/5.0 (compatible) Linux", "Linux"),
        ] {
            assert_eq!(seen(sent.as_bytes()).as_deref(), Some(expected), "{sent}");
        }
    }

    #[test]
    fn what_is_no_name_is_not_kept() {
        for sent in [
            &b""[..],
            b"Mozilla/5.0",
            b"<script>alert(1)</script>",
            b"\xff\xfe\xfd",
            b"a-name-that-is-longer-than-any-browser-has/1.0",
            "\u{202e}evil/1.0".as_bytes(),
        ] {
            assert_eq!(seen(sent), None, "{sent:?}");
        }
        let long = format!("{} Firefox/1", "x".repeat(10_000));
        assert_eq!(seen(long.as_bytes()), None);
    }
}
