//! What `chancery doctor` asks the database about itself. Nothing here writes.

use crate::args;
use crate::clock::Timestamp;
use crate::storage::db::{Db, Kind};
use crate::storage::error::StoreError;

statements! {
    USABLE = Split {
        sqlite: "SELECT 'here' AS name, 'here' AS account",
        postgres: "SELECT CAST(current_schema() AS TEXT) AS name, CAST(current_user AS TEXT) AS account",
    };
    // What the server does to each table. The audit log is append-only, and scripts are recorded by `migrate` alone.
    LACKING = Split {
        sqlite: "SELECT 'none' AS name, 1 AS may_select, 1 AS may_insert, 1 AS may_update, 1 AS may_delete WHERE 1 = 0",
        postgres: "SELECT * FROM (
                     SELECT CAST(c.relname AS TEXT) AS name,
                       CASE WHEN has_table_privilege(c.oid, 'SELECT') THEN CAST(1 AS BIGINT) ELSE 0 END AS may_select,
                       CASE WHEN c.relname = 'schema_migrations' OR has_table_privilege(c.oid, 'INSERT')
                            THEN CAST(1 AS BIGINT) ELSE 0 END AS may_insert,
                       CASE WHEN c.relname IN ('schema_migrations', 'audit_events') OR has_table_privilege(c.oid, 'UPDATE')
                            THEN CAST(1 AS BIGINT) ELSE 0 END AS may_update,
                       CASE WHEN c.relname IN ('schema_migrations', 'audit_events') OR has_table_privilege(c.oid, 'DELETE')
                            THEN CAST(1 AS BIGINT) ELSE 0 END AS may_delete
                     FROM pg_catalog.pg_class c
                     WHERE c.relkind IN ('r', 'p')
                       AND c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass('schema_migrations'))
                   ) t WHERE may_select + may_insert + may_update + may_delete < 4 ORDER BY name",
    };
    LIMITS = Split {
        sqlite: "SELECT 0 AS server, 0 AS reserved, -1 AS role, -1 AS base",
        postgres: "SELECT CAST(current_setting('max_connections') AS BIGINT) AS server,
                     CAST(current_setting('superuser_reserved_connections') AS BIGINT)
                       + CAST(COALESCE(current_setting('reserved_connections', true), '0') AS BIGINT) AS reserved,
                     COALESCE((SELECT CAST(rolconnlimit AS BIGINT) FROM pg_catalog.pg_roles WHERE rolname = current_user), -1) AS role,
                     COALESCE((SELECT CAST(datconnlimit AS BIGINT) FROM pg_catalog.pg_database WHERE datname = current_database()), -1) AS base",
    };
    NEWEST_EVENT = Both("SELECT at FROM audit_events ORDER BY at DESC LIMIT 1");
    ADMINISTRATORS = Both("SELECT COUNT(*) AS number FROM users WHERE admin = 1 AND enabled = 1");
    MIGRATED_AT = Both("SELECT applied_at AS at FROM schema_migrations WHERE name = $1");
}

/// Where the server's tables are or would be made, and who asks.
#[derive(Debug)]
pub struct Usable {
    pub schema: String,
    pub user: String,
}

/// The schema that the user may use; `None` if there is none.
pub async fn usable_schema(db: &Db) -> Result<Option<Usable>, StoreError> {
    let Some(row) = db.optional(USABLE, args![]).await? else { return Ok(None) };
    let user = row.get("account")?;
    Ok(row.get::<Option<String>>("name")?.map(|schema| Usable { schema, user }))
}

/// A right that the database user does not have.
#[derive(Debug)]
pub struct Right {
    pub table: String,
    pub right: &'static str,
}

/// The rights that the server needs and the user lacks, by table. None on SQLite, where the file decides.
pub async fn lacking_rights(db: &Db) -> Result<Vec<Right>, StoreError> {
    let mut lacking = Vec::new();
    for row in db.all(LACKING, args![]).await? {
        let table: String = row.get("name")?;
        for (column, right) in
            [("may_select", "SELECT"), ("may_insert", "INSERT"), ("may_update", "UPDATE"), ("may_delete", "DELETE")]
        {
            if !row.get::<bool>(column)? {
                lacking.push(Right { table: table.clone(), right });
            }
        }
    }
    Ok(lacking)
}

/// How many connections this user may have, and who says so.
#[derive(Debug)]
pub struct ConnectionLimit {
    pub connections: i64,
    pub by: &'static str,
}

/// The lowest of PostgreSQL's limits. `None` on SQLite.
pub async fn connection_limit(db: &Db) -> Result<Option<ConnectionLimit>, StoreError> {
    if db.kind() == Kind::Sqlite {
        return Ok(None);
    }
    let Some(row) = db.optional(LIMITS, args![]).await? else { return Ok(None) };
    let (server, reserved): (i64, i64) = (row.get("server")?, row.get("reserved")?);
    let (role, base): (i64, i64) = (row.get("role")?, row.get("base")?);
    let all = [
        (server - reserved, "PostgreSQL (max_connections less the reserved ones)"),
        (role, "the user's CONNECTION LIMIT"),
        (base, "the database's CONNECTION LIMIT"),
    ];
    let lowest = all.into_iter().filter(|(connections, _)| *connections >= 0).min_by_key(|(connections, _)| *connections);
    Ok(lowest.map(|(connections, by)| ConnectionLimit { connections, by }))
}

/// When the newest event of the audit log happened.
pub async fn newest_event(db: &Db) -> Result<Option<Timestamp>, StoreError> {
    db.optional(NEWEST_EVENT, args![]).await?.map(|row| row.get("at")).transpose()
}

/// How many administrators may sign in.
pub async fn administrators(db: &Db) -> Result<i64, StoreError> {
    db.optional(ADMINISTRATORS, args![]).await?.map_or(Ok(0), |row| row.get("number"))
}

/// When a script was applied.
pub async fn migrated_at(db: &Db, name: &str) -> Result<Option<Timestamp>, StoreError> {
    db.optional(MIGRATED_AT, args![name]).await?.map(|row| row.get("at")).transpose()
}
