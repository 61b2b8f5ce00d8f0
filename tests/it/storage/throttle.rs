//! Throttling of guesses, shared by replicas (security.md R-55).

use std::time::Duration;

use chancery::clock::Timestamp;
use chancery::config::ThrottleConfig;
use chancery::oauth::refusal::Reason;
use chancery::service::throttle::{Subject, Throttle};
use chancery::storage::{Db, failures, migrate};

use super::Store;
use super::fixtures::World;
use crate::harness::keyed::keyed;

const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn config() -> ThrottleConfig {
    ThrottleConfig {
        window: Duration::from_secs(900),
        account_failures: 5,
        address_failures: 20,
        global_failures: 100,
        longest_wait: Duration::from_secs(60),
        interactions_per_address: 1,
        interactions_per_client: 1,
        unknown_tokens_per_minute: 1,
    }
}

fn from(account: &str, address: &str) -> [Subject; 3] {
    [Subject::Account(account.to_owned()), Subject::Address(address.to_owned()), Subject::Everybody]
}

fn at(second: u64) -> Timestamp {
    BEGIN.plus(Duration::from_secs(second))
}

async fn fail(throttle: &Throttle, db: &Db, account: &str, address: &str, now: Timestamp) {
    throttle.failure(db, &from(account, address), now).await.unwrap();
}

/// Seconds to wait; 0 if a try may go on.
async fn wait(throttle: &Throttle, db: &Db, account: &str, address: &str, now: Timestamp) -> u64 {
    match throttle.check(db, &from(account, address), now).await {
        Ok(_attempt) => 0,
        Err(Reason::SignInThrottled { retry_after, .. }) => retry_after,
        Err(other) => panic!("{other:?}"),
    }
}

async fn migrated(kind: chancery::storage::Kind) -> Store {
    let store = Store::empty(kind).await;
    migrate::run(&store.db, BEGIN).await.unwrap();
    store
}

on_both! {
    async fn a_person_is_looked_up_beside_what_is_counted_of_them(kind) {
        let world = World::new(kind).await;
        let (db, throttle) = (&world.store.db, Throttle::new(config(), keyed()));
        let found = async |name: &str| {
            let (failures, person) = failures::find_with_person(db, &throttle.look(&from(name, "192.0.2.1")).keys, name).await.unwrap();
            (failures.iter().map(|failures| failures.count).collect::<Vec<_>>(), person)
        };
        let alice = Some((world.user.clone(), Some("$argon2id$".to_owned())));
        assert_eq!(found("alice").await, (Vec::new(), alice.clone()));
        assert_eq!(found("nobody").await, (Vec::new(), None));
        for _ in 0..2 {
            fail(&throttle, db, "nobody", "192.0.2.1", at(0)).await;
        }
        assert_eq!(found("nobody").await, (vec![2, 2, 2], None));
        assert_eq!(found("alice").await, (vec![2, 2], alice), "the address and everybody");
    }

    async fn an_account_waits_twice_as_long_each_time_whoever_guesses(kind) {
        let store = migrated(kind).await;
        let throttle = Throttle::new(config(), keyed());
        for number in 0..5 {
            assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.1", at(0)).await, 0);
            fail(&throttle, &store.db, "alice", &format!("192.0.2.{number}"), at(0)).await;
        }
        assert_eq!(wait(&throttle, &store.db, "alice", "198.51.100.1", at(0)).await, 1, "another address does not help");
        assert_eq!(wait(&throttle, &store.db, "bob", "192.0.2.1", at(0)).await, 0, "others are not meant");
        let mut now = 0;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.1", at(now)).await, expected);
            now += expected;
            assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.1", at(now)).await, 0, "the wait ends by itself");
            fail(&throttle, &store.db, "alice", "192.0.2.1", at(now)).await;
        }
        assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.1", at(901)).await, 0, "a new window begins anew");
    }

    async fn tries_during_the_wait_do_not_prolong_it(kind) {
        let store = migrated(kind).await;
        let throttle = Throttle::new(config(), keyed());
        for _ in 0..8 {
            fail(&throttle, &store.db, "alice", "192.0.2.1", at(0)).await;
        }
        for second in 0..8 {
            assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.9", at(second)).await, 8 - second);
        }
        assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.9", at(8)).await, 0);
    }

    async fn an_address_that_tries_many_accounts_is_refused_until_its_window_is_over(kind) {
        let store = migrated(kind).await;
        let throttle = Throttle::new(config(), keyed());
        for number in 0..20 {
            fail(&throttle, &store.db, &format!("user{number}"), "192.0.2.1", at(0)).await;
        }
        assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.1", at(100)).await, 800);
        assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.2", at(100)).await, 0);
        assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.1", at(900)).await, 0);
    }

    async fn a_flood_by_everybody_tightens_the_limits_and_first_tries_go_on(kind) {
        let store = migrated(kind).await;
        let throttle = Throttle::new(config(), keyed());
        for number in 0..100 {
            fail(&throttle, &store.db, &format!("user{number}"), &format!("192.0.2.{number}"), at(0)).await;
        }
        assert_eq!(wait(&throttle, &store.db, "user1", "198.51.100.1", at(0)).await, 1);
        assert_eq!(wait(&throttle, &store.db, "alice", "198.51.100.1", at(0)).await, 0);
    }

    async fn replicas_count_together_and_parallel_failures_are_all_counted(kind) {
        let store = migrated(kind).await;
        let keyed = keyed();
        let (one, two) = (Throttle::new(config(), keyed.clone()), Throttle::new(config(), keyed));
        let other = store.replica().await;
        let mut failures = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (throttle, db) = if number % 2 == 0 { (one.clone(), store.db.clone()) } else { (two.clone(), other.clone()) };
            failures.spawn(async move { throttle.failure(&db, &from("alice", "192.0.2.1"), at(0)).await });
        }
        while let Some(counted) = failures.join_next().await {
            counted.unwrap().unwrap();
        }
        assert_eq!(wait(&one, &store.db, "alice", "192.0.2.2", at(0)).await, 60);
        assert_eq!(wait(&two, &other, "bob", "192.0.2.1", at(0)).await, 900);
    }

    async fn guesses_sent_at_the_same_moment_do_not_all_pass(kind) {
        let store = migrated(kind).await;
        let throttle = Throttle::new(config(), keyed());
        let mut held = Vec::new();
        for _ in 0..50 {
            held.extend(throttle.check(&store.db, &from("alice", "192.0.2.1"), at(0)).await.ok());
        }
        assert_eq!(held.len(), 5);
        drop(held);
        assert_eq!(wait(&throttle, &store.db, "alice", "192.0.2.1", at(0)).await, 0, "successes are not counted");
    }

    async fn a_failure_that_is_counted_after_somebody_looked_counts_for_them_too(kind) {
        let store = migrated(kind).await;
        let throttle = Throttle::new(config(), keyed());
        let subjects = from("alice", "192.0.2.1");
        let (early, other) = (throttle.look(&subjects), throttle.look(&from("bob", "192.0.2.2")));
        let found = failures::find(&store.db, &early.keys).await.unwrap();
        for _ in 0..5 {
            let attempt = throttle.check(&store.db, &subjects, at(0)).await.unwrap();
            throttle.failure(&store.db, &subjects, at(0)).await.unwrap();
            drop(attempt);
        }
        assert!(throttle.admit(&subjects, early, &found, at(0)).is_err(), "a sixth guess at once");
        assert!(throttle.admit(&from("bob", "192.0.2.2"), other, &found, at(0)).is_ok());
    }
}
