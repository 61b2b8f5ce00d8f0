//! People. Whatever switches a person off ends everything that hangs on them in the same transaction (security.md R-46).

use uuid::Uuid;

use crate::args;
use crate::clock::Timestamp;
use crate::oidc::user::User;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::audited;
use crate::storage::db::{Db, Tx};
use crate::storage::error::StoreError;
use crate::storage::factors;
use crate::storage::facts::user;
use crate::storage::logouts::{self, Ended};
use crate::storage::sessions;
use crate::storage::text::to_json;
use crate::typed;

statements! {
    FIND = Both(concat!("SELECT u.password_hash, ", user_columns!(), " FROM users u WHERE u.id = $1"));
    FIND_BY_USERNAME = Both(concat!("SELECT u.password_hash, ", user_columns!(), " FROM users u WHERE u.canonical_username = $1"));
    FIND_BY_SUB = Both(concat!("SELECT u.password_hash, ", user_columns!(), " FROM users u WHERE u.sub = $1"));
    LIST = Both(concat!("SELECT u.password_hash, ", user_columns!(), " FROM users u WHERE u.id > $1 ORDER BY u.id LIMIT $2"));
    INSERT = Both("INSERT INTO users (id, sub, username, canonical_username, enabled, admin, group_names, claims, password_hash,
                                      password_changed_at, created_at, updated_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)");
    UPDATE = Both("UPDATE users SET username = $2, canonical_username = $3, enabled = $4, admin = $5, group_names = $6, claims = $7,
                          updated_at = $8
                   WHERE id = $1");
    // The first statement of everything that ends a person's sessions: it takes the row's lock.
    SET_ENABLED = Both("UPDATE users SET enabled = $2, updated_at = $3 WHERE id = $1");
    SET_PASSWORD = Both("UPDATE users SET password_hash = $2, password_changed_at = $3, updated_at = $3 WHERE id = $1");
    // And only if the password that was checked is still theirs, and the session in which they change it still lives.
    CHANGE_PASSWORD = Both("UPDATE users SET password_hash = $2, password_changed_at = $3, updated_at = $3
                            WHERE id = $1 AND enabled = 1 AND password_hash = $4 AND EXISTS
                            (SELECT 1 FROM sessions s WHERE s.id = $5 AND s.user_id = $1 AND s.ended_at IS NULL AND s.expires_at > $3)");
    FIRST_PASSWORD = Both("UPDATE users SET password_hash = $2, password_changed_at = $3, updated_at = $3
                           WHERE id = $1 AND enabled = 1 AND password_hash IS NULL AND EXISTS
                           (SELECT 1 FROM sessions s WHERE s.id = $4 AND s.user_id = $1 AND s.ended_at IS NULL AND s.expires_at > $3)");
    TOUCH = Both("UPDATE users SET updated_at = $2 WHERE id = $1");
    // Consents, sessions, grants and what hangs on them go with it, by foreign keys.
    DELETE = Both("DELETE FROM users WHERE id = $1");
    REHASH = Both("UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2");

    // Nobody signs in, is changed, disabled or has their password changed in between.
    LOCK = Split {
        sqlite: "SELECT id FROM users WHERE id = $1",
        postgres: "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE",
    };
    // What lives with a browser session (design 4.2).
    CONSUME_CODES_OF_SESSIONS = Both("UPDATE codes SET consumed_at = $2 WHERE consumed_at IS NULL
                                      AND grant_id IN (SELECT id FROM grants WHERE user_id = $1 AND offline = 0)");
    END_GRANTS_OF_SESSIONS = Split {
        sqlite: "UPDATE grants SET ended_at = $2, ended_because = $3 WHERE user_id = $1 AND offline = 0 AND ended_at IS NULL",
        postgres: "UPDATE grants SET ended_at = $2, ended_because = $3 WHERE id IN
                   (SELECT id FROM grants WHERE user_id = $1 AND offline = 0 AND ended_at IS NULL ORDER BY id FOR UPDATE)",
    };
    END_FAMILIES_OF_SESSIONS = Both("UPDATE families SET ended_at = $2, ended_because = $3 WHERE ended_at IS NULL
                                     AND grant_id IN (SELECT id FROM grants WHERE user_id = $1 AND offline = 0)");

    END_SESSIONS = Both("UPDATE sessions SET ended_at = $2, ended_because = $3 WHERE user_id = $1 AND ended_at IS NULL");
    CONSUME_INTERACTIONS = Both("UPDATE interactions SET consumed_at = $2
                                 WHERE consumed_at IS NULL AND session_id IN (SELECT id FROM sessions WHERE user_id = $1)");
    CONSUME_SIGN_INS = Both("UPDATE sign_ins SET consumed_at = $2 WHERE user_id = $1 AND consumed_at IS NULL");
    CONSUME_CODES = Both("UPDATE codes SET consumed_at = $2
                          WHERE consumed_at IS NULL AND grant_id IN (SELECT id FROM grants WHERE user_id = $1)");
    WITHDRAW_DEVICE_CODES = Both("UPDATE device_codes SET withdrawn_at = $2
                                  WHERE claimed_by = $1 AND consumed_at IS NULL AND denied_at IS NULL AND withdrawn_at IS NULL");
    END_GRANTS = Split {
        sqlite: "UPDATE grants SET ended_at = $2, ended_because = $3 WHERE user_id = $1 AND ended_at IS NULL",
        postgres: "UPDATE grants SET ended_at = $2, ended_because = $3
                   WHERE id IN (SELECT id FROM grants WHERE user_id = $1 AND ended_at IS NULL ORDER BY id FOR UPDATE)",
    };
    END_FAMILIES = Both("UPDATE families SET ended_at = $2, ended_because = $3
                         WHERE ended_at IS NULL AND grant_id IN (SELECT id FROM grants WHERE user_id = $1)");

    END_OTHER_SESSIONS = Both("UPDATE sessions SET ended_at = $3, ended_because = $4 WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL");
    CONSUME_OTHER_INTERACTIONS = Both("UPDATE interactions SET consumed_at = $3 WHERE consumed_at IS NULL
                                       AND session_id IN (SELECT id FROM sessions WHERE user_id = $1 AND id <> $2)");
    CONSUME_OTHER_CODES = Both("UPDATE codes SET consumed_at = $3 WHERE consumed_at IS NULL
                                AND grant_id IN (SELECT id FROM grants WHERE user_id = $1 AND session_id IS DISTINCT FROM $2)");
    END_OTHER_GRANTS = Split {
        sqlite: "UPDATE grants SET ended_at = $3, ended_because = $4
                 WHERE user_id = $1 AND session_id IS DISTINCT FROM $2 AND ended_at IS NULL",
        postgres: "UPDATE grants SET ended_at = $3, ended_because = $4 WHERE id IN
                   (SELECT id FROM grants WHERE user_id = $1 AND session_id IS DISTINCT FROM $2 AND ended_at IS NULL ORDER BY id FOR UPDATE)",
    };
    END_OTHER_FAMILIES = Both("UPDATE families SET ended_at = $3, ended_because = $4 WHERE ended_at IS NULL
                               AND grant_id IN (SELECT id FROM grants WHERE user_id = $1 AND session_id IS DISTINCT FROM $2)");
}

/// A username as it is compared.
pub fn canonical(username: &str) -> String {
    typed::username(username)
}

/// Adds a person.
///
/// # Errors
/// [`StoreError::Conflict`] if the username or the `sub` is taken.
pub async fn insert(db: &Db, user: &User, password_hash: Option<&str>, event: &AuditEvent) -> Result<(), StoreError> {
    let values = args![
        user.id,
        &user.sub,
        &user.username,
        canonical(&user.username),
        user.enabled,
        user.admin,
        to_json(&user.groups)?,
        to_json(&user.claims)?,
        password_hash,
        password_hash.map(|_| user.created_at),
        user.created_at,
        user.updated_at
    ];
    audited(db, "user.insert", Some(event), move |tx| Box::pin(async move { tx.execute(INSERT, values).await })).await.map(drop)
}

/// By row id.
pub async fn find(db: &Db, id: Uuid) -> Result<Option<User>, StoreError> {
    db.optional(FIND, args![id]).await?.as_ref().map(user).transpose()
}

/// By canonical username, see [`canonical`].
pub async fn find_by_username(db: &Db, canonical: &str) -> Result<Option<User>, StoreError> {
    db.optional(FIND_BY_USERNAME, args![canonical]).await?.as_ref().map(user).transpose()
}

/// By subject identifier.
pub async fn find_by_sub(db: &Db, sub: &str) -> Result<Option<User>, StoreError> {
    db.optional(FIND_BY_SUB, args![sub]).await?.as_ref().map(user).transpose()
}

/// The person with this canonical username and their password hash, if they have one. One statement, whoever it is.
pub async fn credentials(db: &Db, canonical: &str) -> Result<Option<(User, Option<String>)>, StoreError> {
    let row = db.optional(FIND_BY_USERNAME, args![canonical]).await?;
    row.map(|row| Ok((user(&row)?, row.get("password_hash")?))).transpose()
}

/// The password hash of a person, if they have one.
pub async fn password_hash(db: &Db, id: Uuid) -> Result<Option<String>, StoreError> {
    db.optional(FIND, args![id]).await?.map_or(Ok(None), |row| row.get("password_hash"))
}

/// People in the order in which they were added, after the one with the id `after`.
pub async fn list(db: &Db, limit: u32, after: Option<Uuid>) -> Result<Vec<User>, StoreError> {
    db.all(LIST, args![after.unwrap_or(Uuid::nil()), limit]).await?.iter().map(user).collect()
}

/// Writes what `decide` makes of a person, all of it but the password. Nobody changes them between its look and the writing, so whoever
/// changes them all the time keeps nobody from it. `None` of `decide` changes nothing. Disabling ends what [`set_enabled`] ends. Answers the
/// person as they are then; `None` if they are gone.
///
/// # Errors
/// Those of `decide`; [`StoreError::Conflict`] if the username is taken.
pub async fn change<E: From<StoreError> + Send + 'static>(
    db: &Db,
    id: Uuid,
    decide: impl FnOnce(&User) -> Result<Option<(User, AuditEvent)>, E> + Send + 'static,
) -> Result<Option<User>, E> {
    db.transaction("user.change", move |tx| {
        Box::pin(async move {
            let Some(before) = held(tx, id).await? else { return Ok(None) };
            let Some((after, event)) = decide(&before)? else { return Ok(Some(before)) };
            let values = args![
                id,
                &after.username,
                canonical(&after.username),
                after.enabled,
                after.admin,
                to_json(&after.groups)?,
                to_json(&after.claims)?,
                after.updated_at
            ];
            tx.execute(UPDATE, values).await?;
            if before.enabled && !after.enabled {
                end_everything(tx, id, event.at, "user disabled").await?;
            }
            audit::insert_tx(tx, &event).await?;
            Ok(Some(after))
        })
    })
    .await
}

/// Removes a person with everything that was ever issued for them, unless `decide` refuses. Answers who they were; `None` if they are gone
/// already.
///
/// # Errors
/// Those of `decide`.
pub async fn remove<E: From<StoreError> + Send + 'static>(
    db: &Db,
    id: Uuid,
    decide: impl FnOnce(&User) -> Result<AuditEvent, E> + Send + 'static,
) -> Result<Option<User>, E> {
    db.transaction("user.remove", move |tx| {
        Box::pin(async move {
            let Some(user) = held(tx, id).await? else { return Ok(None) };
            let event = decide(&user)?;
            // First what has no foreign key, and the locks in their order.
            end_everything(tx, id, event.at, "user removed").await?;
            tx.execute(DELETE, args![id]).await?;
            audit::insert_tx(tx, &event).await?;
            Ok(Some(user))
        })
    })
    .await
}

/// Lets a person sign in, or not. Disabling ends, in the same transaction, the sessions, grants and refresh families, and consumes the
/// codes, device codes and open interactions. `false` if the person is gone.
pub async fn set_enabled(db: &Db, id: Uuid, enabled: bool, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    audited(db, "user.set_enabled", Some(event), move |tx| {
        Box::pin(async move {
            let changed = tx.execute(SET_ENABLED, args![id, enabled, now]).await?;
            if changed > 0 && !enabled {
                end_everything(tx, id, now, "user disabled").await?;
            }
            Ok(changed)
        })
    })
    .await
}

/// Gives a person another password and ends everything that was signed in with the old one. `false` if the person is gone.
pub async fn set_password(db: &Db, id: Uuid, hash: &str, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    let hash = hash.to_owned();
    audited(db, "user.set_password", Some(event), move |tx| {
        Box::pin(async move {
            let changed = tx.execute(SET_PASSWORD, args![id, hash, now]).await?;
            if changed > 0 {
                end_everything(tx, id, now, "password changed").await?;
            }
            Ok(changed)
        })
    })
    .await
}

/// The person's own change of their password: everything that was signed in with the old one ends, and the session from which it was
/// changed goes on as another one. `before` is the hash of the old one, `None` where there was none. `false` if that is not so any more, the
/// person is disabled, or that session has ended.
pub async fn change_password(
    db: &Db,
    change: sessions::Change,
    before: Option<&str>,
    hash: &str,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let (before, hash) = (before.map(str::to_owned), hash.to_owned());
    audited(db, "user.change_password", Some(event), move |tx| {
        Box::pin(async move {
            let sessions::Change { from, to, cookie, now } = change;
            let changed = match before {
                Some(before) => tx.execute(CHANGE_PASSWORD, args![to.user_id, hash, now, before, from]).await?,
                None => tx.execute(FIRST_PASSWORD, args![to.user_id, hash, now, from]).await?,
            };
            if changed > 0 {
                end_everything(tx, to.user_id, now, "password changed").await?;
                sessions::insert_tx(tx, &to, &cookie).await?;
            }
            Ok(changed)
        })
    })
    .await
}

/// Ends everything that a person is signed in to. `false` if the person is gone.
pub async fn sign_out(db: &Db, id: Uuid, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    audited(db, "user.sign_out", Some(event), move |tx| {
        Box::pin(async move {
            let changed = tx.execute(TOUCH, args![id, now]).await?;
            if changed > 0 {
                end_everything(tx, id, now, "signed out everywhere").await?;
            }
            Ok(changed)
        })
    })
    .await
}

/// Takes every second factor of a person away, with the recovery codes, and ends everything that they are signed in to: whoever lost a
/// factor may have lost it to somebody. `false` if the person is gone.
pub async fn reset_factors(db: &Db, id: Uuid, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    audited(db, "user.reset_factors", Some(event), move |tx| {
        Box::pin(async move {
            let changed = tx.execute(TOUCH, args![id, now]).await?;
            if changed > 0 {
                factors::remove_all_tx(tx, id).await?;
                end_everything(tx, id, now, "second factors reset").await?;
            }
            Ok(changed)
        })
    })
    .await
}

/// Ends everything that a person is signed in to but the session `this` and what began in it. `false` if the person is gone.
pub async fn sign_out_elsewhere(db: &Db, id: Uuid, this: Uuid, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    const BECAUSE: &str = "signed out from another browser";
    audited(db, "user.sign_out_elsewhere", Some(event), move |tx| {
        Box::pin(async move {
            if tx.optional(LOCK, args![id]).await?.is_none() {
                return Ok(0);
            }
            tx.execute(END_OTHER_SESSIONS, args![id, this, now, BECAUSE]).await?;
            tx.execute(CONSUME_OTHER_INTERACTIONS, args![id, this, now]).await?;
            tx.execute(CONSUME_OTHER_CODES, args![id, this, now]).await?;
            tx.execute(END_OTHER_GRANTS, args![id, this, now, BECAUSE]).await?;
            tx.execute(END_OTHER_FAMILIES, args![id, this, now, BECAUSE]).await?;
            logouts::tell_tx(tx, Ended::Elsewhere { user: id, this }, now).await?;
            Ok(1)
        })
    })
    .await
}

/// Ends all browser sessions of a person, and with them what does not outlive a session. `false`, and no event, if there was nothing.
pub async fn end_sessions(db: &Db, id: Uuid, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    const BECAUSE: &str = "sessions ended by an operator";
    audited(db, "user.end_sessions", Some(event), move |tx| {
        Box::pin(async move {
            tx.optional(LOCK, args![id]).await?;
            let sessions = tx.execute(END_SESSIONS, args![id, now, BECAUSE]).await?;
            let open = tx.execute(CONSUME_INTERACTIONS, args![id, now]).await?;
            let codes = tx.execute(CONSUME_CODES_OF_SESSIONS, args![id, now]).await?;
            let grants = tx.execute(END_GRANTS_OF_SESSIONS, args![id, now, BECAUSE]).await?;
            let families = tx.execute(END_FAMILIES_OF_SESSIONS, args![id, now, BECAUSE]).await?;
            logouts::tell_tx(tx, Ended::User(id), now).await?;
            Ok(sessions + open + codes + grants + families)
        })
    })
    .await
}

/// Ends all grants of a person and everything issued from them; consents and sessions stay. `false`, and no event, if there was nothing.
pub async fn end_grants(db: &Db, id: Uuid, now: Timestamp, event: &AuditEvent) -> Result<bool, StoreError> {
    const BECAUSE: &str = "grants ended by an operator";
    audited(db, "user.end_grants", Some(event), move |tx| {
        Box::pin(async move {
            tx.optional(LOCK, args![id]).await?;
            let codes = tx.execute(CONSUME_CODES, args![id, now]).await?;
            let grants = tx.execute(END_GRANTS, args![id, now, BECAUSE]).await?;
            let families = tx.execute(END_FAMILIES, args![id, now, BECAUSE]).await?;
            logouts::tell_tx(tx, Ended::User(id), now).await?;
            Ok(codes + grants + families)
        })
    })
    .await
}

/// Replaces a hash by a stronger one of the same password, unless it was changed meanwhile. Nothing ends.
pub async fn rehash(db: &Db, id: Uuid, old: &str, new: &str) -> Result<bool, StoreError> {
    Ok(db.execute(REHASH, args![id, old, new]).await? > 0)
}

/// The person, whom nobody else changes before the unit of work ends.
async fn held(tx: &mut Tx, id: Uuid) -> Result<Option<User>, StoreError> {
    if tx.optional(LOCK, args![id]).await?.is_none() {
        return Ok(None);
    }
    tx.optional(FIND, args![id]).await?.as_ref().map(user).transpose()
}

/// In the order of the locks (see the folder's comment); the person's own row is locked already.
async fn end_everything(tx: &mut Tx, id: Uuid, now: Timestamp, because: &'static str) -> Result<(), StoreError> {
    tx.execute(CONSUME_SIGN_INS, args![id, now]).await?;
    tx.execute(END_SESSIONS, args![id, now, because]).await?;
    tx.execute(CONSUME_INTERACTIONS, args![id, now]).await?;
    tx.execute(CONSUME_CODES, args![id, now]).await?;
    tx.execute(WITHDRAW_DEVICE_CODES, args![id, now]).await?;
    tx.execute(END_GRANTS, args![id, now, because]).await?;
    tx.execute(END_FAMILIES, args![id, now, because]).await?;
    logouts::tell_tx(tx, Ended::User(id), now).await
}
