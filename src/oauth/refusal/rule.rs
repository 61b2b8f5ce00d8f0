//! The rule that was broken, by name and source. Rule ids are stable: decision records, metrics and the documentation use them.

use serde::Serialize;

use super::Reason;

/// A rule of a specification or of this server's design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Stable, lower case with hyphens.
    pub id: &'static str,
    /// The rule in a few words.
    pub title: &'static str,
    /// Where it stands.
    pub spec: &'static str,
}

const fn rule(id: &'static str, title: &'static str, spec: &'static str) -> Rule {
    Rule { id, title, spec }
}

impl Reason {
    /// The rule behind the refusal.
    pub fn rule(&self) -> Rule {
        match self {
            Self::DuplicateParameter { .. } => rule("duplicate-parameter", "a parameter is sent once", "RFC 6749 section 3.1"),
            Self::MissingParameter { .. } => {
                rule("missing-parameter", "required parameters are there", "RFC 6749 sections 3.1 and 5.2")
            }
            Self::MalformedParameter { .. } => {
                rule("malformed-parameter", "parameters follow their grammar", "RFC 6749 appendix A and B")
            }
            Self::ParameterTooLong { .. } => {
                rule("parameter-too-long", "parameters have limits", "Chancery security requirement R-20")
            }
            Self::WrongContentType { .. } => {
                rule("wrong-content-type", "requests to the token endpoint are forms", "RFC 6749 section 3.2 and appendix B")
            }
            Self::BodyTooLarge { .. } => rule("body-too-large", "bodies have a limit", "Chancery security requirement R-75"),
            Self::CredentialsInQuery { .. } => rule(
                "credentials-in-query",
                "credentials are never sent in a URL",
                "RFC 6749 section 2.3.1, RFC 9700 section 4.3.2",
            ),
            Self::WrongIssuer { .. } => {
                rule("wrong-issuer", "the issuer is one exact string", "OpenID Connect Discovery section 4.3, RFC 8414 section 3.3")
            }
            Self::UnknownClient { .. } => rule("unknown-client", "the client is registered", "RFC 6749 section 2.2"),
            Self::ClientDisabled { .. } => rule("client-disabled", "the client is enabled", "Chancery security requirement R-09"),
            Self::MalformedAuthorization { .. } => {
                rule("malformed-authorization", "one well-formed Basic header", "RFC 6749 section 2.3.1, RFC 7617 section 2")
            }
            Self::ClientAuthenticationMissing { .. } => {
                rule("client-authentication-missing", "confidential clients authenticate", "RFC 6749 sections 2.3 and 3.2.1")
            }
            Self::SeveralClientAuthenticationMethods { .. } => {
                rule("several-client-authentication-methods", "one authentication method in a request", "RFC 6749 section 2.3")
            }
            Self::WrongClientAuthenticationMethod { .. } => rule(
                "wrong-client-authentication-method",
                "the client uses the authentication method that it registered",
                "RFC 7591 section 2, token_endpoint_auth_method",
            ),
            Self::WrongClientSecret { .. } => rule("wrong-client-secret", "the client secret is right", "RFC 6749 section 2.3.1"),
            Self::ClientAssertionMalformed { .. } => rule(
                "client-assertion-malformed",
                "a client assertion is one whole JWT",
                "RFC 7521 section 4.2, RFC 7523 section 3",
            ),
            Self::ClientAssertionAlgorithm { .. } => rule(
                "client-assertion-algorithm",
                "a client signs by the algorithm that it is registered for",
                "RFC 7523 section 3, FAPI 2.0 Security Profile section 5.4",
            ),
            Self::ClientAssertionOfAnotherClient { .. } => {
                rule("client-assertion-of-another-client", "iss and sub are the client", "RFC 7523 section 3")
            }
            Self::ClientAssertionAudience { .. } => rule(
                "client-assertion-audience",
                "a client assertion is meant for this server",
                "RFC 7523 section 3, Chancery design 7",
            ),
            Self::ClientAssertionTime { .. } => rule(
                "client-assertion-time",
                "a client assertion is fresh",
                "RFC 7523 section 3, Chancery security requirement R-29",
            ),
            Self::ClientAssertionReplayed { .. } => rule(
                "client-assertion-replayed",
                "a client assertion counts once",
                "RFC 7523 section 3, Chancery security requirement R-12",
            ),
            Self::ClientSignatureWrong { .. } => {
                rule("client-signature-wrong", "the client's key has signed it", "RFC 7515 section 5.2, RFC 8725 section 3")
            }
            Self::ClientKeysUnavailable { .. } => {
                rule("client-keys-unavailable", "the client's keys can be had", "RFC 7591 section 2, jwks and jwks_uri")
            }
            Self::ClientIdMismatch { .. } => {
                rule("client-id-mismatch", "client_id means the client that authenticates", "RFC 6749 sections 2.3.1 and 3.2.1")
            }
            Self::RedirectUriMissing { .. } => rule(
                "redirect-uri-missing",
                "the request names its redirect URI",
                "RFC 6749 section 3.1.2.3, OpenID Connect Core section 3.1.2.1",
            ),
            Self::RedirectUriMismatch { .. } => rule(
                "redirect-uri-mismatch",
                "the redirect URI is a registered one, character by character",
                "RFC 9700 section 2.1, OpenID Connect Core section 3.1.2.1",
            ),
            Self::ClientMayNotAuthorize { .. } => rule(
                "client-may-not-authorize",
                "the client is registered for the authorization_code grant",
                "RFC 7591 section 2, grant_types",
            ),
            Self::UnsupportedResponseType { .. } => {
                rule("unsupported-response-type", "response_type is code", "RFC 6749 section 3.1.1, RFC 9700 section 2.1.2")
            }
            Self::UnsupportedResponseMode { .. } => rule(
                "unsupported-response-mode",
                "response_mode is query or form_post",
                "OAuth 2.0 Multiple Response Types section 2.1, Form Post Response Mode",
            ),
            Self::PkceMissing { .. } => {
                rule("pkce-missing", "every request carries a PKCE challenge", "RFC 7636 section 4.4.1, RFC 9700 section 2.1.1")
            }
            Self::PkceMethodUnsupported { .. } => rule(
                "pkce-method-unsupported",
                "code_challenge_method is S256",
                "RFC 7636 sections 4.3 and 4.4.1, RFC 9700 section 2.1.1",
            ),
            Self::PkceChallengeMalformed { .. } => {
                rule("pkce-challenge-malformed", "the challenge is a SHA-256 in base64url", "RFC 7636 section 4.2")
            }
            Self::ScopeUnknown { .. } => rule("scope-unknown", "scopes exist", "RFC 6749 sections 3.3 and 5.2"),
            Self::ScopeNotAllowed { .. } => {
                rule("scope-not-allowed", "clients ask for scopes that they are registered for", "RFC 6749 sections 3.3 and 6")
            }
            Self::ScopeMalformed { .. } => rule("scope-malformed", "scope is a list of scope tokens", "RFC 6749 section 3.3"),
            Self::ResourceMalformed { .. } => rule("resource-malformed", "a resource is an absolute URI", "RFC 8707 section 2"),
            Self::ResourceNotAllowed { .. } => {
                rule("resource-not-allowed", "the resource is open to the client", "RFC 8707 section 2")
            }
            Self::ResourcesDisagree { .. } => {
                rule("resources-disagree", "one access token has one algorithm and one format", "RFC 8707 section 2.2")
            }
            Self::ClaimsTooLarge { .. } => {
                rule("claims-too-large", "a token fits into one header of the servers that read it", "RFC 9110 section 5.4")
            }
            Self::PromptInvalid { .. } => {
                rule("prompt-invalid", "prompt has known values, and none stands alone", "OpenID Connect Core section 3.1.2.1")
            }
            Self::RequestObjectUnsupported => rule(
                "request-object-unsupported",
                "request objects are signed",
                "OpenID Connect Core section 6.1, RFC 9101 section 10.1",
            ),
            Self::RequestObjectInvalid { .. } => rule(
                "request-object-invalid",
                "a request object is the client's own request to this server",
                "RFC 9101 sections 4 and 6, OpenID Connect Core section 6.1",
            ),
            Self::RequestObjectUnverified { .. } => {
                rule("request-object-unverified", "the client's key has signed the request object", "RFC 9101 section 6.2")
            }
            Self::RequestObjectMissing { .. } => rule(
                "request-object-missing",
                "a client that signs its requests signs all of them",
                "RFC 9101 section 10.5, require_signed_request_object",
            ),
            Self::RequestUriUnsupported => rule(
                "request-uri-unsupported",
                "the server fetches no request from elsewhere",
                "OpenID Connect Core section 6.2, RFC 9101 section 10.4",
            ),
            Self::RegistrationParameterUnsupported => {
                rule("registration-parameter-unsupported", "clients are registered beforehand", "OpenID Connect Core section 7.2.1")
            }
            Self::LoginRequired { .. } => rule(
                "login-required",
                "prompt=none needs somebody who is signed in",
                "OpenID Connect Core sections 3.1.2.1 and 3.1.2.6",
            ),
            Self::ConsentRequired { .. } => rule(
                "consent-required",
                "prompt=none needs consent given before",
                "OpenID Connect Core sections 3.1.2.4 and 3.1.2.6",
            ),
            Self::AcrUnmet { .. } => rule(
                "acr-unmet",
                "an essential acr is reached, or there is no answer",
                "OpenID Connect Core section 5.5.1.1, OpenID Connect Core Error Code unmet_authentication_requirements",
            ),
            Self::InteractionRequired { .. } => {
                rule("interaction-required", "prompt=none shows no page", "OpenID Connect Core section 3.1.2.6")
            }
            Self::AccessDenied => rule("access-denied", "the person decides", "RFC 6749 section 4.1.2.1"),
            Self::IdTokenHintInvalid { .. } => {
                rule("id-token-hint-invalid", "a hint is an ID token of ours", "OpenID Connect Core section 3.1.2.1")
            }
            Self::EncryptionKeyMissing { .. } => rule(
                "encryption-key-missing",
                "who wants encryption has a key to encrypt to",
                "OpenID Connect Core section 10.2, OpenID Connect Registration section 2",
            ),
            Self::InteractionUnknown => {
                rule("interaction-unknown", "a sign-in belongs to the browser that began it", "Chancery security requirement R-22")
            }
            Self::InteractionExpired { .. } => rule("interaction-expired", "a sign-in takes a limited time", "Chancery design 4.8"),
            Self::CsrfMismatch => rule("csrf-mismatch", "a form belongs to its browser", "Chancery security requirement R-51"),
            Self::CrossSiteForm { .. } => {
                rule("cross-site-form", "forms come from this server's pages", "Chancery security requirement R-51")
            }
            Self::SignInFailed { .. } => {
                rule("sign-in-failed", "the person proves who they are", "OpenID Connect Core section 3.1.2.3")
            }
            Self::FactorFailed { .. } => {
                rule("factor-failed", "a second factor is proved, and each code counts once", "RFC 6238 section 5.2")
            }
            Self::SignInThrottled { .. } => {
                rule("sign-in-throttled", "guessing is slowed down", "Chancery security requirement R-55")
            }
            Self::Overloaded { .. } => {
                rule("overloaded", "the server answers within its means", "Chancery security requirements R-56 and R-79")
            }
            Self::TooManyOpenRequests { .. } => {
                rule("too-many-open-requests", "what nobody signed in for is rationed", "Chancery security requirement R-77")
            }
            Self::TooManyUnknownTokens { .. } => {
                rule("too-many-unknown-tokens", "tokens are not found by trying", "RFC 7662 section 4")
            }
            Self::LogoutUndelivered { .. } => {
                rule("logout-undelivered", "a client takes its logout tokens", "OpenID Connect Back-Channel Logout section 2.8")
            }
            Self::UnsupportedGrantType { .. } => {
                rule("unsupported-grant-type", "grant_type is one that is offered", "RFC 6749 section 5.2, RFC 9700 section 2.4")
            }
            Self::UnauthorizedGrantType { .. } => rule(
                "unauthorized-grant-type",
                "clients use grants that they are registered for",
                "RFC 6749 section 5.2, RFC 7591 section 2",
            ),
            Self::CodeUnknown => rule("code-unknown", "the code was issued here", "RFC 6749 sections 4.1.3 and 5.2"),
            Self::CodeExpired { .. } => rule("code-expired", "codes live for a short time", "RFC 6749 section 4.1.2"),
            Self::CodeReplayed { .. } => rule("code-replayed", "a code works once", "RFC 6749 section 4.1.2, RFC 9700 section 4.5"),
            Self::CodeRetried { .. } => rule("code-retried", "a code works once", "RFC 6749 section 4.1.2, Chancery design 4.3"),
            Self::CodeOfAnotherClient { .. } => {
                rule("code-of-another-client", "a code belongs to the client that it was issued to", "RFC 6749 section 4.1.3")
            }
            Self::CodeRedirectUriMismatch { .. } => {
                rule("code-redirect-uri-mismatch", "redirect_uri is the one of the authorization request", "RFC 6749 section 4.1.3")
            }
            Self::VerifierMissing => rule("verifier-missing", "a code with a challenge needs its verifier", "RFC 7636 section 4.5"),
            Self::VerifierMalformed { .. } => {
                rule("verifier-malformed", "the verifier follows its grammar", "RFC 7636 section 4.1")
            }
            Self::VerifierWrong { .. } => rule("verifier-wrong", "the verifier matches the challenge", "RFC 7636 section 4.6"),
            Self::VerifierWithoutChallenge => {
                rule("verifier-without-challenge", "no verifier without a challenge", "RFC 9700 section 4.8.2")
            }
            Self::RefreshTokenUnknown => {
                rule("refresh-token-unknown", "the refresh token was issued here", "RFC 6749 sections 6 and 5.2")
            }
            Self::RefreshTokenOfAnotherClient { .. } => rule(
                "refresh-token-of-another-client",
                "a refresh token belongs to the client that it was issued to",
                "RFC 6749 section 6",
            ),
            Self::RefreshFamilyEnded { .. } => {
                rule("refresh-family-ended", "the refresh token was not revoked", "RFC 6749 section 6, RFC 7009")
            }
            Self::RefreshFamilyIdle { .. } => {
                rule("refresh-family-idle", "refresh tokens that nobody uses expire", "RFC 9700 section 4.14.2")
            }
            Self::RefreshFamilyExpired { .. } => {
                rule("refresh-family-expired", "refresh tokens have an absolute lifetime", "Chancery design 4.8")
            }
            Self::RefreshTokenStolen { .. } => rule(
                "refresh-token-stolen",
                "a redeemed refresh token does not come back",
                "RFC 9700 section 4.14.2, Chancery design 4.2",
            ),
            Self::RefreshRecoveryOver { .. } => {
                rule("refresh-recovery-over", "a lost answer can be recovered for a limited time", "Chancery design 4.2")
            }
            Self::RefreshTokenAhead { .. } => {
                rule("refresh-token-ahead", "the database knows every token that it issued", "Chancery design 4.2")
            }
            Self::AuthorizationPending { .. } => {
                rule("authorization-pending", "tokens come after the person's decision", "RFC 8628 section 3.5")
            }
            Self::SlowDown { .. } => rule("slow-down", "a device asks no faster than it was told", "RFC 8628 section 3.5"),
            Self::DeviceCodeUnknown => {
                rule("device-code-unknown", "the device code was issued here", "RFC 8628 section 3.4, RFC 6749 section 5.2")
            }
            Self::DeviceCodeOfAnotherClient { .. } => rule(
                "device-code-of-another-client",
                "a device code belongs to the client that it was issued to",
                "RFC 8628 section 3.4, RFC 6749 section 5.2",
            ),
            Self::DeviceCodeExpired { .. } => {
                rule("device-code-expired", "device codes live for a limited time", "RFC 8628 sections 3.2 and 3.5")
            }
            Self::DeviceCodeReplayed { .. } => {
                rule("device-code-replayed", "a device code works once", "RFC 8628 section 3.5, Chancery design 4.3")
            }
            Self::DeviceCodeRetried { .. } => {
                rule("device-code-retried", "a device code works once", "RFC 8628 section 3.5, Chancery design 4.3")
            }
            Self::DeviceCodeWithdrawn => rule("device-code-withdrawn", "the authorization stands", "Chancery design 3"),
            Self::DeviceDenied => rule("device-denied", "the person decides", "RFC 8628 section 3.5"),
            Self::UserCodeUnknown => rule("user-code-unknown", "the code is one that a device shows", "RFC 8628 section 3.3"),
            Self::UserCodeExpired { .. } => {
                rule("user-code-expired", "user codes live for a limited time", "RFC 8628 sections 3.2 and 5.1")
            }
            Self::UserCodeOfAnotherPerson => rule(
                "user-code-of-another-person",
                "the first who looks at a code decides about it",
                "Chancery security requirement R-65",
            ),
            Self::UserCodeSpent => rule("user-code-spent", "a code is decided about once", "RFC 8628 section 3.3"),
            Self::UserCodeThrottled { .. } => rule(
                "user-code-throttled",
                "guessing codes is slowed down",
                "RFC 8628 section 5.1, Chancery security requirement R-65",
            ),
            Self::GrantEnded { .. } => rule("grant-ended", "the authorization stands", "Chancery design 4.1"),
            Self::SessionEnded => rule(
                "session-ended",
                "without offline_access a grant ends with its browser session",
                "OpenID Connect Core section 11, Chancery design 4.2",
            ),
            Self::UserDisabled { .. } => {
                rule("user-disabled", "the person's account is enabled", "Chancery security requirement R-09")
            }
            Self::UserGone => rule("user-gone", "the person's account exists", "Chancery security requirement R-09"),
            Self::StateChanged => rule("state-changed", "a decision holds until it is written", "Chancery design 3"),
            Self::TokenMissing => rule("token-missing", "the request carries an access token", "RFC 6750 sections 2 and 3"),
            Self::TokenSentTwice => rule("token-sent-twice", "one way of sending the token", "RFC 6750 section 2"),
            Self::TokenMalformed { .. } => {
                rule("token-malformed", "the token is one of ours", "RFC 6750 section 3.1, RFC 9068 section 4")
            }
            Self::TokenSignatureInvalid { .. } => {
                rule("token-signature-invalid", "the token's signature verifies", "RFC 9068 section 4, RFC 7515 section 5.2")
            }
            Self::TokenExpired { .. } => {
                rule("token-expired", "the token has not expired", "RFC 9068 section 4, RFC 7519 section 4.1.4")
            }
            Self::TokenFromTheFuture { .. } => {
                rule("token-from-the-future", "the token was issued in the past", "RFC 7519 section 4.1.6")
            }
            Self::TokenWrongIssuer { .. } => rule("token-wrong-issuer", "the token's issuer is this server", "RFC 9068 section 4"),
            Self::TokenWrongAudience { .. } => {
                rule("token-wrong-audience", "the token is meant for who receives it", "RFC 9068 section 4, Chancery design 4.4")
            }
            Self::TokenRevoked { .. } => rule("token-revoked", "the token was not revoked", "RFC 7009, Chancery design 4.4"),
            Self::InsufficientScope { .. } => rule("insufficient-scope", "the token has the scope", "RFC 6750 section 3.1"),
            Self::IntrospectionNotAllowed { .. } => {
                rule("introspection-not-allowed", "who introspects authenticates", "RFC 7662 section 2.1")
            }
            Self::ClientMetadataRefused { .. } => {
                rule("client-metadata-refused", "metadata is checked as a whole", "RFC 7591 sections 2 and 3.2.2")
            }
            Self::SoftwareStatementUnsupported => {
                rule("software-statement-unsupported", "nobody speaks for a client but itself", "RFC 7591 sections 2.3 and 3.2.2")
            }
            Self::InitialAccessTokenRefused { .. } => {
                rule("initial-access-token-refused", "who registers has a token for it", "RFC 7591 section 3")
            }
            Self::RegistrationAccessRefused { .. } => rule(
                "registration-access-refused",
                "a client is managed with its own registration access token",
                "RFC 7592 section 2",
            ),
            Self::TooManyRegistrations { .. } => {
                rule("too-many-registrations", "what nobody signed in for is rationed", "Chancery security requirement R-77")
            }
            Self::PostLogoutRedirectUriMismatch { .. } => rule(
                "post-logout-redirect-uri-mismatch",
                "the post-logout URI is a registered one",
                "OpenID Connect RP-Initiated Logout section 3",
            ),
            Self::PostLogoutRedirectUriWithoutHint => rule(
                "post-logout-redirect-uri-without-hint",
                "no redirect without a valid hint",
                "OpenID Connect RP-Initiated Logout section 3, Chancery design 7",
            ),
            Self::StorageUnavailable { .. } => rule(
                "storage-unavailable",
                "nothing is acknowledged that is not stored",
                "Chancery security requirements R-11 and R-91",
            ),
            Self::Internal { .. } => rule("internal", "the server works", "RFC 6749 section 4.1.2.1, server_error"),
            Self::NotFound { .. } => rule("not-found", "the address exists", "RFC 9110 section 15.5.5"),
            Self::MethodNotAllowed { .. } => rule("method-not-allowed", "the method fits the endpoint", "RFC 9110 section 15.5.6"),
            Self::AdminNotFound { .. } => rule("admin-not-found", "what is named exists", "RFC 9110 section 15.5.5"),
            Self::WrongMediaType { .. } => rule("wrong-media-type", "documents are JSON", "RFC 9110 section 15.5.16"),
            Self::DocumentRefused { .. } => {
                rule("document-refused", "documents are checked as a whole", "Chancery security requirements R-31 and R-72")
            }
            Self::AdminConflict { .. } => rule("admin-conflict", "the change fits what is there", "RFC 9110 section 15.5.10"),
            Self::PreconditionFailed { .. } => {
                rule("precondition-failed", "it is still as the caller saw it", "RFC 9110 section 13.1")
            }
            Self::AdminForbidden { .. } => {
                rule("admin-forbidden", "administration needs the right", "Chancery security requirement R-70")
            }
        }
    }
}
