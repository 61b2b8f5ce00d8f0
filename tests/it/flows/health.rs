//! Liveness, readiness and metrics over real sockets (contract.md; security.md ).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use chancery::clock::{Clock, SystemClock, Timestamp};
use chancery::entropy::SystemEntropy;
use chancery::http::health::{self, NotReady, Readiness};
use chancery::http::server::{self, Limits, Listeners, Routers, Serving, Shutdown};
use chancery::jose::KeyLife;
use chancery::measure;
use chancery::seal::MasterKey;
use chancery::service::keys::Keys;
use chancery::storage::{Kind, migrate};

use crate::storage::Store;

struct Running {
    serving: Serving,
    shutdown: Shutdown,
    readiness: Readiness,
    store: Store,
}

async fn start(kind: Kind, machine: Arc<dyn Clock>) -> Running {
    let store = Store::empty(kind).await;
    let clock = SystemClock::default();
    migrate::run(&store.db, clock.now()).await.unwrap();
    let (master, _) = MasterKey::generate(&SystemEntropy).unwrap();
    let keys = Keys::open(&store.db, &master, &clock, Arc::new(SystemEntropy), KeyLife::default()).await.unwrap();
    let shutdown = Shutdown::new();
    let readiness = Readiness::with_machine_clock(store.db.clone(), keys, shutdown.clone(), machine);
    let routers = Routers {
        public: Router::new().merge(health::public(&readiness)),
        at_once: None,
        straight: None,
        management: health::management(&readiness),
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let limits = Limits { drain_delay: Duration::from_secs(5), ..Limits::default() };
    let serving = server::serve(routers, Listeners::bind(any, Some(any)).unwrap(), limits, shutdown.clone()).unwrap();
    Running { serving, shutdown, readiness, store }
}

/// The machine's clock, eight seconds fast.
struct Fast(SystemClock);

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        self.0.now().plus(Duration::from_secs(8))
    }
}

/// What the probe sees; on a busy machine the database may be slow for a while.
async fn probed(running: &Running) -> Result<(), NotReady> {
    for _ in 0..20 {
        running.readiness.probe().await;
        if running.readiness.check() != Err(NotReady::DatabaseSlow) {
            break;
        }
    }
    running.readiness.check()
}

async fn status(address: SocketAddr, path: &str) -> u16 {
    reqwest::get(format!("http://{address}{path}")).await.unwrap().status().as_u16()
}

async fn text(address: SocketAddr, path: &str) -> String {
    reqwest::get(format!("http://{address}{path}")).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn both_listeners_tell_health_and_only_one_tells_metrics() {
    measure::init();
    let running = start(Kind::Sqlite, Arc::new(SystemClock::default())).await;
    for address in [running.serving.address, running.serving.management_address.unwrap()] {
        assert_eq!(status(address, "/healthz").await, 200);
        assert_eq!(status(address, "/readyz").await, 200);
    }
    assert_eq!(status(running.serving.address, "/metrics").await, 404);
    let metrics = text(running.serving.management_address.unwrap(), "/metrics").await;
    assert!(metrics.contains("chancery_ready 1") && metrics.contains("chancery_build_info"), "{metrics}");
}

#[tokio::test]
async fn readiness_goes_down_first_and_liveness_stays() {
    let running = start(Kind::Sqlite, Arc::new(SystemClock::default())).await;
    assert_eq!(status(running.serving.address, "/readyz").await, 200);
    running.shutdown.begin();
    for address in [running.serving.address, running.serving.management_address.unwrap()] {
        assert_eq!(status(address, "/readyz").await, 503);
        assert_eq!(status(address, "/healthz").await, 200);
    }
}

#[tokio::test]
async fn without_its_database_the_server_is_alive_and_not_ready_and_says_so_at_once() {
    let running = start(Kind::Sqlite, Arc::new(SystemClock::default())).await;
    running.readiness.probe().await;
    running.store.db.close().await;
    running.readiness.probe().await;
    let address = running.serving.address;
    // The quickest of several: a busy machine adds what it likes to one.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        assert_eq!(status(address, "/readyz").await, 503);
        assert_eq!(status(address, "/healthz").await, 200);
        quickest = quickest.min(begin.elapsed());
    }
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
    let answer = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.text().await.unwrap(), "not ready\n", "no details");
}

#[tokio::test]
async fn a_schema_that_another_binary_has_changed_is_not_ready() {
    let running = start(Kind::Sqlite, Arc::new(SystemClock::default())).await;
    let newer = "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (9999, 'later', X'00', 0)";
    running.store.db.execute(newer, Vec::new()).await.unwrap();
    let result = probed(&running).await;
    assert!(matches!(result, Err(NotReady::Database(_))), "{result:?}");
}

#[tokio::test]
async fn a_database_that_answers_others_is_there_and_one_that_answers_nobody_is_not() {
    let running = start(Kind::Postgres, Arc::new(SystemClock::default())).await;
    assert_eq!(probed(&running).await, Ok(()));
    let connections = running.store.config.max_connections;
    // Two seconds of work: whoever stands in line behind it waits longer than a probe does.
    ask_often(&running.store, 20 * connections, "SELECT 1 AS one FROM pg_sleep(0.1)");
    let before = running.store.db.answers();
    while running.store.db.answers() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.readiness.probe().await;
    assert_eq!(running.readiness.check(), Ok(()));

    let stuck = start(Kind::Postgres, Arc::new(SystemClock::default())).await;
    assert_eq!(probed(&stuck).await, Ok(()));
    ask_often(&stuck.store, connections, "SELECT 1 AS one FROM pg_sleep(9)");
    let looking = stuck.store.replica().await;
    let busy = "SELECT COUNT(*) AS busy FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    while looking.all(busy, Vec::new()).await.unwrap()[0].get::<i64>("busy").unwrap() < i64::from(connections) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stuck.readiness.probe().await;
    assert_eq!(stuck.readiness.check(), Err(NotReady::DatabaseSlow));
}

/// So many who ask at the same time, and take whatever comes.
fn ask_often(store: &Store, times: u32, statement: &'static str) {
    for _ in 0..times {
        let db = store.db.clone();
        tokio::spawn(async move { drop(db.all(statement, Vec::new()).await) });
    }
}

#[tokio::test]
async fn a_clock_far_from_the_databases_is_not_ready() {
    let fast = start(Kind::Postgres, Arc::new(Fast(SystemClock::default()))).await;
    let result = probed(&fast).await;
    assert!(matches!(result, Err(NotReady::ClockOffset(7_000..9_000))), "{result:?}");
    let right = start(Kind::Postgres, Arc::new(SystemClock::default())).await;
    assert_eq!(probed(&right).await, Ok(()));
}

#[tokio::test]
async fn the_databases_time_is_read_right_on_both() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let store = Store::empty(kind).await;
        let theirs: Timestamp = chancery::storage::clock_offset::database_time(&store.db).await.unwrap();
        let ours = SystemClock::default().now();
        assert!(ours.micros().abs_diff(theirs.micros()) < 2_000_000, "{kind:?}: {ours:?} {theirs:?}");
    }
}
