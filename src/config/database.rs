//! `[database]`: which store, and how many connections to it.

use std::path::Path;
use std::time::Duration;

use super::reader::Section;
use crate::secret::Secret;

/// Where the state lives.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `sqlite://FILE` or `postgres://…`; holds a password, perhaps.
    pub url: Secret<String>,
    /// The most connections that are open at once to PostgreSQL; readers on SQLite.
    pub max_connections: u32,
    /// How long a request waits for a connection before it answers 503.
    pub acquire_timeout: Duration,
    /// How long one statement may run before it is cancelled.
    pub statement_timeout: Duration,
    /// The URL leads to a pooler that gives each transaction another session.
    pub transaction_pooler: bool,
    /// PostgreSQL past the pooler, for the one connection that hears of changes.
    pub notifications_url: Option<Secret<String>>,
}

impl DatabaseConfig {
    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        let url =
            section.secret("url").unwrap_or_else(|| Secret::new(format!("sqlite://{}", data_dir.join("chancery.db").display())));
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
            section.contradiction("url", "url must begin with sqlite://, postgres:// or postgresql://".to_owned());
        }
        let (least, most) = (Duration::from_millis(10), Duration::from_secs(300));
        let defaults = Self::new("");
        let sqlite = url.expose().starts_with("sqlite:");
        let transaction_pooler = section.flag("transaction_pooler", false);
        if transaction_pooler && sqlite {
            section.contradiction("transaction_pooler", "transaction_pooler is for PostgreSQL".to_owned());
        }
        let notifications_url = section.secret("notifications_url");
        if notifications_url.as_ref().is_some_and(|url| sqlite || !url.expose().starts_with("postgres")) {
            section
                .contradiction("notifications_url", "notifications_url is for PostgreSQL, and begins with postgres://".to_owned());
        }
        Self {
            url,
            max_connections: section.number32("max_connections", defaults.max_connections, 1, 1000),
            acquire_timeout: section.duration("acquire_timeout", defaults.acquire_timeout, least, most),
            statement_timeout: section.duration("statement_timeout", defaults.statement_timeout, least, most),
            transaction_pooler,
            notifications_url,
        }
    }

    /// The given URL with the defaults: 16 connections, 3 s to wait for one, 10 s for a statement.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            max_connections: 16,
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(10),
            transaction_pooler: false,
            notifications_url: None,
        }
    }

    /// Whether it is the embedded store.
    pub fn is_sqlite(&self) -> bool {
        self.url.expose().starts_with("sqlite:")
    }
}
