//! The keys of a running server: loaded once, reloaded every few seconds, rotated under a lock (design 4.5, 4.6).
//!
//! What requests use is an immutable [`Snapshot`]. It is never used when it is older than [`FRESH`]: a key that was declared
//! compromised on one replica is refused by all of them within that time, and without a database nothing is signed.

mod change;
mod known;
mod snapshot;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::jose::{Alg, Event, KeyLife, KeyMaker, KeySet, KeyState, NewKeyPairs, SignError, SigningKey, plan};
use crate::oauth::refusal::Reason;
use crate::seal::{DataKeys, MasterKey, Purpose, SealError};
use crate::storage::keys::{self as store, Unknown};
use crate::storage::{Db, StoreError};

pub use change::By;
pub use snapshot::Snapshot;

use change::{Change, Context};

/// How old a snapshot may be when it is used. Also how long a new data key waits before it seals (twice this).
pub const FRESH: Duration = Duration::from_secs(5);

/// Why keys cannot be opened, loaded or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database was made with another master key.
    #[error(
        "the master key does not fit this database: its keys were sealed with another one. Nothing was changed. Give the master key \
         that the database was made with (CHANCERY_MASTER_KEY, or master.key in the data folder)"
    )]
    WrongMasterKey,
    /// Keys without a check value: a restore that went wrong, or a hand in the database.
    #[error("the database holds keys but not the check value of their master key; restore it from a whole backup")]
    CheckValueMissing,
    #[error("a key in the database cannot be opened: {0}")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No such key.
    #[error("there is no signing key {0}")]
    UnknownKey(String),
    /// A row that contradicts itself.
    #[error("the signing key {0} is damaged in the database")]
    Damaged(String),
    /// What concerns every key cannot be done by a program that does not know them all.
    #[error(
        "the database holds a {0}, which this version of chancery does not know: a newer version made it, and it would be left behind. \
         Nothing was changed. Do this with the newest version that runs on this database"
    )]
    NewerVersion(String),
}

impl From<KeyError> for Reason {
    fn from(error: KeyError) -> Self {
        let detail = error.to_string();
        match error {
            KeyError::Store(StoreError::Unavailable(_) | StoreError::NewerVersion(_)) => Self::StorageUnavailable { detail },
            KeyError::Store(
                StoreError::Conflict(_) | StoreError::Owned { .. } | StoreError::Corrupt(_) | StoreError::Schema(_),
            )
            | KeyError::WrongMasterKey
            | KeyError::CheckValueMissing
            | KeyError::Seal(_)
            | KeyError::Sign(_)
            | KeyError::UnknownKey(_)
            | KeyError::Damaged(_) => Self::Internal { detail },
            KeyError::NewerVersion(_) => Self::AdminConflict { member: None, detail },
        }
    }
}

/// What became of a rotation that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// `new` signs now in the place of `old`.
    Done { alg: Alg, old: Option<String>, new: String },
    /// `next` will sign by itself from that instant on, when everybody can know it.
    Waits { alg: Alg, next: String, until: Timestamp },
}

/// A signing key, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    pub kid: String,
    pub alg: Alg,
    pub state: KeyState,
    pub created_at: Timestamp,
    pub state_since: Timestamp,
    pub activated_at: Option<Timestamp>,
}

/// A data key, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyInfo {
    pub id: i64,
    pub purpose: Purpose,
    pub created_at: Timestamp,
    pub retired_at: Option<Timestamp>,
    pub compromised_at: Option<Timestamp>,
}

/// What somebody sees who only looks at the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Data keys and check value that are still sealed under the older of two master keys.
    pub under_older: usize,
    /// Keys that a newer version of this program has written.
    pub unknown: Vec<String>,
    /// What was due in the lives of signing keys at the instant that was asked for, by algorithm.
    pub due: Vec<(Alg, Event)>,
}

/// Opens every key and changes nothing. `due_at`: the instant whose due steps are wanted. `None` if there are no keys yet.
///
/// # Errors
/// As [`Keys::open`].
pub async fn inspect(
    db: &Db,
    master: &MasterKey,
    life: &KeyLife,
    now: Timestamp,
    due_at: Timestamp,
) -> Result<Option<Inspected>, KeyError> {
    let Some(value) = store::check_value(db).await? else {
        return if store::exist(db).await? { Err(KeyError::CheckValueMissing) } else { Ok(None) };
    };
    change::check(master, &value)?;
    let snapshot = snapshot::load(db, master, None, now).await?;
    let data = store::data_keys(db).await?.known;
    let live = data.iter().filter(|record| record.compromised_at.is_none()).map(|record| record.sealed.as_slice());
    let under_older = live.chain(std::iter::once(value.as_slice())).filter(|sealed| !master.is_newest(sealed)).count();
    let wanted = store::wanted_rotations(db).await?;
    let due_for =
        |alg: Alg| plan(alg, &snapshot.times(alg), wanted.contains(&alg), life, due_at).into_iter().map(move |event| (alg, event));
    let unknown = snapshot.unknown.iter().map(ToString::to_string).collect();
    Ok(Some(Inspected { under_older, unknown, due: Alg::ALL.into_iter().flat_map(due_for).collect() }))
}

/// Somebody registers these algorithms: the key job makes the first keys of those that have none.
///
/// # Errors
/// When the database does not answer.
pub async fn want(db: &Db, algs: impl IntoIterator<Item = Alg>, now: Timestamp) -> Result<(), StoreError> {
    for alg in algs.into_iter().filter(|alg| !alg.is_made_at_start()) {
        store::want_first(db, alg, now).await?;
    }
    Ok(())
}

/// The keys of this process.
pub struct Keys {
    db: Db,
    context: Context,
    maker: Arc<dyn KeyMaker>,
    current: RwLock<Arc<Snapshot>>,
    /// Somebody changed keys since the snapshot was loaded.
    outdated: AtomicBool,
    /// One reload at a time; the instant of the last one that failed, and why.
    reloading: tokio::sync::Mutex<Option<(Timestamp, KeyError)>>,
    /// One request at a time makes the first keys of an algorithm.
    beginning: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Opens the keys of the database, and makes them if there are none at all: every data key, and an active and a next signing key
    /// for each of the usual algorithms. Replicas that start together on an empty database end with one set.
    ///
    /// Errors: `WrongMasterKey`, `CheckValueMissing`; nothing is changed then.
    pub async fn open(
        db: &Db,
        master: &MasterKey,
        clock: &dyn Clock,
        entropy: Arc<dyn Entropy>,
        life: KeyLife,
    ) -> Result<Arc<Self>, KeyError> {
        Self::open_with(db, Context::new(master, entropy, life), Arc::new(NewKeyPairs), clock.now()).await
    }

    async fn open_with(db: &Db, context: Context, maker: Arc<dyn KeyMaker>, now: Timestamp) -> Result<Arc<Self>, KeyError> {
        match store::check_value(db).await? {
            Some(value) => context.check(&value)?,
            None => change::apply(db, &context, &maker, (Change::Establish, &By::server()), now).await?,
        }
        let snapshot = match snapshot::load(db, &context.master, None, now).await {
            // A purpose that a former version of this program did not know. Without any data key the database is damaged.
            Err(KeyError::Seal(SealError::NoKey(_))) if !store::data_keys(db).await?.known.is_empty() => {
                change::apply(db, &context, &maker, (Change::Establish, &By::server()), now).await?;
                snapshot::load(db, &context.master, None, now).await?
            }
            other => other?,
        };
        snapshot::tell_unknown(&[], &snapshot.unknown);
        let keys = Self {
            db: db.clone(),
            context,
            maker,
            current: RwLock::new(Arc::new(snapshot)),
            outdated: AtomicBool::new(false),
            reloading: tokio::sync::Mutex::new(None),
            beginning: tokio::sync::Mutex::new(()),
        };
        keys.refresh(now).await?;
        Ok(Arc::new(keys))
    }

    /// The signing keys as last loaded, however long ago: for JWKS and discovery.
    pub fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.snapshot().set)
    }

    /// The data keys as last loaded, however long ago.
    pub fn data(&self) -> Arc<DataKeys> {
        Arc::clone(&self.snapshot().data)
    }

    /// The keys as they were at most [`FRESH`] before `now`: for signing, sealing and judging tokens. Usually no more than a look; a
    /// snapshot that has aged is loaded anew by the first who asks.
    ///
    /// Errors when they cannot be loaded: nothing is signed on old knowledge.
    pub async fn live(&self, now: Timestamp) -> Result<Arc<Snapshot>, KeyError> {
        let snapshot = self.snapshot();
        if self.may_use(&snapshot, now) {
            return Ok(snapshot);
        }
        // In a box: what is seldom done would take the room of what every request does.
        Box::pin(self.reload(now, false)).await
    }

    /// The key that signs with `alg`, from `snapshot` if it is there. The first token of an algorithm whose keys are made on demand comes
    /// before the key job, or before this replica has heard of them: then they are loaded, or made.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn signer(&self, snapshot: &Snapshot, alg: Alg, now: Timestamp) -> Result<Arc<SigningKey>, KeyError> {
        if let Some(key) = snapshot.set.active(alg) {
            return Ok(Arc::clone(key));
        }
        let _alone = self.beginning.lock().await;
        if let Some(key) = self.reload(now, true).await?.set.active(alg) {
            return Ok(Arc::clone(key));
        }
        self.change(Change::First(alg), &By::server(), now).await?;
        Ok(Arc::clone(self.current().active(alg).ok_or(SignError::Generate(alg))?))
    }

    /// Somebody has changed keys: the next who asks loads them anew, however fresh the snapshot is.
    pub fn outdated(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    fn may_use(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        snapshot.is_fresh(now) && !self.outdated.load(Ordering::Acquire)
    }

    /// Loads the keys and takes the steps in their lives that are due: for the background job, every few seconds.
    pub async fn refresh(&self, now: Timestamp) -> Result<(), KeyError> {
        // In this order: if another replica rotates in between, the snapshot shows it.
        let wanted = store::wanted_rotations(&self.db).await?;
        let snapshot = self.reload(now, true).await?;
        let due = Alg::ALL
            .into_iter()
            .any(|alg| !plan(alg, &snapshot.times(alg), wanted.contains(&alg), &self.context.life, now).is_empty());
        if due {
            self.change(Change::Advance, &By::server(), now).await?;
        }
        Ok(())
    }

    /// Replaces the active key of one algorithm, or of all that have keys. A next key that is too young signs by itself as soon as everybody can know it.
    /// `compromised`: at once, and nothing that the old key signed is believed from now on.
    pub async fn rotate(&self, by: &By, now: Timestamp, alg: Option<Alg>, compromised: bool) -> Result<Vec<Rotation>, KeyError> {
        let before = self.reload(now, true).await?;
        if compromised && alg.is_none() {
            all_known(before.unknown.iter().filter(|unknown| unknown.is_signing()))?;
        }
        let before = before.set.clone();
        let chosen = |one: &Alg| alg.map_or_else(|| before.active(*one).is_some(), |alg| alg == *one);
        let algs: Vec<Alg> = Alg::ALL.into_iter().filter(chosen).collect();
        if compromised {
            let kids = algs.iter().filter_map(|alg| before.active(*alg)).map(|key| key.kid.clone()).collect();
            self.change(Change::Compromise(kids), by, now).await?;
        } else {
            self.change(Change::Rotate(algs.clone()), by, now).await?;
        }
        let after = self.current();
        Ok(algs.into_iter().filter_map(|alg| self.outcome(alg, &before, &after)).collect())
    }

    /// Declares one signing key compromised, in whatever state it is, and puts others in its place at once.
    pub async fn compromise(&self, by: &By, now: Timestamp, kid: &str) -> Result<(), KeyError> {
        let before = self.reload(now, true).await?;
        if before.set.find(kid).is_none() {
            all_known(before.unknown.iter().filter(|unknown| unknown.is_signing() && unknown.id == kid))?;
            return Err(KeyError::UnknownKey(kid.to_owned()));
        }
        self.change(Change::Compromise(vec![kid.to_owned()]), by, now).await
    }

    /// Makes a new data key for the purpose; the old ones still open. `compromised`: they do not, and what was sealed or MAC'd under
    /// them is worth nothing: refresh tokens, access tokens, cookies. For [`Purpose::Signing`], the signing keys under it are replaced too.
    pub async fn rotate_data(&self, by: &By, now: Timestamp, purpose: Purpose, compromised: bool) -> Result<(), KeyError> {
        self.change(Change::RotateData { purpose, compromised }, by, now).await
    }

    /// Seals every data key anew under the newest of the two master keys. Answers how many were not yet. No session ends.
    ///
    /// # Errors
    /// `NewerVersion` if there is one that this program does not know: it would be lost with the older master key.
    pub async fn rewrap(&self, by: &By, now: Timestamp) -> Result<usize, KeyError> {
        let due = store::data_keys(&self.db).await?.known;
        let due = due.iter().filter(|record| !self.context.master.is_newest(&record.sealed)).count();
        self.change(Change::Rewrap, by, now).await?;
        Ok(due)
    }

    /// Every signing key, oldest first.
    pub async fn list(&self) -> Result<Vec<KeyInfo>, KeyError> {
        let records = store::signing_keys(&self.db).await?.known;
        let info = |key: store::SigningKeyRecord| KeyInfo {
            kid: key.kid,
            alg: key.alg,
            state: key.state,
            created_at: key.created_at,
            state_since: key.state_since,
            activated_at: key.activated_at,
        };
        Ok(records.into_iter().map(info).collect())
    }

    /// Every data key, oldest first.
    pub async fn list_data(&self) -> Result<Vec<DataKeyInfo>, KeyError> {
        let records = store::data_keys(&self.db).await?.known;
        let info = |key: crate::seal::DataKeyRecord| DataKeyInfo {
            id: key.id,
            purpose: key.purpose,
            created_at: key.created_at,
            retired_at: key.retired_at,
            compromised_at: key.compromised_at,
        };
        Ok(records.into_iter().map(info).collect())
    }

    /// What a newer version of this program has written, as it was last loaded.
    pub fn unknown(&self) -> Vec<Unknown> {
        self.snapshot().unknown.clone()
    }

    async fn change(&self, change: Change, by: &By, now: Timestamp) -> Result<(), KeyError> {
        change::apply(&self.db, &self.context, &self.maker, (change, by), now).await?;
        self.reload(now, true).await.map(drop)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        // A poisoned lock still holds a whole snapshot: it is replaced in one assignment.
        Arc::clone(&self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Loads a new snapshot. Unless `always`, one that somebody else loaded meanwhile will do, and a failure of this very second is not repeated:
    /// requests must not queue up behind a database that is away.
    async fn reload(&self, now: Timestamp, always: bool) -> Result<Arc<Snapshot>, KeyError> {
        let mut last_failure = self.reloading.lock().await;
        let snapshot = self.snapshot();
        if !always {
            if self.may_use(&snapshot, now) {
                return Ok(snapshot);
            }
            if let Some((at, error)) = last_failure.as_ref()
                && now.since(*at) < Duration::from_secs(1)
                && *at <= now
            {
                return Err(error.clone());
            }
        }
        // Before it is read: a change that comes in between is read, or is noticed by the next.
        let outdated = self.outdated.swap(false, Ordering::AcqRel);
        match snapshot::load(&self.db, &self.context.master, Some(&snapshot), now).await {
            Ok(loaded) => {
                if loaded.unknown != snapshot.unknown {
                    snapshot::tell_unknown(&snapshot.unknown, &loaded.unknown);
                }
                let loaded = Arc::new(loaded);
                *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::clone(&loaded);
                *last_failure = None;
                Ok(loaded)
            }
            Err(error) => {
                if outdated {
                    self.outdated();
                }
                *last_failure = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    fn outcome(&self, alg: Alg, before: &KeySet, after: &KeySet) -> Option<Rotation> {
        let old = before.active(alg).map(|key| key.kid.clone());
        let new = after.active(alg).map(|key| key.kid.clone())?;
        if old.as_ref() != Some(&new) {
            return Some(Rotation::Done { alg, old, new });
        }
        let next = after.entries().find(|entry| entry.alg == alg && entry.state == KeyState::Next)?;
        Some(Rotation::Waits { alg, next: next.kid.clone(), until: self.context.life.may_sign_at(next.created_at) })
    }
}

/// Refuses what would leave these keys behind.
fn all_known<'a>(mut unknown: impl Iterator<Item = &'a Unknown>) -> Result<(), KeyError> {
    unknown.next().map_or(Ok(()), |one| Err(KeyError::NewerVersion(one.to_string())))
}

/// How many new key pairs the events ask for, by algorithm.
fn pairs_needed(events: &[Event]) -> Vec<Alg> {
    let new = |event: &Event| match event {
        Event::Insert(alg, _) => Some(*alg),
        Event::Become { .. } | Event::Forget { .. } => None,
    };
    events.iter().filter_map(new).collect()
}
