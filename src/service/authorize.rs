//! The authorization endpoint's work: from a request to a code, with as many pages between as the person needs to see.
//!
//! The pending request lives here, on the server, under a random id that only the browser that began it may use (security.md R-22).
//! Every step, the first as well as each return from a page, asks the same pure decision what comes next, so that no page can be skipped.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::oauth::authorize::decision::{Asked, Consent, Known, Next, Progress, SessionFacts, SessionState, decide};
use crate::oauth::authorize::response::{self, Delivery};
use crate::oauth::authorize::{ProvedRedirect, ValidatedAuthorize, check, prove};
use crate::oauth::client::{Client, GrantType};
use crate::oauth::grant::{AuthorizationCode, Grant};
use crate::oauth::params::Params;
use crate::oauth::redirect_uri;
use crate::oauth::refusal::Reason;
use crate::oidc::id_token::Hint;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::secret::Secret;
use crate::service::address::Prefix;
use crate::service::logout;
use crate::storage::interactions::{self, Interaction};
use crate::storage::{authorize as completion, consents, sessions};

/// What the browser sent that is bound to it: the cookies.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    /// The session cookie's value.
    pub session: Option<Secret<String>>,
    /// The value that binds interactions and CSRF tokens to this browser.
    pub binding: Option<Secret<String>>,
    /// What open requests are counted under.
    pub address: Option<Prefix>,
}

/// Which page the person must see next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    Login,
    SelectAccount,
    /// Names exactly these scopes.
    Consent {
        scopes: Vec<String>,
    },
}

/// What the endpoint answers.
#[derive(Debug)]
pub enum Answer {
    /// To the client: a code or an error, in the response mode that it asked for. `native`: an app on the person's device (RFC 8252).
    Deliver { delivery: Delivery, refused: Option<Reason>, client_id: String, native: bool },
    /// To a page. `binding` is the browser's new cookie where it had none.
    Visit { page: Page, interaction: Secret<String>, binding: Option<Secret<String>> },
}

/// A request that could not be tied to a client and a redirect URI: a page of our own, never a redirect (security.md R-13).
#[derive(Debug)]
pub struct LocalRefusal {
    pub reason: Reason,
    pub client_id: Option<String>,
}

impl From<Reason> for LocalRefusal {
    fn from(reason: Reason) -> Self {
        Self { reason, client_id: None }
    }
}

impl From<crate::storage::StoreError> for LocalRefusal {
    fn from(error: crate::storage::StoreError) -> Self {
        Reason::from(error).into()
    }
}

/// The state of an interaction beside the request itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// When the person signed in within this interaction.
    pub signed_in_at: Option<Timestamp>,
    /// The person chose to go on with the account that is signed in.
    pub selected: bool,
    /// The person said yes to the consent page.
    pub consented: bool,
    /// The session for which the two answers above were given.
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
    /// What an answer on a page of this interaction rests on: the session, the client as it is registered, and the scopes that the page
    /// names. If any of it changes between showing and answering, the answer was to another question.
    pub fn question(&self, scopes: &[String]) -> String {
        let session = self.state.session_id.map(|id| id.to_string()).unwrap_or_default();
        format!("{session} {} {}", self.client.metadata_version, scopes.join(" "))
    }
}

/// A new authorization request.
///
/// # Errors
/// When the client or the redirect URI is not proved, or the server cannot work: to be shown on a page.
pub async fn begin(app: &App, params: &Params, browser: &Browser, now: Timestamp) -> Result<Answer, LocalRefusal> {
    let client = match params.get("client_id") {
        Some(client_id) => app.registry.client(client_id).await?,
        None => None,
    };
    let local = |reason| LocalRefusal { reason, client_id: params.get("client_id").map(str::to_owned) };
    let redirect = prove(params, client.as_deref()).map_err(local)?;
    let Some(client) = client else { return Err(local(Reason::UnknownClient { client_id: redirect.client_id.clone() })) };

    let catalogue = app.registry.catalogue().await?;
    let request = match check(params, &client, &redirect, &catalogue) {
        Ok(request) => request,
        Err(reason) => return Ok(refuse(app, &client, &redirect, reason)),
    };
    advance(app, &client, request, State::default(), None, browser, now).await
}

/// Is this a request that the authorization endpoint would work on? Nothing is stored.
///
/// # Errors
/// When the database is away.
pub async fn is_sound(app: &App, params: &Params) -> Result<bool, Reason> {
    let Some(client_id) = params.get("client_id") else { return Ok(false) };
    let Some(client) = app.registry.client(client_id).await? else { return Ok(false) };
    let Ok(redirect) = prove(params, Some(&client)) else { return Ok(false) };
    Ok(check(params, &client, &redirect, app.registry.catalogue().await?.as_ref()).is_ok())
}

/// The next step of an interaction, after a page changed its state or the session.
///
/// # Errors
/// When the interaction is unknown, over, expired or another browser's, or the server cannot work.
pub async fn resume(app: &App, open: Open, browser: &Browser, now: Timestamp) -> Result<Answer, LocalRefusal> {
    let Open { id, request, state, client } = open;
    let answer = advance(app, &client, request, state, Some(id), browser, now).await?;
    match &answer {
        Answer::Deliver { .. } => app.quotas.give_back(browser.address, &client.client_id),
        Answer::Visit { .. } => {}
    }
    Ok(answer)
}

/// The open interaction with this id, if this browser may go on with it.
///
/// # Errors
/// Unknown, consumed, expired, or begun by another browser.
pub async fn find(app: &App, id: &Secret<String>, browser: &Browser, now: Timestamp) -> Result<Open, LocalRefusal> {
    let interaction = interactions::find(&app.db, &id.digest()).await?.ok_or(Reason::InteractionUnknown)?;
    let bound = browser.binding.as_ref().is_some_and(|binding| binding.digest() == interaction.browser);
    if !bound || interaction.consumed_at.is_some() {
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

/// Keeps what a page changed.
///
/// # Errors
/// When the interaction was consumed meanwhile, or the database is away.
pub async fn save(app: &App, open: &Open) -> Result<(), LocalRefusal> {
    let state = encode(&open.state)?;
    if interactions::update_state(&app.db, &open.id.digest(), &state, open.state.session_id).await? {
        Ok(())
    } else {
        Err(Reason::InteractionUnknown.into())
    }
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

fn refuse(app: &App, client: &Client, redirect: &ProvedRedirect, reason: Reason) -> Answer {
    Answer::Deliver {
        delivery: response::failure(redirect, app.config.issuer.as_str(), &reason),
        refused: Some(reason),
        client_id: redirect.client_id.clone(),
        native: client.is_native(),
    }
}

fn encode<T: Serialize>(value: &T) -> Result<String, Reason> {
    serde_json::to_string(value).map_err(|error| Reason::Internal { detail: error.to_string() })
}

/// The signed-in person behind the session cookie, if the session can be found at all.
///
/// # Errors
/// When the database is away.
pub async fn session(app: &App, browser: &Browser) -> Result<Option<(Session, User)>, Reason> {
    match &browser.session {
        Some(cookie) => Ok(sessions::find(&app.db, &cookie.digest()).await?),
        None => Ok(None),
    }
}

/// How often a decision is made anew after its write found the world changed.
const ATTEMPTS: usize = 3;

/// What comes next for a request, and on what that rests.
enum Step {
    Visit(Page),
    Refuse(Reason),
    Issue(Box<Authorized>),
}

/// The page that an open interaction stands at; `None` when no page is due any more. Answers that somebody else gave are forgotten.
///
/// # Errors
/// When the database is away.
pub async fn page(app: &App, open: &mut Open, browser: &Browser, now: Timestamp) -> Result<Option<Page>, LocalRefusal> {
    match next_step(app, &open.client, &open.request, &mut open.state, browser, now).await? {
        Step::Visit(page) => Ok(Some(page)),
        Step::Refuse(_) | Step::Issue(_) => Ok(None),
    }
}

async fn next_step(
    app: &App,
    client: &Client,
    request: &ValidatedAuthorize,
    state: &mut State,
    browser: &Browser,
    now: Timestamp,
) -> Result<Step, Reason> {
    let found = session(app, browser).await?;
    let session_id = found.as_ref().map(|(session, _)| session.id);
    if state.session_id != session_id {
        // Somebody else signed in meanwhile: what was answered before was another person's answer.
        *state = State { session_id, ..State::default() };
    }
    let hint_sub = match &request.id_token_hint {
        Some(hint) => match logout::read_hint(app, hint, now).await?.and_then(|hint| subject(hint, &request.client_id)) {
            Ok(sub) => Some(sub),
            Err(reason) => return Ok(Step::Refuse(reason)),
        },
        None => None,
    };
    let remembered = match &found {
        Some((_, user)) => consents::find(&app.db, user.id, &client.client_id).await?,
        None => None,
    };
    let facts = found.as_ref().map(|(session, user)| SessionFacts::of(session, user, app.config.lifetimes.session_idle, now));
    let consent = remembered.map(|consent| Consent {
        scopes: consent.scopes,
        resources: consent.resources,
        metadata_version: consent.metadata_version,
    });
    if let (Some((session, _)), Some(facts)) = (&found, &facts)
        && facts.state == SessionState::Live
    {
        sessions::touch(&app.db, session.id, now).await?;
    }
    let known = Known { session: facts.as_ref(), consent: consent.as_ref(), hint_sub: hint_sub.as_deref() };
    let progress = Progress { signed_in_at: state.signed_in_at, consented: state.consented, selected: state.selected };
    let catalogue = app.registry.catalogue().await?;
    Ok(match decide(&Asked { request, client, catalogue: &catalogue }, &known, &progress, now) {
        Next::Login { .. } => Step::Visit(Page::Login),
        Next::SelectAccount => Step::Visit(Page::SelectAccount),
        Next::Consent { scopes } => Step::Visit(Page::Consent { scopes }),
        Next::Refuse(reason) => Step::Refuse(reason),
        Next::Issue { scopes } => match found {
            Some((session, user)) => {
                let agreed = state.consented.then(|| {
                    let resources = request.resources.clone();
                    Consent { scopes: scopes.clone(), resources, metadata_version: client.metadata_version }
                        .and_before(consent.as_ref())
                });
                Step::Issue(Box::new(Authorized { session, user, scopes, agreed }))
            }
            None => Step::Refuse(Reason::Internal { detail: "a code was decided without a session".to_owned() }),
        },
    })
}

async fn advance(
    app: &App,
    client: &Client,
    request: ValidatedAuthorize,
    mut state: State,
    id: Option<Secret<String>>,
    browser: &Browser,
    now: Timestamp,
) -> Result<Answer, LocalRefusal> {
    for _ in 0..ATTEMPTS {
        match next_step(app, client, &request, &mut state, browser, now).await? {
            Step::Visit(page) => return visit(app, &request, &state, page, id, browser, now).await,
            Step::Refuse(reason) => return close(app, client, &request, id.as_ref(), reason, now).await,
            Step::Issue(authorized) => {
                if let Some(answer) = issue_code(app, client, &request, *authorized, id.as_ref(), now).await? {
                    return Ok(answer);
                }
            }
        }
        // Between deciding and writing the page was answered once already, or the person, the client or the session was switched off.
        if let Some(id) = &id
            && interactions::find(&app.db, &id.digest()).await?.is_none_or(|interaction| interaction.consumed_at.is_some())
        {
            return Err(Reason::InteractionUnknown.into());
        }
    }
    Err(Reason::StateChanged.into())
}

/// Answers an error to the client and closes the interaction, where there is one.
async fn close(
    app: &App,
    client: &Client,
    request: &ValidatedAuthorize,
    id: Option<&Secret<String>>,
    reason: Reason,
    now: Timestamp,
) -> Result<Answer, LocalRefusal> {
    if let Some(id) = id {
        interactions::consume(&app.db, &id.digest(), now).await?;
    }
    Ok(refuse(app, client, &request.redirect(), reason))
}

/// Whom a hint speaks of, if it was issued to this client (OpenID Connect Core §3.1.2.1).
fn subject(hint: Hint, client_id: &str) -> Result<String, Reason> {
    if hint.client_id == client_id {
        Ok(hint.sub)
    } else {
        Err(Reason::IdTokenHintInvalid { detail: "it was issued to another client".to_owned() })
    }
}

/// Stores the pending request, if it is not stored yet, and sends the person to a page.
async fn visit(
    app: &App,
    request: &ValidatedAuthorize,
    state: &State,
    page: Page,
    id: Option<Secret<String>>,
    browser: &Browser,
    now: Timestamp,
) -> Result<Answer, LocalRefusal> {
    if let Some(id) = id {
        if !interactions::update_state(&app.db, &id.digest(), &encode(state)?, state.session_id).await? {
            return Err(Reason::InteractionUnknown.into());
        }
        return Ok(Answer::Visit { page, interaction: id, binding: None });
    }
    let too_many = |reason| LocalRefusal { reason, client_id: Some(request.client_id.clone()) };
    app.quotas.take(browser.address, &request.client_id, now).map_err(too_many)?;
    let entropy = app.entropy.as_ref();
    let interaction = entropy::token(entropy);
    let (binding, fresh) = match &browser.binding {
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
    interactions::insert(&app.db, &interaction.digest(), &row).await?;
    Ok(Answer::Visit { page, interaction, binding: fresh })
}

/// Everything that a code will stand for.
struct Authorized {
    session: Session,
    user: User,
    scopes: Vec<String>,
    /// What is to be remembered, if the consent page was shown and answered with yes.
    agreed: Option<Consent>,
}

/// Makes a code with everything behind it; `None` if something that this rests on has changed.
async fn issue_code(
    app: &App,
    client: &Client,
    request: &ValidatedAuthorize,
    authorized: Authorized,
    id: Option<&Secret<String>>,
    now: Timestamp,
) -> Result<Option<Answer>, LocalRefusal> {
    let Authorized { session, user, scopes, agreed } = authorized;
    let lifetimes = &app.config.lifetimes;
    let entropy = app.entropy.as_ref();
    let code = entropy::token(entropy);
    // Nothing issued from the grant can outlive its last refresh token's access token; without refresh tokens that is soon.
    let longest = app.registry.catalogue().await?.longest_lifetime(lifetimes.access_token);
    let renewable = if client.uses(GrantType::RefreshToken) { lifetimes.refresh } else { Duration::ZERO };
    let grant = Grant {
        id: entropy::row_id(entropy, now),
        client_id: client.client_id.clone(),
        user_id: user.id,
        sub: user.sub.clone(),
        scopes,
        resources: request.resources.clone(),
        auth_time: session.auth_time,
        acr: session.acr.clone(),
        amr: session.amr.clone(),
        session_id: Some(session.id),
        sid: Some(session.sid.clone()),
        nonce: request.nonce.clone(),
        created_at: now,
        expires_at: now.plus(lifetimes.code + renewable + longest),
        ended_at: None,
        ended_because: None,
    };
    let stored = AuthorizationCode {
        grant_id: grant.id,
        client_id: client.client_id.clone(),
        redirect_uri: request.redirect_uri_sent.then(|| request.redirect_uri.clone()),
        code_challenge: request.code_challenge.clone(),
        nonce: request.nonce.clone(),
        created_at: now,
        expires_at: now.plus(lifetimes.code),
        consumed_at: None,
    };
    let consent = agreed.map(|agreed| consents::Consent {
        user_id: user.id,
        client_id: client.client_id.clone(),
        scopes: agreed.scopes,
        resources: agreed.resources,
        metadata_version: agreed.metadata_version,
        created_at: now,
        updated_at: now,
    });
    let complete =
        completion::Complete { interaction: id.map(Secret::digest), consent, grant, digest: code.digest(), code: stored, now };
    if !completion::complete(&app.db, complete).await? {
        return Ok(None);
    }
    metrics::counter!("chancery_codes_issued_total").increment(1);
    Ok(Some(Answer::Deliver {
        delivery: response::success(request, app.config.issuer.as_str(), code.expose()),
        refused: None,
        client_id: client.client_id.clone(),
        native: client.is_native(),
    }))
}
