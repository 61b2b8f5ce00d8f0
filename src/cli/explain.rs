//! `chancery explain TRACE_ID`: the story of a refused request in words, with the change that mends it.

use std::path::PathBuf;

use super::error::CliError;
use super::office::Office;
use super::output::{Out, printable};
use crate::service::decisions::{self, Found};

pub async fn run(file: Option<PathBuf>, trace_id: &str, out: Out) -> Result<(), CliError> {
    let trace_id = trace_id.trim().to_ascii_lowercase();
    if trace_id.len() != 32 || !trace_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(CliError::new(
            "a trace id has 32 hexadecimal digits; the error page shows it, and every JSON error has it in the header Chancery-Trace-Id",
        ));
    }
    let office = Office::open(file).await?;
    let Some(found) = decisions::find(&office.db, &trace_id).await? else {
        return Err(CliError::new(format!(
            "no decision has the trace id {trace_id}: it was not refused, is older than [lifetimes] decision, or was one of so many alike \
             that only their number was kept"
        )));
    };
    if out.json {
        return out.json(&decisions::show(&found));
    }
    out.say(&tell(&found))
}

/// The story, one thought a line. What callers sent is escaped.
fn tell(found: &Found) -> String {
    let (rule, story, wire) = (found.reason.rule(), found.reason.story(), found.reason.wire());
    let client =
        found.client_id.as_deref().map_or_else(|| "an unknown client".to_owned(), |client_id| format!("client {client_id}"));
    let address = found.address_prefix.as_deref().map(|prefix| format!(", from {prefix}")).unwrap_or_default();
    let mut lines = vec![
        format!("{} at {}: {client}{address}", found.at.rfc3339(), found.endpoint),
        String::new(),
        story.happened,
        String::new(),
    ];
    let facts = [("Expected", story.expected), ("Received", story.received), ("First difference", story.difference)];
    for (name, value) in facts.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))) {
        lines.push(format!("{:<18}{value}", format!("{name}:")));
    }
    lines.push(format!("{:<18}{} ({}, {})", "Rule:", rule.title, found.rule, rule.spec));
    lines.push(format!("{:<18}{} with status {}", "Answered:", wire.error, wire.status));
    lines.push(String::new());
    lines.push(format!("What to do: {}", story.mend));
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}
