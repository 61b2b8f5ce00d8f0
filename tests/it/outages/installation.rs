//! Servers of one installation: processes with ports of their own, one issuer, one database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::args;
use chancery::config::DatabaseConfig;
use chancery::storage::{Db, StoreError};
use sqlx::Connection as _;

use crate::harness::machine::{MASTER_KEY, Machine, Running};
use crate::harness::{Client, Person, Site};

/// Replicas that are not running yet.
pub struct Installation {
    pub machines: Vec<Machine>,
}

/// How long the servers of these tests wait for a connection, and for a statement.
pub const ACQUIRE: Duration = Duration::from_millis(500);
pub const STATEMENT: Duration = Duration::from_secs(1);

impl Installation {
    /// `count` replicas on this database, with these settings beside the usual ones.
    pub fn on(database_url: &str, count: usize, more: &[(&str, &str)]) -> Self {
        let mut machines: Vec<Machine> = Vec::new();
        for _ in 0..count {
            let mut machine = Machine::sqlite();
            machine.set("CHANCERY_DATABASE_URL", database_url);
            machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
            machine.set("CHANCERY_DATABASE__ACQUIRE_TIMEOUT", "500ms");
            machine.set("CHANCERY_DATABASE__STATEMENT_TIMEOUT", "1s");
            machine.set("CHANCERY_LIMITS__CONNECTIONS_PER_ADDRESS", "1000");
            for (name, value) in more {
                machine.set(name, value);
            }
            let issuer = machines.first().map_or_else(|| machine.issuer.clone(), |first| first.issuer.clone());
            machine.set("CHANCERY_ISSUER", &issuer);
            machines.push(machine);
        }
        Self { machines }
    }

    /// Where a replica listens.
    pub fn address(&self, replica: usize) -> SocketAddr {
        let listen = self.machines[replica].env.iter().find(|(name, _)| name == "CHANCERY_LISTEN").unwrap();
        listen.1.parse().unwrap()
    }

    /// The installation through one replica.
    pub fn site(&self, replica: usize) -> Arc<Site> {
        self.site_at(self.address(replica))
    }

    /// The installation through another address, as a proxy's.
    pub fn site_at(&self, address: SocketAddr) -> Arc<Site> {
        let site = Site::new(&self.machines[0].issuer, address);
        site.may_fail();
        Arc::new(site)
    }

    pub async fn start(&self, replica: usize) -> Running<'_> {
        self.machines[replica].start(&["serve"]).await
    }

    pub async fn start_all(&self) -> Vec<Running<'_>> {
        let mut running = Vec::new();
        for replica in 0..self.machines.len() {
            running.push(self.start(replica).await);
        }
        running
    }

    /// Somebody with an account, and an app; both know the first replica.
    pub fn actors(&self) -> (Person, Client) {
        let (person, client) = (self.machines[0].person("alice"), self.machines[0].client());
        person.browser.site().may_fail();
        client.site.may_fail();
        (person, client)
    }
}

/// A store as the servers of these tests open it.
pub async fn store(url: &str) -> Db {
    let config = DatabaseConfig { acquire_timeout: ACQUIRE, statement_timeout: STATEMENT, ..DatabaseConfig::new(url) };
    Db::connect(&config).await.unwrap()
}

/// A unit of work with BEGIN and COMMIT, ten seconds at the most; what became of it, and when.
pub async fn unit_of_work(db: &Db) -> (Result<(), StoreError>, Duration) {
    let begin = Instant::now();
    let work =
        db.transaction("test", |tx| Box::pin(async move { tx.execute("UPDATE meta SET name = name", args![]).await.map(drop) }));
    let done = tokio::time::timeout(Duration::from_secs(10), work).await.unwrap_or(Ok(()));
    (done, begin.elapsed())
}

/// One statement over a connection of its own, past the server.
pub async fn sql(url: &str, text: &str) -> u64 {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    done.rows_affected()
}

/// One number.
pub async fn number(url: &str, text: &str) -> i64 {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let number: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    number
}
