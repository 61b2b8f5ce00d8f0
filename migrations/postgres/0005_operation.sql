-- What operators and the throttle need.

-- Failed attempts by keyed hash of an account or an address; shared by all replicas.
CREATE TABLE failures (
    key               BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(key) = 32),
    count             BIGINT NOT NULL,
    window_started_at BIGINT NOT NULL,
    last_at           BIGINT NOT NULL,
    expires_at        BIGINT NOT NULL
) WITH (fillfactor = 80);

CREATE INDEX failures_sweep ON failures (expires_at);

CREATE TABLE audit_events (
    id       BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    at       BIGINT NOT NULL,
    actor    TEXT NOT NULL CHECK (octet_length(actor) <= 1024),
    action   TEXT NOT NULL CHECK (octet_length(action) <= 255),
    target   TEXT NOT NULL CHECK (octet_length(target) <= 2048),
    -- JSON without secrets: what was, what is, and whatever else explains the event.
    was      TEXT CHECK (octet_length(was) <= 262144),
    is_now   TEXT CHECK (octet_length(is_now) <= 262144),
    trace_id TEXT CHECK (octet_length(trace_id) <= 64)
);

CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_target ON audit_events (target, at);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
CREATE TRIGGER audit_events_never_change BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();

-- Why requests were refused (design 4.7).
CREATE TABLE decisions (
    trace_id       TEXT NOT NULL PRIMARY KEY CHECK (octet_length(trace_id) <= 64),
    at             BIGINT NOT NULL,
    endpoint       TEXT NOT NULL CHECK (octet_length(endpoint) <= 255),
    client_id      TEXT CHECK (octet_length(client_id) <= 1024),
    address_prefix TEXT CHECK (octet_length(address_prefix) <= 64),
    rule           TEXT NOT NULL CHECK (octet_length(rule) <= 255),
    reason         TEXT NOT NULL CHECK (octet_length(reason) <= 65536)
);

CREATE INDEX decisions_sweep ON decisions (at);

-- Beyond the first of each minute only their number is kept.
CREATE TABLE decision_counts (
    minute         BIGINT NOT NULL,
    rule           TEXT NOT NULL CHECK (octet_length(rule) <= 255),
    client_id      TEXT NOT NULL CHECK (octet_length(client_id) <= 1024),
    address_prefix TEXT NOT NULL CHECK (octet_length(address_prefix) <= 64),
    count          BIGINT NOT NULL,
    PRIMARY KEY (minute, rule, client_id, address_prefix)
) WITH (fillfactor = 80);
