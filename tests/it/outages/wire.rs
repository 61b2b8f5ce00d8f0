//! A network between the server and PostgreSQL that the test can slow down, silence, cut, and lead elsewhere.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the network does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Each piece that is sent takes so much longer, in both directions.
    Slow(Duration),
    /// Nothing arrives, and nobody is told: a cable that was pulled.
    Silent,
    /// Nobody is there.
    Away,
}

#[derive(Debug, Clone)]
struct State {
    mode: Mode,
    to: PathBuf,
    /// How often all connections were cut.
    cuts: u64,
}

/// Listens on a port of its own and leads to the Unix socket of a cluster.
pub struct Wire {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Wire {
    /// To the cluster whose socket is in this folder.
    pub async fn to(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, seen) = watch::channel(State { mode: Mode::Pass, to: socket(folder), cuts: 0 });
        let accepting = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(near, seen.clone()));
            }
        });
        Self { address, state, accepting }
    }

    /// The URL of a database at the other end, as the server is told.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://chancery@{}/{database}?sslmode=disable", self.address)
    }

    pub fn become_(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.cuts += u64::from(mode == Mode::Away);
        });
    }

    /// From now on it leads to another cluster; connections to the former one are cut.
    pub fn lead_to(&self, folder: &Path) {
        self.state.send_modify(|state| {
            state.mode = Mode::Pass;
            state.to = socket(folder);
            state.cuts += 1;
        });
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join(".s.PGSQL.5432")
}

async fn carry(near: TcpStream, mut seen: watch::Receiver<State>) {
    let begin = seen.borrow_and_update().clone();
    if begin.mode == Mode::Away {
        return;
    }
    let mut waits = seen.clone();
    // A connection that is made into the silence leads nowhere until the network is back.
    if waits.wait_for(|state| state.mode != Mode::Silent || state.cuts != begin.cuts).await.is_err() {
        return;
    }
    let to = waits.borrow().to.clone();
    let Ok(far) = UnixStream::connect(to).await else { return };
    drop(near.set_nodelay(true));
    let (near_reads, near_writes) = near.into_split();
    let (far_reads, far_writes) = far.into_split();
    let cuts = begin.cuts;
    tokio::select! {
        () = pump(near_reads, far_writes, seen.clone()) => {}
        () = pump(far_reads, near_writes, seen.clone()) => {}
        _ = seen.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut seen: watch::Receiver<State>) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        let mode = match seen.wait_for(|state| state.mode != Mode::Silent).await {
            Ok(state) => state.mode,
            Err(_) => return,
        };
        if let Mode::Slow(by) = mode {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
