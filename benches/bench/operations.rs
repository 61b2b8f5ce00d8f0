//! What is measured, on one store.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::CONNECTIONS;
use crate::http::{Connection, form_post};
use crate::load::{self, Measured};
use crate::machine;
use crate::postgres::Cluster;
use crate::server::Server;
use crate::sign_in::{self, Person};

/// One store with its server and what its clients hold.
pub struct Bench {
    pub store: &'static str,
    pub server: Server,
    machine_client: String,
    app: String,
    holders: Vec<Holder>,
    loops: Vec<Connection>,
    database: Option<u32>,
    /// Resident memory right after the start, in bytes.
    pub idle: u64,
    /// From start to first answer, several times.
    pub starts: Vec<Duration>,
}

/// An app with a refresh token that it uses again and again.
struct Holder {
    connection: Connection,
    refresh_token: String,
}

/// One measured operation.
pub struct Row {
    pub operation: String,
    pub measured: Measured,
    /// Processor time per request, of the server and of the database.
    pub server_cpu: Duration,
    pub database_cpu: Option<Duration>,
}

impl Bench {
    /// A deployment with a machine client, an app, a person, and as many refresh tokens as there are connections.
    pub async fn prepare(store: &'static str, binary: &Path, url: Option<&str>, cluster: &Cluster, starts: usize) -> Self {
        let mut server = Server::new(binary, url);
        server.operate(&["migrate"], "");
        let app = json!({
            "client_name": "App", "redirect_uris": [sign_in::REDIRECT_URI], "first_party": true,
            "grant_types": ["authorization_code", "refresh_token"]
        });
        let machine = json!({ "client_name": "Machine", "grant_types": ["client_credentials"] });
        let app = server.operate(&["client", "add", "--file", &server.file("app.json", &app)], "");
        let machine = server.operate(&["client", "add", "--file", &server.file("machine.json", &machine)], "");
        let (username, password) = ("alice", "a long passphrase for a benchmark");
        server.operate(&["user", "add", "--username", username, "--email", "alice@example.com", "--password-stdin"], password);
        // The first start makes the keys and does not count.
        server.start().await;
        let mut times = Vec::new();
        for _ in 0..starts {
            server.stop();
            times.push(server.start().await);
        }
        let idle = machine::resident(server.pid());

        let app_id = app["client_id"].as_str().unwrap().to_owned();
        let app = basic(&app);
        let host = server.address.to_string();
        let mut person = Person::new(&server.issuer());
        let mut holders = Vec::new();
        for _ in 0..CONNECTIONS {
            let code = person.code(&app_id, username, password).await;
            let mut connection = Connection::open(server.address).await;
            let answer = connection.send(&form_post("/token", &host, &app, &sign_in::redemption(&code))).await;
            let refresh_token = refresh_token(answer.body);
            holders.push(Holder { connection, refresh_token });
        }
        let mut loops = Vec::new();
        for _ in 0..CONNECTIONS {
            loops.push(Connection::open(server.address).await);
        }
        let database = url.map(|_| cluster.supervisor);
        Self { store, server, machine_client: basic(&machine), app, holders, loops, database, idle, starts: times }
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// RFC 6749 §4.4, with client_secret_basic: one RS256 signature.
    pub async fn client_credentials(&mut self, requests: usize) -> Row {
        let request = form_post("/token", &self.server.address.to_string(), &self.machine_client, "grant_type=client_credentials");
        let before = self.spent();
        let loops = std::mem::take(&mut self.loops);
        let (measured, loops) = load::run(requests, loops, |mut connection, tickets| {
            let request = request.clone();
            async move {
                let mut latencies = Vec::new();
                while tickets.take() {
                    let started = Instant::now();
                    let answer = connection.send(&request).await;
                    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.body));
                    latencies.push(started.elapsed());
                }
                (connection, latencies)
            }
        })
        .await;
        self.loops = loops;
        self.row("client_credentials", measured, before)
    }

    /// RFC 6749 §6 with rotation, durable before it is answered. The grants are without `openid`: one RS256 signature.
    pub async fn refresh(&mut self, requests: usize) -> Row {
        let (host, app) = (self.server.address.to_string(), self.app.clone());
        let before = self.spent();
        let holders = std::mem::take(&mut self.holders);
        let (measured, holders) = load::run(requests, holders, |mut holder, tickets| {
            let (host, app) = (host.clone(), app.clone());
            async move {
                let mut latencies = Vec::new();
                while tickets.take() {
                    let form = format!("grant_type=refresh_token&refresh_token={}", holder.refresh_token);
                    let request = form_post("/token", &host, &app, &form);
                    let started = Instant::now();
                    let answer = holder.connection.send(&request).await;
                    latencies.push(started.elapsed());
                    let next = refresh_token(answer.body);
                    assert_ne!(next, holder.refresh_token, "it rotates");
                    holder.refresh_token = next;
                }
                (holder, latencies)
            }
        })
        .await;
        self.holders = holders;
        self.row("refresh with rotation", measured, before)
    }

    fn spent(&self) -> (Duration, Option<Duration>) {
        (machine::cpu_time(self.server.pid()), self.database.map(machine::cpu_time))
    }

    fn row(&self, operation: &str, measured: Measured, before: (Duration, Option<Duration>)) -> Row {
        let after = self.spent();
        let each = |before: Duration, after: Duration| after.saturating_sub(before) / u32::try_from(measured.requests).unwrap();
        let database_cpu = before.1.zip(after.1).map(|(before, after)| each(before, after));
        Row { operation: format!("{operation}, {}", self.store), server_cpu: each(before.0, after.0), database_cpu, measured }
    }
}

fn basic(client: &Value) -> String {
    let (id, secret) = (client["client_id"].as_str().unwrap(), client["client_secret"].as_str().unwrap());
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn refresh_token(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap();
    answer["refresh_token"].as_str().unwrap_or_else(|| panic!("no refresh token: {answer}")).to_owned()
}
