//! What is for one client's eyes alone (OpenID Connect Core §10.2): which of its keys it is encrypted to.

use crate::app::App;
use crate::clock::Timestamp;
use crate::jose::{self, Content, EncryptError};
use crate::oauth::client::{Client, Encryption};
use crate::oauth::refusal::Reason;

/// Encrypts a signed token or claims to the client.
///
/// # Errors
/// `EncryptionKeyMissing`: it has no key that fits, or its keys cannot be fetched.
pub async fn to_client(
    app: &App,
    client: &Client,
    how: Encryption,
    content: Content,
    plain: &str,
    now: Timestamp,
) -> Result<String, Reason> {
    let (alg, _) = how;
    let missing =
        |detail: String| Reason::EncryptionKeyMissing { client_id: client.client_id.clone(), alg: alg.as_str().to_owned(), detail };
    let keys = app.client_keys.to_encrypt(client, alg.as_str(), now).await.map_err(|reason| match reason {
        Reason::ClientKeysUnavailable { detail, .. } => missing(detail),
        other => other,
    })?;
    let Some(key) = keys.to_encrypt(alg.as_str()) else {
        return Err(missing("none of its keys is of that kind and free of a use, alg or key_ops that says otherwise".to_owned()));
    };
    let to = (&key.key, key.kid.as_deref());
    jose::encrypt(how, to, content, plain.as_bytes(), app.entropy.as_ref()).map_err(|error| match error {
        EncryptError::Key(_) => missing(error.to_string()),
        EncryptError::TooLong(_) | EncryptError::Encrypt(_) => Reason::Internal { detail: error.to_string() },
    })
}
