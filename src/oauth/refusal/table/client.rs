//! The client and its authentication (RFC 6749 §2, RFC 7521, RFC 7523).

room! { client
    /// No client has this id.
    UnknownClient { client_id: String = hint } => {
        rule: "unknown-client", "the client is registered", "RFC 6749 section 2.2";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: with(PageText::UnknownApp, "client_id", client_id);
        story: Story::new(
            "No client with this client_id is registered.",
            "Compare the client_id with `chancery client list`. Typical causes: a copy of another environment's configuration, a space or a newline at the end, a client that was removed.",
        )
        .expected("the client_id of a registered client")
        .received(client_id.clone());
    }

    /// The client exists and was disabled by an operator.
    ClientDisabled { client_id: String = whole } => {
        rule: "client-disabled", "the client is enabled", "Chancery security requirement R-09";
        wire: invalid_client("This client is disabled.");
        page: with(PageText::UnknownApp, "client_id", client_id);
        story: Story::new(
            format!("The client {client_id} is disabled."),
            format!("If it should work again: `chancery client enable {client_id}`. The audit log tells who disabled it."),
        )
        .expected("an enabled client")
        .received("a disabled client");
    }

    /// The Authorization header is not one well-formed Basic header (RFC 6749 §2.3.1, RFC 7617).
    MalformedAuthorization { detail: String = whole } => {
        rule: "malformed-authorization", "one well-formed Basic header", "RFC 6749 section 2.3.1, RFC 7617 section 2";
        wire: invalid_client(&format!("The Authorization header is not one well-formed Basic header: {}.", sanitise(detail, 160)));
        page: general();
        story: Story::new(
            format!("The Authorization header could not be read: {detail}."),
            "Send one header: Authorization: Basic, a space, and base64(form-encoded client_id + \":\" + form-encoded client_secret), with padding. \
             Let the OAuth library do it.",
        )
        .expected("one Basic header with padded base64")
        .difference(detail.clone());
    }

    /// The request carries no credentials and the client needs them.
    ClientAuthenticationMissing { client_id: Option<String> = whole, registered: String = whole } => {
        rule: "client-authentication-missing", "confidential clients authenticate", "RFC 6749 sections 2.3 and 3.2.1";
        wire: match client_id {
            Some(_) => invalid_client(CLIENT_AUTHENTICATION),
            None => invalid_client("The request carries neither client credentials nor a client_id."),
        };
        page: general();
        story: Story::new(
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
        .received("no secret");
    }

    /// More than one authentication method in one request (RFC 6749 §2.3).
    SeveralClientAuthenticationMethods { received: Vec<String> = shorten } => {
        rule: "several-client-authentication-methods", "one authentication method in a request", "RFC 6749 section 2.3";
        wire: bad(
            "invalid_request",
            format!("The client authenticated in more than one way: {}. Use the registered one alone.", shown(&received.join(", "))),
        );
        page: general();
        story: Story::new(
            "The client authenticated in several ways at once.",
            "Switch off all but the registered one in the client's library. Often a library sends Basic by itself and the application adds client_secret to the body.",
        )
        .expected("one authentication method")
        .received(received.join(", "));
    }

    /// The method used is not the registered one.
    WrongClientAuthenticationMethod { client_id: String = whole, registered: String = whole, received: String = whole } => {
        rule: "wrong-client-authentication-method", "the client uses the authentication method that it registered", "RFC 7591 section 2, token_endpoint_auth_method";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
            format!("The client {client_id} used another authentication method than the one it is registered for. Its secret was not the question."),
            format!(
                "Either set the client's library to {registered}, or register what it uses: `chancery client update {client_id}` with \"token_endpoint_auth_method\": \"{received}\"."
            ),
        )
        .expected(registered.clone())
        .received(received.clone())
        .difference(format!("{registered} is registered, {received} was used"));
    }

    /// The secret matches none of the client's live secrets.
    WrongClientSecret { client_id: String = whole, live_secrets: usize, expired_match: bool } => {
        rule: "wrong-client-secret", "the client secret is right", "RFC 6749 section 2.3.1";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
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
        .received(if *expired_match { "a secret that has ended" } else { "another secret; its value is not recorded" });
    }

    /// A client assertion, or what belongs to it, cannot be read (RFC 7521 §4.2, RFC 7523 §3).
    ClientAssertionMalformed { client_id: Option<String> = hint, detail: String = cut } => {
        rule: "client-assertion-malformed", "a client assertion is one whole JWT", "RFC 7521 section 4.2, RFC 7523 section 3";
        wire: invalid_client(&format!("The client assertion cannot be read: {}.", sanitise(detail, 160)));
        page: general();
        story: Story::new(
            match client_id {
                Some(client_id) => format!("The assertion by which {client_id} proves itself cannot be read: {detail}."),
                None => format!("A client's assertion cannot be read: {detail}."),
            },
            "Let the client's library make the assertion: iss and sub are the client_id, aud is the issuer, exp and iat are numbers of seconds, jti is new \
             each time, and the header has alg and kid alone.",
        )
        .expected("one compact JWT, signed with a private key, with iss, sub, aud, exp, iat and jti")
        .difference(detail.clone());
    }

    /// Signed by an algorithm that this client may not use.
    ClientAssertionAlgorithm { client_id: String = whole, received: String = whole, allowed: Vec<String> = whole } => {
        rule: "client-assertion-algorithm", "a client signs by the algorithm that it is registered for", "RFC 7523 section 3, FAPI 2.0 Security Profile section 5.4";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
            format!("The client {client_id} signed by an algorithm that it may not use."),
            format!("Let the client sign by {}, or change token_endpoint_auth_signing_alg: `chancery client update {client_id}`.", allowed.join(" or ")),
        )
        .expected(allowed.join(" or "))
        .received(received.clone());
    }

    /// iss and sub are not both the client.
    ClientAssertionOfAnotherClient { client_id: String = whole, issuer: String = cut, subject: String = cut } => {
        rule: "client-assertion-of-another-client", "iss and sub are the client", "RFC 7523 section 3";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
            format!("The assertion of {client_id} names somebody else."),
            "Set both iss and sub of the assertion to the client_id.",
        )
        .expected(format!("iss and sub {client_id}"))
        .received(format!("iss {issuer}, sub {subject}"));
    }

    /// aud names somebody else, or somebody else too.
    ClientAssertionAudience { client_id: String = whole, accepted: Vec<String> = whole, received: String = cut } => {
        rule: "client-assertion-audience", "a client assertion is meant for this server", "RFC 7523 section 3, Chancery design 7";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
            format!("The assertion of {client_id} is meant for somebody else."),
            "Set the assertion's aud to the issuer as discovery names it, as one string. Many libraries have a setting for it; the token endpoint's URL is an older habit.",
        )
        .expected(accepted.join(" or "))
        .received(received.clone());
    }

    /// exp, iat or nbf does not fit the clock.
    ClientAssertionTime { client_id: String = whole, at: Timestamp, now: Timestamp, detail: String = whole } => {
        rule: "client-assertion-time", "a client assertion is fresh", "RFC 7523 section 3, Chancery security requirement R-29";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
            format!("The assertion of {client_id} does not fit this server's clock: {detail}."),
            "Make a new assertion for every request, with an exp a minute ahead, and compare the clocks of both machines. `[lifetimes] client_assertion` says how far ahead exp \
             may lie.",
        )
        .expected(format!("times that fit {}", now.rfc3339()))
        .received(at.rfc3339())
        .difference(detail.clone());
    }

    /// The jti was used before.
    ClientAssertionReplayed { client_id: String = whole, jti: String = whole } => {
        rule: "client-assertion-replayed", "a client assertion counts once", "RFC 7523 section 3, Chancery security requirement R-12";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
            format!("The client {client_id} sent the same assertion twice, or somebody else sent it again."),
            "Make a new assertion with a new jti for every request, also where a request is tried again. If the client does, somebody has read its requests: replace its key.",
        )
        .expected("a jti that was not used before")
        .received(jti.clone());
    }

    /// None of the client's keys has signed what it sent.
    ClientSignatureWrong { client_id: String = whole, key: String = whole, detail: String = whole } => {
        rule: "client-signature-wrong", "the client's key has signed it", "RFC 7515 section 5.2, RFC 8725 section 3";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
            format!("What {client_id} signed does not verify: {detail}."),
            "Compare the client's private key with the public keys that are registered (jwks) or published (jwks_uri), by kid and kind. A key that is new has to be published before \
             it signs; jwks_uri is read again at most every 30 seconds.",
        )
        .expected("a signature by one of the client's keys")
        .received(key.clone());
    }

    /// The client's keys cannot be had.
    ClientKeysUnavailable { client_id: String = whole, detail: String = whole } => {
        rule: "client-keys-unavailable", "the client's keys can be had", "RFC 7591 section 2, jwks and jwks_uri";
        wire: invalid_client(CLIENT_AUTHENTICATION);
        page: general();
        story: Story::new(
            format!("The public keys of {client_id} cannot be had."),
            "Open the client's jwks_uri from this machine: it has to be https with a certificate that is trusted, and to answer 200 with JSON at once and without a redirect. If it is inside \
             your network, name its host in [outbound] allow.",
        )
        .expected("a JWK Set with the client's public keys")
        .received(detail.clone());
    }

    /// client_id in the body and in the Authorization header differ.
    ClientIdMismatch { authenticated: String = whole, received: String = whole } => {
        rule: "client-id-mismatch", "client_id means the client that authenticates", "RFC 6749 sections 2.3.1 and 3.2.1";
        wire: bad(
            "invalid_request",
            format!("The client_id in the body is not the one in the Authorization header. Received in the body: {}", shown(received)),
        );
        page: general();
        story: Story::new(
            "The body names another client than the Authorization header.",
            "Send the same client_id in both places, or none in the body.",
        )
        .expected(authenticated.clone())
        .received(received.clone())
        .difference(text_difference(authenticated, received));
    }
}
