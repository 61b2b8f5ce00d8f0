//! `./bench`: how fast the server is, as ratios to what this machine can do.
//!
//! The binary that is shipped is started as an operator would start it, on both databases, and driven over real sockets in closed
//! loops: a fixed number of connections, each sending its next request when the last one was answered. Every figure is a ratio to a
//! yardstick of the same round. Rounds alternate between yardsticks, operations and servers, so that a machine that slows down slows
//! all of them. A run in which somebody else used more than 15 % of a core says so, and does not count.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark may fail loudly"
)]

mod arguments;
mod deployment;
mod flood;
mod growth;
mod http;
mod load;
mod machine;
mod operations;
mod peer;
mod postgres;
mod report;
mod server;
mod sign_in;
mod target;
mod work;
mod yardsticks;

use std::path::{Path, PathBuf};

use arguments::Arguments;
use deployment::Deployment;
use machine::Machine;
use operations::Operation;
use report::Report;
use yardsticks::{Limits, Yardstick};

/// Connections in a closed loop.
pub const CONNECTIONS: usize = 32;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().nth(1).as_deref() == Some(yardsticks::CONSTANT_SERVER) {
        runtime.block_on(yardsticks::serve_constant());
        return;
    }
    let arguments = Arguments::read(std::env::args().skip(1)).unwrap_or_else(|say| {
        println!("{say}");
        std::process::exit(if say.starts_with("there is no") || say.starts_with("--") { 2 } else { 0 });
    });
    let binary = std::env::var_os("CHANCERY_BENCH_BINARY").map(PathBuf::from).expect("run ./bench: it names the binary");
    let (section, text, counts) = runtime.block_on(async {
        let cluster = postgres::Cluster::start(arguments.slow_disk);
        if let Some(connections) = arguments.flood {
            let flood = flood::run(&binary, &arguments, &cluster, connections).await;
            ("flood", flood.to_string(), flood.counts())
        } else if arguments.growth {
            let growth = growth::run(&binary, &arguments, &cluster).await;
            ("growth", growth.to_string(), growth.counts())
        } else {
            let report = run(&binary, &arguments, &cluster).await;
            ("speed", report.to_string(), report.counts())
        }
    });
    print!("{text}");
    if arguments.complete && counts {
        write_down(section, &text);
    }
    // A figure from a busy machine must not look like a result to a script either.
    std::process::exit(if counts { 0 } else { 3 });
}

/// Puts what a complete run found between its marks in docs/performance.md.
fn write_down(section: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {section}: what ./bench wrote -->\n"), format!("<!-- {section}: end -->"));
    let (before, rest) = page.split_once(&begin).expect("docs/performance.md has lost its marks");
    let (_, after) = rest.split_once(&end).expect("docs/performance.md has lost its marks");
    std::fs::write(&path, format!("{before}{begin}\n{text}\n{end}{after}")).unwrap();
    eprintln!("written into docs/performance.md");
}

async fn run(binary: &Path, arguments: &Arguments, cluster: &postgres::Cluster) -> Report {
    let machine = Machine::new();
    let starts = if arguments.complete { 7 } else { 2 };
    let mut deployments = Vec::new();
    if arguments.sqlite {
        deployments.push(Deployment::prepare("SQLite", binary, None, cluster, starts).await);
    }
    if arguments.postgres {
        let url = cluster.database("bench");
        deployments.push(Deployment::prepare("PostgreSQL", binary, Some(&url), cluster, starts).await);
    }
    let mut peer = match arguments.peer {
        true => Some(peer::Peer::prepare(cluster, starts).await),
        false => None,
    };
    let mut report = Report::new(&machine, binary, arguments);
    // Logins come when everything else is over: what their hashes need in memory stays.
    let (logins, others): (Vec<_>, Vec<_>) =
        arguments.operations.iter().copied().partition(|operation| *operation == Operation::Login);
    for operations in [others, logins].into_iter().filter(|operations| !operations.is_empty()) {
        let bare = Bare::prepare(&operations, arguments, cluster);
        for round in 0..=arguments.rounds {
            // The first round warms up and is thrown away.
            eprintln!("round {round} of {}", arguments.rounds);
            let quiet = machine.watch();
            let limits = bare.measure(arguments, round).await;
            let mut samples = Vec::new();
            for operation in &operations {
                let targets = deployments.iter_mut().map(|deployment| &mut deployment.target);
                let peer = peer.as_mut().filter(|_| operation.has_peer()).map(|peer| &mut peer.target);
                for target in targets.chain(peer) {
                    // A slower server's round takes as long with fewer steps.
                    let usual = if target.peer { operation.steps() / 4 } else { operation.steps() };
                    let sample = operation.measure(target, arguments.steps(usual, round)).await;
                    samples.push((*operation, target.name, sample));
                }
            }
            let others = quiet.others();
            if round > 0 {
                report.round(&limits, samples, others);
            }
        }
    }
    for target in deployments.iter().map(|deployment| &deployment.target).chain(peer.iter().map(|peer| &peer.target)) {
        report.of_the_process(target);
    }
    report
}

/// The yardsticks that some operations need.
struct Bare {
    needed: Vec<Yardstick>,
    pgbench: Option<yardsticks::Pgbench>,
    constant: Option<yardsticks::Constant>,
}

impl Bare {
    fn prepare(operations: &[Operation], arguments: &Arguments, cluster: &postgres::Cluster) -> Self {
        let goals = operations.iter().filter_map(|operation| operation.goal(false));
        let needed: Vec<Yardstick> = goals.map(|goal| goal.yardstick).collect();
        Self {
            pgbench: (arguments.postgres && needed.contains(&Yardstick::R)).then(|| yardsticks::Pgbench::prepare(cluster)),
            constant: needed.contains(&Yardstick::H).then(yardsticks::Constant::start),
            needed,
        }
    }

    async fn measure(&self, arguments: &Arguments, round: usize) -> Limits {
        let steps = |usual| arguments.steps(usual, round);
        let mut limits = Limits::default();
        if self.needed.contains(&Yardstick::S) {
            let number = steps(12_000);
            limits.signatures = Some(tokio::task::spawn_blocking(move || yardsticks::signatures(number)).await.unwrap());
        }
        if self.needed.contains(&Yardstick::A) {
            let number = steps(200);
            limits.hashes = Some(tokio::task::spawn_blocking(move || yardsticks::hashes(number)).await.unwrap());
        }
        if let Some(constant) = &self.constant {
            limits.constant = Some(constant.measure(steps(60_000)).await);
        }
        if let Some(pgbench) = &self.pgbench {
            limits.postgres = Some(tokio::task::block_in_place(|| pgbench.measure(steps(24_000))));
        }
        if arguments.sqlite && self.needed.contains(&Yardstick::R) {
            limits.sqlite = Some(yardsticks::sqlite(steps(8_000)).await);
        }
        limits
    }
}
