//! `./bench --growth`: what a store costs that holds a million people and ten million refresh families, against an empty one.
//!
//! Rows are copied inside the database from those that a real sign-in made, with ids and names of their own, so that every column is
//! as the server writes it. Refresh tokens for families spread over all of them are made as the server makes them, with its own keys.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use ::chancery::clock::Timestamp;
use ::chancery::config::database::DatabaseConfig;
use ::chancery::oauth::family::{Family, Presented};
use ::chancery::seal::{DataKeys, MasterKey};
use ::chancery::secret::Secret;
use ::chancery::service::issue;
use ::chancery::storage::{Db, families, keys};
use sqlx::{Connection as _, Row as _};
use uuid::Uuid;

use crate::CONNECTIONS;
use crate::arguments::Arguments;
use crate::deployment::{self, Deployment};
use crate::machine::Machine;
use crate::operations::{Operation, Sample};
use crate::postgres::Cluster;
use crate::report::{self, Table, median, millis};
use crate::server::MASTER_KEY;
use crate::target::Flavour;

/// How much slower the slowest hundredth may be.
const ALLOWED: f64 = 1.5;
/// Rows of one statement.
const BATCH: u64 = 250_000;
/// Families that a connection refreshes in turn.
const EACH: u64 = 64;
const STARTS: usize = 5;
/// Grants of the one kind, then of the other.
const FLAVOURS: [Flavour; 2] = [Flavour::Rs256, Flavour::OpenId];

/// What becomes of an id: whose it is, and the how manieth.
#[derive(Clone, Copy)]
enum Of {
    User = 1,
    Session = 2,
    Grant = 3,
    Family = 4,
}

/// What an operation took in both stores.
#[derive(Default)]
struct Pair {
    empty: Taken,
    full: Taken,
}

/// Seconds, by round.
#[derive(Default)]
struct Taken {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// For one request. There is no other process on SQLite.
    server_cpu: Vec<f64>,
    database_cpu: Vec<f64>,
}

impl Taken {
    fn note(&mut self, sample: &Sample) {
        self.p50.push(sample.measured.percentile(0.5).as_secs_f64());
        self.p99.push(sample.measured.percentile(0.99).as_secs_f64());
        self.server_cpu.push(sample.server_cpu.as_secs_f64());
        self.database_cpu.extend(sample.database_cpu.as_ref().map(Duration::as_secs_f64));
    }
}

pub struct Growth {
    title: String,
    rows: BTreeMap<(Operation, &'static str), Pair>,
    /// Seconds to the first answer, empty and full.
    starts: Vec<(&'static str, f64, f64)>,
    others: Vec<f64>,
}

impl Growth {
    pub fn counts(&self) -> bool {
        report::is_quiet(&self.others)
    }
}

pub async fn run(binary: &Path, arguments: &Arguments, cluster: &Cluster) -> Growth {
    let machine = Machine::new();
    let mut stores = Vec::new();
    let mut starts = Vec::new();
    let urls = [("SQLite", arguments.sqlite, None), ("PostgreSQL", arguments.postgres, Some(["bench", "grown"]))];
    for (name, _, databases) in urls.into_iter().filter(|(_, wanted, _)| *wanted) {
        let [empty_url, full_url] = databases.map_or([None, None], |names| names.map(|name| Some(cluster.database(name))));
        let mut empty = Deployment::prepare(name, binary, empty_url.as_deref(), cluster, STARTS).await;
        same_families(&mut empty).await;
        let mut grown = Deployment::prepare(name, binary, full_url.as_deref(), cluster, 1).await;
        let begun = Instant::now();
        fill(&mut grown, full_url.as_deref(), arguments).await;
        eprintln!("{name} was filled in {:.0} s", begun.elapsed().as_secs_f64());
        for url in [&empty_url, &full_url].into_iter().flatten() {
            count(url).await;
        }
        let seconds = |times: &[Duration]| median(&times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>());
        starts.push((name, seconds(&empty.target.starts), seconds(&grown.target.starts)));
        stores.push((empty, grown));
    }
    let mut rows: BTreeMap<(Operation, &'static str), Pair> = BTreeMap::new();
    let mut others = Vec::new();
    for round in 0..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        let quiet = machine.watch();
        for operation in &arguments.operations {
            let steps = arguments.steps(operation.steps(), round);
            for (empty, grown) in &mut stores {
                let pair = rows.entry((*operation, empty.target.name)).or_default();
                for (deployment, taken) in [(empty, &mut pair.empty), (grown, &mut pair.full)] {
                    // Its rows are in memory then, and what they are asked is written: some machines take from the page cache what nobody
                    // has read for half a minute, and the other stores and operations have taken as long.
                    operation.measure(&mut deployment.target, steps).await;
                    let sample = operation.measure(&mut deployment.target, steps).await;
                    if round > 0 {
                        taken.note(&sample);
                    }
                }
            }
        }
        if round > 0 {
            others.push(quiet.others());
        }
    }
    let title = format!(
        "{} cores of {}; {} people and {} refresh families against an empty store; {CONNECTIONS} connections; rounds: {}, of which medians",
        machine.cores, machine.processor, arguments.users, arguments.families, arguments.rounds
    );
    Growth { title, rows, starts, others }
}

/// As many families as the connections of the full store have in turn: what is compared is the size of the store, not the number of rows in
/// use.
async fn same_families(empty: &mut Deployment) {
    let each = usize::try_from(EACH).unwrap();
    for flavour in FLAVOURS {
        let tokens = empty.target.refresh_tokens(empty.target.scope(flavour), CONNECTIONS * each).await;
        empty.target.families.insert(flavour, tokens.chunks(each).map(<[String]>::to_vec).collect());
    }
}

/// PostgreSQL plans by what it has counted: so both stores are counted, after all that is there before the rounds.
async fn count(url: &str) {
    let mut database = Any::open(url).await;
    database.execute("VACUUM ANALYZE").await;
    database.close().await;
}

/// Fills the store of a deployment, and gives its connections people and tokens from all over it.
async fn fill(grown: &mut Deployment, url: Option<&str>, arguments: &Arguments) {
    // One fresh family of each kind, to be copied.
    let mut first = Vec::new();
    for flavour in FLAVOURS {
        let tokens = grown.target.refresh_tokens(grown.target.scope(flavour), 1).await;
        first.push(Presented::parse(&tokens[0]).unwrap().family_id);
    }
    grown.server.stop();
    let store = match url {
        Some(url) => url.to_owned(),
        None => format!("sqlite://{}", grown.server.data().join("chancery.db").display()),
    };
    let master = match url {
        Some(_) => MASTER_KEY.to_owned(),
        None => std::fs::read_to_string(grown.server.data().join("master.key")).unwrap(),
    };
    let (data_keys, templates) = secrets(&store, &master, &first).await;
    let dialect = if url.is_some() { Dialect::Postgres } else { Dialect::Sqlite };
    let mut database = Any::open(&store).await;
    let statements = dialect.fill(&mut database, arguments, &templates).await;
    database.execute(dialect.before()).await;
    for statement in &statements {
        database.execute(statement).await;
    }
    if let Dialect::Sqlite = dialect {
        database.execute("PRAGMA journal_mode = WAL").await;
    }
    database.close().await;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(grown.server.start().await);
        grown.server.stop();
    }
    grown.server.start().await;
    grown.target.pid = grown.server.pid();
    grown.target.starts = times;

    let spread = |number: u64, of: u64| 1 + (number * 7_919_017) % of;
    let people: Vec<String> = (0..CONNECTIONS as u64).map(|number| format!("grown-{}", spread(number, arguments.users))).collect();
    (grown.target.sessions, grown.target.logins) = deployment::sign_in_all(&grown.server, &people).await;
    for (kind, (flavour, template)) in FLAVOURS.into_iter().zip(&templates).enumerate() {
        let token = |number: u64| {
            // Of the kind's own families.
            let number = spread(number, arguments.families / 2) * 2 - kind as u64;
            let family = Family { id: id(Of::Family, number), ..template.clone() };
            issue::refresh_token(&data_keys, &family).unwrap().expose().clone()
        };
        let own = |connection: u64| (connection * EACH..(connection + 1) * EACH).map(token).collect();
        grown.target.families.insert(flavour, (0..CONNECTIONS as u64).map(own).collect());
    }
}

/// The keys that the server makes refresh tokens with, and the families to be copied.
async fn secrets(store: &str, master: &str, first: &[Uuid]) -> (DataKeys, Vec<Family>) {
    let db = Db::connect(&DatabaseConfig::new(store)).await.unwrap();
    let master = MasterKey::parse(&Secret::new(master.to_owned())).unwrap();
    let records = keys::data_keys(&db).await.unwrap();
    let data_keys = DataKeys::open_records(&master, &records.known, Timestamp::from_seconds(i64::MAX / 2_000_000), None).unwrap();
    let mut templates = Vec::new();
    for id in first {
        templates.push(families::find(&db, *id).await.unwrap().unwrap().family);
    }
    db.close().await;
    (data_keys, templates)
}

fn id(of: Of, number: u64) -> Uuid {
    Uuid::from_u128((0x0197_0000_0000_7000 + of as u128) << 64 | u128::from(number))
}

/// One connection to either database.
enum Any {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Any {
    async fn open(store: &str) -> Self {
        if store.starts_with("sqlite:") {
            Self::Sqlite(sqlx::SqliteConnection::connect(store).await.unwrap())
        } else {
            Self::Postgres(sqlx::PgConnection::connect(store).await.unwrap())
        }
    }

    async fn execute(&mut self, text: &str) {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()));
        let done = match self {
            Self::Sqlite(connection) => sql.execute(connection).await.map(drop),
            Self::Postgres(connection) => sql.execute(connection).await.map(drop),
        };
        done.unwrap_or_else(|error| panic!("{error}: {text}"));
    }

    async fn close(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }

    async fn column(&mut self, text: String) -> Vec<String> {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(text));
        match self {
            Self::Sqlite(connection) => sql.fetch_all(connection).await.unwrap().iter().map(|row| row.get(0)).collect(),
            Self::Postgres(connection) => sql.fetch_all(connection).await.unwrap().iter().map(|row| row.get(0)).collect(),
        }
    }
}

#[derive(Clone, Copy)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// The statements that fill the store.
    async fn fill(self, database: &mut Any, arguments: &Arguments, templates: &[Family]) -> Vec<String> {
        let (users, families) = (arguments.users, arguments.families);
        let mut statements = Vec::new();
        let one_user = "(SELECT * FROM users WHERE canonical_username = 'person-0')".to_owned();
        let name = "'grown-' || n".to_owned();
        let owned = [
            ("id", self.id(Of::User, "n")),
            ("sub", name.clone()),
            ("username", name.clone()),
            ("canonical_username", name.clone()),
        ];
        statements.extend(self.insert(database, "users", &owned, &[one_user], users).await);
        let one_session = "(SELECT * FROM sessions LIMIT 1)".to_owned();
        let owned = [
            ("id", self.id(Of::Session, "n")),
            ("cookie", self.digest()),
            ("sid", name.clone()),
            ("user_id", self.id(Of::User, "n")),
            ("expires_at", "t.expires_at + n".to_owned()),
        ];
        statements.extend(self.insert(database, "sessions", &owned, &[one_session], users).await);
        let user = format!("(1 + (n - 1) * {users} / {families})");
        let ids: Vec<String> = templates.iter().map(|template| self.literal(template.id)).collect();
        let grants: Vec<String> = ids
            .iter()
            .map(|id| format!("(SELECT g.* FROM grants g JOIN families f ON f.grant_id = g.id WHERE f.id = {id})"))
            .collect();
        let owned = [
            ("id", self.id(Of::Grant, "n")),
            ("user_id", self.id(Of::User, &user)),
            ("sub", format!("'grown-' || {user}")),
            ("session_id", self.id(Of::Session, &user)),
            ("sid", format!("'grown-' || {user}")),
            ("expires_at", "t.expires_at + n".to_owned()),
        ];
        statements.extend(self.insert(database, "grants", &owned, &grants, families).await);
        let of_them: Vec<String> = ids.iter().map(|id| format!("(SELECT * FROM families WHERE id = {id})")).collect();
        let owned = [("id", self.id(Of::Family, "n")), ("grant_id", self.id(Of::Grant, "n"))];
        statements.extend(self.insert(database, "families", &owned, &of_them, families).await);
        statements
    }

    /// Copies rows, `number` of them in all and each in turn, each copy with columns of its own. In the order of their ids, as rows come in
    /// time: whatever comes later stands at the end of its tree.
    async fn insert(
        self,
        database: &mut Any,
        table: &str,
        owned: &[(&str, String)],
        templates: &[String],
        number: u64,
    ) -> Vec<String> {
        let columns = database.column(self.columns(table)).await;
        let values: Vec<String> = columns
            .iter()
            .map(|column| {
                let own = owned.iter().find(|(name, _)| name == column);
                own.map_or_else(|| format!("t.{column}"), |(_, value)| value.clone())
            })
            .collect();
        let (columns, values) = (columns.join(", "), values.join(", "));
        let (copied, kinds) = (format!("copied_{table}"), templates.len());
        let each = |(kind, template): (usize, &String)| format!("SELECT {kind} AS kind, t.* FROM {template} AS t");
        let all: Vec<String> = templates.iter().enumerate().map(each).collect();
        let mut statements = vec![format!("CREATE TEMP TABLE {copied} AS {}", all.join(" UNION ALL "))];
        for from in (1..=number).step_by(usize::try_from(BATCH).unwrap()) {
            let numbers = self.numbers(from, number.min(from + BATCH - 1));
            statements.push(format!(
                "INSERT INTO {table} ({columns}) SELECT {values} FROM {numbers} CROSS JOIN {copied} t WHERE t.kind = n % {kinds}"
            ));
        }
        statements
    }

    fn columns(self, table: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
            Self::Postgres => format!(
                "SELECT CAST(column_name AS TEXT) FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
            ),
        }
    }

    fn numbers(self, from: u64, to: u64) -> String {
        match self {
            Self::Sqlite => format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM numbers WHERE n < {to})
                  SELECT n FROM numbers) AS numbers"
            ),
            Self::Postgres => format!("generate_series({from}::BIGINT, {to}) AS numbers (n)"),
        }
    }

    fn id(self, of: Of, number: &str) -> String {
        let prefix = &id(of, 0).simple().to_string()[..16];
        match self {
            Self::Sqlite => format!("unhex('{prefix}' || printf('%016x', {number}))"),
            Self::Postgres => format!("decode('{prefix}' || lpad(to_hex({number}), 16, '0'), 'hex')"),
        }
    }

    fn literal(self, id: Uuid) -> String {
        match self {
            Self::Sqlite => format!("unhex('{}')", id.simple()),
            Self::Postgres => format!("decode('{}', 'hex')", id.simple()),
        }
    }

    fn digest(self) -> String {
        match self {
            Self::Sqlite => "randomblob(32)".to_owned(),
            Self::Postgres => "sha256(CAST(CAST(n AS TEXT) AS BYTEA))".to_owned(),
        }
    }

    /// Nobody else is there, and what is lost in a crash is filled in again.
    const fn before(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA journal_mode = MEMORY"
            }
            Self::Postgres => "SET session_replication_role = replica; SET synchronous_commit = off",
        }
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let mut table = Table::new(&[
            "operation",
            "store",
            "p50 empty",
            "p50 full",
            "p99 empty",
            "p99 full",
            "p99 full / empty",
            "meets",
            "server CPU empty",
            "server CPU full",
            "database CPU empty",
            "database CPU full",
        ]);
        let meets = |ratio: f64| if ratio <= ALLOWED { "yes" } else { "MISSED" }.to_owned();
        for ((operation, store), pair) in &self.rows {
            let Pair { empty, full } = pair;
            let ratio = median(&full.p99) / median(&empty.p99);
            let shown = |values: &[f64]| millis(median(values));
            let micros =
                |values: &[f64]| if values.is_empty() { String::new() } else { format!("{:.1} µs", median(values) * 1e6) };
            table.row(vec![
                operation.title().to_owned(),
                (*store).to_owned(),
                shown(&empty.p50),
                shown(&full.p50),
                shown(&empty.p99),
                shown(&full.p99),
                format!("{ratio:.2}"),
                meets(ratio),
                micros(&empty.server_cpu),
                micros(&full.server_cpu),
                micros(&empty.database_cpu),
                micros(&full.database_cpu),
            ]);
        }
        writeln!(f, "{table}")?;
        for (store, empty, full) in &self.starts {
            writeln!(f, "Start to the first answer on {store}: {} empty, {} full.", millis(*empty), millis(*full))?;
        }
        writeln!(f, "{}", report::quietness(&self.others))
    }
}
