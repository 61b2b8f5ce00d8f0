//! Thousands of clients that hang up half-way: inside of the body, and while their answer is being made. No connection to the database is
//! left in a state that the next request would meet.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::apps::App;
use super::installation::{Installation, number};
use super::pooler::{Way, ground};
use crate::harness::machine::{Machine, until};
use crate::harness::{Client, Person, Request, basic_header, rounds};

/// Connections to PostgreSQL.
const POOL: i64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_who_hang_up_poison_no_connection_to_postgres() {
    over(Way::Direct).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_who_hang_up_poison_no_connection_to_a_pooler() {
    over(Way::Pooled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_who_hang_up_poison_no_connection_to_sqlite() {
    let mut machine = Machine::sqlite();
    machine.set("CHANCERY_LIMITS__CONNECTIONS_PER_ADDRESS", "1000");
    let server = machine.start(&["serve"]).await;
    let (alice, client) = (machine.person("alice"), machine.client());
    let address = machine.site().address;
    hang_up_and_look(&alice, &client, address, &machine.management).await;
    server.stop();
}

async fn over(way: Way) {
    let ground = ground(way, 1, &[("CHANCERY_DATABASE__MAX_CONNECTIONS", "3"), ("CHANCERY_DATABASE__ACQUIRE_TIMEOUT", "3s")]).await;
    let installation: &Installation = &ground.installation;
    let server = installation.start(0).await;
    let (alice, client) = installation.actors();
    hang_up_and_look(&alice, &client, installation.address(0), &installation.machines[0].management).await;
    let sessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'chancery'";
    // A job of the server's own may be in the midst of one, and not for long.
    let open = format!("SELECT count(*) {sessions} AND state LIKE 'idle in transaction%'");
    until(Duration::from_secs(10), async || number(&ground.direct, &open).await == 0).await;
    if way == Way::Direct {
        assert!(number(&ground.direct, &format!("SELECT count(*) {sessions}")).await <= POOL + 1);
    }
    server.stop();
}

async fn hang_up_and_look(alice: &Person, client: &Client, address: SocketAddr, management: &str) {
    let app = App::of(client, address);
    let mut families = Vec::new();
    for _ in 0..4 {
        families.push(alice.tokens_for_long(client).await.str("refresh_token"));
    }
    let authorize = Request::of(client).url(alice.browser.site()).replace(&alice.browser.site().issuer, "");
    let count = rounds(1200, 10_000);
    let mut hanging = tokio::task::JoinSet::new();
    for index in 0..count {
        let (request, body) = request(client, index, &families[index % families.len()], &authorize);
        // Inside of the body, or of the head of a request without one; or after all of it, sooner or later.
        let whole = index % 2 == 0;
        let sent = if whole { request.len() } else { request.len() - 1 - (index * 7) % body.max(40).min(request.len() - 1) };
        let patience = if whole { Duration::from_micros((index as u64 * 137) % 6000) } else { Duration::ZERO };
        hanging.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&request[..sent]).await.unwrap();
            tokio::time::sleep(patience).await;
        });
        if hanging.len() >= 24 {
            hanging.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(hung_up) = hanging.join_next().await {
        hung_up.unwrap();
    }
    // Every connection of the pool, several times over, and everything at once.
    for _ in 0..5 {
        let asked =
            futures_util::future::join_all((0..12).map(|index| {
                let (app, token) = (app.clone(), families[index % families.len()].clone());
                async move {
                    if index % 3 == 0 { app.refresh(&token).await } else { app.form("/introspect", &[("token", &token)]).await }
                }
            }));
        for seen in asked.await {
            assert_eq!(seen.status, 200, "{seen:?}");
        }
    }
    for token in &families {
        let next = app.refresh(token).await;
        assert_eq!(next.status, 200, "{next:?}");
        let next = next.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(app.form("/revoke", &[("token", &next)]).await.status, 200);
        assert!(!app.is_active(&next).await);
    }
    alice.tokens(client, "openid").await;
    let metrics = reqwest::get(format!("{management}/metrics")).await.unwrap().text().await.unwrap();
    let panics = metrics.lines().filter(|line| line.starts_with("chancery_panics_total") && !line.ends_with(" 0")).count();
    assert_eq!(panics, 0, "{metrics}");
    println!("{count} hung up");
}

/// The bytes of a request, and how many of them are its body.
fn request(client: &Client, index: usize, token: &str, authorize: &str) -> (Vec<u8>, usize) {
    let (path, body) = match index / 2 % 5 {
        0 => ("/token", format!("grant_type=refresh_token&refresh_token={token}")),
        1 => ("/token", "grant_type=client_credentials".to_owned()),
        2 => ("/introspect", format!("token={token}")),
        3 => ("/revoke", format!("token=nobodys-{index}")),
        _ => {
            return (format!("GET {authorize} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(), 0);
        }
    };
    let authorization = basic_header(&client.client_id, client.secret.as_ref().unwrap());
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    (format!("{head}{body}").into_bytes(), body.len())
}
