//! Groups and memberships at rest, races included.

use chancery::args;
use chancery::oidc::groups::Group;
use chancery::oidc::user::User;
use chancery::secret::Digest;
use chancery::storage::groups::{self, Kept, Removal};
use chancery::storage::{Db, Kind, StoreError, audit, migrate, users};
use sqlx::Connection as _;

use super::Store;
use super::fixtures::{NOW, World, at, event, id, user};

fn group(identifier: &str, roles: &[&str]) -> Kept {
    let group = Group {
        identifier: identifier.to_owned(),
        name: None,
        description: None,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    Kept { group, created_at: at(0), updated_at: at(0) }
}

/// Applies the scripts up to this one, as the version of that time did.
async fn migrate_to(store: &Store, newest: &str) {
    let (folder, create) = match store.db.kind() {
        Kind::Sqlite => (
            "sqlite",
            "(number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL, applied_at INTEGER NOT NULL) STRICT",
        ),
        Kind::Postgres => (
            "postgres",
            "(number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum BYTEA NOT NULL, applied_at BIGINT NOT NULL)",
        ),
    };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let at = names.iter().position(|name| name.starts_with(newest)).unwrap();
    let scripts: Vec<(&str, String)> = names[..=at]
        .iter()
        .map(|name| (name.strip_suffix(".sql").unwrap(), std::fs::read_to_string(folder.join(name)).unwrap()))
        .collect();
    let all: String = scripts.iter().map(|(_, script)| script.as_str()).collect();
    let all = sqlx::raw_sql(sqlx::AssertSqlSafe(all));
    match store.config.url.expose().strip_prefix("sqlite://") {
        Some(file) => drop(all.execute(&mut sqlx::SqliteConnection::connect(file).await.unwrap()).await.unwrap()),
        None => drop(all.execute(&mut sqlx::PgConnection::connect(store.config.url.expose()).await.unwrap()).await.unwrap()),
    }
    let create: &'static str = Box::leak(format!("CREATE TABLE schema_migrations {create}").into_boxed_str());
    store.db.execute(create, args![]).await.unwrap();
    for (number, (name, script)) in (1_i64..).zip(scripts) {
        let insert = "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";
        store.db.execute(insert, args![number, name, Digest::of(script.as_bytes()), NOW]).await.unwrap();
    }
}

on_both! {
    async fn people_who_were_in_groups_before_groups_had_a_table_are_found_by_them(kind) {
        let store = Store::empty(kind).await;
        migrate_to(&store, "0008").await;
        let held = [("ada", r#"["staff","orders/eu \u00fc"]"#), ("bob", "[]"), ("carol", r#"["staff","staff"]"#), ("dave", r#"["x"]"#)];
        let insert = "INSERT INTO users (id, sub, username, canonical_username, enabled, admin, group_names, claims, created_at, updated_at)
                      VALUES ($1, $2, $2, $2, 1, 0, $3, '{}', $4, $4)";
        for (name, groups) in held {
            store.db.execute(insert, args![id(), name, groups, NOW]).await.unwrap();
        }
        migrate::run(&store.db, NOW).await.unwrap();
        for (group, people) in [("staff", vec!["ada", "carol"]), ("orders/eu ü", vec!["ada"]), ("x", vec!["dave"]), ("y", vec![])] {
            let found = groups::members(&store.db, group, 10, None).await.unwrap();
            let mut found: Vec<&str> = found.iter().map(|user| user.username.as_str()).collect();
            found.sort_unstable();
            assert_eq!(found, people, "{group}");
        }
        // What the triggers keep from then on begins with what was filled in.
        groups::insert(&store.db, &group("staff", &["clerk"]), &event("group.add")).await.unwrap();
        let removed = groups::remove(&store.db, "staff", Some(at(0)), at(1), &event("group.remove")).await.unwrap();
        assert_eq!(removed, Removal::Done);
        assert!(groups::members(&store.db, "staff", 10, None).await.unwrap().is_empty());
        assert_eq!(groups::members(&store.db, "orders/eu ü", 10, None).await.unwrap()[0].groups, ["orders/eu ü"]);
    }

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

    async fn nobody_changes_a_person_between_look_and_change(kind) {
        let world = World::new(kind).await;
        let id = world.user.id;
        let join = |db: Db, name: String| async move {
            let changed = users::change(&db, id, move |before| {
                let groups = before.groups.iter().cloned().chain([name]).collect();
                Ok::<_, StoreError>(Some((User { groups, ..before.clone() }, event("user.update"))))
            });
            changed.await.unwrap().unwrap()
        };
        let (one, two) = (world.store.replica().await, world.store.replica().await);
        let before = users::find(&one, id).await.unwrap().unwrap().groups.len();
        let rounds = crate::harness::rounds(10, 100);
        for round in 0..rounds {
            tokio::join!(join(one.clone(), format!("first-{round}")), join(two.clone(), format!("second-{round}")));
        }
        let left = users::find(&world.store.db, id).await.unwrap().unwrap().groups;
        assert_eq!(left.len(), before + 2 * rounds, "{left:?}");
        assert_eq!(groups::members(&world.store.db, "first-0", 10, None).await.unwrap().len(), 1);
    }

    async fn who_is_not_to_be_changed_stays_as_they_are(kind) {
        let world = World::new(kind).await;
        let (db, id) = (&world.store.db, world.user.id);
        let refusal = || StoreError::Conflict("no".to_owned());
        assert_eq!(users::change(db, id, move |_| Err(refusal())).await, Err(refusal()));
        assert_eq!(users::change(db, id, |_| Ok::<_, StoreError>(None)).await, Ok(Some(world.user.clone())));
        assert_eq!(users::remove(db, id, move |_| Err(refusal())).await, Err(refusal()));
        assert_eq!(users::find(db, id).await, Ok(Some(world.user.clone())));
        assert_eq!(users::change(db, uuid::Uuid::nil(), |_| Ok::<_, StoreError>(None)).await, Ok(None));
    }

    async fn a_person_is_removed_with_all_that_hangs_on_them(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (_, family) = world.redeemed(true).await;
        let code = world.code(false).await;
        let remove = || users::remove(db, world.user.id, |_| Ok::<_, StoreError>(event("user.remove")));
        assert!(remove().await.unwrap().is_some());
        assert!(users::find(db, world.user.id).await.unwrap().is_none());
        assert!(chancery::storage::families::find(db, family.id).await.unwrap().is_none());
        assert!(chancery::storage::codes::find(db, &code.digest).await.unwrap().is_none());
        assert!(chancery::storage::sessions::find(db, &world.cookie).await.unwrap().is_none());
        assert!(groups::members(db, "staff", 10, None).await.unwrap().is_empty());
        assert!(remove().await.unwrap().is_none());
    }
}
