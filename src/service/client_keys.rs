//! The public keys of clients: by value as they are registered, or from their `jwks_uri`, fetched once for all who ask and remembered for a
//! while (security.md R-59, openid.md 63).
//!
//! A token under a `kid` that the remembered set does not have may be the first one under a new key: the set is fetched anew, at most once in
//! [`COOL_DOWN`]. A fetch that failed is not repeated within the same time, and meanwhile the set of before is used, up to [`STALE`].

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Mutex;

use crate::clock::Timestamp;
use crate::jose::{ClientJwt, JwkSet, NotVerified};
use crate::oauth::client::Client;
use crate::oauth::refusal::Reason;
use crate::secret::Digest;
use crate::service::outbound::Outbound;

/// For how long a fetched set is used without another look.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// For how long it is used while its server is away. A key that was taken out of it is believed no longer than this.
const STALE: Duration = Duration::from_secs(60 * 60);
/// Between two fetches of one URL.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// The longest document that is read, in bytes.
const LONGEST: usize = 64 * 1024;
/// Sets that are remembered; the least used go first.
const CAPACITY: u64 = 10_000;

/// The keys of all clients that have some elsewhere.
pub struct ClientKeys {
    outbound: Arc<Outbound>,
    /// By digest of the URL.
    places: Cache<Vec<u8>, Arc<Place>>,
}

/// What is known of one URL. Who holds the lock fetches; all others wait for what comes.
#[derive(Default)]
struct Place(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The set, and when it was fetched.
    set: Option<(Timestamp, Arc<JwkSet>)>,
    /// When a fetch was begun last, and why it came to nothing if it did.
    tried: Option<(Timestamp, Option<String>)>,
}

impl ClientKeys {
    /// Knows nothing yet.
    pub fn new(outbound: Arc<Outbound>) -> Self {
        Self { outbound, places: Cache::builder().max_capacity(CAPACITY).time_to_idle(STALE).build() }
    }

    /// The client's keys, by now with one to encrypt to by `alg` (RFC 7518 §4.1) if there is any.
    ///
    /// # Errors
    /// `ClientKeysUnavailable`: it has none, or they cannot be fetched.
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
    /// `ClientKeysUnavailable`: it has none, or they cannot be fetched.
    async fn of(&self, client: &Client, now: Timestamp) -> Result<Arc<JwkSet>, Reason> {
        self.look(client, None, now).await
    }

    /// Verifies what the client signed, by its keys as they are now.
    ///
    /// # Errors
    /// `ClientKeysUnavailable`, or `ClientSignatureWrong`.
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
        let unavailable = |detail: String| Reason::ClientKeysUnavailable { client_id: client.client_id.clone(), detail };
        if let Some(keys) = &client.metadata.jwks {
            return Ok(Arc::new(keys.clone()));
        }
        let Some(url) = &client.metadata.jwks_uri else {
            return Err(unavailable("it has registered neither jwks nor jwks_uri".to_owned()));
        };
        let place = self.places.get_with(Digest::of(url.as_bytes()).as_bytes().to_vec(), async { Arc::default() }).await;
        let (outbound, url, unfit) = (Arc::clone(&self.outbound), url.clone(), unfit.cloned());
        // In a task of its own: who hangs up does not undo what was begun, nor the memory of it.
        let looked = tokio::spawn(async move { place.look(&outbound, &url, unfit.as_ref(), now).await }).await;
        looked.map_err(|error| Reason::Internal { detail: format!("fetching a client's keys: {error}") })?.map_err(unavailable)
    }
}

impl Place {
    async fn look(
        &self,
        outbound: &Outbound,
        url: &str,
        unfit: Option<&Arc<JwkSet>>,
        now: Timestamp,
    ) -> Result<Arc<JwkSet>, String> {
        let mut known = self.0.lock().await;
        if let Some((fetched_at, set)) = &known.set {
            let fits = unfit.is_none_or(|unfit| !Arc::ptr_eq(unfit, set));
            if fits && now.since(*fetched_at) < FRESH {
                return Ok(Arc::clone(set));
            }
        }
        let rests = known.tried.as_ref().is_some_and(|(tried_at, _)| now.since(*tried_at) < COOL_DOWN);
        if !rests {
            let fetched = match outbound.json(url, LONGEST).await {
                Ok(body) => JwkSet::parse(&body).map_err(|why| format!("the document {why}")),
                Err(error) => Err(error.to_string()),
            };
            metrics::counter!("chancery_jwks_fetches_total", "outcome" => if fetched.is_ok() { "fetched" } else { "failed" })
                .increment(1);
            match fetched {
                Ok(set) => {
                    known.tried = Some((now, None));
                    // The same document is the same set, so that nobody verifies by it twice.
                    let same = known.set.take().filter(|(_, before)| **before == set);
                    let set = same.map_or_else(|| Arc::new(set), |(_, before)| before);
                    known.set = Some((now, Arc::clone(&set)));
                    return Ok(set);
                }
                Err(why) => {
                    tracing::warn!(url, why, "the keys of a client cannot be fetched");
                    known.tried = Some((now, Some(why)));
                }
            }
        }
        match &known.set {
            Some((fetched_at, set)) if now.since(*fetched_at) < STALE => Ok(Arc::clone(set)),
            Some(_) | None => Err(match &known.tried {
                Some((_, Some(why))) => format!("{url}: {why}"),
                Some((_, None)) | None => format!("{url}: it was fetched a moment ago"),
            }),
        }
    }
}
