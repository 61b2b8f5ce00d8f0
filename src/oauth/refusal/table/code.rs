//! Authorization codes and their verifiers (RFC 6749 §4.1.3, RFC 7636 §4.6).

room! { code
    /// No such code: never issued, swept, or mistyped.
    CodeUnknown => {
        rule: "code-unknown", "the code was issued here", "RFC 6749 sections 4.1.3 and 5.2";
        // the code of another client looks like one that never was.
        wire: bad("invalid_grant", "The code is not one that this server issued to this client.");
        page: general();
        story: Story::new(
            "The code is not known: never issued here, mistyped or cut, or so old that it was swept.",
            "Check that the client redeems at the same issuer that gave the code, once, and at once. A code that was URL-decoded twice or not at all is a typical cause.",
        )
        .expected("a code from the authorization response");
    }

    /// RFC 6749 §4.1.2: codes are short-lived.
    CodeExpired { expired_at: Timestamp, now: Timestamp } => {
        rule: "code-expired", "codes live for a short time", "RFC 6749 section 4.1.2";
        wire: bad("invalid_grant", "The code has expired. Codes must be redeemed at once.");
        page: general();
        story: Story::new(
            format!("The code was redeemed {} after it expired.", ago(*expired_at, *now)),
            "The client must redeem the code at once; look for what keeps it waiting (a breakpoint, a queue, a cold start). Only if that cannot be changed, raise [lifetimes] code.",
        )
        .expected(format!("before {}", at(*expired_at)))
        .received(at(*now));
    }

    /// The code was redeemed before; what was issued from it is revoked.
    CodeReplayed { redeemed_at: Timestamp, now: Timestamp } => {
        rule: "code-replayed", "a code works once", "RFC 6749 section 4.1.2, RFC 9700 section 4.5";
        wire: bad("invalid_grant", "The code has been redeemed before. A code works once.");
        page: general();
        story: Story::new(
            format!("The code was redeemed a second time, {} after the first. As that may be theft, everything issued from it was revoked.", ago(*redeemed_at, *now)),
            "If it was the client itself: it retries, or its callback page is loaded twice (reload, prefetch, two instances). Let it redeem each code once. If it was not, somebody saw the code: look at the redirect's logs.",
        )
        .expected("one redemption")
        .received(format!("the first at {}, the second at {}", at(*redeemed_at), at(*now)));
    }

    /// The honest retry of design 4.3: refused, nothing revoked.
    CodeRetried { redeemed_at: Timestamp, now: Timestamp } => {
        rule: "code-retried", "a code works once", "RFC 6749 section 4.1.2, Chancery design 4.3";
        wire: bad("invalid_grant", "The code has been redeemed before. A code works once.");
        page: general();
        story: Story::new(
            format!("The same client sent the same code again after {}, with the right verifier: an honest retry. It was refused and nothing was revoked.", ago(*redeemed_at, *now)),
            "Let the client redeem each code once: typically a double submit, or a callback that runs twice in development mode.",
        )
        .expected("one redemption")
        .received(format!("the first at {}, the second at {}", at(*redeemed_at), at(*now)));
    }

    /// The code was issued to another client.
    CodeOfAnotherClient { issued_to: String = whole, presented_by: String = whole } => {
        rule: "code-of-another-client", "a code belongs to the client that it was issued to", "RFC 6749 section 4.1.3";
        // the code of another client looks like one that never was.
        wire: bad("invalid_grant", "The code is not one that this server issued to this client.");
        page: general();
        story: Story::new(
            "A client presented a code that was issued to another client.",
            "If both are yours, their configurations are mixed up: the client_id at /authorize and at /token must be the same. If not, this is an attack that failed; the code is still good for its owner.",
        )
        .expected(issued_to.clone())
        .received(presented_by.clone())
        .difference("another client_id");
    }

    /// redirect_uri differs from the one in the authorization request (RFC 6749 §4.1.3).
    CodeRedirectUriMismatch { expected: String = whole, received: Option<String> = whole } => {
        rule: "code-redirect-uri-mismatch", "redirect_uri is the one of the authorization request", "RFC 6749 section 4.1.3";
        wire: bad(
            "invalid_grant",
            match received {
                Some(received) => {
                    format!("The redirect_uri is not the one of the authorization request. Received: {}", sanitise(received, 200))
                }
                None => "The redirect_uri is missing; it must be the one of the authorization request.".to_owned(),
            },
        );
        page: general();
        story: Story::new(
            "The redirect_uri at the token endpoint is not the one of the authorization request.",
            "Let the client send the same redirect_uri in both requests, character by character. If it computes it from the request's host, set its public URL.",
        )
        .expected(expected.clone())
        .received(received.clone().unwrap_or_else(|| "no redirect_uri".to_owned()))
        .difference(match received {
            Some(received) => redirect_uri::first_difference(std::slice::from_ref(expected), received),
            None => "it is missing".to_owned(),
        });
    }

    /// No code_verifier although the request carried a challenge (RFC 7636 §4.6).
    VerifierMissing => {
        rule: "verifier-missing", "a code with a challenge needs its verifier", "RFC 7636 section 4.5";
        wire: bad("invalid_grant", "The code_verifier is missing; the authorization request carried a code_challenge.");
        page: general();
        story: Story::new(
            "The client sent a code_challenge at /authorize but no code_verifier at /token.",
            "The client lost the verifier between the two requests: it must be kept (in the session or the browser's storage) and sent. Check that PKCE is on in both halves of the library.",
        )
        .expected("code_verifier")
        .received("none");
    }

    /// The code_verifier is not 43 to 128 unreserved characters (RFC 7636 §4.1).
    VerifierMalformed { length: usize } => {
        rule: "verifier-malformed", "the verifier follows its grammar", "RFC 7636 section 4.1";
        wire: bad(
            "invalid_grant",
            format!("The code_verifier must have 43 to 128 characters of A-Z a-z 0-9 - . _ ~. It has {length} characters."),
        );
        page: general();
        story: Story::new(
            "The code_verifier does not follow its grammar.",
            "Make it of 32 random bytes in base64url without padding: 43 characters.",
        )
        .expected("43 to 128 characters of A-Z a-z 0-9 - . _ ~")
        .received(format!("{length} characters; the value is not recorded"));
    }

    /// SHA-256 of the code_verifier is not the code_challenge (RFC 7636 §4.6).
    VerifierWrong { expected: String = whole, received: String = whole } => {
        rule: "verifier-wrong", "the verifier matches the challenge", "RFC 7636 section 4.6";
        wire: bad("invalid_grant", "The code_verifier does not match the code_challenge of the authorization request.");
        page: general();
        story: Story::new(
            "The code_verifier is not the one whose hash was sent at /authorize.",
            "Typically two sign-ins ran at once and the client kept only the last verifier: it must keep one per state. Otherwise check that the hash is over the verifier's ASCII text, not over the bytes behind it.",
        )
        .expected(format!("code_challenge {expected}"))
        .received(format!("a verifier whose challenge is {received}"))
        .difference(text_difference(expected, received));
    }

    /// A code_verifier for a code without challenge (RFC 9700 §4.8.2: downgrade).
    VerifierWithoutChallenge => {
        rule: "verifier-without-challenge", "no verifier without a challenge", "RFC 9700 section 4.8.2";
        wire: bad("invalid_grant", "There is a code_verifier, but the authorization request carried no code_challenge.");
        page: general();
        story: Story::new(
            "The client sent a code_verifier, but its authorization request carried no code_challenge.",
            "If the client did send one at /authorize, something on the way removed it, and that is an attack. Otherwise switch PKCE on in both halves of the library.",
        )
        .expected("no code_verifier, or a code_challenge at /authorize")
        .received("a code_verifier alone");
    }
}
