//! Every resource is an absolute URI that we know and where the client has a scope (RFC 8707 §2: invalid_target).

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    out.resources = request.catalogue.check_requested(&request.params.all("resource"), &request.allowed)?;
    Ok(())
}
