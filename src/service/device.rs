//! The device authorization grant's work (RFC 8628): begin a request, find it by what a person typed, write down what they decided.
//!
//! User codes are short, so every look at one is throttled, and they are stored as a keyed hash. What a code was typed wrong for is for
//! the decision record: the page says the same of all.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::oauth::authorize::decision::Consent;
use crate::oauth::client::{Client, GrantType};
use crate::oauth::device::{Asked, DeviceCode, State, UserCode};
use crate::oauth::grant::Grant;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oidc::claims_request::ClaimsRequest;
use crate::oidc::pairwise;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::seal::Purpose;
use crate::secret::{Digest, Secret};
use crate::service::address::Prefix;
use crate::service::audit::{self, Actor};
use crate::service::authorize::LocalRefusal;
use crate::service::registration;
use crate::service::throttle::Subject;
use crate::service::token::{self, Refused};
use crate::storage::audit::AuditEvent;
use crate::storage::{StoreError, consents, device_codes};

/// How often something is done anew after its write found the world changed, or the user code taken.
const ATTEMPTS: usize = 8;

/// A device authorization response (RFC 8628 §3.2).
pub struct Begun {
    pub device_code: Secret<String>,
    pub user_code: UserCode,
    pub expires_in: Duration,
    pub interval: Duration,
}

/// A request that a person looks at, and that is theirs to decide.
pub struct Seen {
    digest: Digest,
    pub user_code: UserCode,
    pub code: DeviceCode,
    pub client: Arc<Client>,
    /// What they can grant.
    pub scopes: Vec<String>,
}

/// Who looks: signed in, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Viewer<'a> {
    pub session: &'a Session,
    pub user: &'a User,
    pub address: Prefix,
}

/// RFC 8628 §3.1: a device that cannot show a browser begins.
///
/// # Errors
/// The client is not authenticated or may not use the grant, what it asks for cannot be asked for, or there are too many open.
pub async fn begin(app: &App, headers: &[&[u8]], params: &Params, address: Prefix, now: Timestamp) -> Result<Begun, Refused> {
    let mut client_id = None;
    let begun = begin_for(app, headers, params, &mut client_id, address, now).await;
    begun.map_err(|reason| Refused { reason, client_id })
}

async fn begin_for(
    app: &App,
    headers: &[&[u8]],
    params: &Params,
    client_id: &mut Option<String>,
    address: Prefix,
    now: Timestamp,
) -> Result<Begun, Reason> {
    let view = app.registry.view().await?;
    let client = token::authenticate(app, view, headers, params, client_id, now).await?;
    let catalogue = view.catalogue().await?;
    let asked = Asked::check(params, &client, &catalogue)?;
    // Rows that nobody signed in for (security.md R-77).
    app.device_quotas.take(Some(address), &client.client_id, now)?;
    let lifetime = app.config.lifetimes.device_code;
    let code = DeviceCode::begin(&client.client_id, asked, address.to_string(), lifetime, now);
    let device_code = entropy::token(app.entropy.as_ref());
    let keys = app.keys.live(now).await?;
    for _ in 0..ATTEMPTS {
        let Some(user_code) = UserCode::of_random(&entropy::bytes(app.entropy.as_ref())) else { continue };
        let hash = keys.data.mac(Purpose::UserCode, &[user_code.letters().as_bytes()]);
        match device_codes::insert(&app.db, &device_code.digest(), hash, &code).await {
            Ok(()) => {
                metrics::counter!("chancery_device_codes_issued_total").increment(1);
                return Ok(Begun { device_code, user_code, expires_in: lifetime, interval: code.pace.interval });
            }
            // Another device shows the same letters.
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Reason::Internal { detail: "no user code was free".to_owned() })
}

/// The request that shows this code, and a claim to it where nobody looked before (security.md R-65).
///
/// # Errors
/// One of the `UserCode…` reasons, or the client is gone, or the database away.
pub async fn look(app: &App, typed: &str, viewer: Viewer<'_>, now: Timestamp) -> Result<Seen, LocalRefusal> {
    let subjects = [Subject::CodeTyper(viewer.user.id), Subject::CodeAddress(viewer.address.to_string()), Subject::CodeEverybody];
    let attempt = app.throttle.check(&app.db, &subjects, now).await;
    let _attempt = attempt.map_err(|reason| match reason {
        Reason::SignInThrottled { scope, retry_after } => Reason::UserCodeThrottled { scope, retry_after },
        other => other,
    })?;
    match find(app, typed, viewer, now).await {
        Err(reason) if is_a_guess(&reason) => {
            app.throttle.failure(&app.db, &subjects, now).await?;
            metrics::counter!("chancery_user_code_failures_total").increment(1);
            Err(reason.into())
        }
        Err(reason) => Err(reason.into()),
        Ok((user_code, digest, code)) => {
            let refused = |reason| LocalRefusal { reason, client_id: Some(code.client_id.clone()) };
            let client = app.registry.client(&code.client_id).await?.filter(|client| client.enabled);
            let client = client.ok_or_else(|| refused(Reason::ClientDisabled { client_id: code.client_id.clone() }))?;
            let catalogue = app.registry.catalogue().await?;
            let scopes = code.asked.grantable(&client, &catalogue, viewer.user.admin).map_err(refused)?;
            Ok(Seen { digest, user_code, code, client, scopes })
        }
    }
}

async fn find(app: &App, typed: &str, viewer: Viewer<'_>, now: Timestamp) -> Result<(UserCode, Digest, DeviceCode), Reason> {
    let user_code = UserCode::read(typed).ok_or(Reason::UserCodeUnknown)?;
    let hashes = app.keys.live(now).await?.data.recent_macs(Purpose::UserCode, &[user_code.letters().as_bytes()]);
    for _ in 0..ATTEMPTS {
        let (digest, code) = device_codes::find_by_user_code(&app.db, &hashes).await?.ok_or(Reason::UserCodeUnknown)?;
        let claimed = code.claim(viewer.user.id, now)?;
        if claimed == code.state {
            return Ok((user_code, digest, code));
        }
        let event = event(app, viewer.user, "device.claim", &code, &code.asked.scopes, now);
        if device_codes::claim(&app.db, &digest, viewer.user.id, now, &event).await? {
            return Ok((user_code, digest, DeviceCode { state: claimed, ..code }));
        }
    }
    Err(Reason::StateChanged)
}

/// Is it what a guess runs into?
fn is_a_guess(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::UserCodeUnknown | Reason::UserCodeExpired { .. } | Reason::UserCodeOfAnotherPerson | Reason::UserCodeSpent
    )
}

impl Seen {
    /// What an answer on the page rests on. If any of it changes between showing and answering, the answer was to another question.
    pub fn question(&self, session: &Session) -> String {
        let resources = self.code.asked.resources.join(" ");
        let Self { user_code, client, scopes, .. } = self;
        format!("{} {} {} {} {resources}", session.id, user_code.letters(), client.metadata_version, scopes.join(" "))
    }
}

/// The person says yes: from now on the device gets its tokens when it asks.
///
/// # Errors
/// `UserCodeSpent` if it is not theirs to decide any more; the database is away.
pub async fn allow(app: &App, seen: &Seen, viewer: Viewer<'_>, now: Timestamp) -> Result<(), Reason> {
    let (client, lifetimes, keys) = (&seen.client, &app.config.lifetimes, app.keys.data());
    let grant_id = entropy::row_id(app.entropy.as_ref(), now);
    let State::Approved { .. } = seen.code.approve(viewer.user.id, grant_id, now)? else {
        return Err(Reason::UserCodeSpent);
    };
    registration::used(app, client).await?;
    // Nothing issued from the grant can outlive its last refresh token's access token; without refresh tokens that is soon.
    let longest = app.registry.catalogue().await?.longest_lifetime(lifetimes.access_token);
    let renewable = if client.uses(GrantType::RefreshToken) { lifetimes.refresh } else { Duration::ZERO };
    let grant = Grant {
        id: grant_id,
        client_id: client.client_id.clone(),
        user_id: viewer.user.id,
        sub: pairwise::subject(&keys, client, viewer.user),
        scopes: seen.scopes.clone(),
        resources: seen.code.asked.resources.clone(),
        auth_time: viewer.session.auth_time,
        acr: viewer.session.acr.clone(),
        amr: viewer.session.amr.clone(),
        session_id: Some(viewer.session.id),
        sid: Some(pairwise::sid(&keys, client, viewer.session)),
        nonce: None,
        claims: ClaimsRequest::default(),
        created_at: now,
        expires_at: now.plus(lifetimes.device_code + renewable + longest),
        ended_at: None,
        ended_because: None,
    };
    for _ in 0..ATTEMPTS {
        let before = consents::find(&app.db, viewer.user.id, &client.client_id).await?;
        let rests_on = before.as_ref().map(|consent| consent.updated_at);
        let consent = agreed(&grant, client, before, now);
        let allowed = event(app, viewer.user, "device.allow", &seen.code, &grant.scopes, now);
        let events = iter::once(allowed).chain(audit::authorized(app, Some(&consent), &grant, now)).collect();
        let (digest, joins) = (seen.digest, client.hears_of_sign_outs());
        let approve = device_codes::Approve { digest, grant: grant.clone(), consent, rests_on, events, joins, now };
        if device_codes::approve(&app.db, approve).await? {
            return Ok(());
        }
        // They allow the same app something else at this moment, or the code is not theirs any more.
        let after = consents::find(&app.db, viewer.user.id, &client.client_id).await?;
        if after.map(|consent| consent.updated_at) == rests_on {
            return Err(Reason::UserCodeSpent);
        }
    }
    Err(Reason::StateChanged)
}

/// The consent that is remembered for the grant, with all that was agreed to before.
fn agreed(grant: &Grant, client: &Client, before: Option<consents::Consent>, now: Timestamp) -> consents::Consent {
    let changed_at = before.as_ref().map(|consent| consent.updated_at);
    let before = before.map(consents::Consent::agreed);
    let agreed = Consent {
        scopes: grant.scopes.clone(),
        resources: grant.resources.clone(),
        claims: Vec::new(),
        metadata_version: client.metadata_version,
    }
    .and_before(before.as_ref());
    consents::Consent::of(agreed, grant.user_id, client.client_id.clone(), changed_at, now)
}

/// The person says no: the device is told so when it asks.
///
/// # Errors
/// As [`allow`].
pub async fn deny(app: &App, seen: &Seen, viewer: Viewer<'_>, now: Timestamp) -> Result<(), Reason> {
    seen.code.deny(viewer.user.id, now)?;
    let event = event(app, viewer.user, "device.deny", &seen.code, &seen.code.asked.scopes, now);
    if device_codes::deny(&app.db, &seen.digest, viewer.user.id, now, &event).await? { Ok(()) } else { Err(Reason::UserCodeSpent) }
}

fn event(app: &App, user: &User, action: &'static str, code: &DeviceCode, scopes: &[String], now: Timestamp) -> AuditEvent {
    let told = json!({ "scopes": scopes, "resources": code.asked.resources, "requested_from": code.requested_from });
    AuditEvent { is_now: Some(told.to_string()), ..audit::event(app, now, &Actor::User(user.id), action, &code.client_id) }
}
