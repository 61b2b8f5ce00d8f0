//! response_mode is query or form_post; a code in a fragment is nobody's need (OAuth 2.0 Multiple Response Types §2.1). A form cannot be
//! posted to an app's own scheme.

use super::checks::Request;
use super::{ResponseMode, ValidatedAuthorize};
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let Some(asked) = request.params.get("response_mode") else { return Ok(()) };
    let reaches = |mode: &ResponseMode| mode.reaches(&out.redirect_uri);
    match ResponseMode::ALL.into_iter().find(|mode| mode.as_str() == asked).filter(reaches) {
        Some(mode) => {
            out.response_mode = mode;
            Ok(())
        }
        None => Err(Reason::UnsupportedResponseMode { received: asked.chars().take(100).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{check, prove, scene};
    use super::*;
    use crate::oauth::params::Params;

    #[test]
    fn a_form_is_not_posted_to_an_apps_own_scheme() {
        let mut app = scene::native();
        app.metadata.redirect_uris = vec!["com.example.app:/cb".to_owned()];
        let query = scene::query("native", "openid", "&response_mode=form_post")
            .replace("http://127.0.0.1:51004/cb", "com.example.app:/cb");
        let params = Params::parse_query(&query).unwrap();
        let redirect = prove(&params, Some(&app)).unwrap();
        assert_eq!(redirect.response_mode, ResponseMode::Query, "the refusal, too, has to arrive");
        let refused = check(&params, &app, &redirect, &scene::catalogue()).unwrap_err();
        assert!(matches!(refused, Reason::UnsupportedResponseMode { .. }));
        assert!(scene::try_request(&scene::native(), "openid", "&response_mode=form_post").is_ok(), "loopback takes forms");
    }
}
