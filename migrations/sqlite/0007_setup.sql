-- What a set-up file keeps (`chancery apply`): nobody else changes it. A table of its own, so that a server of the version before goes on
-- working beside this one.
CREATE TABLE owned_objects (
    kind    TEXT NOT NULL CHECK (kind IN ('client', 'resource', 'group')),
    -- client_id, identifier, name.
    id      TEXT NOT NULL CHECK (octet_length(id) <= 2048),
    -- The `name` of the file.
    owner   TEXT NOT NULL CHECK (octet_length(owner) <= 255),
    -- Of a client: whether the file names its secrets too.
    secrets INTEGER NOT NULL CHECK (secrets IN (0, 1)),
    since   INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX owned_objects_owner ON owned_objects (owner);

-- What is gone has no owner, by whatever way it went: one of the same name may come by hand.
CREATE TRIGGER clients_disowned AFTER DELETE ON clients
BEGIN DELETE FROM owned_objects WHERE kind = 'client' AND id = OLD.client_id; END;
CREATE TRIGGER resources_disowned AFTER DELETE ON resources
BEGIN DELETE FROM owned_objects WHERE kind = 'resource' AND id = OLD.identifier; END;
