//! `./bench --flood N`: so many connections, each of which asks again as soon as it has its answer, against a server that lets them all in.
//!
//! What is granted of it, how long those wait who are sent away, and how health and readiness answer meanwhile.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::arguments::Arguments;
use crate::deployment::Deployment;
use crate::http::{Connection, get};
use crate::load::{self, Measured};
use crate::machine::{self, Machine};
use crate::operations::{client_credentials, refresh_of};
use crate::postgres::Cluster;
use crate::report::{self, Table, millis};
use crate::server::Server;
use crate::target::Flavour;
use crate::work::InTurn;
use crate::{CONNECTIONS, target::Target};

const LENGTH: Duration = Duration::from_secs(20);
/// Connections that are open beside the flood.
const BESIDE: u64 = 256;
/// How often health and readiness are asked for.
const PACE: Duration = Duration::from_millis(20);

/// What one flood met.
struct Met {
    title: &'static str,
    store: &'static str,
    /// Answers a second over the usual number of connections, before.
    usual: f64,
    granted: Measured,
    sent_away: Measured,
    health: Measured,
    /// Looks at readiness, and how many of them were told 503.
    looks: usize,
    unready: usize,
    resident: u64,
}

pub struct Flood {
    title: String,
    met: Vec<Met>,
    others: Vec<f64>,
}

impl Flood {
    pub fn counts(&self) -> bool {
        report::is_quiet(&self.others)
    }
}

pub async fn run(binary: &Path, arguments: &Arguments, cluster: &Cluster, connections: u64) -> Flood {
    let machine = Machine::new();
    allow_files(connections + BESIDE);
    let (mut met, mut others) = (Vec::new(), Vec::new());
    let stores = [("SQLite", arguments.sqlite), ("PostgreSQL", arguments.postgres)];
    for (name, _) in stores.into_iter().filter(|(_, wanted)| *wanted) {
        let url = (name == "PostgreSQL").then(|| cluster.database("bench"));
        let mut server = Server::new(binary, url.as_deref());
        let all = (connections + BESIDE).to_string();
        server.set("CHANCERY_LIMITS__CONNECTIONS", &all);
        server.set("CHANCERY_LIMITS__CONNECTIONS_PER_ADDRESS", &all);
        let deployment = Deployment::of(server, name, url.as_deref(), cluster, 1).await;
        let target = &deployment.target;
        let refresh_token = target.refresh_tokens(target.scope(Flavour::Rs256), 1).await.remove(0);
        let floods = [
            ("client_credentials, RS256", 12_000, client_credentials(target, Flavour::Rs256)),
            ("refreshes of one family, RS256", 4_000, refresh_of(target, &refresh_token)),
        ];
        for (title, steps, request) in floods {
            eprintln!("{title}, {name}");
            let quiet = machine.watch();
            met.push(flood(title, &deployment, connections, steps, Arc::new(request)).await);
            others.push(quiet.others());
        }
    }
    let title = format!(
        "{} cores of {}; {connections} connections for {} s, as many allowed",
        machine.cores,
        machine.processor,
        LENGTH.as_secs()
    );
    Flood { title, met, others }
}

async fn flood(title: &'static str, deployment: &Deployment, connections: u64, steps: usize, request: Arc<Vec<u8>>) -> Met {
    let target: &Target = &deployment.target;
    let usual = (0..CONNECTIONS).map(|_| InTurn::one(Arc::clone(&request), 200)).collect();
    let (usual, _) = load::run(target.address, steps, usual).await;

    machine::forget_most_resident(target.pid);
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(target.address).await);
    }
    let over = Arc::new(AtomicBool::new(false));
    let health = tokio::spawn(asked(target.address, get("/healthz", &target.host, ""), Arc::clone(&over)));
    let readiness = tokio::spawn(asked(deployment.server.management, get("/readyz", &target.host, ""), Arc::clone(&over)));
    let begun = Instant::now();
    let crowd: Vec<_> =
        open.into_iter().map(|connection| tokio::spawn(one_of_many(connection, Arc::clone(&request), begun))).collect();
    let (mut granted, mut sent_away) = (Vec::new(), Vec::new());
    for one in crowd {
        let own = one.await.unwrap();
        granted.extend(own.0);
        sent_away.extend(own.1);
    }
    let took = begun.elapsed();
    over.store(true, Ordering::Relaxed);
    let (health, unwell) = health.await.unwrap();
    assert_eq!(unwell, 0, "health is asked of memory");
    let (looks, unready) = readiness.await.unwrap();
    Met {
        title,
        store: target.name,
        usual: usual.per_second(),
        granted: Measured::new(granted, took),
        sent_away: Measured::new(sent_away, took),
        health,
        looks: looks.steps,
        unready,
        resident: machine::most_resident(target.pid),
    }
}

/// Asks again and again until the end, and tells how long it took to be granted something and to be sent away. Whoever hears anything else fails.
async fn one_of_many(mut connection: Connection, request: Arc<Vec<u8>>, begun: Instant) -> (Vec<Duration>, Vec<Duration>) {
    let (mut granted, mut sent_away) = (Vec::new(), Vec::new());
    while begun.elapsed() < LENGTH {
        let asked = Instant::now();
        let answer = connection.send(&request).await;
        match answer.status {
            200 => granted.push(asked.elapsed()),
            503 => sent_away.push(asked.elapsed()),
            _ => answer.expect(200),
        }
    }
    (granted, sent_away)
}

/// The times of one question, asked at a steady pace until it is over, and how often the answer was 503.
async fn asked(address: SocketAddr, request: Vec<u8>, over: Arc<AtomicBool>) -> (Measured, usize) {
    let mut connection = Connection::open(address).await;
    let (begun, mut took, mut refused) = (Instant::now(), Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        refused += usize::from(connection.send(&request).await.status == 503);
        took.push(asked.elapsed());
        tokio::time::sleep(PACE).await;
    }
    (Measured::new(took, begun.elapsed()), refused)
}

/// Lets this process, and the server after it, have so many files open.
fn allow_files(more: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = 2 * more + 1024;
    if current.is_some_and(|current| current < wanted) {
        let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum }).unwrap();
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let mut table = Table::new(&[
            "operation",
            "store",
            "with 32 connections",
            "granted",
            "p50",
            "p99",
            "sent away",
            "p50",
            "p99",
            "most",
            "health p99",
            "most",
            "readiness 503",
            "resident",
        ]);
        let shown = |measured: &Measured, share: f64| match measured.steps {
            0 => String::new(),
            _ => millis(measured.percentile(share).as_secs_f64()),
        };
        for met in &self.met {
            table.row(vec![
                met.title.to_owned(),
                met.store.to_owned(),
                format!("{:.0}/s", met.usual),
                format!("{:.0}/s", met.granted.per_second()),
                shown(&met.granted, 0.5),
                shown(&met.granted, 0.99),
                format!("{:.0}/s", met.sent_away.per_second()),
                shown(&met.sent_away, 0.5),
                shown(&met.sent_away, 0.99),
                shown(&met.sent_away, 1.0),
                shown(&met.health, 0.99),
                shown(&met.health, 1.0),
                format!("{} of {}", met.unready, met.looks),
                format!("{} MiB", met.resident / (1024 * 1024)),
            ]);
        }
        writeln!(f, "{table}")?;
        writeln!(f, "{}", report::quietness(&self.others))
    }
}
