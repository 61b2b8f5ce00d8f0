//! Replicas agree at every moment: on the keys, and on what is revoked; directly and behind a transaction pooler.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::apps::{App, Load, only_503};
use super::installation::{number, sql};
use super::pooler::{Way, ground};
use crate::harness::machine::until;
use crate::harness::{jwt, rounds};

/// Runs each test over each way to the database.
macro_rules! every_way {
    ($($name:ident),+ $(,)?) => {
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Way::Direct).await; })+
        }
        mod pooled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Way::Pooled).await; })+
        }
    };
}
pub(super) use every_way;

every_way![no_token_is_signed_by_a_key_that_another_replica_does_not_know, what_is_revoked_is_revoked_everywhere_at_once];

/// Tokens of every replica, looked at by every other one at once, while keys are rotated by command.
async fn no_token_is_signed_by_a_key_that_another_replica_does_not_know(way: Way) {
    let ground = ground(way, 3, &[]).await;
    let installation = &ground.installation;
    let servers = installation.start_all().await;
    let addresses: Vec<_> = (0..3).map(|replica| installation.address(replica)).collect();
    let (alice, client) = installation.actors();
    let load = Load::begin(&alice, &client, &addresses, 3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let apps: Vec<App> = addresses.iter().map(|address| App::of(&client, *address)).collect();
    // Of each replica, the keys whose tokens were looked at.
    let looked_at: Arc<[Mutex<BTreeSet<String>>; 3]> = Arc::default();
    let looking: Vec<_> = (0..3)
        .map(|replica| {
            let (stop, apps, looked_at) = (stop.clone(), apps.clone(), looked_at.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let seen = apps[replica].token().await;
                    assert_eq!(seen.status, 200, "{seen:?}");
                    let token = seen.json()["access_token"].as_str().unwrap().to_owned();
                    let kid = jwt(&token).0["kid"].as_str().unwrap().to_owned();
                    for other in [(replica + 1) % 3, (replica + 2) % 3] {
                        let jwks = apps[other].get("/jwks").await.json();
                        assert!(knows(&jwks, &kid), "replica {other} does not know {kid} of replica {replica}: {jwks}");
                        assert!(apps[other].is_active(&token).await, "replica {other} does not believe replica {replica}");
                    }
                    looked_at[replica].lock().unwrap().insert(kid);
                }
            })
        })
        .collect();
    let all_have = async |many: usize| {
        until(Duration::from_secs(30), async || looked_at.iter().all(|kids| kids.lock().unwrap().len() == many)).await;
    };
    all_have(1).await;
    for round in 0..rounds(3, 20) {
        let signing = "SELECT count(*) FROM signing_keys WHERE state = 'active' AND alg = 'RS256' AND kid = ";
        // The next key has been published for long enough.
        let aged = "UPDATE signing_keys SET created_at = created_at - 3600000000, published_at = published_at - 3600000000 WHERE state = 'next'";
        sql(&ground.direct, aged).await;
        let rotated = tokio::task::block_in_place(|| installation.machines[round % 3].json(&["key", "rotate", "--alg", "RS256"]));
        let new = rotated[0]["new"].as_str().unwrap_or_else(|| panic!("{rotated}")).to_owned();
        assert_eq!(number(&ground.direct, &format!("{signing}'{new}'")).await, 1);
        // All three sign with it before the next round.
        for app in &apps {
            until(Duration::from_secs(10), async || {
                let token = app.token().await.json()["access_token"].as_str().unwrap().to_owned();
                jwt(&token).0["kid"] == new.as_str()
            })
            .await;
        }
        all_have(round + 2).await;
    }
    stop.store(true, Ordering::Relaxed);
    for replica in looking {
        replica.await.unwrap();
    }
    assert_eq!(only_503(&load.end().await, Duration::from_secs(10)), 0, "nobody notices");
    servers.into_iter().for_each(|server| drop(server.stop()));
}

fn knows(jwks: &Value, kid: &str) -> bool {
    jwks["keys"].as_array().unwrap().iter().any(|key| key["kid"] == kid)
}

async fn what_is_revoked_is_revoked_everywhere_at_once(way: Way) {
    let ground = ground(way, 3, &[]).await;
    let installation = &ground.installation;
    let servers = installation.start_all().await;
    let addresses: Vec<_> = (0..3).map(|replica| installation.address(replica)).collect();
    let (alice, client) = installation.actors();
    let load = Load::begin(&alice, &client, &addresses, 3).await;
    let apps: Vec<App> = addresses.iter().map(|address| App::of(&client, *address)).collect();
    for round in 0..rounds(6, 100) {
        let tokens = alice.tokens_for_long(&client).await;
        let (access, refresh) = (tokens.str("access_token"), tokens.str("refresh_token"));
        for app in &apps {
            assert!(app.is_active(&access).await && app.is_active(&refresh).await);
            assert_eq!(app.userinfo(&access).await.status, 200);
        }
        assert_eq!(apps[round % 3].form("/revoke", &[("token", &refresh)]).await.status, 200);
        for app in &apps {
            assert!(!app.is_active(&access).await && !app.is_active(&refresh).await);
            assert_eq!(app.userinfo(&access).await.status, 401);
            assert_eq!(app.refresh(&refresh).await.status, 400);
        }
    }
    // A command beside the servers: what hangs on the person ends in one step.
    let tokens = alice.tokens_for_long(&client).await;
    tokio::task::block_in_place(|| installation.machines[1].run(&["user", "sign-out", &alice.username]));
    for app in &apps {
        assert_eq!(app.userinfo(&tokens.str("access_token")).await.status, 401);
        assert_eq!(app.refresh(&tokens.str("refresh_token")).await.status, 400);
    }
    drop(load);
    servers.into_iter().for_each(|server| drop(server.stop()));
}

/// A client that is switched off is cached for five seconds at the most; where notifications come, not even that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_switched_off_is_off_everywhere_as_soon_as_the_way_allows() {
    for (way, within) in
        [(Way::Direct, Duration::from_secs(2)), (Way::Pooled, Duration::from_secs(2)), (Way::PooledAlone, Duration::from_secs(7))]
    {
        let ground = ground(way, 2, &[]).await;
        let installation = &ground.installation;
        let servers = installation.start_all().await;
        let (_, client) = installation.actors();
        let apps = [0, 1].map(|replica| App::of(&client, installation.address(replica)));
        // The listening connection is made beside the first requests.
        let listening =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'";
        let listeners = if way == Way::PooledAlone { 0 } else { 2 };
        until(Duration::from_secs(20), async || number(&ground.direct, listening).await == listeners).await;
        for (command, status) in [("disable", 401), ("enable", 200)] {
            for app in &apps {
                app.token().await;
            }
            tokio::task::block_in_place(|| installation.machines[0].run(&["client", command, &client.client_id]));
            let begin = Instant::now();
            for app in &apps {
                until(within, async || app.token().await.status == status).await;
            }
            println!("{way:?}: {command} was seen by both within {:?}", begin.elapsed());
        }
        servers.into_iter().for_each(|server| drop(server.stop()));
    }
}
