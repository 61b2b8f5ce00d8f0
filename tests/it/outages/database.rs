//! PostgreSQL that is away, silent, slow, restarted, crashed, stuck: 503 in time with Retry-After, the documents from memory, recovery
//! without a restart, and not one acknowledged refresh lost.

use std::time::{Duration, Instant};

use chancery::storage::StoreError;
use sqlx::Connection as _;

use super::apps::{Load, only_503, served_from_memory};
use super::installation::{ACQUIRE, Installation, STATEMENT, store, unit_of_work};
use super::wire::{Mode, Wire};
use crate::harness::Request;
use crate::harness::postgres::Cluster;

/// What a busy machine may add to any answer.
const SLACK: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_without_its_database_says_so_and_starts_once_it_is_there() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    let url = cluster.database().await;
    let wire = Wire::to(cluster.folder()).await;
    let installation = Installation::on(&wire.url(url.split(['/', '?']).nth(3).unwrap()), 1, &[]);
    let machine = &installation.machines[0];
    for (mode, says) in [(Mode::Away, "the database is not available"), (Mode::Silent, "no connection was free in time")] {
        wire.become_(mode);
        let begin = Instant::now();
        let said = tokio::task::block_in_place(|| machine.refuses(&["serve"]));
        assert!(said.contains(says), "{said}");
        assert!(begin.elapsed() < ACQUIRE * 3 + SLACK, "{:?}", begin.elapsed());
    }
    tokio::task::block_in_place(|| cluster.stop());
    wire.become_(Mode::Pass);
    assert!(tokio::task::block_in_place(|| machine.refuses(&["serve"])).contains("the database is not available"));
    tokio::task::block_in_place(|| cluster.restart());
    let server = installation.start(0).await;
    let (alice, client) = installation.actors();
    alice.tokens(&client, "openid").await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_postgres_the_answer_is_503_in_time_and_nothing_acknowledged_is_lost() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    let direct = cluster.database().await;
    let wire = Wire::to(cluster.folder()).await;
    let url = wire.url(direct.split(['/', '?']).nth(3).unwrap());
    let installation = Installation::on(&url, 1, &[("CHANCERY_DATABASE__MAX_CONNECTIONS", "6")]);
    let server = installation.start(0).await;
    let site = installation.site(0);
    let (alice, client) = installation.actors();
    let load = Load::begin(&alice, &client, &[installation.address(0)], 8).await;
    load.recovers(Duration::from_secs(10)).await;

    // Nobody is there: no connection within the acquire timeout.
    let begin = Instant::now();
    wire.become_(Mode::Away);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    served_from_memory(&site).await;
    assert_eq!(site.get("/readyz").await.status, 503);
    wire.become_(Mode::Pass);
    report("away", load.recovers(Duration::from_secs(8)).await, only_503(&load.since(begin), ACQUIRE + SLACK), 1);

    // Nothing arrives and nothing is closed: what is on its way is given up after the statement timeout and a second, what stands in line
    // behind it likewise, and the old connections are not believed in afterwards.
    let db = store(&url).await;
    unit_of_work(&db).await.0.unwrap();
    let begin = Instant::now();
    wire.become_(Mode::Silent);
    let (done, took) = unit_of_work(&db).await;
    assert!(matches!(done, Err(StoreError::Unavailable(_))) && took < ACQUIRE + SLACK, "{done:?} after {took:?}");
    tokio::time::sleep((STATEMENT + Duration::from_secs(1)) * 2 + ACQUIRE).await;
    served_from_memory(&site).await;
    let late = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    wire.become_(Mode::Pass);
    let took = load.recovers(Duration::from_secs(8)).await;
    report("silent", took, only_503(&load.since(begin), (STATEMENT + Duration::from_secs(1)) * 2 + ACQUIRE + SLACK), 1);
    only_503(&load.since(late), ACQUIRE + STATEMENT + SLACK);

    // Slow is not away.
    let begin = Instant::now();
    wire.become_(Mode::Slow(Duration::from_millis(15)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    served_from_memory(&site).await;
    wire.become_(Mode::Pass);
    report("slow", load.recovers(Duration::from_secs(8)).await, only_503(&load.since(begin), STATEMENT + SLACK), 0);

    for (what, order) in [("restarted", Cluster::stop as fn(&Cluster)), ("crashed", Cluster::kill)] {
        let begin = Instant::now();
        tokio::task::block_in_place(|| order(&cluster));
        tokio::time::sleep(Duration::from_millis(300)).await;
        served_from_memory(&site).await;
        tokio::task::block_in_place(|| cluster.restart());
        report(what, load.recovers(Duration::from_secs(8)).await, only_503(&load.since(begin), ACQUIRE + SLACK), 1);
    }

    // Somebody holds a lock: refreshes wait for it together, and everybody who opens a sign-in with a connection of the pool, until
    // there is none.
    let begin = Instant::now();
    let mut somebody = sqlx::PgConnection::connect(&direct).await.unwrap();
    let lock = "BEGIN; LOCK TABLE families, interactions IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut somebody).await.unwrap();
    let path = Request::of(&client).url(&site).replace(&site.issuer, "");
    let asked = futures_util::future::join_all((0..20).map(|_| async {
        let asked = Instant::now();
        (site.get(&path).await, asked.elapsed())
    }));
    let (answers, ()) = tokio::join!(asked, served_from_memory(&site));
    for (answer, took) in &answers {
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.header("retry-after").parse::<u64>().is_ok(), "{:?}", answer.headers);
        assert!(*took < ACQUIRE + STATEMENT + Duration::from_secs(1) + SLACK, "{took:?}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut somebody).await.unwrap();
    let took = load.recovers(Duration::from_secs(8)).await;
    let seen = load.since(begin);
    // A refresh that waits for its turn, and then for its lock.
    report("stuck", took, only_503(&seen, (ACQUIRE + STATEMENT) * 2 + SLACK), 1);

    load.end().await;
    let (status, _, log) = server.stop();
    assert!(status.success());
    let said = |what: &str| {
        let of_these = |line: &str| answers.iter().any(|(answer, _)| line.contains(answer.header("chancery-trace-id")));
        log.lines().any(|line| line.contains(what) && of_these(line))
    };
    assert!(said("no connection was free in time"), "the pool was never exhausted");
    assert!(said("55P03") || said("57014"), "no lock was waited for");
}

#[track_caller]
fn report(what: &str, took: Duration, refused: usize, least: usize) {
    println!("{what}: {refused} answers were 503; all well again after {took:?}");
    assert!(refused >= least, "{what}: {refused} answers were 503");
}
