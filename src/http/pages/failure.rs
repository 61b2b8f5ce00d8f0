//! What an error page shows of a refusal: the stable phrase, the parameter's name and the value received. Never a registered
//! value, whether a user exists, or another client's data (design 4.7); the whole story is under the trace id.

use crate::oauth::refusal::Reason;
use crate::printable::is_deceptive;

use super::i18n::{Phrase, Texts};

/// The public face of a refusal on a page.
pub struct Shown<'a> {
    /// Chooses the phrase in the texts of a language.
    pub phrase: fn(&Texts) -> Phrase,
    pub parameter: Option<&'a str>,
    /// As it was received, not yet tamed.
    pub received: Option<&'a str>,
}

/// What a page shows of this reason. Reasons that belong to endpoints for programs have the general phrase.
pub fn shown(reason: &Reason) -> Shown<'_> {
    match reason {
        Reason::DuplicateParameter { name } => at(|t| t.duplicate_parameter, name),
        Reason::MissingParameter { name } => at(|t| t.missing_parameter, name),
        Reason::MalformedParameter { name, received, .. } => with(|t| t.malformed_parameter, name, received),
        Reason::ParameterTooLong { name, .. } => at(|t| t.too_long, name),
        Reason::BodyTooLarge { .. } => plain(|t| t.too_long),
        Reason::CredentialsInQuery { name } => at(|t| t.app_request, name),
        Reason::UnknownClient { client_id } | Reason::ClientDisabled { client_id } => {
            with(|t| t.unknown_app, "client_id", client_id)
        }
        Reason::ClientMayNotAuthorize { client_id } => with(|t| t.app_request, "client_id", client_id),
        Reason::RedirectUriMissing { .. } => at(|t| t.redirect_uri_missing, "redirect_uri"),
        Reason::RedirectUriMismatch { received, .. } => with(|t| t.redirect_uri_mismatch, "redirect_uri", received),
        Reason::UnsupportedResponseType { received } => with(|t| t.app_request, "response_type", received),
        Reason::UnsupportedResponseMode { received } => with(|t| t.app_request, "response_mode", received),
        Reason::PkceMissing { .. } => at(|t| t.missing_parameter, "code_challenge"),
        Reason::PkceMethodUnsupported { received } => {
            Shown { phrase: |t| t.app_request, parameter: Some("code_challenge_method"), received: received.as_deref() }
        }
        Reason::PkceChallengeMalformed { received } => with(|t| t.malformed_parameter, "code_challenge", received),
        Reason::ScopeUnknown { scope } | Reason::ScopeNotAllowed { scope, .. } => with(|t| t.app_request, "scope", scope),
        Reason::ScopeMalformed { received } => with(|t| t.malformed_parameter, "scope", received),
        Reason::ResourceMalformed { received } => with(|t| t.malformed_parameter, "resource", received),
        Reason::ResourcesDisagree { .. } => at(|t| t.app_request, "resource"),
        Reason::ResourceNotAllowed { resource, .. } => with(|t| t.app_request, "resource", resource),
        Reason::PromptInvalid { received } => with(|t| t.malformed_parameter, "prompt", received),
        Reason::RequestObjectUnsupported
        | Reason::RequestObjectInvalid { .. }
        | Reason::RequestObjectUnverified { .. }
        | Reason::RequestObjectMissing { .. } => at(|t| t.app_request, "request"),
        Reason::RequestUriUnsupported => at(|t| t.app_request, "request_uri"),
        Reason::RegistrationParameterUnsupported => at(|t| t.app_request, "registration"),
        Reason::IdTokenHintInvalid { .. } => at(|t| t.malformed_parameter, "id_token_hint"),

        Reason::InteractionUnknown => plain(|t| t.interaction_unknown),
        Reason::InteractionExpired { .. } => plain(|t| t.interaction_expired),
        Reason::CsrfMismatch | Reason::CrossSiteForm { .. } => plain(|t| t.foreign_form),
        Reason::SignInThrottled { .. }
        | Reason::UserCodeThrottled { .. }
        | Reason::Overloaded { .. }
        | Reason::TooManyOpenRequests { .. } => plain(|t| t.busy),
        Reason::AdminForbidden { .. } => plain(|t| t.forbidden),
        // No page leads to the admin API.
        Reason::AdminNotFound { .. }
        | Reason::WrongMediaType { .. }
        | Reason::DocumentRefused { .. }
        | Reason::AdminConflict { .. }
        | Reason::PreconditionFailed { .. } => plain(|t| t.app_request),

        Reason::PostLogoutRedirectUriMismatch { received, .. } => with(|t| t.logout_redirect, "post_logout_redirect_uri", received),
        Reason::PostLogoutRedirectUriWithoutHint => at(|t| t.logout_redirect, "post_logout_redirect_uri"),

        Reason::StorageUnavailable { .. } => plain(|t| t.unavailable),
        Reason::Internal { .. } => plain(|t| t.internal),
        Reason::NotFound { .. } => plain(|t| t.not_found),
        Reason::MethodNotAllowed { .. } => plain(|t| t.method_not_allowed),

        Reason::WrongContentType { .. }
        | Reason::TooManyUnknownTokens { .. }
        | Reason::LogoutUndelivered { .. }
        | Reason::TooManyRegistrations { .. }
        | Reason::ClientMetadataRefused { .. }
        | Reason::SoftwareStatementUnsupported
        | Reason::InitialAccessTokenRefused { .. }
        | Reason::RegistrationAccessRefused { .. }
        | Reason::WrongIssuer { .. }
        | Reason::MalformedAuthorization { .. }
        | Reason::ClientAuthenticationMissing { .. }
        | Reason::SeveralClientAuthenticationMethods { .. }
        | Reason::WrongClientAuthenticationMethod { .. }
        | Reason::WrongClientSecret { .. }
        | Reason::ClientAssertionMalformed { .. }
        | Reason::ClientAssertionAlgorithm { .. }
        | Reason::ClientAssertionOfAnotherClient { .. }
        | Reason::ClientAssertionAudience { .. }
        | Reason::ClientAssertionTime { .. }
        | Reason::ClientAssertionReplayed { .. }
        | Reason::ClientSignatureWrong { .. }
        | Reason::ClientKeysUnavailable { .. }
        | Reason::ClientIdMismatch { .. }
        | Reason::LoginRequired { .. }
        | Reason::ConsentRequired { .. }
        | Reason::AcrUnmet { .. }
        | Reason::InteractionRequired { .. }
        | Reason::AccessDenied
        | Reason::SignInFailed { .. }
        | Reason::ClaimsTooLarge { .. }
        | Reason::EncryptionKeyMissing { .. }
        | Reason::FactorFailed { .. }
        | Reason::UnsupportedGrantType { .. }
        | Reason::UnauthorizedGrantType { .. }
        | Reason::CodeUnknown
        | Reason::CodeExpired { .. }
        | Reason::CodeReplayed { .. }
        | Reason::CodeRetried { .. }
        | Reason::CodeOfAnotherClient { .. }
        | Reason::CodeRedirectUriMismatch { .. }
        | Reason::VerifierMissing
        | Reason::VerifierMalformed { .. }
        | Reason::VerifierWrong { .. }
        | Reason::VerifierWithoutChallenge
        | Reason::RefreshTokenUnknown
        | Reason::RefreshTokenOfAnotherClient { .. }
        | Reason::RefreshFamilyEnded { .. }
        | Reason::RefreshFamilyIdle { .. }
        | Reason::RefreshFamilyExpired { .. }
        | Reason::RefreshTokenStolen { .. }
        | Reason::RefreshRecoveryOver { .. }
        | Reason::RefreshTokenAhead { .. }
        | Reason::AuthorizationPending { .. }
        | Reason::SlowDown { .. }
        | Reason::DeviceCodeUnknown
        | Reason::DeviceCodeOfAnotherClient { .. }
        | Reason::DeviceCodeExpired { .. }
        | Reason::DeviceCodeReplayed { .. }
        | Reason::DeviceCodeRetried { .. }
        | Reason::DeviceCodeWithdrawn
        | Reason::DeviceDenied
        | Reason::UserCodeUnknown
        | Reason::UserCodeExpired { .. }
        | Reason::UserCodeOfAnotherPerson
        | Reason::UserCodeSpent
        | Reason::GrantEnded { .. }
        | Reason::SessionEnded
        | Reason::UserDisabled { .. }
        | Reason::UserGone
        | Reason::StateChanged
        | Reason::TokenMissing
        | Reason::TokenSentTwice
        | Reason::TokenMalformed { .. }
        | Reason::TokenSignatureInvalid { .. }
        | Reason::TokenExpired { .. }
        | Reason::TokenFromTheFuture { .. }
        | Reason::TokenWrongIssuer { .. }
        | Reason::TokenWrongAudience { .. }
        | Reason::TokenRevoked { .. }
        | Reason::InsufficientScope { .. }
        | Reason::IntrospectionNotAllowed { .. } => plain(|t| t.app_request),
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

fn plain(phrase: fn(&Texts) -> Phrase) -> Shown<'static> {
    Shown { phrase, parameter: None, received: None }
}

fn at(phrase: fn(&Texts) -> Phrase, parameter: &str) -> Shown<'_> {
    Shown { phrase, parameter: Some(parameter), received: None }
}

fn with<'a>(phrase: fn(&Texts) -> Phrase, parameter: &'a str, received: &'a str) -> Shown<'a> {
    Shown { phrase, parameter: Some(parameter), received: Some(received) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::pages::i18n::Lang;

    #[test]
    fn registered_values_never_reach_the_page() {
        let reason = Reason::RedirectUriMismatch {
            client_id: "c1".into(),
            registered: vec!["https://secret.example/cb".into()],
            received: "https://app.example/cb/".into(),
        };
        let face = shown(&reason);
        assert_eq!(face.parameter, Some("redirect_uri"));
        assert_eq!(face.received, Some("https://app.example/cb/"));
        assert_eq!((face.phrase)(Lang::En.texts()).phrase, "The redirect_uri is not registered");
    }

    #[test]
    fn a_received_value_is_shortened_and_written_out() {
        assert_eq!(tame("a\u{202E}b\u{0}"), "a\\u{202e}b\\u{0}");
        assert_eq!(tame(&"x".repeat(400)).chars().count(), 301);
    }
}
