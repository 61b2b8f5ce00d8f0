//! The one place where tokens are made, for every grant alike (security.md R-09).
//!
//! [`mint`] takes nothing but an [`Issuance`], and the only way to one looks at the whole world once more: may the user authenticate, does
//! the grant stand, is each scope still allowed, does the audience still exist. Then it signs, while the one write is made whose condition
//! is that all of this still holds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{TryFutureExt as _, try_join};
use uuid::Uuid;

use crate::app::App;
use crate::clock::Timestamp;
use crate::jose::{Alg, Content, SigningKey, Typ};
use crate::json::ToJson;
use crate::oauth::access_token::{self, Token};
use crate::oauth::client::Client;
use crate::oauth::family::{self, Family};
use crate::oauth::grant::{Grant, Issuance};
use crate::oauth::refusal::Reason;
use crate::oauth::resource::TokenFormat;
use crate::oidc::claims::named;
use crate::oidc::groups::{ClaimMapping, Membership};
use crate::oidc::id_token::{self, IdToken};
use crate::oidc::user::ClaimMap;
use crate::seal::{DataKeys, Purpose};
use crate::secret::Secret;
use crate::service::keys::Snapshot;
use crate::service::{bearer, encrypt, registration};
use crate::storage::{StoreError, groups};

/// Bytes of most claims.
const USUAL: usize = 512;

/// Freshly minted tokens, of which whatever they rest on has been written.
pub struct Minted {
    pub access_token: Secret<String>,
    pub expires_in: Duration,
    pub id_token: Option<Secret<String>>,
    /// The scopes of the access token, as the answer names them.
    pub scopes: Vec<String>,
}

/// An access token, and an ID token where there is one.
type Signed = (String, Option<Secret<String>>);

/// What an ID token is made of beside what its access token is.
struct Identity<'a> {
    grant: &'a Grant,
    key: Arc<SigningKey>,
    /// The client's own claims about groups and roles.
    mapped: ClaimMap,
}

/// Makes an access token, and an ID token where the grant decided so, while `write` writes what they rest on; answers with both when both
/// are done. `write` begins when nothing is left that anybody but this process could spoil (docs/decisions/signed-while-it-is-written.md).
///
/// # Errors
/// When the client was disabled, there is no key to sign with or to encrypt to, or the person's groups do not fit: then nothing is written.
/// Those of `write`.
pub async fn mint<T>(
    app: &App,
    keys: &Snapshot,
    client: &Client,
    issuance: &Issuance,
    now: Timestamp,
    write: impl Future<Output = Result<T, StoreError>>,
) -> Result<(T, Minted), Reason> {
    if !client.enabled {
        return Err(Reason::ClientDisabled { client_id: client.client_id.clone() });
    }
    registration::used(app, client).await?;
    let issuer = app.config.issuer.as_str();
    let audience = &issuance.audience;
    let expires_at = issuance.access_token_expires_at(app.config.lifetimes.access_token, now);

    let jti = bearer::seal_jti(app, &keys.data, issuance.grant().map(|grant| grant.id));
    let mut claims = access_token::claims(issuance, &Token { issuer, jti: &jti, issued_at: now, expires_at });
    let asked = &client.metadata.claims;
    let member = match &issuance.standing {
        Some(standing) => {
            let (user, asked_by) = (&standing.user, [&audience.claims, asked]);
            membership(app, user.id, || Ok(user.groups.clone()), &asked_by).await?
        }
        None => None,
    };
    if let Some(member) = &member {
        claims.add(audience.claims.claims_for_token(member, &audience.aud)?);
    }
    let key = match audience.format {
        TokenFormat::Jwt => Some(signer(app, keys, audience.alg, now).await?),
        TokenFormat::Opaque => None,
    };
    let identity = match issuance.grant() {
        Some(grant) if issuance.id_token => {
            let mapped = match &member {
                Some(member) => asked.claims_for_token(member, std::slice::from_ref(&client.client_id))?,
                None => ClaimMap::new(),
            };
            Some(Identity { grant, key: signer(app, keys, client.metadata.id_token_signed_response_alg, now).await?, mapped })
        }
        Some(_) | None => None,
    };

    let encrypts = identity.is_some() && client.metadata.id_token_encryption().is_some();
    let sign = async {
        let access_token = match &key {
            Some(key) => sign(app, key, Typ::AccessToken, &claims).await?,
            None => {
                let mut plain = Vec::with_capacity(USUAL);
                claims.write(&mut plain).map_err(|error| Reason::Internal { detail: error.to_string() })?;
                bearer::seal_opaque(app, &keys.data, &plain)
            }
        };
        let id_token = match identity {
            Some(identity) => Some(id_token(app, client, issuance, identity, &access_token, now).await?),
            None => None,
        };
        Ok::<Signed, Reason>((access_token, id_token))
    };
    let write = write.map_err(Reason::from);
    // The keys of a client come from the client: what does not fit them must not have cost it its code.
    let (written, (access_token, id_token)) = if encrypts {
        let signed = sign.await?;
        (write.await?, signed)
    } else {
        try_join(write, sign).await?
    };
    let expires_in = Duration::from_secs(u64::try_from(expires_at.seconds().saturating_sub(now.seconds())).unwrap_or(0));
    Ok((written, Minted { access_token: access_token.into(), expires_in, id_token, scopes: audience.scopes.clone() }))
}

/// The ID token that goes with this access token.
async fn id_token(
    app: &App,
    client: &Client,
    issuance: &Issuance,
    identity: Identity<'_>,
    access_token: &str,
    now: Timestamp,
) -> Result<Secret<String>, Reason> {
    let Identity { grant, key, mapped } = identity;
    let issuer = app.config.issuer.as_str();
    let expires_at = now.plus(app.config.lifetimes.id_token);
    let nonce = issuance.nonce.as_deref();
    let mut claims = id_token::claims(grant, &IdToken { issuer, nonce, access_token, alg: key.alg, issued_at: now, expires_at });
    let by_name = grant.claims.within(&client.registered_scopes()).id_token;
    if let Some(standing) = issuance.standing.as_ref().filter(|_| !by_name.is_empty()) {
        add(&mut claims, named(standing.user.profile(), &by_name));
    }
    add(&mut claims, mapped);
    let signed = sign(app, &key, Typ::IdToken, &claims).await?;
    Ok(match client.metadata.id_token_encryption() {
        None => signed.into(),
        Some(how) => Box::pin(encrypt::to_client(app, client, how, Content::Nested, &signed, now)).await?.into(),
    })
}

/// What the person belongs to, as far as one of these mappings asks; roles are read at this moment and never remembered.
///
/// # Errors
/// When the database does not answer, and those of `groups`.
pub async fn membership(
    app: &App,
    user_id: Uuid,
    groups: impl FnOnce() -> Result<Vec<String>, StoreError>,
    asked_by: &[&ClaimMapping],
) -> Result<Option<Membership>, Reason> {
    if asked_by.iter().all(|mapping| mapping.is_empty()) {
        return Ok(None);
    }
    let groups = groups()?;
    let roles = if asked_by.iter().any(|mapping| mapping.asks_for_roles()) {
        Box::pin(groups::roles_of(&app.db, user_id)).await?
    } else {
        Vec::new()
    };
    Ok(Some(Membership { groups, roles }))
}

/// A mapping's names are checked when it is registered; whatever got past that replaces nothing.
pub fn add(claims: &mut ClaimMap, mapped: ClaimMap) {
    for (name, value) in mapped {
        claims.entry(name).or_insert(value);
    }
}

/// The key that signs with this algorithm now.
///
/// # Errors
/// When there is none and none can be made.
pub(super) async fn signer(app: &App, keys: &Snapshot, alg: Alg, now: Timestamp) -> Result<Arc<SigningKey>, Reason> {
    match keys.set.active(alg) {
        Some(key) => Ok(Arc::clone(key)),
        None => Ok(Box::pin(app.keys.signer(keys, alg, now)).await?),
    }
}

/// A token of this kind, signed with this key when it is time for it.
///
/// # Errors
/// When the claims cannot be written.
pub(super) async fn sign(app: &App, key: &SigningKey, typ: Typ, claims: &(impl ToJson + Sync)) -> Result<String, Reason> {
    let turn = app.turns.to_sign(key.alg).await;
    let signed = key.sign_jwt(typ.as_str(), claims).map_err(|error| Reason::Internal { detail: error.to_string() });
    app.turns.to_answer(turn).await;
    signed
}

/// The text of a family's refresh token of its present generation (design 4.2).
///
/// # Errors
/// When the data key of the family is gone.
pub fn refresh_token(keys: &DataKeys, family: &Family) -> Result<Secret<String>, Reason> {
    let mac = refresh_mac(keys, family, family.generation)
        .ok_or_else(|| Reason::Internal { detail: "the data key of a refresh family is gone".to_owned() })?;
    Ok(family::encode(family.id, family.generation, &mac))
}

/// What the MAC of a family's refresh token of this generation must be; none if its data key was removed as compromised.
pub fn refresh_mac(keys: &DataKeys, family: &Family, generation: i64) -> Option<[u8; 32]> {
    keys.mac_with(Purpose::Refresh, family.key_id, &[&family.mac_message(generation)])
}
