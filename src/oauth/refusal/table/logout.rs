//! Logout (OpenID Connect RP-Initiated Logout, Back-Channel Logout).

room! { logout
    /// The post_logout_redirect_uri is none of the registered ones, byte for byte.
    PostLogoutRedirectUriMismatch { client_id: String = whole, registered: Vec<String> = shorten, received: String = cut } => {
        rule: "post-logout-redirect-uri-mismatch", "the post-logout URI is a registered one", "OpenID Connect RP-Initiated Logout section 3";
        wire: bad(
            "invalid_request",
            format!("The post_logout_redirect_uri is not registered; it is compared character by character. Received: {}", sanitise(received, 200)),
        );
        page: with(PageText::LogoutRedirect, "post_logout_redirect_uri", received);
        story: Story::new(
            format!("The post_logout_redirect_uri is none of those that client {client_id} has registered. They are compared character by character."),
            format!("If {received} is right, add it to post_logout_redirect_uris: `chancery client update {client_id}`. Otherwise correct the client."),
        )
        .expected(one_of(registered))
        .received(received.clone())
        .difference(redirect_uri::first_difference(registered, received));
    }

    /// A post_logout_redirect_uri without a valid id_token_hint.
    PostLogoutRedirectUriWithoutHint => {
        rule: "post-logout-redirect-uri-without-hint", "no redirect without a valid hint", "OpenID Connect RP-Initiated Logout section 3, Chancery design 7";
        wire: bad("invalid_request", "A post_logout_redirect_uri needs an id_token_hint that this server issued.");
        page: naming(PageText::LogoutRedirect, "post_logout_redirect_uri");
        story: Story::new(
            "A redirect after logout was asked for without an ID token that shows whose session it is.",
            "Let the client send id_token_hint with the last ID token that it received.",
        )
        .expected("id_token_hint")
        .received("none, or not a valid one");
    }

    /// A client did not take the word that a session has ended. Nobody had asked for anything: it goes on record alone.
    LogoutUndelivered { client_id: String = whole, attempts: i64, because: String = whole, again_at: Option<Timestamp> } => {
        rule: "logout-undelivered", "a client takes its logout tokens", "OpenID Connect Back-Channel Logout section 2.8";
        // Told to nobody.
        wire: bad("invalid_request", "The client did not take a logout token.");
        page: general();
        story: Story::new(
            format!("The client {client_id} was not told that a session has ended, in attempt {attempts}: {because}."),
            match again_at {
                Some(again_at) => format!(
                    "It is told again at {}. See why its backchannel_logout_uri does not answer 200 within some seconds; addresses inside your network need [outbound] allow.",
                    again_at.rfc3339()
                ),
                None => "It is not told any more: its own session lives until it ends by itself. The audit log has logout.undelivered. See why its backchannel_logout_uri refused the token or was away for so long.".to_owned(),
            },
        );
    }
}
