//! How many rows PostgreSQL believes a table to have. It plans by that: in a table that was empty when it was counted, any index is as good to it
//! as the key, and the sessions keep such a plan until the table is counted again. Autovacuum does that, a minute or more after the
//! table has grown, and where it is off nobody does. So whoever sees that a table has outgrown its count has it counted here.
//!
//! SQLite counts nothing, and plans by its rules alone.

use crate::args;
use crate::storage::db::{Db, Kind, Sql};
use crate::storage::error::StoreError;
use crate::storage::value::Value;

/// From so many rows on, every statement goes by the key (a test has each explained).
pub const FEW: u64 = 400;
/// So many rows in a table of which fewer than [`FEW`] are known: it is counted again. More than those, so that one count is enough.
const MANY: u64 = 2 * FEW;

/// `NAME = "table"`. What somebody else holds is not waited for: who holds it may well be another server that counts it.
macro_rules! counts {
    ($($name:ident = $table:literal;)*) => {
        statements! {
            $($name = Split { sqlite: "SELECT 1 AS one", postgres: concat!("ANALYZE (SKIP_LOCKED) ", $table) };)*
            // What PostgreSQL notes of every change tells how many rows there are by now. To count them takes the table's owner, the
            // database's, or from version 17 on the right to maintain it.
            OUTGROWN = Split {
                sqlite: "SELECT 'none' AS name, 1 AS may WHERE 1 = 0",
                postgres: "SELECT t.name, CAST(CAST(
                             pg_has_role(c.relowner, 'USAGE')
                             OR pg_has_role((SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()), 'USAGE')
                             OR CASE WHEN CAST(current_setting('server_version_num') AS INTEGER) >= 170000
                                     THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END AS INTEGER) AS BIGINT) AS may
                           FROM unnest(CAST($1 AS TEXT[])) AS t (name) JOIN pg_catalog.pg_class c ON c.oid = to_regclass(t.name)
                           WHERE c.reltuples >= 0 AND c.reltuples < CAST($2 AS BIGINT)
                             AND pg_catalog.pg_stat_get_live_tuples(c.oid) >= CAST($3 AS BIGINT)",
            };
        }
        const COUNTS: &[(&str, Sql)] = &[$(($table, $name)),*];
    };
}

// All but those whose rows operators make, a handful.
counts! {
    AUDIT_EVENTS = "audit_events";
    CLIENTS = "clients";
    CLIENT_SECRETS = "client_secrets";
    CLIENT_SECRET_USES = "client_secret_uses";
    CODES = "codes";
    CONSENTS = "consents";
    DECISIONS = "decisions";
    DECISION_COUNTS = "decision_counts";
    DEVICE_CODES = "device_codes";
    FAILURES = "failures";
    FAMILIES = "families";
    GRANTS = "grants";
    INITIAL_ACCESS_TOKENS = "initial_access_tokens";
    INTERACTIONS = "interactions";
    LOGOUT_DELIVERIES = "logout_deliveries";
    MEMBERSHIPS = "memberships";
    OWNED_OBJECTS = "owned_objects";
    PASSKEYS = "passkeys";
    RECOVERY_CODES = "recovery_codes";
    REGISTRATIONS = "registrations";
    REVOKED_TOKENS = "revoked_tokens";
    SESSIONS = "sessions";
    SESSION_CLIENTS = "session_clients";
    SIGN_INS = "sign_ins";
    SPENT_ASSERTIONS = "spent_assertions";
    SPENT_CHALLENGES = "spent_challenges";
    TOTP_SECRETS = "totp_secrets";
    USERS = "users";
    USER_GROUPS = "user_groups";
}

/// Has the tables counted that have outgrown their counts: on most calls none. Answers how many there were that it might have counted.
///
/// # Errors
/// The database is away, or was slow to count; what was counted until then is.
pub async fn renew(db: &Db) -> Result<usize, StoreError> {
    if db.kind() == Kind::Sqlite {
        return Ok(0);
    }
    let names = COUNTS.iter().map(|(table, _)| Some((*table).to_owned())).collect();
    let mut counted = 0;
    for row in db.all(OUTGROWN, vec![Value::Texts(names), FEW.into(), MANY.into()]).await? {
        let table = row.get::<&str>("name")?;
        let Some((_, count)) = COUNTS.iter().find(|(name, _)| *name == table) else { continue };
        if row.get("may")? {
            db.execute(*count, args![]).await?;
            counted += 1;
        } else {
            tracing::debug!(table, "PostgreSQL knows of few of its rows, and this user may not have them counted");
        }
    }
    Ok(counted)
}
