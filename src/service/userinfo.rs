//! The userinfo endpoint's work (OpenID Connect Core §5.3): what the access token's grant allows to be told about the person.

use crate::app::App;
use crate::clock::Timestamp;
use crate::oauth::refusal::Reason;
use crate::oidc::user::ClaimMap;
use crate::oidc::userinfo;
use crate::service::{bearer, issue};

/// The claims for the bearer of `token`.
///
/// # Errors
/// RFC 6750 §3.1: the token is invalid, for another audience, or lacks `openid`.
pub async fn claims(app: &App, token: &str, now: Timestamp) -> Result<ClaimMap, Reason> {
    let keys = app.keys.live(now).await?;
    let issuer = app.config.issuer.as_str();
    let claims = bearer::read(&keys, token, now)?;
    claims.check(issuer, now)?;
    userinfo::accept(&claims, issuer)?;
    match bearer::is_live(app, &keys, &claims, now).await? {
        Some(standing) => {
            let mut told = userinfo::response(&claims, &standing.user);
            if let Some(client) = app.registry.client(&claims.client_id).await? {
                let asked = &client.metadata.claims;
                if let Some(member) = issue::membership(app, &standing.user, &[asked]).await? {
                    issue::add(&mut told, asked.claims(&member));
                }
            }
            Ok(told)
        }
        None => Err(Reason::TokenRevoked { because: "its grant is gone".to_owned() }),
    }
}
