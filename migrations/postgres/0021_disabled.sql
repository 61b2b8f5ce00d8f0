-- Who is disabled, few among many: that somebody is not in it says that they may, and nobody's row is read for it.
-- blocks writes: signing in writes to this table, and waits a second for each some million users. Where that is too long, build the index
-- before the update with CREATE INDEX CONCURRENTLY under this name: then there is nothing to do here.
CREATE INDEX IF NOT EXISTS users_disabled ON users (id) WHERE enabled = 0;
