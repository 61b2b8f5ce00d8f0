-- The browser and system in which a passkey was made: what a person knows it by.
ALTER TABLE passkeys ADD COLUMN device TEXT;
