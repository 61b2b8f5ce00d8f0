//! Delivering logout tokens. Whoever signs out waits for nobody: what is owed is in the database, and every server takes of it what it can.
//! A client whose server hangs or is away holds up itself alone: so many attempts for each host at once, one only where they fail.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::http::server::Shutdown;
use crate::service::backchannel::{self, LEASE, Outcome};
use crate::storage::StoreError;
use crate::storage::logouts;

/// How long to wait after a failure of the database.
pub const PAUSE: Duration = Duration::from_secs(5);
/// How often to look for what other servers and commands have left; what this server ends it is told of at once.
const LOOK: Duration = Duration::from_secs(1);
/// Attempts at once: in all, for one host, and for one that has failed so often in a row.
const MOST: usize = 24;
const MOST_FOR_HOST: usize = 4;
/// Attempts at hosts that have failed since they answered last: the rest is for those that are well.
const MOST_FOR_FAILING: usize = 16;
const FAILURES: u32 = 3;

/// Delivers until the shutdown begins; then it waits for what is under way.
///
/// # Errors
/// The database is away.
pub async fn deliver(app: Arc<App>, shutdown: Shutdown) -> Result<(), StoreError> {
    let mut desk = Desk::default();
    let mut rhythm = tokio::time::interval(LOOK);
    rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let result = loop {
        tokio::select! {
            biased;
            () = shutdown.begun() => break Ok(()),
            Some(_ended) = desk.under_way.join_next() => {}
            () = app.sign_outs.notified() => {}
            _ = rhythm.tick() => {}
        }
        if let Err(error) = desk.hand_out(&app).await {
            break Err(error);
        }
    };
    while desk.under_way.join_next().await.is_some() {}
    result
}

/// What is under way.
#[derive(Default)]
struct Desk {
    under_way: JoinSet<()>,
    hosts: Hosts,
    /// The client that was served last: the next one comes first.
    last: String,
}

impl Desk {
    /// Begins as many attempts as there is room for.
    async fn hand_out(&mut self, app: &Arc<App>) -> Result<(), StoreError> {
        if self.under_way.len() >= MOST {
            return Ok(());
        }
        let mut waiting = logouts::waiting(&app.db).await?;
        let served = waiting.partition_point(|(client_id, _)| *client_id <= self.last);
        waiting.rotate_left(served);
        let mut owed = Some(HashSet::new());
        for (client_id, due_at) in waiting {
            // Without a registry nothing can be signed for anybody; without a client nobody is asked.
            let Ok(client) = app.registry.client(&client_id).await else {
                owed = None;
                continue;
            };
            let host = client.as_deref().and_then(backchannel::host).unwrap_or_default();
            if let Some(owed) = &mut owed {
                owed.insert(host.clone());
            }
            let now = app.clock.now();
            if due_at > now {
                continue;
            }
            let room = self.hosts.room(&host).min(MOST.saturating_sub(self.under_way.len()));
            if room == 0 {
                continue;
            }
            for delivery in logouts::claim(&app.db, &client_id, (now, now.plus(LEASE)), room).await? {
                let (app, mut place) = (Arc::clone(app), self.hosts.take(&host));
                self.under_way.spawn(async move {
                    match backchannel::attempt(&app, &delivery).await {
                        Ok(outcome) => place.note(&outcome),
                        Err(error) => tracing::warn!(%error, "the outcome of a logout delivery could not be written down"),
                    }
                });
            }
            self.last = client_id;
        }
        if let Some(owed) = owed {
            self.hosts.keep(&owed);
        }
        Ok(())
    }
}

/// How the servers of clients are doing. Only those are remembered at which something is under way, or that failed and are owed more.
#[derive(Default, Clone)]
struct Hosts(Arc<Mutex<HashMap<String, Host>>>);

#[derive(Debug, Default, Clone, Copy)]
struct Host {
    under_way: usize,
    failures: u32,
}

impl Hosts {
    fn room(&self, host: &str) -> usize {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Host { under_way, failures } = hosts.get(host).copied().unwrap_or_default();
        let most = if failures < FAILURES { MOST_FOR_HOST } else { 1 };
        let room = most.saturating_sub(under_way);
        if failures == 0 {
            return room;
        }
        let failing: usize = hosts.values().filter(|host| host.failures > 0).map(|host| host.under_way).sum();
        room.min(MOST_FOR_FAILING.saturating_sub(failing))
    }

    /// Forgets the hosts that are owed nothing any more.
    fn keep(&self, owed: &HashSet<String>) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|name, host| host.under_way > 0 || owed.contains(name));
    }

    fn take(&self, host: &str) -> Place {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(host.to_owned()).or_default().under_way += 1;
        Place { hosts: self.clone(), host: host.to_owned(), answered: false }
    }
}

/// One attempt's place at a host, given back when it ends, however it does.
struct Place {
    hosts: Hosts,
    host: String,
    answered: bool,
}

impl Place {
    fn note(&mut self, outcome: &Outcome) {
        self.answered = outcome.answered();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = self.hosts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get_mut(&self.host) {
            host.under_way = host.under_way.saturating_sub(1);
            host.failures = if self.answered { 0 } else { host.failures.saturating_add(1) };
            if host.under_way == 0 && host.failures == 0 {
                hosts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_fails_gets_one_attempt_at_once_until_it_answers() {
        let hosts = Hosts::default();
        let places: Vec<Place> = (0..MOST_FOR_HOST).map(|_| hosts.take("a.test")).collect();
        assert_eq!((hosts.room("a.test"), hosts.room("b.test")), (0, MOST_FOR_HOST));
        drop(places);
        assert_eq!(hosts.room("a.test"), 1);
        let mut well = hosts.take("a.test");
        assert_eq!(hosts.room("a.test"), 0);
        well.note(&Outcome::Refused);
        drop(well);
        assert_eq!(hosts.room("a.test"), MOST_FOR_HOST);
        assert!(hosts.0.lock().unwrap().is_empty(), "nothing is kept of a host that is well");
    }
    #[test]
    fn hosts_that_hang_leave_room_for_those_that_are_well() {
        let hosts = Hosts::default();
        for number in 0..40 {
            drop(hosts.take(&format!("bad{number}.test")));
        }
        let mut places = Vec::new();
        for number in 0..40 {
            let host = format!("bad{number}.test");
            places.extend((0..hosts.room(&host)).map(|_| hosts.take(&host)));
        }
        assert_eq!(places.len(), 16);
        assert_eq!(hosts.room("good.test"), MOST_FOR_HOST);
    }

    #[test]
    fn a_host_is_forgotten_with_its_last_delivery() {
        let hosts = Hosts::default();
        drop(hosts.take("gone.test"));
        drop(hosts.take("bad.test"));
        let place = hosts.take("busy.test");
        hosts.keep(&["bad.test".to_owned()].into());
        drop(place);
        let mut known: Vec<String> = hosts.0.lock().unwrap().keys().cloned().collect();
        known.sort();
        assert_eq!(known, ["bad.test", "busy.test"]);
    }
}
