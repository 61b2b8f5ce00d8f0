//! The client credentials grant at the token endpoint (RFC 6749 §4.4): a client acts for itself. No user, no refresh token (§4.4.3).

use super::issuance::{Issuance, RefreshPlan};
use super::narrow;
use crate::oauth::client::{AuthMethod, Client, GrantType};
use crate::oauth::params::Params;
use crate::oauth::refusal::{Reason, Refusal};
use crate::oauth::resource::Resource;
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
/// `UnauthorizedGrantType`, `ResourceNotAllowed`, `ScopeUnknown`, `ScopeNotAllowed`.
pub fn decide(request: &Request, client: &Client, resources: &[Resource]) -> Result<Issuance, Refusal> {
    // RFC 6749 §5.2: the client must be authorized to use this grant.
    super::allowed(client, GrantType::ClientCredentials)?;
    // RFC 6749 §4.4: must only be used by confidential clients.
    match client.metadata.token_endpoint_auth_method {
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => {}
        AuthMethod::None => {
            return Err(Reason::UnauthorizedGrantType {
                client_id: client.client_id.clone(),
                grant_type: super::name(GrantType::ClientCredentials).to_owned(),
                registered: vec!["client_credentials needs a client that authenticates".to_owned()],
            }
            .into());
        }
    }
    let own = own_scopes(client, resources);
    // RFC 8707 §2: a resource that exists, and at which the client has something to ask for.
    for asked in &request.resources {
        if !resources.iter().any(|known| known.identifier == *asked && own.iter().any(|scope| defines(known, scope))) {
            let allowed = resources.iter().filter(|known| own.iter().any(|scope| defines(known, scope)));
            let allowed = allowed.map(|known| known.identifier.clone()).collect();
            return Err(Reason::ResourceNotAllowed { resource: asked.clone(), allowed }.into());
        }
    }
    let scopes = match request.scope.as_deref().filter(|scope| !scope.is_empty()) {
        Some(asked) => {
            asked.iter().try_for_each(|scope| may_ask(scope, &own, resources))?;
            asked.to_vec()
        }
        // contract.md: without `scope`, what the client is registered for at resources; here at those that it names.
        None if request.resources.is_empty() => own,
        None => {
            let named = || resources.iter().filter(|known| request.resources.contains(&known.identifier));
            own.into_iter().filter(|scope| named().any(|resource| defines(resource, scope))).collect()
        }
    };
    Ok(Issuance {
        client_id: client.client_id.clone(),
        standing: None,
        scopes,
        resources: request.resources.clone(),
        // RFC 6749 §4.4.3: a refresh token should not be included.
        refresh: RefreshPlan::None,
        id_token: false,
        nonce: None,
    })
}

/// The scopes that the client is registered for at resources. OpenID's own say something about a user, and there is none here.
fn own_scopes(client: &Client, resources: &[Resource]) -> Vec<String> {
    let registered = client.metadata.scope.as_deref().unwrap_or_default().split(' ');
    registered.filter(|scope| resources.iter().any(|resource| defines(resource, scope))).map(str::to_owned).collect()
}

fn defines(resource: &Resource, scope: &str) -> bool {
    resource.scopes.iter().any(|defined| defined.name == scope)
}

fn may_ask(asked: &str, own: &[String], resources: &[Resource]) -> Result<(), Reason> {
    if own.iter().any(|scope| scope == asked) {
        Ok(())
    } else if scope::is_openid_connect(asked) || resources.iter().any(|resource| defines(resource, asked)) {
        Err(Reason::ScopeNotAllowed { scope: asked.to_owned(), allowed: own.to_vec() })
    } else {
        Err(Reason::ScopeUnknown { scope: asked.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::grant::samples;

    fn service(scope: Option<&str>) -> Client {
        let mut client = samples::client("service");
        client.metadata.grant_types = vec![GrantType::ClientCredentials];
        client.metadata.scope = scope.map(str::to_owned);
        client
    }

    fn request(body: &str) -> Request {
        Request::parse(&Params::parse_form(body.as_bytes()).unwrap()).unwrap()
    }

    fn resources() -> Vec<Resource> {
        vec![
            samples::resource("https://orders.test", &["orders:read", "orders:write"]),
            samples::resource("https://mail.test", &["mail:send"]),
        ]
    }

    fn issued(body: &str, scope: Option<&str>) -> String {
        let issuance = decide(&request(body), &service(scope), &resources()).unwrap();
        assert_eq!((issuance.refresh, issuance.id_token, issuance.standing), (RefreshPlan::None, false, None));
        issuance.scopes.join(" ")
    }

    fn refused(body: &str, scope: Option<&str>) -> Reason {
        decide(&request(body), &service(scope), &resources()).unwrap_err().reason
    }

    #[test]
    fn without_scope_a_client_gets_what_it_is_registered_for_at_resources() {
        assert_eq!(issued("", Some("openid orders:read mail:send")), "orders:read mail:send");
        assert_eq!(issued("resource=https://mail.test", Some("orders:read mail:send")), "mail:send");
        assert_eq!(issued("", None), "");
        assert_eq!(issued("", Some("openid email")), "");
    }

    #[test]
    fn a_client_may_ask_for_less_but_not_for_more() {
        assert_eq!(issued("scope=orders:read", Some("orders:read mail:send")), "orders:read");
        assert!(matches!(refused("scope=orders:write", Some("orders:read")), Reason::ScopeNotAllowed { .. }));
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
        for resource in ["https://mail.test", "https://unknown.test", "https://orders.test/"] {
            let body = format!("resource={resource}");
            assert!(matches!(refused(&body, Some("orders:read")), Reason::ResourceNotAllowed { .. }), "{resource}");
        }
    }

    #[test]
    fn a_public_client_or_one_without_the_grant_is_refused() {
        let mut public = service(Some("orders:read"));
        public.metadata.token_endpoint_auth_method = AuthMethod::None;
        let mut other = service(Some("orders:read"));
        other.metadata.grant_types = vec![GrantType::AuthorizationCode];
        for client in [public, other] {
            let refused = decide(&request(""), &client, &resources()).unwrap_err();
            assert!(matches!(refused.reason, Reason::UnauthorizedGrantType { .. }));
        }
    }
}
