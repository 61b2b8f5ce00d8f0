//! The authorization endpoint's work: from a request to a code, with as many pages between as the person needs to see.
//!
//! Every step, the first as well as each return from a page, asks the same pure decision what comes next, so that no page can be skipped.
//! Between the steps the request is an [`interaction`]; the last one issues a [`code`].

pub mod code;
pub mod interaction;

use crate::app::App;
use crate::clock::Timestamp;
use crate::oauth::authorize::decision::{Asked, Consent, Known, Next, Progress, SessionFacts, SessionState, decide};
use crate::oauth::authorize::response::{self, Delivery};
use crate::oauth::authorize::{ProvedRedirect, ValidatedAuthorize, check, check_signed, prove};
use crate::oauth::client::Client;
use crate::oauth::jar::RequestObject;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oidc::authentication::Acr;
use crate::oidc::id_token::Hint;
use crate::oidc::pairwise;
use crate::secret::Secret;
use crate::service::browser::Browser;
use crate::service::{factors, logout, token};
use crate::storage::{clients, consents, interactions, sessions};

use code::Authorized;
use interaction::{Open, State};

/// Which page the person must see next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    Login,
    SelectAccount,
    SecondFactor,
    /// Names exactly these scopes, and these claims beside them.
    Consent {
        scopes: Vec<String>,
        claims: Vec<String>,
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
    let inside = match opened(app, params, client.as_deref(), now).await {
        Ok(inside) => inside,
        // What is inside is not believed. The client is told so only where the parameters beside it name one of its redirect URIs.
        Err(reason) => {
            let redirect = params.get("redirect_uri").and_then(|_| prove(params, client.as_deref()).ok());
            return match (redirect, client) {
                (Some(redirect), Some(client)) => Ok(refuse(app, &client, &redirect, reason)),
                (_, _) => Err(local(reason)),
            };
        }
    };
    let counts = inside.as_ref().unwrap_or(params);
    let redirect = prove(counts, client.as_deref()).map_err(local)?;
    let Some(client) = client else { return Err(local(Reason::UnknownClient { client_id: redirect.client_id.clone() })) };

    let catalogue = app.registry.catalogue().await?;
    let check = if inside.is_some() { check_signed } else { check };
    let request = match check(counts, &client, &redirect, &catalogue) {
        Ok(request) => request,
        Err(reason) => return Ok(refuse(app, &client, &redirect, reason)),
    };
    advance(app, &client, request, State::default(), None, browser, now).await
}

/// Is this a request that the authorization endpoint would work on? Nothing is stored.
///
/// # Errors
/// When the database is away.
pub async fn is_sound(app: &App, params: &Params, now: Timestamp) -> Result<bool, Reason> {
    let Some(client_id) = params.get("client_id") else { return Ok(false) };
    let Some(client) = app.registry.client(client_id).await? else { return Ok(false) };
    let Ok(inside) = opened(app, params, Some(&client), now).await else { return Ok(false) };
    let counts = inside.as_ref().unwrap_or(params);
    let Ok(redirect) = prove(counts, Some(&client)) else { return Ok(false) };
    let check = if inside.is_some() { check_signed } else { check };
    Ok(check(counts, &client, &redirect, app.registry.catalogue().await?.as_ref()).is_ok())
}

/// The parameters inside the request object, if there is one and a client that could have signed it: they alone count (RFC 9101 §6.3).
async fn opened(app: &App, params: &Params, client: Option<&Client>, now: Timestamp) -> Result<Option<Params>, Reason> {
    let (Some(object), Some(client)) = (params.get("request"), client.filter(|client| client.enabled)) else { return Ok(None) };
    // What is beside it does not count, but a secret in the URL is lost, and two requests in one are none.
    params.refuse_credentials()?;
    if params.get("request_uri").is_some() {
        return Err(Reason::RequestUriUnsupported);
    }
    if params.get("registration").is_some() {
        return Err(Reason::RegistrationParameterUnsupported);
    }
    let object = RequestObject::read(object)?;
    let inside = object.params(client, app.config.issuer.as_str(), token::TOLERANCE, now)?;
    app.client_keys.verify(client, object.jwt(), now).await.map_err(|reason| match reason {
        Reason::ClientSignatureWrong { client_id, detail, .. } | Reason::ClientKeysUnavailable { client_id, detail } => {
            Reason::RequestObjectUnverified { client_id, detail }
        }
        other => other,
    })?;
    Ok(Some(inside))
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

fn refuse(app: &App, client: &Client, redirect: &ProvedRedirect, reason: Reason) -> Answer {
    Answer::Deliver {
        delivery: response::failure(redirect, app.config.issuer.as_str(), &reason),
        refused: Some(reason),
        client_id: redirect.client_id.clone(),
        native: client.is_native(),
    }
}

/// How often a decision is made anew after its write found the world changed.
const ATTEMPTS: usize = 8;

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
    let (found, remembered) = match &browser.session {
        Some(cookie) => match sessions::find_for_client(&app.db, &cookie.digest(), &client.client_id).await? {
            Some((session, user, consent)) => (Some((session, user)), consent),
            None => (None, None),
        },
        None => (None, None),
    };
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
    let facts = found.as_ref().map(|(session, user)| {
        let sub = pairwise::subject(&app.keys.data(), client, user);
        SessionFacts::of(session, user, sub, app.config.lifetimes.session_idle, now)
    });
    let rests_on = remembered.as_ref().map(|consent| consent.updated_at);
    let consent = remembered.map(consents::Consent::agreed);
    if let (Some((session, _)), Some(facts)) = (&found, &facts)
        && facts.state == SessionState::Live
    {
        sessions::touch(&app.db, session.id, session.last_used_at, browser.address.map(|prefix| prefix.to_string()), now).await?;
    }
    let reachable = match &found {
        // Only a wish for more than there is needs to know.
        Some((session, user))
            if Acr::wished(&request.acr_values, Acr::HIGHEST).max(Acr::least_of(&request.essential_acr))
                > Some(Acr::of(session.acr.as_deref())) =>
        {
            factors::reachable(app, user).await?
        }
        Some(_) | None => Acr::Password,
    };
    let known = Known { session: facts.as_ref(), consent: consent.as_ref(), hint_sub: hint_sub.as_deref(), reachable };
    let progress = Progress {
        signed_in_at: state.signed_in_at,
        consented: state.consented,
        selected: state.selected,
        stepped_up: state.stepped_up,
    };
    let catalogue = app.registry.catalogue().await?;
    let demand = factors::demand(app, Some(client));
    Ok(match decide(&Asked { request, client, catalogue: &catalogue, demand }, &known, &progress, now) {
        Next::Login { .. } => Step::Visit(Page::Login),
        Next::SelectAccount => Step::Visit(Page::SelectAccount),
        Next::SecondFactor => Step::Visit(Page::SecondFactor),
        Next::Consent { scopes, claims } => Step::Visit(Page::Consent { scopes, claims }),
        Next::Refuse(reason) => Step::Refuse(reason),
        Next::Issue { scopes, claims } => match found {
            Some((session, user)) => {
                let agreed = state.consented.then(|| {
                    let resources = request.resources.clone();
                    let claims = claims.beyond(&scopes);
                    Consent { scopes: scopes.clone(), resources, claims, metadata_version: client.metadata_version }
                        .and_before(consent.as_ref())
                });
                Step::Issue(Box::new(Authorized { session, user, scopes, claims, agreed, rests_on }))
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
            Step::Visit(page) => {
                let (interaction, binding) = match id {
                    Some(id) => (interaction::keep(app, id, &state).await?, None),
                    None => interaction::open(app, &request, &state, browser, now).await?,
                };
                return Ok(Answer::Visit { page, interaction, binding });
            }
            Step::Refuse(reason) => return close(app, client, &request, id.as_ref(), reason, now).await,
            Step::Issue(authorized) => {
                if let Some(answer) = code::issue(app, client, &request, *authorized, id.as_ref(), now).await? {
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
        still_there(app, client).await?;
    }
    Err(LocalRefusal { reason: Reason::StateChanged, client_id: Some(client.client_id.clone()) })
}

/// The client is what was read when the request came: whether it is there and switched on now, the database says.
async fn still_there(app: &App, client: &Client) -> Result<(), LocalRefusal> {
    let client_id = client.client_id.clone();
    let reason = match clients::find(&app.db, &client_id).await? {
        Some(found) if found.enabled => return Ok(()),
        Some(_) => Reason::ClientDisabled { client_id: client_id.clone() },
        None => Reason::UnknownClient { client_id: client_id.clone() },
    };
    Err(LocalRefusal { reason, client_id: Some(client_id) })
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
