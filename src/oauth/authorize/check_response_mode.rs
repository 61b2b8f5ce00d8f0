//! response_mode is query or form_post; a code in a fragment is nobody's need (OAuth 2.0 Multiple Response Types §2.1).

use super::checks::Request;
use super::{ResponseMode, ValidatedAuthorize};
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let Some(asked) = request.params.get("response_mode") else { return Ok(()) };
    match ResponseMode::ALL.into_iter().find(|mode| mode.as_str() == asked) {
        Some(mode) => {
            out.response_mode = mode;
            Ok(())
        }
        None => Err(Reason::UnsupportedResponseMode { received: asked.chars().take(100).collect() }),
    }
}
