-- The digest of the registration access token before, as long as the one after it was never used: its answer may have been lost.
ALTER TABLE registrations ADD COLUMN previous BLOB;
ALTER TABLE registrations ADD COLUMN replaced_at INTEGER;
