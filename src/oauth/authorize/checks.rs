//! THE TABLE: which checks an authorization request passes, in which order. One row per check, one file per check.
//!
//! Another endpoint that takes authorization requests is a column here: of a device's request (RFC 8628 §3.1) the rows about what it asks
//! for are checked, and none about redirects and browsers.

use super::ValidatedAuthorize;
use super::{
    check_claims, check_credentials, check_grant_type, check_hints, check_max_age, check_pkce, check_prompt, check_request_object,
    check_resource, check_response_mode, check_response_type, check_scope,
};
use crate::oauth::client::Client;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oauth::resource::Catalogue;

/// What a check may look at.
pub struct Request<'a> {
    pub params: &'a Params,
    pub client: &'a Client,
    /// They were inside a request object that the client has signed.
    pub signed: bool,
    pub catalogue: &'a Catalogue,
    /// The scopes that the client may ask for.
    pub allowed: Vec<String>,
}

/// One check. It fills in what it has read.
pub struct Row {
    /// The file's name.
    pub name: &'static str,
    /// Where its rule stands.
    pub spec: &'static str,
    /// The device authorization endpoint checks it too.
    pub device: bool,
    pub(super) check: fn(&Request<'_>, &mut ValidatedAuthorize) -> Result<(), Reason>,
}

/// The checks of /authorize, after client and redirect URI are proved. Their errors are redirects.
pub const TABLE: [Row; 12] = [
    Row { name: "check_credentials", spec: "RFC 6749 §2.3.1", device: false, check: check_credentials::check },
    Row { name: "check_request_object", spec: "OpenID Connect Core §3.1.2.6", device: false, check: check_request_object::check },
    Row { name: "check_response_type", spec: "RFC 6749 §3.1.1", device: false, check: check_response_type::check },
    Row { name: "check_grant_type", spec: "RFC 6749 §4.1.2.1", device: false, check: check_grant_type::check },
    Row {
        name: "check_response_mode",
        spec: "OAuth 2.0 Multiple Response Types §2.1",
        device: false,
        check: check_response_mode::check,
    },
    Row { name: "check_pkce", spec: "RFC 7636 §4.4.1", device: false, check: check_pkce::check },
    Row { name: "check_resource", spec: "RFC 8707 §2", device: true, check: check_resource::check },
    Row { name: "check_scope", spec: "RFC 6749 §3.3", device: true, check: check_scope::check },
    Row { name: "check_prompt", spec: "OpenID Connect Core §3.1.2.1", device: false, check: check_prompt::check },
    Row { name: "check_max_age", spec: "OpenID Connect Core §3.1.2.1", device: false, check: check_max_age::check },
    Row { name: "check_hints", spec: "OpenID Connect Core §3.1.2.1", device: false, check: check_hints::check },
    Row { name: "check_claims", spec: "OpenID Connect Core §5.5", device: false, check: check_claims::check },
];

/// The scopes and the resources that a device asks for (RFC 8628 §3.1, RFC 8707 §2), by the rows of its column.
///
/// # Errors
/// The first refusal.
pub fn device(params: &Params, client: &Client, catalogue: &Catalogue) -> Result<(Vec<String>, Vec<String>), Reason> {
    let request = Request { params, client, signed: false, catalogue, allowed: client.allowed_scopes(catalogue.resources()) };
    let mut out = ValidatedAuthorize::blank();
    for row in TABLE.iter().filter(|row| row.device) {
        (row.check)(&request, &mut out)?;
    }
    Ok((out.scopes, out.resources))
}

#[cfg(test)]
mod tests {
    use super::super::scene;
    use super::*;

    #[test]
    fn every_check_file_is_a_row() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/oauth/authorize");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".rs").map(str::to_owned))
            .filter(|name| name.starts_with("check_"))
            .collect();
        files.sort();
        let mut rows: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        rows.sort_unstable();
        assert_eq!(files, rows);
    }

    /// What each row refuses, seen from outside: the error code that the client gets.
    #[test]
    fn each_row_has_its_error() {
        for (more, error) in [
            ("client_secret=x", "invalid_request"),
            ("request=e30.e30.", "request_not_supported"),
            ("request_uri=https://client.example/r", "request_uri_not_supported"),
            ("registration=%7B%7D", "registration_not_supported"),
            ("response_mode=fragment", "invalid_request"),
            ("response_mode=query.jwt", "invalid_request"),
            ("resource=nonsense", "invalid_target"),
            ("resource=https://evil.test", "invalid_target"),
            ("prompt=none+login", "invalid_request"),
            ("prompt=create", "invalid_request"),
            ("max_age=-1", "invalid_request"),
            ("claims=not-json", "invalid_request"),
        ] {
            let refused = scene::try_request(&scene::web(), "openid", &format!("&{more}")).unwrap_err();
            assert_eq!(refused.wire().error, error, "{more}");
        }
    }

    #[test]
    fn what_is_unknown_is_ignored() {
        let more = "&display=hologram&ui_locales=xx-YY&claims_locales=de&login_hint=nobody&acr_values=urn:x&foo=bar&claims=%7B%22x%22:1%7D&id_token_hint=x";
        assert!(scene::try_request(&scene::web(), "openid", more).is_ok());
    }

    #[test]
    fn the_order_of_parameters_and_scopes_has_no_meaning() {
        let there = scene::request(&scene::web(), "openid orders:read", "&state=1&nonce=2");
        let back = scene::request(&scene::web(), "orders:read openid", "&nonce=2&state=1");
        let sorted = |mut request: ValidatedAuthorize| {
            request.scopes.sort();
            request
        };
        assert_eq!(sorted(there), sorted(back));
    }
}
