//! Who has a connection and does nothing with it makes room for a newcomer when all places are taken (security.md R-75): a server with a
//! thousand places must not be shut for as long as somebody keeps a thousand silent connections open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::timed_io::Activity;

/// So many are asked to leave at once: a crowd of newcomers does not look for each of them anew.
const AT_ONCE: usize = 16;
/// How often somebody looks for them at most: all connections are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Whoever has asked for nothing for so long, as far as anybody has looked. Shorter are the pauses of those who are busy.
const IDLE: Duration = Duration::from_secs(1);

/// The connections that are served. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Room(Arc<Mutex<Guests>>);

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    present: BTreeMap<u64, Guest>,
    looked: Option<Instant>,
    /// Somebody was asked to leave then.
    found: bool,
}

#[derive(Debug)]
struct Guest {
    activity: Activity,
    /// What it was at when somebody last looked, and since when that was known.
    seen: u64,
    since: Instant,
    leave: Arc<Notify>,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Place {
    room: Room,
    number: u64,
    activity: Activity,
    leave: Arc<Notify>,
}

impl Room {
    /// A place for a connection.
    pub(super) fn enter(&self, activity: Activity) -> Place {
        let leave = Arc::new(Notify::new());
        let guest = Guest { activity: activity.clone(), seen: activity.stamp(), since: Instant::now(), leave: Arc::clone(&leave) };
        let mut guests = self.guests();
        let number = guests.next;
        guests.next += 1;
        guests.present.insert(number, guest);
        Place { room: self.clone(), number, activity, leave }
    }

    /// Asks some who have done nothing for long to leave, those first who have done so for longest. `false`: there are none.
    pub(super) fn make(&self) -> bool {
        let mut guests = self.guests();
        let now = Instant::now();
        if guests.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY) {
            return guests.found;
        }
        let mut idle = Vec::new();
        for guest in guests.present.values_mut() {
            let stamp = guest.activity.stamp();
            if std::mem::replace(&mut guest.seen, stamp) != stamp {
                guest.since = now;
            } else if guest.activity.does_nothing() && now.duration_since(guest.since) >= IDLE {
                idle.push((guest.since, Arc::clone(&guest.leave)));
            }
        }
        idle.sort_unstable_by_key(|(since, _)| *since);
        idle.iter().take(AT_ONCE).for_each(|(_, leave)| leave.notify_one());
        guests.looked = Some(now);
        guests.found = !idle.is_empty();
        guests.found
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns when this connection is to close for somebody else: it was asked to, and does nothing.
    pub(super) async fn is_wanted(&self) {
        loop {
            self.leave.notified().await;
            if self.activity.does_nothing() {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.guests().present.remove(&self.number);
    }
}
