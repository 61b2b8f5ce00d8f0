-- PostgreSQL tells replicas of changes by NOTIFY. Here PRAGMA data_version does, without any object in the schema.
SELECT 1;
