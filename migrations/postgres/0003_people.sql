-- People, their browser sessions, what they were asked and what they agreed to.

CREATE TABLE users (
    id                  BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    sub                 TEXT NOT NULL UNIQUE CHECK (octet_length(sub) <= 255),
    username            TEXT NOT NULL CHECK (octet_length(username) <= 1024),
    -- Trimmed and lower-cased: what is compared.
    canonical_username  TEXT NOT NULL UNIQUE CHECK (octet_length(canonical_username) <= 1024),
    enabled             BIGINT NOT NULL CHECK (enabled IN (0, 1)),
    admin               BIGINT NOT NULL CHECK (admin IN (0, 1)),
    group_names         TEXT NOT NULL CHECK (octet_length(group_names) <= 65536),
    claims              TEXT NOT NULL CHECK (octet_length(claims) <= 65536),
    -- Argon2id in PHC form.
    password_hash       TEXT CHECK (octet_length(password_hash) <= 512),
    password_changed_at BIGINT,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL
);

CREATE TABLE sessions (
    id            BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    cookie        BYTEA NOT NULL UNIQUE CHECK (octet_length(cookie) = 32),
    sid           TEXT NOT NULL UNIQUE CHECK (octet_length(sid) <= 255),
    user_id       BYTEA NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    auth_time     BIGINT NOT NULL,
    acr           TEXT CHECK (octet_length(acr) <= 255),
    amr           TEXT NOT NULL CHECK (octet_length(amr) <= 1024),
    created_at    BIGINT NOT NULL,
    last_used_at  BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    ended_at      BIGINT,
    ended_because TEXT CHECK (octet_length(ended_because) <= 255)
) WITH (fillfactor = 80);

-- No index on last_used_at, which changes all the time.
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_sweep ON sessions (expires_at);

CREATE TABLE interactions (
    digest      BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    client_id   TEXT NOT NULL CHECK (octet_length(client_id) <= 255),
    -- Digest of the browser cookie that this interaction belongs to.
    browser     BYTEA NOT NULL CHECK (octet_length(browser) = 32),
    request     TEXT NOT NULL CHECK (octet_length(request) <= 65536),
    state       TEXT NOT NULL CHECK (octet_length(state) <= 65536),
    session_id  BYTEA CHECK (octet_length(session_id) = 16),
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    consumed_at BIGINT
) WITH (fillfactor = 80);

CREATE INDEX interactions_browser ON interactions (browser, created_at);
CREATE INDEX interactions_session ON interactions (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX interactions_sweep ON interactions (expires_at);

CREATE TABLE consents (
    user_id          BYTEA NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id        TEXT NOT NULL CHECK (octet_length(client_id) <= 255),
    scopes           TEXT NOT NULL CHECK (octet_length(scopes) <= 65536),
    resources        TEXT NOT NULL CHECK (octet_length(resources) <= 65536),
    metadata_version BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    PRIMARY KEY (user_id, client_id)
);

CREATE INDEX consents_client ON consents (client_id);
