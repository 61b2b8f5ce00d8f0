//! `/clients`: what each operation does.

use chancery::storage::owners::{self, Object, Owned};
use futures_util::future::join_all;
use serde_json::json;

use super::rows::{client_file, resource_file, resource_path};

use crate::harness::{Admin, Server, on_both, rounds, unique};

on_both![
    a_client_is_made_shown_changed_and_removed,
    put_is_create_or_replace_and_repeating_it_changes_nothing,
    secrets_are_told_once_and_two_live,
    what_was_seen_is_what_is_changed,
    simultaneous_changes_lose_nothing,
    many_changes_at_once_are_all_made,
    an_id_that_comes_back_revives_nothing,
    what_a_set_up_file_keeps_is_marked_and_read_only,
];

async fn a_client_is_made_shown_changed_and_removed(server: Server) {
    let admin = server.admin("admin:write").await;
    let made = admin.post("/clients", client_file()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let client_id = made.str("client_id");
    assert_eq!(made.header("location"), format!("{}/admin/api/v1/clients/{client_id}", server.issuer));
    let path = format!("/clients/{client_id}");
    let shown = admin.get(&path).await.ok();
    assert_eq!(shown.header("etag"), made.header("etag"));
    assert_eq!((shown.str("client_name"), shown.json()["enabled"].as_bool()), ("Shop".to_owned(), Some(true)));
    // RFC 7396: what is not sent is not touched, null takes away.
    let changed = admin.patch(&path, json!({ "client_uri": "https://shop.example/", "client_name": null })).await.ok();
    assert_eq!(changed.json()["client_name"], json!(null));
    assert_eq!(changed.json()["redirect_uris"], json!(["https://shop.example/cb"]));
    assert_ne!(changed.header("etag"), shown.header("etag"));
    assert_eq!(admin.call_with("GET", &path, None, &[("if-none-match", changed.header("etag"))]).await.status, 304);
    // The client works, and stops at once on this replica when it is turned off.
    let machine = admin.post("/clients", json!({ "grant_types": ["client_credentials"] })).await;
    let app = crate::harness::Client {
        site: server.site(),
        client_id: machine.str("client_id"),
        secret: Some(machine.str("client_secret")),
        redirect_uri: String::new(),
        posts: false,
    };
    app.token(&[("grant_type", "client_credentials")]).await.ok();
    admin.patch(&format!("/clients/{}", app.client_id), json!({ "enabled": false })).await.ok();
    app.token(&[("grant_type", "client_credentials")]).await.refused(401, "invalid_client");
    assert_eq!(admin.delete(&path).await.status, 204);
    admin.get(&path).await.problem(404, "admin-not-found");
    admin.delete(&path).await.problem(404, "admin-not-found");
    admin.patch(&path, json!({})).await.problem(404, "admin-not-found");
}

async fn put_is_create_or_replace_and_repeating_it_changes_nothing(server: Server) {
    let admin = server.admin("admin:write").await;
    let path = format!("/clients/{}", unique("shop"));
    let made = admin.put(&path, client_file()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.header("location"), format!("{}/admin/api/v1{path}", server.issuer));
    assert_eq!(made.str("client_secret").len(), 43);
    let events = server.audit().await.len();
    for _ in 0..2 {
        let again = admin.put(&path, client_file()).await.ok();
        assert_eq!(again.json()["client_secret"], json!(null), "told once");
        assert_eq!(again.header("etag"), made.header("etag"));
    }
    // What was read may be sent back as it is.
    let shown = admin.get(&path).await.ok().json();
    admin.put(&path, shown.clone()).await.ok();
    assert_eq!(server.audit().await.len(), events);
    // Replaced: what is left out has its default.
    let mut more = client_file();
    more["client_uri"] = json!("https://shop.example/");
    more["enabled"] = json!(false);
    assert_eq!(admin.put(&path, more).await.ok().json()["enabled"], false);
    let replaced = admin.put(&path, client_file()).await.ok().json();
    assert_eq!((&replaced["client_uri"], &replaced["enabled"]), (&json!(null), &json!(true)));
    // What the server sets cannot be changed that way.
    let mut forged = shown;
    forged["client_id_issued_at"] = json!(1);
    admin.put(&path, forged).await.problem(422, "document-refused").about("pointer", "/client_id_issued_at");
    // Only to make it: never over another.
    admin.call_with("PUT", &path, Some(&client_file()), &[("if-none-match", "*")]).await.problem(412, "precondition-failed");
    let absent = format!("/clients/{}", unique("shop"));
    admin.call_with("PUT", &absent, Some(&client_file()), &[("if-match", "*")]).await.problem(412, "precondition-failed");
    assert_eq!(admin.call_with("PUT", &absent, Some(&client_file()), &[("if-none-match", "*")]).await.status, 201);
}

///
async fn secrets_are_told_once_and_two_live(server: Server) {
    let admin = server.admin("admin:write").await;
    let made = admin.post("/clients", client_file()).await;
    let (client_id, first) = (made.str("client_id"), made.str("client_secret"));
    let path = format!("/clients/{client_id}");
    let app = |secret: &str| crate::harness::Client {
        site: server.site(),
        client_id: client_id.clone(),
        secret: Some(secret.to_owned()),
        redirect_uri: String::new(),
        posts: false,
    };
    let works = async |secret: &str| app(secret).call("/introspect", &[("token", "x")]).await.status == 200;
    let second = admin.call("POST", &format!("{path}/secrets"), None).await;
    assert_eq!(second.status, 201, "{}", second.text);
    assert!(works(&first).await && works(&second.str("client_secret")).await);
    admin.call("POST", &format!("{path}/secrets"), None).await.problem(409, "admin-conflict");
    for text in [
        admin.get(&path).await.ok().text,
        admin.get(&format!("{path}/secrets")).await.ok().text,
        admin.get("/clients").await.ok().text,
    ] {
        assert!(!text.contains(&first) && !text.contains(&second.str("client_secret")), "{text}");
    }
    let secrets = admin.get(&format!("{path}/secrets")).await.ok().json();
    assert_eq!(secrets["items"][0]["id"], second.str("id"), "the newest first");
    let oldest = secrets["items"][1]["id"].as_str().unwrap().to_owned();
    assert_eq!(admin.delete(&format!("{path}/secrets/{oldest}")).await.status, 204);
    assert!(!works(&first).await && works(&second.str("client_secret")).await);
    admin.delete(&format!("{path}/secrets/{oldest}")).await.problem(404, "admin-not-found");
    admin.delete(&format!("{path}/secrets/{}", second.str("id"))).await.problem(409, "admin-conflict");
    let third = admin.call("POST", &format!("{path}/secrets"), None).await;
    assert_eq!(admin.delete(&format!("{path}/secrets")).await.status, 204);
    assert!(!works(&second.str("client_secret")).await && works(&third.str("client_secret")).await);
    assert_eq!(admin.delete(&format!("{path}/secrets")).await.status, 204, "once more is nothing");
    // Of two that end one secret each, one is refused: the client is never locked out.
    let fourth = admin.call("POST", &format!("{path}/secrets"), None).await;
    let ends = [&third, &fourth].map(|secret| {
        let (admin, path) = (admin.clone(), format!("{path}/secrets/{}", secret.str("id")));
        async move { admin.delete(&path).await.status }
    });
    let mut statuses = join_all(ends).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    // No secret for those who do not authenticate; one for those who begin to.
    let public = json!({ "redirect_uris": ["https://spa.example/"], "token_endpoint_auth_method": "none" });
    let public = admin.post("/clients", public).await;
    assert_eq!(public.json()["client_secret"], json!(null));
    let path = format!("/clients/{}", public.str("client_id"));
    admin.call("POST", &format!("{path}/secrets"), None).await.problem(409, "admin-conflict");
    let told = admin.patch(&path, json!({ "token_endpoint_auth_method": "client_secret_basic" })).await.ok();
    assert_eq!(told.str("client_secret").len(), 43);
    assert!(!server.dump().await.contains(&told.str("client_secret")));
}

/// RFC 9110 §13.1.
async fn what_was_seen_is_what_is_changed(server: Server) {
    let admin = server.admin("admin:write").await;
    let made = admin.post("/clients", client_file()).await;
    let (path, seen) = (format!("/clients/{}", made.str("client_id")), made.header("etag").to_owned());
    let name = |name: &str| json!({ "client_name": name });
    let changed = admin.call_with("PATCH", &path, Some(&name("One")), &[("if-match", &seen)]).await.ok();
    let now = changed.header("etag").to_owned();
    let refused = admin.call_with("PATCH", &path, Some(&name("Two")), &[("if-match", &seen)]).await;
    let refused = refused.problem(412, "precondition-failed").about("header", "if-match");
    assert!(server.explain(&refused.trace_id()).await.received.is_some_and(|there| there == now));
    admin.call_with("PUT", &path, Some(&client_file()), &[("if-match", &seen)]).await.problem(412, "precondition-failed");
    admin.call_with("DELETE", &path, None, &[("if-match", &seen)]).await.problem(412, "precondition-failed");
    // A weak tag matches nothing here.
    admin.call_with("DELETE", &path, None, &[("if-match", &format!("W/{now}"))]).await.problem(412, "precondition-failed");
    assert_eq!(admin.get(&path).await.str("client_name"), "One");
    // Of many with the same tag one wins, on whichever replica.
    let other = server.replica().await;
    let rivals = (0..8).map(|number| {
        let rival = crate::harness::Admin { site: if number % 2 == 0 { server.site() } else { other.site() }, ..admin.clone() };
        let (path, now) = (path.clone(), now.clone());
        async move { rival.call_with("PATCH", &path, Some(&name(&format!("Rival {number}"))), &[("if-match", &now)]).await.status }
    });
    let statuses = join_all(rivals).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");
    let now = admin.get(&path).await.ok();
    assert_eq!(admin.call_with("DELETE", &path, None, &[("if-match", now.header("etag"))]).await.status, 204);
}

/// Without a condition, changes of different members do not undo each other.
async fn simultaneous_changes_lose_nothing(server: Server) {
    let admin = server.admin("admin:write").await;
    let path = format!("/clients/{}", admin.post("/clients", client_file()).await.str("client_id"));
    let members = ["client_uri", "logo_uri", "policy_uri", "tos_uri"];
    let changes = members.map(|member| {
        let (admin, path) = (admin.clone(), path.clone());
        async move { admin.patch(&path, json!({ member: format!("https://shop.example/{member}") })).await.status }
    });
    assert_eq!(join_all(changes).await, [200; 4]);
    let shown = admin.get(&path).await.ok().json();
    for member in members {
        assert_eq!(shown[member], format!("https://shop.example/{member}"));
    }
    // Many who want the same client make it once.
    let wanted = format!("/clients/{}", unique("shop"));
    let puts = (0..6).map(|_| {
        let (admin, wanted) = (admin.clone(), wanted.clone());
        async move { admin.put(&wanted, client_file()).await.status }
    });
    let mut statuses = join_all(puts).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);
}

/// However many there are: nobody is told to come again because others were faster.
async fn many_changes_at_once_are_all_made(server: Server) {
    let admin = server.admin("admin:write").await;
    let replica = server.replica().await;
    let elsewhere = Admin { site: replica.site(), ..admin.clone() };
    let client = format!("/clients/{}", admin.post("/clients", client_file()).await.str("client_id"));
    let (api, group) = (format!("https://{}.example", unique("api")), unique("group"));
    admin.post("/resources", resource_file(&api, &unique("scope"))).await;
    admin.post("/groups", json!({ "identifier": group })).await;
    for (path, member) in [(client, "client_name"), (resource_path(&api), "name"), (format!("/groups/{group}"), "description")] {
        for _ in 0..rounds(3, 20) {
            let changes = (0..24).map(|number| {
                let admin = if number % 2 == 0 { admin.clone() } else { elsewhere.clone() };
                let (path, change) = (path.clone(), json!({ member: format!("the {number}th") }));
                tokio::spawn(async move { admin.patch(&path, change).await })
            });
            for changed in join_all(changes).await {
                changed.unwrap().ok();
            }
        }
    }
}

/// `chancery apply`: what a file keeps is changed by the file.
async fn what_a_set_up_file_keeps_is_marked_and_read_only(server: Server) {
    let admin = server.admin("admin:write").await;
    let client_id = admin.post("/clients", client_file()).await.str("client_id");
    let identifier = "https://kept.example";
    assert_eq!(admin.post("/resources", resource_file(identifier, "kept:read")).await.status, 201);
    let group_file = json!({ "identifier": "kept-staff", "name": "Staff" });
    assert_eq!(admin.post("/groups", group_file.clone()).await.status, 201);
    let objects = [Object::client(&client_id), Object::resource(identifier), Object::group("kept-staff")];
    server
        .app
        .db
        .transaction("own", move |tx| {
            Box::pin(async move {
                for object in objects {
                    let owned = Owned { object, owner: "apps".to_owned(), secrets: true };
                    owners::own_tx(tx, &owned, chancery::clock::Timestamp::from_seconds(0)).await?;
                }
                Ok::<(), chancery::storage::StoreError>(())
            })
        })
        .await
        .unwrap();
    let (client, resource) = (format!("/clients/{client_id}"), resource_path(identifier));
    let events = server.audit().await.len();
    for (path, put, patch) in [
        (&client, client_file(), json!({ "client_name": "Mine" })),
        (&resource, resource_file(identifier, "kept:read"), json!({ "name": "Mine" })),
        (&"/groups/kept-staff".to_owned(), group_file, json!({ "name": "Mine" })),
    ] {
        assert_eq!(admin.get(path).await.ok().str("owner"), "apps");
        admin.patch(path, patch).await.problem(409, "admin-conflict");
        admin.put(path, put).await.problem(409, "admin-conflict");
        let refused = admin.delete(path).await.problem(409, "admin-conflict");
        assert!(refused.str("detail").contains("apps"), "{}", refused.text);
    }
    admin.call("POST", &format!("{client}/secrets"), None).await.problem(409, "admin-conflict");
    assert_eq!(server.audit().await.len(), events);
    let lists =
        [("/clients?limit=200", client_id.as_str()), ("/resources?limit=200", identifier), ("/groups?limit=200", "kept-staff")];
    for (list, id) in lists {
        let items = admin.get(list).await.ok().json()["items"].as_array().unwrap().clone();
        let is_it = |item: &&serde_json::Value| item["client_id"] == *id || item["identifier"] == *id;
        assert_eq!(items.iter().find(is_it).unwrap()["owner"], "apps");
        assert_eq!(items.iter().filter(|item| !item["owner"].is_null()).count(), 1);
    }
}

/// an id that an operator chose may be given again; what the client before held does not come back with it.
async fn an_id_that_comes_back_revives_nothing(server: Server) {
    let admin = server.admin("admin:write").await;
    let client_id = unique("night-job");
    let path = format!("/clients/{client_id}");
    let file = json!({ "grant_types": ["client_credentials"], "scope": "admin:read" });
    let machine = async || {
        let secret = admin.put(&path, file.clone()).await.str("client_secret");
        let (site, redirect_uri) = (server.site(), String::new());
        crate::harness::Client { site, client_id: client_id.clone(), secret: Some(secret), redirect_uri, posts: false }
    };
    let first = machine().await;
    let old = server.admin_token(&first).await;
    assert!(first.is_active(&old).await);
    admin.with_token(&old).get("/clients").await.ok();
    assert_eq!(admin.delete(&path).await.status, 204);
    server.wait(std::time::Duration::from_secs(10));
    let second = machine().await;
    first.token(&[("grant_type", "client_credentials")]).await.refused(401, "invalid_client");
    assert!(!second.is_active(&old).await);
    admin.with_token(&old).get("/clients").await.problem(401, "token-revoked");
    let new = server.admin_token(&second).await;
    assert!(second.is_active(&new).await);
}
