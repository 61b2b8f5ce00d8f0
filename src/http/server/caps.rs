//! How many connections are served at once, in all and per address (security.md R-75). Configured proxies carry many people's requests
//! and are not counted (design 7).

use std::collections::HashMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::service::address::Prefix;

/// What a connection that is one too many hears. Constant: it is written without reading a byte.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 35\r\n\
Retry-After: 1\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{\"error\":\"temporarily_unavailable\"}";

/// Refused connections that are told so and listened to until they have heard it; beyond that they are told and closed.
const LINGERING: usize = 256;

/// How long a refused connection is given to read its answer.
const LINGER: Duration = Duration::from_millis(250);

/// How long somebody takes to leave who was asked to.
const LEAVING: Duration = Duration::from_millis(100);

/// Connections by whom they come from.
type Counts = Arc<Mutex<HashMap<Prefix, usize>>>;

/// Counts connections. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Caps {
    all: Arc<Semaphore>,
    lingering: Arc<Semaphore>,
    per_address: usize,
    addresses: Counts,
    exempt: Arc<[IpNet]>,
}

/// The right to one connection; gives it back when dropped.
#[derive(Debug)]
pub struct Permit {
    one_of_all: Option<OwnedSemaphorePermit>,
    address: Option<(Prefix, Counts)>,
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// All places are taken.
    TooMany,
    /// This address has taken its share.
    TooManyFromOneAddress,
}

impl Refused {
    /// As a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "total",
            Self::TooManyFromOneAddress => "address",
        }
    }
}

impl Caps {
    /// At most `all` connections at once and `per_address` from one address; `exempt` networks are not counted.
    pub fn new(all: usize, per_address: usize, exempt: Arc<[IpNet]>) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))),
            lingering: Arc::new(Semaphore::new(LINGERING)),
            per_address,
            addresses: Arc::default(),
            exempt,
        }
    }

    /// A place for a connection from `ip`.
    ///
    /// # Errors
    /// There is none.
    pub fn admit(&self, ip: IpAddr) -> Result<Permit, Refused> {
        let ip = ip.to_canonical();
        if self.exempt.iter().any(|network| network.contains(&ip)) {
            return Ok(Permit { one_of_all: None, address: None });
        }
        match Arc::clone(&self.all).try_acquire_owned() {
            Ok(one_of_all) => self.share(ip, one_of_all),
            // Whoever has their share gets none of the places that others leave.
            Err(_) if self.has_its_share(Prefix::of(ip)) => Err(Refused::TooManyFromOneAddress),
            Err(_) => Err(Refused::TooMany),
        }
    }

    /// The same for somebody for whom another is leaving.
    ///
    /// # Errors
    /// Nobody has left in a moment.
    pub async fn wait(&self, ip: IpAddr) -> Result<Permit, Refused> {
        let one_of_all = tokio::time::timeout(LEAVING, Arc::clone(&self.all).acquire_owned()).await;
        let Ok(Ok(one_of_all)) = one_of_all else { return Err(Refused::TooMany) };
        self.share(ip.to_canonical(), one_of_all)
    }

    fn share(&self, ip: IpAddr, one_of_all: OwnedSemaphorePermit) -> Result<Permit, Refused> {
        let prefix = Prefix::of(ip);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(prefix).or_insert(0);
        if *count >= self.per_address {
            return Err(Refused::TooManyFromOneAddress);
        }
        *count += 1;
        metrics::gauge!("chancery_connections").increment(1.0);
        Ok(Permit { one_of_all: Some(one_of_all), address: Some((prefix, Arc::clone(&self.addresses))) })
    }

    fn has_its_share(&self, prefix: Prefix) -> bool {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.get(&prefix).is_some_and(|count| *count >= self.per_address)
    }

    /// A place for telling a refused connection so.
    pub fn linger(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.lingering).try_acquire_owned().ok()
    }
}

impl Permit {
    /// Does it take one of the places?
    pub fn is_counted(&self) -> bool {
        self.one_of_all.is_some()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((prefix, addresses)) = self.address.take() {
            metrics::gauge!("chancery_connections").decrement(1.0);
            let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = addresses.get_mut(&prefix) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    addresses.remove(&prefix);
                }
            }
        }
    }
}

/// Answers 503 and closes. What the peer sends meanwhile is read and thrown away, since closing with unread bytes would reset the
/// connection and take the answer with it.
pub(super) async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(BUSY).await?;
        stream.shutdown().await?;
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await? > 0 {}
        std::io::Result::Ok(())
    };
    drop(tokio::time::timeout(LINGER, told).await);
}

/// Answers 503 and closes at once. Whoever has sent something is reset, and most read what has come before they notice.
pub(super) fn refuse_in_passing(stream: TcpStream) {
    // The runtime has not looked yet whether it can be written to; the kernel knows.
    if let Ok(stream) = stream.into_std() {
        drop((&stream).write(BUSY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_gives_it_back() {
        let caps = Caps::new(10, 2, Arc::from([]));
        let first = caps.admit(ip("192.0.2.1")).unwrap();
        let _second = caps.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(caps.admit(ip("192.0.2.1")).unwrap_err(), Refused::TooManyFromOneAddress);
        assert!(caps.admit(ip("192.0.2.2")).is_ok());
        drop(first);
        assert!(caps.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn one_household_of_ipv6_counts_as_one_address() {
        let caps = Caps::new(10, 1, Arc::from([]));
        let _one = caps.admit(ip("2001:db8::1")).unwrap();
        assert!(caps.admit(ip("2001:db8::2")).is_err());
        assert!(caps.admit(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn a_refusal_for_one_address_takes_no_place_from_the_others() {
        let caps = Caps::new(2, 1, Arc::from([]));
        let _one = caps.admit(ip("192.0.2.1")).unwrap();
        for _ in 0..5 {
            assert!(caps.admit(ip("192.0.2.1")).is_err());
        }
        assert!(caps.admit(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn proxies_are_not_counted() {
        let caps = Caps::new(1, 1, Arc::from(["10.0.0.0/8".parse().unwrap()]));
        let held: Vec<_> = (0..5).map(|_| caps.admit(ip("10.1.2.3")).unwrap()).collect();
        assert_eq!(held.len(), 5);
        let _one = caps.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(caps.admit(ip("192.0.2.2")).unwrap_err(), Refused::TooMany);
    }

    #[test]
    fn the_busy_answer_states_its_own_length() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
