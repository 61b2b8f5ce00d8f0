//! The client is registered for the authorization_code grant (RFC 6749 §4.1.2.1: unauthorized_client).

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::client::GrantType;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, _out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    if request.client.uses(GrantType::AuthorizationCode) {
        return Ok(());
    }
    Err(Reason::ClientMayNotAuthorize { client_id: request.client.client_id.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::scene;
    use super::*;

    #[test]
    fn a_machine_sends_nobody_here() {
        let mut machine = scene::web();
        machine.metadata.grant_types = vec![GrantType::ClientCredentials];
        let refused = scene::try_request(&machine, "orders:read", "").unwrap_err();
        assert_eq!(refused.wire().error, "unauthorized_client");
    }
}
