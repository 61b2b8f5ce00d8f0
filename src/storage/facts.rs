//! The columns that more than one aggregate reads, and how they become the facts of the core. Prefixes tell the tables apart: `u_`
//! users, `g_` grants, `s_` sessions, `f_` families.

use crate::oauth::family::Family;
use crate::oauth::grant::{Grant, Life, SessionFacts, Standing};
use crate::oidc::user::User;
use crate::storage::StoreError;
use crate::storage::db::Row;
use crate::storage::text::{from_json, split};

/// A user, from `users u`.
macro_rules! user_columns {
    () => {
        "u.id AS u_id, u.sub AS u_sub, u.username AS u_username, u.enabled AS u_enabled, u.admin AS u_admin, u.group_names AS u_group_names,
         u.claims AS u_claims, u.created_at AS u_created_at, u.updated_at AS u_updated_at"
    };
}

/// A grant with everybody on whom it depends, from `grants g`, `users u`, `clients c`, `sessions s`.
macro_rules! standing_columns {
    () => {
        concat!(
            "g.id AS g_id, g.client_id AS g_client_id, g.user_id AS g_user_id, g.sub AS g_sub, g.scopes AS g_scopes,
             g.resources AS g_resources, g.auth_time AS g_auth_time, g.acr AS g_acr, g.amr AS g_amr, g.session_id AS g_session_id,
             g.sid AS g_sid, g.nonce AS g_nonce, g.claims AS g_claims, g.created_at AS g_created_at, g.expires_at AS g_expires_at, g.ended_at AS g_ended_at,
             g.ended_because AS g_ended_because, COALESCE(c.enabled, 0) AS c_enabled,
             s.last_used_at AS s_last_used_at, s.expires_at AS s_expires_at, s.ended_at AS s_ended_at, ",
            user_columns!()
        )
    };
}

/// What of a grant and everybody on whom it depends decides whether it stands, from the tables of [`life_joins`], or from those of
/// [`standing_joins`] where the row of the user is read too. `g_client_id` is NULL where there is no grant.
macro_rules! life_columns {
    () => {
        life_columns!("CASE WHEN disabled.id IS NULL THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END")
    };
    (users) => {
        life_columns!("u.enabled")
    };
    ($enabled:literal) => {
        concat!(
            "g.client_id AS g_client_id, g.sub AS g_sub, ",
            $enabled,
            " AS u_enabled, COALESCE(c.enabled, 0) AS c_enabled,
             g.expires_at AS g_expires_at, g.ended_at AS g_ended_at, g.ended_because AS g_ended_because,
             CASE WHEN ",
            outlives_session!(),
            " THEN CAST(0 AS BIGINT) ELSE CAST(1 AS BIGINT) END AS g_with_session,
             s.last_used_at AS s_last_used_at, s.expires_at AS s_expires_at, s.ended_at AS s_ended_at"
        )
    };
}

/// The condition that a grant does not end with a browser session: `Grant::lives_with_session`, the other way round.
macro_rules! outlives_session {
    () => {
        "(g.offline = 1 OR (g.session_id IS NULL AND g.sid IS NULL))"
    };
}

/// What [`standing_columns`] need beside `grants g`. Outer joins throughout: the row of a client or session may be gone.
macro_rules! standing_joins {
    () => {
        concat!(" LEFT JOIN users u ON u.id = g.user_id LEFT JOIN clients c ON c.client_id = g.client_id", session_join!())
    };
}

/// What [`life_columns`] need beside `grants g`. Nobody's row is read to learn that they are not disabled: there is an index of those who are,
/// few among many. (No grant is without its user: the foreign key takes both.) SQLite would look by the key.
macro_rules! life_joins {
    (sqlite) => {
        life_joins!("users disabled INDEXED BY users_disabled")
    };
    (postgres) => {
        life_joins!("users disabled")
    };
    ($users:literal) => {
        concat!(
            " LEFT JOIN ",
            $users,
            " ON disabled.id = g.user_id AND disabled.enabled = 0 LEFT JOIN clients c ON c.client_id = g.client_id",
            session_join!()
        )
    };
}

/// The session of a grant, looked up only where the grant lives with it.
macro_rules! session_join {
    () => {
        " LEFT JOIN sessions s ON s.id = CASE WHEN g.offline = 0 THEN g.session_id END "
    };
}

/// A family, from `families f`.
macro_rules! family_columns {
    () => {
        "f.id AS f_id, f.grant_id AS f_grant_id, f.client_id AS f_client_id, f.salt AS f_salt, f.key_id AS f_key_id,
         f.generation AS f_generation, f.previous AS f_previous, f.previous_redeemed_at AS f_previous_redeemed_at,
         f.burst_first AS f_burst_first, f.burst_recovered AS f_burst_recovered, f.burst_started_at AS f_burst_started_at,
         f.created_at AS f_created_at, f.last_used_at AS f_last_used_at, f.expires_at AS f_expires_at, f.ended_at AS f_ended_at,
         f.ended_because AS f_ended_because"
    };
}

/// A consent, from `consents k`.
macro_rules! consent_columns {
    () => {
        "k.user_id AS k_user_id, k.client_id AS k_client_id, k.scopes AS k_scopes, k.resources AS k_resources, k.claims AS k_claims,
         k.metadata_version AS k_metadata_version, k.created_at AS k_created_at, k.updated_at AS k_updated_at"
    };
}

/// The condition that the grant `$id` stands at `$now`, for the WHERE of every redeem: the same as `Standing::check`, idleness apart,
/// which only ever moves the other way. `OFFSET` is how Postgres is told to look the grant up by its key: joined, it would read through all
/// that have not expired, while it believes them to be few.
macro_rules! grant_stands {
    ($id:literal, $now:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM grants g JOIN users u ON u.id = g.user_id JOIN clients c ON c.client_id = g.client_id
                     LEFT JOIN sessions s ON s.id = CASE WHEN g.offline = 0 THEN g.session_id END
                     WHERE g.id = ",
            $id,
            " AND g.ended_at IS NULL AND g.expires_at > ",
            $now,
            " AND u.enabled = 1 AND c.enabled = 1
              AND (",
            outlives_session!(),
            " OR (s.ended_at IS NULL AND s.expires_at > ",
            $now,
            "))
                     LIMIT 1 OFFSET 0)"
        )
    };
}

/// On Postgres: what spends a code of the table `$of` that meets `$unspent`, whose `$1` to `$3` are digest, client and now, and the family
/// that begins with it, whose [values](crate::storage::families::values) are `$4` to `$15`, in one statement. The grant is held as it
/// stands: whoever ends it at this moment comes before, and nothing is written, or after, and finds the family.
macro_rules! with_family {
    ($of:literal, $unspent:expr) => {
        concat!(
            "WITH unspent AS (SELECT grant_id FROM ",
            $of,
            " WHERE ",
            $unspent,
            " FOR NO KEY UPDATE),
             standing AS (SELECT g.id AS grant_id FROM unspent JOIN grants g ON g.id = unspent.grant_id WHERE g.ended_at IS NULL
                          FOR SHARE OF g),
             spent AS (UPDATE ",
            $of,
            " AS k SET consumed_at = $3 FROM standing WHERE k.digest = $1)
            INSERT INTO families (id, grant_id, client_id, salt, key_id, generation, previous, previous_redeemed_at, burst_first,
                                  burst_recovered, burst_started_at, created_at, last_used_at, expires_at)
            SELECT CAST($4 AS BYTEA), standing.grant_id, CAST($2 AS TEXT), CAST($5 AS BYTEA), CAST($6 AS BIGINT), CAST($7 AS BIGINT),
                   CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), CAST($11 AS BIGINT), CAST($12 AS BIGINT),
                   CAST($13 AS BIGINT), CAST($14 AS BIGINT), CAST($15 AS BIGINT) FROM standing"
        )
    };
}

/// On Postgres: a list of values whose length the planner does not look at. Where it does, it finds a plan for three rows cheaper than
/// one for any number, plans every single execution, and spends more on that than on the work.
macro_rules! list {
    ($list:literal, $of:literal) => {
        concat!("ARRAY(SELECT unnest(CAST(", $list, " AS ", $of, "[])))")
    };
}

/// On Postgres: rows of values as [`together::rows`](crate::storage::together::rows) binds them, a list for each column, the first of them
/// the rows' keys. By their places, which costs less than an `unnest` of so many lists.
macro_rules! asked {
    ($key:literal $of:literal $keys:literal $(, $column:literal $each:literal $list:literal)* $(,)?) => {
        concat!(
            "(SELECT ", $key, $(", (CAST(", $list, " AS ", $each, "[]))[n] AS ", $column,)*
            " FROM unnest(", list!($keys, $of), ") WITH ORDINALITY AS keys(", $key, ", n))"
        )
    };
}

/// Reads [`user_columns`].
pub fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.get("u_id")?,
        sub: row.get("u_sub")?,
        username: row.get("u_username")?,
        enabled: row.get("u_enabled")?,
        admin: row.get("u_admin")?,
        groups: from_json(row.get("u_group_names")?)?,
        claims: from_json(row.get("u_claims")?)?,
        created_at: row.get("u_created_at")?,
        updated_at: row.get("u_updated_at")?,
    })
}

/// Reads [`standing_columns`].
pub fn standing(row: &Row) -> Result<Standing, StoreError> {
    let (grant, client_enabled) = (grant(row)?, row.get("c_enabled")?);
    Ok(Standing { grant, client_enabled, session: session(row)?, user: user(row)? })
}

/// Reads [`life_columns`]; `None` if an outer join found none.
pub fn life(row: &Row) -> Result<Option<Life>, StoreError> {
    let Some(client_id) = row.get("g_client_id")? else { return Ok(None) };
    Ok(Some(Life {
        client_id,
        sub: row.get("g_sub")?,
        user_enabled: row.get("u_enabled")?,
        client_enabled: row.get("c_enabled")?,
        expires_at: row.get("g_expires_at")?,
        ended_at: row.get("g_ended_at")?,
        ended_because: row.get("g_ended_because")?,
        lives_with_session: row.get("g_with_session")?,
        session: session(row)?,
    }))
}

/// The session of either; `None` if an outer join found none.
fn session(row: &Row) -> Result<Option<SessionFacts>, StoreError> {
    let Some(last_used_at) = row.get("s_last_used_at")? else { return Ok(None) };
    Ok(Some(SessionFacts { last_used_at, expires_at: row.get("s_expires_at")?, ended_at: row.get("s_ended_at")? }))
}

/// Reads the grant of [`standing_columns`].
pub fn grant(row: &Row) -> Result<Grant, StoreError> {
    Ok(Grant {
        id: row.get("g_id")?,
        client_id: row.get("g_client_id")?,
        user_id: row.get("g_user_id")?,
        sub: row.get("g_sub")?,
        scopes: split(row.get("g_scopes")?),
        resources: from_json(row.get("g_resources")?)?,
        auth_time: row.get("g_auth_time")?,
        acr: row.get("g_acr")?,
        amr: from_json(row.get("g_amr")?)?,
        session_id: row.get("g_session_id")?,
        sid: row.get("g_sid")?,
        nonce: row.get("g_nonce")?,
        claims: row.get::<Option<&str>>("g_claims")?.map(from_json).transpose()?.unwrap_or_default(),
        created_at: row.get("g_created_at")?,
        expires_at: row.get("g_expires_at")?,
        ended_at: row.get("g_ended_at")?,
        ended_because: row.get("g_ended_because")?,
    })
}

/// Reads [`family_columns`]; `None` if an outer join found none.
pub fn family(row: &Row) -> Result<Option<Family>, StoreError> {
    let Some(id) = row.get("f_id")? else { return Ok(None) };
    Ok(Some(Family {
        id,
        grant_id: row.get("f_grant_id")?,
        client_id: row.get("f_client_id")?,
        salt: row.get("f_salt")?,
        key_id: row.get("f_key_id")?,
        generation: row.get("f_generation")?,
        previous: row.get("f_previous")?,
        previous_redeemed_at: row.get("f_previous_redeemed_at")?,
        burst_first: row.get("f_burst_first")?,
        burst_recovered: row.get("f_burst_recovered")?,
        burst_started_at: row.get("f_burst_started_at")?,
        created_at: row.get("f_created_at")?,
        last_used_at: row.get("f_last_used_at")?,
        expires_at: row.get("f_expires_at")?,
        ended_at: row.get("f_ended_at")?,
        ended_because: row.get("f_ended_because")?,
    }))
}
