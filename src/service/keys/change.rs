//! Every change of keys is one unit of work under one lock: read all, plan, write. Replicas that do the same at the same time find
//! nothing left to do. New key pairs are made beforehand and off the runtime, since RSA takes its time.

use std::sync::Arc;

use serde_json::{Value, json};

use super::snapshot::signing_context;
use super::{KeyError, all_known, pairs_needed};
use crate::clock::Timestamp;
use crate::entropy::{self, Entropy};
use crate::jose::{Alg, Event, KeyLife, KeyMaker, KeyPair, KeyState, SignError, plan};
use crate::seal::{DataKeyRecord, DataKeys, MasterKey, Purpose, new_data_key};
use crate::storage::audit::{self, AuditEvent};
use crate::storage::keys::{self as store, SigningKeyRecord};
use crate::storage::{Db, Tx};

const CHECK_CONTEXT: &[u8] = b"chancery master key check";
const CHECK_TEXT: &[u8] = b"this database belongs to the master key that opens this text";

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// The first start: whatever is missing is made, the check value too.
    Establish,
    /// The steps that are due by themselves.
    Advance,
    /// Whatever keys an algorithm needs to sign, if it has none.
    First(Alg),
    /// Rotations asked for by an operator.
    Rotate(Vec<Alg>),
    /// These keys are compromised.
    Compromise(Vec<String>),
    /// A new data key.
    RotateData { purpose: Purpose, compromised: bool },
    /// All data keys go under the newest master key.
    Rewrap,
}

/// Who changes keys: for the audit event that is written in the same unit of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// `cli`, `client:ID`, `user:ID`, `server`.
    pub actor: String,
    /// The request behind it, if there is one.
    pub trace_id: Option<String>,
}

impl By {
    /// The server itself: the first start, and what is due by time.
    pub fn server() -> Self {
        Self { actor: "server".to_owned(), trace_id: None }
    }
}

/// What every change needs.
#[derive(Clone)]
pub(super) struct Context {
    pub master: MasterKey,
    pub entropy: Arc<dyn Entropy>,
    pub life: KeyLife,
}

impl Context {
    pub(super) fn new(master: &MasterKey, entropy: Arc<dyn Entropy>, life: KeyLife) -> Self {
        Self { master: master.clone(), entropy, life }
    }

    /// Whether the master key is the one that made the check value.
    pub(super) fn check(&self, value: &[u8]) -> Result<(), KeyError> {
        check(&self.master, value)
    }

    fn check_value(&self) -> Vec<u8> {
        self.master.seal(&*self.entropy, CHECK_CONTEXT, CHECK_TEXT)
    }
}

/// Whether this master key made the check value.
pub(super) fn check(master: &MasterKey, value: &[u8]) -> Result<(), KeyError> {
    match master.open(CHECK_CONTEXT, value) {
        Ok(text) if text.expose() == CHECK_TEXT => Ok(()),
        Ok(_) | Err(_) => Err(KeyError::WrongMasterKey),
    }
}

/// Why a unit of work was rolled back.
enum Stop {
    /// Key pairs of these algorithms have to be made first.
    Needs(Vec<Alg>),
    Error(KeyError),
}

impl<E: Into<KeyError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Carries out a change.
pub(super) async fn apply(
    db: &Db,
    context: &Context,
    maker: &Arc<dyn KeyMaker>,
    (change, by): (Change, &By),
    now: Timestamp,
) -> Result<(), KeyError> {
    let mut pairs = Vec::new();
    loop {
        let unit = Unit { context: context.clone(), by: by.clone(), now, pairs };
        let what = change.clone();
        let done: Result<(), Stop> = db.transaction("change keys", move |tx| Box::pin(unit.run(tx, what))).await;
        match done {
            Ok(()) => return Ok(()),
            Err(Stop::Needs(algs)) => pairs = make(maker, algs).await?,
            Err(Stop::Error(error)) => return Err(error),
        }
    }
}

/// Makes the key pairs side by side.
async fn make(maker: &Arc<dyn KeyMaker>, algs: Vec<Alg>) -> Result<Vec<KeyPair>, KeyError> {
    let start = |alg| {
        let maker = Arc::clone(maker);
        (alg, tokio::task::spawn_blocking(move || maker.make(alg)))
    };
    let tasks: Vec<_> = algs.into_iter().map(start).collect();
    let mut pairs = Vec::with_capacity(tasks.len());
    for (alg, task) in tasks {
        pairs.push(task.await.map_err(|_| SignError::Generate(alg))??);
    }
    Ok(pairs)
}

/// One attempt at a change.
struct Unit {
    context: Context,
    by: By,
    now: Timestamp,
    pairs: Vec<KeyPair>,
}

impl Unit {
    async fn run(mut self, tx: &mut Tx, change: Change) -> Result<(), Stop> {
        let locked = store::lock(tx, self.context.check_value()).await?;
        self.context.check(&locked.check_value)?;
        // Judged under the lock: another replica may be making the first keys at this very moment.
        if locked.is_new && !(store::data_keys_tx(tx).await?.is_empty() && store::signing_keys_tx(tx).await?.is_empty()) {
            return Err(KeyError::CheckValueMissing.into());
        }
        match change {
            Change::Establish => {
                self.complete_data_keys(tx).await?;
                self.advance(tx).await
            }
            Change::Advance => self.advance(tx).await,
            Change::First(alg) => {
                let signs = |key: &SigningKeyRecord| key.alg == alg && key.state == KeyState::Active;
                if !store::signing_keys_tx(tx).await?.known.iter().any(signs) {
                    store::want_rotation(tx, alg, self.now).await?;
                }
                self.advance(tx).await
            }
            Change::Rotate(algs) => {
                for alg in algs {
                    store::want_rotation(tx, alg, self.now).await?;
                    self.audit(tx, "key.rotate", alg.as_str(), None).await?;
                }
                self.advance(tx).await
            }
            Change::Compromise(kids) => {
                self.compromise(tx, |key| kids.contains(&key.kid)).await?;
                self.advance(tx).await
            }
            Change::RotateData { purpose, compromised } => self.rotate_data(tx, purpose, compromised).await,
            Change::Rewrap => self.rewrap(tx).await,
        }
    }

    /// Makes a data key for every purpose that has none.
    async fn complete_data_keys(&self, tx: &mut Tx) -> Result<(), Stop> {
        let there = store::data_keys_tx(tx).await?.known;
        for purpose in Purpose::ALL {
            if !there.iter().any(|key| key.purpose == purpose && key.retired_at.is_none()) {
                self.insert_data_key(tx, purpose).await?;
            }
        }
        Ok(())
    }

    async fn insert_data_key(&self, tx: &mut Tx, purpose: Purpose) -> Result<(), Stop> {
        let id = store::next_data_key_id_tx(tx).await?;
        let sealed = new_data_key(&self.context.master, &*self.context.entropy, id, purpose);
        let key = DataKeyRecord { id, purpose, sealed, created_at: self.now, retired_at: None, compromised_at: None };
        Ok(store::insert_data_key(tx, &key).await?)
    }

    /// Takes the steps that are due in the lives of all signing keys.
    async fn advance(&mut self, tx: &mut Tx) -> Result<(), Stop> {
        let keys = store::signing_keys_tx(tx).await?.known;
        let wanted = store::wanted_rotations_tx(tx).await?;
        let plan_for = |alg: Alg| {
            let times: Vec<_> = keys.iter().filter(|key| key.alg == alg).map(SigningKeyRecord::times).collect();
            plan(alg, &times, wanted.contains(&alg), &self.context.life, self.now)
        };
        let events: Vec<Event> = Alg::ALL.into_iter().flat_map(plan_for).collect();
        let needed = pairs_needed(&events);
        if needed.iter().any(|alg| count(&needed, *alg) > self.pairs.iter().filter(|pair| pair.alg == *alg).count()) {
            return Err(Stop::Needs(needed));
        }
        let sealing = self.sealing_keys(tx).await?;
        for event in events {
            match event {
                Event::Insert(alg, state) => {
                    self.insert(tx, &sealing, alg, state).await?;
                    if state == KeyState::Active {
                        store::rotation_done(tx, alg).await?;
                    }
                }
                Event::Become { kid, state } => {
                    store::become_state(tx, &kid, state, self.now).await?;
                    self.audit(tx, became(state), &kid, None).await?;
                    // However it came about, a rotation that was asked for has happened.
                    if state == KeyState::Active
                        && let Some(key) = keys.iter().find(|key| key.kid == kid)
                    {
                        store::rotation_done(tx, key.alg).await?;
                    }
                }
                Event::Forget { kid } => {
                    store::forget(tx, &kid).await?;
                    self.audit(tx, "key.forget", &kid, None).await?;
                }
            }
        }
        Ok(())
    }

    async fn insert(&mut self, tx: &mut Tx, sealing: &DataKeys, alg: Alg, state: KeyState) -> Result<(), Stop> {
        let Some(at) = self.pairs.iter().position(|pair| pair.alg == alg) else {
            return Err(Stop::Needs(vec![alg]));
        };
        let pair = self.pairs.swap_remove(at);
        let context = signing_context(&pair.kid);
        let record = SigningKeyRecord {
            sealed_private: sealing.seal(Purpose::Signing, &*self.context.entropy, &context, pair.pkcs8.expose()),
            kid: pair.kid,
            alg,
            state,
            public: pair.public,
            created_at: self.now,
            state_since: self.now,
            published_at: self.now,
            activated_at: (state == KeyState::Active).then_some(self.now),
        };
        store::insert_signing_key(tx, &record).await?;
        self.audit(tx, "key.make", &record.kid, Some(json!({ "alg": alg.as_str(), "state": state.as_str() }))).await
    }

    /// Nothing signed by these keys is believed from now on.
    async fn compromise(&self, tx: &mut Tx, chosen: impl Fn(&SigningKeyRecord) -> bool) -> Result<(), Stop> {
        for key in store::signing_keys_tx(tx).await?.known {
            if chosen(&key) && key.state != KeyState::Compromised {
                store::become_state(tx, &key.kid, KeyState::Compromised, self.now).await?;
                self.audit(tx, became(KeyState::Compromised), &key.kid, None).await?;
            }
        }
        Ok(())
    }

    async fn rotate_data(&mut self, tx: &mut Tx, purpose: Purpose, compromised: bool) -> Result<(), Stop> {
        let signing = purpose == Purpose::Signing;
        if signing {
            // They are sealed under it too.
            all_known(store::signing_keys_tx(tx).await?.unknown.iter())?;
        }
        // Opened before the key is retired; signing keys are sealed anew below.
        let before = if signing && !compromised { Some(self.sealing_keys(tx).await?) } else { None };
        store::retire_data_keys(tx, purpose, compromised, self.now).await?;
        self.insert_data_key(tx, purpose).await?;
        self.audit(tx, if compromised { "data_key.compromise" } else { "data_key.rotate" }, purpose.as_str(), None).await?;
        if let Some(before) = before {
            let after = self.sealing_keys(tx).await?;
            for key in store::signing_keys_tx(tx).await?.known.iter().filter(|key| !key.sealed_private.is_empty()) {
                let context = signing_context(&key.kid);
                let plain = before.open(Purpose::Signing, &context, &key.sealed_private)?;
                let sealed = after.seal(Purpose::Signing, &*self.context.entropy, &context, plain.expose());
                store::reseal_signing_key(tx, &key.kid, sealed).await?;
            }
        } else if signing {
            // Whoever has the data key has the private keys under it.
            self.compromise(tx, |key| !key.sealed_private.is_empty()).await?;
            self.advance(tx).await?;
        }
        Ok(())
    }

    async fn rewrap(&self, tx: &mut Tx) -> Result<(), Stop> {
        let mut sealed_anew = 0;
        let records = store::data_keys_tx(tx).await?;
        all_known(records.unknown.iter())?;
        for record in records.known {
            // A compromised key opens nothing any more; under which master key it lies does not matter.
            if record.compromised_at.is_none()
                && let Some(sealed) = record.rewrapped(&self.context.master, &*self.context.entropy)?
            {
                store::reseal_data_key(tx, record.id, sealed).await?;
                sealed_anew += 1;
            }
        }
        self.audit(tx, "key.rewrap", "master", Some(json!({ "sealed_anew": sealed_anew }))).await?;
        Ok(store::set_check_value(tx, self.context.check_value()).await?)
    }

    /// Writes down what was done, in the unit of work that does it.
    async fn audit(&self, tx: &mut Tx, action: &str, target: &str, is_now: Option<Value>) -> Result<(), Stop> {
        tracing::info!(actor = self.by.actor, action, target, "keys changed");
        let event = AuditEvent {
            id: entropy::row_id(&*self.context.entropy, self.now),
            at: self.now,
            actor: self.by.actor.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            was: None,
            is_now: is_now.map(|value| value.to_string()),
            trace_id: self.by.trace_id.clone(),
        };
        Ok(audit::insert_tx(tx, &event).await?)
    }

    /// The data keys as they are within this unit of work, the newest sealing.
    async fn sealing_keys(&self, tx: &mut Tx) -> Result<DataKeys, Stop> {
        Ok(DataKeys::open_records(&self.context.master, &store::data_keys_tx(tx).await?.known, self.now, None)?)
    }
}

/// The name of a step in the audit log.
fn became(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "key.activate",
        KeyState::Next => "key.make",
        KeyState::Retiring => "key.retire",
        KeyState::VerifyOnly => "key.unpublish",
        KeyState::Compromised => "key.compromise",
    }
}

fn count(algs: &[Alg], one: Alg) -> usize {
    algs.iter().filter(|alg| **alg == one).count()
}
