//! `chancery doctor`: what is wrong with this deployment, and how to mend it. The exit code is not zero when something is.

use std::path::PathBuf;
use std::sync::Arc;

use super::args::ServeArgs;
use super::error::CliError;
use super::output::{Out, Table, printable, write};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Sources};
use crate::service::doctor::{self, Check, Report, Severity};

pub async fn run(file: Option<PathBuf>, args: ServeArgs, out: Out) -> Result<(), CliError> {
    let config = Sources::from_process(file, args.flags()).and_then(Config::load);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let report = doctor::examine(&config, &clock).await;
    if out.json {
        out.json(&report.json())?;
    } else {
        show(&report)?;
    }
    if report.is_well() {
        return Ok(());
    }
    let count = |severity| report.findings().iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings, unknown) = (count(Severity::Error), count(Severity::Warning), report.unknown());
    Err(CliError::new(format!("errors: {errors}, warnings: {warnings}, checks not made: {unknown}")))
}

/// Every check with its result, then what was found with what to do about it.
fn show(report: &Report) -> Result<(), CliError> {
    let mut table = Table::new(["CHECK", "RESULT", "ABOUT"]);
    for check in Check::ALL {
        let found: Vec<_> = report.findings().into_iter().filter(|finding| finding.check == *check).collect();
        for finding in &found {
            let about = finding.subject.clone().unwrap_or_default();
            table.row([check.id().to_owned(), finding.severity.as_str().to_owned(), about]);
        }
        if found.is_empty() {
            let because = report.why_not(*check).unwrap_or_default().to_owned();
            table.row([check.id().to_owned(), report.result(*check).to_owned(), because]);
        }
    }
    let mut text = table.render();
    for finding in report.findings() {
        let about = finding.subject.as_ref().map(|subject| format!(" ({})", printable(subject))).unwrap_or_default();
        text.push_str(&format!("\n{}: {}{about}\n", finding.severity.as_str(), finding.check.id()));
        text.push_str(&format!("  What is wrong: {}\n  To mend it:    {}\n", printable(&finding.what), printable(&finding.mend)));
    }
    write(text.trim_end())
}
