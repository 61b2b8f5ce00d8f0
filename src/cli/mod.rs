//! The command line: one file per command. Each reads its arguments, opens what it needs, calls a service, prints.
//!
//! Commands for operators act on the configured database directly and need no running server; a running one sees the change at once or,
//! where it caches clients and resources, within five seconds.

mod args;
mod client;
mod config_check;
mod doctor;
mod error;
mod explain;
mod group;
mod healthcheck;
mod input;
mod key;
mod migrate;
mod office;
mod output;
mod quickstart;
mod registration;
mod resource;
mod serve;
mod setup;
mod systemd;
mod user;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use args::{Cli, Command};
use error::CliError;
use output::Out;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    small_pages();
    // With 1, as every error: 2 means "changes" to those who ask `plan` for it.
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        drop(error.print());
        std::process::exit(i32::from(error.use_stderr()));
    });
    no_core_dumps();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("chancery").build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&CliError::new(format!("the runtime does not start: {error}"))),
    };
    let done = runtime.block_on(run(cli));
    crate::log::flush();
    let code = match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    };
    // Nobody waits for a resolver that never answers.
    runtime.shutdown_timeout(Duration::from_secs(1));
    crate::log::flush();
    code
}

async fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let out = Out { json: cli.json };
    let file = cli.config;
    let done = match cli.command {
        Command::Serve(args) => serve::run(file, args).await,
        Command::Quickstart(args) => quickstart::run(file, args).await,
        Command::Migrate => migrate::run(file, out).await,
        Command::Config { command } => config_check::run(file, command, out),
        Command::User { command } => user::run(file, command, out).await,
        Command::Group { command } => group::run(file, command, out).await,
        Command::Client { command } => client::run(file, command, out).await,
        Command::Registration { command } => registration::run(file, command, out).await,
        Command::Resource { command } => resource::run(file, command, out).await,
        Command::Key { command } => key::run(file, command, out).await,
        Command::Explain { trace_id } => explain::run(file, &trace_id, out).await,
        Command::Plan(args) => return setup::plan(file, args, out).await,
        Command::Apply(args) => setup::apply(file, args, out).await,
        Command::Doctor(args) => doctor::run(file, args, out).await,
        Command::Healthcheck => healthcheck::run(file, out).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn fail(error: &CliError) -> ExitCode {
    use std::io::Write as _;
    // Nobody may be listening on standard error; the exit code says it all the same.
    drop(writeln!(std::io::stderr().lock(), "chancery: {error}"));
    ExitCode::FAILURE
}

/// A remark on standard error that is not an error.
fn warn(remark: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr().lock(), "chancery: note: {remark}"));
}

/// The allocator's memory in pages of 4 KiB: given 2 MiB for every few bytes that it touches, an idle server would hold twice what it uses.
fn small_pages() {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).ok();
}

/// A core dump would hold every private key (security.md R-88). If the system refuses, what the operator set stays.
///
/// The limit alone is not enough: Linux does not look at it where dumps are piped to a program, as systemd-coredump has it
/// (core(5)). Not being dumpable covers that, and keeps other processes of the same user from reading this one's memory.
fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).ok();
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).ok();
}
