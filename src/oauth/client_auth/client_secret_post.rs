//! client_secret_post: the secret in the body (RFC 6749 §2.3.1).

use super::{Compared, Credentials, Presented, check_secret, wrong_method};
use crate::oauth::client::Client;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;

/// The secret of the body; one without a value was not sent.
pub(super) fn read(params: &Params) -> Option<Secret<String>> {
    params.get("client_secret").map(|secret| Secret::new(secret.to_owned()))
}

/// The rule for a client that registered client_secret_post.
pub(super) fn check(credentials: &Credentials, client: &Client, compared: Compared) -> Result<(), Reason> {
    match credentials.presented {
        Presented::Post(_) => check_secret(client, compared),
        Presented::Basic(_) | Presented::Assertion(_) | Presented::Nothing => Err(wrong_method(credentials, client)),
    }
}
