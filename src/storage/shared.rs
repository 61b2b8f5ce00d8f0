//! The statements that requests share (see [`together`](crate::storage::together)), one queue each for every open database.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use uuid::Uuid;

use crate::oauth::grant::{ClientTokenFacts, CodeFacts, FamilyFacts, TokenFacts};
use crate::secret::Digest;
use crate::storage::db::{self, Kind};
use crate::storage::places::Places;
use crate::storage::revoked_tokens::{self, Person};
use crate::storage::sessions::{self, FoundForClient};
use crate::storage::together::{Purpose, Reading, Together};
use crate::storage::value::Args;
use crate::storage::{authorize, codes, families};

/// Groups of reads under way at the same time on SQLite, each with a connection and its cache.
const READING: usize = 2;

/// On PostgreSQL one of its processes answers what two of ours can ask: a second group would only make both smaller.
const PROCESSORS_FOR_A_GROUP: usize = 2;

/// No statement that reads has more of PostgreSQL's connections, however long each takes, nor more than a quarter of them.
const MOST_READING: usize = 4;

/// What is bound for a change, the key of its row first; `None`: to be tried alone.
type Writes = Together<Args, Option<bool>>;

/// One queue for each statement.
pub struct Shared {
    pub change_number: Together<(), Option<i64>>,
    pub families: Together<Uuid, Option<FamilyFacts>>,
    pub rotations: Writes,
    pub token_lives: Together<(Uuid, Digest), TokenFacts>,
    pub token_people: Together<(Uuid, Digest), (TokenFacts, Option<Person>)>,
    pub client_tokens: Together<(String, Digest), ClientTokenFacts>,
    pub codes: Together<Digest, Option<CodeFacts>>,
    pub sessions: Together<(Digest, String), Option<FoundForClient>>,
    // On Postgres: on SQLite such rows share a commit with everybody else who waits for the writer ([`Db::written`](db::Db)).
    pub completions: Writes,
    pub redemptions: Writes,
    pub endings: Writes,
    pub revocations: Writes,
}

impl Shared {
    /// Empty queues. `connections`: the most that are open at once, 0 where a pooler deals them out.
    pub fn new(kind: Kind, connections: u32) -> Self {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        let (reading, writing) = match kind {
            Kind::Sqlite => (Reading::always(READING), Purpose::InTurn),
            // While groups of writes wait for the disk, others read.
            Kind::Postgres => (
                reading_by(available_parallelism().map_or(1, NonZero::get), connections),
                Purpose::Writes(Arc::new(Places::new(connections / 4 * 3))),
            ),
        };
        let writes = |run| Together::new(writing.clone(), run);
        let reads = Purpose::Reads(reading);
        Self {
            // A look that began before the question came could have missed what the asker knows: one at a time, so that it never does.
            change_number: Together::new(Purpose::Reads(Reading::always(1)), db::change_numbers),
            families: Together::new(reads.clone(), families::find_together),
            rotations: writes(families::rotate_together),
            token_lives: Together::new(reads.clone(), revoked_tokens::lives_together),
            token_people: Together::new(reads.clone(), revoked_tokens::people_together),
            client_tokens: Together::new(reads.clone(), revoked_tokens::client_tokens_together),
            codes: Together::new(reads.clone(), codes::find_together),
            sessions: Together::new(reads, sessions::find_together),
            completions: writes(authorize::complete_together),
            redemptions: writes(codes::redeem_together),
            endings: writes(families::end_together),
            revocations: writes(revoked_tokens::insert_together),
        }
    }
}

fn reading_by(processors: usize, connections: usize) -> Reading {
    let most = (connections / 4).clamp(2, MOST_READING);
    Reading { at_once: (processors / PROCESSORS_FOR_A_GROUP).clamp(1, most), most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_reads_grow_with_processors_and_leave_connections_to_others() {
        let groups = |processors, connections| {
            let Reading { at_once, most } = reading_by(processors, connections);
            (at_once, most)
        };
        assert_eq!([1, 2, 4, 8, 64].map(|processors| groups(processors, 16)), [(1, 4), (1, 4), (2, 4), (4, 4), (4, 4)]);
        assert_eq!([0, 1, 3, 12, 1000].map(|connections| groups(64, connections)), [(2, 2), (2, 2), (2, 2), (3, 3), (4, 4)]);
    }
}
