//! What is to be measured.

use crate::operations::Operation;

/// How the command line is read, and what `--help` says.
pub const USAGE: &str = "\
usage: ./bench [OPERATION...] [options]
  --sqlite, --postgres        Chancery on these alone
  --peer, --no-peer           node-oidc-provider beside it, or not: it is there when everything is measured
  --rounds N                  rounds that count (5)
  --quick                     one short round
  --growth                    a full store against an empty one
  --users N, --families N     how full (1000000 and 10000000)
  --flood N                   N connections that ask for tokens without a pause: what is granted, and how health answers
  --slow-disk N               refreshes (or what is named) on a PostgreSQL whose syncs take N ms more
  --list                      names the operations";

/// People and refresh families of a full store.
const FULL: (u64, u64) = (1_000_000, 10_000_000);

/// A run.
#[derive(Debug, Clone)]
pub struct Arguments {
    pub operations: Vec<Operation>,
    pub sqlite: bool,
    pub postgres: bool,
    pub peer: bool,
    pub rounds: usize,
    /// The share of the usual steps that a round has.
    pub share: f64,
    pub growth: bool,
    /// What a full store holds.
    pub users: u64,
    pub families: u64,
    /// How many connections ask without a pause.
    pub flood: Option<u64>,
    /// What a sync of PostgreSQL takes more, in milliseconds.
    pub slow_disk: Option<u64>,
    /// Everything, long enough to be written down.
    pub complete: bool,
}

impl Arguments {
    /// Reads the command line; `Err` is what to say before leaving.
    pub fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut this = Self {
            operations: Vec::new(),
            sqlite: false,
            postgres: false,
            peer: false,
            rounds: 5,
            share: 1.0,
            growth: false,
            users: FULL.0,
            families: FULL.1,
            flood: None,
            slow_disk: None,
            complete: false,
        };
        let mut peer = None;
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--sqlite" => this.sqlite = true,
                "--postgres" => this.postgres = true,
                "--peer" => peer = Some(true),
                "--no-peer" => peer = Some(false),
                "--quick" => (this.rounds, this.share) = (1, 0.1),
                "--growth" => this.growth = true,
                "--rounds" | "--users" | "--families" | "--flood" | "--slow-disk" => {
                    let number = arguments.next().and_then(|number| number.parse::<u64>().ok()).filter(|number| *number > 0);
                    let number = number.ok_or_else(|| format!("{argument} wants a number"))?;
                    match argument.as_str() {
                        "--users" => this.users = number,
                        "--families" => this.families = number,
                        "--flood" => this.flood = Some(number),
                        "--slow-disk" => this.slow_disk = Some(number),
                        _ => this.rounds = usize::try_from(number).unwrap(),
                    }
                }
                "--list" => return Err(Operation::ALL.map(Operation::name).join("\n")),
                name => {
                    let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name);
                    this.operations.push(operation.ok_or_else(|| format!("there is no `{name}`\n{USAGE}"))?);
                }
            }
        }
        if this.slow_disk.is_some() {
            this.postgres = true;
            if this.operations.is_empty() {
                this.operations = vec![Operation::Refresh, Operation::RefreshOpaque];
            }
        }
        let everywhere = !this.sqlite && !this.postgres;
        let everything = everywhere && this.operations.is_empty();
        this.peer = peer.unwrap_or(everything && !this.growth);
        let as_written = if this.growth { (this.users, this.families) == FULL } else { this.peer };
        this.complete = everything && as_written && this.share == 1.0 && this.flood.is_none();
        this.sqlite |= everywhere;
        this.postgres |= everywhere;
        if this.operations.is_empty() {
            this.operations = Operation::ALL.to_vec();
            if this.growth {
                this.operations.retain(|operation| operation.reads_the_store());
            }
        }
        this.operations.sort_unstable();
        this.operations.dedup();
        Ok(this)
    }

    /// Steps of one round. The first, which warms up, is short.
    pub fn steps(&self, usual: usize, round: usize) -> usize {
        let share = if round == 0 { self.share.min(0.1) } else { self.share };
        ((usual as f64 * share) as usize).max(crate::CONNECTIONS)
    }
}
