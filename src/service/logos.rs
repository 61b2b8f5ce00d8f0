//! The logos of clients (`logo_uri`), fetched by this server and shown from its own address (security.md R-53): a browser that asks the
//! client's host for a picture would tell it that somebody stands before the consent page, and from where, before they agreed to anything.
//!
//! What was fetched is kept in memory for a while, and so is that nothing could be fetched. Only bitmaps of a sensible size pass, told by
//! their bytes: a picture that can hold a script is none here.

pub(crate) mod picture;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;
use tokio::sync::Semaphore;

use crate::service::outbound::{Outbound, OutboundError};

pub use picture::media_type;

/// Bytes of a logo.
const MOST_BYTES: usize = 64 * 1024;
/// How long a logo, or that there is none, is remembered.
const KEPT: Duration = Duration::from_secs(3600);
/// Bytes of all logos in memory.
const CAPACITY: u64 = 4 * 1024 * 1024;
/// What one entry costs beside its bytes.
const ENTRY: u32 = 512;
/// Logos fetched at once: few, so that keys of clients always find a place.
const PLACES: usize = 4;
/// Requests that wait for one: a host that never answers must not hold up all that this server works on.
const WAITING: usize = 32;

/// A picture that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logo {
    pub media_type: &'static str,
    pub bytes: Bytes,
}

/// The logos that were asked for lately.
pub struct Logos {
    kept: Cache<String, Option<Arc<Logo>>>,
    places: Semaphore,
    waiting: Semaphore,
}

impl Default for Logos {
    fn default() -> Self {
        let weigh = |url: &String, logo: &Option<Arc<Logo>>| {
            let bytes = url.len() + logo.as_ref().map_or(0, |logo| logo.bytes.len());
            u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(ENTRY)
        };
        let kept = Cache::builder().max_capacity(CAPACITY).weigher(weigh).time_to_live(KEPT).build();
        Self { kept, places: Semaphore::new(PLACES), waiting: Semaphore::new(WAITING) }
    }
}

impl Logos {
    /// The logo at `url`; `None` if there is none that may be shown, or too many are being fetched. Many who ask at once share one request.
    pub async fn of(&self, outbound: &Outbound, url: &str) -> Option<Arc<Logo>> {
        if let Some(known) = self.kept.get(url).await {
            return known;
        }
        let _waits = self.waiting.try_acquire().ok()?;
        let fetched = self.kept.try_get_with_by_ref(url, async {
            let _place = self.places.try_acquire().map_err(|_| "busy")?;
            let bytes = match outbound.image(url, MOST_BYTES).await {
                Ok(bytes) => bytes,
                Err(OutboundError::Busy) => return Err("busy"),
                Err(error @ OutboundError::Failed(_)) => {
                    tracing::info!(%error, "the logo of a client cannot be fetched");
                    return Ok::<_, &'static str>(None);
                }
            };
            Ok(media_type(&bytes).map(|media_type| Arc::new(Logo { media_type, bytes })))
        });
        fetched.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{Allowed, Outbound as Rules};

    const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x20\x08\x06\0\0\0";

    /// A host that answers everybody with these bytes and counts who came.
    async fn host(body: &'static [u8]) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/logo", listener.local_addr().unwrap());
        let visits = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&visits);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n", body.len());
                drop(stream.read(&mut [0; 4096]).await);
                drop(stream.write_all(&[head.as_bytes(), body].concat()).await);
            }
        });
        (url, visits)
    }

    fn outbound() -> Outbound {
        let allow = vec![Allowed::Network("127.0.0.0/8".parse().unwrap())];
        Outbound::new(&Rules { allow, extra_ca_file: None }).unwrap()
    }

    #[tokio::test]
    async fn a_logo_is_fetched_once_however_many_ask_and_so_is_what_is_none() {
        for (body, shown) in [(PICTURE, true), (b"<svg/>", false)] {
            let (url, visits) = host(body).await;
            let (logos, outbound) = (Logos::default(), outbound());
            let all = futures_util::future::join_all((0..20).map(|_| logos.of(&outbound, &url))).await;
            assert!(all.iter().all(|logo| logo.is_some() == shown));
            assert_eq!(visits.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test]
    async fn a_host_that_never_answers_holds_few_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/logo", listener.local_addr().unwrap());
        let (logos, outbound) = (Arc::new(Logos::default()), Arc::new(outbound()));
        let ask = || {
            let (logos, outbound, url) = (Arc::clone(&logos), Arc::clone(&outbound), url.clone());
            tokio::spawn(async move { logos.of(&outbound, &url).await })
        };
        let held: Vec<_> = (0..WAITING).map(|_| ask()).collect();
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The quickest of several: a busy machine adds what it likes to one.
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let begun = std::time::Instant::now();
            assert_eq!(ask().await.unwrap(), None);
            quickest = quickest.min(begun.elapsed());
        }
        assert!(quickest < Duration::from_millis(500), "{quickest:?}");
        held.into_iter().for_each(|task| task.abort());
    }

    #[tokio::test]
    async fn what_is_not_public_is_not_fetched() {
        let (url, visits) = host(PICTURE).await;
        let outbound = Outbound::new(&Rules { allow: Vec::new(), extra_ca_file: None }).unwrap();
        assert_eq!(Logos::default().of(&outbound, &url).await, None);
        assert_eq!(visits.load(Ordering::SeqCst), 0);
    }
}
