//! The primary dies and its synchronous standby takes over, at the address that the server knows.

use std::time::{Duration, Instant};

use chancery::storage::StoreError;

use super::apps::{App, Load, only_503, served_from_memory};
use super::installation::{ACQUIRE, Installation, STATEMENT, number, sql, store, unit_of_work};
use super::wire::{Mode, Wire};
use crate::harness::Request;
use crate::harness::machine::until;
use crate::harness::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_loses_nothing_and_needs_no_restart() {
    fail_over(Known::ByOneAddress).await;
}

/// As PostgreSQL's own programs do it: the URL names all hosts, and nothing moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_another_host_of_the_url_loses_nothing_and_needs_no_restart() {
    fail_over(Known::ByName).await;
}

/// How the server finds who takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Somebody leads its address there.
    ByOneAddress,
    /// It looks.
    ByName,
}

async fn fail_over(known: Known) {
    let primary = tokio::task::block_in_place(Cluster::start);
    let direct = primary.database().await;
    let database = direct.split(['/', '?']).nth(3).unwrap().to_owned();
    let standby = tokio::task::block_in_place(|| Cluster::standby_of(&primary));
    sql(&direct, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    sql(&direct, "SELECT pg_reload_conf()").await;
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'";
    until(Duration::from_secs(10), async || number(&direct, synchronous).await == 1).await;

    let wire = Wire::to(primary.folder()).await;
    let url = match known {
        Known::ByOneAddress => wire.url(&database),
        Known::ByName => {
            // The one that takes no writes comes first.
            let hosts = [standby.folder(), primary.folder()].map(|folder| folder.display().to_string().replace('/', "%2F"));
            format!("postgres://chancery@{}/{database}?target_session_attrs=read-write", hosts.join(","))
        }
    };
    let installation = Installation::on(&url, 1, &[]);
    let server = installation.start(0).await;
    let site = installation.site(0);
    let (alice, client) = installation.actors();
    let load = Load::begin(&alice, &client, &[installation.address(0)], 8).await;
    let app = App::of(&client, installation.address(0));
    load.recovers(Duration::from_secs(10)).await;

    // Spent codes and revoked families that were acknowledged up to the last moment.
    let (mut spent, mut revoked) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let back = alice.visit(&client, "openid").await;
        client.redeem(back.code(), &back.verifier).await.ok();
        spent.push(back);
        let tokens = alice.tokens_for_long(&client).await;
        client.revoke(&tokens.str("refresh_token")).await.ok();
        revoked.push(tokens);
    }
    let waiting = alice.visit(&client, "openid").await;
    let begin = Instant::now();
    tokio::task::block_in_place(|| primary.kill());
    // The address moves before the standby has been promoted: it reads, and refuses to write.
    wire.lead_to(standby.folder());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    served_from_memory(&site).await;
    assert_eq!(number(&standby.url(&database), "SELECT pg_is_in_recovery()::int::bigint").await, 1);
    // A single statement, and a unit of work.
    let bound = ACQUIRE + STATEMENT + Duration::from_millis(1500);
    assert_eq!(only_503(&[app.redeem(&waiting, &client.redirect_uri).await], bound), 1);
    assert_eq!(alice.open(&Request::of(&client)).await.status, 503);
    if known == Known::ByOneAddress {
        let (done, _) = unit_of_work(&store(&url).await).await;
        assert!(matches!(done, Err(StoreError::Unavailable(_))), "{done:?}");
    }
    let refused = load.since(begin).iter().filter(|seen| seen.status == 503).count();
    assert!(refused > 0, "a standby takes no writes");
    sql(&standby.url("postgres"), "SELECT pg_promote()").await;
    let took = load.recovers(Duration::from_secs(10)).await;
    let refused = only_503(&load.since(begin), bound);
    println!("failed over: {refused} answers were 503; all well again {took:?} after the promotion");

    unit_of_work(&store(&url).await).await.0.unwrap();
    load.end().await;
    client.redeem(waiting.code(), &waiting.verifier).await.ok();
    for back in spent {
        client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    }
    for tokens in revoked {
        client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
        assert!(!app.is_active(&tokens.str("access_token")).await);
    }
    server.stop();
    drop(standby);
}

/// A commit that no standby has confirmed is not acknowledged, and holds nobody up beyond the statement timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_standby_a_synchronous_primary_acknowledges_nothing() {
    let primary = tokio::task::block_in_place(Cluster::start);
    let direct = primary.database().await;
    let wire = Wire::to(primary.folder()).await;
    let installation = Installation::on(&wire.url(direct.split(['/', '?']).nth(3).unwrap()), 1, &[]);
    let server = installation.start(0).await;
    let (alice, client) = installation.actors();
    let load = Load::begin(&alice, &client, &[installation.address(0)], 4).await;
    load.recovers(Duration::from_secs(10)).await;
    let app = App::of(&client, installation.address(0));
    let db = store(&direct).await;
    let waiting = alice.visit(&client, "openid").await;
    sql(&direct, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    sql(&direct, "SELECT pg_reload_conf()").await;
    let bound = (STATEMENT + Duration::from_secs(1)) * 2 + ACQUIRE + Duration::from_millis(1500);
    // PostgreSQL's processes learn it one after the other.
    let mut refused = (Ok(()), Duration::ZERO);
    until(Duration::from_secs(20), async || {
        refused = unit_of_work(&db).await;
        refused.0.is_err()
    })
    .await;
    let (done, took) = refused;
    assert!(matches!(done, Err(StoreError::Unavailable(_))) && took < bound, "{done:?} after {took:?}");
    let begin = Instant::now();
    // A single statement that commits by itself.
    assert_eq!(only_503(&[app.redeem(&waiting, &client.redirect_uri).await], bound), 1);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let seen = load.since(begin);
    let refused = only_503(&seen, bound);
    assert!(refused > 0);
    assert!(seen.iter().all(|seen| seen.status == 503 || !seen.text.contains("refresh_token")), "acknowledged without a standby");
    sql(&direct, "ALTER SYSTEM RESET synchronous_standby_names").await;
    sql(&direct, "SELECT pg_reload_conf()").await;
    load.recovers(Duration::from_secs(10)).await;
    load.end().await;
    wire.become_(Mode::Pass);
    server.stop();
}
