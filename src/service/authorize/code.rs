//! The end of an authorization: consent, grant and code written in one transaction (RFC 6749 §4.1.2). Whether it may be issued was
//! decided before; the transaction checks that the facts still stand.

use std::time::Duration;

use super::{Answer, LocalRefusal};
use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::oauth::authorize::decision::Consent;
use crate::oauth::authorize::{ValidatedAuthorize, response};
use crate::oauth::client::{Client, GrantType};
use crate::oauth::grant::{AuthorizationCode, Grant};
use crate::oidc::authentication::Acr;
use crate::oidc::claims_request::ClaimsRequest;
use crate::oidc::pairwise;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::secret::Secret;
use crate::service::{audit, registration};
use crate::storage::{authorize as completion, consents};

/// Everything that a code will stand for.
pub(super) struct Authorized {
    pub session: Session,
    pub user: User,
    pub scopes: Vec<String>,
    pub claims: ClaimsRequest,
    /// What is to be remembered, if the consent page was shown and answered with yes.
    pub agreed: Option<Consent>,
    /// When the consent that was remembered before was last changed.
    pub rests_on: Option<Timestamp>,
}

/// Makes a code with everything behind it; `None` if something that this rests on has changed.
///
/// # Errors
/// When the database is away.
pub(super) async fn issue(
    app: &App,
    client: &Client,
    request: &ValidatedAuthorize,
    authorized: Authorized,
    id: Option<&Secret<String>>,
    now: Timestamp,
) -> Result<Option<Answer>, LocalRefusal> {
    let Authorized { session, user, scopes, claims, agreed, rests_on } = authorized;
    let lifetimes = &app.config.lifetimes;
    let entropy = app.entropy.as_ref();
    let keys = app.keys.data();
    let code = entropy::token(entropy);
    registration::used(app, client).await?;
    // Nothing issued from the grant can outlive its last refresh token's access token; without refresh tokens that is soon.
    let longest = app.registry.catalogue().await?.longest_lifetime(lifetimes.access_token);
    let renewable = if client.uses(GrantType::RefreshToken) { lifetimes.refresh } else { Duration::ZERO };
    let grant = Grant {
        id: entropy::row_id(entropy, now),
        client_id: client.client_id.clone(),
        user_id: user.id,
        sub: pairwise::subject(&keys, client, &user),
        scopes,
        resources: request.resources.clone(),
        auth_time: session.auth_time,
        acr: Some(Acr::of(session.acr.as_deref()).told(request.wanted_acr()).as_str().to_owned()),
        amr: session.amr.clone(),
        session_id: Some(session.id),
        sid: Some(pairwise::sid(&keys, client, &session)),
        nonce: request.nonce.clone(),
        claims,
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
    let consent = agreed.map(|agreed| consents::Consent::of(agreed, user.id, client.client_id.clone(), rests_on, now));
    let events = audit::authorized(app, consent.as_ref(), &grant, now);
    let complete = completion::Complete {
        interaction: id.map(Secret::digest),
        consent,
        rests_on,
        grant,
        digest: code.digest(),
        code: stored,
        events,
        joins: client.hears_of_sign_outs(),
        now,
    };
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
