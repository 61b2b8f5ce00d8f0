-- Servers keep clients, resources and keys in memory for a few seconds. This number says whether any of them was changed, by whatever
-- process and way: reading it is one row of one page, and no server drops what it knows because tokens are being issued beside it, as
-- it would by PRAGMA data_version. PostgreSQL tells replicas of changes by NOTIFY.

CREATE TABLE changes (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL) STRICT;
INSERT INTO changes (one, number) VALUES (1, 1);

CREATE TRIGGER clients_inserted AFTER INSERT ON clients BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER clients_updated AFTER UPDATE ON clients BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER clients_deleted AFTER DELETE ON clients BEGIN UPDATE changes SET number = number + 1; END;

CREATE TRIGGER client_secrets_inserted AFTER INSERT ON client_secrets BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER client_secrets_updated AFTER UPDATE ON client_secrets BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER client_secrets_deleted AFTER DELETE ON client_secrets BEGIN UPDATE changes SET number = number + 1; END;

CREATE TRIGGER resources_inserted AFTER INSERT ON resources BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER resources_updated AFTER UPDATE ON resources BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER resources_deleted AFTER DELETE ON resources BEGIN UPDATE changes SET number = number + 1; END;

CREATE TRIGGER signing_keys_inserted AFTER INSERT ON signing_keys BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER signing_keys_updated AFTER UPDATE ON signing_keys BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER signing_keys_deleted AFTER DELETE ON signing_keys BEGIN UPDATE changes SET number = number + 1; END;

CREATE TRIGGER data_keys_inserted AFTER INSERT ON data_keys BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER data_keys_updated AFTER UPDATE ON data_keys BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER data_keys_deleted AFTER DELETE ON data_keys BEGIN UPDATE changes SET number = number + 1; END;
