//! response_type is code (RFC 6749 §3.1.1). Implicit and hybrid are not offered (RFC 9700 §2.1.2), and the refusal says what is.

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, _out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    match request.params.require("response_type")? {
        "code" => Ok(()),
        other => Err(Reason::UnsupportedResponseType { received: other.chars().take(100).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene;
    use crate::oauth::params::Params;

    #[test]
    fn only_code_is_answered() {
        for (sent, error) in [
            ("token", "unsupported_response_type"),
            ("id_token", "unsupported_response_type"),
            ("id_token%20token", "unsupported_response_type"),
            ("code%20id_token", "unsupported_response_type"),
            ("code%20token", "unsupported_response_type"),
            ("none", "unsupported_response_type"),
            ("CODE", "unsupported_response_type"),
            ("code%20code", "unsupported_response_type"),
            ("", "invalid_request"),
        ] {
            let query = scene::query("web", "openid", "").replace("response_type=code", &format!("response_type={sent}"));
            let refused = scene::check_params(&Params::parse_query(&query).unwrap(), &scene::web()).unwrap_err();
            assert_eq!(refused.wire().error, error, "{sent}");
            if error == "unsupported_response_type" {
                assert!(refused.wire().description.contains("response_type=code"), "it says what to use instead");
            }
        }
    }
}
