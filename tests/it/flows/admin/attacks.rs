//! Who should not get in, and what should not be taken in.

use std::time::Duration;

use serde_json::{Value, json};

use super::rows::client_file;
use crate::harness::{Request, Server, on_both, raw};

on_both![
    only_a_token_made_for_the_admin_api_counts,
    a_token_counts_while_everything_behind_it_stands,
    an_administrator_may_act_in_person,
    tokens_are_not_found_by_trying,
    unknown_and_reserved_members_are_refused_by_name,
    what_says_nothing_is_refused_by_its_name_too,
    the_form_of_a_request_is_read_strictly,
    cursors_cannot_be_made_up_or_moved,
    every_change_is_in_the_audit_log,
];

/// the audience is the admin API and nothing else, and the token comes in the header.
async fn only_a_token_made_for_the_admin_api_counts(server: Server) {
    let machine = server.admin_client("admin:write").await;
    let token = server.admin_token(&machine).await;
    let admin = server.stranger().with_token(&token);
    admin.get("/clients").await.ok();
    let (_, alice, app) = server.actors().await;
    let tokens = alice.tokens(&app, "openid").await;
    for (rule, token) in [
        ("token-wrong-audience", tokens.str("access_token")),
        ("token-malformed", tokens.str("id_token")),
        ("token-malformed", "abc".to_owned()),
        ("token-malformed", "a.b.c".to_owned()),
    ] {
        let answer = admin.with_token(&token).get("/clients").await;
        assert_eq!(answer.status, 401, "{rule} {}", answer.text);
        assert!(answer.json()["type"].as_str().unwrap().starts_with("urn:chancery:problem:token-"), "{}", answer.text);
    }
    // A refresh token, a secret, a cookie, a form field and a query parameter are no ways in.
    let stranger = server.stranger();
    stranger
        .call_with("GET", "/clients", None, &[("cookie", &format!("access_token={token}; __Host-session={token}"))])
        .await
        .problem(401, "token-missing");
    stranger.get(&format!("/clients?access_token={token}")).await.problem(400, "credentials-in-query");
    stranger
        .raw("POST", "/clients", Some(("application/x-www-form-urlencoded", format!("access_token={token}"))), &[])
        .await
        .problem(401, "token-missing");
    stranger
        .call_with(
            "GET",
            "/clients",
            None,
            &[("authorization", &crate::harness::basic_header(&machine.client_id, machine.secret.as_ref().unwrap()))],
        )
        .await
        .problem(401, "token-missing");
    // no page of another site reads it.
    let answer = admin.call_with("GET", "/clients", None, &[("origin", "https://app.test")]).await.ok();
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    // A person who is no administrator gets no token with these scopes, whatever the client is registered for.
    let office = server.client(json!({ "scope": "openid admin:write" })).await;
    let tokens = alice.tokens(&office, "openid admin:write").await;
    admin.with_token(&tokens.str("access_token")).get("/clients").await.problem(401, "token-wrong-audience");
}

/// each request looks the token up.
async fn a_token_counts_while_everything_behind_it_stands(server: Server) {
    let fresh = async || {
        let machine = server.admin_client("admin:write").await;
        let token = server.admin_token(&machine).await;
        let admin = server.stranger().with_token(&token);
        admin.get("/clients").await.ok();
        (machine, token, admin)
    };
    let (machine, token, admin) = fresh().await;
    machine.revoke(&token).await.ok();
    admin.get("/clients").await.problem(401, "token-revoked");

    let (machine, _, admin) = fresh().await;
    server.disable_client(&machine).await;
    admin.get("/clients").await.problem(401, "token-revoked");

    // The scope was taken away after the token was made.
    let (machine, _, admin) = fresh().await;
    server.update_client(&machine, json!({ "scope": "admin:read" })).await;
    admin.get("/clients").await.ok();
    let refused = admin.post("/clients", client_file()).await.problem(403, "admin-forbidden");
    assert!(refused.header("www-authenticate").contains("scope=\"admin:write\""), "{:?}", refused.headers);
    let story = server.explain(&refused.trace_id()).await;
    assert_eq!(story.expected.as_deref(), Some("admin:write"));
    server.update_client(&machine, json!({ "scope": "openid" })).await;
    admin.get("/clients").await.problem(403, "admin-forbidden");

    let (_, _, admin) = fresh().await;
    server.wait(Duration::from_secs(601));
    admin.get("/clients").await.problem(401, "token-expired");
}

/// trying is rationed by address; those who hold a token notice nothing.
async fn tokens_are_not_found_by_trying(server: Server) {
    let admin = server.admin("admin:write").await;
    let thief = server.stranger().with_token("abc");
    let allowed = server.app.config.throttle.unknown_tokens_per_minute;
    for _ in 0..allowed {
        thief.get("/clients").await.problem(401, "token-malformed");
    }
    for path in ["/clients", "/nothing"] {
        let refused = thief.get(path).await.problem(429, "too-many-unknown-tokens");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 60);
    }
    admin.get("/clients").await.ok();
    server.stranger().get("/clients").await.problem(401, "token-missing");
    server.wait(Duration::from_secs(61));
    thief.get("/clients").await.problem(401, "token-malformed");
}

/// A person's token counts while the person is an administrator, and the log names the person.
async fn an_administrator_may_act_in_person(server: Server) {
    let office = server.client(json!({ "scope": "openid admin:write" })).await;
    let boss = server.person_with("boss", json!({ "admin": true })).await;
    let resource = format!("{}/admin/api", server.issuer);
    let request = Request::of(&office).with("scope", "openid admin:write").with("resource", &resource);
    let back = boss.arrive(&request).await;
    let tokens = office.redeem(back.code(), &back.verifier).await.ok();
    let admin = server.stranger().with_token(&tokens.str("access_token"));
    let made = admin.post("/clients", client_file()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let events = chancery::storage::audit::list_for_target(&server.app.db, &made.str("client_id"), 1).await.unwrap();
    let user = chancery::storage::users::find_by_sub(&server.app.db, &boss.sub).await.unwrap().unwrap();
    assert_eq!(events[0].actor, format!("user:{}", user.id));
    // A token that is for somebody else too could be brought here by them.
    let both = boss.tokens(&office, "openid admin:write").await;
    admin.with_token(&both.str("access_token")).get("/clients").await.problem(401, "token-wrong-audience");
    server.update_user(&boss, json!({ "admin": false })).await;
    admin.get("/clients").await.problem(403, "admin-forbidden");
    server.update_user(&boss, json!({ "admin": true })).await;
    admin.get("/clients").await.ok();
    server.disable_user(&boss).await;
    admin.get("/clients").await.problem(401, "token-revoked");
}

///
async fn unknown_and_reserved_members_are_refused_by_name(server: Server) {
    let admin = server.admin("admin:write").await;
    let with = |name: &str, value: Value| {
        let mut document = client_file();
        document[name] = value;
        document
    };
    let made = admin.post("/clients", client_file()).await;
    let path = format!("/clients/{}", made.str("client_id"));
    for (name, value) in [
        ("redirect_uri", json!("https://shop.example/cb")),
        ("client_id", json!("mine")),
        ("client_secret", json!("mine")),
        ("secrets", json!([])),
        ("tokens_not_before", json!("2020-01-01T00:00:00Z")),
        ("redirect_uris", json!(["javascript:alert(1)"])),
        ("redirect_uris", json!("https://shop.example/cb")),
        ("grant_types", json!(["password"])),
        ("token_endpoint_auth_method", json!("none_at_all")),
        ("enabled", json!("yes")),
        ("logo_uri", json!("http://shop.example/logo.png")),
        ("constructor", json!({ "prototype": {} })),
    ] {
        let pointer = format!("/{name}");
        admin.post("/clients", with(name, value.clone())).await.problem(422, "document-refused").about("pointer", &pointer);
        admin.put("/clients/chosen", with(name, value.clone())).await.problem(422, "document-refused").about("pointer", &pointer);
        // Null and the id itself are no changes; everything else is checked as create would.
        admin.patch(&path, json!({ name: value })).await.problem(422, "document-refused").about("pointer", &pointer);
    }
    // each member is fine, the merged whole is not. (Of one rule and client, so many in a minute are recorded in full.)
    server.wait(Duration::from_secs(120));
    let refused = admin
        .patch(&path, json!({ "token_endpoint_auth_method": "none", "require_pkce": false }))
        .await
        .problem(422, "document-refused");
    let story = server.explain(&refused.trace_id()).await;
    assert!(story.happened.contains("require_pkce"), "{}", story.happened);
    assert_eq!(admin.get(&path).await.json()["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(admin.get("/clients/chosen").await.status, 404);
}

/// a slip of the pen is told, also where it would have changed nothing: null under a name that nobody reads, and a member that is
/// missing altogether.
async fn what_says_nothing_is_refused_by_its_name_too(server: Server) {
    let admin = server.admin("admin:write").await;
    let api = "/resources/https%3A%2F%2Fapi.example";
    let resource = json!({ "name": "API", "scopes": [{ "name": "api:read" }] });
    assert_eq!(admin.put("/clients/shop", client_file()).await.status, 201);
    assert_eq!(admin.put(api, resource.clone()).await.status, 201);
    assert_eq!(admin.put("/groups/staff", json!({})).await.status, 201);
    let user = format!("/users/{}", admin.post("/users", json!({ "username": "alice" })).await.str("id"));
    for (path, list, document) in [
        ("/clients/shop", "/clients", client_file()),
        (api, "/resources", resource),
        ("/groups/staff", "/groups", json!({ "identifier": "staff" })),
        (user.as_str(), "/users", json!({ "username": "bob" })),
    ] {
        let mut slip = document.clone();
        slip["nobody_reads_this"] = Value::Null;
        for answer in [
            admin.patch(path, json!({ "nobody_reads_this": null })).await,
            admin.put(path, slip.clone()).await,
            admin.post(list, slip).await,
        ] {
            answer.problem(422, "document-refused").about("pointer", "/nobody_reads_this");
        }
        let before = admin.get(path).await.ok().header("etag").to_owned();
        // Null under a name that is known takes away what is not there, and is no fault.
        let known = if path == user { "nickname" } else { "claims" };
        let known = if list == "/groups" { "description" } else { known };
        assert_eq!(admin.patch(path, json!({ known: null })).await.ok().header("etag"), before);
    }
    for (list, document, missing) in [
        ("/groups", json!({ "roles": [] }), "/identifier"),
        ("/resources", json!({ "name": "API", "scopes": [{ "name": "x:read" }] }), "/identifier"),
        ("/resources", json!({ "identifier": "https://x.example", "scopes": [{ "name": "x:read" }] }), "/name"),
        ("/resources", json!({ "identifier": "https://x.example", "name": "X", "scopes": [{ "description": "" }] }), "/scopes"),
        ("/users", json!({ "email": "a@example.com" }), "/username"),
    ] {
        admin.post(list, document).await.problem(422, "document-refused").about("pointer", missing);
    }
    // What somebody else has is named too.
    for (list, document, member) in
        [("/groups", json!({ "identifier": "staff" }), "/identifier"), ("/users", json!({ "username": "ALICE" }), "/username")]
    {
        admin.post(list, document).await.problem(409, "admin-conflict").about("pointer", member);
    }
    // What a condition is about is said by its own name.
    let none = [("if-none-match", "*")];
    let refused = admin.call_with("PUT", "/clients/shop", Some(&client_file()), &none).await;
    refused.problem(412, "precondition-failed").about("header", "if-none-match");
    // Programs take dots in a path for steps through it (RFC 3986 §5.2.4), the tests' own too: nobody could ask for such a thing again.
    let token = admin.token.as_ref().unwrap();
    for id in [".", "..", "%2e%2E"] {
        let body = client_file().to_string();
        let head = format!("Host: id.test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nConnection: close");
        let request = format!("PUT /admin/api/v1/clients/{id} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = raw::send(&server, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("/client_id"), "{answer}");
        if !id.contains('%') {
            admin
                .post("/groups", json!({ "identifier": id }))
                .await
                .problem(422, "document-refused")
                .about("pointer", "/identifier");
        }
    }
    for username in ["ali\u{200b}ce", "alice\u{202e}", "\u{2066}alice"] {
        admin.post("/users", json!({ "username": username })).await.problem(422, "document-refused").about("pointer", "/username");
        admin.patch(&user, json!({ "username": username })).await.problem(422, "document-refused").about("pointer", "/username");
    }
}

///
async fn the_form_of_a_request_is_read_strictly(server: Server) {
    let admin = server.admin("admin:write").await;
    let post = async |kind: &str, body: &str| admin.raw("POST", "/clients", Some((kind, body.to_owned())), &[]).await;
    post("text/plain", "{}").await.problem(415, "wrong-media-type").about("header", "content-type");
    post("application/x-www-form-urlencoded", "client_name=x").await.problem(415, "wrong-media-type");
    post("application/merge-patch+json", "{}").await.problem(415, "wrong-media-type");
    for broken in ["", "[]", "null", "{", "{\"client_name\":\"a\",\"client_name\":\"b\"}", "{} {}", "\"x\"", "{\"a\":1}\u{0}"] {
        post("application/json", broken).await.problem(400, "document-refused");
    }
    post("application/json", &"[".repeat(60_000)).await.problem(400, "document-refused");
    let long = json!({ "client_name": "a".repeat(70_000) }).to_string();
    post("application/json; charset=utf-8", &long).await.problem(413, "body-too-large");
    admin.raw("DELETE", "/clients/x", Some(("application/json", "{}".to_owned())), &[]).await.problem(400, "document-refused");
    // What the server itself refuses, before any handler, is a problem document too.
    let long = "a".repeat(20_000);
    admin.call_with("GET", "/clients", None, &[("x-long", &long)]).await.problem(431, "parameter-too-long");
    for (path, name) in [
        ("/clients?limit=0", "limit"),
        ("/clients?limit=201", "limit"),
        ("/clients?limit=x", "limit"),
        ("/clients?limit=-1", "limit"),
        ("/clients?offset=1", "offset"),
        ("/clients?cursor=x", "cursor"),
    ] {
        admin.get(path).await.problem(400, "malformed-parameter").about("parameter", name);
    }
    admin.get("/clients?limit=1&limit=2").await.problem(400, "duplicate-parameter");
    admin.get("/clients/x?limit=1").await.problem(400, "malformed-parameter").about("parameter", "limit");
    for id in ["%00", "a%0Ab", "%ff", "%7f"] {
        admin.get(&format!("/clients/{id}")).await.problem(400, "malformed-parameter");
        admin.put(&format!("/clients/{id}"), client_file()).await.problem(400, "malformed-parameter");
    }
    admin.get(&format!("/clients/{}", "a".repeat(3000))).await.problem(400, "parameter-too-long");
    for id in ["a%20b", "a%2Fb", "%C3%A4", "a%3Fb"] {
        admin.put(&format!("/clients/{id}"), client_file()).await.problem(422, "document-refused").about("pointer", "/client_id");
        admin.get(&format!("/clients/{id}")).await.problem(404, "admin-not-found");
    }
    let path = "/clients/x/secrets";
    admin.call_with("POST", path, None, &[("if-match", "*")]).await.problem(400, "malformed-parameter").about("header", "if-match");
    for tag in ["x", "\"a\", *", "\"a"] {
        admin
            .call_with("DELETE", "/clients/x", None, &[("if-match", tag)])
            .await
            .problem(400, "malformed-parameter")
            .about("header", "if-match");
    }
}

///
async fn cursors_cannot_be_made_up_or_moved(server: Server) {
    let admin = server.admin("admin:write").await;
    for _ in 0..4 {
        assert_eq!(admin.post("/clients", client_file()).await.status, 201);
    }
    let (mut seen, mut path) = (Vec::new(), "/clients?limit=2".to_owned());
    loop {
        let page = admin.get(&path).await.ok().json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["client_id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/clients?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((sorted.len(), &sorted), (5, &seen), "each once, in order, and the caller itself");

    let cursor = admin.get("/clients?limit=1").await.ok().str("next_cursor");
    assert!(!cursor.contains(&seen[0]));
    let mut bytes = cursor.clone().into_bytes();
    for at in [0, 8, bytes.len() / 2, bytes.len() - 2] {
        let kept = bytes[at];
        bytes[at] = if kept == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes.clone()).unwrap();
        bytes[at] = kept;
        admin.get(&format!("/clients?cursor={changed}")).await.problem(400, "malformed-parameter").about("parameter", "cursor");
    }
    // To another list, and from something else that this server seals.
    admin.get(&format!("/clients/{}/secrets?cursor={cursor}", seen[0])).await.problem(400, "malformed-parameter");
    let jti = crate::harness::jwt(admin.token.as_ref().unwrap()).1["jti"].as_str().unwrap().to_owned();
    admin.get(&format!("/clients?cursor={jti}")).await.problem(400, "malformed-parameter");
}

/// who did what to what, before and after, in which request, and never a secret.
async fn every_change_is_in_the_audit_log(server: Server) {
    let machine = server.admin_client("admin:write").await;
    let admin = server.stranger().with_token(&server.admin_token(&machine).await);
    let made = admin.post("/clients", client_file()).await;
    let (client_id, secret) = (made.str("client_id"), made.str("client_secret"));
    let path = format!("/clients/{client_id}");
    let changed = admin.patch(&path, json!({ "client_name": "Other" })).await.ok();
    let second = admin.call("POST", &format!("{path}/secrets"), None).await;
    admin.call("DELETE", &format!("{path}/secrets"), None).await;
    admin.patch(&path, json!({ "enabled": false })).await.ok();
    // What changes nothing is no change.
    admin.patch(&path, json!({ "enabled": false })).await.ok();
    admin.delete(&path).await;
    let events = chancery::storage::audit::list_for_target(&server.app.db, &client_id, 100).await.unwrap();
    let mut actions: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    actions.sort_unstable();
    let expected =
        ["client.add", "client.add_secret", "client.disable", "client.end_older_secrets", "client.remove", "client.update"];
    assert_eq!(actions, expected);
    for event in &events {
        assert_eq!(event.actor, format!("client:{}", machine.client_id), "{}", event.action);
        assert_eq!(event.trace_id.as_ref().map(String::len), Some(32), "{}", event.action);
        let text = format!("{:?} {:?}", event.was, event.is_now);
        assert!(!text.contains(&secret) && !text.contains(&second.str("client_secret")), "{text}");
    }
    let update = events.iter().find(|event| event.action == "client.update").unwrap();
    assert_eq!(update.trace_id.as_deref(), Some(changed.trace_id().as_str()));
    assert!(update.was.as_ref().unwrap().contains("Shop") && update.is_now.as_ref().unwrap().contains("Other"));
}
