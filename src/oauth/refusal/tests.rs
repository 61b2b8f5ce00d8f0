//! Every reason, with hostile and with honest contents: what the caller sees is clean and tells nothing, what the operator reads
//! says what to do.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::oauth::client::MetadataCode;
use crate::oauth::registration::{AccessFault, TokenFault};

const THEN: Timestamp = Timestamp::from_seconds(1_800_000_000);
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_125);

/// One of each. `seen` stands where the caller's own words stand, `kept` where the server's knowledge stands.
fn every_reason(seen: &str, kept: &str) -> Vec<Reason> {
    let s = || seen.to_owned();
    let k = || kept.to_owned();
    let ks = || vec![kept.to_owned(), format!("{kept}/other")];
    vec![
        Reason::DuplicateParameter { name: s() },
        Reason::MissingParameter { name: s() },
        Reason::MalformedParameter { name: s(), received: s(), detail: s() },
        Reason::ParameterTooLong { name: s(), limit: 2048 },
        Reason::WrongContentType { received: Some(s()) },
        Reason::BodyTooLarge { limit: 65_536 },
        Reason::CredentialsInQuery { name: s() },
        Reason::WrongIssuer { expected: k(), received: s() },
        Reason::UnknownClient { client_id: s() },
        Reason::ClientDisabled { client_id: s() },
        Reason::MalformedAuthorization { detail: s() },
        Reason::ClientAuthenticationMissing { client_id: Some(s()), registered: k() },
        Reason::SeveralClientAuthenticationMethods { received: vec![s(), s()] },
        Reason::WrongClientAuthenticationMethod { client_id: s(), registered: k(), received: s() },
        Reason::WrongClientSecret { client_id: s(), live_secrets: 1, expired_match: true },
        Reason::ClientAssertionMalformed { client_id: Some(s()), detail: s() },
        Reason::ClientAssertionAlgorithm { client_id: s(), received: s(), allowed: ks() },
        Reason::ClientAssertionOfAnotherClient { client_id: s(), issuer: s(), subject: s() },
        Reason::ClientAssertionAudience { client_id: s(), accepted: ks(), received: s() },
        Reason::ClientAssertionTime { client_id: s(), at: THEN, now: NOW, detail: s() },
        Reason::ClientAssertionReplayed { client_id: s(), jti: s() },
        Reason::ClientSignatureWrong { client_id: s(), key: s(), detail: k() },
        Reason::ClientKeysUnavailable { client_id: s(), detail: k() },
        Reason::ClientIdMismatch { authenticated: k(), received: s() },
        Reason::RedirectUriMissing { client_id: s(), registered: ks() },
        Reason::RedirectUriMismatch { client_id: s(), registered: ks(), received: s() },
        Reason::ClientMayNotAuthorize { client_id: s() },
        Reason::UnsupportedResponseType { received: s() },
        Reason::UnsupportedResponseMode { received: s() },
        Reason::PkceMissing { client_id: s() },
        Reason::PkceMethodUnsupported { received: Some(s()) },
        Reason::PkceChallengeMalformed { received: s() },
        Reason::ScopeUnknown { scope: s() },
        Reason::ScopeNotAllowed { scope: s(), allowed: ks() },
        Reason::ScopeMalformed { received: s() },
        Reason::ResourceMalformed { received: s() },
        Reason::ResourceNotAllowed { resource: s(), allowed: ks() },
        Reason::ResourcesDisagree { resources: ks(), about: "their token format".to_owned() },
        Reason::ClaimsTooLarge { audience: ks(), claims: ks(), bytes: 5000 },
        Reason::PromptInvalid { received: s() },
        Reason::RequestObjectUnsupported,
        Reason::RequestObjectInvalid { detail: s() },
        Reason::RequestObjectUnverified { client_id: s(), detail: k() },
        Reason::RequestObjectMissing { client_id: s() },
        Reason::RequestUriUnsupported,
        Reason::RegistrationParameterUnsupported,
        Reason::LoginRequired { because: LoginBecause::NoSession },
        Reason::ConsentRequired { missing: ks() },
        Reason::AcrUnmet { wanted: vec![s()], present: Some(k()) },
        Reason::InteractionRequired { detail: k() },
        Reason::AccessDenied,
        Reason::IdTokenHintInvalid { detail: k() },
        Reason::EncryptionKeyMissing { client_id: k(), alg: k(), detail: k() },
        Reason::InteractionUnknown,
        Reason::InteractionExpired { expired_at: THEN, now: NOW },
        Reason::CsrfMismatch,
        Reason::CrossSiteForm { origin: Some(k()) },
        Reason::SignInFailed { branch: SignInBranch::WrongPassword, identifier: k() },
        Reason::FactorFailed { branch: FactorBranch::WrongCode, sub: k() },
        Reason::SignInThrottled { scope: k(), retry_after: 30 },
        Reason::Overloaded { retry_after: 1 },
        Reason::TooManyOpenRequests { scope: k(), limit: 500, retry_after: 60 },
        Reason::TooManyUnknownTokens { limit: 300, retry_after: 60 },
        Reason::LogoutUndelivered { client_id: s(), attempts: 2, because: k(), again_at: Some(NOW) },
        Reason::UnsupportedGrantType { received: s() },
        Reason::UnauthorizedGrantType { client_id: s(), grant_type: s(), registered: ks() },
        Reason::CodeUnknown,
        Reason::CodeExpired { expired_at: THEN, now: NOW },
        Reason::CodeReplayed { redeemed_at: THEN, now: NOW },
        Reason::CodeRetried { redeemed_at: THEN, now: NOW },
        Reason::CodeOfAnotherClient { issued_to: k(), presented_by: s() },
        Reason::CodeRedirectUriMismatch { expected: k(), received: Some(s()) },
        Reason::VerifierMissing,
        Reason::VerifierMalformed { length: 3 },
        Reason::VerifierWrong { expected: k(), received: k() },
        Reason::VerifierWithoutChallenge,
        Reason::RefreshTokenUnknown,
        Reason::RefreshTokenOfAnotherClient { issued_to: k(), presented_by: s() },
        Reason::RefreshFamilyEnded { ended_at: THEN, because: k() },
        Reason::RefreshFamilyIdle { last_used_at: THEN, expired_at: THEN, now: NOW },
        Reason::RefreshFamilyExpired { expired_at: THEN, now: NOW },
        Reason::RefreshTokenStolen { presented: 3, current: 7, redeemed_at: THEN, now: NOW },
        Reason::RefreshRecoveryOver { presented: 3, current: 4, redeemed_at: THEN, now: NOW },
        Reason::RefreshTokenAhead { presented: 9, current: 4 },
        Reason::AuthorizationPending { interval: 5 },
        Reason::SlowDown { interval: 10, waited: 2 },
        Reason::DeviceCodeUnknown,
        Reason::DeviceCodeOfAnotherClient { issued_to: k(), presented_by: s() },
        Reason::DeviceCodeExpired { expired_at: THEN, now: NOW },
        Reason::DeviceCodeReplayed { redeemed_at: THEN, now: NOW },
        Reason::DeviceCodeRetried { redeemed_at: THEN, now: NOW },
        Reason::DeviceCodeWithdrawn,
        Reason::DeviceDenied,
        Reason::UserCodeUnknown,
        Reason::UserCodeExpired { expired_at: THEN, now: NOW },
        Reason::UserCodeOfAnotherPerson,
        Reason::UserCodeSpent,
        Reason::UserCodeThrottled { scope: k(), retry_after: 30 },
        Reason::GrantEnded { because: k() },
        Reason::SessionEnded,
        Reason::UserDisabled { sub: k() },
        Reason::UserGone,
        Reason::StateChanged,
        Reason::TokenMissing,
        Reason::TokenSentTwice,
        Reason::TokenMalformed { detail: k() },
        Reason::TokenSignatureInvalid { kid: Some(k()) },
        Reason::TokenExpired { expired_at: THEN, now: NOW },
        Reason::TokenFromTheFuture { issued_at: NOW, now: THEN },
        Reason::TokenWrongIssuer { expected: k(), received: k() },
        Reason::TokenWrongAudience { expected: k(), received: ks() },
        Reason::TokenRevoked { because: k() },
        Reason::InsufficientScope { needed: s(), received: ks() },
        Reason::IntrospectionNotAllowed { client_id: s() },
        Reason::ClientMetadataRefused { member: Some(s()), code: MetadataCode::InvalidRedirectUri, detail: s() },
        Reason::SoftwareStatementUnsupported,
        Reason::InitialAccessTokenRefused { because: TokenFault::Unknown },
        Reason::RegistrationAccessRefused { client_id: s(), because: AccessFault::WrongToken },
        Reason::TooManyRegistrations { scope: k(), limit: 20, retry_after: 60 },
        Reason::PostLogoutRedirectUriMismatch { client_id: s(), registered: ks(), received: s() },
        Reason::PostLogoutRedirectUriWithoutHint,
        Reason::StorageUnavailable { detail: k() },
        Reason::Internal { detail: k() },
        Reason::NotFound { path: s() },
        Reason::MethodNotAllowed { method: s(), allowed: s() },
        Reason::AdminForbidden { needed: s() },
        Reason::AdminNotFound { kind: "client".to_owned(), id: s() },
        Reason::WrongMediaType { expected: "application/json".to_owned(), received: Some(s()) },
        Reason::DocumentRefused { member: Some(s()), detail: s() },
        Reason::AdminConflict { member: Some(s()), detail: s() },
        Reason::PreconditionFailed { expected: s(), present: s() },
    ]
}

/// Variants whose contents change the answer.
fn variations() -> Vec<Reason> {
    let mut all = vec![
        Reason::ClientAuthenticationMissing { client_id: None, registered: String::new() },
        Reason::ClientAssertionMalformed { client_id: None, detail: "x".to_owned() },
        Reason::WrongContentType { received: None },
        Reason::PkceMethodUnsupported { received: None },
        Reason::CodeRedirectUriMismatch { expected: "https://client.example/cb".to_owned(), received: None },
        Reason::TokenSignatureInvalid { kid: None },
        Reason::CrossSiteForm { origin: None },
        Reason::RedirectUriMismatch { client_id: "web".to_owned(), registered: Vec::new(), received: "x:y".to_owned() },
        Reason::UnsupportedResponseType { received: String::new() },
        Reason::UnsupportedGrantType { received: "password".to_owned() },
        Reason::UnsupportedGrantType { received: "implicit".to_owned() },
        Reason::ConsentRequired { missing: Vec::new() },
        Reason::WrongClientSecret { client_id: "web".to_owned(), live_secrets: 2, expired_match: false },
        Reason::ClientMetadataRefused {
            member: None,
            code: MetadataCode::InvalidClientMetadata,
            detail: "is not a JSON object".to_owned(),
        },
        Reason::TooManyRegistrations { scope: "address".to_owned(), limit: 20, retry_after: 60 },
    ];
    let id = uuid::Uuid::max();
    all.extend(
        [TokenFault::Expired { id, expired_at: THEN, now: NOW }, TokenFault::Spent { id, registrations: 3 }]
            .map(|because| Reason::InitialAccessTokenRefused { because }),
    );
    all.extend(
        [AccessFault::NoSuchClient, AccessFault::NotDynamic, AccessFault::KeptByOperators, AccessFault::ClientDisabled]
            .map(|because| Reason::RegistrationAccessRefused { client_id: "web".to_owned(), because }),
    );
    all.extend(
        [
            LoginBecause::SessionExpired { expired_at: THEN, now: NOW },
            LoginBecause::SessionEnded,
            LoginBecause::MaxAge { max_age: 60, age: 125 },
            LoginBecause::PromptLogin,
            LoginBecause::OtherUser,
            LoginBecause::UserDisabled,
            LoginBecause::SecondFactor,
        ]
        .map(|because| Reason::LoginRequired { because }),
    );
    all.extend(
        [
            SignInBranch::UnknownUser,
            SignInBranch::EmptyPassword,
            SignInBranch::PasswordTooLong,
            SignInBranch::UserDisabled,
            SignInBranch::NoPassword,
        ]
        .map(|branch| Reason::SignInFailed { branch, identifier: "keyed hash".to_owned() }),
    );
    all.extend(
        [
            FactorBranch::CodeReplayed,
            FactorBranch::NoApp,
            FactorBranch::SecretLost,
            FactorBranch::WrongRecoveryCode,
            FactorBranch::RecoveryCodeUsed,
            FactorBranch::PasskeyMalformed,
            FactorBranch::PasskeyUnknown,
            FactorBranch::PasskeyElsewhere,
            FactorBranch::PasskeyNotVerified,
            FactorBranch::PasskeySignature,
            FactorBranch::PasskeyCopied,
            FactorBranch::PasskeyReplayed,
            FactorBranch::PasskeyOfDisabled,
        ]
        .map(|branch| Reason::FactorFailed { branch, sub: "alice".to_owned() }),
    );
    all
}

fn tag(reason: &Reason) -> String {
    serde_json::to_value(reason).unwrap()["reason"].as_str().unwrap().to_owned()
}

/// RFC 6749 §5.2, and short enough for a header.
fn assert_clean(reason: &Reason) {
    let wire = reason.wire();
    let clean = |text: &str| text.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    assert!(clean(&wire.description), "{reason:?}: {}", wire.description);
    assert!(clean(&reason.page_description()), "{reason:?}");
    assert!((10..=600).contains(&wire.description.len()), "{reason:?}: {}", wire.description);
    if let Some(challenge) = wire.authenticate {
        let header = challenge.header("https://id.example");
        assert!(header.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{header}");
        assert_eq!(header.matches('"').count() % 2, 0, "{header}");
    }
}

#[test]
fn the_list_has_every_reason_of_the_table() {
    let listed: Vec<String> =
        every_reason("x", "y").iter().map(|reason| format!("{reason:?}").split([' ', '{']).next().unwrap().to_owned()).collect();
    let listed: HashSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(listed, Reason::NAMES.iter().copied().collect());
}

#[test]
fn every_reason_has_a_registered_error_a_fitting_status_and_a_challenge_where_one_belongs() {
    let known = [
        "access_denied",
        "authorization_pending",
        "consent_required",
        "expired_token",
        "insufficient_scope",
        "interaction_required",
        "invalid_client",
        "invalid_client_metadata",
        "invalid_grant",
        "invalid_redirect_uri",
        "invalid_request",
        "invalid_scope",
        "invalid_software_statement",
        "invalid_target",
        "invalid_token",
        "login_required",
        "registration_not_supported",
        "request_not_supported",
        "invalid_request_object",
        "request_uri_not_supported",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "unauthorized_client",
        "unmet_authentication_requirements",
        "unsupported_grant_type",
        "unsupported_response_type",
    ];
    for reason in every_reason("x", "y").into_iter().chain(variations()) {
        let wire = reason.wire();
        assert!(known.contains(&wire.error), "{reason:?}");
        let status = match wire.error {
            "invalid_client" | "invalid_token" => 401,
            "insufficient_scope" => 403,
            "server_error" => 500,
            _ => wire.status,
        };
        assert_eq!(wire.status, status, "{reason:?}");
        assert!([400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 429, 500, 503].contains(&wire.status));
        assert_eq!(wire.authenticate.is_some(), wire.status == 401 || wire.error == "insufficient_scope", "{reason:?}");
        assert_eq!(wire.retry_after.is_some(), wire.status == 429 || wire.status == 503, "{reason:?}");
        assert_ne!(reason.page_status(), 401, "a browser would ask for a password");
        assert_clean(&reason);
    }
}

/// Design 4.7: never a registered value, whether a person exists, or another client's data.
#[test]
fn the_caller_sees_nothing_of_what_the_server_knows() {
    for reason in every_reason("seen", "KEPT") {
        let wire = reason.wire();
        let header = wire.authenticate.map(|challenge| challenge.header("https://id.example")).unwrap_or_default();
        assert!(!format!("{}{header}{}", wire.description, reason.page_description()).contains("KEPT"), "{reason:?}");
    }
}

#[test]
fn refusals_that_would_tell_somebodys_secret_apart_are_one_answer() {
    let same = |one: Reason, other: Reason| assert_eq!(one.wire(), other.wire());
    let client_id = || "web".to_owned();
    same(
        Reason::UnknownClient { client_id: client_id() },
        Reason::WrongClientSecret { client_id: client_id(), live_secrets: 1, expired_match: true },
    );
    same(Reason::CodeUnknown, Reason::CodeOfAnotherClient { issued_to: "other".into(), presented_by: client_id() });
    same(Reason::DeviceCodeUnknown, Reason::DeviceCodeOfAnotherClient { issued_to: "other".into(), presented_by: client_id() });
    same(Reason::DeviceCodeWithdrawn, Reason::UserDisabled { sub: "alice".into() });
    for reason in [Reason::UserCodeExpired { expired_at: THEN, now: NOW }, Reason::UserCodeOfAnotherPerson, Reason::UserCodeSpent] {
        same(Reason::UserCodeUnknown, reason);
    }
    same(Reason::RefreshTokenUnknown, Reason::RefreshTokenOfAnotherClient { issued_to: "other".into(), presented_by: client_id() });
    same(Reason::GrantEnded { because: "withdrawn".into() }, Reason::UserDisabled { sub: "alice".into() });
    same(Reason::UserGone, Reason::UserDisabled { sub: "alice".into() });
    let unknown = || Reason::InitialAccessTokenRefused { because: TokenFault::Unknown };
    let id = uuid::Uuid::max();
    same(unknown(), Reason::InitialAccessTokenRefused { because: TokenFault::Spent { id, registrations: 3 } });
    same(unknown(), Reason::InitialAccessTokenRefused { because: TokenFault::Expired { id, expired_at: THEN, now: NOW } });
    let opens = |because| Reason::RegistrationAccessRefused { client_id: client_id(), because };
    for because in [AccessFault::NoSuchClient, AccessFault::NotDynamic, AccessFault::KeptByOperators, AccessFault::ClientDisabled] {
        same(opens(AccessFault::WrongToken), opens(because));
    }
    let failed = |branch| Reason::SignInFailed { branch, identifier: "x".into() };
    for branch in [SignInBranch::UnknownUser, SignInBranch::EmptyPassword, SignInBranch::UserDisabled, SignInBranch::NoPassword] {
        same(failed(branch), failed(SignInBranch::WrongPassword));
    }
}

#[test]
fn every_reason_has_a_rule_of_its_own_with_a_source() {
    let mut ids = HashSet::new();
    for reason in every_reason("x", "y") {
        let rule = reason.rule();
        assert!(ids.insert(rule.id), "{} twice", rule.id);
        assert_eq!(rule.id, tag(&reason).replace('_', "-"), "the rule's id is the reason's name");
        assert!(["RFC ", "OpenID ", "OAuth ", "Chancery "].iter().any(|source| rule.spec.starts_with(source)), "{}", rule.spec);
    }
}

#[test]
fn every_story_says_what_happened_and_what_to_do() {
    for reason in every_reason("https://client.example/x", "https://client.example/y").into_iter().chain(variations()) {
        let story = reason.story();
        for text in [&story.happened, &story.mend] {
            assert!(text.len() > 20, "{reason:?}: {text}");
            assert!(text.ends_with(['.', '`', ')']), "{reason:?}: {text}");
            assert!(!text.contains("  "), "{reason:?}: {text}");
            assert!(text.starts_with(|letter: char| letter.is_uppercase() || letter == '`'), "{reason:?}: {text}");
        }
    }
}

#[test]
fn a_decision_record_is_read_back_as_it_was() {
    for reason in every_reason("x", "y").into_iter().chain(variations()) {
        let stored = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<Reason>(&stored).unwrap(), reason);
    }
}

/// The stories that the README promises, each with the cause and the change that mends it.
#[test]
fn the_named_cases_tell_cause_and_cure() {
    let client_id = || "web".to_owned();
    let at = |seconds: i64| Timestamp::from_seconds(1_800_000_000 + seconds);
    let cases: Vec<(Reason, &str, &str)> = vec![
        (
            Reason::RedirectUriMismatch {
                client_id: client_id(),
                registered: vec!["https://client.example/cb".into()],
                received: "https://client.example/cb/".into(),
            },
            "only the trailing slash differs",
            "add it to redirect_uris: `chancery client update web`",
        ),
        (
            Reason::WrongIssuer { expected: "https://id.example".into(), received: "https://id.example/".into() },
            "at character 19: expected the end, received '/'",
            "exactly https://id.example",
        ),
        (Reason::PkceMissing { client_id: client_id() }, "no code_challenge", "Switch PKCE on"),
        (Reason::VerifierWrong { expected: "abc".into(), received: "abd".into() }, "at character 3", "one per state"),
        (
            Reason::WrongClientSecret { client_id: client_id(), live_secrets: 1, expired_match: true },
            "a secret that has ended",
            "`chancery client rotate-secret web`",
        ),
        (
            Reason::WrongClientAuthenticationMethod {
                client_id: client_id(),
                registered: "client_secret_basic".into(),
                received: "client_secret_post".into(),
            },
            "client_secret_basic is registered, client_secret_post was used",
            "\"token_endpoint_auth_method\": \"client_secret_post\"",
        ),
        (Reason::UnknownClient { client_id: "wbe".into() }, "wbe", "`chancery client list`"),
        (Reason::ClientDisabled { client_id: client_id() }, "disabled", "`chancery client enable web`"),
        (
            Reason::ScopeNotAllowed { scope: "bank:pay".into(), allowed: vec!["openid".into()] },
            "bank:pay",
            "`chancery client update`",
        ),
        (
            Reason::TokenWrongAudience { expected: "https://id.example".into(), received: vec!["https://api.example".into()] },
            "https://api.example",
            "without a resource parameter",
        ),
        (Reason::CodeExpired { expired_at: at(0), now: at(125) }, "2 minutes 5 seconds after", "at once"),
        (Reason::CodeReplayed { redeemed_at: at(0), now: at(3600) }, "2027-01-15T08:00:00Z", "redeem each code once"),
        (
            Reason::CodeOfAnotherClient { issued_to: "app".into(), presented_by: client_id() },
            "app",
            "at /authorize and at /token must be the same",
        ),
        (
            Reason::RefreshTokenStolen { presented: 3, current: 7, redeemed_at: at(0), now: at(90_000) },
            "4 generations behind",
            "DPoP",
        ),
        (Reason::RefreshFamilyExpired { expired_at: at(0), now: at(86_400) }, "1 day ago", "[lifetimes] refresh"),
        (Reason::UserDisabled { sub: "s".into() }, "disabled account", "`chancery user enable`"),
        (
            Reason::LoginRequired { because: LoginBecause::SessionExpired { expired_at: at(0), now: at(60) } },
            "expired 1 minute ago",
            "without prompt=none",
        ),
        (Reason::TokenFromTheFuture { issued_at: at(90), now: at(0) }, "1 minute 30 seconds in the future", "chrony"),
        (Reason::DuplicateParameter { name: "state".into() }, "at least twice", "Send state once"),
        (
            Reason::WrongContentType { received: Some("application/json".into()) },
            "application/json",
            "Content-Type: application/x-www-form-urlencoded",
        ),
    ];
    for (reason, cause, cure) in cases {
        let story = reason.story();
        let told = serde_json::to_string(&story).unwrap().replace("\\\"", "\"");
        assert!(told.contains(cause), "{reason:?}\n{told}");
        assert!(story.mend.contains(cure), "{reason:?}\n{}", story.mend);
    }
}

proptest! {
    /// Whatever the caller sends, the description stays within RFC 6749's characters and the stories do not break.
    #[test]
    fn hostile_words_come_out_clean(seen in "(?s).{0,300}", kept in "(?s).{0,40}") {
        for reason in every_reason(&seen, &kept) {
            assert_clean(&reason);
            let _ = reason.story();
        }
    }

    #[test]
    fn sanitised_text_is_short_and_clean(text in "(?s).{0,200}", limit in 0usize..100) {
        let out = sanitise(&text, limit);
        prop_assert!(out.len() <= limit + 3);
        prop_assert!(out.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)));
    }
}
