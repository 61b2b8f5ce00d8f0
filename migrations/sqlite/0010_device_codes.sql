-- Devices that wait for a person (RFC 8628). The device code is here as a digest, the user code as a keyed hash: it is short, and a
-- plain digest of it could be searched through.

CREATE TABLE device_codes (
    digest         BLOB NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    user_code      BLOB NOT NULL UNIQUE CHECK (octet_length(user_code) = 32),
    -- The data key of that hash.
    key_id         INTEGER NOT NULL,
    client_id      TEXT NOT NULL CHECK (octet_length(client_id) <= 255),
    scopes         TEXT NOT NULL CHECK (octet_length(scopes) <= 65536),
    resources      TEXT NOT NULL CHECK (octet_length(resources) <= 65536),
    requested_from TEXT NOT NULL CHECK (octet_length(requested_from) <= 64),
    -- Microseconds between two polls; it only grows.
    poll_interval  INTEGER NOT NULL,
    polled_at      INTEGER,
    -- The first person who looked at it: theirs to decide.
    claimed_by     BLOB REFERENCES users (id) ON DELETE CASCADE,
    claimed_at     INTEGER,
    -- What came of a yes.
    grant_id       BLOB REFERENCES grants (id) ON DELETE CASCADE,
    denied_at      INTEGER,
    consumed_at    INTEGER,
    withdrawn_at   INTEGER,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX device_codes_person ON device_codes (claimed_by) WHERE claimed_by IS NOT NULL;
CREATE INDEX device_codes_grant ON device_codes (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX device_codes_sweep ON device_codes (expires_at);
