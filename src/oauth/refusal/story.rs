//! What an operator reads with `chancery explain`: what happened, what was expected, what came, where the two first differ, and
//! the change that mends it. This is the full truth, for the command line and `admin:read` alone; it holds no credential.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use super::{FactorBranch, LoginBecause, Reason, SignInBranch};
use crate::clock::Timestamp;
use crate::oauth::client::GrantType;
use crate::oauth::redirect_uri;
use crate::oauth::registration::{AccessFault, TokenFault};

/// A refusal, told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Story {
    pub happened: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    /// The first place where expected and received part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// The change that mends it.
    pub mend: String,
}

impl Story {
    fn new(happened: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { happened: happened.into(), expected: None, received: None, difference: None, mend: mend.into() }
    }

    fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    fn received(mut self, received: impl Into<String>) -> Self {
        self.received = Some(received.into());
        self
    }

    fn difference(mut self, difference: impl Into<String>) -> Self {
        self.difference = Some(difference.into());
        self
    }
}

impl Reason {
    /// The refusal as a story for the operator.
    pub fn story(&self) -> Story {
        match self {
            Self::DuplicateParameter { name } => Story::new(
                format!("The parameter {name} came more than once in one request."),
                format!("Send {name} once. If the client does, look for a proxy or a link that adds it again, or for one in the URL and one in the body."),
            )
            .expected(format!("{name} at most once"))
            .received(format!("{name} at least twice")),
            Self::MissingParameter { name } => Story::new(
                format!("The request has no {name}, or has it without a value, which counts the same."),
                format!("Let the client send {name}. If it believes that it does, check the Content-Type of the request and that the value is not empty."),
            )
            .expected(format!("a value for {name}"))
            .received("none"),
            Self::MalformedParameter { name, received, detail } => Story::new(
                format!("The parameter {name} could not be read: {detail}."),
                "Let the client build the request with its library's form encoder instead of by hand.",
            )
            .expected("percent-encoded UTF-8 without control characters, in the parameter's own grammar")
            .received(received.clone())
            .difference(detail.clone()),
            Self::ParameterTooLong { name, limit } => Story::new(
                format!("The parameter {name} is too long."),
                format!("Keep {name} within {limit} bytes. For a large state keep the data at the client and send a reference to it."),
            )
            .expected(format!("at most {limit} bytes")),
            Self::WrongContentType { received } => Story::new(
                "The body is not a form.",
                "Send the header Content-Type: application/x-www-form-urlencoded and the parameters as a form. JSON is not understood here (RFC 6749 section 3.2); \
                 with fetch, pass a URLSearchParams as the body.",
            )
            .expected("application/x-www-form-urlencoded")
            .received(received.clone().unwrap_or_else(|| "no Content-Type".to_owned())),
            Self::BodyTooLarge { limit } => {
                Story::new("The body is too large.", "Look at what the client sends; no honest request comes near the limit.").expected(format!("at most {limit} bytes"))
            }
            Self::CredentialsInQuery { name } => Story::new(
                format!("The client sent {name} in the URL, where proxies, histories and logs keep it."),
                format!("Send {name} in the body of a POST request, or as an Authorization header. Replace the credential: it has been seen."),
            )
            .expected(format!("no {name} in the URL"))
            .received(format!("{name} in the query, its value is not recorded")),
            Self::WrongIssuer { expected, received } => Story::new(
                "A client looks for an issuer that this server is not.",
                format!("Set the issuer in the client's configuration to exactly {expected}, without a slash more or less. If clients should reach the server as {received}, change CHANCERY_ISSUER instead."),
            )
            .expected(expected.clone())
            .received(received.clone())
            .difference(text_difference(expected, received)),

            Self::UnknownClient { client_id } => Story::new(
                "No client with this client_id is registered.",
                "Compare the client_id with `chancery client list`. Typical causes: a copy of another environment's configuration, a space or a newline at the end, a client that was removed.",
            )
            .expected("the client_id of a registered client")
            .received(client_id.clone()),
            Self::ClientDisabled { client_id } => Story::new(
                format!("The client {client_id} is disabled."),
                format!("If it should work again: `chancery client enable {client_id}`. The audit log tells who disabled it."),
            )
            .expected("an enabled client")
            .received("a disabled client"),
            Self::MalformedAuthorization { detail } => Story::new(
                format!("The Authorization header could not be read: {detail}."),
                "Send one header: Authorization: Basic, a space, and base64(form-encoded client_id + \":\" + form-encoded client_secret), with padding. \
                 Let the OAuth library do it.",
            )
            .expected("one Basic header with padded base64")
            .difference(detail.clone()),
            Self::ClientAuthenticationMissing { client_id, registered } => Story::new(
                match client_id {
                    Some(client_id) => format!("The client {client_id} has to authenticate and sent no secret."),
                    None => "The request names no client at all.".to_owned(),
                },
                match client_id {
                    Some(client_id) => format!(
                        "Configure the client's secret and let it authenticate by {registered}. If it is an app that cannot keep a secret, register token_endpoint_auth_method none for {client_id}."
                    ),
                    None => "Let the client send its client_id, and its secret if it has one. Check that the header or the body is not lost on the way, for example in a redirect or a proxy.".to_owned(),
                },
            )
            .expected(if registered.is_empty() { "client authentication".to_owned() } else { format!("client authentication by {registered}") })
            .received("no secret"),
            Self::SeveralClientAuthenticationMethods { received } => Story::new(
                "The client authenticated in several ways at once.",
                "Switch off all but the registered one in the client's library. Often a library sends Basic by itself and the application adds client_secret to the body.",
            )
            .expected("one authentication method")
            .received(received.join(", ")),
            Self::WrongClientAuthenticationMethod { client_id, registered, received } => Story::new(
                format!("The client {client_id} used another authentication method than the one it is registered for. Its secret was not the question."),
                format!(
                    "Either set the client's library to {registered}, or register what it uses: `chancery client update {client_id}` with \"token_endpoint_auth_method\": \"{received}\"."
                ),
            )
            .expected(registered.clone())
            .received(received.clone())
            .difference(format!("{registered} is registered, {received} was used")),
            Self::WrongClientSecret { client_id, live_secrets, expired_match } => Story::new(
                if *expired_match {
                    format!("The client {client_id} used a secret that has ended.")
                } else {
                    format!("The client {client_id} used a secret that is not one of its own.")
                },
                if *expired_match {
                    "The client still carries the old secret from before a rotation: deploy the new one to it. ".to_owned()
                        + &format!("If the new one is lost: `chancery client rotate-secret {client_id}`.")
                } else {
                    format!(
                        "Compare the secret in the client's configuration with the one that was printed at registration; look for a missing character, a newline, or a shell that ate a $. \
                         If it is lost: `chancery client rotate-secret {client_id}`."
                    )
                },
            )
            .expected(format!("one of {live_secrets} live secrets"))
            .received(if *expired_match { "a secret that has ended" } else { "another secret; its value is not recorded" }),
            Self::ClientAssertionMalformed { client_id, detail } => Story::new(
                match client_id {
                    Some(client_id) => format!("The assertion by which {client_id} proves itself cannot be read: {detail}."),
                    None => format!("A client's assertion cannot be read: {detail}."),
                },
                "Let the client's library make the assertion: iss and sub are the client_id, aud is the issuer, exp and iat are numbers of seconds, jti is new \
                 each time, and the header has alg and kid alone.",
            )
            .expected("one compact JWT, signed with a private key, with iss, sub, aud, exp, iat and jti")
            .difference(detail.clone()),
            Self::ClientAssertionAlgorithm { client_id, received, allowed } => Story::new(
                format!("The client {client_id} signed by an algorithm that it may not use."),
                format!("Let the client sign by {}, or change token_endpoint_auth_signing_alg: `chancery client update {client_id}`.", allowed.join(" or ")),
            )
            .expected(allowed.join(" or "))
            .received(received.clone()),
            Self::ClientAssertionOfAnotherClient { client_id, issuer, subject } => Story::new(
                format!("The assertion of {client_id} names somebody else."),
                "Set both iss and sub of the assertion to the client_id.",
            )
            .expected(format!("iss and sub {client_id}"))
            .received(format!("iss {issuer}, sub {subject}")),
            Self::ClientAssertionAudience { client_id, accepted, received } => Story::new(
                format!("The assertion of {client_id} is meant for somebody else."),
                "Set the assertion's aud to the issuer as discovery names it, as one string. Many libraries have a setting for it; the token endpoint's URL is an older habit.",
            )
            .expected(accepted.join(" or "))
            .received(received.clone()),
            Self::ClientAssertionTime { client_id, at, now, detail } => Story::new(
                format!("The assertion of {client_id} does not fit this server's clock: {detail}."),
                "Make a new assertion for every request, with an exp a minute ahead, and compare the clocks of both machines. `[lifetimes] client_assertion` says how far ahead exp \
                 may lie.",
            )
            .expected(format!("times that fit {}", now.rfc3339()))
            .received(at.rfc3339())
            .difference(detail.clone()),
            Self::ClientAssertionReplayed { client_id, jti } => Story::new(
                format!("The client {client_id} sent the same assertion twice, or somebody else sent it again."),
                "Make a new assertion with a new jti for every request, also where a request is tried again. If the client does, somebody has read its requests: replace its key.",
            )
            .expected("a jti that was not used before")
            .received(jti.clone()),
            Self::ClientSignatureWrong { client_id, key, detail } => Story::new(
                format!("What {client_id} signed does not verify: {detail}."),
                "Compare the client's private key with the public keys that are registered (jwks) or published (jwks_uri), by kid and kind. A key that is new has to be published before \
                 it signs; jwks_uri is read again at most every 30 seconds.",
            )
            .expected("a signature by one of the client's keys")
            .received(key.clone()),
            Self::ClientKeysUnavailable { client_id, detail } => Story::new(
                format!("The public keys of {client_id} cannot be had."),
                "Open the client's jwks_uri from this machine: it has to be https with a certificate that is trusted, and to answer 200 with JSON at once and without a redirect. If it is inside \
                 your network, name its host in [outbound] allow.",
            )
            .expected("a JWK Set with the client's public keys")
            .received(detail.clone()),
            Self::ClientIdMismatch { authenticated, received } => Story::new(
                "The body names another client than the Authorization header.",
                "Send the same client_id in both places, or none in the body.",
            )
            .expected(authenticated.clone())
            .received(received.clone())
            .difference(text_difference(authenticated, received)),

            Self::RedirectUriMissing { client_id, registered } => Story::new(
                format!("The request of client {client_id} has no redirect_uri."),
                "Let the client send redirect_uri. Only a plain OAuth request of a client with a single registered URI may leave it out; with scope openid it is required.",
            )
            .expected(one_of(registered))
            .received("no redirect_uri"),
            Self::RedirectUriMismatch { client_id, registered, received } => Story::new(
                format!("The redirect_uri is none of those that client {client_id} has registered. They are compared character by character."),
                format!(
                    "If {received} is right, add it to redirect_uris: `chancery client update {client_id}`. Otherwise correct the client's configuration. \
                     If the client takes the URI from the request's host name behind a proxy, set its public URL."
                ),
            )
            .expected(one_of(registered))
            .received(received.clone())
            .difference(redirect_uri::first_difference(registered, received)),
            Self::ClientMayNotAuthorize { client_id } => Story::new(
                format!("The client {client_id} is not registered for the authorization_code grant, so it may not send people here."),
                format!("If it should, add \"authorization_code\" to its grant_types and a redirect URI: `chancery client update {client_id}`."),
            )
            .expected("grant_types with authorization_code")
            .received("grant_types without it"),
            Self::UnsupportedResponseType { received } => Story::new(
                if received.is_empty() { "The request has no response_type.".to_owned() } else { format!("The client asked for response_type={received}.") },
                "Set the client to response_type=code with PKCE. Implicit and hybrid flows put tokens into URLs and are not offered; browser applications use code with PKCE as well (RFC 9700 section 2.1.2).",
            )
            .expected("code")
            .received(or_none(received)),
            Self::UnsupportedResponseMode { received } => Story::new(
                format!("The client asked for response_mode={received}."),
                "Remove response_mode from the client's configuration (the answer then comes in the query) or set it to form_post.",
            )
            .expected("query or form_post")
            .received(received.clone()),
            Self::PkceMissing { client_id } => Story::new(
                format!("The request of client {client_id} carries no PKCE challenge."),
                format!(
                    "Switch PKCE on in the client's library (it is one setting in most: usePKCE, code_challenge_method S256). If it is an old confidential client that cannot: \
                     `chancery client update {client_id}` with \"require_pkce\": false."
                ),
            )
            .expected("code_challenge and code_challenge_method=S256")
            .received("no code_challenge"),
            Self::PkceMethodUnsupported { received } => Story::new(
                match received {
                    Some(received) => format!("The client asked for code_challenge_method={received}."),
                    None => "The client sent a code_challenge without code_challenge_method, which means plain.".to_owned(),
                },
                "Set the client's library to S256; plain protects nothing against whoever reads the request.",
            )
            .expected("S256")
            .received(received.clone().unwrap_or_else(|| "none, which means plain".to_owned())),
            Self::PkceChallengeMalformed { received } => Story::new(
                "The code_challenge is not the SHA-256 of anything.",
                "Compute it as base64url(SHA-256(code_verifier)) without padding. Typical mistakes: hexadecimal, standard base64 with + and /, a = at the end, or the verifier itself.",
            )
            .expected("43 characters of base64url without padding")
            .received(format!("{} characters: {received}", received.chars().count())),
            Self::ScopeUnknown { scope } => Story::new(
                format!("No resource of this server defines the scope {scope}."),
                "Correct the scope in the client's configuration, or define it: `chancery resource add` or `update`. `chancery resource list` shows those that exist; case matters.",
            )
            .expected("a scope of OpenID Connect or of a registered resource")
            .received(scope.clone()),
            Self::ScopeNotAllowed { scope, allowed } => Story::new(
                format!("The scope {scope} exists but may not be asked for here."),
                format!(
                    "Take {scope} out of the request, or let the client have it: add it to its `scope` with `chancery client update`. In a request with resource, a scope must belong to one of the resources asked for; \
                     in a refresh, to the original grant."
                ),
            )
            .expected(one_of(allowed))
            .received(scope.clone()),
            Self::ScopeMalformed { received } => Story::new(
                "The scope parameter is not a list of scope names.",
                "Send names separated by spaces. Commas, quotes and JSON arrays are typical mistakes.",
            )
            .expected("at most 100 names of printable ASCII without \" and \\, separated by spaces")
            .received(received.clone()),
            Self::ResourceMalformed { received } => Story::new(
                "The resource parameter is not an absolute URI without fragment.",
                "Send the API's identifier exactly as `chancery resource list` shows it.",
            )
            .expected("an absolute URI without fragment")
            .received(received.clone()),
            Self::ResourceNotAllowed { resource, allowed } => Story::new(
                "The resource that the client asked for is not registered, or the client has no scope there.",
                "Compare the identifier with `chancery resource list`: it is compared character by character, the trailing slash included. If it is right, give the client one of its scopes with `chancery client update`.",
            )
            .expected(one_of(allowed))
            .received(resource.clone())
            .difference(closest_difference(allowed, resource)),
            Self::ResourcesDisagree { resources, about } => Story::new(
                format!("One access token was asked for resources that differ in {about}."),
                "Let the client ask for one resource at a time with the resource parameter at the token endpoint, or give the resources the same setting with `chancery resource update`.",
            )
            .expected("resources with the same signing algorithm and token format")
            .received(resources.join(", ")),
            Self::ClaimsTooLarge { audience, claims, bytes } => Story::new(
                format!("The person is in so many groups that a token for {} would be too large for common servers to read.", audience.join(", ")),
                "Name the groups or roles that it needs, such as \"claims\": {\"groups\": {\"from\": \"groups\", \"only\": [\"orders-*\"]}}, with `chancery resource update` or `chancery client update`; userinfo has no such limit.",
            )
            .expected(format!("at most {} bytes in {}", crate::oidc::groups::LARGEST, claims.join(", ")))
            .received(format!("{bytes} bytes")),
            Self::PromptInvalid { received } => {
                Story::new("The prompt parameter is not understood.", "Send none alone, or a list of login, consent and select_account.")
                    .expected("none, or some of login, consent, select_account")
                    .received(received.clone())
            }
            Self::RequestObjectUnsupported => Story::new(
                "The authorization request came as a request object that nobody has signed.",
                "Let the client sign its request objects with a key of its jwks or jwks_uri, or send plain parameters.",
            )
            .expected("a signed request object, or none")
            .received("one with alg none"),
            Self::RequestObjectInvalid { detail } => Story::new(
                format!("The request object cannot be accepted: {detail}."),
                "Let the client's library make it: iss and client_id are the client_id, aud is the issuer, exp lies a few minutes ahead, and all parameters of the request are inside.",
            )
            .expected("a signed JWT with the whole request")
            .difference(detail.clone()),
            Self::RequestObjectUnverified { client_id, detail } => Story::new(
                format!("The request object of {client_id} does not verify."),
                "Compare the key that signs with the public keys that are registered (jwks) or published (jwks_uri), by kid and kind, and see that the jwks_uri can be fetched from this machine.",
            )
            .expected("a signature by one of the client's keys")
            .received(detail.clone()),
            Self::RequestObjectMissing { client_id } => Story::new(
                format!("The client {client_id} has to sign its authorization requests, and this one is plain."),
                format!("Let the client send its requests in the parameter request, or turn require_signed_request_object off: `chancery client update {client_id}`."),
            )
            .expected("the parameter request")
            .received("plain parameters"),
            Self::RequestUriUnsupported => Story::new(
                "The client sent a request_uri that did not come from this server.",
                "Switch request_uri off in the client. This server fetches no requests from other addresses.",
            )
            .expected("no request_uri parameter"),
            Self::RegistrationParameterUnsupported => {
                Story::new("The client tried to register itself within the request.", "Register the client beforehand: `chancery client add`.").expected("no registration parameter")
            }
            Self::LoginRequired { because } => login_required(because),
            Self::ConsentRequired { missing } => Story::new(
                "The client asked for an answer without a page (prompt=none), but the person has to be asked for consent.",
                "Let the client send the person here once without prompt=none; the consent is remembered. Scopes that were added since, and changed redirect URIs, are asked for again. \
                 Apps on the person's own device are asked every time. A confidential client of your own may be marked first_party.",
            )
            .expected("consent to everything that is asked for")
            .received(if missing.is_empty() { "a client that is asked every time".to_owned() } else { format!("no consent yet to: {}", missing.join(" ")) }),
            Self::AcrUnmet { wanted, present } => Story::new(
                "The client demands a level of authentication (acr as an essential claim) that was not reached.",
                "Levels that this server does not know are never reached: acr_values_supported in the discovery document lists them. Otherwise let the person set up a second factor or a passkey on their \
                 account page, or let the client make the claim voluntary.",
            )
            .expected(format!("one of {}", wanted.join(", ")))
            .received(present.clone().unwrap_or_else(|| "none of them is known here".to_owned())),
            Self::InteractionRequired { detail } => {
                Story::new(format!("The client asked for an answer without a page (prompt=none), but one is needed: {detail}."), "Let the client send the person here without prompt=none.")
            }
            Self::AccessDenied => {
                Story::new("The person pressed the button that says no.", "Nothing is broken. If people refuse often, look at which scopes the client asks for.").expected("allow").received("deny")
            }
            Self::IdTokenHintInvalid { detail } => Story::new(
                format!("The id_token_hint is not an ID token that this server issued to this client: {detail}."),
                "Let the client send the ID token that it received last, or no hint. Tokens of another environment, of another client and under a compromised key are refused; expired ones are fine. A client that gets them encrypted sends the signed token that it finds inside (OpenID Connect Core section 3.1.2.1).",
            )
            .expected("an ID token of this issuer for this client")
            .difference(detail.clone()),
            Self::EncryptionKeyMissing { client_id, alg, detail } => Story::new(
                format!("The client {client_id} is registered for encrypted tokens or userinfo, and there is no key that {alg} can be used with: {detail}."),
                format!("Publish one at the client's `jwks_uri`, or add it to its `jwks` (`chancery client update {client_id}`), or take the …_encrypted_response_alg off. A key with \"use\": \"sig\", with another \"alg\", or of another kind is not used."),
            )
            .expected(format!("a public key for {alg}"))
            .received(detail.clone()),
            Self::InteractionUnknown => Story::new(
                "Somebody came back to a sign-in that is over, never was, or was begun in another browser.",
                "The person begins again at the application. Often a bookmarked or re-opened login page, the back button after signing in, or blocked cookies.",
            ),
            Self::InteractionExpired { expired_at, now } => Story::new(
                format!("The sign-in was left open for too long: it expired {} earlier.", ago(*expired_at, *now)),
                "The person begins again at the application. If people need longer, raise [lifetimes] interaction.",
            )
            .expected(format!("before {}", at(*expired_at)))
            .received(at(*now)),

            Self::CsrfMismatch => Story::new(
                "The form's hidden token does not belong to this browser.",
                "The person loads the page again. If it happens to everybody, cookies are blocked or stripped: check the proxy and that the issuer's scheme is the one that browsers use.",
            ),
            Self::CrossSiteForm { origin } => Story::new(
                "A form was sent to this server from another site.",
                "If the other site is hostile, nothing is to be done: it was stopped. If it is this server under another name, let people reach it under its issuer alone.",
            )
            .expected("the issuer's own origin")
            .received(origin.clone().unwrap_or_else(|| "Sec-Fetch-Site says that it is another site".to_owned())),
            Self::SignInFailed { branch, identifier } => {
                let (happened, mend) = match branch {
                    SignInBranch::UnknownUser => (
                        "Somebody typed a username that does not exist.",
                        "Compare with `chancery user list`. What was typed is stored as a keyed hash only, since it is often a password.",
                    ),
                    SignInBranch::WrongPassword => ("The password was wrong.", "If the person forgot it: `chancery user set-password`. Many failures from one address are guessing."),
                    SignInBranch::EmptyPassword => ("The password was empty.", "Look whether the person's browser or password manager fills the form."),
                    SignInBranch::PasswordTooLong => ("The password was longer than 128 characters.", "A shorter password; nobody could have set this one."),
                    SignInBranch::UserDisabled => ("The person's account is disabled.", "If it should work again: `chancery user enable`. The person saw the same page as after a wrong password."),
                    SignInBranch::NoPassword => ("The person has no password.", "Set one: `chancery user set-password`."),
                };
                Story::new(happened, mend).received(identifier.clone())
            }
            Self::FactorFailed { branch, sub } => factor_failed(*branch).received(format!("a sign-in of {sub}")),
            Self::SignInThrottled { scope, retry_after } => Story::new(
                format!("There were too many failed sign-ins for this {scope}, so the next attempt has to wait."),
                "It ends by itself. If honest people share the address behind a proxy, configure [proxies] trusted so that their own addresses are seen; the limits are in [throttle].",
            )
            .expected(format!("the next attempt in {}", words(Duration::from_secs(*retry_after)))),
            Self::Overloaded { retry_after } => Story::new(
                "More requests were waiting than the server can work off in time: for a place, for a password to be checked, or for keys of clients to be fetched.",
                "If this is everyday traffic, give the server or its database more processors, or add a replica; see requests and longest_wait in [limits], and workers in [passwords]. If it is a flood, this is what keeps the server standing.",
            )
            .expected(format!("another attempt in {}", words(Duration::from_secs(*retry_after)))),

            Self::TooManyOpenRequests { scope, limit, retry_after } => Story::new(
                format!("This {scope} has too many authorization requests open: begun, and neither ended nor expired."),
                "If this is a flood, it ends by itself. If it is everyday traffic: configure [proxies] trusted so that people behind a proxy are told apart, or raise interactions_per_address or interactions_per_client in [throttle].",
            )
            .expected(format!("at most {limit} open; the next in {}", words(Duration::from_secs(*retry_after)))),
            Self::TooManyUnknownTokens { limit, retry_after } => Story::new(
                "A client at introspection, or an address at the admin API, came with more tokens that this server never issued than it may in a minute. Tokens of this server were answered all the while.",
                "Somebody may be trying tokens, or sending rubbish to a resource server that asks here: let that refuse what is not shaped like one of our tokens before it asks. If it serves several authorization servers, let it look at the issuer first. The limit is unknown_tokens_per_minute in [throttle].",
            )
            .expected(format!("at most {limit} a minute; the next in {}", words(Duration::from_secs(*retry_after)))),
            Self::LogoutUndelivered { client_id, attempts, because, again_at } => Story::new(
                format!("The client {client_id} was not told that a session has ended, in attempt {attempts}: {because}."),
                match again_at {
                    Some(again_at) => format!(
                        "It is told again at {}. See why its backchannel_logout_uri does not answer 200 within some seconds; addresses inside your network need [outbound] allow.",
                        again_at.rfc3339()
                    ),
                    None => "It is not told any more: its own session lives until it ends by itself. The audit log has logout.undelivered. See why its backchannel_logout_uri refused the token or was away for so long.".to_owned(),
                },
            ),
            Self::UnsupportedGrantType { received } => Story::new(
                format!("The client asked for grant_type={received}."),
                match received.as_str() {
                    "password" => "The password grant hands people's passwords to applications and is not offered (RFC 9700 section 2.4). Use authorization_code with PKCE; for a machine, client_credentials.".to_owned(),
                    "implicit" => "There is no implicit grant. Use authorization_code with PKCE.".to_owned(),
                    _ => format!("Use one of {}.", GrantType::ALL.map(GrantType::as_str).join(", ")),
                },
            )
            .expected(GrantType::ALL.map(GrantType::as_str).join(", "))
            .received(received.clone()),
            Self::UnauthorizedGrantType { client_id, grant_type, registered } => Story::new(
                format!("The client {client_id} is not registered for the grant {grant_type}."),
                format!("If it should be, add \"{grant_type}\" to its grant_types: `chancery client update {client_id}`."),
            )
            .expected(one_of(registered))
            .received(grant_type.clone()),
            Self::CodeUnknown => Story::new(
                "The code is not known: never issued here, mistyped or cut, or so old that it was swept.",
                "Check that the client redeems at the same issuer that gave the code, once, and at once. A code that was URL-decoded twice or not at all is a typical cause.",
            )
            .expected("a code from the authorization response"),
            Self::CodeExpired { expired_at, now } => Story::new(
                format!("The code was redeemed {} after it expired.", ago(*expired_at, *now)),
                "The client must redeem the code at once; look for what keeps it waiting (a breakpoint, a queue, a cold start). Only if that cannot be changed, raise [lifetimes] code.",
            )
            .expected(format!("before {}", at(*expired_at)))
            .received(at(*now)),
            Self::CodeReplayed { redeemed_at, now } => Story::new(
                format!("The code was redeemed a second time, {} after the first. As that may be theft, everything issued from it was revoked.", ago(*redeemed_at, *now)),
                "If it was the client itself: it retries, or its callback page is loaded twice (reload, prefetch, two instances). Let it redeem each code once. If it was not, somebody saw the code: look at the redirect's logs.",
            )
            .expected("one redemption")
            .received(format!("the first at {}, the second at {}", at(*redeemed_at), at(*now))),
            Self::CodeRetried { redeemed_at, now } => Story::new(
                format!("The same client sent the same code again after {}, with the right verifier: an honest retry. It was refused and nothing was revoked.", ago(*redeemed_at, *now)),
                "Let the client redeem each code once: typically a double submit, or a callback that runs twice in development mode.",
            )
            .expected("one redemption")
            .received(format!("the first at {}, the second at {}", at(*redeemed_at), at(*now))),
            Self::CodeOfAnotherClient { issued_to, presented_by } => Story::new(
                "A client presented a code that was issued to another client.",
                "If both are yours, their configurations are mixed up: the client_id at /authorize and at /token must be the same. If not, this is an attack that failed; the code is still good for its owner.",
            )
            .expected(issued_to.clone())
            .received(presented_by.clone())
            .difference("another client_id"),
            Self::CodeRedirectUriMismatch { expected, received } => Story::new(
                "The redirect_uri at the token endpoint is not the one of the authorization request.",
                "Let the client send the same redirect_uri in both requests, character by character. If it computes it from the request's host, set its public URL.",
            )
            .expected(expected.clone())
            .received(received.clone().unwrap_or_else(|| "no redirect_uri".to_owned()))
            .difference(match received {
                Some(received) => redirect_uri::first_difference(std::slice::from_ref(expected), received),
                None => "it is missing".to_owned(),
            }),
            Self::VerifierMissing => Story::new(
                "The client sent a code_challenge at /authorize but no code_verifier at /token.",
                "The client lost the verifier between the two requests: it must be kept (in the session or the browser's storage) and sent. Check that PKCE is on in both halves of the library.",
            )
            .expected("code_verifier")
            .received("none"),
            Self::VerifierMalformed { length } => Story::new(
                "The code_verifier does not follow its grammar.",
                "Make it of 32 random bytes in base64url without padding: 43 characters.",
            )
            .expected("43 to 128 characters of A-Z a-z 0-9 - . _ ~")
            .received(format!("{length} characters; the value is not recorded")),
            Self::VerifierWrong { expected, received } => Story::new(
                "The code_verifier is not the one whose hash was sent at /authorize.",
                "Typically two sign-ins ran at once and the client kept only the last verifier: it must keep one per state. Otherwise check that the hash is over the verifier's ASCII text, not over the bytes behind it.",
            )
            .expected(format!("code_challenge {expected}"))
            .received(format!("a verifier whose challenge is {received}"))
            .difference(text_difference(expected, received)),
            Self::VerifierWithoutChallenge => Story::new(
                "The client sent a code_verifier, but its authorization request carried no code_challenge.",
                "If the client did send one at /authorize, something on the way removed it, and that is an attack. Otherwise switch PKCE on in both halves of the library.",
            )
            .expected("no code_verifier, or a code_challenge at /authorize")
            .received("a code_verifier alone"),
            Self::RefreshTokenUnknown => Story::new(
                "The refresh token is not one of this server's, or was altered.",
                "Check that the client kept it whole and presents it at the issuer that gave it. After a rotation of the refresh data key with --compromised, older tokens are refused on purpose: people sign in again.",
            )
            .expected("a refresh token of this server"),
            Self::RefreshTokenOfAnotherClient { issued_to, presented_by } => Story::new(
                "A client presented a refresh token that was issued to another client. Nothing was changed.",
                "If both are yours, they share a token store or a configuration. If not, the token was stolen: `chancery user sign-out`.",
            )
            .expected(issued_to.clone())
            .received(presented_by.clone())
            .difference("another client_id"),
            Self::RefreshFamilyEnded { ended_at, because } => Story::new(
                format!("The refresh token was revoked at {}: {because}.", at(*ended_at)),
                "The person signs in again. The client should take invalid_grant as the end of its session.",
            )
            .expected("a refresh token that stands")
            .received(format!("one that ended: {because}")),
            Self::RefreshFamilyIdle { last_used_at, expired_at, now } => Story::new(
                format!("The refresh token was not used for {}.", ago(*last_used_at, *now)),
                "The person signs in again. If that is too early for this application, raise [lifetimes] refresh_idle.",
            )
            .expected(format!("a use before {}", at(*expired_at)))
            .received(at(*now)),
            Self::RefreshFamilyExpired { expired_at, now } => Story::new(
                format!("The refresh token reached its absolute end {} ago, however often it was used.", ago(*expired_at, *now)),
                "The person signs in again. If that is too early, raise [lifetimes] refresh.",
            )
            .expected(format!("before {}", at(*expired_at)))
            .received(at(*now)),
            Self::RefreshTokenStolen { presented, current, redeemed_at, now } => Story::new(
                format!("A refresh token that had been redeemed came back {} later: somebody else may hold a copy. The family and every token of its grant were revoked.", ago(*redeemed_at, *now)),
                "The person signs in again. If this was no theft, two parts of the application share one refresh token without telling each other of the new one (two processes, a restored backup): \
                 give each its own sign-in, or let one of them refresh for all. DPoP makes a copy worthless.",
            )
            .expected(format!("generation {current}"))
            .received(format!("generation {presented}, redeemed at {}", at(*redeemed_at)))
            .difference(format!("{} generations behind", current.saturating_sub(*presented))),
            Self::RefreshRecoveryOver { presented, current, redeemed_at, now } => Story::new(
                format!("The client came back with its previous refresh token {} after it was redeemed: it lost the answer, but came too late to recover. Nothing was revoked.", ago(*redeemed_at, *now)),
                "The person signs in again. If the client is often without a network for so long, raise its refresh_recovery (seconds), or let it authenticate or use DPoP: then there is no limit.",
            )
            .expected(format!("generation {current}"))
            .received(format!("generation {presented}")),
            Self::RefreshTokenAhead { presented, current } => Story::new(
                "A genuine refresh token is newer than the database knows: the database has lost commits. Nothing was revoked.",
                "Was a backup restored, or did a replica take over without the last writes? Then follow docs/runbooks.md. If not, check the database's durability settings (synchronous_commit, fsync). The person signs in again.",
            )
            .expected(format!("at most generation {current}"))
            .received(format!("generation {presented}")),
            Self::AuthorizationPending { interval } => Story::new(
                "The device asked whether the person has decided. They have not: this is how it waits, and no error.",
                "Nothing is to be done, unless it goes on for minutes: then the person has not found the page, or typed another code. The next request of the device tells how it ends.",
            )
            .expected(format!("the next request in {interval} seconds")),
            Self::SlowDown { interval, waited } => Story::new(
                format!("The device asked again after {waited} seconds, sooner than it was told. It now has to wait {interval} seconds between two requests."),
                "Let the client keep to the interval of the device authorization response, and add five seconds at every slow_down (RFC 8628 section 3.5). Typical causes: two loops that poll the same code, or a retry at once after a time-out.",
            )
            .expected(format!("requests {interval} seconds apart"))
            .received(format!("{waited} seconds apart")),
            Self::DeviceCodeUnknown => Story::new(
                "The device code is not known: never issued here, cut, or so old that it was swept.",
                "Check that the client sends the device_code, and not the user_code that people see, to the issuer that gave it.",
            )
            .expected("a device_code of the device authorization response"),
            Self::DeviceCodeOfAnotherClient { issued_to, presented_by } => Story::new(
                "A client presented a device code that was issued to another client. Nothing was changed.",
                "If both are yours, their configurations are mixed up: the client_id at /device/code and at /token must be the same. If not, this is an attack that failed.",
            )
            .expected(issued_to.clone())
            .received(presented_by.clone())
            .difference("another client_id"),
            Self::DeviceCodeExpired { expired_at, now } => Story::new(
                format!("Nobody decided about the device in time: its code expired {} earlier.", ago(*expired_at, *now)),
                "The device asks for a new code and shows it. If people need longer, look whether the device says clearly where to go; the most that [lifetimes] device_code takes is 10 minutes.",
            )
            .expected(format!("a decision before {}", at(*expired_at)))
            .received(at(*now)),
            Self::DeviceCodeReplayed { redeemed_at, now } => Story::new(
                format!("The device code was redeemed a second time, {} after the first. As that may be theft, everything issued from it was revoked.", ago(*redeemed_at, *now)),
                "If it was the device itself, it lost the answer, or went on polling after it had its tokens: the person allows it once more. If it was not, somebody read the device's code.",
            )
            .expected("one redemption")
            .received(format!("the first at {}, the second at {}", at(*redeemed_at), at(*now))),
            Self::DeviceCodeRetried { redeemed_at, now } => Story::new(
                format!("Two requests with the same device code crossed: this one came {} after the one that got the tokens. It was refused and nothing was revoked.", ago(*redeemed_at, *now)),
                "Let the device ask one request after the other. Typically two loops poll the same code.",
            )
            .expected("one redemption")
            .received(format!("the first at {}, the second at {}", at(*redeemed_at), at(*now))),
            Self::DeviceCodeWithdrawn => Story::new(
                "Before the device asked again, its code was taken back: the person was disabled, has another password, signed out, or withdrew the app's access.",
                "The device asks for a new code, and the person allows it once more. The audit log tells what happened to the account.",
            )
            .expected("an authorization that stands")
            .received("one that was taken back"),
            Self::DeviceDenied => Story::new(
                "The person pressed the button that says no to the device.",
                "Nothing is broken. If they say that they did not, somebody else showed them a code: see the address that the device's request came from in the audit log.",
            )
            .expected("allow")
            .received("deny"),
            Self::UserCodeUnknown => Story::new(
                "Somebody typed a code that no device shows. It is not recorded.",
                "The person compares the code with the device's screen, letter by letter: there are no vowels and no digits in it. Many of these from one address are guesses; they are slowed down.",
            )
            .expected("eight letters of BCDFGHJKLMNPQRSTVWXZ that a device shows now"),
            Self::UserCodeExpired { expired_at, now } => Story::new(
                format!("The code that was typed expired {} earlier.", ago(*expired_at, *now)),
                "The device shows a new code; the person types that one.",
            )
            .expected(format!("before {}", at(*expired_at)))
            .received(at(*now)),
            Self::UserCodeOfAnotherPerson => Story::new(
                "Somebody else looked at this code first, so it is theirs to decide.",
                "The device shows a new code. Typical cause: the person opened the page under another account, or sent the code to a colleague. If neither is so, somebody read the code from the screen.",
            )
            .expected("the person who looked at it first")
            .received("another person"),
            Self::UserCodeSpent => Story::new(
                "The code that was typed had been decided about before.",
                "If the device still waits, it will have its answer within seconds. Else it shows a new code.",
            )
            .expected("a code that nobody has decided about"),
            Self::UserCodeThrottled { scope, retry_after } => Story::new(
                format!("Too many codes that no device shows were typed by this {scope}, so the next has to wait."),
                "It ends by itself. If honest people share the address behind a proxy, configure [proxies] trusted so that their own addresses are seen; the limits are in [throttle].",
            )
            .expected(format!("the next code in {}", words(Duration::from_secs(*retry_after)))),
            Self::GrantEnded { because } => Story::new(
                format!("The authorization behind this ended: {because}."),
                "The person signs in again.",
            )
            .expected("an authorization that stands")
            .received(format!("one that ended: {because}")),
            Self::SessionEnded => Story::new(
                "The browser session has ended, and this authorization lives with it, since offline_access was not granted.",
                "The person signs in again. If the application should go on after the browser session, let it ask for offline_access with prompt=consent.",
            )
            .expected("a live browser session, or offline_access")
            .received("an ended session without offline_access"),
            Self::UserDisabled { sub } => Story::new(
                "The person's account is disabled.",
                "If it should work again: `chancery user enable`, and the person signs in again. The audit log tells who disabled it.",
            )
            .expected("an enabled account")
            .received(format!("the disabled account with sub {sub}")),
            Self::UserGone => Story::new("The person's account was removed.", "Nothing is to be done unless the removal was a mistake; then add the account again.").expected("an account").received("none"),
            Self::StateChanged => Story::new(
                "Between reading and writing something changed that the decision rested on, twice in a row. Nothing was issued.",
                "The client tries again. If this is frequent, several processes use one code or one token at once.",
            ),

            Self::TokenMissing => Story::new(
                "The request carries no access token.",
                "Send it as Authorization: Bearer and the token. If the client does, a proxy strips the header.",
            )
            .expected("Authorization: Bearer")
            .received("no token"),
            Self::TokenSentTwice => Story::new("The request carries an access token in several places.", "Send it in the Authorization header alone."),
            Self::TokenMalformed { detail } => Story::new(
                format!("What came is not an access token of this server: {detail}."),
                "Check that the client sends the access_token and not the id_token, a refresh token or a code, and that it comes from this issuer.",
            )
            .expected("an access token of this server")
            .difference(detail.clone()),
            Self::TokenSignatureInvalid { kid } => Story::new(
                "The token's signature does not verify with any key of this server.",
                "Check the token's issuer: it may come from another environment. If its key was rotated as compromised, the refusal is on purpose. If it was altered on the way, this is an attack.",
            )
            .expected("a signature by a key of this server")
            .received(kid.as_ref().map_or_else(|| "no kid in the header".to_owned(), |kid| format!("kid {kid}"))),
            Self::TokenExpired { expired_at, now } => Story::new(
                format!("The access token expired {} ago.", ago(*expired_at, *now)),
                "Let the client refresh it a little before expires_in is over. If it believes that the token is fresh, its clock is wrong: compare both clocks.",
            )
            .expected(format!("before {}", at(*expired_at)))
            .received(at(*now)),
            Self::TokenFromTheFuture { issued_at, now } => Story::new(
                format!("The token says that it was issued {} in the future of this server's clock.", ago(*now, *issued_at)),
                "The clocks differ: run a time service (NTP, chrony) on every replica and on the database, and compare `date -u` on each. After a restore of a machine's state, check its clock first.",
            )
            .expected(format!("iat not after {}", at(*now)))
            .received(format!("iat {}", at(*issued_at)))
            .difference(words(issued_at.since(*now))),
            Self::TokenWrongIssuer { expected, received } => Story::new(
                "The token was issued by another issuer.",
                "The client talks to two servers, or the issuer of this one was changed after the token was issued. Compare CHANCERY_ISSUER with the iss of the token.",
            )
            .expected(expected.clone())
            .received(received.clone())
            .difference(text_difference(expected, received)),
            Self::TokenWrongAudience { expected, received } => Story::new(
                "The access token was made for somebody else.",
                format!(
                    "Let the client ask for a token for {expected}. For userinfo that means a token with scope openid and without a resource parameter; a token for an API is sent to that API alone."
                ),
            )
            .expected(expected.clone())
            .received(one_of(received)),
            Self::TokenRevoked { because } => Story::new(
                format!("The access token was revoked: {because}."),
                "The client refreshes or the person signs in again. The audit log tells who ended it.",
            )
            .expected("a token that stands")
            .received(format!("a revoked one: {because}")),
            Self::InsufficientScope { needed, received } => Story::new(
                format!("The access token lacks the scope {needed}."),
                format!("Let the client ask for {needed} in its scope, and check that it is registered for it."),
            )
            .expected(needed.clone())
            .received(one_of(received)),
            Self::IntrospectionNotAllowed { client_id } => Story::new(
                format!("The client {client_id} may not introspect: it does not authenticate."),
                "Register the API that introspects as a confidential client and name it in the resource's introspection_clients.",
            )
            .expected("a client that authenticates"),

            Self::ClientMetadataRefused { member, detail, .. } => Story::new(
                match member {
                    Some(member) => format!("A client tried to register, or to change itself, with a {member} that cannot be registered."),
                    None => "A client tried to register, or to change itself, with a document that cannot be read.".to_owned(),
                },
                "Correct it in the client's registration request. What clients may ask for is limited by their initial access token, and by grant_types and scopes in \
                 [registration]; an operator can register anything by `chancery client add`.",
            )
            .difference(detail.clone()),
            Self::SoftwareStatementUnsupported => Story::new(
                "A client sent a software_statement.",
                "Let it send its metadata as plain members. There is nobody whose statements this server would believe; initial access tokens say who may register.",
            )
            .expected("no software_statement")
            .received("a software_statement"),
            Self::InitialAccessTokenRefused { because } => initial_access_token(because),
            Self::RegistrationAccessRefused { client_id, because } => registration_access(client_id, *because),
            Self::TooManyRegistrations { scope, limit, retry_after } => Story::new(
                match scope.as_str() {
                    "client" => "This client has changed itself so often that the next change has to wait.",
                    "address" => "This address has registered so many clients that the next one has to wait.",
                    _ => "So many clients registered themselves and were never used that the next one has to wait.",
                },
                "If this is a flood, it ends by itself, and what was never used goes after open_unused_lifetime in [registration]. If it is everyday traffic, raise open_per_address or open_unused there, \
                 or give out initial access tokens: they are not counted.",
            )
            .expected(format!("at most {limit}; the next in {}", words(Duration::from_secs(*retry_after)))),
            Self::PostLogoutRedirectUriMismatch { client_id, registered, received } => Story::new(
                format!("The post_logout_redirect_uri is none of those that client {client_id} has registered. They are compared character by character."),
                format!("If {received} is right, add it to post_logout_redirect_uris: `chancery client update {client_id}`. Otherwise correct the client."),
            )
            .expected(one_of(registered))
            .received(received.clone())
            .difference(redirect_uri::first_difference(registered, received)),
            Self::PostLogoutRedirectUriWithoutHint => Story::new(
                "A redirect after logout was asked for without an ID token that shows whose session it is.",
                "Let the client send id_token_hint with the last ID token that it received.",
            )
            .expected("id_token_hint")
            .received("none, or not a valid one"),

            Self::StorageUnavailable { detail } => Story::new(
                format!("The database did not answer: {detail}. Nothing was acknowledged."),
                "Check the database and the network to it; `chancery doctor` tries both. Clients may simply try again.",
            ),
            Self::Internal { detail } => Story::new(
                format!("A fault of this server: {detail}."),
                "This should not happen. Look at the log under the same trace id and report it.",
            ),
            Self::NotFound { path } => Story::new(
                "There is nothing at this address.",
                "Take addresses from the discovery document; do not build them by hand. Mind the issuer's path.",
            )
            .received(path.clone()),
            Self::MethodNotAllowed { method, allowed } => {
                let expected = if allowed.is_empty() { "a method that the answer's header Allow names" } else { allowed };
                Story::new("The endpoint does not know this HTTP method.", format!("Use {expected}.")).expected(expected).received(method.clone())
            }
            Self::AdminNotFound { kind, id } => Story::new(
                format!("A caller of the admin API named a {kind} that does not exist."),
                "List what there is. Typical causes: it was removed meanwhile, another environment's id, or an id that is not percent-encoded in the path.",
            )
            .expected(format!("the id of a {kind}"))
            .received(id.clone()),
            Self::WrongMediaType { expected, received } => Story::new(
                "The body is not of the type that this operation of the admin API reads.",
                format!("Send the header Content-Type: {expected}."),
            )
            .expected(expected.clone())
            .received(received.clone().unwrap_or_else(|| "no Content-Type".to_owned())),
            Self::DocumentRefused { member, detail } => Story::new(
                match member {
                    Some(member) => format!("A document sent to the admin API was refused because of {member}: {detail}."),
                    None => format!("A document sent to the admin API was refused: {detail}."),
                },
                "Correct the document. /admin/api/openapi.json says what each may hold; nothing was changed.",
            )
            .difference(detail.clone()),
            Self::AdminConflict { detail, .. } => Story::new(
                format!("A change through the admin API does not fit what is there: {detail}."),
                "Read what there is and decide anew; nothing was changed.",
            ),
            Self::PreconditionFailed { expected, present } => Story::new(
                "The caller of the admin API wanted to change what it had seen, and it has changed since.",
                "Read it once more and repeat the change on what is there now; nothing was changed.",
            )
            .expected(expected.clone())
            .received(present.clone()),
            Self::AdminForbidden { needed } => Story::new(
                format!("The caller of the admin API lacks {needed}."),
                format!("Give the client the scope {needed} with `chancery client update`, and let it ask for it."),
            )
            .expected(needed.clone()),
        }
    }
}

fn login_required(because: &LoginBecause) -> Story {
    let (happened, received, mend) = match because {
        LoginBecause::NoSession => (
            "nobody is signed in in this browser".to_owned(),
            "no session".to_owned(),
            "Let the client send the person here without prompt=none. In a hidden frame, browsers that block third-party cookies never show the session: renew with a refresh token instead.",
        ),
        LoginBecause::SessionExpired { expired_at, now } => (
            format!("the browser session expired {} ago", ago(*expired_at, *now)),
            format!("a session until {}", at(*expired_at)),
            "Let the client send the person here without prompt=none. If sessions should last longer: [lifetimes] session_idle and session.",
        ),
        LoginBecause::SessionEnded => (
            "the browser session was ended: signed out, or ended by an operator".to_owned(),
            "an ended session".to_owned(),
            "Let the client send the person here without prompt=none.",
        ),
        LoginBecause::MaxAge { max_age, age } => (
            format!("the client allows a sign-in of at most {max_age} seconds ago, and it was {age} seconds ago"),
            format!("auth_time {age} seconds ago"),
            "Let the client send the person here without prompt=none, or raise max_age (or the client's default_max_age).",
        ),
        LoginBecause::PromptLogin => {
            ("the client asked for a new sign-in".to_owned(), "prompt=login".to_owned(), "Nothing is broken: the person signs in.")
        }
        LoginBecause::OtherUser => (
            "somebody else is signed in than the id_token_hint or the claims parameter names".to_owned(),
            "a session of another person".to_owned(),
            "Let the client drop its own session and send the person here without hint and without prompt=none.",
        ),
        LoginBecause::UserDisabled => (
            "the person's account is disabled".to_owned(),
            "a session of a disabled account".to_owned(),
            "If the account should work again: `chancery user enable`.",
        ),
        LoginBecause::SecondFactor => (
            "a second factor is demanded, and none was proved when the person signed in".to_owned(),
            "a session that was begun with less".to_owned(),
            "Let the client send the person here without prompt=none, where they prove it. Who demands it: second_factor of the client, else [factors] second_factor.",
        ),
    };
    Story::new(format!("The person has to sign in, and the client forbade to ask (prompt=none): {happened}."), mend)
        .expected("a live session of the right person that is young enough")
        .received(received)
}

fn initial_access_token(because: &TokenFault) -> Story {
    let make = "`chancery registration token add` makes another one.";
    let story = match because {
        TokenFault::Unknown => Story::new(
            "The initial access token is none that was made here, or it was removed.",
            format!("Compare it with the one that was printed: it was shown once. {make}"),
        )
        .received("another token; its value is not recorded"),
        TokenFault::Expired { id, expired_at, now } => {
            Story::new(format!("The initial access token {id} expired {} ago.", ago(*expired_at, *now)), make)
                .received(format!("one that was good until {}", at(*expired_at)))
        }
        TokenFault::Spent { id, registrations } => Story::new(
            format!("The initial access token {id} was good for {registrations} registrations, and all were used."),
            make,
        )
        .received("one without a registration left"),
    };
    story.expected("an initial access token with a registration left")
}

fn registration_access(client_id: &str, because: AccessFault) -> Story {
    let (happened, mend) = match because {
        AccessFault::NoSuchClient => (
            "There is no client of this id: it removed itself, was removed by an operator, or was never used and went by itself.",
            "Let it register once more. How long clients live that were never used is unused_lifetime, and open_unused_lifetime, in [registration]."
                .to_owned(),
        ),
        AccessFault::NotDynamic => (
            "An operator registered this client, so there is no registration access token for it.",
            format!("Change it by `chancery client update {client_id}`."),
        ),
        AccessFault::WrongToken => (
            "The registration access token is not this client's, or not any more: each change of the client makes a new one.",
            format!("Let the client keep the token of the latest answer. If it is lost: `chancery client update {client_id}`."),
        ),
        AccessFault::KeptByOperators => (
            "An operator changed what this client had registered, which ended its registration access token: what was taken away stays away.",
            format!("Change it by `chancery client update {client_id}`, or remove it and let it register once more."),
        ),
        AccessFault::ClientDisabled => (
            "The client is disabled, and so is its registration access token.",
            format!("If it should work again: `chancery client enable {client_id}`."),
        ),
    };
    Story::new(happened, mend)
        .expected("the registration access token of the client's latest answer")
        .received(format!("a token for {client_id}"))
}

fn factor_failed(branch: FactorBranch) -> Story {
    let (happened, mend) = match branch {
        FactorBranch::WrongCode => (
            "The password was right, and the code of the authenticator app was wrong.",
            "If it happens to one person again and again, the clock of their phone is off by more than half a minute, or the app holds another account's entry. Many failures for one account after right passwords: somebody else knows the password.",
        ),
        FactorBranch::CodeReplayed => (
            "The code of the authenticator app was right, but it or a later one was used before.",
            "Each code counts once: let the person wait for the next one, at most 30 seconds. If they did not use it themselves, somebody read it over their shoulder and knows their password.",
        ),
        FactorBranch::NoApp => (
            "A code of an authenticator app was sent, and the person has none.",
            "Nothing is broken if it was removed while the page was open. Else somebody sends forms by hand.",
        ),
        FactorBranch::SecretLost => (
            "The secret of the person's authenticator app does not open: its data key was declared compromised.",
            "Let the person sign in with a recovery code and enrol the app anew. Without one: `chancery user reset-factors`.",
        ),
        FactorBranch::WrongRecoveryCode => (
            "The password was right, and the recovery code is none of the person's.",
            "Recovery codes are made anew on the account page, and those of an older list are worth nothing. If the person has lost them all: `chancery user reset-factors`.",
        ),
        FactorBranch::RecoveryCodeUsed => (
            "The recovery code was used before: each counts once.",
            "Let the person take the next one of their list, and make a new list on the account page. If they did not use it themselves, the list is in other hands: `chancery user reset-factors`.",
        ),
        FactorBranch::PasskeyMalformed => (
            "What came in the place of a passkey is nothing that our script sends.",
            "Somebody sends forms by hand, or an extension of the browser meddles with the page.",
        ),
        FactorBranch::PasskeyUnknown => (
            "The passkey is none that this person, or anybody here, has enrolled.",
            "It was removed from the account and is still in the device: let the person remove it there, or enrol it anew on the account page.",
        ),
        FactorBranch::PasskeyElsewhere => (
            "The answer of the passkey was made for another site or page, or the page had been open for too long.",
            "If it happens to everybody, compare [server] issuer with the address that people see in their browsers: passkeys are bound to it. Else somebody tries answers that were made elsewhere.",
        ),
        FactorBranch::PasskeyNotVerified => (
            "The authenticator did not verify its person by fingerprint, face or PIN, which signing in without a password needs.",
            "Let the person set a PIN on the security key, or sign in with password and key.",
        ),
        FactorBranch::PasskeySignature => {
            ("The signature of the passkey does not hold.", "Somebody tries to forge it. Nothing is to be done.")
        }
        FactorBranch::PasskeyCopied => (
            "The counter of the passkey went backwards: two copies of its key may be at work.",
            "Ask the person. If they know of no copy, remove the passkey: `chancery user reset-factors`.",
        ),
        FactorBranch::PasskeyReplayed => (
            "The same answer of the passkey was sent before.",
            "Nothing is broken if a form was sent twice. Else somebody recorded it.",
        ),
        FactorBranch::PasskeyOfDisabled => {
            ("The passkey is right, and its person's account is disabled.", "If it should work again: `chancery user enable`.")
        }
    };
    Story::new(happened, mend)
}

/// A moment as people in operations write it.
fn at(moment: Timestamp) -> String {
    match OffsetDateTime::from_unix_timestamp(moment.seconds()) {
        Ok(time) => {
            let (year, month, day) = time.to_calendar_date();
            let (hour, minute, second) = time.to_hms();
            format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
        }
        Err(_) => format!("{} seconds after 1970", moment.seconds()),
    }
}

fn ago(earlier: Timestamp, later: Timestamp) -> String {
    words(later.since(earlier))
}

/// A span in its two largest units.
fn words(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return format!("{} milliseconds", span.as_millis());
    }
    let seconds = span.as_secs();
    let parts = [(seconds / 86_400, "day"), (seconds / 3600 % 24, "hour"), (seconds / 60 % 60, "minute"), (seconds % 60, "second")];
    let told: Vec<String> = parts
        .into_iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
        .collect();
    told.join(" ")
}

fn one_of(values: &[String]) -> String {
    match values {
        [] => "(none)".to_owned(),
        [one] => one.clone(),
        several => format!("one of: {}", several.join(", ")),
    }
}

fn or_none(value: &str) -> String {
    if value.is_empty() { "none".to_owned() } else { value.to_owned() }
}

/// The first character at which two texts part.
fn text_difference(expected: &str, received: &str) -> String {
    let place = expected.chars().zip(received.chars()).take_while(|(a, b)| a == b).count();
    let next = |text: &str| text.chars().nth(place).map_or_else(|| "the end".to_owned(), |letter| format!("{letter:?}"));
    format!("at character {}: expected {}, received {}", place + 1, next(expected), next(received))
}

fn closest_difference(allowed: &[String], received: &str) -> String {
    let common = |value: &String| value.chars().zip(received.chars()).take_while(|(a, b)| a == b).count();
    match allowed.iter().max_by_key(|value| common(value)) {
        Some(closest) if closest != received => format!("closest is {closest}, {}", text_difference(closest, received)),
        Some(_) => "the client is not allowed it here".to_owned(),
        None => "the client has no scope at any resource".to_owned(),
    }
}
