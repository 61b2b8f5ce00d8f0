//! The built binary on a machine of its own: its folder, its ports, its environment, on either database.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chancery::config::{Config, DatabaseConfig, Sources};
use chancery::storage::Db;
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::browser::Browser;
use super::client::Client;
use super::person::Person;
use super::postgres;
use super::site::Site;

pub const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
pub const OTHER_MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";
const PASSWORD: &str = "correct horse battery staple";

/// A machine with a folder, free ports and an environment of its own.
pub struct Machine {
    pub folder: tempfile::TempDir,
    pub env: Vec<(String, String)>,
    pub issuer: String,
    pub management: String,
}

impl Machine {
    pub fn sqlite() -> Self {
        let (listen, management) = (free_port(), free_port());
        let mut machine = Self {
            folder: tempfile::tempdir().unwrap(),
            env: Vec::new(),
            issuer: format!("http://localhost:{listen}"),
            management: format!("http://127.0.0.1:{management}"),
        };
        machine.set("CHANCERY_LISTEN", &format!("127.0.0.1:{listen}"));
        machine.set("CHANCERY_MANAGEMENT_LISTEN", &format!("127.0.0.1:{management}"));
        machine.set("CHANCERY_PASSWORDS__MEMORY_KIB", "64");
        machine
    }

    pub async fn postgres() -> Self {
        let mut machine = Self::sqlite();
        machine.set("CHANCERY_DATABASE_URL", &postgres::database().await);
        machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
        machine
    }

    pub async fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(set, _)| set != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The database that its commands work on.
    pub fn database_url(&self) -> String {
        let configured = self.env.iter().find(|(name, _)| name == "CHANCERY_DATABASE_URL").map(|(_, url)| url.clone());
        configured.unwrap_or_else(|| format!("sqlite://{}", self.path().join("chancery-data/chancery.db").display()))
    }

    /// The configuration that its commands read.
    pub fn config(&self) -> Config {
        let flags = vec![("server.data_dir", self.path().join("chancery-data").display().to_string())];
        Config::load(Sources { file: None, env: self.env.iter().cloned().collect(), flags }).unwrap()
    }

    /// The same database, opened by the test.
    pub async fn db(&self) -> Db {
        Db::connect(&DatabaseConfig::new(self.database_url())).await.unwrap()
    }

    /// A copy that the database itself makes, as docs/runbooks.md has it: a server may be running.
    pub async fn backup(&self) -> Backup {
        let url = self.database_url();
        match url.strip_prefix("sqlite://") {
            Some(file) => {
                let copy = self.path().join("backup.db");
                let mut connection = sqlx::SqliteConnection::connect(file).await.unwrap();
                let vacuum = format!("VACUUM INTO '{}'", copy.display());
                sqlx::raw_sql(sqlx::AssertSqlSafe(vacuum)).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                let bytes = std::fs::read(&copy).unwrap();
                std::fs::remove_file(copy).unwrap();
                Backup::File(bytes)
            }
            None => Backup::Dump(postgres::dump(&url)),
        }
    }

    /// Puts a backup in the place of the database; no server may be running.
    pub async fn restore(&mut self, backup: &Backup) {
        match backup {
            Backup::File(bytes) => {
                let file = self.database_url();
                let file = file.trim_start_matches("sqlite://");
                // A connection of the test's own that was dropped closes a moment later.
                let begun = Instant::now();
                while Path::new(&format!("{file}-wal")).exists() {
                    assert!(begun.elapsed() < Duration::from_secs(10), "a server that has stopped leaves one file");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                std::fs::create_dir_all(Path::new(file).parent().unwrap()).unwrap();
                std::fs::write(file, bytes).unwrap();
            }
            Backup::Database(url) => {
                let copy = postgres::copy(url).await;
                self.set("CHANCERY_DATABASE_URL", &copy);
            }
            Backup::Dump(bytes) => {
                let url = postgres::database().await;
                postgres::restore(&url, bytes);
                self.set("CHANCERY_DATABASE_URL", &url);
            }
        }
    }

    /// Its server as the outside sees it.
    pub fn site(&self) -> Arc<Site> {
        let address = self.issuer.replace("http://localhost", "127.0.0.1").parse().unwrap();
        Arc::new(Site::new(&self.issuer, address))
    }

    /// A command with `--json`; what it printed.
    pub fn json(&self, line: &[&str]) -> Value {
        let mut line = line.to_vec();
        line.push("--json");
        serde_json::from_str(&self.run(&line)).unwrap()
    }

    /// Adds somebody with an account and a password.
    pub fn person(&self, username: &str) -> Person {
        let file = self.file("user.json", &json!({ "username": username, "password": PASSWORD }));
        let added = self.json(&["user", "add", "--file", &file]);
        let (password, sub) = (PASSWORD.to_owned(), added["sub"].as_str().unwrap().to_owned());
        Person { browser: Browser::new(self.site()), username: username.to_owned(), password, sub }
    }

    /// Registers a web application that may refresh and get tokens of its own.
    pub fn client(&self) -> Client {
        self.client_with(json!({ "grant_types": ["authorization_code", "refresh_token", "client_credentials"] }))
    }

    /// Registers a web application that may refresh, unless the metadata says otherwise.
    pub fn client_with(&self, metadata: Value) -> Client {
        let mut document = json!({ "client_name": "Shop", "redirect_uris": ["https://app.test/callback"],
                                   "grant_types": ["authorization_code", "refresh_token"] });
        for (name, value) in metadata.as_object().unwrap() {
            document[name] = value.clone();
        }
        let added = self.json(&["client", "add", "--file", &self.file("client.json", &document)]);
        let client_id = added["client_id"].as_str().unwrap().to_owned();
        let secret = added["client_secret"].as_str().map(str::to_owned);
        let redirect_uri = "https://app.test/callback".to_owned();
        Client { site: self.site(), client_id, secret, redirect_uri, posts: false }
    }

    /// Writes a JSON file into its folder.
    pub fn file(&self, name: &str, content: &Value) -> String {
        std::fs::write(self.path().join(name), content.to_string()).unwrap();
        name.to_owned()
    }

    pub fn command(&self, line: &[&str]) -> Command {
        self.command_of(&program(), line)
    }

    /// A command by somebody who may read what is in the data folder and not write it: another user of the machine, which root has to become.
    /// Whoever is not root has no right to write there themselves from here on, and [gets it back](Self::own_again).
    pub fn command_of_a_reader(&self, line: &[&str]) -> Command {
        let root = rustix::process::getuid().is_root();
        let (folder, files) = if root { (0o755, 0o644) } else { (0o500, 0o400) };
        let data = self.path().join("chancery-data");
        for file in std::fs::read_dir(&data).unwrap() {
            chmod(&file.unwrap().path(), files);
        }
        chmod(&data, folder);
        if !root {
            return self.command(line);
        }
        chmod(self.path(), 0o755);
        let copy = self.path().join("chancery");
        if !copy.exists() {
            std::fs::copy(program(), &copy).unwrap();
        }
        let mut command = self.command_of(&copy, line);
        command.uid(65_534);
        command
    }

    /// The data folder is its owner's alone, who may do everything.
    pub fn own_again(&self) {
        chmod(&self.path().join("chancery-data"), 0o700);
    }

    fn command_of(&self, program: &Path, line: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(line).current_dir(self.path()).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command that must succeed; what it printed.
    pub fn run(&self, line: &[&str]) -> String {
        let output = self.command(line).output().unwrap();
        assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A server that must not start; what it says.
    pub fn refuses(&self, line: &[&str]) -> String {
        refused(self.command(line))
    }

    /// Starts a server and waits until it is ready.
    pub async fn start(&self, line: &[&str]) -> Running<'_> {
        let mut child = self.command(line).spawn().unwrap();
        // Nobody may be kept waiting by a full pipe.
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let log = std::thread::spawn(move || {
            let mut all = String::new();
            while log.read_line(&mut all).unwrap_or(0) > 0 {}
            all
        });
        let mut running = Running { machine: self, child, log: Some(log) };
        for _ in 0..2000 {
            if running.child.try_wait().unwrap().is_some() {
                panic!("{line:?} ended: {}", running.log.take().unwrap().join().unwrap());
            }
            let ready = reqwest::get(format!("{}/readyz", self.management)).await;
            if ready.is_ok_and(|answer| answer.status() == 200) {
                return running;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{line:?} is not ready after 20 s");
    }
}

/// A command that must end with an error; what it says.
pub fn refused(mut command: Command) -> String {
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("{command:?} runs although it must refuse to start");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!status.success());
    said.lines().filter(|line| line.starts_with("chancery: ")).map(str::to_owned).collect::<Vec<_>>().join("\n")
}

/// The binary that is shipped, where a measurement asks for it.
fn program() -> PathBuf {
    std::env::var_os("CHANCERY_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_chancery").into()).into()
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What a database was at one instant.
pub enum Backup {
    /// An SQLite file.
    File(Vec<u8>),
    /// What `pg_dump` wrote.
    Dump(Vec<u8>),
    /// The URL of a copy in the tests' own cluster, to which nobody is connected: restored sooner.
    Database(String),
}

/// A server at work. Killed when it is forgotten.
pub struct Running<'a> {
    machine: &'a Machine,
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Running<'_> {
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Sends SIGTERM and waits; the exit status, what was printed and what was logged.
    pub fn stop(mut self) -> (ExitStatus, String, String) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        let begun = Instant::now();
        let status = self.child.wait().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30), "R-92: a shutdown takes 30 s at most");
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        (status, printed, self.log.take().unwrap().join().unwrap())
    }

    pub async fn token(&self, client: &Value, secret: &str) -> reqwest::Response {
        reqwest::Client::new()
            .post(format!("{}/token", self.machine.issuer))
            .basic_auth(client["client_id"].as_str().unwrap(), Some(secret))
            .form(&[("grant_type", "client_credentials")])
            .send()
            .await
            .unwrap()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port for a server that is yet to be started, and may be killed and started again: one that the kernel gives to nobody else meanwhile,
/// neither to who asks for any port nor to who connects somewhere.
pub fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    const LOWEST: u32 = 20_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let given_away: u32 = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768);
    let ours = given_away.saturating_sub(LOWEST);
    for _ in 0..ours {
        // Other processes of tests begin elsewhere.
        let asked = std::process::id().wrapping_mul(613).wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(LOWEST + asked % ours).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub async fn until(patience: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < patience, "does not come true within {patience:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
