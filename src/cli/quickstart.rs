//! `chancery quickstart`: a server to try things out with. SQLite and generated keys in the data folder, an administrator whose password
//! is printed once, a client for the built-in demo, and the addresses to open. A second run keeps all of it.

use std::path::PathBuf;

use serde_json::json;

use super::args::ServeArgs;
use super::error::CliError;
use super::serve::{Running, configure};
use crate::app::App;
use crate::http::browser::demo;
use crate::secret::Secret;
use crate::service::clients::{self, ClientDocument};
use crate::service::operator::{OperationError, Operator};
use crate::service::users::{self, UserDocument};

/// Who administers a fresh installation.
const ADMINISTRATOR: &str = "admin";

pub async fn run(file: Option<PathBuf>, args: ServeArgs) -> Result<(), CliError> {
    let config = configure(file, &args)?;
    let app = App::builder(config).migrate(!args.no_migrate).demo(true).build().await?;
    let operator = Operator {
        db: &app.db,
        config: &app.config,
        entropy: app.entropy.as_ref(),
        passwords: &app.passwords,
        actor: "quickstart".to_owned(),
        now: app.clock.now(),
        trace_id: None,
    };
    let password = administrator(&operator).await?;
    demo_client(&operator).await?;
    let welcome = welcome(&app, password.as_ref());
    let running = Running::start(app).await?;
    super::output::write(&welcome)?;
    running.until_the_end().await
}

/// Adds the administrator; `None` if there was one.
async fn administrator(operator: &Operator<'_>) -> Result<Option<Secret<String>>, CliError> {
    let document = UserDocument {
        username: Some(ADMINISTRATOR.to_owned()),
        admin: Some(true),
        claims: serde_json::from_value(json!({ "name": "Administrator", "email": "admin@example.com" }))
            .map_err(|error| CliError::new(error.to_string()))?,
        ..UserDocument::default()
    };
    match users::find(operator, ADMINISTRATOR).await {
        Ok(_) => return Ok(None),
        Err(OperationError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let password = users::make_password(operator);
    users::add(operator, document, Some(password.clone())).await?;
    Ok(Some(password))
}

/// Registers the demo's client, or lets it follow an issuer that has changed.
async fn demo_client(operator: &Operator<'_>) -> Result<(), CliError> {
    let here = operator.config.issuer.url("/demo");
    let document = json!({
        "client_name": "Chancery demo",
        "redirect_uris": [here],
        "post_logout_redirect_uris": [here],
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "token_endpoint_auth_method": "none",
        "scope": demo::SCOPE,
    });
    clients::keep(operator, demo::CLIENT_ID, ClientDocument::parse(document.to_string().as_bytes())?).await?;
    Ok(())
}

fn welcome(app: &App, password: Option<&Secret<String>>) -> String {
    let issuer = &app.config.issuer;
    let password = match password {
        Some(password) => format!("{}   (shown this once)", password.expose()),
        None => format!("as printed at the first start; `chancery user set-password {ADMINISTRATOR}` makes another"),
    };
    format!(
        "\n  Chancery is running. Open:\n\n    {demo}   a demo app: sign in and look into the tokens\n    {account}   your account\n    {discovery}   \
         what apps read\n\n    username  {ADMINISTRATOR}\n    password  {password}\n\n  Data: {data}   Stop: Ctrl-C\n",
        demo = issuer.url("/demo"),
        account = issuer.url("/account"),
        discovery = issuer.url("/.well-known/openid-configuration"),
        data = app.config.server.data_dir.display(),
    )
}
