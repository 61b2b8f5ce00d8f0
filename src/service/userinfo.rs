//! The userinfo endpoint's work (OpenID Connect Core §5.3): what the access token's grant allows to be told about the person.

use std::sync::Arc;

use crate::app::App;
use crate::clock::Timestamp;
use crate::jose::Content;
use crate::oauth::client::Client;
use crate::oauth::refusal::Reason;
use crate::oidc::user::{ClaimMap, Profile};
use crate::oidc::userinfo;
use crate::service::keys::Snapshot;
use crate::service::{bearer, encrypt, issue};
use crate::storage::revoked_tokens::ByName;

/// The answer's two forms (OpenID Connect Core §5.3.2): as the client has registered.
pub enum Answer {
    Json(ClaimMap),
    Jwt(String),
}

/// What the bearer of `token` is told.
///
/// # Errors
/// RFC 6750 §3.1: the token is invalid, for another audience, or lacks `openid`. `EncryptionKeyMissing`.
pub async fn answer(app: &App, token: &str, now: Timestamp) -> Result<Answer, Reason> {
    let keys = app.keys.live(now).await?;
    let (claims, client) = claims(app, &keys, token, now).await?;
    match client {
        Some(client)
            if client.metadata.userinfo_signed_response_alg.is_some() || client.metadata.userinfo_encryption().is_some() =>
        {
            // In a box: what is seldom done would take the room of what always is.
            Ok(Answer::Jwt(Box::pin(jwt(app, &keys, &client, claims, now)).await?))
        }
        Some(_) | None => Ok(Answer::Json(claims)),
    }
}

/// The claims as the client has registered for them: signed, encrypted, or both.
async fn jwt(app: &App, keys: &Snapshot, client: &Client, claims: ClaimMap, now: Timestamp) -> Result<String, Reason> {
    let claims = userinfo::addressed(claims, app.config.issuer.as_str(), &client.client_id);
    let internal = |detail: String| Reason::Internal { detail };
    // OpenID Connect Core §16.14: signed first, and then encrypted.
    let (content, text) = match client.metadata.userinfo_signed_response_alg {
        Some(alg) => {
            let key = app.keys.signer(keys, alg, now).await?;
            let _turn = app.turns.to_sign(alg).await;
            let signed = key.sign_untyped(&claims);
            (Content::Nested, signed.map_err(|error| internal(error.to_string()))?)
        }
        None => (Content::Claims, serde_json::to_string(&claims).map_err(|error| internal(error.to_string()))?),
    };
    match client.metadata.userinfo_encryption() {
        None => Ok(text),
        Some(how) => encrypt::to_client(app, client, how, content, &text, now).await,
    }
}

/// The claims for the bearer, and the client that the token was made for.
async fn claims(app: &App, keys: &Snapshot, token: &str, now: Timestamp) -> Result<(ClaimMap, Option<Arc<Client>>), Reason> {
    let issuer = app.config.issuer.as_str();
    let token = bearer::read(keys, token, now)?;
    let claims = &token.claims;
    claims.check(issuer, now)?;
    match userinfo::accept(claims, issuer) {
        Ok(()) => {}
        // RFC 6750 §3.1: a token that is dead is invalid, whatever it once allowed. In a box: what is seldom done would take the room of what
        // always is.
        Err(lacking @ Reason::InsufficientScope { .. }) => {
            return Err(Box::pin(bearer::is_live(app, &token, now)).await.err().unwrap_or(lacking));
        }
        Err(reason) => return Err(reason),
    }
    let Some(person) = bearer::person(app, &token, now).await? else {
        return Err(Reason::TokenRevoked { because: "its grant is gone".to_owned() });
    };
    let client = app.registry.client(&claims.client_id).await?;
    let known = person.claims.read()?;
    let profile = Profile { username: &person.username, claims: &known, updated_at: person.updated_at };
    let mut told = match &person.by_name {
        None => userinfo::response(claims, profile, &[], &[]),
        Some(ByName { asked, granted }) => {
            // The client may have lost scopes since the grant.
            let registered = client.as_ref().map(|client| client.registered_scopes()).unwrap_or_default();
            userinfo::response(claims, profile, &asked.read()?.within(&registered).userinfo, granted)
        }
    };
    if let Some(client) = &client {
        let asked = &client.metadata.claims;
        if let Some(member) = issue::membership(app, person.id, || person.groups.read(), &[asked]).await? {
            issue::add(&mut told, asked.claims(&member));
        }
    }
    Ok((told, client))
}
