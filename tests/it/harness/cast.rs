//! Who takes part: people, applications and APIs, put into the server as its operators do, and what an operator does to them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::oauth::refusal::Story;
use chancery::oidc::user::User;
use chancery::secret::Secret;
use chancery::service::operator::Operator;
use chancery::service::{clients, decisions, document::Document, groups, resources, users};
use chancery::storage::audit;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, Row as _};

use super::browser::Browser;
use super::client::Client;
use super::person::Person;
use super::server::Server;
use super::unique;

const PASSWORD: &str = "correct horse battery staple";

impl Server {
    pub fn operator(&self) -> Operator<'_> {
        Operator {
            db: &self.app.db,
            config: &self.app.config,
            entropy: self.app.entropy.as_ref(),
            passwords: &self.app.passwords,
            actor: "test".to_owned(),
            now: self.app.clock.now(),
            trace_id: None,
        }
    }

    /// Somebody with an account and a password.
    pub async fn person(&self, name: &str) -> Person {
        self.person_with(
            name,
            json!({ "name": format!("{name} Example"), "email": format!("{name}@example.com"), "email_verified": true }),
        )
        .await
    }

    /// Somebody with these claims.
    pub async fn person_with(&self, name: &str, claims: Value) -> Person {
        let username = unique(name);
        let mut document = claims;
        document["username"] = json!(username);
        let document = users::UserDocument::parse(document.to_string().as_bytes()).unwrap();
        let user = users::add(&self.operator(), document, Some(Secret::new(PASSWORD.to_owned()))).await.unwrap();
        Person { browser: Browser::new(self.site()), username, password: PASSWORD.to_owned(), sub: user.sub }
    }

    /// An account that nobody can sign in to yet.
    pub async fn user_without_password(&self, username: &str) {
        let document = users::UserDocument::parse(json!({ "username": username }).to_string().as_bytes()).unwrap();
        users::add(&self.operator(), document, None).await.unwrap();
    }

    /// A confidential web application that may refresh, unless the metadata says otherwise.
    pub async fn client(&self, metadata: Value) -> Client {
        self.try_client(metadata).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Self::client`], where it may be refused.
    pub async fn try_client(&self, metadata: Value) -> Result<Client, String> {
        let mut document = json!({
            "client_name": "Test client",
            "redirect_uris": ["https://app.test/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
        });
        for (name, value) in metadata.as_object().unwrap() {
            document[name] = value.clone();
        }
        let posts = document["token_endpoint_auth_method"] == "client_secret_post";
        let redirect_uri = document["redirect_uris"].get(0).and_then(Value::as_str).unwrap_or_default().to_owned();
        let document = clients::ClientDocument::parse(document.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let added = clients::add(&self.operator(), document).await.map_err(|error| error.to_string())?;
        let (client_id, secret) = (added.client.client_id, added.secret.map(|secret| secret.expose().clone()));
        Ok(Client { site: self.site(), client_id, secret, redirect_uri, posts })
    }

    /// An application without a secret.
    pub async fn public_client(&self, mut metadata: Value) -> Client {
        metadata["token_endpoint_auth_method"] = json!("none");
        self.client(metadata).await
    }

    /// An application for client_credentials alone.
    pub async fn machine(&self, mut metadata: Value) -> Client {
        metadata["grant_types"] = json!(["client_credentials"]);
        metadata["redirect_uris"] = json!([]);
        metadata["response_types"] = json!([]);
        self.client(metadata).await
    }

    pub async fn resource(&self, document: Value) {
        let resource = resources::parse(document.to_string().as_bytes()).unwrap();
        resources::add(&self.operator(), resource).await.unwrap_or_else(|error| panic!("{error}"));
        self.app.registry.clear();
    }

    pub async fn group(&self, document: Value) {
        let group = groups::parse(document.to_string().as_bytes()).unwrap();
        groups::add(&self.operator(), group).await.unwrap_or_else(|error| panic!("{error}"));
    }

    pub async fn update_group(&self, identifier: &str, patch: Value) {
        let patch = Document::parse(patch.to_string().as_bytes()).unwrap();
        groups::update(&self.operator(), identifier, patch).await.unwrap_or_else(|error| panic!("{error}"));
    }

    pub async fn remove_group(&self, identifier: &str) {
        groups::remove(&self.operator(), identifier).await.unwrap_or_else(|error| panic!("{error}"));
    }

    pub async fn add_user(&self, document: &str) -> User {
        users::add(&self.operator(), users::UserDocument::parse(document.as_bytes()).unwrap(), None).await.unwrap()
    }

    pub async fn update_user(&self, person: &Person, patch: Value) {
        let patch = Document::parse(patch.to_string().as_bytes()).unwrap();
        users::update(&self.operator(), &person.username, patch).await.unwrap_or_else(|error| panic!("{error}"));
    }

    pub async fn remove_user(&self, person: &Person) {
        users::remove(&self.operator(), &person.username).await.unwrap();
    }

    pub async fn disable_user(&self, person: &Person) {
        users::disable(&self.operator(), &person.username).await.unwrap();
    }

    pub async fn enable_user(&self, person: &Person) {
        users::enable(&self.operator(), &person.username).await.unwrap();
    }

    pub async fn reset_factors(&self, person: &Person) {
        users::factors::reset(&self.operator(), &person.username).await.unwrap();
    }

    pub async fn set_password(&self, person: &Person, password: &str) {
        users::set_password(&self.operator(), &person.username, Secret::new(password.to_owned())).await.unwrap();
    }

    pub async fn disable_client(&self, client: &Client) {
        clients::disable(&self.operator(), &client.client_id).await.unwrap();
        self.app.registry.clear();
    }

    pub async fn update_client(&self, client: &Client, patch: Value) {
        self.try_update_client(client, patch).await.unwrap_or_else(|error| panic!("{error}"));
        self.app.registry.clear();
    }

    pub async fn try_update_client(&self, client: &Client, patch: Value) -> Result<(), String> {
        let patch = Document::parse(patch.to_string().as_bytes()).map_err(|error| error.to_string())?;
        clients::update(&self.operator(), &client.client_id, patch).await.map(drop).map_err(|error| error.to_string())
    }

    /// A second live secret.
    pub async fn rotate_secret(&self, client: &Client) -> String {
        let rotated = clients::rotate_secret(&self.operator(), &client.client_id, Duration::from_secs(3600)).await.unwrap();
        self.app.registry.clear();
        rotated.secret.unwrap().expose().clone()
    }

    /// What `chancery explain` tells about a refusal; it must be there within a second.
    pub async fn explain(&self, trace_id: &str) -> Story {
        self.app.decisions.flush().await;
        let found = decisions::find(&self.app.db, trace_id).await.unwrap();
        found.unwrap_or_else(|| panic!("nothing is recorded for {trace_id}")).reason.story()
    }

    /// The actions in the audit log, newest first.
    pub async fn audit(&self) -> Vec<String> {
        audit::list(&self.app.db, 1000, None).await.unwrap().into_iter().map(|event| event.action).collect()
    }

    /// So many events `test.fill` of a hundred targets, a second apart, long ago.
    pub async fn fill_audit_log(&self, events: i64) {
        fill_audit_log(&self.app.db, events).await;
    }

    /// The seconds that the server's clock shows.
    pub fn clock_seconds(&self) -> i64 {
        self.app.clock.now().seconds()
    }

    /// Checks a JWT's signature with the published key of its `kid`.
    pub async fn verify_signature(&self, token: &str) {
        let (header, _) = super::jwt(token);
        let jwks = self.get("/jwks").await.ok().json();
        let mut keys = jwks["keys"].as_array().unwrap().iter();
        let mut key = keys.find(|key| key["kid"] == header["kid"]).expect("the key is published").clone();
        assert_eq!(key["alg"], header["alg"]);
        // jsonwebtoken knows Ed25519 by its old name alone.
        let alg = if header["alg"] == "Ed25519" { "EdDSA" } else { header["alg"].as_str().unwrap() };
        key["alg"] = alg.into();
        let key = jsonwebtoken::DecodingKey::from_jwk(&serde_json::from_value(key).unwrap()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, alg.parse().unwrap()).unwrap());
    }

    /// Everything that a thief of the database would hold.
    pub async fn dump(&self) -> Dump {
        dump(&self.database_url).await
    }
}

/// Everything that a thief of this database would hold.
pub async fn dump(database_url: &str) -> Dump {
    if let Some(file) = database_url.strip_prefix("sqlite://") {
        let mut bytes = std::fs::read(file).unwrap();
        bytes.extend(std::fs::read(format!("{file}-wal")).unwrap_or_default());
        return Dump(bytes);
    }
    let mut connection = sqlx::PgConnection::connect(database_url).await.unwrap();
    let tables = sqlx::query("SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'public'");
    let tables = tables.fetch_all(&mut connection).await.unwrap();
    let mut bytes = Vec::new();
    for table in tables {
        let query = format!("SELECT t::text AS row FROM \"{}\" t", table.get::<String, _>("name"));
        for row in sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap() {
            let text: String = row.get("row");
            bytes.extend_from_slice(text.as_bytes());
            for hex in text.split("\\x").skip(1) {
                let digits: Vec<u8> = hex.bytes().take_while(u8::is_ascii_hexdigit).collect();
                bytes
                    .extend(digits.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()));
            }
        }
    }
    assert!(!bytes.is_empty());
    Dump(bytes)
}

/// A copy of the database's bytes.
#[derive(PartialEq, Eq)]
pub struct Dump(Vec<u8>);

impl Dump {
    /// Whether the value is in it, as text or as the bytes that its base64url stands for.
    pub fn contains(&self, secret: &str) -> bool {
        let holds = |needle: &[u8]| needle.len() >= 8 && self.0.windows(needle.len()).any(|window| window == needle);
        holds(secret.as_bytes()) || URL_SAFE_NO_PAD.decode(secret).is_ok_and(|bytes| holds(&bytes))
    }
}

/// OpenID Connect Core §3.1.3.6: the left half of SHA-256, base64url.
pub fn half_hash(token: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    URL_SAFE_NO_PAD.encode(&digest[..16])
}

/// Writes `events` audit events `test.fill` of a hundred targets, a second apart, long ago.
pub async fn fill_audit_log(db: &chancery::storage::Db, events: i64) {
    let (id, of) = match db.kind() {
        chancery::storage::Kind::Sqlite => ("randomblob(16)", "CAST(i % 100 AS TEXT)"),
        chancery::storage::Kind::Postgres => ("decode(md5(i::text), 'hex')", "(i % 100)::text"),
    };
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO audit_events (id, at, actor, action, target) SELECT {id}, i * 1000000, 'test', 'test.fill', 'target-' || {of} FROM n"
    );
    let sql: &'static str = Box::leak(sql.into_boxed_str());
    db.execute(sql, chancery::args![events]).await.unwrap();
}
