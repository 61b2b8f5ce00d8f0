//! Keys on both databases: the first start, replicas in step, the life of a signing key, what a compromise ends, the master key.

use std::sync::Arc;
use std::time::Duration;

use chancery::args;
use chancery::clock::{Clock, ManualClock, Timestamp};
use chancery::entropy::SystemEntropy;
use chancery::jose::{Alg, KeyLife, KeyMaker as _, KeyState, NewKeyPairs, Typ};
use chancery::seal::{MasterKey, Purpose};
use chancery::secret::Secret;
use chancery::service::keys::{By, KeyError, Keys, Rotation, want};
use chancery::storage::{Db, Kind, audit, keys as store, migrate};

use super::Store;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn by() -> By {
    By { actor: "cli".to_owned(), trace_id: None }
}

async fn migrated(kind: Kind) -> Store {
    let store = Store::empty(kind).await;
    migrate::run(&store.db, NOW).await.unwrap();
    store
}

fn master() -> (MasterKey, Secret<String>) {
    MasterKey::generate(&SystemEntropy).unwrap()
}

async fn open(db: &Db, master: &MasterKey, clock: &ManualClock) -> Result<Arc<Keys>, KeyError> {
    Keys::open(db, master, clock, Arc::new(SystemEntropy), KeyLife::default()).await
}

async fn states(keys: &Keys, alg: Alg) -> Vec<KeyState> {
    let mut states: Vec<_> = keys.list().await.unwrap().into_iter().filter(|key| key.alg == alg).map(|key| key.state).collect();
    states.sort();
    states
}

fn sign(keys: &Keys, alg: Alg, typ: Typ) -> String {
    keys.current().active(alg).unwrap().sign_jwt(typ.as_str(), &serde_json::json!({ "sub": "s" })).unwrap()
}

fn published(keys: &Keys) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_slice(keys.current().jwks()).unwrap();
    document["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn active(keys: &Keys, alg: Alg) -> String {
    keys.current().active(alg).unwrap().kid.clone()
}

async fn replicas_on_an_empty_database(kind: Kind, rounds: usize) {
    for _ in 0..rounds {
        let store = Store::empty(kind).await;
        let (master, _) = master();
        let start = |db: Db| {
            let master = master.clone();
            async move {
                migrate::run(&db, NOW).await.unwrap();
                open(&db, &master, &ManualClock::new(NOW)).await.unwrap()
            }
        };
        let (one, two) = (store.replica().await, store.replica().await);
        let (one, two) = tokio::join!(tokio::spawn(start(one)), tokio::spawn(start(two)));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.current().jwks(), two.current().jwks());
        assert_eq!(one.list().await.unwrap().len(), 6);
        assert_eq!(one.list_data().await.unwrap().len(), Purpose::ALL.len());
        let mac = one.data().mac(Purpose::Refresh, &[b"x"]);
        assert_eq!(two.data().mac_with(Purpose::Refresh, mac.0, &[b"x"]), Some(mac.1));
        two.current().verify(&sign(&one, Alg::RS256, Typ::AccessToken), Typ::AccessToken, NOW).unwrap();
    }
}

on_both! {
    async fn two_replicas_on_an_empty_database_end_with_one_set_of_keys(kind) {
        replicas_on_an_empty_database(kind, crate::harness::rounds(3, 50)).await;
    }

    async fn the_first_start_makes_an_active_and_a_next_key_for_each_algorithm(kind) {
        let store = migrated(kind).await;
        assert!(!store::exist(&store.db).await.unwrap());
        let (master, _) = master();
        let keys = open(&store.db, &master, &ManualClock::new(NOW)).await.unwrap();
        assert!(store::exist(&store.db).await.unwrap());
        assert_eq!(keys.current().algs(), [Alg::RS256, Alg::ES256, Alg::EdDSA]);
        for alg in keys.current().algs() {
            assert_eq!(states(&keys, alg).await, [KeyState::Active, KeyState::Next]);
        }
        assert_eq!(published(&keys).len(), 6);
        let again = open(&store.replica().await, &master, &ManualClock::new(NOW.plus(SECOND))).await.unwrap();
        assert_eq!(again.current().etag(), keys.current().etag());
    }

    async fn keys_of_a_rare_algorithm_come_when_somebody_registers_it(kind) {
        let store = migrated(kind).await;
        let clock = ManualClock::new(NOW);
        let (master, _) = master();
        let (one, two) = (open(&store.db, &master, &clock).await.unwrap(), open(&store.replica().await, &master, &clock).await.unwrap());
        // The key job makes them, once.
        want(&store.db, [Alg::RS256, Alg::PS256], clock.now()).await.unwrap();
        one.refresh(clock.now()).await.unwrap();
        two.refresh(clock.now()).await.unwrap();
        assert_eq!(one.current().algs(), [Alg::RS256, Alg::PS256, Alg::ES256, Alg::EdDSA]);
        assert_eq!(one.current().jwks(), two.current().jwks());
        assert_eq!(states(&one, Alg::PS256).await, [KeyState::Active, KeyState::Next]);
        assert_eq!(states(&one, Alg::RS256).await, [KeyState::Active, KeyState::Next]);
        let first = active(&one, Alg::PS256);
        two.current().verify(&sign(&one, Alg::PS256, Typ::IdToken), Typ::IdToken, NOW).unwrap();
        // Whoever registers it after that asks for nothing, and a rotation goes its way.
        want(&store.db, [Alg::PS256], clock.now()).await.unwrap();
        clock.advance(Duration::from_secs(305));
        one.refresh(clock.now()).await.unwrap();
        assert_eq!(active(&one, Alg::PS256), first);
        one.rotate(&by(), clock.now(), Some(Alg::PS256), false).await.unwrap();
        assert_ne!(active(&one, Alg::PS256), first);
    }

    async fn a_token_that_comes_before_the_key_job_makes_the_key_once(kind) {
        let store = migrated(kind).await;
        let clock = ManualClock::new(NOW);
        let (master, _) = master();
        let (one, two) = (open(&store.db, &master, &clock).await.unwrap(), open(&store.replica().await, &master, &clock).await.unwrap());
        let ask = |keys: &Arc<Keys>| {
            let keys = Arc::clone(keys);
            tokio::spawn(async move {
                let snapshot = keys.live(NOW).await.unwrap();
                keys.signer(&snapshot, Alg::Ed25519, NOW).await.unwrap().kid.clone()
            })
        };
        let asked: Vec<_> = [&one, &two, &one, &two].into_iter().map(ask).collect();
        let mut kids = Vec::new();
        for task in asked {
            kids.push(task.await.unwrap());
        }
        kids.dedup();
        assert_eq!(kids, [active(&one, Alg::Ed25519)]);
        assert_eq!(states(&one, Alg::Ed25519).await, [KeyState::Active, KeyState::Next]);
        // It is not the key of the other name.
        assert_ne!(active(&one, Alg::Ed25519), active(&one, Alg::EdDSA));
        clock.advance(Duration::from_secs(305));
        one.refresh(clock.now()).await.unwrap();
        assert_eq!(active(&one, Alg::Ed25519), kids[0], "no rotation is left over");
    }

    async fn a_wrong_master_key_is_refused_and_nothing_is_changed(kind) {
        let store = migrated(kind).await;
        let (right, _) = master();
        let before = open(&store.db, &right, &ManualClock::new(NOW)).await.unwrap().list().await.unwrap();
        let refused = open(&store.db, &master().0, &ManualClock::new(NOW)).await.err().unwrap();
        assert_eq!(refused, KeyError::WrongMasterKey);
        assert!(refused.to_string().contains("does not fit this database"));
        let after = open(&store.db, &right, &ManualClock::new(NOW)).await.unwrap();
        assert_eq!(after.list().await.unwrap(), before);
        assert_eq!(after.list_data().await.unwrap().len(), Purpose::ALL.len());
    }

    async fn two_replicas_with_different_master_keys_do_not_both_start(kind) {
        let store = migrated(kind).await;
        let (one, two) = (store.replica().await, store.replica().await);
        let start = |db: Db| async move { open(&db, &master().0, &ManualClock::new(NOW)).await.map(drop) };
        let (one, two) = tokio::join!(tokio::spawn(start(one)), tokio::spawn(start(two)));
        let mut results = [one.unwrap(), two.unwrap()];
        results.sort_by_key(Result::is_err);
        assert_eq!(results, [Ok(()), Err(KeyError::WrongMasterKey)]);
    }

    async fn keys_without_their_check_value_are_refused(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        open(&store.db, &master, &ManualClock::new(NOW)).await.unwrap();
        store.db.execute("DELETE FROM meta", args![]).await.unwrap();
        assert!(store::exist(&store.db).await.unwrap());
        assert_eq!(open(&store.db, &master, &ManualClock::new(NOW)).await.err(), Some(KeyError::CheckValueMissing));
    }

    async fn a_rotation_waits_until_the_next_key_is_known_everywhere(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let keys = open(&store.db, &master, &clock).await.unwrap();
        let replica = open(&store.replica().await, &master, &clock).await.unwrap();
        let (first, token) = (active(&keys, Alg::ES256), sign(&keys, Alg::ES256, Typ::AccessToken));

        let asked = keys.rotate(&by(), clock.now(), Some(Alg::ES256), false).await.unwrap();
        let [Rotation::Waits { next, until, .. }] = asked.as_slice() else { panic!("{asked:?}") };
        assert_eq!(*until, NOW.plus(305 * SECOND));
        clock.advance(304 * SECOND);
        keys.refresh(clock.now()).await.unwrap();
        assert_eq!(active(&keys, Alg::ES256), first);

        clock.advance(SECOND);
        tokio::try_join!(keys.refresh(clock.now()), replica.refresh(clock.now())).unwrap();
        assert_eq!((active(&keys, Alg::ES256), active(&replica, Alg::ES256)), (next.clone(), next.clone()));
        assert_eq!(states(&keys, Alg::ES256).await, [KeyState::Active, KeyState::Next, KeyState::Retiring]);
        // Once asked, once rotated; and the others stayed.
        clock.advance(400 * SECOND);
        keys.refresh(clock.now()).await.unwrap();
        assert_eq!(active(&keys, Alg::ES256), *next);
        assert_eq!(states(&keys, Alg::RS256).await, [KeyState::Active, KeyState::Next]);
        // Tokens of the old key are still good, and offline validators still find it.
        assert!(published(&replica).contains(&first));
        replica.current().verify(&token, Typ::AccessToken, clock.now()).unwrap();
    }

    async fn a_key_lives_ninety_days_and_verifies_hints_for_another_hundred_and_eighty(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let keys = open(&store.db, &master, &clock).await.unwrap();
        let (first, hint) = (active(&keys, Alg::EdDSA), sign(&keys, Alg::EdDSA, Typ::IdToken));
        let verifies = |keys: &Keys, typ| keys.current().verify(&hint, typ, NOW).is_ok();

        clock.advance(90 * DAY - SECOND);
        keys.refresh(clock.now()).await.unwrap();
        assert_eq!(active(&keys, Alg::EdDSA), first);
        clock.advance(SECOND);
        keys.refresh(clock.now()).await.unwrap();
        assert_ne!(active(&keys, Alg::EdDSA), first);
        assert!(published(&keys).contains(&first) && verifies(&keys, Typ::IdToken));

        clock.advance(DAY + 60 * SECOND);
        keys.refresh(clock.now()).await.unwrap();
        assert!(!published(&keys).contains(&first) && verifies(&keys, Typ::IdToken));
        assert_eq!(states(&keys, Alg::EdDSA).await, [KeyState::Active, KeyState::Next, KeyState::VerifyOnly]);

        clock.advance(180 * DAY);
        keys.refresh(clock.now()).await.unwrap();
        assert!(!verifies(&keys, Typ::IdToken));
        assert!(keys.list().await.unwrap().iter().all(|key| key.kid != first));
        // Whatever signs no more has lost its private part.
        let sealed: Vec<(KeyState, usize)> =
            store::signing_keys(&store.db).await.unwrap().known.iter().map(|key| (key.state, key.sealed_private.len())).collect();
        assert!(sealed.iter().all(|(state, len)| (*len > 0) == (*state <= KeyState::Next)), "{sealed:?}");
    }

    async fn a_compromised_key_is_replaced_at_once_and_believed_by_no_replica(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let keys = open(&store.db, &master, &clock).await.unwrap();
        let replica = open(&store.replica().await, &master, &clock).await.unwrap();
        let stolen = active(&keys, Alg::RS256);
        let (token, hint) = (sign(&keys, Alg::RS256, Typ::AccessToken), sign(&keys, Alg::RS256, Typ::IdToken));

        let done = keys.rotate(&by(), clock.now(), Some(Alg::RS256), true).await.unwrap();
        let [Rotation::Done { old: Some(old), new, .. }] = done.as_slice() else { panic!("{done:?}") };
        assert_eq!((old, new), (&stolen, &active(&keys, Alg::RS256)));
        assert!(!published(&keys).contains(&stolen));
        assert!(keys.current().verify(&token, Typ::AccessToken, clock.now()).is_err());
        assert!(keys.current().verify(&hint, Typ::IdToken, clock.now()).is_err());
        // A replica knew the next key already, so what is signed now verifies there before it has heard of the rotation.
        replica.current().verify(&sign(&keys, Alg::RS256, Typ::AccessToken), Typ::AccessToken, clock.now()).unwrap();

        clock.advance(5 * SECOND + Duration::from_micros(1));
        let live = replica.live(clock.now()).await.unwrap();
        assert!(live.set.verify(&token, Typ::AccessToken, clock.now()).is_err());
        assert_eq!(live.set.active(Alg::RS256).unwrap().kid, *new);
        assert_eq!(states(&keys, Alg::RS256).await, [KeyState::Active, KeyState::Next, KeyState::Compromised]);
    }

    async fn a_retired_key_and_a_next_key_can_be_compromised_too(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let keys = open(&store.db, &master, &clock).await.unwrap();
        let next = keys.list().await.unwrap().into_iter().find(|key| key.alg == Alg::ES256 && key.state == KeyState::Next).unwrap();
        let signing = active(&keys, Alg::ES256);
        keys.compromise(&by(), clock.now(), &next.kid).await.unwrap();
        assert_eq!(active(&keys, Alg::ES256), signing);
        assert_eq!(states(&keys, Alg::ES256).await, [KeyState::Active, KeyState::Next, KeyState::Compromised]);
        assert_eq!(keys.compromise(&by(), clock.now(), "no such key").await, Err(KeyError::UnknownKey("no such key".to_owned())));
    }

    async fn two_operators_who_rotate_at_once_compromise_one_key(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let one = open(&store.replica().await, &master, &clock).await.unwrap();
        let two = open(&store.replica().await, &master, &clock).await.unwrap();
        let (first, second) = (active(&one, Alg::EdDSA), active(&two, Alg::EdDSA));
        assert_eq!(first, second);
        let by = by();
        let (a, b) = tokio::join!(one.compromise(&by, NOW, &first), two.compromise(&by, NOW, &first));
        assert!(a.is_ok() || b.is_ok());
        assert_eq!(states(&one, Alg::EdDSA).await, [KeyState::Active, KeyState::Next, KeyState::Compromised]);
    }

    async fn a_new_data_key_seals_when_all_replicas_can_open_it(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let keys = open(&store.db, &master, &clock).await.unwrap();
        let old = keys.data().mac(Purpose::Refresh, &[b"family"]);
        clock.advance(60 * SECOND);
        keys.rotate_data(&by(), clock.now(), Purpose::Refresh, false).await.unwrap();
        assert_eq!(keys.data().current_id(Purpose::Refresh), old.0);
        clock.advance(10 * SECOND);
        let data = Arc::clone(&keys.live(clock.now()).await.unwrap().data);
        assert_ne!(data.current_id(Purpose::Refresh), old.0);
        assert_eq!(data.mac_with(Purpose::Refresh, old.0, &[b"family"]), Some(old.1));
        let replica = open(&store.replica().await, &master, &clock).await.unwrap();
        assert_eq!(replica.data().mac(Purpose::Refresh, &[b"family"]), data.mac(Purpose::Refresh, &[b"family"]));
    }

    async fn nothing_under_a_compromised_data_key_is_believed(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let keys = open(&store.db, &master, &ManualClock::new(NOW)).await.unwrap();
        let sealed = keys.data().seal(Purpose::Token, &SystemEntropy, b"", b"grant");
        let other = keys.data().seal(Purpose::Cookie, &SystemEntropy, b"", b"cookie");
        keys.rotate_data(&by(), NOW, Purpose::Token, true).await.unwrap();
        assert!(keys.data().open(Purpose::Token, b"", &sealed).is_err());
        assert!(keys.data().open(Purpose::Cookie, b"", &other).is_ok());
        let fresh = keys.data().seal(Purpose::Token, &SystemEntropy, b"", b"grant");
        assert!(keys.data().open(Purpose::Token, b"", &fresh).is_ok());
    }

    async fn rotating_the_key_over_signing_keys_keeps_them_and_compromising_it_replaces_them(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let keys = open(&store.db, &master, &clock).await.unwrap();
        let before = published(&keys);
        keys.rotate_data(&by(), NOW, Purpose::Signing, false).await.unwrap();
        assert_eq!(published(&keys), before);
        let restarted = open(&store.replica().await, &master, &clock).await.unwrap();
        assert_eq!(published(&restarted), before);

        keys.rotate_data(&by(), NOW, Purpose::Signing, true).await.unwrap();
        let after = published(&keys);
        assert_eq!(after.len(), 6);
        assert!(after.iter().all(|kid| !before.contains(kid)));
        assert_eq!(published(&open(&store.replica().await, &master, &clock).await.unwrap()), after);
    }

    async fn the_master_key_is_exchanged_without_a_break(kind) {
        let store = migrated(kind).await;
        let ((old, old_text), (new, new_text)) = (master(), master());
        let clock = ManualClock::new(NOW);
        let running = open(&store.db, &old, &clock).await.unwrap();
        let mac = running.data().mac(Purpose::Refresh, &[b"family"]);
        let both = MasterKey::parse(&Secret::new(format!("{},{}", new_text.expose(), old_text.expose()))).unwrap();
        let operator = open(&store.replica().await, &both, &clock).await.unwrap();
        assert_eq!(operator.rewrap(&by(), NOW).await.unwrap(), Purpose::ALL.len());
        assert_eq!(operator.rewrap(&by(), NOW).await.unwrap(), 0);

        // The server that knows only the old key goes on with what it has opened before.
        clock.advance(60 * SECOND);
        running.refresh(clock.now()).await.unwrap();
        // A restart needs the new one.
        assert_eq!(open(&store.replica().await, &old, &clock).await.err(), Some(KeyError::WrongMasterKey));
        let restarted = open(&store.replica().await, &new, &clock).await.unwrap();
        assert_eq!(restarted.data().mac(Purpose::Refresh, &[b"family"]), mac);
        assert_eq!(published(&restarted), published(&running));
    }

    async fn without_a_database_old_knowledge_signs_for_five_seconds_and_no_longer(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let keys = open(&store.db, &master, &clock).await.unwrap();
        store.db.close().await;
        clock.advance(5 * SECOND);
        assert!(keys.live(clock.now()).await.is_ok());
        clock.advance(SECOND);
        assert!(matches!(keys.live(clock.now()).await, Err(KeyError::Store(_))));
        // The JWKS document goes on being served.
        assert_eq!(published(&keys).len(), 6);
    }

    async fn a_public_key_that_was_exchanged_in_the_database_is_noticed(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let keys = open(&store.db, &master, &ManualClock::new(NOW)).await.unwrap();
        let forged = serde_json::to_string(&NewKeyPairs.make(Alg::EdDSA).unwrap().public).unwrap();
        let kid = active(&keys, Alg::EdDSA);
        store.db.execute("UPDATE signing_keys SET public_jwk = $2 WHERE kid = $1", args![&kid, forged]).await.unwrap();
        assert_eq!(keys.refresh(NOW).await, Err(KeyError::Damaged(kid)));
    }

    async fn every_change_of_keys_is_in_the_audit_log_with_its_actor(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        let clock = ManualClock::new(NOW);
        let keys = open(&store.db, &master, &clock).await.unwrap();
        let kid = active(&keys, Alg::EdDSA);
        keys.rotate(&by(), NOW, Some(Alg::ES256), false).await.unwrap();
        keys.compromise(&by(), NOW, &kid).await.unwrap();
        keys.rotate_data(&by(), NOW, Purpose::Cursor, false).await.unwrap();
        keys.rewrap(&by(), NOW).await.unwrap();
        clock.advance(400 * SECOND);
        keys.refresh(clock.now()).await.unwrap();
        let events = audit::list(&store.db, 100, None).await.unwrap();
        let seen = |actor: &str, action: &str| events.iter().filter(|event| event.actor == actor && event.action == action).count();
        assert_eq!((seen("server", "key.make"), seen("cli", "key.make")), (7, 1));
        assert_eq!((seen("cli", "key.rotate"), seen("server", "key.activate"), seen("server", "key.retire")), (1, 1, 1));
        assert_eq!((seen("cli", "key.compromise"), seen("cli", "key.activate")), (1, 1));
        assert_eq!((seen("cli", "data_key.rotate"), seen("cli", "key.rewrap")), (1, 1));
        assert_eq!(events.iter().find(|event| event.action == "key.compromise").unwrap().target, kid);
    }

    async fn a_start_with_keys_is_quick(kind) {
        let store = migrated(kind).await;
        let (master, _) = master();
        open(&store.db, &master, &ManualClock::new(NOW)).await.unwrap();
        // The quickest of several: a busy machine adds what it likes to one.
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let started = std::time::Instant::now();
            open(&store.db, &master, &ManualClock::new(NOW)).await.unwrap();
            quickest = quickest.min(started.elapsed());
        }
        println!("opened existing keys in {quickest:?}");
        assert!(quickest < Duration::from_millis(500), "{quickest:?}");
    }
}
