//! A private PostgreSQL with durable commits, in a temporary folder: the same as in production but for the size of the machine.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

// It ends when its standard input closes, in whatever way the bench ended.
const SUPERVISOR: &str = r#"
set -u
bin=$1
trap '' INT TERM HUP
umask 077
dir=$(mktemp -d "${TMPDIR:-/tmp}/chancery-bench.XXXXXX") || exit 1
"$bin/initdb" -D "$dir/data" -U chancery -A trust -E UTF8 --locale=C >"$dir/log" 2>&1 || { cat "$dir/log" >&2; rm -rf "$dir"; exit 1; }
LD_PRELOAD=$2 "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=200 -c shared_buffers=256MB -c fsync=on \
    -c synchronous_commit=on -c max_wal_size=2GB >>"$dir/log" 2>&1 </dev/null &
pid=$!
until "$bin/pg_isready" -q -h "$dir" -U chancery -d postgres; do
    kill -0 "$pid" 2>/dev/null || { cat "$dir/log" >&2; rm -rf "$dir"; exit 1; }
    sleep 0.05
done
"$bin/createdb" -h "$dir" -U chancery bench
"$bin/createdb" -h "$dir" -U chancery grown
"$bin/createdb" -h "$dir" -U chancery peer
"$bin/createdb" -h "$dir" -U chancery yardstick
echo "$dir"
cat >/dev/null
kill -INT "$pid"; wait "$pid"
rm -rf "$dir"
"#;

pub struct Cluster {
    /// Of the slow disk; to be there as long as the processes are.
    _library: Option<tempfile::TempDir>,
    child: Child,
    /// Open as long as the cluster is to live.
    input: Option<ChildStdin>,
    pub socket: PathBuf,
    pub supervisor: u32,
}

impl Cluster {
    /// With `slow_disk` each sync takes so many milliseconds more.
    pub fn start(slow_disk: Option<u64>) -> Self {
        let (folder, library) = slow_disk.map(slow_syncs).unzip();
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh", "-c", SUPERVISOR, "sh"]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", SUPERVISOR, "sh"]);
            command
        };
        let mut child = command
            .arg(binaries())
            .arg(library.unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.trim().is_empty(), "PostgreSQL did not start; its log is above");
        let supervisor = child.id();
        Self { _library: folder, child, input, socket: PathBuf::from(line.trim()), supervisor }
    }

    pub fn database(&self, name: &str) -> String {
        format!("postgres://chancery@localhost/{name}?host={}", self.socket.display())
    }
}

/// The library of slow_disk.c, where everybody may read it, and what is to be preloaded.
fn slow_syncs(milliseconds: u64) -> (tempfile::TempDir, OsString) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (source, library) = (folder.path().join("slow_disk.c"), folder.path().join("slow_disk.so"));
    std::fs::write(&source, include_str!("slow_disk.c")).unwrap();
    let mut compiler = Command::new("cc");
    compiler
        .arg(format!("-DMILLISECONDS={milliseconds}"))
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl");
    assert!(compiler.status().unwrap().success(), "the slow disk was not compiled");
    (folder, library.into())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}

/// The newest that Debian's packages installed, or what is on the path.
pub fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").exists());
    found.sort();
    found.pop().unwrap_or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .find(|bin| bin.join("initdb").exists())
            .expect("PostgreSQL's initdb: apt-get install postgresql")
    })
}
