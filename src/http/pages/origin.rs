//! Where a form came from (security.md R-51): Sec-Fetch-Site (Fetch Metadata §2.3) and Origin (RFC 6454, Fetch §3.2) must say that
//! it was a page of ours. The CSRF token is the other lock; each holds without the other.

use http::{HeaderMap, HeaderName};

use crate::oauth::refusal::Reason;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a form that another site sent. `issuer_origin` is the origin of the configured issuer, such as `https://id.example.com`.
///
/// Our pages carry `Referrer-Policy: no-referrer`, for which browsers send `Origin: null` with a form even to the page's own site
/// (Fetch §3.2). So `null` says nothing: then Sec-Fetch-Site has to say it, unless the issuer is http on loopback, where Safari
/// sends no Sec-Fetch-Site. A client that sends neither header is no browser that others could trick.
pub fn check(issuer_origin: &str, headers: &HeaderMap) -> Result<(), Reason> {
    let origin = only(headers, &http::header::ORIGIN)?;
    let site = only(headers, &SEC_FETCH_SITE)?;
    let from_us = match (site, origin) {
        (Some("same-origin" | "none"), None | Some("null")) => true,
        (Some("same-origin" | "none") | None, Some(origin)) if origin == issuer_origin => true,
        (None, Some("null")) => issuer_origin.starts_with("http://"),
        (None, None) => true,
        (Some(_), _) | (None, Some(_)) => false,
    };
    if from_us { Ok(()) } else { Err(Reason::CrossSiteForm { origin: origin.map(shorten) }) }
}

/// The header's one value; two are refused.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Reason> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Reason::CrossSiteForm { origin: None });
    }
    first.map(|value| value.to_str().map_err(|_| Reason::CrossSiteForm { origin: None })).transpose()
}

fn shorten(origin: &str) -> String {
    origin.chars().take(255).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(issuer: &str, site: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(site) = site {
            headers.insert(SEC_FETCH_SITE, site.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(http::header::ORIGIN, origin.parse().unwrap());
        }
        check(issuer, &headers).is_ok()
    }

    #[test]
    fn our_own_forms_pass() {
        let issuer = "https://id.example.com";
        assert!(allowed(issuer, Some("same-origin"), Some(issuer)));
        assert!(allowed(issuer, Some("same-origin"), Some("null")));
        assert!(allowed(issuer, Some("none"), None));
        assert!(allowed(issuer, None, Some(issuer)));
        assert!(allowed(issuer, None, None));
        assert!(allowed("http://localhost:8080", None, Some("null")));
    }

    #[test]
    fn foreign_forms_are_refused() {
        let issuer = "https://id.example.com";
        for (site, origin) in [
            (Some("cross-site"), Some("https://evil.test")),
            (Some("cross-site"), None),
            (Some("same-site"), Some("https://www.example.com")),
            (Some("cross-site"), Some(issuer)),
            (Some("same-origin"), Some("https://evil.test")),
            (None, Some("https://evil.test")),
            (None, Some("null")),
            (None, Some("https://id.example.com.evil.test")),
            (None, Some("https://id.example.com:8443")),
            (None, Some("http://id.example.com")),
            (Some("Same-Origin"), Some(issuer)),
        ] {
            assert!(!allowed(issuer, site, origin), "{site:?} {origin:?}");
        }
    }

    #[test]
    fn two_origins_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(http::header::ORIGIN, "https://id.example.com".parse().unwrap());
        headers.append(http::header::ORIGIN, "https://evil.test".parse().unwrap());
        assert!(check("https://id.example.com", &headers).is_err());
    }
}
