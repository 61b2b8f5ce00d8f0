//! Migrations: once, under a lock, never over a newer schema; and every statement fits the schema on both databases.

use chancery::args;
use chancery::clock::Timestamp;
use chancery::storage::{StoreError, migrate};

use super::Store;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

async fn two_start_together(kind: chancery::storage::Kind, rounds: usize) {
    for _ in 0..rounds {
        let store = Store::empty(kind).await;
        let (one, two) = (store.replica().await, store.replica().await);
        let (first, second) = tokio::join!(
            tokio::spawn(async move { migrate::run(&one, NOW).await }),
            tokio::spawn(async move { migrate::run(&two, NOW).await })
        );
        let (first, second) = (first.unwrap().unwrap(), second.unwrap().unwrap());
        assert_eq!(first.len() + second.len(), usize::try_from(migrate::newest()).unwrap());
        assert!(first.is_empty() || second.is_empty());
    }
}

on_both! {
    async fn every_statement_fits_the_schema(kind) {
        let store = Store::empty(kind).await;
        migrate::run(&store.db, NOW).await.unwrap();
        let mut refused = Vec::new();
        for (name, sql) in chancery::storage::statements() {
            for statement in sql.statements(kind) {
                if let Err(error) = store.db.prepare(statement).await {
                    refused.push(format!("{name}: {error}"));
                }
            }
        }
        assert!(refused.is_empty(), "{}", refused.join("\n"));
    }

    async fn replicas_that_start_together_migrate_once(kind) {
        two_start_together(kind, crate::harness::rounds(10, 50)).await;
    }

    async fn pending_scripts_are_named_and_refused_until_they_are_applied(kind) {
        let store = Store::empty(kind).await;
        assert_eq!(migrate::pending(&store.db).await.unwrap().len(), usize::try_from(migrate::newest()).unwrap());
        assert!(matches!(migrate::require_current(&store.db).await, Err(StoreError::Schema(_))));
        migrate::run(&store.db, NOW).await.unwrap();
        assert!(migrate::pending(&store.db).await.unwrap().is_empty());
        migrate::require_current(&store.db).await.unwrap();
        assert!(migrate::run(&store.db, NOW).await.unwrap().is_empty());
    }

    async fn a_newer_schema_is_refused(kind) {
        let store = Store::empty(kind).await;
        migrate::run(&store.db, NOW).await.unwrap();
        let insert = "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";
        store.db.execute(insert, args![migrate::newest() + 1, "later", [0_u8; 32], NOW]).await.unwrap();
        for refused in [migrate::run(&store.db, NOW).await.map(drop), migrate::require_current(&store.db).await] {
            assert!(matches!(&refused, Err(StoreError::Schema(why)) if why.contains("newer")), "{refused:?}");
        }
        // Who is running already goes on, as long as nothing of its own is missing or other than it was.
        migrate::require_ours(&store.db).await.unwrap();
        store.db.execute("DELETE FROM schema_migrations WHERE number = $1", args![migrate::newest()]).await.unwrap();
        assert!(matches!(migrate::require_ours(&store.db).await, Err(StoreError::Schema(_))));
    }

    async fn a_script_that_was_changed_after_it_was_applied_is_refused(kind) {
        let store = Store::empty(kind).await;
        migrate::run(&store.db, NOW).await.unwrap();
        store.db.execute("UPDATE schema_migrations SET checksum = $1 WHERE number = 1", args![[7_u8; 32]]).await.unwrap();
        assert!(matches!(migrate::run(&store.db, NOW).await, Err(StoreError::Schema(_))));
    }
}

#[tokio::test]
async fn every_filter_of_the_audit_log_has_its_index() {
    let store = Store::empty(chancery::storage::Kind::Sqlite).await;
    migrate::run(&store.db, NOW).await.unwrap();
    let indexes = [
        ("PAGE", "audit_events_at"),
        ("PAGE_OF_TARGET", "audit_events_target"),
        ("PAGE_OF_ACTOR", "audit_events_actor"),
        ("PAGE_OF_ACTION", "audit_events_action"),
    ];
    for (name, index) in indexes {
        let wanted = format!("storage::audit::{name}");
        let (_, sql) = chancery::storage::statements().into_iter().find(|(known, _)| known.ends_with(&wanted)).unwrap();
        let explain = format!("EXPLAIN QUERY PLAN {}", sql.text(chancery::storage::Kind::Sqlite));
        let explain: &'static str = Box::leak(explain.into_boxed_str());
        let mut values = args![0, [0_u8; 16], 0, 1];
        if name != "PAGE" {
            values.extend(args!["x"]);
        }
        let plan = store.db.all(explain, values).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get("detail").unwrap()).collect();
        assert!(steps.len() == 1 && steps[0].contains(index) && steps[0].starts_with("SEARCH"), "{name}: {steps:?}");
    }
}

#[test]
fn sql_stands_in_the_statements_of_its_aggregate_and_drivers_in_db() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_db = |name: &str| name == "storage/db.rs" || name.starts_with("storage/db/");
    let mut wrong = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let name = path.strip_prefix(&src).unwrap().display().to_string();
            if !is_db(&name) && text.contains("sqlx::") {
                wrong.push(format!("{name} names a SQL driver"));
            }
            let verb = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "PRAGMA "].iter().find(|verb| {
                let call = |name: &str| text.contains(&format!(".{name}(\"{verb}"));
                call("optional")
                    || call("all")
                    || call("execute")
                    || call("returning")
                    || text.contains(&format!("Sql::Both(\"{verb}"))
            });
            if let Some(verb) = verb.filter(|_| !is_db(&name)) {
                wrong.push(format!("{name} has SQL outside of `statements!`: {verb}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
