//! The pages that people see: forms, sign-in, second factors, and what is rationed before anybody signs in.

room! { pages
    /// The form's CSRF token does not belong to this browser.
    CsrfMismatch => {
        rule: "csrf-mismatch", "a form belongs to its browser", "Chancery security requirement R-51";
        wire: forbidden("access_denied", "The form does not belong to this browser. Load the page again.");
        page: plain(PageText::ForeignForm);
        story: Story::new(
            "The form's hidden token does not belong to this browser.",
            "The person loads the page again. If it happens to everybody, cookies are blocked or stripped: check the proxy and that the issuer's scheme is the one that browsers use.",
        );
    }

    /// Origin or Sec-Fetch-Site say that another site sent the form.
    CrossSiteForm { origin: Option<String> = cut } => {
        rule: "cross-site-form", "forms come from this server's pages", "Chancery security requirement R-51";
        wire: forbidden("access_denied", "The form was sent from another site.");
        page: plain(PageText::ForeignForm);
        story: Story::new(
            "A form was sent to this server from another site.",
            "If the other site is hostile, nothing is to be done: it was stopped. If it is this server under another name, let people reach it under its issuer alone.",
        )
        .expected("the issuer's own origin")
        .received(origin.clone().unwrap_or_else(|| "Sec-Fetch-Site says that it is another site".to_owned()));
    }

    /// The sign-in failed: the branch is for the operator alone, the page is the same.
    SignInFailed { branch: SignInBranch, identifier: String = keyed } => {
        rule: "sign-in-failed", "the person proves who they are", "OpenID Connect Core section 3.1.2.3";
        wire: bad("access_denied", "The username or the password is wrong.");
        page: general();
        story: sign_in_failed(*branch).received(identifier.clone());
    }

    /// The second factor failed, after the password was right: the branch is for the operator alone, the page is the same.
    FactorFailed { branch: FactorBranch, sub: String = whole } => {
        rule: "factor-failed", "a second factor is proved, and each code counts once", "RFC 6238 section 5.2";
        wire: bad("access_denied", "The second factor was not proved.");
        page: general();
        story: factor_failed(*branch).received(format!("a sign-in of {sub}"));
    }

    /// Too many failures for this account or address.
    SignInThrottled { scope: String = cut, retry_after: u64 } => {
        rule: "sign-in-throttled", "guessing is slowed down", "Chancery security requirement R-55";
        wire: too_many("There were too many failed attempts. Wait a while and try again.", *retry_after);
        page: plain(PageText::Busy);
        story: Story::new(
            format!("There were too many failed sign-ins for this {scope}, so the next attempt has to wait."),
            "It ends by itself. If honest people share the address behind a proxy, configure [proxies] trusted so that their own addresses are seen; the limits are in [throttle].",
        )
        .expected(format!("the next attempt in {}", words(Duration::from_secs(*retry_after))));
    }

    /// Too much password hashing is waiting.
    Overloaded { retry_after: u64 } => {
        rule: "overloaded", "the server answers within its means", "Chancery security requirements R-56 and R-79";
        wire: unavailable("The server is busy. Try again in a moment.", *retry_after);
        page: plain(PageText::Busy);
        story: Story::new(
            "More requests were waiting than the server can work off in time: for a place, for a password to be checked, or for keys of clients to be fetched.",
            "If this is everyday traffic, give the server or its database more processors, or add a replica; see requests and longest_wait in [limits], and workers in [passwords]. If it is a flood, this is what keeps the server standing.",
        )
        .expected(format!("another attempt in {}", words(Duration::from_secs(*retry_after))));
    }

    /// Too many authorization requests are open for this address or client.
    TooManyOpenRequests { scope: String = whole, limit: u64, retry_after: u64 } => {
        rule: "too-many-open-requests", "what nobody signed in for is rationed", "Chancery security requirement R-77";
        wire: too_many("Too many sign-ins were begun and not ended. Wait a while and try again.", *retry_after);
        page: plain(PageText::Busy);
        story: Story::new(
            format!("This {scope} has too many authorization requests open: begun, and neither ended nor expired."),
            "If this is a flood, it ends by itself. If it is everyday traffic: configure [proxies] trusted so that people behind a proxy are told apart, or raise interactions_per_address or interactions_per_client in [throttle].",
        )
        .expected(format!("at most {limit} open; the next in {}", words(Duration::from_secs(*retry_after))));
    }

    /// One client asked about too many tokens that nobody issued.
    TooManyUnknownTokens { limit: u64, retry_after: u64 } => {
        rule: "too-many-unknown-tokens", "tokens are not found by trying", "RFC 7662 section 4";
        wire: too_many("Too many tokens came that were never issued. Tokens of this server are still answered.", *retry_after);
        page: general();
        story: Story::new(
            "A client at introspection, or an address at the admin API, came with more tokens that this server never issued than it may in a minute. Tokens of this server were answered all the while.",
            "Somebody may be trying tokens, or sending rubbish to a resource server that asks here: let that refuse what is not shaped like one of our tokens before it asks. If it serves several authorization servers, let it look at the issuer first. The limit is unknown_tokens_per_minute in [throttle].",
        )
        .expected(format!("at most {limit} a minute; the next in {}", words(Duration::from_secs(*retry_after))));
    }
}
