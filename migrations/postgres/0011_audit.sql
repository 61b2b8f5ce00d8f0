-- The audit log is read by who acted and by what was done, too; by target it could be before.

-- blocks writes: signing in writes to this table, and waits some seconds for each million events. Where that is too long, build both
-- indexes before the update with CREATE INDEX CONCURRENTLY under these names: then there is nothing to do here.
CREATE INDEX IF NOT EXISTS audit_events_actor ON audit_events (actor, at);
-- blocks writes: as above.
CREATE INDEX IF NOT EXISTS audit_events_action ON audit_events (action, at);
