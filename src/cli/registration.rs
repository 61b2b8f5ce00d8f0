//! `chancery registration …`.

use std::path::PathBuf;

use serde_json::Value;

use super::args::{RegistrationCommand, RegistrationTokenArgs, RegistrationTokenCommand};
use super::error::CliError;
use super::office::Office;
use super::output::{Out, Table, cell};
use crate::config::{RegistrationMode, parse_duration};
use crate::oauth::client::GrantType;
use crate::service::initial_access_tokens::{self as tokens, TokenFile};
use crate::service::revision::Precondition;

pub async fn run(file: Option<PathBuf>, command: RegistrationCommand, out: Out) -> Result<(), CliError> {
    let RegistrationCommand::Token { command } = command;
    let office = Office::open(file).await?;
    let operator = office.operator();
    match command {
        RegistrationTokenCommand::Add(args) => {
            let (token, secret) = tokens::add(&operator, read(args)?).await?;
            if office.config.registration.mode == RegistrationMode::Off {
                super::warn("[registration] mode is \"off\": nobody can register with this token until it is \"token\"");
            }
            if out.json {
                return out.json(&tokens::tell(&token, &secret));
            }
            let clients = if token.registrations == 1 { "client".to_owned() } else { format!("{} clients", token.registrations) };
            out.say(&format!("Whoever has this token may register {clients} until {}.", token.expires_at.rfc3339()))?;
            out.say(&format!("id     {}\ntoken  {}   (shown this once)", token.id, secret.expose()))
        }
        RegistrationTokenCommand::List(args) => {
            let after = args.after.as_deref().map(|id| id.parse().map_err(|_| CliError::new("--after must be a token's id")));
            let all = tokens::list(&operator, args.limit, after.transpose()?).await?;
            list(&all.iter().map(tokens::show).collect::<Vec<_>>(), out)
        }
        RegistrationTokenCommand::Show(token) => {
            let token = tokens::show(&tokens::find(&operator, token.id).await?);
            out.show(&token, || Table::members(&token))
        }
        RegistrationTokenCommand::Remove(token) => {
            let removed = tokens::remove_if(&operator, token.id, &Precondition::None).await?;
            if out.json {
                return out.json(&tokens::show(&removed));
            }
            out.say(&format!("Initial access token {} removed.", removed.id))
        }
    }
}

fn read(args: RegistrationTokenArgs) -> Result<TokenFile, CliError> {
    let lifetime = parse_duration(&args.expires_in);
    let lifetime = lifetime
        .ok_or_else(|| CliError::new(format!("--expires-in must be a duration such as 1h or 7d, not {:?}", args.expires_in)))?;
    let grant = |text: &String| {
        let known = GrantType::ALL.into_iter().find(|grant| grant.as_str() == text);
        known.ok_or_else(|| {
            CliError::new(format!("--grant-type must be one of {}, not {text:?}", GrantType::ALL.map(GrantType::as_str).join(", ")))
        })
    };
    let grant_types = args.grant_types.iter().map(grant).collect::<Result<Vec<_>, _>>()?;
    Ok(TokenFile {
        note: args.note,
        expires_in: Some(lifetime.as_secs()),
        registrations: Some(args.registrations),
        grant_types: (!grant_types.is_empty()).then_some(grant_types),
        scopes: (!args.scopes.is_empty()).then_some(args.scopes),
    })
}

fn list(all: &[Value], out: Out) -> Result<(), CliError> {
    out.show(&Value::from(all), || {
        let mut table = Table::new(["ID", "NOTE", "LEFT", "OF", "EXPIRES", "GRANTS", "SCOPES", "MADE BY"]);
        for token in all {
            table.row([
                cell(&token["id"]),
                cell(&token["note"]),
                cell(&token["registrations_left"]),
                cell(&token["registrations"]),
                cell(&token["expires_at"]),
                cell(&token["grant_types"]),
                cell(&token["scopes"]),
                cell(&token["created_by"]),
            ]);
        }
        table
    })
}
