//! The statements that requests share (see [`together`](crate::storage::together)), one queue each for every open database.

use std::sync::Arc;

use uuid::Uuid;

use crate::oauth::grant::{ClientTokenFacts, CodeFacts, FamilyFacts, TokenFacts};
use crate::secret::Digest;
use crate::storage::db::{self, Kind};
use crate::storage::places::Places;
use crate::storage::revoked_tokens::{self, Person};
use crate::storage::sessions::{self, FoundForClient};
use crate::storage::together::{Purpose, Together};
use crate::storage::value::Args;
use crate::storage::{authorize, codes, families};

/// Groups of readers under way at the same time: while one is on the wire, the next can be.
const READING: usize = 2;

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
        // While groups of writes wait for the disk, others read.
        let purpose = match kind {
            Kind::Sqlite => Purpose::InTurn,
            Kind::Postgres => Purpose::Writes(Arc::new(Places::new(usize::try_from(connections).unwrap_or(usize::MAX) / 4 * 3))),
        };
        let writes = |run| Together::new(purpose.clone(), run);
        let reads = Purpose::Reads(READING);
        Self {
            // A look that began before the question came could have missed what the asker knows: one at a time, so that it never does.
            change_number: Together::new(Purpose::Reads(1), db::change_numbers),
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
