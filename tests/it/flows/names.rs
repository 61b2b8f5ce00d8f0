//! What people, groups and APIs are called: text that others read, and decide by (Unicode TR36 §2.4, §2.5).

use serde_json::{Value, json};

use super::account::account;
use crate::harness::admin::{Admin, segment};
use crate::harness::{Person, Request, Server, on_both};

on_both![
    names_that_deceive_are_refused_wherever_they_are_given,
    names_are_written_with_joiners_where_their_script_needs_them,
    names_from_before_are_shown_without_what_deceives_and_the_rest_can_be_changed,
];

/// An override, an isolate, letters that nobody sees.
const DECEIVE: [&str; 5] = ["Ali\u{202e}ce", "\u{2066}Alice\u{2069}", "Ali\u{200b}ce", "Al\u{200d}ice", "Alice\u{e0041}"];
/// "Library" in Persian, "Shri" in Malayalam, a woman who is an astronaut.
const JOINED: [&str; 3] = ["کتاب\u{200c}خانه", "ശ്രീ\u{200d}", "\u{1f469}\u{200d}\u{1f680}"];

async fn path_of(admin: &Admin, person: &Person) -> String {
    let found = admin.get(&format!("/users?sub={}", person.sub)).await.ok().json();
    format!("/users/{}", found["items"][0]["id"].as_str().unwrap())
}

fn group(member: &str, value: Value) -> Value {
    let mut group = json!({ "identifier": "readers" });
    group[member] = value;
    group
}

fn api(name: &str, description: &str) -> Value {
    json!({ "identifier": "https://api.test", "name": name, "scopes": [{ "name": "read", "description": description }] })
}

async fn names_that_deceive_are_refused_wherever_they_are_given(server: Server) {
    let admin = server.admin("admin:write").await;
    let alice = server.person("alice").await;
    account(&alice).await;
    let person = path_of(&admin, &alice).await;
    assert_eq!(admin.post("/groups", json!({ "identifier": "staff" })).await.status, 201);
    assert_eq!(
        admin
            .post("/resources", json!({ "identifier": "https://kept.test", "name": "Kept", "scopes": [{ "name": "keep" }] }))
            .await
            .status,
        201
    );
    for bad in DECEIVE {
        for member in
            ["name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "gender", "phone_number"]
        {
            let pointer = format!("/{member}");
            admin
                .post("/users", json!({ "username": "bob", member: bad }))
                .await
                .problem(422, "document-refused")
                .about("pointer", &pointer);
            admin.patch(&person, json!({ member: bad })).await.problem(422, "document-refused").about("pointer", &pointer);
        }
        for (member, value) in [
            ("email", json!(format!("{bad}@example.com"))),
            ("address", json!({ "formatted": format!("Weg 1\n{bad}") })),
            ("groups", json!(["staff", bad])),
        ] {
            let pointer = format!("/{member}");
            admin.patch(&person, json!({ member: value })).await.problem(422, "document-refused").about("pointer", &pointer);
        }
        for (member, value) in
            [("identifier", json!(bad)), ("name", json!(bad)), ("description", json!(bad)), ("roles", json!(["a", bad]))]
        {
            let pointer = format!("/{member}");
            admin.post("/groups", group(member, value.clone())).await.problem(422, "document-refused").about("pointer", &pointer);
            if member != "identifier" {
                admin
                    .patch("/groups/staff", json!({ member: value }))
                    .await
                    .problem(422, "document-refused")
                    .about("pointer", &pointer);
            }
        }
        admin
            .put(&format!("/groups/{}", segment(bad)), json!({}))
            .await
            .problem(422, "document-refused")
            .about("pointer", "/identifier");
        admin.post("/resources", api(bad, "Read")).await.problem(422, "document-refused").about("pointer", "/name");
        admin.post("/resources", api("Orders", bad)).await.problem(422, "document-refused").about("pointer", "/scopes");
        let kept = format!("/resources/{}", segment("https://kept.test"));
        admin.patch(&kept, json!({ "name": bad })).await.problem(422, "document-refused").about("pointer", "/name");
        admin
            .post("/clients", json!({ "client_name": bad, "redirect_uris": ["https://app.test/cb"] }))
            .await
            .problem(422, "document-refused")
            .about("pointer", "/client_name");
        let page = alice.browser.get("/account/profile").await;
        let again = alice.browser.submit(&page, &[("nickname", bad)]).await;
        assert!(again.status == 200 && again.body.contains("cannot be seen"), "{}", again.body);
    }
}

async fn names_are_written_with_joiners_where_their_script_needs_them(server: Server) {
    let admin = server.admin("admin:write").await;
    for (number, good) in JOINED.into_iter().enumerate() {
        let alice =
            server.person_with(&format!("alice{number}"), json!({ "name": good, "nickname": good, "groups": [good] })).await;
        let mut group = group("name", json!(good));
        group["identifier"] = json!(good);
        group["roles"] = json!([good]);
        assert_eq!(admin.post("/groups", group).await.status, 201);
        let mut api = api(good, good);
        (api["identifier"], api["scopes"][0]["name"]) = (json!(format!("https://{number}.test")), json!(format!("read{number}")));
        assert_eq!(admin.post("/resources", api).await.status, 201);
        let client = server.client(json!({ "client_name": good, "scope": format!("openid profile read{number}") })).await;
        let asked = Request::of(&client).with("scope", &format!("openid profile read{number}"));
        account(&alice).await;
        let page = alice.browser.settle(alice.open(&asked).await).await;
        assert!(page.is_consent() && page.body.matches(good).count() >= 3, "the app, the API and what it is for: {}", page.body);
        let tokens = alice.tokens(&client, "openid profile").await;
        let told = server.userinfo(&tokens.str("access_token")).await.ok().json();
        assert_eq!((told["name"].as_str(), told["nickname"].as_str()), (Some(good), Some(good)));
    }
}

async fn names_from_before_are_shown_without_what_deceives_and_the_rest_can_be_changed(server: Server) {
    let (server, alice, client) = server.actors().await;
    let admin = server.admin("admin:write").await;
    server.group(json!({ "identifier": "staff", "name": "Staff" })).await;
    server.resource(api("Orders", "Read")).await;
    let execute =
        async |sql: &'static str, document: Value| server.app.db.execute(sql, chancery::args![document.to_string()]).await.unwrap();
    execute("UPDATE users SET claims = $1", json!({ "name": "Ali\u{202e}ce Old", "nickname": "Al" })).await;
    execute(
        "UPDATE user_groups SET document = $1",
        json!({ "identifier": "staff", "name": "St\u{200b}aff", "roles": ["a\u{2066}"] }),
    )
    .await;
    let old = api("Or\u{202e}ders", "Read\u{feff} them");
    execute("UPDATE resources SET document = $1 WHERE identifier = 'https://api.test'", old).await;

    let page = account(&alice).await;
    assert!(page.body.contains("Alice Old") && !page.body.contains('\u{202e}'), "{}", page.body);
    let token = alice.tokens(&client, "openid profile").await.str("access_token");
    assert_eq!(server.userinfo(&token).await.ok().str("name"), "Ali\u{202e}ce Old");

    let person = path_of(&admin, &alice).await;
    let resource = format!("/resources/{}", segment("https://api.test"));
    for (path, other, member) in [
        (person.as_str(), json!({ "nickname": "Ally" }), "name"),
        ("/groups/staff", json!({ "description": "All" }), "name"),
        (resource.as_str(), json!({ "access_token_lifetime": 60 }), "name"),
    ] {
        // What is not touched is no obstacle, nor is what is sent back as it was.
        admin.patch(path, other).await.ok();
        let shown = admin.get(path).await.ok().json();
        let kept = admin.put(path, shown.clone()).await.ok().json();
        assert_eq!(kept[member], shown[member]);
        // Another such name is, and a better one is taken.
        admin.patch(path, json!({ member: "Other\u{202e}" })).await.problem(422, "document-refused").about("pointer", "/name");
        let mut worse = shown;
        worse[member] = json!("Other\u{202e}");
        admin.put(path, worse).await.problem(422, "document-refused").about("pointer", "/name");
        assert_eq!(admin.patch(path, json!({ member: "Better" })).await.ok().json()[member], "Better");
    }
    // Turned off with a bad name, too.
    execute("UPDATE users SET claims = $1", json!({ "name": "Ali\u{202e}ce Old" })).await;
    assert_eq!(admin.patch(&person, json!({ "enabled": false })).await.ok().json()["enabled"], false);
}
