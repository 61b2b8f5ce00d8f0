//! Grants at the token endpoint, whichever they are (RFC 6749 §5.2).

room! { grant
    /// grant_type is not one of ours; password and implicit are never offered.
    UnsupportedGrantType { received: String = cut } => {
        rule: "unsupported-grant-type", "grant_type is one that is offered", "RFC 6749 section 5.2, RFC 9700 section 2.4";
        wire: bad(
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
        );
        page: general();
        story: Story::new(
            format!("The client asked for grant_type={received}."),
            match received.as_str() {
                "password" => "The password grant hands people's passwords to applications and is not offered (RFC 9700 section 2.4). Use authorization_code with PKCE; for a machine, client_credentials.".to_owned(),
                "implicit" => "There is no implicit grant. Use authorization_code with PKCE.".to_owned(),
                _ => format!("Use one of {}.", GrantType::ALL.map(GrantType::as_str).join(", ")),
            },
        )
        .expected(GrantType::ALL.map(GrantType::as_str).join(", "))
        .received(received.clone());
    }

    /// The client is not registered for this grant.
    UnauthorizedGrantType { client_id: String = whole, grant_type: String = whole, registered: Vec<String> = whole } => {
        rule: "unauthorized-grant-type", "clients use grants that they are registered for", "RFC 6749 section 5.2, RFC 7591 section 2";
        wire: bad("unauthorized_client", format!("This client is not registered for the grant {}.", shown(grant_type)));
        page: general();
        story: Story::new(
            format!("The client {client_id} is not registered for the grant {grant_type}."),
            format!("If it should be, add \"{grant_type}\" to its grant_types: `chancery client update {client_id}`."),
        )
        .expected(one_of(registered))
        .received(grant_type.clone());
    }

    /// The grant behind the artefact has ended.
    GrantEnded { because: String = whole } => {
        rule: "grant-ended", "the authorization stands", "Chancery design 4.1";
        wire: bad("invalid_grant", "The authorization behind this has ended.");
        page: general();
        story: Story::new(
            format!("The authorization behind this ended: {because}."),
            "The person signs in again.",
        )
        .expected("an authorization that stands")
        .received(format!("one that ended: {because}"));
    }

    /// The browser session that the grant lives with has ended.
    SessionEnded => {
        rule: "session-ended", "without offline_access a grant ends with its browser session", "OpenID Connect Core section 11, Chancery design 4.2";
        wire: bad("invalid_grant", "The browser session that this authorization lives with has ended.");
        page: general();
        story: Story::new(
            "The browser session has ended, and this authorization lives with it, since offline_access was not granted.",
            "The person signs in again. If the application should go on after the browser session, let it ask for offline_access with prompt=consent.",
        )
        .expected("a live browser session, or offline_access")
        .received("an ended session without offline_access");
    }

    /// The user was disabled.
    UserDisabled { sub: String = whole } => {
        rule: "user-disabled", "the person's account is enabled", "Chancery security requirement R-09";
        // Whether and how a person's account exists is nobody's business here.
        wire: bad("invalid_grant", "The authorization behind this has ended.");
        page: general();
        story: Story::new(
            "The person's account is disabled.",
            "If it should work again: `chancery user enable`, and the person signs in again. The audit log tells who disabled it.",
        )
        .expected("an enabled account")
        .received(format!("the disabled account with sub {sub}"));
    }

    /// The user does not exist any more.
    UserGone => {
        rule: "user-gone", "the person's account exists", "Chancery security requirement R-09";
        // Whether and how a person's account exists is nobody's business here.
        wire: bad("invalid_grant", "The authorization behind this has ended.");
        page: general();
        story: Story::new("The person's account was removed.", "Nothing is to be done unless the removal was a mistake; then add the account again.").expected("an account").received("none");
    }

    /// Between reading and writing, something that the decision rested on changed, each time that it was tried.
    StateChanged => {
        rule: "state-changed", "a decision holds until it is written", "Chancery design 3";
        wire: unavailable("Something changed while the request was decided. Try again.", 1);
        page: general();
        story: Story::new(
            "Between reading and writing something changed that the decision rested on, each time that it was tried. Nothing was issued.",
            "The client tries again. If this is frequent, several processes use one code or one token at once.",
        );
    }
}
