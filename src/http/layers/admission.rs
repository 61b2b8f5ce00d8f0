//! How many requests are worked on at once, and for how long others wait for their turn (security.md R-79).
//!
//! What waits too long is answered with 503 and Retry-After, so that under any load an answer comes in a time that is known beforehand,
//! and what is begun gets the processors it needs to be finished. Nobody takes a place while they are still sending: slow senders would
//! keep everybody else out. Health, keys, metadata and files are answered from memory and need no place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
    /// `places` requests at once, `most_waiting` more for at most `patience`; `free` routes need no place.
    pub fn new(places: usize, most_waiting: usize, patience: Duration, turns: Arc<Turns>, free: Vec<String>) -> Self {
        let places = Semaphore::new(places.min(Semaphore::MAX_PERMITS));
        Self { places, turns, runtime: OnceLock::new(), waiting: AtomicUsize::new(0), most_waiting, patience, free }
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
}

/// One of those who wait; leaves the queue when dropped, also when its caller hangs up.
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
