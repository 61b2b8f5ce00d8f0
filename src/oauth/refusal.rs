//! Why a request is refused: rich reasons inside, few codes outside.
//!
//! Every refusal in the server is a [`Reason`]. Three exhaustive matches (no wildcard arm) give it its three faces:
//! [`Reason::wire`] is what the caller may see (RFC 6749 §5.2 and relatives), [`Reason::rule`] names the rule and its source, and
//! [`Reason::story`] is what an operator reads with `chancery explain`: expected, received, first difference, what to do.
//! Nothing that a caller may see tells a registered value, whether a user exists, or another client's data.

mod rule;
mod story;
#[cfg(test)]
mod tests;
mod wire;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::oauth::client::MetadataCode;
use crate::oauth::device::Pace;
use crate::oauth::registration::{AccessFault, TokenFault};

pub use rule::Rule;
pub use story::Story;
pub use wire::{Challenge, Wire, sanitise};

/// A request was refused; carried by every decision of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, with all that is known. For the decision record.
    pub reason: Reason,
    /// What must happen all the same, in a transaction that commits although the answer is an error.
    pub effect: Effect,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, effect: Effect::None }
    }
}

/// What a refusal changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The grant behind the artefact ends, and with it everything issued from it (RFC 9700 §4.14.2, RFC 6749 §4.1.2).
    EndGrant(uuid::Uuid),
    /// Nothing, but the audit log says that the database has lost what it acknowledged about this grant (design 4.2).
    ReportLoss(uuid::Uuid),
    /// The device asked while nothing was decided: from now on this is the pace of its code (RFC 8628 §3.5).
    KeepPace(Pace),
}

/// Every reason for which this server says no. Variants carry what the operator needs to understand the case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    // The form of the request.
    /// RFC 6749 §3.1: a parameter was sent twice.
    DuplicateParameter { name: String },
    /// A parameter that is required is missing or empty (RFC 6749 §3.1: empty counts as not sent).
    MissingParameter { name: String },
    /// A parameter breaks its grammar: percent-encoding, UTF-8, control bytes, number format.
    MalformedParameter { name: String, received: String, detail: String },
    /// A parameter or the whole query is longer than its limit in bytes.
    ParameterTooLong { name: String, limit: usize },
    /// The body is not application/x-www-form-urlencoded.
    WrongContentType { received: Option<String> },
    /// The body is longer than the limit in bytes.
    BodyTooLarge { limit: usize },
    /// A client secret, token or other credential was sent in the URL's query.
    CredentialsInQuery { name: String },
    /// A discovery document was asked for below an issuer that is not ours, or under another host name.
    WrongIssuer { expected: String, received: String },

    // The client and its authentication.
    /// No client has this id.
    UnknownClient { client_id: String },
    /// The client exists and was disabled by an operator.
    ClientDisabled { client_id: String },
    /// The Authorization header is not one well-formed Basic header (RFC 6749 §2.3.1, RFC 7617).
    MalformedAuthorization { detail: String },
    /// The request carries no credentials and the client needs them.
    ClientAuthenticationMissing { client_id: Option<String>, registered: String },
    /// More than one authentication method in one request (RFC 6749 §2.3).
    SeveralClientAuthenticationMethods { received: Vec<String> },
    /// The method used is not the registered one.
    WrongClientAuthenticationMethod { client_id: String, registered: String, received: String },
    /// The secret matches none of the client's live secrets.
    WrongClientSecret { client_id: String, live_secrets: usize, expired_match: bool },
    /// A client assertion, or what belongs to it, cannot be read (RFC 7521 §4.2, RFC 7523 §3).
    ClientAssertionMalformed { client_id: Option<String>, detail: String },
    /// Signed by an algorithm that this client may not use.
    ClientAssertionAlgorithm { client_id: String, received: String, allowed: Vec<String> },
    /// iss and sub are not both the client.
    ClientAssertionOfAnotherClient { client_id: String, issuer: String, subject: String },
    /// aud names somebody else, or somebody else too.
    ClientAssertionAudience { client_id: String, accepted: Vec<String>, received: String },
    /// exp, iat or nbf does not fit the clock.
    ClientAssertionTime { client_id: String, at: Timestamp, now: Timestamp, detail: String },
    /// The jti was used before.
    ClientAssertionReplayed { client_id: String, jti: String },
    /// None of the client's keys has signed what it sent.
    ClientSignatureWrong { client_id: String, key: String, detail: String },
    /// The client's keys cannot be had.
    ClientKeysUnavailable { client_id: String, detail: String },
    /// client_id in the body and in the Authorization header differ.
    ClientIdMismatch { authenticated: String, received: String },

    // The authorization request.
    /// No redirect_uri although the client registered several, or OpenID Connect demands it.
    RedirectUriMissing { client_id: String, registered: Vec<String> },
    /// The redirect_uri is none of the registered ones, byte for byte.
    RedirectUriMismatch { client_id: String, registered: Vec<String>, received: String },
    /// The client may not use the authorization code grant at all.
    ClientMayNotAuthorize { client_id: String },
    /// Anything but response_type=code; implicit and hybrid are never offered.
    UnsupportedResponseType { received: String },
    /// Anything but query and form_post.
    UnsupportedResponseMode { received: String },
    /// No code_challenge (RFC 7636 §4.4.1; RFC 9700 §2.1.1).
    PkceMissing { client_id: String },
    /// code_challenge_method is not S256.
    PkceMethodUnsupported { received: Option<String> },
    /// The code_challenge is not 43 base64url characters.
    PkceChallengeMalformed { received: String },
    /// A scope that no resource defines and OpenID does not know.
    ScopeUnknown { scope: String },
    /// A scope that exists but is not among those that the client may ask for.
    ScopeNotAllowed { scope: String, allowed: Vec<String> },
    /// The scope parameter is not a list of scope-tokens (RFC 6749 §3.3).
    ScopeMalformed { received: String },
    /// resource is not an absolute URI without fragment (RFC 8707 §2).
    ResourceMalformed { received: String },
    /// No such resource, or the client has no scope there (RFC 8707 §2: invalid_target).
    ResourceNotAllowed { resource: String, allowed: Vec<String> },
    /// The resources of one access token want different algorithms or formats: one token cannot please them all.
    ResourcesDisagree { resources: Vec<String>, about: String },
    /// The person's groups and roles would make the token larger than those who read it allow.
    ClaimsTooLarge { audience: Vec<String>, claims: Vec<String>, bytes: usize },
    /// prompt holds an unknown value, or none together with another.
    PromptInvalid { received: String },
    /// The request object (RFC 9101) is not signed.
    RequestObjectUnsupported,
    /// The request object cannot be accepted: its form, its algorithm, its claims.
    RequestObjectInvalid { detail: String },
    /// Its signature is not the client's, or the client's keys cannot be had.
    RequestObjectUnverified { client_id: String, detail: String },
    /// Plain parameters of a client that signs its requests.
    RequestObjectMissing { client_id: String },
    /// A request_uri that did not come from the pushed authorization request endpoint.
    RequestUriUnsupported,
    /// The registration parameter of OpenID Connect Core §7 is not supported.
    RegistrationParameterUnsupported,
    /// prompt=none, and nobody is signed in or must sign in again.
    LoginRequired { because: LoginBecause },
    /// prompt=none, and consent would have to be asked.
    ConsentRequired { missing: Vec<String> },
    /// A level of authentication that is a condition was not reached, or cannot be (OpenID Connect Core §5.5.1.1).
    AcrUnmet { wanted: Vec<String>, present: Option<String> },
    /// prompt=none together with something that needs a page.
    InteractionRequired { detail: String },
    /// The person said no.
    AccessDenied,
    /// The id_token_hint is not one of ours, or its key was compromised.
    IdTokenHintInvalid { detail: String },
    /// The client wants its tokens encrypted and has no key for that.
    EncryptionKeyMissing { client_id: String, alg: String, detail: String },
    /// The interaction behind a page is unknown, over, or belongs to another browser.
    InteractionUnknown,
    /// The interaction took longer than allowed.
    InteractionExpired { expired_at: Timestamp, now: Timestamp },

    // The pages.
    /// The form's CSRF token does not belong to this browser.
    CsrfMismatch,
    /// Origin or Sec-Fetch-Site say that another site sent the form.
    CrossSiteForm { origin: Option<String> },
    /// The sign-in failed: the branch is for the operator alone, the page is the same.
    SignInFailed { branch: SignInBranch, identifier: String },
    /// The second factor failed, after the password was right: the branch is for the operator alone, the page is the same.
    FactorFailed { branch: FactorBranch, sub: String },
    /// Too many failures for this account or address.
    SignInThrottled { scope: String, retry_after: u64 },
    /// Too much password hashing is waiting.
    Overloaded { retry_after: u64 },
    /// Too many authorization requests are open for this address or client.
    TooManyOpenRequests { scope: String, limit: u64, retry_after: u64 },
    /// One client asked about too many tokens that nobody issued.
    TooManyUnknownTokens { limit: u64, retry_after: u64 },
    /// A client did not take the word that a session has ended. Nobody had asked for anything: it goes on record alone.
    LogoutUndelivered { client_id: String, attempts: i64, because: String, again_at: Option<Timestamp> },

    // The token endpoint.
    /// grant_type is not one of ours; password and implicit are never offered.
    UnsupportedGrantType { received: String },
    /// The client is not registered for this grant.
    UnauthorizedGrantType { client_id: String, grant_type: String, registered: Vec<String> },
    /// No such code: never issued, swept, or mistyped.
    CodeUnknown,
    /// RFC 6749 §4.1.2: codes are short-lived.
    CodeExpired { expired_at: Timestamp, now: Timestamp },
    /// The code was redeemed before; what was issued from it is revoked.
    CodeReplayed { redeemed_at: Timestamp, now: Timestamp },
    /// The honest retry of design 4.3: refused, nothing revoked.
    CodeRetried { redeemed_at: Timestamp, now: Timestamp },
    /// The code was issued to another client.
    CodeOfAnotherClient { issued_to: String, presented_by: String },
    /// redirect_uri differs from the one in the authorization request (RFC 6749 §4.1.3).
    CodeRedirectUriMismatch { expected: String, received: Option<String> },
    /// No code_verifier although the request carried a challenge (RFC 7636 §4.6).
    VerifierMissing,
    /// The code_verifier is not 43 to 128 unreserved characters (RFC 7636 §4.1).
    VerifierMalformed { length: usize },
    /// SHA-256 of the code_verifier is not the code_challenge (RFC 7636 §4.6).
    VerifierWrong { expected: String, received: String },
    /// A code_verifier for a code without challenge (RFC 9700 §4.8.2: downgrade).
    VerifierWithoutChallenge,
    /// Not a refresh token of ours, or its MAC does not hold.
    RefreshTokenUnknown,
    /// The family belongs to another client.
    RefreshTokenOfAnotherClient { issued_to: String, presented_by: String },
    /// The family was ended: signed out, revoked, stolen earlier.
    RefreshFamilyEnded { ended_at: Timestamp, because: String },
    /// Not used for longer than the idle lifetime.
    RefreshFamilyIdle { last_used_at: Timestamp, expired_at: Timestamp, now: Timestamp },
    /// Older than the absolute lifetime.
    RefreshFamilyExpired { expired_at: Timestamp, now: Timestamp },
    /// A generation that must not come back did: theft. The family and its grant are revoked.
    RefreshTokenStolen { presented: i64, current: i64, redeemed_at: Timestamp, now: Timestamp },
    /// The previous generation of a public client came too late for recovery: refused, nothing revoked.
    RefreshRecoveryOver { presented: i64, current: i64, redeemed_at: Timestamp, now: Timestamp },
    /// A generation above the current one: the database lost commits.
    RefreshTokenAhead { presented: i64, current: i64 },
    /// RFC 8628 §3.5: the person has not decided yet. The device asks again in `interval` seconds.
    AuthorizationPending { interval: u64 },
    /// The same, and it asked too soon, after `waited` seconds; `interval` is the new one.
    SlowDown { interval: u64, waited: u64 },
    /// No such device code: never issued, swept, or mistyped.
    DeviceCodeUnknown,
    /// The device code was issued to another client.
    DeviceCodeOfAnotherClient { issued_to: String, presented_by: String },
    /// RFC 8628 §3.5: nobody decided in time.
    DeviceCodeExpired { expired_at: Timestamp, now: Timestamp },
    /// The device code was redeemed before; what was issued from it is revoked.
    DeviceCodeReplayed { redeemed_at: Timestamp, now: Timestamp },
    /// Two polls crossed: the later one is refused, nothing revoked.
    DeviceCodeRetried { redeemed_at: Timestamp, now: Timestamp },
    /// Taken back before it was redeemed.
    DeviceCodeWithdrawn,
    /// The person said no to the device.
    DeviceDenied,
    /// What somebody typed is no user code of ours.
    UserCodeUnknown,
    /// Its time is over.
    UserCodeExpired { expired_at: Timestamp, now: Timestamp },
    /// Another person looked at it first.
    UserCodeOfAnotherPerson,
    /// It was decided before.
    UserCodeSpent,
    /// Too many user codes that were none.
    UserCodeThrottled { scope: String, retry_after: u64 },
    /// The grant behind the artefact has ended.
    GrantEnded { because: String },
    /// The browser session that the grant lives with has ended.
    SessionEnded,
    /// The user was disabled.
    UserDisabled { sub: String },
    /// The user does not exist any more.
    UserGone,
    /// Between reading and writing, something that the decision rested on changed, twice.
    StateChanged,

    // Tokens presented to us.
    /// No access token where one is needed.
    TokenMissing,
    /// Two ways of sending the token in one request (RFC 6750 §2).
    TokenSentTwice,
    /// Not a token that we could have issued.
    TokenMalformed { detail: String },
    /// The signature does not verify, or the key is not (any more) ours.
    TokenSignatureInvalid { kid: Option<String> },
    /// exp has passed.
    TokenExpired { expired_at: Timestamp, now: Timestamp },
    /// iat lies ahead of our clock: clock skew between replicas, or a restored machine.
    TokenFromTheFuture { issued_at: Timestamp, now: Timestamp },
    /// Another issuer's token.
    TokenWrongIssuer { expected: String, received: String },
    /// The token is for somebody else.
    TokenWrongAudience { expected: String, received: Vec<String> },
    /// Revoked by its client, or with its grant, client or user.
    TokenRevoked { because: String },
    /// The token lacks a scope (RFC 6750 §3.1).
    InsufficientScope { needed: String, received: Vec<String> },
    /// A public client, or one without the right, asked to introspect.
    IntrospectionNotAllowed { client_id: String },

    // Registration.
    /// RFC 7591 §3.2.2: a member of the metadata, or the whole, cannot be registered.
    ClientMetadataRefused { member: Option<String>, code: MetadataCode, detail: String },
    /// RFC 7591 §2.3: there is no one whose software statements are believed.
    SoftwareStatementUnsupported,
    /// The initial access token lets nobody in.
    InitialAccessTokenRefused { because: TokenFault },
    /// RFC 7592 §2: the registration access token does not open this client.
    RegistrationAccessRefused { client_id: String, because: AccessFault },
    /// Too many clients were registered by nobody in particular.
    TooManyRegistrations { scope: String, limit: u64, retry_after: u64 },

    // Logout.
    /// The post_logout_redirect_uri is none of the registered ones, byte for byte.
    PostLogoutRedirectUriMismatch { client_id: String, registered: Vec<String>, received: String },
    /// A post_logout_redirect_uri without a valid id_token_hint.
    PostLogoutRedirectUriWithoutHint,

    // The server.
    /// The database did not answer in time. Nothing was acknowledged.
    StorageUnavailable { detail: String },
    /// A fault of this server.
    Internal { detail: String },
    /// No such page or endpoint.
    NotFound { path: String },
    /// The endpoint does not know this HTTP method.
    MethodNotAllowed { method: String, allowed: String },
    /// The admin API was called without the right.
    AdminForbidden { needed: String },
    /// No user, client, … has this id.
    AdminNotFound { kind: String, id: String },
    /// The body is not of the type that the operation reads.
    WrongMediaType { expected: String, received: Option<String> },
    /// A document is not acceptable: the member at fault, or the whole.
    DocumentRefused { member: Option<String>, detail: String },
    /// Something else has the name, or the state of things forbids the change.
    AdminConflict { member: Option<String>, detail: String },
    /// RFC 9110 §13.1: what the caller asked to be the case is not.
    PreconditionFailed { expected: String, present: String },
}

/// Why somebody has to sign in (openid.md C).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum LoginBecause {
    /// No session cookie, or one that we do not know.
    NoSession,
    /// The session was idle for too long or too old.
    SessionExpired { expired_at: Timestamp, now: Timestamp },
    /// The session was ended.
    SessionEnded,
    /// max_age: the last sign-in is too long ago, both in seconds.
    MaxAge { max_age: u64, age: u64 },
    /// prompt=login.
    PromptLogin,
    /// The id_token_hint or the claims parameter names somebody else.
    OtherUser,
    /// The user was disabled.
    UserDisabled,
    /// A second factor is demanded, and the session was begun without one.
    SecondFactor,
}

/// Which branch a failing second factor took. For the decision record only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactorBranch {
    /// Not the code of the present time step, nor of one beside it.
    WrongCode,
    /// A code that was accepted before, or of an earlier time step.
    CodeReplayed,
    /// The person has no authenticator app.
    NoApp,
    /// The app's secret does not open: its data key was declared compromised.
    SecretLost,
    /// Not one of the person's recovery codes.
    WrongRecoveryCode,
    /// A recovery code that was used before.
    RecoveryCodeUsed,
    /// Not what a browser sends for a passkey.
    PasskeyMalformed,
    /// Nobody has this passkey, or it is not this person's.
    PasskeyUnknown,
    /// Made for another site, another page, or too long ago.
    PasskeyElsewhere,
    /// The authenticator did not verify its person where that is needed, or nobody touched it.
    PasskeyNotVerified,
    /// The signature does not hold.
    PasskeySignature,
    /// Its counter went backwards.
    PasskeyCopied,
    /// The same answer was sent before.
    PasskeyReplayed,
    /// The person was disabled.
    PasskeyOfDisabled,
}

/// Which branch a failing sign-in took. For the decision record only: the page is the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInBranch {
    UnknownUser,
    WrongPassword,
    EmptyPassword,
    PasswordTooLong,
    UserDisabled,
    NoPassword,
}
