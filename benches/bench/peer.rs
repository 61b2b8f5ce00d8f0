//! node-oidc-provider on the same PostgreSQL: the peer that can be installed anywhere.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use crate::postgres::Cluster;
use crate::server::free_port;
use crate::sign_in::{self, Person};
use crate::target::{CLIENT_SECRET, Target};
use crate::{CONNECTIONS, machine};

pub const NAME: &str = "node-oidc-provider";

/// One process of it.
pub struct Peer {
    child: Child,
    /// Open as long as it is to live.
    input: Option<ChildStdin>,
    pub target: Target,
}

impl Peer {
    pub async fn prepare(cluster: &Cluster, starts: usize) -> Self {
        install();
        let address = free_port();
        let mut times = Vec::new();
        let (mut child, mut input) = start(address.port(), cluster);
        // The first start makes the tables and does not count.
        for _ in 0..starts {
            drop(input.take());
            drop(child.wait());
            let begun = Instant::now();
            (child, input) = start(address.port(), cluster);
            times.push(begun.elapsed());
        }
        let idle = machine::resident(child.id());
        let issuer = format!("http://localhost:{}", address.port());
        let mut sessions = Vec::new();
        for number in 0..CONNECTIONS {
            sessions.push(Person::new(&issuer).session(&format!("person-{number}"), "").await);
        }
        let target = Target {
            name: NAME,
            peer: true,
            address,
            host: format!("localhost:{}", address.port()).into(),
            sessions,
            logins: Vec::new(),
            families: BTreeMap::new(),
            pid: child.id(),
            database: Some(cluster.supervisor),
            idle,
            loaded: 0,
            loaded_by_logins: 0,
            starts: times,
        };
        Self { child, input, target }
    }
}

/// The packages of its lock file, where they are not there yet.
fn install() {
    let folder = folder();
    if !folder.join("node_modules").exists() {
        eprintln!("installing node-oidc-provider for comparison (--no-peer does without)");
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
            .current_dir(&folder)
            .status();
        assert!(npm.is_ok_and(|status| status.success()), "npm ci failed in {}; is Node there?", folder.display());
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer")
}

fn start(port: u16, cluster: &Cluster) -> (Child, Option<ChildStdin>) {
    let mut command = Command::new("node");
    command.arg("server.mjs").args([&cluster.database("peer"), CLIENT_SECRET, sign_in::REDIRECT_URI, &port.to_string()]);
    command.current_dir(folder()).env("NODE_ENV", "production").stderr(Stdio::null());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready", "node-oidc-provider did not start");
    let input = child.stdin.take();
    (child, input)
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}
