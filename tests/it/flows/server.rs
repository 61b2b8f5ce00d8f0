//! The accept loop and the layers, attacked over real sockets (security.md ). The routes are
//! made for these tests; the limits are the real ones, only shorter.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use chancery::clock::{SystemClock, Timestamp};
use chancery::entropy::SystemEntropy;
use chancery::http::error::{OAuthError, PageError, plain_page};
use chancery::http::extract::{Form, RemoteAddr, TraceId};
use chancery::http::layers::admission::Admission;
use chancery::http::layers::cors::Cors;
use chancery::http::layers::trace_id::TraceIds;
use chancery::http::layers::{self, Edge};
use chancery::http::server::{self, Limits, Listeners, Routers, Serving, Shutdown};
use chancery::oauth::refusal::Reason;
use chancery::service::decisions::{self, Decisions};
use chancery::service::turns::Turns;
use chancery::storage::{Db, Kind, migrate};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::keyed::keyed;
use crate::harness::machine::until;
use crate::storage::Store;

const SECOND: Duration = Duration::from_secs(1);
/// Requests that are worked on at once, and that wait for half a second.
const PLACES: usize = 8;
const QUEUE: usize = 4;

/// Bytes of an answer that no socket takes at once.
const LARGE: usize = 64 * 1024 * 1024;

/// `slow` counts who has come to /slow, `turns` tells who has come to /turn in their order.
fn routes(slow: Arc<AtomicUsize>, turns: Arc<Mutex<Vec<String>>>) -> Router {
    Router::new()
        .route(
            "/form",
            post(async |Form(form): Form| match form.get("refuse") {
                Some(_) => Err(OAuthError::from(Reason::CodeUnknown).for_client("app")),
                None => Ok(form.all("resource").len().to_string()),
            }),
        )
        .route("/panic", get(async || -> &'static str { panic!("a secret") }))
        .route("/jwks", get(async || "{}"))
        .route("/ok", get(async |trace: TraceId, RemoteAddr(ip): RemoteAddr| format!("{trace} {ip}")))
        .route("/page", get(async || -> Result<(), PageError> { Err(Reason::InteractionUnknown.into()) }))
        .route(
            "/slow",
            get(async move || {
                slow.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(3 * SECOND).await;
                "slow"
            }),
        )
        .route("/hangs", get(async || std::future::pending::<()>().await))
        .route("/large", get(async || vec![b'x'; LARGE]))
        .route("/turn/{who}", get(async move |Path(who): Path<String>| turns.lock().unwrap().push(who)))
}

struct Running {
    serving: Serving,
    shutdown: Shutdown,
    db: Db,
    decisions: Decisions,
    slow: Arc<AtomicUsize>,
    turns: Arc<Mutex<Vec<String>>>,
    _store: Store,
}

impl Running {
    fn address(&self) -> SocketAddr {
        self.serving.address
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends a whole request and reads until the server closes.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\nHost: a\nConnection: close\n{headers}\n")).await
    }

    async fn form(&self, headers: &str, body: &str) -> String {
        let length = body.len();
        self.ask(&format!("POST /form HTTP/1.1\nHost: a\nConnection: close\nContent-Length: {length}\n{headers}\n{body}")).await
    }
}

fn short() -> Limits {
    Limits {
        header_read_timeout: Duration::from_millis(400),
        body_read_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_millis(1200),
        drain_deadline: 10 * SECOND,
        ..Limits::default()
    }
}

async fn start(limits: Limits) -> Running {
    let store = Store::empty(Kind::Sqlite).await;
    migrate::run(&store.db, Timestamp::from_seconds(0)).await.unwrap();
    let decisions = Decisions::start(store.db.clone(), keyed());
    let edge = Arc::new(Edge {
        trace_ids: TraceIds::new(Arc::new(SystemEntropy)),
        clock: Arc::new(SystemClock::default()),
        decisions: decisions.clone(),
        trusted_proxies: Arc::clone(&limits.trusted_proxies),
        forwarded: Arc::default(),
        issuer: "https://issuer.example".to_owned(),
        https: true,
        body_limit: 64 * 1024,
        header_lines: limits.headers,
        header_bytes: limits.header_bytes,
        cors: Cors::new(vec!["/jwks".to_owned()], vec!["/form".to_owned(), "/panic".to_owned()], async |origin: String| {
            origin == "https://app.example"
        }),
        admission: Admission::new(PLACES, QUEUE, 0, SECOND / 2, Arc::new(Turns::of_this_machine()), vec!["/jwks".to_owned()]),
        request_timeout: 5 * SECOND,
        error_page: plain_page(),
    });
    let (slow, turns) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let routers = Routers {
        public: layers::wrap(routes(Arc::clone(&slow), Arc::clone(&turns)), edge),
        at_once: None,
        straight: None,
        management: Router::new().route("/healthz", get(async || "ok")),
    };
    let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), Some("127.0.0.1:0".parse().unwrap())).unwrap();
    let shutdown = Shutdown::new();
    let serving = server::serve(routers, listeners, limits, shutdown.clone()).unwrap();
    Running { serving, shutdown, db: store.db.clone(), decisions, slow, turns, _store: store }
}

/// What comes until the server closes or resets the connection.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut part = [0; 8192];
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(10 * SECOND, stream.read(&mut part)).await {
        all.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

async fn closes_within(stream: &mut TcpStream, from: Duration, to: Duration) -> String {
    let begin = Instant::now();
    let said = read_all(stream).await;
    let took = begin.elapsed();
    assert!(took >= from && took <= to, "closed after {took:?}, having said {said:?}");
    said
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("nothing")
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn every_answer_carries_a_trace_id_of_ours_and_the_security_headers() {
    let running = start(Limits::default()).await;
    let answer = running.get("/ok", "Chancery-Trace-Id: mine\nX-Request-Id: mine\n").await;
    let trace = header(&answer, "chancery-trace-id").unwrap();
    assert!(trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()), "{trace}");
    assert_eq!(body(&answer).split(' ').next(), Some(trace), "handlers see the same id");
    assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"));
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    assert_eq!(header(&answer, "strict-transport-security"), Some("max-age=31536000"));
    for path in ["/nowhere", "/panic", "/page", "/form"] {
        let answer = running.get(path, "").await;
        assert!(header(&answer, "chancery-trace-id").is_some_and(|id| id != trace), "{path}: {answer}");
        assert_eq!(header(&answer, "cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test]
async fn slowloris_is_cut_off_although_bytes_keep_coming() {
    let running = start(short()).await;
    let mut stream = running.connect().await;
    let begin = Instant::now();
    stream.write_all(b"GET /ok HTTP/1.1\r\n").await.unwrap();
    let mut byte = [0];
    loop {
        let sent = stream.write_all(b"a: b\r\n").await;
        let closed = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        if sent.is_err() || closed.is_ok() {
            break;
        }
        assert!(begin.elapsed() < 8 * SECOND, "still open");
    }
    assert!(begin.elapsed() >= Duration::from_millis(350));
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let running = start(short()).await;
    let mut stream = running.connect().await;
    let said = closes_within(&mut stream, Duration::from_millis(350), 8 * SECOND).await;
    assert_eq!(said, "");
}

#[tokio::test]
async fn a_kept_alive_connection_may_idle_for_its_time_and_no_longer() {
    let running = start(Limits { idle_timeout: 4 * SECOND, ..short() }).await;
    let mut stream = running.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut part = [0; 8192];
        assert!(stream.read(&mut part).await.unwrap() > 0);
        // Longer than a head may take, shorter than idling may.
        tokio::time::sleep(Duration::from_millis(550)).await;
    }
    closes_within(&mut stream, Duration::from_millis(100), 8 * SECOND).await;
}

#[tokio::test]
async fn the_idle_time_begins_with_the_answer() {
    // Not when the clock of the head before it would have rung.
    let running = start(Limits { header_read_timeout: 60 * SECOND, idle_timeout: 2 * SECOND, ..short() }).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = running.connect().await;
        for _ in 0..2 {
            stream.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 8192]).await.unwrap() > 0);
        }
        streams.push(stream);
    }
    join_all(streams.iter_mut().map(|stream| closes_within(stream, Duration::from_millis(1500), 8 * SECOND))).await;
}

#[tokio::test]
async fn a_body_that_trickles_in_is_answered_408() {
    let running = start(short()).await;
    let mut stream = running.connect().await;
    let head = "POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let trickle = async {
        loop {
            if write.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut part = [0; 8192];
    let answer = tokio::select! {
        () = trickle => String::new(),
        count = read.read(&mut part) => String::from_utf8_lossy(&part[..count.unwrap()]).into_owned(),
    };
    assert_eq!(status(&answer), "408", "{answer}");
    assert!(answer.contains("invalid_request"));
}

#[tokio::test]
async fn a_peer_that_does_not_read_does_not_hold_its_connection_for_ever() {
    let running = start(short()).await;
    let mut stream = running.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    let got = read_all(&mut stream).await;
    assert!(got.len() < LARGE, "the rest was not worth waiting for");
}

#[tokio::test]
async fn one_address_has_its_share_of_connections_and_the_next_is_told_to_come_back() {
    let running = start(Limits { connections_per_address: 3, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = running.connect().await;
        stream.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 8192]).await.unwrap() > 0);
        held.push(stream);
    }
    let refused = running.get("/ok", "").await;
    assert_eq!(status(&refused), "503");
    assert_eq!(header(&refused, "retry-after"), Some("1"));
    let management = running.serving.management_address.unwrap();
    let mut probe = TcpStream::connect(management).await.unwrap();
    probe.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_all(&mut probe).await), "200", "probes have listeners of their own");
    held.pop();
    until(10 * SECOND, async || status(&running.get("/ok", "").await) == "200").await;
}

#[tokio::test]
async fn hundreds_of_connections_too_many_are_told_so_before_they_are_closed() {
    let running = start(Limits { connections_per_address: 3, ..Limits::default() }).await;
    let _held = join_all((0..3).map(|_| running.connect())).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    // All are there before one of them reads.
    let mut refused = Vec::new();
    for _ in 0..600 {
        let mut stream = running.connect().await;
        // Who was closed already may not be able to send any more, and has its answer.
        drop(stream.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await);
        refused.push(stream);
    }
    for stream in &mut refused {
        let answer = read_all(stream).await;
        assert_eq!((status(&answer), header(&answer, "retry-after")), ("503", Some("1")), "{answer}");
    }
}

#[tokio::test]
async fn all_connections_together_have_a_cap_and_proxies_are_exempt() {
    let full = start(Limits { connections: 1, ..Limits::default() }).await;
    let _held = full.connect().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(status(&full.get("/ok", "").await), "503");

    let proxies: Arc<[_]> = Arc::from(["127.0.0.0/8".parse().unwrap()]);
    let behind = start(Limits { connections: 1, connections_per_address: 1, trusted_proxies: proxies, ..Limits::default() }).await;
    let _held = behind.connect().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(status(&behind.get("/ok", "").await), "200");
}

/// Asks over a connection that stays open.
async fn ask_again(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 8192];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn who_does_nothing_makes_room_for_a_newcomer_and_who_asks_for_something_does_not() {
    let running = start(Limits { connections: 4, ..Limits::default() }).await;
    let mut at_work = running.connect().await;
    at_work.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut half = running.connect().await;
    half.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let mut busy = running.connect().await;
    let mut idle = running.connect().await;
    assert_eq!(status(&ask_again(&mut idle).await), "200");
    // Nobody has done nothing for long.
    assert_eq!(status(&running.get("/ok", "").await), "503");
    until(20 * SECOND, async || {
        assert_eq!(status(&ask_again(&mut busy).await), "200");
        status(&running.get("/ok", "").await) == "200"
    })
    .await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "closed");
    // Nobody else was disturbed.
    assert_eq!(status(&ask_again(&mut busy).await), "200");
    half.write_all(b"Connection: close\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_all(&mut half).await), "200");
    assert_eq!(status(&read_all(&mut at_work).await), "200");
}

#[tokio::test]
async fn where_nobody_is_idle_a_newcomer_is_told_to_come_back_at_once() {
    let running = start(Limits { connections: 2, ..Limits::default() }).await;
    let mut halves = Vec::new();
    for _ in 0..2 {
        let mut half = running.connect().await;
        half.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        halves.push(half);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = running.get("/ok", "").await;
    assert_eq!((status(&refused), header(&refused, "retry-after")), ("503", Some("1")), "{refused}");
    for mut half in halves {
        half.write_all(b"Connection: close\r\n\r\n").await.unwrap();
        assert_eq!(status(&read_all(&mut half).await), "200");
    }
}

/// The clocks alone would hold the door for a minute here.
fn patient(connections: usize) -> Limits {
    Limits { connections, header_read_timeout: 60 * SECOND, body_read_timeout: 60 * SECOND, ..Limits::default() }
}

#[tokio::test]
async fn half_a_request_does_not_shut_the_door() {
    const FORM: &str = "POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let of_length = format!("{FORM}Content-Length: 50\r\n\r\na=");
    let in_chunks = format!("{FORM}Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n");
    join_all([("GET /ok HTTP/1.1\r\nHost: ", "x"), (of_length.as_str(), "x"), (in_chunks.as_str(), "1\r\nx\r\n")].map(
        async |(half, more)| {
            for trickles in [false, true] {
                let running = start(patient(1)).await;
                let mut stream = running.connect().await;
                stream.write_all(half.as_bytes()).await.unwrap();
                // It may be about to say the rest.
                let begun = Instant::now();
                until(20 * SECOND, async || {
                    if trickles {
                        drop(stream.write_all(more.as_bytes()).await);
                    }
                    let is_served = status(&running.get("/ok", "").await) == "200";
                    assert!(!is_served || begun.elapsed() > 3 * SECOND, "{half:?}");
                    is_served
                })
                .await;
            }
        },
    ))
    .await;
}

#[tokio::test]
async fn who_is_slow_is_served_where_there_is_room_and_leaves_after_the_idle() {
    in_one_of_several_tries(async || {
        let running = start(patient(2)).await;
        let mut slow = running.connect().await;
        slow.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        let mut idle = running.connect().await;
        expect("idle", &ask_again(&mut idle).await, "200")?;
        expect("too early", &running.get("/ok", "").await, "503")?;
        tokio::time::sleep(5 * SECOND).await;
        expect("newcomer", &running.get("/ok", "").await, "200")?;
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "closed");
        // There is room now, whatever the slow one does.
        for _ in 0..3 {
            expect("another", &running.get("/ok", "").await, "200")?;
        }
        slow.write_all(b"Connection: close\r\n\r\n").await.unwrap();
        expect("slow", &read_all(&mut slow).await, "200")
    })
    .await;
}

#[tokio::test]
async fn connections_without_a_word_do_not_shut_the_door() {
    let running = start(Limits { connections: 20, ..Limits::default() }).await;
    let mut silent = join_all((0..20).map(|_| running.connect())).await;
    // They may be about to speak.
    assert_eq!(status(&running.get("/ok", "").await), "503");
    until(10 * SECOND, async || status(&running.get("/ok", "").await) == "200").await;
    let mut left = 0;
    for stream in &mut silent {
        let gone = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 1])).await;
        left += usize::from(matches!(gone, Ok(Ok(0))));
    }
    assert!((1..=16).contains(&left), "{left}");
}

#[tokio::test]
async fn whoever_has_their_share_makes_nobody_leave() {
    let running = start(Limits { connections: 3, connections_per_address: 2, ..Limits::default() }).await;
    let mut halves = Vec::new();
    for _ in 0..2 {
        let mut half = running.connect().await;
        half.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        halves.push(half);
    }
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut idle = elsewhere.connect(running.address()).await.unwrap();
    // Long enough to make room.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        assert_eq!(status(&running.get("/ok", "").await), "503");
    }
    assert_eq!(status(&ask_again(&mut idle).await), "200");
}

#[tokio::test]
async fn a_crowd_finds_as_many_places_as_there_are_silent_connections() {
    const SILENT: usize = 120;
    // On a busy machine some may have to come twice.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let running = start(Limits { connections: SILENT, ..Limits::default() }).await;
        let _silent = join_all((0..SILENT).map(|_| running.connect())).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let crowd = join_all((0..100).map(|_| async {
            let mut stream = running.connect().await;
            let is_served = status(&ask_again(&mut stream).await) == "200";
            (stream, is_served)
        }));
        seen.push(crowd.await.iter().filter(|(_, is_served)| *is_served).count());
        if seen.last() == Some(&100) {
            return;
        }
    }
    panic!("of 100 were served: {seen:?}");
}

/// What holds on a machine that is not away for a second in the midst of it.
async fn in_one_of_several_tries(seen: impl AsyncFn() -> Result<(), String>) {
    let mut all = Vec::new();
    for _ in 0..5 {
        match seen().await {
            Ok(()) => return,
            Err(seen) => all.push(seen),
        }
    }
    panic!("{all:?}");
}

fn expect(what: &str, answer: &str, expected: &str) -> Result<(), String> {
    if status(answer) == expected { Ok(()) } else { Err(format!("{what}: {answer}")) }
}

#[tokio::test]
async fn who_still_reads_an_answer_leaves_after_all_who_are_idle() {
    in_one_of_several_tries(async || {
        let running = start(Limits { connections: 2, ..Limits::default() }).await;
        let mut reader = running.connect().await;
        reader.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        reader.read_exact(&mut [0; 1024]).await.unwrap();
        let mut idle = running.connect().await;
        expect("idle", &ask_again(&mut idle).await, "200")?;
        // The reader is seen to do nothing for longer than the other.
        expect("too early", &running.get("/ok", "").await, "503")?;
        expect("idle", &ask_again(&mut idle).await, "200")?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        expect("too early", &running.get("/ok", "").await, "503")?;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let mut second = running.connect().await;
        expect("newcomer", &ask_again(&mut second).await, "200")?;
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "closed");
        // More than is under way between two sockets.
        reader.read_exact(&mut vec![0; LARGE / 2]).await.map_err(|error| error.to_string())?;
        // Alone among the busy it leaves too: whoever takes nothing for so long is no better than who says nothing.
        until(10 * SECOND, async || {
            status(&ask_again(&mut second).await) == "200" && status(&running.get("/ok", "").await) == "200"
        })
        .await;
        assert!(read_all(&mut reader).await.len() < LARGE / 2 - 1024);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn who_reads_slowly_and_takes_something_all_the_while_stays() {
    in_one_of_several_tries(async || {
        let running = start(Limits { connections: 1, ..Limits::default() }).await;
        let mut reader = running.connect().await;
        reader.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let (mut got, begun, mut part) = (0, Instant::now(), vec![0; 128 * 1024]);
        // Longer than the idle are left alone.
        while begun.elapsed() < Duration::from_millis(2500) {
            got += reader.read(&mut part).await.unwrap();
            expect("newcomer", &running.get("/ok", "").await, "503")?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while let count @ 1.. = reader.read(&mut part).await.map_err(|error| error.to_string())? {
            got += count;
        }
        if got > LARGE { Ok(()) } else { Err(format!("{got} bytes came")) }
    })
    .await;
}

#[tokio::test]
async fn who_sends_many_requests_at_once_takes_turns_with_the_others() {
    let running = start(Limits::default()).await;
    let mut streams = Vec::new();
    for who in ["one", "other"] {
        let mut stream = std::net::TcpStream::connect(running.address()).unwrap();
        let request = format!("GET /turn/{who} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(16);
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        streams.push(stream);
    }
    until(10 * SECOND, async || running.turns.lock().unwrap().len() == 32).await;
    let turns = running.turns.lock().unwrap();
    assert!(turns.windows(2).filter(|pair| pair[0] != pair[1]).count() >= 16, "{turns:?}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_in_words() {
    let running = start(Limits::default()).await;
    let answer = running.get("/ok", &format!("A: {}\n", "x".repeat(17 * 1024))).await;
    assert_eq!(status(&answer), "431", "{answer}");
    assert!(header(&answer, "chancery-trace-id").is_some());
    let answer = running.get("/ok", &"A: b\n".repeat(70)).await;
    assert_eq!(status(&answer), "431", "{answer}");
    assert!(answer.contains("a request has at most 64 header lines"), "{answer}");
    assert_eq!(status(&running.get(&format!("/ok?{}", "x".repeat(30 * 1024)), "").await), "414");
    // Far beyond, nobody reads on.
    assert_eq!(status(&running.get("/ok", &format!("A: {}\n", "x".repeat(200 * 1024))).await), "431");
    assert_eq!(status(&running.get("/ok", "").await), "200");
}

#[tokio::test]
async fn a_body_has_to_be_a_form_and_at_most_64_kib() {
    let running = start(Limits::default()).await;
    let form = "Content-Type: application/x-www-form-urlencoded\n";
    assert_eq!(status(&running.form(form, "resource=a&resource=b").await), "200");
    for wrong in ["", "Content-Type: application/json\n", "Content-Type: text/plain\n", &format!("{form}{form}")] {
        let answer = running.form(wrong, "a=b").await;
        assert_eq!(status(&answer), "400", "{answer}");
        assert!(body(&answer).contains("invalid_request"));
        assert_eq!(header(&answer, "content-type"), Some("application/json"));
    }
    let answer = running.form(form, &"a".repeat(64 * 1024 + 1)).await;
    assert_eq!(status(&answer), "413", "{answer}");
    let chunked = format!("{:x}\n{}\n0\n\n", 70_000, "a".repeat(70_000));
    let head = "POST /form HTTP/1.1\nHost: a\nConnection: close\nTransfer-Encoding: chunked\n";
    let answer = running.ask(&format!("{head}{form}\n{chunked}")).await;
    assert_eq!(status(&answer), "413", "not announced, and refused all the same: {answer}");
    assert_eq!(status(&running.form(form, "a=b&a=c").await), "400");
    assert_eq!(status(&running.form(form, "a=%zz").await), "400");
}

#[tokio::test]
async fn whoever_was_answered_in_mid_sentence_is_told_that_the_connection_closes() {
    let running = start(Limits::default()).await;
    let head = "Host: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    for (length, closes) in [(70_000, true), (3, false)] {
        let mut stream = TcpStream::connect(running.address()).await.unwrap();
        let request = format!("POST /form HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\na=b");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert_eq!(status(&answer), if closes { "413" } else { "200" }, "{answer}");
        assert_eq!(header(&answer, "connection") == Some("close"), closes, "{answer}");
    }
}

#[tokio::test]
async fn request_smuggling_shapes_are_refused() {
    let running = start(Limits::default()).await;
    let both = "POST /form HTTP/1.1\nHost: a\nContent-Length: 3\nContent-Length: 4\n\nabc";
    assert_eq!(status(&running.ask(both).await), "400");
    let answer =
        running.ask("POST /form HTTP/1.1\nHost: a\nConnection: close\nTransfer-Encoding: identity, chunked, x\n\n0\n\n").await;
    assert!(["400", "501", "nothing"].contains(&status(&answer)), "{answer}");
}

/// RFC 9112 §6.1, §6.3: what stands before us may have read another end of the body.
#[tokio::test]
async fn after_a_body_whose_end_others_may_see_elsewhere_the_connection_closes() {
    let running = start(Limits::default()).await;
    let form = "Content-Type: application/x-www-form-urlencoded";
    let inner = "GET /turn/smuggled HTTP/1.1\nHost: a\n\n";
    for (coding, expected) in [
        ("Content-Length: 5\nTransfer-Encoding: chunked", "200"),
        ("Transfer-Encoding: chunked\nContent-Length: 5", "200"),
        ("Transfer-Encoding: chunked\nContent-Length: none", "200"),
        ("Transfer-Encoding: gzip, chunked", "400"),
        ("Transfer-Encoding: chunked, chunked", "400"),
        ("Transfer-Encoding: chunked\nTransfer-Encoding: chunked", "400"),
        ("Transfer-Encoding: identity\nTransfer-Encoding: chunked", "400"),
        ("Transfer-Encoding: chunked\nTransfer-Encoding: identity", "400"),
        ("Transfer-Encoding: ,chunked", "400"),
    ] {
        let answer = running.ask(&format!("POST /form HTTP/1.1\nHost: a\n{form}\n{coding}\n\n0\n\n{inner}")).await;
        assert_eq!((status(&answer), header(&answer, "connection")), (expected, Some("close")), "{coding}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{coding}: {answer}");
    }
    assert_eq!(*running.turns.lock().unwrap(), Vec::<String>::new());
    // The one way to say it that all read alike.
    let mut stream = running.connect().await;
    for coding in ["chunked", "Chunked"] {
        let request =
            format!("POST /form HTTP/1.1\r\nHost: a\r\n{form}\r\nTransfer-Encoding: {coding}\r\n\r\n3\r\na=b\r\n0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        assert_eq!(status(&String::from_utf8_lossy(&answer[..read])), "200");
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_goes_on() {
    let running = start(Limits::default()).await;
    let answer = running.get("/panic", "").await;
    assert_eq!(status(&answer), "500");
    assert!(body(&answer).contains("server_error") && !answer.contains("a secret"), "{answer}");
    let page = running.get("/panic", "Accept: text/html\n").await;
    assert_eq!(status(&page), "500");
    assert!(page.contains("id=\"trace-id\""), "{page}");
    assert_eq!(status(&running.get("/ok", "").await), "200");
}

#[tokio::test]
async fn a_handler_that_hangs_is_answered_for() {
    let running = start(Limits::default()).await;
    let answer = running.get("/hangs", "").await;
    assert_eq!(status(&answer), "503", "{answer}");
    assert_eq!(header(&answer, "retry-after"), Some("1"));
}

/// more than can be worked on wait for a known time, and what needs no work is answered all the while.
#[tokio::test]
async fn who_finds_no_place_is_told_to_come_back_in_time() {
    // A machine that is away for a moment adds what it likes to any time: one of several tries tells.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (took, jwks) = times_of_a_crowd().await;
        let waited = took.iter().filter(|took| **took >= SECOND / 2).count();
        if jwks < SECOND / 2 && waited == QUEUE && took.iter().all(|took| *took < 2 * SECOND) {
            return;
        }
        seen.push((took, jwks));
    }
    panic!("{QUEUE} are to wait, and /jwks is not: {seen:?}");
}

/// How long it takes to be sent away while all places are taken, and to be answered where none is needed.
async fn times_of_a_crowd() -> (Vec<Duration>, Duration) {
    let running = start(Limits::default()).await;
    let mut held = take_all_places(&running).await;
    let begin = Instant::now();
    let answers = join_all((0..3 * QUEUE).map(|_| async {
        let answer = running.get("/ok", "").await;
        assert_eq!((status(&answer), header(&answer, "retry-after")), ("503", Some("1")), "{answer}");
        assert!(body(&answer).contains("temporarily_unavailable") && header(&answer, "chancery-trace-id").is_some(), "{answer}");
        begin.elapsed()
    }));
    let memory = async {
        let answer = running.get("/jwks", "").await;
        assert_eq!(status(&answer), "200", "{answer}");
        begin.elapsed()
    };
    let times = tokio::join!(answers, memory);
    let page = running.get("/page", "Accept: text/html\n").await;
    assert!(status(&page) == "503" && page.contains("id=\"trace-id\""), "{page}");
    for stream in &mut held {
        assert!(stream.read(&mut [0; 8192]).await.unwrap() > 0);
    }
    assert_eq!(status(&running.get("/ok", "").await), "200");
    times
}

/// Requests that are worked on for three seconds.
async fn take_all_places(running: &Running) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..PLACES {
        let mut stream = running.connect().await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    until(10 * SECOND, async || running.slow.load(Ordering::SeqCst) == PLACES).await;
    held
}

/// a page can read that it should come back, and when.
#[tokio::test]
async fn a_page_that_finds_no_place_can_read_when_to_come_back() {
    let running = start(Limits::default()).await;
    let app = "Origin: https://app.example\n";
    let mut held = take_all_places(&running).await;
    let may_read = |answer: &str| {
        let exposed = header(answer, "access-control-expose-headers").unwrap_or_default().to_owned();
        let told = exposed.split(',').map(str::trim).any(|name| name.eq_ignore_ascii_case("retry-after"));
        assert_eq!(header(answer, "vary"), Some("origin"), "a shared cache would mix origins up: {answer}");
        header(answer, "access-control-allow-origin") == Some("https://app.example") && told
    };
    let others =
        ["Origin: https://evil.example\n", "Origin: null\n", "Origin: https://app.example\nOrigin: https://evil.example\n"];
    let (sent_away, refused, pages) = tokio::join!(
        running.form(app, ""),
        join_all(others.map(|origin| running.form(origin, ""))),
        join_all(["/page", "/slow"].map(|path| running.get(path, app))),
    );
    assert_eq!((status(&sent_away), header(&sent_away, "retry-after")), ("503", Some("1")), "{sent_away}");
    assert!(may_read(&sent_away), "{sent_away}");
    // Whoever may not read other answers may not read this one, and pages for people are nobody's to read.
    for answer in refused.iter().chain(&pages) {
        assert_eq!((status(answer), header(answer, "access-control-allow-origin")), ("503", None), "{answer}");
    }
    // The browser asks first about what is more than a form, and takes nothing but a yes.
    let preflight = format!("{app}Access-Control-Request-Method: POST\nAccess-Control-Request-Headers: authorization\n");
    let asked = running.ask(&format!("OPTIONS /form HTTP/1.1\nHost: a\nConnection: close\n{preflight}\n")).await;
    assert_eq!(status(&asked), "200", "{asked}");
    assert_eq!(header(&asked, "access-control-allow-origin"), Some("https://app.example"), "{asked}");
    for stream in &mut held {
        assert!(stream.read(&mut [0; 8192]).await.unwrap() > 0);
    }
    // The routes' own answers, and the other refusals that come from before them.
    for answer in [
        running.form(app, "").await,
        running.get("/panic", app).await,
        running.get("/panic", &format!("{app}X-Long: {}\n", "x".repeat(17_000))).await,
    ] {
        assert!(may_read(&answer), "{answer}");
    }
}

/// nobody takes a place while they are still sending, or after they have gone.
#[tokio::test]
async fn neither_slow_senders_nor_those_who_hang_up_take_a_place() {
    let running = start(Limits::default()).await;
    let mut slow = Vec::new();
    for _ in 0..3 * (PLACES + QUEUE) {
        let mut stream = running.connect().await;
        let head =
            "POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\na=";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(status(&running.get("/ok", "").await), "200");
    // Nobody may be cut off meanwhile: that is another test's.
    slow[0].write_all(b"1234567").await.unwrap();
    let mut answer = [0; 12];
    slow[0].read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");

    for _ in 0..3 * (PLACES + QUEUE) {
        let mut stream = running.connect().await;
        stream.write_all(b"GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(SECOND / 200).await;
    }
    // Sooner than those who hang are given up.
    let gone = Instant::now();
    until(10 * SECOND, async || status(&running.get("/ok", "").await) == "200").await;
    assert!(gone.elapsed() < 4 * SECOND, "{:?}", gone.elapsed());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_of_ours() {
    let running = start(Limits::default()).await;
    let answer = running.get("/nowhere", "").await;
    assert_eq!((status(&answer), header(&answer, "content-type")), ("404", Some("application/json")), "{answer}");
    let answer = running.get("/nowhere", "Accept: text/html,*/*\n").await;
    assert!(answer.contains("id=\"trace-id\""), "{answer}");
    let answer = running.get("/form", "").await;
    assert_eq!(status(&answer), "405");
    assert_eq!(header(&answer, "allow"), Some("POST"));
}

#[tokio::test]
async fn a_refusal_is_on_record_within_a_second_and_holds_no_secret() {
    let running = start(Limits::default()).await;
    let form = "Content-Type: application/x-www-form-urlencoded\nX-Forwarded-For: 198.51.100.1\n";
    let answer = running.form(form, "refuse=1&client_secret=hunter2hunter2").await;
    assert_eq!(status(&answer), "400");
    let trace = header(&answer, "chancery-trace-id").unwrap();
    tokio::time::sleep(SECOND).await;
    // On a busy machine some more.
    let mut found = None;
    until(10 * SECOND, async || {
        found = decisions::find(&running.db, trace).await.unwrap();
        found.is_some()
    })
    .await;
    let found = found.expect("recorded");
    assert_eq!(found.reason, Reason::CodeUnknown);
    assert_eq!(found.client_id.as_deref(), Some("app"));
    assert_eq!(found.endpoint, "/form");
    assert_eq!(found.address_prefix.as_deref(), Some("127.0.0.1"), "strangers are not believed about their address");
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_and_not_kept() {
    let running = start(Limits::default()).await;
    let mut kept = 0;
    let mut traces = Vec::new();
    for _ in 0..60 {
        let answer = running.get("/page", "").await;
        traces.push(header(&answer, "chancery-trace-id").unwrap().to_owned());
    }
    running.decisions.flush().await;
    for trace in &traces {
        kept += usize::from(decisions::find(&running.db, trace).await.unwrap().is_some());
    }
    // The minute may have turned once while the test ran.
    assert!((20..=40).contains(&kept), "{kept}");
}

#[tokio::test]
async fn other_sites_may_read_what_is_open_or_theirs_and_never_pages() {
    let running = start(Limits::default()).await;
    let allowed = "access-control-allow-origin";
    assert_eq!(header(&running.get("/jwks", "Origin: https://any.example\n").await, allowed), Some("*"));
    let form = "Content-Type: application/x-www-form-urlencoded\n";
    let ours = running.form(&format!("{form}Origin: https://app.example\n"), "refuse=1").await;
    assert_eq!(header(&ours, allowed), Some("https://app.example"), "errors too: {ours}");
    assert!(header(&ours, "access-control-expose-headers").is_some_and(|names| names.to_lowercase().contains("chancery-trace-id")));
    let preflight =
        "OPTIONS /form HTTP/1.1\nHost: a\nConnection: close\nOrigin: https://app.example\nAccess-Control-Request-Method: POST\n\n";
    let answer = running.ask(preflight).await;
    assert_eq!((status(&answer), header(&answer, allowed)), ("200", Some("https://app.example")), "{answer}");
    let foreign = running.form(&format!("{form}Origin: https://evil.example\n"), "a=b").await;
    assert_eq!(header(&foreign, allowed), None);
    for answer in [ours, foreign, running.get("/page", "Origin: https://app.example\n").await] {
        assert_eq!(header(&answer, "access-control-allow-credentials"), None);
    }
    assert_eq!(header(&running.get("/page", "Origin: https://app.example\n").await, allowed), None);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let running = start(Limits { drain_delay: 2 * SECOND, idle_timeout: 60 * SECOND, ..short() }).await;
    let mut idle = running.connect().await;
    idle.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 8192]).await.unwrap() > 0);
    let mut in_flight = running.connect().await;
    in_flight.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(10 * SECOND, async || running.slow.load(Ordering::SeqCst) == 1).await;

    running.shutdown.begin();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(status(&running.get("/ok", "").await), "200", "during the delay new connections are still served");
    until(10 * SECOND, async || TcpStream::connect(running.address()).await.is_err()).await;

    let answer = read_all(&mut in_flight).await;
    assert!(answer.ends_with("slow") && header(&answer, "connection") == Some("close"), "{answer}");
    assert_eq!(read_all(&mut idle).await, "");
    let begin = Instant::now();
    assert_eq!(running.serving.finished().await.cut_off, 0);
    assert!(begin.elapsed() < 8 * SECOND, "sooner than the deadline");
}

/// `drain_delay = 0`: nobody was told before.
#[tokio::test]
async fn whoever_had_connected_before_a_drain_may_still_ask() {
    // On a busy machine the time for a first byte may be over.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let running = start(Limits::default()).await;
        let mut fresh = running.connect().await;
        // Who comes later has been let in, and so was the first.
        assert_eq!(status(&running.get("/ok", "").await), "200");
        running.shutdown.begin();
        until(10 * SECOND, async || TcpStream::connect(running.address()).await.is_err()).await;
        drop(fresh.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await);
        let answer = read_all(&mut fresh).await;
        if status(&answer) == "200" && header(&answer, "connection") == Some("close") {
            return;
        }
        seen.push(answer);
    }
    panic!("{seen:?}");
}

#[tokio::test]
async fn a_drain_cuts_nobody_off_who_waits_at_the_door() {
    let running = start(Limits { connections_per_address: 1000, ..Limits::default() }).await;
    // All are there before the server gets a chance to look.
    let mut crowd: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(running.address()).unwrap();
            std::io::Write::write_all(&mut stream, b"GET /jwks HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    running.shutdown.begin();
    running.serving.finished().await;
    let answers = crowd.iter_mut().map(|stream| {
        let mut answer = Vec::new();
        drop(std::io::Read::read_to_end(stream, &mut answer));
        answer.starts_with(b"HTTP/1.1 200")
    });
    assert_eq!(answers.filter(|is_answered| *is_answered).count(), 300);
}

#[tokio::test]
async fn a_stuck_connection_does_not_hold_the_drain_beyond_its_deadline() {
    let limits = Limits { header_read_timeout: 60 * SECOND, drain_deadline: 2 * SECOND, ..Limits::default() };
    let running = start(limits).await;
    let mut stuck = running.connect().await;
    stuck.write_all(b"GET /ok HTTP/1.1\r\nHos").await.unwrap();
    let _silent = running.connect().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    running.serving.stop();
    let drained = running.serving.finished().await;
    assert_eq!(drained.cut_off, 1, "the silent one was let go earlier");
    assert!(begin.elapsed() < 20 * SECOND);
}

#[tokio::test]
async fn the_clients_address_comes_from_configured_proxies_alone() {
    let proxies: Arc<[_]> = Arc::from(["127.0.0.0/8".parse().unwrap()]);
    let behind = start(Limits { trusted_proxies: proxies, ..Limits::default() }).await;
    let answer = behind.get("/ok", "X-Forwarded-For: 10.0.0.1, 203.0.113.9\nForwarded: for=1.2.3.4\nX-Real-Ip: 1.2.3.4\n").await;
    assert!(answer.ends_with(" 203.0.113.9"), "{answer}");
    let direct = start(Limits::default()).await;
    let answer = direct.get("/ok", "X-Forwarded-For: 203.0.113.9\n").await;
    assert!(answer.ends_with(" 127.0.0.1"), "{answer}");
}
