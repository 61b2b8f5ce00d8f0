//! A pending authorization request: it lives here, on the server, under a random id that only the browser that began it may use
//! (security.md R-22). Pages read and change its state; what comes next is not decided here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Answer, LocalRefusal, refuse};
use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::oauth::authorize::ValidatedAuthorize;
use crate::oauth::client::Client;
use crate::oauth::redirect_uri;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;
use crate::service::browser::Browser;
use crate::storage::interactions::{self, Interaction};

/// The state of an interaction beside the request itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// When the person signed in within this interaction.
    pub signed_in_at: Option<Timestamp>,
    /// The person chose to go on with the account that is signed in.
    pub selected: bool,
    /// The person said yes to the consent page.
    pub consented: bool,
    /// The person proved a second factor within this interaction.
    #[serde(default)]
    pub stepped_up: bool,
    /// The session for which the answers above were given.
    pub session_id: Option<uuid::Uuid>,
}

/// An open interaction with everything that its pages show.
#[derive(Debug)]
pub struct Open {
    pub id: Secret<String>,
    pub request: ValidatedAuthorize,
    pub state: State,
    pub client: Arc<Client>,
}

impl Open {
    /// What an answer on a page of this interaction rests on: the session, the client as it is registered, and the scopes and
    /// claims that the page names. If any of it changes between showing and answering, the answer was to another question.
    pub fn question(&self, scopes: &[String], claims: &[String]) -> String {
        let session = self.state.session_id.map(|id| id.to_string()).unwrap_or_default();
        format!("{session} {} {} / {}", self.client.metadata_version, scopes.join(" "), claims.join(" "))
    }
}

/// The open interaction with this id, if this browser may go on with it.
///
/// # Errors
/// Unknown, consumed, expired, or begun by another browser.
pub async fn find(app: &App, id: &Secret<String>, browser: &Browser, now: Timestamp) -> Result<Open, LocalRefusal> {
    let interaction = interactions::find(&app.db, &id.digest()).await?.ok_or(Reason::InteractionUnknown)?;
    if !browser.began(&interaction.browser) || interaction.consumed_at.is_some() {
        return Err(Reason::InteractionUnknown.into());
    }
    if interaction.expires_at <= now {
        return Err(Reason::InteractionExpired { expired_at: interaction.expires_at, now }.into());
    }
    let corrupt = |_| Reason::Internal { detail: "an interaction in the store cannot be read".to_owned() };
    let request: ValidatedAuthorize = serde_json::from_str(&interaction.request).map_err(corrupt)?;
    let state: State = serde_json::from_str(&interaction.state).map_err(corrupt)?;
    let client = app.registry.client(&request.client_id).await?.filter(|client| client.enabled);
    let client = client.ok_or_else(|| Reason::ClientDisabled { client_id: request.client_id.clone() })?;
    // The redirect URI was proved when the request came; it may have been taken off the client since (RFC 9700 §2.1).
    let registered = &client.metadata.redirect_uris;
    if redirect_uri::find(registered, &request.redirect_uri, client.is_native()).is_none() {
        let (client_id, registered) = (client.client_id.clone(), registered.clone());
        let reason = Reason::RedirectUriMismatch { client_id, registered, received: request.redirect_uri.clone() };
        return Err(LocalRefusal { reason, client_id: Some(request.client_id) });
    }
    Ok(Open { id: id.clone(), request, state, client })
}

/// Ends the interaction because the person said no, and says so to the client.
///
/// # Errors
/// When the interaction is over already, or the database is away.
pub async fn deny(app: &App, open: &Open, browser: &Browser, now: Timestamp) -> Result<Answer, LocalRefusal> {
    if !interactions::consume(&app.db, &open.id.digest(), now).await? {
        return Err(Reason::InteractionUnknown.into());
    }
    app.quotas.give_back(browser.address, &open.client.client_id);
    Ok(refuse(app, &open.client, &open.request.redirect(), Reason::AccessDenied))
}

/// Keeps what happened on a page of ours that no step of the authorization follows at once.
///
/// # Errors
/// When the interaction was consumed meanwhile, or the database is away.
pub async fn keep_state(app: &App, open: &Open) -> Result<(), LocalRefusal> {
    keep(app, open.id.clone(), &open.state).await.map(drop)
}

/// Keeps the state of an interaction that is stored already, and gives its id back.
///
/// # Errors
/// When the interaction was consumed meanwhile, or the database is away.
pub(super) async fn keep(app: &App, id: Secret<String>, state: &State) -> Result<Secret<String>, LocalRefusal> {
    if interactions::update_state(&app.db, &id.digest(), &encode(state)?, state.session_id).await? {
        Ok(id)
    } else {
        Err(Reason::InteractionUnknown.into())
    }
}

/// Stores a request that waits for a page: its id, and the browser's new binding value where it had none.
///
/// # Errors
/// When this address or client has too many open, or the database is away.
pub(super) async fn open(
    app: &App,
    request: &ValidatedAuthorize,
    state: &State,
    browser: &Browser,
    now: Timestamp,
) -> Result<(Secret<String>, Option<Secret<String>>), LocalRefusal> {
    let too_many = |reason| LocalRefusal { reason, client_id: Some(request.client_id.clone()) };
    app.quotas.take(browser.address, &request.client_id, now).map_err(too_many)?;
    let entropy = app.entropy.as_ref();
    let id = entropy::token(entropy);
    let (binding, fresh) = match browser.binding() {
        Some(binding) => (binding.clone(), None),
        None => {
            let binding = entropy::token(entropy);
            (binding.clone(), Some(binding))
        }
    };
    let row = Interaction {
        browser: binding.digest(),
        client_id: request.client_id.clone(),
        request: encode(request)?,
        state: encode(state)?,
        session_id: state.session_id,
        created_at: now,
        expires_at: now.plus(app.config.lifetimes.interaction),
        consumed_at: None,
    };
    interactions::insert(&app.db, &id.digest(), &row).await?;
    Ok((id, fresh))
}

fn encode<T: Serialize>(value: &T) -> Result<String, Reason> {
    serde_json::to_string(value).map_err(|error| Reason::Internal { detail: error.to_string() })
}
