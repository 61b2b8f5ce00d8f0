//! Signing out (OpenID Connect RP-Initiated Logout 1.0): load the hint, its client and the session, decide, end the session.

use crate::app::App;
use crate::clock::Timestamp;
use crate::jose::Typ;
use crate::oauth::refusal::Reason;
use crate::oidc::id_token::Hint;
use crate::oidc::logout::{self, Decision, Known, Request, Verdict};
use crate::oidc::logout_token;
use crate::oidc::pairwise;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::service::audit::{self, Actor};
use crate::service::browser::{Browser, session};
use crate::storage::logouts::{self, Participant};
use crate::storage::sessions;

/// What the end-session endpoint does next.
#[derive(Debug)]
pub enum Step {
    /// Ask the person first, naming the client that asks if a hint proves it.
    Confirm { session: Box<Session>, user: Box<User>, client_name: Option<String> },
    /// It is done, or there was nothing to do.
    SignedOut {
        /// Back to the client; otherwise a page of our own.
        redirect: Option<String>,
        /// Pages of clients that end their sessions in this browser.
        frames: Vec<String>,
    },
}

/// A logout request, by a client's link or form, or by the person: what is next, and what of the request was passed over.
///
/// # Errors
/// A hint that is not ours or a redirect that is not registered: a page, never a redirect; the session stays.
pub async fn request(
    app: &App,
    request: &Request,
    browser: &Browser,
    confirmed: bool,
    now: Timestamp,
) -> Result<(Step, Option<Reason>), Reason> {
    let signed_in = session(app, browser).await?.filter(|(session, _)| session.ended_at.is_none() && session.expires_at > now);
    let hint = match request.id_token_hint.as_deref() {
        Some(hint) => Some(read_hint(app, hint, now).await?),
        None => None,
    };
    let client = match &hint {
        Some(Ok(hint)) => app.registry.client(&hint.client_id).await?.filter(|client| client.enabled),
        Some(Err(_)) | None => None,
    };
    // As the client that the hint was issued to knows them.
    let keys = app.keys.data();
    let told = signed_in.as_ref().map(|(session, user)| match client.as_deref() {
        Some(client) => (pairwise::subject(&keys, client, user), pairwise::sid(&keys, client, session)),
        None => (user.sub.clone(), session.sid.clone()),
    });
    let known = Known {
        hint: hint.as_ref().map(|hint| hint.as_ref().map_err(Clone::clone)),
        client: client.as_deref(),
        session: told.as_ref().map(|(sub, sid)| (sub.as_str(), sid.as_str())),
        confirmed,
    };
    let Verdict { decision, doubt } = logout::decide(request, &known)?;
    let step = match (decision, signed_in) {
        (Decision::Confirm, Some((session, user))) => Step::Confirm {
            session: Box::new(session),
            user: Box::new(user),
            client_name: client.and_then(|client| client.metadata.client_name.clone()),
        },
        (Decision::SignOut { redirect }, Some((session, user))) => {
            Step::SignedOut { redirect, frames: end(app, &session, &user, now).await? }
        }
        (Decision::SignOut { redirect } | Decision::NobodySignedIn { redirect }, _) => {
            Step::SignedOut { redirect, frames: Vec::new() }
        }
        (Decision::Confirm, None) => Step::SignedOut { redirect: None, frames: Vec::new() },
    };
    Ok((step, doubt))
}

/// Ends the browser session and the grants that live with it. Its clients are told: those with a server of their own by a job, the others
/// by pages of theirs, whose addresses are the answer, to be shown in this browser ([`Policy::framing`](crate::http::pages::csp)).
///
/// # Errors
/// When the database is away: then nothing is acknowledged (security.md R-11).
pub async fn end(app: &App, session: &Session, user: &User, now: Timestamp) -> Result<Vec<String>, Reason> {
    let because = "signed out";
    let event = audit::session_end(app, now, &Actor::User(user.id), session, because);
    let clients = sessions::sign_out(&app.db, session.id, now, because, Some(&event)).await?.unwrap_or_default();
    metrics::counter!("chancery_sign_outs_total").increment(1);
    app.sign_outs.notify_one();
    frames(app, &clients).await
}

/// As [`end`], for a session whose end is somebody else's work: to be asked before.
///
/// # Errors
/// When the database is away.
pub async fn frames_of(app: &App, session: &Session) -> Result<Vec<String>, Reason> {
    frames(app, &logouts::of_session(&app.db, session.id).await?).await
}

/// Front-Channel Logout §2: one page for each client of the session that registered one.
async fn frames(app: &App, clients: &[Participant]) -> Result<Vec<String>, Reason> {
    let mut frames = Vec::new();
    for Participant { client_id, sid, .. } in clients {
        let client = app.registry.client(client_id).await?.filter(|client| client.enabled);
        if let Some(uri) = client.as_ref().and_then(|client| client.metadata.frontchannel_logout_uri.as_deref()) {
            frames.push(logout_token::frame(uri, app.config.issuer.as_str(), sid));
        }
    }
    Ok(frames)
}

/// Reads an ID token of ours; an expired one will do (OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2).
///
/// # Errors
/// When the database is away. A hint that is none of ours is the inner error, `IdTokenHintInvalid`.
pub async fn read_hint(app: &App, hint: &str, now: Timestamp) -> Result<Result<Hint, Reason>, Reason> {
    // Keys that are fresh: a compromised one's hints are refused at once.
    let keys = app.keys.live(now).await?;
    let verified = keys.set.verify(hint, Typ::IdToken, now).map_err(|reason| Reason::IdTokenHintInvalid {
        detail: if hint.split('.').count() == 5 {
            // Core §3.1.2.1: the client decrypts it first. It was encrypted to the client's key, and we have no key for that either.
            "it is encrypted; the signed token that is inside would do".to_owned()
        } else {
            format!("it is no ID token of this server ({})", reason.rule().id)
        },
    });
    Ok(verified.and_then(|verified| Hint::read(&verified.claims, app.config.issuer.as_str())))
}
