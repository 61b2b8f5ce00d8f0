//! What a set-up file keeps, nobody else changes.

use std::future::Future;

use chancery::clock::Timestamp;
use chancery::oauth::resource::Resource;
use chancery::storage::owners::{self, Object, Owned};
use chancery::storage::{Db, StoreError, clients, resources};

use super::fixtures::{World, at, changed, client, event, secret};

fn orders() -> Resource {
    serde_json::from_value(serde_json::json!({
        "identifier": "https://orders.example.com", "name": "Orders", "scopes": [{"name": "orders:read", "description": "Read"}]
    }))
    .unwrap()
}

async fn give(db: &Db, object: Object, secrets: bool) {
    let owned = Owned { object, owner: "apps".to_owned(), secrets };
    db.transaction("give", move |tx| Box::pin(async move { owners::own_tx(tx, &owned, at(0)).await })).await.unwrap();
}

async fn refused<T: std::fmt::Debug>(change: impl Future<Output = Result<T, StoreError>>) {
    match change.await {
        Err(StoreError::Owned { owner, .. }) => assert_eq!(owner, "apps"),
        other => panic!("{other:?}"),
    }
}

async fn name_of(db: &Db) -> Option<String> {
    clients::find(db, "app").await.unwrap().unwrap().metadata.client_name
}

on_both! {
    async fn what_a_file_keeps_is_changed_by_nobody_else(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        resources::insert(db, &orders(), at(0), &event("resource.add")).await.unwrap();
        give(db, Object::client("app"), true).await;
        give(db, Object::resource("https://orders.example.com"), false).await;
        let e = event("refused");
        refused(clients::update(db, changed(&world.client, world.client.updated_at), &e)).await;
        refused(clients::set_enabled(db, "app", false, at(1), &e)).await;
        refused(clients::end_tokens(db, "app", at(1), &e)).await;
        refused(clients::remove(db, "app", at(1), &e)).await;
        refused(clients::remove_by(db, Some("other"), "app", at(1), &e)).await;
        refused(clients::add_secret(db, "app", &secret(at(1)), at(1), &e)).await;
        refused(clients::expire_secret(db, "app", world.client.secrets[0].id, at(1), &e)).await;
        refused(clients::rotate_secret(db, "app", &secret(at(1)), at(1), at(1), &e)).await;
        refused(resources::update(db, &orders(), at(1), &e)).await;
        refused(resources::remove(db, "https://orders.example.com", &e)).await;
        let found = clients::find(db, "app").await.unwrap().unwrap();
        assert!(found.enabled && found.secrets.len() == 1 && found.secrets[0].is_live(at(2)));
        assert!(resources::find(db, "https://orders.example.com").await.unwrap().is_some());
        let events = chancery::storage::audit::list(db, 100, None).await.unwrap();
        assert!(events.iter().all(|event| event.action != "refused"));
    }

    async fn secrets_that_the_file_does_not_name_are_open(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        give(db, Object::client("app"), false).await;
        assert!(clients::rotate_secret(db, "app", &secret(at(1)), at(9), at(1), &event("rotate")).await.unwrap());
        refused(clients::set_enabled(db, "app", false, at(1), &event("x"))).await;
    }

    async fn what_is_gone_has_no_owner(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        resources::insert(db, &orders(), at(0), &event("resource.add")).await.unwrap();
        give(db, Object::client("app"), true).await;
        assert!(clients::remove_by(db, Some("apps"), "app", at(1), &event("client.remove")).await.unwrap());
        assert_eq!(owners::find(db, &Object::client("app")).await.unwrap(), None);
        clients::insert(db, &client("app"), &event("client.add")).await.unwrap();
        assert!(clients::set_enabled(db, "app", false, at(1), &event("client.disable")).await.unwrap());
        // By hand, as an older version of this program or a person at the database would.
        give(db, Object::resource("https://orders.example.com"), false).await;
        db.execute("DELETE FROM resources", chancery::args![]).await.unwrap();
        assert_eq!(owners::find(db, &Object::resource("https://orders.example.com")).await.unwrap(), None);
    }

    async fn a_take_over_and_a_change_take_turns(kind) {
        for _ in 0..crate::harness::rounds(10, 100) {
            let world = World::new(kind).await;
            let (db, replica) = (world.store.db.clone(), world.store.replica().await);
            let mut by_hand = world.client.clone();
            by_hand.metadata.client_name = Some("By hand".to_owned());
            let take = tokio::spawn(async move {
                db.transaction("take", move |tx| Box::pin(async move {
                    owners::lock_tx(tx, &Object::client("app")).await?;
                    let owned = Owned { object: Object::client("app"), owner: "apps".to_owned(), secrets: false };
                    owners::own_tx(tx, &owned, at(0)).await?;
                    // What the file then reads is what it goes on from.
                    Ok::<Timestamp, StoreError>(clients::find_tx(tx, "app").await?.unwrap().updated_at)
                })).await.unwrap()
            });
            by_hand.updated_at = at(77);
            let changed = clients::update(&replica, changed(&by_hand, world.client.updated_at), &event("by hand")).await;
            let seen = take.await.unwrap();
            match changed {
                Ok(changed) => assert!(changed && seen == at(77), "a change that the file did not see"),
                Err(StoreError::Owned { .. }) => assert!(seen != at(77) && name_of(&replica).await.is_none()),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
