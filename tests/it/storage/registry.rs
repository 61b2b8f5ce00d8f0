//! Clients, resources and people: what operators keep.

use chancery::args;
use chancery::clock::Timestamp;
use chancery::oauth::resource::Resource;
use chancery::storage::{Kind, StoreError, audit, clients, families, resources, users};

use super::fixtures::{self, World, at, client, event, secret, user};

fn orders(scope: &str) -> Resource {
    serde_json::from_value(serde_json::json!({
        "identifier": format!("https://{scope}.example.com"), "name": "Orders", "scopes": [{"name": scope, "description": "Read"}]
    }))
    .unwrap()
}

/// No client can be removed, the last thing that a removal does; and how to end that.
fn hindrance(kind: Kind) -> (&'static [&'static str], &'static str) {
    match kind {
        Kind::Sqlite => {
            (&["CREATE TRIGGER hinder BEFORE DELETE ON clients BEGIN SELECT RAISE(ABORT, 'no'); END"], "DROP TRIGGER hinder")
        }
        Kind::Postgres => (
            &[
                "CREATE FUNCTION hinder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$",
                "CREATE TRIGGER hinder BEFORE DELETE ON clients EXECUTE FUNCTION hinder()",
            ],
            "DROP TRIGGER hinder ON clients",
        ),
    }
}

on_both! {
    async fn a_client_comes_back_as_it_was_stored(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let found = clients::find(db, "app").await.unwrap().unwrap();
        assert_eq!(found.metadata, world.client.metadata);
        assert_eq!((found.enabled, found.metadata_version, found.created_at), (true, 1, world.client.created_at));
        assert_eq!(found.secrets.len(), 1);
        assert_eq!(found.secrets[0].digest, world.client.secrets[0].digest);
        assert!(clients::find(db, "App").await.unwrap().is_none());
        assert!(clients::find(db, "").await.unwrap().is_none());
    }

    async fn client_ids_are_unique_and_a_refused_insert_leaves_nothing(kind) {
        let world = World::new(kind).await;
        let refused = clients::insert(&world.store.db, &client("app"), &event("client.add.twice")).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
        assert_eq!(clients::find(&world.store.db, "app").await.unwrap().unwrap().secrets.len(), 1);
        let events = audit::list(&world.store.db, 100, None).await.unwrap();
        assert!(events.iter().all(|event| event.action != "client.add.twice"));
    }

    async fn clients_are_listed_in_pages(kind) {
        let world = World::new(kind).await;
        for name in ["d", "b", "c"] {
            clients::insert(&world.store.db, &client(name), &event("client.add")).await.unwrap();
        }
        let page = clients::list(&world.store.db, 3, None).await.unwrap();
        assert_eq!(page.iter().map(|client| client.client_id.as_str()).collect::<Vec<_>>(), ["app", "b", "c"]);
        assert!(page.iter().all(|client| client.secrets.len() == 1));
        let rest = clients::list(&world.store.db, 3, Some("c")).await.unwrap();
        assert_eq!(rest.iter().map(|client| client.client_id.as_str()).collect::<Vec<_>>(), ["d"]);
    }

    async fn redirect_uris_are_read_in_pages_without_those_of_clients_that_are_off(kind) {
        let world = World::new(kind).await;
        for name in ["b", "c", "d"] {
            clients::insert(&world.store.db, &client(name), &event("client.add")).await.unwrap();
        }
        clients::set_enabled(&world.store.db, "b", false, at(1), &event("client.disable")).await.unwrap();
        let expected = client("app").metadata.redirect_uris;
        let page = clients::redirect_uris(&world.store.db, 2, None).await.unwrap();
        assert_eq!(page, [("app".to_owned(), expected.clone()), ("c".to_owned(), expected.clone())]);
        let rest = clients::redirect_uris(&world.store.db, 2, Some("c")).await.unwrap();
        assert_eq!(rest, [("d".to_owned(), expected)]);
        let mut without = client("e");
        without.metadata.redirect_uris.clear();
        clients::insert(&world.store.db, &without, &event("client.add")).await.unwrap();
        assert_eq!(clients::redirect_uris(&world.store.db, 2, Some("d")).await.unwrap(), [("e".to_owned(), Vec::new())]);
    }

    async fn of_two_updates_from_the_same_version_one_is_refused(kind) {
        let world = World::new(kind).await;
        let mut changed = world.client.clone();
        let seen = changed.updated_at;
        changed.updated_at = at(1);
        changed.metadata.client_name = Some("One".to_owned());
        assert!(clients::update(&world.store.db, fixtures::changed(&changed, seen), &event("client.update")).await.unwrap());
        changed.metadata.client_name = Some("Two".to_owned());
        assert!(!clients::update(&world.store.db, fixtures::changed(&changed, seen), &event("client.update")).await.unwrap());
        let found = clients::find(&world.store.db, "app").await.unwrap().unwrap();
        assert_eq!(found.metadata.client_name.as_deref(), Some("One"));
    }

    async fn a_client_has_at_most_two_live_secrets_even_when_many_are_added_at_once(kind) {
        let world = World::new(kind).await;
        let replica = world.store.replica().await;
        let added = futures_util::future::join_all((0..10).map(|number| {
            let db = if number % 2 == 0 { world.store.db.clone() } else { replica.clone() };
            async move { clients::add_secret(&db, "app", &secret(at(number)), at(number), &event("client.secret")).await.unwrap() }
        }))
        .await;
        assert_eq!(added.into_iter().filter(|added| *added).count(), 1);
        assert_eq!(clients::find(&world.store.db, "app").await.unwrap().unwrap().secrets.len(), 2);
    }

    async fn a_rotated_secret_leaves_the_newest_old_one_alive_until_its_time(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (second, third) = (secret(at(10)), secret(at(20)));
        assert!(clients::rotate_secret(db, "app", &second, at(1000), at(10), &event("rotate")).await.unwrap());
        assert!(clients::rotate_secret(db, "app", &third, at(2000), at(20), &event("rotate")).await.unwrap());
        let secrets = clients::find(db, "app").await.unwrap().unwrap().secrets;
        let expiries: Vec<_> = secrets.iter().map(|secret| secret.expires_at).collect();
        assert_eq!(expiries, [None, Some(at(2000)), Some(at(20))]);
        assert!(clients::expire_secret(db, "app", second.id, at(30), &event("expire")).await.unwrap());
        assert!(!clients::expire_secret(db, "app", second.id, at(40), &event("expire")).await.unwrap(), "never prolonged");
        assert!(!clients::rotate_secret(db, "nobody", &secret(at(20)), at(1), at(1), &event("rotate")).await.unwrap());
    }

    async fn a_removed_client_is_gone_with_its_secrets_consents_and_grants(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (complete, family) = world.redeemed(true).await;
        assert!(clients::remove(db, "app", at(5), &event("client.remove")).await.unwrap());
        assert!(!clients::remove(db, "app", at(5), &event("client.remove")).await.unwrap());
        assert!(clients::find(db, "app").await.unwrap().is_none());
        // The same id once more: nothing of the old one revives.
        clients::insert(db, &client("app"), &event("client.add")).await.unwrap();
        let facts = families::find(db, family.id).await.unwrap().unwrap();
        assert!(facts.standing.client_enabled);
        assert_eq!(facts.standing.grant.ended_because.as_deref(), Some("client removed"));
        assert_eq!(facts.standing.grant.id, complete.grant.id);
    }

    async fn a_removal_in_steps_that_stops_half_way_goes_on_when_it_is_repeated(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (_, family) = world.redeemed(true).await;
        // More than one step ends.
        let many = match kind {
            Kind::Sqlite => "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2100)
                             INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, amr, offline, created_at, expires_at)
                             SELECT randomblob(16), 'app', $1, 's', 'openid', '[]', 1, '[]', 1, 1, $2 FROM n",
            Kind::Postgres => "INSERT INTO grants (id, client_id, user_id, sub, scopes, resources, auth_time, amr, offline, created_at, expires_at)
                               SELECT decode(md5('grant ' || n), 'hex'), 'app', $1, 's', 'openid', '[]', 1, '[]', 1, 1, $2
                               FROM generate_series(1, 2100) AS n",
        };
        db.execute(many, args![world.user.id, at(1000)]).await.unwrap();
        let alive = async || {
            let rows = db.all("SELECT COUNT(*) AS alive FROM grants WHERE ended_at IS NULL", args![]).await.unwrap();
            rows[0].get::<i64>("alive").unwrap()
        };
        let (hinder, unhinder) = hindrance(kind);
        for statement in hinder {
            db.execute(*statement, args![]).await.unwrap();
        }
        assert!(clients::remove(db, "app", at(5), &event("client.remove")).await.is_err());
        // Off, so that nothing of it works, also what has not ended yet.
        assert!(!clients::find(db, "app").await.unwrap().unwrap().enabled);
        assert!(alive().await <= 101);
        assert!(!families::find(db, family.id).await.unwrap().unwrap().standing.client_enabled);
        db.execute(unhinder, args![]).await.unwrap();
        // Somebody turns it on again in between.
        clients::set_enabled(db, "app", true, at(6), &event("client.enable")).await.unwrap();
        assert!(clients::remove(db, "app", at(7), &event("client.remove")).await.unwrap());
        assert!(clients::find(db, "app").await.unwrap().is_none());
        assert_eq!(alive().await, 0);
        let removals = audit::list(db, 100, None).await.unwrap().into_iter().filter(|event| event.action == "client.remove");
        assert_eq!(removals.count(), 1);
    }

    async fn a_removal_that_fails_half_way_leaves_the_client_as_it_was(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (_, family) = world.redeemed(true).await;
        let (hinder, unhinder) = hindrance(kind);
        for statement in hinder {
            db.execute(*statement, args![]).await.unwrap();
        }
        assert!(clients::remove(db, "app", at(5), &event("client.remove")).await.is_err());
        let left = clients::find(db, "app").await.unwrap().unwrap();
        assert!(left.enabled && left.updated_at == world.client.updated_at);
        let facts = families::find(db, family.id).await.unwrap().unwrap();
        assert_eq!(facts.standing.grant.ended_because, None);
        db.execute(unhinder, args![]).await.unwrap();
        assert!(clients::remove(db, "app", at(5), &event("client.remove")).await.unwrap());
    }

    async fn a_scope_belongs_to_one_resource(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let (first, mut second) = (orders("orders"), orders("invoices"));
        resources::insert(db, &first, at(0), &event("resource.add")).await.unwrap();
        resources::insert(db, &second, at(0), &event("resource.add")).await.unwrap();
        assert!(matches!(resources::insert(db, &first, at(0), &event("resource.add")).await, Err(StoreError::Conflict(_))));
        second.scopes.push(first.scopes[0].clone());
        assert!(matches!(resources::update(db, &second, at(1), &event("resource.update")).await, Err(StoreError::Conflict(_))));
        assert_eq!(resources::find(db, &second.identifier).await.unwrap().unwrap().scopes.len(), 1, "rolled back");
        assert!(resources::remove(db, &first.identifier, &event("resource.remove")).await.unwrap());
        assert!(resources::update(db, &second, at(1), &event("resource.update")).await.unwrap());
        assert_eq!(resources::all(db).await.unwrap(), [second]);
        assert!(!resources::remove(db, &first.identifier, &event("resource.remove")).await.unwrap());
    }

    async fn people_are_found_by_canonical_name_id_and_sub(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        assert_eq!(users::find_by_username(db, &users::canonical("  ALICE ")).await.unwrap().unwrap(), world.user);
        assert_eq!(users::find(db, world.user.id).await.unwrap().unwrap(), world.user);
        assert_eq!(users::find_by_sub(db, &world.user.sub).await.unwrap().unwrap(), world.user);
        let (found, hash) = users::credentials(db, "alice").await.unwrap().unwrap();
        assert_eq!((found.id, hash.as_deref()), (world.user.id, Some("$argon2id$")));
        assert!(users::credentials(db, "bob").await.unwrap().is_none());
        let twice = users::insert(db, &user("aLiCe"), None, &event("user.add")).await;
        assert!(matches!(twice, Err(StoreError::Conflict(_))));
        users::insert(db, &user("bob"), None, &event("user.add")).await.unwrap();
        assert_eq!(users::credentials(db, "bob").await.unwrap().unwrap().1, None);
        let second = users::list(db, 1, Some(world.user.id)).await.unwrap();
        assert_eq!(second[0].username, "bob");
    }

    async fn a_hash_is_upgraded_only_if_the_password_is_still_the_same(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        assert!(!users::rehash(db, world.user.id, "$other$", "$new$").await.unwrap());
        assert!(users::rehash(db, world.user.id, "$argon2id$", "$new$").await.unwrap());
        assert_eq!(users::password_hash(db, world.user.id).await.unwrap().as_deref(), Some("$new$"));
    }

    async fn a_search_that_finds_little_stops_and_says_where_to_go_on(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        crate::harness::fill_audit_log(db, 12_000).await;
        let rare = audit::AuditEvent { at: Timestamp::from_seconds(1), actor: "rare".to_owned(), ..event("test.fill") };
        audit::insert(db, &rare).await.unwrap();
        let by = |actor: &str, action: &str| audit::Filter {
            actor: Some(actor.to_owned()),
            action: Some(action.to_owned()),
            ..audit::Filter::default()
        };
        // By the actor, who has nothing of this: 5000 events are looked at, and no more.
        let (mut before, mut pages) = (None, 0);
        loop {
            let found = audit::search(db, &by("test", "something.else"), before, 10).await.unwrap();
            assert!(found.events.is_empty());
            pages += 1;
            before = found.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(pages, 3);
        let found = audit::search(db, &by("rare", "test.fill"), None, 10).await.unwrap();
        assert_eq!((found.events.len(), found.next), (1, None));
        // Every page of every size, over events of one instant too.
        for _ in 0..3 {
            audit::insert(db, &audit::AuditEvent { actor: "pair".to_owned(), ..event("test.pair") }).await.unwrap();
        }
        for limit in 1..5 {
            let filter = audit::Filter { actor: Some("pair".to_owned()), ..audit::Filter::default() };
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let found = audit::search(db, &filter, before, limit).await.unwrap();
                seen.extend(found.events.into_iter().map(|event| event.id));
                before = found.next;
                if before.is_none() {
                    break;
                }
            }
            assert!(seen.len() == 3 && seen.is_sorted_by(|a, b| a > b), "{limit}: {seen:?}");
        }
    }

    async fn the_audit_log_cannot_be_changed_even_with_sql(kind) {
        let world = World::new(kind).await;
        let db = &world.store.db;
        let events = audit::list(db, 100, None).await.unwrap();
        assert_eq!(events.iter().map(|event| event.action.as_str()).collect::<Vec<_>>(), ["session.begin", "client.add", "user.add"]);
        assert!(db.execute("UPDATE audit_events SET actor = 'x'", vec![]).await.is_err());
        assert!(db.execute("DELETE FROM audit_events", vec![]).await.is_err());
        assert_eq!(audit::list_for_target(db, "target", 2).await.unwrap().len(), 2);
        assert_eq!(audit::list(db, 100, Some(events[1].id)).await.unwrap().len(), 1);
    }
}
