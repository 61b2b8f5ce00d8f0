//! Device codes: each step of their life is taken once, by whom it belongs to, and only while it may be.

use std::time::Duration;

use chancery::clock::Timestamp;
use chancery::oauth::device::{DeviceCode, Pace, State};
use chancery::oauth::grant::Grant;
use chancery::secret::Digest;
use chancery::storage::codes::Redeem;
use chancery::storage::consents::Consent;
use chancery::storage::device_codes::{self as store, Approve};
use chancery::storage::{Db, StoreError, consents, grants, sessions, users};
use futures_util::future::join_all;
use uuid::Uuid;

use super::fixtures::{NOW, World, at, device_code, digest, event, user};

/// A code with a user code of its own.
async fn added(db: &Db) -> Digest {
    let digest = digest();
    let hash: [u8; 32] = digest.as_bytes().try_into().unwrap();
    store::insert(db, &digest, (3, hash), &device_code()).await.unwrap();
    digest
}

async fn state(db: &Db, digest: &Digest) -> State {
    store::find(db, digest).await.unwrap().unwrap().code.state
}

fn approval(world: &World, digest: Digest, grant: Grant, now: Timestamp) -> Approve {
    let consent = Consent {
        user_id: grant.user_id,
        client_id: grant.client_id.clone(),
        scopes: grant.scopes.clone(),
        resources: grant.resources.clone(),
        claims: Vec::new(),
        metadata_version: world.client.metadata_version,
        created_at: now,
        updated_at: now,
    };
    Approve { digest, grant, consent, rests_on: None, events: vec![event("device.allow")], joins: false, now }
}

/// As [`approval`], with the consent that there is.
async fn one_more(world: &World, digest: Digest, grant: Grant, now: Timestamp) -> Approve {
    let before = consents::find(&world.store.db, grant.user_id, &grant.client_id).await.unwrap().map(|consent| consent.updated_at);
    let mut approve = approval(world, digest, grant, now);
    approve.consent.updated_at = Consent::changed_at(now, before);
    Approve { rests_on: before, ..approve }
}

/// Claimed and approved: the grant.
async fn approved(world: &World, offline: bool) -> (Digest, Grant) {
    let (db, digest, grant) = (&world.store.db, added(&world.store.db).await, world.grant(offline));
    assert!(store::claim(db, &digest, world.user.id, at(1), &event("device.claim")).await.unwrap());
    assert!(store::approve(db, one_more(world, digest, grant.clone(), at(2)).await).await.unwrap());
    (digest, grant)
}

fn redemption(digest: Digest, now: Timestamp) -> Redeem {
    Redeem { digest, client_id: "app".to_owned(), family: None, now }
}

async fn events(db: &Db, action: &str) -> usize {
    let all = chancery::storage::audit::list(db, 1000, None).await.unwrap();
    all.iter().filter(|event| event.action == action).count()
}

on_both! {
    async fn a_code_is_found_as_it_was_added(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (digest, unknown) = (added(db).await, digest());
        let facts = store::find(db, &digest).await.unwrap().unwrap();
        assert_eq!((&facts.code, facts.standing, facts.family), (&device_code(), None, None));
        let hash: [u8; 32] = digest.as_bytes().try_into().unwrap();
        for hashes in [vec![hash], vec![[0; 32], [1; 32], [2; 32], hash]] {
            assert_eq!(store::find_by_user_code(db, &hashes).await.unwrap(), Some((digest, device_code())));
        }
        assert_eq!(store::find_by_user_code(db, &[[0; 32]]).await.unwrap(), None);
        assert_eq!(store::find_by_user_code(db, &[]).await.unwrap(), None);
        assert!(store::find(db, &unknown).await.unwrap().is_none());
        // Two devices never show the same letters.
        let twice = store::insert(db, &unknown, (3, hash), &device_code()).await;
        assert!(matches!(twice, Err(StoreError::Conflict(_))), "{twice:?}");
    }

    async fn the_first_who_looks_has_it_on_every_replica(kind) {
        let world = World::new(kind).await;
        let (db, replica) = (world.store.db.clone(), world.store.replica().await);
        let mut people = vec![world.user.id];
        for name in ["bob", "carol", "dave"] {
            let person = user(name);
            users::insert(&db, &person, None, &event("user.add")).await.unwrap();
            people.push(person.id);
        }
        for round in 0..8 {
            let digest = added(&db).await;
            let claims = join_all((0..12).map(|index| {
                let (db, by) = ([&db, &replica][index % 2].clone(), people[index % 4]);
                tokio::spawn(async move { (by, store::claim(&db, &digest, by, at(1), &event("device.claim")).await.unwrap()) })
            }))
            .await;
            let won: Vec<Uuid> = claims.into_iter().map(Result::unwrap).filter(|(_, won)| *won).map(|(by, _)| by).collect();
            assert_eq!(won.len(), 1, "round {round}");
            assert_eq!(state(&db, &digest).await, State::Claimed { by: won[0] });
        }
        assert_eq!(events(&db, "device.claim").await, 8, "an event for each that was claimed and for no try");
        // Not after its time, and not by somebody who was disabled.
        let digest = added(&db).await;
        assert!(!store::claim(&db, &digest, world.user.id, at(600), &event("device.claim")).await.unwrap());
        users::set_enabled(&db, people[1], false, at(1), &event("user.disable")).await.unwrap();
        assert!(!store::claim(&db, &digest, people[1], at(2), &event("device.claim")).await.unwrap());
        assert_eq!(state(&db, &digest).await, State::Pending);
    }

    async fn a_decision_is_written_whole_or_not_at_all(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (digest, grant) = approved(&world, true).await;
        let facts = store::find(db, &digest).await.unwrap().unwrap();
        assert_eq!(facts.code.state, State::Approved { grant_id: grant.id });
        assert_eq!(facts.standing.unwrap().grant, grant);
        assert_eq!(consents::find(db, world.user.id, "app").await.unwrap().unwrap().scopes, grant.scopes);
        // Each of these rests on something that does not stand: nothing of it may remain.
        let unseen = added(db).await;
        let expired = added(db).await;
        store::claim(db, &expired, world.user.id, at(1), &event("device.claim")).await.unwrap();
        let refused = added(db).await;
        store::claim(db, &refused, world.user.id, at(1), &event("device.claim")).await.unwrap();
        assert!(store::deny(db, &refused, world.user.id, at(2), &event("device.deny")).await.unwrap());
        let foreign = added(db).await;
        let bob = user("bob");
        users::insert(db, &bob, None, &event("user.add")).await.unwrap();
        store::claim(db, &foreign, bob.id, at(1), &event("device.claim")).await.unwrap();
        let before = events(db, "device.allow").await;
        for (digest, now) in [(unseen, at(2)), (expired, at(600)), (refused, at(3)), (foreign, at(2)), (digest, at(3))] {
            let again = world.grant(true);
            assert!(!store::approve(db, one_more(&world, digest, again.clone(), now).await).await.unwrap());
            assert!(grants::find(db, again.id).await.unwrap().is_none(), "no half grant");
            assert!(!store::deny(db, &digest, world.user.id, now, &event("device.deny")).await.unwrap());
        }
        // In a session that has ended.
        let late = added(db).await;
        store::claim(db, &late, world.user.id, at(1), &event("device.claim")).await.unwrap();
        sessions::end(db, world.session.id, at(2), "signed out", None).await.unwrap();
        assert!(!store::approve(db, one_more(&world, late, world.grant(true), at(3)).await).await.unwrap());
        assert_eq!(events(db, "device.allow").await, before);
    }

    /// Each holds all that was agreed to before it: of two that do not know of each other one comes again.
    async fn of_many_approvals_that_rest_on_one_consent_one_is_written(kind) {
        let world = World::new(kind).await;
        let (db, replica) = (world.store.db.clone(), world.store.replica().await);
        for round in 0..4 {
            // The first time there is no consent at all.
            let before = consents::find(&db, world.user.id, "app").await.unwrap();
            let mut approvals = Vec::new();
            for number in 0..8 {
                let digest = added(&db).await;
                store::claim(&db, &digest, world.user.id, at(1), &event("device.claim")).await.unwrap();
                let mut approve = one_more(&world, digest, world.grant(true), at(2)).await;
                approve.consent.scopes.push(format!("of-{round}-{number}"));
                approvals.push(approve);
            }
            let written = join_all(approvals.iter().cloned().enumerate().map(|(index, approve)| {
                let db = [&db, &replica][index % 2].clone();
                tokio::spawn(async move { store::approve(&db, approve).await.unwrap() })
            }))
            .await;
            let written: Vec<usize> = (0..).zip(written).filter(|(_, won)| *won.as_ref().unwrap()).map(|(index, _)| index).collect();
            assert_eq!(written.len(), 1, "round {round}");
            let after = consents::find(&db, world.user.id, "app").await.unwrap().unwrap();
            assert_eq!(after.scopes, approvals[written[0]].consent.scopes);
            assert!(before.is_none_or(|before| before.updated_at < after.updated_at && before.created_at == after.created_at));
            for (index, approve) in approvals.iter().enumerate() {
                let approved = matches!(state(&db, &approve.digest).await, State::Approved { .. });
                assert_eq!(approved, index == written[0], "nothing of the others");
                assert_eq!(grants::find(&db, approve.grant.id).await.unwrap().is_some(), approved);
            }
        }
    }

    async fn the_pace_is_kept_by_one_poll_at_a_time(kind) {
        let world = World::new(kind).await;
        let (db, replica) = (world.store.db.clone(), world.store.replica().await);
        let digest = added(&db).await;
        let before = device_code().pace;
        let after = Pace { polled_at: Some(at(1)), ..before };
        let kept = join_all((0..10).map(|index| {
            let db = [&db, &replica][index % 2].clone();
            tokio::spawn(async move { store::keep_pace(&db, &digest, before, after).await.unwrap() })
        }))
        .await;
        assert_eq!(kept.into_iter().filter(|kept| *kept.as_ref().unwrap()).count(), 1);
        let slower = Pace { interval: Duration::from_secs(10), polled_at: Some(at(2)) };
        assert!(store::keep_pace(&db, &digest, after, slower).await.unwrap());
        assert_eq!(store::find(&db, &digest).await.unwrap().unwrap().code.pace, slower);
        // Once it is decided there is no pace to keep: the poll looks again and finds the decision.
        let (decided, _) = approved(&world, true).await;
        assert!(!store::keep_pace(&db, &decided, before, after).await.unwrap());
    }

    async fn of_many_redemptions_one_succeeds_and_begins_one_family(kind) {
        let world = World::new(kind).await;
        let (db, replica) = (world.store.db.clone(), world.store.replica().await);
        for round in 0..5 {
            let (digest, grant) = approved(&world, true).await;
            assert!(!store::redeem(&db, Redeem { client_id: "other".to_owned(), ..redemption(digest, at(3)) }).await.unwrap());
            assert!(!store::redeem(&db, redemption(digest, at(600))).await.unwrap(), "past its time");
            let redeemed = join_all((0..12).map(|index| {
                let db = [&db, &replica][index % 2].clone();
                let family = Some(world.family(&grant));
                tokio::spawn(async move { store::redeem(&db, Redeem { family, ..redemption(digest, at(3)) }).await.unwrap() })
            }))
            .await;
            assert_eq!(redeemed.into_iter().filter(|won| *won.as_ref().unwrap()).count(), 1, "round {round}");
            let facts = store::find(&db, &digest).await.unwrap().unwrap();
            assert_eq!(facts.code.state, State::Redeemed { grant_id: grant.id, at: at(3) });
            assert_eq!(facts.family.unwrap().grant_id, grant.id);
        }
        // What nobody approved is not redeemed, and without a family it is spent all the same.
        let pending = added(&db).await;
        assert!(!store::redeem(&db, redemption(pending, at(3))).await.unwrap());
        let (digest, _) = approved(&world, true).await;
        assert!(store::redeem(&db, redemption(digest, at(3))).await.unwrap());
        assert!(!store::redeem(&db, redemption(digest, at(3))).await.unwrap());
    }

    async fn whatever_switches_a_person_off_takes_their_codes_back(kind) {
        type Step = for<'a> fn(&'a World) -> futures_util::future::BoxFuture<'a, ()>;
        let steps: [(&str, Step); 4] = [
            ("disabled", |world| Box::pin(async { users::set_enabled(&world.store.db, world.user.id, false, at(3), &event("x")).await.map(drop).unwrap() })),
            ("password", |world| Box::pin(async { users::set_password(&world.store.db, world.user.id, "$argon2id$x", at(3), &event("x")).await.map(drop).unwrap() })),
            ("everywhere", |world| Box::pin(async { users::sign_out(&world.store.db, world.user.id, at(3), &event("x")).await.map(drop).unwrap() })),
            ("consent", |world| Box::pin(async { consents::withdraw(&world.store.db, world.user.id, "app", at(3), &event("x")).await.map(drop).unwrap() })),
        ];
        for (name, step) in steps {
            let world = World::new(kind).await;
            let db = &world.store.db;
            let (waiting, _) = approved(&world, true).await;
            let (fetched, grant) = approved(&world, true).await;
            assert!(store::redeem(db, redemption(fetched, at(2))).await.unwrap());
            let refused = added(db).await;
            store::claim(db, &refused, world.user.id, at(1), &event("device.claim")).await.unwrap();
            store::deny(db, &refused, world.user.id, at(2), &event("device.deny")).await.unwrap();
            step(&world).await;
            assert_eq!(state(db, &waiting).await, State::Withdrawn, "{name}");
            assert!(!store::redeem(db, redemption(waiting, at(4))).await.unwrap(), "{name}");
            assert_eq!(state(db, &fetched).await, State::Redeemed { grant_id: grant.id, at: at(2) }, "{name}: what happened stays known");
            assert_eq!(state(db, &refused).await, State::Denied, "{name}: a no stays a no");
        }
        // With the session go the codes whose grants live with it, and no others.
        let world = World::new(kind).await;
        let db = &world.store.db;
        let ((short, _), (long, grant)) = (approved(&world, false).await, approved(&world, true).await);
        sessions::end(db, world.session.id, at(3), "signed out", None).await.unwrap();
        assert_eq!(state(db, &short).await, State::Withdrawn);
        assert_eq!(state(db, &long).await, State::Approved { grant_id: grant.id });
    }
}

/// The instants of these tests lie within a code's life.
#[test]
fn a_code_lives_for_ten_minutes() {
    let DeviceCode { created_at, expires_at, .. } = device_code();
    assert_eq!((created_at, expires_at), (NOW, at(600)));
}
