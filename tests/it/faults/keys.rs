//! kill -9 while keys change: by the operator's command, and by the server when a key's time has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery::args;
use chancery::seal::Purpose;
use serde_json::Value;

use crate::harness::machine::{Machine, until};
use crate::harness::{Backend, Client, Site, rounds};

use super::chance::{Chance, Pace, Seed};
use super::family::{Family, Kind, heard};
use super::stage::{SOON, Stage};

/// Tokens live for ten minutes.
const LOOKED_AT: Duration = Duration::from_secs(480);
/// How many tokens of a round are looked at.
const SAMPLE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keys_change_wholly_or_not_at_all() {
    change_keys(Stage::set(Backend::Sqlite, false).await, rounds(20, 200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keys_change_wholly_or_not_at_all() {
    change_keys(Stage::set(Backend::Postgres, false).await, rounds(20, 200)).await;
}

/// A token, the key that signed it, and when.
struct Minted {
    token: String,
    kid: String,
    at: Instant,
}

/// Whether a key was declared compromised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compromised {
    Maybe,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// `chancery key rotate --compromised`
    Compromise,
    /// `chancery key rotate`, where the next key may sign already.
    Rotate,
    /// `chancery key rotate --purpose …`
    Data,
    /// By the server itself: a key's time has come.
    Due,
}

async fn change_keys(stage: Stage, rounds: usize) {
    let seed = Seed::pick();
    let mut chance = seed.chance();
    let machine = &stage.machine;
    let client = machine.client();
    let mut server = Some(machine.start(&["serve"]).await);
    let mut families = begin(&stage).await;
    let mut minted: Vec<Minted> = Vec::new();
    let mut compromised: BTreeMap<String, Compromised> = BTreeMap::new();
    let mut done = 0;
    // The first of each kind comes to its end.
    let mut paces: BTreeMap<Way, Pace> = BTreeMap::new();
    for round in 0..rounds {
        let way = *chance.pick(&[Way::Compromise, Way::Compromise, Way::Rotate, Way::Data, Way::Due, Way::Due]);
        // New keys for all algorithms, either way.
        let pace = paces.entry(if way == Way::Due { Way::Compromise } else { way }).or_default();
        let before = mint(&client.through(machine.site())).await.expect("the server is there").kid;
        let over = Arc::new(AtomicBool::new(false));
        let minting = tokio::spawn(mint_on(client.through(machine.site()), over.clone()));
        let acknowledged = match way {
            Way::Due => {
                age(machine, "'active', 'next'", Duration::from_secs(100 * 86_400)).await;
                drop(server.take());
                // It looks for what is due as soon as it starts, which takes it longer than a command; killed at any instant of that.
                let after = 2 * pace.instant(&mut chance).unwrap_or(Duration::from_millis(300));
                let mut child = machine.command(&["serve"]).spawn().unwrap();
                tokio::time::sleep(after).await;
                child.kill().unwrap();
                child.wait().unwrap();
                false
            }
            Way::Compromise => command(machine, &["key", "rotate", "--compromised", "--json"], pace, &mut chance).await,
            Way::Rotate => {
                age(machine, "'next'", Duration::from_secs(400)).await;
                command(machine, &["key", "rotate", "--json"], pace, &mut chance).await
            }
            Way::Data => {
                let purpose = chance.pick(&Purpose::ALL).as_str();
                command(machine, &["key", "rotate", "--purpose", purpose, "--json"], pace, &mut chance).await
            }
        };
        if !chance.once_in(4) {
            drop(server.take());
        }
        over.store(true, Ordering::Relaxed);
        minted.extend(minting.await.unwrap());
        done += usize::from(acknowledged);
        if way == Way::Compromise {
            compromised.insert(before.clone(), if acknowledged { Compromised::Yes } else { Compromised::Maybe });
        }
        if server.is_none() {
            server = Some(machine.start(&["serve"]).await);
        }

        let client = client.through(machine.site());
        if compromised.get(&before) == Some(&Compromised::Maybe) {
            if state_of(machine, &before) == "compromised" {
                compromised.insert(before.clone(), Compromised::Yes);
            } else {
                compromised.remove(&before);
            }
        }
        // Another process is believed within seconds, also by a server that was not killed.
        if compromised.contains_key(&before) {
            until(SOON, async || mint(&client).await.is_some_and(|minted| minted.kid != before)).await;
        }
        minted.retain(|minted| minted.at.elapsed() < LOOKED_AT);
        let sample: Vec<&Minted> = (0..SAMPLE).map(|_| chance.pick(&minted)).chain(minted.iter().rev().take(2)).collect();
        for Minted { token, kid, .. } in sample {
            let active = client.is_active(token).await;
            assert_eq!(active, !compromised.contains_key(kid), "a token of key {kid} after {way:?} in round {round}");
        }
        published(&client.site, &mint(&client).await.unwrap().kid, &compromised, &minted).await;
        stage.examine().await;
        for family in &mut families {
            family.go_to(&client.site);
            family.settle_but_for_access().await;
        }
        if round % 8 == 7 {
            families = begin(&stage).await;
        }
    }
    drop(server);
    assert!(done > 0 && done < rounds, "{done} of {rounds} commands were finished");
}

/// Where a key stands, as operators see it.
fn state_of(machine: &Machine, kid: &str) -> String {
    let list = machine.json(&["key", "list"]);
    let key = list["signing"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap_or_else(|| panic!("{kid}: {list}"));
    key["state"].as_str().unwrap().to_owned()
}

/// The JWKS holds what signs, what signed and is not compromised, and nothing that must not be believed.
async fn published(site: &Arc<Site>, signs: &str, compromised: &BTreeMap<String, Compromised>, minted: &[Minted]) {
    let kids = kids(site).await;
    assert!(kids.contains(&signs.to_owned()), "what signs is not published");
    for kid in minted.iter().map(|minted| &minted.kid) {
        assert_eq!(kids.contains(kid), !compromised.contains_key(kid), "key {kid} in the JWKS");
    }
}

async fn kids(site: &Arc<Site>) -> Vec<String> {
    let jwks = site.get("/jwks").await.ok().json();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn begin(stage: &Stage) -> Vec<Family> {
    let site = stage.machine.site();
    let mut families = Vec::new();
    for kind in [Kind::Recover, Kind::Public, Kind::Strict] {
        let mut code = stage.code(&site, kind).await.expect("the server is there");
        code.go_to(&site);
        families.push(code.redeem_at_once(1).await.ok().expect("the code is good"));
    }
    families
}

async fn mint(client: &Client) -> Option<Minted> {
    let token = heard(client.try_call("/token", &[("grant_type", "client_credentials")]).await)?.ok().str("access_token");
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    Some(Minted { token, kid, at: Instant::now() })
}

async fn mint_on(client: Client, over: Arc<AtomicBool>) -> Vec<Minted> {
    let mut all = Vec::new();
    while !over.load(Ordering::Relaxed) {
        all.extend(mint(&client).await);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    all
}

/// Whether the command came to its end before it was killed.
async fn command(machine: &Machine, line: &[&str], pace: &mut Pace, chance: &mut Chance) -> bool {
    let (after, begun) = (pace.instant(chance).unwrap_or(SOON), Instant::now());
    let mut child = machine.command(line).spawn().unwrap();
    let mut ended = false;
    while !ended && begun.elapsed() < after {
        tokio::time::sleep(Duration::from_millis(1)).await;
        ended = child.try_wait().unwrap().is_some();
    }
    pace.note(ended.then(|| begun.elapsed()));
    drop(child.kill());
    let output = child.wait_with_output().unwrap();
    if output.status.code().is_some_and(|code| code != 0) {
        panic!("{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success() && serde_json::from_slice::<Value>(&output.stdout).is_ok()
}

/// Makes keys older than they are.
async fn age(machine: &Machine, states: &str, by: Duration) {
    let db = machine.db().await;
    let columns = ["created_at", "state_since", "published_at", "activated_at"];
    let set: Vec<String> = columns.iter().map(|column| format!("{column} = {column} - $1")).collect();
    let sql = format!("UPDATE signing_keys SET {} WHERE state IN ({states})", set.join(", "));
    let sql: &'static str = Box::leak(sql.into_boxed_str());
    db.execute(sql, args![i64::try_from(by.as_micros()).unwrap()]).await.unwrap();
    db.close().await;
}
