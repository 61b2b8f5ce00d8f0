//! Access tokens that come back to us: at userinfo, introspection and revocation.
//!
//! Both formats carry the same claims, signed (RFC 9068) or sealed. Reading one proves that it is ours; [`is_live`] then asks the
//! database whether what it stands on still stands, for JWTs too (security.md R-49).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::app::App;
use crate::clock::Timestamp;
use crate::jose::{self, KeySet, Typ};
use crate::oauth::access_token::Claims;
use crate::oauth::bearer::MAX_TOKEN;
use crate::oauth::refusal::Reason;
use crate::seal::{DataKeys, Purpose};
use crate::secret::Digest;
use crate::service::keys::Snapshot;
use crate::storage::revoked_tokens::{self, Person};

/// AES-GCM-SIV context of a `jti`.
const JTI_CONTEXT: &[u8] = b"jti";
/// AES-GCM-SIV context of an opaque access token.
pub(crate) const OPAQUE_CONTEXT: &[u8] = b"access token";

/// A token whose signature or seal held: what it says, and what it stands on. Both are in its own bytes and never change.
#[derive(Debug)]
pub struct Token {
    pub claims: Claims,
    jti: Digest,
    /// The grant that its `jti` names. `None`: the client's own.
    grant: Result<Option<Uuid>, Reason>,
}

impl Token {
    fn of(claims: Claims, sealing: &DataKeys) -> Self {
        Self { jti: jti_digest(&claims.jti), grant: unseal_jti(sealing, &claims.jti), claims }
    }
}

/// A token of ours, whether or not it is still good.
///
/// # Errors
/// Not ours, or damaged.
pub fn read(keys: &Snapshot, token: &str, now: Timestamp) -> Result<Arc<Token>, Reason> {
    keys.known.token(token, || Ok(Token::of(read_with(&keys.set, &keys.data, token, now)?, &keys.data)))
}

/// The same with the two kinds of keys apart.
pub(crate) fn read_with(signing: &KeySet, sealing: &DataKeys, token: &str, now: Timestamp) -> Result<Claims, Reason> {
    if token.len() > MAX_TOKEN {
        return Err(malformed("it is too long"));
    }
    if token.contains('.') {
        return Claims::read(&signing.verify(token, Typ::AccessToken, now)?.claims);
    }
    let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed("neither a JWT nor a sealed token of this server"))?;
    let plain = sealing
        .open(Purpose::Token, OPAQUE_CONTEXT, &sealed)
        .map_err(|_| malformed("neither a JWT nor a sealed token of this server"))?;
    Claims::read(&jose::object(plain.expose()).map_err(|_| malformed("its claims are damaged"))?)
}

/// Does what the token stands on still stand?
///
/// # Errors
/// Revoked, or its grant, client, user or session ended, or the database is away.
pub async fn is_live(app: &App, token: &Token, now: Timestamp) -> Result<(), Reason> {
    match token.grant.clone()? {
        Some(grant_id) => {
            let facts = revoked_tokens::token_life(&app.db, grant_id, &token.jti).await?;
            token.claims.is_live(&facts, app.config.lifetimes.session_idle, now)
        }
        None => is_live_alone(app, token).await,
    }
}

/// The same, and the person behind a user's token.
///
/// # Errors
/// Those of [`is_live`].
pub async fn person(app: &App, token: &Token, now: Timestamp) -> Result<Option<Person>, Reason> {
    match token.grant.clone()? {
        Some(grant_id) => {
            let (facts, person) = revoked_tokens::token_person(&app.db, grant_id, &token.jti).await?;
            token.claims.is_live(&facts, app.config.lifetimes.session_idle, now)?;
            Ok(person)
        }
        None => is_live_alone(app, token).await.map(|()| None),
    }
}

/// [`is_live`] of a token without a grant: a client's own.
async fn is_live_alone(app: &App, Token { claims, jti, .. }: &Token) -> Result<(), Reason> {
    if !claims.is_clients_own() {
        return Err(malformed("its jti names no grant"));
    }
    claims.is_live_for_client(&revoked_tokens::client_token_facts(&app.db, &claims.client_id, jti).await?)
}

/// The digest under which a `jti` stands in `revoked_tokens`.
pub fn jti_digest(jti: &str) -> Digest {
    Digest::of(jti.as_bytes())
}

/// A new `jti` for a token of this grant (design 4.4): unique, unlinkable for resource servers, and the way back to the grant.
pub fn seal_jti(app: &App, keys: &DataKeys, grant_id: Option<Uuid>) -> String {
    let plain = grant_id.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
    URL_SAFE_NO_PAD.encode(keys.seal(Purpose::Token, app.entropy.as_ref(), JTI_CONTEXT, &plain))
}

/// The opaque form of a token: its claims, sealed, without a row (design 4.4).
pub fn seal_opaque(app: &App, keys: &DataKeys, claims: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(keys.seal(Purpose::Token, app.entropy.as_ref(), OPAQUE_CONTEXT, claims))
}

/// The grant that a `jti` of ours names.
pub(crate) fn unseal_jti(keys: &DataKeys, jti: &str) -> Result<Option<Uuid>, Reason> {
    let foreign = || malformed("its jti is not one that this server sealed");
    let sealed = URL_SAFE_NO_PAD.decode(jti).map_err(|_| foreign())?;
    let plain = keys.open(Purpose::Token, JTI_CONTEXT, &sealed).map_err(|_| foreign())?;
    if plain.expose().is_empty() {
        return Ok(None);
    }
    Uuid::from_slice(plain.expose()).map(Some).map_err(|_| foreign())
}

fn malformed(detail: &str) -> Reason {
    Reason::TokenMalformed { detail: detail.to_owned() }
}
