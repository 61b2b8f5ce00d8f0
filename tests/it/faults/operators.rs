//! kill -9 as soon as an operator has the answer of the admin API: what it says was done is done.

use reqwest::Method;
use serde_json::json;

use crate::harness::admin::Admin;
use crate::harness::machine::Machine;
use crate::harness::{Request, rounds};

/// Each done to somebody of their own.
const CHANGES: [&str; 5] = ["password", "disabled", "removed", "withdrawn", "taken-back"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_what_operators_were_told() {
    survive(Machine::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_what_operators_were_told() {
    survive(Machine::postgres().await).await;
}

async fn survive(machine: Machine) {
    let machine_of_operators = json!({ "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": [],
                                       "scope": "admin:write", "introspection": "any" });
    let admin = machine.client_with(machine_of_operators);
    let shop = machine.client();
    let mut ended = Vec::new();
    for (round, what) in (0..rounds(1, 20)).flat_map(|round| CHANGES.map(|what| (round, what))) {
        let person = machine.person(&format!("{what}-{round}"));
        let id = machine.json(&["user", "show", &person.username])["id"].as_str().unwrap().to_owned();
        let server = machine.start(&["serve"]).await;
        let tokens = person.tokens_for_long(&shop).await;
        let token = admin.token(&[("grant_type", "client_credentials")]).await.ok().str("access_token");
        let operator = Admin { site: machine.site(), token: Some(token) };
        let (method, path, body) = match what {
            "password" => (Method::PUT, format!("/users/{id}/password"), Some(json!({ "password": "quite another passphrase" }))),
            "disabled" => (Method::PATCH, format!("/users/{id}"), Some(json!({ "enabled": false }))),
            "removed" => (Method::DELETE, format!("/users/{id}"), None),
            "withdrawn" => (Method::DELETE, format!("/users/{id}/consents/{}", shop.client_id), None),
            _taken_back => (Method::DELETE, format!("/users/{id}/grants"), None),
        };
        let answer = operator.call(method.as_str(), &path, body.as_ref()).await;
        assert!(matches!(answer.status, 200 | 204), "{what}: {} {}", answer.status, answer.text);
        drop(server);
        ended.push((what, person, tokens));
    }
    let _server = machine.start(&["serve"]).await;
    for (what, mut person, tokens) in ended {
        assert!(!admin.is_active(&tokens.str("access_token")).await, "{what}");
        let refreshed = shop.refresh(&tokens.str("refresh_token")).await;
        assert_eq!(refreshed.status, 400, "{what}: {}", refreshed.text);
        // Who still has a session is asked again, or is in: the consent and the session are other things than the grants.
        let silent = person.arrive(&Request::of(&shop).with("prompt", "none")).await;
        assert_eq!(silent.params.contains_key("code"), what == "taken-back", "{what}: {}", silent.url);
        let signs_in = person.answer(&Request::of(&shop).with("prompt", "login")).await.is_ok();
        assert_eq!(signs_in, matches!(what, "withdrawn" | "taken-back"), "{what}");
        if what == "password" {
            person.password = "quite another passphrase".to_owned();
            person.tokens(&shop, "openid").await;
        }
    }
}
