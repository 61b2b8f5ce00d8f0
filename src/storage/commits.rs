//! SQLite has one writer. Units of work that wait for it at the same time go one after the other in one transaction and share its
//! commit, so that what a commit costs, a sync of the disk, is paid once for all of them. None is acknowledged before that commit.
//!
//! A unit that fails is undone alone, and so is what a unit that panics has written: the others go on. If the transaction itself cannot
//! go on (the disk is full), nothing of it stands, and everybody is told so.
//!
//! Nobody waits for company: a lone unit goes at once, and one statement alone needs no transaction of its own.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::storage::db::{self, Db, Row, Sql, Tx};
use crate::storage::error::StoreError;
use crate::storage::value::Args;

/// How many share a commit at most, and for how long a commit may be put off by those that follow, so that none waits long.
const MOST: usize = 64;
const LONGEST: Duration = Duration::from_millis(10);

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
    /// One statement: it is undone by itself when it fails, and alone it is a transaction by itself.
    is_statement: bool,
    work: Work,
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
        self.put(db, patience, false, work, answered).await
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
        self.put(db, patience, true, work, answered).await
    }

    async fn put<T, E: From<StoreError>>(
        &self,
        db: &Db,
        patience: Duration,
        is_statement: bool,
        work: Work,
        mut answered: oneshot::Receiver<Result<T, E>>,
    ) -> Result<T, E> {
        let (number, serves) = {
            let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let number = line.next;
            line.next += 1;
            line.waiting.push_back(Unit { number, is_statement, work });
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

impl Service {
    async fn run(mut self, db: Db) {
        loop {
            let writer = db.writer().await;
            let Some(unit) = self.next_or_over() else { return };
            match writer {
                Ok(mut writer) if unit.is_statement && self.is_empty() => {
                    let done = (unit.work)(Ok(&mut writer)).await;
                    (done.tell)(Ok(()));
                }
                Ok(mut writer) => self.group(&mut writer, unit).await,
                Err(error) => self.refuse(unit, &error).await,
            }
        }
    }

    /// One transaction.
    async fn group(&self, tx: &mut Tx, first: Unit) {
        if let Err(error) = tx.begin().await {
            return self.refuse(first, &error).await;
        }
        let (begun, mut done) = (Instant::now(), Vec::new());
        let mut next = Some(first);
        let broken = loop {
            let Some(unit) = next.take() else { break None };
            match Self::one(tx, unit, done.is_empty()).await {
                Ok(one) => done.push(one),
                Err((one, error)) => {
                    done.push(one);
                    break Some(error);
                }
            }
            if done.len() < MOST && begun.elapsed() < LONGEST {
                next = self.next();
            }
        };
        let kept = match broken {
            None => tx.commit().await,
            Some(error) => Err(error),
        };
        if kept.is_err() {
            tx.rollback().await;
        }
        done.into_iter().for_each(|one| (one.tell)(kept.clone()));
    }

    /// One unit of several. `Err` if the transaction cannot go on. The first is undone by undoing all.
    async fn one(tx: &mut Tx, unit: Unit, is_first: bool) -> Result<Done, (Done, StoreError)> {
        if !unit.is_statement
            && !is_first
            && let Err(error) = tx.savepoint().await
        {
            return Err(((unit.work)(Err(error.clone())).await, error));
        }
        let one = AssertUnwindSafe((unit.work)(Ok(&mut *tx))).catch_unwind().await.unwrap_or_else(|_panic| Done::silent());
        if one.keep {
            return Ok(one);
        }
        let undone = match (unit.is_statement, is_first) {
            (true, _) => tx.go_on(),
            (false, true) => Err(StoreError::Unavailable("the transaction was rolled back".to_owned())),
            (false, false) => tx.undo().await,
        };
        match undone {
            Ok(()) => Ok(one),
            Err(error) => Err((one, error)),
        }
    }

    /// There is no writer, and will be none for whoever waits.
    async fn refuse(&self, first: Unit, error: &StoreError) {
        let others = std::mem::take(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner).waiting);
        for unit in std::iter::once(first).chain(others) {
            let done = (unit.work)(Err(error.clone())).await;
            (done.tell)(Err(error.clone()));
        }
    }

    fn next(&self) -> Option<Unit> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).waiting.is_empty()
    }

    /// `None` when nobody waits; the place is free in the same moment, so that whoever comes next serves.
    fn next_or_over(&mut self) -> Option<Unit> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let unit = line.waiting.pop_front();
        line.served = unit.is_some();
        self.over = unit.is_none();
        unit
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
