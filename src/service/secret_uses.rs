//! Which client secrets are in use, to the day, so that `chancery doctor` can name those that nobody needs. A request notes it in
//! memory; the database hears of it from a job, once a day for each secret and replica.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::storage::{Db, StoreError, secret_uses as store};

const DAY: i64 = 24 * 60 * 60;

/// The secrets that were used lately. No larger than the number of secrets that are right.
#[derive(Debug, Default)]
pub struct SecretUses(Mutex<HashMap<Uuid, Use>>);

#[derive(Debug, Clone, Copy)]
struct Use {
    /// The first of its day.
    at: Timestamp,
    written: bool,
}

impl Use {
    fn day(self) -> i64 {
        day(self.at)
    }
}

impl SecretUses {
    /// A client proved itself with this secret.
    pub fn note(&self, secret_id: Uuid, now: Timestamp) {
        let mut uses = self.uses();
        if uses.get(&secret_id).is_none_or(|last| last.day() < day(now)) {
            uses.insert(secret_id, Use { at: now, written: false });
        }
    }

    /// Writes down what is new.
    ///
    /// # Errors
    /// The database is away; the next round goes on.
    pub async fn write(&self, db: &Db) -> Result<(), StoreError> {
        let due: Vec<(Uuid, Use)> =
            self.uses().iter().filter(|(_, last)| !last.written).map(|(secret_id, last)| (*secret_id, *last)).collect();
        for (secret_id, noted) in &due {
            store::note(db, *secret_id, noted.at).await?;
            if let Some(last) = self.uses().get_mut(secret_id).filter(|last| last.at == noted.at) {
                last.written = true;
            }
        }
        if !due.is_empty() {
            let mut uses = self.uses();
            let newest = uses.values().map(|last| last.day()).max().unwrap_or(0);
            uses.retain(|_, last| !last.written || last.day() + 1 >= newest);
        }
        Ok(())
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<Uuid, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn day(at: Timestamp) -> i64 {
    at.seconds().div_euclid(DAY)
}
