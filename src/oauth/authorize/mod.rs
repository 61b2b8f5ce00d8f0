//! The authorization endpoint (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2), in two steps that the types keep apart.
//!
//! [`prove`] ties the request to a client and one of its redirect URIs; until that holds, an error is a page of our own and never
//! a redirect (security.md R-13). [`check`] runs THE TABLE of [`checks`]; its errors go to the client. What the person has to see
//! is for [`decision`] to say, and how the answer travels for [`response`].

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
#[cfg(test)]
mod scene;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::params::Params;
use super::refusal::Reason;
use super::resource::Catalogue;

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
    /// As sent. Not supported, so nothing reads it yet.
    pub claims: Option<String>,
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
    let request = checks::Request { params, client, catalogue, allowed: client.allowed_scopes(catalogue.resources()) };
    let mut out = ValidatedAuthorize {
        client_id: redirect.client_id.clone(),
        redirect_uri: redirect.redirect_uri.clone(),
        redirect_uri_sent: redirect.sent,
        state: redirect.state.clone(),
        nonce: params.get("nonce").map(str::to_owned),
        response_mode: redirect.response_mode,
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
        claims: None,
    };
    for row in &checks::TABLE {
        (row.check)(&request, &mut out)?;
    }
    Ok(out)
}

impl ValidatedAuthorize {
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
    use super::*;

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
}
