//! The requests of docs/flows are pasted into a shell as they stand, and the answers have the members that the pages show.

use std::collections::BTreeMap;
use std::process::Command;

use chancery::config::RegistrationMode;
use serde_json::{Value, json};

use crate::harness::{Backend, Client, Request, Setup};

/// The fenced blocks of one language, in order, each with the JSON block that follows it at once, if one does.
fn blocks(page: &str) -> Vec<(String, Option<Value>)> {
    let mut found: Vec<(String, Option<Value>)> = Vec::new();
    let mut parts = page.split("```");
    let mut between = parts.next();
    while let Some(block) = parts.next() {
        if let Some(shell) = block.strip_prefix("sh\n") {
            found.push((shell.to_owned(), None));
        } else if let (Some(json), Some(last)) = (block.strip_prefix("json\n"), found.last_mut()) {
            // Only what stands right below a request is its answer.
            last.1 = last.1.take().or_else(|| between?.trim().is_empty().then(|| serde_json::from_str(json).unwrap()));
        }
        between = parts.next();
    }
    found
}

/// Runs a block with these variables; what it printed, and the variables afterwards.
async fn paste(block: &str, variables: &mut BTreeMap<&'static str, String>) -> String {
    let names = ["VERIFIER", "NONCE", "STATE"];
    let tell: String = names.iter().map(|name| format!("printf '\\n{name}=%s' \"${{{name}:-}}\"\n")).collect();
    let mut command = Command::new("sh");
    command.args(["-euc", &format!("{block}\n{tell}")]).envs(variables.iter()).env("no_proxy", "*");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{block}\n{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut shown = printed.as_str();
    for name in names.into_iter().rev() {
        let (before, value) = shown.rsplit_once(&format!("\n{name}=")).unwrap();
        variables.insert(name, value.to_owned());
        shown = before;
    }
    shown.trim().to_owned()
}

/// Runs a page's blocks from here on and compares the members of their answers with those that are shown.
async fn play(blocks: &[(String, Option<Value>)], variables: &mut BTreeMap<&'static str, String>) -> Vec<String> {
    let mut printed = Vec::new();
    for (block, shown) in blocks {
        let answer = paste(block, variables).await;
        if let Some(shown) = shown {
            let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
            let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            let missing: Vec<_> = members(shown).into_iter().filter(|name| answer.get(name).is_none()).collect();
            assert!(missing.is_empty(), "{missing:?} is not in {answer}");
        }
        printed.push(answer);
    }
    printed
}

/// The socket stands for the issuer: there is no TLS in front of it here.
fn known(client: &Client) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("ISSUER", format!("http://{}", client.site.address)),
        ("CLIENT_ID", client.client_id.clone()),
        ("CLIENT_SECRET", client.secret.clone().unwrap()),
        ("REDIRECT_URI", client.redirect_uri.clone()),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_about_people_do_what_they_say() {
    let server = Setup::on(Backend::Sqlite).start().await;
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    let mut variables = known(&client);
    let socket = variables["ISSUER"].clone();

    let sign_in = blocks(include_str!("../../../docs/flows/sign-in.md"));
    let opened = play(&sign_in[..1], &mut variables).await.remove(0);
    let at_issuer = |url: &str| url.replace(&socket, &server.issuer);
    let fields = url::Url::parse(&opened).unwrap().query_pairs().into_owned().collect();
    let request = Request { fields, verifier: variables["VERIFIER"].clone(), nonce: variables["NONCE"].clone() };
    let callback = alice.answer(&request).await.unwrap();
    assert_eq!(callback.params["state"], variables["STATE"]);
    variables.insert("CODE", callback.code().to_owned());
    let answer: Value = serde_json::from_str(&play(&sign_in[1..], &mut variables).await[0]).unwrap();
    for (variable, member) in [("ACCESS_TOKEN", "access_token"), ("REFRESH_TOKEN", "refresh_token"), ("ID_TOKEN", "id_token")] {
        variables.insert(variable, answer[member].as_str().unwrap().to_owned());
    }

    let userinfo = play(&blocks(include_str!("../../../docs/flows/userinfo.md")), &mut variables).await;
    assert!(userinfo[0].contains(&alice.sub));
    play(&blocks(include_str!("../../../docs/flows/refresh.md")), &mut variables).await;
    play(&blocks(include_str!("../../../docs/flows/introspection-and-revocation.md")), &mut variables).await;
    assert!(!client.is_active(&variables["ACCESS_TOKEN"]).await, "it was revoked");

    variables.insert("POST_LOGOUT_REDIRECT_URI", "https://app.test/bye".to_owned());
    let logout = play(&blocks(include_str!("../../../docs/flows/logout.md")), &mut variables).await.remove(0);
    let mut page = alice.browser.get(at_issuer(&logout)).await;
    while let Some(to) = page.location() {
        if to.as_str().starts_with("https://app.test/bye") {
            assert_eq!(to.query(), Some("state=done"));
            return;
        }
        page = alice.browser.follow(&page).await;
    }
    panic!("the person did not come back: {}", page.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_about_programs_does_what_it_says() {
    let server = Setup::on(Backend::Sqlite).start().await;
    server
        .resource(json!({ "identifier": "https://api.example.com", "name": "Orders", "scopes": [{ "name": "orders:read" }] }))
        .await;
    let machine = server.machine(json!({ "scope": "orders:read" })).await;
    let mut variables = known(&machine);
    play(&blocks(include_str!("../../../docs/flows/client-credentials.md")), &mut variables).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_about_devices_does_what_it_says() {
    let server = Setup::on(Backend::Sqlite).start().await;
    let alice = server.person("alice").await;
    let shown = blocks(include_str!("../../../docs/flows/device.md"));
    let document = shown[0].0.split("JSON'\n").nth(1).unwrap().split("\nJSON").next().unwrap();
    let tv = server.client(serde_json::from_str(document).unwrap()).await;
    let issuer = format!("http://{}", tv.site.address);
    let mut variables = BTreeMap::from([("ISSUER", issuer), ("CLIENT_ID", tv.client_id.clone())]);
    let begun: Value = serde_json::from_str(&play(&shown[1..2], &mut variables).await[0]).unwrap();
    variables.insert("DEVICE_CODE", begun["device_code"].as_str().unwrap().to_owned());
    let mut page = alice.browser.get(begun["verification_uri_complete"].as_str().unwrap()).await;
    while !page.is_consent() {
        page = if page.is_login() {
            alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await
        } else {
            alice.browser.follow(&page).await
        };
    }
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    play(&shown[2..], &mut variables).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_about_registration_does_what_it_says() {
    let server = Setup::on(Backend::Sqlite).config(|config| config.registration.mode = RegistrationMode::Token).start().await;
    let initial = server.admin("admin:write").await.post("/initial-access-tokens", json!({})).await.str("token");
    let issuer = format!("http://{}", server.site().address);
    let mut variables = BTreeMap::from([("ISSUER", issuer), ("INITIAL_ACCESS_TOKEN", initial)]);
    let shown = blocks(include_str!("../../../docs/flows/registration.md"));
    let registered: Value = serde_json::from_str(&play(&shown[..1], &mut variables).await[0]).unwrap();
    let text = |answer: &Value, name: &str| answer[name].as_str().unwrap().to_owned();
    variables.insert("CLIENT_ID", text(&registered, "client_id"));
    variables.insert("REGISTRATION_ACCESS_TOKEN", text(&registered, "registration_access_token"));
    let changed = play(&shown[1..3], &mut variables).await.pop().unwrap();
    let changed: Value = serde_json::from_str(&changed).unwrap();
    assert_eq!(text(&changed, "client_name"), "A better name");
    variables.insert("NEW_REGISTRATION_ACCESS_TOKEN", text(&changed, "registration_access_token"));
    assert_eq!(play(&shown[3..], &mut variables).await, [""]);
}
