-- What clients have signed to prove themselves: each counts once, until it could not be accepted any more.
CREATE TABLE spent_assertions (
    digest     BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    expires_at BIGINT NOT NULL
);

CREATE INDEX spent_assertions_sweep ON spent_assertions (expires_at);
