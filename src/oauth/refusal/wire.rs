//! What the caller may see: RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, OpenID Connect Core §3.1.2.6, RFC 8707 §2, RFC 9101 §6.3.
//!
//! A description may name the parameter and repeat what the caller sent, cut and cleaned. It never tells a registered value,
//! whether a person exists, or why a sign-in failed. Everything that could tell an unknown client from a wrong secret is one answer.

use super::Reason;
use crate::oauth::client::GrantType;

/// An error as the protocol says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// The registered error code.
    pub error: &'static str,
    /// HTTP status where the error is the response itself and not part of a redirect.
    pub status: u16,
    /// Of the characters of RFC 6749 §5.2: `%x20-21 / %x23-5B / %x5D-7E`.
    pub description: String,
    /// The WWW-Authenticate header of a 401 or 403.
    pub authenticate: Option<Challenge>,
    /// Seconds for the Retry-After header of a 429 or 503.
    pub retry_after: Option<u64>,
}

/// A WWW-Authenticate challenge (RFC 9110 §11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Client authentication failed (RFC 6749 §5.2).
    Basic,
    /// An access token is missing, wrong or too weak (RFC 6750 §3). Without `error` when none was sent.
    Bearer { error: Option<&'static str>, description: String, scope: Option<String> },
}

impl Challenge {
    /// The header's value; `realm` is the issuer.
    pub fn header(&self, realm: &str) -> String {
        let realm = sanitise(realm, 500);
        match self {
            Self::Basic => format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            Self::Bearer { error: None, .. } => format!("Bearer realm=\"{realm}\""),
            Self::Bearer { error: Some(error), description, scope } => {
                let scope = scope.as_ref().map(|scope| format!(", scope=\"{}\"", sanitise(scope, 500))).unwrap_or_default();
                format!("Bearer realm=\"{realm}\", error=\"{error}\", error_description=\"{description}\"{scope}")
            }
        }
    }
}

/// Text fit for an error_description: quotes become apostrophes, backslashes slashes, everything else outside of printable
/// ASCII a question mark; at most `limit` characters.
pub fn sanitise(text: &str, limit: usize) -> String {
    let mut out: String = text
        .chars()
        .take(limit)
        .map(|letter| match letter {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => letter,
            _ => '?',
        })
        .collect();
    if text.chars().nth(limit).is_some() {
        out.push_str("...");
    }
    out
}

/// A value that the caller sent, as a description shows it.
fn shown(value: &str) -> String {
    sanitise(value, 80)
}

/// The one answer for everything that is wrong with who the client says it is (security.md R-27).
const CLIENT_AUTHENTICATION: &str = "Client authentication failed: the client_id is unknown, the secret or assertion is wrong or has ended, or the \
     authentication method is not the one that the client is registered for. The server's decision record says which.";

impl Reason {
    /// The error as the caller may see it.
    pub fn wire(&self) -> Wire {
        match self {
            Self::DuplicateParameter { name } => {
                bad("invalid_request", format!("The parameter {} was sent more than once.", shown(name)))
            }
            Self::MissingParameter { name } => {
                bad("invalid_request", format!("The parameter {} is missing or has no value.", shown(name)))
            }
            Self::MalformedParameter { name, received, detail } => bad(
                "invalid_request",
                format!("The parameter {} cannot be read: {}. Received: {}", shown(name), sanitise(detail, 160), shown(received)),
            ),
            Self::ParameterTooLong { name, limit } => {
                bad("invalid_request", format!("The parameter {} is longer than {limit} bytes.", shown(name)))
            }
            Self::WrongContentType { received } => {
                let received = received.as_deref().map_or_else(|| "none".to_owned(), shown);
                bad("invalid_request", format!("The Content-Type must be application/x-www-form-urlencoded. Received: {received}"))
            }
            Self::BodyTooLarge { limit } => {
                Wire { status: 413, ..bad("invalid_request", format!("The body is longer than {limit} bytes.")) }
            }
            Self::CredentialsInQuery { name } => bad(
                "invalid_request",
                format!("{} was sent in the URL, where it ends in logs and histories. Send it in the body or a header, and replace it.", shown(name)),
            ),
            Self::WrongIssuer { .. } => not_found("This server has no issuer at this address. Take the issuer exactly as it is configured."),

            Self::UnknownClient { .. }
            | Self::ClientAssertionAlgorithm { .. }
            | Self::ClientAssertionOfAnotherClient { .. }
            | Self::ClientAssertionAudience { .. }
            | Self::ClientAssertionTime { .. }
            | Self::ClientAssertionReplayed { .. }
            | Self::ClientSignatureWrong { .. }
            | Self::ClientKeysUnavailable { .. }
            | Self::WrongClientSecret { .. }
            | Self::WrongClientAuthenticationMethod { .. }
            | Self::ClientAuthenticationMissing { client_id: Some(_), .. } => invalid_client(CLIENT_AUTHENTICATION),
            Self::ClientAuthenticationMissing { client_id: None, .. } => {
                invalid_client("The request carries neither client credentials nor a client_id.")
            }
            Self::ClientDisabled { .. } => invalid_client("This client is disabled."),
            Self::ClientAssertionMalformed { detail, .. } => {
                invalid_client(&format!("The client assertion cannot be read: {}.", sanitise(detail, 160)))
            }
            Self::MalformedAuthorization { detail } => {
                invalid_client(&format!("The Authorization header is not one well-formed Basic header: {}.", sanitise(detail, 160)))
            }
            Self::SeveralClientAuthenticationMethods { received } => bad(
                "invalid_request",
                format!("The client authenticated in more than one way: {}. Use the registered one alone.", shown(&received.join(", "))),
            ),
            Self::ClientIdMismatch { received, .. } => bad(
                "invalid_request",
                format!("The client_id in the body is not the one in the Authorization header. Received in the body: {}", shown(received)),
            ),

            Self::RedirectUriMissing { .. } => bad("invalid_request", "The parameter redirect_uri is missing or has no value.".to_owned()),
            Self::RedirectUriMismatch { received, .. } => bad(
                "invalid_request",
                format!("The redirect_uri is not registered for this client; it is compared character by character. Received: {}", sanitise(received, 200)),
            ),
            Self::ClientMayNotAuthorize { .. } => {
                bad("unauthorized_client", "This client is not registered for the authorization_code grant.".to_owned())
            }
            Self::UnsupportedResponseType { received } => bad(
                "unsupported_response_type",
                format!(
                    "Only response_type=code is supported, with PKCE; implicit and hybrid are not offered, since tokens in URLs leak. Received: {}",
                    shown(received)
                ),
            ),
            Self::UnsupportedResponseMode { received } => {
                bad("invalid_request", format!("The response_mode must be query, or form_post where the redirect_uri is http or https. Received: {}", shown(received)))
            }
            Self::PkceMissing { .. } => bad(
                "invalid_request",
                "PKCE is required: send code_challenge and code_challenge_method=S256, and code_verifier to the token endpoint.".to_owned(),
            ),
            Self::PkceMethodUnsupported { received } => bad(
                "invalid_request",
                match received {
                    Some(received) => format!("The code_challenge_method must be S256. Received: {}", shown(received)),
                    None => "The code_challenge_method is missing, which means plain; it must be S256.".to_owned(),
                },
            ),
            Self::PkceChallengeMalformed { received } => bad(
                "invalid_request",
                format!("The code_challenge must be SHA-256 of the verifier in base64url without padding, 43 characters. Received: {}", shown(received)),
            ),
            Self::ScopeUnknown { scope } => bad("invalid_scope", format!("No API of this server has the scope {}.", shown(scope))),
            Self::ScopeNotAllowed { scope, .. } => bad("invalid_scope", format!("The scope {} may not be asked for here.", shown(scope))),
            Self::ScopeMalformed { received } => bad(
                "invalid_scope",
                format!("The scope must be at most 100 names of printable ASCII without quotes, separated by spaces. Received: {}", shown(received)),
            ),
            Self::ResourceMalformed { received } => {
                bad("invalid_target", format!("The resource must be an absolute URI without fragment. Received: {}", shown(received)))
            }
            Self::ResourceNotAllowed { resource, .. } => {
                bad("invalid_target", format!("The resource is unknown or not open to this client. Received: {}", shown(resource)))
            }
            Self::ResourcesDisagree { about, .. } => bad(
                "invalid_target",
                format!("One access token cannot serve these resources together, they differ in {}. Ask for one with the resource parameter.", shown(about)),
            ),
            Self::ClaimsTooLarge { .. } => bad(
                "invalid_request",
                "What the token would say about the person is too large. The operator can make it smaller.".to_owned(),
            ),
            Self::PromptInvalid { received } => bad(
                "invalid_request",
                format!("The prompt must be none alone, or some of login, consent, select_account. Received: {}", shown(received)),
            ),
            Self::RequestObjectUnsupported => {
                bad("request_not_supported", "Unsigned request objects are not supported; sign it, or send plain parameters.".to_owned())
            }
            Self::RequestObjectInvalid { detail } => {
                bad("invalid_request_object", format!("The request object cannot be accepted: {}.", sanitise(detail, 160)))
            }
            Self::RequestObjectUnverified { .. } => {
                bad("invalid_request_object", "The request object is not signed with a key of this client.".to_owned())
            }
            Self::RequestObjectMissing { .. } => bad("invalid_request", "This client has to send its requests as signed request objects.".to_owned()),
            Self::RequestUriUnsupported => {
                bad("request_uri_not_supported", "The request_uri parameter is not supported; send plain parameters.".to_owned())
            }
            Self::RegistrationParameterUnsupported => {
                bad("registration_not_supported", "The registration parameter is not supported; register the client beforehand.".to_owned())
            }
            Self::LoginRequired { .. } => bad("login_required", "The person has to sign in, and prompt=none forbids to ask.".to_owned()),
            Self::ConsentRequired { .. } => {
                bad("consent_required", "The person has to be asked for consent, and prompt=none forbids to ask.".to_owned())
            }
            Self::AcrUnmet { .. } => bad(
                "unmet_authentication_requirements",
                "None of the acr values that the claims parameter makes essential can be reached by this person here.".to_owned(),
            ),
            Self::InteractionRequired { .. } => {
                bad("interaction_required", "The person has to see a page, and prompt=none forbids to show one.".to_owned())
            }
            Self::AccessDenied => bad("access_denied", "The person did not allow it.".to_owned()),
            Self::IdTokenHintInvalid { .. } => bad(
                "invalid_request",
                "The id_token_hint is not an ID token that this server issued to this client. If yours came encrypted, send the signed one that is inside.".to_owned(),
            ),
            Self::EncryptionKeyMissing { .. } => {
                bad("invalid_request", "The client is registered for encryption, and has no key that fits. Register one.".to_owned())
            }
            Self::InteractionUnknown => {
                bad("invalid_request", "This sign-in is over, or was begun in another browser. Go back to the application and begin again.".to_owned())
            }
            Self::InteractionExpired { .. } => {
                bad("invalid_request", "This sign-in took too long. Go back to the application and begin again.".to_owned())
            }

            Self::CsrfMismatch => forbidden("access_denied", "The form does not belong to this browser. Load the page again."),
            Self::CrossSiteForm { .. } => forbidden("access_denied", "The form was sent from another site."),
            Self::SignInFailed { .. } => bad("access_denied", "The username or the password is wrong.".to_owned()),
            Self::FactorFailed { .. } => bad("access_denied", "The second factor was not proved.".to_owned()),
            Self::SignInThrottled { retry_after, .. } => Wire {
                status: 429,
                retry_after: Some(*retry_after),
                ..bad("temporarily_unavailable", "There were too many failed attempts. Wait a while and try again.".to_owned())
            },
            Self::Overloaded { retry_after } => unavailable("The server is busy. Try again in a moment.", *retry_after),
            Self::TooManyOpenRequests { retry_after, .. } => Wire {
                status: 429,
                retry_after: Some(*retry_after),
                ..bad("temporarily_unavailable", "Too many sign-ins were begun and not ended. Wait a while and try again.".to_owned())
            },
            Self::TooManyUnknownTokens { retry_after, .. } => Wire {
                status: 429,
                retry_after: Some(*retry_after),
                ..bad("temporarily_unavailable", "Too many tokens came that were never issued. Tokens of this server are still answered.".to_owned())
            },

            // Told to nobody.
            Self::LogoutUndelivered { .. } => bad("invalid_request", "The client did not take a logout token.".to_owned()),
            Self::UnsupportedGrantType { received } => bad(
                "unsupported_grant_type",
                match received.as_str() {
                    "password" => "The password grant is not offered, since applications must not see passwords. Use the authorization_code grant with PKCE.".to_owned(),
                    "implicit" => "The implicit grant is not offered, since tokens in URLs leak. Use the authorization_code grant with PKCE.".to_owned(),
                    other => format!(
                        "The grant_type must be one of {}. Received: {}",
                        GrantType::ALL.map(GrantType::as_str).join(", "),
                        shown(other)
                    ),
                },
            ),
            Self::UnauthorizedGrantType { grant_type, .. } => {
                bad("unauthorized_client", format!("This client is not registered for the grant {}.", shown(grant_type)))
            }
            // the code of another client looks like one that never was.
            Self::CodeUnknown | Self::CodeOfAnotherClient { .. } => {
                bad("invalid_grant", "The code is not one that this server issued to this client.".to_owned())
            }
            Self::CodeExpired { .. } => bad("invalid_grant", "The code has expired. Codes must be redeemed at once.".to_owned()),
            Self::CodeReplayed { .. } | Self::CodeRetried { .. } => {
                bad("invalid_grant", "The code has been redeemed before. A code works once.".to_owned())
            }
            Self::CodeRedirectUriMismatch { received, .. } => bad(
                "invalid_grant",
                match received {
                    Some(received) => {
                        format!("The redirect_uri is not the one of the authorization request. Received: {}", sanitise(received, 200))
                    }
                    None => "The redirect_uri is missing; it must be the one of the authorization request.".to_owned(),
                },
            ),
            Self::VerifierMissing => bad("invalid_grant", "The code_verifier is missing; the authorization request carried a code_challenge.".to_owned()),
            Self::VerifierMalformed { length } => bad(
                "invalid_grant",
                format!("The code_verifier must have 43 to 128 characters of A-Z a-z 0-9 - . _ ~. It has {length} characters."),
            ),
            Self::VerifierWrong { .. } => bad("invalid_grant", "The code_verifier does not match the code_challenge of the authorization request.".to_owned()),
            Self::VerifierWithoutChallenge => {
                bad("invalid_grant", "There is a code_verifier, but the authorization request carried no code_challenge.".to_owned())
            }
            Self::RefreshTokenUnknown | Self::RefreshTokenOfAnotherClient { .. } => {
                bad("invalid_grant", "The refresh token is not one that this server issued to this client.".to_owned())
            }
            Self::RefreshFamilyEnded { .. } => bad("invalid_grant", "The refresh token has been revoked.".to_owned()),
            Self::RefreshFamilyIdle { .. } => bad("invalid_grant", "The refresh token has expired: it was not used for too long.".to_owned()),
            Self::RefreshFamilyExpired { .. } => bad("invalid_grant", "The refresh token has expired.".to_owned()),
            Self::RefreshTokenStolen { .. } => {
                bad("invalid_grant", "The refresh token was used before. For safety everything issued with it has been revoked.".to_owned())
            }
            Self::RefreshRecoveryOver { .. } => bad("invalid_grant", "The refresh token was used before and is out of date.".to_owned()),
            Self::RefreshTokenAhead { .. } => bad("invalid_grant", "The refresh token is not known in this state.".to_owned()),
            Self::AuthorizationPending { interval } => {
                bad("authorization_pending", format!("The person has not decided yet. Ask again in {interval} seconds."))
            }
            Self::SlowDown { interval, .. } => {
                bad("slow_down", format!("The person has not decided yet, and this came too soon. From now on ask every {interval} seconds."))
            }
            // the code of another client looks like one that never was.
            Self::DeviceCodeUnknown | Self::DeviceCodeOfAnotherClient { .. } => {
                bad("invalid_grant", "The device code is not one that this server issued to this client.".to_owned())
            }
            Self::DeviceCodeExpired { .. } => bad("expired_token", "Nobody decided in time. Begin again with a new code.".to_owned()),
            Self::DeviceCodeReplayed { .. } | Self::DeviceCodeRetried { .. } => {
                bad("invalid_grant", "The device code has been redeemed before. It works once.".to_owned())
            }
            Self::DeviceCodeWithdrawn => bad("invalid_grant", "The authorization behind this has ended.".to_owned()),
            Self::DeviceDenied => bad("access_denied", "The person did not allow it.".to_owned()),
            // Which of them it is tells whose guess was near.
            Self::UserCodeUnknown | Self::UserCodeExpired { .. } | Self::UserCodeOfAnotherPerson | Self::UserCodeSpent => {
                bad("invalid_request", "This code is not valid, or not any more. Check the code on the device, or let it show a new one.".to_owned())
            }
            Self::UserCodeThrottled { retry_after, .. } => Wire {
                status: 429,
                retry_after: Some(*retry_after),
                ..bad("temporarily_unavailable", "Too many codes did not fit. Wait a while and try again.".to_owned())
            },
            Self::GrantEnded { .. } => bad("invalid_grant", "The authorization behind this has ended.".to_owned()),
            Self::SessionEnded => bad("invalid_grant", "The browser session that this authorization lives with has ended.".to_owned()),
            // Whether and how a person's account exists is nobody's business here.
            Self::UserDisabled { .. } | Self::UserGone => bad("invalid_grant", "The authorization behind this has ended.".to_owned()),
            Self::StateChanged => unavailable("Something changed while the request was decided. Try again.", 1),

            Self::TokenMissing => bearer_missing(),
            Self::TokenSentTwice => bad("invalid_request", "The access token was sent in more than one way. Use the Authorization header.".to_owned()),
            Self::TokenMalformed { .. } => invalid_token("This is not an access token of this server."),
            Self::TokenSignatureInvalid { .. } => invalid_token("The access token's signature does not verify."),
            Self::TokenExpired { .. } => invalid_token("The access token has expired."),
            Self::TokenFromTheFuture { .. } => invalid_token("The access token's time of issue lies in the future."),
            Self::TokenWrongIssuer { .. } => invalid_token("The access token was issued by another server."),
            Self::TokenWrongAudience { .. } => invalid_token("The access token was issued for another audience."),
            Self::TokenRevoked { .. } => invalid_token("The access token has been revoked."),
            Self::InsufficientScope { needed, .. } => {
                insufficient_scope(format!("The access token lacks the scope {}.", shown(needed)), Some(needed.clone()))
            }
            Self::IntrospectionNotAllowed { .. } => {
                forbidden("unauthorized_client", "This client may not introspect tokens; introspection needs a client that authenticates.")
            }

            Self::ClientMetadataRefused { member, code, detail } => bad(
                code.as_str(),
                match member {
                    Some(member) => format!("The member {} cannot be registered: it {}", shown(member), sanitise(detail, 400)),
                    None => format!("The client metadata {}", sanitise(detail, 400)),
                },
            ),
            Self::SoftwareStatementUnsupported => bad(
                "invalid_software_statement",
                "Software statements are not supported. Send the metadata as plain members.".to_owned(),
            ),
            // Which of them it is helps nobody but a guesser.
            Self::InitialAccessTokenRefused { .. } => {
                invalid_token("The initial access token is unknown, has expired, or all its registrations were used.")
            }
            Self::RegistrationAccessRefused { .. } => invalid_token("The registration access token does not open this client."),
            Self::TooManyRegistrations { scope, retry_after, .. } => {
                let many = match scope.as_str() {
                    "client" => "This client has changed itself too often.",
                    _ => "Too many clients were registered and not used.",
                };
                Wire {
                    status: 429,
                    retry_after: Some(*retry_after),
                    ..bad("temporarily_unavailable", format!("{many} Wait a while and try again."))
                }
            }

            Self::PostLogoutRedirectUriMismatch { received, .. } => bad(
                "invalid_request",
                format!("The post_logout_redirect_uri is not registered; it is compared character by character. Received: {}", sanitise(received, 200)),
            ),
            Self::PostLogoutRedirectUriWithoutHint => {
                bad("invalid_request", "A post_logout_redirect_uri needs an id_token_hint that this server issued.".to_owned())
            }

            Self::StorageUnavailable { .. } => unavailable("The server cannot reach its storage. Nothing was changed; try again.", 2),
            Self::Internal { .. } => {
                Wire { status: 500, ..bad("server_error", "The server made a mistake. The trace id leads its operator to the cause.".to_owned()) }
            }
            Self::NotFound { .. } => not_found("There is nothing at this address."),
            Self::MethodNotAllowed { method, allowed } => {
                let which = if allowed.is_empty() { "the header Allow names those that it does".to_owned() } else { format!("it does to {}", shown(allowed)) };
                Wire { status: 405, ..bad("invalid_request", format!("This address does not answer to {}; {which}.", shown(method))) }
            }
            Self::AdminNotFound { kind, id } => not_found(&format!("There is no {} {}.", shown(kind), shown(id))),
            Self::WrongMediaType { expected, received } => {
                let received = received.as_deref().map_or_else(|| "none".to_owned(), shown);
                Wire { status: 415, ..bad("invalid_request", format!("The Content-Type must be {expected}. Received: {received}")) }
            }
            Self::DocumentRefused { member: Some(member), detail } => {
                Wire { status: 422, ..bad("invalid_request", format!("The member {} is not acceptable: {}", shown(member), sanitise(detail, 500))) }
            }
            Self::DocumentRefused { member: None, detail } => bad("invalid_request", format!("The document is {}.", sanitise(detail, 500))),
            Self::AdminConflict { detail, .. } => Wire { status: 409, ..bad("invalid_request", format!("It does not fit what is there: {}", sanitise(detail, 500))) },
            Self::PreconditionFailed { expected, present } => Wire {
                status: 412,
                ..bad("invalid_request", format!("It is not as it was. Expected: {}. There is: {}.", shown(expected), shown(present)))
            },
            Self::AdminForbidden { needed } => insufficient_scope(format!("This needs the scope {}.", shown(needed)), Some(needed.clone())),
        }
    }

    /// What a page tells a person: as the wire, except that nobody on a page tried to authenticate a client.
    pub fn page_description(&self) -> String {
        match self {
            Self::UnknownClient { client_id } => {
                format!("No application is registered here under this client_id. Received: {}", shown(client_id))
            }
            other => other.wire().description,
        }
    }

    /// HTTP status when the refusal is a page for a person: as [`Reason::wire`] says, but a browser is never asked for credentials.
    pub fn page_status(&self) -> u16 {
        match self.wire().status {
            401 => 400,
            status => status,
        }
    }
}

fn bad(error: &'static str, description: String) -> Wire {
    Wire { error, status: 400, description, authenticate: None, retry_after: None }
}

fn forbidden(error: &'static str, description: &str) -> Wire {
    Wire { status: 403, ..bad(error, description.to_owned()) }
}

fn not_found(description: &str) -> Wire {
    Wire { status: 404, ..bad("invalid_request", description.to_owned()) }
}

fn unavailable(description: &str, retry_after: u64) -> Wire {
    Wire { status: 503, retry_after: Some(retry_after), ..bad("temporarily_unavailable", description.to_owned()) }
}

/// RFC 6749 §5.2: 401 with the scheme that the client may use.
fn invalid_client(description: &str) -> Wire {
    Wire { status: 401, authenticate: Some(Challenge::Basic), ..bad("invalid_client", description.to_owned()) }
}

/// RFC 6750 §3.1: a request without any token gets a bare challenge.
fn bearer_missing() -> Wire {
    let description = "An access token is needed, in the Authorization header with the scheme Bearer.".to_owned();
    let authenticate = Some(Challenge::Bearer { error: None, description: description.clone(), scope: None });
    Wire { status: 401, authenticate, ..bad("invalid_token", description) }
}

fn invalid_token(description: &str) -> Wire {
    let authenticate = Some(Challenge::Bearer { error: Some("invalid_token"), description: description.to_owned(), scope: None });
    Wire { status: 401, authenticate, ..bad("invalid_token", description.to_owned()) }
}

fn insufficient_scope(description: String, scope: Option<String>) -> Wire {
    let authenticate = Some(Challenge::Bearer { error: Some("insufficient_scope"), description: description.clone(), scope });
    Wire { status: 403, authenticate, ..bad("insufficient_scope", description) }
}
