//! A private PostgreSQL for the tests: one cluster per test process, one database per test, nothing left behind.
//!
//! A small shell supervisor makes the cluster in a temporary folder, says where it is, and waits on its standard input. When that
//! closes, because the test process ended in whatever way, `kill -9` included, the supervisor stops the server and removes the folder.
//! Only a Unix socket in that folder is opened: no port, so nothing to collide with. Under root everything runs as user `postgres`,
//! since PostgreSQL refuses to run as root.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use sqlx::Connection;

const SUPERVISOR: &str = r#"
set -u
bin=$1 primary=$2 preload=$3
# Ctrl-C in the terminal ends the tests, and thereby our input; until then we stay.
trap '' INT TERM HUP
umask 077
dir=$(mktemp -d "${TMPDIR:-/tmp}/chancery-postgres.XXXXXX") || exit 1
pid=
fail() { cat "$dir/log" >&2; rm -rf "$dir"; exit 1; }
stop() { if [ -n "$pid" ]; then kill -"$1" "$pid" 2>/dev/null; wait "$pid"; pid=; fi; }
start() {
    set --
    if [ -n "$preload" ]; then set -- "LD_PRELOAD=$preload" "FULL_BELOW=$dir/full"; fi
    env "$@" "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=400 -c shared_buffers=64MB \
        -c fsync=off -c full_page_writes=off -c synchronous_commit=on -c logging_collector=off \
        >>"$dir/log" 2>&1 </dev/null &
    pid=$!
    until "$bin/pg_isready" -q -h "$dir" -U chancery -d postgres; do
        kill -0 "$pid" 2>/dev/null || fail
        sleep 0.02
    done
}
if [ -n "$primary" ]; then
    "$bin/pg_basebackup" -h "$primary" -U chancery -D "$dir/data" -R -X stream -c fast --no-sync >"$dir/log" 2>&1 || fail
else
    "$bin/initdb" -D "$dir/data" -U chancery -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || fail
fi
start
echo "$dir"
while read -r order; do
    case $order in
        stop) stop INT ;;
        kill) stop QUIT ;;
        start) start ;;
        revive) kill -0 "$pid" 2>/dev/null && "$bin/pg_isready" -q -t 15 -h "$dir" -U chancery -d postgres || { stop QUIT; start; } ;;
    esac
    echo done
done
stop INT
rm -rf "$dir"
"#;

/// A running PostgreSQL. It ends when this value is dropped, or with the process.
pub struct Cluster {
    supervisor: Child,
    orders: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
    socket: PathBuf,
    databases: AtomicU32,
}

/// The cluster that all tests of this process share. Made at first use.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::start)
}

/// The URL of a new, empty database in the shared cluster.
pub async fn database() -> String {
    tokio::task::spawn_blocking(shared).await.unwrap().database().await
}

/// The URL of a copy of a database of the shared cluster to which nobody is connected.
pub async fn copy(url: &str) -> String {
    let name = url.split('/').nth(3).unwrap().split('?').next().unwrap().to_owned();
    shared().copy_of(&name).await
}

/// What `pg_dump` writes about a database.
pub fn dump(url: &str) -> Vec<u8> {
    let output = Command::new(binaries().join("pg_dump")).args(["--format=custom", url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Fills an empty database with what `pg_dump` wrote.
pub fn restore(url: &str, dump: &[u8]) {
    let mut command = Command::new(binaries().join("pg_restore"));
    command.args(["--exit-on-error", "--single-transaction", "--dbname", url]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(dump).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[allow(dead_code, reason = "some tests stop and restart it")]
impl Cluster {
    /// Starts a cluster of one's own, for a test that stops it under the server's feet.
    pub fn start() -> Self {
        Self::make(None, None)
    }

    /// A standby that follows `primary`.
    pub fn standby_of(primary: &Self) -> Self {
        Self::make(Some(primary.folder()), None)
    }

    /// A cluster whose processes run with this library before all others. It finds in FULL_BELOW the file `full` of the cluster's folder.
    pub fn preloaded(library: &Path) -> Self {
        Self::make(None, Some(library))
    }

    fn make(primary: Option<&Path>, preload: Option<&Path>) -> Self {
        let bin = binaries();
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh", "-c", SUPERVISOR, "sh"]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", SUPERVISOR, "sh"]);
            command
        };
        let mut supervisor = command
            .arg(&bin)
            .args([primary, preload].map(|path| path.map_or(Path::new("").as_os_str(), Path::as_os_str)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("cannot start the PostgreSQL supervisor (sh, and runuser under root)");
        let orders = supervisor.stdin.take().unwrap();
        let mut answers = BufReader::new(supervisor.stdout.take().unwrap());
        let mut socket = String::new();
        answers.read_line(&mut socket).unwrap();
        assert!(!socket.trim().is_empty(), "PostgreSQL did not start; its log is above");
        Self {
            supervisor,
            orders: Mutex::new((Some(orders), answers)),
            socket: PathBuf::from(socket.trim()),
            databases: AtomicU32::new(0),
        }
    }

    /// The URL of a new, empty database.
    pub async fn database(&self) -> String {
        self.copy_of("template0").await
    }

    async fn copy_of(&self, template: &str) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = sqlx::PgConnection::connect(&self.url("postgres")).await.unwrap();
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        self.url(&name)
    }

    /// The URL of a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://chancery@localhost/{database}?host={}", self.socket.display())
    }

    /// Where its socket and its data are.
    pub fn folder(&self) -> &Path {
        &self.socket
    }

    /// Starts it again if it has ended by itself.
    pub fn revive(&self) {
        self.order("revive");
    }

    /// Stops the server in order: clients are thrown out, everything is written.
    pub fn stop(&self) {
        self.order("stop");
    }

    /// Stops the server at once, as a crash would.
    pub fn kill(&self) {
        self.order("kill");
    }

    /// Starts it again, with its data.
    pub fn restart(&self) {
        self.order("start");
    }

    fn order(&self, order: &str) {
        let mut pipes = self.orders.lock().unwrap();
        let (orders, answers) = &mut *pipes;
        writeln!(orders.as_mut().unwrap(), "{order}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "done", "PostgreSQL did not {order}; its log is above");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Ok(mut pipes) = self.orders.lock() {
            pipes.0 = None;
        }
        let _ = self.supervisor.wait();
    }
}

/// Where initdb and postgres are: the newest version under Debian's folder, else the folder of a `postgres` in PATH.
fn binaries() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists() && bin.join("postgres").exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .map(|(_, bin)| bin)
        .or_else(|| {
            std::env::split_paths(&std::env::var_os("PATH")?)
                .find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        })
        .expect("PostgreSQL is not installed: `apt-get install postgresql`, or let ./test do it")
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
