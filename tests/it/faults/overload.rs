//! Ten times what the server can do: every answer comes within a known time, health answers all the while, and afterwards all is as before.
//!
//! Requests arrive when they arrive, whether or not the ones before were answered: nobody waits politely in front of a server that is
//! down. What the server can do is measured first, by as many as it works on at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::{Backend, Browser, Client, basic_header, rounds};

use super::family::Kind;
use super::stage::Stage;

/// Ten times the sustainable rate.
const TIMES: f64 = 10.0;
/// Who ask one after the other while the sustainable rate is measured: enough to keep the server busy, and few enough to find a place.
const fn callers(load: Load) -> usize {
    match load {
        Load::Tokens | Load::Refreshes => 16,
        // A password takes a processor for a while.
        Load::SignIns => 2,
    }
}

/// The server's limits, and how many connections the flood comes over: more than the server holds in places and queue. In the long form also
/// more than it lets wait before they hear that they are sent away (`MOST_HELD`), so that arrivals do not wait for answers.
struct Limits {
    requests: usize,
    waiting: usize,
    longest_wait: Duration,
    connections: usize,
    length: Duration,
}

impl Limits {
    /// A short flood of a server with little room, or a minute of one as it is shipped.
    fn of_the_day() -> Self {
        let seconds = Duration::from_secs;
        match rounds(0, 1) {
            0 => Self { requests: 64, waiting: 64, longest_wait: Duration::from_millis(300), connections: 400, length: seconds(3) },
            _ => Self { requests: 256, waiting: 1024, longest_wait: seconds(1), connections: 6000, length: seconds(60) },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_token_requests_is_answered_in_time_on_sqlite() {
    flood(Backend::Sqlite, Load::Tokens).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_token_requests_is_answered_in_time_on_postgres() {
    flood(Backend::Postgres, Load::Tokens).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refreshes_is_answered_in_time_on_sqlite() {
    flood(Backend::Sqlite, Load::Refreshes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refreshes_is_answered_in_time_on_postgres() {
    flood(Backend::Postgres, Load::Refreshes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_sign_ins_is_answered_in_time_on_sqlite() {
    flood(Backend::Sqlite, Load::SignIns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_sign_ins_is_answered_in_time_on_postgres() {
    flood(Backend::Postgres, Load::SignIns).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// client_credentials: processors alone.
    Tokens,
    /// One family, refreshed by everybody: the database, one row of it.
    Refreshes,
    /// The right password, hashed with the costs that are shipped.
    SignIns,
}

/// What came of a stretch of time.
#[derive(Debug, Default)]
struct Outcome {
    granted: Vec<Duration>,
    sent_away: Vec<Duration>,
    /// Arrivals for which no connection was free: they wait for their turn like people in front of a door.
    late: u64,
    took: Duration,
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.granted.len() as f64 / self.took.as_secs_f64()
    }

    fn answered(&self) -> f64 {
        (self.granted.len() + self.sent_away.len()) as f64 / self.took.as_secs_f64()
    }
}

async fn flood(backend: Backend, load: Load) {
    let (stage, limits) = limited(backend).await;
    let _server = stage.machine.start(&["serve"]).await;
    let request = request(&stage, load).await;
    let (public, management) = (address(&stage.machine.issuer), address(&stage.machine.management));

    let places = [(public, "/healthz"), (management, "/readyz"), (public, "/jwks")];
    let (calm, calm_health) = watched(places, closed(public, &request, callers(load), Duration::from_secs(1))).await;
    assert!(calm.sent_away.is_empty(), "as many as there are places, and some were sent away");
    let sustainable = calm.rate();
    let (flood, health) = watched(places, open(public, &request, sustainable * TIMES, &limits)).await;

    let begun = Instant::now();
    let mut after = closed(public, &request, callers(load), Duration::from_secs(1)).await;
    while after.rate() < sustainable / 2.0 {
        if begun.elapsed() > Duration::from_secs(10) {
            // The machine may be slower than it was, and not the server: one that nobody has flooded tells, in turn with it.
            let (other, _) = limited(backend).await;
            let _other = other.machine.start(&["serve"]).await;
            let request_there = self::request(&other, load).await;
            let mut seen = Vec::new();
            for _ in 0..5 {
                let there = address(&other.machine.issuer);
                let fresh = closed(there, &request_there, callers(load), Duration::from_secs(1)).await.rate();
                seen.push((closed(public, &request, callers(load), Duration::from_secs(1)).await.rate(), fresh));
                if seen.iter().any(|(now, fresh)| *now > fresh / 2.0) {
                    break;
                }
            }
            let as_before = seen.iter().any(|(now, fresh)| *now > fresh / 2.0);
            assert!(as_before, "{sustainable:.0} a second before; after, beside a server that was never flooded: {seen:.0?}");
            break;
        }
        after = closed(public, &request, callers(load), Duration::from_secs(1)).await;
    }
    println!(
        "{load:?} on {backend:?}: sustainable {sustainable:.0}/s; flood {:.0}/s answered, {:.0}/s granted, {} sent away, {} late; \
         granted p50 {:?} p99 {:?}; sent away p50 {:?} p99 {:?} max {:?}; health p50 {:?} p99 {:?} max {:?}; after {:.0}/s within {:?}",
        flood.answered(),
        flood.rate(),
        flood.sent_away.len(),
        flood.late,
        share(&flood.granted, 0.5),
        share(&flood.granted, 0.99),
        share(&flood.sent_away, 0.5),
        share(&flood.sent_away, 0.99),
        share(&flood.sent_away, 1.0),
        share(&health, 0.5),
        share(&health, 0.99),
        share(&health, 1.0),
        after.rate(),
        begun.elapsed(),
    );
    // What was begun was finished, and the rest was told so. A token waits for nothing but a processor: there may be nobody who had to be sent
    // away, if those who came over all connections were answered in the time that being sent away may take.
    // What waits for a processor on a machine that others use waits as much longer as it did before.
    let in_time = limits.longest_wait + Duration::from_secs(2).max(10 * share(&calm.granted, 0.99));
    let granted = share(&flood.granted, 0.99);
    assert!(!flood.granted.is_empty(), "nobody was granted anything");
    assert!(
        !flood.sent_away.is_empty() || (load == Load::Tokens && granted < in_time),
        "nobody was sent away, and some waited {granted:?}"
    );
    assert!(flood.rate() > sustainable / 4.0, "{:.0} a second of {sustainable:.0} were granted", flood.rate());
    // Whoever comes back at once must not find the answer ready at once: otherwise all time goes into sending them away.
    let quickest = share(&flood.sent_away, 0.0);
    let all_are_held = limits.connections < 4096;
    assert!(flood.sent_away.is_empty() || !all_are_held || quickest >= limits.longest_wait / 2, "{quickest:?}");
    // In a known time, whatever the machine is doing beside.
    let slowest = share(&flood.sent_away, 0.99);
    assert!(slowest < in_time, "{slowest:?}");
    if limits.length > Duration::from_secs(10) {
        let most = share(&health, 0.99);
        assert!(most < Duration::from_millis(100), "health: {most:?}");
    } else {
        // Among all other tests a moment without a processor says nothing about the server, nor does a machine on which health is slow
        // while the server has no more to do than it can.
        let (most, before) = (share(&health, 0.5), share(&calm_health, 0.5));
        assert!(most < Duration::from_millis(100).max(5 * before), "health: {most:?}, and {before:?} before");
    }
    let (slowest, before) = (share(&health, 1.0), share(&calm_health, 1.0));
    assert!(slowest < Duration::from_secs(2).max(5 * before), "health: {slowest:?}, and {before:?} before");
    stage.examine().await;
    let metrics = reqwest::get(format!("{}/metrics", stage.machine.management)).await.unwrap().text().await.unwrap();
    // Whoever was sent away; of sign-ins it may be the line in front of the passwords that had no room.
    let counted = counted(&metrics, "chancery_refusals_total", "rule=\"overloaded\"");
    assert!(counted >= flood.sent_away.len() as f64, "{counted} counted of {}: {metrics}", flood.sent_away.len());
    let shed = metrics.contains("chancery_requests_shed_total{because=");
    assert!(load == Load::SignIns || flood.sent_away.is_empty() || shed, "{metrics}");
    // Counted, and not kept: a row for each would be a second flood.
    let db = stage.machine.db().await;
    let kept = db.all("SELECT COUNT(*) AS kept FROM decisions WHERE rule = 'overloaded'", chancery::args![]).await.unwrap();
    let kept = kept[0].get::<i64>("kept").unwrap();
    db.close().await;
    assert!(kept <= 60 * (2 + i64::try_from(limits.length.as_secs()).unwrap() / 60), "{kept} rows of one address");
}

/// The sum of a metric over all that has this label.
fn counted(metrics: &str, name: &str, label: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A stage whose server has these limits.
async fn limited(backend: Backend) -> (Stage, Limits) {
    let mut stage = Stage::set(backend, false).await;
    let limits = Limits::of_the_day();
    stage.machine.set("CHANCERY_LIMITS__REQUESTS", &limits.requests.to_string());
    stage.machine.set("CHANCERY_LIMITS__WAITING", &limits.waiting.to_string());
    stage.machine.set("CHANCERY_LIMITS__LONGEST_WAIT", &format!("{}ms", limits.longest_wait.as_millis()));
    stage.machine.set("CHANCERY_PASSWORDS__MEMORY_KIB", "19456");
    // One person comes for thousands, and is none who guesses.
    for name in ["ACCOUNT_FAILURES", "ADDRESS_FAILURES", "GLOBAL_FAILURES"] {
        stage.machine.set(&format!("CHANCERY_THROTTLE__{name}"), "1000000");
    }
    stage.machine.set("CHANCERY_LIMITS__CONNECTIONS", "6100");
    stage.machine.set("CHANCERY_LIMITS__CONNECTIONS_PER_ADDRESS", "6100");
    stage.machine.set("CHANCERY_LOG", "warn");
    (stage, limits)
}

/// The bytes of one request, the same each time.
async fn request(stage: &Stage, load: Load) -> Arc<Vec<u8>> {
    if load == Load::SignIns {
        return sign_in(stage).await;
    }
    let (client, body): (Client, String) = match load {
        Load::Tokens | Load::SignIns => (stage.machine.client(), "grant_type=client_credentials".to_owned()),
        Load::Refreshes => {
            let site = stage.machine.site();
            // A retry receives the head for ten seconds, and a confidential client's one for as long as the head is not used: the same row
            // is written each time.
            let mut code = stage.code(&site, Kind::Recover).await.expect("the server is there");
            code.go_to(&site);
            let client = code.client.clone();
            let (_, tokens) = code.redeem_for_tokens().await.ok().expect("the code is good");
            (client, format!("grant_type=refresh_token&refresh_token={}", tokens.str("refresh_token")))
        }
    };
    let basic = basic_header(&client.client_id, client.secret.as_ref().unwrap());
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: {}\r\nAuthorization: {basic}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        stage.machine.issuer.trim_start_matches("http://"),
        body.len()
    );
    Arc::new(format!("{head}{body}").into_bytes())
}

/// The form of the sign-in page, filled in.
async fn sign_in(stage: &Stage) -> Arc<Vec<u8>> {
    let browser = Browser::new(stage.machine.site());
    let page = browser.get("/login").await;
    let mut form = page.form();
    for (name, value) in &mut form.fields {
        match name.as_str() {
            "username" => value.clone_from(&stage.alice.username),
            "password" => value.clone_from(&stage.alice.password),
            _ => {}
        }
    }
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form.fields).finish();
    let cookies: Vec<String> = browser.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let host = stage.machine.issuer.trim_start_matches("http://");
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {host}\r\nOrigin: {}\r\nSec-Fetch-Site: same-origin\r\nCookie: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        form.action.path(),
        stage.machine.issuer,
        cookies.join("; "),
        body.len()
    );
    Arc::new(format!("{head}{body}").into_bytes())
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").replace("localhost", "127.0.0.1").parse().unwrap()
}

/// A kept-alive connection that speaks just enough HTTP.
struct Wire {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Wire {
    fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// The status of the answer, read to its end.
    async fn ask(&mut self, request: &[u8]) -> u16 {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await.expect("the server takes connections");
            stream.set_nodelay(true).unwrap();
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().unwrap();
        stream.write_all(request).await.expect("the server reads");
        let mut answer = Vec::with_capacity(4096);
        loop {
            let read = stream.read_buf(&mut answer).await.expect("the server answers");
            assert!(read > 0, "the connection was closed without an answer: {}", String::from_utf8_lossy(&answer));
            let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if answer.len() < end + 4 + length.expect("a length") {
                continue;
            }
            let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(status < 500 || (status == 503 && head.contains("retry-after: ")), "{}", String::from_utf8_lossy(&answer));
            if head.contains("connection: close") {
                self.stream = None;
            }
            return status;
        }
    }
}

/// So many who wait for each answer before they ask again.
async fn closed(address: SocketAddr, request: &Arc<Vec<u8>>, callers: usize, length: Duration) -> Outcome {
    let begun = Instant::now();
    let calling: Vec<_> = (0..callers)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move {
                let (mut wire, mut outcome) = (Wire::new(address), Outcome::default());
                while begun.elapsed() < length {
                    note(&mut outcome, &mut wire, &request, Instant::now()).await;
                }
                outcome
            })
        })
        .collect();
    gather(calling, begun).await
}

/// Arrivals at this rate, however long the answers take.
async fn open(address: SocketAddr, request: &Arc<Vec<u8>>, rate: f64, limits: &Limits) -> Outcome {
    let begun = Instant::now();
    let arrived = Arc::new(Semaphore::new(0));
    let idle = Arc::new(AtomicU64::new(0));
    let calling: Vec<_> = (0..limits.connections)
        .map(|_| {
            let (request, arrived, idle) = (request.clone(), arrived.clone(), idle.clone());
            tokio::spawn(async move {
                let (mut wire, mut outcome) = (Wire::new(address), Outcome::default());
                loop {
                    idle.fetch_add(1, Ordering::Relaxed);
                    // Closed when the flood is over.
                    let Ok(one) = arrived.acquire().await else { return outcome };
                    one.forget();
                    idle.fetch_sub(1, Ordering::Relaxed);
                    note(&mut outcome, &mut wire, &request, Instant::now()).await;
                }
            })
        })
        .collect();
    let (mut sent, mut late) = (0, 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while begun.elapsed() < limits.length {
        ticks.tick().await;
        let due = (rate * begun.elapsed().as_secs_f64()) as u64;
        let now = due.saturating_sub(sent);
        let free = idle.load(Ordering::Relaxed).saturating_sub(arrived.available_permits() as u64);
        late += now.saturating_sub(free);
        // Nobody else is sent to the door while all are standing there: the queue would be ours, not the server's.
        arrived.add_permits(now.min(free) as usize);
        sent = due;
    }
    arrived.close();
    let mut outcome = gather(calling, begun).await;
    outcome.late = late;
    outcome
}

async fn note(outcome: &mut Outcome, wire: &mut Wire, request: &[u8], begun: Instant) {
    match wire.ask(request).await {
        200 | 303 => outcome.granted.push(begun.elapsed()),
        429 | 503 => outcome.sent_away.push(begun.elapsed()),
        status => panic!("{status}"),
    }
}

async fn gather(calling: Vec<tokio::task::JoinHandle<Outcome>>, begun: Instant) -> Outcome {
    let mut all = Outcome::default();
    for one in calling {
        let one = one.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        all.granted.extend(one.granted);
        all.sent_away.extend(one.sent_away);
    }
    all.took = begun.elapsed();
    all
}

/// What comes of this, and how long health takes meanwhile. That is asked from a thread of its own: it is not the flood in front of which it
/// waits, but the server.
async fn watched(places: [(SocketAddr, &'static str); 3], what: impl Future<Output = Outcome>) -> (Outcome, Vec<Duration>) {
    let over = Arc::new(AtomicBool::new(false));
    let watching = watch(places, over.clone());
    let alone = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let health = std::thread::spawn(move || alone.block_on(watching));
    let outcome = what.await;
    over.store(true, Ordering::Relaxed);
    (outcome, health.join().unwrap_or_else(|failed| std::panic::resume_unwind(failed)))
}

/// How long health takes, asked all the while, over connections that are there already and over new ones.
async fn watch(places: [(SocketAddr, &'static str); 3], over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut wires: Vec<Wire> = places.iter().map(|(address, _)| Wire::new(*address)).collect();
    while !over.load(Ordering::Relaxed) {
        for ((address, path), wire) in places.iter().zip(&mut wires) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let begun = Instant::now();
            assert_eq!(wire.ask(request.as_bytes()).await, 200, "{path}");
            took.push(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}

/// The time within which so much of them was answered.
fn share(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
