//! What is printed, and written into docs/performance.md.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::CONNECTIONS;
use crate::arguments::Arguments;
use crate::machine::{Machine, OTHERS_ALLOWED, cores};
use crate::operations::{Goal, Operation, Sample};
use crate::peer;
use crate::target::Target;
use crate::yardsticks::{Limits, Yardstick};

/// All rounds of one run.
pub struct Report {
    title: String,
    binary: f64,
    limits: Vec<Limits>,
    rows: BTreeMap<(Operation, usize), Row>,
    names: Vec<&'static str>,
    /// Cores that others used, by round.
    others: Vec<f64>,
    processes: Vec<Process>,
}

#[derive(Default)]
struct Row {
    per_second: Vec<f64>,
    ratio: Vec<f64>,
    /// Seconds.
    p50: Vec<f64>,
    p99: Vec<f64>,
    server_cpu: Vec<f64>,
    database_cpu: Vec<f64>,
}

struct Process {
    name: &'static str,
    idle: f64,
    loaded: f64,
    loaded_by_logins: f64,
    start: f64,
    starts: usize,
}

/// How a figure stands to its goals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Target,
    Floor,
    Missed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Target => "target",
            Self::Floor => "floor",
            Self::Missed => "MISSED",
        })
    }
}

const MIB: f64 = (1 << 20) as f64;

impl Report {
    pub fn new(machine: &Machine, binary: &Path, arguments: &Arguments) -> Self {
        let size = std::fs::metadata(binary).map_or(0, |file| file.len());
        let rounds = arguments.rounds;
        let plural = if rounds == 1 { "" } else { "s" };
        let title = format!(
            "{} cores of {}; {CONNECTIONS} connections; medians of {rounds} round{plural}{}",
            machine.cores,
            machine.processor,
            arguments.slow_disk.map(|more| format!("; a sync of PostgreSQL takes {more} ms more")).unwrap_or_default()
        );
        Self {
            title,
            binary: size as f64 / 1e6,
            limits: Vec::new(),
            rows: BTreeMap::new(),
            names: Vec::new(),
            others: Vec::new(),
            processes: Vec::new(),
        }
    }

    pub fn round(&mut self, limits: &Limits, samples: Vec<(Operation, &'static str, Sample)>, others: f64) {
        self.limits.push(*limits);
        self.others.push(others);
        for (operation, name, sample) in samples {
            let number = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
                self.names.push(name);
                self.names.len() - 1
            });
            let row = self.rows.entry((operation, number)).or_default();
            let per_second = sample.measured.per_second();
            row.per_second.push(per_second);
            if let Some(goal) = goal(operation, name) {
                row.ratio.extend(limit(limits, goal.yardstick, name).map(|limit| per_second / limit));
            }
            row.p50.push(sample.measured.percentile(0.5).as_secs_f64());
            row.p99.push(sample.measured.percentile(0.99).as_secs_f64());
            row.server_cpu.push(sample.server_cpu.as_secs_f64());
            row.database_cpu.extend(sample.database_cpu.as_ref().map(Duration::as_secs_f64));
        }
    }

    /// Memory and start-up.
    pub fn of_the_process(&mut self, target: &Target) {
        self.processes.push(Process {
            name: target.name,
            idle: target.idle as f64 / MIB,
            loaded: target.loaded as f64 / MIB,
            loaded_by_logins: target.loaded_by_logins as f64 / MIB,
            start: median(&target.starts.iter().map(Duration::as_secs_f64).collect::<Vec<_>>()),
            starts: target.starts.len(),
        });
    }

    /// Whether the machine was ours in every round.
    pub fn counts(&self) -> bool {
        is_quiet(&self.others)
    }

    fn limits_line(&self) -> Vec<String> {
        let of = |pick: fn(&Limits) -> Option<f64>| {
            let found: Vec<f64> = self.limits.iter().filter_map(pick).collect();
            (!found.is_empty()).then(|| median(&found))
        };
        let mut lines = Vec::new();
        lines.extend(of(|limits| limits.signatures).map(|rate| format!("S, RS256 signatures of all cores: {rate:.0}/s")));
        lines.extend(of(|limits| limits.constant).map(|rate| format!("H, a constant answered by axum: {rate:.0}/s")));
        for (name, rotations, changes) in [
            ("PostgreSQL (pgbench)", of(|limits| Some(limits.postgres?.0)), of(|limits| Some(limits.postgres?.1))),
            ("SQLite (one by one)", of(|limits| Some(limits.sqlite?.0)), of(|limits| Some(limits.sqlite?.1))),
        ] {
            let line = |rate| {
                let changes = changes.unwrap_or(f64::NAN);
                format!(
                    "R, durable commits of {name}: {rate:.0}/s with one row changed and one added, {changes:.0}/s with one changed"
                )
            };
            lines.extend(rotations.map(line));
        }
        lines.extend(of(|limits| limits.hashes).map(|rate| format!("A, Argon2id hashes of all cores: {rate:.0}/s")));
        lines
    }

    fn operations(&self) -> String {
        let mut table = Table::new(&[
            "operation",
            "server",
            "per second",
            "of limit",
            "floor",
            "target",
            "meets",
            "to peer",
            "p50",
            "p99",
            "server CPU",
            "database CPU",
        ]);
        let rate_of_peer = |operation: Operation| {
            let number = self.names.iter().position(|name| *name == peer::NAME)?;
            Some(median(&self.rows.get(&(operation, number))?.per_second))
        };
        for ((operation, number), row) in &self.rows {
            let name = self.names[*number];
            let goal = goal(*operation, name);
            let ratio = (!row.ratio.is_empty()).then(|| median(&row.ratio));
            let share = |value: f64| format!("{:.0} %", value * 100.0);
            let of_limit = goal.zip(ratio).map(|(goal, ratio)| format!("{} {}", share(ratio), goal.yardstick.letter()));
            let verdict = goal.zip(ratio).map(|(goal, ratio)| at_least(ratio, goal.floor, goal.target).to_string());
            let micros = |values: &[f64]| format!("{:.0} µs", median(values) * 1e6);
            table.row(vec![
                operation.title().to_owned(),
                name.to_owned(),
                format!("{:.0}", median(&row.per_second)),
                of_limit.unwrap_or_default(),
                goal.map(|goal| share(goal.floor)).unwrap_or_default(),
                goal.map(|goal| share(goal.target)).unwrap_or_default(),
                verdict.unwrap_or_default(),
                rate_of_peer(*operation).map(|rate| format!("{:.1}×", median(&row.per_second) / rate)).unwrap_or_default(),
                millis(median(&row.p50)),
                millis(median(&row.p99)),
                if *operation == Operation::DiscoveryBesideLoad { String::new() } else { micros(&row.server_cpu) },
                if row.database_cpu.is_empty() { String::new() } else { micros(&row.database_cpu) },
            ]);
        }
        table.to_string()
    }

    /// What is promised beside throughput.
    fn further(&self) -> String {
        let mut table = Table::new(&["what", "server", "measured", "floor", "target", "meets"]);
        let ours = |number: usize| self.names[number] != peer::NAME;
        for ((operation, number), row) in self.rows.iter().filter(|((_, number), _)| ours(*number)) {
            let mut row_of = |what: String, measured: f64, (floor, target): (f64, f64), shown: fn(f64) -> String| {
                let verdict = at_most(measured, floor, target).to_string();
                table.row(vec![what, self.names[*number].to_owned(), shown(measured), shown(floor), shown(target), verdict]);
            };
            match operation {
                Operation::ClientCredentials | Operation::Refresh => {
                    let ratio = median(&row.p99) / median(&row.p50);
                    row_of(format!("{}: p99 / p50", operation.title()), ratio, (2.5, 2.0), |ratio| format!("{ratio:.2}"));
                }
                Operation::DiscoveryBesideLoad => {
                    row_of(format!("{}: p99", operation.title()), median(&row.p99), (0.010, 0.005), millis);
                }
                _ => {}
            }
            let signature: Vec<f64> = self.limits.iter().filter_map(|limits| Some(cores() as f64 / limits.signatures?)).collect();
            if *operation == Operation::ClientCredentials && !signature.is_empty() {
                let ratio = median(&row.server_cpu) / median(&signature);
                let shown = |ratio: f64| if ratio.is_nan() { String::new() } else { format!("{ratio:.2}") };
                row_of(format!("{}: server CPU / signature", operation.title()), ratio, (f64::NAN, 1.12), shown);
            }
        }
        for process in &self.processes {
            let mut row_of = |what: &str, measured: String, floor: String, target: String, verdict: Verdict| {
                let mut goals = [floor, target, verdict.to_string()];
                if process.name == peer::NAME {
                    goals = Default::default();
                }
                let [floor, target, verdict] = goals;
                table.row(vec![what.to_owned(), process.name.to_owned(), measured, floor, target, verdict]);
            };
            let mib = |value: f64| format!("{value:.0} MiB");
            let workers = 30.0 + 19.0 * cores() as f64;
            let goals = [
                ("resident, idle", process.idle, 30.0, 20.0),
                ("resident, most under load", process.loaded, workers, 48.0),
                ("resident, most with logins", process.loaded_by_logins, workers.max(90.0), 90.0),
            ];
            for (what, measured, floor, target) in goals.into_iter().filter(|(_, measured, ..)| *measured > 0.0) {
                row_of(what, mib(measured), mib(floor), mib(target), at_most(measured, floor, target));
            }
            let what = format!("start to the first answer, median of {}", process.starts);
            let millis = |value: f64| format!("{:.0} ms", value * 1e3);
            row_of(&what, millis(process.start), millis(0.1), millis(0.04), at_most(process.start, 0.1, 0.04));
        }
        let megabytes = |value: f64| format!("{value:.1} MB");
        let verdict = at_most(self.binary, 40.0, 25.0).to_string();
        let size = vec!["the binary".to_owned(), String::new(), megabytes(self.binary), megabytes(40.0), megabytes(25.0), verdict];
        table.row(size);
        table.to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        for line in self.limits_line() {
            writeln!(f, "- {line}")?;
        }
        writeln!(f, "\n{}\n{}", self.operations(), self.further())?;
        writeln!(f, "{}", quietness(&self.others))
    }
}

/// Was the machine ours, by the cores that others used in each round?
pub fn is_quiet(others: &[f64]) -> bool {
    others.iter().all(|others| *others <= OTHERS_ALLOWED)
}

/// The same in words.
pub fn quietness(others: &[f64]) -> String {
    if is_quiet(others) {
        let worst = others.iter().copied().fold(0.0, f64::max);
        return format!("Others used at most {:.0} % of a core.", worst * 100.0);
    }
    let rounds = others.iter().map(|others| format!("{:.0} %", others * 100.0)).collect::<Vec<_>>().join(", ");
    let allowed = OTHERS_ALLOWED * 100.0;
    format!("THIS RUN DOES NOT COUNT: others used {rounds} of a core in its rounds; at most {allowed:.0} % is quiet.")
}

/// What is promised of a server. R on SQLite is that of its own, one commit after the other.
fn goal(operation: Operation, name: &str) -> Option<Goal> {
    (name != peer::NAME).then(|| operation.goal(name == "SQLite"))?
}

fn limit(limits: &Limits, yardstick: Yardstick, name: &str) -> Option<f64> {
    match yardstick {
        Yardstick::S => limits.signatures,
        Yardstick::H => limits.constant,
        Yardstick::A => limits.hashes,
        Yardstick::R if name == "SQLite" => limits.sqlite.map(|(rotations, _)| rotations),
        Yardstick::R => limits.postgres.map(|(rotations, _)| rotations),
    }
}

fn at_least(measured: f64, floor: f64, target: f64) -> Verdict {
    if measured >= target {
        Verdict::Target
    } else if measured >= floor {
        Verdict::Floor
    } else {
        Verdict::Missed
    }
}

/// The smaller the better. Without a floor (NaN) the target is all.
fn at_most(measured: f64, floor: f64, target: f64) -> Verdict {
    if measured <= target {
        Verdict::Target
    } else if measured <= floor {
        Verdict::Floor
    } else {
        Verdict::Missed
    }
}

pub fn millis(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A table for people and for Markdown alike. The first two columns stand left, figures right.
pub struct Table(Vec<Vec<String>>);

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|&name| name.to_owned()).collect()])
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.0.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0[0].len();
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(2);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.0.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column < 2 {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    write!(f, "{}", if column < 2 { format!("|{dashes}-") } else { format!("|{dashes}:") })?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}
