//! Dynamic client registration (RFC 7591, OpenID Connect Dynamic Client Registration) and its management (RFC 7592): where both are, and what their tests share.

mod afterwards;
mod managing;
mod registering;

use std::sync::Arc;
use std::time::Duration;

use chancery::config::{Config, RegistrationMode};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Backend, Client, Server, Setup, Site, on_both};

on_both![where_it_is_off_there_is_nothing,];

const DAY: Duration = Duration::from_secs(86_400);

async fn with(server: &Server, change: impl FnOnce(&mut Config) + Send + 'static) -> Server {
    Setup::on(server.backend).config(change).start().await
}

async fn by_token(server: &Server) -> Server {
    with(server, |config| config.registration.mode = RegistrationMode::Token).await
}

async fn open(server: &Server) -> Server {
    with(server, |config| config.registration.mode = RegistrationMode::Open).await
}

/// A request with a JSON body.
async fn send(site: &Site, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
    let url = site.url(path);
    let mut request = site.request(Method::from_bytes(method.as_bytes()).unwrap(), &url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = Answer::of(request.send().await.unwrap()).await;
    site.note(answer.status, url.path());
    answer
}

async fn register(server: &Server, token: Option<&str>, body: Value) -> Answer {
    send(&server.site(), "POST", "/register", token, Some(&body)).await
}

fn web() -> Value {
    json!({ "redirect_uris": ["https://app.test/callback"], "client_name": "Self-made" })
}

/// `web` with these members.
fn web_with(members: Value) -> Value {
    let mut all = web();
    for (name, value) in members.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

/// An initial access token, as an operator makes it.
async fn token(server: &Server, file: Value) -> String {
    let made = server.admin("admin:write").await.post("/initial-access-tokens", file).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.str("token")
}

/// A client that was registered just now.
struct Registered {
    site: Arc<Site>,
    answer: Value,
}

impl Registered {
    async fn new(server: &Server, initial: Option<&str>, body: Value) -> Self {
        let answer = register(server, initial, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        Self { site: server.site(), answer: answer.json() }
    }

    fn str(&self, name: &str) -> String {
        self.answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", self.answer)).to_owned()
    }

    /// A request to its own address with its own token.
    async fn own(&self, method: &str, body: Option<&Value>) -> Answer {
        send(&self.site, method, &self.str("registration_client_uri"), Some(&self.str("registration_access_token")), body).await
    }

    /// What it sends to change itself to `body`.
    async fn put(&self, mut body: Value) -> Answer {
        body["client_id"] = json!(self.str("client_id"));
        self.own("PUT", Some(&body)).await
    }

    fn client(&self) -> Client {
        Client {
            site: self.site.clone(),
            client_id: self.str("client_id"),
            secret: self.answer["client_secret"].as_str().map(str::to_owned),
            redirect_uri: self.answer["redirect_uris"][0].as_str().unwrap_or_default().to_owned(),
            posts: self.answer["token_endpoint_auth_method"] == "client_secret_post",
        }
    }
}

/// RFC 6750 §3.1 for both kinds of tokens: one answer, whatever is wrong.
#[track_caller]
fn is_no_token(answer: Answer) -> Answer {
    let answer = answer.refused(401, "invalid_token");
    assert!(answer.header("www-authenticate").starts_with("Bearer "), "{:?}", answer.headers);
    answer
}

async fn where_it_is_off_there_is_nothing(server: Server) {
    assert_eq!(server.metadata().await.get("registration_endpoint"), None);
    let token = token(&server, json!({})).await;
    assert_eq!(register(&server, Some(&token), web()).await.status, 404);
    assert_eq!(send(&server.site(), "GET", "/register/x", Some(&token), None).await.status, 404);
}

/// The registration endpoint may be read by scripts of registered apps; the management endpoint by nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_read_where_design_7_says() {
    let server = Setup::on(Backend::Sqlite).config(|config| config.registration.mode = RegistrationMode::Open).start().await;
    server.client(json!({})).await;
    let origin = [("origin", "https://app.test"), ("access-control-request-method", "POST")];
    let asked = server.send(Method::OPTIONS, "/register", &origin, None).await;
    assert_eq!(asked.header("access-control-allow-origin"), "https://app.test");
    let managed = server.send(Method::OPTIONS, "/register/x", &origin, None).await;
    assert_eq!(managed.header("access-control-allow-origin"), "");
}
