-- Of the registration access token before, which counts until the one that took its place is used for the first time: the answer that
-- held it may be lost.
ALTER TABLE registrations ADD COLUMN previous BYTEA CHECK (octet_length(previous) = 32);
