-- Clients that registered themselves (RFC 7591), and the tokens that let them. Of every token only the digest is here.

CREATE TABLE initial_access_tokens (
    id                 BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    digest             BYTEA NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    note               TEXT CHECK (octet_length(note) <= 1024),
    -- How the audit log calls the one who made it.
    created_by         TEXT NOT NULL CHECK (octet_length(created_by) <= 300),
    -- What clients may register for with it, as JSON.
    limits             TEXT NOT NULL CHECK (octet_length(limits) <= 65536),
    registrations      BIGINT NOT NULL,
    registrations_left BIGINT NOT NULL CHECK (registrations_left >= 0),
    created_at         BIGINT NOT NULL,
    expires_at         BIGINT NOT NULL
);

CREATE INDEX initial_access_tokens_sweep ON initial_access_tokens (expires_at);

CREATE TABLE registrations (
    client_id            TEXT NOT NULL PRIMARY KEY REFERENCES clients (client_id) ON DELETE CASCADE,
    -- Of the registration access token (RFC 7592).
    digest               BYTEA NOT NULL CHECK (octet_length(digest) = 32),
    -- NULL: registration was open to everybody. No foreign key: the token goes, who used it stays known.
    initial_access_token BYTEA CHECK (octet_length(initial_access_token) = 16),
    address              TEXT NOT NULL CHECK (octet_length(address) <= 64),
    limits               TEXT NOT NULL CHECK (octet_length(limits) <= 65536),
    registered_at        BIGINT NOT NULL
);

-- When a client that registered itself goes, unless it was used before; NULL for all others.
ALTER TABLE clients ADD COLUMN unused_until BIGINT;
CREATE INDEX clients_unused ON clients (unused_until) WHERE unused_until IS NOT NULL;
