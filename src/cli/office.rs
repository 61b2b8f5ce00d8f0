//! What a command for operators works with: the configuration, the database, and the means to act on it in their name.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::CliError;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::{Config, PasswordsConfig, Sources};
use crate::entropy::SystemEntropy;
use crate::service::operator::Operator;
use crate::service::passwords::Passwords;
use crate::storage::{Db, migrate};

/// How the audit log calls somebody at the command line.
const ACTOR: &str = "cli";

/// An open database and its configuration.
pub struct Office {
    pub config: Config,
    pub db: Db,
    pub entropy: SystemEntropy,
    clock: SystemClock,
    passwords: Passwords,
}

impl Office {
    /// Reads the configuration and opens its database. An empty database gets its schema; one that is behind or ahead is refused, since
    /// a server of another version may be at work on it.
    pub async fn open(file: Option<PathBuf>) -> Result<Self, CliError> {
        let office = Self::connect(file).await?;
        let pending = migrate::pending(&office.db).await?;
        if i64::try_from(pending.len()).is_ok_and(|pending| pending == migrate::newest()) {
            migrate::run(&office.db, office.now()).await?;
        } else {
            migrate::require_current(&office.db).await?;
        }
        Ok(office)
    }

    /// Reads the configuration and opens its database, whatever its schema.
    pub async fn connect(file: Option<PathBuf>) -> Result<Self, CliError> {
        let config = Config::load(Sources::from_process(file, Vec::new())?)?;
        config.misspelt.iter().for_each(|variable| super::warn(&variable.to_string()));
        Self::of(config).await
    }

    /// Opens the database of a configuration, whatever its schema.
    pub async fn of(config: Config) -> Result<Self, CliError> {
        let db = Db::connect(&config.database).await?;
        let passwords = Passwords::start(PasswordsConfig { workers: 1, ..config.passwords }, Arc::new(SystemEntropy))?;
        Ok(Self { config, db, entropy: SystemEntropy, clock: SystemClock::default(), passwords })
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Somebody who acts now.
    pub fn operator(&self) -> Operator<'_> {
        Operator {
            db: &self.db,
            config: &self.config,
            entropy: &self.entropy,
            passwords: &self.passwords,
            actor: ACTOR.to_owned(),
            now: self.now(),
            trace_id: None,
        }
    }
}
