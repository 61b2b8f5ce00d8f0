//! Asking for less: `scope` and `resource` of a token request against what was granted (RFC 6749 §6, RFC 8707 §2.2). They narrow that
//! one access token; the grant and the family keep what they have.

use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oauth::scope;

/// The `scope` parameter; `None` if it was not sent.
///
/// # Errors
/// `ScopeMalformed`.
pub fn requested_scope(params: &Params) -> Result<Option<Vec<String>>, Reason> {
    params.get("scope").map(scope::parse).transpose()
}

/// The `resource` parameters.
pub fn requested_resources(params: &Params) -> Vec<String> {
    params.all("resource").into_iter().map(str::to_owned).collect()
}

/// RFC 6749 §6: the requested scope must not include any scope not originally granted; if omitted, it is all of them.
///
/// # Errors
/// `ScopeNotAllowed` with the first scope outside.
pub fn scopes(requested: Option<&[String]>, granted: &[String]) -> Result<Vec<String>, Reason> {
    let Some(requested) = requested.filter(|requested| !requested.is_empty()) else {
        return Ok(granted.to_vec());
    };
    match scope::first_outside(requested, granted) {
        Some(outside) => Err(Reason::ScopeNotAllowed { scope: outside.clone(), allowed: granted.to_vec() }),
        None => Ok(requested.to_vec()),
    }
}

/// RFC 8707 §2.2: a subset of the resources of the grant. A grant without any leaves the choice among the resources of its scopes,
/// which is checked where the audience is made.
///
/// # Errors
/// `ResourceNotAllowed` with the first resource outside.
pub fn resources(requested: &[String], granted: &[String]) -> Result<Vec<String>, Reason> {
    if requested.is_empty() {
        return Ok(granted.to_vec());
    }
    match requested.iter().find(|resource| !granted.is_empty() && !granted.contains(resource)) {
        Some(outside) => Err(Reason::ResourceNotAllowed { resource: outside.clone(), allowed: granted.to_vec() }),
        None => Ok(requested.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn no_scope_means_all_that_was_granted() {
        assert_eq!(scopes(None, &list("openid orders:read")).unwrap(), list("openid orders:read"));
        assert_eq!(scopes(Some(&[]), &list("openid")).unwrap(), list("openid"));
    }

    #[test]
    fn a_scope_that_was_not_granted_is_refused() {
        assert_eq!(scopes(Some(&list("orders:read")), &list("openid orders:read")).unwrap(), list("orders:read"));
        let refused = scopes(Some(&list("openid orders:write")), &list("openid")).unwrap_err();
        assert_eq!(refused, Reason::ScopeNotAllowed { scope: "orders:write".to_owned(), allowed: list("openid") });
    }

    #[test]
    fn a_resource_outside_of_the_grant_is_refused() {
        let granted = list("https://a.test https://b.test");
        assert_eq!(resources(&[], &granted).unwrap(), granted);
        assert_eq!(resources(&list("https://b.test"), &granted).unwrap(), list("https://b.test"));
        assert!(matches!(
            resources(&list("https://b.test https://c.test"), &granted),
            Err(Reason::ResourceNotAllowed { resource, .. }) if resource == "https://c.test"
        ));
    }

    #[test]
    fn a_grant_without_resources_leaves_the_choice_to_its_scopes() {
        assert_eq!(resources(&list("https://a.test"), &[]).unwrap(), list("https://a.test"));
    }
}
