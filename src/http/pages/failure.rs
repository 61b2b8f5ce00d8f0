//! What an error page shows of a refusal: its text in a language, and a received value made safe to look at. Which text a reason has, and
//! what may stand beside it, the table of reasons says.

use crate::oauth::refusal::PageText;
use crate::printable::is_deceptive;

use super::i18n::{Phrase, Texts};

/// The text in a language.
pub fn phrase(text: PageText, texts: &Texts) -> Phrase {
    match text {
        PageText::DuplicateParameter => texts.duplicate_parameter,
        PageText::MissingParameter => texts.missing_parameter,
        PageText::MalformedParameter => texts.malformed_parameter,
        PageText::TooLong => texts.too_long,
        PageText::AppRequest => texts.app_request,
        PageText::UnknownApp => texts.unknown_app,
        PageText::RedirectUriMissing => texts.redirect_uri_missing,
        PageText::RedirectUriMismatch => texts.redirect_uri_mismatch,
        PageText::InteractionUnknown => texts.interaction_unknown,
        PageText::InteractionExpired => texts.interaction_expired,
        PageText::ForeignForm => texts.foreign_form,
        PageText::Busy => texts.busy,
        PageText::Forbidden => texts.forbidden,
        PageText::LogoutRedirect => texts.logout_redirect,
        PageText::IdTokenHint => texts.id_token_hint,
        PageText::NotFound => texts.not_found,
        PageText::MethodNotAllowed => texts.method_not_allowed,
        PageText::Unavailable => texts.unavailable,
        PageText::Internal => texts.internal,
    }
}

/// A received value made safe to look at: at most 300 characters, control and direction characters written out. Escaping for
/// HTML is the template's work.
pub fn tame(received: &str) -> String {
    let mut out = String::new();
    for letter in received.chars().take(300) {
        if is_deceptive(letter) { out.extend(letter.escape_unicode()) } else { out.push(letter) }
    }
    if received.chars().nth(300).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::pages::i18n::Lang;
    use crate::oauth::refusal::Reason;

    #[test]
    fn registered_values_never_reach_the_page() {
        let reason = Reason::RedirectUriMismatch {
            client_id: "c1".into(),
            registered: vec!["https://secret.example/cb".into()],
            received: "https://app.example/cb/".into(),
        };
        let face = reason.page();
        assert_eq!(face.parameter, Some("redirect_uri"));
        assert_eq!(face.received, Some("https://app.example/cb/"));
        assert_eq!(phrase(face.text, Lang::En.texts()).phrase, "The redirect_uri is not registered");
    }

    #[test]
    fn a_received_value_is_shortened_and_written_out() {
        assert_eq!(tame("a\u{202E}b\u{0}"), "a\\u{202e}b\\u{0}");
        assert_eq!(tame(&"x".repeat(400)).chars().count(), 301);
    }
}
