//! `./bench`: how fast the server is, as ratios to what this machine can do.
//!
//! The release binary is started as an operator would start it, on both databases, and driven over real sockets in closed loops: a fixed
//! number of connections, each sending its next request when the last one was answered. Every figure is a ratio to a yardstick of the
//! same round: the bare rate of RS256 signatures of all cores. Rounds alternate between yardstick and operations, so that a machine that
//! slows down slows both. A run in which somebody else used more than 15 % of a core says so, and does not count.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark may fail loudly"
)]

mod http;
mod load;
mod machine;
mod operations;
mod postgres;
mod report;
mod server;
mod sign_in;

use std::path::PathBuf;

use machine::Machine;
use operations::Bench;
use report::Report;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    /// Signatures and client_credentials requests of a round.
    pub requests: usize,
    /// Refreshes of a round.
    pub refreshes: usize,
    pub starts: usize,
}

const FULL: Effort = Effort { rounds: 5, requests: 12_000, refreshes: 8_000, starts: 7 };
const QUICK: Effort = Effort { rounds: 1, requests: 1_500, refreshes: 1_000, starts: 2 };

/// Connections in a closed loop.
pub const CONNECTIONS: usize = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut effort = FULL;
    for argument in &arguments {
        match argument.as_str() {
            "--quick" => effort = QUICK,
            other => {
                eprintln!("unknown option {other}; there is --quick");
                std::process::exit(2);
            }
        }
    }
    let binary = std::env::var_os("CHANCERY_BENCH_BINARY").map(PathBuf::from).expect("run ./bench: it names the binary");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(run(&binary, effort));
    print!("{report}");
    // A figure from a busy machine must not look like a result to a script either.
    std::process::exit(if report.counts() { 0 } else { 3 });
}

async fn run(binary: &std::path::Path, effort: Effort) -> Report {
    let machine = Machine::new();
    let cluster = postgres::Cluster::start();
    let mut stores = Vec::new();
    for (name, url) in [("SQLite", None), ("PostgreSQL", Some(cluster.database("bench")))] {
        stores.push(Bench::prepare(name, binary, url.as_deref(), &cluster, effort.starts).await);
    }
    let mut report = Report::new(&machine, binary, effort);
    for round in 0..=effort.rounds {
        // The first round warms up and is thrown away.
        let effort = if round == 0 { QUICK } else { effort };
        eprintln!("round {round} of {}", effort.rounds.max(round));
        let quiet = machine.watch(&cluster);
        let signatures = tokio::task::spawn_blocking(move || machine::signatures_per_second(effort.requests)).await.unwrap();
        let mut rows = Vec::new();
        for store in &mut stores {
            rows.push(store.client_credentials(effort.requests).await);
            rows.push(store.refresh(effort.refreshes).await);
        }
        let others = quiet.others(&stores);
        if round > 0 {
            report.round(signatures, rows, others);
        }
    }
    for store in &stores {
        report.of_the_process(store);
    }
    report
}
