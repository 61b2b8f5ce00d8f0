//! The built binary from its first start to SIGTERM, on both databases: what contract.md says about starting it, and what it refuses.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::machine::{MASTER_KEY, Machine, OTHER_MASTER_KEY, refused, until};

fn machine_client(machine: &Machine) -> Value {
    std::fs::write(machine.path().join("client.json"), r#"{"client_name": "Robot", "grant_types": ["client_credentials"]}"#)
        .unwrap();
    serde_json::from_str(&machine.run(&["client", "add", "--file", "client.json", "--json"])).unwrap()
}

#[tokio::test]
async fn a_machine_gets_a_token_and_sigterm_ends_the_server_with_exit_0() {
    for machine in Machine::both().await {
        let client = machine_client(&machine);
        let server = machine.start(&["serve"]).await;
        let secret = client["client_secret"].as_str().unwrap();
        let answer = server.token(&client, secret).await;
        assert_eq!(answer.status(), 200);
        let token: Value = answer.json().await.unwrap();
        assert_eq!(token["token_type"], "Bearer");
        let (status, printed, log) = server.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        assert_eq!(printed, "");
        for hidden in [secret, token["access_token"].as_str().unwrap(), MASTER_KEY] {
            assert!(!log.contains(hidden), "a secret is in the log");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_explained_in_words_with_the_change_that_mends_it() {
    for machine in Machine::both().await {
        let client = machine_client(&machine);
        let server = machine.start(&["serve"]).await;
        let answer = server.token(&client, "wrong-secret-that-nobody-has").await;
        assert_eq!(answer.status(), 401);
        let trace_id = answer.headers()["chancery-trace-id"].to_str().unwrap().to_owned();
        // Readable by `explain` within a second (design 4.7), on a busy machine a little later.
        until(Duration::from_secs(10), async || machine.command(&["explain", &trace_id]).output().unwrap().status.success()).await;
        let story = machine.run(&["explain", &trace_id]);
        assert!(story.contains("secret") && story.contains("What to do:"), "{story}");
        assert!(story.contains(client["client_id"].as_str().unwrap()), "{story}");
        assert!(
            !story.contains("wrong-secret-that-nobody-has") && !story.contains(client["client_secret"].as_str().unwrap()),
            "{story}"
        );
        let told: Value = serde_json::from_str(&machine.run(&["explain", &trace_id, "--json"])).unwrap();
        assert_eq!(told["trace_id"], trace_id);
        assert_eq!(told["answer"]["error"], "invalid_client");
        assert_eq!(told["answer"]["status"], 401);
        assert!(told["story"]["mend"].is_string() && told["rule"]["spec"].is_string());
        server.stop();
    }
}

#[tokio::test]
async fn what_the_command_line_changes_a_running_server_obeys_within_five_seconds() {
    for machine in Machine::both().await {
        let client = machine_client(&machine);
        let (id, old) = (client["client_id"].as_str().unwrap(), client["client_secret"].as_str().unwrap());
        let server = machine.start(&["serve"]).await;
        assert_eq!(server.token(&client, old).await.status(), 200);
        let rotated: Value = serde_json::from_str(&machine.run(&["client", "rotate-secret", id, "--json"])).unwrap();
        let new = rotated["client_secret"].as_str().unwrap();
        until(Duration::from_secs(7), async || server.token(&client, new).await.status() == 200).await;
        assert_eq!(server.token(&client, old).await.status(), 200, "the old secret lives on");
        machine.run(&["client", "disable", id]);
        until(Duration::from_secs(7), async || server.token(&client, new).await.status() == 401).await;
        machine.run(&["client", "enable", id]);
        until(Duration::from_secs(7), async || server.token(&client, new).await.status() == 200).await;
        server.stop();
    }
}

#[tokio::test]
async fn the_server_refuses_to_start_where_it_would_be_unsafe() {
    let with = |pairs: &[(&str, &str)]| {
        let mut machine = Machine::sqlite();
        pairs.iter().for_each(|(name, value)| machine.set(name, value));
        machine
    };
    for (pairs, says) in [
        (&[("CHANCERY_ISSUER", "http://id.example.com")] as &[(&str, &str)], "https"),
        (&[("CHANCERY_DATABASE_URL", "postgres://localhost/x")], "CHANCERY_MASTER_KEY"),
        (
            &[("CHANCERY_DATABASE_URL", "postgres://nobody:hunter2@127.0.0.1:1/x"), ("CHANCERY_MASTER_KEY", MASTER_KEY)],
            "Connection refused",
        ),
        (&[("CHANCERY_MASTER_KEY", "too-short")], "master key"),
        (&[("CHANCERY_LIFETIMES__ACESS_TOKEN", "60")], "CHANCERY_LIFETIMES__ACCESS_TOKEN"),
        (&[("CHANCERY_TLS__CERTIFICATE_FILE", "/x.pem"), ("CHANCERY_TLS__PRIVATE_KEY_FILE", "/x.key")], "TLS"),
        (&[("CHANCERY_DATABASE_URL", "sqlite:///dev/null/chancery.db")], "/dev/null"),
    ] {
        let said = with(pairs).refuses(&["serve"]);
        assert!(said.contains(says), "{pairs:?}: {said}");
        assert!(!said.contains("too-short") && !said.contains("hunter2"), "{said}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(Machine::sqlite().refuses(&["serve", "--listen", &address]).contains(&address));
}

#[tokio::test]
async fn who_cannot_use_the_database_file_is_told_in_one_line_what_is_in_the_way_and_what_to_do() {
    const COMMANDS: [&[&str]; 4] = [&["serve"], &["quickstart"], &["migrate"], &["user", "list"]];
    let one_line = |said: String, wanted: &[&str]| {
        assert!(said.lines().count() == 1 && wanted.iter().all(|wanted| said.contains(wanted)), "{wanted:?}: {said}");
    };
    let mut machine = Machine::sqlite();
    machine.run(&["migrate"]);
    for line in COMMANDS {
        let said = refused(machine.command_of_a_reader(line));
        one_line(said, &["chancery.db: this user of the machine (uid ", " may not read and write it", "chown -R"]);
    }
    // There is no file yet, and none can be made there; nor the folder that it would lie in.
    for missing in ["chancery-data/other.db", "chancery-data/new/folder/other.db"] {
        machine.set("CHANCERY_DATABASE_URL", &format!("sqlite://{missing}"));
        for line in COMMANDS {
            let said = refused(machine.command_of_a_reader(line));
            one_line(said, &["chancery-data: this user of the machine (uid ", " may not read and write it", "chown -R"]);
        }
    }
    machine.own_again();
    std::fs::write(machine.path().join("notes.txt"), "no database, and long enough to be looked into\n".repeat(50)).unwrap();
    for (url, wanted) in [
        ("sqlite://chancery-data", "chancery-data: is no file. `[database] url` names the file itself"),
        ("sqlite://notes.txt", "file is not a database, or its beginning is damaged: is [database] url the right one?"),
        ("sqlite://notes.txt/chancery.db", "notes.txt: is no folder"),
    ] {
        machine.set("CHANCERY_DATABASE_URL", url);
        COMMANDS.into_iter().for_each(|line| one_line(machine.refuses(line), &[wanted]));
    }
}

#[tokio::test]
async fn a_variable_that_looks_misspelt_is_told_by_whoever_reads_the_configuration() {
    let mut machine = Machine::sqlite();
    machine.set("CHANCERY_DATABSE_URL", "sqlite://elsewhere.db");
    let hint = "CHANCERY_DATABSE_URL: no configuration key has this variable: it is ignored (did you mean CHANCERY_DATABASE_URL?)";
    for line in [&["migrate"] as &[&str], &["config", "check"]] {
        let told = machine.command(line).output().unwrap();
        let said = String::from_utf8(told.stderr).unwrap();
        assert!(told.status.success() && said == format!("chancery: note: {hint}\n"), "{line:?}: {said}");
    }
    let report = machine.command(&["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let told = report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == "configuration").unwrap();
    assert_eq!(
        (&told["severity"], &told["subject"], &told["mend"]),
        (&json!("warning"), &json!("CHANCERY_DATABSE_URL"), &json!("did you mean CHANCERY_DATABASE_URL?"))
    );
    let (_, _, log) = machine.start(&["serve"]).await.stop();
    assert!(log.lines().any(|line| line.contains(" WARN ") && line.contains(hint)), "{log}");
}

#[tokio::test]
async fn a_wrong_master_key_on_an_existing_database_refuses_to_start_and_changes_nothing() {
    for mut machine in Machine::both().await {
        machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
        let before = machine.run(&["key", "list", "--json"]);
        machine.set("CHANCERY_MASTER_KEY", OTHER_MASTER_KEY);
        assert!(machine.refuses(&["serve"]).contains("master key does not fit"));
        machine.set("CHANCERY_MASTER_KEY", MASTER_KEY);
        assert_eq!(machine.run(&["key", "list", "--json"]), before);
    }
}

#[tokio::test]
async fn without_migrating_an_empty_schema_is_refused_and_migrate_mends_it() {
    for machine in Machine::both().await {
        assert!(machine.refuses(&["serve", "--no-migrate"]).contains("chancery migrate"));
        machine.run(&["migrate"]);
        machine.start(&["serve", "--no-migrate"]).await.stop();
    }
}

#[tokio::test]
async fn quickstart_prints_what_to_open_and_a_second_run_keeps_the_data() {
    let machine = Machine::sqlite();
    let server = machine.start(&["quickstart"]).await;
    let demo = reqwest::get(format!("{}/demo", machine.issuer)).await.unwrap();
    assert_eq!(demo.status(), 200);
    let jwks = reqwest::get(format!("{}/jwks", machine.issuer)).await.unwrap().text().await.unwrap();
    let (status, printed, _) = server.stop();
    assert_eq!(status.code(), Some(0));
    for path in ["/demo", "/account", "/.well-known/openid-configuration"] {
        assert!(printed.contains(&format!("{}{path}", machine.issuer)), "{printed}");
    }
    let password = printed.lines().find_map(|line| line.trim().strip_prefix("password ")).unwrap().trim();
    let password = password.split_whitespace().next().unwrap().to_owned();
    assert!(password.len() >= 16, "{printed}");
    let users: Value = serde_json::from_str(&machine.run(&["user", "list", "--json"])).unwrap();
    assert_eq!((&users[0]["username"], &users[0]["admin"]), (&json!("admin"), &json!(true)));

    let server = machine.start(&["quickstart"]).await;
    assert_eq!(reqwest::get(format!("{}/jwks", machine.issuer)).await.unwrap().text().await.unwrap(), jwks);
    let (_, printed, _) = server.stop();
    assert!(!printed.contains(&password), "the password is printed once");
    assert!(printed.contains("set-password"), "{printed}");
    assert_eq!(machine.run(&["user", "list", "--json"]), serde_json::to_string_pretty(&users).unwrap() + "\n");
    assert_eq!(serde_json::from_str::<Value>(&machine.run(&["client", "list", "--json"])).unwrap().as_array().unwrap().len(), 1);

    let server = machine.start(&["serve"]).await;
    assert_eq!(reqwest::get(format!("{}/demo", machine.issuer)).await.unwrap().status(), 404, "the demo is quickstart's alone");
    server.stop();
}

#[tokio::test]
async fn healthcheck_tells_a_running_server_from_none() {
    let machine = Machine::sqlite();
    assert!(machine.refuses(&["healthcheck"]).contains("does not answer"));
    let server = machine.start(&["serve"]).await;
    assert_eq!(machine.run(&["healthcheck"]), "ready\n");
    server.stop();
}

#[tokio::test]
async fn security_txt_is_served_once_a_contact_is_configured() {
    let mut machine = Machine::sqlite();
    let ask = |machine: &Machine| reqwest::get(format!("{}/.well-known/security.txt", machine.issuer));
    let server = machine.start(&["serve"]).await;
    assert_eq!(ask(&machine).await.unwrap().status(), 404);
    server.stop();
    machine.set("CHANCERY_SECURITY_TXT__CONTACT", "mailto:security@example.com");
    machine.set("CHANCERY_SECURITY_TXT__EXPIRES", "2030-01-01T00:00:00Z");
    let server = machine.start(&["serve"]).await;
    let answer = ask(&machine).await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert_eq!(answer.text().await.unwrap(), "Contact: mailto:security@example.com\nExpires: 2030-01-01T00:00:00Z\n");
    server.stop();
}
