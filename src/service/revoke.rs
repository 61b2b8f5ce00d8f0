//! The revocation endpoint's work (RFC 7009): a refresh token takes its family and grant with it, an access token goes alone.

use serde_json::json;

use crate::app::App;
use crate::clock::Timestamp;
use crate::oauth::family::Presented;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oauth::revocation::{self, Revocation};
use crate::service::audit::{self, Actor};
use crate::service::{bearer, issue, token};
use crate::storage::{families, revoked_tokens};

/// Authenticates the client and revokes, if the token is the client's own; anything else is a silent success without effect (RFC 7009 §2.2, security.md R-47).
/// What comes back is why nothing was done, for the decision record alone.
///
/// # Errors
/// The client is not authenticated, a missing token, or the database away: an unfinished revocation is never acknowledged.
pub async fn revoke(
    app: &App,
    headers: &[&[u8]],
    params: &Params,
    client_id: &mut Option<String>,
    now: Timestamp,
) -> Result<Option<Reason>, Reason> {
    let view = app.registry.view().await?;
    let client = &token::authenticate(app, view, headers, params, client_id, now).await?;
    let token = params.require("token")?;
    let keys = app.keys.live(now).await?;
    let revocation = match Presented::parse(token) {
        Some(presented) => {
            let facts = families::find(&app.db, presented.family_id).await?;
            let expected = facts.as_ref().and_then(|facts| issue::refresh_mac(&keys.data, &facts.family, presented.generation));
            revocation::refresh_token(client, facts.as_ref(), presented.is_genuine(expected.as_ref()))
        }
        None => match bearer::read(&keys, token, now) {
            Ok(token) => revocation::access_token(client, &token.claims, app.config.issuer.as_str(), now),
            Err(reason) => Revocation::Nothing(reason),
        },
    };
    match revocation {
        Revocation::EndFamily { family_id, grant_id } => {
            let event = audit::event(app, now, &Actor::Client(client.client_id.clone()), "grant.revoke", &grant_id.to_string());
            families::end(&app.db, family_id, "revoked by its client", now, Some(&event)).await?;
            Ok(None)
        }
        Revocation::RememberToken { jti, expires_at } => {
            let event = audit::event(app, now, &Actor::Client(client.client_id.clone()), "token.revoke", &client.client_id);
            let event = audit::with_now(event, json!({ "kind": "access_token", "expires_at": expires_at.rfc3339() }));
            revoked_tokens::insert(&app.db, &bearer::jti_digest(&jti), expires_at, &event).await?;
            Ok(None)
        }
        Revocation::Nothing(reason) => Ok(Some(reason)),
    }
}
