-- The digest of the registration access token before, as long as the one after it was never used: its answer may have been lost.
-- Without a CHECK, for which PostgreSQL would read the whole table while nobody may write to it.
ALTER TABLE registrations ADD COLUMN previous BYTEA;
ALTER TABLE registrations ADD COLUMN replaced_at BIGINT;
