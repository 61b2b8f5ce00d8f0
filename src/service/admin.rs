//! Who calls the admin API: the access token, read and looked up like one at introspection (security.md ).

use uuid::Uuid;

use crate::app::App;
use crate::clock::Timestamp;
use crate::oauth::admin::{self, Right};
use crate::oauth::refusal::Reason;
use crate::service::address::Prefix;
use crate::service::audit::Actor;
use crate::service::bearer;
use crate::service::token::Refused;

/// A bearer of a token that was made for the admin API and still stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub client_id: String,
    /// Row id of the person behind the token; `None` for a client's own.
    pub user_id: Option<Uuid>,
    /// What it may do.
    pub right: Right,
}

impl Caller {
    /// How the audit log calls it.
    pub fn actor(&self) -> String {
        match self.user_id {
            Some(id) => Actor::User(id).words(),
            None => Actor::Client(self.client_id.clone()).words(),
        }
    }

    /// Does it have this right?
    ///
    /// # Errors
    /// `AdminForbidden`.
    pub fn check(&self, needed: Right) -> Result<(), Reason> {
        if self.right >= needed {
            return Ok(());
        }
        Err(Reason::AdminForbidden { needed: needed.scope().to_owned() })
    }
}

/// The caller with this token.
///
/// # Errors
/// RFC 6750 §3.1: not a token of ours (429 once too many such came from one address), over, revoked, for another audience, or without any scope of the admin API. The client is
/// named where the token is one of ours.
pub async fn authenticate(app: &App, token: &str, address: &Prefix, now: Timestamp) -> Result<Caller, Refused> {
    let nobody = |reason: Reason| Refused { reason, client_id: None };
    let keys = app.keys.live(now).await.map_err(|error| nobody(error.into()))?;
    let issuer = app.config.issuer.as_str();
    // Tokens are not found by trying; those of ours are never rationed.
    let token = bearer::read(&keys, token, now).map_err(|reason| {
        let rationed = app.scans.count(&format!("address {address}"), now);
        nobody(rationed.err().unwrap_or(reason))
    })?;
    let claims = &token.claims;
    let refused = |reason: Reason| Refused { reason, client_id: Some(claims.client_id.clone()) };
    claims.check(issuer, now).map_err(refused)?;
    admin::accept(claims, issuer).map_err(refused)?;
    let person = bearer::person(app, &token, now).await.map_err(refused)?;
    let client = app.registry.client(&claims.client_id).await.map_err(|error| refused(error.into()))?;
    let gone = || Reason::TokenRevoked { because: "the client was disabled or removed".to_owned() };
    let client = client.filter(|client| client.enabled).ok_or_else(|| refused(gone()))?;
    let catalogue = app.registry.catalogue().await.map_err(|error| refused(error.into()))?;
    let in_office = person.as_ref().is_none_or(|person| person.admin);
    let right = admin::right(claims, &client, in_office, catalogue.resources())
        .ok_or_else(|| refused(Reason::AdminForbidden { needed: Right::Read.scope().to_owned() }))?;
    Ok(Caller { client_id: claims.client_id.clone(), user_id: person.map(|person| person.id), right })
}
