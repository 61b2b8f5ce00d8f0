//! A machine with a server that will be killed, the applications that use it, and a person who is signed in to them.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use url::Url;

use chancery::storage::{Db, Kind as Database};

use crate::harness::machine::{MASTER_KEY, Machine};
use crate::harness::postgres::Cluster;
use crate::harness::{Backend, Client, Person, Request};

use super::device::GRANT;
use super::family::{Code, Kind, heard};

/// How long a server may need until it is itself again, whatever was done to it.
pub const SOON: Duration = Duration::from_secs(15);

pub struct Stage {
    pub machine: Machine,
    /// A PostgreSQL of one's own, where it is to be killed too.
    pub cluster: Option<Cluster>,
    pub clients: Vec<(Kind, Client)>,
    /// Have no browser (RFC 8628): one that may refresh, and one that may not.
    pub devices: [Client; 2],
    /// Asks nobody whether they allow it.
    pub house: Client,
    /// Is allowed and taken back.
    pub guest: Client,
    pub alice: Person,
    /// May administrate, and introspect everything.
    pub admin: Client,
}

impl Stage {
    /// On a database that nobody else uses. `own` asks for a PostgreSQL that can be killed.
    pub async fn set(backend: Backend, own: bool) -> Self {
        let (machine, cluster) = match (backend, own) {
            (Backend::Sqlite, _) => (Machine::sqlite(), None),
            (Backend::Postgres, false) => (Machine::postgres().await, None),
            (Backend::Postgres, true) => {
                let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
                let mut machine = Machine::sqlite();
                machine.set("CHANCERY_DATABASE_URL", &cluster.database().await);
                machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
                (machine, Some(cluster))
            }
        };
        let clients = vec![
            (Kind::Recover, machine.client_with(json!({}))),
            (Kind::Public, machine.client_with(json!({ "token_endpoint_auth_method": "none" }))),
            (Kind::Strict, machine.client_with(json!({ "refresh_rotation": "strict" }))),
        ];
        let devices = [json!([GRANT, "refresh_token"]), json!([GRANT])]
            .map(|grant_types| machine.client_with(json!({ "redirect_uris": [], "grant_types": grant_types })));
        let house = machine.client_with(json!({ "first_party": true }));
        let guest = machine.client_with(json!({}));
        let admin = machine.client_with(json!({
            "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": [], "scope": "admin:read admin:write", "introspection": "any",
        }));
        let alice = machine.person("alice");
        let server = machine.start(&["serve"]).await;
        // Signed in, and every application allowed: from here on a code is one request.
        for (_, client) in &clients {
            alice.tokens(client, "openid").await;
        }
        drop(server);
        Self { machine, cluster, clients, devices, house, guest, alice, admin }
    }

    /// A code for one of the applications; nothing, where the server did not answer.
    pub async fn code(&self, site: &crate::harness::Site, kind: Kind) -> Option<Code> {
        let (_, client) = self.clients.iter().find(|(of, _)| *of == kind).unwrap();
        let client = client.through(self.machine.site());
        let request = Request::of(&client);
        let cookies: Vec<String> = self.alice.browser.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = [("cookie", cookies.join("; ")), ("accept", "text/html".to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = heard(site.try_send(Method::GET, &request.url(site), &headers, None).await)?;
        let to = Url::parse(answer.header("location")).unwrap_or_else(|_| panic!("no code: {} {}", answer.status, answer.text));
        let code = to.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned());
        let code = code.unwrap_or_else(|| panic!("no code: {to}"));
        let auditor = self.admin.through(self.machine.site());
        Some(Code {
            kind,
            grant: "authorization_code",
            client,
            auditor,
            code,
            verifier: request.verifier,
            issued: Instant::now(),
            may_spent: false,
        })
    }

    /// A token for the admin API.
    pub async fn admin_token(&self) -> String {
        let admin = self.admin.through(self.machine.site());
        admin.token(&[("grant_type", "client_credentials")]).await.ok().str("access_token")
    }

    /// Nothing is broken in the database, and nobody holds anything that they should have let go.
    pub async fn examine(&self) {
        let db = self.machine.db().await;
        examine(&db).await;
        db.close().await;
    }
}

/// See [`Stage::examine`].
pub async fn examine(db: &Db) {
    let none = async |sql: &'static str| {
        let found = db.all(sql, chancery::args![]).await.unwrap().len();
        assert_eq!(found, 0, "{sql}");
    };
    match db.kind() {
        Database::Sqlite => {
            let check = db.all("PRAGMA integrity_check", chancery::args![]).await.unwrap();
            let said: Vec<String> = check.iter().map(|row| row.get("integrity_check").unwrap()).collect();
            assert_eq!(said, ["ok"]);
            none("PRAGMA foreign_key_check").await;
        }
        Database::Postgres => {
            none(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'
                 AND now() - state_change > interval '5 seconds'",
            )
            .await;
            none("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").await;
        }
    }
    // One next and one active key, and families that say what a family can say.
    none(
        "SELECT alg FROM signing_keys WHERE alg = 'RS256' GROUP BY alg HAVING
         SUM(CASE WHEN state = 'active' THEN 1 ELSE 0 END) <> 1 OR SUM(CASE WHEN state = 'next' THEN 1 ELSE 0 END) <> 1",
    )
    .await;
    none("SELECT id FROM families WHERE generation <= previous OR (previous > 0 AND previous_redeemed_at IS NULL)").await;
    none("SELECT f.id FROM families f JOIN grants g ON g.id = f.grant_id WHERE g.ended_at IS NOT NULL AND f.ended_at IS NULL")
        .await;
}
