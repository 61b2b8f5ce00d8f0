//! A proxy in front of replicas, as operators run one: HAProxy, in turns, by what `/readyz` says, over connections that are kept.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::installation::Installation;
use crate::harness::machine::{free_port, until};

/// A running HAProxy.
pub struct Front {
    pub address: SocketAddr,
    /// Where it says what it thinks of the replicas.
    says: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
}

impl Front {
    /// It never asks twice: what one replica does not answer has failed.
    pub async fn of(installation: &Installation) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [address, says] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let replicas: String = (0..installation.machines.len())
            .map(|replica| format!("    server replica{replica} {}\n", installation.address(replica)))
            .collect();
        let settings = format!(
            "global\n    maxconn 1000\ndefaults\n    mode http\n    timeout connect 2s\n    timeout client 30s\n    timeout server 30s\n    \
             timeout check 1s\n    retries 0\n    option http-keep-alive\nfrontend front\n    bind {address}\n    default_backend replicas\n\
             frontend says\n    bind {says}\n    stats enable\n    stats uri /\n\
             backend replicas\n    balance roundrobin\n    http-reuse always\n    option httpchk GET /readyz\n    \
             http-check expect status 200\n    default-server check inter 200ms fall 2 rise 2\n{replicas}"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, settings).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let program = ["/usr/sbin/haproxy", "/usr/bin/haproxy", "/usr/local/sbin/haproxy"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists());
        let program = program.expect("HAProxy is not installed: `apt-get install haproxy`, or let ./test do it");
        let child = Command::new(program)
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let front = Self { address, says, child, folder };
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "HAProxy does not listen: {}", front.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        front
    }

    /// Until it sends requests to so many replicas.
    pub async fn sees(&self, many: usize) {
        until(Duration::from_secs(60), async || {
            let said = reqwest::get(format!("http://{}/;csv", self.says)).await.unwrap().text().await.unwrap();
            said.lines().filter(|line| line.starts_with("replicas,replica") && line.contains(",UP,")).count() == many
        })
        .await;
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
