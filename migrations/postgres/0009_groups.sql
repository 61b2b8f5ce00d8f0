-- Groups as objects. What a person belongs to stays in users.group_names, by identifier, as before: a group that nobody described is one
-- without roles. `memberships` is that column turned around, so that the people of a group are found over an index; triggers keep it,
-- also where a replica of an earlier version writes.
--
-- While this runs people can sign in, and nobody can add or change users: a few seconds for each million memberships.

CREATE TABLE user_groups (
    identifier TEXT NOT NULL PRIMARY KEY CHECK (octet_length(identifier) <= 255),
    document   TEXT NOT NULL CHECK (octet_length(document) <= 65536),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE memberships (
    user_id    BYTEA NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    identifier TEXT NOT NULL,
    PRIMARY KEY (user_id, identifier)
);

CREATE INDEX memberships_group ON memberships (identifier, user_id);

CREATE FUNCTION chancery_memberships() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM memberships WHERE user_id = NEW.id;
    INSERT INTO memberships (user_id, identifier)
    SELECT NEW.id, held FROM json_array_elements_text(NEW.group_names::json) AS held ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER users_groups_inserted AFTER INSERT ON users
    FOR EACH ROW WHEN (NEW.group_names <> '[]') EXECUTE FUNCTION chancery_memberships();
CREATE TRIGGER users_groups_updated AFTER UPDATE OF group_names ON users
    FOR EACH ROW WHEN (NEW.group_names <> OLD.group_names) EXECUTE FUNCTION chancery_memberships();

INSERT INTO memberships (user_id, identifier)
SELECT users.id, held FROM users, json_array_elements_text(users.group_names::json) AS held WHERE users.group_names <> '[]'
ON CONFLICT DO NOTHING;

CREATE FUNCTION chancery_group_disowned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM owned_objects WHERE kind = 'group' AND id = OLD.identifier;
    RETURN NULL;
END
$$;
CREATE TRIGGER user_groups_disowned AFTER DELETE ON user_groups FOR EACH ROW EXECUTE FUNCTION chancery_group_disowned();
