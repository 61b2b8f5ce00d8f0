-- The audit log is read by who acted and by what was done, too; by target it could be before.
CREATE INDEX IF NOT EXISTS audit_events_actor ON audit_events (actor, at);
CREATE INDEX IF NOT EXISTS audit_events_action ON audit_events (action, at);
