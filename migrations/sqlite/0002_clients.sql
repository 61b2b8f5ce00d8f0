-- Clients, their secrets by digest, and the APIs that tokens are made for.

CREATE TABLE clients (
    client_id         TEXT NOT NULL PRIMARY KEY CHECK (octet_length(client_id) <= 255),
    -- RFC 7591 metadata as JSON, validated before it came here.
    metadata          TEXT NOT NULL CHECK (octet_length(metadata) <= 65536),
    metadata_version  INTEGER NOT NULL,
    enabled           INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    tokens_not_before INTEGER,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE client_secrets (
    id         BLOB NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    client_id  TEXT NOT NULL REFERENCES clients (client_id) ON DELETE CASCADE,
    digest     BLOB NOT NULL CHECK (octet_length(digest) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX client_secrets_client ON client_secrets (client_id);
CREATE INDEX client_secrets_sweep ON client_secrets (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE resources (
    identifier TEXT NOT NULL PRIMARY KEY CHECK (octet_length(identifier) <= 2048),
    document   TEXT NOT NULL CHECK (octet_length(document) <= 65536),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every scope belongs to one resource (design 4.4); the primary key says so.
CREATE TABLE resource_scopes (
    scope      TEXT NOT NULL PRIMARY KEY CHECK (octet_length(scope) <= 255),
    identifier TEXT NOT NULL REFERENCES resources (identifier) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX resource_scopes_resource ON resource_scopes (identifier);
