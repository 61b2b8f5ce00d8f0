//! What the machine can do at most: the limits that every figure is a ratio to, measured anew in every round.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use hyper_util::rt::TokioIo;
use sqlx::Connection as _;
use tower::ServiceExt as _;

use crate::machine::cores;
use crate::postgres::{self, Cluster};
use crate::work::InTurn;
use crate::{CONNECTIONS, http, load};

/// What a figure is a ratio to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Yardstick {
    /// RS256 signatures a second of all cores.
    S,
    /// Durable rotations a second of the bare database: one row changed and one added in one commit.
    R,
    /// Constant answers a second of a bare axum handler over the same connections.
    H,
    /// Argon2id hashes a second of all cores, 19 MiB and two passes.
    A,
}

impl Yardstick {
    pub const fn letter(self) -> char {
        match self {
            Self::S => 'S',
            Self::R => 'R',
            Self::H => 'H',
            Self::A => 'A',
        }
    }
}

/// The limits in one round.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub signatures: Option<f64>,
    /// Rotations, and single rows changed.
    pub sqlite: Option<(f64, f64)>,
    pub postgres: Option<(f64, f64)>,
    pub constant: Option<f64>,
    pub hashes: Option<f64>,
}

/// S: the price that every signed token has at least.
pub fn signatures(number: usize) -> f64 {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    on_all_cores(number, |each| {
        let mut signature = vec![0; key.public_modulus_len()];
        for _ in 0..each {
            key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"header.claims", &mut signature).unwrap();
        }
    })
}

/// A: the price of a password.
pub fn hashes(number: usize) -> f64 {
    let params = Params::new(19_456, 2, 1, Some(32)).unwrap();
    on_all_cores(number, |each| {
        let mut memory = vec![Block::default(); params.block_count()];
        let mut hash = [0; 32];
        for _ in 0..each {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
                .hash_password_into_with_memory(b"a long passphrase", b"sixteen bytes ok", &mut hash, &mut memory)
                .unwrap();
        }
    })
}

fn on_all_cores(number: usize, work: impl Fn(usize) + Sync) -> f64 {
    let each = (number / cores()).max(1);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| work(each));
        }
    });
    (each * cores()) as f64 / started.elapsed().as_secs_f64()
}

/// Rows that the bare databases rotate.
const ROWS: usize = 100_000;
/// Commits that the SQLite library gets at once: enough that nothing but the database is measured.
const IN_ONE_TEXT: usize = 50;

/// R on PostgreSQL, by its own pgbench: rotations, and single rows changed.
pub struct Pgbench {
    folder: tempfile::TempDir,
    socket: String,
}

impl Pgbench {
    pub fn prepare(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let this = Self { folder, socket: cluster.socket.display().to_string() };
        this.run(
            "psql",
            &[
                "-q",
                "-c",
                "CREATE TABLE tokens (id BIGINT PRIMARY KEY, family BIGINT NOT NULL, digest BYTEA NOT NULL, used_at BIGINT) WITH (fillfactor = 80)",
                "-c",
                "CREATE SEQUENCE fresh START 1000000",
                "-c",
                &format!("INSERT INTO tokens SELECT n, n, sha256(n::text::bytea) FROM generate_series(1, {ROWS}) n"),
                "-c",
                "VACUUM ANALYZE tokens",
            ],
        );
        let random = format!("\\set id random(1, {ROWS})\n");
        let rotate = "WITH used AS (UPDATE tokens SET used_at = 1 WHERE id = :id RETURNING family, digest) \
                      INSERT INTO tokens (id, family, digest) SELECT nextval('fresh'), family, digest FROM used;\n";
        let change = "UPDATE tokens SET used_at = 2 WHERE id = :id;\n";
        std::fs::write(this.folder.path().join("rotate"), format!("{random}{rotate}")).unwrap();
        std::fs::write(this.folder.path().join("change"), format!("{random}{change}")).unwrap();
        this
    }

    /// Rotations and changes a second.
    pub fn measure(&self, number: usize) -> (f64, f64) {
        (self.script("rotate", number), self.script("change", number))
    }

    fn script(&self, name: &str, number: usize) -> f64 {
        let clients = CONNECTIONS.to_string();
        let each = (number / CONNECTIONS).max(1).to_string();
        let file = self.folder.path().join(name);
        let jobs = cores().to_string();
        let arguments = ["-n", "-M", "prepared", "-c", &clients, "-j", &jobs, "-t", &each, "-f", file.to_str().unwrap()];
        let output = self.run("pgbench", &arguments);
        let rate = output.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.unwrap_or_else(|| panic!("pgbench says: {output}"))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(postgres::binaries().join(program));
        command.args(["-h", &self.socket, "-U", "chancery"]).args(arguments).arg("yardstick");
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// R on SQLite: one writer, every commit synced, many in one text.
pub async fn sqlite(number: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("yardstick.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let setup = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE tokens (id INTEGER PRIMARY KEY, family INTEGER NOT NULL, digest BLOB NOT NULL, used_at INTEGER) STRICT;
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS})
         INSERT INTO tokens SELECT n, n, randomblob(32), NULL FROM n;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(&mut connection).await.unwrap();
    let row = |step: usize| step * 7919 % ROWS + 1;
    let rotate = |step| {
        let (row, fresh) = (row(step), ROWS + 1 + step);
        format!(
            "BEGIN IMMEDIATE; UPDATE tokens SET used_at = 1 WHERE id = {row};
             INSERT INTO tokens SELECT {fresh}, family, digest, NULL FROM tokens WHERE id = {row}; COMMIT;"
        )
    };
    let change = |step| format!("UPDATE tokens SET used_at = 2 WHERE id = {};", row(step));
    let mut rates = [0.0; 2];
    for (rate, commit) in rates.iter_mut().zip([&rotate as &dyn Fn(usize) -> String, &change]) {
        let started = Instant::now();
        for first in (0..number).step_by(IN_ONE_TEXT) {
            let text: String = (first..number.min(first + IN_ONE_TEXT)).map(commit).collect();
            sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
        }
        *rate = number as f64 / started.elapsed().as_secs_f64();
    }
    connection.close().await.unwrap();
    (rates[0], rates[1])
}

/// H: a process of its own, as the servers are.
pub struct Constant {
    child: Child,
    /// Open as long as it is to live.
    input: Option<ChildStdin>,
    address: SocketAddr,
}

/// The argument that makes this program that process.
pub const CONSTANT_SERVER: &str = "--constant-server";

impl Constant {
    pub fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg(CONSTANT_SERVER).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, input, address: line.trim().parse().unwrap() }
    }

    pub async fn measure(&self, number: usize) -> f64 {
        let request = Arc::new(http::get("/", &self.address.to_string(), ""));
        let workers = (0..CONNECTIONS).map(|_| InTurn::one(Arc::clone(&request), 200)).collect();
        load::run(self.address, number, workers).await.0.per_second()
    }
}

impl Drop for Constant {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}

/// The process behind [`Constant`]: as many bytes as a discovery document, until its standard input closes.
pub async fn serve_constant() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let body: &'static str = Box::leak("x".repeat(2048).into_boxed_str());
    let router = Router::new().route("/", get(move || async move { ([(CONTENT_TYPE, "application/json")], body) }));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let router = router.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    router.clone().oneshot(request.map(axum::body::Body::new))
                });
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok()).await.unwrap();
}
