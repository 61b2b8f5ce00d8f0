//! Who has a connection and does nothing with it makes room for a newcomer when all places are taken (security.md R-75): a server with a
//! thousand places must not be shut for as long as somebody keeps a thousand silent connections open, or a thousand requests half said.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::timed_io::Activity;

/// How often somebody looks for them at most: all connections are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Whoever has asked for nothing for so long, as far as anybody has looked. Shorter are the pauses of those who are busy.
const IDLE: Duration = Duration::from_secs(1);
/// Whoever has said half a request for so long, however the rest trickles in. Even where a part of it was lost twice on the way it is whole by then.
const HALF_SAID: Duration = Duration::from_secs(4);

/// The connections that are served. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Room(Arc<Mutex<Guests>>);

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    present: BTreeMap<u64, Guest>,
    looked: Option<Instant>,
    /// Who could leave then and was not asked to since; whoever is to be asked first is last.
    idle: Vec<Arc<Leave>>,
}

#[derive(Debug)]
struct Guest {
    activity: Activity,
    /// What it was at when somebody last looked, and since when that was known.
    seen: u64,
    since: Instant,
    leave: Arc<Leave>,
}

/// In which order they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Idle,
    /// Their answer has not left: it would be cut off.
    Stuck,
    /// They may yet say the rest, and would hear no answer.
    HalfSaid,
}

/// What somebody is asked to leave with.
#[derive(Debug, Default)]
struct Leave {
    asked: Notify,
    /// If nothing has happened since they were at this.
    seen: AtomicU64,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Place {
    room: Room,
    number: u64,
    activity: Activity,
    leave: Arc<Leave>,
}

impl Room {
    /// A place for a connection.
    pub(super) fn enter(&self, activity: Activity) -> Place {
        let leave = Arc::<Leave>::default();
        let guest = Guest { activity: activity.clone(), seen: activity.stamp(), since: Instant::now(), leave: Arc::clone(&leave) };
        let mut guests = self.guests();
        let number = guests.next;
        guests.next += 1;
        guests.present.insert(number, guest);
        Place { room: self.clone(), number, activity, leave }
    }

    /// Asks somebody who has done nothing for long to leave, or has not come to the end of a request. `false`: there is nobody.
    pub(super) fn make(&self) -> bool {
        let mut guests = self.guests();
        let now = Instant::now();
        if guests.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_EVERY) {
            guests.look(now);
        }
        let Some(leave) = guests.idle.pop() else { return false };
        leave.asked.notify_one();
        true
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    /// Within each turn first those who have been at it for longest.
    fn look(&mut self, now: Instant) {
        let mut idle = Vec::new();
        for guest in self.present.values_mut() {
            let stamp = guest.activity.stamp();
            if std::mem::replace(&mut guest.seen, stamp) != stamp {
                guest.since = now;
            } else if let Some((turn, patience)) = turn(&guest.activity)
                && now.duration_since(guest.since) >= patience
            {
                guest.leave.seen.store(stamp, Ordering::Release);
                idle.push((turn, guest.since, Arc::clone(&guest.leave)));
            }
        }
        idle.sort_unstable_by_key(|(turn, since, _)| Reverse((*turn, *since)));
        self.idle = idle.into_iter().map(|(_, _, leave)| leave).collect();
        self.looked = Some(now);
    }
}

/// When somebody's turn is, and after how long. Whoever is being answered has none.
fn turn(activity: &Activity) -> Option<(Turn, Duration)> {
    if activity.is_half_said() {
        return Some((Turn::HalfSaid, HALF_SAID));
    }
    let turn = if activity.is_stuck() { Turn::Stuck } else { Turn::Idle };
    activity.does_nothing().then_some((turn, IDLE))
}

impl Place {
    /// Returns when this connection is to close for somebody else: it was asked to, and is still at what it was seen at.
    pub(super) async fn is_wanted(&self) {
        loop {
            self.leave.asked.notified().await;
            // What the system has is looked at first.
            tokio::task::yield_now().await;
            if self.activity.stamp() == self.leave.seen.load(Ordering::Acquire) {
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
