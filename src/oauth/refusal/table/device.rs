//! Device codes and user codes (RFC 8628).

room! { device
    /// RFC 8628 §3.5: the person has not decided yet. The device asks again in `interval` seconds.
    AuthorizationPending { interval: u64 } => {
        rule: "authorization-pending", "tokens come after the person's decision", "RFC 8628 section 3.5";
        wire: bad("authorization_pending", format!("The person has not decided yet. Ask again in {interval} seconds."));
        page: general();
        story: Story::new(
            "The device asked whether the person has decided. They have not: this is how it waits, and no error.",
            "Nothing is to be done, unless it goes on for minutes: then the person has not found the page, or typed another code. The next request of the device tells how it ends.",
        )
        .expected(format!("the next request in {interval} seconds"));
    }

    /// The same, and it asked too soon, after `waited` seconds; `interval` is the new one.
    SlowDown { interval: u64, waited: u64 } => {
        rule: "slow-down", "a device asks no faster than it was told", "RFC 8628 section 3.5";
        wire: bad("slow_down", format!("The person has not decided yet, and this came too soon. From now on ask every {interval} seconds."));
        page: general();
        story: Story::new(
            format!("The device asked again after {waited} seconds, sooner than it was told. It now has to wait {interval} seconds between two requests."),
            "Let the client keep to the interval of the device authorization response, and add five seconds at every slow_down (RFC 8628 section 3.5). Typical causes: two loops that poll the same code, or a retry at once after a time-out.",
        )
        .expected(format!("requests {interval} seconds apart"))
        .received(format!("{waited} seconds apart"));
    }

    /// No such device code: never issued, swept, or mistyped.
    DeviceCodeUnknown => {
        rule: "device-code-unknown", "the device code was issued here", "RFC 8628 section 3.4, RFC 6749 section 5.2";
        // the code of another client looks like one that never was.
        wire: bad("invalid_grant", "The device code is not one that this server issued to this client.");
        page: general();
        story: Story::new(
            "The device code is not known: never issued here, cut, or so old that it was swept.",
            "Check that the client sends the device_code, and not the user_code that people see, to the issuer that gave it.",
        )
        .expected("a device_code of the device authorization response");
    }

    /// The device code was issued to another client.
    DeviceCodeOfAnotherClient { issued_to: String = whole, presented_by: String = whole } => {
        rule: "device-code-of-another-client", "a device code belongs to the client that it was issued to", "RFC 8628 section 3.4, RFC 6749 section 5.2";
        // the code of another client looks like one that never was.
        wire: bad("invalid_grant", "The device code is not one that this server issued to this client.");
        page: general();
        story: Story::new(
            "A client presented a device code that was issued to another client. Nothing was changed.",
            "If both are yours, their configurations are mixed up: the client_id at /device/code and at /token must be the same. If not, this is an attack that failed.",
        )
        .expected(issued_to.clone())
        .received(presented_by.clone())
        .difference("another client_id");
    }

    /// RFC 8628 §3.5: nobody decided in time.
    DeviceCodeExpired { expired_at: Timestamp, now: Timestamp } => {
        rule: "device-code-expired", "device codes live for a limited time", "RFC 8628 sections 3.2 and 3.5";
        wire: bad("expired_token", "Nobody decided in time. Begin again with a new code.");
        page: general();
        story: Story::new(
            format!("Nobody decided about the device in time: its code expired {} earlier.", ago(*expired_at, *now)),
            "The device asks for a new code and shows it. If people need longer, look whether the device says clearly where to go; the most that [lifetimes] device_code takes is 10 minutes.",
        )
        .expected(format!("a decision before {}", at(*expired_at)))
        .received(at(*now));
    }

    /// The device code was redeemed before; what was issued from it is revoked.
    DeviceCodeReplayed { redeemed_at: Timestamp, now: Timestamp } => {
        rule: "device-code-replayed", "a device code works once", "RFC 8628 section 3.5, Chancery design 4.3";
        wire: bad("invalid_grant", "The device code has been redeemed before. It works once.");
        page: general();
        story: Story::new(
            format!("The device code was redeemed a second time, {} after the first. As that may be theft, everything issued from it was revoked.", ago(*redeemed_at, *now)),
            "If it was the device itself, it lost the answer, or went on polling after it had its tokens: the person allows it once more. If it was not, somebody read the device's code.",
        )
        .expected("one redemption")
        .received(format!("the first at {}, the second at {}", at(*redeemed_at), at(*now)));
    }

    /// Two polls crossed: the later one is refused, nothing revoked.
    DeviceCodeRetried { redeemed_at: Timestamp, now: Timestamp } => {
        rule: "device-code-retried", "a device code works once", "RFC 8628 section 3.5, Chancery design 4.3";
        wire: bad("invalid_grant", "The device code has been redeemed before. It works once.");
        page: general();
        story: Story::new(
            format!("Two requests with the same device code crossed: this one came {} after the one that got the tokens. It was refused and nothing was revoked.", ago(*redeemed_at, *now)),
            "Let the device ask one request after the other. Typically two loops poll the same code.",
        )
        .expected("one redemption")
        .received(format!("the first at {}, the second at {}", at(*redeemed_at), at(*now)));
    }

    /// Taken back before it was redeemed.
    DeviceCodeWithdrawn => {
        rule: "device-code-withdrawn", "the authorization stands", "Chancery design 3";
        wire: bad("invalid_grant", "The authorization behind this has ended.");
        page: general();
        story: Story::new(
            "Before the device asked again, its code was taken back: the person was disabled, has another password, signed out, or withdrew the app's access.",
            "The device asks for a new code, and the person allows it once more. The audit log tells what happened to the account.",
        )
        .expected("an authorization that stands")
        .received("one that was taken back");
    }

    /// The person said no to the device.
    DeviceDenied => {
        rule: "device-denied", "the person decides", "RFC 8628 section 3.5";
        wire: bad("access_denied", "The person did not allow it.");
        page: general();
        story: Story::new(
            "The person pressed the button that says no to the device.",
            "Nothing is broken. If they say that they did not, somebody else showed them a code: see the address that the device's request came from in the audit log.",
        )
        .expected("allow")
        .received("deny");
    }

    /// What somebody typed is no user code of ours.
    UserCodeUnknown => {
        rule: "user-code-unknown", "the code is one that a device shows", "RFC 8628 section 3.3";
        // Which of them it is tells whose guess was near.
        wire: {
            bad("invalid_request", "This code is not valid, or not any more. Check the code on the device, or let it show a new one.")
        };
        page: general();
        story: Story::new(
            "Somebody typed a code that no device shows. It is not recorded.",
            "The person compares the code with the device's screen, letter by letter: there are no vowels and no digits in it. Many of these from one address are guesses; they are slowed down.",
        )
        .expected("eight letters of BCDFGHJKLMNPQRSTVWXZ that a device shows now");
    }

    /// Its time is over.
    UserCodeExpired { expired_at: Timestamp, now: Timestamp } => {
        rule: "user-code-expired", "user codes live for a limited time", "RFC 8628 sections 3.2 and 5.1";
        // Which of them it is tells whose guess was near.
        wire: {
            bad("invalid_request", "This code is not valid, or not any more. Check the code on the device, or let it show a new one.")
        };
        page: general();
        story: Story::new(
            format!("The code that was typed expired {} earlier.", ago(*expired_at, *now)),
            "The device shows a new code; the person types that one.",
        )
        .expected(format!("before {}", at(*expired_at)))
        .received(at(*now));
    }

    /// Another person looked at it first.
    UserCodeOfAnotherPerson => {
        rule: "user-code-of-another-person", "the first who looks at a code decides about it", "Chancery security requirement R-65";
        // Which of them it is tells whose guess was near.
        wire: {
            bad("invalid_request", "This code is not valid, or not any more. Check the code on the device, or let it show a new one.")
        };
        page: general();
        story: Story::new(
            "Somebody else looked at this code first, so it is theirs to decide.",
            "The device shows a new code. Typical cause: the person opened the page under another account, or sent the code to a colleague. If neither is so, somebody read the code from the screen.",
        )
        .expected("the person who looked at it first")
        .received("another person");
    }

    /// It was decided before.
    UserCodeSpent => {
        rule: "user-code-spent", "a code is decided about once", "RFC 8628 section 3.3";
        // Which of them it is tells whose guess was near.
        wire: {
            bad("invalid_request", "This code is not valid, or not any more. Check the code on the device, or let it show a new one.")
        };
        page: general();
        story: Story::new(
            "The code that was typed had been decided about before.",
            "If the device still waits, it will have its answer within seconds. Else it shows a new code.",
        )
        .expected("a code that nobody has decided about");
    }

    /// Too many user codes that were none.
    UserCodeThrottled { scope: String = whole, retry_after: u64 } => {
        rule: "user-code-throttled", "guessing codes is slowed down", "RFC 8628 section 5.1, Chancery security requirement R-65";
        wire: too_many("Too many codes did not fit. Wait a while and try again.", *retry_after);
        page: plain(PageText::Busy);
        story: Story::new(
            format!("Too many codes that no device shows were typed by this {scope}, so the next has to wait."),
            "It ends by itself. If honest people share the address behind a proxy, configure [proxies] trusted so that their own addresses are seen; the limits are in [throttle].",
        )
        .expected(format!("the next code in {}", words(Duration::from_secs(*retry_after))));
    }
}
