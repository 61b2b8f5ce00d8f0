//! The public keys of clients: by value as they are registered, or from their `jwks_uri`, fetched once for all who ask and remembered for a
//! while (security.md R-59, openid.md 63).
//!
//! A token under a `kid` that the remembered set does not have may be the first one under a new key: the set is fetched anew, at most once in
//! [`COOL_DOWN`]. A fetch that failed is not repeated within the same time, and meanwhile the set of before is used, up to [`STALE`].
//!
//! A host that does not answer holds up few: see [`WAITING`]. While one request fetches, the set of before does for all who need no new key.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Semaphore;

use crate::clock::Timestamp;
use crate::jose::{ClientJwt, JwkSet, NotVerified};
use crate::oauth::client::Client;
use crate::oauth::refusal::Reason;
use crate::secret::Digest;
use crate::service::outbound::{Outbound, OutboundError};

/// For how long a fetched set is used without another look.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// For how long it is used while its server is away. A key that was taken out of it is believed no longer than this.
const STALE: Duration = Duration::from_secs(60 * 60);
/// Between two fetches of one URL.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// The longest document that is read, in bytes.
const LONGEST: usize = 64 * 1024;
/// Bytes of all sets in memory; the least used go first.
const CAPACITY: u64 = 32 * 1024 * 1024;
/// What a set costs in memory, as a multiple of its document, and what a URL costs beside it.
const UNFOLDED: usize = 6;
const ENTRY: u32 = 1024;
/// Requests that wait for hosts, and for one URL: whoever waits holds a place that everybody needs.
const WAITING: usize = 32;
const WAITING_FOR_ONE: usize = 4;
/// All others look once more after a moment, within which a host that is well has answered; so many at once.
const MOMENT: Duration = Duration::from_millis(500);
const LINGERING: usize = 32;
/// Seconds after which somebody may ask again who got no keys though nothing is known against their host.
const RETRY_AFTER: u64 = 2;

/// The keys of all clients that have some elsewhere.
pub struct ClientKeys {
    outbound: Arc<Outbound>,
    /// By digest of the URL.
    places: Cache<Vec<u8>, Arc<Place>>,
    waiting: Arc<Semaphore>,
    lingering: Semaphore,
}

/// What is known of one URL. Who holds `fetching` fetches, and nobody else.
struct Place {
    known: Mutex<Known>,
    fetching: tokio::sync::Mutex<()>,
    waiting: Arc<Semaphore>,
    /// In memory, in bytes.
    weight: AtomicU32,
}

#[derive(Default)]
struct Known {
    /// The set, and when it was fetched.
    set: Option<(Timestamp, Arc<JwkSet>)>,
    /// When a fetch was begun last, and why it came to nothing if it did.
    tried: Option<(Timestamp, Option<String>)>,
    /// How many fetches have ended, those too that never got to the host.
    ended: u64,
}

/// Why there are no keys.
#[derive(Debug)]
enum NoKeys {
    /// What is known against their host.
    Unavailable(String),
    /// Others wait for keys already, and this server lets only so many requests wait.
    Busy,
}

impl NoKeys {
    fn of(self, client: &Client) -> Reason {
        match self {
            Self::Unavailable(detail) => Reason::ClientKeysUnavailable { client_id: client.client_id.clone(), detail },
            Self::Busy => Reason::Overloaded { retry_after: RETRY_AFTER },
        }
    }
}

impl ClientKeys {
    /// Knows nothing yet.
    pub fn new(outbound: Arc<Outbound>) -> Self {
        let weigh = |_: &Vec<u8>, place: &Arc<Place>| place.weight.load(Ordering::Relaxed);
        let places = Cache::builder().max_capacity(CAPACITY).weigher(weigh).time_to_idle(STALE).build();
        Self { outbound, places, waiting: Arc::new(Semaphore::new(WAITING)), lingering: Semaphore::new(LINGERING) }
    }

    /// The client's keys, by now with one to encrypt to by `alg` (RFC 7518 §4.1) if there is any.
    ///
    /// # Errors
    /// `ClientKeysUnavailable`: it has none, or they cannot be fetched; `Overloaded`: too many wait for such already.
    pub async fn to_encrypt(&self, client: &Client, alg: &str, now: Timestamp) -> Result<Arc<JwkSet>, Reason> {
        let keys = self.of(client, now).await?;
        if client.metadata.jwks_uri.is_none() || keys.to_encrypt(alg).is_some() {
            return Ok(keys);
        }
        self.look(client, Some(&keys), now).await
    }

    /// The client's keys.
    ///
    /// # Errors
    /// As [`Self::to_encrypt`].
    async fn of(&self, client: &Client, now: Timestamp) -> Result<Arc<JwkSet>, Reason> {
        self.look(client, None, now).await
    }

    /// Verifies what the client signed, by its keys as they are now.
    ///
    /// # Errors
    /// `ClientKeysUnavailable`, `Overloaded`, or `ClientSignatureWrong`.
    pub async fn verify(&self, client: &Client, jwt: &ClientJwt<'_>, now: Timestamp) -> Result<(), Reason> {
        let keys = self.of(client, now).await?;
        let Err(first) = jwt.verify(&keys) else { return Ok(()) };
        let wrong = |because: NotVerified| {
            let detail = match because {
                NotVerified::NoKey => "none of the client's keys is for this kid and algorithm",
                NotVerified::Wrong => "the client's key did not sign this",
            };
            Err(Reason::ClientSignatureWrong {
                client_id: client.client_id.clone(),
                key: format!("alg {}, {}", jwt.alg(), jwt.kid().map_or_else(|| "no kid".to_owned(), |kid| format!("kid {kid}"))),
                detail: detail.to_owned(),
            })
        };
        if client.metadata.jwks_uri.is_none() {
            return wrong(first);
        }
        // Whose key is new has changed the document before it signed.
        let anew = self.look(client, Some(&keys), now).await?;
        if Arc::ptr_eq(&anew, &keys) {
            return wrong(first);
        }
        jwt.verify(&anew).or_else(wrong)
    }

    /// The client's keys; other ones than `unfit`, if there are by now.
    async fn look(&self, client: &Client, unfit: Option<&Arc<JwkSet>>, now: Timestamp) -> Result<Arc<JwkSet>, Reason> {
        let unavailable = |why: NoKeys| why.of(client);
        if let Some(keys) = &client.metadata.jwks {
            return Ok(Arc::new(keys.clone()));
        }
        let Some(url) = &client.metadata.jwks_uri else {
            return Err(unavailable(NoKeys::Unavailable("it has registered neither jwks nor jwks_uri".to_owned())));
        };
        let digest = Digest::of(url.as_bytes()).as_bytes().to_vec();
        let place = self.places.get_with(digest.clone(), async { Arc::default() }).await;
        let before = match place.known().answer(url, unfit, now) {
            Ok(answer) => return answer.map_err(unavailable),
            Err(ended) => ended,
        };
        let somebody_fetches = place.fetching.try_lock().is_err();
        if somebody_fetches
            && unfit.is_none()
            && let Some(set) = place.known().not_stale(now)
        {
            return Ok(set);
        }
        let waits = Arc::clone(&place.waiting).try_acquire_owned().ok().zip(Arc::clone(&self.waiting).try_acquire_owned().ok());
        let Some(waits) = waits else {
            if let Ok(_lingers) = self.lingering.try_acquire() {
                drop(tokio::time::timeout(MOMENT, place.fetching.lock()).await);
            }
            let known = place.known();
            return known.answer(url, unfit, now).unwrap_or_else(|_| known.instead(unfit, now)).map_err(unavailable);
        };
        let (outbound, places, url, unfit) = (Arc::clone(&self.outbound), self.places.clone(), url.clone(), unfit.cloned());
        // In a task of its own: who hangs up does not undo what was begun, nor the memory of it.
        let looked = tokio::spawn(async move {
            let _waits = waits;
            let _fetching = place.fetching.lock().await;
            let after = match place.known().answer(&url, unfit.as_ref(), now) {
                Ok(answer) => return answer,
                Err(ended) => ended,
            };
            // Whoever was before us found no place at the fetcher. It would take as long again to learn the same.
            if after == before && place.fetch(&outbound, &url, now).await {
                // Anew into the cache, which weighs what comes in.
                places.insert(digest, Arc::clone(&place)).await;
            }
            let known = place.known();
            known.answer(&url, unfit.as_ref(), now).unwrap_or_else(|_| known.instead(unfit.as_ref(), now))
        });
        let looked = looked.await;
        looked.map_err(|error| Reason::Internal { detail: format!("fetching a client's keys: {error}") })?.map_err(unavailable)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            waiting: Arc::new(Semaphore::new(WAITING_FOR_ONE)),
            weight: AtomicU32::new(ENTRY),
        }
    }
}

impl Place {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the host, and notes what came of it. Has the set another weight now?
    async fn fetch(&self, outbound: &Outbound, url: &str, now: Timestamp) -> bool {
        let fetched = match outbound.json(url, LONGEST).await {
            Ok(body) => JwkSet::parse(&body).map(|set| (set, body.len())).map_err(|why| format!("the document {why}")),
            Err(OutboundError::Failed(why)) => Err(why),
            Err(OutboundError::Busy) => {
                counted("busy");
                self.known().ended += 1;
                return false;
            }
        };
        counted(if fetched.is_ok() { "fetched" } else { "failed" });
        let mut known = self.known();
        known.ended += 1;
        match fetched {
            Ok((set, length)) => {
                known.tried = Some((now, None));
                // The same document is the same set, so that nobody verifies by it twice.
                let same = known.set.take().filter(|(_, before)| **before == set);
                let set = same.map_or_else(|| Arc::new(set), |(_, before)| before);
                known.set = Some((now, set));
                let weight = u32::try_from(length * UNFOLDED).unwrap_or(u32::MAX).saturating_add(ENTRY);
                self.weight.swap(weight, Ordering::Relaxed) != weight
            }
            Err(why) => {
                tracing::warn!(url = without_query(url), why, "the keys of a client cannot be fetched");
                known.tried = Some((now, Some(why)));
                false
            }
        }
    }
}

impl Known {
    /// What is to be said without asking the host; if nothing, how many fetches have ended until now.
    fn answer(&self, url: &str, unfit: Option<&Arc<JwkSet>>, now: Timestamp) -> Result<Result<Arc<JwkSet>, NoKeys>, u64> {
        if let Some((fetched_at, set)) = &self.set {
            let fits = unfit.is_none_or(|unfit| !Arc::ptr_eq(unfit, set));
            if fits && now.since(*fetched_at) < FRESH {
                return Ok(Ok(Arc::clone(set)));
            }
        }
        match &self.tried {
            Some((tried_at, why)) if now.since(*tried_at) < COOL_DOWN => Ok(self.not_stale(now).ok_or_else(|| {
                let why = why.as_deref().unwrap_or("it was fetched a moment ago");
                NoKeys::Unavailable(format!("{}: {why}", without_query(url)))
            })),
            Some(_) | None => Err(self.ended),
        }
    }

    /// The set, if it may still be used.
    fn not_stale(&self, now: Timestamp) -> Option<Arc<JwkSet>> {
        self.set.as_ref().filter(|(fetched_at, _)| now.since(*fetched_at) < STALE).map(|(_, set)| Arc::clone(set))
    }

    /// What does for somebody whose turn does not come. Who needs another set than before has nothing from that one.
    fn instead(&self, unfit: Option<&Arc<JwkSet>>, now: Timestamp) -> Result<Arc<JwkSet>, NoKeys> {
        let set = self.not_stale(now).filter(|set| unfit.is_none_or(|unfit| !Arc::ptr_eq(unfit, set)));
        set.ok_or(NoKeys::Busy)
    }
}

fn counted(outcome: &'static str) {
    metrics::counter!("chancery_jwks_fetches_total", "outcome" => outcome).increment(1);
}

/// A URL as it may be logged: its query may hold what is for the host alone.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
