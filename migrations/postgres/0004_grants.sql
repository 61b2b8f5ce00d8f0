-- Authorizations and what is issued from them. Bearer values are here as digests or not at all.

CREATE TABLE grants (
    id            BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    -- No foreign key: it would lock the client's row for every person who signs in. A grant whose client is gone is inactive.
    client_id     TEXT NOT NULL CHECK (octet_length(client_id) <= 255),
    user_id       BYTEA NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sub           TEXT NOT NULL CHECK (octet_length(sub) <= 255),
    scopes        TEXT NOT NULL CHECK (octet_length(scopes) <= 65536),
    resources     TEXT NOT NULL CHECK (octet_length(resources) <= 65536),
    auth_time     BIGINT NOT NULL,
    acr           TEXT CHECK (octet_length(acr) <= 255),
    amr           TEXT NOT NULL CHECK (octet_length(amr) <= 1024),
    session_id    BYTEA CHECK (octet_length(session_id) = 16),
    sid           TEXT CHECK (octet_length(sid) <= 255),
    nonce         TEXT CHECK (octet_length(nonce) <= 4096),
    -- 1 when offline_access was granted: the grant outlives the browser session.
    offline       BIGINT NOT NULL CHECK (offline IN (0, 1)),
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    ended_at      BIGINT,
    ended_because TEXT CHECK (octet_length(ended_because) <= 255)
) WITH (fillfactor = 80);

CREATE INDEX grants_user ON grants (user_id, client_id);
CREATE INDEX grants_client ON grants (client_id);
CREATE INDEX grants_session ON grants (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX grants_sweep ON grants (expires_at);
CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE codes (
    digest         BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    grant_id       BYTEA NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    client_id      TEXT NOT NULL CHECK (octet_length(client_id) <= 255),
    redirect_uri   TEXT CHECK (octet_length(redirect_uri) <= 8192),
    code_challenge TEXT CHECK (octet_length(code_challenge) <= 128),
    nonce          TEXT CHECK (octet_length(nonce) <= 4096),
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    consumed_at    BIGINT
) WITH (fillfactor = 80);

CREATE INDEX codes_grant ON codes (grant_id);
CREATE INDEX codes_sweep ON codes (expires_at);

-- Refresh tokens: one row per family, for ever (design 4.2). Rotation changes no indexed column.
CREATE TABLE families (
    id                   BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    grant_id             BYTEA NOT NULL UNIQUE REFERENCES grants (id) ON DELETE CASCADE,
    client_id            TEXT NOT NULL CHECK (octet_length(client_id) <= 255),
    salt                 BYTEA NOT NULL CHECK (octet_length(salt) = 16),
    key_id               BIGINT NOT NULL,
    generation           BIGINT NOT NULL,
    previous             BIGINT NOT NULL,
    previous_redeemed_at BIGINT,
    burst_first          BIGINT NOT NULL,
    burst_recovered      BIGINT NOT NULL,
    burst_started_at     BIGINT,
    created_at           BIGINT NOT NULL,
    last_used_at         BIGINT NOT NULL,
    expires_at           BIGINT NOT NULL,
    ended_at             BIGINT,
    ended_because        TEXT CHECK (octet_length(ended_because) <= 255)
) WITH (fillfactor = 80);

-- Single access tokens that were revoked, until they would have expired anyway.
CREATE TABLE revoked_tokens (
    jti        BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(jti) = 32),
    expires_at BIGINT NOT NULL
);

CREATE INDEX revoked_tokens_sweep ON revoked_tokens (expires_at);
