//! The introspection endpoint's work (RFC 7662): load what a token stands on and let the rules of design 4.4 answer.

use crate::app::App;
use crate::clock::Timestamp;
use crate::oauth::client_auth::AuthenticatedClient;
use crate::oauth::family::Presented;
use crate::oauth::introspection::{self, Answer, Context};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::service::registry::View;
use crate::service::{bearer, issue, token};
use crate::storage::families;

/// Authenticates the caller and answers about one token. `client_id` becomes the claimed one, proved or not. `token_type_hint` needs no look: the two kinds cannot be mistaken for each other.
///
/// # Errors
/// The client is not authenticated or is public, a missing token, too many tokens that nobody issued, or the database away: then nothing is said about the token.
pub async fn introspect(
    app: &App,
    headers: &[&[u8]],
    params: &Params,
    client_id: &mut Option<String>,
    now: Timestamp,
) -> Result<Answer, Reason> {
    let view = app.registry.view().await?;
    let client = &token::authenticate(app, view, headers, params, client_id, now).await?;
    introspection::may_ask(client)?;
    let token = params.require("token")?;
    match Presented::parse(token) {
        Some(presented) => refresh_token(app, client, &presented, now).await,
        None => access_token(app, view, client, token, now).await,
    }
}

async fn access_token(
    app: &App,
    view: View<'_>,
    client: &AuthenticatedClient,
    token: &str,
    now: Timestamp,
) -> Result<Answer, Reason> {
    let keys = app.keys.live(now).await?;
    let token = match bearer::read(&keys, token, now) {
        Ok(token) => token,
        Err(reason) => {
            app.scans.count(&client.client_id, now)?;
            return Ok(Answer::Inactive(reason));
        }
    };
    let live = match token.claims.check(app.config.issuer.as_str(), now) {
        Ok(()) => bearer::is_live(app, &token, now).await,
        Err(reason) => Err(reason),
    };
    // A fault of ours is not an inactive token.
    if let Err(reason @ (Reason::StorageUnavailable { .. } | Reason::Internal { .. })) = live {
        return Err(reason);
    }
    let catalogue = view.catalogue().await?;
    Ok(introspection::access_token(client, &token.claims, live, catalogue.resources()))
}

async fn refresh_token(app: &App, client: &AuthenticatedClient, presented: &Presented, now: Timestamp) -> Result<Answer, Reason> {
    let keys = app.keys.live(now).await?;
    let facts = families::find(&app.db, presented.family_id).await?;
    let expected = facts.as_ref().and_then(|facts| issue::refresh_mac(&keys.data, &facts.family, presented.generation));
    let genuine = presented.is_genuine(expected.as_ref());
    if !genuine {
        app.scans.count(&client.client_id, now)?;
    }
    let context = Context { issuer: app.config.issuer.as_str(), limits: token::limits(app), now };
    Ok(introspection::refresh_token(client, presented, facts.as_ref(), genuine, &context))
}
