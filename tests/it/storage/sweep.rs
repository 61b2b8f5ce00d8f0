//! Sweeping takes what is over, all of it, and nothing else.

use std::time::{Duration, Instant};

use chancery::args;
use chancery::http::server::Shutdown;
use chancery::jobs;
use chancery::oauth::registration::{InitialAccessToken, Limits};
use chancery::storage::decisions::{self, Count, Record};
use chancery::storage::interactions::{self, Interaction};
use chancery::storage::sweep::{self, Retention};
use chancery::storage::{
    Db, Kind, Sql, clients, codes, device_codes, families, grants, initial_access_tokens, revoked_tokens, sessions,
    spent_assertions,
};
use sqlx::{Connection as _, Row as _};

use super::fixtures::{NOW, World, at, device_code, digest, event, id, secret};

const DAY: u64 = 86_400;
const RETENTION: Retention = Retention { decisions: Duration::from_secs(7 * DAY), most_decisions: 3 };

fn record(number: u64) -> Record {
    Record {
        trace_id: format!("{number:032x}"),
        at: at(number),
        endpoint: "token".to_owned(),
        client_id: None,
        address_prefix: Some("192.0.2.0/32".to_owned()),
        rule: "R-1".to_owned(),
        reason: "{}".to_owned(),
    }
}

async fn swept(db: &Db, seconds: u64) -> Vec<(&'static str, u64)> {
    let mut swept = sweep::run(db, at(seconds), RETENTION).await.unwrap();
    swept.retain(|(_, rows)| *rows > 0);
    swept
}

/// Seven hundred grants like the one that is there, each third of which has ended.
macro_rules! copies {
    ($id:literal, $with:literal, $series:literal) => {
        concat!(
            "INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, amr, offline, created_at, expires_at, ended_at) ",
            $with,
            " SELECT ",
            $id,
            ", client_id, user_id, sub, scopes, resources, auth_time, amr, offline, created_at, expires_at,
              CASE WHEN i % 3 = 0 THEN $1 END FROM grants, ",
            $series
        )
    };
}

on_both! {
    async fn everything_goes_in_its_time_and_not_before(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        assert_eq!(swept(db, 1).await, []);
        let code = world.code(true).await;
        let (redeemed, family) = world.redeemed(true).await;
        let interaction = Interaction {
            client_id: "app".to_owned(), browser: digest(), request: "{}".to_owned(), state: "{}".to_owned(), session_id: None,
            created_at: NOW, expires_at: at(1800), consumed_at: None,
        };
        interactions::insert(db, &digest(), &interaction).await.unwrap();
        revoked_tokens::insert(db, &digest(), at(600), &event("token.revoke")).await.unwrap();
        assert!(spent_assertions::spend(db, &digest(), at(700)).await.unwrap());
        device_codes::insert(db, &digest(), (1, [9; 32]), &device_code()).await.unwrap();
        chancery::storage::failures::add(db, &[[1; 32]], NOW, Duration::from_secs(900), Vec::new()).await.unwrap();
        clients::add_secret(db, "app", &secret(at(1)), at(1), &event("secret")).await.unwrap();
        let old = world.client.secrets[0].id;
        clients::expire_secret(db, "app", old, at(10), &event("secret")).await.unwrap();
        decisions::insert_batch(db, &[record(1)], &[Count {
            minute: NOW.seconds() / 60, rule: "R-1".to_owned(), client_id: String::new(), address_prefix: String::new(), count: 5,
        }]).await.unwrap();

        let token = InitialAccessToken {
            id: id(), note: None, created_by: "test".to_owned(), limits: Limits::default(), registrations: 1, registrations_left: 1,
            created_at: NOW, expires_at: at(600),
        };
        initial_access_tokens::insert(db, &digest(), &token, &event("token")).await.unwrap();

        assert_eq!(swept(db, 600).await, []);
        assert_eq!(swept(db, 700 + 300).await, []);
        assert_eq!(swept(db, 700 + 301).await, [("spent_assertions", 1)]);
        assert_eq!(swept(db, 2000).await, [("failures", 1)]);
        assert_eq!(swept(db, 600 + 3601).await, [("device_codes", 1), ("revoked_tokens", 1)]);
        assert_eq!(swept(db, 1800 + 3601).await, [("interactions", 1)]);
        assert_eq!(swept(db, 61 + DAY).await, [("codes", 2)]);
        assert!(codes::find(db, &code.digest).await.unwrap().is_none());
        assert!(families::find(db, family.id).await.unwrap().is_some());
        assert_eq!(swept(db, 7 * DAY + 120).await, [("decisions", 1), ("decision_counts", 1)]);
        assert_eq!(swept(db, 8 * DAY + 1).await, [("sessions", 1)]);
        assert!(sessions::find(db, &world.cookie).await.unwrap().is_none());
        assert_eq!(swept(db, 30 * DAY + 11).await, [("client_secrets", 1)]);
        assert_eq!(clients::find(db, "app").await.unwrap().unwrap().secrets.len(), 1);
        assert_eq!(swept(db, 30 * DAY + 600).await, []);
        assert_eq!(swept(db, 30 * DAY + 601).await, [("initial_access_tokens", 1)]);
        grants::end(db, redeemed.grant.id, "test", at(40 * DAY), None).await.unwrap();
        assert_eq!(swept(db, 47 * DAY).await, []);
        assert_eq!(swept(db, 47 * DAY + 1).await, [("grants", 1)]);
        assert!(families::find(db, family.id).await.unwrap().is_none(), "a grant takes its family along");
        assert_eq!(swept(db, 200 * DAY + 1).await, [("grants", 1)]);
        assert_eq!(swept(db, 400 * DAY).await, []);
    }

    async fn more_decisions_than_are_kept_push_the_oldest_out(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let records: Vec<Record> = (1..=7).map(record).collect();
        decisions::insert_batch(db, &records, &[]).await.unwrap();
        assert_eq!(swept(db, 10).await, [("decisions", 4)]);
        for (number, kept) in [(4, false), (5, true), (7, true)] {
            assert_eq!(decisions::find(db, &record(number).trace_id).await.unwrap().is_some(), kept, "{number}");
        }
        assert_eq!(swept(db, 10).await, []);
    }

    async fn many_rows_go_in_batches_and_two_replicas_may_sweep_at_once(kind) {
        let world = World::new(kind).await;
        let (db, replica) = (world.store.db.clone(), world.store.replica().await);
        revoked(&db, 3000).await;
        let (one, two) = tokio::join!(sweep::run(&db, at(DAY), RETENTION), sweep::run(&replica, at(DAY), RETENTION));
        let rows: u64 = [one.unwrap(), two.unwrap()].concat().into_iter().filter(|(table, _)| *table == "revoked_tokens").map(|(_, rows)| rows).sum();
        let left = sweep::run(&db, at(DAY), RETENTION).await.unwrap().into_iter().find(|(table, _)| *table == "revoked_tokens").unwrap().1;
        assert_eq!(rows + left, 3000);
    }

    async fn ended_grants_are_found_among_many_that_stand(kind) {
        let world = World::new(kind).await;
        let (db, replica) = (world.store.db.clone(), world.store.replica().await);
        world.code(true).await;
        let copies = Sql::Split {
            sqlite: copies!("randomblob(16)", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)", "n"),
            postgres: copies!("uuid_send(gen_random_uuid())", "", "generate_series(1, 700) AS n(i)"),
        };
        assert_eq!(db.execute(copies, args![NOW]).await.unwrap(), 700);
        let left = async || {
            let row = db.optional("SELECT COUNT(*) AS grants, COUNT(ended_at) AS ended FROM grants", args![]).await.unwrap().unwrap();
            (row.get::<u64>("grants").unwrap(), row.get::<u64>("ended").unwrap())
        };
        assert_eq!(left().await, (701, 233));
        let (one, two) = tokio::join!(sweep::run(&db, at(8 * DAY), RETENTION), sweep::run(&replica, at(8 * DAY), RETENTION));
        let gone: u64 = [one.unwrap(), two.unwrap()].concat().into_iter().filter(|(table, _)| *table == "grants").map(|(_, rows)| rows).sum();
        let again = swept(&db, 8 * DAY).await.iter().find(|(table, _)| *table == "grants").map_or(0, |(_, rows)| *rows);
        assert_eq!((gone + again, left().await), (233, (468, 0)));
    }

    async fn a_round_with_much_to_do_ends_with_the_shutdown(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        revoked(db, 3_000).await;
        let shutdown = Shutdown::new();
        let swept = jobs::sweep::tick(db, at(DAY), RETENTION.decisions, shutdown.clone());
        let begun = async {
            // In the middle of it.
            while count(db).await == 3_000 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            shutdown.begin();
            Instant::now()
        };
        let (swept, begun) = tokio::join!(swept, begun);
        swept.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!((1..3_000).contains(&count(db).await));
        // What was cut off has spoiled nothing.
        while count(db).await > 0 {
            sweep::run(db, at(DAY), RETENTION).await.unwrap();
        }
    }
}

/// Rows that are dead and that somebody still sees (a backup, a report) lie at the beginning of every index: no batch reads through those
/// of the batches before it.
#[tokio::test]
async fn a_sweep_beside_a_long_look_reads_no_row_twice_on_postgres() {
    let world = World::new(Kind::Postgres).await;
    let db = &world.store.db;
    revoked(db, 20_000).await;
    let mut looking = sqlx::PgConnection::connect(world.store.config.url.expose()).await.unwrap();
    let look = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT COUNT(*) FROM revoked_tokens";
    sqlx::raw_sql(look).execute(&mut looking).await.unwrap();
    assert_eq!(swept(db, DAY).await, [("revoked_tokens", 20_000)]);
    // A session tells what it has counted when it ends.
    db.close().await;
    let mut read = (0, 0);
    for _ in 0..100 {
        let counted = "SELECT idx_tup_read, n_tup_del FROM pg_stat_user_indexes JOIN pg_stat_user_tables USING (relid)
                       WHERE indexrelname = 'revoked_tokens_sweep'";
        let row = sqlx::raw_sql(counted)
            .fetch_one(&mut sqlx::PgConnection::connect(world.store.config.url.expose()).await.unwrap())
            .await
            .unwrap();
        read = (row.get::<i64, _>(0), row.get::<i64, _>(1));
        if read.1 == 20_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(read.1, 20_000);
    assert!((20_000..30_000).contains(&read.0), "{} rows were read to remove 20,000", read.0);
}

/// So many rows whose time is over, one after the other.
async fn revoked(db: &Db, many: usize) {
    let series = Sql::Split {
        sqlite: "INSERT INTO revoked_tokens (jti, expires_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
                 SELECT CAST(substr('00000000000000000000000000000000' || i, -32) AS BLOB), $1 + i FROM n",
        postgres: "INSERT INTO revoked_tokens (jti, expires_at)
                   SELECT convert_to(lpad(CAST(i AS TEXT), 32, '0'), 'UTF8'), CAST($1 AS BIGINT) + i
                   FROM generate_series(CAST(1 AS BIGINT), CAST($2 AS BIGINT)) AS i",
    };
    assert_eq!(db.execute(series, args![NOW, many]).await.unwrap(), many as u64);
}

async fn count(db: &Db) -> i64 {
    db.optional("SELECT COUNT(*) AS number FROM revoked_tokens", args![]).await.unwrap().unwrap().get("number").unwrap()
}
