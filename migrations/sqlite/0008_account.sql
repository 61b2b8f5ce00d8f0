-- The account page: when a person last confirmed that it is them, and what they know a session by.

ALTER TABLE sessions ADD COLUMN confirmed_at INTEGER;
-- Browser and system in words, and the address prefix of the last use.
ALTER TABLE sessions ADD COLUMN device TEXT CHECK (octet_length(device) <= 255);
ALTER TABLE sessions ADD COLUMN address TEXT CHECK (octet_length(address) <= 64);
