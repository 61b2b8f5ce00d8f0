//! What is for one client's eyes alone (OpenID Connect Core §10.2): which of its keys it is encrypted to.

use crate::app::App;
use crate::jose::{self, Content, EncryptError};
use crate::oauth::client::{Client, Encryption};
use crate::oauth::refusal::Reason;

/// Encrypts a signed token or claims to the client.
///
/// # Errors
/// `EncryptionKeyMissing`: the client has none that fits any more.
pub fn to_client(app: &App, client: &Client, how: Encryption, content: Content, plain: &str) -> Result<String, Reason> {
    let (alg, _) = how;
    let missing = || Reason::EncryptionKeyMissing { client_id: client.client_id.clone(), alg: alg.as_str().to_owned() };
    let key = client.metadata.jwks.as_ref().and_then(|keys| keys.to_encrypt(alg.as_str())).ok_or_else(missing)?;
    let to = (&key.key, key.kid.as_deref());
    jose::encrypt(how, to, content, plain.as_bytes(), app.entropy.as_ref()).map_err(|error| match error {
        EncryptError::Key(_) => missing(),
        EncryptError::TooLong(_) | EncryptError::Encrypt(_) => Reason::Internal { detail: error.to_string() },
    })
}
