//! Housekeeping of a busy server: its tables grow with people and what they use, not with time, while two replicas sweep together; and
//! what the sweep does to those who are waiting for an answer (security.md R-93). `./test --long` plays a million refreshes and logins
//! on each database; the short run is the same year with fewer people in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::args;
use chancery::clock::Timestamp;
use chancery::config::database::DatabaseConfig;
use chancery::oauth::family::Family;
use chancery::oauth::grant::AuthorizationCode;
use chancery::storage::authorize::{self, Complete};
use chancery::storage::decisions::{self, Record};
use chancery::storage::families::{self, Rotation};
use chancery::storage::interactions::{self, Interaction};
use chancery::storage::sweep::{self, Retention};
use chancery::storage::{Db, Kind, Sql, codes, failures, revoked_tokens, sessions};
use futures_util::StreamExt as _;

use super::fixtures::{World, at, digest, event, rotated, session};
use crate::harness::rounds;

const DAY: u64 = 86_400;
/// Longer than anything lives (a refresh family, 180 days), so that what comes and what goes have met.
const DAYS: u64 = 400;
/// Days between two looks at the tables.
const LOOK: u64 = 50;
/// Of ten operations one is a sign-in with all that it writes, nine are refreshes.
const REFRESHES: usize = 9;
/// Requests at once.
const AT_ONCE: usize = 16;
/// On a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(120);
const RETENTION: Retention = Retention { decisions: Duration::from_secs(7 * DAY), most_decisions: 1_000_000 };

/// Rows by table.
type Rows = BTreeMap<String, i64>;

async fn rows(db: &Db) -> Rows {
    let tables = match db.kind() {
        Kind::Sqlite => "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        Kind::Postgres => "SELECT CAST(tablename AS TEXT) AS name FROM pg_catalog.pg_tables WHERE schemaname = 'public'",
    };
    let mut rows = Rows::new();
    for table in db.all(tables, args![]).await.unwrap() {
        let table: String = table.get("name").unwrap();
        let count: &'static str = Box::leak(format!("SELECT COUNT(*) AS number FROM {table}").into_boxed_str());
        rows.insert(table, db.optional(count, args![]).await.unwrap().unwrap().get("number").unwrap());
    }
    rows
}

/// A person signs in to an application: the interaction, the session, the code and what it is redeemed for; now and then something that
/// fails. Every second one may be refreshed while the person is away.
async fn sign_in(db: Db, world: Arc<World>, number: u64, now: Timestamp) -> Option<Family> {
    let later = |seconds: u64| now.plus(Duration::from_secs(seconds));
    let offline = number.is_multiple_of(2);
    let waiting = digest();
    let interaction = Interaction {
        client_id: "app".to_owned(),
        browser: digest(),
        request: "{}".to_owned(),
        state: "{}".to_owned(),
        session_id: None,
        created_at: now,
        expires_at: later(1800),
        consumed_at: None,
    };
    interactions::insert(&db, &waiting, &interaction).await.unwrap();
    if number.is_multiple_of(10) {
        // Somebody gives up, after a wrong password and a request that was refused.
        failures::add(&db, &[*digest().as_bytes().first_chunk().unwrap()], now, Duration::from_secs(900), Vec::new())
            .await
            .unwrap();
        let record = Record {
            trace_id: format!("{number:032x}"),
            at: now,
            endpoint: "token".to_owned(),
            client_id: None,
            address_prefix: None,
            rule: "R-1".to_owned(),
            reason: "{}".to_owned(),
        };
        decisions::insert_batch(&db, &[record], &[]).await.unwrap();
        return None;
    }
    let mut begun = session(&world.user);
    (begun.auth_time, begun.created_at, begun.last_used_at, begun.expires_at) = (now, now, now, later(7 * DAY));
    assert!(sessions::begin(&db, &begun, &digest(), &event("session.begin")).await.unwrap());
    // With or without the browser session, as the service makes them; without, nothing of it can be used after the session.
    let lives = 180 * DAY;
    let mut grant = world.grant(offline);
    (grant.session_id, grant.auth_time, grant.created_at, grant.expires_at) = (Some(begun.id), now, now, later(lives + 660));
    let completion = world.completion(grant);
    let code = AuthorizationCode { created_at: now, expires_at: later(60), ..completion.code };
    let complete = Complete { interaction: Some(waiting), code, now, ..completion };
    assert!(authorize::complete(&db, complete.clone()).await.unwrap());
    let mut family = world.family(&complete.grant);
    (family.created_at, family.last_used_at, family.expires_at) = (now, now, later(lives));
    let redeem = codes::Redeem { now, ..world.redeem(&complete, Some(family.clone())) };
    assert!(codes::redeem(&db, redeem).await.unwrap());
    if number.is_multiple_of(7) {
        revoked_tokens::insert(&db, &digest(), later(600), &event("token.revoke")).await.unwrap();
    }
    offline.then_some(family)
}

async fn refresh(db: Db, family: Family, now: Timestamp) -> Family {
    // As the service does: read, decide, write.
    assert!(families::find(&db, family.id).await.unwrap().is_some());
    let after = rotated(&family, now);
    assert!(families::rotate(&db, Rotation { before: family, after: after.clone(), now }).await.unwrap());
    after
}

on_both! {
    async fn the_tables_of_a_busy_server_plateau(kind) {
        let per_day = rounds(20, 2_500);
        let world = Arc::new(World::new(kind).await);
        // Whoever waits longer than a request may is counted as slow, not as lost: this is about rows.
        let config = DatabaseConfig { acquire_timeout: PATIENCE, statement_timeout: PATIENCE, ..world.store.config.clone() };
        let dbs = [Db::connect(&config).await.unwrap(), Db::connect(&config).await.unwrap()];
        let before = rows(&dbs[0]).await;
        let begun = Instant::now();
        let (mut sign_ins, mut refreshes, mut swept) = (0_u64, 0_u64, 0_u64);
        let mut living: VecDeque<Family> = VecDeque::new();
        let mut looks: Vec<(u64, Rows)> = Vec::new();
        for day in 0..DAYS {
            // Morning and evening, each with its sweep by both replicas at once, beside what people do.
            for half in 0..2 {
                let now = at(day * DAY + half * DAY / 2);
                let sweeping = dbs.clone().map(|db| tokio::spawn(async move { sweep::run(&db, now, RETENTION).await.unwrap() }));
                let new = per_day / (REFRESHES + 1) / 2;
                let made = futures_util::stream::iter(0..new)
                    .map(|number| {
                        let number = sign_ins + u64::try_from(number).unwrap();
                        tokio::spawn(sign_in(dbs[usize::from(number % 2 == 0)].clone(), Arc::clone(&world), number, now))
                    })
                    .buffer_unordered(AT_ONCE);
                let made: Vec<Family> = made.filter_map(|family| async move { family.unwrap() }).collect().await;
                sign_ins += u64::try_from(new).unwrap();
                living.extend(made);
                // Who has not been back for a month is gone.
                while living.front().is_some_and(|family| family.created_at.plus(Duration::from_secs(30 * DAY)) <= now) {
                    living.pop_front();
                }
                let mut left = new * REFRESHES;
                while left > 0 && !living.is_empty() {
                    let turn: Vec<Family> = living.drain(..left.min(living.len())).collect();
                    left -= turn.len();
                    refreshes += u64::try_from(turn.len()).unwrap();
                    let done = futures_util::stream::iter(turn.into_iter().enumerate())
                        .map(|(number, family)| tokio::spawn(refresh(dbs[number % 2].clone(), family, now)))
                        .buffer_unordered(AT_ONCE);
                    living.extend(done.map(|family| family.unwrap()).collect::<Vec<_>>().await);
                    living.make_contiguous().sort_by_key(|family| family.created_at);
                }
                for sweep in sweeping {
                    swept += sweep.await.unwrap().into_iter().map(|(_, rows)| rows).sum::<u64>();
                }
            }
            if (day + 1) % LOOK == 0 {
                // What a sweep beside the writes has left for the next.
                sweep::run(&dbs[0], at((day + 1) * DAY - 1), RETENTION).await.unwrap();
                looks.push((day + 1, rows(&dbs[0]).await));
            }
        }
        let took = begun.elapsed();
        println!("{kind:?}: {sign_ins} sign-ins and {refreshes} refreshes in {DAYS} days; {swept} rows swept by two replicas; {took:?}");
        let mut head = format!("{:24}{:>9}", "rows of", "before");
        for (day, _) in &looks {
            head += &format!("{:>9}", format!("day {day}"));
        }
        println!("{head}");
        for (table, rows) in &before {
            let line: String = looks.iter().map(|(_, look)| format!("{:>9}", look[table])).collect();
            println!("{table:24}{rows:>9}{line}");
        }
        assert!(refreshes >= 8 * sign_ins, "{refreshes}");
        let of = |day: u64| &looks.iter().find(|(look, _)| *look == day).unwrap().1;
        for table in before.keys() {
            let (settled, end) = (of(DAYS / 2)[table], of(DAYS)[table]);
            // The audit log is kept whole, by design 4.7: events for each sign-in and each revoked token, and none for a refresh.
            if table == "audit_events" {
                assert!(end <= before[table] + 2 * i64::try_from(sign_ins).unwrap(), "{end}");
                continue;
            }
            assert!(end <= settled + settled / 20 + 2, "{table} has {settled} rows after half of the time and {end} at the end");
        }
        // The families of 180 days are the most that there is; nothing has a row per refresh.
        let most = i64::try_from(sign_ins * 181 / DAYS).unwrap() + 10;
        for table in before.keys().filter(|table| *table != "audit_events") {
            assert!(of(DAYS)[table] - before[table] <= most, "{table}: {}", of(DAYS)[table]);
        }
    }

    async fn a_sweep_of_much_holds_up_few(kind) {
        let begun = Instant::now();
        let world = World::new(kind).await;
        // More than can be swept meanwhile: a sweep that runs out of rows shows nothing. PostgreSQL has swept a million.
        let most = match kind {
            Kind::Sqlite => 1_000_000,
            Kind::Postgres => 3_000_000,
        };
        let many = litter(&world, rounds(20_000, most)).await;
        println!("{kind:?}: {many} rows in {:?}", begun.elapsed());
        for replicas in [1, 2] {
            let mut change = held_up(&world, replicas).await;
            // Only the long run has the machine for itself, and even then others may be on it: what is real is there each time.
            for _ in 0..rounds(0, 2) {
                if change > R_93 {
                    change = held_up(&world, replicas).await.min(change);
                }
            }
            // Short, and beside other tests, only what would be seconds is seen: a lock. SQLite is for one server; two wait for each other
            // by sleeping, and that is what is measured.
            let at_most = if rounds(0, 1) == 1 && !(kind == Kind::Sqlite && replicas == 2) { R_93 } else { 10.0 };
            assert!(change <= at_most, "R-93: {kind:?}, {replicas} replicas: {change:.2} times the p99");
        }
        assert!(rubbish(&world.store.db).await < many);
        assert!(begun.elapsed().as_secs() < rounds(120, 600) as u64, "{:?}", begun.elapsed());
    }
}

/// A fifth more.
const R_93: f64 = 1.2;

/// Refreshes in short windows of time, in turn without a sweep beside them and with one that has more to do than it can, by so many
/// replicas. Answers how many times the p99 of its neighbour a swept window's p99 is: the middle one, since what else the machine does for
/// a while must not count.
async fn held_up(world: &World, replicas: usize) -> f64 {
    let begun = Instant::now();
    let mut dbs = vec![world.store.db.clone()];
    while dbs.len() < replicas {
        dbs.push(world.store.replica().await);
    }
    let mut people = Vec::new();
    for _ in 0..AT_ONCE {
        people.push(world.redeemed(true).await.1);
    }
    let left = rubbish(&dbs[0]).await;
    let window = Duration::from_millis(rounds(100, 1_000) as u64);
    let mut pairs: Vec<[Vec<Duration>; 2]> = Vec::new();
    for number in 0..rounds(5, 25) {
        let mut pair = [Vec::new(), Vec::new()];
        // Whatever changes slowly counts for both.
        for swept in if number % 2 == 0 { [false, true] } else { [true, false] } {
            // It can be cut off anywhere, and the next one goes on.
            let sweepers: Vec<_> = dbs.iter().filter(|_| swept).map(|db| tokio::spawn(sweeping(db.clone()))).collect();
            (people, pair[usize::from(swept)]) = refreshes(&dbs, people, window).await;
            for sweeper in sweepers {
                sweeper.abort();
                assert!(sweeper.await.is_err_and(|error| error.is_cancelled()), "a sweep failed, or there was too little to do");
            }
        }
        pairs.push(pair);
    }
    let part = |took: &[Duration], of_hundred: usize| took[(took.len() * of_hundred / 100).min(took.len() - 1)];
    let mut changes: Vec<f64> =
        pairs.iter().map(|[quiet, swept]| part(swept, 99).as_secs_f64() / part(quiet, 99).as_secs_f64()).collect();
    changes.sort_by(f64::total_cmp);
    let change = changes[changes.len() / 2];
    let [quiet, swept] = [0, 1].map(|which| {
        let mut all: Vec<Duration> = pairs.iter().flat_map(|pair| pair[which].clone()).collect();
        all.sort();
        all
    });
    println!(
        "{:?}, {replicas} sweeping: p50 {:?}, swept {:?}; p99 {:?}, swept {:?}; p99 of a swept window beside its neighbour's {:+.0} % (the middle of {}, \
         half of them from {:+.0} to {:+.0} %); {} of {left} rows swept; {} and {} refreshes; {:?}",
        dbs[0].kind(),
        part(&quiet, 50),
        part(&swept, 50),
        part(&quiet, 99),
        part(&swept, 99),
        (change - 1.0) * 100.0,
        changes.len(),
        (changes[changes.len() / 4] - 1.0) * 100.0,
        (changes[changes.len() * 3 / 4] - 1.0) * 100.0,
        left - rubbish(&dbs[0]).await,
        quiet.len(),
        swept.len(),
        begun.elapsed()
    );
    change
}

/// As the job does it, and at once again.
async fn sweeping(db: Db) {
    let retention = Retention { most_decisions: 1_000, ..RETENTION };
    while sweep::run(&db, at(40 * DAY), retention).await.unwrap().into_iter().any(|(_, rows)| rows > 0) {}
}

/// People who refresh again and again, and how long each of them waited, sorted.
async fn refreshes(dbs: &[Db], people: Vec<Family>, window: Duration) -> (Vec<Family>, Vec<Duration>) {
    let begun = Instant::now();
    let asked = people.into_iter().enumerate().map(|(number, mut family)| {
        let db = dbs[number % dbs.len()].clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            while begun.elapsed() < window {
                let one = Instant::now();
                family = refresh(db.clone(), family, at(2)).await;
                took.push(one.elapsed());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (family, took)
        })
    });
    let (people, took): (Vec<Family>, Vec<Vec<Duration>>) =
        futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap).unzip();
    let mut took = took.concat();
    took.sort();
    (people, took)
}

/// What [`litter`] made and no sweep has taken.
async fn rubbish(db: &Db) -> u64 {
    const COUNT: &str = "SELECT (SELECT COUNT(*) FROM interactions WHERE expires_at < $1) + (SELECT COUNT(*) FROM revoked_tokens WHERE expires_at < $1)
        + (SELECT COUNT(*) FROM decisions WHERE at < $1) + (SELECT COUNT(*) FROM grants WHERE expires_at < $1)
        + (SELECT COUNT(*) FROM codes WHERE expires_at < $1) + (SELECT COUNT(*) FROM families WHERE expires_at < $1) AS number";
    db.optional(COUNT, args![at(0)]).await.unwrap().unwrap().get("number").unwrap()
}

/// Rows whose time is long over, in every table that grows with requests, with all that hangs on them. Answers how many.
async fn litter(world: &World, many: usize) -> u64 {
    const LITTER: [Sql; 6] = [
        Sql::Split {
            sqlite: "INSERT INTO interactions (digest, client_id, browser, request, state, created_at, expires_at)
                     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3 * $2)
                     SELECT randomblob(32), 'app', randomblob(32), '{}', '{}', $1, $1 + i FROM n",
            postgres: "INSERT INTO interactions (digest, client_id, browser, request, state, created_at, expires_at)
                       SELECT sha256(uuid_send(gen_random_uuid())), 'app', sha256(uuid_send(gen_random_uuid())), '{}', '{}', $1, $1 + i
                       FROM generate_series(CAST(1 AS BIGINT), 3 * CAST($2 AS BIGINT)) AS i",
        },
        Sql::Split {
            sqlite: "INSERT INTO revoked_tokens (jti, expires_at)
                     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3 * $2) SELECT randomblob(32), $1 + i FROM n",
            postgres: "INSERT INTO revoked_tokens (jti, expires_at) SELECT sha256(uuid_send(gen_random_uuid())), CAST($1 AS BIGINT) + i
                       FROM generate_series(CAST(1 AS BIGINT), 3 * CAST($2 AS BIGINT)) AS i",
        },
        Sql::Split {
            sqlite: "INSERT INTO decisions (trace_id, at, endpoint, address_prefix, rule, reason)
                     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3 * $2)
                     SELECT lower(hex(randomblob(16))), $1 + i, 'token', '192.0.2.0/24', 'R-1', '{}' FROM n",
            postgres: "INSERT INTO decisions (trace_id, at, endpoint, address_prefix, rule, reason)
                       SELECT encode(uuid_send(gen_random_uuid()), 'hex'), $1 + i, 'token', '192.0.2.0/24', 'R-1', '{}'
                       FROM generate_series(CAST(1 AS BIGINT), 3 * CAST($2 AS BIGINT)) AS i",
        },
        Sql::Split {
            sqlite: "INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, amr, offline, created_at, expires_at)
                     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
                     SELECT randomblob(16), 'app', (SELECT id FROM users), 'sub', 'openid offline_access', '', $1, 'pwd', 1, $1, $1 + i FROM n",
            postgres: "INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, amr, offline, created_at, expires_at)
                       SELECT uuid_send(gen_random_uuid()), 'app', (SELECT id FROM users), 'sub', 'openid offline_access', '', $1, 'pwd', 1, $1, $1 + i
                       FROM generate_series(CAST(1 AS BIGINT), CAST($2 AS BIGINT)) AS i",
        },
        Sql::Split {
            sqlite: "INSERT INTO codes (digest, grant_id, client_id, created_at, expires_at)
                     SELECT randomblob(32), id, 'app', $1, expires_at FROM grants WHERE expires_at BETWEEN $1 + 1 AND $1 + $2",
            postgres: "INSERT INTO codes (digest, grant_id, client_id, created_at, expires_at)
                       SELECT sha256(id), id, 'app', $1, expires_at FROM grants WHERE expires_at BETWEEN $1 + 1 AND $1 + $2",
        },
        Sql::Split {
            sqlite: "INSERT INTO families (id, grant_id, client_id, salt, key_id, generation, previous, burst_first, burst_recovered, created_at,
                         last_used_at, expires_at)
                     SELECT randomblob(16), id, 'app', randomblob(16), 7, 1, 0, 0, 0, $1, $1, expires_at
                     FROM grants WHERE expires_at BETWEEN $1 + 1 AND $1 + $2",
            postgres: "INSERT INTO families (id, grant_id, client_id, salt, key_id, generation, previous, burst_first, burst_recovered, created_at,
                           last_used_at, expires_at)
                       SELECT uuid_send(gen_random_uuid()), id, 'app', uuid_send(gen_random_uuid()), 7, 1, 0, 0, 0, $1, $1, expires_at
                       FROM grants WHERE expires_at BETWEEN $1 + 1 AND $1 + $2",
        },
    ];
    let mut made = 0;
    // A table after the other, in the order of their keys' time, as they would have come.
    let turn = 5_000;
    for first in (0..many / 12).step_by(turn) {
        for statement in LITTER {
            let rows = (many / 12 - first).min(turn);
            let from = at(0).minus(Duration::from_secs(DAY)).plus(Duration::from_micros(u64::try_from(first * 3).unwrap()));
            made += world.store.db.execute(statement, args![from, rows]).await.unwrap();
        }
    }
    made
}
