//! How the answer travels to the client: one builder for success and error, in each response mode (RFC 6749 §4.1.2, §4.1.2.1,
//! Form Post Response Mode, RFC 9207).

use std::fmt;

use super::{ProvedRedirect, ResponseMode, ValidatedAuthorize};
use crate::oauth::redirect_uri;
use crate::oauth::refusal::Reason;

/// The answer, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A 303 to this URI.
    Redirect(String),
    /// A page whose form posts itself.
    FormPost { action: String, fields: Vec<(String, String)> },
}

/// The code for the client.
pub fn success(request: &ValidatedAuthorize, issuer: &str, code: &str) -> Delivery {
    deliver(&request.redirect(), issuer, &[("code", code)])
}

/// The error for the client: error, error_description, state, iss and nothing else.
pub fn failure(redirect: &ProvedRedirect, issuer: &str, reason: &Reason) -> Delivery {
    let wire = reason.wire();
    deliver(redirect, issuer, &[("error", error_code(wire.error)), ("error_description", &wire.description)])
}

/// Errors that have no meaning in an authorization response (RFC 6749 §4.1.2.1) become the nearest that has.
fn error_code(error: &'static str) -> &'static str {
    match error {
        "invalid_client" => "unauthorized_client",
        "invalid_grant" | "invalid_token" | "insufficient_scope" => "access_denied",
        other => other,
    }
}

fn deliver(redirect: &ProvedRedirect, issuer: &str, answer: &[(&str, &str)]) -> Delivery {
    let mut parameters = answer.to_vec();
    if let Some(state) = &redirect.state {
        parameters.push(("state", state));
    }
    // RFC 9207 §2: in every authorization response, errors included.
    parameters.push(("iss", issuer));
    match redirect.response_mode {
        ResponseMode::Query => Delivery::Redirect(redirect_uri::with_query(&redirect.redirect_uri, &parameters)),
        ResponseMode::FormPost => Delivery::FormPost {
            action: redirect.redirect_uri.clone(),
            fields: parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        },
    }
}

/// Without the code and the state.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, target) = match self {
            Self::Redirect(target) => ("Redirect", target),
            Self::FormPost { action, .. } => ("FormPost", action),
        };
        f.debug_tuple(kind).field(&target.split('?').next().unwrap_or_default()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::super::scene::{self, ISSUER};
    use super::*;

    fn redirected(delivery: Delivery) -> String {
        match delivery {
            Delivery::Redirect(target) => target,
            Delivery::FormPost { .. } => panic!("a form"),
        }
    }

    #[test]
    fn a_code_comes_with_state_and_issuer() {
        let request = scene::request(&scene::web(), "openid", "&state=a%20b%26c%3D-._~");
        assert_eq!(
            redirected(success(&request, ISSUER, "the-code")),
            "https://client.example/cb?code=the-code&state=a%20b%26c%3D-._~&iss=https%3A%2F%2Fid.example"
        );
    }

    #[test]
    fn state_is_never_made_up() {
        let request = scene::request(&scene::web(), "openid", "&state=");
        assert!(!redirected(success(&request, ISSUER, "c")).contains("state"));
    }

    #[test]
    fn a_query_that_is_registered_stays() {
        let mut request = scene::request(&scene::web(), "openid", "");
        request.redirect_uri = "https://client.example/cb?tenant=%2F1".to_owned();
        assert!(redirected(success(&request, ISSUER, "c")).starts_with("https://client.example/cb?tenant=%2F1&code=c&"));
    }

    #[test]
    fn an_error_carries_what_it_may_and_nothing_else() {
        let request = scene::request(&scene::web(), "openid", "&state=s");
        let target = redirected(failure(&request.redirect(), ISSUER, &Reason::AccessDenied));
        let pairs: Vec<(String, String)> = Url::parse(&target).unwrap().query_pairs().into_owned().collect();
        let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["error", "error_description", "state", "iss"]);
        assert_eq!(pairs[0].1, "access_denied");
    }

    /// R-17, R-18: the same builder for both answers and both modes.
    #[test]
    fn form_post_carries_the_same_and_nothing_in_the_url() {
        let request = scene::request(&scene::web(), "openid", "&state=%22%3E&response_mode=form_post");
        let Delivery::FormPost { action, fields } = success(&request, ISSUER, "c") else { panic!("a redirect") };
        assert_eq!(action, "https://client.example/cb");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields, [pair("code", "c"), pair("state", "\">"), pair("iss", ISSUER)]);
        let Delivery::FormPost { fields, .. } = failure(&request.redirect(), ISSUER, &Reason::AccessDenied) else {
            panic!("a redirect")
        };
        assert_eq!(
            fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["error", "error_description", "state", "iss"]
        );
    }

    #[test]
    fn errors_of_other_endpoints_are_translated() {
        let redirect = scene::request(&scene::web(), "openid", "").redirect();
        let told = |reason: Reason| redirected(failure(&redirect, ISSUER, &reason));
        assert!(told(Reason::ClientDisabled { client_id: "web".into() }).contains("error=unauthorized_client&"));
        assert!(told(Reason::UserDisabled { sub: "x".into() }).contains("error=access_denied&"));
    }

    #[test]
    fn debug_does_not_show_the_code() {
        let request = scene::request(&scene::web(), "openid", "");
        assert_eq!(format!("{:?}", success(&request, ISSUER, "the-code")), r#"Redirect("https://client.example/cb")"#);
    }

    proptest! {
        #[test]
        fn state_comes_back_byte_for_byte(state in "[^\\p{C}]{1,300}") {
            let mut request = scene::request(&scene::web(), "openid", "");
            request.state = Some(state.clone());
            for delivery in [success(&request, ISSUER, "c"), failure(&request.redirect(), ISSUER, &Reason::AccessDenied)] {
                let target = Url::parse(&redirected(delivery)).unwrap();
                let back = target.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
                prop_assert_eq!(back.as_deref(), Some(state.as_str()));
                prop_assert_eq!(target.host_str(), Some("client.example"));
            }
        }
    }
}
