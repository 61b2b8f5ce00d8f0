//! `chancery config check`: what the server would say at start, without starting it.

use std::path::PathBuf;

use serde_json::json;

use super::args::ConfigCommand;
use super::error::CliError;
use super::output::Out;
use crate::config::{Config, Sources};

pub fn run(file: Option<PathBuf>, command: ConfigCommand, out: Out) -> Result<(), CliError> {
    let ConfigCommand::Check(args) = command;
    let config = Config::load(Sources::from_process(file, args.flags())?)?;
    config.check_serving()?;
    config.misspelt.iter().for_each(|variable| super::warn(&variable.to_string()));
    let database = if config.database.is_sqlite() { "sqlite" } else { "postgres" };
    let value = json!({
        "ok": true,
        "issuer": config.issuer.as_str(),
        "listen": config.server.listen.to_string(),
        "management_listen": config.server.management_listen.to_string(),
        "database": database,
    });
    if out.json {
        return out.json(&value);
    }
    out.say(&format!("The configuration is good: {} on {}, {database}.", config.issuer, config.server.listen))
}
