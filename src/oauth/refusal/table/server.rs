//! The server itself.

room! { server
    /// The database did not answer in time. Nothing was acknowledged.
    StorageUnavailable { detail: String = whole } => {
        rule: "storage-unavailable", "nothing is acknowledged that is not stored", "Chancery security requirements R-11 and R-91";
        wire: unavailable("The server cannot reach its storage. Nothing was changed; try again.", 2);
        page: plain(PageText::Unavailable);
        story: Story::new(
            format!("The database did not answer: {detail}. Nothing was acknowledged."),
            "Check the database and the network to it; `chancery doctor` tries both. Clients may simply try again.",
        );
    }

    /// A fault of this server.
    Internal { detail: String = whole } => {
        rule: "internal", "the server works", "RFC 6749 section 4.1.2.1, server_error";
        wire: Wire { status: 500, ..bad("server_error", "The server made a mistake. The trace id leads its operator to the cause.") };
        page: plain(PageText::Internal);
        story: Story::new(
            format!("A fault of this server: {detail}."),
            "This should not happen. Look at the log under the same trace id and report it.",
        );
    }

    /// No such page or endpoint.
    NotFound { path: String = path } => {
        rule: "not-found", "the address exists", "RFC 9110 section 15.5.5";
        wire: not_found("There is nothing at this address.");
        page: plain(PageText::NotFound);
        story: Story::new(
            "There is nothing at this address.",
            "Take addresses from the discovery document; do not build them by hand. Mind the issuer's path.",
        )
        .received(path.clone());
    }

    /// The endpoint does not know this HTTP method.
    MethodNotAllowed { method: String = cut, allowed: String = whole } => {
        rule: "method-not-allowed", "the method fits the endpoint", "RFC 9110 section 15.5.6";
        wire: {
            let which = if allowed.is_empty() { "the header Allow names those that it does".to_owned() } else { format!("it does to {}", shown(allowed)) };
            Wire { status: 405, ..bad("invalid_request", format!("This address does not answer to {}; {which}.", shown(method))) }
        };
        page: plain(PageText::MethodNotAllowed);
        story: {
            let expected = if allowed.is_empty() { "a method that the answer's header Allow names" } else { allowed };
            Story::new("The endpoint does not know this HTTP method.", format!("Use {expected}.")).expected(expected).received(method.clone())
        };
    }
}
