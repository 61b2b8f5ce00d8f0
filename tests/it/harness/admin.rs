//! A program that administrates the server through the admin API.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::server::Server;
use super::site::Site;

/// A caller of the admin API, with a token or without.
#[derive(Clone)]
pub struct Admin {
    pub site: Arc<Site>,
    pub token: Option<String>,
}

impl Server {
    /// A machine with this scope and a token of its own.
    pub async fn admin(&self, scope: &str) -> Admin {
        let machine = self.admin_client(scope).await;
        Admin { site: self.site(), token: Some(self.admin_token(&machine).await) }
    }

    /// A machine that may ask for tokens with this scope.
    pub async fn admin_client(&self, scope: &str) -> Client {
        self.machine(json!({ "client_name": "Administration", "scope": scope })).await
    }

    /// A token of its own for such a machine.
    pub async fn admin_token(&self, machine: &Client) -> String {
        machine.token(&[("grant_type", "client_credentials")]).await.ok().str("access_token")
    }

    /// Nobody in particular.
    pub fn stranger(&self) -> Admin {
        Admin { site: self.site(), token: None }
    }
}

impl Admin {
    /// The same caller with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// A request to a path below `/admin/api/v1`.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call_with(method, path, body, &[]).await
    }

    /// The same with headers.
    pub async fn call_with(&self, method: &str, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Answer {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = body.map(|body| (kind, body.to_string()));
        self.raw(method, path, body, headers).await
    }

    /// The same with whatever body.
    pub async fn raw(&self, method: &str, path: &str, body: Option<(&str, String)>, headers: &[(&str, &str)]) -> Answer {
        let url = self.site.url(&format!("/admin/api/v1{path}"));
        let mut request = self.site.request(Method::from_bytes(method.as_bytes()).unwrap(), &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        self.site.note(answer.status, url.path());
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, Some(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call("PATCH", path, Some(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None).await
    }
}

impl Answer {
    /// Asserts an RFC 9457 problem document of this type, with our trace id.
    #[track_caller]
    pub fn problem(self, status: u16, rule: &str) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:chancery:problem:{rule}"), "{problem}");
        assert_eq!((problem["status"].as_u64(), problem["title"].is_string()), (Some(status.into()), true), "{problem}");
        assert_eq!(problem["trace_id"].as_str(), Some(self.trace_id().as_str()), "{problem}");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(status == 401 || status == 403, self.header("www-authenticate").starts_with("Bearer "), "{:?}", self.headers);
        self
    }

    /// Asserts that the problem is with this member, parameter or header.
    #[track_caller]
    pub fn about(self, name: &str, value: &str) -> Self {
        assert_eq!(self.json()[name], value, "{}", self.text);
        self
    }
}

/// A text as a segment of a path or a value of a query.
pub fn segment(text: &str) -> String {
    let encode = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
