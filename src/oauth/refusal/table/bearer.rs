//! Access tokens that are presented to us (RFC 6750, RFC 7662, RFC 9068).

room! { bearer
    /// No access token where one is needed.
    TokenMissing => {
        rule: "token-missing", "the request carries an access token", "RFC 6750 sections 2 and 3";
        wire: bearer_missing();
        page: general();
        story: Story::new(
            "The request carries no access token.",
            "Send it as Authorization: Bearer and the token. If the client does, a proxy strips the header.",
        )
        .expected("Authorization: Bearer")
        .received("no token");
    }

    /// Two ways of sending the token in one request (RFC 6750 §2).
    TokenSentTwice => {
        rule: "token-sent-twice", "one way of sending the token", "RFC 6750 section 2";
        wire: bad("invalid_request", "The access token was sent in more than one way. Use the Authorization header.");
        page: general();
        story: Story::new("The request carries an access token in several places.", "Send it in the Authorization header alone.");
    }

    /// Not a token that we could have issued.
    TokenMalformed { detail: String = whole } => {
        rule: "token-malformed", "the token is one of ours", "RFC 6750 section 3.1, RFC 9068 section 4";
        wire: invalid_token("This is not an access token of this server.");
        page: general();
        story: Story::new(
            format!("What came is not an access token of this server: {detail}."),
            "Check that the client sends the access_token and not the id_token, a refresh token or a code, and that it comes from this issuer.",
        )
        .expected("an access token of this server")
        .difference(detail.clone());
    }

    /// The signature does not verify, or the key is not (any more) ours.
    TokenSignatureInvalid { kid: Option<String> = whole } => {
        rule: "token-signature-invalid", "the token's signature verifies", "RFC 9068 section 4, RFC 7515 section 5.2";
        wire: invalid_token("The access token's signature does not verify.");
        page: general();
        story: Story::new(
            "The token's signature does not verify with any key of this server.",
            "Check the token's issuer: it may come from another environment. If its key was rotated as compromised, the refusal is on purpose. If it was altered on the way, this is an attack.",
        )
        .expected("a signature by a key of this server")
        .received(kid.as_ref().map_or_else(|| "no kid in the header".to_owned(), |kid| format!("kid {kid}")));
    }

    /// exp has passed.
    TokenExpired { expired_at: Timestamp, now: Timestamp } => {
        rule: "token-expired", "the token has not expired", "RFC 9068 section 4, RFC 7519 section 4.1.4";
        wire: invalid_token("The access token has expired.");
        page: general();
        story: Story::new(
            format!("The access token expired {} ago.", ago(*expired_at, *now)),
            "Let the client refresh it a little before expires_in is over. If it believes that the token is fresh, its clock is wrong: compare both clocks.",
        )
        .expected(format!("before {}", at(*expired_at)))
        .received(at(*now));
    }

    /// iat lies ahead of our clock: clock skew between replicas, or a restored machine.
    TokenFromTheFuture { issued_at: Timestamp, now: Timestamp } => {
        rule: "token-from-the-future", "the token was issued in the past", "RFC 7519 section 4.1.6";
        wire: invalid_token("The access token's time of issue lies in the future.");
        page: general();
        story: Story::new(
            format!("The token says that it was issued {} in the future of this server's clock.", ago(*now, *issued_at)),
            "The clocks differ: run a time service (NTP, chrony) on every replica and on the database, and compare `date -u` on each. After a restore of a machine's state, check its clock first.",
        )
        .expected(format!("iat not after {}", at(*now)))
        .received(format!("iat {}", at(*issued_at)))
        .difference(words(issued_at.since(*now)));
    }

    /// Another issuer's token.
    TokenWrongIssuer { expected: String = whole, received: String = whole } => {
        rule: "token-wrong-issuer", "the token's issuer is this server", "RFC 9068 section 4";
        wire: invalid_token("The access token was issued by another server.");
        page: general();
        story: Story::new(
            "The token was issued by another issuer.",
            "The client talks to two servers, or the issuer of this one was changed after the token was issued. Compare CHANCERY_ISSUER with the iss of the token.",
        )
        .expected(expected.clone())
        .received(received.clone())
        .difference(text_difference(expected, received));
    }

    /// The token is for somebody else.
    TokenWrongAudience { expected: String = whole, received: Vec<String> = shorten } => {
        rule: "token-wrong-audience", "the token is meant for who receives it", "RFC 9068 section 4, Chancery design 4.4";
        wire: invalid_token("The access token was issued for another audience.");
        page: general();
        story: Story::new(
            "The access token was made for somebody else.",
            format!(
                "Let the client ask for a token for {expected}. For userinfo that means a token with scope openid and without a resource parameter; a token for an API is sent to that API alone."
            ),
        )
        .expected(expected.clone())
        .received(one_of(received));
    }

    /// Revoked by its client, or with its grant, client or user.
    TokenRevoked { because: String = whole } => {
        rule: "token-revoked", "the token was not revoked", "RFC 7009, Chancery design 4.4";
        wire: invalid_token("The access token has been revoked.");
        page: general();
        story: Story::new(
            format!("The access token was revoked: {because}."),
            "The client refreshes or the person signs in again. The audit log tells who ended it.",
        )
        .expected("a token that stands")
        .received(format!("a revoked one: {because}"));
    }

    /// The token lacks a scope (RFC 6750 §3.1).
    InsufficientScope { needed: String = whole, received: Vec<String> = shorten } => {
        rule: "insufficient-scope", "the token has the scope", "RFC 6750 section 3.1";
        wire: insufficient_scope(format!("The access token lacks the scope {}.", shown(needed)), Some(needed.clone()));
        page: general();
        story: Story::new(
            format!("The access token lacks the scope {needed}."),
            format!("Let the client ask for {needed} in its scope, and check that it is registered for it."),
        )
        .expected(needed.clone())
        .received(one_of(received));
    }

    /// A public client, or one without the right, asked to introspect.
    IntrospectionNotAllowed { client_id: String = whole } => {
        rule: "introspection-not-allowed", "who introspects authenticates", "RFC 7662 section 2.1";
        wire: forbidden("unauthorized_client", "This client may not introspect tokens; introspection needs a client that authenticates.");
        page: general();
        story: Story::new(
            format!("The client {client_id} may not introspect: it does not authenticate."),
            "Register the API that introspects as a confidential client and name it in the resource's introspection_clients.",
        )
        .expected("a client that authenticates");
    }
}
