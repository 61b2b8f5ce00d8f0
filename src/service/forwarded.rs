//! Forwarded headers from peers that are not trusted: the sign of a proxy that `[proxies] trusted` does not name. The headers are not
//! believed (security.md R-81); that they came is noted for `chancery doctor`, once a minute at most.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::service::address::is_public;
use crate::storage::{Db, StoreError, forwarded as store};

/// How often each kind is written at most.
const AGAIN: Duration = Duration::from_secs(60);

/// A peer that forwarded somebody else's request, or says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub peer: IpAddr,
    pub at: Timestamp,
}

/// The last such peer of each kind, so that strangers from outside, who may write any header, do not hide a proxy inside.
#[derive(Debug, Default)]
pub struct Forwarded {
    inside: Mutex<Kind>,
    outside: Mutex<Kind>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Kind {
    seen: Option<Seen>,
    written: Option<Timestamp>,
}

impl Forwarded {
    /// A request with forwarded headers came from a peer that is not trusted.
    pub fn note(&self, peer: IpAddr, now: Timestamp) {
        let kind = if is_public(peer) { &self.outside } else { &self.inside };
        lock(kind).seen = Some(Seen { peer, at: now });
    }

    /// Writes down what was seen since the last time.
    ///
    /// # Errors
    /// The database is away; the next round goes on.
    pub async fn write(&self, db: &Db) -> Result<(), StoreError> {
        for (name, kind) in [("inside", &self.inside), ("outside", &self.outside)] {
            let Kind { seen: Some(seen), written } = *lock(kind) else { continue };
            if written.is_some_and(|written| seen.at < written.plus(AGAIN)) {
                continue;
            }
            store::note(db, name, &serde_json::to_vec(&seen).unwrap_or_default()).await?;
            lock(kind).written = Some(seen.at);
        }
        Ok(())
    }
}

/// What any replica has noted.
///
/// # Errors
/// The database is away.
pub async fn seen(db: &Db) -> Result<Vec<Seen>, StoreError> {
    Ok(store::noted(db).await?.iter().filter_map(|noted| serde_json::from_slice(noted).ok()).collect())
}

fn lock(kind: &Mutex<Kind>) -> MutexGuard<'_, Kind> {
    kind.lock().unwrap_or_else(PoisonError::into_inner)
}
