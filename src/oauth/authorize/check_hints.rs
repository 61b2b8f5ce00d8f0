//! Hints that help and never hurt: login_hint, id_token_hint, ui_locales, acr_values, display, claims (OpenID Connect Core
//! §3.1.2.1). What is not understood is ignored. Whether an id_token_hint is ours is decided where the keys are.

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let hint = |name| request.params.get(name).map(str::to_owned);
    out.login_hint = hint("login_hint");
    out.id_token_hint = hint("id_token_hint");
    out.ui_locales = hint("ui_locales");
    out.claims = hint("claims");
    out.display = hint("display").filter(|display| matches!(display.as_str(), "page" | "popup" | "touch" | "wap"));
    out.acr_values = hint("acr_values").unwrap_or_default().split(' ').filter(|acr| !acr.is_empty()).map(str::to_owned).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene;

    #[test]
    fn hints_are_kept_and_nonsense_is_not() {
        let request =
            scene::request(&scene::web(), "openid", "&login_hint=alice&acr_values=urn:a+urn:b&display=popup&ui_locales=de+en");
        assert_eq!(request.login_hint.as_deref(), Some("alice"));
        assert_eq!(request.acr_values, ["urn:a", "urn:b"]);
        assert_eq!(request.display.as_deref(), Some("popup"));
        assert_eq!(scene::request(&scene::web(), "openid", "&display=x").display, None);
    }
}
