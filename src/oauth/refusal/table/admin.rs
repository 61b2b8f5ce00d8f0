//! The admin API.

room! { admin
    /// The admin API was called without the right.
    AdminForbidden { needed: String = whole } => {
        rule: "admin-forbidden", "administration needs the right", "Chancery security requirement R-70";
        wire: insufficient_scope(format!("This needs the scope {}.", shown(needed)), Some(needed.clone()));
        page: plain(PageText::Forbidden);
        story: Story::new(
            format!("The caller of the admin API lacks {needed}."),
            format!("Give the client the scope {needed} with `chancery client update`, and let it ask for it."),
        )
        .expected(needed.clone());
    }

    /// No user, client, … has this id.
    AdminNotFound { kind: String = whole, id: String = cut } => {
        rule: "admin-not-found", "what is named exists", "RFC 9110 section 15.5.5";
        wire: not_found(&format!("There is no {} {}.", shown(kind), shown(id)));
        page: general();
        story: Story::new(
            format!("A caller of the admin API named a {kind} that does not exist."),
            "List what there is. Typical causes: it was removed meanwhile, another environment's id, or an id that is not percent-encoded in the path.",
        )
        .expected(format!("the id of a {kind}"))
        .received(id.clone());
    }

    /// The body is not of the type that the operation reads.
    WrongMediaType { expected: String = whole, received: Option<String> = cut } => {
        rule: "wrong-media-type", "documents are JSON", "RFC 9110 section 15.5.16";
        wire: {
            let received = received.as_deref().map_or_else(|| "none".to_owned(), shown);
            Wire { status: 415, ..bad("invalid_request", format!("The Content-Type must be {expected}. Received: {received}")) }
        };
        page: general();
        story: Story::new(
            "The body is not of the type that this operation of the admin API reads.",
            format!("Send the header Content-Type: {expected}."),
        )
        .expected(expected.clone())
        .received(received.clone().unwrap_or_else(|| "no Content-Type".to_owned()));
    }

    /// A document is not acceptable: the member at fault, or the whole.
    DocumentRefused { member: Option<String> = cut, detail: String = cut } => {
        rule: "document-refused", "documents are checked as a whole", "Chancery security requirements R-31 and R-72";
        wire: match member {
            Some(member) => Wire {
                status: 422,
                ..bad("invalid_request", format!("The member {} is not acceptable: {}", shown(member), sanitise(detail, 500)))
            },
            None => bad("invalid_request", format!("The document is {}.", sanitise(detail, 500))),
        };
        page: general();
        story: Story::new(
            match member {
                Some(member) => format!("A document sent to the admin API was refused because of {member}: {detail}."),
                None => format!("A document sent to the admin API was refused: {detail}."),
            },
            "Correct the document. /admin/api/openapi.json says what each may hold; nothing was changed.",
        )
        .difference(detail.clone());
    }

    /// Something else has the name, or the state of things forbids the change.
    AdminConflict { member: Option<String> = whole, detail: String = cut } => {
        rule: "admin-conflict", "the change fits what is there", "RFC 9110 section 15.5.10";
        wire: Wire { status: 409, ..bad("invalid_request", format!("It does not fit what is there: {}", sanitise(detail, 500))) };
        page: general();
        story: Story::new(
            format!("A change through the admin API does not fit what is there: {detail}."),
            "Read what there is and decide anew; nothing was changed.",
        );
    }

    /// RFC 9110 §13.1: what the caller asked to be the case is not.
    PreconditionFailed { expected: String = cut, present: String = whole } => {
        rule: "precondition-failed", "it is still as the caller saw it", "RFC 9110 section 13.1";
        wire: Wire {
            status: 412,
            ..bad("invalid_request", format!("It is not as it was. Expected: {}. There is: {}.", shown(expected), shown(present)))
        };
        page: general();
        story: Story::new(
            "The caller of the admin API wanted to change what it had seen, and it has changed since.",
            "Read it once more and repeat the change on what is there now; nothing was changed.",
        )
        .expected(expected.clone())
        .received(present.clone());
    }
}
