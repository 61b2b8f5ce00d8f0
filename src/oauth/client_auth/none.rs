//! none: a public client names itself and proves nothing (RFC 6749 §2.1, RFC 7591 §2). PKCE protects its codes.

use super::{Credentials, Presented, wrong_method};
use crate::oauth::client::Client;
use crate::oauth::refusal::Reason;

/// The rule for a client that registered none: a secret from somewhere is a mistake worth telling, not to be ignored.
pub(super) fn check(credentials: &Credentials, client: &Client) -> Result<(), Reason> {
    match credentials.presented {
        Presented::Nothing => Ok(()),
        Presented::Basic(_) | Presented::Post(_) | Presented::Assertion(_) => Err(wrong_method(credentials, client)),
    }
}
