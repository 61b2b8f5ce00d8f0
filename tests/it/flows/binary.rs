//! The binary as operators run it: refusing to start, logs without secrets, draining, killing it at any moment.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Browser, Client, Person, Request, Site, basic_header};

const PASSWORD: &str = "correct horse battery staple";

/// `chancery serve` in a folder of its own.
struct Process {
    site: Arc<Site>,
    child: Child,
    folder: Arc<tempfile::TempDir>,
    output: Arc<Mutex<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn chancery(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.args(words).current_dir(folder).env_clear().env("CHANCERY_PASSWORDS__MEMORY_KIB", "64").stdin(Stdio::null());
    command
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Process {
    /// Starts, or starts again in the same folder; returns when it answers.
    async fn start(folder: Arc<tempfile::TempDir>, extra: &[(&str, &str)]) -> Self {
        let (port, management) = (free_port(), free_port());
        let issuer = format!("http://localhost:{port}");
        let mut command = chancery(folder.path(), &["serve"]);
        command
            .env("CHANCERY_ISSUER", &issuer)
            .env("CHANCERY_LISTEN", format!("127.0.0.1:{port}"))
            .env("CHANCERY_MANAGEMENT_LISTEN", format!("127.0.0.1:{management}"))
            .envs(extra.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn Read + Send>; 2] = [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let output = output.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut output = output.lock().unwrap();
                    output.push_str(&line);
                    output.push('\n');
                }
            });
        }
        let site = Arc::new(Site::new(&issuer, format!("127.0.0.1:{port}").parse().unwrap()));
        let mut process = Self { site, child, folder, output };
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(process.site.address).is_err() {
            assert!(process.child.try_wait().unwrap().is_none() && Instant::now() < end, "{}", process.output.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process
    }

    fn run(&self, words: &[&str]) -> Value {
        let done = chancery(self.folder.path(), words).env("CHANCERY_ISSUER", &self.site.issuer).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&done.stdout)))
    }

    fn file(&self, name: &str, content: &Value) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.display().to_string()
    }

    fn person(&self) -> Person {
        let file = self.file("user.json", &json!({ "username": "alice", "password": PASSWORD, "email": "alice@example.com" }));
        self.run(&["user", "add", "--file", &file, "--json"]);
        Person { browser: Browser::new(self.site.clone()), username: "alice".into(), password: PASSWORD.into(), sub: String::new() }
    }

    fn client(&self) -> Client {
        let document = json!({ "client_name": "Shop", "redirect_uris": ["https://app.test/callback"], "grant_types": ["authorization_code", "refresh_token", "client_credentials"] });
        let added = self.run(&["client", "add", "--file", &self.file("client.json", &document), "--json"]);
        Client {
            site: self.site.clone(),
            client_id: added["client_id"].as_str().unwrap().to_owned(),
            secret: added["client_secret"].as_str().map(str::to_owned),
            redirect_uri: "https://app.test/callback".to_owned(),
            posts: false,
        }
    }

    async fn signal(mut self, name: &str) -> std::process::ExitStatus {
        Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        let end = Instant::now() + Duration::from_secs(35);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running: {}", self.output.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn folder() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

/// with everything logged, nothing that can be presented is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_hold_no_secrets() {
    for format in ["text", "json"] {
        let server = Process::start(folder(), &[("CHANCERY_LOG", "trace"), ("CHANCERY_LOG_FORMAT", format)]).await;
        let (alice, client) = (server.person(), server.client());
        let wrong = Person { browser: Browser::new(server.site.clone()), username: "alice".into(), password: "wrong-guess-of-mine".into(), sub: String::new() };
        assert!(wrong.answer(&Request::of(&client)).await.is_err());
        let request = Request::of(&client).with("scope", "openid email offline_access").with("prompt", "consent").with("state", "state-of-the-request\u{1b}[31m");
        let request = request.with("state", "state-of-the-request");
        let back = alice.arrive(&request).await;
        let tokens = client.redeem(back.code(), &back.verifier).await.ok();
        let renewed = client.refresh(&tokens.str("refresh_token")).await.ok();
        server.site.userinfo(&renewed.str("access_token")).await.ok();
        server.site.post("/userinfo", &[("access_token", &renewed.str("access_token"))], &[]).await.ok();
        client.introspect(&renewed.str("refresh_token")).await;
        client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
        let hint = renewed.str("id_token");
        alice.browser.get(format!("/logout?id_token_hint={hint}")).await;
        // Where it does not belong: a secret in the query.
        let path = format!("/token?client_secret={}&code=a-code-in-the-query", client.secret.as_ref().unwrap());
        server.site.post(&path, &[("grant_type", "client_credentials")], &[]).await;
        client.revoke(&renewed.str("refresh_token")).await.ok();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let secrets = [
            ("code", back.code().to_owned()),
            ("verifier", back.verifier.clone()),
            ("access token", tokens.str("access_token")),
            ("access token's signature", tokens.str("access_token").rsplit('.').next().unwrap().to_owned()),
            ("refresh token", tokens.str("refresh_token")),
            ("newer refresh token", renewed.str("refresh_token")),
            ("ID token", hint.clone()),
            ("client secret", client.secret.clone().unwrap()),
            ("Basic header", basic_header(&client.client_id, client.secret.as_ref().unwrap())[6..].to_owned()),
            ("password", PASSWORD.to_owned()),
            ("wrong password", "wrong-guess-of-mine".to_owned()),
            ("state", "state-of-the-request".to_owned()),
            ("code in a query", "a-code-in-the-query".to_owned()),
        ];
        let cookies = alice.browser.cookies();
        let folder = server.folder.clone();
        let output = server.output.clone();
        assert!(server.signal("-TERM").await.success());
        let output = output.lock().unwrap().clone();
        assert!(output.lines().count() > 20, "the log says nothing:\n{output}");
        for (what, secret) in secrets.iter().map(|(what, secret)| (*what, secret)).chain(cookies.values().map(|value| ("cookie", value))) {
            let line = output.lines().find(|line| line.contains(secret.as_str()));
            assert!(line.is_none(), "the {format} log holds the {what}: {line:?}");
        }
        if format == "json" {
            for line in output.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
        drop(folder);
    }
}

/// readiness goes down first, what is in flight finishes, exit 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_drains() {
    for signal in ["-TERM", "-INT"] {
        let server = Process::start(folder(), &[]).await;
        server.site.get("/readyz").await.ok();
        let started = Instant::now();
        let status = server.signal(signal).await;
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

///
#[test]
fn what_is_unsafe_refuses_to_start_with_one_clear_line() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let refuses = |change: &dyn Fn(&mut Command) -> &mut Command, words: &[&str]| {
        let mut command = chancery(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"]);
        change(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                child.kill().unwrap();
                panic!("started where it should say {words:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let done = child.wait_with_output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(!done.status.success());
        assert!(!said.contains("panicked"), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    };
    let write = |name: &str, content: &str, mode: u32| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    refuses(&|command| command.env("CHANCERY_ISSUER", "http://id.example.com"), &["https"]);
    refuses(&|command| command.env("CHANCERY_ISSUER", "https://id.example.com/?x=1"), &["issuer"]);
    let unknown = write("unknown.toml", "[lifetimes]\nacess_token = \"5m\"\n", 0o600);
    refuses(&|command| command.arg("--config").arg(&unknown), &["unknown.toml", "2", "acess_token", "access_token"]);
    let key = write("master.key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", 0o644);
    refuses(&|command| command.env("CHANCERY_MASTER_KEY_FILE", &key), &["master.key"]);
    refuses(&|command| command.env("CHANCERY_MASTER_KEY", "tooshort"), &["CHANCERY_MASTER_KEY"]);
    refuses(&|command| command.env("CHANCERY_DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"), &["master key"]);
    refuses(&|command| command.env("CHANCERY_DATABASE_URL", "mysql://x"), &["sqlite", "postgres"]);
    refuses(&|command| command.env("CHANCERY_LIFETIMES__NOPE", "1"), &["CHANCERY_LIFETIMES__NOPE"]);
}

/// Design 4.6: a wrong or missing master key on an existing database never makes a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_key_is_refused() {
    let folder = folder();
    let server = Process::start(folder.clone(), &[]).await;
    let kid = server.site.get("/jwks").await.json()["keys"][0]["kid"].clone();
    assert!(server.signal("-TERM").await.success());
    let wrong = chancery(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"])
        .env("CHANCERY_MASTER_KEY", "HxweHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgE")
        .output()
        .unwrap();
    assert!(!wrong.status.success());
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("master key"), "{said}");
    let server = Process::start(folder, &[]).await;
    assert_eq!(server.site.get("/jwks").await.json()["keys"][0]["kid"], kid, "the same keys as before");
}

/// whatever was acknowledged is there after kill -9, and nothing needs repair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_it_loses_nothing_that_was_acknowledged() {
    let folder = folder();
    let mut server = Process::start(folder.clone(), &[]).await;
    let (mut alice, mut client) = (server.person(), server.client());
    for round in 0..crate::harness::rounds(4, 25) {
        let back = alice.arrive(&Request::of(&client).with("scope", "openid offline_access").with("prompt", "consent")).await;
        let tokens = client.redeem(back.code(), &back.verifier).await.ok();
        let unused = alice.visit(&client, "openid").await;
        // Work in flight while it dies.
        let (working, token) = (client.clone(), tokens.str("refresh_token"));
        let flight = tokio::spawn(async move {
            let mut latest = token;
            while let Ok(answer) = working.site.request(reqwest::Method::POST, &working.site.url("/token")).header("authorization", basic_header(&working.client_id, working.secret.as_ref().unwrap())).form(&[("grant_type", "refresh_token"), ("refresh_token", &latest)]).send().await {
                let Ok(answer) = answer.json::<Value>().await else { break };
                match answer["refresh_token"].as_str() {
                    Some(next) => latest = next.to_owned(),
                    None => panic!("{answer}"),
                }
            }
            latest
        });
        tokio::time::sleep(Duration::from_millis(60 + round as u64 * 13)).await;
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let latest = flight.await.unwrap();
        server = Process::start(folder.clone(), &[]).await;
        // The port and so the issuer is another now; sessions are bound to neither.
        alice = Person { browser: alice.browser.through(server.site.clone()), ..alice };
        client = client.through(server.site.clone());
        client.refresh(&latest).await.ok();
        client.redeem(unused.code(), &unused.verifier).await.ok();
        client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    }
}

/// The start-up that the issue asks for, loosely here: this build is not optimised and shares its machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_fast_once_the_keys_exist() {
    let folder = folder();
    let server = Process::start(folder.clone(), &[]).await;
    assert!(server.signal("-TERM").await.success());
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        let server = Process::start(folder.clone(), &[]).await;
        server.site.get("/healthz").await.ok();
        best = best.min(started.elapsed());
        assert!(server.signal("-TERM").await.success());
    }
    println!("start-up to the first answer: {best:?}");
    assert!(best < Duration::from_secs(2), "{best:?}");
}
