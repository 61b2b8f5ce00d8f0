//! Requests that need the same statement at the same moment share one: one round trip, one turn on a connection, and where they write
//! one commit, durable before any of them is answered.
//!
//! Nobody waits for company. A request that finds nothing under way goes at once and alone; those that come while it is under way go
//! together when it is done, and so do those that this process was about to work on anyway. So a quiet server answers as fast as before,
//! and a busy one makes ever larger groups.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::storage::db::{Db, Kind, Row, Sql, Tx};
use crate::storage::error::StoreError;
use crate::storage::places::Places;
use crate::storage::value::{Args, Value};

/// How many go in one statement at most, so that no group waits long for its last member.
const MOST: usize = 64;

/// A group of writes that takes longer, because somebody holds one of its rows or its connection is lost, is not waited for: the next begins.
const STUCK: Duration = Duration::from_millis(10);

/// The same of a group of reads, which nobody can hold up: the database is far away, or in trouble.
const LATE: Duration = Duration::from_millis(2);

/// The answers to the questions of one group, in their order: what one of them brought to light must not fail the others.
pub type Answers<O> = Result<Vec<Result<O, StoreError>>, StoreError>;

/// The statement of one group over a connection.
pub type Run<I, O> = fn(Db, Tx, Vec<I>) -> BoxFuture<'static, Answers<O>>;

/// What a group does, and how many are under way at the same time.
#[derive(Debug, Clone)]
pub enum Purpose {
    Reads(Reading),
    /// Commits in flight share a disk's sync.
    Writes(Arc<Places>),
    /// There is one writer.
    InTurn,
}

/// How many groups of reads are under way at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Those that are answered soon. Fewer are larger, which costs less for each question, as long as they keep the database busy.
    pub at_once: usize,
    /// With those that are not.
    pub most: usize,
}

impl Reading {
    /// So many, whatever becomes of them.
    pub const fn always(at_once: usize) -> Self {
        Self { at_once, most: at_once }
    }
}

impl Purpose {
    /// May one more begin, where `own` are under way and `stuck` of these for long?
    fn take(&self, own: usize, stuck: usize) -> bool {
        match self {
            Self::Reads(reading) => own.saturating_sub(stuck) < reading.at_once && own < reading.most,
            Self::Writes(places) => places.take(own, stuck),
            Self::InTurn => own == 0,
        }
    }

    fn too_many(&self, own: usize, stuck: usize) -> bool {
        match self {
            Self::Reads(reading) => own.saturating_sub(stuck) > reading.at_once,
            Self::Writes(places) => places.too_many(own, stuck),
            Self::InTurn => false,
        }
    }

    /// After how long the next does not wait for a group any more. `None`: it always does.
    fn patience(&self) -> Option<Duration> {
        match self {
            Self::Reads(reading) => (reading.most > reading.at_once).then_some(LATE),
            Self::Writes(_) => Some(STUCK),
            Self::InTurn => None,
        }
    }

    fn give_back(&self) {
        match self {
            Self::Reads(_) | Self::InTurn => {}
            Self::Writes(places) => places.give_back(),
        }
    }
}

/// The queue before one statement.
pub struct Together<I, O>(Arc<Queue<I, O>>);

struct Queue<I, O> {
    line: Mutex<Line<I, O>>,
    purpose: Purpose,
    run: Run<I, O>,
}

/// A question, and who asked it.
type Waiting<I, O> = (I, oneshot::Sender<Result<O, StoreError>>);

struct Line<I, O> {
    waiting: VecDeque<Waiting<I, O>>,
    under_way: usize,
    /// Those of them that have taken too long already.
    stuck: usize,
}

impl<I: Send + 'static, O: Send + 'static> Together<I, O> {
    /// An empty queue.
    pub fn new(purpose: Purpose, run: Run<I, O>) -> Self {
        let line = Mutex::new(Line { waiting: VecDeque::new(), under_way: 0, stuck: 0 });
        Self(Arc::new(Queue { line, purpose, run }))
    }

    /// Puts a question and waits for its answer. A caller who goes away before its group has begun takes the question along.
    ///
    /// # Errors
    /// Its own, or those of the statement, which each of the group gets.
    pub async fn ask(&self, db: &Db, question: I) -> Result<O, StoreError> {
        let (answer, answered) = oneshot::channel();
        let leads = {
            let mut line = self.0.line();
            line.waiting.push_back((question, answer));
            line.has_place(&self.0.purpose)
        };
        if leads {
            Lead::begin(Arc::clone(&self.0), db.clone());
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("a statement was given up".to_owned())))
    }
}

impl<I, O> Queue<I, O> {
    fn line(&self) -> MutexGuard<'_, Line<I, O>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I, O> Line<I, O> {
    /// Takes a place for one more group, if there is one.
    fn has_place(&mut self, purpose: &Purpose) -> bool {
        let leads = purpose.take(self.under_way, self.stuck);
        self.under_way += usize::from(leads);
        leads
    }
}

/// One of the places under way.
struct Lead<I, O> {
    queue: Arc<Queue<I, O>>,
    stuck: bool,
    given_back: bool,
}

impl<I: Send + 'static, O: Send + 'static> Lead<I, O> {
    fn begin(queue: Arc<Queue<I, O>>, db: Db) {
        tokio::spawn(Self { queue, stuck: false, given_back: false }.serve(db));
    }

    async fn serve(mut self, db: Db) {
        loop {
            // First the connection: whoever comes while there is none goes along, and if there will be none, nobody waits for it twice.
            let connection = match &self.queue.purpose {
                Purpose::Reads(_) => db.reader().await,
                Purpose::Writes(_) | Purpose::InTurn => db.writer().await,
            };
            // Who is about to ask, here or on another thread, does so first: a place under way is worth more the more go along.
            tokio::task::yield_now().await;
            let Some(group) = self.next(if connection.is_ok() { MOST } else { usize::MAX }) else { return };
            let (questions, askers): (Vec<I>, Vec<_>) = group.into_iter().unzip();
            let (rows, begun) = (questions.len(), Instant::now());
            let answers = match connection {
                Ok(connection) => {
                    let group = (self.queue.run)(db.clone(), connection, questions);
                    self.not_alone_for_long(&db, group).await
                }
                Err(error) => Err(error),
            };
            if let (Purpose::Writes(places), Ok(_)) = (&self.queue.purpose, &answers) {
                places.note(rows, begun.elapsed());
            }
            match answers {
                Ok(answers) => askers.into_iter().zip(answers).for_each(|(asker, answer)| drop(asker.send(answer))),
                Err(error) => askers.into_iter().for_each(|asker| drop(asker.send(Err(error.clone())))),
            }
        }
    }

    /// The answers of a group under way. If they do not come for long, those who wait get somebody else to lead them.
    async fn not_alone_for_long(&mut self, db: &Db, mut group: BoxFuture<'static, Answers<O>>) -> Answers<O> {
        let Some(patience) = self.queue.purpose.patience() else { return group.await };
        if let Ok(answers) = timeout(patience, &mut group).await {
            return answers;
        }
        let another = {
            let mut line = self.queue.line();
            line.stuck += 1;
            !line.waiting.is_empty() && line.has_place(&self.queue.purpose)
        };
        self.stuck = true;
        if another {
            Self::begin(Arc::clone(&self.queue), db.clone());
        }
        let answers = group.await;
        self.queue.line().stuck -= 1;
        self.stuck = false;
        answers
    }

    /// The next group. `None` when nobody waits, or enough others serve those who do; then the place is free in the same moment, so that
    /// whoever comes next leads.
    fn next(&mut self, most: usize) -> Option<Vec<Waiting<I, O>>> {
        let mut line = self.queue.line();
        line.waiting.retain(|(_, asker)| !asker.is_closed());
        let most = line.waiting.len().min(most);
        if most == 0 || self.queue.purpose.too_many(line.under_way, line.stuck) {
            line.under_way = line.under_way.saturating_sub(1);
            self.queue.purpose.give_back();
            self.given_back = true;
            return None;
        }
        Some(line.waiting.drain(..most).collect())
    }
}

impl<I, O> Drop for Lead<I, O> {
    /// Cut off in the middle, which only the end of the runtime or a fault in a statement does: nobody must wait for it.
    fn drop(&mut self) {
        if !self.given_back {
            let mut line = self.queue.line();
            line.under_way = line.under_way.saturating_sub(1);
            line.stuck = line.stuck.saturating_sub(usize::from(self.stuck));
            self.queue.purpose.give_back();
            line.waiting.clear();
        }
    }
}

/// The answers of a statement that gives at most one row, numbered `n` from 1, for each of `asked` questions.
pub fn found<T>(
    rows: &[Row],
    asked: usize,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Vec<Result<Option<T>, StoreError>>, StoreError> {
    let mut answers: Vec<Result<Option<T>, StoreError>> = (0..asked).map(|_| Ok(None)).collect();
    for row in rows {
        let place = row.get::<u64>("n")?.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        let unasked = || StoreError::Corrupt("a statement answered what it was not asked".to_owned());
        *place.and_then(|place| answers.get_mut(place)).ok_or_else(unasked)? = read(row).map(Some);
    }
    Ok(answers)
}

/// Writes what a group asked for in one statement. The first value of each row is its key, and the statement answers in the column `key`
/// for whom it did. `None`: to be tried alone, because somebody holds the row, what the decision rested on has changed, or what one of the
/// group brought failed the statement. Of several with one key the first goes along; the others find alone what it has done.
pub async fn written(writer: &mut Tx, sql: Sql, key: &str, asked: Vec<Args>) -> Answers<Option<bool>> {
    let mut first = HashSet::with_capacity(asked.len());
    let keys: Vec<Option<Vec<u8>>> = asked
        .iter()
        .map(|values| match values.first() {
            Some(Value::Bytes(Some(key))) => first.insert(key.clone()).then(|| key.clone()),
            Some(_) | None => None,
        })
        .collect();
    let going = asked.into_iter().zip(&keys).filter(|(_, key)| key.is_some()).map(|(values, _)| values);
    let values = rows(writer.kind(), going.collect());
    let done = match writer.all_alone(sql, values).await {
        Ok(rows) => rows.iter().map(|row| row.get(key)).collect::<Result<HashSet<Vec<u8>>, _>>()?,
        // What one of them brought must not fail the others.
        Err(StoreError::Corrupt(_) | StoreError::Conflict(_)) => HashSet::new(),
        Err(error) => return Err(error),
    };
    Ok(keys.into_iter().map(|key| Ok(key.is_some_and(|key| done.contains(&key)).then_some(true))).collect())
}

/// Rows of values as one statement takes them: on Postgres a list for each column, for `unnest`; on SQLite one JSON array of rows, for
/// `json_each`, with bytes in hexadecimal. Every row has the same kinds of values.
pub fn rows(kind: Kind, rows: Vec<Args>) -> Args {
    match kind {
        Kind::Sqlite => {
            let rows = rows.into_iter().map(|row| row.into_iter().map(json).collect()).collect();
            vec![Value::Text(Some(serde_json::Value::Array(rows).to_string()))]
        }
        Kind::Postgres => {
            let mut columns: Vec<Value> = Vec::new();
            for row in rows {
                columns.resize_with(row.len(), || Value::Int(None));
                for (column, value) in columns.iter_mut().zip(row) {
                    push(column, value);
                }
            }
            columns
        }
    }
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Int(value) => value.into(),
        Value::Text(value) => value.into(),
        Value::Bytes(value) => value.map(|bytes| hex(&bytes)).into(),
        Value::Ints(_) | Value::Texts(_) | Value::ByteStrings(_) => serde_json::Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn push(column: &mut Value, value: Value) {
    match (column, value) {
        (Value::Ints(list), Value::Int(value)) => list.push(value),
        (Value::Texts(list), Value::Text(value)) => list.push(value),
        (Value::ByteStrings(list), Value::Bytes(value)) => list.push(value),
        // The first of its column.
        (column, Value::Int(value)) => *column = Value::Ints(vec![value]),
        (column, Value::Text(value)) => *column = Value::Texts(vec![value]),
        (column, Value::Bytes(value)) => *column = Value::ByteStrings(vec![value]),
        (_, Value::Ints(_) | Value::Texts(_) | Value::ByteStrings(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::DatabaseConfig;
    use crate::storage::places::FEWEST;

    /// What the statement of these tests is asked. It begins when the gate of the first is open, and answers how many went along.
    #[derive(Clone)]
    struct Asked {
        gate: Arc<Semaphore>,
        outcome: Outcome,
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Outcome {
        Answer,
        Failure,
        Panic,
    }

    fn run(_db: Db, _connection: Tx, group: Vec<Asked>) -> BoxFuture<'static, Answers<usize>> {
        Box::pin(async move {
            drop(group[0].gate.acquire().await);
            let has = |outcome| group.iter().any(|asked| asked.outcome == outcome);
            assert!(!has(Outcome::Panic), "a fault");
            if has(Outcome::Failure) {
                return Err(StoreError::Unavailable("it went away".to_owned()));
            }
            Ok(group.iter().map(|_| Ok(group.len())).collect())
        })
    }

    struct Stage {
        db: Db,
        together: Arc<Together<Asked, usize>>,
        gate: Arc<Semaphore>,
        _folder: tempfile::TempDir,
    }

    impl Stage {
        async fn set(purpose: Purpose) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}/store.db", folder.path().display());
            let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
            Self { db, together: Arc::new(Together::new(purpose, run)), gate: Arc::new(Semaphore::new(0)), _folder: folder }
        }

        fn ask(&self, outcome: Outcome) -> JoinHandle<Result<usize, StoreError>> {
            self.ask_at(&self.gate, outcome)
        }

        fn ask_at(&self, gate: &Arc<Semaphore>, outcome: Outcome) -> JoinHandle<Result<usize, StoreError>> {
            let (db, together, asked) = (self.db.clone(), Arc::clone(&self.together), Asked { gate: Arc::clone(gate), outcome });
            tokio::spawn(async move { together.ask(&db, asked).await })
        }

        /// One whose statement waits at the gate, and so many behind it.
        async fn line(&self, first: Outcome, behind: usize, outcome: Outcome) -> Vec<JoinHandle<Result<usize, StoreError>>> {
            let mut line = vec![self.ask(first)];
            self.until(|line| line.under_way == 1 && line.waiting.is_empty()).await;
            line.extend((0..behind).map(|_| self.ask(outcome)));
            self.until(|line| line.waiting.len() == behind).await;
            line
        }

        async fn until(&self, holds: impl Fn(&Line<Asked, usize>) -> bool) {
            in_time(async {
                while !holds(&self.together.0.line()) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }

        /// Opens the gate; what each was told.
        async fn told(&self, line: Vec<JoinHandle<Result<usize, StoreError>>>) -> Vec<Result<usize, StoreError>> {
            self.gate.add_permits(1);
            in_time(join_all(line)).await.into_iter().map(Result::unwrap).collect()
        }
    }

    async fn in_time<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), work).await.expect("somebody waits for ever")
    }

    fn is_away(told: &Result<usize, StoreError>) -> bool {
        matches!(told, Err(StoreError::Unavailable(_)))
    }

    fn purposes() -> [Purpose; 3] {
        [Purpose::Reads(Reading::always(1)), Purpose::InTurn, Purpose::Writes(Arc::new(Places::new(4)))]
    }

    #[tokio::test]
    async fn those_who_come_while_one_is_under_way_go_together() {
        for purpose in [Purpose::Reads(Reading::always(1)), Purpose::InTurn] {
            let stage = Stage::set(purpose).await;
            let line = stage.line(Outcome::Answer, 5, Outcome::Answer).await;
            assert_eq!(stage.told(line).await, [1, 5, 5, 5, 5, 5].map(Ok));
        }
    }

    #[tokio::test]
    async fn a_group_that_fails_hears_so_at_once_and_the_next_goes_on() {
        for purpose in [Purpose::Reads(Reading::always(1)), Purpose::InTurn] {
            let stage = Stage::set(purpose).await;
            let line = stage.line(Outcome::Answer, 5, Outcome::Failure).await;
            let told = stage.told(line).await;
            assert_eq!(told[0], Ok(1));
            assert!(told[1..].iter().all(is_away), "{told:?}");
            assert_eq!(stage.told(vec![stage.ask(Outcome::Answer)]).await, [Ok(1)]);
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_statement_that_was_cut_off() {
        for purpose in [Purpose::Reads(Reading::always(1)), Purpose::InTurn] {
            let stage = Stage::set(purpose).await;
            let line = stage.line(Outcome::Panic, 5, Outcome::Answer).await;
            let told = stage.told(line).await;
            assert!(told.iter().all(is_away), "{told:?}");
            assert_eq!(stage.told(vec![stage.ask(Outcome::Answer)]).await, [Ok(1)]);
        }
    }

    #[tokio::test]
    async fn who_goes_away_takes_the_question_along() {
        let stage = Stage::set(Purpose::Reads(Reading::always(1))).await;
        let mut line = stage.line(Outcome::Answer, 4, Outcome::Answer).await;
        for gone in line.drain(2..) {
            gone.abort();
            drop(gone.await);
        }
        assert_eq!(stage.told(line).await, [Ok(1), Ok(1)]);
    }

    #[tokio::test]
    async fn when_there_is_no_connection_all_who_wait_hear_so() {
        for purpose in purposes() {
            let stage = Stage::set(purpose).await;
            stage.db.close().await;
            let told = stage.told((0..2 * MOST).map(|_| stage.ask(Outcome::Answer)).collect()).await;
            assert!(told.iter().all(is_away), "{told:?}");
        }
    }

    /// A place that was lost would be missing until the end of the server: fewer groups of writes at a time, and nobody knows why.
    #[tokio::test]
    async fn every_place_is_given_back_whatever_becomes_of_the_group() {
        let places = Arc::new(Places::new(4));
        let stage = Stage::set(Purpose::Writes(Arc::clone(&places))).await;
        stage.gate.add_permits(1);
        for outcome in [Outcome::Answer, Outcome::Failure, Outcome::Panic, Outcome::Answer] {
            let told = stage.told((0..3 * MOST).map(|_| stage.ask(outcome)).collect()).await;
            assert_eq!(told.iter().all(Result::is_ok), outcome == Outcome::Answer, "{told:?}");
            stage.until(|line| line.under_way == 0).await;
        }
        stage.db.close().await;
        assert!(is_away(&stage.told(vec![stage.ask(Outcome::Answer)]).await[0]));
        stage.until(|line| line.under_way == 0).await;
        // Beyond those that every statement has, only what nobody has taken.
        assert_eq!([FEWEST; 2].map(|own| places.take(own, 0)), [true, false], "so many are free as there are");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_group_that_is_stuck() {
        let purposes =
            [(Purpose::Writes(Arc::new(Places::new(4))), STUCK), (Purpose::Reads(Reading { at_once: 1, most: 4 }), LATE)];
        for (purpose, patience) in purposes {
            let stage = Stage::set(purpose).await;
            let stuck = stage.line(Outcome::Answer, 0, Outcome::Answer).await;
            let free = Arc::new(Semaphore::new(1));
            // Those that come before it has taken long, and those that come later.
            for came in [patience / 4, 2 * patience] {
                tokio::time::sleep(came).await;
                let behind = (0..5).map(|_| stage.ask_at(&free, Outcome::Answer));
                assert!(in_time(join_all(behind)).await.into_iter().all(|told| told.unwrap().is_ok()));
            }
            assert_eq!(stage.told(stuck).await, [Ok(1)]);
            stage.until(|line| line.under_way == 0 && line.stuck == 0).await;
            assert_eq!(stage.told(vec![stage.ask(Outcome::Answer)]).await, [Ok(1)]);
        }
    }

    #[tokio::test]
    async fn no_more_reads_are_stuck_than_there_are_places_for() {
        let stage = Stage::set(Purpose::Reads(Reading { at_once: 1, most: 3 })).await;
        let mut line = Vec::new();
        for stuck in 1..=3 {
            line.push(stage.ask(Outcome::Answer));
            stage.until(|line| line.under_way == stuck && line.stuck == stuck).await;
        }
        line.extend((0..5).map(|_| stage.ask(Outcome::Answer)));
        stage.until(|line| line.under_way == 3 && line.waiting.len() == 5).await;
        assert_eq!(stage.told(line).await, [1, 1, 1, 5, 5, 5, 5, 5].map(Ok));
        stage.until(|line| line.under_way == 0 && line.stuck == 0).await;
    }
}
