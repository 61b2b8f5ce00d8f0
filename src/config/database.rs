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
}

impl DatabaseConfig {
    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        let url =
            section.secret("url").unwrap_or_else(|| Secret::new(format!("sqlite://{}", data_dir.join("chancery.db").display())));
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
            section.contradiction("url", "url must begin with sqlite://, postgres:// or postgresql://".to_owned());
        }
        Self {
            url,
            max_connections: section.number32("max_connections", 16, 1, 1000),
            acquire_timeout: section.duration(
                "acquire_timeout",
                Duration::from_secs(5),
                Duration::from_millis(10),
                Duration::from_secs(60),
            ),
        }
    }

    /// The configuration of one database, with defaults for the rest.
    pub fn of(url: &str) -> Self {
        Self { url: Secret::new(url.to_owned()), max_connections: 16, acquire_timeout: Duration::from_secs(5) }
    }

    /// Whether it is the embedded store.
    pub fn is_sqlite(&self) -> bool {
        self.url.expose().starts_with("sqlite:")
    }
}
