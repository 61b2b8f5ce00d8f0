//! Replicas that are replaced one after the other, and a schema that a newer version has changed under those that are still at work: not
//! one failed request behind a proxy, directly and behind a transaction pooler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery::storage::migrate;

use super::apps::{Load, Seen};
use super::front::Front;
use super::installation::{Installation, sql};
use super::pooler::{Way, ground};
use super::replicas::every_way;
use crate::harness::{Client, Person, rounds};

every_way![replicas_are_replaced_without_one_failed_request, a_newer_version_migrates_under_replicas_at_work];

/// An app and a person with a browser, both in front of the proxy.
fn in_front(installation: &Installation, front: &Front) -> (Person, Client) {
    let (alice, client) = installation.actors();
    let site = installation.site_at(front.address);
    (Person { browser: alice.browser.through(site.clone()), ..alice }, client.through(site))
}

#[track_caller]
fn nothing_failed(seen: &[Seen], front: &Front) {
    let failed: Vec<&Seen> = seen.iter().filter(|seen| seen.status != 200).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}\n{}", failed.len(), seen.len(), &failed[..failed.len().min(3)], front.log());
}

async fn replicas_are_replaced_without_one_failed_request(way: Way) {
    let ground = ground(way, 2, &[("CHANCERY_LIMITS__DRAIN_DELAY", "3s")]).await;
    let installation = &ground.installation;
    let mut servers: Vec<_> = installation.start_all().await.into_iter().map(Some).collect();
    let front = Front::of(installation).await;
    let (alice, client) = in_front(installation, &front);
    let load = Load::begin(&alice, &client, &[front.address], 6).await;
    for round in 0..rounds(1, 10) {
        for replica in [0, 1] {
            let server = servers[replica].take().unwrap();
            let (status, _, log) = tokio::task::block_in_place(|| server.stop());
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(log.contains("drained") && !log.contains("cut_off=1"), "{log}");
            let begin = Instant::now();
            // A person signs in meanwhile, with pages from whichever replica.
            alice.tokens(&client, "openid").await;
            servers[replica] = Some(installation.start(replica).await);
            front.sees(2).await;
            println!("round {round}: replica {replica} is back after {:?}", begin.elapsed());
        }
    }
    nothing_failed(&load.end().await, &front);
}

/// What a version after this one may do, since scripts only add: columns to tables in use, tables, indexes. Each replica that is running
/// stays ready and goes on; one that starts refuses.
async fn a_newer_version_migrates_under_replicas_at_work(way: Way) {
    let ground = ground(way, 2, &[]).await;
    let installation = &ground.installation;
    let servers = installation.start_all().await;
    let front = Front::of(installation).await;
    let (alice, client) = in_front(installation, &front);
    let load = Load::begin(&alice, &client, &[front.address], 6).await;
    let stop = Arc::new(AtomicBool::new(false));
    let ready: Vec<_> = (0..2)
        .map(|replica| {
            let (site, stop) = (installation.site(replica), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(site.get("/readyz").await.status, 200, "replica {replica} is not ready");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
        })
        .collect();
    let tables = ["families", "grants", "codes", "clients", "users", "sessions", "interactions", "signing_keys"];
    let mut number = migrate::newest();
    for table in tables {
        number += 1;
        let script = format!(
            "BEGIN; SELECT pg_advisory_xact_lock({}); ALTER TABLE {table} ADD COLUMN later TEXT; ALTER TABLE {table} ADD COLUMN counted BIGINT NOT NULL DEFAULT 7; \
             CREATE TABLE later_{table} (id BIGINT PRIMARY KEY, what TEXT); CREATE INDEX later_{table}_what ON later_{table} (what); \
             INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ({number}, '{number:04}_later', decode('{}', 'hex'), 0); COMMIT",
            0x6368_616e_6365_7279_i64,
            "00".repeat(32),
        );
        sql(&ground.direct, &script).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Longer than the probe and the caches.
    tokio::time::sleep(Duration::from_secs(2)).await;
    alice.tokens(&client, "openid").await;
    stop.store(true, Ordering::Relaxed);
    for replica in ready {
        replica.await.unwrap();
    }
    nothing_failed(&load.end().await, &front);
    for server in servers {
        server.stop();
    }
    let said = tokio::task::block_in_place(|| installation.machines[0].refuses(&["serve"]));
    assert!(said.contains("a newer Chancery was here"), "{said}");
}
