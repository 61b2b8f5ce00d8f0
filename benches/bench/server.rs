//! The binary, run as an operator runs it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Of deployments on PostgreSQL; on SQLite the server makes one.
pub const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// One deployment: a folder, a database, a master key, and the server while it runs.
pub struct Server {
    binary: PathBuf,
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    pub address: SocketAddr,
    pub management: SocketAddr,
    running: Option<Child>,
}

impl Server {
    /// A new deployment; SQLite in its folder if no URL is given.
    pub fn new(binary: &Path, database_url: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (address, management) = (free_port(), free_port());
        let mut environment = vec![
            ("CHANCERY_ISSUER", format!("http://localhost:{}", address.port())),
            ("CHANCERY_LISTEN", address.to_string()),
            ("CHANCERY_MANAGEMENT_LISTEN", management.to_string()),
            ("CHANCERY_LOG", "warn".to_owned()),
        ];
        if let Some(url) = database_url {
            environment.push(("CHANCERY_DATABASE_URL", url.to_owned()));
            environment.push(("CHANCERY_MASTER_KEY", MASTER_KEY.to_owned()));
        }
        Self { binary: binary.to_owned(), folder, environment, address, management, running: None }
    }

    /// Sets a variable of its environment, for the next start.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// The folder with the database, unless that is PostgreSQL, and the master key.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("chancery-data")
    }

    pub fn issuer(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    pub fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, Child::id)
    }

    /// Runs a command of the operator's and gives back what it printed as JSON.
    pub fn operate(&self, arguments: &[&str], input: &str) -> Value {
        let mut child = self.command(arguments).arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?} failed");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Adds a file to the folder, for commands that read one.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Starts it; the time from there to the first 200.
    pub async fn start(&mut self) -> Duration {
        let started = Instant::now();
        self.running = Some(self.command(&["serve"]).stdin(Stdio::null()).spawn().unwrap());
        let request = format!("GET /jwks HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        loop {
            if let Ok(stream) = tokio::net::TcpStream::connect(self.address).await {
                drop(stream);
                let mut connection = crate::http::Connection::open(self.address).await;
                if connection.send(request.as_bytes()).await.status == 200 {
                    return started.elapsed();
                }
            }
            assert!(self.running.as_mut().unwrap().try_wait().unwrap().is_none(), "the server ended");
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not answer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            drop(child.wait());
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHANCERY_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
