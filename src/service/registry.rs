//! Clients and resources in memory: what every request needs and few change (design 5).
//!
//! An entry lives at most [`TIME_TO_LIVE`], and counts for nothing once SQLite's number of changes has moved or PostgreSQL has notified
//! of one. Nothing else is cached here: codes, families, grants, sessions, revocations and users are always read from the database.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use moka::future::Cache;

use crate::oauth::client::Client;
use crate::oauth::redirect_uri;
use crate::oauth::resource::Catalogue;
use crate::service::keys::Keys;
use crate::storage::{Db, StoreError};
use crate::storage::{clients, resources};

/// How long a cached entry may be trusted.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(5);
/// Clients read at once when all are needed.
const PAGE: u32 = 500;
/// Clients in one generation. There are two: when the younger is full, or is as old as entries may be, the older is forgotten.
const GENERATION: usize = 5_000;

/// The bounded cache of clients and of the resource catalogue.
pub struct Registry {
    db: Db,
    issuer: String,
    keys: Arc<Keys>,
    /// How often everything was forgotten.
    forgotten: AtomicI64,
    /// SQLite's number of changes as last seen.
    number: AtomicI64,
    clients: RwLock<Clients>,
    catalogue: RwLock<Option<(Instant, Entry<Catalogue>)>>,
    unknown_resources: Mutex<Vec<String>>,
    origins: Cache<(), Entry<HashSet<String>>>,
    /// As they were read last, however long ago.
    latest_origins: RwLock<Option<Arc<HashSet<String>>>>,
    /// One request at a time reads the origins of all clients.
    reading_origins: tokio::sync::Mutex<Readings>,
}

/// What became of reading the origins of all clients.
#[derive(Default)]
struct Readings {
    /// How often that was begun.
    number: u64,
    /// When it last failed, and why: those who waited do not all wait for the same once more.
    failed: Option<(Instant, StoreError)>,
}

/// How long a page's answer waits to learn whether it may be read.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a failed reading of the origins is not repeated.
const PAUSE: Duration = Duration::from_secs(1);

/// The state of the database as far as it is known; each change makes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    forgotten: i64,
    number: i64,
}

/// What was read, and the state known before: an entry that a change overtook while it was read is never believed.
struct Entry<T> {
    state: State,
    value: Arc<T>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { state: self.state, value: Arc::clone(&self.value) }
    }
}

impl<T> Entry<T> {
    fn new(state: State, value: T) -> Self {
        Self { state, value: Arc::new(value) }
    }

    fn at(self, state: State) -> Option<Arc<T>> {
        (self.state == state).then_some(self.value)
    }
}

/// Clients as they were read, and when: so many that few are read again in their time, and never more than two generations.
#[derive(Default)]
struct Clients {
    begun: Option<Instant>,
    young: HashMap<String, (Instant, Entry<Client>)>,
    old: HashMap<String, (Instant, Entry<Client>)>,
}

impl Clients {
    fn find(&self, client_id: &str, now: Instant) -> Option<Entry<Client>> {
        let (read, entry) = self.young.get(client_id).or_else(|| self.old.get(client_id))?;
        is_fresh(*read, now).then(|| entry.clone())
    }

    fn keep(&mut self, client_id: &str, read: Instant, entry: Entry<Client>) {
        let is_over = self.begun.is_none_or(|begun| !is_fresh(begun, read));
        if is_over || self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.begun = Some(read);
        }
        self.young.insert(client_id.to_owned(), (read, entry));
    }
}

/// May what was read then still be trusted?
fn is_fresh(read: Instant, now: Instant) -> bool {
    now.saturating_duration_since(read) < TIME_TO_LIVE
}

impl Registry {
    /// An empty cache over `db`; `issuer` makes the built-in admin resource, and `keys` are told when they are out of date.
    pub fn new(db: Db, issuer: &str, keys: Arc<Keys>) -> Self {
        Self {
            db,
            issuer: issuer.to_owned(),
            keys,
            forgotten: AtomicI64::new(0),
            number: AtomicI64::new(0),
            clients: RwLock::default(),
            origins: Cache::builder().max_capacity(1).time_to_live(TIME_TO_LIVE).build(),
            unknown_resources: Mutex::default(),
            latest_origins: RwLock::default(),
            reading_origins: tokio::sync::Mutex::default(),
            catalogue: RwLock::default(),
        }
    }

    /// The registry as it stands now. What one request asks of it, it asks of one view: the database is looked at once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn view(&self) -> Result<View<'_>, StoreError> {
        Ok(View { registry: self, state: self.state().await? })
    }

    /// The client with this id, enabled or not.
    ///
    /// # Errors
    /// When the database does not answer and no entry is fresh enough.
    pub async fn client(&self, client_id: &str) -> Result<Option<Arc<Client>>, StoreError> {
        self.view().await?.client(client_id).await
    }

    /// All resources with the built-in admin API.
    ///
    /// # Errors
    /// When the database does not answer and the entry is not fresh enough.
    pub async fn catalogue(&self) -> Result<Arc<Catalogue>, StoreError> {
        self.view().await?.catalogue().await
    }

    /// Does some enabled client have a redirect URI with this origin (RFC 6454)?
    ///
    /// # Errors
    /// When the database does not answer and the entry is not fresh enough.
    pub async fn is_origin(&self, origin: &str) -> Result<bool, StoreError> {
        if let Some(origins) = self.origins_at(self.state().await?).await {
            return Ok(origins.contains(origin));
        }
        let mut readings = self.reading_origins.lock().await;
        // Whoever waited for the one before finds what that one read.
        let state = self.state().await?;
        if let Some(origins) = self.origins_at(state).await {
            return Ok(origins.contains(origin));
        }
        if let Some((at, error)) = &readings.failed
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        readings.number += 1;
        match self.read_origins().await {
            Ok(origins) => {
                readings.failed = None;
                let entry = Entry::new(state, origins);
                *self.latest_origins.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&entry.value));
                self.origins.insert((), entry.clone()).await;
                Ok(entry.value.contains(origin))
            }
            Err(error) => {
                readings.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// As [`Self::is_origin`]; while the database does not answer in time, as it was known last: what there is to read then is that it does not.
    pub async fn may_read(&self, origin: &str) -> bool {
        match tokio::time::timeout(PATIENCE, self.is_origin(origin)).await {
            Ok(Ok(known)) => known,
            Ok(Err(_)) | Err(_) => self.was_origin(origin),
        }
    }

    fn was_origin(&self, origin: &str) -> bool {
        let latest = self.latest_origins.read().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().is_some_and(|origins| origins.contains(origin))
    }

    async fn read_origins(&self) -> Result<HashSet<String>, StoreError> {
        let mut origins = HashSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = clients::redirect_uris(&self.db, PAGE, after.as_deref()).await?;
            origins.extend(page.iter().flat_map(|(_, uris)| uris).map(|uri| redirect_uri::origin(uri)));
            match page.last() {
                Some((last, _)) if page.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX) => after = Some(last.clone()),
                Some(_) | None => return Ok(origins),
            }
        }
    }

    async fn origins_at(&self, state: State) -> Option<Arc<HashSet<String>>> {
        self.origins.get(&()).await.and_then(|entry| entry.at(state))
    }

    /// How often the origins of all clients were read.
    pub async fn origin_readings(&self) -> u64 {
        self.reading_origins.lock().await.number
    }

    /// The state that an entry must have been read in to count. On SQLite commands run beside the server, so the file is asked whether
    /// anybody has changed clients, resources or keys (design 5).
    async fn state(&self) -> Result<State, StoreError> {
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let number = self.db.change_number().await?.unwrap_or_default();
        // Usually it is the same: then nothing is written that other processors have in their caches.
        if self.number.load(Ordering::Acquire) != number && self.number.swap(number, Ordering::AcqRel) != number {
            self.keys.outdated();
        }
        Ok(State { forgotten, number })
    }

    /// Says once which resources are not there for this replica: a newer version has written them.
    fn leave_alone(&self, unknown: Vec<String>) {
        let mut before = self.unknown_resources.lock().unwrap_or_else(PoisonError::into_inner);
        for identifier in unknown.iter().filter(|identifier| !before.contains(identifier)) {
            tracing::warn!(
                identifier,
                "a newer version has written an API that this one does not know whole: it is left alone here"
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("chancery_unknown_resources").set(unknown.len() as f64);
        *before = unknown;
    }

    /// Forgets everything: something changed.
    pub fn clear(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = Clients::default();
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.origins.invalidate_all();
    }
}

/// The registry at the moment of [`Registry::view`].
#[derive(Clone, Copy)]
pub struct View<'a> {
    registry: &'a Registry,
    state: State,
}

impl View<'_> {
    /// As [`Registry::client`].
    ///
    /// # Errors
    /// When the database does not answer and no entry is fresh enough.
    pub async fn client(&self, client_id: &str) -> Result<Option<Arc<Client>>, StoreError> {
        // Ids that cannot exist are not worth a question: ours are short, and a hostile one could be megabytes.
        if client_id.is_empty() || client_id.len() > 255 {
            return Ok(None);
        }
        let (Self { registry, state }, now) = (*self, Instant::now());
        let known = registry.clients.read().unwrap_or_else(PoisonError::into_inner).find(client_id, now);
        if let Some(client) = known.and_then(|entry| entry.at(state)) {
            return Ok(Some(client));
        }
        // In a box, here and below: what is seldom done would take the room of what always is.
        let Some(client) = Box::pin(clients::find(&registry.db, client_id)).await? else { return Ok(None) };
        let entry = Entry::new(state, client);
        registry.clients.write().unwrap_or_else(PoisonError::into_inner).keep(client_id, now, entry.clone());
        Ok(Some(entry.value))
    }

    /// As [`Registry::catalogue`].
    ///
    /// # Errors
    /// When the database does not answer and the entry is not fresh enough.
    pub async fn catalogue(&self) -> Result<Arc<Catalogue>, StoreError> {
        let (Self { registry, state }, now) = (*self, Instant::now());
        let known = registry.catalogue.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(catalogue) = known.filter(|(read, _)| is_fresh(*read, now)).and_then(|(_, entry)| entry.at(state)) {
            return Ok(catalogue);
        }
        let (known, unknown) = Box::pin(resources::all_known(&registry.db)).await?;
        registry.leave_alone(unknown);
        let entry = Entry::new(state, Catalogue::new(known, &registry.issuer));
        *registry.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Some((now, entry.clone()));
        Ok(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::grant::samples;

    fn entry(client_id: &str, forgotten: i64) -> Entry<Client> {
        Entry::new(State { forgotten, number: 0 }, samples::client(client_id))
    }

    #[test]
    fn a_client_is_known_for_its_time_and_no_longer() {
        let (mut clients, now) = (Clients::default(), Instant::now());
        clients.keep("app", now, entry("app", 0));
        assert!(clients.find("app", now).is_some() && clients.find("other", now).is_none());
        assert!(clients.find("app", now + TIME_TO_LIVE - Duration::from_millis(1)).is_some());
        assert!(clients.find("app", now + TIME_TO_LIVE).is_none());
        let again = now + TIME_TO_LIVE;
        clients.keep("app", again, entry("app", 1));
        let found = clients.find("app", again).unwrap();
        assert!(found.at(State { forgotten: 1, number: 0 }).is_some(), "what was read last counts");
    }

    #[test]
    fn there_are_never_more_than_two_generations() {
        let (mut clients, now) = (Clients::default(), Instant::now());
        for number in 0..3 * GENERATION {
            clients.keep(&number.to_string(), now, entry("app", 0));
            assert!(clients.young.len() <= GENERATION && clients.old.len() <= GENERATION);
        }
        assert!(clients.find("0", now).is_none() && clients.find(&GENERATION.to_string(), now).is_some());
        for turn in 1..=2 {
            let later = now + turn * TIME_TO_LIVE;
            clients.keep("app", later, entry("app", 0));
        }
        assert_eq!((clients.young.len(), clients.old.len()), (1, 1), "what is over goes, however few there are");
    }
}
