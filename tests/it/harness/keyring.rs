//! Keys of applications, what they sign with them, and the host where they publish them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::jose::{Alg, KeyMaker as _, NewKeyPairs, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::unique;

pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A private key of an application.
pub struct AppKey {
    pub kid: String,
    pub alg: Alg,
    key: SigningKey,
}

impl AppKey {
    pub fn new(alg: Alg) -> Self {
        let pair = NewKeyPairs.make(alg).unwrap();
        Self { kid: unique("key"), alg, key: SigningKey::from_pkcs8(alg, pair.pkcs8.expose()).unwrap() }
    }

    /// The public half, named.
    pub fn public(&self) -> Value {
        let mut key = serde_json::to_value(&self.key.public).unwrap();
        key["kid"] = json!(self.kid);
        key
    }

    /// A JWT with this header and these claims, whatever they are.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(input.as_bytes()).unwrap()))
    }

    /// The header that a library would write.
    pub fn header(&self) -> Value {
        json!({ "alg": self.alg.as_str(), "kid": self.kid })
    }
}

/// The public halves as a document.
pub fn jwks(keys: &[&AppKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>() })
}

/// What an assertion by the book says at `now`.
pub fn assertion_claims(client_id: &str, issuer: &str, now: i64) -> Value {
    json!({ "iss": client_id, "sub": client_id, "aud": issuer, "iat": now, "exp": now + 60, "jti": unique("jti") })
}

/// A host that publishes a document, or answers as it is told, and counts its visits.
#[derive(Clone)]
pub struct Host {
    pub port: u16,
    visits: Arc<AtomicUsize>,
    answer: Arc<Mutex<(String, Duration)>>,
}

impl Host {
    pub async fn start(document: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self {
            port: listener.local_addr().unwrap().port(),
            visits: Arc::default(),
            answer: Arc::new(Mutex::new((String::new(), Duration::ZERO))),
        };
        host.publish(document);
        let serving = host.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                serving.visits.fetch_add(1, Ordering::SeqCst);
                let (answer, after) = serving.answer.lock().unwrap().clone();
                tokio::spawn(async move {
                    drop(stream.read(&mut [0; 4096]).await);
                    tokio::time::sleep(after).await;
                    drop(stream.write_all(answer.as_bytes()).await);
                });
            }
        });
        host
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/jwks.json", self.port)
    }

    pub fn publish(&self, document: &Value) {
        self.answer("200 OK\r\nContent-Type: application/json", &document.to_string(), Duration::ZERO);
    }

    /// From now on: status and headers, body, and how long it takes.
    pub fn answer(&self, head: &str, body: &str, after: Duration) {
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        *self.answer.lock().unwrap() = (answer, after);
    }

    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}
