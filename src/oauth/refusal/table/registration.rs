//! Clients that register and manage themselves (RFC 7591, RFC 7592).

room! { registration
    /// RFC 7591 §3.2.2: a member of the metadata, or the whole, cannot be registered.
    ClientMetadataRefused { member: Option<String> = cut, code: MetadataCode, detail: String = cut } => {
        rule: "client-metadata-refused", "metadata is checked as a whole", "RFC 7591 sections 2 and 3.2.2";
        wire: bad(
            code.as_str(),
            match member {
                Some(member) => format!("The member {} cannot be registered: it {}", shown(member), sanitise(detail, 400)),
                None => format!("The client metadata {}", sanitise(detail, 400)),
            },
        );
        page: general();
        story: Story::new(
            match member {
                Some(member) => format!("A client tried to register, or to change itself, with a {member} that cannot be registered."),
                None => "A client tried to register, or to change itself, with a document that cannot be read.".to_owned(),
            },
            "Correct it in the client's registration request. What clients may ask for is limited by their initial access token, and by grant_types and scopes in \
             [registration]; an operator can register anything by `chancery client add`.",
        )
        .difference(detail.clone());
    }

    /// RFC 7591 §2.3: there is no one whose software statements are believed.
    SoftwareStatementUnsupported => {
        rule: "software-statement-unsupported", "nobody speaks for a client but itself", "RFC 7591 sections 2.3 and 3.2.2";
        wire: bad("invalid_software_statement", "Software statements are not supported. Send the metadata as plain members.");
        page: general();
        story: Story::new(
            "A client sent a software_statement.",
            "Let it send its metadata as plain members. There is nobody whose statements this server would believe; initial access tokens say who may register.",
        )
        .expected("no software_statement")
        .received("a software_statement");
    }

    /// The initial access token lets nobody in.
    InitialAccessTokenRefused { because: TokenFault } => {
        rule: "initial-access-token-refused", "who registers has a token for it", "RFC 7591 section 3";
        // Which of them it is helps nobody but a guesser.
        wire: invalid_token("The initial access token is unknown, has expired, or all its registrations were used.");
        page: general();
        story: initial_access_token(because);
    }

    /// RFC 7592 §2: the registration access token does not open this client.
    RegistrationAccessRefused { client_id: String = whole, because: AccessFault } => {
        rule: "registration-access-refused", "a client is managed with its own registration access token", "RFC 7592 section 2";
        wire: invalid_token("The registration access token does not open this client.");
        page: general();
        story: registration_access(client_id, *because);
    }

    /// Too many clients were registered by nobody in particular.
    TooManyRegistrations { scope: String = whole, limit: u64, retry_after: u64 } => {
        rule: "too-many-registrations", "what nobody signed in for is rationed", "Chancery security requirement R-77";
        wire: {
            let many = match scope.as_str() {
                "client" => "This client has changed itself too often.",
                _ => "Too many clients were registered and not used.",
            };
            too_many(format!("{many} Wait a while and try again."), *retry_after)
        };
        page: general();
        story: Story::new(
            match scope.as_str() {
                "client" => "This client has changed itself so often that the next change has to wait.",
                "address" => "This address has registered so many clients that the next one has to wait.",
                _ => "So many clients registered themselves and were never used that the next one has to wait.",
            },
            "If this is a flood, it ends by itself, and what was never used goes after open_unused_lifetime in [registration]. If it is everyday traffic, raise open_per_address or open_unused there, \
             or give out initial access tokens: they are not counted.",
        )
        .expected(format!("at most {limit}; the next in {}", words(Duration::from_secs(*retry_after))));
    }
}
