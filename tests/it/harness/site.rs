//! A server as the outside sees it: an issuer, a socket, and requests to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use url::Url;

use super::client::Answer;

/// Where a server is and what it calls itself.
pub struct Site {
    pub issuer: String,
    pub address: SocketAddr,
    http: reqwest::Client,
    may_fail: AtomicBool,
}

impl Site {
    pub fn new(issuer: &str, address: SocketAddr) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        Self { issuer: issuer.to_owned(), address, http, may_fail: AtomicBool::new(false) }
    }

    /// From here on this server may answer 5xx; everywhere else that fails the test.
    pub fn may_fail(&self) {
        self.may_fail.store(true, Ordering::Relaxed);
    }

    /// Sees every answer: an error of the server is a failure of the test, wherever it happens.
    #[track_caller]
    pub fn note(&self, status: u16, path: &str) {
        assert!(status < 500 || self.may_fail.load(Ordering::Relaxed), "{status} at {path}");
    }

    /// A path below the issuer, or a whole URL, as a URL.
    pub fn url(&self, path: &str) -> Url {
        if path.starts_with("http") { Url::parse(path).unwrap() } else { Url::parse(&format!("{}{path}", self.issuer)).unwrap() }
    }

    /// `https://id.test` for an issuer below it.
    pub fn origin(&self) -> String {
        Url::parse(&self.issuer).unwrap().origin().ascii_serialization()
    }

    /// The same URL on the socket of this server.
    fn socket_url(&self, url: &Url) -> Url {
        assert_eq!(url.origin().ascii_serialization(), self.origin(), "not this server: {url}");
        Url::parse(&format!("http://{}{}", self.address, &url[url::Position::BeforePath..url::Position::AfterQuery])).unwrap()
    }

    /// A request as a proxy would pass it on: over the socket, with the Host that was asked for.
    pub fn request(&self, method: Method, url: &Url) -> reqwest::RequestBuilder {
        self.http.request(method, self.socket_url(url)).header("host", url.authority())
    }

    /// Any request without cookies.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], form: Option<&[(&str, &str)]>) -> Answer {
        self.try_send(method, path, headers, form).await.unwrap()
    }

    /// As [`Self::send`], where the server may be gone before it answers.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        form: Option<&[(&str, &str)]>,
    ) -> Result<Answer, reqwest::Error> {
        let url = self.url(path);
        let mut request = self.request(method, &url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(form) = form {
            request = request.form(form);
        }
        let answer = Answer::try_of(request.send().await?).await?;
        self.note(answer.status, url.path());
        Ok(answer)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, path, headers, Some(form)).await
    }

    /// OpenID Connect Core §5.3.1 with a token in the header.
    pub async fn userinfo(&self, token: &str) -> Answer {
        self.send(Method::GET, "/userinfo", &[("authorization", &format!("Bearer {token}"))], None).await
    }

    /// The OpenID Connect discovery document.
    pub async fn metadata(&self) -> Value {
        self.get("/.well-known/openid-configuration").await.ok().json()
    }
}
