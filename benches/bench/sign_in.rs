//! A person signs in as in life: by the pages and the code flow, and by the redirects of who has no pages of their own.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use scraper::{Html, Selector};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::http::{form, post};

const VERIFIER: &str = "a-verifier-that-is-as-long-as-rfc-7636-demands";
pub const REDIRECT_URI: &str = "https://app.example/callback";

/// Somebody at a browser that keeps cookies and follows no redirect by itself.
pub struct Person {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
    issuer: String,
}

impl Person {
    pub fn new(issuer: &str) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, cookies: BTreeMap::new(), issuer: issuer.to_owned() }
    }

    /// Signs in on the way to the app; the cookies that say so, as a header line.
    pub async fn session(&mut self, username: &str, password: &str) -> String {
        let mut url = Url::parse(&format!("{}/authorize?{}&login_hint={username}", self.issuer, query("openid"))).unwrap();
        let mut filled: Option<Vec<(String, String)>> = None;
        for _ in 0..8 {
            let (to, body) = self.send(&url, filled.take()).await;
            match to {
                Some(to) if to.as_str().starts_with(REDIRECT_URI) => {
                    assert!(to.query_pairs().any(|(name, _)| name == "code"), "no code: {to}");
                    return self.cookie_line();
                }
                Some(to) => url = to,
                None => {
                    let (action, mut fields) = main_form(&url, &body);
                    for (name, typed) in [("username", username), ("password", password), ("decision", "allow")] {
                        fields.retain(|field| field.0 != name);
                        fields.push((name.to_owned(), typed.to_owned()));
                    }
                    (url, filled) = (action, Some(fields));
                }
            }
        }
        panic!("the sign-in does not end: {url}");
    }

    /// The form of the login page, filled in and ready to be sent as often as wanted.
    pub async fn login_form(&mut self, host: &str, username: &str, password: &str) -> Vec<u8> {
        let url = Url::parse(&format!("{}/login", self.issuer)).unwrap();
        let (_, body) = self.send(&url, None).await;
        let (action, mut fields) = main_form(&url, &body);
        fields.retain(|(name, _)| name != "username" && name != "password");
        let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields.extend([("username", username), ("password", password)]);
        let headers = format!("{}origin: {}\r\n", self.cookie_line(), self.issuer);
        post(action.path(), host, &headers, &form(&fields))
    }

    fn cookie_line(&self) -> String {
        // What the peer remembers of the way, and browsers send nowhere else.
        let lasting = self.cookies.iter().filter(|(name, _)| !name.starts_with("_interaction"));
        format!("cookie: {}\r\n", lasting.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; "))
    }

    fn cookies(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    async fn send(&mut self, url: &Url, form: Option<Vec<(String, String)>>) -> (Option<Url>, String) {
        let request = match form {
            Some(form) => self.http.post(url.clone()).header(ORIGIN, &self.issuer).form(&form),
            None => self.http.get(url.clone()),
        };
        let answer = request.header(COOKIE, self.cookies()).send().await.unwrap();
        for line in answer.headers().get_all(SET_COOKIE) {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let to = answer.headers().get(LOCATION).map(|to| url.join(to.to_str().unwrap()).unwrap());
        (to, answer.text().await.unwrap())
    }
}

/// The query of an authorization request of the app's.
pub fn query(scope: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", REDIRECT_URI),
        ("scope", scope),
        ("state", "a-state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if scope.contains("openid") {
        fields.push(("nonce", "a-nonce"));
    }
    form(&fields)
}

/// The form that redeems a code.
pub fn redemption(code: &str) -> String {
    let fields =
        [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT_URI), ("code_verifier", VERIFIER)];
    form(&fields)
}

fn main_form(url: &Url, body: &str) -> (Url, Vec<(String, String)>) {
    let html = Html::parse_document(body);
    let form = html.select(&Selector::parse("main form").unwrap()).next().unwrap_or_else(|| panic!("no form at {url}: {body}"));
    let hidden = Selector::parse("input[type=hidden]").unwrap();
    let inputs = form
        .select(&hidden)
        .filter_map(|input| Some((input.attr("name")?.to_owned(), input.attr("value").unwrap_or_default().to_owned())));
    let action = form.attr("action").filter(|action| !action.is_empty());
    (action.map_or_else(|| url.clone(), |action| url.join(action).unwrap()), inputs.collect())
}
