//! Apps that use the server all the time and write down what they were told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::harness::machine::until;
use crate::harness::person::Callback;
use crate::harness::{Client, Person, Site, basic_header};

/// One answer, or what came in its place.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub took: Duration,
    #[allow(dead_code, reason = "for whoever reads a failure")]
    pub what: &'static str,
    /// 0: there was no answer.
    pub status: u16,
    pub retry_after: bool,
    pub text: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An app with connections of its own, which it keeps.
#[derive(Clone)]
pub struct App {
    http: reqwest::Client,
    at: String,
    host: String,
    client_id: String,
    secret: String,
}

impl App {
    /// `client`, through this address.
    pub fn of(client: &Client, address: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(40)).build().unwrap();
        let host = client.site.issuer.trim_start_matches("http://").to_owned();
        let (client_id, secret) = (client.client_id.clone(), client.secret.clone().unwrap());
        Self { http, at: format!("http://{address}"), host, client_id, secret }
    }

    pub async fn form(&self, path: &'static str, fields: &[(&str, &str)]) -> Seen {
        let authorization = basic_header(&self.client_id, &self.secret);
        let request = self.http.request(Method::POST, format!("{}{path}", self.at)).form(fields);
        self.send(path, request.header("authorization", authorization)).await
    }

    pub async fn get(&self, path: &'static str) -> Seen {
        self.send(path, self.http.get(format!("{}{path}", self.at))).await
    }

    pub async fn userinfo(&self, token: &str) -> Seen {
        let request = self.http.get(format!("{}/userinfo", self.at)).header("authorization", format!("Bearer {token}"));
        self.send("/userinfo", request).await
    }

    pub async fn refresh(&self, token: &str) -> Seen {
        self.form("/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    pub async fn redeem(&self, back: &Callback, redirect_uri: &str) -> Seen {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", back.code()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", &back.verifier),
        ];
        self.form("/token", &fields).await
    }

    pub async fn token(&self) -> Seen {
        self.form("/token", &[("grant_type", "client_credentials")]).await
    }

    pub async fn is_active(&self, token: &str) -> bool {
        let seen = self.form("/introspect", &[("token", token)]).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        seen.json()["active"].as_bool().unwrap()
    }

    async fn send(&self, what: &'static str, request: reqwest::RequestBuilder) -> Seen {
        let at = Instant::now();
        let mut seen = Seen { at, took: Duration::ZERO, what, status: 0, retry_after: false, text: String::new() };
        match request.header("host", &self.host).send().await {
            Ok(answer) => {
                seen.status = answer.status().as_u16();
                seen.retry_after =
                    answer.headers().get("retry-after").is_some_and(|after| after.to_str().unwrap().parse::<u64>().is_ok());
                match answer.text().await {
                    Ok(text) => seen.text = text,
                    Err(error) => (seen.status, seen.text) = (0, format!("{error:?}")),
                }
            }
            Err(error) => seen.text = format!("{error:?}"),
        }
        seen.took = at.elapsed();
        seen
    }
}

/// Requests that are a load.
const ENOUGH: usize = 60;

/// Apps at work: each refreshes its own family again and again, and gets tokens of its own in between.
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    families: Vec<JoinHandle<String>>,
    apps: Vec<App>,
}

impl Load {
    /// `count` families of one person, each with the app at the next of these addresses.
    pub async fn begin(person: &Person, client: &Client, addresses: &[SocketAddr], count: usize) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut tokens = Vec::new();
        for _ in 0..count {
            tokens.push(person.tokens_for_long(client).await.str("refresh_token"));
        }
        let apps: Vec<App> = (0..count).map(|index| App::of(client, addresses[index % addresses.len()])).collect();
        let families = tokens.into_iter().zip(apps.clone());
        let families = families.map(|(token, app)| tokio::spawn(work(app, token, stop.clone(), seen.clone()))).collect();
        Self { stop, seen, families, apps }
    }

    /// What was told since then, so far.
    pub fn since(&self, begin: Instant) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.at >= begin).cloned().collect()
    }

    /// Waits until all that was asked for a while after `self` was called is answered with success.
    pub async fn recovers(&self, within: Duration) -> Duration {
        let begin = Instant::now();
        let mut from = begin;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let seen = self.since(from);
            if seen.iter().any(|seen| seen.status != 200) {
                from = Instant::now();
            } else if seen.len() >= self.apps.len() {
                return begin.elapsed();
            }
            assert!(begin.elapsed() < within, "not recovered after {within:?}: {:?}", seen.last());
        }
    }

    /// Stops, and asserts that the last token that each app was given still works.
    pub async fn end(self) -> Vec<Seen> {
        // It was a load, however slow the machine is.
        until(Duration::from_secs(60), async || self.seen.lock().unwrap().len() > ENOUGH).await;
        self.stop.store(true, Ordering::Relaxed);
        for (family, app) in self.families.into_iter().zip(&self.apps) {
            let latest = family.await.unwrap();
            let last = app.refresh(&latest).await;
            assert_eq!(last.status, 200, "what was acknowledged is lost: {last:?}");
        }
        Arc::into_inner(self.seen).unwrap().into_inner().unwrap()
    }
}

async fn work(app: App, mut token: String, stop: Arc<AtomicBool>, seen: Arc<Mutex<Vec<Seen>>>) -> String {
    while !stop.load(Ordering::Relaxed) {
        let answer = app.refresh(&token).await;
        if answer.status == 200 {
            token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
        }
        let own = app.token().await;
        let pause = [&answer, &own].iter().any(|seen| seen.status != 200);
        seen.lock().unwrap().extend([answer, own]);
        tokio::time::sleep(Duration::from_millis(if pause { 50 } else { 5 })).await;
    }
    token
}

/// For how long a machine may be away at the wrong moment.
const HICCUP: Duration = Duration::from_secs(4);

/// Asserts that everything is 200, or a 503 that says when to come back, in time.
#[track_caller]
pub fn only_503(seen: &[Seen], within: Duration) -> usize {
    let late: Vec<&Seen> = seen.iter().filter(|seen| seen.took >= within).collect();
    assert!(late.len() <= seen.len() / 10, "{} of {} took longer than {within:?}: {:?}", late.len(), seen.len(), late[0]);
    for seen in seen {
        assert!(seen.status == 200 || seen.status == 503 && seen.retry_after, "{seen:?}");
        assert!(seen.took < within + HICCUP, "longer than {within:?}: {seen:?}");
    }
    seen.iter().filter(|seen| seen.status == 503).count()
}

/// Keys, discovery and health are there and quick, whatever the database does.
pub async fn served_from_memory(site: &Site) {
    for path in ["/jwks", "/.well-known/openid-configuration", "/healthz"] {
        // The quickest of several: a busy machine adds what it likes to one.
        let mut quickest = Duration::MAX;
        for _ in 0..3 {
            let begin = Instant::now();
            site.get(path).await.ok();
            quickest = quickest.min(begin.elapsed());
        }
        assert!(quickest < Duration::from_secs(1), "{path} took {quickest:?}");
    }
}
