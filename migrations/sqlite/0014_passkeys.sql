-- Passkeys, and the challenges that were answered.

CREATE TABLE passkeys (
    id            BLOB NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    user_id       BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id BLOB NOT NULL UNIQUE CHECK (octet_length(credential_id) <= 1023),
    -- COSE identifier.
    algorithm     INTEGER NOT NULL,
    -- SubjectPublicKeyInfo, DER.
    public_key    BLOB NOT NULL CHECK (octet_length(public_key) <= 2048),
    sign_count    INTEGER NOT NULL,
    -- 1 when it may be copied to other devices of the person.
    synced        INTEGER NOT NULL CHECK (synced IN (0, 1)),
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX passkeys_user ON passkeys (user_id);

-- An answer to a challenge counts once; after its time it counts never.
CREATE TABLE spent_challenges (
    digest     BLOB NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_challenges_sweep ON spent_challenges (expires_at);
