//! An application that is registered at the server: it knows its redirect URI and its secret, and calls the back-channel endpoints.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::site::Site;

/// The answer of an endpoint that speaks JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        Self::try_of(response).await.unwrap()
    }

    /// As [`Self::of`], where the connection may break before the answer is whole.
    pub async fn try_of(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        Ok(Self { status: response.status().as_u16(), headers: response.headers().clone(), text: response.text().await? })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    /// A member of the JSON that is a string.
    #[track_caller]
    pub fn str(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member}: {} {}", self.status, self.text)).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts success and gives the answer back.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text);
        self
    }

    /// Asserts RFC 6749 §5.2: status, error code, a description in its character set, no-store, and a trace id.
    #[track_caller]
    pub fn refused(self, status: u16, error: &str) -> Self {
        assert_eq!((self.status, self.json()["error"].as_str()), (status, Some(error)), "{}", self.text);
        let description = self.str("error_description");
        assert!(description.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{description:?}");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("content-type").split(';').next(), Some("application/json"));
        self.trace_id();
        self
    }

    #[track_caller]
    pub fn trace_id(&self) -> String {
        let id = self.header("chancery-trace-id").to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "no trace id: {:?}", self.headers);
        id
    }
}

/// A registered client as the application knows it.
#[derive(Clone)]
pub struct Client {
    pub site: Arc<Site>,
    pub client_id: String,
    pub secret: Option<String>,
    pub redirect_uri: String,
    /// Sends its credentials in the body (client_secret_post) instead of the header.
    pub posts: bool,
}

impl Client {
    /// The same application, talking to another replica.
    pub fn through(&self, site: Arc<Site>) -> Self {
        Self { site, ..self.clone() }
    }

    /// A form to an endpoint, with this client's credentials in its own way.
    pub async fn call(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.try_call(path, fields).await.unwrap()
    }

    /// As [`Self::call`], where the server may be gone before it answers.
    pub async fn try_call(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        let mut fields = fields.to_vec();
        let mut headers = Vec::new();
        let basic;
        match &self.secret {
            Some(secret) if self.posts => fields.extend([("client_id", self.client_id.as_str()), ("client_secret", secret)]),
            Some(secret) => {
                basic = basic_header(&self.client_id, secret);
                headers.push(("authorization", basic.as_str()));
            }
            None => fields.push(("client_id", &self.client_id)),
        }
        self.site.try_send(Method::POST, path, &headers, Some(&fields)).await
    }

    pub async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        self.call("/token", fields).await
    }

    /// RFC 6749 §4.1.3 with the verifier of RFC 7636 §4.5.
    pub async fn redeem(&self, code: &str, verifier: &str) -> Answer {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier),
        ];
        self.token(&fields).await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    pub async fn introspect(&self, token: &str) -> Value {
        self.call("/introspect", &[("token", token)]).await.ok().json()
    }

    pub async fn is_active(&self, token: &str) -> bool {
        let answer = self.introspect(token).await;
        let active = answer["active"].as_bool().unwrap();
        if !active {
            assert_eq!(answer, serde_json::json!({ "active": false }), "an inactive token tells nothing else");
        }
        active
    }

    pub async fn revoke(&self, token: &str) -> Answer {
        self.call("/revoke", &[("token", token)]).await
    }
}

/// RFC 6749 §2.3.1: both halves form-encoded, then Base64.
pub fn basic_header(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret))))
}

/// RFC 7636 §4.2.
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// The parts of a JWT, without a look at the signature.
pub fn jwt(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()));
    (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap())
}
