//! Requests are plain parameters: no request objects, no fetched requests, no registration in passing. Refused with the error that
//! OpenID Connect Core §3.1.2.6 has for each, never ignored, since the real request would be inside.

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
    Ok(())
}
