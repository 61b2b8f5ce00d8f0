//! `chancery plan` and `chancery apply`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{ApplyArgs, PlanArgs};
use super::error::CliError;
use super::input;
use super::office::Office;
use super::output::{Out, Table};
use crate::entropy::SystemEntropy;
use crate::service::clients;
use crate::service::setup::{self, Action, Plan, SetupFile, Wishes};

/// The exit code of `plan --detailed-exitcode` when something would change.
const CHANGES: u8 = 2;
/// Characters of a value in the table.
const WIDEST: usize = 60;

pub async fn plan(file: Option<PathBuf>, args: PlanArgs, out: Out) -> Result<ExitCode, CliError> {
    let office = Office::open(file).await?;
    let plan = setup::plan(&office.operator(), read(&office, &args.apply)?, wishes(&args.apply)).await?;
    let changes = !plan.is_empty();
    print(&plan, false, out)?;
    Ok(if changes && args.detailed_exitcode { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS })
}

pub async fn apply(file: Option<PathBuf>, args: ApplyArgs, out: Out) -> Result<(), CliError> {
    let office = Office::open(file).await?;
    let plan = setup::apply(&office.operator(), Arc::new(SystemEntropy), read(&office, &args)?, wishes(&args)).await?;
    print(&plan, true, out)
}

fn read(office: &Office, args: &ApplyArgs) -> Result<SetupFile, CliError> {
    let text = input::file(&args.file)?;
    let name = if args.file == Path::new("-") { "standard input".to_owned() } else { args.file.display().to_string() };
    let folder = args.file.parent().unwrap_or(Path::new(""));
    Ok(SetupFile::parse(&text, &name, folder, &clients::policy(&office.operator()))?)
}

fn wishes(args: &ApplyArgs) -> Wishes {
    Wishes { adopt: args.adopt, prune: args.prune, release: args.release }
}

fn print(plan: &Plan, done: bool, out: Out) -> Result<(), CliError> {
    for note in &plan.notes {
        super::warn(note);
    }
    if out.json {
        return out.json(&value(plan, done));
    }
    if !plan.steps.is_empty() {
        out.show(&Value::Null, || table(plan))?;
    }
    out.say(&summary(plan, done))
}

fn value(plan: &Plan, done: bool) -> Value {
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .map(|step| {
            let members: Vec<Value> = step
                .members
                .iter()
                .map(|member| json!({ "member": member.name, "was": member.was, "is_now": member.is_now }))
                .collect();
            json!({ "action": step.action.as_str(), "kind": step.object.kind.as_str(), "id": step.object.id, "members": members })
        })
        .collect();
    json!({ "owner": plan.owner, "changed": !plan.is_empty(), "applied": done, "steps": steps, "notes": plan.notes })
}

fn table(plan: &Plan) -> Table {
    let mut table = Table::new(["ACTION", "KIND", "ID", "MEMBER", "WAS", "WILL BE"]);
    for step in &plan.steps {
        let (action, kind, id) = (step.action.as_str().to_owned(), step.object.kind.as_str().to_owned(), step.object.id.clone());
        if step.members.is_empty() {
            table.row([action, kind, id, String::new(), String::new(), String::new()]);
            continue;
        }
        for member in &step.members {
            let cells = [member.name.clone(), short(&member.was), short(&member.is_now)];
            let [name, was, is_now] = cells;
            table.row([action.clone(), kind.clone(), id.clone(), name, was, is_now]);
        }
    }
    table
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.chars().count() <= WIDEST { text } else { text.chars().take(WIDEST - 1).chain(['…']).collect() }
}

fn summary(plan: &Plan, done: bool) -> String {
    let count = |action: Action| plan.steps.iter().filter(|step| step.action == action).count();
    let left = match count(Action::Leave) {
        0 => String::new(),
        left => format!(" {left} not in the file any more: --prune removes, --release gives up."),
    };
    if plan.is_empty() {
        return format!("No change: everything is as {:?} says.{left}", plan.owner);
    }
    let words = if done {
        [
            (Action::Create, "created"),
            (Action::Change, "changed"),
            (Action::Adopt, "adopted"),
            (Action::Remove, "removed"),
            (Action::Release, "released"),
        ]
    } else {
        [
            (Action::Create, "to create"),
            (Action::Change, "to change"),
            (Action::Adopt, "to adopt"),
            (Action::Remove, "to remove"),
            (Action::Release, "to release"),
        ]
    };
    let parts: Vec<String> = words
        .into_iter()
        .map(|(action, word)| (count(action), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let end = if done { "." } else { "; `chancery apply` makes it so." };
    format!("{}{end}{left}", parts.join(", "))
}
