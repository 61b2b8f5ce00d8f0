//! A server that is measured, and what its clients hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::{Answer, Connection, form, get, post};
use crate::load;
use crate::work::{self, Gather, Rotate};
use crate::{CONNECTIONS, machine, sign_in};

/// The secret of every client: long enough for those who refuse less, and no secret at all.
pub const CLIENT_SECRET: &str = "a-client-secret-of-a-benchmark-that-nobody-needs-to-keep";

/// Access tokens that a connection uses in turn, where it has as many grants.
const TOKENS_IN_TURN: usize = 64;

/// What a grant's tokens are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavour {
    /// The default: a JWT, one RSA signature.
    Rs256,
    /// The same with an ID token: two RSA signatures.
    OpenId,
    Es256,
    Opaque,
}

impl Flavour {
    /// The client that gets such tokens by client_credentials.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Rs256 | Self::OpenId => "machine",
            Self::Es256 => "machine-es256",
            Self::Opaque => "machine-opaque",
        }
    }
}

/// Where a server has what.
#[derive(Debug, Clone, Copy)]
pub struct Paths {
    pub discovery: &'static str,
    pub jwks: &'static str,
    pub authorize: &'static str,
    pub token: &'static str,
    pub introspect: &'static str,
    pub userinfo: &'static str,
    pub revoke: &'static str,
}

pub const PATHS: Paths = Paths {
    discovery: "/.well-known/openid-configuration",
    jwks: "/jwks",
    authorize: "/authorize",
    token: "/token",
    introspect: "/introspect",
    userinfo: "/userinfo",
    revoke: "/revoke",
};

/// A running server.
pub struct Target {
    pub name: &'static str,
    /// node-oidc-provider: there the access tokens of people are opaque, and only the ID token is signed.
    pub peer: bool,
    pub address: SocketAddr,
    pub host: Arc<str>,
    /// Cookie lines of people who are signed in, one for each connection.
    pub sessions: Vec<String>,
    /// Requests that sign people in with their passwords, one for each connection.
    pub logins: Vec<Vec<u8>>,
    /// Refresh tokens by connection.
    pub families: BTreeMap<Flavour, Vec<Vec<String>>>,
    pub pid: u32,
    pub database: Option<u32>,
    pub idle: u64,
    /// The most that was resident, in bytes, without and with passwords to check.
    pub loaded: u64,
    pub loaded_by_logins: u64,
    pub starts: Vec<Duration>,
}

impl Target {
    /// Processor time so far, of the server and of its database.
    pub fn spent(&self) -> (Duration, Option<Duration>) {
        (machine::cpu_time(self.pid), self.database.map(machine::cpu_time))
    }

    /// What a person's grant is asked for. Without `openid` the access token is all that can be signed.
    pub fn scope(&self, flavour: Flavour) -> &'static str {
        match (flavour, self.peer) {
            (Flavour::Rs256, false) => "offline_access",
            (Flavour::Rs256, true) => "openid",
            (Flavour::OpenId, _) => "openid profile email offline_access",
            (Flavour::Es256, _) => "offline_access es256:use",
            (Flavour::Opaque, false) => "offline_access opaque:use",
            (Flavour::Opaque, true) => "profile",
        }
    }

    /// The authorization requests of all who are signed in, one for each connection.
    pub fn authorizations(&self, scope: &str) -> Vec<Arc<Vec<u8>>> {
        let query = sign_in::query(scope);
        let each = |session: &String| Arc::new(get(&format!("{}?{query}", PATHS.authorize), &self.host, session));
        self.sessions.iter().map(each).collect()
    }

    /// So many codes of people who are signed in.
    pub async fn codes(&self, scope: &str, number: usize) -> Vec<String> {
        self.gather(self.authorizations(scope), number, work::code).await
    }

    /// Forms that redeem so many codes.
    pub async fn redemptions(&self, scope: &str, number: usize) -> Vec<Vec<u8>> {
        let app = basic("app");
        let redeem = |code: &String| post(PATHS.token, &self.host, &app, &sign_in::redemption(code));
        self.codes(scope, number).await.iter().map(redeem).collect()
    }

    /// So many access tokens of programs.
    pub async fn machine_tokens(&self, flavour: Flavour, number: usize) -> Vec<String> {
        let request = Arc::new(post(PATHS.token, &self.host, &basic(flavour.machine()), "grant_type=client_credentials"));
        self.gather(vec![request; CONNECTIONS], number, |answer| work::member(answer, "access_token")).await
    }

    /// So many refresh tokens, each of a grant of its own.
    pub async fn refresh_tokens(&self, scope: &str, number: usize) -> Vec<String> {
        let redemptions = self.redemptions(scope, number).await;
        let mut connection = Connection::open(self.address).await;
        let mut found = Vec::with_capacity(number);
        for redemption in redemptions {
            found.push(work::member(&connection.send(&redemption).await, "refresh_token"));
        }
        found
    }

    /// Access tokens of people by connection.
    pub async fn access_tokens(&mut self, flavour: Flavour) -> Vec<Vec<String>> {
        let mut workers = self.rotations(flavour).await;
        let mut connection = Connection::open(self.address).await;
        let mut found = Vec::new();
        for worker in &mut workers {
            let mut own = Vec::new();
            for token in worker.tokens.iter_mut().take(TOKENS_IN_TURN) {
                let form = form(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
                let answer = connection.send(&post(PATHS.token, &self.host, &worker.authorization, &form)).await;
                own.push(work::member(&answer, "access_token"));
                *token = work::member(&answer, "refresh_token");
            }
            found.push(own);
        }
        self.keep(flavour, workers);
        found
    }

    /// Workers that refresh, with the tokens that are there or with one new family each.
    pub async fn rotations(&mut self, flavour: Flavour) -> Vec<Rotate> {
        let tokens = match self.families.remove(&flavour) {
            Some(tokens) => tokens,
            None => self.refresh_tokens(self.scope(flavour), CONNECTIONS).await.into_iter().map(|token| vec![token]).collect(),
        };
        let authorization: Arc<str> = basic("app").into();
        let worker = |tokens| Rotate {
            path: PATHS.token,
            host: Arc::clone(&self.host),
            authorization: Arc::clone(&authorization),
            tokens,
            next: 0,
        };
        tokens.into_iter().map(worker).collect()
    }

    /// Takes the refresh tokens back as they are after rotation.
    pub fn keep(&mut self, flavour: Flavour, workers: Vec<Rotate>) {
        self.families.insert(flavour, workers.into_iter().map(|worker| worker.tokens).collect());
    }

    async fn gather(&self, requests: Vec<Arc<Vec<u8>>>, number: usize, wanted: fn(&Answer<'_>) -> String) -> Vec<String> {
        let into = Arc::new(Mutex::new(Vec::with_capacity(number)));
        let workers = requests.into_iter().map(|request| Gather { request, wanted, into: Arc::clone(&into) }).collect();
        load::run(self.address, number, workers).await;
        std::mem::take(&mut *into.lock().unwrap())
    }
}

/// The credentials of a client, as a header line.
pub fn basic(client_id: &str) -> String {
    format!("authorization: Basic {}\r\n", STANDARD.encode(format!("{client_id}:{CLIENT_SECRET}")))
}

/// An access token, as a header line.
pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}
