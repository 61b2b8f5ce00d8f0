//! `chancery resource …`.

use std::path::PathBuf;

use serde_json::Value;

use super::args::ResourceCommand;
use super::error::CliError;
use super::input;
use super::office::Office;
use super::output::{Out, Table, cell};
use crate::oauth::resource::Resource;
use crate::service::document::Document;
use crate::service::{resources, setup};
use crate::storage::owners::Kind;

pub async fn run(file: Option<PathBuf>, command: ResourceCommand, out: Out) -> Result<(), CliError> {
    let office = Office::open(file).await?;
    let operator = office.operator();
    match command {
        ResourceCommand::Add(file) => {
            let resource = resources::parse(&input::file(&file.file)?)
                .map_err(|error| CliError::new(format!("{}: {error}", file.file.display())))?;
            done(&resources::add(&operator, resource).await?, "added", out)
        }
        ResourceCommand::List => {
            let all = resources::list(&operator).await?;
            list(&marked(&office, all.iter().map(resources::show).collect()).await?, out)
        }
        ResourceCommand::Show(resource) => {
            let resource = resources::show(&resources::find(&operator, &resource.identifier).await?);
            let resource = marked(&office, vec![resource]).await?.pop().unwrap_or_default();
            out.show(&resource, || Table::members(&resource))
        }
        ResourceCommand::Update { resource, file } => {
            let patch = Document::parse(&input::file(&file.file)?)
                .map_err(|error| CliError::new(format!("{}: {error}", file.file.display())))?;
            done(&resources::update(&operator, &resource.identifier, patch).await?, "updated", out)
        }
        ResourceCommand::Remove(resource) => done(&resources::remove(&operator, &resource.identifier).await?, "removed", out),
    }
}

fn done(resource: &Resource, what: &str, out: Out) -> Result<(), CliError> {
    if out.json {
        return out.json(&resources::show(resource));
    }
    out.say(&format!("Resource {:?} {what}.", resource.identifier))
}

async fn marked(office: &Office, shown: Vec<Value>) -> Result<Vec<Value>, CliError> {
    Ok(setup::marked(&office.db, Kind::Resource, "identifier", shown).await?)
}

fn list(all: &[Value], out: Out) -> Result<(), CliError> {
    out.show(&Value::from(all), || {
        let mut table = Table::new(["IDENTIFIER", "NAME", "SCOPES", "ALG", "LIFETIME", "OWNER"]);
        for resource in all {
            let scopes = resource["scopes"].as_array().into_iter().flatten().filter_map(|scope| scope["name"].as_str());
            table.row([
                cell(&resource["identifier"]),
                cell(&resource["name"]),
                scopes.collect::<Vec<_>>().join(" "),
                cell(&resource["access_token_signing_alg"]),
                resource["access_token_lifetime"].as_u64().map_or_else(|| "default".to_owned(), |seconds| format!("{seconds} s")),
                cell(&resource["owner"]),
            ]);
        }
        table
    })
}
