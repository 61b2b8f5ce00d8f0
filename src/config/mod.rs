//! Configuration: one file per section, strict, from a TOML file, the environment and flags.
//!
//! Flags win over the environment, the environment wins over the file, the file wins over the defaults. A key that nobody knows is an
//! error that names file, line and the nearest known key, never a silent no-op. An empty value counts as not set. What is offered is
//! exactly what the sections below read: the list of known keys is collected while they read, so that neither the reference
//! (`config/chancery.toml`) nor the error hints can drift from the code.

pub mod database;
pub(crate) mod duration;
mod factors;
pub(crate) mod file;
mod issuer;
mod keys;
mod lifetimes;
mod limits;
mod log;
mod outbound;
mod pages;
mod passwords;
mod proxies;
mod reader;
mod registration;
mod secret_file;
mod security_txt;
mod server;
mod throttle;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use database::DatabaseConfig;
pub use duration::parse as parse_duration;
pub use factors::FactorsConfig;
pub use issuer::Issuer;
pub use keys::KeysConfig;
pub use lifetimes::Lifetimes;
pub use limits::Limits;
pub use log::{LogConfig, LogFormat};
pub use outbound::{Allowed, Outbound};
pub use pages::Pages;
pub use passwords::PasswordsConfig;
pub use proxies::Proxies;
pub use reader::{Known, KnownKind};
pub use registration::{Registration, RegistrationMode};
pub use secret_file::{SecretFileError, is_world_readable, read as read_secret_file};
pub use security_txt::SecurityTxt;
pub use server::ServerConfig;
pub use throttle::ThrottleConfig;
pub use tls::Tls;

use reader::Reader;

use crate::printable::printable;
use crate::secret::Secret;

/// The whole configuration, every value checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The public base URL: `[server] issuer`.
    pub issuer: Issuer,
    /// `[server]`: where to listen, where data lives.
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    /// `[keys]`: the master key and the life of signing keys.
    pub keys: KeysConfig,
    pub log: LogConfig,
    pub lifetimes: Lifetimes,
    pub throttle: ThrottleConfig,
    pub passwords: PasswordsConfig,
    pub factors: FactorsConfig,
    pub limits: Limits,
    pub proxies: Proxies,
    pub outbound: Outbound,
    pub registration: Registration,
    pub tls: Tls,
    pub pages: Pages,
    pub security_txt: SecurityTxt,
    /// Variables that were ignored and look like misspelt ones: for whoever runs the program.
    pub misspelt: Vec<ConfigError>,
}

/// Where a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// The variables whose names begin with `CHANCERY_`.
    pub env: BTreeMap<String, String>,
    /// Flags by the key that they override, such as `("server.listen", "127.0.0.1:8080")`.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// The environment of this process beside a file and flags.
    pub fn from_process(file: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Result<Self, ConfigErrors> {
        let mut env = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(reader::PREFIX)) else { continue };
            match value.into_string() {
                Ok(value) => {
                    env.insert(name.to_owned(), value);
                }
                Err(_) => errors.push(ConfigError::new(name, "the value is not UTF-8")),
            }
        }
        if errors.is_empty() { Ok(Self { file, env, flags }) } else { Err(ConfigErrors(errors)) }
    }
}

impl Config {
    /// Reads and checks everything; reports all that is wrong at once.
    pub fn load(sources: Sources) -> Result<Self, ConfigErrors> {
        Self::checked(Reader::open(sources))
    }

    /// The same of a file that is given as its text.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_text(text: &str, env: BTreeMap<String, String>) -> Result<Self, ConfigErrors> {
        let (name, mut errors) = ("chancery.toml".to_owned(), Vec::new());
        let file = file::parse(text, &name, &mut errors);
        Self::checked(Reader::over(Sources { env, ..Sources::default() }, name, file, errors))
    }

    fn checked(reader: Reader) -> Result<Self, ConfigErrors> {
        let (mut config, reader) = Self::read_all(reader);
        config.misspelt = reader.misspelt();
        let errors = reader.finish();
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// The configuration of a test server: the defaults, with cheap password hashing and a fixed master key.
    pub fn for_tests(issuer: &str, database_url: &str) -> Result<Self, ConfigErrors> {
        let flags = vec![
            ("server.issuer", issuer.to_owned()),
            ("server.listen", "127.0.0.1:0".to_owned()),
            ("server.management_listen", "127.0.0.1:0".to_owned()),
            ("database.url", database_url.to_owned()),
            ("keys.master_key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned()),
            ("passwords.memory_kib", "64".to_owned()),
            ("passwords.iterations", "1".to_owned()),
        ];
        Self::load(Sources { file: None, env: BTreeMap::new(), flags })
    }

    /// Every key that a configuration may have, in the order of the sections.
    pub fn known() -> Vec<Known> {
        Self::read_all(Reader::open(Sources::default())).1.into_known()
    }

    /// What must hold before the server may start, beyond what each key says by itself.
    pub fn check_serving(&self) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        if self.tls.files().is_some() && !self.issuer.is_https() {
            errors.push(
                ConfigError::new("[tls]", format!("the server speaks TLS, and its issuer is {}", self.issuer.as_str()))
                    .hint("give it an https issuer, or remove the section"),
            );
        }
        if self.keys.master_key.is_none() && !self.database.is_sqlite() {
            errors.push(
                ConfigError::new("[keys] master_key", "PostgreSQL needs a master key, and none is given")
                    .hint("set CHANCERY_MASTER_KEY or CHANCERY_MASTER_KEY_FILE; `openssl rand 32 | basenc --base64url` makes one"),
            );
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }

    fn read_all(mut reader: Reader) -> (Self, Reader) {
        let (server, issuer) = ServerConfig::read(&mut reader.section("server"));
        let config = Self {
            database: DatabaseConfig::read(&mut reader.section("database"), &server.data_dir),
            keys: KeysConfig::read(&mut reader.section("keys")),
            log: LogConfig::read(&mut reader.section("log")),
            lifetimes: Lifetimes::read(&mut reader.section("lifetimes")),
            throttle: ThrottleConfig::read(&mut reader.section("throttle")),
            passwords: PasswordsConfig::read(&mut reader.section("passwords")),
            factors: FactorsConfig::read(&mut reader.section("factors")),
            limits: Limits::read(&mut reader.section("limits")),
            proxies: Proxies::read(&mut reader.section("proxies")),
            outbound: Outbound::read(&mut reader.section("outbound")),
            registration: Registration::read(&mut reader.section("registration")),
            tls: Tls::read(&mut reader.section("tls")),
            pages: Pages::read(&mut reader.section("pages")),
            security_txt: SecurityTxt::read(&mut reader.section("security_txt")),
            issuer,
            server,
            misspelt: Vec::new(),
        };
        (config, reader)
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// `chancery.toml:12`, the name of a variable, a flag.
    pub place: String,
    /// What is wrong. Never holds the value of a secret.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// A file that others may read holds a secret.
    pub exposes: bool,
}

impl ConfigError {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into(), hint: None, exposes: false }
    }

    pub(crate) fn exposes(mut self, exposes: bool) -> Self {
        self.exposes = exposes;
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", printable(&self.place), printable(&self.message))?;
        if let Some(hint) = &self.hint {
            write!(f, " ({})", printable(hint))?;
        }
        Ok(())
    }
}

/// All that is wrong with the configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A secret that may be absent.
pub(crate) type MaybeSecret = Option<Secret<String>>;

#[cfg(test)]
mod tests;
