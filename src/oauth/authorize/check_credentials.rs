//! Nothing secret travels through the browser (RFC 6749 §2.3.1; security.md R-28).

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, _out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    request.params.refuse_credentials()
}
