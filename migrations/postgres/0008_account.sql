-- The account page: when a person last confirmed that it is them, and what they know a session by.

ALTER TABLE sessions ADD COLUMN confirmed_at BIGINT;
-- Browser and system in words, and the address prefix of the last use.
ALTER TABLE sessions ADD COLUMN device TEXT;
ALTER TABLE sessions ADD COLUMN address TEXT;
-- NOT VALID: for what is written from now on. Looking through a large table would hold up those who sign in.
ALTER TABLE sessions ADD CONSTRAINT sessions_device_check CHECK (octet_length(device) <= 255) NOT VALID;
ALTER TABLE sessions ADD CONSTRAINT sessions_address_check CHECK (octet_length(address) <= 64) NOT VALID;
