-- What a set-up file keeps (`chancery apply`): nobody else changes it. A table of its own, so that a server of the version before goes on
-- working beside this one.
CREATE TABLE owned_objects (
    kind    TEXT NOT NULL CHECK (kind IN ('client', 'resource', 'group')),
    -- client_id, identifier, name.
    id      TEXT NOT NULL CHECK (octet_length(id) <= 2048),
    -- The `name` of the file.
    owner   TEXT NOT NULL CHECK (octet_length(owner) <= 255),
    -- Of a client: whether the file names its secrets too.
    secrets BIGINT NOT NULL CHECK (secrets IN (0, 1)),
    since   BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE INDEX owned_objects_owner ON owned_objects (owner);

-- What is gone has no owner, by whatever way it went: one of the same name may come by hand.
CREATE FUNCTION chancery_client_disowned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM owned_objects WHERE kind = 'client' AND id = OLD.client_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER clients_disowned AFTER DELETE ON clients FOR EACH ROW EXECUTE FUNCTION chancery_client_disowned();

CREATE FUNCTION chancery_resource_disowned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM owned_objects WHERE kind = 'resource' AND id = OLD.identifier;
    RETURN NULL;
END
$$;
CREATE TRIGGER resources_disowned AFTER DELETE ON resources FOR EACH ROW EXECUTE FUNCTION chancery_resource_disowned();
