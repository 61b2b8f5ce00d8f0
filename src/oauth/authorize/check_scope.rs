//! Scopes exist, and the client may ask for them (RFC 6749 §3.3); where resources are named, each scope belongs to one of them
//! or to OpenID Connect (RFC 8707 §2). Without `scope` the client gets what it is registered for at resources.

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::client::GrantType;
use crate::oauth::refusal::Reason;
use crate::oauth::scope;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let counts = |scope: &str| {
        out.resources.is_empty()
            || scope::is_openid_connect(scope)
            || request.catalogue.owner(scope).is_some_and(|owner| out.resources.contains(&owner.identifier))
    };
    let Some(text) = request.params.get("scope") else {
        let mut scopes = request.client.resource_scopes(request.catalogue.resources());
        scopes.retain(|scope| counts(scope));
        out.scopes = scopes;
        return Ok(());
    };
    let mut scopes = scope::parse(text)?;
    for scope in &scopes {
        if !request.catalogue.knows(scope) {
            return Err(Reason::ScopeUnknown { scope: scope.clone() });
        }
        if !request.allowed.contains(scope) || !counts(scope) {
            let mut allowed = request.allowed.clone();
            allowed.retain(|scope| counts(scope));
            return Err(Reason::ScopeNotAllowed { scope: scope.clone(), allowed });
        }
    }
    // OpenID Connect Core §11: offline_access of a client that cannot use a refresh token is ignored.
    if !request.client.uses(GrantType::RefreshToken) {
        scopes.retain(|scope| scope != scope::OFFLINE_ACCESS);
    }
    out.scopes = scopes;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene;
    use super::*;

    fn asked(scope: &str, more: &str) -> Result<Vec<String>, Reason> {
        scene::try_request(&scene::web(), scope, more).map(|request| request.scopes)
    }

    #[test]
    fn scopes_are_taken_as_asked() {
        assert_eq!(asked("openid email orders:read", "").unwrap(), ["openid", "email", "orders:read"]);
    }

    #[test]
    fn unknown_foreign_and_malformed_scopes_are_invalid() {
        for (scope, reason) in
            [("openid nonsense", "unknown"), ("bank:pay", "not allowed"), ("admin:write", "not allowed"), ("op%22en", "malformed")]
        {
            let refused = asked(scope, "").unwrap_err();
            assert_eq!(refused.wire().error, "invalid_scope", "{scope} {reason}");
        }
        assert_eq!(
            asked("openid phone", "").unwrap_err(),
            Reason::ScopeNotAllowed { scope: "phone".into(), allowed: scene::web().allowed_scopes(scene::catalogue().resources()) }
        );
    }

    #[test]
    fn a_scope_belongs_to_a_resource_that_is_asked_for() {
        let orders = "&resource=https://orders.example";
        assert_eq!(asked("openid orders:read", orders).unwrap(), ["openid", "orders:read"]);
        assert!(matches!(asked("openid mail:send", orders), Err(Reason::ScopeNotAllowed { .. })));
        assert!(asked("openid mail:send", &format!("{orders}&resource=https://mail.example")).is_ok());
    }

    #[test]
    fn without_scope_the_registered_ones_at_resources_are_meant() {
        assert_eq!(asked("", "").unwrap(), ["orders:read", "mail:send"]);
        assert_eq!(asked("", "&resource=https://mail.example").unwrap(), ["mail:send"]);
    }

    #[test]
    fn offline_access_means_nothing_to_a_client_without_refresh_tokens() {
        assert_eq!(asked("openid offline_access", "").unwrap(), ["openid", "offline_access"]);
        let mut client = scene::web();
        client.metadata.grant_types = vec![GrantType::AuthorizationCode];
        assert_eq!(scene::request(&client, "openid offline_access", "").scopes, ["openid"]);
    }
}
