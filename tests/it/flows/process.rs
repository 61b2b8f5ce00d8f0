//! The real binary as an init system sees it: it starts, says that it is ready, and on SIGTERM goes the way of security.md R-92.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::machine::{free_port, until};

struct Process {
    child: Child,
    address: SocketAddr,
    management: SocketAddr,
    folder: tempfile::TempDir,
}

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

async fn status(address: SocketAddr, path: &str) -> Option<u16> {
    Some(reqwest::get(format!("http://{address}{path}")).await.ok()?.status().as_u16())
}

impl Process {
    async fn start(more: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_chancery")).arg("serve"), None, more).await
    }

    /// Started in another way, or with a log elsewhere.
    async fn start_by(command: &mut Command, log: Option<Stdio>, more: &[(&str, &str)]) -> Self {
        let (address, management) = (free(), free());
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command
            .env_clear()
            .env("CHANCERY_ISSUER", format!("http://localhost:{}", address.port()))
            .env("CHANCERY_LISTEN", address.to_string())
            .env("CHANCERY_MANAGEMENT_LISTEN", management.to_string())
            .env("CHANCERY_SERVER__DATA_DIR", folder.path().join("data"))
            .env("CHANCERY_LOG_FORMAT", "json")
            .envs(more.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap_or(file.into()))
            .spawn()
            .unwrap();
        let begin = Instant::now();
        let mut process = Self { child, address, management, folder };
        while status(address, "/readyz").await != Some(200) {
            assert!(process.child.try_wait().unwrap().is_none(), "it ended: {}", process.log());
            assert!(begin.elapsed() < Duration::from_secs(60), "not ready: {}", process.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        process
    }

    fn terminate(&self) {
        self.signal("-TERM");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for the end, not for ever.
    async fn end(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "it does not end: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn sigterm_takes_readiness_down_finishes_what_is_in_flight_and_exits_with_0() {
    let mut process =
        Process::start(&[("CHANCERY_LIMITS__DRAIN_DELAY", "4s"), ("CHANCERY_LIMITS__BODY_READ_TIMEOUT", "20s")]).await;
    let mut in_flight = TcpStream::connect(process.address).await.unwrap();
    let head = "POST /token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\n\r\n";
    in_flight.write_all(head.as_bytes()).await.unwrap();
    in_flight.write_all(b"grant_type=").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    process.terminate();
    // Still accepting, and saying no.
    until(Duration::from_secs(3), async || status(process.address, "/readyz").await == Some(503)).await;
    assert_eq!(status(process.management, "/readyz").await, Some(503));
    assert_eq!(status(process.address, "/jwks").await, Some(200), "still serving");
    // And then no longer.
    until(Duration::from_secs(12), async || TcpStream::connect(process.address).await.is_err()).await;

    in_flight.write_all(b"client_credentials").await.unwrap();
    let mut answer = String::new();
    in_flight.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");

    assert_eq!(process.end().await.code(), Some(0), "{}", process.log());

    // The refusal of the last request was written before the end.
    let trace = answer.lines().find_map(|line| line.strip_prefix("chancery-trace-id: ")).unwrap();
    let told = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(["explain", trace])
        .env_clear()
        .env("CHANCERY_SERVER__DATA_DIR", process.folder.path().join("data"))
        .current_dir(process.folder.path())
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

#[tokio::test]
async fn sighup_without_tls_changes_nothing_and_says_so() {
    let mut process = Process::start(&[]).await;
    process.signal("-HUP");
    process.signal("-HUP");
    let begin = Instant::now();
    while !process.log().contains("SIGHUP: nothing to read again") {
        assert!(process.child.try_wait().unwrap().is_none(), "it ended: {}", process.log());
        assert!(begin.elapsed() < Duration::from_secs(10), "it says nothing: {}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status(process.address, "/readyz").await, Some(200));
    process.terminate();
    assert_eq!(process.end().await.code(), Some(0), "{}", process.log());
}

/// Nobody is left behind who holds the ports and the database.
#[tokio::test]
async fn a_server_ends_with_the_terminal_that_it_was_started_from() {
    let line = format!("exec {} serve", env!("CARGO_BIN_EXE_chancery"));
    let mut terminal =
        Process::start_by(Command::new("script").args(["--quiet", "--command", &line, "/dev/null"]), None, &[]).await;
    terminal.child.kill().unwrap();
    let begin = Instant::now();
    while TcpStream::connect(terminal.management).await.is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(10), "it goes on without its terminal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_ends_nothing() {
    let (reader, log) = std::io::pipe().unwrap();
    let mut process = Process::start_by(Command::new(env!("CARGO_BIN_EXE_chancery")).arg("serve"), Some(log.into()), &[]).await;
    drop(reader);
    for _ in 0..3 {
        assert_eq!(status(process.address, "/nothing").await, Some(404));
    }
    process.terminate();
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn systemd_is_told_when_the_server_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let systemd = tokio::net::UnixDatagram::bind(&path).unwrap();
    let process = Process::start(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    let mut told = [0; 64];
    let length = tokio::time::timeout(Duration::from_secs(10), systemd.recv(&mut told)).await.unwrap().unwrap();
    assert_eq!(&told[..length], b"READY=1");
    drop(process);
}

#[tokio::test]
async fn every_line_of_the_log_is_json_and_none_holds_what_was_sent() {
    let mut process = Process::start(&[]).await;
    let http = reqwest::Client::new();
    let token = format!("http://{}/token", process.address);
    for body in [
        "grant_type=authorization_code&code=hunter2&client_id=hunter2&client_secret=hunter2",
        "client_secret=hunter2&client_secret=x",
    ] {
        let request = http.post(&token).header("content-type", "application/x-www-form-urlencoded").body(body);
        assert!(request.send().await.unwrap().status().is_client_error());
    }
    for path in [
        "/authorize?client_id=hunter2&state=hunter2&redirect_uri=https://hunter2",
        "/hunter2?hunter2",
        "/token?client_secret=hunter2",
    ] {
        let _answer =
            http.get(format!("http://{}{path}", process.address)).header("authorization", "Basic hunter2").send().await.unwrap();
    }
    process.terminate();
    process.end().await;
    let log = process.log();
    assert!(log.lines().count() > 5, "{log}");
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["timestamp"].is_string() && event["level"].is_string(), "{line}");
    }
    assert!(log.contains("/authorize") && !log.contains("hunter2"), "{log}");
}

/// neither a file nor a program that collects dumps gets the memory.
#[tokio::test]
async fn a_crash_leaves_no_core_dump() {
    use std::os::unix::process::ExitStatusExt as _;
    let mut process = Process::start(&[]).await;
    let id = process.child.id();
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{line}");
    assert!(Command::new("kill").args(["-ABRT", &id.to_string()]).status().unwrap().success());
    let ended = process.end().await;
    assert!(ended.signal().is_some() && !ended.core_dumped(), "{ended:?}");
}
