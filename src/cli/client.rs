//! `chancery client …`.

use std::path::PathBuf;

use serde_json::Value;

use super::args::ClientCommand;
use super::error::CliError;
use super::input;
use super::office::Office;
use super::output::{Out, Table, cell, yes_no};
use crate::config::parse_duration;
use crate::oauth::client::Client;
use crate::oauth::resource::Catalogue;
use crate::service::clients::{self, ClientDocument, LONGEST_GRACE, WithSecret};
use crate::service::document::Document;
use crate::service::setup;
use crate::storage::owners::Kind;
use crate::storage::resources;

pub async fn run(file: Option<PathBuf>, command: ClientCommand, out: Out) -> Result<(), CliError> {
    let office = Office::open(file).await?;
    let operator = office.operator();
    match command {
        ClientCommand::Add(file) => {
            let document = ClientDocument::parse(&input::file(&file.file)?)
                .map_err(|error| CliError::new(format!("{}: {error}", file.file.display())))?;
            let added = clients::add(&operator, document).await?;
            warn_of_unknown_scopes(&office, &added.client).await?;
            print_once(&added, "registered", out)
        }
        ClientCommand::List(args) => {
            let all = clients::list(&operator, args.limit, args.after.as_deref()).await?;
            list(&marked(&office, all.iter().map(clients::show).collect()).await?, out)
        }
        ClientCommand::Show(client) => {
            let client = clients::show(&clients::find(&operator, &client.client_id).await?);
            let client = marked(&office, vec![client]).await?.pop().unwrap_or_default();
            out.show(&client, || Table::members(&client))
        }
        ClientCommand::Update { client, file } => {
            let patch = Document::parse(&input::file(&file.file)?)
                .map_err(|error| CliError::new(format!("{}: {error}", file.file.display())))?;
            let updated = clients::update(&operator, &client.client_id, patch).await?;
            warn_of_unknown_scopes(&office, &updated.client).await?;
            print_once(&updated, "updated", out)
        }
        ClientCommand::Disable(client) => done(&clients::disable(&operator, &client.client_id).await?, "disabled", out),
        ClientCommand::Enable(client) => done(&clients::enable(&operator, &client.client_id).await?, "enabled", out),
        ClientCommand::Remove(client) => done(&clients::remove(&operator, &client.client_id).await?, "removed", out),
        ClientCommand::RotateSecret { client, grace } => {
            let grace = parse_duration(&grace).filter(|grace| *grace <= LONGEST_GRACE).ok_or_else(|| {
                CliError::new(format!("--grace must be a duration of at most 90 days such as 10m or 24h, not {grace:?}"))
            })?;
            let rotated = clients::rotate_secret(&operator, &client.client_id, grace).await?;
            let what =
                if grace.is_zero() { "has a new secret; the old one has ended" } else { "has a new secret beside the old one" };
            print_once(&rotated, what, out)
        }
    }
}

/// Scopes that no resource defines yet are kept, since resources may come later, but say nothing until then.
async fn warn_of_unknown_scopes(office: &Office, client: &Client) -> Result<(), CliError> {
    let catalogue = Catalogue::new(resources::all(&office.db).await?, office.config.issuer.as_str());
    for scope in client.registered_scopes().iter().filter(|scope| !catalogue.knows(scope)) {
        super::warn(&format!("no resource has the scope {scope:?}; it counts once `chancery resource add` names it"));
    }
    Ok(())
}

/// The client, and its secret if one was made: it is told now and never again.
fn print_once(told: &WithSecret, what: &str, out: Out) -> Result<(), CliError> {
    if out.json {
        return out.json(&clients::tell(told));
    }
    done(&told.client, what, out)?;
    match &told.secret {
        Some(secret) => {
            out.say(&format!("client_id      {}\nclient_secret  {}   (shown this once)", told.client.client_id, secret.expose()))
        }
        None => out.say(&format!("client_id      {}", told.client.client_id)),
    }
}

fn done(client: &Client, what: &str, out: Out) -> Result<(), CliError> {
    if out.json {
        return out.json(&clients::show(client));
    }
    let name = client.metadata.client_name.as_deref().unwrap_or(&client.client_id);
    out.say(&format!("Client {name:?} {what}."))
}

async fn marked(office: &Office, shown: Vec<Value>) -> Result<Vec<Value>, CliError> {
    Ok(setup::marked(&office.db, Kind::Client, "client_id", shown).await?)
}

fn list(all: &[Value], out: Out) -> Result<(), CliError> {
    out.show(&Value::from(all), || {
        let mut table =
            Table::new(["CLIENT_ID", "NAME", "ENABLED", "AUTHENTICATION", "GRANTS", "REDIRECTS", "REGISTERED", "OWNER"]);
        for client in all {
            table.row([
                cell(&client["client_id"]),
                cell(&client["client_name"]),
                yes_no(client["enabled"] == true),
                cell(&client["token_endpoint_auth_method"]),
                cell(&client["grant_types"]),
                cell(&client["redirect_uris"]),
                registered(&client["registered"]),
                cell(&client["owner"]),
            ]);
        }
        table
    })
}

/// By whom a client was registered that registered itself.
fn registered(registered: &Value) -> String {
    match (registered, registered["initial_access_token"].as_str()) {
        (Value::Null, _) => "-".to_owned(),
        (_, Some(token)) => format!("token {token}"),
        (_, None) => format!("openly, from {}", cell(&registered["address"])),
    }
}
