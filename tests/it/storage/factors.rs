//! Second factors: what counts once counts once, on two replicas too, and nothing is half done.

use chancery::clock::Timestamp;
use chancery::oidc::session::Session;
use chancery::secret::Digest;
use chancery::storage::factors::{self, Change, Passkey, Spent};
use chancery::storage::second_step::{self, Begin, Outcome, Raise};
use chancery::storage::sessions::{self, WithPassword};
use chancery::storage::sign_ins::{self, SignIn};
use chancery::storage::{audit, users};
use futures_util::future::join_all;

use super::fixtures::{NOW, World, at, digest, event, id, session, user};

const HASH: &str = "$argon2id$";

/// A sign-in that waits.
async fn waiting(world: &World, expires_at: Timestamp) -> Digest {
    let id = digest();
    let row = SignIn {
        browser: digest(),
        user_id: world.user.id,
        password_digest: digest(),
        created_at: NOW,
        expires_at,
        consumed_at: None,
    };
    sign_ins::insert(&world.store.db, &id, &row).await.unwrap();
    assert_eq!(sign_ins::find(&world.store.db, &id).await.unwrap(), Some(row));
    id
}

async fn begin(world: &World, change: Change) -> Begin {
    Begin {
        session: session(&world.user),
        cookie: digest(),
        sign_in: Some(waiting(world, at(600)).await),
        password_hash: Some(HASH.to_owned()),
        change,
        events: vec![event("session.begin")],
    }
}

/// An app whose last step was 100, and two recovery codes.
async fn enrolled(world: &World) -> [Digest; 2] {
    let codes = [digest(), digest()];
    let change = Change::EnrolTotp { sealed: vec![1, 2, 3], first: false, step: 100, recovery_codes: codes.to_vec() };
    assert_eq!(second_step::begin(&world.store.db, begin(world, change).await, at(1)).await.unwrap(), Outcome::Done);
    codes
}

fn challenge() -> Spent {
    Spent { digest: digest(), expires_at: at(1800) }
}

/// A passkey of the person whose counter stands at `sign_count`.
async fn passkey(world: &World, sign_count: i64) -> Passkey {
    let passkey = Passkey {
        id: id(),
        user_id: world.user.id,
        credential_id: digest().as_bytes().to_vec(),
        algorithm: -7,
        public_key: vec![4, 5, 6],
        sign_count,
        synced: sign_count == 0,
        device: Some("Firefox · Windows".to_owned()),
        created_at: at(1),
        last_used_at: at(1),
    };
    let change =
        Change::EnrolPasskey { passkey: passkey.clone(), first: false, challenge: challenge(), recovery_codes: vec![digest()] };
    assert_eq!(second_step::begin(&world.store.db, begin(world, change).await, at(1)).await.unwrap(), Outcome::Done);
    assert_eq!(factors::passkey(&world.store.db, &passkey.credential_id).await.unwrap(), Some(passkey.clone()));
    passkey
}

/// Begins sessions with all of these at the same moment, by two replicas in turn.
async fn all_at_once(world: &World, changes: Vec<Change>) -> Vec<Outcome> {
    let dbs = [world.store.db.clone(), world.store.replica().await];
    let mut begins = Vec::new();
    for change in changes {
        begins.push(begin(world, change).await);
    }
    let tasks = begins.into_iter().enumerate().map(|(number, begin)| {
        let db = dbs[number % 2].clone();
        tokio::spawn(async move { second_step::begin(&db, begin, at(2)).await.unwrap() })
    });
    join_all(tasks.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
}

fn done(outcomes: &[Outcome]) -> usize {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done | Outcome::Spent)), "{outcomes:?}");
    outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count()
}

on_both! {
    async fn of_fifty_answers_to_one_challenge_exactly_one_begins_a_session(kind) {
        let world = World::new(kind).await;
        // A passkey that does not count: nothing but the challenge tells the answers apart.
        let passkey = passkey(&world, 0).await;
        let once = challenge();
        let before = sessions::list_for_user(&world.store.db, world.user.id, NOW, 200).await.unwrap().len();
        let outcomes = all_at_once(&world, vec![Change::SpendPasskey { id: passkey.id, sign_count: 0, challenge: once }; 50]).await;
        assert_eq!(done(&outcomes), 1, "{outcomes:?}");
        assert_eq!(sessions::list_for_user(&world.store.db, world.user.id, NOW, 200).await.unwrap().len(), before + 1);
        let fresh = (0..10).map(|_| Change::SpendPasskey { id: passkey.id, sign_count: 0, challenge: challenge() }).collect();
        assert_eq!(done(&all_at_once(&world, fresh).await), 10, "each challenge counts");
    }

    async fn of_fifty_answers_with_one_count_exactly_one_begins_a_session(kind) {
        let world = World::new(kind).await;
        let passkey = passkey(&world, 6).await;
        let copies = (0..50).map(|_| Change::SpendPasskey { id: passkey.id, sign_count: 7, challenge: challenge() }).collect();
        assert_eq!(done(&all_at_once(&world, copies).await), 1);
        for (sign_count, outcome) in [(7, Outcome::Spent), (6, Outcome::Spent), (0, Outcome::Spent), (9, Outcome::Done), (8, Outcome::Spent)] {
            let begin = begin(&world, Change::SpendPasskey { id: passkey.id, sign_count, challenge: challenge() }).await;
            assert_eq!(second_step::begin(&world.store.db, begin, at(3)).await.unwrap(), outcome, "{sign_count}");
        }
        let now = factors::passkey(&world.store.db, &passkey.credential_id).await.unwrap().unwrap();
        assert_eq!((now.sign_count, now.last_used_at), (9, at(3)));
    }

    async fn of_all_who_enrol_a_first_factor_at_once_one_does(kind) {
        let world = World::new(kind).await;
        for _ in 0..4 {
            let mut changes = Vec::new();
            for _ in 0..5 {
                let passkey = Passkey {
                    id: id(), user_id: world.user.id, credential_id: digest().as_bytes().to_vec(), algorithm: -7, public_key: vec![1],
                    sign_count: 0, synced: true, device: None, created_at: at(1), last_used_at: at(1),
                };
                changes.push(Change::EnrolPasskey { passkey, first: true, challenge: challenge(), recovery_codes: vec![digest()] });
                changes.push(Change::EnrolTotp { sealed: vec![1], first: true, step: 1, recovery_codes: vec![digest()] });
            }
            assert_eq!(done(&all_at_once(&world, changes).await), 1);
            let summary = factors::summary(&world.store.db, world.user.id).await.unwrap();
            assert_eq!((u64::from(summary.totp.is_some()) + summary.passkeys, summary.recovery_codes), (1, 1), "{summary:?}");
            assert!(users::reset_factors(&world.store.db, world.user.id, at(2), &event("user.reset_factors")).await.unwrap());
        }
    }

    /// Whatever was looked at while the password was checked: the write decides.
    async fn no_session_begins_with_a_password_alone_where_there_is_a_second_factor(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let begin = |session: Session, told: &'static str| {
            let db = db.clone();
            async move { sessions::begin_with_password(&db, &session, &digest(), HASH, &event(told)).await.unwrap() }
        };
        for factor in ["app", "passkey"] {
            match factor {
                "app" => drop(enrolled(&world).await),
                _ => drop(passkey(&world, 0).await),
            }
            let before = sessions::list_for_user(db, world.user.id, NOW, 200).await.unwrap();
            assert_eq!(begin(session(&world.user), "refused").await, WithPassword::SecondFactor, "{factor}");
            let renewed = Session { last_used_at: at(3), ..before[0].clone() };
            assert_eq!(begin(renewed, "refused").await, WithPassword::SecondFactor, "{factor}");
            assert_eq!(sessions::list_for_user(db, world.user.id, NOW, 200).await.unwrap(), before, "{factor}");
            assert!(users::reset_factors(db, world.user.id, at(2), &event("user.reset_factors")).await.unwrap());
            assert_eq!(begin(session(&world.user), factor).await, WithPassword::Begun);
        }
        let told = audit::list(db, 200, None).await.unwrap();
        let count = |action: &str| told.iter().filter(|event| event.action == action).count();
        assert_eq!(["refused", "app", "passkey"].map(count), [0, 1, 1]);
    }

    async fn a_passkey_is_one_persons_and_is_there_once(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let alices = passkey(&world, 0).await;
        let bob = user("bob");
        users::insert(db, &bob, Some(HASH), &event("user.add")).await.unwrap();
        let as_bob = async |change: Change| {
            let begin = Begin { session: session(&bob), sign_in: None, ..begin(&world, change).await };
            second_step::begin(db, begin, at(2)).await.unwrap()
        };
        let spend = Change::SpendPasskey { id: alices.id, sign_count: 0, challenge: challenge() };
        assert_eq!(as_bob(spend.clone()).await, Outcome::Spent, "hers");
        let again = Passkey { id: id(), user_id: bob.id, ..alices.clone() };
        let once = challenge();
        assert_eq!(as_bob(Change::EnrolPasskey { passkey: again, first: true, challenge: once, recovery_codes: vec![] }).await, Outcome::Spent);
        assert_eq!(factors::passkeys(db, bob.id).await.unwrap(), []);
        assert!(!factors::remove_passkey(db, bob.id, alices.id, &event("factor.remove")).await.unwrap());
        assert_eq!(factors::passkeys(db, world.user.id).await.unwrap(), std::slice::from_ref(&alices));
        // What came to nothing spent no challenge.
        assert_eq!(second_step::begin(db, begin(&world, spend).await, at(3)).await.unwrap(), Outcome::Done);
        let mut late = begin(&world, Change::SpendPasskey { id: alices.id, sign_count: 0, challenge: once }).await;
        late.password_hash = Some("$other$".to_owned());
        assert_eq!(second_step::begin(db, late.clone(), at(3)).await.unwrap(), Outcome::Changed);
        late.password_hash = None;
        assert_eq!(second_step::begin(db, late, at(3)).await.unwrap(), Outcome::Done);
        // With the last factor the recovery codes go too.
        assert!(factors::remove_passkey(db, world.user.id, alices.id, &event("factor.remove")).await.unwrap());
        assert_eq!(factors::summary(db, world.user.id).await.unwrap(), factors::Summary::default());
        let gone = Change::SpendPasskey { id: alices.id, sign_count: 0, challenge: challenge() };
        assert_eq!(second_step::begin(db, begin(&world, gone).await, at(4)).await.unwrap(), Outcome::Spent);
    }

    async fn of_fifty_uses_of_one_code_exactly_one_begins_a_session(kind) {
        let world = World::new(kind).await;
        let codes = enrolled(&world).await;
        let dbs = [world.store.db.clone(), world.store.replica().await];
        let before = sessions::list_for_user(&dbs[0], world.user.id, NOW, 100).await.unwrap().len();
        for (round, change) in [Change::SpendTotp { step: 101 }, Change::SpendRecoveryCode { digest: codes[0] }].into_iter().enumerate() {
            let mut begins = Vec::new();
            for _ in 0..50 {
                begins.push(begin(&world, change.clone()).await);
            }
            let tasks: Vec<_> = begins.into_iter().enumerate().map(|(number, begin)| {
                let db = dbs[number % 2].clone();
                tokio::spawn(async move { second_step::begin(&db, begin, at(2)).await.unwrap() })
            }).collect();
            let outcomes: Vec<Outcome> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count(), 1, "{outcomes:?}");
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Spent).count(), 49, "{outcomes:?}");
            let sessions = sessions::list_for_user(&dbs[0], world.user.id, NOW, 200).await.unwrap().len();
            assert_eq!(sessions, before + round + 1, "nothing is half done");
        }
    }

    async fn steps_go_upwards_alone(kind) {
        let world = World::new(kind).await;
        enrolled(&world).await;
        for (step, outcome) in [(100, Outcome::Spent), (99, Outcome::Spent), (102, Outcome::Done), (101, Outcome::Spent), (103, Outcome::Done)] {
            let begin = begin(&world, Change::SpendTotp { step }).await;
            assert_eq!(second_step::begin(&world.store.db, begin, at(2)).await.unwrap(), outcome, "{step}");
        }
        assert_eq!(factors::totp(&world.store.db, world.user.id).await.unwrap().unwrap().last_step, 103);
    }

    async fn what_comes_to_nothing_spends_nothing(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let codes = enrolled(&world).await;
        let code = Change::SpendRecoveryCode { digest: codes[0] };
        let mut other_password = begin(&world, code.clone()).await;
        other_password.password_hash = Some("$other$".to_owned());
        let mut too_late = begin(&world, code.clone()).await;
        too_late.sign_in = Some(waiting(&world, at(2)).await);
        let mut unknown = begin(&world, code.clone()).await;
        unknown.sign_in = Some(digest());
        let mut ended = begin(&world, code.clone()).await;
        ended.session.id = world.session.id;
        sessions::end(db, world.session.id, at(1), "signed out", None).await.unwrap();
        for begin in [other_password, too_late, unknown, ended] {
            assert_eq!(second_step::begin(db, begin, at(2)).await.unwrap(), Outcome::Changed);
        }
        assert_eq!(factors::recovery_code(db, world.user.id, &codes[0]).await.unwrap(), Some(None), "it is unused");
        // One sign-in, one session.
        let good = begin(&world, code).await;
        assert_eq!(second_step::begin(db, good.clone(), at(2)).await.unwrap(), Outcome::Done);
        let again = Begin { change: Change::SpendRecoveryCode { digest: codes[1] }, session: session(&world.user), cookie: digest(), ..good };
        assert_eq!(second_step::begin(db, again, at(2)).await.unwrap(), Outcome::Changed);
        assert_eq!(factors::summary(db, world.user.id).await.unwrap().recovery_codes, 1);
    }

    async fn a_session_rises_under_its_own_cookie_alone(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        enrolled(&world).await;
        let raise = |old_cookie, step| Raise {
            session: chancery::oidc::session::Session { acr: Some("higher".to_owned()), amr: vec!["mfa".to_owned()], ..world.session.clone() },
            old_cookie, cookie: digest(), change: Change::SpendTotp { step }, events: vec![event("session.step_up")],
        };
        assert_eq!(second_step::raise(db, raise(digest(), 101), at(2)).await.unwrap(), Outcome::Changed, "a cookie of before");
        let good = raise(world.cookie, 101);
        assert_eq!(second_step::raise(db, good.clone(), at(2)).await.unwrap(), Outcome::Done);
        assert_eq!(sessions::find(db, &world.cookie).await.unwrap(), None);
        let (risen, _) = sessions::find(db, &good.cookie).await.unwrap().unwrap();
        assert_eq!((risen.acr.as_deref(), risen.auth_time, &risen.sid), (Some("higher"), world.session.auth_time, &world.session.sid));
        users::set_enabled(db, world.user.id, false, at(3), &event("disable")).await.unwrap();
        assert_eq!(second_step::raise(db, raise(good.cookie, 102), at(4)).await.unwrap(), Outcome::Changed);
    }

    async fn removing_and_resetting_take_it_all(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        assert!(!factors::remove_totp(db, world.user.id, &event("factor.remove")).await.unwrap());
        let codes = enrolled(&world).await;
        let second = Change::EnrolTotp { sealed: vec![9], first: false, step: 1, recovery_codes: vec![digest()] };
        let second = begin(&world, second).await;
        assert_eq!(second_step::begin(db, second, at(2)).await.unwrap(), Outcome::Spent, "there is one already");
        assert!(factors::replace_recovery_codes(db, world.user.id, vec![digest()], at(2), &event("codes")).await.unwrap());
        assert_eq!(factors::recovery_code(db, world.user.id, &codes[0]).await.unwrap(), None);
        assert!(factors::remove_totp(db, world.user.id, &event("factor.remove")).await.unwrap());
        assert_eq!(factors::summary(db, world.user.id).await.unwrap(), factors::Summary::default());
        enrolled(&world).await;
        let waiting = begin(&world, Change::SpendTotp { step: 200 }).await;
        assert!(users::reset_factors(db, world.user.id, at(3), &event("user.reset_factors")).await.unwrap());
        assert_eq!(factors::summary(db, world.user.id).await.unwrap(), factors::Summary::default());
        assert_eq!(sessions::list_for_user(db, world.user.id, NOW, 100).await.unwrap(), []);
        assert_eq!(second_step::begin(db, waiting, at(4)).await.unwrap(), Outcome::Changed, "what waits is over");
    }
}
