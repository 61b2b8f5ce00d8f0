//! Password hashes over their life: made by the command line's service, checked at sign-in, renewed when the parameters change.

use std::net::IpAddr;
use std::sync::Arc;

use chancery::app::App;
use chancery::config::Config;
use chancery::oauth::refusal::Reason;
use chancery::oidc::authentication::Demand;
use chancery::secret::Secret;
use chancery::service::address::Prefix;
use chancery::service::browser::Browser;
use chancery::service::login::{Attempt, Progress, SignedIn, sign_in};
use chancery::service::operator::Operator;
use chancery::service::users::{self, UserDocument};
use chancery::storage;

use crate::harness::postgres;

const ISSUER: &str = "http://localhost:8080";

async fn app(url: &str, change: impl FnOnce(&mut Config)) -> Arc<App> {
    let mut config = Config::for_tests(ISSUER, url).unwrap();
    change(&mut config);
    App::builder(config).build().await.unwrap()
}

async fn alice(app: &App, password: &str) -> uuid::Uuid {
    let operator = Operator {
        db: &app.db,
        config: &app.config,
        entropy: app.entropy.as_ref(),
        passwords: &app.passwords,
        actor: "test".to_owned(),
        now: app.clock.now(),
        trace_id: None,
    };
    let document = UserDocument { username: Some("alice".to_owned()), ..UserDocument::default() };
    users::add(&operator, document, Some(Secret::new(password.to_owned()))).await.unwrap().id
}

async fn attempt(app: &App, password: &str) -> Result<SignedIn, Reason> {
    let address = Prefix::of("127.0.0.1".parse::<IpAddr>().unwrap());
    let attempt = Attempt { username: "Alice ".to_owned(), password: Secret::new(password.to_owned()), address };
    let browser = Browser { session: None, bindings: Vec::new(), address: Some(address), device: None };
    match sign_in(app, attempt, Demand::Optional, &browser, app.clock.now()).await? {
        Progress::SignedIn(signed_in) => Ok(*signed_in),
        Progress::SecondFactor { .. } => panic!("nobody here has a second factor"),
    }
}

async fn urls() -> (tempfile::TempDir, [String; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}", folder.path().join("chancery.db").display());
    (folder, [sqlite, postgres::database().await])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_is_renewed_at_sign_in_when_the_parameters_have_changed_and_nothing_ends() {
    let (_folder, urls) = urls().await;
    for url in urls {
        let before = app(&url, |_| {}).await;
        let id = alice(&before, "correct horse battery").await;
        let old = storage::users::password_hash(&before.db, id).await.unwrap().unwrap();
        let session = attempt(&before, "correct horse battery").await.unwrap();
        assert_eq!(
            storage::users::password_hash(&before.db, id).await.unwrap().unwrap(),
            old,
            "the same parameters: the same hash"
        );

        let after = app(&url, |config| config.passwords.memory_kib = 128).await;
        assert!(attempt(&after, "wrong horse battery").await.is_err());
        assert_eq!(storage::users::password_hash(&after.db, id).await.unwrap().unwrap(), old, "a wrong password renews nothing");
        attempt(&after, "correct horse battery").await.unwrap();
        let new = storage::users::password_hash(&after.db, id).await.unwrap().unwrap();
        assert!(old.contains("$m=64,") && new.contains("$m=128,"), "{old} {new}");
        attempt(&after, "correct horse battery").await.unwrap();
        let (found, _) = storage::sessions::find(&after.db, &session.cookie.digest()).await.unwrap().unwrap();
        assert_eq!(found.ended_at, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failing_branch_of_a_sign_in_answers_the_same() {
    let (_folder, urls) = urls().await;
    for url in urls {
        let app = app(&url, |_| {}).await;
        alice(&app, "correct horse battery").await;
        let long = "x".repeat(5000);
        for password in ["wrong", "", long.as_str(), "correct horse battery "] {
            assert!(matches!(attempt(&app, password).await, Err(Reason::SignInFailed { .. })), "{}", password.len());
        }
        attempt(&app, "correct horse battery").await.unwrap();
    }
}
