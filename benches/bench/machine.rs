//! What this machine can do, and whether it was ours alone.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

/// The share of one core that others may use before a run stops counting.
pub const OTHERS_ALLOWED: f64 = 0.15;

/// The machine.
pub struct Machine {
    pub cores: usize,
    pub processor: String,
}

impl Machine {
    pub fn new() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self { cores: cores(), processor: name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()) }
    }

    /// Begins to look at who uses the processors.
    pub fn watch(&self) -> Watch {
        Watch { cores: self.cores, started: Instant::now(), busy: busy(), ours: ours() }
    }
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Processor time of all and of ours since a moment.
pub struct Watch {
    cores: usize,
    started: Instant,
    busy: Duration,
    ours: HashMap<u32, Duration>,
}

impl Watch {
    /// Cores' worth of work that neither the bench nor its servers and databases, all of them its children, did.
    pub fn others(&self) -> f64 {
        let ours: Duration =
            ours().iter().map(|(pid, time)| time.saturating_sub(self.ours.get(pid).copied().unwrap_or_default())).sum();
        let all = busy().saturating_sub(self.busy);
        let others = all.saturating_sub(ours).as_secs_f64() / self.started.elapsed().as_secs_f64();
        others.min(self.cores as f64)
    }
}

fn ours() -> HashMap<u32, Duration> {
    times(&family(&[std::process::id()]))
}

/// What a process and its children have used so far.
pub fn cpu_time(root: u32) -> Duration {
    times(&family(&[root])).values().sum()
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// The most that was resident since [`forget_most_resident`], in bytes.
pub fn most_resident(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

/// Lets the most that is resident begin anew (proc(5), clear_refs).
pub fn forget_most_resident(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
}

fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Ticks are hundredths of a second on every Linux that we know of.
const TICK: Duration = Duration::from_millis(10);

fn busy() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<u32> =
        stat.lines().next().unwrap().split_whitespace().skip(1).map(|field| field.parse().unwrap_or(u32::MAX)).collect();
    // user nice system idle iowait irq softirq steal
    TICK * (fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields.get(7).copied().unwrap_or(0))
}

/// Processes below these, themselves included.
fn family(roots: &[u32]) -> Vec<u32> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some((parent, _)) = stat(pid) {
            parents.insert(pid, parent);
        }
    }
    let mut found: Vec<u32> = roots.to_vec();
    loop {
        let more: Vec<u32> =
            parents.iter().filter(|(pid, parent)| found.contains(parent) && !found.contains(pid)).map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn times(pids: &[u32]) -> HashMap<u32, Duration> {
    pids.iter().filter_map(|pid| Some((*pid, stat(*pid)?.1))).collect()
}

/// Parent, and time used including that of children that were waited for.
fn stat(pid: u32) -> Option<(u32, Duration)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: u32 = fields[11..15].iter().filter_map(|field| field.parse::<u32>().ok()).sum();
    Some((fields[1].parse().ok()?, TICK * ticks))
}
