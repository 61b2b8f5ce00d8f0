//! The client credentials grant at the token endpoint (RFC 6749 §4.4): a client acts for itself. No user, no refresh token (§4.4.3).

use super::issuance::{Draft, Issuance, Limits, RefreshPlan};
use super::narrow;
use crate::clock::Timestamp;
use crate::oauth::client::{AuthMethod, GrantType};
use crate::oauth::client_auth::AuthenticatedClient;
use crate::oauth::params::Params;
use crate::oauth::refusal::{Reason, Refusal};
use crate::oauth::resource::Catalogue;
use crate::oauth::scope;

/// RFC 6749 §4.4.2, RFC 8707 §2.2.
#[derive(Debug, Clone)]
pub struct Request {
    /// `None`: all scopes that the client is registered for at resources.
    pub scope: Option<Vec<String>>,
    pub resources: Vec<String>,
}

impl Request {
    /// # Errors
    /// `ScopeMalformed`.
    pub fn parse(params: &Params) -> Result<Self, Reason> {
        Ok(Self { scope: narrow::requested_scope(params)?, resources: narrow::requested_resources(params) })
    }
}

/// Decides with no more than the client and the known resources: no database behind it when the caches are warm (design 3).
///
/// # Errors
/// `UnauthorizedGrantType`, `ResourceMalformed`, `ResourceNotAllowed`, `ResourcesDisagree`, `ScopeUnknown`, `ScopeNotAllowed`.
pub fn decide(
    request: &Request,
    client: &AuthenticatedClient,
    catalogue: &Catalogue,
    limits: &Limits,
    now: Timestamp,
) -> Result<Issuance, Refusal> {
    // RFC 6749 §5.2: the client must be authorized to use this grant.
    super::allowed(client, GrantType::ClientCredentials)?;
    // RFC 6749 §4.4: must only be used by confidential clients.
    match client.method() {
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost | AuthMethod::PrivateKeyJwt => {}
        AuthMethod::None => {
            let client_id = Some(client.client_id.clone());
            return Err(Reason::ClientAuthenticationMissing { client_id, registered: AuthMethod::None.as_str().to_owned() }.into());
        }
    }
    let own = own_scopes(client, catalogue);
    // RFC 8707 §2: resources that exist, and at which the client has something to ask for.
    let resources = narrow::resources(&request.resources, &[], &own, catalogue)?;
    let scopes = match request.scope.as_deref().filter(|scope| !scope.is_empty()) {
        Some(asked) => {
            asked.iter().try_for_each(|scope| may_ask(scope, &own, catalogue))?;
            asked.to_vec()
        }
        // contract.md: without `scope`, what the client is registered for at resources; here at those that it names.
        None if resources.is_empty() => own,
        None => {
            let named = || resources.iter().filter_map(|resource| catalogue.find(resource));
            own.into_iter().filter(|scope| named().any(|resource| resource.defines(scope))).collect()
        }
    };
    // RFC 6749 §4.4.3: a refresh token should not be included.
    let draft = Draft { standing: None, scopes, resources, refresh: RefreshPlan::None, nonce: None };
    Ok(draft.settle(client, catalogue, limits, now)?)
}

/// The scopes that the client is registered for at resources. OpenID's own say something about a user, and there is none here.
fn own_scopes(client: &AuthenticatedClient, catalogue: &Catalogue) -> Vec<String> {
    let mut own = client.allowed_scopes(catalogue.resources());
    own.retain(|scope| !scope::is_openid_connect(scope));
    own
}

fn may_ask(asked: &str, own: &[String], catalogue: &Catalogue) -> Result<(), Reason> {
    if own.iter().any(|scope| scope == asked) {
        Ok(())
    } else if catalogue.knows(asked) {
        Err(Reason::ScopeNotAllowed { scope: asked.to_owned(), allowed: own.to_vec() })
    } else {
        Err(Reason::ScopeUnknown { scope: asked.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::Client;
    use crate::oauth::grant::samples::{self, at};

    fn service(scope: Option<&str>) -> Client {
        let mut client = samples::client("service");
        client.metadata.grant_types = vec![GrantType::ClientCredentials];
        client.metadata.scope = scope.map(str::to_owned);
        client
    }

    fn decide_for(body: &str, client: Client) -> Result<Issuance, Refusal> {
        let request = Request::parse(&Params::parse_form(body.as_bytes()).unwrap()).unwrap();
        decide(&request, &samples::authenticated(client), &samples::catalogue(), &samples::LIMITS, at(0))
    }

    fn issued(body: &str, scope: Option<&str>) -> (String, String) {
        let issuance = decide_for(body, service(scope)).unwrap();
        assert_eq!((&issuance.refresh, issuance.id_token, &issuance.standing), (&RefreshPlan::None, false, &None));
        assert_eq!(issuance.sub(), "service");
        (issuance.audience.scopes.join(" "), issuance.audience.aud.join(" "))
    }

    fn refused(body: &str, scope: Option<&str>) -> Reason {
        decide_for(body, service(scope)).unwrap_err().reason
    }

    fn pair(scopes: &str, aud: &str) -> (String, String) {
        (scopes.to_owned(), aud.to_owned())
    }

    #[test]
    fn without_scope_a_client_gets_what_it_is_registered_for_at_resources() {
        let both = pair("orders:read mail:send", "https://orders.test https://mail.test");
        assert_eq!(issued("", Some("openid orders:read mail:send")), both);
        assert_eq!(issued("resource=https://mail.test", Some("orders:read mail:send")), pair("mail:send", "https://mail.test"));
    }

    #[test]
    fn a_client_without_any_scope_gets_a_token_for_the_issuer_alone() {
        assert_eq!(issued("", None), pair("", "https://id.test"));
        assert_eq!(issued("", Some("openid email")), pair("", "https://id.test"));
    }

    #[test]
    fn a_client_may_ask_for_less_but_not_for_more() {
        assert_eq!(issued("scope=orders:read", Some("orders:read mail:send")), pair("orders:read", "https://orders.test"));
        assert_eq!(issued("scope=admin:read", Some("admin:write")), pair("admin:read", "https://id.test/admin/api"));
        assert!(matches!(refused("scope=orders:write", Some("orders:read")), Reason::ScopeNotAllowed { .. }));
        assert!(matches!(refused("scope=admin:write", Some("admin:read")), Reason::ScopeNotAllowed { .. }));
        assert!(matches!(refused("scope=orders:none", Some("orders:read")), Reason::ScopeUnknown { .. }));
    }

    #[test]
    fn scopes_about_a_user_are_refused_where_there_is_no_user() {
        for scope in ["openid", "profile", "offline_access"] {
            let body = format!("scope={scope}");
            assert!(matches!(refused(&body, Some("openid profile offline_access")), Reason::ScopeNotAllowed { .. }), "{scope}");
        }
    }

    #[test]
    fn a_resource_at_which_the_client_has_no_scope_is_refused() {
        for resource in ["https://mail.test", "https://unknown.test", "https://orders.test/", "https://id.test/admin/api"] {
            let body = format!("resource={resource}");
            assert!(matches!(refused(&body, Some("orders:read")), Reason::ResourceNotAllowed { .. }), "{resource}");
        }
    }

    #[test]
    fn a_public_client_or_one_without_the_grant_is_refused() {
        let mut public = service(Some("orders:read"));
        public.metadata.token_endpoint_auth_method = AuthMethod::None;
        assert!(matches!(decide_for("", public).unwrap_err().reason, Reason::ClientAuthenticationMissing { .. }));
        let mut other = service(Some("orders:read"));
        other.metadata.grant_types = vec![GrantType::AuthorizationCode];
        assert!(matches!(decide_for("", other).unwrap_err().reason, Reason::UnauthorizedGrantType { .. }));
    }
}
