//! kill -9 between the end of a session and telling its clients of it: each of them is told, by the next server if need be.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::harness::machine::{Machine, until};
use crate::harness::receiver::Receiver;
use crate::harness::{Request, jwt, rounds};

use super::chance::Seed;

/// The claim of a server that died runs out, and a restart takes its time.
const SOON: Duration = Duration::from_secs(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_tells_every_client_whenever_it_was_killed() {
    survive(Machine::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_tells_every_client_whenever_it_was_killed() {
    survive(Machine::postgres().await).await;
}

async fn survive(mut machine: Machine) {
    let mut chance = Seed::pick().chance();
    machine.set("CHANCERY_OUTBOUND__ALLOW", "127.0.0.0/8");
    let receivers = [Receiver::start().await, Receiver::start().await];
    let clients: Vec<_> = receivers
        .iter()
        .map(|receiver| machine.client_with(json!({ "backchannel_logout_uri": receiver.uri, "first_party": true })))
        .collect();
    let alice = machine.person("alice");
    let mut ended = BTreeSet::new();
    for _ in 0..rounds(6, 60) {
        let server = machine.start(&["serve"]).await;
        for client in &clients {
            let back = alice.arrive(&Request::of(client)).await;
            let tokens = client.redeem(back.code(), &back.verifier).await.ok();
            ended.insert((client.client_id.clone(), jwt(&tokens.str("id_token")).1["sid"].to_string()));
        }
        let page = alice.browser.get("/logout").await;
        let done = alice.browser.submit(&page, &[("decision", "allow")]).await;
        assert_eq!(done.status, 200, "{}", done.body);
        // Acknowledged. From before the first attempt until after the last.
        tokio::time::sleep(chance.millis(0, 12)).await;
        drop(server);
    }
    let told = || {
        let received = receivers.iter().flat_map(Receiver::received).map(|received| received.claims());
        received.map(|claims| (claims["aud"].as_str().unwrap().to_owned(), claims["sid"].to_string())).collect::<BTreeSet<_>>()
    };
    let before = told().len();
    let _server = machine.start(&["serve"]).await;
    until(SOON, async || told().len() >= ended.len()).await;
    assert_eq!(told(), ended);
    let attempts: usize = receivers.iter().map(|receiver| receiver.received().len()).sum();
    println!("{} ends, {before} told before the last restart, {attempts} attempts", ended.len());
    let db = machine.db().await;
    until(SOON, async || chancery::storage::logouts::waiting(&db).await.unwrap().is_empty()).await;
    db.close().await;
}
