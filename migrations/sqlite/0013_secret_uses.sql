-- When a client's secret was last used, written once a day at most.

CREATE TABLE client_secret_uses (
    secret_id    BLOB NOT NULL PRIMARY KEY REFERENCES client_secrets (id) ON DELETE CASCADE,
    last_used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Is there an administrator at all? Few among many.
CREATE INDEX users_administrators ON users (id) WHERE admin = 1;
