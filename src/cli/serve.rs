//! `chancery serve`: the server, from its configuration to its last request.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::ServeArgs;
use super::error::CliError;
use super::systemd;
use crate::app::App;
use crate::config::{Config, Sources};
use crate::entropy::SystemEntropy;
use crate::http::server::{Certificates, Listeners, Serving, Shutdown, on_hangup, on_signal};
use crate::{http, log, measure, spans};

pub async fn run(file: Option<PathBuf>, args: ServeArgs) -> Result<(), CliError> {
    let config = configure(file, &args)?;
    let app = App::builder(config).migrate(!args.no_migrate).build().await?;
    Running::start(app).await?.until_the_end().await
}

/// The configuration of a server, with the log set up as it says.
pub fn configure(file: Option<PathBuf>, args: &ServeArgs) -> Result<Config, CliError> {
    let config = Config::load(Sources::from_process(file, args.flags())?)?;
    config.check_serving()?;
    log::init(&config.log)?;
    for variable in &config.misspelt {
        tracing::warn!("{variable}");
    }
    measure::init();
    spans::init(Arc::new(SystemEntropy));
    Ok(config)
}

/// What SIGHUP does: the certificate of `[tls]` is read again. Without one nothing is; it ends the server only if it means what it first meant, that
/// the terminal which the server was started from is gone.
fn at_hangup(certificates: Option<Certificates>, shutdown: Shutdown) -> impl Fn() + Send + 'static {
    let from_terminal = std::io::stdin().is_terminal();
    move || match &certificates {
        // A terminal that was closed is none any more.
        _ if from_terminal && !std::io::stdin().is_terminal() => {
            tracing::info!("SIGHUP: the terminal was closed, shutting down");
            shutdown.begin();
        }
        Some(certificates) => match certificates.reload() {
            Ok(()) => tracing::info!("SIGHUP: the TLS certificate was read again"),
            Err(error) => tracing::error!(error, "SIGHUP: the TLS certificate stays as it was"),
        },
        None => tracing::info!("SIGHUP: nothing to read again without [tls]; the configuration is read at start"),
    }
}

/// A server that answers.
pub struct Running {
    app: Arc<App>,
    serving: Serving,
}

impl Running {
    /// Binds the listeners and begins to serve. SIGTERM and SIGINT end it.
    pub async fn start(app: Arc<App>) -> Result<Self, CliError> {
        let (listen, management) = (app.config.server.listen, app.config.server.management_listen);
        // Before the first connection can be made: who sees the port open may already send SIGTERM.
        let shutdown = Shutdown::new();
        let certificates = app.config.tls.files().map(|(certificate, key)| Certificates::load(certificate, key)).transpose();
        let certificates = certificates.map_err(|error| CliError::new(format!("[tls] {error}")))?;
        on_signal(shutdown.clone())
            .and_then(|()| on_hangup(at_hangup(certificates.clone(), shutdown.clone())))
            .map_err(|error| CliError::new(format!("signals: {error}")))?;
        let listeners = Listeners::bind(listen, Some(management)).map_err(|error| {
            CliError::new(format!("cannot listen on {listen} and {management}: {error} ([server] listen, management_listen)"))
        })?;
        let listeners = match certificates {
            Some(certificates) => listeners.with_tls(certificates),
            None => listeners,
        };
        let serving = http::serve(&app, listeners, shutdown)
            .await
            .map_err(|error| CliError::new(format!("the server does not start: {error}")))?;
        tracing::info!(issuer = app.config.issuer.as_str(), listen = %serving.address, version = env!("CARGO_PKG_VERSION"), "serving");
        if let Err(error) = systemd::ready() {
            tracing::warn!(%error, "systemd was not told that the server is ready (NOTIFY_SOCKET)");
        }
        Ok(Self { app, serving })
    }

    /// Serves until a signal comes, lets requests in flight finish, writes what is left to write.
    pub async fn until_the_end(self) -> Result<(), CliError> {
        let drained = self.serving.finished().await;
        self.app.db.close().await;
        spans::finish().await;
        tracing::info!(?drained, "stopped");
        Ok(())
    }
}
