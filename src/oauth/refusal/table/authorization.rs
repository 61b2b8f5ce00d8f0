//! The authorization request (RFC 6749 §4.1.1, RFC 7636, RFC 8707, RFC 9101, OpenID Connect Core §3.1.2).

room! { authorization
    /// No redirect_uri although the client registered several, or OpenID Connect demands it.
    RedirectUriMissing { client_id: String = whole, registered: Vec<String> = shorten } => {
        rule: "redirect-uri-missing", "the request names its redirect URI", "RFC 6749 section 3.1.2.3, OpenID Connect Core section 3.1.2.1";
        wire: bad("invalid_request", "The parameter redirect_uri is missing or has no value.");
        page: naming(PageText::RedirectUriMissing, "redirect_uri");
        story: Story::new(
            format!("The request of client {client_id} has no redirect_uri."),
            "Let the client send redirect_uri. Only a plain OAuth request of a client with a single registered URI may leave it out; with scope openid it is required.",
        )
        .expected(one_of(registered))
        .received("no redirect_uri");
    }

    /// The redirect_uri is none of the registered ones, byte for byte.
    RedirectUriMismatch { client_id: String = whole, registered: Vec<String> = shorten, received: String = cut } => {
        rule: "redirect-uri-mismatch", "the redirect URI is a registered one, character by character", "RFC 9700 section 2.1, OpenID Connect Core section 3.1.2.1";
        wire: bad(
            "invalid_request",
            format!("The redirect_uri is not registered for this client; it is compared character by character. Received: {}", sanitise(received, 200)),
        );
        page: with(PageText::RedirectUriMismatch, "redirect_uri", received);
        story: Story::new(
            format!("The redirect_uri is none of those that client {client_id} has registered. They are compared character by character."),
            format!(
                "If {received} is right, add it to redirect_uris: `chancery client update {client_id}`. Otherwise correct the client's configuration. \
                 If the client takes the URI from the request's host name behind a proxy, set its public URL."
            ),
        )
        .expected(one_of(registered))
        .received(received.clone())
        .difference(redirect_uri::first_difference(registered, received));
    }

    /// The client may not use the authorization code grant at all.
    ClientMayNotAuthorize { client_id: String = whole } => {
        rule: "client-may-not-authorize", "the client is registered for the authorization_code grant", "RFC 7591 section 2, grant_types";
        wire: bad("unauthorized_client", "This client is not registered for the authorization_code grant.");
        page: with(PageText::AppRequest, "client_id", client_id);
        story: Story::new(
            format!("The client {client_id} is not registered for the authorization_code grant, so it may not send people here."),
            format!("If it should, add \"authorization_code\" to its grant_types and a redirect URI: `chancery client update {client_id}`."),
        )
        .expected("grant_types with authorization_code")
        .received("grant_types without it");
    }

    /// Anything but response_type=code; implicit and hybrid are never offered.
    UnsupportedResponseType { received: String = cut } => {
        rule: "unsupported-response-type", "response_type is code", "RFC 6749 section 3.1.1, RFC 9700 section 2.1.2";
        wire: bad(
            "unsupported_response_type",
            format!(
                "Only response_type=code is supported, with PKCE; implicit and hybrid are not offered, since tokens in URLs leak. Received: {}",
                shown(received)
            ),
        );
        page: with(PageText::AppRequest, "response_type", received);
        story: Story::new(
            if received.is_empty() { "The request has no response_type.".to_owned() } else { format!("The client asked for response_type={received}.") },
            "Set the client to response_type=code with PKCE. Implicit and hybrid flows put tokens into URLs and are not offered; browser applications use code with PKCE as well (RFC 9700 section 2.1.2).",
        )
        .expected("code")
        .received(or_none(received));
    }

    /// Anything but query and form_post.
    UnsupportedResponseMode { received: String = cut } => {
        rule: "unsupported-response-mode", "response_mode is query or form_post", "OAuth 2.0 Multiple Response Types section 2.1, Form Post Response Mode";
        wire: bad("invalid_request", format!("The response_mode must be query, or form_post where the redirect_uri is http or https. Received: {}", shown(received)));
        page: with(PageText::AppRequest, "response_mode", received);
        story: Story::new(
            format!("The client asked for response_mode={received}."),
            "Remove response_mode from the client's configuration (the answer then comes in the query) or set it to form_post.",
        )
        .expected("query or form_post")
        .received(received.clone());
    }

    /// No code_challenge (RFC 7636 §4.4.1; RFC 9700 §2.1.1).
    PkceMissing { client_id: String = whole } => {
        rule: "pkce-missing", "every request carries a PKCE challenge", "RFC 7636 section 4.4.1, RFC 9700 section 2.1.1";
        wire: bad(
            "invalid_request",
            "PKCE is required: send code_challenge and code_challenge_method=S256, and code_verifier to the token endpoint.",
        );
        page: naming(PageText::MissingParameter, "code_challenge");
        story: Story::new(
            format!("The request of client {client_id} carries no PKCE challenge."),
            format!(
                "Switch PKCE on in the client's library (it is one setting in most: usePKCE, code_challenge_method S256). If it is an old confidential client that cannot: \
                 `chancery client update {client_id}` with \"require_pkce\": false."
            ),
        )
        .expected("code_challenge and code_challenge_method=S256")
        .received("no code_challenge");
    }

    /// code_challenge_method is not S256.
    PkceMethodUnsupported { received: Option<String> = cut } => {
        rule: "pkce-method-unsupported", "code_challenge_method is S256", "RFC 7636 sections 4.3 and 4.4.1, RFC 9700 section 2.1.1";
        wire: bad(
            "invalid_request",
            match received {
                Some(received) => format!("The code_challenge_method must be S256. Received: {}", shown(received)),
                None => "The code_challenge_method is missing, which means plain; it must be S256.".to_owned(),
            },
        );
        page: OnPage { text: PageText::AppRequest, parameter: Some("code_challenge_method"), received: received.as_deref() };
        story: Story::new(
            match received {
                Some(received) => format!("The client asked for code_challenge_method={received}."),
                None => "The client sent a code_challenge without code_challenge_method, which means plain.".to_owned(),
            },
            "Set the client's library to S256; plain protects nothing against whoever reads the request.",
        )
        .expected("S256")
        .received(received.clone().unwrap_or_else(|| "none, which means plain".to_owned()));
    }

    /// The code_challenge is not 43 base64url characters.
    PkceChallengeMalformed { received: String = cut } => {
        rule: "pkce-challenge-malformed", "the challenge is a SHA-256 in base64url", "RFC 7636 section 4.2";
        wire: bad(
            "invalid_request",
            format!("The code_challenge must be SHA-256 of the verifier in base64url without padding, 43 characters. Received: {}", shown(received)),
        );
        page: with(PageText::MalformedParameter, "code_challenge", received);
        story: Story::new(
            "The code_challenge is not the SHA-256 of anything.",
            "Compute it as base64url(SHA-256(code_verifier)) without padding. Typical mistakes: hexadecimal, standard base64 with + and /, a = at the end, or the verifier itself.",
        )
        .expected("43 characters of base64url without padding")
        .received(format!("{} characters: {received}", received.chars().count()));
    }

    /// A scope that no resource defines and OpenID does not know.
    ScopeUnknown { scope: String = cut } => {
        rule: "scope-unknown", "scopes exist", "RFC 6749 sections 3.3 and 5.2";
        wire: bad("invalid_scope", format!("No API of this server has the scope {}.", shown(scope)));
        page: with(PageText::AppRequest, "scope", scope);
        story: Story::new(
            format!("No resource of this server defines the scope {scope}."),
            "Correct the scope in the client's configuration, or define it: `chancery resource add` or `update`. `chancery resource list` shows those that exist; case matters.",
        )
        .expected("a scope of OpenID Connect or of a registered resource")
        .received(scope.clone());
    }

    /// A scope that exists but is not among those that the client may ask for.
    ScopeNotAllowed { scope: String = cut, allowed: Vec<String> = shorten } => {
        rule: "scope-not-allowed", "clients ask for scopes that they are registered for", "RFC 6749 sections 3.3 and 6";
        wire: bad("invalid_scope", format!("The scope {} may not be asked for here.", shown(scope)));
        page: with(PageText::AppRequest, "scope", scope);
        story: Story::new(
            format!("The scope {scope} exists but may not be asked for here."),
            format!(
                "Take {scope} out of the request, or let the client have it: add it to its `scope` with `chancery client update`. In a request with resource, a scope must belong to one of the resources asked for; \
                 in a refresh, to the original grant."
            ),
        )
        .expected(one_of(allowed))
        .received(scope.clone());
    }

    /// The scope parameter is not a list of scope-tokens (RFC 6749 §3.3).
    ScopeMalformed { received: String = cut } => {
        rule: "scope-malformed", "scope is a list of scope tokens", "RFC 6749 section 3.3";
        wire: bad(
            "invalid_scope",
            format!("The scope must be at most 100 names of printable ASCII without quotes, separated by spaces. Received: {}", shown(received)),
        );
        page: with(PageText::MalformedParameter, "scope", received);
        story: Story::new(
            "The scope parameter is not a list of scope names.",
            "Send names separated by spaces. Commas, quotes and JSON arrays are typical mistakes.",
        )
        .expected("at most 100 names of printable ASCII without \" and \\, separated by spaces")
        .received(received.clone());
    }

    /// resource is not an absolute URI without fragment (RFC 8707 §2).
    ResourceMalformed { received: String = cut } => {
        rule: "resource-malformed", "a resource is an absolute URI", "RFC 8707 section 2";
        wire: bad("invalid_target", format!("The resource must be an absolute URI without fragment. Received: {}", shown(received)));
        page: with(PageText::MalformedParameter, "resource", received);
        story: Story::new(
            "The resource parameter is not an absolute URI without fragment.",
            "Send the API's identifier exactly as `chancery resource list` shows it.",
        )
        .expected("an absolute URI without fragment")
        .received(received.clone());
    }

    /// No such resource, or the client has no scope there (RFC 8707 §2: invalid_target).
    ResourceNotAllowed { resource: String = cut, allowed: Vec<String> = shorten } => {
        rule: "resource-not-allowed", "the resource is open to the client", "RFC 8707 section 2";
        wire: bad("invalid_target", format!("The resource is unknown or not open to this client. Received: {}", shown(resource)));
        page: with(PageText::AppRequest, "resource", resource);
        story: Story::new(
            "The resource that the client asked for is not registered, or the client has no scope there.",
            "Compare the identifier with `chancery resource list`: it is compared character by character, the trailing slash included. If it is right, give the client one of its scopes with `chancery client update`.",
        )
        .expected(one_of(allowed))
        .received(resource.clone())
        .difference(closest_difference(allowed, resource));
    }

    /// The resources of one access token want different algorithms or formats: one token cannot please them all.
    ResourcesDisagree { resources: Vec<String> = shorten, about: String = whole } => {
        rule: "resources-disagree", "one access token has one algorithm and one format", "RFC 8707 section 2.2";
        wire: bad(
            "invalid_target",
            format!("One access token cannot serve these resources together, they differ in {}. Ask for one with the resource parameter.", shown(about)),
        );
        page: naming(PageText::AppRequest, "resource");
        story: Story::new(
            format!("One access token was asked for resources that differ in {about}."),
            "Let the client ask for one resource at a time with the resource parameter at the token endpoint, or give the resources the same setting with `chancery resource update`.",
        )
        .expected("resources with the same signing algorithm and token format")
        .received(resources.join(", "));
    }

    /// The person's groups and roles would make the token larger than those who read it allow.
    ClaimsTooLarge { audience: Vec<String> = shorten, claims: Vec<String> = shorten, bytes: usize } => {
        rule: "claims-too-large", "a token fits into one header of the servers that read it", "RFC 9110 section 5.4";
        wire: bad("invalid_request", "What the token would say about the person is too large. The operator can make it smaller.");
        page: general();
        story: Story::new(
            format!("The person is in so many groups that a token for {} would be too large for common servers to read.", audience.join(", ")),
            "Name the groups or roles that it needs, such as \"claims\": {\"groups\": {\"from\": \"groups\", \"only\": [\"orders-*\"]}}, with `chancery resource update` or `chancery client update`; userinfo has no such limit.",
        )
        .expected(format!("at most {} bytes in {}", crate::oidc::groups::LARGEST, claims.join(", ")))
        .received(format!("{bytes} bytes"));
    }

    /// prompt holds an unknown value, or none together with another.
    PromptInvalid { received: String = cut } => {
        rule: "prompt-invalid", "prompt has known values, and none stands alone", "OpenID Connect Core section 3.1.2.1";
        wire: bad(
            "invalid_request",
            format!("The prompt must be none alone, or some of login, consent, select_account. Received: {}", shown(received)),
        );
        page: with(PageText::MalformedParameter, "prompt", received);
        story: Story::new("The prompt parameter is not understood.", "Send none alone, or a list of login, consent and select_account.")
            .expected("none, or some of login, consent, select_account")
            .received(received.clone());
    }

    /// The request object (RFC 9101) is not signed.
    RequestObjectUnsupported => {
        rule: "request-object-unsupported", "request objects are signed", "OpenID Connect Core section 6.1, RFC 9101 section 10.1";
        wire: bad("request_not_supported", "Unsigned request objects are not supported; sign it, or send plain parameters.");
        page: naming(PageText::AppRequest, "request");
        story: Story::new(
            "The authorization request came as a request object that nobody has signed.",
            "Let the client sign its request objects with a key of its jwks or jwks_uri, or send plain parameters.",
        )
        .expected("a signed request object, or none")
        .received("one with alg none");
    }

    /// The request object cannot be accepted: its form, its algorithm, its claims.
    RequestObjectInvalid { detail: String = cut } => {
        rule: "request-object-invalid", "a request object is the client's own request to this server", "RFC 9101 sections 4 and 6, OpenID Connect Core section 6.1";
        wire: bad("invalid_request_object", format!("The request object cannot be accepted: {}.", sanitise(detail, 160)));
        page: naming(PageText::AppRequest, "request");
        story: Story::new(
            format!("The request object cannot be accepted: {detail}."),
            "Let the client's library make it: iss and client_id are the client_id, aud is the issuer, exp lies a few minutes ahead, and all parameters of the request are inside.",
        )
        .expected("a signed JWT with the whole request")
        .difference(detail.clone());
    }

    /// Its signature is not the client's, or the client's keys cannot be had.
    RequestObjectUnverified { client_id: String = whole, detail: String = whole } => {
        rule: "request-object-unverified", "the client's key has signed the request object", "RFC 9101 section 6.2";
        wire: bad("invalid_request_object", "The request object is not signed with a key of this client.");
        page: naming(PageText::AppRequest, "request");
        story: Story::new(
            format!("The request object of {client_id} does not verify."),
            "Compare the key that signs with the public keys that are registered (jwks) or published (jwks_uri), by kid and kind, and see that the jwks_uri can be fetched from this machine.",
        )
        .expected("a signature by one of the client's keys")
        .received(detail.clone());
    }

    /// Plain parameters of a client that signs its requests.
    RequestObjectMissing { client_id: String = whole } => {
        rule: "request-object-missing", "a client that signs its requests signs all of them", "RFC 9101 section 10.5, require_signed_request_object";
        wire: bad("invalid_request", "This client has to send its requests as signed request objects.");
        page: naming(PageText::AppRequest, "request");
        story: Story::new(
            format!("The client {client_id} has to sign its authorization requests, and this one is plain."),
            format!("Let the client send its requests in the parameter request, or turn require_signed_request_object off: `chancery client update {client_id}`."),
        )
        .expected("the parameter request")
        .received("plain parameters");
    }

    /// A request_uri that did not come from the pushed authorization request endpoint.
    RequestUriUnsupported => {
        rule: "request-uri-unsupported", "the server fetches no request from elsewhere", "OpenID Connect Core section 6.2, RFC 9101 section 10.4";
        wire: bad("request_uri_not_supported", "The request_uri parameter is not supported; send plain parameters.");
        page: naming(PageText::AppRequest, "request_uri");
        story: Story::new(
            "The client sent a request_uri that did not come from this server.",
            "Switch request_uri off in the client. This server fetches no requests from other addresses.",
        )
        .expected("no request_uri parameter");
    }

    /// The registration parameter of OpenID Connect Core §7 is not supported.
    RegistrationParameterUnsupported => {
        rule: "registration-parameter-unsupported", "clients are registered beforehand", "OpenID Connect Core section 7.2.1";
        wire: bad("registration_not_supported", "The registration parameter is not supported; register the client beforehand.");
        page: naming(PageText::AppRequest, "registration");
        story: Story::new("The client tried to register itself within the request.", "Register the client beforehand: `chancery client add`.").expected("no registration parameter");
    }

    /// prompt=none, and nobody is signed in or must sign in again.
    LoginRequired { because: LoginBecause } => {
        rule: "login-required", "prompt=none needs somebody who is signed in", "OpenID Connect Core sections 3.1.2.1 and 3.1.2.6";
        wire: bad("login_required", "The person has to sign in, and prompt=none forbids to ask.");
        page: general();
        story: login_required(because);
    }

    /// prompt=none, and consent would have to be asked.
    ConsentRequired { missing: Vec<String> = shorten } => {
        rule: "consent-required", "prompt=none needs consent given before", "OpenID Connect Core sections 3.1.2.4 and 3.1.2.6";
        wire: bad("consent_required", "The person has to be asked for consent, and prompt=none forbids to ask.");
        page: general();
        story: Story::new(
            "The client asked for an answer without a page (prompt=none), but the person has to be asked for consent.",
            "Let the client send the person here once without prompt=none; the consent is remembered. Scopes that were added since, and changed redirect URIs, are asked for again. \
             Apps on the person's own device are asked every time. A confidential client of your own may be marked first_party.",
        )
        .expected("consent to everything that is asked for")
        .received(if missing.is_empty() { "a client that is asked every time".to_owned() } else { format!("no consent yet to: {}", missing.join(" ")) });
    }

    /// A level of authentication that is a condition was not reached, or cannot be (OpenID Connect Core §5.5.1.1).
    AcrUnmet { wanted: Vec<String> = shorten, present: Option<String> = whole } => {
        rule: "acr-unmet", "an essential acr is reached, or there is no answer", "OpenID Connect Core section 5.5.1.1, OpenID Connect Core Error Code unmet_authentication_requirements";
        wire: bad(
            "unmet_authentication_requirements",
            "None of the acr values that the claims parameter makes essential can be reached by this person here.",
        );
        page: general();
        story: Story::new(
            "The client demands a level of authentication (acr as an essential claim) that was not reached.",
            "Levels that this server does not know are never reached: acr_values_supported in the discovery document lists them. Otherwise let the person set up a second factor or a passkey on their \
             account page, or let the client make the claim voluntary.",
        )
        .expected(format!("one of {}", wanted.join(", ")))
        .received(present.clone().unwrap_or_else(|| "none of them is known here".to_owned()));
    }

    /// prompt=none together with something that needs a page.
    InteractionRequired { detail: String = whole } => {
        rule: "interaction-required", "prompt=none shows no page", "OpenID Connect Core section 3.1.2.6";
        wire: bad("interaction_required", "The person has to see a page, and prompt=none forbids to show one.");
        page: general();
        story: Story::new(format!("The client asked for an answer without a page (prompt=none), but one is needed: {detail}."), "Let the client send the person here without prompt=none.");
    }

    /// The person said no.
    AccessDenied => {
        rule: "access-denied", "the person decides", "RFC 6749 section 4.1.2.1";
        wire: bad("access_denied", "The person did not allow it.");
        page: general();
        story: Story::new("The person pressed the button that says no.", "Nothing is broken. If people refuse often, look at which scopes the client asks for.").expected("allow").received("deny");
    }

    /// The id_token_hint is not one of ours, or its key was compromised.
    IdTokenHintInvalid { detail: String = whole } => {
        rule: "id-token-hint-invalid", "a hint is an ID token of ours", "OpenID Connect Core section 3.1.2.1";
        wire: bad(
            "invalid_request",
            "The id_token_hint is not an ID token that this server issued to this client, or its key was withdrawn since. If yours came encrypted, send the signed one that is inside.",
        );
        page: naming(PageText::IdTokenHint, "id_token_hint");
        story: Story::new(
            format!("The id_token_hint is not an ID token that this server issued to this client: {detail}."),
            "Let the client send the ID token that it received last, or no hint. Tokens of another environment, of another client and under a compromised key are refused; expired ones are fine. A client that gets them encrypted sends the signed token that it finds inside (OpenID Connect Core section 3.1.2.1).",
        )
        .expected("an ID token of this issuer for this client")
        .difference(detail.clone());
    }

    /// The client wants its tokens encrypted and has no key for that.
    EncryptionKeyMissing { client_id: String = whole, alg: String = whole, detail: String = whole } => {
        rule: "encryption-key-missing", "who wants encryption has a key to encrypt to", "OpenID Connect Core section 10.2, OpenID Connect Registration section 2";
        wire: bad("invalid_request", "The client is registered for encryption, and has no key that fits. Register one.");
        page: general();
        story: Story::new(
            format!("The client {client_id} is registered for encrypted tokens or userinfo, and there is no key that {alg} can be used with: {detail}."),
            format!("Publish one at the client's `jwks_uri`, or add it to its `jwks` (`chancery client update {client_id}`), or take the …_encrypted_response_alg off. A key with \"use\": \"sig\", with another \"alg\", or of another kind is not used."),
        )
        .expected(format!("a public key for {alg}"))
        .received(detail.clone());
    }

    /// The interaction behind a page is unknown, over, or belongs to another browser.
    InteractionUnknown => {
        rule: "interaction-unknown", "a sign-in belongs to the browser that began it", "Chancery security requirement R-22";
        wire: bad("invalid_request", "This sign-in is over, or was begun in another browser. Go back to the application and begin again.");
        page: plain(PageText::InteractionUnknown);
        story: Story::new(
            "Somebody came back to a sign-in that is over, never was, or was begun in another browser.",
            "The person begins again at the application. Often a bookmarked or re-opened login page, the back button after signing in, or blocked cookies.",
        );
    }

    /// The interaction took longer than allowed.
    InteractionExpired { expired_at: Timestamp, now: Timestamp } => {
        rule: "interaction-expired", "a sign-in takes a limited time", "Chancery design 4.8";
        wire: bad("invalid_request", "This sign-in took too long. Go back to the application and begin again.");
        page: plain(PageText::InteractionExpired);
        story: Story::new(
            format!("The sign-in was left open for too long: it expired {} earlier.", ago(*expired_at, *now)),
            "The person begins again at the application. If people need longer, raise [lifetimes] interaction.",
        )
        .expected(format!("before {}", at(*expired_at)))
        .received(at(*now));
    }
}
