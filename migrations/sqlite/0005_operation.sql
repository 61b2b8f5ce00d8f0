-- What operators and the throttle need.

-- Failed attempts by keyed hash of an account or an address; shared by all replicas.
CREATE TABLE failures (
    key               BLOB NOT NULL PRIMARY KEY CHECK (octet_length(key) = 32),
    count             INTEGER NOT NULL,
    window_started_at INTEGER NOT NULL,
    last_at           INTEGER NOT NULL,
    expires_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX failures_sweep ON failures (expires_at);

CREATE TABLE audit_events (
    id       BLOB NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL CHECK (octet_length(actor) <= 1024),
    action   TEXT NOT NULL CHECK (octet_length(action) <= 255),
    target   TEXT NOT NULL CHECK (octet_length(target) <= 2048),
    -- JSON without secrets: what was, what is, and whatever else explains the event.
    was      TEXT CHECK (octet_length(was) <= 262144),
    is_now   TEXT CHECK (octet_length(is_now) <= 262144),
    trace_id TEXT CHECK (octet_length(trace_id) <= 64)
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_target ON audit_events (target, at);

CREATE TRIGGER audit_events_never_change BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_events_never_go BEFORE DELETE ON audit_events
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Why requests were refused (design 4.7).
CREATE TABLE decisions (
    trace_id       TEXT NOT NULL PRIMARY KEY CHECK (octet_length(trace_id) <= 64),
    at             INTEGER NOT NULL,
    endpoint       TEXT NOT NULL CHECK (octet_length(endpoint) <= 255),
    client_id      TEXT CHECK (octet_length(client_id) <= 1024),
    address_prefix TEXT CHECK (octet_length(address_prefix) <= 64),
    rule           TEXT NOT NULL CHECK (octet_length(rule) <= 255),
    reason         TEXT NOT NULL CHECK (octet_length(reason) <= 65536)
) STRICT, WITHOUT ROWID;

CREATE INDEX decisions_sweep ON decisions (at);

-- Beyond the first of each minute only their number is kept.
CREATE TABLE decision_counts (
    minute         INTEGER NOT NULL,
    rule           TEXT NOT NULL CHECK (octet_length(rule) <= 255),
    client_id      TEXT NOT NULL CHECK (octet_length(client_id) <= 1024),
    address_prefix TEXT NOT NULL CHECK (octet_length(address_prefix) <= 64),
    count          INTEGER NOT NULL,
    PRIMARY KEY (minute, rule, client_id, address_prefix)
) STRICT, WITHOUT ROWID;
