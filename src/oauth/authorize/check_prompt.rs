//! prompt is none alone, or some of login, consent, select_account (OpenID Connect Core §3.1.2.1).

use super::checks::Request;
use super::{Prompt, ValidatedAuthorize};
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let Some(text) = request.params.get("prompt") else { return Ok(()) };
    let invalid = || Reason::PromptInvalid { received: text.chars().take(100).collect() };
    for token in text.split(' ').filter(|token| !token.is_empty()) {
        let prompt = Prompt::ALL.into_iter().find(|prompt| prompt.as_str() == token).ok_or_else(invalid)?;
        if !out.prompts(prompt) {
            out.prompt.push(prompt);
        }
    }
    if out.prompts(Prompt::None) && out.prompt.len() > 1 {
        return Err(invalid());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene;
    use super::*;

    #[test]
    fn prompts_are_read_once_each() {
        let request = scene::request(&scene::web(), "openid", "&prompt=login+consent+login+");
        assert_eq!(request.prompt, [Prompt::Login, Prompt::Consent]);
    }

    #[test]
    fn none_stands_alone_and_unknown_ones_are_refused() {
        for bad in ["none+login", "consent+none", "Login", "login,consent", "create"] {
            let refused = scene::try_request(&scene::web(), "openid", &format!("&prompt={bad}")).unwrap_err();
            assert!(matches!(refused, Reason::PromptInvalid { .. }), "{bad}");
        }
        assert_eq!(scene::request(&scene::web(), "openid", "&prompt=none+none").prompt, [Prompt::None]);
    }
}
