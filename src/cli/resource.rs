//! `chancery resource …`.

use std::path::PathBuf;

use serde_json::Value;

use super::args::ResourceCommand;
use super::error::CliError;
use super::input;
use super::office::Office;
use super::output::{Out, Table};
use crate::oauth::resource::Resource;
use crate::service::document::Document;
use crate::service::resources;

pub async fn run(file: Option<PathBuf>, command: ResourceCommand, out: Out) -> Result<(), CliError> {
    let office = Office::open(file).await?;
    let operator = office.operator();
    match command {
        ResourceCommand::Add(file) => {
            let resource = resources::parse(&input::file(&file.file)?)
                .map_err(|error| CliError::new(format!("{}: {error}", file.file.display())))?;
            done(&resources::add(&operator, resource).await?, "added", out)
        }
        ResourceCommand::List => list(&resources::list(&operator).await?, out),
        ResourceCommand::Show(resource) => {
            let resource = resources::show(&resources::find(&operator, &resource.identifier).await?);
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

fn list(all: &[Resource], out: Out) -> Result<(), CliError> {
    let value = Value::Array(all.iter().map(resources::show).collect());
    out.show(&value, || {
        let mut table = Table::new(["IDENTIFIER", "NAME", "SCOPES", "ALG", "LIFETIME"]);
        for resource in all {
            let scopes: Vec<&str> = resource.scopes.iter().map(|scope| scope.name.as_str()).collect();
            table.row([
                resource.identifier.clone(),
                resource.name.clone(),
                scopes.join(" "),
                resource.access_token_signing_alg.as_str().to_owned(),
                resource.access_token_lifetime.map_or_else(|| "default".to_owned(), |seconds| format!("{seconds} s")),
            ]);
        }
        table
    })
}
