//! Refresh tokens (RFC 6749 §6; design 4.2).

room! { refresh
    /// Not a refresh token of ours, or its MAC does not hold.
    RefreshTokenUnknown => {
        rule: "refresh-token-unknown", "the refresh token was issued here", "RFC 6749 sections 6 and 5.2";
        wire: bad("invalid_grant", "The refresh token is not one that this server issued to this client.");
        page: general();
        story: Story::new(
            "The refresh token is not one of this server's, or was altered.",
            "Check that the client kept it whole and presents it at the issuer that gave it. After a rotation of the refresh data key with --compromised, older tokens are refused on purpose: people sign in again.",
        )
        .expected("a refresh token of this server");
    }

    /// The family belongs to another client.
    RefreshTokenOfAnotherClient { issued_to: String = whole, presented_by: String = whole } => {
        rule: "refresh-token-of-another-client", "a refresh token belongs to the client that it was issued to", "RFC 6749 section 6";
        wire: bad("invalid_grant", "The refresh token is not one that this server issued to this client.");
        page: general();
        story: Story::new(
            "A client presented a refresh token that was issued to another client. Nothing was changed.",
            "If both are yours, they share a token store or a configuration. If not, the token was stolen: `chancery user sign-out`.",
        )
        .expected(issued_to.clone())
        .received(presented_by.clone())
        .difference("another client_id");
    }

    /// The family was ended: signed out, revoked, stolen earlier.
    RefreshFamilyEnded { ended_at: Timestamp, because: String = whole } => {
        rule: "refresh-family-ended", "the refresh token was not revoked", "RFC 6749 section 6, RFC 7009";
        wire: bad("invalid_grant", "The refresh token has been revoked.");
        page: general();
        story: Story::new(
            format!("The refresh token was revoked at {}: {because}.", at(*ended_at)),
            "The person signs in again. The client should take invalid_grant as the end of its session.",
        )
        .expected("a refresh token that stands")
        .received(format!("one that ended: {because}"));
    }

    /// Not used for longer than the idle lifetime.
    RefreshFamilyIdle { last_used_at: Timestamp, expired_at: Timestamp, now: Timestamp } => {
        rule: "refresh-family-idle", "refresh tokens that nobody uses expire", "RFC 9700 section 4.14.2";
        wire: bad("invalid_grant", "The refresh token has expired: it was not used for too long.");
        page: general();
        story: Story::new(
            format!("The refresh token was not used for {}.", ago(*last_used_at, *now)),
            "The person signs in again. If that is too early for this application, raise [lifetimes] refresh_idle.",
        )
        .expected(format!("a use before {}", at(*expired_at)))
        .received(at(*now));
    }

    /// Older than the absolute lifetime.
    RefreshFamilyExpired { expired_at: Timestamp, now: Timestamp } => {
        rule: "refresh-family-expired", "refresh tokens have an absolute lifetime", "Chancery design 4.8";
        wire: bad("invalid_grant", "The refresh token has expired.");
        page: general();
        story: Story::new(
            format!("The refresh token reached its absolute end {} ago, however often it was used.", ago(*expired_at, *now)),
            "The person signs in again. If that is too early, raise [lifetimes] refresh.",
        )
        .expected(format!("before {}", at(*expired_at)))
        .received(at(*now));
    }

    /// A generation that must not come back did: theft. The family and its grant are revoked.
    RefreshTokenStolen { presented: i64, current: i64, redeemed_at: Timestamp, now: Timestamp } => {
        rule: "refresh-token-stolen", "a redeemed refresh token does not come back", "RFC 9700 section 4.14.2, Chancery design 4.2";
        wire: bad("invalid_grant", "The refresh token was used before. For safety everything issued with it has been revoked.");
        page: general();
        story: Story::new(
            format!("A refresh token that had been redeemed came back {} later: somebody else may hold a copy. The family and every token of its grant were revoked.", ago(*redeemed_at, *now)),
            "The person signs in again. If this was no theft, two parts of the application share one refresh token without telling each other of the new one (two processes, a restored backup): \
             give each its own sign-in, or let one of them refresh for all. DPoP makes a copy worthless.",
        )
        .expected(format!("generation {current}"))
        .received(format!("generation {presented}, redeemed at {}", at(*redeemed_at)))
        .difference(format!("{} generations behind", current.saturating_sub(*presented)));
    }

    /// The previous generation of a public client came too late for recovery: refused, nothing revoked.
    RefreshRecoveryOver { presented: i64, current: i64, redeemed_at: Timestamp, now: Timestamp } => {
        rule: "refresh-recovery-over", "a lost answer can be recovered for a limited time", "Chancery design 4.2";
        wire: bad("invalid_grant", "The refresh token was used before and is out of date.");
        page: general();
        story: Story::new(
            format!("The client came back with its previous refresh token {} after it was redeemed: it lost the answer, but came too late to recover. Nothing was revoked.", ago(*redeemed_at, *now)),
            "The person signs in again. If the client is often without a network for so long, raise its refresh_recovery (seconds), or let it authenticate or use DPoP: then there is no limit.",
        )
        .expected(format!("generation {current}"))
        .received(format!("generation {presented}"));
    }

    /// A generation above the current one: the database lost commits.
    RefreshTokenAhead { presented: i64, current: i64 } => {
        rule: "refresh-token-ahead", "the database knows every token that it issued", "Chancery design 4.2";
        wire: bad("invalid_grant", "The refresh token is not known in this state.");
        page: general();
        story: Story::new(
            "A genuine refresh token is newer than the database knows: the database has lost commits. Nothing was revoked.",
            "Was a backup restored, or did a replica take over without the last writes? Then follow docs/runbooks.md. If not, check the database's durability settings (synchronous_commit, fsync). The person signs in again.",
        )
        .expected(format!("at most generation {current}"))
        .received(format!("generation {presented}"));
    }
}
