//! No space left, or a file system that has become read-only: what cannot be written is not acknowledged, and once it can be again the
//! server goes on.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::args;
use sqlx::Connection as _;

use super::apps::{Load, only_503, served_from_memory};
use super::installation::{ACQUIRE, Installation, STATEMENT};
use crate::harness::machine::{Machine, until};
use crate::harness::postgres::Cluster;
use crate::harness::{Backend, Request, Server};

const SLACK: Duration = Duration::from_millis(2500);

/// The library of full.c, where everybody may read it.
fn library() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (source, library) = (folder.path().join("full.c"), folder.path().join("full.so"));
    std::fs::write(&source, include_str!("full.c")).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    (folder, library)
}

/// The SQLite file may not have one page more than it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_at_its_largest_takes_no_more_and_goes_on_when_it_may_grow() {
    let server = Server::start(Backend::Sqlite).await;
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    server.may_fail();
    let (mut begun, mut refused) = (0, 0);
    while refused < 20 {
        // A connection on which a write failed may be another one now.
        server.app.db.execute("PRAGMA max_page_count = 1", args![]).await.unwrap();
        let page = alice.open(&Request::of(&client)).await;
        match page.status {
            503 => {
                assert!(page.headers["retry-after"].to_str().unwrap().parse::<u64>().is_ok());
                refused += 1;
            }
            _ => begun += 1,
        }
        assert!(begun < 3000, "it never fills");
    }
    served_from_memory(&server).await;
    server.app.db.execute("PRAGMA max_page_count = 4294967294", args![]).await.unwrap();
    alice.visit(&client, "openid").await;
    client.refresh(&tokens.str("refresh_token")).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_sqlite_is_503_and_loses_nothing() {
    nothing_can_be_written("FULL_BELOW").await;
}

/// As Linux mounts one anew that has errors, under the files that are open. A connection that is opened meanwhile can only read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_becomes_read_only_under_sqlite_is_503_and_loses_nothing() {
    nothing_can_be_written("READ_ONLY_BELOW").await;
}

/// The real process, whose writes the file system refuses while the file is there that the library finds by this variable.
async fn nothing_can_be_written(variable: &str) {
    let (_library, path) = library();
    let mut machine = Machine::sqlite();
    let flag = machine.path().join("flag");
    machine.set("CHANCERY_DATABASE__ACQUIRE_TIMEOUT", "500ms");
    machine.set("CHANCERY_DATABASE__STATEMENT_TIMEOUT", "1s");
    let (alice, client) = {
        // The person and the app exist before that.
        (machine.person("alice"), machine.client())
    };
    machine.set("LD_PRELOAD", path.to_str().unwrap());
    machine.set(variable, flag.to_str().unwrap());
    let server = machine.start(&["serve"]).await;
    let site = machine.site();
    for site in [&site, &client.site, alice.browser.site()] {
        site.may_fail();
    }
    let load = Load::begin(&alice, &client, &[site.address], 4).await;
    load.recovers(Duration::from_secs(10)).await;
    // Refreshes change rows where they are, and the log begins anew as long as it can be moved into the file. Somebody who reads keeps it
    // from that, so that it has to grow.
    let data = machine.path().join("chancery-data");
    let mut reader = sqlx::SqliteConnection::connect(&format!("sqlite://{}", data.join("chancery.db").display())).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT COUNT(*) FROM families").execute(&mut reader).await.unwrap();
    let begin = Instant::now();
    std::fs::write(&flag, data.to_str().unwrap()).unwrap();
    // The file may be longer than what is in it.
    until(Duration::from_secs(90), async || load.since(begin).iter().filter(|seen| seen.status == 503).count() > 20).await;
    reader.close().await.unwrap();
    served_from_memory(&site).await;
    std::fs::remove_file(&flag).unwrap();
    let took = load.recovers(Duration::from_secs(10)).await;
    println!(
        "{variable} under SQLite: {} answers were 503; all well again after {took:?}",
        only_503(&load.since(begin), ACQUIRE + STATEMENT + SLACK)
    );
    load.end().await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_postgres_is_503_and_loses_nothing_even_when_postgres_panics() {
    let (_library, path) = library();
    let cluster = Arc::new(tokio::task::block_in_place(|| Cluster::preloaded(&path)));
    let url = cluster.database().await;
    let installation = Installation::on(&url, 1, &[]);
    let server = installation.start(0).await;
    let site = installation.site(0);
    let (alice, client) = installation.actors();
    let load = Load::begin(&alice, &client, &[installation.address(0)], 4).await;
    load.recovers(Duration::from_secs(10)).await;

    // Tables cannot grow; the log can.
    let begin = Instant::now();
    fill(&cluster, "data/base");
    let (mut begun, mut refused) = (0, 0);
    while refused < 10 {
        let page = alice.open(&Request::of(&client)).await;
        refused += usize::from(page.status == 503);
        begun += 1;
        assert!(begun < 3000, "it never fills");
    }
    served_from_memory(&site).await;
    empty(&cluster);
    let took = load.recovers(Duration::from_secs(10)).await;
    let others = only_503(&load.since(begin), ACQUIRE + STATEMENT + SLACK);
    println!("no room for tables: {} answers were 503; all well again after {took:?}", refused + others);

    // The log cannot grow: PostgreSQL panics, and may not come back by itself.
    let begin = Instant::now();
    fill(&cluster, "data");
    let next = "SELECT pg_switch_wal(); SELECT pg_logical_emit_message(false, 'test', 'x');".repeat(4);
    let switched = tokio::spawn(async move {
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(next)).execute(&mut connection).await.map(drop)
    });
    until(Duration::from_secs(60), async || load.since(begin).iter().filter(|seen| seen.status == 503).count() > 20).await;
    assert!(switched.await.unwrap().is_err());
    served_from_memory(&site).await;
    empty(&cluster);
    tokio::task::block_in_place(|| cluster.revive());
    let took = load.recovers(Duration::from_secs(20)).await;
    let refused = only_503(&load.since(begin), ACQUIRE + STATEMENT + SLACK);
    println!("no room for the log: {refused} answers were 503; all well again after {took:?}");
    let log = std::fs::read_to_string(cluster.folder().join("log")).unwrap();
    assert!(log.contains("PANIC") && log.contains("No space left on device"), "PostgreSQL did not notice");
    load.end().await;
    let (_, _, log) = server.stop();
    assert!(log.contains("53100"), "no statement ran out of space");
}

fn fill(cluster: &Cluster, below: &str) {
    let flag = cluster.folder().join("full");
    std::fs::write(&flag, cluster.folder().join(below).to_str().unwrap()).unwrap();
    std::fs::set_permissions(&flag, std::fs::Permissions::from_mode(0o644)).unwrap();
}

fn empty(cluster: &Cluster) {
    std::fs::remove_file(Path::new(cluster.folder()).join("full")).unwrap();
}
