//! `/users` and `/groups`: what each operation does, and who should not get in by them.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::flows::{factors, passkeys};
use crate::harness::admin::segment;
use crate::harness::{Admin, Person, Request, Server, on_both, unique};

on_both![
    a_user_is_made_shown_changed_and_removed,
    put_makes_or_replaces_a_user_and_repeating_it_changes_nothing,
    the_request_that_made_a_user_may_be_repeated_with_its_password,
    what_the_server_sets_and_nobody_knows_is_refused_by_name,
    a_password_goes_in_and_never_comes_out,
    disabling_and_removing_end_everything_at_once,
    sessions_grants_and_consents_end_one_by_one_and_all_together,
    second_factors_are_shown_and_reset,
    what_is_somebody_elses_is_not_found,
    a_name_that_looks_like_an_id_opens_nothing,
    people_are_found_by_what_has_an_index,
    a_group_is_made_shown_changed_and_removed,
    what_was_seen_of_people_and_groups_is_what_is_changed,
    simultaneous_changes_of_a_person_lose_nothing,
];

/// Ids are in the order of time to the millisecond.
const A_MOMENT: Duration = Duration::from_millis(2);

/// The id of a person whom the harness made.
async fn id_of(admin: &Admin, person: &Person) -> String {
    let found = admin.get(&format!("/users?username={}", segment(&person.username))).await.ok().json();
    found["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn is_signed_in(person: &Person, server: &Server) -> bool {
    let client = server.client(json!({})).await;
    let page = person.open(&Request::of(&client).with("prompt", "none")).await;
    !page.location().unwrap().as_str().contains("login_required")
}

async fn a_user_is_made_shown_changed_and_removed(server: Server) {
    let admin = server.admin("admin:write").await;
    let file = json!({
        "username": "alice", "password": "a long passphrase", "email": "alice@example.com", "email_verified": true,
        "address": { "locality": "Oxford", "country": "GB" }, "groups": ["staff"],
    });
    let made = admin.post("/users", file.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = format!("/users/{}", made.str("id"));
    assert_eq!(made.header("location"), format!("{}/admin/api/v1{path}", server.issuer));
    let shown = admin.get(&path).await.ok();
    assert_eq!(shown.header("etag"), made.header("etag"));
    for (name, value) in file.as_object().unwrap().iter().filter(|(name, _)| *name != "password") {
        assert_eq!(&shown.json()[name], value, "{name}");
    }
    let changed = admin.patch(&path, json!({ "nickname": "Al", "address": { "country": null }, "admin": true })).await.ok().json();
    assert_eq!(changed["address"], json!({ "locality": "Oxford" }));
    assert_eq!((&changed["email"], &changed["admin"]), (&json!("alice@example.com"), &json!(true)));
    // R-72: a new address is not verified because the old one was.
    let changed = admin.patch(&path, json!({ "email": "mallory@evil.test" })).await.ok().json();
    assert_eq!(changed.get("email_verified"), None);
    admin.post("/users", json!({ "username": "ALICE" })).await.problem(409, "admin-conflict");
    assert_eq!(admin.delete(&path).await.status, 204);
    admin.get(&path).await.problem(404, "admin-not-found");
    admin.delete(&path).await.problem(404, "admin-not-found");
    admin.patch(&path, json!({})).await.problem(404, "admin-not-found");
    admin.put(&format!("{path}/password"), json!({ "password": "a long passphrase" })).await.problem(404, "admin-not-found");
    for below in ["sessions", "grants", "consents"] {
        admin.get(&format!("{path}/{below}")).await.problem(404, "admin-not-found");
    }
}

async fn put_makes_or_replaces_a_user_and_repeating_it_changes_nothing(server: Server) {
    let admin = server.admin("admin:write").await;
    let id = "3f1c9d1e-53a5-4b7a-9a52-6f4d7e0a9b11";
    let path = format!("/users/{id}");
    let file = json!({ "username": "carol", "nickname": "Caz" });
    let made = admin.put(&path, file.clone()).await;
    assert_eq!((made.status, made.str("id").as_str()), (201, id), "{}", made.text);
    let events = server.audit().await.len();
    for _ in 0..2 {
        let again = admin.put(&path, file.clone()).await.ok();
        assert_eq!(again.header("etag"), made.header("etag"));
    }
    let shown = admin.get(&path).await.ok().json();
    admin.put(&path, shown.clone()).await.ok();
    assert_eq!(server.audit().await.len(), events);
    let replaced = admin.put(&path, json!({ "username": "carol", "enabled": false, "groups": ["a"] })).await.ok().json();
    assert_eq!((replaced.get("nickname"), &replaced["sub"]), (None, &shown["sub"]));
    let replaced = admin.put(&path, json!({ "username": "carol" })).await.ok().json();
    assert_eq!((&replaced["enabled"], &replaced["groups"]), (&json!(true), &json!([])));
    admin
        .put(&path, json!({ "username": "carol", "sub": "other" }))
        .await
        .problem(422, "document-refused")
        .about("pointer", "/sub");
    admin
        .put(&path, json!({ "username": "carol", "password": "a long passphrase" }))
        .await
        .problem(422, "document-refused")
        .about("pointer", "/password");
    admin.call_with("PUT", &path, Some(&file), &[("if-none-match", "*")]).await.problem(412, "precondition-failed");
    // One person has one address.
    for wrong in
        ["3F1C9D1E-53A5-4B7A-9A52-6F4D7E0A9B11", "3f1c9d1e53a54b7a9a526f4d7e0a9b11", "carol", &"0".repeat(36), "%00", "a%2Fb"]
    {
        let refused = admin.get(&format!("/users/{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.text);
    }
    for never in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
        admin.put(&format!("/users/{never}"), file.clone()).await.problem(400, "malformed-parameter").about("parameter", "id");
    }
    let other = "3f1c9d1e-53a5-4b7a-9a52-6f4d7e0a9b12";
    admin.put(&format!("/users/{other}"), json!({ "id": id, "username": "dave" })).await.problem(422, "document-refused");
    admin.put(&format!("/users/{other}"), json!({ "username": "carol" })).await.problem(409, "admin-conflict");
}

/// R-72.
/// As often as a program likes, at the same moment too; a password that is another one has its own way.
async fn the_request_that_made_a_user_may_be_repeated_with_its_password(server: Server) {
    let admin = server.admin("admin:write").await;
    let path = "/users/3f1c9d1e-53a5-4b7a-9a52-6f4d7e0a9b12";
    let file = |password: &str| json!({ "username": "carol", "password": password });
    let mut answers: Vec<u16> = join_all((0..4).map(|_| async { admin.put(path, file("a long passphrase")).await.status })).await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 200, 201]);
    let (before, tag) = (server.audit().await.len(), admin.get(path).await.ok().header("etag").to_owned());
    assert_eq!(admin.put(path, file("a long passphrase")).await.ok().header("etag"), tag);
    for other in ["another passphrase", "", "a"] {
        admin.put(path, file(other)).await.problem(422, "document-refused").about("pointer", "/password");
    }
    assert_eq!(server.audit().await.len(), before);
    admin.put(&format!("{path}/password"), json!({ "password": "another passphrase" })).await;
    admin.put(path, file("a long passphrase")).await.problem(422, "document-refused").about("pointer", "/password");
    admin.put(path, file("another passphrase")).await.ok();
}

async fn what_the_server_sets_and_nobody_knows_is_refused_by_name(server: Server) {
    let admin = server.admin("admin:write").await;
    let path = format!("/users/{}", admin.post("/users", json!({ "username": "alice" })).await.str("id"));
    let before = server.audit().await.len();
    for (name, value) in [
        ("id", json!("3f1c9d1e-53a5-4b7a-9a52-6f4d7e0a9b11")),
        ("sub", json!("somebody-else")),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("updated_at", json!(7)),
        ("roles", json!(["owner"])),
        ("is_admin", json!(true)),
        ("email_verified", json!("true")),
        ("enabled", json!("yes")),
        ("admin", json!(1)),
        ("groups", json!(["a", "a"])),
        ("groups", json!([7])),
        ("name", json!(" ")),
        ("name", json!("a\u{0}b")),
        ("picture", json!("javascript:alert(1)")),
        ("address", json!({ "street": "x" })),
        ("birthdate", json!("2001-02-29")),
    ] {
        let mut file = json!({ "username": unique("user") });
        file[name] = value.clone();
        let refused = admin.post("/users", file).await.problem(422, "document-refused").about("pointer", &format!("/{name}"));
        assert!(refused.json()["detail"].as_str().unwrap().len() > name.len() + 4, "{}", refused.text);
        admin.patch(&path, json!({ name: value })).await.problem(422, "document-refused").about("pointer", &format!("/{name}"));
    }
    admin.post("/users", json!({ "name": "Nobody" })).await.problem(422, "document-refused").about("pointer", "/username");
    for (name, value) in [
        ("identifier", json!("")),
        ("identifier", json!("orders-*")),
        ("roles", json!(["a", "a"])),
        ("members", json!(["alice"])),
        ("created_at", json!("2020-01-01T00:00:00Z")),
    ] {
        let mut file = json!({ "identifier": unique("group") });
        file[name] = value;
        admin.post("/groups", file).await.problem(422, "document-refused").about("pointer", &format!("/{name}"));
    }
    let twice = ("application/json", r#"{"username":"eve","admin":false,"admin":true}"#.to_owned());
    assert_eq!(admin.raw("POST", "/users", Some(twice), &[]).await.status, 400);
    assert_eq!(server.audit().await.len(), before, "nothing was changed");
}

/// R-73, R-46.
async fn a_password_goes_in_and_never_comes_out(server: Server) {
    let admin = server.admin("admin:write").await;
    let (server, mut alice, client) = server.actors().await;
    let path = format!("/users/{}", id_of(&admin, &alice).await);
    let tokens = alice.tokens_for_long(&client).await;
    let secret = "purple monkeys at midnight";
    for (wrong, member) in
        [(json!({ "password": "short" }), "password"), (json!({}), "password"), (json!({ "password": secret, "x": 1 }), "x")]
    {
        admin
            .put(&format!("{path}/password"), wrong)
            .await
            .problem(422, "document-refused")
            .about("pointer", &format!("/{member}"));
    }
    client.refresh(&tokens.str("refresh_token")).await.ok();
    assert_eq!(admin.put(&format!("{path}/password"), json!({ "password": secret })).await.status, 204);
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    assert!(!is_signed_in(&alice, &server).await);
    alice.password = secret.to_owned();
    alice.tokens(&client, "openid").await;
    admin.post("/users", json!({ "username": "eve", "password": "another secret phrase" })).await;
    for path in [path, "/users".to_owned(), "/audit-events?limit=200".to_owned()] {
        let text = admin.get(&path).await.ok().text;
        for never in [secret, "another secret phrase", "argon2", "password_hash"] {
            assert!(!text.contains(never), "{path} says {never}");
        }
    }
    assert!(!server.dump().await.contains(secret));
}

async fn disabling_and_removing_end_everything_at_once(server: Server) {
    let admin = server.admin("admin:write").await;
    for remove in [false, true] {
        let (server, alice, client) = server.actors().await;
        let path = format!("/users/{}", id_of(&admin, &alice).await);
        let tokens = alice.tokens_for_long(&client).await;
        let back = alice.visit(&client, "openid").await;
        // A sign-in that is open at the consent page.
        let second = server.client(json!({})).await;
        let mut page = alice.open(&Request::of(&second)).await;
        while page.location().is_some() {
            page = alice.browser.follow(&page).await;
        }
        assert!(page.is_consent());
        if remove {
            assert_eq!(admin.delete(&path).await.status, 204);
        } else {
            admin.patch(&path, json!({ "enabled": false })).await.ok();
        }
        server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
        assert!(!client.is_active(&tokens.str("access_token")).await);
        client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
        client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
        let after = alice.browser.submit(&page, &[("decision", "allow")]).await;
        assert!(!after.location().is_some_and(|to| to.as_str().contains("code=")), "{:?}", after.location());
        assert!(!is_signed_in(&alice, &server).await);
        if !remove {
            admin.patch(&path, json!({ "enabled": true })).await.ok();
            client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
            assert!(!is_signed_in(&alice, &server).await);
        }
    }
}

async fn sessions_grants_and_consents_end_one_by_one_and_all_together(server: Server) {
    let admin = server.admin("admin:write").await;
    let (server, alice, client) = server.actors().await;
    let path = format!("/users/{}", id_of(&admin, &alice).await);
    let items = async |below: &str| admin.get(&format!("{path}/{below}")).await.ok().json()["items"].as_array().unwrap().clone();
    let bound = alice.tokens(&client, "openid").await;
    server.wait(A_MOMENT);
    let long = alice.tokens_for_long(&client).await;
    let id = crate::harness::jwt(&bound.str("id_token")).1;
    let sessions = items("sessions").await;
    assert_eq!((sessions.len(), &sessions[0]["sid"]), (1, &id["sid"]));
    let grants = items("grants").await;
    assert_eq!(grants.iter().map(|grant| grant["offline"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false], "newest first");
    assert!(grants.iter().all(|grant| grant["client_id"] == client.client_id && grant["active"] == true), "{grants:?}");
    assert_eq!(items("consents").await[0]["client_id"], client.client_id);

    // One session, and what lives with it; what was granted for longer stays.
    assert_eq!(admin.delete(&format!("{path}/sessions/{}", id["sid"].as_str().unwrap())).await.status, 204);
    admin.delete(&format!("{path}/sessions/{}", id["sid"].as_str().unwrap())).await.problem(404, "admin-not-found");
    server.userinfo(&bound.str("access_token")).await.refused(401, "invalid_token");
    server.userinfo(&long.str("access_token")).await.ok();
    assert!(!is_signed_in(&alice, &server).await);
    assert!(items("sessions").await.is_empty());

    // All sessions.
    let bound = alice.tokens(&client, "openid").await;
    assert!(is_signed_in(&alice, &server).await);
    assert_eq!(admin.delete(&format!("{path}/sessions")).await.status, 204);
    assert!(!is_signed_in(&alice, &server).await);
    client.refresh(&bound.str("refresh_token")).await.refused(400, "invalid_grant");
    let long = client.refresh(&long.str("refresh_token")).await.ok();
    assert_eq!(items("grants").await.len(), 1);

    // One grant.
    let grant = items("grants").await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(admin.delete(&format!("{path}/grants/{grant}")).await.status, 204);
    admin.delete(&format!("{path}/grants/{grant}")).await.problem(404, "admin-not-found");
    client.refresh(&long.str("refresh_token")).await.refused(400, "invalid_grant");

    // All grants; sessions and consents stay.
    let long = alice.tokens_for_long(&client).await;
    let back = alice.visit(&client, "openid").await;
    assert_eq!(admin.delete(&format!("{path}/grants")).await.status, 204);
    client.refresh(&long.str("refresh_token")).await.refused(400, "invalid_grant");
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    assert!(is_signed_in(&alice, &server).await && items("grants").await.is_empty());

    // A consent, and the grants under it.
    let bound = alice.tokens(&client, "openid").await;
    assert_eq!(admin.delete(&format!("{path}/consents/{}", client.client_id)).await.status, 204);
    admin.delete(&format!("{path}/consents/{}", client.client_id)).await.problem(404, "admin-not-found");
    server.userinfo(&bound.str("access_token")).await.refused(401, "invalid_token");
    assert!(items("consents").await.is_empty());
    let audit = server.audit().await;
    for action in ["session.end", "user.end_sessions", "grant.end", "user.end_grants", "consent.withdraw"] {
        assert!(audit.contains(&action.to_owned()), "{action}");
    }
    let events = audit.len();
    admin.delete(&format!("{path}/grants")).await;
    admin.delete(&format!("{path}/grants")).await;
    assert_eq!(server.audit().await.len(), events, "what did not happen is not told");
    // More than a page.
    for _ in 0..3 {
        alice.tokens_for_long(&client).await;
    }
    let first = admin.get(&format!("{path}/grants?limit=2")).await.ok().json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = admin.get(&format!("{path}/grants?limit=2&cursor={cursor}")).await.ok().json();
    assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (2, 1));
    // A page of one person's is none of another's.
    let bob = id_of(&admin, &server.person("bob").await).await;
    admin
        .get(&format!("/users/{bob}/grants?cursor={cursor}"))
        .await
        .problem(400, "malformed-parameter")
        .about("parameter", "cursor");
}

async fn what_is_somebody_elses_is_not_found(server: Server) {
    let admin = server.admin("admin:write").await;
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens(&client, "openid").await;
    let bob = format!("/users/{}", id_of(&admin, &server.person("bob").await).await);
    let hers = format!("/users/{}", id_of(&admin, &alice).await);
    let first = async |below: &str, member: &str| {
        admin.get(&format!("{hers}/{below}")).await.ok().json()["items"][0][member].as_str().unwrap().to_owned()
    };
    let (sid, grant) = (first("sessions", "sid").await, first("grants", "id").await);
    for path in [format!("{bob}/sessions/{sid}"), format!("{bob}/grants/{grant}"), format!("{bob}/consents/{}", client.client_id)] {
        admin.delete(&path).await.problem(404, "admin-not-found");
    }
    server.userinfo(&tokens.str("access_token")).await.ok();
    assert!(is_signed_in(&alice, &server).await);
}

async fn second_factors_are_shown_and_reset(server: Server) {
    let (reader, admin) = (server.admin("admin:read").await, server.admin("admin:write").await);
    let (server, alice, client) = server.actors().await;
    let path = format!("/users/{}/factors", id_of(&admin, &alice).await);
    assert_eq!(reader.get(&path).await.ok().json(), json!({ "factors": [], "recovery_codes": 0 }));
    let tokens = alice.tokens_for_long(&client).await;
    let phone = factors::enrol(&server, &alice).await;
    let (browser, page) = factors::at_the_step(&server, &alice).await;
    factors::send_code(&browser, &page, &phone.code(&server)).await;
    let page = browser.get("/account/factors").await;
    let key = passkeys::Key::new();
    browser.submit(&page, &[("change", "add_passkey"), ("passkey", &key.registration(&page).to_string())]).await;
    let shown = reader.get(&path).await.ok().json();
    let kinds: Vec<&Value> = shown["factors"].as_array().unwrap().iter().map(|factor| &factor["kind"]).collect();
    assert_eq!((kinds, &shown["recovery_codes"]), (vec![&json!("totp"), &json!("passkey")], &json!(10)), "{shown}");
    for factor in shown["factors"].as_array().unwrap() {
        assert!(factor["created_at"].is_string() && factor["last_used_at"].as_str() >= factor["created_at"].as_str(), "{factor}");
    }
    assert!(uuid::Uuid::parse_str(shown["factors"][1]["id"].as_str().unwrap()).is_ok() && shown["factors"][1]["synced"] == false);
    let names: Vec<&String> =
        shown["factors"].as_array().unwrap().iter().flat_map(|factor| factor.as_object().unwrap().keys()).collect();
    let known = ["kind", "id", "synced", "device", "created_at", "last_used_at"];
    assert!(names.iter().all(|name| known.contains(&name.as_str())), "nothing else is told: {names:?}");
    // Readers change nothing; who resets ends everything.
    reader.delete(&path).await.problem(403, "admin-forbidden");
    let answer = admin.delete(&path).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(reader.get(&path).await.ok().json(), json!({ "factors": [], "recovery_codes": 0 }));
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    assert!(browser.get("/account").await.location().is_some_and(|to| to.path() == "/login"), "signed out");
    let events = admin.get("/audit-events?action=user.reset_factors").await.ok().json();
    let event = &events["items"][0];
    assert_eq!((&event["before"], event["trace_id"].as_str()), (&shown, Some(answer.trace_id().as_str())), "{event}");
    assert!(event["actor"].as_str().unwrap().starts_with("client:"));
    let nobody = format!("/users/{}/factors", "0198c1d5-0000-7000-8000-0000000000ff");
    reader.get(&nobody).await.problem(404, "admin-not-found");
    admin.delete(&nobody).await.problem(404, "admin-not-found");
}

async fn a_name_that_looks_like_an_id_opens_nothing(server: Server) {
    let admin = server.admin("admin:write").await;
    let alice = admin.post("/users", json!({ "username": "alice" })).await.str("id");
    let mallory = admin.post("/users", json!({ "username": alice })).await;
    assert_eq!(mallory.status, 201, "{}", mallory.text);
    assert_eq!(admin.get(&format!("/users/{alice}")).await.str("username"), "alice");
    admin.patch(&format!("/users/{alice}"), json!({ "nickname": "Al" })).await.ok();
    assert_eq!(admin.delete(&format!("/users/{alice}")).await.status, 204);
    assert_eq!(admin.get(&format!("/users/{}", mallory.str("id"))).await.str("username"), alice);
}

async fn people_are_found_by_what_has_an_index(server: Server) {
    let admin = server.admin("admin:write").await;
    let mut made = Vec::new();
    for number in 0..5 {
        let groups = if number % 2 == 0 { json!(["even", "all"]) } else { json!(["all"]) };
        made.push(admin.post("/users", json!({ "username": format!("Person{number}"), "groups": groups })).await.json());
        server.wait(A_MOMENT);
    }
    let names = async |query: &str| -> Vec<String> {
        let found = admin.get(&format!("/users?{query}")).await.ok().json();
        found["items"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("username=%20PERSON3").await, ["Person3"]);
    assert_eq!(names(&format!("sub={}", made[1]["sub"].as_str().unwrap())).await, ["Person1"]);
    assert_eq!(names("group=even").await, ["Person0", "Person2", "Person4"]);
    assert_eq!(names("group=even&username=person2").await, ["Person2"]);
    assert!(names("group=even&username=person1").await.is_empty() && names("group=nobody").await.is_empty());
    // Page by page, all of them and each once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/users?group=all&limit=2{cursor}")).await.ok().json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["Person0", "Person1", "Person2", "Person3", "Person4"]);
    // R-73: a cursor belongs to its list and filter, and sizes have a bound.
    let page = admin.get("/users?group=all&limit=1").await.ok().json();
    let cursor = page["next_cursor"].as_str().unwrap();
    for path in
        [format!("/users?cursor={cursor}"), format!("/users?group=even&cursor={cursor}"), format!("/groups?cursor={cursor}")]
    {
        admin.get(&path).await.problem(400, "malformed-parameter").about("parameter", "cursor");
    }
    for path in ["/users?limit=0", "/users?limit=201", "/users?limit=-1", "/groups?limit=1e9", "/audit-events?limit=201"] {
        admin.get(path).await.problem(400, "malformed-parameter").about("parameter", "limit");
    }
    admin.get("/users?email=a@example.com").await.problem(400, "malformed-parameter").about("parameter", "email");
}

async fn a_group_is_made_shown_changed_and_removed(server: Server) {
    let admin = server.admin("admin:write").await;
    let identifier = "Übung/a b%*?".replace('*', "");
    let path = format!("/groups/{}", segment(&identifier));
    let made = admin.put(&path, json!({ "name": "Practice", "roles": ["clerk"] })).await;
    assert_eq!((made.status, made.str("identifier")), (201, identifier.clone()), "{}", made.text);
    assert_eq!(admin.get(&path).await.ok().header("etag"), made.header("etag"));
    let events = server.audit().await.len();
    admin.put(&path, json!({ "name": "Practice", "roles": ["clerk"] })).await.ok();
    admin.put(&path, admin.get(&path).await.json()).await.ok();
    assert_eq!(server.audit().await.len(), events);
    admin.put(&path, json!({ "identifier": "other" })).await.problem(422, "document-refused").about("pointer", "/identifier");
    assert_eq!(admin.patch(&path, json!({ "name": null, "roles": ["a", "b"] })).await.ok().json()["roles"], json!(["a", "b"]));
    assert_eq!(admin.get(&path).await.json().get("name"), None);
    admin.post("/groups", json!({ "identifier": identifier })).await.problem(409, "admin-conflict");
    for name in ["alice", "bob"] {
        admin.post("/users", json!({ "username": name, "groups": [identifier] })).await;
        server.wait(A_MOMENT);
    }
    let members = admin.get(&format!("{path}/members?limit=1")).await.ok().json();
    let next = admin.get(&format!("{path}/members?limit=1&cursor={}", members["next_cursor"].as_str().unwrap())).await.ok().json();
    assert_eq!((&members["items"][0]["username"], &next["items"][0]["username"]), (&json!("alice"), &json!("bob")));
    assert_eq!(next["next_cursor"], Value::Null);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.get(&format!("{path}/members")).await.ok().json()["items"], json!([]));
    admin.get(&path).await.problem(404, "admin-not-found");
    admin.delete(&path).await.problem(404, "admin-not-found");
}

/// RFC 9110 §13.1, on two replicas.
async fn what_was_seen_of_people_and_groups_is_what_is_changed(server: Server) {
    let admin = server.admin("admin:write").await;
    let replica = server.replica().await;
    let other = Admin { site: replica.site(), ..admin.clone() };
    let user = format!("/users/{}", admin.post("/users", json!({ "username": "alice" })).await.str("id"));
    admin.post("/groups", json!({ "identifier": "staff" })).await;
    for path in [user, "/groups/staff".to_owned()] {
        let seen = admin.get(&path).await.ok().header("etag").to_owned();
        let rivals = (0..6).map(|number| {
            let rival = if number % 2 == 0 { admin.clone() } else { other.clone() };
            let (path, seen) = (path.clone(), seen.clone());
            let body = json!({ "name": format!("Rival {number}") });
            async move { rival.call_with("PATCH", &path, Some(&body), &[("if-match", &seen)]).await.status }
        });
        let mut statuses = join_all(rivals).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412, 412], "{path}");
        for method in ["PUT", "DELETE"] {
            let body = (method == "PUT").then(|| json!({ "username": "alice" }));
            let refused = admin.call_with(method, &path, body.as_ref(), &[("if-match", &seen)]).await;
            refused.problem(412, "precondition-failed").about("header", "if-match");
        }
        let now = admin.get(&path).await.ok().header("etag").to_owned();
        assert_eq!(admin.call_with("DELETE", &path, None, &[("if-match", &now)]).await.status, 204);
    }
}

async fn simultaneous_changes_of_a_person_lose_nothing(server: Server) {
    let admin = server.admin("admin:write").await;
    let path = format!("/users/{}", admin.post("/users", json!({ "username": "alice" })).await.str("id"));
    let members = ["given_name", "family_name", "nickname", "gender"];
    let changes = members.map(|member| {
        let (admin, path) = (admin.clone(), path.clone());
        async move { admin.patch(&path, json!({ member: member })).await.status }
    });
    assert_eq!(join_all(changes).await, [200; 4]);
    let shown = admin.get(&path).await.ok().json();
    assert!(members.iter().all(|member| shown[member] == *member), "{shown}");
    let wanted = "/users/3f1c9d1e-53a5-4b7a-9a52-6f4d7e0a9b13";
    let puts = (0..6).map(|_| {
        let admin = admin.clone();
        async move { admin.put(wanted, json!({ "username": "bob" })).await.status }
    });
    let mut statuses = join_all(puts).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);
}
