//! The form of the request.

room! { form
    /// RFC 6749 §3.1: a parameter was sent twice.
    DuplicateParameter { name: String = cut } => {
        rule: "duplicate-parameter", "a parameter is sent once", "RFC 6749 section 3.1";
        wire: bad("invalid_request", format!("The parameter {} was sent more than once.", shown(name)));
        page: naming(PageText::DuplicateParameter, name);
        story: Story::new(
            format!("The parameter {name} came more than once in one request."),
            format!("Send {name} once. If the client does, look for a proxy or a link that adds it again, or for one in the URL and one in the body."),
        )
        .expected(format!("{name} at most once"))
        .received(format!("{name} at least twice"));
    }

    /// A parameter that is required is missing or empty (RFC 6749 §3.1: empty counts as not sent).
    MissingParameter { name: String = cut } => {
        rule: "missing-parameter", "required parameters are there", "RFC 6749 sections 3.1 and 5.2";
        wire: bad("invalid_request", format!("The parameter {} is missing or has no value.", shown(name)));
        page: naming(PageText::MissingParameter, name);
        story: Story::new(
            format!("The request has no {name}, or has it without a value, which counts the same."),
            format!("Let the client send {name}. If it believes that it does, check the Content-Type of the request and that the value is not empty."),
        )
        .expected(format!("a value for {name}"))
        .received("none");
    }

    /// A parameter breaks its grammar: percent-encoding, UTF-8, control bytes, number format.
    MalformedParameter { name: String = cut, received: String = cut, detail: String = cut } => {
        rule: "malformed-parameter", "parameters follow their grammar", "RFC 6749 appendix A and B";
        wire: bad(
            "invalid_request",
            format!("The parameter {} cannot be read: {}. Received: {}", shown(name), sanitise(detail, 160), shown(received)),
        );
        page: with(PageText::MalformedParameter, name, received);
        story: Story::new(
            format!("The parameter {name} could not be read: {detail}."),
            "Let the client build the request with its library's form encoder instead of by hand.",
        )
        .expected("percent-encoded UTF-8 without control characters, in the parameter's own grammar")
        .received(received.clone())
        .difference(detail.clone());
    }

    /// A parameter or the whole query is longer than its limit in bytes.
    ParameterTooLong { name: String = cut, limit: usize } => {
        rule: "parameter-too-long", "parameters have limits", "Chancery security requirement R-20";
        wire: bad("invalid_request", format!("The parameter {} is longer than {limit} bytes.", shown(name)));
        page: naming(PageText::TooLong, name);
        story: Story::new(
            format!("The parameter {name} is too long."),
            format!("Keep {name} within {limit} bytes. For a large state keep the data at the client and send a reference to it."),
        )
        .expected(format!("at most {limit} bytes"));
    }

    /// The body is not application/x-www-form-urlencoded.
    WrongContentType { received: Option<String> = cut } => {
        rule: "wrong-content-type", "requests to the token endpoint are forms", "RFC 6749 section 3.2 and appendix B";
        wire: {
            let received = received.as_deref().map_or_else(|| "none".to_owned(), shown);
            bad("invalid_request", format!("The Content-Type must be application/x-www-form-urlencoded. Received: {received}"))
        };
        page: general();
        story: Story::new(
            "The body is not a form.",
            "Send the header Content-Type: application/x-www-form-urlencoded and the parameters as a form. JSON is not understood here (RFC 6749 section 3.2); \
             with fetch, pass a URLSearchParams as the body.",
        )
        .expected("application/x-www-form-urlencoded")
        .received(received.clone().unwrap_or_else(|| "no Content-Type".to_owned()));
    }

    /// The body is longer than the limit in bytes.
    BodyTooLarge { limit: usize } => {
        rule: "body-too-large", "bodies have a limit", "Chancery security requirement R-75";
        wire: Wire { status: 413, ..bad("invalid_request", format!("The body is longer than {limit} bytes.")) };
        page: plain(PageText::TooLong);
        story: Story::new("The body is too large.", "Look at what the client sends; no honest request comes near the limit.").expected(format!("at most {limit} bytes"));
    }

    /// A client secret, token or other credential was sent in the URL's query.
    CredentialsInQuery { name: String = cut } => {
        rule: "credentials-in-query", "credentials are never sent in a URL", "RFC 6749 section 2.3.1, RFC 9700 section 4.3.2";
        wire: bad(
            "invalid_request",
            format!("{} was sent in the URL, where it ends in logs and histories. Send it in the body or a header, and replace it.", shown(name)),
        );
        page: naming(PageText::AppRequest, name);
        story: Story::new(
            format!("The client sent {name} in the URL, where proxies, histories and logs keep it."),
            format!("Send {name} in the body of a POST request, or as an Authorization header. Replace the credential: it has been seen."),
        )
        .expected(format!("no {name} in the URL"))
        .received(format!("{name} in the query, its value is not recorded"));
    }

    /// A discovery document was asked for below an issuer that is not ours, or under another host name.
    WrongIssuer { expected: String = whole, received: String = cut } => {
        rule: "wrong-issuer", "the issuer is one exact string", "OpenID Connect Discovery section 4.3, RFC 8414 section 3.3";
        wire: not_found("This server has no issuer at this address. Take the issuer exactly as it is configured.");
        page: general();
        story: Story::new(
            "A client looks for an issuer that this server is not.",
            format!("Set the issuer in the client's configuration to exactly {expected}, without a slash more or less. If clients should reach the server as {received}, change CHANCERY_ISSUER instead."),
        )
        .expected(expected.clone())
        .received(received.clone())
        .difference(text_difference(expected, received));
    }
}
