//! How the databases would go about each statement of the store: through an index, never through a table that grows.
//!
//! PostgreSQL is told to avoid sequential scans, so that one that remains is one without any index to use; an index that is read
//! from end to end counts as such a scan too. SQLite plans by its rules alone while nothing was analysed.

use chancery::clock::Timestamp;
use chancery::storage::{Kind, Row, Value, migrate, statements};
use sqlx::{Connection as _, Row as _};

use super::Store;

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

/// What a request changes in a row that stays is in no index, neither as a column nor in its condition: else Postgres writes into every index
/// of the table for each change.
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
        // A table-valued function reads what was bound.
        if rest.contains("VIRTUAL TABLE") || rest.starts_with("CONSTANT") {
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
    let values = vec!["NULL"; parameters(text)].join(", ");
    let execute = if values.is_empty() { "EXECUTE plan".to_owned() } else { format!("EXECUTE plan ({values})") };
    let explain = format!("PREPARE plan AS {text}; EXPLAIN (COSTS OFF) {execute}");
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
    sqlx::raw_sql("DEALLOCATE plan").execute(connection).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    scans_of(statement, &plan)
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
    let known = |scan: &&Scan| {
        SMALL.contains(&scan.table.as_str()) || READ_WHOLE.iter().any(|(statement, _)| scan.statement.ends_with(statement))
    };
    let refused: Vec<String> = scans
        .iter()
        .filter(|scan| !known(scan))
        .map(|scan| format!("{} reads {}: {}", scan.statement, scan.table, scan.step))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
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
