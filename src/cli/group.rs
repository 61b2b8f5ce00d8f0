//! `chancery group …`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::GroupCommand;
use super::error::CliError;
use super::input;
use super::office::Office;
use super::output::{Out, Table, cell};
use super::user;
use crate::service::document::Document;
use crate::service::groups::{self, Kept};
use crate::service::setup;
use crate::storage::owners::Kind;

pub async fn run(file: Option<PathBuf>, command: GroupCommand, out: Out) -> Result<(), CliError> {
    let office = Office::open(file).await?;
    let operator = office.operator();
    match command {
        GroupCommand::Add(file) => {
            let group = groups::parse(&input::file(&file.file)?)
                .map_err(|error| CliError::new(format!("{}: {error}", file.file.display())))?;
            done(&groups::add(&operator, group).await?, "added", out)
        }
        GroupCommand::List(args) => {
            let all = groups::list(&operator, args.limit, args.after.as_deref()).await?;
            list(&marked(&office, all.iter().map(groups::show).collect()).await?, out)
        }
        GroupCommand::Show(group) => {
            let group = groups::show(&groups::find(&operator, &group.identifier).await?);
            let group = marked(&office, vec![group]).await?.pop().unwrap_or_default();
            out.show(&group, || Table::members(&group))
        }
        GroupCommand::Members { group, list } => {
            let after = user::after(&list)?;
            user::list(&groups::members(&operator, &group.identifier, list.limit, after).await?, out)
        }
        GroupCommand::Update { group, file } => {
            let patch = Document::parse(&input::file(&file.file)?)
                .map_err(|error| CliError::new(format!("{}: {error}", file.file.display())))?;
            done(&groups::update(&operator, &group.identifier, patch).await?, "updated", out)
        }
        GroupCommand::Remove(group) => {
            groups::remove(&operator, &group.identifier).await?;
            if out.json {
                return out.json(&json!({ "removed": group.identifier }));
            }
            out.say(&format!("Group {:?} removed; nobody is in it any more.", group.identifier))
        }
    }
}

fn done(kept: &Kept, what: &str, out: Out) -> Result<(), CliError> {
    if out.json {
        return out.json(&groups::show(kept));
    }
    out.say(&format!("Group {:?} {what}.", kept.group.identifier))
}

async fn marked(office: &Office, shown: Vec<Value>) -> Result<Vec<Value>, CliError> {
    Ok(setup::marked(&office.db, Kind::Group, "identifier", shown).await?)
}

fn list(all: &[Value], out: Out) -> Result<(), CliError> {
    out.show(&Value::from(all), || {
        let mut table = Table::new(["IDENTIFIER", "NAME", "ROLES", "OWNER"]);
        for group in all {
            table.row(["identifier", "name", "roles", "owner"].map(|member| cell(&group[member])));
        }
        table
    })
}
