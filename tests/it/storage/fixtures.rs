//! People, clients and what hangs on them, ready made.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chancery::clock::Timestamp;
use chancery::entropy::{self, SystemEntropy};
use chancery::oauth::client::{Client, ClientSecret};
use chancery::oauth::device::{Asked, DeviceCode};
use chancery::oauth::family::Family;
use chancery::oauth::grant::{AuthorizationCode, Grant};
use chancery::oidc::claims_request::ClaimsRequest;
use chancery::oidc::session::Session;
use chancery::oidc::user::User;
use chancery::secret::Digest;
use chancery::storage::audit::AuditEvent;
use chancery::storage::authorize::{self, Complete};
use chancery::storage::{Kind, clients, migrate, sessions, users};
use uuid::Uuid;

use super::Store;

pub const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// `NOW` and so many seconds.
pub fn at(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// A digest like no other.
pub fn digest() -> Digest {
    Digest::of(&entropy::bytes::<32>(&SystemEntropy))
}

/// A row id later than all before it.
pub fn id() -> Uuid {
    static MILLIS: AtomicU32 = AtomicU32::new(0);
    entropy::row_id(&SystemEntropy, NOW.plus(Duration::from_millis(MILLIS.fetch_add(1, Ordering::Relaxed).into())))
}

pub fn event(action: &str) -> AuditEvent {
    AuditEvent {
        id: id(),
        at: NOW,
        actor: "test".to_owned(),
        action: action.to_owned(),
        target: "target".to_owned(),
        was: None,
        is_now: Some("{}".to_owned()),
        trace_id: None,
    }
}

pub fn user(username: &str) -> User {
    User {
        id: id(),
        sub: entropy::alphanumeric(&SystemEntropy, 24),
        username: username.to_owned(),
        enabled: true,
        admin: false,
        groups: vec!["staff".to_owned()],
        claims: serde_json::from_str(r#"{"email": "a@example.com", "email_verified": true}"#).unwrap(),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// A client as an operator wants it, who has seen it as it was at `expected`.
pub fn changed(client: &Client, expected: Timestamp) -> clients::Change {
    clients::Change { client: client.clone(), expected, secret: None, taken_over: false }
}

pub fn client(client_id: &str) -> Client {
    Client {
        client_id: client_id.to_owned(),
        metadata: serde_json::from_str(r#"{"redirect_uris": ["https://app.example.com/cb"]}"#).unwrap(),
        enabled: true,
        secrets: vec![secret(NOW)],
        tokens_not_before: None,
        metadata_version: 1,
        registered: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

pub fn secret(created_at: Timestamp) -> ClientSecret {
    ClientSecret { id: entropy::row_id(&SystemEntropy, created_at), digest: digest(), created_at, expires_at: None }
}

/// A device code of `app` that nobody has looked at, alive for ten minutes.
pub fn device_code() -> DeviceCode {
    let asked =
        Asked { scopes: vec!["openid".to_owned(), "email".to_owned()], resources: vec!["https://api.example.com/a b".to_owned()] };
    DeviceCode::begin("app", asked, "192.0.2.7".to_owned(), Duration::from_secs(600), NOW)
}

pub fn session(user: &User) -> Session {
    Session {
        id: id(),
        sid: entropy::alphanumeric(&SystemEntropy, 24),
        user_id: user.id,
        auth_time: NOW,
        acr: Some("urn:test".to_owned()),
        amr: vec!["pwd".to_owned()],
        created_at: NOW,
        last_used_at: NOW,
        expires_at: at(7 * 86_400),
        ended_at: None,
        confirmed_at: None,
        device: None,
        address: None,
    }
}

/// A migrated store with a person who is signed in, and a client.
pub struct World {
    pub store: Store,
    pub user: User,
    pub client: Client,
    pub session: Session,
    pub cookie: Digest,
}

impl World {
    pub async fn new(kind: Kind) -> Self {
        let store = Store::empty(kind).await;
        migrate::run(&store.db, NOW).await.unwrap();
        let (user, client) = (user("Alice"), client("app"));
        users::insert(&store.db, &user, Some("$argon2id$"), &event("user.add")).await.unwrap();
        clients::insert(&store.db, &client, &event("client.add")).await.unwrap();
        let (session, cookie) = (session(&user), digest());
        assert!(sessions::begin(&store.db, &session, &cookie, &event("session.begin")).await.unwrap());
        Self { store, user, client, session, cookie }
    }

    /// A grant in the person's session; with `offline_access` if `offline`.
    pub fn grant(&self, offline: bool) -> Grant {
        let scopes = if offline { "openid offline_access" } else { "openid email" };
        Grant {
            id: id(),
            client_id: self.client.client_id.clone(),
            user_id: self.user.id,
            sub: self.user.sub.clone(),
            scopes: scopes.split(' ').map(str::to_owned).collect(),
            resources: vec!["https://api.example.com/a b".to_owned()],
            auth_time: NOW,
            acr: Some("urn:test".to_owned()),
            amr: vec!["pwd".to_owned()],
            session_id: Some(self.session.id),
            sid: Some(self.session.sid.clone()),
            nonce: Some("n".to_owned()),
            claims: ClaimsRequest { userinfo: vec!["name".to_owned()], id_token: vec!["email".to_owned()] },
            created_at: NOW,
            expires_at: at(200 * 86_400),
            ended_at: None,
            ended_because: None,
        }
    }

    pub fn completion(&self, grant: Grant) -> Complete {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let code = AuthorizationCode {
            grant_id: grant.id,
            client_id: grant.client_id.clone(),
            redirect_uri: Some("https://app.example.com/cb".to_owned()),
            code_challenge: Some(format!("challenge-{}", NUMBER.fetch_add(1, Ordering::Relaxed))),
            nonce: grant.nonce.clone(),
            created_at: NOW,
            expires_at: at(60),
            consumed_at: None,
        };
        Complete {
            interaction: None,
            consent: None,
            rests_on: None,
            grant,
            digest: digest(),
            code,
            events: vec![event("grant.begin")],
            joins: false,
            now: NOW,
        }
    }

    /// A grant with a code, written.
    pub async fn code(&self, offline: bool) -> Complete {
        self.code_of(self.grant(offline)).await
    }

    pub async fn code_of(&self, grant: Grant) -> Complete {
        let complete = self.completion(grant);
        assert!(authorize::complete(&self.store.db, complete.clone()).await.unwrap());
        complete
    }

    pub fn family(&self, grant: &Grant) -> Family {
        Family {
            id: id(),
            grant_id: grant.id,
            client_id: grant.client_id.clone(),
            salt: entropy::bytes(&SystemEntropy),
            key_id: 7,
            generation: 1,
            previous: 0,
            previous_redeemed_at: None,
            burst_first: 0,
            burst_recovered: 0,
            burst_started_at: None,
            created_at: NOW,
            last_used_at: NOW,
            expires_at: at(180 * 86_400),
            ended_at: None,
            ended_because: None,
        }
    }

    /// A code, redeemed: its grant and the family that began.
    pub async fn redeemed(&self, offline: bool) -> (Complete, Family) {
        self.redeemed_of(self.grant(offline)).await
    }

    pub async fn redeemed_of(&self, grant: Grant) -> (Complete, Family) {
        let complete = self.code_of(grant).await;
        let family = self.family(&complete.grant);
        assert!(chancery::storage::codes::redeem(&self.store.db, self.redeem(&complete, Some(family.clone()))).await.unwrap());
        (complete, family)
    }

    pub fn redeem(&self, complete: &Complete, family: Option<Family>) -> chancery::storage::codes::Redeem {
        chancery::storage::codes::Redeem {
            digest: complete.digest,
            client_id: complete.grant.client_id.clone(),
            family,
            now: at(1),
        }
    }
}

/// The family one generation on, as the pure core leaves it.
pub fn rotated(before: &Family, now: Timestamp) -> Family {
    Family {
        generation: before.generation + 1,
        previous: before.generation,
        previous_redeemed_at: Some(now),
        burst_first: before.generation,
        burst_started_at: Some(now),
        last_used_at: now,
        ..before.clone()
    }
}
