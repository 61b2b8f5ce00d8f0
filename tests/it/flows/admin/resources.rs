//! `/resources`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::rows::{resource_file, resource_path};
use crate::harness::{Server, on_both};

on_both![a_resource_is_made_shown_changed_and_removed, an_opaque_resource_works_as_it_is_made];

async fn a_resource_is_made_shown_changed_and_removed(server: Server) {
    let admin = server.admin("admin:write").await;
    let identifier = "https://orders.example/v1?a=b";
    let (path, file) = (resource_path(identifier), resource_file(identifier, "orders:read"));
    let made = admin.post("/resources", file.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(
        made.header("location"),
        format!("{}/admin/api/v1/resources/https%3A%2F%2Forders.example%2Fv1%3Fa%3Db", server.issuer)
    );
    let shown = admin.get(&path).await.ok();
    assert_eq!((shown.str("identifier").as_str(), shown.header("etag")), (identifier, made.header("etag")));
    admin.post("/resources", file.clone()).await.problem(409, "admin-conflict");
    // A scope belongs to one resource.
    admin
        .post("/resources", resource_file("https://other.example", "orders:read"))
        .await
        .problem(422, "document-refused")
        .about("pointer", "/scopes");
    for (name, value) in [
        ("identifier", json!("https://else.example")),
        ("scopes", json!([])),
        ("scopes", json!([{ "name": "admin:write" }])),
        ("access_token_lifetime", json!(1)),
        ("access_token_format", json!("paper")),
        ("scope", json!("orders:read")),
    ] {
        admin.patch(&path, json!({ name: value })).await.problem(422, "document-refused").about("pointer", &format!("/{name}"));
    }
    // The server's own can be neither taken nor changed.
    let own = resource_path(&format!("{}/admin/api", server.issuer));
    admin
        .put(&own, resource_file(&format!("{}/admin/api", server.issuer), "x"))
        .await
        .problem(422, "document-refused")
        .about("pointer", "/identifier");
    admin.get(&own).await.problem(404, "admin-not-found");

    let changed = admin.patch(&path, json!({ "access_token_lifetime": 60 })).await.ok();
    admin
        .call_with("PATCH", &path, Some(&json!({ "name": "Two" })), &[("if-match", made.header("etag"))])
        .await
        .problem(412, "precondition-failed");
    admin.call_with("PATCH", &path, Some(&json!({ "name": "Two" })), &[("if-match", changed.header("etag"))]).await.ok();
    let events = server.audit().await.len();
    let replaced = admin.put(&path, file.clone()).await.ok();
    assert_eq!(replaced.json()["access_token_lifetime"], Value::Null);
    assert_eq!(admin.put(&path, file.clone()).await.ok().header("etag"), replaced.header("etag"));
    assert_eq!(server.audit().await.len(), events + 1, "repeating it changes nothing");
    admin.call_with("DELETE", &path, None, &[("if-match", changed.header("etag"))]).await.problem(412, "precondition-failed");
    assert_eq!(admin.delete(&path).await.status, 204);
    admin.delete(&path).await.problem(404, "admin-not-found");

    // Many make it at once, and many change different members.
    let puts = (0..6).map(|_| async { admin.put(&path, file.clone()).await.status });
    let mut statuses = join_all(puts).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);
    let changes = [json!({ "name": "N" }), json!({ "access_token_lifetime": 77 }), json!({ "introspection_clients": ["abc"] })];
    let statuses = join_all(changes.iter().map(|change| async { admin.patch(&path, change.clone()).await.status })).await;
    assert_eq!(statuses, [200; 3]);
    let shown = admin.get(&path).await.ok().json();
    for change in changes {
        for (name, value) in change.as_object().unwrap() {
            assert_eq!(&shown[name], value);
        }
    }
}

/// Design 4.4: the same claims, sealed, without a row.
async fn an_opaque_resource_works_as_it_is_made(server: Server) {
    let admin = server.admin("admin:write").await;
    let reader = server.machine(json!({})).await;
    let mut file = resource_file("https://mail.example", "mail:read");
    file["access_token_format"] = json!("opaque");
    file["introspection_clients"] = json!([reader.client_id]);
    assert_eq!(admin.post("/resources", file).await.status, 201);
    let (_, alice, _) = server.actors().await;
    let app = server.client(json!({ "scope": "openid mail:read" })).await;
    let tokens = alice.tokens(&app, "openid mail:read").await;
    let token = tokens.str("access_token");
    assert!(!token.contains('.'), "{token}");
    let told = reader.introspect(&token).await;
    assert_eq!(
        (&told["active"], &told["scope"], &told["client_id"]),
        (&json!(true), &json!("openid mail:read"), &json!(app.client_id))
    );
    server.userinfo(&token).await.ok();
    admin.with_token(&token).get("/clients").await.problem(401, "token-wrong-audience");
    app.revoke(&token).await.ok();
    assert!(!reader.is_active(&token).await);
    server.userinfo(&token).await.refused(401, "invalid_token");
}
