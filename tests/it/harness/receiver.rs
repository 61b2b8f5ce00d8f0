//! The server of an application that hears of sign-outs (OpenID Connect Back-Channel Logout §2.5): it keeps what comes and answers as told.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::client::jwt;

/// How long something may take that happens at once.
const SOON: Duration = Duration::from_secs(10);

/// A running receiver.
#[derive(Clone)]
pub struct Receiver {
    /// To be registered as `backchannel_logout_uri`.
    pub uri: String,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    received: Mutex<Vec<Received>>,
    answers: Mutex<Vec<Answers>>,
}

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Answers {
    Status(u16),
    /// It takes the request and never answers.
    Never,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: String,
    pub at: Instant,
}

impl Received {
    /// The one field.
    pub fn token(&self) -> String {
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect();
        let [(name, token)] = fields.as_slice() else { panic!("{}", self.body) };
        assert_eq!(name, "logout_token");
        token.clone()
    }

    /// The claims of its token.
    pub fn claims(&self) -> serde_json::Value {
        jwt(&self.token()).1
    }
}

impl Receiver {
    /// Answers 200 to everything.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/backchannel?tenant=1", listener.local_addr().unwrap());
        let inner = Arc::new(Inner::default());
        let keeps = inner.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let keeps = keeps.clone();
                let service = service_fn(move |request| take(keeps.clone(), request));
                let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // Whoever hangs up is gone.
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { uri, inner }
    }

    /// What it answers to the next requests, in this order; 200 when all are used up.
    pub fn answers(&self, answers: &[Answers]) {
        *self.inner.answers.lock().unwrap() = answers.iter().rev().copied().collect();
    }

    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().unwrap().clone()
    }

    /// Waits until so many requests have come; there must be no more than that.
    pub async fn wait_for(&self, many: usize) -> Vec<Received> {
        let begun = Instant::now();
        while self.received().len() < many && begun.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let received = self.received();
        assert_eq!(received.len(), many);
        received
    }
}

async fn take(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/backchannel"));
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    inner.received.lock().unwrap().push(Received { headers, body, at: Instant::now() });
    let answer = inner.answers.lock().unwrap().pop();
    match answer.unwrap_or(Answers::Status(200)) {
        Answers::Status(status) => Ok(Response::builder().status(status).body(Full::default()).unwrap()),
        Answers::Never => std::future::pending().await,
    }
}
