//! SQLite has one writer. Units of work that wait for it at the same time go one after the other in one transaction and share its
//! commit, so that what a commit costs, a sync of the disk, is paid once for all of them. None is acknowledged before that commit.
//!
//! A unit that fails is undone alone, and so is what a unit that panics has written: the others go on. If the transaction itself cannot
//! go on (the disk is full), nothing of it stands, and everybody is told so.
//!
//! What most requests write is a row for one statement that takes many. Those of a kind go together, and the statement runs once for all
//! of them: what it costs to hand it to the thread of the connection is paid once.
//!
//! Nobody waits for company: a lone unit goes at once, and one statement alone needs no transaction of its own.
//!
//! Another process may hold the file's lock. Those who wait stay in the queue until the transaction has begun, so that each can give up
//! when their own time is over, however long those before them have waited for the same lock.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::storage::db::{self, Db, Row, Sql, Turn, Tx};
use crate::storage::error::StoreError;
use crate::storage::together;
use crate::storage::value::Args;

/// How many share a commit at most, and for how long a commit may be put off by those that follow, so that none waits long.
const MOST: usize = 64;
const LONGEST: Duration = Duration::from_millis(10);
/// Who has stood in line for so long waits for no lock outside of the queue.
const SHORT: Duration = Duration::from_millis(10);

/// The queue before the writer.
#[derive(Default)]
pub struct Commits(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<Unit>,
    /// Somebody serves it.
    served: bool,
    /// What the next unit is called, so that who gives up finds their own.
    next: u64,
}

struct Unit {
    number: u64,
    since: Instant,
    task: Task,
}

enum Task {
    Several(Work),
    /// One statement: it is undone by itself when it fails, and alone it is a transaction by itself.
    Statement(Work),
    Row(OneRow),
}

/// A statement that writes for many, and the column in which it answers for whom it did; see [`together::written`].
#[derive(Clone, Copy)]
pub struct Rows {
    pub sql: Sql,
    pub key: &'static str,
}

impl Rows {
    fn is(self, other: Self) -> bool {
        std::ptr::eq(self.sql.text(db::Kind::Sqlite), other.sql.text(db::Kind::Sqlite))
    }
}

/// What such a statement takes of one.
struct OneRow {
    of: Rows,
    values: Args,
    answer: oneshot::Sender<Result<Option<bool>, StoreError>>,
}

/// Does the work over the writer, or hears why there is none.
type Work = Box<dyn for<'t> FnOnce(Result<&'t mut Tx, StoreError>) -> BoxFuture<'t, Done> + Send>;

/// Work that was done, and whose outcome nobody has heard of.
struct Done {
    /// It is to be kept.
    keep: bool,
    /// Tells the caller, once it is known whether it is kept.
    tell: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

impl Done {
    /// Nobody is left to be told.
    fn silent() -> Self {
        Self { keep: false, tell: Box::new(drop) }
    }
}

impl Commits {
    /// A unit of work; it runs to its end even if the caller goes away.
    pub async fn unit<T, E>(
        &self,
        db: &Db,
        patience: Duration,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let work: Work = Box::new(move |tx| {
            Box::pin(async move {
                let tx = match tx {
                    Ok(tx) => tx,
                    Err(error) => {
                        drop(answer.send(Err(error.into())));
                        return Done::silent();
                    }
                };
                let mut result = work(tx).await;
                if result.is_ok() && tx.has_failed() {
                    result = Err(db::went_on().into());
                }
                let keep = result.is_ok();
                let tell = Box::new(move |kept: Result<(), StoreError>| {
                    drop(answer.send(result.and_then(|done| kept.map(|()| done).map_err(E::from))));
                });
                Done { keep, tell }
            })
        });
        self.put(db, patience, Task::Several(work), answered).await
    }

    /// A row for a statement that writes many. `None`: to be tried alone.
    pub async fn row(&self, db: &Db, patience: Duration, of: Rows, values: Args) -> Result<Option<bool>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.put(db, patience, Task::Row(OneRow { of, values, answer }), answered).await
    }

    /// One statement that writes; answers its rows.
    pub async fn all(&self, db: &Db, patience: Duration, sql: Sql, args: Args) -> Result<Vec<Row>, StoreError> {
        self.statement(db, patience, move |tx| Box::pin(tx.all(sql, args))).await
    }

    /// One statement that writes; answers how many rows it changed.
    pub async fn execute(&self, db: &Db, patience: Duration, sql: Sql, args: Args) -> Result<u64, StoreError> {
        self.statement(db, patience, move |tx| Box::pin(tx.execute(sql, args))).await
    }

    async fn statement<T: Send + 'static>(
        &self,
        db: &Db,
        patience: Duration,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel::<Result<T, StoreError>>();
        let work: Work = Box::new(move |tx| {
            Box::pin(async move {
                let result = match tx {
                    Ok(tx) => work(tx).await,
                    Err(error) => Err(error),
                };
                let keep = result.is_ok();
                let tell =
                    Box::new(move |kept: Result<(), StoreError>| drop(answer.send(result.and_then(|done| kept.map(|()| done)))));
                Done { keep, tell }
            })
        });
        self.put(db, patience, Task::Statement(work), answered).await
    }

    async fn put<T, E: From<StoreError>>(
        &self,
        db: &Db,
        patience: Duration,
        task: Task,
        mut answered: oneshot::Receiver<Result<T, E>>,
    ) -> Result<T, E> {
        let (number, serves) = {
            let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let number = line.next;
            line.next += 1;
            line.waiting.push_back(Unit { number, since: Instant::now(), task });
            (number, !std::mem::replace(&mut line.served, true))
        };
        if serves {
            tokio::spawn(Service { line: Arc::clone(&self.0), over: false }.run(db.clone()));
        }
        let answer = match tokio::time::timeout(patience, &mut answered).await {
            Ok(answer) => answer,
            // What has begun is waited for: nobody may hear that nothing was done of what was.
            Err(_elapsed) if self.withdraw(number) => {
                return Err(StoreError::Unavailable("the database was busy for too long".to_owned()).into());
            }
            Err(_elapsed) => answered.await,
        };
        answer.unwrap_or_else(|_| Err(StoreError::Unavailable("a unit of work stopped".to_owned()).into()))
    }

    /// Takes a unit out of the queue. `false` if it is not there any more.
    fn withdraw(&self, number: u64) -> bool {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = line.waiting.iter().position(|unit| unit.number == number);
        place.and_then(|place| line.waiting.remove(place)).is_some()
    }
}

/// Who serves the queue until it is empty.
struct Service {
    line: Arc<Mutex<Line>>,
    over: bool,
}

/// A transaction that several share.
struct Group<'t> {
    tx: &'t mut Tx,
    done: Vec<Done>,
    /// There is a savepoint, before the last unit of several statements.
    marked: bool,
}

impl Service {
    async fn run(mut self, db: Db) {
        loop {
            let writer = db.writer().await;
            // Who is about to ask, here or on another thread, does so first: a commit is worth more the more share it.
            tokio::task::yield_now().await;
            if self.is_over() {
                return;
            }
            match writer {
                Ok(mut writer) => {
                    let turn = db.turn().await;
                    match self.alone() {
                        Some(work) => {
                            let done = work(Ok(&mut writer)).await;
                            drop(turn);
                            (done.tell)(Ok(()));
                        }
                        None => self.group(&mut writer, turn).await,
                    }
                }
                Err(error) => self.refuse(&error).await,
            }
        }
    }

    /// One transaction.
    async fn group(&self, tx: &mut Tx, turn: Option<Turn<'_>>) {
        if let Err(error) = tx.begin().await {
            return self.refuse(&error).await;
        }
        drop(turn);
        let (begun, mut group) = (Instant::now(), Group { tx, done: Vec::new(), marked: false });
        let mut next = self.next();
        let broken = loop {
            let outcome = match next.take() {
                None => break None,
                Some(Task::Row(row)) => {
                    let alike = self.alike(row.of, MOST.saturating_sub(group.done.len() + 1));
                    group.rows(row, alike).await
                }
                Some(Task::Several(work)) => group.several(work).await,
                Some(Task::Statement(work)) => group.statement(work).await,
            };
            if let Err(error) = outcome {
                break Some(error);
            }
            if group.done.len() < MOST && begun.elapsed() < LONGEST {
                next = self.next();
            }
        };
        let Group { tx, done, .. } = group;
        let kept = match broken {
            None => tx.commit().await,
            Some(error) => Err(error),
        };
        if kept.is_err() {
            tx.rollback().await;
        }
        done.into_iter().for_each(|one| (one.tell)(kept.clone()));
    }

    /// There is no writer, and will be none for whoever waits.
    async fn refuse(&self, error: &StoreError) {
        let all = std::mem::take(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner).waiting);
        for task in all.into_iter().map(|unit| unit.task) {
            match task {
                Task::Several(work) | Task::Statement(work) => {
                    let done = work(Err(error.clone())).await;
                    (done.tell)(Err(error.clone()));
                }
                Task::Row(row) => drop(row.answer.send(Err(error.clone()))),
            }
        }
    }

    /// The rows for a statement among those that wait.
    fn alike(&self, of: Rows, most: usize) -> Vec<OneRow> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut alike, mut others) = (Vec::new(), VecDeque::with_capacity(line.waiting.len()));
        for unit in line.waiting.drain(..) {
            match unit.task {
                Task::Row(row) if row.of.is(of) && alike.len() < most => alike.push(row),
                task => others.push_back(Unit { task, ..unit }),
            }
        }
        line.waiting = others;
        alike
    }

    fn next(&self) -> Option<Task> {
        Some(self.line.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front()?.task)
    }

    /// The one statement that waits, if it has just come.
    fn alone(&self) -> Option<Work> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.waiting.len() > 1 {
            return None;
        }
        match line.waiting.pop_front()? {
            Unit { task: Task::Statement(work), since, .. } if since.elapsed() < SHORT => Some(work),
            unit => {
                line.waiting.push_front(unit);
                None
            }
        }
    }

    /// Nobody waits; the place is free in the same moment, so that whoever comes next serves.
    fn is_over(&mut self) -> bool {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        self.over = line.waiting.is_empty();
        line.served = !self.over;
        self.over
    }
}

impl Group<'_> {
    /// One unit. `Err` if the transaction cannot go on.
    async fn several(&mut self, work: Work) -> Result<(), StoreError> {
        let is_first = self.done.is_empty();
        if !is_first && let Err(error) = self.mark().await {
            self.done.push(work(Err(error.clone())).await);
            return Err(error);
        }
        let one = AssertUnwindSafe(work(Ok(&mut *self.tx))).catch_unwind().await.unwrap_or_else(|_panic| Done::silent());
        let undone = if one.keep { Ok(()) } else { self.undo(is_first).await };
        self.done.push(one);
        undone
    }

    async fn statement(&mut self, work: Work) -> Result<(), StoreError> {
        let one = AssertUnwindSafe(work(Ok(&mut *self.tx))).catch_unwind().await.unwrap_or_else(|_panic| Done::silent());
        let undone = if one.keep { Ok(()) } else { self.tx.go_on() };
        self.done.push(one);
        undone
    }

    /// One statement for all rows of a kind.
    async fn rows(&mut self, first: OneRow, alike: Vec<OneRow>) -> Result<(), StoreError> {
        let (of, is_first) = (first.of, self.done.is_empty());
        let marked = if is_first { Ok(()) } else { self.mark().await };
        let (asked, answers): (Vec<Args>, Vec<_>) = std::iter::once(first).chain(alike).map(|row| (row.values, row.answer)).unzip();
        let written = match &marked {
            Ok(()) => together::written(self.tx, of.sql, of.key, asked).await,
            Err(error) => Err(error.clone()),
        };
        let undone = match marked {
            Ok(()) if self.tx.has_failed() => self.undo(is_first).await,
            marked => marked,
        };
        let found = match written {
            Ok(found) => found,
            Err(error) => answers.iter().map(|_| Err(error.clone())).collect(),
        };
        self.done.extend(answers.into_iter().zip(found).map(|(answer, found)| Done {
            keep: matches!(found, Ok(Some(_))),
            // What was not written need not be kept.
            tell: Box::new(move |kept| {
                drop(answer.send(match found {
                    Ok(Some(done)) => kept.map(|()| Some(done)),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                }));
            }),
        }));
        undone
    }

    /// From here what comes next can be undone alone. What came before cannot any more: SQLite keeps the pages of every savepoint.
    async fn mark(&mut self) -> Result<(), StoreError> {
        let again = std::mem::replace(&mut self.marked, true);
        self.tx.savepoint(again).await
    }

    /// The first is undone by undoing all.
    async fn undo(&mut self, is_first: bool) -> Result<(), StoreError> {
        match is_first {
            true => Err(StoreError::Unavailable("the transaction was rolled back".to_owned())),
            false => self.tx.undo().await,
        }
    }
}

impl Drop for Service {
    /// Cut off in the middle, which only the end of the runtime or a fault here does: nobody must wait for it.
    fn drop(&mut self) {
        if !self.over {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            line.served = false;
            line.waiting.clear();
        }
    }
}
