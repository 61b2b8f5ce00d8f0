//! Hints that help and never hurt: login_hint, id_token_hint, ui_locales, acr_values, display (OpenID Connect Core §3.1.2.1).
//! claims_locales is one of them: claims are in the language in which somebody wrote them, so there is nothing to keep. What is not understood is ignored. Whether an id_token_hint is ours is decided where the keys are.

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let hint = |name| request.params.get(name).map(str::to_owned);
    out.login_hint = hint("login_hint");
    out.id_token_hint = hint("id_token_hint");
    out.ui_locales = hint("ui_locales");
    out.display = hint("display").filter(|display| matches!(display.as_str(), "page" | "popup" | "touch" | "wap"));
    // Registration §2: default_acr_values count where the request says nothing.
    out.acr_values = match hint("acr_values") {
        Some(values) => values.split(' ').filter(|acr| !acr.is_empty()).map(str::to_owned).collect(),
        None => request.client.metadata.default_acr_values.clone(),
    };
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
        let mut client = scene::web();
        client.metadata.default_acr_values = vec!["urn:c".to_owned()];
        assert_eq!(scene::request(&client, "openid", "").acr_values, ["urn:c"]);
        assert_eq!(scene::request(&client, "openid", "&acr_values=urn:a").acr_values, ["urn:a"]);
    }
}
