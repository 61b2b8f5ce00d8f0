//! The claims parameter (OpenID Connect Core §5.5): delivered where it was asked for, agreed to by the person, never more than the client
//! may have.

use serde_json::{Value, json};

use crate::harness::{Client, Page, Person, Request, Server, jwt, on_both};

on_both![
    a_claim_goes_where_it_was_asked_for_and_nowhere_else,
    a_claims_request_survives_refreshes,
    a_narrower_token_does_not_tell_what_its_scope_lacks,
    the_page_names_what_is_asked_for_and_consent_remembers_it,
    what_the_page_did_not_name_is_not_agreed_to,
    a_claim_is_no_way_around_its_scope,
    a_broken_claims_parameter_is_refused,
    what_is_not_understood_is_ignored,
    the_person_asked_for_by_value_is_the_one_or_nobody,
    an_essential_level_is_reached_or_there_is_no_answer,
    auth_time_is_always_there,
    the_admin_api_shows_what_was_agreed_to,
];

const ALL_SCOPES: &str = "openid profile email phone address offline_access";

async fn app(server: &Server) -> Client {
    server.client(json!({ "scope": ALL_SCOPES })).await
}

fn asking(client: &Client, claims: &Value) -> Request {
    Request::of(client).with("claims", &claims.to_string())
}

async fn tokens(person: &Person, client: &Client, request: &Request) -> crate::harness::Answer {
    let back = person.arrive(request).await;
    client.redeem(back.code(), &back.verifier).await.ok()
}

async fn userinfo(server: &Server, tokens: &crate::harness::Answer) -> Value {
    server.userinfo(&tokens.str("access_token")).await.ok().json()
}

/// The first page that is not the sign-in.
async fn after_sign_in(person: &Person, request: &Request) -> Page {
    let mut page = person.open(request).await;
    for _ in 0..6 {
        let stays = page.location().is_some_and(|to| to.as_str().starts_with("https://id.test"));
        page = match () {
            () if stays => person.browser.follow(&page).await,
            () if page.location().is_none() && page.is_login() => {
                person.browser.submit(&page, &[("username", &person.username), ("password", &person.password)]).await
            }
            () => return page,
        };
    }
    page
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// openid.md 31 and 65.
async fn a_claim_goes_where_it_was_asked_for_and_nowhere_else(server: Server) {
    let (alice, client) = (server.person("alice").await, app(&server).await);
    let plain = tokens(&alice, &client, &Request::of(&client)).await;
    let usual = jwt(&plain.str("id_token")).1;
    let claims = json!({ "userinfo": { "name": { "essential": true } }, "id_token": { "email": null, "preferred_username": { "essential": true } } });
    let asked = tokens(&alice, &client, &asking(&client, &claims)).await;
    let (id_token, told) = (jwt(&asked.str("id_token")).1, userinfo(&server, &asked).await);
    assert_eq!(names(&told), ["name", "sub"], "{told}");
    assert_eq!(told["name"], "alice Example");
    let more: Vec<&str> = names(&id_token).into_iter().filter(|name| !usual.as_object().unwrap().contains_key(*name)).collect();
    assert_eq!(more, ["email", "preferred_username"], "{id_token}");
    assert_eq!(id_token["email"], "alice@example.com");
    let access = jwt(&asked.str("access_token")).1;
    assert!(access.get("name").is_none() && access.get("email").is_none(), "an access token is no place for them: {access}");
    // With a scope beside it both are told; what the person does not have is left out (§5.3.2).
    let claims = json!({ "userinfo": { "phone_number": { "essential": true }, "nickname": null, "name": null } });
    let both = tokens(&alice, &client, &asking(&client, &claims).with("scope", "openid email")).await;
    assert_eq!(names(&userinfo(&server, &both).await), ["email", "email_verified", "name", "sub"]);
}

async fn a_claims_request_survives_refreshes(server: Server) {
    let (alice, client) = (server.person("alice").await, app(&server).await);
    let claims = json!({ "userinfo": { "name": null }, "id_token": { "email": null } });
    let request = asking(&client, &claims).with("scope", "openid offline_access").with("prompt", "consent");
    let mut answer = tokens(&alice, &client, &request).await;
    for _ in 0..3 {
        assert_eq!(jwt(&answer.str("id_token")).1["email"], "alice@example.com");
        assert_eq!(userinfo(&server, &answer).await["name"], "alice Example");
        server.wait(std::time::Duration::from_secs(60));
        answer = client.refresh(&answer.str("refresh_token")).await.ok();
    }
    // It is told as long as the client may ask for it.
    server.update_client(&client, json!({ "scope": "openid offline_access" })).await;
    let answer = client.refresh(&answer.str("refresh_token")).await.ok();
    assert!(jwt(&answer.str("id_token")).1.get("email").is_none());
    assert_eq!(names(&userinfo(&server, &answer).await), ["sub"]);
}

/// RFC 6749 §6: a token of less tells less, in whichever way it was asked for.
async fn a_narrower_token_does_not_tell_what_its_scope_lacks(server: Server) {
    let (alice, client) = (server.person("alice").await, app(&server).await);
    let claims = json!({ "userinfo": { "name": null, "email": null } });
    let request = asking(&client, &claims).with("scope", "openid email offline_access").with("prompt", "consent");
    let answer = tokens(&alice, &client, &request).await;
    assert_eq!(names(&userinfo(&server, &answer).await), ["email", "email_verified", "name", "sub"]);
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &answer.str("refresh_token")), ("scope", "openid")];
    let narrowed = client.token(&refresh).await.ok();
    // The name has no scope here: it was agreed to by itself.
    assert_eq!(names(&userinfo(&server, &narrowed).await), ["name", "sub"]);
}

/// Design 4.1.
async fn the_page_names_what_is_asked_for_and_consent_remembers_it(server: Server) {
    let (mut alice, client) = (server.person("alice").await, app(&server).await);
    alice.browser.headers.push(("accept-language", "en".to_owned()));
    let claims = json!({ "userinfo": { "birthdate": { "essential": true }, "email": null }, "id_token": { "birthdate": null } });
    let request = asking(&client, &claims).with("scope", "openid email");
    let page = after_sign_in(&alice, &request).await;
    let words = page.text("main").unwrap();
    assert!(page.is_consent() && words.contains("See your date of birth"), "{words}");
    assert_eq!(words.matches("See your date of birth").count(), 1, "{words}");
    assert!(!words.contains("See your email address\nSee"), "{words}");
    let back = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(back.location().unwrap().as_str().contains("code="));
    // The same and less pass silently, in whichever place; more is asked.
    alice.arrive(&request.clone().with("prompt", "none")).await.code();
    let elsewhere = json!({ "id_token": { "email": null, "birthdate": null } });
    alice.arrive(&asking(&client, &elsewhere).with("prompt", "none")).await.code();
    alice.arrive(&Request::of(&client).with("prompt", "none")).await.code();
    let more = asking(&client, &json!({ "userinfo": { "birthdate": null, "gender": null } }));
    alice.arrive(&more.clone().with("prompt", "none")).await.refused("consent_required");
    let page = after_sign_in(&alice, &more).await;
    assert!(page.text("main").unwrap().contains("See your gender"), "{}", page.body);
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    alice.arrive(&more.with("prompt", "none")).await.code();
    alice.arrive(&request.with("prompt", "none")).await.code();
    // A scope that was agreed to covers its claims.
    let name = asking(&client, &json!({ "id_token": { "name": null } }));
    alice.arrive(&name.clone().with("prompt", "none")).await.refused("consent_required");
    alice.visit(&client, "openid profile").await.code();
    alice.arrive(&name.with("prompt", "none")).await.code();
}

/// R-24: the answer to a page that named less.
async fn what_the_page_did_not_name_is_not_agreed_to(server: Server) {
    let (alice, client) = (server.person("alice").await, app(&server).await);
    let less = after_sign_in(&alice, &asking(&client, &json!({ "userinfo": { "gender": null } }))).await;
    let more = after_sign_in(&alice, &asking(&client, &json!({ "userinfo": { "gender": null, "birthdate": null } }))).await;
    let field = |page: &Page, name: &str| page.form().fields.into_iter().find(|field| field.0 == name).unwrap().1;
    let forged = alice.browser.submit(&less, &[("decision", "allow"), ("interaction", &field(&more, "interaction"))]).await;
    let mut page = forged;
    while page.location().is_some() {
        assert!(!page.location().unwrap().as_str().contains("code="), "more was granted than the page named");
        page = alice.browser.follow(&page).await;
    }
    assert!(page.is_consent(), "asked again: {}", page.body);
}

async fn a_claim_is_no_way_around_its_scope(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "scope": "openid profile" })).await;
    let claims = json!({ "userinfo": { "email": { "essential": true }, "name": null }, "id_token": { "email": null } });
    let page = after_sign_in(&alice, &asking(&client, &claims)).await;
    assert!(!page.text("main").unwrap().contains("@") || !page.body.contains("data-scope=\"email\""), "{}", page.body);
    let asked = tokens(&alice, &client, &asking(&client, &claims)).await;
    assert!(jwt(&asked.str("id_token")).1.get("email").is_none());
    assert_eq!(names(&userinfo(&server, &asked).await), ["name", "sub"]);
    // Nor is it a way to anything without openid.
    let machine_like = server.client(json!({ "scope": "openid profile" })).await;
    let request = asking(&machine_like, &claims).with("scope", "profile");
    let back = alice.arrive(&request).await;
    let answer = machine_like.redeem(back.code(), &back.verifier).await.ok();
    assert!(answer.json().get("id_token").is_none());
    server.userinfo(&answer.str("access_token")).await.refused(403, "insufficient_scope");
}

async fn a_broken_claims_parameter_is_refused(server: Server) {
    let (alice, client) = (server.person("alice").await, app(&server).await);
    let deep = format!("{{\"userinfo\":{}1{}}}", "{\"a\":".repeat(40), "}".repeat(40));
    for broken in [
        "x",
        "[]",
        "{\"userinfo\":{\"name\":null}",
        r#"{"userinfo":{"name":null,"name":{"essential":true}}}"#,
        r#"{"userinfo":{},"userinfo":{"name":null}}"#,
        r#"{"userinfo":{"name":1}}"#,
        r#"{"id_token":{"sub":{"value":7}}}"#,
        &deep,
    ] {
        let back = alice.arrive(&Request::of(&client).with("claims", broken)).await;
        assert!(back.refused("invalid_request").params["error_description"].contains("claims"), "{broken}");
    }
    // R-20: 4 KiB.
    let long = format!("{{\"userinfo\":{{\"x\":{{\"value\":\"{}\"}}}}}}", "y".repeat(4096));
    let page = alice.open(&Request::of(&client).with("claims", &long)).await;
    let refused = page.status == 400 || page.location().is_some_and(|to| to.as_str().contains("error=invalid_request"));
    assert!(refused, "{} {:?}", page.status, page.location());
}

async fn what_is_not_understood_is_ignored(server: Server) {
    let (alice, client) = (server.person("alice").await, app(&server).await);
    let claims = json!({
        "userinfo": { "name#de": null, "http://example.com/groups": { "essential": true }, "sub": null, "name": { "value": "Mallory", "purpose": "x" } },
        "id_token": { "shoe_size": { "values": [44, 45] }, "nonce": null, "acr": null },
        "verified_claims": { "claims": {} },
    });
    let answer = tokens(&alice, &client, &asking(&client, &claims).with("claims_locales", "de en")).await;
    assert_eq!(names(&userinfo(&server, &answer).await), ["name", "sub"]);
    // Without a value it counts as not sent.
    tokens(&alice, &client, &Request::of(&client).with("claims", "")).await;
}

/// Core §3.1.2.2 and §5.5.1.
async fn the_person_asked_for_by_value_is_the_one_or_nobody(server: Server) {
    let (alice, bob, client) = (server.person("alice").await, server.person("bob").await, app(&server).await);
    let for_alice = asking(&client, &json!({ "id_token": { "sub": { "value": alice.sub } } }));
    let in_userinfo = asking(&client, &json!({ "userinfo": { "sub": { "values": ["somebody", alice.sub] } } }));
    for request in [&for_alice, &in_userinfo] {
        let answer = tokens(&alice, &client, request).await;
        assert_eq!(jwt(&answer.str("id_token")).1["sub"], alice.sub);
        alice.arrive(&request.clone().with("prompt", "none")).await.code();
        bob.visit(&client, "openid").await.code();
        bob.arrive(&request.clone().with("prompt", "none")).await.refused("login_required");
        // He is offered to sign in as her; as himself there is no answer.
        assert!(after_login_page(&bob, request).await);
        bob.arrive(request).await.refused("login_required");
    }
    // A pairwise client names the person as it knows them.
    let pairwise = server.client(json!({ "subject_type": "pairwise" })).await;
    let own = jwt(&tokens(&alice, &pairwise, &Request::of(&pairwise)).await.str("id_token")).1["sub"].clone();
    alice.arrive(&asking(&pairwise, &json!({ "id_token": { "sub": { "value": own } } })).with("prompt", "none")).await.code();
    let public = asking(&pairwise, &json!({ "id_token": { "sub": { "value": alice.sub } } }));
    alice.arrive(&public.with("prompt", "none")).await.refused("login_required");
}

/// Is the sign-in page shown, although somebody is signed in?
async fn after_login_page(person: &Person, request: &Request) -> bool {
    let mut page = person.open(request).await;
    while page.location().is_some_and(|to| to.as_str().starts_with("https://id.test")) {
        page = person.browser.follow(&page).await;
    }
    page.location().is_none() && page.is_login()
}

/// Core §5.5.1.1.
async fn an_essential_level_is_reached_or_there_is_no_answer(server: Server) {
    let (alice, client) = (server.person("alice").await, app(&server).await);
    let acr = |essential: bool, values: &[&str]| json!({ "id_token": { "acr": { "essential": essential, "values": values } } });
    let (password, mfa) = ("urn:chancery:acr:password", "urn:chancery:acr:mfa");
    // Nobody signs in for what can never be.
    let page = alice.open(&asking(&client, &acr(true, &["urn:gold"]))).await;
    assert!(page.location().unwrap().as_str().contains("error=unmet_authentication_requirements"), "{:?}", page.location());
    for (claims, met) in [
        (acr(true, &["urn:gold", password]), Some(password)),
        (acr(false, &["urn:gold"]), Some(password)),
        (acr(false, &[mfa]), Some(password)),
        (acr(true, &[mfa]), None),
        (json!({ "id_token": { "acr": { "essential": true } } }), Some(password)),
        (json!({ "id_token": { "acr": { "essential": true, "value": password } } }), Some(password)),
    ] {
        let back = alice.arrive(&asking(&client, &claims)).await;
        match met {
            Some(level) => {
                let answer = client.redeem(back.code(), &back.verifier).await.ok();
                assert_eq!(jwt(&answer.str("id_token")).1["acr"], level, "{claims}");
            }
            None => {
                back.refused("unmet_authentication_requirements");
            }
        }
    }
    alice.arrive(&asking(&client, &acr(true, &[mfa])).with("prompt", "none")).await.refused("unmet_authentication_requirements");
}

/// Registration §2 require_auth_time, Core §5.5.1: whether it is asked for or not.
async fn auth_time_is_always_there(server: Server) {
    let alice = server.person("alice").await;
    let client =
        server.client(json!({ "require_auth_time": true, "default_acr_values": ["urn:gold", "urn:chancery:acr:password"] })).await;
    let essential = asking(&client, &json!({ "id_token": { "auth_time": { "essential": true } } }));
    for request in [essential, Request::of(&client), Request::of(&client).with("max_age", "10000")] {
        let claims = jwt(&tokens(&alice, &client, &request).await.str("id_token")).1;
        assert_eq!(claims["auth_time"].as_i64(), Some(server.clock_seconds()));
        assert_eq!(claims["acr"], "urn:chancery:acr:password");
    }
}

async fn the_admin_api_shows_what_was_agreed_to(server: Server) {
    let (alice, client) = (server.person("alice").await, app(&server).await);
    tokens(&alice, &client, &asking(&client, &json!({ "userinfo": { "gender": null } }))).await;
    let admin = server.admin("admin:read").await;
    let found = admin.get(&format!("/users?sub={}", alice.sub)).await.ok().json();
    let id = found["items"][0]["id"].as_str().unwrap().to_owned();
    for path in ["consents", "grants"] {
        let shown = admin.get(&format!("/users/{id}/{path}")).await.ok().json();
        assert_eq!(shown["items"][0]["claims"], json!(["gender"]), "{path}: {shown}");
    }
}
