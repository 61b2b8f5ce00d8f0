//! Two replicas, or a server and a command, at the same moment.

use chancery::oauth::client::Client;
use chancery::oauth::family::Family;
use chancery::storage::authorize::{Complete, complete};
use chancery::storage::consents::Consent;
use chancery::storage::interactions::{self, Interaction};
use chancery::storage::{Db, Kind, StoreError, audit, clients, codes, consents, families, grants, revoked_tokens, sessions, users};
use futures_util::future::join_all;

use super::fixtures::{NOW, World, at, client, digest, event, rotated, session, user};

/// Runs all at once, each in its own task, and answers how many said yes. None may fail.
async fn successes<F>(attempts: impl IntoIterator<Item = F>) -> usize
where
    F: Future<Output = Result<bool, chancery::storage::StoreError>> + Send + 'static,
{
    let tasks: Vec<_> = attempts.into_iter().map(tokio::spawn).collect();
    join_all(tasks).await.into_iter().map(|task| task.unwrap().unwrap()).filter(|yes| *yes).count()
}

async fn replicas(world: &World) -> [Db; 2] {
    [world.store.db.clone(), world.store.replica().await]
}

on_both! {
    async fn of_fifty_redemptions_of_one_code_exactly_one_succeeds(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        for with_family in [true, false] {
            let code = world.code(true).await;
            let attempts = (0..50).map(|number| {
                let (db, family) = (dbs[number % 2].clone(), with_family.then(|| world.family(&code.grant)));
                let redeem = world.redeem(&code, family);
                async move { codes::redeem(&db, redeem).await }
            });
            assert_eq!(successes(attempts).await, 1);
            assert_eq!(grants::find(&dbs[0], code.grant.id).await.unwrap().unwrap().family.is_some(), with_family);
        }
    }

    async fn of_fifty_rotations_of_one_generation_exactly_one_succeeds(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let (_, mut family) = world.redeemed(true).await;
        for round in 0..3 {
            let after = rotated(&family, at(10 + round));
            let attempts = (0..50).map(|number| {
                let rotation = families::Rotation { before: family.clone(), after: after.clone(), now: at(10 + round) };
                let db = dbs[number % 2].clone();
                async move { families::rotate(&db, rotation).await }
            });
            assert_eq!(successes(attempts).await, 1);
            family = families::find(&dbs[0], family.id).await.unwrap().unwrap().family;
            assert_eq!(family, after);
        }
    }

    async fn of_rotations_that_go_together_each_is_decided_by_itself(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let mut attempts = Vec::new();
        for number in 0..44 {
            let (_, first) = world.redeemed(true).await;
            let family = rotated(&first, at(5));
            let rotation = families::Rotation { before: first, after: family.clone(), now: at(5) };
            assert!(families::rotate(db, rotation).await.unwrap());
            let after = rotated(&family, at(10));
            let (before, now) = match number % 11 {
                1 => (Family { generation: 1, ..family.clone() }, at(10)),
                2 => (Family { previous: 0, ..family.clone() }, at(10)),
                3 => (Family { previous_redeemed_at: None, ..family.clone() }, at(10)),
                4 => (Family { burst_first: 0, ..family.clone() }, at(10)),
                5 => (Family { burst_recovered: 1, ..family.clone() }, at(10)),
                6 => (Family { burst_started_at: Some(at(6)), ..family.clone() }, at(10)),
                7 => (family.clone(), family.expires_at),
                8 => {
                    grants::end(db, family.grant_id, "test", at(9), None).await.unwrap();
                    (family.clone(), at(10))
                }
                _ => (family.clone(), at(10)),
            };
            let stands = matches!(number % 11, 0 | 9 | 10);
            // The last of each kind comes twice.
            for _ in 0..if number % 11 == 10 { 2 } else { 1 } {
                let rotation = families::Rotation { before: before.clone(), after: after.clone(), now };
                let db = db.clone();
                attempts.push(async move { (number, stands, rotation.after.clone(), families::rotate(&db, rotation).await.unwrap()) });
            }
        }
        let mut times = [0; 44];
        for (number, stands, after, done) in join_all(attempts).await {
            times[number] += usize::from(done);
            let now = families::find(db, after.id).await.unwrap().unwrap().family;
            assert_eq!(now.generation == after.generation, stands, "{number}");
        }
        for (number, times) in times.into_iter().enumerate() {
            assert_eq!(times, usize::from(matches!(number % 11, 0 | 9 | 10)), "{number}");
        }
    }

    async fn of_sign_ins_that_go_together_each_is_decided_by_itself(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (bob, off) = (user("bob"), Client { enabled: false, ..client("off") });
        users::insert(db, &bob, None, &event("user.add")).await.unwrap();
        clients::insert(db, &off, &event("client.add")).await.unwrap();
        let bobs = (session(&bob), digest());
        assert!(sessions::begin(db, &bobs.0, &bobs.1, &event("session.begin")).await.unwrap());
        assert!(users::set_enabled(db, bob.id, false, at(1), &event("user.disable")).await.unwrap());
        let over = (session(&world.user), digest());
        assert!(sessions::begin(db, &over.0, &over.1, &event("session.begin")).await.unwrap());
        assert!(sessions::end(db, over.0.id, at(1), "test", None).await.unwrap());
        let agreed = Consent {
            user_id: world.user.id, client_id: "app".to_owned(), scopes: Vec::new(), resources: Vec::new(), claims: Vec::new(),
            metadata_version: 1, created_at: NOW, updated_at: at(1),
        };
        let first = Complete { consent: Some(agreed), ..world.completion(world.grant(true)) };
        assert!(complete(db, first.clone()).await.unwrap());
        let mut attempts = Vec::new();
        for number in 0..40 {
            let mut grant = world.grant(true);
            match number % 10 {
                1 => (grant.user_id, grant.session_id) = (bob.id, Some(bobs.0.id)),
                2 => grant.client_id = "off".to_owned(),
                3 => grant.client_id = "nobodys".to_owned(),
                4 => grant.session_id = Some(over.0.id),
                // Another person's.
                5 => grant.session_id = Some(bobs.0.id),
                _ => {}
            }
            let mut wanted = world.completion(grant);
            match number % 10 {
                6 => wanted.rests_on = Some(at(2)),
                7 => wanted.rests_on = Some(at(1)),
                8 => wanted.now = at(8 * 86_400),
                _ => {}
            }
            // Nobody else suffers from one that the database refuses for what it says.
            if number == 19 {
                wanted.digest = first.digest;
            }
            let db = db.clone();
            attempts.push(async move { (number, wanted.clone(), complete(&db, wanted).await) });
        }
        for (number, wanted, done) in join_all(attempts).await {
            if number == 19 {
                assert!(matches!(done, Err(StoreError::Conflict(_))), "{done:?}");
            } else {
                assert_eq!(done.unwrap(), matches!(number % 10, 0 | 7 | 9), "{number}");
            }
            let stands = matches!(number % 10, 0 | 7 | 9) && number != 19;
            let found = grants::find(db, wanted.grant.id).await.unwrap().map(|found| found.standing.grant);
            assert_eq!(found, stands.then(|| wanted.grant.clone()), "{number}");
            if number != 19 {
                let code = codes::find(db, &wanted.digest).await.unwrap().map(|found| found.code);
                assert_eq!(code, stands.then_some(wanted.code), "{number}");
            }
            let told = audit::list(db, 100, None).await.unwrap().into_iter().any(|event| event == wanted.events[0]);
            assert_eq!(told, stands, "{number}");
        }
    }

    async fn of_redemptions_that_go_together_each_is_decided_by_itself(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        clients::insert(db, &client("other"), &event("client.add")).await.unwrap();
        let mut attempts = Vec::new();
        for number in 0..40 {
            let code = world.code(true).await;
            let family = (number % 2 == 0).then(|| world.family(&code.grant));
            let mut redeem = world.redeem(&code, family.clone());
            match number % 10 {
                1 | 2 => redeem.client_id = "other".to_owned(),
                3 | 4 => redeem.now = at(60),
                5 => assert!(grants::end(db, code.grant.id, "test", at(1), None).await.unwrap()),
                6 => assert!(codes::redeem(db, world.redeem(&code, None)).await.unwrap()),
                7 => redeem.digest = digest(),
                _ => {}
            }
            // The last of each kind comes twice.
            for _ in 0..if number >= 30 { 2 } else { 1 } {
                let (db, redeem, code, family) = (db.clone(), redeem.clone(), code.clone(), family.clone());
                attempts.push(async move { (number, code, family, codes::redeem(&db, redeem).await.unwrap()) });
            }
        }
        let mut times = [0; 40];
        for (number, code, family, done) in join_all(attempts).await {
            times[number] += usize::from(done);
            let stands = matches!(number % 10, 0 | 8 | 9);
            let facts = codes::find(db, &code.digest).await.unwrap().unwrap();
            assert_eq!(facts.code.consumed_at, (stands || number % 10 == 6).then_some(at(1)), "{number}");
            assert_eq!(facts.family, family.filter(|_| stands), "{number}");
        }
        for (number, times) in times.into_iter().enumerate() {
            assert_eq!(times, usize::from(matches!(number % 10, 0 | 8 | 9)), "{number}");
        }
    }

    async fn of_revocations_that_go_together_each_is_decided_by_itself(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let db = &dbs[0];
        let mut attempts = Vec::new();
        let mut all = Vec::new();
        for number in 0..30 {
            let (_, family) = world.redeemed(true).await;
            match number % 5 {
                1 => assert!(families::end(db, family.id, "before", at(1), Some(&event("before"))).await.unwrap()),
                2 => assert!(grants::end(db, family.grant_id, "before", at(1), None).await.unwrap()),
                _ => {}
            }
            let jti = digest();
            if number % 5 == 3 {
                assert!(revoked_tokens::insert(db, &jti, at(600), &event("before")).await.unwrap());
            }
            all.push((family.clone(), jti));
            // Each three times, from two replicas, and not in the same order.
            for which in 0..3 {
                let (db, id) = (dbs[which % 2].clone(), if number % 5 == 4 { uuid::Uuid::nil() } else { family.id });
                attempts.push(async move {
                    let (ended, told) = (event("end"), event("revoke"));
                    let (end, revoke) = tokio::join!(
                        families::end(&db, id, "now", at(2), Some(&ended)),
                        revoked_tokens::insert(&db, &jti, at(600), &told)
                    );
                    (number, end.unwrap().then_some(ended), revoke.unwrap().then_some(told))
                });
                let by = attempts.len().min(7);
                attempts.rotate_left(by);
            }
        }
        let (mut ended, mut revoked) = ([0; 30], [0; 30]);
        let events = join_all(attempts.into_iter().map(tokio::spawn)).await;
        let told = audit::list(db, 1000, None).await.unwrap();
        let expected = events.iter().map(|done| done.as_ref().unwrap()).map(|(number, end, revoke)| {
            ended[*number] += usize::from(end.is_some());
            revoked[*number] += usize::from(revoke.is_some());
            usize::from(end.is_some()) + usize::from(revoke.is_some())
        }).sum::<usize>();
        let whose = |event: &&chancery::storage::audit::AuditEvent| ["end", "revoke"].contains(&event.action.as_str());
        assert_eq!(told.iter().filter(whose).count(), expected);
        for (number, (family, jti)) in all.into_iter().enumerate() {
            assert_eq!(ended[number], usize::from(matches!(number % 5, 0 | 3)), "{number}");
            assert_eq!(revoked[number], usize::from(number % 5 != 3), "{number}");
            let facts = families::find(db, family.id).await.unwrap().unwrap();
            let because = match number % 5 { 0 | 3 => Some("now"), 1 | 2 => Some("before"), _ => None };
            assert_eq!(facts.family.ended_because.as_deref(), because, "{number}");
            assert_eq!(facts.standing.grant.ended_because.as_deref(), because, "{number}");
            assert!(revoked_tokens::token_facts(db, family.grant_id, &jti).await.unwrap().revoked);
        }
    }

    async fn rows_that_somebody_is_changing_keep_nobody_else_waiting(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let bob = user("bob");
        users::insert(&dbs[0], &bob, None, &event("user.add")).await.unwrap();
        let bobs = (session(&bob), digest());
        assert!(sessions::begin(&dbs[0], &bobs.0, &bobs.1, &event("session.begin")).await.unwrap());
        let (held, held_code) = (world.redeemed(true).await.1, world.code(true).await);
        let (mut families_to_end, mut codes_to_redeem) = (vec![held.clone()], vec![held_code.clone()]);
        for _ in 0..10 {
            families_to_end.push(world.redeemed(true).await.1);
            codes_to_redeem.push(world.code(true).await);
        }
        let (began, has_begun) = tokio::sync::oneshot::channel::<()>();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let (other, user_id, grant_id, code) = (dbs[1].clone(), bob.id, held.grant_id, held_code.digest);
        let holder = tokio::spawn(async move {
            other.transaction("test", move |tx| Box::pin(async move {
                tx.execute("UPDATE users SET enabled = 0 WHERE id = $1", chancery::args![user_id]).await?;
                tx.execute("UPDATE codes SET consumed_at = 1 WHERE digest = $1", chancery::args![&code]).await?;
                grants::end_tx(tx, grant_id, "test", at(9)).await?;
                began.send(()).unwrap();
                released.await.unwrap();
                Ok::<_, StoreError>(())
            })).await
        });
        has_begun.await.unwrap();
        let mut attempts = Vec::new();
        for (number, (family, code)) in families_to_end.into_iter().zip(codes_to_redeem).enumerate() {
            let mut wanted = world.completion(world.grant(true));
            if number == 0 {
                (wanted.grant.user_id, wanted.grant.session_id) = (bob.id, Some(bobs.0.id));
            }
            let redeem = world.redeem(&code, Some(world.family(&code.grant)));
            let (one, two, three) = (dbs[0].clone(), dbs[0].clone(), dbs[0].clone());
            attempts.push((number, tokio::spawn(async move { complete(&one, wanted).await.unwrap() })));
            attempts.push((number, tokio::spawn(async move { codes::redeem(&two, redeem).await.unwrap() })));
            attempts.push((number, tokio::spawn(async move {
                families::end(&three, family.id, "now", at(10), Some(&event("end"))).await.unwrap()
            })));
        }
        let (waiting, mut others): (Vec<_>, Vec<_>) = attempts.into_iter().partition(|(number, _)| *number == 0);
        if kind == Kind::Postgres {
            // On SQLite there is one writer, and everybody waits for it.
            for (number, attempt) in others.drain(..) {
                assert!(attempt.await.unwrap(), "{number}");
            }
            assert!(waiting.iter().all(|(_, attempt)| !attempt.is_finished()));
        }
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        for (_, attempt) in waiting {
            assert!(!attempt.await.unwrap(), "it is over meanwhile");
        }
        for (_, attempt) in others {
            assert!(attempt.await.unwrap());
        }
    }

    async fn a_damaged_row_fails_nobody_but_who_asks_for_it(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let mut all = Vec::new();
        for _ in 0..30 {
            all.push(world.redeemed(true).await.1);
        }
        let damaged = all[17].grant_id;
        db.execute("UPDATE grants SET amr = $2 WHERE id = $1", chancery::args![damaged, "["]).await.unwrap();
        let found = join_all(all.iter().map(|family| families::find(db, family.id))).await;
        let told: Vec<_> = all.iter().map(|family| (family.grant_id, digest())).collect();
        let told = join_all(told.iter().map(|(grant, jti)| revoked_tokens::token_facts(db, *grant, jti))).await;
        for (family, (found, told)) in all.iter().zip(found.into_iter().zip(told)) {
            assert_eq!((found.is_err(), told.is_err()), (family.grant_id == damaged, family.grant_id == damaged));
        }
    }

    async fn a_family_that_somebody_is_changing_keeps_nobody_else_waiting(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let mut all = Vec::new();
        for _ in 0..12 {
            all.push(world.redeemed(true).await.1);
        }
        let id = all[0].grant_id;
        let (began, has_begun) = tokio::sync::oneshot::channel::<()>();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let other = dbs[1].clone();
        let holder = tokio::spawn(async move {
            other.transaction("test", move |tx| Box::pin(async move {
                grants::end_tx(tx, id, "test", at(9)).await?;
                began.send(()).unwrap();
                released.await.unwrap();
                Ok::<_, chancery::storage::StoreError>(())
            })).await
        });
        has_begun.await.unwrap();
        let attempts: Vec<_> = all.iter().map(|family| {
            let rotation = families::Rotation { before: family.clone(), after: rotated(family, at(10)), now: at(10) };
            let db = dbs[0].clone();
            tokio::spawn(async move { families::rotate(&db, rotation).await.unwrap() })
        }).collect();
        let mut attempts = attempts.into_iter();
        let first = attempts.next().unwrap();
        if kind == Kind::Postgres {
            // On SQLite there is one writer, and everybody waits for it.
            for attempt in attempts.by_ref() {
                assert!(attempt.await.unwrap());
            }
            assert!(!first.is_finished());
        }
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        assert!(!first.await.unwrap(), "it has ended meanwhile");
        for attempt in attempts {
            assert!(attempt.await.unwrap());
        }
    }

    async fn one_interaction_becomes_one_code(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let waiting = digest();
        let interaction = Interaction {
            client_id: "app".to_owned(), browser: digest(), request: "{}".to_owned(), state: "{}".to_owned(), session_id: None,
            created_at: NOW, expires_at: at(1800), consumed_at: None,
        };
        interactions::insert(&dbs[0], &waiting, &interaction).await.unwrap();
        let attempts = (0..20).map(|number| {
            let mut wanted = world.completion(world.grant(true));
            wanted.interaction = Some(waiting);
            let db = dbs[number % 2].clone();
            async move { complete(&db, wanted).await }
        });
        assert_eq!(successes(attempts).await, 1);
        assert_eq!(grants::list_for_user(&dbs[0], world.user.id, NOW, 100).await.unwrap().len(), 1);
    }

    async fn after_a_family_was_ended_no_rotation_of_it_succeeds(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        for _ in 0..15 {
            let (_, family) = world.redeemed(true).await;
            let (one, two) = (dbs[0].clone(), dbs[1].clone());
            let rotating = tokio::spawn({
                let mut family = family.clone();
                async move {
                    // As fast as it can, until the end.
                    loop {
                        let after = rotated(&family, at(5));
                        let rotation = families::Rotation { before: family, after: after.clone(), now: at(5) };
                        if !families::rotate(&one, rotation).await.unwrap() {
                            return;
                        }
                        family = after;
                    }
                }
            });
            assert!(families::end(&two, family.id, "revoked", at(6), None).await.unwrap());
            let ended = families::find(&two, family.id).await.unwrap().unwrap();
            rotating.await.unwrap();
            let later = families::find(&two, family.id).await.unwrap().unwrap();
            assert!(ended.family.ended_at.is_some() && ended.standing.grant.ended_at.is_some());
            assert_eq!(later, ended, "nothing moved after the end was answered");
        }
    }

    async fn whatever_is_under_way_when_a_person_is_disabled_ends_with_him(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        for _ in 0..10 {
            let code = world.code(true).await;
            let redeem = world.redeem(&code, Some(world.family(&code.grant)));
            let begun = (session(&world.user), digest());
            let mut wanted = world.completion(world.grant(true));
            wanted.grant.session_id = None;
            let (new_grant, new_cookie) = (wanted.grant.id, begun.1);
            let attempts: Vec<_> = vec![
                tokio::spawn({ let db = dbs[0].clone(); async move { codes::redeem(&db, redeem).await } }),
                tokio::spawn({ let db = dbs[0].clone(); async move { complete(&db, wanted).await } }),
                tokio::spawn({ let db = dbs[0].clone(); async move { sessions::begin(&db, &begun.0, &begun.1, &event("begin")).await } }),
                tokio::spawn({
                    let (db, user) = (dbs[1].clone(), world.user.id);
                    async move { users::set_enabled(&db, user, false, at(2), &event("disable")).await }
                }),
            ];
            let yes: Vec<bool> = join_all(attempts).await.into_iter().map(|task| task.unwrap().unwrap()).collect();
            assert!(yes[3]);
            // Enabled again, nothing of it lives.
            users::set_enabled(&dbs[0], world.user.id, true, at(3), &event("enable")).await.unwrap();
            let facts = grants::find(&dbs[0], code.grant.id).await.unwrap().unwrap();
            assert!(facts.standing.grant.ended_at.is_some());
            assert_eq!(facts.family.is_some(), yes[0], "no half redemption");
            assert!(facts.family.is_none_or(|family| family.ended_at.is_some()));
            let completed = grants::find(&dbs[0], new_grant).await.unwrap();
            assert_eq!(completed.is_some(), yes[1]);
            assert!(completed.is_none_or(|facts| facts.standing.grant.ended_at.is_some()));
            let begun = sessions::find(&dbs[0], &new_cookie).await.unwrap();
            assert_eq!(begun.is_some(), yes[2]);
            assert!(begun.is_none_or(|(session, _)| session.ended_at.is_some()));
            // For the next round.
            let renewed = session(&world.user);
            sessions::begin(&dbs[0], &renewed, &digest(), &event("begin")).await.unwrap();
            dbs[0].execute("UPDATE sessions SET ended_at = NULL WHERE id = $1", chancery::args![world.session.id]).await.unwrap();
        }
    }

    async fn units_of_work_on_the_same_people_never_wait_for_each_other_in_a_circle(kind) {
        let world = std::sync::Arc::new(World::new(kind).await);
        let dbs = replicas(&world).await;
        let tasks: Vec<_> = (0_usize..16).map(|worker| {
            let (world, db) = (world.clone(), dbs[worker % 2].clone());
            tokio::spawn(async move {
                for round in 0..12 {
                    let user = world.user.id;
                    let wanted = world.completion(world.grant(round % 2 == 0));
                    complete(&db, wanted.clone()).await?;
                    codes::redeem(&db, world.redeem(&wanted, Some(world.family(&wanted.grant)))).await?;
                    match (worker * 5 + round) % 9 {
                        0 => users::sign_out(&db, user, at(2), &event("sign_out")).await?,
                        1 => users::set_enabled(&db, user, false, at(2), &event("disable")).await?,
                        2 => users::set_enabled(&db, user, true, at(2), &event("enable")).await?,
                        3 => consents::withdraw(&db, user, "app", at(2), &event("withdraw")).await?,
                        4 => sessions::end(&db, world.session.id, at(2), "signed out", None).await?,
                        5 => sessions::begin(&db, &session(&world.user), &digest(), &event("begin")).await?,
                        6 => users::set_password(&db, user, "$new$", at(2), &event("password")).await?,
                        7 => chancery::storage::clients::remove(&db, "nobody", at(2), &event("remove")).await?,
                        _ => grants::end(&db, wanted.grant.id, "test", at(2), None).await?,
                    };
                }
                Ok::<_, chancery::storage::StoreError>(())
            })
        }).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
}

/// Planning costs more than running these; a plan for the values of one execution must never look cheaper than one for all.
#[tokio::test(flavor = "multi_thread")]
async fn what_every_request_asks_is_planned_once() {
    let world = World::new(Kind::Postgres).await;
    let mut config = world.store.config.clone();
    config.max_connections = 1;
    let db = Db::connect(&config).await.unwrap();
    let (_, mut family) = world.redeemed(true).await;
    for second in 10..40 {
        let facts = families::find(&db, family.id).await.unwrap().unwrap();
        assert_eq!(facts.family, family);
        let after = rotated(&family, at(second));
        let rotation = families::Rotation { before: family, after: after.clone(), now: at(second) };
        assert!(families::rotate(&db, rotation).await.unwrap());
        family = after;
        revoked_tokens::token_facts(&db, family.grant_id, &digest()).await.unwrap();
        revoked_tokens::client_token_facts(&db, "app", &digest()).await.unwrap();
        assert!(codes::find(&db, &digest()).await.unwrap().is_none());
        assert!(sessions::find_for_client(&db, &world.cookie, "app").await.unwrap().is_some());
        assert!(complete(&db, world.completion(world.grant(true))).await.unwrap());
        let (_, other) = world.redeemed(true).await;
        assert!(families::end(&db, other.id, "test", at(second), Some(&event("grant.revoke"))).await.unwrap());
    }
    let prepared = "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements";
    let mut often = 0;
    for row in db.all(prepared, chancery::args![]).await.unwrap() {
        let (generic, custom): (i64, i64) = (row.get("generic_plans").unwrap(), row.get("custom_plans").unwrap());
        often += usize::from(generic + custom >= 30);
        assert!(custom <= 5, "{custom} plans for one execution of {}", row.get::<String>("statement").unwrap());
    }
    assert!(often >= 8, "{often}");
}
