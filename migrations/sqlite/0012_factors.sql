-- Second factors, and sign-ins that wait for one.

-- The shared secret of a person's authenticator app, sealed under a data key and bound to the person.
CREATE TABLE totp_secrets (
    user_id      BLOB NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed       BLOB NOT NULL CHECK (octet_length(sealed) <= 255),
    -- The last time step of which a code was accepted: a code counts once (RFC 6238 section 5.2).
    last_step    INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_codes (
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest     BLOB NOT NULL CHECK (octet_length(digest) = 32),
    created_at INTEGER NOT NULL,
    used_at    INTEGER,
    PRIMARY KEY (user_id, digest)
) STRICT, WITHOUT ROWID;

-- The password was right, and a second factor is due before a session begins. Found by the digest of the id in the page's address,
-- bound to a browser by the digest of its cookie.
CREATE TABLE sign_ins (
    digest          BLOB NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    browser         BLOB NOT NULL CHECK (octet_length(browser) = 32),
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Digest of the password hash that was checked: with another password by now, it is over.
    password_digest BLOB NOT NULL CHECK (octet_length(password_digest) = 32),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    consumed_at     INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX sign_ins_user ON sign_ins (user_id);
CREATE INDEX sign_ins_sweep ON sign_ins (expires_at);
