//! Places at the fetcher: so many requests at once, and few of them at one host, so that one that hangs holds up its own clients alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Requests at one host.
const MOST_AT_HOST: usize = 4;
/// For how long somebody waits for a place.
pub(super) const WAITING: Duration = Duration::from_secs(1);

pub(super) struct Places {
    all: Semaphore,
    /// Of those hosts alone at which somebody is, or waits to be.
    hosts: Mutex<HashMap<String, Host>>,
}

struct Host {
    visitors: usize,
    seats: Arc<Semaphore>,
}

/// One of them, given back when it is dropped.
pub(super) struct Place<'a> {
    _seat: OwnedSemaphorePermit,
    _permit: SemaphorePermit<'a>,
    _visit: Visit<'a>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { all: Semaphore::new(most), hosts: Mutex::default() }
    }

    /// `None`: there was none.
    pub(super) async fn take(&self, host: &str) -> Option<Place<'_>> {
        let (visit, seats) = self.visit(host);
        let placed = async {
            // At the host first: who waits for one that hangs takes nothing from the others.
            let seat = seats.acquire_owned().await.ok()?;
            Some((seat, self.all.acquire().await.ok()?))
        };
        let (seat, permit) = tokio::time::timeout(WAITING, placed).await.ok().flatten()?;
        Some(Place { _seat: seat, _permit: permit, _visit: visit })
    }

    fn visit(&self, host: &str) -> (Visit<'_>, Arc<Semaphore>) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let at =
            hosts.entry(host.to_owned()).or_insert_with(|| Host { visitors: 0, seats: Arc::new(Semaphore::new(MOST_AT_HOST)) });
        at.visitors += 1;
        (Visit { places: self, host: host.to_owned() }, Arc::clone(&at.seats))
    }

    /// How many are free, and how many hosts are remembered.
    #[cfg(test)]
    pub(super) fn state(&self) -> (usize, usize) {
        (self.all.available_permits(), self.hosts.lock().unwrap().len())
    }
}

/// Somebody is at a host, or waits to be.
struct Visit<'a> {
    places: &'a Places,
    host: String,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut hosts = self.places.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get_mut(&self.host) {
            host.visitors -= 1;
            if host.visitors == 0 {
                hosts.remove(&self.host);
            }
        }
    }
}
