//! A kill that is aimed: it comes with the answer to something, while whoever was answered still believes it. What was acknowledged before
//! it was written is lost then. At an instant of chance that shows too, but only where there is such an answer every few milliseconds.

use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Notify;

/// What a kill can be aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A session was ended on the account page of another.
    Ended,
    /// An application's access was taken back there.
    TakenBack,
    SignedOut,
    /// A device got its tokens.
    Fetched,
}

impl Target {
    pub const ALL: [Self; 4] = [Self::Ended, Self::TakenBack, Self::SignedOut, Self::Fetched];
}

/// Who is killed, and when.
#[derive(Default)]
pub struct Aim {
    target: Option<Target>,
    /// How many such answers until then, and who; nobody once it is over.
    left: Mutex<Option<(usize, Pid)>>,
    hit: Notify,
}

impl Aim {
    /// Kills the process with this answer of those to the target; the first is number 1.
    pub fn at(target: Target, number: usize, pid: Pid) -> Self {
        Self { target: Some(target), left: Mutex::new(Some((number, pid))), hit: Notify::new() }
    }

    pub fn target(&self) -> Option<Target> {
        self.target
    }

    /// Such an answer came. The kill follows at once, not when a scheduler comes to it.
    pub fn seen(&self, target: Target) {
        if self.target != Some(target) {
            return;
        }
        let mut left = self.left.lock().unwrap();
        *left = match *left {
            Some((1, pid)) => {
                kill_process(pid, Signal::KILL).unwrap();
                self.hit.notify_one();
                None
            }
            Some((number, pid)) => Some((number - 1, pid)),
            None => None,
        };
    }

    /// Until the kill, or so long if it does not come. Nobody is killed afterwards.
    pub async fn wait(&self, most: Duration) {
        drop(tokio::time::timeout(most, self.hit.notified()).await);
        *self.left.lock().unwrap() = None;
    }
}
