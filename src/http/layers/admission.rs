//! How many requests are worked on at once, and for how long others wait for their turn (security.md R-79).
//!
//! What waits too long is answered with 503 and Retry-After, so that under any load an answer comes in a time that is known beforehand,
//! and what is begun gets the processors it needs to be finished. Nobody takes a place while they are still sending: slow senders would
//! keep everybody else out. Health, keys, metadata and files are answered from memory and need no place.
//!
//! Who finds the queue full hears of it a while later, and never later than those who wait: a crowd of which each comes again as soon as it
//! was sent away would otherwise take the processors from those who were let in, and all time would go into sending people away.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::error::OAuthError;
use crate::oauth::refusal::Reason;
use crate::service::turns::Turns;

/// Seconds after which one may try again.
const RETRY_AFTER: u64 = 1;

/// Tasks that are ready and that no processor has taken yet: with more than this there is a crowd.
const CROWD: usize = 64;

/// The longest that somebody waits to hear that they are sent away, where others wait longer for their turn.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// As many may wait to hear that, or as many as may be connected, if those are more; all others are told at once. (Connections of proxies are
/// not counted.)
const HELD: usize = 4096;

/// Those who came together are told in so many portions, so that they do not come back together.
const PORTIONS: u32 = 64;

/// What most requests take of a processor, signatures with RSA and hashed passwords aside.
const SHORT: Duration = Duration::from_micros(50);

/// The places, and the queue in front of them.
///
/// A place alone does not keep order among requests that never wait for anything: each is over as soon as it is begun. So in a crowd they take
/// turns too.
#[derive(Debug)]
pub struct Admission {
    places: Semaphore,
    turns: Arc<Turns>,
    /// The one that we run in: asked for once, since it is counted by all processors who has it.
    runtime: OnceLock<RuntimeMetrics>,
    waiting: AtomicUsize,
    most_waiting: usize,
    patience: Duration,
    /// Who wait to hear that they are sent away, and how many have heard it.
    held: AtomicUsize,
    most_held: usize,
    told: AtomicU32,
    /// Routes that need no place, as the router writes them.
    free: Vec<String>,
}

/// Why a request was sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentAway {
    /// Too many were waiting already.
    QueueFull,
    /// Its turn did not come in time.
    Waited,
}

impl SentAway {
    /// As a metric's label.
    const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Waited => "waited",
        }
    }

    /// The answer.
    pub fn refuse(self) -> Response {
        metrics::counter!("chancery_requests_shed_total", "because" => self.as_str()).increment(1);
        OAuthError::negotiated(Reason::Overloaded { retry_after: RETRY_AFTER }.into()).into_response()
    }
}

impl Admission {
    /// `places` requests at once, `most_waiting` more for at most `patience`; `free` routes need no place. Of so many `connections` that may be
    /// open each can wait to hear that it is sent away.
    pub fn new(
        places: usize,
        most_waiting: usize,
        connections: usize,
        patience: Duration,
        turns: Arc<Turns>,
        free: Vec<String>,
    ) -> Self {
        let places = Semaphore::new(places.min(Semaphore::MAX_PERMITS));
        Self {
            places,
            turns,
            runtime: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            most_waiting,
            patience,
            held: AtomicUsize::new(0),
            most_held: connections.max(HELD),
            told: AtomicU32::new(0),
            free,
        }
    }

    /// Whether requests to this route need a place. What no route takes is refused at once.
    pub fn concerns(&self, route: Option<&str>) -> bool {
        route.is_some_and(|route| !self.free.iter().any(|free| free == route))
    }

    /// A place, now or in time.
    ///
    /// # Errors
    /// There is none.
    pub async fn enter(&self) -> Result<SemaphorePermit<'_>, SentAway> {
        let crowded = self.runtime.get_or_init(|| Handle::current().metrics()).global_queue_depth() > CROWD;
        let free = self.places.try_acquire().ok();
        if !crowded && let Some(place) = free {
            return Ok(place);
        }
        let waited = async {
            let place = match free {
                Some(place) => place,
                None => {
                    let _waiting = Waiting::join(&self.waiting, self.most_waiting).ok_or(SentAway::QueueFull)?;
                    self.places.acquire().await.map_err(|_| SentAway::Waited)?
                }
            };
            if crowded {
                self.turns.take_for(SHORT).await;
            }
            Ok(place)
        };
        tokio::time::timeout(self.patience, waited).await.unwrap_or(Err(SentAway::Waited))
    }

    /// Returns when somebody who `came` then may hear that there is too much to do: between half of the time and all of the time that others
    /// wait for their turn. Holds nothing but a clock meanwhile.
    pub async fn hold_back(&self, came: Instant) {
        let Some(_held) = Waiting::join(&self.held, self.most_held) else { return };
        let left = self.hold().saturating_sub(came.elapsed());
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
    }

    fn hold(&self) -> Duration {
        let portion = self.told.fetch_add(1, Ordering::Relaxed) % PORTIONS;
        self.patience.min(LONGEST_HOLD) / (2 * PORTIONS) * (PORTIONS + portion)
    }
}

/// One of those who wait; leaves when dropped, also when its caller hangs up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let one = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(one)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the body is here: whole, too large, or broken. Whoever reads it afterwards finds what they would have found.
pub async fn arrived(request: Request, limit: usize) -> Request {
    let announced = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
    if request.body().is_end_stream() || announced > limit {
        return request;
    }
    let (parts, mut body) = request.into_parts();
    let (mut only, mut pieces): (Option<Bytes>, Vec<Result<Bytes, axum::Error>>) = (None, Vec::new());
    let mut length = 0;
    while length <= limit {
        match body.frame().await {
            None => break,
            Some(Ok(frame)) => {
                let Ok(piece) = frame.into_data() else { continue };
                length += piece.len();
                // Nearly always it comes in one piece.
                if length == piece.len() && pieces.is_empty() {
                    only = Some(piece);
                } else {
                    pieces.extend(only.take().map(Ok));
                    pieces.push(Ok(piece));
                }
            }
            Some(Err(broken)) => {
                pieces.extend(only.take().map(Ok));
                pieces.push(Err(broken));
                break;
            }
        }
        if body.is_end_stream() {
            break;
        }
    }
    let body = match only {
        Some(only) => Body::from(only),
        None if pieces.is_empty() => Body::empty(),
        None => Body::from_stream(stream::iter(pieces)),
    };
    Request::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn admission(places: usize, most_waiting: usize) -> Admission {
        Admission::new(
            places,
            most_waiting,
            5000,
            Duration::from_millis(50),
            Arc::new(Turns::of_this_machine()),
            vec!["/jwks".to_owned()],
        )
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_and_then_goes() {
        let admission = admission(1, 1);
        let place = admission.enter().await.unwrap();
        let mut second = std::pin::pin!(admission.enter());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(admission.enter().await.unwrap_err(), SentAway::QueueFull);
        drop(place);
        let place = second.await.unwrap();
        assert_eq!(admission.enter().await.unwrap_err(), SentAway::Waited);
        drop(place);
        assert!(admission.enter().await.is_ok(), "whoever left gave back what they held");
    }

    #[tokio::test]
    async fn who_hangs_up_while_waiting_leaves_the_queue() {
        let admission = admission(1, 1);
        let _place = admission.enter().await.unwrap();
        for _ in 0..3 {
            assert!(admission.enter().now_or_never().is_none());
        }
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn those_who_are_sent_away_together_hear_of_it_one_after_the_other() {
        let admission = admission(1, 1);
        let mut holds: Vec<Duration> = (0..PORTIONS).map(|_| admission.hold()).collect();
        assert!(holds.iter().all(|hold| (25..=50).contains(&hold.as_millis())), "{holds:?}");
        holds.dedup();
        assert_eq!(holds.len(), 64, "{holds:?}");
    }

    #[tokio::test]
    async fn who_is_sent_away_hears_of_it_after_a_while() {
        let admission = admission(1, 1);
        let came = Instant::now();
        assert!(admission.hold_back(came).now_or_never().is_none());
        admission.hold_back(came).await;
        assert!(came.elapsed() >= Duration::from_millis(25));
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(admission.hold_back(came).now_or_never().is_some(), "who has waited for a turn hears at once");
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_held_back() {
        let admission = admission(1, 1);
        admission.held.store(4999, Ordering::Relaxed);
        assert!(admission.hold_back(Instant::now()).now_or_never().is_none());
        assert_eq!(admission.held.load(Ordering::Relaxed), 4999, "who hangs up is not counted");
        admission.held.store(5000, Ordering::Relaxed);
        assert!(admission.hold_back(Instant::now()).now_or_never().is_some());
    }

    #[test]
    fn what_comes_from_memory_needs_no_place() {
        let admission = admission(1, 1);
        assert!(admission.concerns(Some("/token")));
        assert!(!admission.concerns(Some("/jwks")));
        assert!(!admission.concerns(None));
    }

    async fn read(body: Body, limit: usize) -> Result<Bytes, axum::Error> {
        arrived(Request::new(body), limit).await.into_body().collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn a_body_arrives_as_it_was_sent() {
        let pieces = |pieces: Vec<Result<&'static str, std::io::Error>>| Body::from_stream(stream::iter(pieces));
        assert_eq!(read(Body::empty(), 8).await.unwrap(), "");
        assert_eq!(read(Body::from("a=1"), 8).await.unwrap(), "a=1");
        assert_eq!(read(pieces(vec![Ok("a="), Ok("1")]), 8).await.unwrap(), "a=1");
        // More than the limit is for the reader to refuse, who has to see it.
        assert!(read(pieces(vec![Ok("a=123456"), Ok("789"), Ok("more")]), 8).await.unwrap().len() > 8);
        let broken =
            read(pieces(vec![Ok("a="), Err(std::io::Error::other(crate::http::server::BodyTimedOut))]), 8).await.unwrap_err();
        let mut causes = std::iter::successors(Some(&broken as &(dyn std::error::Error + 'static)), |error| error.source());
        assert!(causes.any(|cause| cause.to_string().contains("did not arrive in time")), "{broken:?}");
    }
}
