//! Asking for less: `scope` and `resource` of a token request against what was granted (RFC 6749 §6, RFC 8707 §2.2). They narrow that
//! one access token; the grant and the family keep what they have.

use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oauth::resource::Catalogue;
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

/// RFC 8707 §2.2: those asked for, which must be among the grant's where it names some, and where these scopes count; else the grant's.
///
/// # Errors
/// `ResourceMalformed`, `ResourceNotAllowed`.
pub fn resources(
    requested: &[String],
    granted: &[String],
    scopes: &[String],
    catalogue: &Catalogue,
) -> Result<Vec<String>, Reason> {
    let requested: Vec<&str> = requested.iter().map(String::as_str).collect();
    catalogue.narrow(&requested, granted, scopes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::grant::samples;

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
    fn a_resource_outside_of_the_grant_or_of_its_scopes_is_refused() {
        let ask = |requested: &str, granted: &str| {
            resources(&list(requested), &list(granted), &list("orders:read mail:send"), &samples::catalogue())
        };
        let both = "https://orders.test https://mail.test";
        assert_eq!(ask("", both).unwrap(), list(both));
        assert_eq!(ask("https://mail.test", both).unwrap(), list("https://mail.test"));
        assert_eq!(ask("https://mail.test", "").unwrap(), list("https://mail.test"));
        assert!(matches!(ask("https://mail.test", "https://orders.test"), Err(Reason::ResourceNotAllowed { .. })));
        assert!(matches!(ask("https://unknown.test", ""), Err(Reason::ResourceNotAllowed { .. })));
        assert!(matches!(ask("https://id.test/admin/api", ""), Err(Reason::ResourceNotAllowed { .. })));
        assert!(matches!(ask("orders", ""), Err(Reason::ResourceMalformed { .. })));
    }
}
