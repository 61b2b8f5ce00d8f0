-- Keys, and small facts about the installation. Private parts are sealed under the master key, which is never here.
-- Times are microseconds since 1970, row ids 16-byte UUIDs, flags 0 or 1.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL CHECK (octet_length(value) <= 65536)
);

CREATE TABLE data_keys (
    id             BIGINT NOT NULL PRIMARY KEY,
    purpose        TEXT NOT NULL,
    sealed         BYTEA NOT NULL CHECK (octet_length(sealed) <= 1024),
    created_at     BIGINT NOT NULL,
    retired_at     BIGINT,
    compromised_at BIGINT
);

-- One data key per purpose makes new artefacts; replicas that start together must agree on it.
CREATE UNIQUE INDEX data_keys_one_current ON data_keys (purpose) WHERE retired_at IS NULL;

CREATE TABLE signing_keys (
    kid            TEXT NOT NULL PRIMARY KEY CHECK (octet_length(kid) <= 255),
    alg            TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('next', 'active', 'retiring', 'verify_only', 'compromised')),
    sealed_private BYTEA NOT NULL CHECK (octet_length(sealed_private) <= 16384),
    public_jwk     TEXT NOT NULL CHECK (octet_length(public_jwk) <= 8192),
    created_at     BIGINT NOT NULL,
    state_since    BIGINT NOT NULL,
    published_at   BIGINT,
    activated_at   BIGINT,
    retired_at     BIGINT
);

CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (alg) WHERE state = 'active';
CREATE UNIQUE INDEX signing_keys_one_next ON signing_keys (alg) WHERE state = 'next';
