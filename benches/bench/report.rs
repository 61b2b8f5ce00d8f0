//! The table that is printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::machine::{self, Machine, OTHERS_ALLOWED};
use crate::operations::{Bench, Row};
use crate::{CONNECTIONS, Effort};

/// All rounds of one run.
pub struct Report {
    title: String,
    signatures: Vec<f64>,
    /// By operation, in the order in which they were measured.
    rows: BTreeMap<usize, (String, Vec<Sample>)>,
    /// Cores that others used, by round.
    others: Vec<f64>,
    notes: Vec<String>,
}

struct Sample {
    per_second: f64,
    ratio: f64,
    p50: Duration,
    p99: Duration,
    server_cpu: Duration,
    database_cpu: Option<Duration>,
}

impl Report {
    pub fn new(machine: &Machine, binary: &Path, effort: Effort) -> Self {
        let size = std::fs::metadata(binary).map_or(0, |file| file.len());
        let title = format!(
            "{} cores of {}; {CONNECTIONS} connections, {} rounds; binary {:.1} MB",
            machine.cores,
            machine.processor,
            effort.rounds,
            size as f64 / 1e6
        );
        Self { title, signatures: Vec::new(), rows: BTreeMap::new(), others: Vec::new(), notes: Vec::new() }
    }

    /// Start-up and memory.
    pub fn of_the_process(&mut self, bench: &Bench) {
        let starts = bench.starts.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
        let (count, median) = (starts.len(), median(starts) * 1e3);
        self.notes.push(format!("start to the first answer, {}: {median:.0} ms (median of {count})", bench.store));
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let loaded = machine::resident(bench.pid());
        self.notes.push(format!(
            "resident, {}: {:.0} MiB idle, {:.0} MiB after the load",
            bench.store,
            mib(bench.idle),
            mib(loaded)
        ));
    }

    pub fn round(&mut self, signatures: f64, rows: Vec<Row>, others: f64) {
        self.signatures.push(signatures);
        self.others.push(others);
        for (number, row) in rows.into_iter().enumerate() {
            let per_second = row.measured.per_second();
            let sample = Sample {
                per_second,
                ratio: per_second / signatures,
                p50: row.measured.percentile(0.5),
                p99: row.measured.percentile(0.99),
                server_cpu: row.server_cpu,
                database_cpu: row.database_cpu,
            };
            self.rows.entry(number).or_insert_with(|| (row.operation, Vec::new())).1.push(sample);
        }
    }

    /// Whether the machine was ours in every round.
    pub fn counts(&self) -> bool {
        self.others.iter().all(|others| *others <= OTHERS_ALLOWED)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(f, "S, bare RS256 signatures of all cores: {:.0}/s\n", median(self.signatures.clone()))?;
        let head = ["operation", "per second", "of S", "p50", "p99", "server CPU", "database CPU"];
        writeln!(
            f,
            "| {:<34} | {:>10} | {:>5} | {:>8} | {:>8} | {:>10} | {:>12} |",
            head[0], head[1], head[2], head[3], head[4], head[5], head[6]
        )?;
        writeln!(f, "|{:-<36}|{:-<12}|{:-<7}|{:-<10}|{:-<10}|{:-<12}|{:-<14}|", "", "", "", "", "", "", "")?;
        for (name, samples) in self.rows.values() {
            let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value).collect());
            let database = samples.iter().all(|sample| sample.database_cpu.is_some());
            let database = if database {
                format!("{:.0} µs", of(|sample| sample.database_cpu.unwrap_or_default().as_secs_f64() * 1e6))
            } else {
                String::new()
            };
            writeln!(
                f,
                "| {name:<34} | {:>10.0} | {:>4.0}% | {:>5.2} ms | {:>5.2} ms | {:>7.0} µs | {database:>12} |",
                of(|sample| sample.per_second),
                of(|sample| sample.ratio) * 100.0,
                of(|sample| sample.p50.as_secs_f64() * 1e3),
                of(|sample| sample.p99.as_secs_f64() * 1e3),
                of(|sample| sample.server_cpu.as_secs_f64() * 1e6),
            )?;
        }
        writeln!(f)?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        let worst = self.others.iter().copied().fold(0.0, f64::max);
        if self.counts() {
            writeln!(f, "others used at most {:.0} % of a core", worst * 100.0)
        } else {
            let rounds = self.others.iter().map(|others| format!("{:.0} %", others * 100.0)).collect::<Vec<_>>().join(", ");
            writeln!(
                f,
                "THIS RUN DOES NOT COUNT: others used {rounds} of a core in its rounds; at most {:.0} % is quiet",
                OTHERS_ALLOWED * 100.0
            )
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
