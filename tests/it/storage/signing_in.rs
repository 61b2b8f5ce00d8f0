//! Sessions, interactions, consents, grants and codes: the way of a sign-in, and what ends what.

use std::collections::HashSet;

use chancery::clock::Timestamp;
use chancery::oauth::grant::{ClientTokenFacts, Grant, SessionFacts, Standing, TokenFacts};
use chancery::oidc::session::Session;
use chancery::storage::audit::AuditEvent;
use chancery::storage::authorize::{Complete, complete};
use chancery::storage::consents::{self, Consent};
use chancery::storage::interactions::{self, Interaction};
use chancery::storage::sessions::WithPassword;
use chancery::storage::{StoreError, audit, clients, codes, families, grants, revoked_tokens, sessions, users};

use super::fixtures::{NOW, World, at, client, digest, event, id, rotated, session, user};

fn interaction(world: &World) -> Interaction {
    Interaction {
        client_id: world.client.client_id.clone(),
        browser: digest(),
        request: "{}".to_owned(),
        state: "{}".to_owned(),
        session_id: None,
        created_at: NOW,
        expires_at: at(1800),
        consumed_at: None,
    }
}

fn consent(world: &World, scopes: &str) -> Consent {
    Consent {
        user_id: world.user.id,
        client_id: world.client.client_id.clone(),
        scopes: scopes.split(' ').map(str::to_owned).collect(),
        resources: vec!["https://api.example.com".to_owned()],
        claims: vec!["name".to_owned()],
        metadata_version: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// What [`World::redeemed`] and [`World::code`] made, after something was ended: is each of them dead?
async fn is_dead(world: &World, family: uuid::Uuid, code: &chancery::secret::Digest) -> bool {
    let facts = families::find(&world.store.db, family).await.unwrap().unwrap();
    let code = codes::find(&world.store.db, code).await.unwrap().unwrap();
    let dead = [
        facts.family.ended_at.is_some(),
        facts.standing.grant.ended_at.is_some(),
        code.code.consumed_at.is_some(),
        code.standing.grant.ended_at.is_some(),
    ];
    assert!(dead.iter().all(|one| *one == dead[0]), "all or nothing: {dead:?}");
    dead[0]
}

on_both! {
    async fn a_session_is_found_by_its_cookie_alone(kind) {
        let world = World::new(kind).await;
        let (found, owner) = sessions::find(&world.store.db, &world.cookie).await.unwrap().unwrap();
        assert_eq!((found, owner), (world.session.clone(), world.user.clone()));
        assert!(sessions::find(&world.store.db, &digest()).await.unwrap().is_none());
        let listed = sessions::list_for_user(&world.store.db, world.user.id, NOW, 10).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&world.session));
    }

    /// R-46: checking a password takes long enough for it to be changed meanwhile, and the change ended everything.
    async fn a_session_does_not_begin_with_a_password_that_was_changed_while_it_was_checked(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        users::set_password(db, world.user.id, "old hash", at(1), &event("user.set_password")).await.unwrap();
        let begun = |hash: &'static str| {
            let (db, session) = (db.clone(), session(&world.user));
            async move { sessions::begin_with_password(&db, &session, &digest(), hash, &event("session.begin")).await.unwrap() }
        };
        assert_eq!(begun("old hash").await, WithPassword::Begun);
        users::set_password(db, world.user.id, "new hash", at(2), &event("user.set_password")).await.unwrap();
        assert_eq!(begun("old hash").await, WithPassword::Changed);
        assert_eq!(begun("new hash").await, WithPassword::Begun);
        users::set_enabled(db, world.user.id, false, at(3), &event("user.disable")).await.unwrap();
        assert_eq!(begun("new hash").await, WithPassword::Changed);
        assert_eq!(audit::list(db, 200, None).await.unwrap().iter().filter(|event| event.action == "session.begin").count(), 3);
    }

    async fn a_password_renews_a_session_of_its_person_alone_and_each_time_under_another_cookie(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let bob = user("bob");
        users::insert(db, &bob, Some("$argon2id$"), &event("user.add")).await.unwrap();
        let renew = |renewed: Session, cookie| {
            let db = db.clone();
            async move { sessions::begin_with_password(&db, &renewed, &cookie, "$argon2id$", &event("renewed")).await.unwrap() }
        };
        let (cookie, renewed) = (digest(), Session { auth_time: at(100), last_used_at: at(100), ..world.session.clone() });
        assert_eq!(renew(renewed.clone(), cookie).await, WithPassword::Begun);
        assert!(sessions::find(db, &world.cookie).await.unwrap().is_none());
        assert_eq!(sessions::find(db, &cookie).await.unwrap().unwrap().0, renewed);
        let of_bob = Session { user_id: bob.id, ..renewed.clone() };
        assert_eq!(renew(of_bob, digest()).await, WithPassword::Changed, "another person's");
        let late = Session { last_used_at: renewed.expires_at, ..renewed.clone() };
        assert_eq!(renew(late, digest()).await, WithPassword::Changed, "past its time");
        assert!(sessions::end(db, renewed.id, at(200), "signed out", None).await.unwrap());
        assert_eq!(renew(renewed, digest()).await, WithPassword::Changed, "ended");
        assert_eq!(audit::list(db, 200, None).await.unwrap().iter().filter(|event| event.action == "renewed").count(), 1);
    }

    /// Design 4.2: what hung on it ended with it.
    async fn a_session_past_its_end_is_not_renewed(kind) {
        let world = World::new(kind).await;
        let late = chancery::oidc::session::Session {
            last_used_at: world.session.expires_at,
            expires_at: world.session.expires_at.plus(std::time::Duration::from_secs(3600)),
            ..world.session.clone()
        };
        assert!(!sessions::begin(&world.store.db, &late, &digest(), &event("session.begin")).await.unwrap());
    }

    async fn a_renewed_session_keeps_its_id_and_loses_its_old_cookie(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let renewed = chancery::oidc::session::Session { auth_time: at(100), last_used_at: at(100), ..world.session.clone() };
        let cookie = digest();
        assert!(sessions::begin(db, &renewed, &cookie, &event("session.begin")).await.unwrap());
        assert!(sessions::find(db, &world.cookie).await.unwrap().is_none());
        assert_eq!(sessions::find(db, &cookie).await.unwrap().unwrap().0, renewed);
        // Another person cannot take it over, and an ended one stays ended.
        let bob = user("bob");
        users::insert(db, &bob, None, &event("user.add")).await.unwrap();
        let stolen = chancery::oidc::session::Session { user_id: bob.id, ..renewed.clone() };
        assert!(!sessions::begin(db, &stolen, &digest(), &event("session.begin")).await.unwrap());
        assert!(sessions::end(db, renewed.id, at(200), "signed out", None).await.unwrap());
        assert!(!sessions::end(db, renewed.id, at(300), "signed out", None).await.unwrap());
        assert!(!sessions::begin(db, &renewed, &digest(), &event("session.begin")).await.unwrap());
        assert_eq!(sessions::find(db, &cookie).await.unwrap().unwrap().0.ended_at, Some(at(200)));
    }

    async fn last_use_is_written_once_a_minute_and_never_on_an_ended_session(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        for (seconds, expected) in [(59, NOW), (60, at(60)), (61, at(60)), (120, at(120))] {
            let (found, _) = sessions::find(db, &world.cookie).await.unwrap().unwrap();
            sessions::touch(db, world.session.id, found.last_used_at, None, at(seconds)).await.unwrap();
            // Whoever read it before somebody else's use does not turn it back.
            sessions::touch(db, world.session.id, NOW, None, at(seconds)).await.unwrap();
            let (found, _) = sessions::find(db, &world.cookie).await.unwrap().unwrap();
            assert_eq!(found.last_used_at, expected, "{seconds} s");
        }
        sessions::end(db, world.session.id, at(130), "signed out", None).await.unwrap();
        sessions::touch(db, world.session.id, at(120), None, at(500)).await.unwrap();
        assert_eq!(sessions::find(db, &world.cookie).await.unwrap().unwrap().0.last_used_at, at(120));
    }

    async fn a_disabled_person_begins_no_session(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        assert!(users::set_enabled(db, world.user.id, false, at(1), &event("user.disable")).await.unwrap());
        assert!(!sessions::begin(db, &session(&world.user), &digest(), &event("refused")).await.unwrap());
        assert!(audit::list(db, 10, None).await.unwrap().iter().all(|event| event.action != "refused"));
    }

    async fn an_interaction_is_written_once_consumed_once_and_counted(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (digest, mut expected) = (digest(), interaction(&world));
        interactions::insert(db, &digest, &expected).await.unwrap();
        assert_eq!(interactions::find(db, &digest).await.unwrap().unwrap(), expected);
        assert!(interactions::update_state(db, &digest, r#"{"step":1}"#, Some(world.session.id)).await.unwrap());
        assert!(interactions::update_state(db, &digest, r#"{"step":2}"#, None).await.unwrap());
        expected.state = r#"{"step":2}"#.to_owned();
        expected.session_id = Some(world.session.id);
        assert_eq!(interactions::find(db, &digest).await.unwrap().unwrap(), expected, "the session stays");
        assert!(interactions::consume(db, &digest, at(5)).await.unwrap());
        assert!(!interactions::consume(db, &digest, at(6)).await.unwrap());
        assert!(!interactions::update_state(db, &digest, "{}", None).await.unwrap());
        assert_eq!(interactions::find(db, &digest).await.unwrap().unwrap().consumed_at, Some(at(5)));
    }

    async fn what_is_too_big_is_refused_by_the_schema_itself(kind) {
        let world = World::new(kind).await;
        let big = Interaction { request: "x".repeat(65_537), ..interaction(&world) };
        assert!(matches!(interactions::insert(&world.store.db, &digest(), &big).await, Err(StoreError::Corrupt(_))));
    }

    async fn completing_writes_consent_grant_and_code_and_the_facts_come_back(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let waiting = digest();
        interactions::insert(db, &waiting, &interaction(&world)).await.unwrap();
        let mut wanted = world.completion(world.grant(false));
        wanted.interaction = Some(waiting);
        wanted.consent = Some(consent(&world, "openid email"));
        assert!(complete(db, wanted.clone()).await.unwrap());

        let facts = codes::find(db, &wanted.digest).await.unwrap().unwrap();
        assert_eq!(facts.code, wanted.code);
        assert_eq!(facts.standing.grant, wanted.grant);
        assert_eq!(facts.standing.user, world.user);
        assert!(facts.standing.client_enabled);
        let alive = SessionFacts { last_used_at: NOW, expires_at: world.session.expires_at, ended_at: None };
        assert_eq!(facts.standing.session, Some(alive));
        assert_eq!(facts.family, None);
        let outliving = world.completion(world.grant(true));
        assert!(complete(db, outliving.clone()).await.unwrap());
        let facts = codes::find(db, &outliving.digest).await.unwrap().unwrap();
        assert_eq!(facts.standing.session, None, "nobody asks for a session that the grant outlives");
        assert_eq!(consents::find(db, world.user.id, "app").await.unwrap(), wanted.consent);
        assert!(interactions::find(db, &waiting).await.unwrap().unwrap().consumed_at.is_some());

        let mut again = world.completion(world.grant(true));
        again.interaction = Some(waiting);
        again.consent = Some(consent(&world, "openid email profile"));
        assert!(!complete(db, again.clone()).await.unwrap(), "the interaction is over");
        assert!(codes::find(db, &again.digest).await.unwrap().is_none());
        assert_eq!(consents::find(db, world.user.id, "app").await.unwrap(), wanted.consent);
    }

    async fn nothing_is_completed_for_whom_was_switched_off_meanwhile(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let attempt = || async { complete(db, world.completion(world.grant(true))).await.unwrap() };
        assert!(attempt().await);
        let late = chancery::storage::authorize::Complete { now: world.session.expires_at, ..world.completion(world.grant(true)) };
        assert!(!complete(db, late).await.unwrap(), "the session is over");
        clients::set_enabled(db, "app", false, at(1), &event("client.disable")).await.unwrap();
        assert!(!attempt().await, "the client was disabled");
        clients::set_enabled(db, "app", true, at(1), &event("client.enable")).await.unwrap();
        assert!(attempt().await);
        let waiting = digest();
        interactions::insert(db, &waiting, &Interaction { expires_at: NOW, ..interaction(&world) }).await.unwrap();
        let expired = chancery::storage::authorize::Complete { interaction: Some(waiting), ..world.completion(world.grant(true)) };
        assert!(!complete(db, expired).await.unwrap(), "the interaction has expired");
        sessions::end(db, world.session.id, at(1), "signed out", None).await.unwrap();
        assert!(!attempt().await, "the session was ended");
        let elsewhere = (session(&world.user), digest());
        sessions::begin(db, &elsewhere.0, &elsewhere.1, &event("session.begin")).await.unwrap();
        let mut grant = world.grant(true);
        grant.session_id = Some(elsewhere.0.id);
        assert!(complete(db, world.completion(grant.clone())).await.unwrap());
        users::set_enabled(db, world.user.id, false, at(2), &event("user.disable")).await.unwrap();
        grant.id = id();
        assert!(!complete(db, world.completion(grant)).await.unwrap(), "the person was disabled");
    }

    async fn a_consent_that_was_withdrawn_or_changed_meanwhile_carries_no_code(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let agreed = |second| Consent {
            user_id: world.user.id,
            client_id: "app".to_owned(),
            scopes: vec!["openid".to_owned()],
            resources: Vec::new(),
            claims: Vec::new(),
            metadata_version: 1,
            created_at: NOW,
            updated_at: at(second),
        };
        // Both ways of writing: in one statement, and in several.
        let attempt = async |rests_on: Timestamp, events: Vec<AuditEvent>| {
            let rests_on = Some(rests_on);
            complete(db, Complete { rests_on, events, ..world.completion(world.grant(true)) }).await.unwrap()
        };
        let both = async |rests_on| (attempt(rests_on, vec![event("grant.begin")]).await, attempt(rests_on, Vec::new()).await);
        assert_eq!(both(at(1)).await, (false, false), "there is none");
        let first = Complete { consent: Some(agreed(1)), ..world.completion(world.grant(true)) };
        assert!(complete(db, first).await.unwrap());
        assert_eq!(both(at(1)).await, (true, true));
        let unaware = Complete { consent: Some(agreed(2)), ..world.completion(world.grant(true)) };
        assert!(!complete(db, unaware).await.unwrap(), "there is one by now, and what was agreed to there would be lost");
        let again = Complete { consent: Some(agreed(2)), rests_on: Some(at(1)), ..world.completion(world.grant(true)) };
        assert!(complete(db, again.clone()).await.unwrap());
        assert_eq!(both(at(1)).await, (false, false), "it was changed");
        assert_eq!(both(at(2)).await, (true, true));
        // Of those who rest on the same one and write it anew, one does, and nobody waits for ever.
        let given = |second| Complete { consent: Some(agreed(second)), rests_on: Some(at(2)), ..world.completion(world.grant(true)) };
        let given = futures_util::future::join_all((10..18).map(|second| complete(db, given(second)))).await;
        assert_eq!(given.into_iter().map(Result::unwrap).filter(|done| *done).count(), 1);
        let current = consents::find(db, world.user.id, "app").await.unwrap().unwrap().updated_at;
        assert_eq!(both(current).await, (true, true));
        assert!(consents::withdraw(db, world.user.id, "app", at(3), &event("consent.withdraw")).await.unwrap());
        assert_eq!(both(current).await, (false, false), "it was withdrawn");
        let restored = Complete { consent: Some(agreed(20)), rests_on: Some(current), ..world.completion(world.grant(true)) };
        assert!(!complete(db, restored).await.unwrap(), "what was withdrawn must not come back with what is added");
        assert_eq!(consents::find(db, world.user.id, "app").await.unwrap(), None);
    }

    async fn a_code_is_redeemed_once_by_its_client_in_time(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        clients::insert(db, &client("other"), &event("client.add")).await.unwrap();
        let code = world.code(true).await;
        let foreign = codes::Redeem { client_id: "other".to_owned(), ..world.redeem(&code, None) };
        assert!(!codes::redeem(db, foreign).await.unwrap());
        let late = codes::Redeem { now: at(60), ..world.redeem(&code, None) };
        assert!(!codes::redeem(db, late).await.unwrap());
        let family = world.family(&code.grant);
        assert!(codes::redeem(db, world.redeem(&code, Some(family.clone()))).await.unwrap());
        assert!(!codes::redeem(db, world.redeem(&code, Some(world.family(&code.grant)))).await.unwrap());
        let facts = codes::find(db, &code.digest).await.unwrap().unwrap();
        assert_eq!(facts.code.consumed_at, Some(at(1)));
        assert_eq!(facts.family, Some(family.clone()));
        assert_eq!(grants::find(db, code.grant.id).await.unwrap().unwrap().family, Some(family));
    }

    async fn whatever_changes_between_reading_and_writing_stops_a_redemption_and_a_rotation(kind) {
        #[derive(Debug, Clone, Copy)]
        enum Change { DisableUser, DisableClient, EndSession, EndGrant, RemoveClient, NewPassword, SignOut, Withdraw }
        use Change::{NewPassword, DisableClient, DisableUser, EndGrant, EndSession, RemoveClient, SignOut, Withdraw};
        for change in [DisableUser, DisableClient, EndSession, EndGrant, RemoveClient, NewPassword, SignOut, Withdraw] {
            let world = World::new(kind).await;
            let db = &world.store.db;
            let (redeemed, family) = world.redeemed(false).await;
            let code = world.code(false).await;
            let other = world.store.replica().await;
            assert!(match change {
                DisableUser => users::set_enabled(&other, world.user.id, false, at(2), &event("x")).await,
                DisableClient => clients::set_enabled(&other, "app", false, at(2), &event("x")).await,
                EndSession => sessions::end(&other, world.session.id, at(2), "signed out", None).await,
                EndGrant => {
                    grants::end(&other, code.grant.id, "test", at(2), None).await.unwrap();
                    grants::end(&other, redeemed.grant.id, "test", at(2), Some(&event("x"))).await
                }
                RemoveClient => clients::remove(&other, "app", at(2), &event("x")).await,
                NewPassword => users::set_password(&other, world.user.id, "$new$", at(2), &event("x")).await,
                SignOut => users::sign_out(&other, world.user.id, at(2), &event("x")).await,
                Withdraw => consents::withdraw(&other, world.user.id, "app", at(2), &event("x")).await,
            }.unwrap());
            assert!(!codes::redeem(db, world.redeem(&code, None)).await.unwrap(), "{change:?}");
            assert!(!codes::redeem(db, world.redeem(&code, Some(world.family(&code.grant)))).await.unwrap(), "{change:?}");
            let rotation = families::Rotation { before: family.clone(), after: rotated(&family, at(3)), now: at(3) };
            assert!(!families::rotate(db, rotation).await.unwrap(), "{change:?}");
            assert!(grants::find(db, code.grant.id).await.unwrap().unwrap().family.is_none(), "{change:?}: no half family");
        }
    }

    async fn a_rotation_repeats_everything_that_was_read(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (_, first) = world.redeemed(true).await;
        let second = rotated(&first, at(10));
        let rotate = |before, after, now| families::rotate(db, families::Rotation { before, after, now });
        assert!(rotate(first.clone(), second.clone(), at(10)).await.unwrap());
        assert_eq!(families::find(db, first.id).await.unwrap().unwrap().family, second);
        assert!(!rotate(first.clone(), rotated(&first, at(11)), at(11)).await.unwrap(), "it moved on");
        for changed in [
            chancery::oauth::family::Family { previous: 0, ..second.clone() },
            chancery::oauth::family::Family { previous_redeemed_at: None, ..second.clone() },
            chancery::oauth::family::Family { burst_first: 0, ..second.clone() },
            chancery::oauth::family::Family { burst_recovered: 1, ..second.clone() },
            chancery::oauth::family::Family { burst_started_at: Some(at(11)), ..second.clone() },
        ] {
            assert!(!rotate(changed, rotated(&second, at(12)), at(12)).await.unwrap());
        }
        // Last use moves forward only, and does not stand in the way.
        let head = chancery::oauth::family::Family { last_used_at: at(20), ..second.clone() };
        assert!(rotate(second.clone(), head, at(20)).await.unwrap());
        let earlier = chancery::oauth::family::Family { last_used_at: at(15), ..second.clone() };
        assert!(rotate(second.clone(), earlier, at(20)).await.unwrap());
        assert_eq!(families::find(db, first.id).await.unwrap().unwrap().family.last_used_at, at(20));
        assert!(!rotate(second.clone(), rotated(&second, at(30)), second.expires_at).await.unwrap(), "past its absolute end");
    }

    async fn a_session_takes_its_grants_with_it_and_leaves_the_offline_ones(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (_, online) = world.redeemed(false).await;
        let (_, offline) = world.redeemed(true).await;
        let (online_code, offline_code) = (world.code(false).await, world.code(true).await);
        let waiting = digest();
        interactions::insert(db, &waiting, &interaction(&world)).await.unwrap();
        interactions::update_state(db, &waiting, "{}", Some(world.session.id)).await.unwrap();
        sessions::end(db, world.session.id, at(2), "signed out", None).await.unwrap();
        assert!(is_dead(&world, online.id, &online_code.digest).await);
        assert!(!is_dead(&world, offline.id, &offline_code.digest).await);
        assert!(interactions::consume(db, &waiting, at(3)).await.unwrap(), "whoever signs in next answers it");
        let family = families::find(db, online.id).await.unwrap().unwrap().family;
        assert_eq!((family.ended_at, family.ended_because.as_deref()), (Some(at(2)), Some("signed out")));
        assert!(codes::redeem(db, world.redeem(&offline_code, None)).await.unwrap());
    }

    async fn switching_a_person_off_ends_everything_in_one_transaction(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let bob = user("bob");
        users::insert(db, &bob, None, &event("user.add")).await.unwrap();
        let (bobs, bobs_cookie) = (session(&bob), digest());
        sessions::begin(db, &bobs, &bobs_cookie, &event("session.begin")).await.unwrap();
        let mut bobs_grant = world.grant(true);
        (bobs_grant.user_id, bobs_grant.session_id) = (bob.id, Some(bobs.id));
        let bobs_code = world.completion(bobs_grant);
        assert!(complete(db, bobs_code.clone()).await.unwrap());

        let (_, family) = world.redeemed(true).await;
        let code = world.code(true).await;
        let (alices, of_bob) = (digest(), digest());
        interactions::insert(db, &alices, &Interaction { session_id: Some(world.session.id), ..interaction(&world) }).await.unwrap();
        interactions::insert(db, &of_bob, &Interaction { session_id: Some(bobs.id), ..interaction(&world) }).await.unwrap();
        assert!(users::set_enabled(db, world.user.id, false, at(2), &event("user.disable")).await.unwrap());
        assert!(is_dead(&world, family.id, &code.digest).await);
        assert!(!interactions::consume(db, &alices, at(3)).await.unwrap());
        assert!(interactions::consume(db, &of_bob, at(3)).await.unwrap());
        assert!(sessions::find(db, &world.cookie).await.unwrap().unwrap().0.ended_at.is_some());
        assert!(!users::find(db, world.user.id).await.unwrap().unwrap().enabled);
        assert_eq!(audit::list(db, 1, None).await.unwrap()[0].action, "user.disable");
        // Enabling brings nothing back, and others were never touched.
        assert!(users::set_enabled(db, world.user.id, true, at(3), &event("user.enable")).await.unwrap());
        assert!(is_dead(&world, family.id, &code.digest).await);
        assert!(grants::list_for_user(db, world.user.id, at(3), 10).await.unwrap().is_empty());
        assert!(sessions::find(db, &bobs_cookie).await.unwrap().unwrap().0.ended_at.is_none());
        assert!(codes::redeem(db, world.redeem(&bobs_code, None)).await.unwrap());
        assert!(!users::set_enabled(db, id(), false, at(2), &event("nobody")).await.unwrap());
    }

    async fn a_withdrawn_consent_ends_the_grants_under_it_and_no_others(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        clients::insert(db, &client("other"), &event("client.add")).await.unwrap();
        let mut wanted = world.completion(world.grant(true));
        wanted.consent = Some(consent(&world, "openid"));
        assert!(complete(db, wanted).await.unwrap());
        let (_, family) = world.redeemed(true).await;
        let code = world.code(true).await;
        let mut others = world.grant(true);
        others.client_id = "other".to_owned();
        let others = world.completion(others);
        let mut others_code = others.clone();
        others_code.code.client_id = "other".to_owned();
        assert!(complete(db, others_code).await.unwrap());
        assert_eq!(consents::list_for_user(db, world.user.id).await.unwrap().len(), 1);
        assert!(consents::withdraw(db, world.user.id, "app", at(2), &event("consent.withdraw")).await.unwrap());
        assert!(!consents::withdraw(db, world.user.id, "app", at(2), &event("consent.withdraw")).await.unwrap());
        assert!(is_dead(&world, family.id, &code.digest).await);
        assert!(consents::find(db, world.user.id, "app").await.unwrap().is_none());
        assert!(grants::find(db, others.grant.id).await.unwrap().unwrap().standing.grant.ended_at.is_none());
    }

    async fn ending_a_family_ends_its_grant_once(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (redeemed, family) = world.redeemed(true).await;
        assert!(families::end(db, family.id, "revoked", at(2), Some(&event("family.end"))).await.unwrap());
        assert!(!families::end(db, family.id, "again", at(3), Some(&event("family.end.twice"))).await.unwrap());
        assert!(!families::end(db, id(), "unknown", at(3), None).await.unwrap());
        let facts = grants::find(db, redeemed.grant.id).await.unwrap().unwrap();
        assert_eq!(facts.standing.grant.ended_because.as_deref(), Some("revoked"));
        assert_eq!(facts.family.unwrap().ended_at, Some(at(2)));
        assert_eq!(audit::list(db, 1, None).await.unwrap()[0].action, "family.end");
    }

    /// What is read of a grant for a token of it against the same grant read whole.
    async fn what_is_read_for_a_token_is_what_of_its_grant_decides_and_is_told(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let alone = Grant { session_id: None, sid: None, ..world.grant(false) };
        let mut all = vec![id()];
        for grant in [world.grant(true), world.grant(false), alone] {
            all.push(world.redeemed_of(grant).await.0.grant.id);
        }
        let revoked = digest();
        assert!(revoked_tokens::insert(db, &revoked, at(600), &event("token.revoke")).await.unwrap());
        let mut seen = HashSet::new();
        for sql in [
            "UPDATE sessions SET acr = acr",
            "UPDATE users SET username = 'somebody', admin = 1 - admin, updated_at = updated_at + 1",
            r#"UPDATE users SET group_names = '["a","b"]', claims = '{"nickname":"Al","email_verified":true}'"#,
            r#"UPDATE grants SET claims = '{"userinfo":["nickname"],"id_token":["email"]}', scopes = scopes || ' other'"#,
            "UPDATE grants SET claims = NULL",
            "UPDATE sessions SET last_used_at = last_used_at + 1",
            "UPDATE sessions SET expires_at = expires_at + 1",
            "UPDATE sessions SET ended_at = 7",
            "DELETE FROM sessions",
            "UPDATE grants SET client_id = client_id || 'x', sub = 'somebody'",
            "UPDATE grants SET client_id = 'app', expires_at = expires_at + 1",
            "UPDATE clients SET enabled = 0",
            "DELETE FROM clients",
            "UPDATE users SET enabled = 0",
            "UPDATE grants SET ended_at = 8",
            "UPDATE grants SET ended_because = 'test'",
            "DELETE FROM users",
        ] {
            db.execute(sql, chancery::args![]).await.unwrap();
            for (grant, jti) in all.iter().flat_map(|grant| [(*grant, digest()), (*grant, revoked)]) {
                let whole = grants::find(db, grant).await.unwrap().map(|facts| facts.standing);
                let expected = TokenFacts { revoked: jti == revoked, grant: whole.as_ref().map(Standing::life) };
                let life = revoked_tokens::token_life(db, grant, &jti).await.unwrap();
                assert_eq!(format!("{life:?}"), format!("{expected:?}"), "{sql}");
                let (facts, person) = revoked_tokens::token_person(db, grant, &jti).await.unwrap();
                assert_eq!(facts, life, "{sql}");
                assert_eq!(person.is_some(), whole.is_some(), "{sql}");
                seen.insert(format!("{life:?} {person:?}"));
                let (Some(Standing { grant, user, .. }), Some(person)) = (whole, person) else { continue };
                assert_eq!((person.id, person.username, person.admin), (user.id, user.username, user.admin), "{sql}");
                assert_eq!((person.groups.read().unwrap(), person.claims.read().unwrap()), (user.groups, user.claims), "{sql}");
                assert_eq!(person.updated_at, user.updated_at, "{sql}");
                let by_name = person.by_name.map(|by_name| (by_name.asked.read().unwrap(), by_name.granted));
                assert_eq!(by_name, (!grant.claims.is_empty()).then_some((grant.claims, grant.scopes)), "{sql}");
            }
        }
        assert!(seen.len() > 42, "{}", seen.len());
    }

    async fn a_tokens_facts_are_its_revocation_and_its_grant(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (redeemed, _) = world.redeemed(true).await;
        let jti = digest();
        let facts = revoked_tokens::token_life(db, redeemed.grant.id, &jti).await.unwrap();
        assert!(!facts.revoked);
        assert_eq!(facts.grant.unwrap().sub, redeemed.grant.sub);
        assert!(revoked_tokens::insert(db, &jti, at(600), &event("token.revoke")).await.unwrap());
        assert!(!revoked_tokens::insert(db, &jti, at(600), &event("token.revoke")).await.unwrap());
        assert!(revoked_tokens::token_life(db, redeemed.grant.id, &jti).await.unwrap().revoked);
        assert!(!revoked_tokens::token_life(db, redeemed.grant.id, &digest()).await.unwrap().revoked);
        let unknown = revoked_tokens::token_life(db, id(), &jti).await.unwrap();
        assert_eq!(unknown, TokenFacts { revoked: true, grant: None });

        let client = revoked_tokens::client_token_facts(db, "app", &digest()).await.unwrap();
        let registered_at = Some(world.client.created_at);
        assert_eq!(client, ClientTokenFacts { revoked: false, client_enabled: true, registered_at, tokens_not_before: None });
        clients::end_tokens(db, "app", at(9), &event("client.end_tokens")).await.unwrap();
        clients::set_enabled(db, "app", false, at(9), &event("client.disable")).await.unwrap();
        let client = revoked_tokens::client_token_facts(db, "app", &jti).await.unwrap();
        assert_eq!(client, ClientTokenFacts { revoked: true, client_enabled: false, registered_at, tokens_not_before: Some(at(9)) });
        let nobody = revoked_tokens::client_token_facts(db, "nobody", &digest()).await.unwrap();
        assert_eq!(nobody, ClientTokenFacts { revoked: false, client_enabled: false, registered_at: None, tokens_not_before: None });
    }
}
