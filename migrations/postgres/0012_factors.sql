-- Second factors, and sign-ins that wait for one.

-- The shared secret of a person's authenticator app, sealed under a data key and bound to the person.
CREATE TABLE totp_secrets (
    user_id      BYTEA NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed       BYTEA NOT NULL CHECK (octet_length(sealed) <= 255),
    -- The last time step of which a code was accepted: a code counts once (RFC 6238 section 5.2).
    last_step    BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);

CREATE TABLE recovery_codes (
    user_id    BYTEA NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest     BYTEA NOT NULL CHECK (octet_length(digest) = 32),
    created_at BIGINT NOT NULL,
    used_at    BIGINT,
    PRIMARY KEY (user_id, digest)
);

-- The password was right, and a second factor is due before a session begins. Found by the digest of the id in the page's address,
-- bound to a browser by the digest of its cookie.
CREATE TABLE sign_ins (
    digest          BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    browser         BYTEA NOT NULL CHECK (octet_length(browser) = 32),
    user_id         BYTEA NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Digest of the password hash that was checked: with another password by now, it is over.
    password_digest BYTEA NOT NULL CHECK (octet_length(password_digest) = 32),
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    consumed_at     BIGINT
);

CREATE INDEX sign_ins_user ON sign_ins (user_id);
CREATE INDEX sign_ins_sweep ON sign_ins (expires_at);
