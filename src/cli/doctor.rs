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

/// Findings of one check that people are shown: a server may have thousands of clients, and what is wrong with one is wrong with many.
const MOST: usize = 20;

fn show(report: &Report) -> Result<(), CliError> {
    write(text(report).trim_end())
}

/// Every check with its result, then what was found with what to do about it.
fn text(report: &Report) -> String {
    let mut table = Table::new(["CHECK", "RESULT", "ABOUT"]);
    let mut stories = String::new();
    for check in Check::ALL {
        let found: Vec<_> = report.findings().into_iter().filter(|finding| finding.check == *check).collect();
        for finding in found.iter().take(MOST) {
            let about = finding.subject.clone().unwrap_or_default();
            table.row([check.id().to_owned(), finding.severity.as_str().to_owned(), about]);
            let about = finding.subject.as_ref().map(|subject| format!(" ({})", printable(subject))).unwrap_or_default();
            stories.push_str(&format!("\n{}: {}{about}\n", finding.severity.as_str(), finding.check.id()));
            let (what, mend) = (printable(&finding.what), printable(&finding.mend));
            stories.push_str(&format!("  What is wrong: {what}\n  To mend it:    {mend}\n"));
        }
        let more = found.len().saturating_sub(MOST);
        if more > 0 {
            table.row([check.id().to_owned(), "…".to_owned(), format!("and {more} more; --json has them all")]);
        }
        if found.is_empty() {
            let because = report.why_not(*check).unwrap_or_default().to_owned();
            table.row([check.id().to_owned(), report.result(*check).to_owned(), because]);
        }
    }
    table.render() + &stories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::doctor::Finding;

    #[test]
    fn what_is_wrong_with_many_is_told_of_a_few() {
        let one = |number: usize| Finding::note(Check::ClientSecretUnused, "never used").about(format!("client-{number:03}"));
        let last = Finding::warning(Check::ClientSecretUnused, "never used").about("zzz");
        let report: Report = (0..30).map(one).chain([last]).collect();
        let text = text(&report);
        assert!(text.contains("warning: client-secret-unused (zzz)"), "the worst first: {text}");
        assert!(text.contains("(client-018)") && !text.contains("client-019"), "{text}");
        assert!(text.contains("and 11 more; --json has them all"), "{text}");
    }
}
