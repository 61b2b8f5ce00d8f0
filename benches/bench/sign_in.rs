//! A person signs in once, and apps of hers get refresh tokens: by the pages and the code flow, as in life.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use scraper::{Html, Selector};
use sha2::{Digest as _, Sha256};
use url::Url;

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

    /// A code for this client; signs in where the page asks for it.
    pub async fn code(&mut self, client_id: &str, username: &str, password: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let query = [
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", REDIRECT_URI),
            ("scope", "offline_access"),
            ("state", "state"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let mut url = Url::parse_with_params(&format!("{}/authorize", self.issuer), query).unwrap();
        let mut form: Option<Vec<(String, String)>> = None;
        for _ in 0..8 {
            let (to, body) = self.send(&url, form.take()).await;
            match to {
                Some(to) if to.as_str().starts_with(REDIRECT_URI) => {
                    let code = to.query_pairs().find(|(name, _)| name == "code");
                    return code.unwrap_or_else(|| panic!("no code: {to}")).1.into_owned();
                }
                Some(to) => url = to,
                None => {
                    let (action, mut fields) = main_form(&url, &body);
                    for (name, typed) in [("username", username), ("password", password), ("decision", "allow")] {
                        fields.retain(|field| field.0 != name);
                        fields.push((name.to_owned(), typed.to_owned()));
                    }
                    (url, form) = (action, Some(fields));
                }
            }
        }
        panic!("the sign-in does not end: {url}");
    }

    async fn send(&mut self, url: &Url, form: Option<Vec<(String, String)>>) -> (Option<Url>, String) {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = match form {
            Some(form) => self.http.post(url.clone()).header(ORIGIN, &self.issuer).form(&form),
            None => self.http.get(url.clone()),
        };
        let answer = request.header(COOKIE, cookies.join("; ")).send().await.unwrap();
        for line in answer.headers().get_all(SET_COOKIE) {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let to = answer.headers().get(LOCATION).map(|to| url.join(to.to_str().unwrap()).unwrap());
        (to, answer.text().await.unwrap())
    }
}

/// The form that redeems a code.
pub fn redemption(code: &str) -> String {
    let fields =
        [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT_URI), ("code_verifier", VERIFIER)];
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
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
