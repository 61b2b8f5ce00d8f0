-- Passkeys, and the challenges that were answered.

CREATE TABLE passkeys (
    id            BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    user_id       BYTEA NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id BYTEA NOT NULL UNIQUE CHECK (octet_length(credential_id) <= 1023),
    -- COSE identifier.
    algorithm     BIGINT NOT NULL,
    -- SubjectPublicKeyInfo, DER.
    public_key    BYTEA NOT NULL CHECK (octet_length(public_key) <= 2048),
    sign_count    BIGINT NOT NULL,
    -- 1 when it may be copied to other devices of the person.
    synced        BIGINT NOT NULL CHECK (synced IN (0, 1)),
    created_at    BIGINT NOT NULL,
    last_used_at  BIGINT NOT NULL
);

CREATE INDEX passkeys_user ON passkeys (user_id);

-- An answer to a challenge counts once; after its time it counts never.
CREATE TABLE spent_challenges (
    digest     BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    expires_at BIGINT NOT NULL
);

CREATE INDEX spent_challenges_sweep ON spent_challenges (expires_at);
