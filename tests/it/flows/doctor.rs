//! `chancery doctor`: each finding, made true, with the built binary on each database where the database matters; and that it looks without
//! touching, beside a server at work, and comes to an end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::args;
use chancery::clock::{Clock, ManualClock, SystemClock, Timestamp};
use chancery::config::DatabaseConfig;
use chancery::entropy::{self, SystemEntropy};
use chancery::service::audit::DATABASE_WENT_BACK;
use chancery::service::doctor::{self, Check};
use chancery::storage::Db;
use chancery::storage::audit::{self, AuditEvent};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::dump;
use crate::harness::machine::{MASTER_KEY, Machine, OTHER_MASTER_KEY, free_port, until};
use crate::harness::postgres;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    SystemClock::default().now()
}

fn read(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    });
    assert_eq!(report["ok"], output.status.success(), "the exit code says the same: {report}");
    for finding in report["findings"].as_array().unwrap() {
        assert!(finding["what"].as_str().is_some_and(|what| !what.is_empty()), "{finding}");
        assert!(finding["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{finding}");
    }
    for secret in [MASTER_KEY, OTHER_MASTER_KEY] {
        assert!(!report.to_string().contains(secret), "a secret is in the report");
    }
    report
}

/// Runs `chancery doctor --json`.
fn examine(machine: &Machine) -> Value {
    read(&machine.command(&["doctor", "--json"]).output().unwrap())
}

/// The findings with this id, as (severity, what, subject).
fn found(report: &Value, id: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == id);
    findings.map(|finding| (text(&finding["severity"]), text(&finding["what"]), text(&finding["subject"]))).collect()
}

/// The one finding with this id: its severity and what it says.
#[track_caller]
fn the(report: &Value, id: &str) -> (String, String) {
    let found = found(report, id);
    assert_eq!(found.len(), 1, "{id}: {report:#}");
    (found[0].0.clone(), found[0].1.clone())
}

fn result(report: &Value, id: &str) -> String {
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap();
    check["result"].as_str().unwrap().to_owned()
}

/// An installation with nothing to mend, as far as its database goes: an administrator and a client.
fn settle(machine: &Machine) -> Value {
    machine.run(&["user", "add", "--username", "root", "--admin"]);
    let document = json!({ "client_name": "Shop", "redirect_uris": ["https://shop.acme.com/callback"],
                           "grant_types": ["authorization_code", "client_credentials"] });
    let file = machine.file("client.json", &document);
    machine.json(&["client", "add", "--file", &file])
}

async fn settled() -> [Machine; 2] {
    let machines = Machine::both().await;
    machines.iter().for_each(|machine| drop(settle(machine)));
    machines
}

async fn use_secret(machine: &Machine, client: &Value) {
    let (id, secret) = (client["client_id"].as_str().unwrap(), client["client_secret"].as_str());
    let request = reqwest::Client::new().post(format!("{}/token", machine.issuer)).basic_auth(id, secret);
    assert_eq!(request.form(&[("grant_type", "client_credentials")]).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_well_has_nothing_to_mend() {
    for machine in Machine::both().await {
        let client = settle(&machine);
        let server = machine.start(&["serve"]).await;
        use_secret(&machine, &client).await;
        until(Duration::from_secs(12), async || result(&examine(&machine), "client-secret-unused") == "ok").await;
        let report = examine(&machine);
        assert_eq!((&report["ok"], report["findings"].as_array().unwrap().len()), (&json!(true), 0), "{report:#}");
        for check in report["checks"].as_array().unwrap() {
            assert_eq!(check["result"], "ok", "{check}");
        }
        assert_eq!(report["checks"].as_array().unwrap().len(), Check::ALL.len());
        let text = machine.run(&["doctor"]);
        assert!(text.starts_with("CHECK") && text.lines().count() == Check::ALL.len() + 1, "{text}");
        server.stop();
        // In words, what is wrong stands below the table with what to do, and one line says that there is something.
        let output = machine.command(&["doctor"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("\nerror: issuer-unreachable (") && text.contains("To mend it:    Start the server"), "{text}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "chancery: errors: 1, warnings: 0, checks not made: 2\n");
        assert!(!output.status.success());
    }
}

/// Every file below a folder with its bytes and its time, without the index of SQLite's log, where readers say how far they read.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(files(&entry.path()));
        } else if !entry.path().to_string_lossy().ends_with("-shm") {
            all.push((entry.path(), std::fs::read(entry.path()).unwrap(), entry.metadata().unwrap().modified().unwrap()));
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_changes_nothing() {
    for machine in settled().await {
        let (before, rows) = (files(machine.path()), dump(&machine.database_url()).await);
        examine(&machine);
        let after = files(machine.path());
        let names = |files: &[(std::path::PathBuf, Vec<u8>, std::time::SystemTime)]| {
            files.iter().map(|(path, bytes, at)| format!("{} {} {at:?}", path.display(), bytes.len())).collect::<Vec<_>>()
        };
        assert!(before == after, "{:?} {:?}", names(&before), names(&after));
        assert!(rows == dump(&machine.database_url()).await, "{}", machine.database_url());
        // Nothing could: the connection does not write.
        let db = Db::look(&DatabaseConfig::new(machine.database_url())).await.unwrap();
        assert!(db.execute("DELETE FROM users", args![]).await.is_err());
        db.close().await;
    }
    // Where nothing is yet, nothing is made: no folder, no database, no key.
    let machine = Machine::sqlite();
    let report = examine(&machine);
    assert_eq!(the(&report, "database-unreachable").0, "error");
    assert_eq!(std::fs::read_dir(machine.path()).unwrap().count(), 0);
    let mut machine = Machine::postgres().await;
    assert!(the(&examine(&machine), "schema-behind").1.contains("empty"));
    machine.set("CHANCERY_DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    assert!(the(&examine(&machine), "database-unreachable").1.contains("refused"));
}

/// A server that answers each path with a status and a body, over TLS if there is a certificate. Its port.
async fn stranger(tls: Option<rustls::ServerConfig>, answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (answer, tls) = (Arc::new(answer), tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config))));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, tls) = (Arc::clone(&answer), tls.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            converse(stream, &*answer).await;
                        }
                    }
                    None => converse(stream, &*answer).await,
                }
            });
        }
    });
    port
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &(dyn Fn(&str) -> (u16, String) + Send + Sync)) {
    let mut head = vec![0; 4096];
    let length = stream.read(&mut head).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    let (status, body) = answer(head.split(' ').nth(1).unwrap_or_default());
    let more = if status == 302 { "Location: https://elsewhere.acme.com/\r\n" } else { "" };
    let text = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

/// A machine whose issuer is at that port.
fn machine_at(scheme: &str, port: u16, path: &str) -> Machine {
    let mut machine = Machine::sqlite();
    machine.set("CHANCERY_ISSUER", &format!("{scheme}://localhost:{port}{path}"));
    machine
}

fn document(issuer: impl std::fmt::Display) -> (u16, String) {
    (200, json!({ "issuer": issuer.to_string() }).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_issuer_does_not_answer_under_its_own_name() {
    assert!(the(&examine(&machine_at("http", free_port(), "")), "issuer-unreachable").1.contains("refused"));
    let mut nowhere = Machine::sqlite();
    nowhere.set("CHANCERY_ISSUER", "https://no-such-host.invalid");
    let report = examine(&nowhere);
    assert!(the(&report, "issuer-unreachable").1.contains("cannot be resolved"), "{report:#}");
    assert_eq!(result(&report, "certificate-expired"), "not examined");
    for (status, body, says) in
        [(404, "", "404"), (200, "<html>", "no discovery document"), (302, "", "redirects to https://elsewhere")]
    {
        let port = stranger(None, move |_| (status, body.to_owned())).await;
        assert!(the(&examine(&machine_at("http", port, "")), "issuer-unreachable").1.contains(says), "{says}");
    }
    // Something that speaks no TLS where TLS is expected.
    let port = stranger(None, |_| (200, String::new())).await;
    assert!(the(&examine(&machine_at("https", port, "")), "issuer-unreachable").1.contains("TLS fails"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_else_answers_under_the_issuers_name() {
    let port = stranger(None, |_| document("https://id.acme.com")).await;
    let report = examine(&machine_at("http", port, ""));
    let (severity, what) = the(&report, "issuer-mismatch");
    assert!(severity == "error" && what.contains("https://id.acme.com"), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trailing_slash_that_clients_will_not_match() {
    let mut machine = Machine::sqlite();
    settle(&machine);
    let server = machine.start(&["serve"]).await;
    assert_eq!(result(&examine(&machine), "issuer-trailing-slash"), "ok");
    server.stop();
    machine.set("CHANCERY_ISSUER", &format!("{}/", machine.issuer));
    let server = machine.start(&["serve"]).await;
    let report = examine(&machine);
    assert_eq!(the(&report, "issuer-trailing-slash").0, "warning");
    assert_eq!((result(&report, "issuer-unreachable"), result(&report, "issuer-mismatch")), ("ok".into(), "ok".into()));
    server.stop();
    // What answers has it, whatever the configuration says.
    let shared = Arc::new(std::sync::OnceLock::<String>::new());
    let theirs = Arc::clone(&shared);
    let port = stranger(None, move |_| document(theirs.get().unwrap())).await;
    shared.set(format!("http://localhost:{port}/")).unwrap();
    let report = examine(&machine_at("http", port, ""));
    assert_eq!(the(&report, "issuer-trailing-slash").0, "error");
    assert_eq!(result(&report, "issuer-mismatch"), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_of_an_issuer_with_a_path_is_missing_at_the_root() {
    let shared = Arc::new(std::sync::OnceLock::<String>::new());
    let issuer = Arc::clone(&shared);
    // A proxy that knows of nothing but the issuer's path.
    let port = stranger(
        None,
        move |path| if path.starts_with("/tenant/") { document(issuer.get().unwrap()) } else { (404, String::new()) },
    )
    .await;
    shared.set(format!("http://localhost:{port}/tenant")).unwrap();
    let report = examine(&machine_at("http", port, "/tenant"));
    let found = found(&report, "issuer-metadata-path");
    assert_eq!(found.len(), 2, "{report:#}");
    assert!(
        found.iter().all(|(severity, what, subject)| severity == "warning" && what.contains("404") && subject.ends_with("/tenant"))
    );
    // The server itself answers there.
    let mut machine = Machine::sqlite();
    settle(&machine);
    machine.set("CHANCERY_ISSUER", &format!("{}/tenant", machine.issuer));
    let server = machine.start(&["serve"]).await;
    let report = examine(&machine);
    assert_eq!((result(&report, "issuer-metadata-path"), result(&report, "issuer-unreachable")), ("ok".into(), "ok".into()));
    server.stop();
}

/// A certificate of an authority made for the test, for a name, valid from and until so many days from now.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// As PEM, with its key.
    fn pem(&self, name: &str, from: i64, until: i64) -> (String, String) {
        let (certificate, key) = self.issue(name, from, until);
        (certificate.pem(), key.serialize_pem())
    }

    fn issue(&self, name: &str, from: i64, until: i64) -> (rcgen::Certificate, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let at = |days: i64| time::OffsetDateTime::from_unix_timestamp(now().seconds() + days * 86_400).unwrap();
        (params.not_before, params.not_after) = (at(from), at(until));
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn certificate(&self, name: &str, from: i64, until: i64) -> rustls::ServerConfig {
        let (certificate, key) = self.issue(name, from, until);
        let chain = vec![certificate.der().clone()];
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_has_expired_or_does_not_match() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (authority, name, from, until, expected) in [
        (&ours, "localhost", -10, 60, None),
        (&ours, "localhost", -60, -1, Some(("certificate-expired", "error", "expired on"))),
        (&ours, "localhost", -60, 9, Some(("certificate-expired", "warning", "expires on"))),
        (&ours, "localhost", 3, 60, Some(("certificate-expired", "error", "is valid from"))),
        (&ours, "other.acme.com", -10, 60, Some(("certificate-name", "error", "another name"))),
        (&theirs, "localhost", -10, 60, Some(("certificate-untrusted", "error", "vouches"))),
    ] {
        let shared = Arc::new(std::sync::OnceLock::<String>::new());
        let issuer = Arc::clone(&shared);
        let port = stranger(Some(authority.certificate(name, from, until)), move |_| document(issuer.get().unwrap())).await;
        shared.set(format!("https://localhost:{port}")).unwrap();
        let mut machine = machine_at("https", port, "");
        std::fs::write(machine.path().join("ca.pem"), &ours.pem).unwrap();
        machine.set("CHANCERY_OUTBOUND__EXTRA_CA_FILE", "ca.pem");
        let report = examine(&machine);
        assert_eq!(
            (result(&report, "issuer-unreachable"), result(&report, "issuer-mismatch")),
            ("ok".into(), "ok".into()),
            "{report:#}"
        );
        for id in ["certificate-expired", "certificate-name", "certificate-untrusted"] {
            match expected {
                Some((expected, severity, says)) if expected == id => {
                    let found = the(&report, id);
                    assert!(found.0 == severity && found.1.contains(says), "{found:?}");
                }
                _ => assert_eq!(result(&report, id), "ok", "{name} {from} {until}: {report:#}"),
            }
        }
    }
}

/// Of a server that serves https by itself, the certificate is looked at before it is started, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_in_the_configuration_has_expired_or_does_not_match() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut machine = machine_at("https", free_port(), "");
    std::fs::write(machine.path().join("ca.pem"), &ours.pem).unwrap();
    machine.set("CHANCERY_OUTBOUND__EXTRA_CA_FILE", "ca.pem");
    machine.set("CHANCERY_TLS__CERTIFICATE_FILE", "cert.pem");
    machine.set("CHANCERY_TLS__PRIVATE_KEY_FILE", "key.pem");
    let put = |machine: &Machine, (certificate, key): &(String, String)| {
        std::fs::write(machine.path().join("cert.pem"), certificate).unwrap();
        std::fs::write(machine.path().join("key.pem"), key).unwrap();
        std::fs::set_permissions(machine.path().join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    for (pem, expected) in [
        (ours.pem("localhost", -10, 60), None),
        (ours.pem("localhost", -60, -1), Some("certificate-expired")),
        (ours.pem("other.acme.com", -10, 60), Some("certificate-name")),
        (theirs.pem("localhost", -10, 60), Some("certificate-untrusted")),
        ((ours.pem("localhost", -10, 60).0, ours.pem("localhost", -10, 60).1), Some("configuration")),
        ((String::new(), ours.pem("localhost", -10, 60).1), Some("configuration")),
    ] {
        put(&machine, &pem);
        let report = examine(&machine);
        for id in ["certificate-expired", "certificate-name", "certificate-untrusted", "configuration"] {
            match expected {
                Some(expected) if expected == id => assert_eq!(the(&report, id).0, "error", "{report:#}"),
                _ if pem.0.is_empty() && id != "configuration" => assert_eq!(result(&report, id), "not examined", "{report:#}"),
                _ => assert_eq!(result(&report, id), "ok", "{id}: {report:#}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_is_off() {
    for machine in settled().await {
        let server = machine.start(&["serve"]).await;
        assert_eq!(result(&examine(&machine), "clock-off"), "ok");
        let off = async |clock: ManualClock| {
            let clock: Arc<dyn Clock> = Arc::new(clock);
            let report = doctor::examine(&Ok(machine.config()), &clock).await.json();
            let mut about: Vec<String> = found(&report, "clock-off").into_iter().map(|(_, _, subject)| subject).collect();
            about.sort();
            about
        };
        let sqlite = machine.database_url().starts_with("sqlite");
        // The server's answer says so, and PostgreSQL has a clock of its own.
        let ahead = off(ManualClock::new(now().plus(Duration::from_secs(60)))).await;
        assert_eq!(ahead, if sqlite { vec![""] } else { vec!["", "database"] });
        // Behind: the audit log has what has not happened yet.
        let behind = off(ManualClock::new(now().minus(Duration::from_secs(3600)))).await;
        assert_eq!(behind, if sqlite { vec!["", "audit log"] } else { vec!["", "audit log", "database"] });
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_is_older_or_newer() {
    for machine in settled().await {
        let db = machine.db().await;
        db.execute("INSERT INTO schema_migrations (number, name, checksum, applied_at) SELECT 9999, '9999_future', checksum, applied_at FROM schema_migrations WHERE number = 1", args![]).await.unwrap();
        let report = examine(&machine);
        assert!(the(&report, "schema-ahead").1.contains("9999_future"));
        assert_eq!(result(&report, "no-administrator"), "not examined");
        db.execute("DELETE FROM schema_migrations WHERE number = 9999", args![]).await.unwrap();
        assert_eq!(result(&examine(&machine), "schema-ahead"), "ok");
        db.execute("DELETE FROM schema_migrations WHERE number > 5", args![]).await.unwrap();
        assert!(the(&examine(&machine), "schema-behind").1.contains("0006_changes"));
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_wrong() {
    for mut machine in Machine::both().await {
        machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
        machine.run(&["key", "list"]);
        assert_eq!(result(&examine(&machine), "master-key-wrong"), "ok");
        machine.set("CHANCERY_MASTER_KEY", OTHER_MASTER_KEY);
        let (severity, what) = the(&examine(&machine), "master-key-wrong");
        assert!(severity == "error" && what.contains("does not fit"), "{what}");
        // Two keys, and nothing has been sealed anew yet.
        machine.set("CHANCERY_MASTER_KEY", &format!("{OTHER_MASTER_KEY},{MASTER_KEY}"));
        let report = examine(&machine);
        assert_eq!((result(&report, "master-key-wrong"), the(&report, "master-key-old").0), ("ok".into(), "warning".into()));
        machine.run(&["key", "rewrap"]);
        assert_eq!(result(&examine(&machine), "master-key-old"), "ok");
        machine.set("CHANCERY_MASTER_KEY", "hunter2");
        let report = examine(&machine);
        assert!(the(&report, "master-key-wrong").1.contains("malformed") && !report.to_string().contains("hunter2"), "{report}");
        // None at all: lost on SQLite, required on PostgreSQL.
        machine.env.retain(|(name, _)| name != "CHANCERY_MASTER_KEY");
        assert!(the(&examine(&machine), "master-key-wrong").1.contains("is"), "a missing key is a wrong one");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_file_is_readable_by_others() {
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    // Made by the server: the master key and the database.
    let machine = Machine::sqlite();
    machine.run(&["key", "list"]);
    assert_eq!(result(&examine(&machine), "secret-file-readable"), "ok");
    for name in ["master.key", "chancery.db"] {
        let path = machine.path().join("chancery-data").join(name);
        chmod(&path, 0o644);
        let found = found(&examine(&machine), "secret-file-readable");
        assert!(found.len() == 1 && found[0].0 == "error" && found[0].2.ends_with(name), "{found:?}");
        chmod(&path, 0o600);
    }
    // Named by the configuration: the server refuses to start, and doctor says why.
    for mut machine in Machine::both().await {
        machine.env.retain(|(name, _)| name != "CHANCERY_MASTER_KEY");
        let path = machine.path().join("secret");
        std::fs::write(&path, MASTER_KEY).unwrap();
        chmod(&path, 0o640);
        machine.set("CHANCERY_MASTER_KEY_FILE", "secret");
        machine.run(&["key", "list"]);
        assert_eq!(result(&examine(&machine), "secret-file-readable"), "ok");
        chmod(&path, 0o644);
        let report = examine(&machine);
        assert!(the(&report, "secret-file-readable").1.contains("every user"));
        assert_eq!(result(&report, "configuration"), "not examined");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_is_refused() {
    let mut machine = Machine::sqlite();
    machine.set("CHANCERY_LIFETIMES__ACESS_TOKEN", "60");
    let report = examine(&machine);
    let found = found(&report, "configuration");
    assert!(found.len() == 1 && found[0].2.contains("CHANCERY_LIFETIMES__ACESS_TOKEN"), "{report:#}");
    assert_eq!(result(&report, "issuer-unreachable"), "not examined");
    let mut machine = Machine::sqlite();
    machine.set("CHANCERY_TLS__CERTIFICATE_FILE", "server.pem");
    assert!(the(&examine(&machine), "configuration").1.contains("private_key_file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_user_lacks_rights() {
    let mut machine = Machine::postgres().await;
    settle(&machine);
    assert_eq!(result(&examine(&machine), "database-rights"), "ok");
    let owner = machine.db().await;
    for statement in [
        "DROP ROLE IF EXISTS doctors_patient",
        "CREATE ROLE doctors_patient LOGIN",
        "GRANT USAGE ON SCHEMA public TO doctors_patient",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO doctors_patient",
        "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO doctors_patient",
        "REVOKE UPDATE, DELETE ON audit_events, schema_migrations FROM doctors_patient",
    ] {
        owner.execute(statement, args![]).await.unwrap();
    }
    let url = machine.database_url().replace("chancery@", "doctors_patient@");
    machine.set("CHANCERY_DATABASE_URL", &url);
    assert_eq!(result(&examine(&machine), "database-rights"), "ok", "the audit log needs to be written, not to be changed");
    owner.execute("REVOKE INSERT, DELETE ON grants FROM doctors_patient", args![]).await.unwrap();
    let report = examine(&machine);
    assert!(the(&report, "database-rights").1.contains("lacks INSERT, DELETE on grants"), "{report:#}");
    assert!(report.to_string().contains("GRANT INSERT, DELETE ON grants TO"));
    owner.execute("REVOKE SELECT ON schema_migrations FROM doctors_patient", args![]).await.unwrap();
    let report = examine(&machine);
    assert!(found(&report, "database-rights").iter().any(|(_, what, _)| what.contains("SELECT on schema_migrations")));
    owner.execute("REVOKE USAGE ON SCHEMA public FROM doctors_patient, PUBLIC", args![]).await.unwrap();
    assert!(the(&examine(&machine), "database-rights").1.contains("no schema"));
    for statement in ["DROP OWNED BY doctors_patient", "DROP ROLE doctors_patient"] {
        owner.execute(statement, args![]).await.unwrap();
    }
    owner.close().await;

    // SQLite: another user of the machine, which root has to become.
    let machine = Machine::sqlite();
    settle(&machine);
    machine.run(&["key", "list"]);
    let report = read(&machine.command_of_a_reader(&["doctor", "--json"]).output().unwrap());
    let found = found(&report, "database-rights");
    assert_eq!(found.len(), 2, "the file and its folder: {report:#}");
    assert!(found.iter().all(|(severity, what, _)| severity == "error" && what.contains("may not")));
    machine.own_again();

    // Nobody's right is in question where it is no database at all.
    let mut machine = Machine::sqlite();
    settle(&machine);
    std::fs::write(machine.path().join("notes.txt"), "no database, and long enough to be looked into\n".repeat(50)).unwrap();
    machine.set("CHANCERY_DATABASE_URL", "sqlite://notes.txt");
    assert!(the(&examine(&machine), "database-unreachable").1.contains("is not a database"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_is_larger_than_the_server_allows() {
    let mut machine = Machine::postgres().await;
    settle(&machine);
    assert_eq!(result(&examine(&machine), "database-pool"), "ok");
    machine.set("CHANCERY_DATABASE__MAX_CONNECTIONS", "1000");
    let (severity, what) = the(&examine(&machine), "database-pool");
    assert!(severity == "error" && what.contains("1000") && what.contains("max_connections less"), "{what}");
    machine.set("CHANCERY_DATABASE__MAX_CONNECTIONS", "5");
    let db = machine.db().await;
    db.execute("CREATE ROLE doctors_guest LOGIN CONNECTION LIMIT 5", args![]).await.unwrap();
    db.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO doctors_guest", args![]).await.unwrap();
    let url = machine.database_url();
    machine.set("CHANCERY_DATABASE_URL", &url.replace("chancery@", "doctors_guest@"));
    assert!(the(&examine(&machine), "database-pool").1.contains("the user's CONNECTION LIMIT allows 5"));
    // Nothing is free: said as what it is.
    db.execute("ALTER ROLE doctors_guest CONNECTION LIMIT 0", args![]).await.unwrap();
    assert!(the(&examine(&machine), "database-pool").1.contains("53300"));
    for statement in ["DROP OWNED BY doctors_guest", "DROP ROLE doctors_guest"] {
        db.execute(statement, args![]).await.unwrap();
    }
    db.close().await;
    let mut sqlite = Machine::sqlite();
    settle(&sqlite);
    sqlite.set("CHANCERY_DATABASE__MAX_CONNECTIONS", "1000");
    assert_eq!(result(&examine(&sqlite), "database-pool"), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_not_trusted_though_its_headers_are_there() {
    for mut machine in settled().await {
        let server = machine.start(&["serve"]).await;
        let ask = |machine: &Machine| reqwest::Client::new().get(format!("{}/.well-known/openid-configuration", machine.issuer));
        ask(&machine).send().await.unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(result(&examine(&machine), "proxy-untrusted"), "ok");
        ask(&machine).header("x-forwarded-for", "198.51.100.7").send().await.unwrap();
        until(Duration::from_secs(12), async || result(&examine(&machine), "proxy-untrusted") == "found").await;
        let report = examine(&machine);
        let (severity, what) = the(&report, "proxy-untrusted");
        assert!(severity == "warning" && what.contains("127.0.0.1") && !what.contains("198.51.100.7"), "{what}");
        assert!(report.to_string().contains(r#"trusted = [\"127.0.0.1\"]"#), "{report}");
        server.stop();
        machine.set("CHANCERY_PROXIES__TRUSTED", "127.0.0.0/8");
        assert_eq!(result(&examine(&machine), "proxy-untrusted"), "ok");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_management_port_is_public() {
    let mut machine = Machine::sqlite();
    settle(&machine);
    assert_eq!(result(&examine(&machine), "management-public"), "ok");
    machine.set("CHANCERY_MANAGEMENT_LISTEN", "8.8.8.8:9080");
    assert!(the(&examine(&machine), "management-public").1.contains("8.8.8.8:9080 is a public address"));
    // Everywhere, but nobody public was seen: in a container that is as it must be.
    machine.set("CHANCERY_MANAGEMENT_LISTEN", &format!("0.0.0.0:{}", free_port()));
    assert_eq!(the(&examine(&machine), "management-public").0, "note");
    // A proxy that passes it on.
    let port =
        stranger(None, |path| if path == "/metrics" { (200, "chancery_ready 1\n".to_owned()) } else { (404, String::new()) }).await;
    let machine = machine_at("http", port, "");
    let (severity, what) = the(&examine(&machine), "management-public");
    assert!(severity == "error" && what.contains("/metrics"), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_an_administrator() {
    for machine in Machine::both().await {
        machine.run(&["user", "add", "--username", "alice"]);
        assert_eq!(the(&examine(&machine), "no-administrator").0, "warning");
        machine.run(&["user", "add", "--username", "root", "--admin"]);
        assert_eq!(result(&examine(&machine), "no-administrator"), "ok");
        machine.run(&["user", "disable", "root"]);
        assert_eq!(the(&examine(&machine), "no-administrator").0, "warning");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_a_suspicious_redirect() {
    for mut machine in settled().await {
        machine.set("CHANCERY_ISSUER", "https://no-such-host.invalid");
        assert_eq!(result(&examine(&machine), "redirect-suspicious"), "ok");
        let uris = ["https://shop.acme.com/ok", "http://localhost:3000/callback", "https://0a1b.ngrok-free.app/cb"];
        let client = machine.json(&[
            "client",
            "add",
            "--file",
            &machine.file("odd.json", &json!({ "client_name": "Odd", "redirect_uris": uris })),
        ]);
        let id = client["client_id"].as_str().unwrap();
        let found = found(&examine(&machine), "redirect-suspicious");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|(severity, _, subject)| severity == "warning" && subject == id));
        assert!(
            found.iter().any(|(_, what, _)| what.contains("localhost:3000"))
                && found.iter().any(|(_, what, _)| what.contains("ngrok"))
        );
        machine.run(&["client", "disable", id]);
        assert_eq!(result(&examine(&machine), "redirect-suspicious"), "ok");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_secret_was_never_used_or_is_old() {
    for machine in Machine::both().await {
        let client = settle(&machine);
        let (severity, what) = the(&examine(&machine), "client-secret-unused");
        assert!(severity == "note" && what.contains("never used"), "just made: {what}");
        let db = machine.db().await;
        let ago = |days: u32| now().minus(DAY * days);
        let age = async |days: u32| {
            db.execute("UPDATE client_secrets SET created_at = $1", args![ago(days)]).await.unwrap();
        };
        age(8).await;
        // Uses are noted since today only: the secret may have been used before.
        let (severity, what) = the(&examine(&machine), "client-secret-unused");
        assert!(severity == "note" && what.contains("began to be noted"), "{what}");
        db.execute("UPDATE schema_migrations SET applied_at = $1", args![ago(30)]).await.unwrap();
        let report = examine(&machine);
        assert_eq!((the(&report, "client-secret-unused").0, result(&report, "client-secret-old")), ("warning".into(), "ok".into()));

        let server = machine.start(&["serve"]).await;
        use_secret(&machine, &client).await;
        use_secret(&machine, &client).await;
        until(Duration::from_secs(12), async || result(&examine(&machine), "client-secret-unused") == "ok").await;
        let used_at = async || {
            let row = db.optional(
                "SELECT last_used_at AS at, (SELECT COUNT(*) FROM client_secret_uses) AS rows FROM client_secret_uses",
                args![],
            );
            let row = row.await.unwrap().unwrap();
            (row.get::<Timestamp>("at").unwrap(), row.get::<i64>("rows").unwrap())
        };
        let first = used_at().await;
        assert_eq!(first.1, 1);
        // Once a day is enough.
        use_secret(&machine, &client).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(used_at().await, first);
        server.stop();

        age(366).await;
        assert_eq!(the(&examine(&machine), "client-secret-old").0, "warning");
        // One that is on its way out is nobody's worry, and the use of a secret goes with it.
        machine.run(&["client", "rotate-secret", client["client_id"].as_str().unwrap()]);
        assert_eq!(result(&examine(&machine), "client-secret-old"), "ok");
        machine.run(&["client", "remove", client["client_id"].as_str().unwrap()]);
        let left = db.optional("SELECT COUNT(*) AS number FROM client_secret_uses", args![]).await.unwrap().unwrap();
        assert_eq!(left.get::<i64>("number").unwrap(), 0);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_not_told_of_sign_outs() {
    for machine in Machine::both().await {
        let client = settle(&machine);
        let id = client["client_id"].as_str().unwrap();
        let db = machine.db().await;
        let owe = async |row: u8, minutes: u32, attempts: i64| {
            let values = args![vec![row; 16], id, now().minus(DAY / 1440 * minutes), attempts];
            let owed = "INSERT INTO logout_deliveries (id, client_id, sub, sid, created_at, due_at, attempts)
                        VALUES ($1, $2, 'sub', 'sid', $3, $3, $4)";
            db.execute(owed, values).await.unwrap();
        };
        owe(1, 8, 4).await;
        assert_eq!(result(&examine(&machine), "logout-undelivered"), "ok");
        owe(2, 60, 7).await;
        owe(3, 11, 5).await;
        let found = found(&examine(&machine), "logout-undelivered");
        assert!(
            matches!(&found[..], [(severity, what, subject)] if severity == "warning" && subject == id
                && what.contains("2 sessions") && what.contains("up to 7 attempts")),
            "{found:?}"
        );
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signing_key_is_past_its_time() {
    for machine in settled().await {
        machine.run(&["key", "list"]);
        assert_eq!(result(&examine(&machine), "signing-key-overdue"), "ok");
        let db = machine.db().await;
        let old = "UPDATE signing_keys SET activated_at = $1, state_since = $1 WHERE state = 'active' AND alg = 'ES256'";
        db.execute(old, args![now().minus(DAY * 91)]).await.unwrap();
        db.execute("UPDATE signing_keys SET published_at = $1 WHERE alg = 'ES256'", args![now().minus(DAY * 91)]).await.unwrap();
        let report = examine(&machine);
        let overdue = found(&report, "signing-key-overdue");
        assert!(overdue.iter().all(|(severity, _, subject)| severity == "error" && subject == "ES256"), "{overdue:?}");
        assert!(overdue.iter().any(|(_, what, _)| what.contains("signing for too long")), "{overdue:?}");
        // A server does what is due.
        machine.start(&["serve"]).await.stop();
        assert_eq!(result(&examine(&machine), "signing-key-overdue"), "ok");
        db.execute("DELETE FROM signing_keys WHERE state = 'next' AND alg = 'EdDSA'", args![]).await.unwrap();
        assert_eq!(the(&examine(&machine), "signing-key-overdue").1, "there is no next EdDSA key");
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_went_back_in_time() {
    for machine in settled().await {
        assert_eq!(result(&examine(&machine), "database-went-back"), "ok");
        let db = machine.db().await;
        // As the token endpoint writes it: see `runbooks::a_backup_is_back`.
        let event = AuditEvent {
            id: entropy::row_id(&SystemEntropy, now()),
            at: now(),
            actor: "server".to_owned(),
            action: DATABASE_WENT_BACK.to_owned(),
            target: "grant".to_owned(),
            was: None,
            is_now: None,
            trace_id: None,
        };
        audit::insert(&db, &event).await.unwrap();
        let report = examine(&machine);
        assert_eq!(the(&report, "database-went-back").0, "warning");
        assert!(report.to_string().contains("runbooks.md"));
        db.close().await;
    }
}

/// Whoever accepts and says nothing is waited for, not for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_to_an_end_whoever_keeps_silent() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let mut machine = machine_at("https", port, "");
    machine.set("CHANCERY_DATABASE_URL", &format!("postgres://silent@127.0.0.1:{port}/x"));
    machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
    let begun = Instant::now();
    let output = tokio::task::spawn_blocking(move || machine.command(&["doctor", "--json"]).output().unwrap()).await.unwrap();
    let report = read(&output);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert!(the(&report, "issuer-unreachable").1.contains("within 8 seconds"), "{report:#}");
    assert_eq!(the(&report, "database-unreachable").0, "error");
    // A database whose rows somebody holds is only looked at.
    let mut machine = Machine::sqlite();
    machine.set("CHANCERY_DATABASE_URL", &postgres::database().await);
    machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
    settle(&machine);
    let mut holder = <sqlx::PgConnection as sqlx::Connection>::connect(&machine.database_url()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE clients IN ACCESS EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    let begun = Instant::now();
    let report = examine(&machine);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(result(&report, "redirect-suspicious"), "not examined");
    assert_eq!(result(&report, "no-administrator"), "ok");
}
