//! max_age is a whole number of seconds; without it the client's default_max_age counts (OpenID Connect Core §3.1.2.1,
//! Registration §2).

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    out.max_age = match request.params.get("max_age") {
        None => request.client.metadata.default_max_age,
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 15 => text.parse().ok(),
        Some(text) => {
            return Err(Reason::MalformedParameter {
                name: "max_age".to_owned(),
                received: text.chars().take(100).collect(),
                detail: "it must be a number of seconds, 0 or more".to_owned(),
            });
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene;
    use super::*;

    #[test]
    fn the_request_counts_before_the_default() {
        let mut client = scene::web();
        client.metadata.default_max_age = Some(3600);
        assert_eq!(scene::request(&client, "openid", "").max_age, Some(3600));
        assert_eq!(scene::request(&client, "openid", "&max_age=0").max_age, Some(0));
        assert_eq!(scene::request(&scene::web(), "openid", "").max_age, None);
    }

    #[test]
    fn anything_but_a_number_is_refused() {
        for bad in ["-1", "1.5", "1e3", "%2B1", "x", "99999999999999999999", "%D9%A1"] {
            let refused = scene::try_request(&scene::web(), "openid", &format!("&max_age={bad}")).unwrap_err();
            assert!(matches!(refused, Reason::MalformedParameter { .. }), "{bad}");
        }
    }
}
