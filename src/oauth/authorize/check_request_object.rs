//! What has come through here is plain parameters: those of a request object were taken out of it, and its client has signed them (see
//! [`crate::oauth::jar`]). No fetched requests, no registration in passing: refused with the error that OpenID Connect Core §3.1.2.6 has for each,
//! never ignored, since the real request would be inside.

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, _out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let sent = |name| request.params.get(name).is_some();
    if sent("request") {
        return Err(Reason::RequestObjectUnsupported);
    }
    if sent("request_uri") {
        return Err(Reason::RequestUriUnsupported);
    }
    if sent("registration") {
        return Err(Reason::RegistrationParameterUnsupported);
    }
    if request.client.metadata.require_signed_request_object && !request.signed {
        return Err(Reason::RequestObjectMissing { client_id: request.client.client_id.clone() });
    }
    Ok(())
}
