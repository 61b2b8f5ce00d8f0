-- When a client's secret was last used, written once a day at most.

CREATE TABLE client_secret_uses (
    secret_id    BYTEA NOT NULL PRIMARY KEY REFERENCES client_secrets (id) ON DELETE CASCADE,
    last_used_at BIGINT NOT NULL
);

-- Is there an administrator at all? Few among many.
-- blocks writes: signing in writes to this table, and waits a second for each some million users. Where that is too long, build the index
-- before the update with CREATE INDEX CONCURRENTLY under this name: then there is nothing to do here.
CREATE INDEX IF NOT EXISTS users_administrators ON users (id) WHERE admin = 1;
