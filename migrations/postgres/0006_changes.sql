-- Replicas keep clients, resources and keys in memory for a few seconds; a change tells them to look again at once.
-- Whoever makes the change, by whatever way: the trigger speaks, and only if the transaction commits.

CREATE FUNCTION chancery_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('chancery_changed', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER clients_changed AFTER INSERT OR UPDATE OR DELETE ON clients
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_changed();
CREATE TRIGGER client_secrets_changed AFTER INSERT OR UPDATE OR DELETE ON client_secrets
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_changed();
CREATE TRIGGER resources_changed AFTER INSERT OR UPDATE OR DELETE ON resources
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_changed();
CREATE TRIGGER signing_keys_changed AFTER INSERT OR UPDATE OR DELETE ON signing_keys
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_changed();
CREATE TRIGGER data_keys_changed AFTER INSERT OR UPDATE OR DELETE ON data_keys
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_changed();
