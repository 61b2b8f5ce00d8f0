//! `/audit-events` and `/decisions`: what happened, and why something did not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Admin, Answer, Server, on_both};

on_both![
    events_are_found_by_who_what_whom_and_when,
    the_log_is_read_page_by_page_while_it_grows,
    the_log_is_exported_as_json_lines,
    no_secret_is_in_the_log,
    a_decision_tells_why,
];

/// Events are in the order of time.
const A_MOMENT: Duration = Duration::from_millis(2);

fn items(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().unwrap_or_else(|| panic!("{}", answer.text)).clone()
}

async fn actions(admin: &Admin, query: &str) -> Vec<String> {
    let found = items(&admin.get(&format!("/audit-events?limit=200&{query}")).await.ok());
    found.iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect()
}

async fn events_are_found_by_who_what_whom_and_when(server: Server) {
    let machine = server.admin_client("admin:write").await;
    let admin = server.stranger().with_token(&server.admin_token(&machine).await);
    let alice = admin.post("/users", json!({ "username": "alice" })).await.str("id");
    let bob = admin.post("/users", json!({ "username": "bob" })).await.str("id");
    server.wait(std::time::Duration::from_secs(60));
    admin.patch(&format!("/users/{alice}"), json!({ "nickname": "Al" })).await.ok();
    server.wait(A_MOMENT);
    admin.patch(&format!("/users/{alice}"), json!({ "enabled": false })).await.ok();
    server.wait(std::time::Duration::from_secs(60));
    admin.delete(&format!("/users/{bob}")).await;
    let me = format!("client%3A{}", machine.client_id);
    assert_eq!(
        actions(&admin, &format!("actor={me}")).await,
        ["user.remove", "user.disable", "user.update", "user.add", "user.add"]
    );
    assert_eq!(actions(&admin, &format!("target={alice}")).await, ["user.disable", "user.update", "user.add"]);
    assert_eq!(actions(&admin, "action=user.add").await, ["user.add", "user.add"]);
    assert_eq!(actions(&admin, &format!("action=user.add&target={bob}&actor={me}")).await, ["user.add"]);
    assert_eq!(actions(&admin, &format!("action=user.remove&target={alice}")).await, [""; 0]);
    assert_eq!(actions(&admin, &format!("action=user.add&actor={me}")).await.len(), 2);
    // The tests begin at midnight.
    let minute = |minute: u32| format!("2026-01-01T00:0{minute}:00Z");
    assert_eq!(actions(&admin, &format!("from={}&to={}", minute(1), minute(2))).await, ["user.disable", "user.update"]);
    assert_eq!(actions(&admin, &format!("actor={me}&to={}", minute(1))).await, ["user.add", "user.add"]);
    assert_eq!(actions(&admin, &format!("from={}", minute(2))).await, ["user.remove"]);
    assert_eq!(actions(&admin, "from=2026-01-01T02:02:00%2B02:00").await, ["user.remove"], "any offset");
    let event = items(&admin.get(&format!("/audit-events?action=user.update&target={alice}")).await.ok())[0].clone();
    assert_eq!((event["before"].get("nickname"), &event["after"]["nickname"]), (None, &json!("Al")));
    assert_eq!((&event["at"], event["trace_id"].as_str().unwrap().len()), (&json!("2026-01-01T00:01:00Z"), 32));
    for (query, name) in
        [("from=yesterday", "from"), ("to=2026-13-01T00:00:00Z", "to"), ("user=alice", "user"), ("from=2026-01-01", "from")]
    {
        admin.get(&format!("/audit-events?{query}")).await.problem(400, "malformed-parameter").about("parameter", name);
    }
    // Nobody writes here.
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        admin.call(method, "/audit-events", None).await.problem(405, "method-not-allowed");
    }
}

async fn the_log_is_read_page_by_page_while_it_grows(server: Server) {
    let admin = server.admin("admin:write").await;
    for number in 0..7 {
        admin.post("/users", json!({ "username": format!("person-{number}") })).await;
        server.wait(A_MOMENT);
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = admin.get(&format!("/audit-events?action=user.add&limit=3{cursor}")).await.ok();
        seen.extend(items(&page).iter().map(|event| event["after"]["username"].as_str().unwrap().to_owned()));
        // What is added meanwhile is newer than all that is still to be read.
        admin.post("/users", json!({ "username": format!("late-{pages}") })).await;
        pages += 1;
        match page.json()["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..7).rev().map(|number| format!("person-{number}")).collect();
    assert_eq!((seen, pages), (expected, 3));
    let page = admin.get("/audit-events?action=user.add&limit=3").await.ok();
    let cursor = page.str("next_cursor");
    for path in [format!("/audit-events?limit=3&cursor={cursor}"), format!("/audit-events?action=user.remove&cursor={cursor}")] {
        admin.get(&path).await.problem(400, "malformed-parameter").about("parameter", "cursor");
    }
}

async fn the_log_is_exported_as_json_lines(server: Server) {
    let admin = server.admin("admin:write").await;
    server.fill_audit_log(1700).await;
    let export = async |query: &str, kind: &str| {
        let answer = admin.call_with("GET", &format!("/audit-events?{query}"), None, &[("accept", kind)]).await.ok();
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        answer.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let all = export("action=test.fill", "application/x-ndjson").await;
    assert_eq!(all.len(), 1700);
    let ids: std::collections::HashSet<&str> = all.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1700);
    assert!(all.windows(2).all(|pair| pair[0]["at"].as_str() >= pair[1]["at"].as_str()), "newest first");
    // The same events as the pages have.
    let page = items(&admin.get("/audit-events?action=test.fill&limit=200").await.ok());
    assert_eq!(page, all[..200]);
    assert_eq!(export("action=test.fill&target=target-7", "application/jsonl;q=0.9, text/plain;q=0.1").await.len(), 17);
    assert!(export("action=nothing", "application/x-ndjson").await.is_empty());
    // Who asks for JSON gets a page.
    let page = admin.call_with("GET", "/audit-events", None, &[("accept", "application/json, */*")]).await.ok();
    assert_eq!((page.header("content-type"), items(&page).len()), ("application/json", 50));
    server
        .stranger()
        .call_with("GET", "/audit-events", None, &[("accept", "application/x-ndjson")])
        .await
        .problem(401, "token-missing");
}

///
async fn no_secret_is_in_the_log(server: Server) {
    let admin = server.admin("admin:write").await;
    let made = admin.post("/clients", super::rows::client_file()).await;
    let rotated = admin.call("POST", &format!("/clients/{}/secrets", made.str("client_id")), None).await;
    let (_, alice, client) = server.actors().await;
    let tokens = alice.tokens(&client, "openid offline_access").await;
    let path = format!("/users?username={}", alice.username);
    let id = admin.get(&path).await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    admin.put(&format!("/users/{id}/password"), json!({ "password": "a phrase nobody reads" })).await;
    admin.delete(&format!("/users/{id}")).await;
    let export = admin.call_with("GET", "/audit-events", None, &[("accept", "application/x-ndjson")]).await.ok().text;
    for never in [
        made.str("client_secret"),
        rotated.str("client_secret"),
        tokens.str("access_token"),
        tokens.str("refresh_token"),
        alice.password.clone(),
        "a phrase nobody reads".to_owned(),
        "argon2".to_owned(),
        client.secret.clone().unwrap(),
    ] {
        assert!(!export.contains(&never), "{never}");
    }
    for action in ["client.add", "client.add_secret", "user.add", "session.begin", "user.set_password", "user.remove"] {
        assert!(export.contains(&format!("\"action\":\"{action}\"")), "{action}");
    }
}

async fn a_decision_tells_why(server: Server) {
    let (_, alice, client) = server.actors().await;
    let reader = server.admin("admin:read").await;
    let back = alice.visit(&client, "openid").await;
    let refused =
        client.redeem(back.code(), "the-wrong-verifier-of-some-forty-three-characters").await.refused(400, "invalid_grant");
    server.app.decisions.flush().await;
    let path = format!("/decisions/{}", refused.trace_id());
    let told = reader.get(&path).await.ok().json();
    assert_eq!((&told["client_id"], &told["answer"]["error"]), (&json!(client.client_id), &json!("invalid_grant")));
    assert_eq!(told["story"], serde_json::to_value(server.explain(&refused.trace_id()).await).unwrap(), "as chancery explain");
    assert!(
        told["story"]["happened"].as_str().unwrap().contains("verifier") && told["rule"]["spec"].as_str().unwrap().contains("7636"),
        "{told}"
    );
    assert_eq!(reader.get(&path.to_uppercase().replace("/DECISIONS", "/decisions")).await.ok().json(), told);
    reader.get(&format!("/decisions/{}", "0".repeat(32))).await.problem(404, "admin-not-found");
    reader.get("/decisions/abc").await.problem(400, "malformed-parameter").about("parameter", "trace_id");
    server.stranger().get(&path).await.problem(401, "token-missing");
}
