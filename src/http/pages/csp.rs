//! The Content-Security-Policy of the pages (CSP Level 3; security.md R-52): nothing is allowed but our own style sheet and
//! images, and forms that lead to us, and where this very request is going to be redirected.
//!
//! Chromium and WebKit apply `form-action` to every redirect that follows a form, the client's own further hops included, and what
//! is blocked is a button that does nothing. So a page whose form may be answered with a redirect names the client's origin, and
//! [`super::leave`] sees to it that browsers leave by a page and not by a redirect.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use url::{Host, Url};

/// The policy of one page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    form_target: Option<String>,
    /// Where the client may send the person on to after its own page took the form.
    form_hops: Option<&'static str>,
    script: Script,
    /// Origins whose pages are shown in frames.
    frames: Vec<String>,
    sandboxed: bool,
}

/// Programs of others run at an origin of their own: no cookie, no storage, no request, no form, no window, and nothing of ours can be read.
/// Style attributes are all that they get beyond the strict policy.
const SANDBOX: HeaderValue = HeaderValue::from_static(
    "sandbox allow-scripts; default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'none'; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
);

/// Which script a page may run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Script {
    #[default]
    None,
    /// One inline script with this text.
    Inline(&'static str),
    /// Our own script files, which may talk to us alone.
    Own,
}

impl Policy {
    /// For a page whose forms lead to this server and nowhere else.
    pub fn strict() -> Self {
        Self::default()
    }

    /// For a page whose form may be answered with a redirect to `redirect_uri`. It must have been proved to be registered.
    pub fn redirecting_to(redirect_uri: &str) -> Self {
        Self { form_target: source_of(redirect_uri), ..Self::default() }
    }

    /// For the form_post page: the form leads to the client's `action`, and the one inline script sends it. The client may answer
    /// with redirects of its own to other origins; they are not ours to forbid, and the page holds nothing else.
    pub fn posting_to(action: &str, script: &'static str) -> Self {
        let form_target = source_of(action);
        let form_hops = form_target.as_deref().map(|target| if target.starts_with("http:") { " http: https:" } else { " https:" });
        Self { form_target, form_hops, script: Script::Inline(script), ..Self::default() }
    }

    /// For the demo relying party: our own script files, and requests to this server.
    pub fn with_own_scripts() -> Self {
        Self { script: Script::Own, ..Self::default() }
    }

    /// For the page after signing out, which shows these pages of clients in frames: their origins, which were proved to be registered, and
    /// nothing else.
    pub fn framing(pages: &[String]) -> Self {
        let mut frames: Vec<String> =
            pages.iter().filter_map(|page| source_of(page)).filter(|source| source.contains("://")).collect();
        frames.sort();
        frames.dedup();
        Self { script: if frames.is_empty() { Script::None } else { Script::Own }, frames, ..Self::default() }
    }

    /// The same, and our own script files.
    #[must_use]
    pub fn and_own_scripts(mut self) -> Self {
        self.script = Script::Own;
        self
    }

    /// For a page that shows what everybody may know with somebody else's program.
    pub fn sandbox() -> Self {
        Self { sandboxed: true, ..Self::default() }
    }

    /// The header's value.
    pub fn header(&self) -> HeaderValue {
        if self.sandboxed {
            return SANDBOX;
        }
        let script = match &self.script {
            Script::None => String::new(),
            Script::Inline(text) => format!(" script-src 'sha256-{}';", STANDARD.encode(Sha256::digest(text.as_bytes()))),
            Script::Own => " script-src 'self'; connect-src 'self';".to_owned(),
        };
        let target = self.form_target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
        let hops = self.form_hops.unwrap_or_default();
        let frames = if self.frames.is_empty() { String::new() } else { format!(" frame-src {};", self.frames.join(" ")) };
        let text = format!(
            "default-src 'none'; style-src 'self'; img-src 'self';{script}{frames} form-action 'self'{target}{hops}; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
    }
}

/// The CSP source expression that matches a redirect URI: its origin, or its scheme for an app's own scheme. `None` for what
/// could never be a redirect URI. The grammar has no place for an IPv6 address, so a loopback one is named by its scheme.
fn source_of(redirect_uri: &str) -> Option<String> {
    let url = Url::parse(redirect_uri).ok()?;
    let source = match (url.scheme(), url.host()) {
        ("http", Some(Host::Ipv6(_))) => "http:".to_owned(),
        ("https", Some(Host::Ipv6(_))) => "https:".to_owned(),
        ("http" | "https", Some(_)) => url.origin().ascii_serialization(),
        ("http" | "https", None) | ("javascript" | "data" | "blob" | "file" | "about", _) => return None,
        (scheme, _) => format!("{scheme}:"),
    };
    source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+:/_".contains(&byte)).then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form_action(redirect_uri: &str) -> String {
        let header = Policy::redirecting_to(redirect_uri).header();
        let text = header.to_str().unwrap();
        text.split("; ").find(|part| part.starts_with("form-action")).unwrap().to_owned()
    }

    #[test]
    fn the_strict_policy_allows_nothing_but_our_own() {
        assert_eq!(
            Policy::strict().header(),
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
    }

    #[test]
    fn a_sandbox_is_at_no_origin_and_reaches_nobody() {
        let header = Policy::sandbox().header();
        let directives: Vec<&str> = header.to_str().unwrap().split("; ").collect();
        assert_eq!(directives[0], "sandbox allow-scripts");
        for nothing in ["default-src", "connect-src", "form-action", "base-uri", "frame-ancestors"] {
            assert!(directives.contains(&format!("{nothing} 'none'").as_str()), "{nothing}");
        }
        assert!(directives.contains(&"script-src 'self'"));
    }

    #[test]
    fn form_action_names_the_origin_or_scheme_of_the_redirect() {
        assert_eq!(form_action("https://app.example.com/cb?x=1"), "form-action 'self' https://app.example.com");
        assert_eq!(form_action("https://app.example.com:8443/cb"), "form-action 'self' https://app.example.com:8443");
        assert_eq!(form_action("http://127.0.0.1:4711/cb"), "form-action 'self' http://127.0.0.1:4711");
        assert_eq!(form_action("http://[::1]:4711/cb"), "form-action 'self' http:");
        assert_eq!(form_action("com.example.app:/cb"), "form-action 'self' com.example.app:");
    }

    #[test]
    fn frames_show_the_origins_of_their_pages_and_nothing_else() {
        let frames = |pages: &[&str]| {
            let pages: Vec<String> = pages.iter().map(|page| (*page).to_owned()).collect();
            let header = Policy::framing(&pages).header();
            header.to_str().unwrap().split("; ").find(|part| part.starts_with("frame-src")).map(str::to_owned)
        };
        let two = ["https://b.test:8443/out?sid=1", "http://localhost:3000/out", "https://b.test:8443/other"];
        assert_eq!(frames(&two).as_deref(), Some("frame-src http://localhost:3000 https://b.test:8443"));
        assert_eq!(frames(&[]), None);
        for bad in ["javascript:alert(1)", "data:text/html,x", "https://[::1]/out", "com.example:/out"] {
            assert_eq!(frames(&[bad]), None, "{bad}");
        }
        assert_eq!(Policy::framing(&[]), Policy::strict());
    }

    #[test]
    fn a_redirect_uri_cannot_add_to_the_policy() {
        for bad in ["https://a.test; script-src *", "javascript:alert(1)", "data:text/html,x", "https://a.test'/x", "", "x y:"] {
            let policy = form_action(bad);
            assert!(policy == "form-action 'self'" || policy == "form-action 'self' https://a.test", "{bad}: {policy}");
        }
    }

    #[test]
    fn an_inline_script_is_allowed_by_its_hash_alone() {
        let header = Policy::posting_to("https://app.example.com/cb", "x").header();
        let text = header.to_str().unwrap();
        assert!(text.contains(" script-src 'sha256-LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=';"), "{text}");
        assert!(text.contains(" form-action 'self' https://app.example.com https:; "), "{text}");
        assert!(!text.contains("unsafe-inline"));
    }
}
