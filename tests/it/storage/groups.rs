//! Groups and memberships at rest, races included.

use chancery::oidc::groups::Group;
use chancery::oidc::user::User;
use chancery::storage::groups::{self, Kept, Removal};
use chancery::storage::{StoreError, audit, users};

use super::fixtures::{World, at, event, user};

fn group(identifier: &str, roles: &[&str]) -> Kept {
    let group = Group {
        identifier: identifier.to_owned(),
        name: None,
        description: None,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    Kept { group, created_at: at(0), updated_at: at(0) }
}

on_both! {
    async fn a_group_is_kept_changed_once_and_removed_with_its_people(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let staff = group("staff", &["clerk"]);
        groups::insert(db, &staff, &event("group.add")).await.unwrap();
        assert!(matches!(groups::insert(db, &staff, &event("group.add")).await, Err(StoreError::Conflict(_))));
        groups::insert(db, &group("zebra", &["clerk", "rider"]), &event("group.add")).await.unwrap();
        assert_eq!(groups::find(db, "staff").await.unwrap(), Some(staff.clone()));
        assert_eq!(groups::list(db, 1, Some("staff")).await.unwrap()[0].group.identifier, "zebra");
        assert_eq!(groups::roles_of(db, world.user.id).await.unwrap(), ["clerk"]);

        // Two who saw the same group: one of them is told.
        let mut changed = group("staff", &["boss"]);
        changed.updated_at = at(1);
        let (one, two) = (world.store.replica().await, world.store.replica().await);
        let (event_one, event_two) = (event("group.update"), event("group.update"));
        let (first, second) = tokio::join!(
            groups::update(&one, &changed, at(0), &event_one),
            groups::update(&two, &changed, at(0), &event_two)
        );
        assert_ne!(first.unwrap(), second.unwrap());

        for name in ["bob", "carol"] {
            users::insert(db, &user(name), None, &event("user.add")).await.unwrap();
        }
        assert_eq!(groups::members(db, "staff", 10, None).await.unwrap().len(), 3);
        let rest = groups::members(db, "staff", 10, Some(world.user.id)).await.unwrap();
        assert_eq!(rest.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(), ["bob", "carol"]);
        assert_eq!(groups::remove(db, "staff", Some(at(0)), at(2), &event("group.remove")).await.unwrap(), Removal::Changed);
        assert_eq!(groups::remove(db, "staff", None, at(2), &event("group.remove")).await.unwrap(), Removal::Changed);
        assert_eq!(groups::remove(db, "staff", Some(at(1)), at(2), &event("group.remove")).await.unwrap(), Removal::Done);
        assert!(groups::members(db, "staff", 10, None).await.unwrap().is_empty());
        assert!(users::find(db, world.user.id).await.unwrap().unwrap().groups.is_empty());
        let before = audit::list(db, 100, None).await.unwrap().len();
        assert_eq!(groups::remove(db, "staff", None, at(2), &event("group.remove")).await.unwrap(), Removal::Nothing);
        assert_eq!(audit::list(db, 100, None).await.unwrap().len(), before, "nothing happened, nothing is told");
    }

    async fn more_people_than_one_unit_of_work_takes_leave_a_group(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        for number in 0..1002 {
            let name = format!("person-{number}");
            let person = User { groups: vec!["crowd".to_owned(), "staff".to_owned()], ..user(&name) };
            users::insert(db, &person, None, &event("user.add")).await.unwrap();
        }
        let removal = groups::remove(db, "crowd", None, at(2), &event("group.remove")).await.unwrap();
        assert_eq!(removal, Removal::Done, "nobody described it");
        assert!(groups::members(db, "crowd", 10, None).await.unwrap().is_empty());
        assert_eq!(groups::members(db, "staff", 2000, None).await.unwrap().len(), 1003);
    }

    async fn a_person_is_changed_by_one_of_two_who_saw_the_same(kind) {
        let world = World::new(kind).await;
        for round in 0..crate::harness::rounds(10, 100) {
            let before = users::find(&world.store.db, world.user.id).await.unwrap().unwrap();
            let after = |name: &str| User {
                groups: vec![format!("{name}-{round}")],
                updated_at: at(u64::try_from(round).unwrap() + 1),
                ..before.clone()
            };
            let (one, two) = (world.store.replica().await, world.store.replica().await);
            let (first, second, event_one, event_two) = (after("first"), after("second"), event("user.update"), event("user.update"));
            let (first, second) =
                tokio::join!(users::update(&one, &before, &first, &event_one), users::update(&two, &before, &second, &event_two));
            let (first, second) = (first.unwrap(), second.unwrap());
            assert_ne!(first, second);
            let left = users::find(&world.store.db, world.user.id).await.unwrap().unwrap().groups;
            assert_eq!(left, [format!("{}-{round}", if first { "first" } else { "second" })]);
            assert_eq!(groups::members(&world.store.db, &left[0], 10, None).await.unwrap().len(), 1);
        }
    }

    async fn a_person_is_removed_with_all_that_hangs_on_them(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (_, family) = world.redeemed(true).await;
        let code = world.code(false).await;
        assert!(users::remove(db, &world.user, at(1), &event("user.remove")).await.unwrap());
        assert!(users::find(db, world.user.id).await.unwrap().is_none());
        assert!(chancery::storage::families::find(db, family.id).await.unwrap().is_none());
        assert!(chancery::storage::codes::find(db, &code.digest).await.unwrap().is_none());
        assert!(chancery::storage::sessions::find(db, &world.cookie).await.unwrap().is_none());
        assert!(groups::members(db, "staff", 10, None).await.unwrap().is_empty());
        assert!(!users::remove(db, &world.user, at(1), &event("user.remove")).await.unwrap());
    }
}
