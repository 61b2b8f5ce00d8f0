//! The one composition point: everything that lives as long as the server, and how it is put together.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigErrors, RegistrationMode};
use crate::entropy::{Entropy, SystemEntropy};
use crate::jose::{Alg, KeyLife};
use crate::oidc::discovery::{self, Offered};
use crate::secret::Digest;
use crate::service::client_keys::ClientKeys;
use crate::service::decisions::Decisions;
use crate::service::forwarded::Forwarded;
use crate::service::keyed::Keyed;
use crate::service::keys::{KeyError, Keys};
use crate::service::logos::Logos;
use crate::service::master_key::{self, MasterKeyError};
use crate::service::outbound::Outbound;
use crate::service::passwords::{PasswordError, Passwords};
use crate::service::quota::Quotas;
use crate::service::registration;
use crate::service::registry::Registry;
use crate::service::scans::Scans;
use crate::service::secret_uses::SecretUses;
use crate::service::throttle::Throttle;
use crate::service::turns::Turns;
use crate::storage::{Db, StoreError, migrate};

/// Languages of the pages, as discovery names them (BCP 47).
const UI_LOCALES: [&str; 2] = ["en", "de"];

/// The running server's parts. Shared by all handlers and jobs.
pub struct App {
    pub config: Config,
    pub db: Db,
    pub keys: Arc<Keys>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub registry: Registry,
    pub passwords: Passwords,
    /// Who may take a processor for long.
    pub turns: Arc<Turns>,
    pub throttle: Throttle,
    pub quotas: Quotas,
    /// Device codes that nobody has redeemed.
    pub device_quotas: Quotas,
    /// The pictures of clients.
    pub logos: Logos,
    /// Clients that registered themselves without a token.
    pub registration_quotas: Quotas,
    /// How often they changed themselves.
    pub registration_changes: Quotas,
    /// Which client secrets are in use.
    pub secret_uses: SecretUses,
    /// Proxies that are not trusted.
    pub forwarded: Arc<Forwarded>,
    pub scans: Scans,
    /// The one way out of this server.
    pub outbound: Arc<Outbound>,
    pub client_keys: ClientKeys,
    /// Somebody was just signed out here, and clients wait to hear of it.
    pub sign_outs: Notify,
    pub decisions: Decisions,
    /// The discovery document, ready to send.
    pub metadata: Prepared,
    /// Serve the built-in demo relying party (`chancery quickstart`).
    pub demo: bool,
}

/// A document that is the same for everybody.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub body: Bytes,
    /// A strong entity tag (RFC 9110 §8.8.3).
    pub etag: Bytes,
}

/// Why the server does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    #[error("{0}")]
    Outbound(String),
}

impl App {
    /// Starts putting a server together.
    pub fn builder(config: Config) -> Builder {
        Builder { config, clock: Arc::new(SystemClock::default()), entropy: Arc::new(SystemEntropy), migrate: true, demo: false }
    }
}

/// Collects what differs between production and tests, then opens the database and the keys.
pub struct Builder {
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    migrate: bool,
    demo: bool,
}

impl Builder {
    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of randomness than the operating system.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Whether to apply migrations at start (`--no-migrate` says no: then a schema that is behind refuses to start).
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Whether to serve the demo relying party.
    #[must_use]
    pub fn demo(mut self, demo: bool) -> Self {
        self.demo = demo;
        self
    }

    /// Opens the database, brings its schema up to date, opens the keys, starts the workers.
    ///
    /// # Errors
    /// Whatever is wrong with this deployment; nothing is served then.
    pub async fn build(self) -> Result<Arc<App>, StartError> {
        let Self { config, clock, entropy, migrate, demo } = self;
        config.check_serving()?;
        let db = Db::connect(&config.database).await?;
        if migrate {
            migrate::run(&db, clock.now()).await?;
        } else {
            migrate::require_current(&db).await?;
        }
        let has_keys = crate::storage::keys::exist(&db).await?;
        let master = master_key::load_or_make(&config, has_keys, entropy.as_ref())?;
        let keys = Keys::open(&db, &master, clock.as_ref(), Arc::clone(&entropy), key_life(&config)).await?;
        let keyed = {
            let keys = Arc::clone(&keys);
            Keyed::new(move || keys.data())
        };
        let outbound = Arc::new(Outbound::new(&config.outbound).map_err(StartError::Outbound)?);
        Ok(Arc::new(App {
            client_keys: ClientKeys::new(Arc::clone(&outbound)),
            outbound,
            sign_outs: Notify::new(),
            registry: Registry::new(db.clone(), config.issuer.as_str(), Arc::clone(&keys)),
            passwords: Passwords::start(config.passwords, Arc::clone(&entropy))?,
            turns: Arc::new(Turns::of_this_machine()),
            throttle: Throttle::new(config.throttle, keyed.clone()).audited(Arc::clone(&entropy)),
            quotas: Quotas::new(&config.throttle, config.lifetimes.interaction),
            device_quotas: Quotas::new(&config.throttle, config.lifetimes.device_code),
            logos: Logos::default(),
            registration_quotas: Quotas::of(config.registration.open_per_address.into(), u64::MAX, registration::HOUR),
            registration_changes: Quotas::of(u64::MAX, registration::CHANGES, registration::HOUR),
            scans: Scans::new(config.throttle.unknown_tokens_per_minute),
            secret_uses: SecretUses::default(),
            forwarded: Arc::default(),
            decisions: Decisions::start(db.clone(), keyed),
            metadata: discovery_document(&config),
            config,
            db,
            keys,
            clock,
            entropy,
            demo,
        }))
    }
}

/// How long keys live, by this deployment's lifetimes: a retiring key stays as long as the longest token that it may have signed.
pub fn key_life(config: &Config) -> KeyLife {
    let lifetimes = &config.lifetimes;
    let default = KeyLife::default();
    KeyLife {
        rotate_after: config.keys.rotate_after,
        longest_token: default.longest_token.max(lifetimes.access_token).max(lifetimes.id_token),
        ..default
    }
}

fn discovery_document(config: &Config) -> Prepared {
    let registration = config.registration.mode != RegistrationMode::Off;
    let offered = Offered { algs: &Alg::ALL, ui_locales: &UI_LOCALES, registration };
    let document = discovery::document(config.issuer.as_str(), &offered);
    Prepared::of(document.to_string())
}

impl Prepared {
    /// This text, tagged by what it says.
    pub fn of(text: String) -> Self {
        let body = Bytes::from(text);
        let etag = Bytes::from(format!("\"{}\"", hex(&Digest::of(&body).as_bytes().iter().take(16).copied().collect::<Vec<_>>())));
        Self { body, etag }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
