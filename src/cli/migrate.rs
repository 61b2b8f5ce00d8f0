//! `chancery migrate`: brings the schema up to date and says what it did.

use std::path::PathBuf;

use serde_json::json;

use super::error::CliError;
use super::office::Office;
use super::output::Out;
use crate::storage::migrate;

pub async fn run(file: Option<PathBuf>, out: Out) -> Result<(), CliError> {
    let office = Office::connect(file).await?;
    let applied = migrate::run(&office.db, office.now()).await?;
    if out.json {
        return out.json(&json!({ "applied": applied, "newest": migrate::newest() }));
    }
    if applied.is_empty() {
        return out.say("The schema is up to date.");
    }
    out.say(&format!("Applied {}.", applied.join(", ")))
}
