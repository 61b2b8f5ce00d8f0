-- Groups as objects. What a person belongs to stays in users.group_names, by identifier, as before: a group that nobody described is one
-- without roles. `memberships` is that column turned around, so that the people of a group are found over an index; triggers keep it,
-- also where a replica of an earlier version writes.

CREATE TABLE user_groups (
    identifier TEXT NOT NULL PRIMARY KEY CHECK (octet_length(identifier) <= 255),
    document   TEXT NOT NULL CHECK (octet_length(document) <= 65536),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE memberships (
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    identifier TEXT NOT NULL,
    PRIMARY KEY (user_id, identifier)
) STRICT, WITHOUT ROWID;

CREATE INDEX memberships_group ON memberships (identifier, user_id);

CREATE TRIGGER users_groups_inserted AFTER INSERT ON users WHEN NEW.group_names <> '[]'
BEGIN
    INSERT OR IGNORE INTO memberships (user_id, identifier) SELECT NEW.id, value FROM json_each(NEW.group_names);
END;
CREATE TRIGGER users_groups_updated AFTER UPDATE OF group_names ON users WHEN NEW.group_names <> OLD.group_names
BEGIN
    DELETE FROM memberships WHERE user_id = NEW.id;
    INSERT OR IGNORE INTO memberships (user_id, identifier) SELECT NEW.id, value FROM json_each(NEW.group_names);
END;

INSERT OR IGNORE INTO memberships (user_id, identifier)
SELECT users.id, held.value FROM users, json_each(users.group_names) AS held WHERE users.group_names <> '[]';

CREATE TRIGGER user_groups_disowned AFTER DELETE ON user_groups
BEGIN DELETE FROM owned_objects WHERE kind = 'group' AND id = OLD.identifier; END;
