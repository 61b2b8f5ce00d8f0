//! Signing out (OpenID Connect RP-Initiated Logout 1.0): load the hint, its client and the session, decide, end the session.

use crate::app::App;
use crate::clock::Timestamp;
use crate::jose::Typ;
use crate::oauth::client::Client;
use crate::oauth::refusal::Reason;
use crate::oidc::id_token::Hint;
use crate::oidc::logout::{self, Decision, Known, Request};
use crate::oidc::pairwise;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::service::audit::{self, Actor};
use crate::service::browser::{Browser, session};
use crate::storage::sessions;

/// What the end-session endpoint does next.
#[derive(Debug)]
pub enum Step {
    /// Ask the person first, naming the client that asks if a hint proves it.
    Confirm { session: Box<Session>, user: Box<User>, client_name: Option<String> },
    /// It is done, or there was nothing to do: a page of our own.
    SignedOut,
    /// It is done: back to the client.
    Redirect(String),
}

/// A logout request, by a client's link or form, or by the person.
///
/// # Errors
/// A hint that is not ours or a redirect that is not registered: a page, never a redirect; the session stays.
pub async fn request(app: &App, request: &Request, browser: &Browser, confirmed: bool, now: Timestamp) -> Result<Step, Reason> {
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
    let redirect = match logout::decide(request, &known)? {
        Decision::Confirm => return Ok(confirm(signed_in, client.as_deref())),
        Decision::SignOut { redirect } => {
            if let Some((session, user)) = signed_in {
                end(app, &session, &user, now).await?;
            }
            redirect
        }
        Decision::NobodySignedIn { redirect } => redirect,
    };
    Ok(redirect.map_or(Step::SignedOut, Step::Redirect))
}

fn confirm(signed_in: Option<(Session, User)>, client: Option<&Client>) -> Step {
    match signed_in {
        Some((session, user)) => Step::Confirm {
            session: Box::new(session),
            user: Box::new(user),
            client_name: client.and_then(|client| client.metadata.client_name.clone()),
        },
        None => Step::SignedOut,
    }
}

/// Ends the browser session and the grants that live with it.
///
/// # Errors
/// When the database is away: then nothing is acknowledged (security.md R-11).
pub async fn end(app: &App, session: &Session, user: &User, now: Timestamp) -> Result<(), Reason> {
    let because = "signed out";
    let event = audit::session_end(app, now, &Actor::User(user.id), session, because);
    sessions::end(&app.db, session.id, now, because, Some(&event)).await?;
    metrics::counter!("chancery_sign_outs_total").increment(1);
    Ok(())
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
