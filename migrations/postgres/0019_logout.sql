-- Telling clients that a session has ended (OpenID Connect Back-Channel Logout, Front-Channel Logout).

-- The clients that people signed in to in each browser session, of those that want to hear of its end. A grant may be long gone by then.
CREATE TABLE session_clients (
    session_id BYTEA NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    client_id  TEXT NOT NULL CHECK (octet_length(client_id) <= 255),
    user_id    BYTEA NOT NULL CHECK (octet_length(user_id) = 16),
    -- As the client's ID tokens have them.
    sub        TEXT NOT NULL CHECK (octet_length(sub) <= 255),
    sid        TEXT NOT NULL CHECK (octet_length(sid) <= 255),
    PRIMARY KEY (session_id, client_id)
);

CREATE INDEX session_clients_user ON session_clients (user_id, client_id);

-- Logout tokens that are still to be delivered: written in the transaction that ends what they tell of, deleted when the client has
-- answered or is given up. No foreign key: the person, the session and the client may be gone.
CREATE TABLE logout_deliveries (
    id         BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    client_id  TEXT NOT NULL CHECK (octet_length(client_id) <= 255),
    sub        TEXT NOT NULL CHECK (octet_length(sub) <= 255),
    sid        TEXT NOT NULL CHECK (octet_length(sid) <= 255),
    created_at BIGINT NOT NULL,
    -- When to try (again). Whoever tries moves it on first: until then nobody else does.
    due_at     BIGINT NOT NULL,
    attempts   BIGINT NOT NULL
);

CREATE INDEX logout_deliveries_due ON logout_deliveries (client_id, due_at);
CREATE INDEX logout_deliveries_sweep ON logout_deliveries (created_at);
