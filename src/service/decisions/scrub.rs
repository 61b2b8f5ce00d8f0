//! What a record must not hold is taken out before it is written: credentials typed into the wrong place, and identifiers that are
//! unknown and may be anything (design 4.7, security.md R-84).

use crate::oauth::params;
use crate::oauth::refusal::Reason;
use crate::oauth::registration::AccessFault;
use crate::service::keyed::Keyed;

/// Characters of a text that the caller made up.
const LONGEST: usize = 2048;
/// Bytes of a list of registered values.
const LONGEST_LIST: usize = 24 * 1024;
/// A path's segments beyond this many characters may be a token in a link.
const LONGEST_SEGMENT: usize = 24;

/// The reason as it may be kept. Every variant is named: a new one has to be thought about.
pub(super) fn scrub(reason: Reason, keyed: &Keyed) -> Reason {
    match reason {
        // Identifiers that may be anything.
        Reason::UnknownClient { client_id } => Reason::UnknownClient { client_id: hint(&client_id, keyed) },
        Reason::SignInFailed { branch, identifier } => Reason::SignInFailed { branch, identifier: keyed.show(&identifier) },
        Reason::SignInThrottled { scope, retry_after } => Reason::SignInThrottled { scope: cut(scope), retry_after },
        Reason::NotFound { path } => Reason::NotFound { path: without_long_segments(&path) },

        // What was sent in a parameter that may hold a credential.
        Reason::MalformedParameter { name, received, detail } => {
            let received = if params::is_secret(&name) { "(not kept)".to_owned() } else { cut(received) };
            Reason::MalformedParameter { name: cut(name), received, detail: cut(detail) }
        }
        Reason::DuplicateParameter { name } => Reason::DuplicateParameter { name: cut(name) },
        Reason::MissingParameter { name } => Reason::MissingParameter { name: cut(name) },
        Reason::ParameterTooLong { name, limit } => Reason::ParameterTooLong { name: cut(name), limit },
        Reason::CredentialsInQuery { name } => Reason::CredentialsInQuery { name: cut(name) },
        Reason::WrongContentType { received } => Reason::WrongContentType { received: received.map(cut) },
        Reason::UnsupportedResponseType { received } => Reason::UnsupportedResponseType { received: cut(received) },
        Reason::UnsupportedResponseMode { received } => Reason::UnsupportedResponseMode { received: cut(received) },
        Reason::UnsupportedGrantType { received } => Reason::UnsupportedGrantType { received: cut(received) },
        Reason::PkceMethodUnsupported { received } => Reason::PkceMethodUnsupported { received: received.map(cut) },
        Reason::PkceChallengeMalformed { received } => Reason::PkceChallengeMalformed { received: cut(received) },
        Reason::ScopeUnknown { scope } => Reason::ScopeUnknown { scope: cut(scope) },
        Reason::ScopeMalformed { received } => Reason::ScopeMalformed { received: cut(received) },
        Reason::ResourceMalformed { received } => Reason::ResourceMalformed { received: cut(received) },
        Reason::PromptInvalid { received } => Reason::PromptInvalid { received: cut(received) },
        Reason::CrossSiteForm { origin } => Reason::CrossSiteForm { origin: origin.map(cut) },
        Reason::WrongIssuer { expected, received } => Reason::WrongIssuer { expected, received: cut(received) },
        Reason::MethodNotAllowed { method, allowed } => Reason::MethodNotAllowed { method: cut(method), allowed },

        Reason::AdminNotFound { kind, id } => Reason::AdminNotFound { kind, id: cut(id) },
        Reason::WrongMediaType { expected, received } => Reason::WrongMediaType { expected, received: received.map(cut) },
        Reason::DocumentRefused { member, detail } => {
            // The detail may repeat what was sent.
            let secret = member.as_deref().is_some_and(params::is_secret);
            let detail = if secret { "(not kept)".to_owned() } else { cut(detail) };
            Reason::DocumentRefused { member: member.map(cut), detail }
        }
        Reason::ClientMetadataRefused { member, code, detail } => {
            let secret = member.as_deref().is_some_and(params::is_secret);
            let detail = if secret { "(not kept)".to_owned() } else { cut(detail) };
            Reason::ClientMetadataRefused { member: member.map(cut), code, detail }
        }
        // Whether there is such a client is written down, so its id is one that somebody made up.
        Reason::RegistrationAccessRefused { client_id, because: because @ AccessFault::NoSuchClient } => {
            Reason::RegistrationAccessRefused { client_id: hint(&client_id, keyed), because }
        }
        Reason::AdminConflict { member, detail } => Reason::AdminConflict { member, detail: cut(detail) },
        Reason::PreconditionFailed { expected, present } => Reason::PreconditionFailed { expected: cut(expected), present },

        Reason::ClientAssertionMalformed { client_id, detail } => {
            Reason::ClientAssertionMalformed { client_id: client_id.map(|id| hint(&id, keyed)), detail: cut(detail) }
        }
        Reason::ClientAssertionOfAnotherClient { client_id, issuer, subject } => {
            Reason::ClientAssertionOfAnotherClient { client_id, issuer: cut(issuer), subject: cut(subject) }
        }
        Reason::ClientAssertionAudience { client_id, accepted, received } => {
            Reason::ClientAssertionAudience { client_id, accepted, received: cut(received) }
        }

        Reason::RequestObjectInvalid { detail } => Reason::RequestObjectInvalid { detail: cut(detail) },

        // Lists of registered values that may be long.
        Reason::RedirectUriMissing { client_id, registered } => {
            Reason::RedirectUriMissing { client_id, registered: shorten(registered) }
        }
        Reason::RedirectUriMismatch { client_id, registered, received } => {
            Reason::RedirectUriMismatch { client_id, registered: shorten(registered), received: cut(received) }
        }
        Reason::PostLogoutRedirectUriMismatch { client_id, registered, received } => {
            Reason::PostLogoutRedirectUriMismatch { client_id, registered: shorten(registered), received: cut(received) }
        }
        Reason::ScopeNotAllowed { scope, allowed } => Reason::ScopeNotAllowed { scope: cut(scope), allowed: shorten(allowed) },
        Reason::ResourceNotAllowed { resource, allowed } => {
            Reason::ResourceNotAllowed { resource: cut(resource), allowed: shorten(allowed) }
        }
        Reason::ResourcesDisagree { resources, about } => Reason::ResourcesDisagree { resources: shorten(resources), about },
        Reason::ClaimsTooLarge { audience, claims, bytes } => {
            Reason::ClaimsTooLarge { audience: shorten(audience), claims: shorten(claims), bytes }
        }
        Reason::AcrUnmet { wanted, present } => Reason::AcrUnmet { wanted: shorten(wanted), present: present.clone() },
        Reason::ConsentRequired { missing } => Reason::ConsentRequired { missing: shorten(missing) },
        Reason::InsufficientScope { needed, received } => Reason::InsufficientScope { needed, received: shorten(received) },
        Reason::TokenWrongAudience { expected, received } => Reason::TokenWrongAudience { expected, received: shorten(received) },
        Reason::SeveralClientAuthenticationMethods { received } => {
            Reason::SeveralClientAuthenticationMethods { received: shorten(received) }
        }

        // Made by this server, from what it knows itself.
        kept @ (Reason::BodyTooLarge { .. }
        | Reason::ClientDisabled { .. }
        | Reason::MalformedAuthorization { .. }
        | Reason::ClientAuthenticationMissing { .. }
        | Reason::WrongClientAuthenticationMethod { .. }
        | Reason::WrongClientSecret { .. }
        | Reason::ClientAssertionAlgorithm { .. }
        | Reason::ClientAssertionTime { .. }
        | Reason::ClientAssertionReplayed { .. }
        | Reason::ClientSignatureWrong { .. }
        | Reason::ClientKeysUnavailable { .. }
        | Reason::ClientIdMismatch { .. }
        | Reason::ClientMayNotAuthorize { .. }
        | Reason::PkceMissing { .. }
        | Reason::RequestObjectUnsupported
        | Reason::RequestObjectUnverified { .. }
        | Reason::RequestObjectMissing { .. }
        | Reason::RequestUriUnsupported
        | Reason::RegistrationParameterUnsupported
        | Reason::LoginRequired { .. }
        | Reason::InteractionRequired { .. }
        | Reason::AccessDenied
        | Reason::IdTokenHintInvalid { .. }
        | Reason::EncryptionKeyMissing { .. }
        | Reason::InteractionUnknown
        | Reason::InteractionExpired { .. }
        | Reason::CsrfMismatch
        | Reason::FactorFailed { .. }
        | Reason::Overloaded { .. }
        | Reason::TooManyOpenRequests { .. }
        | Reason::TooManyUnknownTokens { .. }
        | Reason::LogoutUndelivered { .. }
        | Reason::TooManyRegistrations { .. }
        | Reason::SoftwareStatementUnsupported
        | Reason::InitialAccessTokenRefused { .. }
        | Reason::RegistrationAccessRefused { .. }
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
        | Reason::UserCodeThrottled { .. }
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
        | Reason::TokenRevoked { .. }
        | Reason::IntrospectionNotAllowed { .. }
        | Reason::PostLogoutRedirectUriWithoutHint
        | Reason::StorageUnavailable { .. }
        | Reason::Internal { .. }
        | Reason::AdminForbidden { .. }) => kept,
    }
}

/// The client that a reason itself names, by its JSON, if it is known to exist.
pub(super) fn client_of(reason: &Reason, json: &serde_json::Value) -> Option<String> {
    if matches!(reason, Reason::UnknownClient { .. }) {
        return None;
    }
    ["client_id", "presented_by", "authenticated"].iter().find_map(|name| json.get(name)?.as_str().map(str::to_owned))
}

/// An unknown client_id is most often a known one mistyped, and at times a secret in the wrong place: enough to recognise the first,
/// too little to use the second.
fn hint(text: &str, keyed: &Keyed) -> String {
    let length = text.chars().count();
    let start: String = text.chars().take((length / 3).min(4)).collect();
    format!("{start}… ({length} characters, {})", keyed.show(text))
}

fn without_long_segments(path: &str) -> String {
    let segments = path.split('/').take(16).map(|segment| if segment.chars().count() > LONGEST_SEGMENT { "…" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

fn cut(text: String) -> String {
    if text.chars().nth(LONGEST).is_none() { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

fn shorten(mut list: Vec<String>) -> Vec<String> {
    let all = list.len();
    let mut bytes = 0;
    list.retain(|item| {
        bytes += item.len();
        bytes <= LONGEST_LIST
    });
    if list.len() < all {
        list.push(format!("… and {} more", all - list.len()));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::refusal::SignInBranch;

    fn kept(reason: Reason) -> String {
        serde_json::to_string(&scrub(reason, &Keyed::for_tests())).unwrap()
    }

    #[test]
    fn a_secret_typed_as_a_client_id_cannot_be_read_from_the_record() {
        let json = kept(Reason::UnknownClient { client_id: "S3cr3tS3cr3tS3cr3tS3cr3t".to_owned() });
        assert!(!json.contains("S3cr3"), "{json}");
        assert!(json.contains("S3cr…") && json.contains("24 characters") && json.contains("keyed:"), "{json}");
    }

    #[test]
    fn a_password_typed_as_a_username_is_a_keyed_hash_and_stays_one() {
        let keyed = Keyed::for_tests();
        let once = Reason::SignInFailed { branch: SignInBranch::UnknownUser, identifier: "hunter2".to_owned() };
        let once = scrub(once, &keyed);
        let Reason::SignInFailed { identifier, .. } = &once else { panic!("{once:?}") };
        assert!(identifier.starts_with("keyed:") && !identifier.contains("hunter2"));
        assert_eq!(scrub(once.clone(), &keyed), once);
    }

    #[test]
    fn credentials_that_break_their_grammar_are_not_kept() {
        for name in ["code", "client_secret", "code_verifier", "refresh_token", "password", "token", "id_token_hint"] {
            let reason =
                Reason::MalformedParameter { name: name.to_owned(), received: "hunter2".to_owned(), detail: String::new() };
            assert!(!kept(reason).contains("hunter2"), "{name}");
        }
    }

    #[test]
    fn tokens_in_paths_are_not_kept_and_nothing_outgrows_its_column() {
        assert_eq!(without_long_segments("/reset/AbCdEfGhIjKlMnOpQrStUvWxYz/x"), "/reset/…/x");
        let registered = (0..10_000).map(|number| format!("https://app.example/{number}")).collect();
        let received = "x".repeat(100_000);
        let json = kept(Reason::RedirectUriMismatch { client_id: "app".to_owned(), registered, received });
        assert!(json.len() < 65_536 && json.contains("more"));
    }
}
