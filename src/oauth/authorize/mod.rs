//! The authorization endpoint (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2), in two steps that the types keep apart.
//!
//! [`prove`] ties the request to a client and one of its redirect URIs; until that holds, an error is a page of our own and never
//! a redirect (security.md R-13). [`check`] runs THE TABLE of [`checks`]; its errors go to the client. What the person has to see
//! is for [`decision`] to say, and how the answer travels for [`response`].

mod check_claims;
mod check_credentials;
mod check_grant_type;
mod check_hints;
mod check_max_age;
mod check_pkce;
mod check_prompt;
mod check_request_object;
mod check_resource;
mod check_response_mode;
mod check_response_type;
mod check_scope;
pub mod checks;
pub mod decision;
mod prove;
pub mod response;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the fuzzers need some of them"))]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "facts for tests and fuzzers, which may fail loudly")]
pub(crate) mod scene;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::params::Params;
use super::redirect_uri;
use super::refusal::Reason;
use super::resource::Catalogue;
use crate::oidc::claims_request::ClaimsRequest;

pub use prove::{ProvedRedirect, prove};

/// An authorization request that passed every check. Made by [`check`], or read back as it was stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatedAuthorize {
    pub client_id: String,
    /// Where the answer goes: as it was sent, or the only registered one.
    pub redirect_uri: String,
    /// The request carried redirect_uri, so the token request must repeat it (RFC 6749 §4.1.3).
    pub redirect_uri_sent: bool,
    /// Echoed byte for byte.
    pub state: Option<String>,
    /// Echoed in the ID token.
    pub nonce: Option<String>,
    pub response_mode: ResponseMode,
    /// What is asked for, in the order of the request. What is granted may be less.
    pub scopes: Vec<String>,
    /// RFC 8707; empty if none was named.
    pub resources: Vec<String>,
    /// S256; `None` only for clients with `require_pkce: false`.
    pub code_challenge: Option<String>,
    pub prompt: Vec<Prompt>,
    /// Seconds: the request's, else the client's default_max_age.
    pub max_age: Option<u64>,
    pub login_hint: Option<String>,
    /// As sent; whether it is an ID token of ours is for the caller to find out.
    pub id_token_hint: Option<String>,
    pub ui_locales: Option<String>,
    /// In order of preference; voluntary (OpenID Connect Core §3.1.2.1).
    pub acr_values: Vec<String>,
    /// One of page, popup, touch, wap.
    pub display: Option<String>,
    /// The claims parameter (OpenID Connect Core §5.5). What is granted may be less.
    #[serde(default)]
    pub asked_claims: ClaimsRequest,
    /// The person must be one of these, by the claims parameter; empty: nobody in particular.
    #[serde(default)]
    pub subs: Vec<String>,
    /// One of these levels is a condition (§5.5.1.1); empty: none is.
    #[serde(default)]
    pub essential_acr: Vec<String>,
}

/// How the answer travels (OAuth 2.0 Multiple Response Types §2.1, Form Post Response Mode).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    #[default]
    Query,
    FormPost,
}

/// OpenID Connect Core §3.1.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    None,
    Login,
    Consent,
    SelectAccount,
}

impl ResponseMode {
    /// Every mode that is offered; discovery is built from it.
    pub const ALL: [Self; 2] = [Self::Query, Self::FormPost];

    /// As in `response_mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::FormPost => "form_post",
        }
    }
}

impl ResponseMode {
    /// Can an answer in this mode arrive there? An app's own scheme takes an address from the browser, never the body of a form.
    pub fn reaches(self, redirect_uri: &str) -> bool {
        match self {
            Self::Query => true,
            Self::FormPost => !redirect_uri::is_private_use(redirect_uri),
        }
    }
}

impl Prompt {
    /// Every value that is understood; discovery is built from it.
    pub const ALL: [Self; 4] = [Self::None, Self::Login, Self::Consent, Self::SelectAccount];

    /// As in `prompt`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::Consent => "consent",
            Self::SelectAccount => "select_account",
        }
    }
}

/// Runs every check of the table, in its order.
///
/// # Errors
/// The first refusal; it goes to the client by [`response::failure`].
pub fn check(
    params: &Params,
    client: &Client,
    redirect: &ProvedRedirect,
    catalogue: &Catalogue,
) -> Result<ValidatedAuthorize, Reason> {
    run(params, client, redirect, catalogue, false)
}

/// The same for parameters that were inside a request object which the client has signed.
///
/// # Errors
/// As [`check`].
pub fn check_signed(
    params: &Params,
    client: &Client,
    redirect: &ProvedRedirect,
    catalogue: &Catalogue,
) -> Result<ValidatedAuthorize, Reason> {
    run(params, client, redirect, catalogue, true)
}

fn run(
    params: &Params,
    client: &Client,
    redirect: &ProvedRedirect,
    catalogue: &Catalogue,
    signed: bool,
) -> Result<ValidatedAuthorize, Reason> {
    let request = checks::Request { params, client, signed, catalogue, allowed: client.allowed_scopes(catalogue.resources()) };
    let mut out = ValidatedAuthorize {
        client_id: redirect.client_id.clone(),
        redirect_uri: redirect.redirect_uri.clone(),
        redirect_uri_sent: redirect.sent,
        state: redirect.state.clone(),
        nonce: params.get("nonce").map(str::to_owned),
        response_mode: redirect.response_mode,
        ..ValidatedAuthorize::blank()
    };
    for row in &checks::TABLE {
        (row.check)(&request, &mut out)?;
    }
    Ok(out)
}

impl ValidatedAuthorize {
    /// Nothing asked for, for the checks to fill in.
    fn blank() -> Self {
        Self {
            client_id: String::new(),
            redirect_uri: String::new(),
            redirect_uri_sent: false,
            state: None,
            nonce: None,
            response_mode: ResponseMode::default(),
            scopes: Vec::new(),
            resources: Vec::new(),
            code_challenge: None,
            prompt: Vec::new(),
            max_age: None,
            login_hint: None,
            id_token_hint: None,
            ui_locales: None,
            acr_values: Vec::new(),
            display: None,
            asked_claims: ClaimsRequest::default(),
            subs: Vec::new(),
            essential_acr: Vec::new(),
        }
    }

    /// Where errors that come up later go.
    pub fn redirect(&self) -> ProvedRedirect {
        ProvedRedirect {
            client_id: self.client_id.clone(),
            redirect_uri: self.redirect_uri.clone(),
            sent: self.redirect_uri_sent,
            state: self.state.clone(),
            response_mode: self.response_mode,
        }
    }

    /// The levels that the client wants to be told of: those that are a condition, else those that it wishes for.
    pub fn wanted_acr(&self) -> &[String] {
        if self.essential_acr.is_empty() { &self.acr_values } else { &self.essential_acr }
    }

    /// Did the request ask for this prompt?
    pub fn prompts(&self, prompt: Prompt) -> bool {
        self.prompt.contains(&prompt)
    }
}

/// Without state, hints and challenge: they belong to the client and the person.
impl fmt::Debug for ValidatedAuthorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatedAuthorize")
            .field("client_id", &self.client_id)
            .field("redirect_uri", &self.redirect_uri)
            .field("response_mode", &self.response_mode)
            .field("scopes", &self.scopes)
            .field("resources", &self.resources)
            .field("prompt", &self.prompt)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oauth::client::Client;

    #[test]
    fn a_stored_request_is_read_back_as_it_was() {
        let request =
            scene::request(&scene::web(), "openid", "&state=a%22b&nonce=n&max_age=5&prompt=login+consent&response_mode=form_post");
        let stored = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<ValidatedAuthorize>(&stored).unwrap(), request);
    }

    #[test]
    fn debug_keeps_what_belongs_to_the_client_to_itself() {
        let request =
            scene::request(&scene::web(), "openid", "&state=SECRET1&login_hint=SECRET2&id_token_hint=SECRET3&nonce=SECRET4");
        assert!(!format!("{request:?}").contains("SECRET"));
    }

    /// A parameter that is sometimes right, sometimes nearly, sometimes hostile.
    fn parameter() -> impl Strategy<Value = (String, String)> {
        let name = proptest::sample::select(vec![
            "client_id",
            "redirect_uri",
            "response_type",
            "scope",
            "state",
            "nonce",
            "response_mode",
            "code_challenge",
            "code_challenge_method",
            "prompt",
            "max_age",
            "resource",
            "request",
            "request_uri",
            "claims",
            "display",
            "login_hint",
        ]);
        let value = prop_oneof![
            proptest::sample::select(vec![
                "web",
                "spa",
                "native",
                "https://client.example/cb",
                "https://spa.example/",
                "http://127.0.0.1:8/cb",
                "https://evil.test/",
                "https://client.example/cb/",
                "https://client.example\\@evil.test/cb",
                "//evil.test",
                "code",
                "token",
                "openid",
                "openid offline_access",
                "form_post",
                "fragment",
                "S256",
                "plain",
                "none",
                "login consent",
                "0",
                "-1",
                "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
                "https://orders.example",
            ])
            .prop_map(str::to_owned),
            "\\PC{0,30}",
        ];
        (name.prop_map(str::to_owned), value)
    }

    fn escape(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    proptest! {
        /// at once: whatever comes, the browser is only ever sent to a registered URI of the named client, and a
        /// request that passes has what every request needs.
        #[test]
        fn no_request_leads_the_browser_astray(sent in proptest::collection::vec(parameter(), 0..12), base: bool) {
            let mut pairs: Vec<(String, String)> = Vec::new();
            if base {
                let right = scene::query("web", "openid", "");
                pairs.extend(right.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            for (name, value) in sent {
                pairs.retain(|(known, _)| *known != name);
                pairs.push((name, value));
            }
            let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
            let Ok(params) = Params::parse_query(&query.join("&")) else { return Ok(()) };
            let clients = [scene::web(), scene::spa(), scene::native()];
            let client: Option<&Client> = clients.iter().find(|client| params.get("client_id") == Some(client.client_id.as_str()));
            let Ok(redirect) = prove(&params, client) else { return Ok(()) };
            let client = client.expect("nothing is proved without a client");
            let loopback = client.client_id == "native" && redirect.redirect_uri == "http://127.0.0.1:8/cb";
            prop_assert!(loopback || client.metadata.redirect_uris.contains(&redirect.redirect_uri));
            let outcome = check(&params, client, &redirect, &scene::catalogue());
            let delivery = match &outcome {
                Ok(request) => {
                    prop_assert_eq!(params.get("response_type"), Some("code"));
                    prop_assert!(request.code_challenge.is_some());
                    prop_assert!(!request.prompts(Prompt::None) || request.prompt.len() == 1);
                    prop_assert_eq!(request.redirect(), redirect.clone());
                    response::success(request, scene::ISSUER, "c")
                }
                Err(reason) => response::failure(&redirect, scene::ISSUER, reason),
            };
            let target = match delivery {
                response::Delivery::Redirect(target) => target,
                response::Delivery::FormPost { action, .. } => action,
            };
            prop_assert!(target.starts_with(&redirect.redirect_uri), "{}", target);
            prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "a header value");
        }
    }
}
