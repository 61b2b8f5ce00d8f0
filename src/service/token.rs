//! The token endpoint's work (RFC 6749 §3.2): authenticate the client, load the facts, let the grant decide, mint, write, answer.
//!
//! The write repeats every fact that the decision rested on. If it hits no row, something changed in between: the facts are loaded and
//! decided once more, so that a lost race is answered for what it was (design 3).

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::jose::ClientJwt;
use crate::measure::Counted;
use crate::oauth::client::{AuthMethod, Client};
use crate::oauth::client_auth::{self, AuthenticatedClient, Credentials, Rules};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::family::{Family, Seed};
use crate::oauth::grant::{
    Issuance, Limits, RefreshPlan, Standing, TokenRequest, authorization_code, client_credentials, device_code, refresh_token,
};
use crate::oauth::params::Params;
use crate::oauth::refusal::{Effect, Reason, Refusal};
use crate::oauth::resource::Catalogue;
use crate::seal::Purpose;
use crate::secret::Secret;
use crate::service::audit::{self, Actor};
use crate::service::issue::{self, Minted};
use crate::service::keys::Snapshot;
use crate::service::registry::View;
use crate::storage::{audit as store, codes, device_codes, families, grants, sessions, spent_assertions};

/// A successful answer (RFC 6749 §5.1).
pub struct Tokens {
    pub minted: Minted,
    pub refresh_token: Option<Secret<String>>,
}

/// A refusal and the client that it concerns, for the decision record.
pub struct Refused {
    pub reason: Reason,
    pub client_id: Option<String>,
}

/// How often a decision is made anew after its write found the world changed.
const ATTEMPTS: usize = 8;
/// How often one grant is reported as lost: its client may ask again and again.
const REPORT_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

thread_local! {
    static ISSUED: Counted = const { Counted::new() };
}

/// Answers one token request.
///
/// # Errors
/// Every refusal of RFC 6749 §5.2 with its reason.
pub async fn token(app: &App, headers: &[&[u8]], params: &Params, now: Timestamp) -> Result<Tokens, Refused> {
    let mut client_id = None;
    let answer = answer(app, headers, params, &mut client_id, now).await;
    answer.map_err(|reason| Refused { reason, client_id })
}

async fn answer(
    app: &App,
    headers: &[&[u8]],
    params: &Params,
    client_id: &mut Option<String>,
    now: Timestamp,
) -> Result<Tokens, Reason> {
    let view = app.registry.view().await?;
    let client = authenticate(app, view, headers, params, client_id, now).await?;
    let request = TokenRequest::parse(params, &client)?;
    let name = request.grant_type().as_str();
    // In boxes, so that the shortest does not take the room of the longest.
    let tokens = match request {
        TokenRequest::AuthorizationCode(request) => Box::pin(code(app, view, &request, &client, now)).await,
        TokenRequest::RefreshToken(request) => Box::pin(refresh(app, view, &request, &client, now)).await,
        TokenRequest::ClientCredentials(request) => credentials(app, view, &request, &client, now).await,
        TokenRequest::DeviceCode(request) => Box::pin(device(app, view, &request, &client, now)).await,
    }?;
    ISSUED.with(|issued| issued.count(name, || metrics::counter!("chancery_tokens_issued_total", "grant_type" => name)));
    Ok(tokens)
}

/// The client that the request's credentials prove (RFC 6749 §2.3). `client_id` becomes the claimed one, proved or not.
///
/// # Errors
/// As `invalid_client` and `invalid_request` need.
pub async fn authenticate(
    app: &App,
    view: View<'_>,
    headers: &[&[u8]],
    params: &Params,
    client_id: &mut Option<String>,
    now: Timestamp,
) -> Result<AuthenticatedClient, Reason> {
    let credentials = Credentials::read(headers, params)?;
    let claimed = credentials.client_id();
    *client_id = claimed.map(str::to_owned);
    let client = match claimed {
        Some(claimed) => view.client(claimed).await?,
        None => None,
    };
    let assertion = match &client {
        Some(client) => verify_assertion(app, &credentials, client, now).await,
        None => None,
    };
    let client = client_auth::authenticate(&credentials, client.as_ref(), assertion, now)?;
    if let Some(secret_id) = client.secret_id() {
        app.secret_uses.note(secret_id, now);
    }
    Ok(client)
}

/// How much the clock of somebody who signs for us may differ from ours (design 5).
pub const TOLERANCE: Duration = Duration::from_secs(60);

/// What becomes of the assertion of a client that registered them: its claims, then its signature, and at the end the one use of its `jti`,
/// so that nobody spends what the client has not signed. `None` where there is none to look at.
async fn verify_assertion(app: &App, credentials: &Credentials, client: &Client, now: Timestamp) -> Option<Result<(), Reason>> {
    let assertion = credentials.assertion()?;
    if client.metadata.token_endpoint_auth_method != AuthMethod::PrivateKeyJwt {
        return None;
    }
    let issuer = app.config.issuer.as_str();
    let longest = app.config.lifetimes.client_assertion;
    let rules = Rules { issuer, token_endpoint: Endpoint::Token.url(issuer), longest, tolerance: TOLERANCE };
    let verify = async {
        assertion.check(client, &rules, now)?;
        let internal = |detail| Reason::Internal { detail };
        let jwt = ClientJwt::read(assertion.jwt().expose()).map_err(internal)?;
        app.client_keys.verify(client, &jwt, now).await?;
        let (use_of_it, until) = assertion.spending(&client.client_id, &rules);
        if spent_assertions::spend(&app.db, &use_of_it, until).await? { Ok(()) } else { Err(assertion.replayed(client)) }
    };
    Some(Box::pin(verify).await)
}

/// Keys and resources, from memory where they are fresh. Nothing is signed from what is past its time (design 5).
async fn world(app: &App, view: View<'_>, now: Timestamp) -> Result<(Arc<Snapshot>, Arc<Catalogue>), Reason> {
    Ok((app.keys.live(now).await?, view.catalogue().await?))
}

/// The `[lifetimes]` that the token endpoint's decisions depend on.
pub fn limits(app: &App) -> Limits {
    Limits { session_idle: app.config.lifetimes.session_idle, refresh_idle: app.config.lifetimes.refresh_idle }
}

/// RFC 6749 §4.4. No user, no refresh token, no row.
async fn credentials(
    app: &App,
    view: View<'_>,
    request: &client_credentials::Request,
    client: &AuthenticatedClient,
    now: Timestamp,
) -> Result<Tokens, Reason> {
    let (keys, catalogue) = world(app, view, now).await?;
    let issuance = client_credentials::decide(request, client, &catalogue, &limits(app), now).map_err(|refusal| refusal.reason)?;
    let ((), minted) = issue::mint(app, &keys, client, &issuance, now, ready(Ok(()))).await?;
    Ok(Tokens { minted, refresh_token: None })
}

/// RFC 6749 §4.1.3: find, decide, and mint while it is redeemed under the condition that all still holds.
async fn code(
    app: &App,
    view: View<'_>,
    request: &authorization_code::Request,
    client: &AuthenticatedClient,
    now: Timestamp,
) -> Result<Tokens, Reason> {
    let (keys, catalogue) = world(app, view, now).await?;
    let digest = request.digest();
    for _ in 0..ATTEMPTS {
        let facts = codes::find(&app.db, &digest).await?;
        let issuance = match authorization_code::decide(request, client, facts.as_ref(), &catalogue, &limits(app), now) {
            Ok(issuance) => issuance,
            Err(refusal) => return Err(apply(app, refusal, client, now).await?),
        };
        let family = first_family(app, &keys, &issuance, now);
        let refresh_token = family.as_ref().map(|family| issue::refresh_token(&keys.data, family)).transpose()?;
        let redeem = codes::redeem(&app.db, codes::Redeem { digest, client_id: client.client_id.clone(), family, now });
        let (redeemed, minted) = issue::mint(app, &keys, client, &issuance, now, redeem).await?;
        if redeemed {
            return Ok(Tokens { minted, refresh_token });
        }
    }
    Err(Reason::StateChanged)
}

/// RFC 8628 §3.4: as with a code, and while the person has not decided the poll itself is written down before it is answered.
async fn device(
    app: &App,
    view: View<'_>,
    request: &device_code::Request,
    client: &AuthenticatedClient,
    now: Timestamp,
) -> Result<Tokens, Reason> {
    let (keys, catalogue) = world(app, view, now).await?;
    let digest = request.digest();
    let mut crossed = None;
    for _ in 0..ATTEMPTS {
        let facts = device_codes::find(&app.db, &digest).await?;
        let issuance = match device_code::decide(client, facts.as_ref(), &catalogue, &limits(app), now) {
            Ok(issuance) => issuance,
            Err(Refusal { reason, effect: Effect::KeepPace(pace) }) => {
                let before = facts.map_or(pace, |facts| facts.code.pace);
                if device_codes::keep_pace(&app.db, &digest, before, pace).await? {
                    return Err(reason);
                }
                // Another poll came between, or the decision: look again. If polls only ever crossed, it is too soon all the same.
                crossed = Some(reason);
                continue;
            }
            Err(refusal) => return Err(apply(app, refusal, client, now).await?),
        };
        let family = first_family(app, &keys, &issuance, now);
        let refresh_token = family.as_ref().map(|family| issue::refresh_token(&keys.data, family)).transpose()?;
        let redeem = device_codes::redeem(&app.db, codes::Redeem { digest, client_id: client.client_id.clone(), family, now });
        let (redeemed, minted) = issue::mint(app, &keys, client, &issuance, now, redeem).await?;
        if redeemed {
            return Ok(Tokens { minted, refresh_token });
        }
    }
    Err(crossed.unwrap_or(Reason::StateChanged))
}

/// RFC 6749 §6 with the families of design 4.2.
async fn refresh(
    app: &App,
    view: View<'_>,
    request: &refresh_token::Request,
    client: &AuthenticatedClient,
    now: Timestamp,
) -> Result<Tokens, Reason> {
    let (keys, catalogue) = world(app, view, now).await?;
    for _ in 0..ATTEMPTS {
        let facts = families::find(&app.db, request.token.family_id).await?;
        let expected = facts.as_ref().and_then(|facts| issue::refresh_mac(&keys.data, &facts.family, request.token.generation));
        let genuine = request.token.is_genuine(expected.as_ref());
        let issuance = match refresh_token::decide(request, client, facts.as_ref(), genuine, &catalogue, &limits(app), now) {
            Ok(issuance) => issuance,
            Err(refusal) => return Err(apply(app, refusal, client, now).await?),
        };
        let RefreshPlan::Answer { before, after } = issuance.refresh.clone() else {
            return Err(Reason::Internal { detail: "a refresh was decided without a family".to_owned() });
        };
        let refresh_token = Some(issue::refresh_token(&keys.data, &after)?);
        let rotate = families::rotate(&app.db, families::Rotation { before, after, now });
        let (rotated, minted) = issue::mint(app, &keys, client, &issuance, now, rotate).await?;
        if rotated {
            if let Some(standing) = &issuance.standing {
                use_session(app, standing, now).await;
            }
            return Ok(Tokens { minted, refresh_token });
        }
    }
    Err(Reason::StateChanged)
}

/// Who uses an app uses the session that its tokens live with (docs/decisions/a-refresh-uses-the-session.md). Without a word to the client
/// if it cannot be noted: its tokens are out already.
async fn use_session(app: &App, standing: &Standing, now: Timestamp) {
    let (Some(id), Some(session)) = (standing.grant.session_id, &standing.session) else { return };
    if standing.grant.has_scope("offline_access") {
        return;
    }
    if let Err(error) = sessions::touch(&app.db, id, session.last_used_at, None, now).await {
        tracing::warn!(%error, "the use of a session could not be noted");
    }
}

/// A family for a grant's first refresh token, if its client gets one (design 4.2).
fn first_family(app: &App, keys: &Snapshot, issuance: &Issuance, now: Timestamp) -> Option<Family> {
    let grant = match &issuance.refresh {
        RefreshPlan::Begin => issuance.grant()?,
        RefreshPlan::None | RefreshPlan::Answer { .. } => return None,
    };
    let entropy = app.entropy.as_ref();
    let seed =
        Seed { id: entropy::row_id(entropy, now), salt: entropy::bytes(entropy), key_id: keys.data.current_id(Purpose::Refresh) };
    Some(Family::begin(grant, seed, app.config.lifetimes.refresh, now))
}

/// A refusal may have effects, and they are committed before it is answered.
async fn apply(app: &App, refusal: Refusal, client: &AuthenticatedClient, now: Timestamp) -> Result<Reason, Reason> {
    match refusal.effect {
        // The pace of a device code is kept where it is polled.
        Effect::None | Effect::KeepPace(_) => {}
        Effect::EndGrant(grant_id) => {
            let because = refusal.reason.rule().id;
            // The two have names of their own, so that who watches the log finds them.
            let stolen = matches!(refusal.reason, Reason::RefreshTokenStolen { .. });
            let action = if stolen { audit::STOLEN_REFRESH_TOKEN } else { audit::REPLAYED_CODE };
            let event = audit::event(app, now, &Actor::Server, action, &grant_id.to_string());
            let event = audit::with_now(event, json!({ "because": because, "client_id": client.client_id }));
            grants::end(&app.db, grant_id, because, now, Some(&event)).await?;
            metrics::counter!("chancery_grants_ended_by_replay_total").increment(1);
        }
        Effect::ReportLoss(grant_id) => {
            let event = audit::event(app, now, &Actor::Server, audit::DATABASE_WENT_BACK, &grant_id.to_string());
            store::insert_unless_since(&app.db, &event, now.minus(REPORT_AGAIN)).await?;
        }
    }
    Ok(refusal.reason)
}
