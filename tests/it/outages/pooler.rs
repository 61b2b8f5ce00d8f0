//! PgBouncer with pool_mode = transaction, as Debian installs it: each transaction may run in another session of PostgreSQL.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::apps::Load;
use super::installation::Installation;
use crate::harness::machine::free_port;
use crate::harness::{Person, postgres};

/// It ends when its standard input does, as the cluster of the harness.
const SUPERVISOR: &str = r#"
trap '' INT TERM HUP
"$1" -q "$2" &
pid=$!
cat >/dev/null
kill -KILL "$pid"
wait "$pid"
"#;

/// A running PgBouncer.
pub struct Pooler {
    supervisor: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// With `sessions` for each database, before the cluster whose socket is in this folder.
    pub async fn before(cluster: &Path, sessions: usize, more: &str) -> Self {
        let program = installed().expect("PgBouncer is not installed: `apt-get install pgbouncer`, or let ./test do it");
        Self::run(program, folder(), (cluster, sessions, more)).await
    }

    /// The same with one that can keep prepared statements: 1.21 or newer.
    async fn newer(cluster: &Path, sessions: usize, more: &str) -> Self {
        let folder = folder();
        let program = match installed().filter(|program| is_newer(program)) {
            Some(program) => program.to_owned(),
            None => unpacked(folder.path()),
        };
        Self::run(&program, folder, (cluster, sessions, more)).await
    }

    async fn run(program: &str, folder: tempfile::TempDir, (cluster, sessions, more): (&Path, usize, &str)) -> Self {
        let (port, file) = (free_port(), folder.path().join("pgbouncer.ini"));
        let settings = format!(
            "[databases]\n* = host={} user=chancery\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = {sessions}\nmax_client_conn = 400\n{more}\n",
            cluster.display()
        );
        std::fs::File::create(&file).unwrap().write_all(settings.as_bytes()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let mut command = Command::new(if root { "runuser" } else { "sh" });
        if root {
            command.args(["-u", "postgres", "--", "sh"]);
        }
        let supervisor = command
            .args(["-c", SUPERVISOR, "sh", program])
            .arg(&file)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "PgBouncer does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { supervisor, port, _folder: folder }
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://chancery@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

/// A folder that PgBouncer's user may read.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn installed() -> Option<&'static str> {
    ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists())
}

fn is_newer(program: &str) -> bool {
    let told = Command::new(program).arg("--version").output().unwrap().stdout;
    let told = String::from_utf8(told).unwrap();
    let version = told.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(1), Some(21))
}

/// What ./test has unpacked, copied to where PgBouncer's user finds it.
fn unpacked(to: &Path) -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    let from = std::env::var("CHANCERY_TEST_PGBOUNCER").unwrap_or_else(|_| format!("{home}/.cache/chancery/pgbouncer"));
    let files = std::fs::read_dir(&from).expect("no PgBouncer 1.21 or newer is here: let ./test fetch it");
    for file in files {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let (program, folder) = (to.join("run"), to.display());
    std::fs::write(&program, format!("#!/bin/sh\nexec {folder}/ld.so --library-path {folder} {folder}/pgbouncer \"$@\"\n"))
        .unwrap();
    for name in ["run", "ld.so", "pgbouncer"] {
        std::fs::set_permissions(to.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    program.to_str().unwrap().to_owned()
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        drop(self.supervisor.wait());
    }
}

/// How the replicas of a test reach their database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// Through a pooler with fewer sessions than the replicas have connections; notifications come past it.
    Pooled,
    /// Through the pooler alone: no notification comes.
    PooledAlone,
}

/// A database with the way to it.
pub struct Ground {
    pub direct: String,
    pub installation: Installation,
    _pooler: Option<Pooler>,
}

/// Replicas on a new database of the shared cluster.
pub async fn ground(way: Way, replicas: usize, more: &[(&str, &str)]) -> Ground {
    let direct = postgres::database().await;
    // Nothing is to fail here, however busy the machine is.
    let patient = ["DATABASE__ACQUIRE_TIMEOUT", "DATABASE__STATEMENT_TIMEOUT", "LIMITS__LONGEST_WAIT"];
    let patient = patient.map(|name| (format!("CHANCERY_{name}"), "10s"));
    let patient = patient.iter().map(|(name, long)| (name.as_str(), *long));
    let mut more: Vec<_> = patient.chain(more.iter().copied()).collect();
    if way == Way::Direct {
        return Ground { installation: Installation::on(&direct, replicas, &more), direct, _pooler: None };
    }
    let pooler = Pooler::before(postgres::shared().folder(), 5, "").await;
    more.push(("CHANCERY_DATABASE__TRANSACTION_POOLER", "true"));
    if way == Way::Pooled {
        more.push(("CHANCERY_DATABASE__NOTIFICATIONS_URL", &direct));
    }
    let installation = Installation::on(&pooler.url(name(&direct)), replicas, &more);
    Ground { installation, direct, _pooler: Some(pooler) }
}

/// The database in a URL.
pub fn name(url: &str) -> &str {
    url.split(['/', '?']).nth(3).unwrap()
}

/// Behind PgBouncer a server that was not told so would run the statements of others: it does not start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_pooler_that_nobody_mentioned_is_refused() {
    let direct = postgres::database().await;
    for (sessions, more) in
        [(5, ""), (5, "ignore_startup_parameters = extra_float_digits"), (1, "ignore_startup_parameters = extra_float_digits")]
    {
        let pooler = Pooler::before(postgres::shared().folder(), sessions, more).await;
        let installation = Installation::on(&pooler.url(name(&direct)), 1, &[]);
        let said = tokio::task::block_in_place(|| installation.machines[0].refuses(&["serve"]));
        assert!(said.contains("transaction_pooler = true"), "{more}: {said}");
    }
    // A pooler that leaves a session to its client is none of that.
    let pooler =
        Pooler::before(postgres::shared().folder(), 30, "pool_mode = session\nignore_startup_parameters = extra_float_digits")
            .await;
    let installation = Installation::on(&pooler.url(name(&direct)), 1, &[]);
    installation.start(0).await.stop();
}

/// From 1.21 on PgBouncer may keep prepared statements for its clients. The server has none there, so that it makes no difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_keeps_prepared_statements_makes_no_difference() {
    for kept in [0, 200] {
        let direct = postgres::database().await;
        let pooler = Pooler::newer(postgres::shared().folder(), 5, &format!("max_prepared_statements = {kept}")).await;
        let url = pooler.url(name(&direct));
        let unaware = Installation::on(&url, 1, &[]);
        let said = tokio::task::block_in_place(|| unaware.machines[0].refuses(&["serve"]));
        assert!(said.contains("transaction_pooler = true"), "{kept}: {said}");
        let more = [("CHANCERY_DATABASE__TRANSACTION_POOLER", "true"), ("CHANCERY_DATABASE__NOTIFICATIONS_URL", direct.as_str())];
        let installation = Installation::on(&url, 2, &more);
        let _servers = installation.start_all().await;
        let (alice, client) = installation.actors();
        let load = Load::begin(&alice, &client, &[installation.address(0), installation.address(1)], 6).await;
        for replica in [0, 1, 0, 1] {
            let there = client.through(installation.site(replica));
            let (username, password, sub) = (alice.username.clone(), alice.password.clone(), alice.sub.clone());
            let alice = Person { browser: alice.browser.through(there.site.clone()), username, password, sub };
            let tokens = alice.tokens(&there, "openid").await;
            there.revoke(&tokens.str("refresh_token")).await.ok();
            assert!(!client.is_active(&tokens.str("access_token")).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = load.end().await;
        let failed: Vec<_> = seen.iter().filter(|seen| seen.status != 200).collect();
        assert!(failed.is_empty(), "{kept}: {} of {} failed: {:?}", failed.len(), seen.len(), failed[0]);
    }
}
