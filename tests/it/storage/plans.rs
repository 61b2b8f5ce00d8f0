//! How the databases would go about each statement of the store: through an index, never through a table that grows.
//!
//! PostgreSQL is told to avoid sequential scans, so that one that remains is one without any index to use; an index that is read
//! from end to end counts as such a scan too. SQLite plans by its rules alone while nothing was analysed.

use std::time::{Duration, Instant};

use chancery::clock::Timestamp;
use chancery::config::database::DatabaseConfig;
use chancery::storage::{Db, Kind, Row, Value, counts, migrate, statements};
use sqlx::{Connection as _, Row as _};

use super::Store;
use crate::harness::{Backend, Server};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Tables whose rows operators make, a handful: keys, APIs, groups and the installation's own facts.
const SMALL: &[&str] =
    &["schema_migrations", "sqlite_schema", "meta", "changes", "data_keys", "signing_keys", "resources", "resource_scopes"];

/// Statements that read through a table or an index that grows, and why they may.
const READ_WHOLE: &[(&str, &str)] = &[
    ("clients::LIST", "reads the page that its own subquery took from the index"),
    ("logouts::WAITING", "reads its own rows, one for each client that something waits for"),
    ("doctor::NEWEST_EVENT", "one row from the end of the index"),
    ("doctor::ADMINISTRATORS", "the index holds administrators alone, few among many"),
    ("sweep::OLDEST_KEPT_DECISION", "counts off the records that are kept, of which there are at most so many, along the index"),
];

/// One step of a plan that reads through everything.
#[derive(Debug)]
struct Scan {
    statement: &'static str,
    table: String,
    step: String,
}

#[tokio::test]
async fn sqlite_reads_through_no_table_that_grows() {
    let store = Store::empty(Kind::Sqlite).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let mut scans = Vec::new();
    for (statement, sql) in statements() {
        for text in sql.statements(Kind::Sqlite) {
            scans.extend(on_sqlite(&store, statement, text).await);
        }
    }
    only_the_exceptions(&scans);
    assert_eq!(on_sqlite(&store, "without an index", WITHOUT_AN_INDEX).await.len(), 1);
}

/// What SQLite counted while the tables were small it would believe for a long time, and read them whole. So nobody counts.
#[tokio::test]
async fn sqlite_plans_by_its_rules_alone() {
    let store = Store::empty(Kind::Sqlite).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let other = store.replica().await;
    other.all("SELECT client_id FROM clients", Vec::new()).await.unwrap();
    other.close().await;
    let counted = store.db.all("SELECT name FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'", Vec::new()).await.unwrap();
    assert_eq!(counted.len(), 0);
}

#[tokio::test]
async fn postgres_reads_through_no_table_that_grows() {
    let store = Store::empty(Kind::Postgres).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let mut connection = as_in_the_pool(&store).await;
    let mut scans = Vec::new();
    for (statement, sql) in statements() {
        scans.extend(on_postgres(&mut connection, statement, sql.text(Kind::Postgres)).await);
    }
    only_the_exceptions(&scans);
    assert_eq!(on_postgres(&mut connection, "without an index", WITHOUT_AN_INDEX).await.len(), 1);
    // Everything that has not expired is almost everything.
    let joined = "SELECT f.id FROM families f WHERE f.id = $1 AND EXISTS (SELECT 1 FROM grants g WHERE g.expires_at > $2)";
    assert_eq!(on_postgres(&mut connection, "by the time", joined).await.len(), 1);
    // In the order of an index is no way to a row either.
    let ordered = format!("{WITHOUT_AN_INDEX} ORDER BY id");
    assert_eq!(on_postgres(&mut connection, "in an order", &ordered).await.len(), 1);
}

/// On most days nothing is revoked when PostgreSQL counts the rows, and every introspection asks for what is.
#[tokio::test]
async fn what_was_empty_when_it_was_counted_is_not_read_whole_for_each_token() {
    let store = Store::empty(Kind::Postgres).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let mut connection = as_in_the_pool(&store).await;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await.unwrap();
    let mut asks = 0;
    for (statement, sql) in statements() {
        let text = sql.text(Kind::Postgres);
        asks += usize::from(text.contains("JOIN revoked_tokens"));
        let scans = on_postgres(&mut connection, statement, text).await;
        let whole = scans.iter().find(|scan| scan.table == "revoked_tokens" && !statement.contains("sweep::"));
        assert!(whole.is_none(), "{statement}: {}", whole.map_or("", |scan| &scan.step));
    }
    assert!(asks >= 2, "{asks}");
}

/// Introspection asks the index of those who are disabled, which is empty on most days, before and after PostgreSQL has counted.
#[tokio::test]
async fn nobodys_row_is_read_to_learn_that_a_token_lives() {
    let store = Store::empty(Kind::Postgres).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let url = store.config.url.expose();
    let all = statements();
    let (_, sql) = all.iter().find(|(name, _)| name.ends_with("revoked_tokens::TOKEN_LIVES")).unwrap();
    for prepare in ["SELECT", ANYTHING_GOES, "VACUUM ANALYZE"] {
        beside(url, prepare).await;
        let plan = plan_on_postgres(&mut as_in_the_pool(&store).await, "TOKEN_LIVES", sql.text(Kind::Postgres)).await;
        let people: Vec<&String> = plan.iter().filter(|line| line.contains("users")).collect();
        assert!(matches!(people[..], [step] if step.contains("Scan using users_disabled")), "after {prepare}: {plan:#?}");
        if prepare == ANYTHING_GOES {
            fill(url, 1_000).await;
        }
    }
}

/// Where autovacuum is off, or has not come by yet.
#[tokio::test]
async fn what_was_empty_when_it_was_counted_is_counted_again_when_it_has_grown() {
    let store = Store::empty(Kind::Postgres).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let url = store.config.url.expose();
    beside(url, ANYTHING_GOES).await;
    beside(url, "VACUUM ANALYZE").await;
    let mut connection = as_in_the_pool(&store).await;
    let planned = planned(&mut connection).await;
    let scans = refused(&explained(&mut connection, &planned).await);
    assert!(scans.iter().any(|scan| scan.contains("codes_sweep")), "what this is about: {scans:?}");
    assert_eq!(counts::renew(&store.db).await.unwrap(), 0, "nothing has grown");
    fill(url, 1_000).await;
    all_are_counted(&store.db, async || assert!(counts::renew(&store.db).await.is_ok())).await;
    only_the_exceptions(&explained(&mut connection, &planned).await);
    assert_eq!(counts::renew(&store.db).await.unwrap(), 0, "once is enough");
}

#[tokio::test]
async fn every_statement_goes_by_the_key_from_the_few_rows_on_that_are_not_counted_again() {
    let store = Store::empty(Kind::Postgres).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let url = store.config.url.expose();
    beside(url, ANYTHING_GOES).await;
    fill(url, counts::FEW).await;
    beside(url, "VACUUM ANALYZE").await;
    let mut connection = as_in_the_pool(&store).await;
    let planned = planned(&mut connection).await;
    only_the_exceptions(&explained(&mut connection, &planned).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_has_tables_counted_by_itself() {
    let server = Server::start(Backend::Postgres).await;
    beside(&server.database_url, ANYTHING_GOES).await;
    beside(&server.database_url, "VACUUM ANALYZE").await;
    fill(&server.database_url, 1_000).await;
    all_are_counted(&server.app.db, async || ()).await;
}

#[tokio::test]
async fn a_user_who_may_not_count_goes_on() {
    let store = Store::empty(Kind::Postgres).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let url = store.config.url.expose();
    beside(url, ANYTHING_GOES).await;
    beside(url, "VACUUM ANALYZE").await;
    fill(url, 1_000).await;
    let noted = "SELECT pg_stat_get_live_tuples('codes'::regclass) AS number";
    in_time(async || store.db.optional(noted, Vec::new()).await.unwrap().unwrap().get::<i64>("number").unwrap() >= 1_000).await;
    let role = crate::harness::unique("guest").replace('-', "_");
    beside(url, &format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")).await;
    let guest = Db::connect(&DatabaseConfig::new(url.replace("chancery@", &format!("{role}@")))).await.unwrap();
    assert_eq!(counts::renew(&guest).await.unwrap(), 0);
    guest.close().await;
    beside(url, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    all_are_counted(&store.db, async || assert!(counts::renew(&store.db).await.is_ok())).await;
}

/// Rows of any kind may be written, and nobody else counts them.
const ANYTHING_GOES: &str = "
    DO $$ DECLARE it record; BEGIN
        FOR it IN SELECT conrelid::regclass AS name, conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0 LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', it.name, it.conname);
        END LOOP;
        FOR it IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = off)', it.tablename);
        END LOOP;
    END $$";

/// So many rows for each table. What identifies a row and what tells a time is different in each.
const FILL: &str = "
    SET session_replication_role = replica;
    DO $$ DECLARE it record; BEGIN
        FOR it IN SELECT table_name, string_agg(quote_ident(column_name), ', ') AS columns, string_agg(value, ', ') AS vals
                  FROM (SELECT c.table_name, c.column_name, CASE
                            WHEN data_type = 'bytea' THEN 'sha256(n::text::bytea)'
                            WHEN is_nullable = 'YES' THEN 'NULL'
                            WHEN data_type = 'bigint' AND (is_key OR column_name ~ '(_at|^at|minute)$') THEN 'n'
                            WHEN data_type = 'bigint' AND column_name = 'enabled' THEN '1'
                            WHEN data_type = 'bigint' THEN '0'
                            WHEN is_key THEN 'n::text'
                            ELSE '''x'' || n / 2' END AS value
                        FROM information_schema.columns c CROSS JOIN LATERAL
                             (SELECT EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                                             WHERE i.indrelid = c.table_name::regclass AND i.indisunique AND a.attname = c.column_name)
                              AS is_key) AS k
                        WHERE c.table_schema = 'public' AND c.table_name <> 'schema_migrations') AS c
                  GROUP BY table_name LOOP
            EXECUTE format('INSERT INTO %I (%s) SELECT %s FROM generate_series(1, ROWS) AS n ON CONFLICT DO NOTHING', it.table_name, it.columns, it.vals);
        END LOOP;
    END $$";

async fn fill(url: &str, rows: u64) {
    beside(url, &FILL.replace("ROWS", &rows.to_string())).await;
}

/// Over a connection of its own, which says what it has written when it goes.
async fn beside(url: &str, script: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(script.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Waits until PostgreSQL believes no table that grows to be nearly empty.
async fn all_are_counted(db: &Db, meanwhile: impl AsyncFn()) {
    let few = "SELECT COUNT(*) AS number FROM pg_class c JOIN pg_tables t ON t.tablename = c.relname
               WHERE t.schemaname = 'public' AND c.reltuples < $1 AND NOT c.relname = ANY ($2)";
    in_time(async || {
        meanwhile().await;
        let small = SMALL.iter().map(|name| Some((*name).to_owned())).collect();
        let row = db.optional(few, vec![counts::FEW.into(), Value::Texts(small)]).await.unwrap().unwrap();
        row.get::<i64>("number").unwrap() == 0
    })
    .await;
}

async fn in_time(holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Every statement of the store, prepared over a connection and planned.
async fn planned(connection: &mut sqlx::PgConnection) -> Vec<(&'static str, String)> {
    let mut planned = Vec::new();
    for (number, (statement, sql)) in statements().into_iter().enumerate() {
        let text = sql.text(Kind::Postgres);
        if has_a_plan(text) {
            let name = format!("planned_{number}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PREPARE {name} AS {text}"))).execute(&mut *connection).await.unwrap();
            let values = vec!["NULL"; parameters(text)].join(", ");
            let execute = if values.is_empty() { name } else { format!("{name} ({values})") };
            planned.push((statement, format!("EXPLAIN (COSTS OFF) EXECUTE {execute}")));
        }
    }
    explained(connection, &planned).await;
    planned
}

async fn explained(connection: &mut sqlx::PgConnection, planned: &[(&'static str, String)]) -> Vec<Scan> {
    let mut scans = Vec::new();
    for (statement, explain) in planned {
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(explain.clone())).fetch_all(&mut *connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        scans.extend(scans_of(statement, &plan));
    }
    scans
}

/// A connection that plans as those of the server do.
async fn as_in_the_pool(store: &Store) -> sqlx::PgConnection {
    let theirs = "SELECT string_agg(format('SET %I = %L', name, setting), '; ') AS settings FROM pg_settings
                  WHERE source = 'session' AND (name LIKE 'enable_%' OR name = 'plan_cache_mode')";
    let settings = store.db.optional(theirs, Vec::new()).await.unwrap().unwrap().get::<String>("settings").unwrap();
    assert!(settings.contains("enable_seqscan") && settings.contains("force_generic_plan"), "{settings}");
    let mut connection = sqlx::PgConnection::connect(store.config.url.expose()).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut connection).await.unwrap();
    connection
}

/// What a request changes in a row that stays is in no index, neither as a column nor in its condition: else Postgres writes into every index
/// of the table for each change.
#[tokio::test]
async fn what_changes_in_a_row_is_in_no_index_of_postgres() {
    const CHANGING: &[(&str, &[&str])] = &[
        ("families", &["generation", "previous", "previous_redeemed_at", "burst_", "last_used_at", "ended_"]),
        ("grants", &["ended_"]),
        ("codes", &["consumed_at"]),
        ("sessions", &["last_used_at", "ended_at"]),
    ];
    let store = Store::empty(Kind::Postgres).await;
    migrate::run(&store.db, NOW).await.unwrap();
    for (table, columns) in CHANGING {
        let indexes = store.db.all("SELECT indexdef FROM pg_indexes WHERE tablename = $1", chancery::args![*table]).await.unwrap();
        assert!(!indexes.is_empty(), "{table}");
        for index in &indexes {
            let definition: String = index.get("indexdef").unwrap();
            let defined = definition.split_once(" USING ").unwrap().1;
            assert!(!columns.iter().any(|column| defined.contains(column)), "{definition}");
        }
    }
}

#[tokio::test]
async fn postgres_plans_a_statement_once_for_a_connection() {
    let store = Store::empty(Kind::Postgres).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let mut config = store.config.clone();
    config.max_connections = 1;
    let db = chancery::storage::Db::connect(&config).await.unwrap();
    for number in 0..3_i64 {
        db.all("SELECT id FROM users WHERE created_at = $1", chancery::args![number]).await.unwrap();
    }
    let planned = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%WHERE created_at = $1'";
    let row = db.optional(planned, Vec::new()).await.unwrap().unwrap();
    assert_eq!((row.get::<i64>("generic_plans").unwrap(), row.get::<i64>("custom_plans").unwrap()), (3, 0));
}

/// What these tests are there to see.
const WITHOUT_AN_INDEX: &str = "SELECT sub FROM users WHERE password_changed_at = $1";

async fn on_sqlite(store: &Store, statement: &'static str, text: &str) -> Vec<Scan> {
    if !has_a_plan(text) {
        return Vec::new();
    }
    let explain: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {text}").into_boxed_str());
    let values = vec![Value::Int(None); parameters(text)];
    let plan = store.db.transaction("explain", move |tx| Box::pin(async move { tx.all(explain, values).await })).await;
    let plan: Vec<Row> = plan.unwrap_or_else(|error: chancery::storage::StoreError| panic!("{statement}: {error}"));
    let mut scans = Vec::new();
    for row in plan {
        let step: String = row.get("detail").unwrap();
        let Some(rest) = step.strip_prefix("SCAN ") else { continue };
        // A table-valued function reads what was bound; `one` is the single row that an outer join begins with.
        if rest.contains("VIRTUAL TABLE") || rest.starts_with("CONSTANT") || rest == "one" {
            continue;
        }
        let alias = rest.split(' ').next().unwrap_or_default();
        scans.push(Scan { statement, table: table_of(text, alias), step });
    }
    scans
}

async fn on_postgres(connection: &mut sqlx::PgConnection, statement: &'static str, text: &str) -> Vec<Scan> {
    if !has_a_plan(text) {
        return Vec::new();
    }
    scans_of(statement, &plan_on_postgres(connection, statement, text).await)
}

async fn plan_on_postgres(connection: &mut sqlx::PgConnection, statement: &str, text: &str) -> Vec<String> {
    let values = vec!["NULL"; parameters(text)].join(", ");
    let execute = if values.is_empty() { "EXECUTE plan".to_owned() } else { format!("EXECUTE plan ({values})") };
    let explain = format!("PREPARE plan AS {text}; EXPLAIN (COSTS OFF) {execute}");
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
    sqlx::raw_sql("DEALLOCATE plan").execute(connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The steps of a PostgreSQL plan that read a table or an index from end to end.
fn scans_of(statement: &'static str, plan: &[String]) -> Vec<Scan> {
    let is_step = |line: &str| line.trim_start().starts_with("->") || !line.starts_with(' ');
    let mut scans = Vec::new();
    for (number, line) in plan.iter().enumerate().filter(|(_, line)| is_step(line)) {
        let properties = plan[number + 1..].iter().take_while(|line| !is_step(line));
        let conditioned = properties.clone().any(|line| line.trim_start().starts_with("Index Cond:"));
        // By the time of its end, only the sweep looks for a row.
        let by_time = line.contains("_sweep") && !statement.contains("sweep::");
        let whole = by_time || line.contains("Seq Scan on ") || (line.contains("Index") && line.contains("Scan") && !conditioned);
        if whole {
            let table = line.rsplit_once(" on ").map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
            let filter: String = properties.map(|line| format!("; {}", line.trim())).collect();
            // A bitmap names the index alone.
            let table = table.trim_end_matches("_pkey");
            scans.push(Scan { statement, table: table.to_owned(), step: format!("{}{filter}", line.trim()) });
        }
    }
    scans
}

/// Every scan is of a small table or a known exception. Exceptions are for both databases: one of them may need none.
fn only_the_exceptions(scans: &[Scan]) {
    let refused = refused(scans);
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

fn refused(scans: &[Scan]) -> Vec<String> {
    let known = |scan: &&Scan| {
        SMALL.contains(&scan.table.as_str()) || READ_WHOLE.iter().any(|(statement, _)| scan.statement.ends_with(statement))
    };
    scans.iter().filter(|scan| !known(scan)).map(|scan| format!("{} reads {}: {}", scan.statement, scan.table, scan.step)).collect()
}

#[test]
fn every_exception_is_a_statement_with_a_reason() {
    let all = statements();
    for (statement, reason) in READ_WHOLE {
        assert!(all.iter().any(|(name, _)| name.ends_with(statement)), "there is no {statement}");
        assert!(reason.len() > 10, "{statement} has no reason");
    }
}

fn has_a_plan(text: &str) -> bool {
    ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|verb| text.trim_start().starts_with(verb))
}

fn parameters(text: &str) -> usize {
    (1..=99).take_while(|number| text.contains(&format!("${number}"))).count()
}

/// The table behind an alias: SQLite's plans name the alias alone.
fn table_of(text: &str, alias: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let named = words.windows(3).find(|words| ["FROM", "JOIN"].contains(&words[0]) && words[2] == alias);
    named.map_or(alias, |words| words[1]).to_owned()
}
