//! Who is to be told that a session has ended: written with the end, claimed by one, left to the next when that one dies.

use std::collections::BTreeSet;
use std::time::Duration;

use chancery::oauth::grant::Grant;
use chancery::storage::authorize::{self, Complete};
use chancery::storage::logouts::{self, Delivery, Participant};
use chancery::storage::{Db, Kind, clients, consents, device_codes, grants, sessions, users};
use futures_util::future::join_all;

use super::fixtures::{NOW, World, at, client, device_code, digest, event, session};

const LEASE: Duration = Duration::from_secs(30);

/// Signs the person in to this client, which wants to hear of the end, in this session.
async fn join(world: &World, client_id: &str, session: &chancery::oidc::session::Session) -> Grant {
    let sub = format!("{client_id}-sub");
    let grant = Grant {
        client_id: client_id.to_owned(),
        sub,
        session_id: Some(session.id),
        sid: Some(session.sid.clone()),
        ..world.grant(false)
    };
    let complete = Complete { joins: true, events: vec![event("grant.begin")], ..world.completion(grant) };
    assert!(authorize::complete(&world.store.db, complete.clone()).await.unwrap());
    complete.grant
}

async fn world(kind: Kind) -> World {
    let world = World::new(kind).await;
    clients::insert(&world.store.db, &client("other"), &event("client.add")).await.unwrap();
    world
}

async fn second_session(world: &World) -> chancery::oidc::session::Session {
    let second = session(&world.user);
    assert!(sessions::begin(&world.store.db, &second, &digest(), &event("session.begin")).await.unwrap());
    second
}

async fn claim_all(db: &Db, now: u64) -> Vec<Delivery> {
    let mut all = Vec::new();
    for (client_id, due_at) in logouts::waiting(db).await.unwrap() {
        let claimed = logouts::claim(db, &client_id, (at(now), at(now).plus(LEASE)), 100).await.unwrap();
        assert_eq!(claimed.is_empty(), due_at > at(now));
        all.extend(claimed);
    }
    all
}

/// (client, session) of everything that is owed by now.
async fn told(world: &World) -> BTreeSet<(String, String)> {
    let db = &world.store.db;
    let claimed = claim_all(db, 1000).await;
    let pairs: BTreeSet<_> = claimed.iter().map(|delivery| (delivery.to.client_id.clone(), delivery.to.sid.clone())).collect();
    assert_eq!(pairs.len(), claimed.len(), "one for each client of a session");
    for delivery in &claimed {
        assert_eq!(delivery.to.sub, format!("{}-sub", delivery.to.client_id), "as the client knows the person");
        assert!(logouts::done(db, delivery, None).await.unwrap());
    }
    pairs
}

on_both! {
    async fn every_end_tells_the_clients_that_it_concerns(kind) {
        #[derive(Debug, Clone, Copy)]
        enum End { Session, Replaced, Disable, Update, Password, SignOut, Elsewhere, Sessions, Grants, Grant, Withdraw, Reset, Remove }
        use End::{Disable, Elsewhere, Grant, Grants, Password, Remove, Replaced, Reset, Session, Sessions, SignOut, Update, Withdraw};
        for end in [Session, Replaced, Disable, Update, Password, SignOut, Elsewhere, Sessions, Grants, Grant, Withdraw, Reset, Remove] {
            let world = world(kind).await;
            let db = &world.store.db;
            let (first, second) = (world.session.clone(), second_session(&world).await);
            let grant = join(&world, "app", &first).await;
            // Twice is once.
            join(&world, "app", &first).await;
            join(&world, "other", &first).await;
            join(&world, "app", &second).await;
            assert_eq!(claim_all(db, 1000).await, [], "{end:?}");
            let now = at(2);
            let id = world.user.id;
            let done = match end {
                Session => sessions::end(db, first.id, now, "signed out", None).await,
                Replaced => sessions::replace(db, first.id, now, "expired", &event("x")).await,
                Disable => users::set_enabled(db, id, false, now, &event("x")).await,
                Update => {
                    let off = |user: &chancery::oidc::user::User| chancery::oidc::user::User { enabled: false, ..user.clone() };
                    users::change(db, id, move |user| Ok(Some((off(user), event("x"))))).await.map(|user| user.is_some())
                }
                Password => users::set_password(db, id, "$new$", now, &event("x")).await,
                SignOut => users::sign_out(db, id, now, &event("x")).await,
                Elsewhere => users::sign_out_elsewhere(db, id, second.id, now, &event("x")).await,
                Sessions => users::end_sessions(db, id, now, &event("x")).await,
                Grants => users::end_grants(db, id, now, &event("x")).await,
                Grant => grants::end(db, grant.id, "test", now, Some(&event("x"))).await,
                Withdraw => consents::withdraw(db, id, "app", now, &event("x")).await,
                Reset => users::reset_factors(db, id, now, &event("x")).await,
                Remove => users::remove(db, id, |_| Ok(event("x"))).await.map(|user| user.is_some()),
            };
            assert!(done.unwrap(), "{end:?}");
            let pair = |client: &str, session: &chancery::oidc::session::Session| (client.to_owned(), session.sid.clone());
            let (a1, o1, a2) = (pair("app", &first), pair("other", &first), pair("app", &second));
            let expected: BTreeSet<_> = match end {
                Session | Elsewhere => [a1, o1].into(),
                Disable | Update | Password | SignOut | Sessions | Grants | Reset | Remove => [a1, o1, a2].into(),
                Grant => [a1].into(),
                Withdraw => [a1, a2].into(),
                Replaced => BTreeSet::new(),
            };
            assert_eq!(told(&world).await, expected, "{end:?}");
            assert_eq!(told(&world).await, BTreeSet::new(), "{end:?}: once");
        }
    }

    async fn a_client_that_was_told_is_told_again_when_somebody_came_back(kind) {
        let world = world(kind).await;
        let db = &world.store.db;
        let grant = join(&world, "app", &world.session).await;
        grants::end(db, grant.id, "test", at(2), None).await.unwrap();
        assert_eq!(told(&world).await.len(), 1);
        join(&world, "app", &world.session).await;
        assert_eq!(logouts::of_session(db, world.session.id).await.unwrap(), [Participant {
            client_id: "app".to_owned(), sub: "app-sub".to_owned(), sid: world.session.sid.clone(),
        }]);
        sessions::end(db, world.session.id, at(3), "signed out", None).await.unwrap();
        assert_eq!(told(&world).await.len(), 1);
    }

    async fn a_device_joins_the_session_that_allowed_it(kind) {
        let world = world(kind).await;
        let db = &world.store.db;
        let waiting = digest();
        device_codes::insert(db, &waiting, (1, [7; 32]), &device_code()).await.unwrap();
        assert!(device_codes::claim(db, &waiting, world.user.id, at(1), &event("device.claim")).await.unwrap());
        let grant = Grant { sub: "app-sub".to_owned(), ..world.grant(false) };
        let consent = consents::Consent {
            user_id: world.user.id, client_id: "app".to_owned(), scopes: grant.scopes.clone(), resources: Vec::new(), claims: Vec::new(),
            metadata_version: 1, created_at: NOW, updated_at: NOW,
        };
        let approve = device_codes::Approve { digest: waiting, grant, consent, rests_on: None, events: Vec::new(), joins: true, now: at(2) };
        assert!(device_codes::approve(db, approve).await.unwrap());
        sessions::end(db, world.session.id, at(3), "signed out", None).await.unwrap();
        assert_eq!(told(&world).await.len(), 1);
    }

    async fn of_many_who_claim_one_gets_it_until_it_is_due_again(kind) {
        let world = world(kind).await;
        let dbs = [world.store.db.clone(), world.store.replica().await];
        for number in 0..20 {
            let client_id = format!("client-{number:02}");
            clients::insert(&dbs[0], &client(&client_id), &event("client.add")).await.unwrap();
            join(&world, &client_id, &world.session).await;
        }
        for _ in 0..20 {
            join(&world, "app", &second_session(&world).await).await;
        }
        users::sign_out(&dbs[0], world.user.id, at(2), &event("x")).await.unwrap();
        let claim = |now: u64| {
            let workers = (0..8).map(|number| {
                let db = dbs[number % 2].clone();
                tokio::spawn(async move { claim_some(&db, now).await })
            });
            join_all(workers.collect::<Vec<_>>())
        };
        let flat = |claimed: Vec<Result<Vec<Delivery>, tokio::task::JoinError>>| claimed.into_iter().flat_map(Result::unwrap).collect::<Vec<_>>();
        let first = flat(claim(3).await);
        assert_eq!(first.iter().map(|delivery| delivery.id).collect::<BTreeSet<_>>().len(), 40);
        assert_eq!(first.len(), 40, "each by one");
        assert!(first.iter().all(|delivery| delivery.attempts == 1));
        assert_eq!(flat(claim(3 + LEASE.as_secs() - 1).await), [], "nobody else meanwhile");
        // Who claimed them died.
        let second = flat(claim(3 + LEASE.as_secs()).await);
        assert_eq!(second.len(), 40);
        assert!(second.iter().all(|delivery| delivery.attempts == 2));
        // Or was only slow: it is not theirs any more.
        assert!(!logouts::done(&dbs[0], &first[0], None).await.unwrap());
        assert!(!logouts::again(&dbs[0], &first[0], at(4)).await.unwrap());
        assert!(logouts::again(&dbs[0], &second[0], at(50)).await.unwrap());
        let third = flat(claim(50).await);
        assert_eq!(third.iter().map(|delivery| (delivery.id, delivery.attempts)).collect::<Vec<_>>(), [(second[0].id, 3)]);
        assert!(logouts::done(&dbs[1], &third[0], Some(&event("logout.undelivered"))).await.unwrap());
        for delivery in &second[1..] {
            assert!(logouts::done(&dbs[1], delivery, None).await.unwrap());
        }
        assert_eq!(logouts::waiting(&dbs[0]).await.unwrap(), []);
    }

    async fn whoever_signs_in_while_the_session_ends_is_told_or_was_not_let_in(kind) {
        for _ in 0..10 {
            let world = world(kind).await;
            let other = world.store.replica().await;
            let ways = [true, false].map(|by_page| {
                let interaction = by_page.then(digest);
                let db = world.store.db.clone();
                let mut complete = Complete { joins: true, events: vec![event("grant.begin")], ..world.completion(world.grant(false)) };
                complete.grant.sub = "app-sub".to_owned();
                async move {
                    if let Some(interaction) = interaction {
                        let waiting = chancery::storage::interactions::Interaction {
                            client_id: "app".to_owned(), browser: digest(), request: "{}".to_owned(), state: "{}".to_owned(),
                            session_id: None, created_at: NOW, expires_at: at(1800), consumed_at: None,
                        };
                        chancery::storage::interactions::insert(&db, &interaction, &waiting).await.unwrap();
                        complete.interaction = Some(interaction);
                    }
                    authorize::complete(&db, complete).await.unwrap()
                }
            });
            let [page, silent] = ways.map(tokio::spawn);
            let ends = [world.store.db.clone(), other].map(|db| {
                let (session, user) = (world.session.id, world.user.id);
                tokio::spawn(async move {
                    let one = sessions::end(&db, session, at(2), "signed out", None).await.unwrap();
                    let all = users::sign_out(&db, user, at(2), &event("x")).await.unwrap();
                    one || all
                })
            });
            let entered = page.await.unwrap() | silent.await.unwrap();
            for end in ends {
                assert!(end.await.unwrap());
            }
            assert_eq!(told(&world).await.len(), usize::from(entered));
            assert_eq!(logouts::of_session(&world.store.db, world.session.id).await.unwrap(), []);
        }
    }
}

/// What one server's round takes, a few at a time.
async fn claim_some(db: &Db, now: u64) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        let mut found = Vec::new();
        for (client_id, due_at) in logouts::waiting(db).await.unwrap() {
            if due_at <= at(now) {
                found.extend(logouts::claim(db, &client_id, (at(now), at(now).plus(LEASE)), 3).await.unwrap());
            }
        }
        if found.is_empty() {
            return all;
        }
        all.extend(found);
    }
}
