//! Two replicas, or a server and a command, at the same moment.

use std::time::Duration;

use chancery::oauth::family::Family;
use chancery::oauth::grant::Grant;
use chancery::oidc::session::Session;
use chancery::oidc::user::User;
use chancery::storage::authorize::{Complete, complete};
use chancery::storage::consents::Consent;
use chancery::storage::interactions::{self, Interaction};
use chancery::storage::{
    Db, Kind, StoreError, Tx, audit, clients, codes, consents, device_codes, families, grants, revoked_tokens, sessions, users,
};
use futures_util::future::{BoxFuture, join_all};

use super::fixtures::{NOW, World, at, client, device_code, digest, event, id as new_id, rotated, session, user};

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

/// A person, a client and a session, of which each will fall by itself: nothing else is changed with it, so that each condition has to be
/// looked at.
struct Falling {
    bob: User,
    bobs: Session,
    over: Session,
}

impl Falling {
    async fn new(world: &World) -> Self {
        let (db, bob) = (&world.store.db, user("bob"));
        users::insert(db, &bob, None, &event("user.add")).await.unwrap();
        clients::insert(db, &client("off"), &event("client.add")).await.unwrap();
        let (bobs, over) = (session(&bob), session(&world.user));
        for session in [&bobs, &over] {
            assert!(sessions::begin(db, session, &digest(), &event("session.begin")).await.unwrap());
        }
        Self { bob, bobs, over }
    }

    /// A grant of each.
    fn grants(&self, world: &World) -> [Grant; 3] {
        [
            Grant { user_id: self.bob.id, session_id: Some(self.bobs.id), ..world.grant(true) },
            Grant { client_id: "off".to_owned(), ..world.grant(true) },
            Grant { session_id: Some(self.over.id), ..world.grant(false) },
        ]
    }

    async fn fall(&self, db: &Db) {
        db.execute("UPDATE users SET enabled = 0 WHERE id = $1", chancery::args![self.bob.id]).await.unwrap();
        db.execute("UPDATE clients SET enabled = 0 WHERE client_id = 'off'", chancery::args![]).await.unwrap();
        db.execute("UPDATE sessions SET ended_at = $2 WHERE id = $1", chancery::args![self.over.id, at(1)]).await.unwrap();
    }
}

/// A unit of work that stays open until it is told to end.
struct Held {
    release: tokio::sync::oneshot::Sender<()>,
    holder: tokio::task::JoinHandle<Result<(), StoreError>>,
}

impl Held {
    /// One that has done `work` at `db`.
    async fn after(
        db: &Db,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<u64, StoreError>> + Send + 'static,
    ) -> Self {
        let (began, has_begun) = tokio::sync::oneshot::channel::<()>();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let db = db.clone();
        let holder = tokio::spawn(async move {
            db.transaction("test.hold", move |tx| {
                Box::pin(async move {
                    work(tx).await?;
                    began.send(()).unwrap();
                    released.await.unwrap();
                    Ok::<_, StoreError>(())
                })
            })
            .await
        });
        has_begun.await.unwrap();
        Self { release, holder }
    }

    async fn end(self) {
        self.release.send(()).unwrap();
        self.holder.await.unwrap().unwrap();
    }
}

/// Until each of the attempts waits for a lock on Postgres, or is over. On SQLite there is one writer, and everybody waits for it.
async fn all_wait<T>(db: &Db, attempts: &[tokio::task::JoinHandle<T>]) {
    let waiting =
        "SELECT COUNT(*) AS waiting FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while db.kind() == Kind::Postgres {
        let rows = db.all(waiting, chancery::args![]).await.unwrap();
        let over = attempts.iter().filter(|attempt| attempt.is_finished()).count();
        if over + usize::try_from(rows[0].get::<i64>("waiting").unwrap()).unwrap() >= attempts.len() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// A device code that somebody has typed in.
async fn claimed(world: &World) -> chancery::secret::Digest {
    let (db, digest) = (&world.store.db, digest());
    let hash: [u8; 32] = digest.as_bytes().try_into().unwrap();
    device_codes::insert(db, &digest, (3, hash), &device_code()).await.unwrap();
    assert!(device_codes::claim(db, &digest, world.user.id, at(1), &event("device.claim")).await.unwrap());
    digest
}

fn approval(grant: Grant, digest: chancery::secret::Digest) -> device_codes::Approve {
    let consent = agreed(&grant);
    device_codes::Approve { digest, grant, consent, rests_on: None, events: vec![event("device.allow")], joins: false, now: at(1) }
}

fn agreed(grant: &Grant) -> Consent {
    Consent {
        user_id: grant.user_id,
        client_id: grant.client_id.clone(),
        scopes: grant.scopes.clone(),
        resources: grant.resources.clone(),
        claims: Vec::new(),
        metadata_version: 1,
        created_at: at(1),
        updated_at: at(1),
    }
}

on_both! {
    async fn a_redemption_while_its_grant_ends_leaves_nothing_that_goes_on(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let (code, device) = (world.code(true).await, (claimed(&world).await, world.grant(true)));
        assert!(device_codes::approve(&dbs[0], approval(device.1.clone(), device.0)).await.unwrap());
        let ids = [code.grant.id, device.1.id];
        let held = Held::after(&dbs[1], move |tx| {
            Box::pin(async move { Ok(grants::end_tx(tx, ids[0], "test", at(2)).await? + grants::end_tx(tx, ids[1], "test", at(2)).await?) })
        })
        .await;
        let (one, other) = (dbs[0].clone(), dbs[0].clone());
        let by_code = world.redeem(&code, Some(world.family(&code.grant)));
        let by_device = codes::Redeem { digest: device.0, ..world.redeem(&code, Some(world.family(&device.1))) };
        let redeeming = [
            tokio::spawn(async move { codes::redeem(&one, by_code).await.unwrap() }),
            tokio::spawn(async move { device_codes::redeem(&other, by_device).await.unwrap() }),
        ];
        all_wait(&dbs[1], &redeeming).await;
        held.end().await;
        for redeemed in redeeming {
            assert!(!redeemed.await.unwrap(), "its grant has ended meanwhile");
        }
        for id in ids {
            let facts = grants::find(&dbs[0], id).await.unwrap().unwrap();
            assert!(facts.standing.grant.ended_at.is_some() && facts.family.is_none());
        }
        let facts = codes::find(&dbs[0], &code.digest).await.unwrap().unwrap();
        assert_eq!(facts.code.consumed_at, None, "nothing was written");
        let facts = device_codes::find(&dbs[0], &device.0).await.unwrap().unwrap();
        assert_eq!(facts.code.state, chancery::oauth::device::State::Approved { grant_id: ids[1] });
    }

    async fn a_sign_in_that_is_under_way_when_its_client_is_removed_gives_nothing(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let (user, device) = (world.user.id, claimed(&world).await);
        // Held up by what else happens to the person, each in its own way: without a page, with one, at a device.
        let held = Held::after(&dbs[1], move |tx| {
            Box::pin(async move { tx.execute("UPDATE users SET updated_at = updated_at + 1 WHERE id = $1", chancery::args![user]).await })
        })
        .await;
        let given: Vec<Grant> = (0..3).map(|_| world.grant(true)).collect();
        let (plain, asked) = (world.completion(given[0].clone()), world.completion(given[1].clone()));
        let asked = Complete { consent: Some(agreed(&given[1])), ..asked };
        let (first, second, third, by_device) = (dbs[0].clone(), dbs[0].clone(), dbs[0].clone(), approval(given[2].clone(), device));
        let signing_in = [
            tokio::spawn(async move { complete(&first, plain).await.unwrap() }),
            tokio::spawn(async move { complete(&second, asked).await.unwrap() }),
            tokio::spawn(async move { device_codes::approve(&third, by_device).await.unwrap() }),
        ];
        all_wait(&dbs[1], &signing_in).await;
        let mut removing = tokio::spawn({
            let db = dbs[0].clone();
            async move { clients::remove(&db, "app", at(2), &event("client.remove")).await.unwrap() }
        });
        if kind == Kind::Postgres {
            assert!((&mut removing).await.unwrap());
            held.end().await;
        } else {
            held.end().await;
            assert!(removing.await.unwrap());
        }
        for done in signing_in {
            // On SQLite it came before, and was ended with the client.
            assert!(!done.await.unwrap() || kind == Kind::Sqlite);
        }
        // The same id once more: nothing of the old one revives.
        clients::insert(&dbs[0], &client("app"), &event("client.add")).await.unwrap();
        for grant in given {
            let found = grants::find(&dbs[0], grant.id).await.unwrap();
            assert!(found.is_none_or(|facts| facts.standing.grant.ended_at.is_some()));
        }
        assert!(consents::find(&dbs[0], user, "app").await.unwrap().is_none());
    }

    async fn a_removal_waits_for_the_sign_ins_that_came_before_it(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let (grant, kept) = (world.grant(true), world.grant(true));
        let id = grant.id;
        let wanted = Complete { consent: Some(agreed(&kept)), ..world.completion(kept.clone()) };
        assert!(complete(&dbs[0], wanted).await.unwrap());
        // As `authorize` writes it.
        let held = Held::after(&dbs[1], move |tx| {
            Box::pin(async move {
                if kind == Kind::Postgres {
                    tx.execute("SELECT 1 FROM clients WHERE client_id = 'app' FOR KEY SHARE", chancery::args![]).await?;
                }
                grants::insert_tx(tx, &grant).await?;
                Ok(1)
            })
        })
        .await;
        if kind == Kind::Postgres {
            // Whoever only changes a client does not wait for sign-ins.
            assert!(clients::set_enabled(&dbs[0], "app", true, at(1), &event("client.enable")).await.unwrap());
        }
        let removing = [tokio::spawn({
            let db = dbs[0].clone();
            async move { clients::remove(&db, "app", at(2), &event("client.remove")).await.unwrap() }
        })];
        all_wait(&dbs[1], &removing).await;
        assert!(!removing[0].is_finished());
        if kind == Kind::Postgres {
            // While it waits, nobody else begins.
            assert!(!clients::find(&dbs[1], "app").await.unwrap().unwrap().enabled);
            assert!(!complete(&dbs[1], world.completion(world.grant(true))).await.unwrap());
        }
        held.end().await;
        for removed in removing {
            assert!(removed.await.unwrap());
        }
        for id in [id, kept.id] {
            let facts = grants::find(&dbs[0], id).await.unwrap().unwrap();
            assert_eq!(facts.standing.grant.ended_because.as_deref(), Some("client removed"));
        }
    }

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
        let falling = Falling::new(&world).await;
        let mut attempts = Vec::new();
        for number in 0..60 {
            let [bobs, offs, overs] = falling.grants(&world);
            let grant = match number % 15 {
                11 => bobs,
                12 => offs,
                13 => overs,
                _ => world.grant(true),
            };
            let (_, first) = world.redeemed_of(grant).await;
            let family = rotated(&first, at(5));
            let rotation = families::Rotation { before: first, after: family.clone(), now: at(5) };
            assert!(families::rotate(db, rotation).await.unwrap());
            // One was decided on earlier, and is written later.
            let after = Family { last_used_at: at(if number % 15 == 9 { 4 } else { 10 }), ..rotated(&family, at(10)) };
            let (before, now) = match number % 15 {
                1 => (Family { generation: 1, ..family.clone() }, at(10)),
                2 => (Family { previous: 0, ..family.clone() }, at(10)),
                3 => (Family { previous_redeemed_at: None, ..family.clone() }, at(10)),
                4 => (Family { burst_first: 0, ..family.clone() }, at(10)),
                5 => (Family { burst_recovered: 1, ..family.clone() }, at(10)),
                6 => (Family { burst_started_at: Some(at(6)), ..family.clone() }, at(10)),
                7 => (family.clone(), family.expires_at),
                // Neither happens alone, and each is asked about by itself.
                8 | 14 => {
                    let (sql, id) = match number % 15 {
                        8 => ("UPDATE grants SET ended_at = 9 WHERE id = $1", family.grant_id),
                        _ => ("UPDATE families SET ended_at = 9 WHERE id = $1", family.id),
                    };
                    db.execute(sql, chancery::args![id]).await.unwrap();
                    (family.clone(), at(10))
                }
                _ => (family.clone(), at(10)),
            };
            let stands = matches!(number % 15, 0 | 9 | 10);
            // The last of each kind comes twice.
            for _ in 0..if number % 15 == 10 { 2 } else { 1 } {
                let rotation = families::Rotation { before: before.clone(), after: after.clone(), now };
                let db = db.clone();
                attempts.push(async move { (number, stands, rotation.after.clone(), families::rotate(&db, rotation).await.unwrap()) });
            }
        }
        falling.fall(db).await;
        let mut times = [0; 60];
        for (number, stands, after, done) in join_all(attempts).await {
            times[number] += usize::from(done);
            let now = families::find(db, after.id).await.unwrap().unwrap().family;
            assert_eq!(now.generation == after.generation, stands, "{number}");
            assert_eq!(now.last_used_at, if stands { after.last_used_at.max(at(5)) } else { at(5) }, "{number}");
        }
        for (number, times) in times.into_iter().enumerate() {
            assert_eq!(times, usize::from(matches!(number % 15, 0 | 9 | 10)), "{number}");
        }
    }

    async fn of_sign_ins_that_go_together_each_is_decided_by_itself(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let falling = Falling::new(&world).await;
        falling.fall(db).await;
        clients::insert(db, &client("other"), &event("client.add")).await.unwrap();
        let carol = user("carol");
        users::insert(db, &carol, None, &event("user.add")).await.unwrap();
        let carols = session(&carol);
        assert!(sessions::begin(db, &carols, &digest(), &event("session.begin")).await.unwrap());
        let agreed = Consent {
            user_id: world.user.id, client_id: "app".to_owned(), scopes: Vec::new(), resources: Vec::new(), claims: Vec::new(),
            metadata_version: 1, created_at: NOW, updated_at: at(1),
        };
        let first = Complete { consent: Some(agreed), ..world.completion(world.grant(true)) };
        assert!(complete(db, first.clone()).await.unwrap());
        // And nobody suffers from one that the database refuses for what it says: then all of them go alone.
        for spoilt in [false, true] {
            let mut attempts = Vec::new();
            for number in 0..48 {
                let [of_bob, of_off, of_over] = falling.grants(&world);
                let mut grant = match number % 12 {
                    1 => of_bob,
                    2 => of_off,
                    4 => of_over,
                    11 => Grant { user_id: carol.id, session_id: Some(carols.id), ..world.grant(true) },
                    _ => world.grant(true),
                };
                match number % 12 {
                    3 => grant.client_id = "nobodys".to_owned(),
                    // Another person's.
                    5 => grant.session_id = Some(carols.id),
                    // What the consent was not for.
                    10 => grant.client_id = "other".to_owned(),
                    _ => {}
                }
                let mut wanted = world.completion(grant);
                match number % 12 {
                    6 => wanted.rests_on = Some(at(2)),
                    7 | 10 | 11 => wanted.rests_on = Some(at(1)),
                    8 => wanted.now = at(8 * 86_400),
                    _ => {}
                }
                let spoilt = spoilt && number == 21;
                if spoilt {
                    wanted.digest = first.digest;
                }
                let db = db.clone();
                attempts.push(async move { (number, spoilt, wanted.clone(), complete(&db, wanted).await) });
            }
            for (number, spoilt, wanted, done) in join_all(attempts).await {
                if spoilt {
                    assert!(matches!(done, Err(StoreError::Conflict(_))), "{done:?}");
                } else {
                    assert_eq!(done.unwrap(), matches!(number % 12, 0 | 7 | 9), "{number}");
                }
                let stands = matches!(number % 12, 0 | 7 | 9) && !spoilt;
                let found = grants::find(db, wanted.grant.id).await.unwrap().map(|found| found.standing.grant);
                assert_eq!(found, stands.then(|| wanted.grant.clone()), "{number}");
                if !spoilt {
                    let code = codes::find(db, &wanted.digest).await.unwrap().map(|found| found.code);
                    assert_eq!(code, stands.then_some(wanted.code), "{number}");
                }
                let told = audit::list(db, 100, None).await.unwrap().into_iter().any(|event| event == wanted.events[0]);
                assert_eq!(told, stands, "{number}");
            }
        }
    }

    async fn of_redemptions_that_go_together_each_is_decided_by_itself(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        clients::insert(db, &client("other"), &event("client.add")).await.unwrap();
        let falling = Falling::new(&world).await;
        let mut attempts = Vec::new();
        for number in 0..52 {
            let [bobs, offs, overs] = falling.grants(&world);
            let code = match number % 13 {
                10 => world.code_of(bobs).await,
                11 => world.code_of(offs).await,
                12 => world.code_of(overs).await,
                _ => world.code(true).await,
            };
            let family = (number % 2 == 0).then(|| world.family(&code.grant));
            let mut redeem = world.redeem(&code, family.clone());
            match number % 13 {
                1 | 2 => redeem.client_id = "other".to_owned(),
                3 | 4 => redeem.now = at(60),
                5 => assert!(grants::end(db, code.grant.id, "test", at(1), None).await.unwrap()),
                6 => assert!(codes::redeem(db, world.redeem(&code, None)).await.unwrap()),
                7 => redeem.digest = digest(),
                _ => {}
            }
            // The last of each kind comes twice.
            for _ in 0..if number >= 39 { 2 } else { 1 } {
                let (db, redeem, code, family) = (db.clone(), redeem.clone(), code.clone(), family.clone());
                attempts.push(async move { (number, code, family, codes::redeem(&db, redeem).await.unwrap()) });
            }
        }
        falling.fall(db).await;
        let mut times = [0; 52];
        for (number, code, family, done) in join_all(attempts).await {
            times[number] += usize::from(done);
            let stands = matches!(number % 13, 0 | 8 | 9);
            let facts = codes::find(db, &code.digest).await.unwrap().unwrap();
            assert_eq!(facts.code.consumed_at, (stands || number % 13 == 6).then_some(at(1)), "{number}");
            assert_eq!(facts.family, family.filter(|_| stands), "{number}");
        }
        for (number, times) in times.into_iter().enumerate() {
            assert_eq!(times, usize::from(matches!(number % 13, 0 | 8 | 9)), "{number}");
        }
    }

    async fn of_revocations_that_go_together_each_is_decided_by_itself(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        let db = &dbs[0];
        let mut attempts = Vec::new();
        let mut all = Vec::new();
        for number in 0..35 {
            let (_, family) = world.redeemed(true).await;
            match number % 7 {
                1 => assert!(families::end(db, family.id, "before", at(1), Some(&event("before"))).await.unwrap()),
                2 => assert!(grants::end(db, family.grant_id, "before", at(1), None).await.unwrap()),
                // Neither happens alone, and each is asked about by itself.
                5 | 6 => {
                    let (sql, id) = match number % 7 {
                        5 => ("UPDATE families SET ended_at = 1, ended_because = 'before' WHERE id = $1", family.id),
                        _ => ("UPDATE grants SET ended_at = 1, ended_because = 'before' WHERE id = $1", family.grant_id),
                    };
                    db.execute(sql, chancery::args![id]).await.unwrap();
                }
                _ => {}
            }
            let jti = digest();
            if number % 7 == 3 {
                assert!(revoked_tokens::insert(db, &jti, at(600), &event("before")).await.unwrap());
            }
            all.push((family.clone(), jti));
            // Each three times, from two replicas, and not in the same order.
            for which in 0..3 {
                let (db, id) = (dbs[which % 2].clone(), if number % 7 == 4 { uuid::Uuid::nil() } else { family.id });
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
        let (mut ended, mut revoked) = ([0; 35], [0; 35]);
        let events = join_all(attempts.into_iter().map(tokio::spawn)).await;
        let told = audit::list(db, 1000, None).await.unwrap();
        let expected = events.iter().map(|done| done.as_ref().unwrap()).map(|(number, end, revoke)| {
            ended[*number] += usize::from(end.is_some());
            revoked[*number] += usize::from(revoke.is_some());
            usize::from(end.is_some()) + usize::from(revoke.is_some())
        }).sum::<usize>();
        let whose = |event: &&chancery::storage::audit::AuditEvent| ["end", "revoke"].contains(&event.action.as_str());
        assert_eq!(told.iter().filter(whose).count(), expected);
        let lasting = db.all("SELECT jti FROM revoked_tokens WHERE expires_at = $1", chancery::args![at(600)]).await.unwrap();
        assert_eq!(lasting.len(), all.len(), "each until its token has expired");
        for (number, (family, jti)) in all.into_iter().enumerate() {
            assert_eq!(ended[number], usize::from(matches!(number % 7, 0 | 3 | 5)), "{number}");
            assert_eq!(revoked[number], usize::from(number % 7 != 3), "{number}");
            let facts = families::find(db, family.id).await.unwrap().unwrap();
            let because = |is: &[usize]| match number % 7 {
                0 | 3 => Some("now"),
                4 => None,
                kind => Some(if is.contains(&kind) { "before" } else { "now" }),
            };
            assert_eq!(facts.family.ended_because.as_deref(), because(&[1, 2, 5]), "{number}");
            assert_eq!(facts.standing.grant.ended_because.as_deref(), because(&[1, 2, 6]), "{number}");
            assert!(revoked_tokens::token_life(db, family.grant_id, &jti).await.unwrap().revoked);
        }
    }

    async fn revocations_of_the_same_tokens_never_wait_for_each_other_in_a_circle(kind) {
        let world = World::new(kind).await;
        let dbs = replicas(&world).await;
        for _ in 0..12 {
            let all: Vec<_> = (0..60).map(|_| digest()).collect();
            // In one order at one replica, and the other way round at the other.
            let at_once = |db: &Db, all: Vec<chancery::secret::Digest>| {
                let db = db.clone();
                tokio::spawn(async move {
                    join_all(all.into_iter().map(|jti| {
                        let db = db.clone();
                        async move { revoked_tokens::insert(&db, &jti, at(600), &event("revoke")).await }
                    })).await
                })
            };
            let (one, other) = (at_once(&dbs[0], all.clone()), at_once(&dbs[1], all.into_iter().rev().collect()));
            let done = one.await.unwrap().into_iter().zip(other.await.unwrap().into_iter().rev());
            for (here, there) in done {
                assert!(here.unwrap() ^ there.unwrap(), "once, by one of them");
            }
        }
    }

    async fn rows_that_somebody_is_changing_keep_nobody_else_waiting(kind) {
        let world = World::new(kind).await;
        // Eight will wait, each with a connection, for as long as all others need.
        let mut config = world.store.config.clone();
        (config.max_connections, config.acquire_timeout) = (20, Duration::from_secs(30));
        config.statement_timeout = Duration::from_secs(30);
        let dbs = [Db::connect(&config).await.unwrap(), world.store.replica().await];
        let falling = Falling::new(&world).await;
        let agreed = Consent {
            user_id: world.user.id, client_id: "off".to_owned(), scopes: Vec::new(), resources: Vec::new(), claims: Vec::new(),
            metadata_version: 1, created_at: NOW, updated_at: at(1),
        };
        let [of_bob, of_off, of_over] = falling.grants(&world);
        let first = Complete { consent: Some(agreed), ..world.completion(of_off.clone()) };
        assert!(complete(&dbs[0], first).await.unwrap());
        // What each of them rests on is being changed by somebody: a person, a session, a consent; a code, its grant; a grant with its family,
        // a grant alone, and a family alone.
        let sign_ins = [
            world.completion(of_bob),
            world.completion(of_over),
            Complete { rests_on: Some(at(1)), ..world.completion(Grant { id: new_id(), ..of_off }) },
        ];
        let spent = [world.code(true).await, world.code(true).await];
        let ending = [world.redeemed(true).await.1, world.redeemed(true).await.1, world.redeemed(true).await.1];
        let others: Vec<_> = {
            let mut others = Vec::new();
            for _ in 0..10 {
                others.push((world.completion(world.grant(true)), world.code(true).await, world.redeemed(true).await.1));
            }
            others
        };
        let (began, has_begun) = tokio::sync::oneshot::channel::<()>();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let (other, bob, over, user) = (dbs[1].clone(), falling.bob.id, falling.over.id, world.user.id);
        let (code, grant) = (spent[0].digest, spent[1].grant.id);
        let [whole, only_grant, only_family] = [ending[0].grant_id, ending[1].grant_id, ending[2].id];
        let holder = tokio::spawn(async move {
            other.transaction("test", move |tx| Box::pin(async move {
                tx.execute("UPDATE users SET enabled = 0 WHERE id = $1", chancery::args![bob]).await?;
                tx.execute("UPDATE sessions SET ended_at = 1 WHERE id = $1", chancery::args![over]).await?;
                tx.execute("UPDATE consents SET updated_at = 2 WHERE user_id = $1 AND client_id = 'off'", chancery::args![user]).await?;
                tx.execute("UPDATE codes SET consumed_at = 1 WHERE digest = $1", chancery::args![&code]).await?;
                if kind == Kind::Postgres {
                    // As the end of a session locks it.
                    tx.execute("SELECT id FROM grants WHERE id = $1 FOR UPDATE", chancery::args![grant]).await?;
                }
                grants::end_tx(tx, whole, "test", at(9)).await?;
                tx.execute("UPDATE grants SET ended_at = 1 WHERE id = $1", chancery::args![only_grant]).await?;
                tx.execute("UPDATE families SET last_used_at = last_used_at + 1 WHERE id = $1", chancery::args![only_family]).await?;
                began.send(()).unwrap();
                released.await.unwrap();
                Ok::<_, StoreError>(())
            })).await
        });
        has_begun.await.unwrap();
        let begin = |wanted: &Complete| {
            let (db, wanted) = (dbs[0].clone(), wanted.clone());
            tokio::spawn(async move { complete(&db, wanted).await.unwrap() })
        };
        let redeem = |code: &Complete| {
            let (db, redeem) = (dbs[0].clone(), world.redeem(code, Some(world.family(&code.grant))));
            tokio::spawn(async move { codes::redeem(&db, redeem).await.unwrap() })
        };
        let end = |family: &Family| {
            let (db, id) = (dbs[0].clone(), family.id);
            tokio::spawn(async move { families::end(&db, id, "now", at(10), Some(&event("end"))).await.unwrap() })
        };
        let mut waiting: Vec<_> = sign_ins.iter().map(begin).collect();
        waiting.extend(spent.iter().map(redeem));
        waiting.extend(ending.iter().map(end));
        let mut others: Vec<_> = others.iter().flat_map(|(wanted, code, family)| [begin(wanted), redeem(code), end(family)]).collect();
        if kind == Kind::Postgres {
            // On SQLite there is one writer, and everybody waits for it.
            for attempt in others.drain(..) {
                assert!(attempt.await.unwrap());
            }
            let ready: Vec<_> = waiting.iter().map(tokio::task::JoinHandle::is_finished).collect();
            assert_eq!(ready, [false; 8]);
        }
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        let done: Vec<_> = join_all(waiting).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(done, [false, false, false, false, true, false, false, true], "what is over meanwhile, and what is not");
        for attempt in others {
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
        db.execute("UPDATE grants SET amr = $2, claims = $2 WHERE id = $1", chancery::args![damaged, "["]).await.unwrap();
        let found = join_all(all.iter().map(|family| families::find(db, family.id))).await;
        let told: Vec<_> = all.iter().map(|family| (family.grant_id, digest())).collect();
        let told = join_all(told.iter().map(|(grant, jti)| revoked_tokens::token_person(db, *grant, jti))).await;
        for (family, (found, told)) in all.iter().zip(found.into_iter().zip(told)) {
            let asked = told.unwrap().1.unwrap().by_name.unwrap().asked.read();
            let is_damaged = family.grant_id == damaged;
            assert_eq!(matches!(found, Err(StoreError::Corrupt(_))), is_damaged);
            assert_eq!(matches!(asked, Err(StoreError::Corrupt(_))), is_damaged);
            assert_eq!(asked.is_err(), is_damaged);
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
        revoked_tokens::token_person(&db, family.grant_id, &digest()).await.unwrap();
        revoked_tokens::token_life(&db, family.grant_id, &digest()).await.unwrap();
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
    assert!(often >= 9, "{often}");
}
