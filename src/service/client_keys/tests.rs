use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Allowed, Outbound as Rules};
use crate::jose::{Alg, KeyMaker as _, NewKeyPairs};
use crate::oauth::grant::samples;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HALF_A_SECOND: Duration = Duration::from_millis(500);

fn keys() -> Arc<ClientKeys> {
    let allow = vec![Allowed::Network("127.0.0.0/8".parse().unwrap())];
    Arc::new(ClientKeys::new(Arc::new(Outbound::new(&Rules { allow, extra_ca_file: None }).unwrap())))
}

fn document(filler: usize) -> String {
    let key = serde_json::to_value(NewKeyPairs.make(Alg::ES256).unwrap().public).unwrap();
    json!({ "keys": [key], "filler": "x".repeat(filler) }).to_string()
}

/// A host that has answered so often before it falls silent. Every path is a URL of its own.
async fn host(document: String, answers: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let visits = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&visits);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let speaks = seen.fetch_add(1, Ordering::SeqCst) < answers;
            let document = document.clone();
            tokio::spawn(async move {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{document}",
                    document.len()
                );
                drop(stream.read(&mut [0; 4096]).await);
                if speaks {
                    drop(stream.write_all(head.as_bytes()).await);
                } else {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                }
            });
        }
    });
    (url, visits)
}

fn at(url: &str) -> Client {
    let mut client = samples::client("app");
    client.metadata.jwks_uri = Some(url.to_owned());
    client
}

fn ask(keys: &Arc<ClientKeys>, url: &str, now: Timestamp) -> tokio::task::JoinHandle<Result<Arc<JwkSet>, Reason>> {
    let (keys, client) = (Arc::clone(keys), at(url));
    tokio::spawn(async move { keys.of(&client, now).await })
}

/// How long the quickest of these takes, one after the other: a busy machine adds what it likes to any of them.
async fn quickest(asked: impl IntoIterator<Item = impl Future<Output = ()>>) -> Duration {
    let mut quickest = Duration::MAX;
    for one in asked {
        let begun = Instant::now();
        one.await;
        quickest = quickest.min(begun.elapsed());
    }
    quickest
}

async fn ask_later(keys: &Arc<ClientKeys>, url: String, expected: impl Fn(&Result<Arc<JwkSet>, Reason>) -> bool) {
    let answer = ask(keys, &url, NOW).await.unwrap();
    assert!(expected(&answer), "{url}: {answer:?}");
}

fn is_busy(answer: &Result<Arc<JwkSet>, Reason>) -> bool {
    matches!(answer, Err(Reason::Overloaded { .. }))
}

/// whoever waits for a host holds a request's place, of which there are not many.
#[tokio::test]
async fn a_silent_host_holds_few_up() {
    let keys = keys();
    let (silent, _) = host(document(0), 0).await;
    let (well, _) = host(document(0), usize::MAX).await;
    let asked: Vec<_> = (0..60).map(|_| ask(&keys, &silent, NOW)).collect();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let waiting = asked.iter().filter(|one| !one.is_finished()).count();
    assert!(waiting <= 4, "{waiting} wait");
    let other_paths = ["", "/1", "/2", "/3", "/4"];
    assert!(quickest(other_paths.map(|path| ask_later(&keys, format!("{well}{path}"), Result::is_ok))).await < HALF_A_SECOND);
    let mut busy = 0;
    for one in asked {
        let answer = one.await.unwrap();
        assert!(answer.is_err());
        busy += usize::from(is_busy(&answer));
    }
    assert!(busy >= 56, "{busy} were told why");
    // It is the host's own fault by now, and told without another wait.
    let told = |answer: &Result<_, _>| answer.is_err() && !is_busy(answer);
    assert!(quickest([0; 5].map(|_| ask_later(&keys, silent.clone(), told))).await < HALF_A_SECOND);
}

#[tokio::test]
async fn many_silent_hosts_hold_no_more_up() {
    let keys = keys();
    let (silent, _) = host(document(0), 0).await;
    let asked: Vec<_> = (0..80).map(|number| ask(&keys, &format!("{silent}/{number}"), NOW)).collect();
    tokio::time::sleep(Duration::from_millis(1800)).await;
    let waiting = asked.iter().filter(|one| !one.is_finished()).count();
    assert!(waiting <= 32, "{waiting} wait");
    // Whose turn never came is not to blame.
    let mut busy = 0;
    for one in asked {
        busy += usize::from(is_busy(&one.await.unwrap()));
    }
    assert_eq!(busy, 76, "four were asked");
}

/// That there was no place at the fetcher is no word about the client's host.
#[tokio::test]
async fn being_busy_is_not_remembered() {
    let keys = keys();
    let (sometimes, visits) = host(document(0), 0).await;
    let asked: Vec<_> = (0..4).map(|number| ask(&keys, &format!("{sometimes}/{number}"), NOW)).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_busy(&ask(&keys, &format!("{sometimes}/late"), NOW).await.unwrap()));
    for one in asked {
        drop(one.await.unwrap());
    }
    assert_eq!(visits.load(Ordering::SeqCst), 4);
    assert!(!is_busy(&ask(&keys, &format!("{sometimes}/late"), NOW).await.unwrap()), "now it was its turn");
    assert_eq!(visits.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn what_was_known_counts_while_somebody_fetches() {
    let keys = keys();
    let (url, _) = host(document(0), 1).await;
    let before = ask(&keys, &url, NOW).await.unwrap().unwrap();
    let later = NOW.plus(FRESH).plus(Duration::from_secs(1));
    let first = ask(&keys, &url, later);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = [0; 20].map(|_| async { assert!(Arc::ptr_eq(&ask(&keys, &url, later).await.unwrap().unwrap(), &before)) });
    assert!(quickest(asked).await < HALF_A_SECOND);
    assert!(!first.is_finished(), "somebody still fetches");
    assert!(Arc::ptr_eq(&first.await.unwrap().unwrap(), &before));
}

#[tokio::test]
async fn sets_count_by_their_size() {
    let keys = keys();
    let (url, _) = host(document(60_000), usize::MAX).await;
    for number in 0..150 {
        assert!(ask(&keys, &format!("{url}/{number}"), NOW).await.unwrap().is_ok());
    }
    keys.places.run_pending_tasks().await;
    let kept = keys.places.entry_count();
    assert!((50..=100).contains(&kept), "{kept} sets of 60 kB");
}
