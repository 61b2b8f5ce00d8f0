//! A second factor was proved or enrolled, and something comes of it: a session begins, or one that is there rises to a higher level.
//! The factor is spent and the session written in one unit of work, so that one code is never good for two sessions.

use crate::args;
use crate::clock::Timestamp;
use crate::oidc::session::Session;
use crate::secret::Digest;
use crate::storage::audit::{self, AuditEvent};
use crate::storage::db::{Db, Tx};
use crate::storage::error::StoreError;
use crate::storage::factors::{self, Change};
use crate::storage::text::to_json;
use crate::storage::{sessions, sign_ins};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Written, all of it.
    Done,
    /// The code was used meanwhile, or the factor is gone, or there is one already. Nothing was written.
    Spent,
    /// The person was disabled or has another password, or the session or the sign-in is over. Nothing was written.
    Changed,
}

/// Where a session begins after a second factor.
#[derive(Debug, Clone)]
pub struct Begin {
    pub session: Session,
    pub cookie: Digest,
    /// The sign-in at its second step, unless a passkey was all that there was.
    pub sign_in: Option<Digest>,
    /// The password hash that was checked in the first.
    pub password_hash: Option<String>,
    pub change: Change,
    pub events: Vec<AuditEvent>,
}

/// Where a session rises: its new level and methods, and when the person last proved that it is them, are in `session`, under a new
/// cookie.
#[derive(Debug, Clone)]
pub struct Raise {
    pub session: Session,
    /// Digest of the cookie that it had until now.
    pub old_cookie: Digest,
    pub cookie: Digest,
    pub change: Change,
    pub events: Vec<AuditEvent>,
}

statements! {
    // A new cookie: whoever had learned the old one does not rise with it (security.md R-50).
    RAISE = Both("UPDATE sessions SET cookie = $3, acr = $4, amr = $5, last_used_at = $6, confirmed_at = $8, device = $9, address = $10
                  WHERE id = $1 AND user_id = $2 AND cookie = $7 AND ended_at IS NULL AND expires_at > $6");
}

/// Begins a session, or renews the one with this row id.
pub async fn begin(db: &Db, begin: Begin, now: Timestamp) -> Result<Outcome, StoreError> {
    run(db, "session.begin_with_factor", move |tx| {
        Box::pin(async move {
            let Begin { session, cookie, sign_in, password_hash, change, events } = begin;
            factors::lock_tx(tx, session.user_id, &change).await?;
            if !sessions::lock_user_tx(tx, session.user_id, password_hash).await? {
                return Err(Stopped::At(Outcome::Changed));
            }
            if let Some(sign_in) = sign_in
                && !sign_ins::consume_tx(tx, &sign_in, now).await?
            {
                return Err(Stopped::At(Outcome::Changed));
            }
            if !factors::apply_tx(tx, session.user_id, &change, now).await? {
                return Err(Stopped::At(Outcome::Spent));
            }
            if sessions::begin_tx(tx, &session, &cookie).await? == 0 {
                return Err(Stopped::At(Outcome::Changed));
            }
            told(tx, &events).await
        })
    })
    .await
}

/// Raises a live session.
pub async fn raise(db: &Db, raise: Raise, now: Timestamp) -> Result<Outcome, StoreError> {
    run(db, "session.raise", move |tx| {
        Box::pin(async move {
            let Raise { session, old_cookie, cookie, change, events } = raise;
            factors::lock_tx(tx, session.user_id, &change).await?;
            if !sessions::lock_user_tx(tx, session.user_id, None).await? {
                return Err(Stopped::At(Outcome::Changed));
            }
            if !factors::apply_tx(tx, session.user_id, &change, now).await? {
                return Err(Stopped::At(Outcome::Spent));
            }
            let values = args![
                session.id,
                session.user_id,
                cookie,
                session.acr.clone(),
                to_json(&session.amr)?,
                now,
                old_cookie,
                session.confirmed_at,
                session.device.clone(),
                session.address.clone()
            ];
            if tx.execute(RAISE, values).await? == 0 {
                return Err(Stopped::At(Outcome::Changed));
            }
            told(tx, &events).await
        })
    })
    .await
}

async fn told(tx: &mut Tx, events: &[AuditEvent]) -> Result<(), Stopped> {
    for event in events {
        audit::insert_tx(tx, event).await?;
    }
    Ok(())
}

/// Why nothing was written.
enum Stopped {
    At(Outcome),
    Store(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn run(
    db: &Db,
    name: &'static str,
    work: impl for<'t> FnOnce(&'t mut Tx) -> futures_util::future::BoxFuture<'t, Result<(), Stopped>> + Send + 'static,
) -> Result<Outcome, StoreError> {
    match db.transaction(name, work).await {
        Ok(()) => Ok(Outcome::Done),
        Err(Stopped::At(outcome)) => Ok(outcome),
        Err(Stopped::Store(error)) => Err(error),
    }
}
