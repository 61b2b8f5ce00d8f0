//! Groups, roles and profile claims: who is told of them, and what ends when a person goes (design 4.4; docs/users-and-groups.md).

use serde_json::{Value, json};

use crate::harness::{Client, Person, Request, Server, jwt, on_both};

on_both![
    groups_and_roles_go_to_the_audiences_that_ask_for_them,
    a_change_counts_from_the_next_token_on,
    a_token_for_one_api_says_nothing_that_another_asked_for,
    a_person_in_too_many_groups_gets_no_token_that_nobody_can_read,
    what_a_client_is_told_is_asked_for_and_asked_again,
    a_person_who_lets_a_device_in_is_told_what_it_will_see,
    no_mapping_replaces_a_claim_of_the_specifications,
    a_person_who_is_removed_leaves_nothing_alive,
    a_person_who_is_disabled_by_a_change_is_as_disabled_as_any,
    a_new_address_is_not_verified_because_the_old_one_was,
    a_replica_of_the_version_before_keeps_the_memberships_too,
];

/// A person in `staff` and `orders-eu`, of which the first is described and carries roles.
async fn in_staff(server: &Server) -> Person {
    server.group(json!({ "identifier": "staff", "name": "Staff", "roles": ["clerk", "reader"] })).await;
    server.person_with("alice", json!({ "groups": ["staff", "orders-eu"] })).await
}

async fn id_token(person: &Person, client: &Client, scope: &str) -> (Value, String) {
    let tokens = person.tokens(client, scope).await;
    (jwt(&tokens.str("id_token")).1, tokens.str("access_token"))
}

fn api(identifier: &str, scope: &str, claims: Value) -> Value {
    json!({ "identifier": identifier, "name": "An API", "scopes": [{ "name": scope }], "claims": claims })
}

async fn groups_and_roles_go_to_the_audiences_that_ask_for_them(server: Server) {
    let alice = in_staff(&server).await;
    let claims = json!({ "groups": "groups", "https://app.test/roles": "roles" });
    let asking = server.client(json!({ "claims": claims })).await;
    let silent = server.client(json!({})).await;

    // The audience of an ID token and of userinfo is the client. The access token beside it is for userinfo alone and stays small.
    let (id, access) = id_token(&alice, &asking, "openid").await;
    assert_eq!((&id["groups"], &id["https://app.test/roles"]), (&json!(["orders-eu", "staff"]), &json!(["clerk", "reader"])));
    let told = server.userinfo(&access).await.ok().json();
    assert_eq!(told, json!({ "sub": alice.sub, "groups": ["orders-eu", "staff"], "https://app.test/roles": ["clerk", "reader"] }));
    assert!(jwt(&access).1.get("groups").is_none(), "{access}");

    let (id, access) = id_token(&alice, &silent, "openid").await;
    let told = server.userinfo(&access).await.ok().json();
    for said in [&id, &told, &jwt(&access).1] {
        assert!(said.get("groups").is_none() && said.get("roles").is_none(), "{said}");
    }

    // The audience of an access token is its API, whatever the client asks for.
    server.resource(api("https://asks.test", "asks", json!({ "roles": { "from": "roles", "only": ["cl*"] } }))).await;
    server.resource(api("https://silent.test", "silent", json!({}))).await;
    let app = server.client(json!({ "scope": "openid asks silent", "claims": { "groups": "groups" } })).await;
    let access = jwt(&alice.tokens(&app, "asks").await.str("access_token")).1;
    assert_eq!((&access["roles"], access.get("groups")), (&json!(["clerk"]), None));
    let access = jwt(&alice.tokens(&app, "silent").await.str("access_token")).1;
    assert!(access.get("roles").is_none() && access.get("groups").is_none(), "{access}");

    // Somebody without any is told of by an empty list, which is more than a claim that is not there.
    let bob = server.person("bob").await;
    assert_eq!(id_token(&bob, &asking, "openid").await.0["groups"], json!([]));
    // A client's own token has nobody's groups.
    let machine = server.machine(json!({ "scope": "asks", "claims": { "groups": "groups" } })).await;
    let own = machine.token(&[("grant_type", "client_credentials")]).await.ok();
    assert!(jwt(&own.str("access_token")).1.get("roles").is_none());
}

async fn a_change_counts_from_the_next_token_on(server: Server) {
    let alice = in_staff(&server).await;
    let client = server.client(json!({ "claims": { "groups": "groups", "roles": "roles" } })).await;
    let tokens = alice.tokens(&client, "openid offline_access").await;
    assert_eq!(jwt(&tokens.str("id_token")).1["roles"], json!(["clerk", "reader"]));
    server.update_group("staff", json!({ "roles": ["manager"] })).await;
    let tokens = client.refresh(&tokens.str("refresh_token")).await.ok();
    assert_eq!(jwt(&tokens.str("id_token")).1["roles"], json!(["manager"]));
    server.update_user(&alice, json!({ "groups": ["orders-eu"] })).await;
    let told = server.userinfo(&tokens.str("access_token")).await.ok().json();
    assert_eq!((&told["groups"], &told["roles"]), (&json!(["orders-eu"]), &json!([])));
    server.update_user(&alice, json!({ "groups": ["staff"] })).await;
    server.remove_group("staff").await;
    let tokens = client.refresh(&tokens.str("refresh_token")).await.ok();
    let id = jwt(&tokens.str("id_token")).1;
    assert_eq!((&id["groups"], &id["roles"]), (&json!([]), &json!([])));
    // Another group of this name begins empty.
    server.group(json!({ "identifier": "staff", "roles": ["owner"] })).await;
    assert_eq!(server.userinfo(&tokens.str("access_token")).await.ok().json()["roles"], json!([]));
    let audit = server.audit().await;
    for action in ["group.add", "group.update", "group.remove", "user.update"] {
        assert!(audit.contains(&action.to_owned()), "{action}: {audit:?}");
    }
}

async fn a_token_for_one_api_says_nothing_that_another_asked_for(server: Server) {
    let alice = in_staff(&server).await;
    server.resource(api("https://asks.test", "asks", json!({ "groups": "groups" }))).await;
    server.resource(api("https://silent.test", "silent", json!({}))).await;
    server.resource(api("https://other.test", "other", json!({ "groups": "roles" }))).await;
    let client = server.client(json!({ "scope": "openid asks silent other" })).await;
    let back = alice.arrive(&Request::of(&client).with("scope", "openid asks silent")).await;
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    assert_eq!(jwt(&tokens.str("access_token")).1["groups"], json!(["orders-eu", "staff"]), "a token for both");
    for (resource, told) in [("https://asks.test", true), ("https://silent.test", false)] {
        let refresh = tokens.str("refresh_token");
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("resource", resource)];
        let token = client.token(&fields).await.ok().str("access_token");
        assert_eq!(jwt(&token).1.get("groups").is_some(), told, "{resource}");
    }
    // Two APIs that mean different things by one name cannot share a token.
    let back = alice.arrive(&Request::of(&client).with("scope", "asks other")).await;
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_target");
}

async fn a_person_in_too_many_groups_gets_no_token_that_nobody_can_read(server: Server) {
    let groups: Vec<String> = (0..400).map(|number| format!("department-{number:03}")).collect();
    let alice = server.person_with("alice", json!({ "groups": groups })).await;
    let client = server.client(json!({ "claims": { "groups": "groups" } })).await;
    let back = alice.visit(&client, "openid").await;
    let refused = client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_request");
    assert!(!refused.text.contains("department"), "{}", refused.text);
    let story = server.explain(&refused.trace_id()).await;
    assert!(story.happened.contains("too large") && story.mend.contains("only"), "{story:?}");
    server.update_client(&client, json!({ "claims": { "groups": { "from": "groups", "only": ["department-00*"] } } })).await;
    let (id, _) = id_token(&alice, &client, "openid").await;
    assert_eq!(id["groups"].as_array().unwrap().len(), 10);
}

async fn what_a_client_is_told_is_asked_for_and_asked_again(server: Server) {
    let alice = in_staff(&server).await;
    let client = server.client(json!({})).await;
    alice.tokens(&client, "openid").await;
    let silent = async || alice.open(&Request::of(&client)).await.location().is_some_and(|to| to.as_str().contains("code="));
    assert!(silent().await);
    server.update_client(&client, json!({ "claims": { "groups": "groups" } })).await;
    let mut page = alice.open(&Request::of(&client)).await;
    while page.location().is_some() {
        page = alice.browser.follow(&page).await;
    }
    assert!(page.is_consent(), "{}", page.body);
    assert!(page.text("[data-scope=claims]").unwrap().contains("groups and roles"), "{}", page.body);
    alice.tokens(&client, "openid").await;
    assert!(silent().await);
    server.update_client(&client, json!({ "claims": { "groups": null } })).await;
    assert!(!silent().await);
}

async fn a_person_who_lets_a_device_in_is_told_what_it_will_see(server: Server) {
    let alice = in_staff(&server).await;
    alice.tokens(&server.client(json!({})).await, "openid").await;
    let television = json!({ "redirect_uris": [], "grant_types": [super::device::GRANT], "claims": { "groups": "groups" } });
    let television = server.public_client(television).await;
    let begun = television.call("/device/code", &[("scope", "openid")]).await.ok();
    let mut page = alice.browser.get(format!("{}/device?user_code={}", server.issuer, begun.str("user_code"))).await;
    while page.location().is_some() {
        page = alice.browser.follow(&page).await;
    }
    assert!(page.text("[data-scope=claims]").is_some_and(|words| words.contains("groups and roles")), "{}", page.body);
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    let poll = [("grant_type", super::device::GRANT), ("device_code", &begun.str("device_code"))];
    let tokens = television.token(&poll).await.ok();
    assert_eq!(jwt(&tokens.str("id_token")).1["groups"], json!(["orders-eu", "staff"]));
}

async fn no_mapping_replaces_a_claim_of_the_specifications(server: Server) {
    for name in ["sub", "aud", "scope", "email_verified", "acr", "client_id", "act", "jti", "sid"] {
        let refused = server.try_client(json!({ "claims": { name: "groups" } })).await.map(|_| ()).unwrap_err();
        assert!(refused.contains("claims") && refused.contains(name), "{refused}");
    }
    for wrong in
        [json!({ "groups": "email" }), json!({ "g": { "from": "groups", "only": [] } }), json!(["groups"]), json!("groups")]
    {
        assert!(server.try_client(json!({ "claims": wrong })).await.is_err(), "{wrong}");
    }
}

/// R-46, and the admin API's DELETE.
async fn a_person_who_is_removed_leaves_nothing_alive(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let back = alice.visit(&client, "openid").await;
    server.remove_user(&alice).await;
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    client.redeem(back.code(), &back.verifier).await.refused(400, "invalid_grant");
    let mut page = alice.open(&Request::of(&client)).await;
    while page.location().is_some() {
        page = alice.browser.follow(&page).await;
    }
    assert!(page.is_login(), "{}", page.body);
    assert!(server.audit().await.contains(&"user.remove".to_owned()));
    // Somebody else of this name is somebody else.
    let document = json!({ "username": alice.username }).to_string();
    assert_ne!(server.add_user(&document).await.sub, alice.sub);
}

async fn a_person_who_is_disabled_by_a_change_is_as_disabled_as_any(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    server.update_user(&alice, json!({ "enabled": false, "name": "Gone" })).await;
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    server.enable_user(&alice).await;
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    assert!(server.audit().await.contains(&"user.disable".to_owned()));
}

async fn a_new_address_is_not_verified_because_the_old_one_was(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "scope": "openid email phone" })).await;
    let token = alice.tokens(&client, "openid email phone").await.str("access_token");
    let told = async || server.userinfo(&token).await.ok().json();
    assert_eq!(told().await["email_verified"], true);
    server.update_user(&alice, json!({ "email": "mallory@evil.test" })).await;
    assert_eq!(told().await["email_verified"], false);
    server.update_user(&alice, json!({ "email_verified": true, "phone_number": "+1", "phone_number_verified": true })).await;
    assert_eq!((&told().await["email_verified"], &told().await["phone_number_verified"]), (&json!(true), &json!(true)));
    server.update_user(&alice, json!({ "phone_number": "+2" })).await;
    assert_eq!(told().await["phone_number_verified"], false);
}

/// It knows the column of old and nothing of groups as objects.
async fn a_replica_of_the_version_before_keeps_the_memberships_too(server: Server) {
    let alice = in_staff(&server).await;
    let client = server.client(json!({ "claims": { "groups": "groups", "roles": "roles" } })).await;
    let (_, access) = id_token(&alice, &client, "openid").await;
    for (stored, groups, roles) in [
        (r#"["else"]"#, json!(["else"]), json!([])),
        (r#"["staff", "é \"x\""]"#, json!(["staff", "é \"x\""]), json!(["clerk", "reader"])),
        ("[]", json!([]), json!([])),
    ] {
        let written = chancery::args![stored, &alice.sub];
        server.app.db.execute("UPDATE users SET group_names = $1 WHERE sub = $2", written).await.unwrap();
        let told = server.userinfo(&access).await.ok().json();
        assert_eq!((&told["groups"], &told["roles"]), (&groups, &roles));
    }
}
