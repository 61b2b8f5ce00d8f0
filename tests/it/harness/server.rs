//! A server in this process, over real sockets, on a database of its own.

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery::app::App;
use chancery::clock::{ManualClock, Timestamp};
use chancery::config::Config;
use chancery::http::server::{Listeners, Serving, Shutdown};
use serde_json::json;

use super::client::Client;
use super::person::Person;
use super::postgres;
use super::site::Site;

/// The instant at which every test begins: 2026-01-01T00:00:00Z.
pub const BEGINNING: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// How a server is set up, where a test needs something else than the defaults.
pub struct Setup {
    backend: Backend,
    issuer: String,
    change: Box<dyn FnOnce(&mut Config) + Send>,
}

/// A running server. Clones are the same server; the last one that goes stops it.
#[derive(Clone)]
pub struct Server {
    pub app: Arc<App>,
    pub clock: Arc<ManualClock>,
    pub backend: Backend,
    pub database_url: String,
    site: Arc<Site>,
    _running: Arc<Running>,
}

struct Running {
    serving: Mutex<Option<Serving>>,
    folder: Option<Arc<tempfile::TempDir>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            serving.stop();
        }
    }
}

impl Deref for Server {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Setup {
    pub fn on(backend: Backend) -> Self {
        Self { backend, issuer: "https://id.test".to_owned(), change: Box::new(|_| ()) }
    }

    /// Another issuer, for instance one with a path.
    #[must_use]
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.issuer = issuer.to_owned();
        self
    }

    /// Another configuration than the defaults.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    pub async fn start(self) -> Server {
        let backend = self.backend;
        let (config, folder) = self.prepare().await;
        run(config, backend, Arc::new(ManualClock::new(BEGINNING)), folder).await
    }

    /// Two servers that start at the same moment on one empty database.
    pub async fn start_twice(self) -> [Server; 2] {
        let backend = self.backend;
        let (config, folder) = self.prepare().await;
        let clock = Arc::new(ManualClock::new(BEGINNING));
        let one = tokio::spawn(run(config.clone(), backend, clock.clone(), folder.clone()));
        let two = tokio::spawn(run(config, backend, clock, folder));
        [one.await.unwrap(), two.await.unwrap()]
    }

    async fn prepare(self) -> (Config, Option<Arc<tempfile::TempDir>>) {
        let (database_url, folder) = match self.backend {
            Backend::Postgres => (postgres::database().await, None),
            Backend::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                (format!("sqlite://{}/chancery.db", folder.path().display()), Some(Arc::new(folder)))
            }
        };
        let mut config = Config::for_tests(&self.issuer, &database_url).unwrap();
        // A machine that is busy is none whose database is away.
        config.database.acquire_timeout = Duration::from_secs(20);
        config.database.statement_timeout = Duration::from_secs(20);
        config.limits.longest_wait = Duration::from_secs(20);
        (self.change)(&mut config);
        (config, folder)
    }
}

async fn run(config: Config, backend: Backend, clock: Arc<ManualClock>, folder: Option<Arc<tempfile::TempDir>>) -> Server {
    let issuer = config.issuer.as_str().to_owned();
    let database_url = config.database.url.expose().clone();
    let app = App::builder(config).clock(clock.clone()).build().await.unwrap();
    let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let serving = chancery::http::serve(&app, listeners, Shutdown::new()).await.unwrap();
    let site = Arc::new(Site::new(&issuer, serving.address));
    let running = Arc::new(Running { serving: Mutex::new(Some(serving)), folder });
    Server { app, clock, backend, database_url, site, _running: running }
}

impl Server {
    pub async fn start(backend: Backend) -> Self {
        Setup::on(backend).start().await
    }

    /// One more server process on the same database, with the same clock.
    pub async fn replica(&self) -> Self {
        run(self.app.config.clone(), self.backend, self.clock.clone(), self._running.folder.clone()).await
    }

    /// The usual cast: a person with an account, and a confidential web application that may refresh.
    pub async fn actors(&self) -> (Self, Person, Client) {
        (self.clone(), self.person("alice").await, self.client(json!({})).await)
    }

    /// The server as the outside sees it.
    pub fn site(&self) -> Arc<Site> {
        self.site.clone()
    }

    /// Moves time forward.
    pub fn wait(&self, by: Duration) {
        self.clock.advance(by);
    }
}
