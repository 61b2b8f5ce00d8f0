//! What the connections of a closed loop do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{Answer, Connection, post};
use crate::load::Work;
use crate::sign_in;

/// The same few requests in turn.
pub struct InTurn {
    pub requests: Vec<Arc<Vec<u8>>>,
    pub next: usize,
    pub status: u16,
}

impl InTurn {
    /// The same request each time.
    pub fn one(request: Arc<Vec<u8>>, status: u16) -> Self {
        Self { requests: vec![request], next: 0, status }
    }
}

impl Work for InTurn {
    async fn step(&mut self, connection: &mut Connection) -> Duration {
        let request = &self.requests[self.next % self.requests.len()];
        self.next += 1;
        let started = Instant::now();
        let answer = connection.send(request).await;
        let took = started.elapsed();
        answer.expect(self.status);
        took
    }
}

/// Each request once, whoever of the connections comes to it.
#[derive(Clone)]
pub struct Once {
    requests: Arc<Vec<Vec<u8>>>,
    next: Arc<AtomicUsize>,
}

impl Once {
    pub fn new(requests: Vec<Vec<u8>>) -> Self {
        Self { requests: Arc::new(requests), next: Arc::default() }
    }
}

impl Work for Once {
    async fn step(&mut self, connection: &mut Connection) -> Duration {
        let request = &self.requests[self.next.fetch_add(1, Ordering::Relaxed)];
        let started = Instant::now();
        let answer = connection.send(request).await;
        let took = started.elapsed();
        answer.expect(200);
        took
    }
}

/// The same request each time, whose answers are gathered: what a measurement needs before it begins.
#[derive(Clone)]
pub struct Gather {
    pub request: Arc<Vec<u8>>,
    pub wanted: fn(&Answer<'_>) -> String,
    pub into: Arc<Mutex<Vec<String>>>,
}

impl Work for Gather {
    async fn step(&mut self, connection: &mut Connection) -> Duration {
        let answer = connection.send(&self.request).await;
        let found = (self.wanted)(&answer);
        self.into.lock().unwrap().push(found);
        Duration::ZERO
    }
}

/// Refresh tokens in turn, each changed for the next one of its family.
pub struct Rotate {
    pub path: &'static str,
    pub host: Arc<str>,
    pub authorization: Arc<str>,
    pub tokens: Vec<String>,
    pub next: usize,
}

impl Work for Rotate {
    async fn step(&mut self, connection: &mut Connection) -> Duration {
        let at = self.next % self.tokens.len();
        self.next += 1;
        let token = &mut self.tokens[at];
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        let request = post(self.path, &self.host, &self.authorization, &form);
        let started = Instant::now();
        let answer = connection.send(&request).await;
        let took = started.elapsed();
        let next = member(&answer, "refresh_token");
        assert_ne!(next, *token, "it rotates");
        *token = next;
        took
    }
}

/// From the authorization request of somebody who is signed in to the tokens.
pub struct SignIn {
    pub authorize: Arc<Vec<u8>>,
    pub path: &'static str,
    pub host: Arc<str>,
    pub authorization: Arc<str>,
}

impl Work for SignIn {
    async fn step(&mut self, connection: &mut Connection) -> Duration {
        let started = Instant::now();
        let answer = connection.send(&self.authorize).await;
        let form = sign_in::redemption(&code(&answer));
        let request = post(self.path, &self.host, &self.authorization, &form);
        let answer = connection.send(&request).await;
        let took = started.elapsed();
        answer.expect(200);
        took
    }
}

/// The code in a redirect to the app.
pub fn code(answer: &Answer<'_>) -> String {
    let to = answer.header("location").unwrap_or_default();
    let code = to.split_once("code=").map(|(_, rest)| rest.split('&').next().unwrap_or_default());
    code.unwrap_or_else(|| panic!("{}: no code in {to:?}: {}", answer.status, String::from_utf8_lossy(answer.body))).to_owned()
}

/// A member of a token response.
pub fn member(answer: &Answer<'_>, name: &str) -> String {
    answer.expect(200);
    let json: Value = serde_json::from_slice(answer.body).unwrap();
    json[name].as_str().unwrap_or_else(|| panic!("no {name}: {json}")).to_owned()
}
