//! A person with an account and a browser, and what it takes to sign in to an application.

use std::collections::BTreeMap;

use url::Url;

use super::browser::{Browser, Page};
use super::client::{Answer, Client, challenge};
use super::site::Site;
use super::unique;

/// Somebody with an account.
pub struct Person {
    pub browser: Browser,
    pub username: String,
    pub password: String,
    pub sub: String,
}

/// What came back to the application's redirect URI.
#[derive(Debug, Clone)]
pub struct Callback {
    pub url: String,
    pub params: BTreeMap<String, String>,
    pub verifier: String,
    pub nonce: String,
}

impl Callback {
    /// The code; fails loudly if the server sent an error instead.
    #[track_caller]
    pub fn code(&self) -> &str {
        self.params.get("code").unwrap_or_else(|| panic!("no code: {}", self.url))
    }

    /// Asserts an error response of RFC 6749 §4.1.2.1 with nothing else in it (openid.md 34).
    #[track_caller]
    pub fn refused(&self, error: &str) -> &Self {
        assert_eq!(self.params.get("error").map(String::as_str), Some(error), "{}", self.url);
        for name in self.params.keys() {
            assert!(["error", "error_description", "error_uri", "state", "iss"].contains(&name.as_str()), "{name} in {}", self.url);
        }
        self
    }
}

/// An authorization request under construction.
#[derive(Debug, Clone)]
pub struct Request {
    pub fields: Vec<(String, String)>,
    pub verifier: String,
    pub nonce: String,
}

impl Request {
    /// The ordinary request of this client: code, PKCE, `openid`, state and nonce.
    pub fn of(client: &Client) -> Self {
        let verifier = unique("verifier-that-is-long-enough-for-rfc-7636");
        let (nonce, state) = (unique("nonce"), unique("state"));
        let challenge = challenge(&verifier);
        let fields = [
            ("response_type", "code"),
            ("client_id", &client.client_id),
            ("redirect_uri", &client.redirect_uri),
            ("scope", "openid"),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { fields, verifier, nonce }
    }

    /// With a parameter set to another value.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|field| field.0 != name);
        self.and(name, value)
    }

    /// With one more parameter, even if it is there already.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a parameter.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|field| field.0 != name);
        self
    }

    pub fn url(&self, site: &Site) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish();
        format!("{}/authorize?{query}", site.issuer)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }
}

impl Person {
    /// Opens the request and answers every page until the browser leaves for the application, or nothing is left to do.
    pub async fn answer(&self, request: &Request) -> Result<Callback, Page> {
        self.go(request, "allow").await
    }

    /// As [`Self::answer`], with a refusal on the consent page.
    pub async fn deny(&self, request: &Request) -> Result<Callback, Page> {
        self.go(request, "deny").await
    }

    async fn go(&self, request: &Request, decision: &str) -> Result<Callback, Page> {
        let server_origin = self.browser.site().origin();
        let mut page = self.open(request).await;
        for _ in 0..10 {
            if let Some(to) = page.location() {
                if to.origin().ascii_serialization() != server_origin {
                    return Ok(callback(&to, request));
                }
                page = self.browser.follow(&page).await;
            } else if page.is_login() {
                page = self.browser.submit(&page, &[("username", &self.username), ("password", &self.password)]).await;
                if page.is_login() && page.location().is_none() {
                    return Err(page);
                }
            } else if page.is_consent() {
                page = self.browser.submit(&page, &[("decision", decision)]).await;
            } else if let Some(form) = page.try_form().filter(|form| form.action.origin().ascii_serialization() != server_origin) {
                let params = form.fields.into_iter().collect();
                let (verifier, nonce) = (request.verifier.clone(), request.nonce.clone());
                return Ok(Callback { url: form.action.to_string(), params, verifier, nonce });
            } else {
                return Err(page);
            }
        }
        panic!("the pages never end; the last one is {}:\n{}", page.url, page.body);
    }

    /// The first answer to the request.
    pub async fn open(&self, request: &Request) -> Page {
        self.browser.get(request.url(self.browser.site())).await
    }

    /// A whole sign-in to the client: what comes back to its redirect URI.
    pub async fn visit(&self, client: &Client, scope: &str) -> Callback {
        self.arrive(&Request::of(client).with("scope", scope)).await
    }

    /// As [`Self::answer`], where it must end at the application.
    pub async fn arrive(&self, request: &Request) -> Callback {
        match self.answer(request).await {
            Ok(callback) => callback,
            Err(page) => panic!("stopped at {} ({}):\n{}", page.url, page.status, page.body),
        }
    }

    /// A whole sign-in and the tokens from it.
    pub async fn tokens(&self, client: &Client, scope: &str) -> Answer {
        let back = self.visit(client, scope).await;
        client.redeem(back.code(), &back.verifier).await.ok()
    }

    /// A sign-in that asks for consent, so that a refresh token outlives the browser session (design 4.2).
    pub async fn tokens_for_long(&self, client: &Client) -> Answer {
        let back = self.arrive(&Request::of(client).with("scope", "openid offline_access").with("prompt", "consent")).await;
        client.redeem(back.code(), &back.verifier).await.ok()
    }
}

fn callback(to: &Url, request: &Request) -> Callback {
    let pairs: Vec<(String, String)> = to.query_pairs().into_owned().collect();
    let params: BTreeMap<String, String> = pairs.iter().cloned().collect();
    assert_eq!(pairs.len(), params.len(), "a parameter twice: {to}");
    Callback { url: to.to_string(), params, verifier: request.verifier.clone(), nonce: request.nonce.clone() }
}
