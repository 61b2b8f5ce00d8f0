//! The command line as operators and scripts use it: the built binary, on both databases (contract.md, Command line for operators).

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::postgres;

const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// An operator at a shell in an empty folder, with a database of their own.
struct Shell {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Shell {
    fn sqlite() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), env: vec![("CHANCERY_PASSWORDS__MEMORY_KIB".into(), "64".into())] }
    }

    async fn postgres() -> Self {
        let mut shell = Self::sqlite();
        shell.env.push(("CHANCERY_DATABASE_URL".into(), postgres::database().await));
        shell.env.push(("CHANCERY_MASTER_KEY".into(), MASTER_KEY.into()));
        shell
    }

    async fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        name.to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn output(&self, line: &[&str], stdin: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chancery"))
            .args(line)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input may have ended already.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// A command that must succeed; what it printed.
    fn run(&self, line: &[&str]) -> String {
        self.run_with(line, "")
    }

    fn run_with(&self, line: &[&str], stdin: &str) -> String {
        let output = self.output(line, stdin);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command that must succeed; the JSON that it printed.
    fn json(&self, line: &[&str]) -> Value {
        let mut line = line.to_vec();
        line.push("--json");
        serde_json::from_str(&self.run(&line)).unwrap()
    }

    /// A command that must fail with one line on standard error and nothing on standard output; that line.
    fn fails(&self, line: &[&str]) -> String {
        self.fails_with(line, "")
    }

    fn fails_with(&self, line: &[&str], stdin: &str) -> String {
        let output = self.output(line, stdin);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{line:?} must fail");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{line:?}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
        assert!(error.starts_with("chancery: "), "{error}");
        error
    }
}

#[tokio::test]
async fn a_person_is_added_shown_listed_disabled_and_enabled() {
    for shell in Shell::both().await {
        let line = ["user", "add", "--username", "alice", "--email", "alice@example.com", "--admin", "--password-stdin", "--json"];
        let added: Value = serde_json::from_str(&shell.run_with(&line, "correct horse battery\n")).unwrap();
        assert_eq!((&added["username"], &added["admin"], &added["enabled"]), (&json!("alice"), &json!(true), &json!(true)));
        assert!(added.get("password").is_none(), "a password that was given is not repeated");
        let shown = shell.json(&["user", "show", "ALICE"]);
        let mut expected = added.clone();
        expected["second_factors"] = json!({ "factors": [], "recovery_codes": 0 });
        assert_eq!(shown, expected);
        assert_eq!(shell.json(&["user", "show", shown["id"].as_str().unwrap()]), shown);
        assert_eq!(shell.json(&["user", "show", shown["sub"].as_str().unwrap()]), shown);
        assert_eq!(shell.json(&["user", "show", "--sub", shown["sub"].as_str().unwrap()]), shown);
        assert!(shell.fails(&["user", "show", "--sub", "alice"]).contains("no user"));
        assert_ne!(shown["id"], shown["sub"]);
        assert!(shell.run(&["user", "list"]).contains("alice@example.com"));
        shell.run(&["user", "disable", "alice"]);
        assert_eq!(shell.json(&["user", "show", "alice"])["enabled"], false);
        shell.run(&["user", "enable", "alice"]);
        assert_eq!(shell.json(&["user", "list"]).as_array().unwrap().len(), 1);
        shell.run(&["user", "sign-out", "alice"]);
        assert!(shell.fails(&["user", "show", "bob"]).contains("no user \"bob\""));
        assert!(shell.fails(&["user", "disable", "bob"]).contains("no user \"bob\""));
    }
}

#[tokio::test]
async fn two_people_never_share_a_username_in_whatever_case() {
    for shell in Shell::both().await {
        shell.run(&["user", "add", "--username", "alice"]);
        let error = shell.fails(&["user", "add", "--username", "Alice"]);
        assert!(error.contains("there is a user"), "{error}");
        let added = shell.json(&["user", "add", "--username", "Zoe\u{308}"]);
        assert_eq!(added["username"], "Zo\u{eb}");
        assert_eq!(shell.json(&["user", "show", "zo\u{eb}"])["id"], added["id"]);
        assert_eq!(shell.json(&["user", "show", "ZOE\u{308}"])["id"], added["id"]);
        let error = shell.fails(&["user", "add", "--username", "zo\u{eb}"]);
        assert!(error.contains("there is a user"), "{error}");
    }
}

#[tokio::test]
async fn a_users_file_holds_every_standard_claim() {
    for shell in Shell::both().await {
        let document = json!({
            "username": "alice", "password": "correct horse battery", "groups": ["staff"], "email": "alice@example.com",
            "email_verified": true, "given_name": "Alice", "family_name": "Example", "phone_number": "+49 30 1",
            "birthdate": "1990-01-31", "address": { "street_address": "Weg 1\nHof", "country": "DE" }
        });
        let file = shell.file("user.json", &document.to_string());
        let added = shell.json(&["user", "add", "--file", &file]);
        for (name, value) in document.as_object().unwrap() {
            if name == "password" {
                assert!(added.get(name).is_none());
            } else {
                assert_eq!(&added[name], value, "{name}");
            }
        }
        let file = shell.file("bad.json", r#"{"username":"bob","e-mail":"bob@example.com"}"#);
        assert!(shell.fails(&["user", "add", "--file", &file]).contains("e-mail: unknown member"));
        let file = shell.file("bad.json", r#"{"username":"bob","username":"eve"}"#);
        assert!(shell.fails(&["user", "add", "--file", &file]).contains("bad.json"));
        assert!(shell.fails(&["user", "add", "--file", "nowhere.json"]).contains("nowhere.json"));
    }
}

#[tokio::test]
async fn a_password_is_made_and_told_once_unless_one_is_given() {
    for shell in Shell::both().await {
        let added = shell.json(&["user", "add", "--username", "alice"]);
        let password = added["password"].as_str().unwrap();
        assert!(password.len() >= 16 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(!shell.run(&["user", "show", "alice", "--json"]).contains(password));
        assert!(shell.run(&["user", "set-password", "alice"]).contains("shown this once"));
        let told = shell.run_with(&["user", "set-password", "alice", "--password-stdin"], "another good one\n");
        assert!(!told.contains("another good one"));
        assert!(shell.fails_with(&["user", "set-password", "alice", "--password-stdin"], "short\n").contains("at least 8"));
        assert!(shell.fails_with(&["user", "set-password", "alice", "--password-stdin"], "\n").contains("standard input"));
        let long = "x".repeat(2000);
        assert!(shell.fails_with(&["user", "set-password", "alice", "--password-stdin"], &long).contains("at most 128"));
    }
}

#[tokio::test]
async fn a_client_is_registered_changed_and_removed() {
    for shell in Shell::both().await {
        let file = shell.file("client.json", r#"{"client_name": "Shop", "redirect_uris": ["https://shop.example/cb"]}"#);
        let added = shell.json(&["client", "add", "--file", &file]);
        let (id, secret) = (added["client_id"].as_str().unwrap(), added["client_secret"].as_str().unwrap());
        for made in [id, secret] {
            assert!(made.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{made}");
        }
        assert!(secret.len() >= 43, "256 bits");
        assert_eq!(added["token_endpoint_auth_method"], "client_secret_basic");
        assert_eq!(added["client_secret_expires_at"], 0);
        let shown = shell.run(&["client", "show", id, "--json"]);
        assert!(!shown.contains(secret));
        let patch =
            shell.file("patch.json", r#"{"client_name": null, "redirect_uris": ["https://shop.example/cb2"], "enabled": false}"#);
        let updated = shell.json(&["client", "update", id, "--file", &patch]);
        assert!(updated.get("client_name").is_none());
        assert_eq!((&updated["redirect_uris"], &updated["enabled"]), (&json!(["https://shop.example/cb2"]), &json!(false)));
        assert_eq!(updated["grant_types"], added["grant_types"], "what the patch does not name stays");
        assert_eq!(shell.json(&["client", "show", id])["enabled"], false);
        shell.run(&["client", "enable", id]);
        assert_eq!(shell.json(&["client", "show", id])["enabled"], true);
        shell.run(&["client", "disable", id]);
        assert!(shell.run(&["client", "list"]).contains(id));
        shell.run(&["client", "remove", id]);
        assert!(shell.fails(&["client", "show", id]).contains("no client"));
        assert_eq!(shell.json(&["client", "list"]), json!([]));
    }
}

#[tokio::test]
async fn a_client_that_cannot_be_is_refused_with_the_member_at_fault() {
    let shell = Shell::sqlite();
    for (member, text) in [
        ("redirect_uris", r#"{"redirect_uris": ["http://shop.example/cb"]}"#),
        ("redirect_uris", r#"{"redirect_uris": ["javascript:alert(1)"]}"#),
        ("redirect_uris", r#"{}"#),
        ("grant_types", r#"{"redirect_uris": ["https://shop.example/cb"], "grant_types": ["password"]}"#),
        ("redirect_uri", r#"{"redirect_uri": "https://shop.example/cb"}"#),
        ("client_id", r#"{"redirect_uris": ["https://shop.example/cb"], "client_id": "mine"}"#),
    ] {
        let file = shell.file("client.json", text);
        let error = shell.fails(&["client", "add", "--file", &file]);
        assert!(error.contains(member), "{error}");
    }
    let file = shell.file("client.json", "not json");
    shell.fails(&["client", "add", "--file", &file]);
    assert_eq!(shell.json(&["client", "list"]), json!([]));
}

#[tokio::test]
async fn rotating_a_secret_leaves_two_live_ones_and_never_three() {
    for shell in Shell::both().await {
        let file = shell.file("client.json", r#"{"redirect_uris": ["https://shop.example/cb"]}"#);
        let added = shell.json(&["client", "add", "--file", &file]);
        let id = added["client_id"].as_str().unwrap();
        let live = |client: &Value| {
            let ends = client["secrets"].as_array().unwrap().iter().map(|secret| secret["expires_at"].as_str().map(str::to_owned));
            let now = time::OffsetDateTime::now_utc()
                .replace_nanosecond(0)
                .unwrap()
                .format(&time::format_description::well_known::Rfc3339)
                .unwrap();
            ends.filter(|end| end.as_ref().is_none_or(|end| *end > now)).count()
        };
        let rotated = shell.json(&["client", "rotate-secret", id]);
        assert_ne!(rotated["client_secret"], added["client_secret"]);
        assert_eq!(live(&rotated), 2);
        let again = shell.json(&["client", "rotate-secret", id]);
        assert_eq!(live(&again), 2);
        let at_once = shell.json(&["client", "rotate-secret", id, "--grace", "0"]);
        assert_eq!(live(&at_once), 1);
        assert!(shell.fails(&["client", "rotate-secret", id, "--grace", "soon"]).contains("--grace"));
        let file =
            shell.file("public.json", r#"{"redirect_uris": ["https://shop.example/cb"], "token_endpoint_auth_method": "none"}"#);
        let public = shell.json(&["client", "add", "--file", &file]);
        assert!(public.get("client_secret").is_none());
        assert!(shell.fails(&["client", "rotate-secret", public["client_id"].as_str().unwrap()]).contains("no secret"));
    }
}

#[tokio::test]
async fn a_resource_is_added_changed_and_removed() {
    for shell in Shell::both().await {
        let document = json!({"identifier": "https://api.example.com", "name": "Orders",
            "scopes": [{"name": "orders:read", "description": "Read your orders"}], "access_token_lifetime": 600,
            "access_token_signing_alg": "RS256", "access_token_format": "jwt", "introspection_clients": []});
        let file = shell.file("resource.json", &document.to_string());
        assert_eq!(shell.json(&["resource", "add", "--file", &file]), document);
        assert!(shell.fails(&["resource", "add", "--file", &file]).contains("already"));
        assert_eq!(shell.json(&["resource", "show", "https://api.example.com"]), document);
        let other =
            shell.file("other.json", r#"{"identifier":"https://b.example.com","name":"B","scopes":[{"name":"orders:read"}]}"#);
        assert!(shell.fails(&["resource", "add", "--file", &other]).contains("https://api.example.com"));
        let patch = shell.file("patch.json", r#"{"access_token_lifetime": 60}"#);
        assert_eq!(shell.json(&["resource", "update", "https://api.example.com", "--file", &patch])["access_token_lifetime"], 60);
        assert!(shell.run(&["resource", "list"]).contains("orders:read"));
        shell.run(&["resource", "remove", "https://api.example.com"]);
        assert_eq!(shell.json(&["resource", "list"]), json!([]));
        assert!(shell.fails(&["resource", "remove", "https://api.example.com"]).contains("no resource"));
    }
}

#[tokio::test]
async fn a_group_is_added_changed_and_removed_and_people_with_it() {
    for shell in Shell::both().await {
        let file = shell.file("group.json", r#"{"identifier": "staff", "name": "Staff", "roles": ["clerk"]}"#);
        let added = shell.json(&["group", "add", "--file", &file]);
        assert_eq!((&added["identifier"], &added["roles"]), (&json!("staff"), &json!(["clerk"])));
        assert!(shell.fails(&["group", "add", "--file", &file]).contains("already"));
        shell.run(&["user", "add", "--username", "alice", "--group", "staff"]);
        let patch = shell.file("patch.json", r#"{"groups": ["staff", "night"], "nickname": "Al"}"#);
        assert_eq!(shell.json(&["user", "update", "alice", "--file", &patch])["groups"], json!(["staff", "night"]));
        assert!(shell.run(&["group", "members", "night"]).contains("alice"));
        let patch = shell.file("roles.json", r#"{"roles": ["clerk", "guard"]}"#);
        assert_eq!(shell.json(&["group", "update", "staff", "--file", &patch])["roles"], json!(["clerk", "guard"]));
        assert!(shell.run(&["group", "list"]).contains("clerk guard"));
        assert_eq!(shell.json(&["group", "show", "staff"])["name"], "Staff");
        shell.run(&["group", "remove", "staff"]);
        assert_eq!(shell.json(&["user", "show", "alice"])["groups"], json!(["night"]));
        assert!(shell.fails(&["group", "remove", "staff"]).contains("no group"));
        assert!(shell.fails(&["group", "show", "staff"]).contains("no group"));
        let wrong = shell.file("wrong.json", r#"{"nicknme": "Al"}"#);
        assert!(shell.fails(&["user", "update", "alice", "--file", &wrong]).contains("nickname"));
        shell.run(&["user", "remove", "alice"]);
        assert!(shell.fails(&["user", "show", "alice"]).contains("no user"));
    }
}

#[tokio::test]
async fn keys_are_listed_rotated_and_rewrapped() {
    for mut shell in Shell::both().await {
        let listed = shell.json(&["key", "list"]);
        for alg in ["RS256", "ES256", "EdDSA"] {
            for state in ["active", "next"] {
                let all = listed["signing"].as_array().unwrap();
                assert_eq!(all.iter().filter(|key| key["alg"] == alg && key["state"] == state).count(), 1, "{alg} {state}");
            }
        }
        let waits = shell.json(&["key", "rotate", "--alg", "ES256"]);
        assert!(waits[0]["signs_from"].is_string(), "a next key that nobody has seen yet waits: {waits}");
        let done = shell.json(&["key", "rotate", "--alg", "EdDSA", "--compromised"]);
        assert!(done[0]["new"].is_string() && done[0]["new"] != done[0]["old"], "{done}");
        shell.run(&["key", "rotate", "--purpose", "refresh"]);
        shell.run(&["key", "rotate", "--purpose", "refresh", "--compromised"]);
        assert!(shell.fails(&["key", "rotate", "--purpose", "nothing"]).contains("signing, refresh"));
        assert!(shell.fails(&["key", "rotate", "--alg", "HS256"]).contains("RS256"));
        // From one master key to another, without ending anything.
        let new = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";
        let old = match shell.env.iter().find(|(name, _)| name == "CHANCERY_MASTER_KEY") {
            Some((_, old)) => old.clone(),
            None => std::fs::read_to_string(shell.path("chancery-data/master.key")).unwrap().trim().to_owned(),
        };
        shell.env.retain(|(name, _)| name != "CHANCERY_MASTER_KEY");
        shell.env.push(("CHANCERY_MASTER_KEY".into(), format!("{new},{old}")));
        assert!(shell.json(&["key", "rewrap"])["sealed_anew"].as_u64().unwrap() > 0);
        shell.env.pop();
        shell.env.push(("CHANCERY_MASTER_KEY".into(), new.to_owned()));
        assert_eq!(
            shell.json(&["key", "list"])["signing"].as_array().unwrap().len(),
            listed["signing"].as_array().unwrap().len() + 1
        );
        shell.env.pop();
        shell.env.push(("CHANCERY_MASTER_KEY".into(), old));
        assert!(shell.fails(&["key", "list"]).contains("master key"));
    }
}

#[tokio::test]
async fn the_generated_master_key_is_private_and_never_made_twice() {
    let shell = Shell::sqlite();
    shell.run(&["key", "list"]);
    let key = shell.path("chancery-data/master.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(shell.path("chancery-data/chancery.db")).unwrap().permissions().mode() & 0o077, 0);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(shell.fails(&["key", "list"]).contains("chmod"));
    std::fs::remove_file(&key).unwrap();
    assert!(shell.fails(&["key", "list"]).contains("missing"));
    assert!(!key.exists());
}

#[tokio::test]
async fn migrate_says_what_it_did_and_the_second_time_that_there_is_nothing_to_do() {
    for shell in Shell::both().await {
        let first = shell.json(&["migrate"]);
        assert!(!first["applied"].as_array().unwrap().is_empty());
        assert_eq!(shell.json(&["migrate"])["applied"], json!([]));
        assert!(shell.run(&["migrate"]).contains("up to date"));
    }
}

#[tokio::test]
async fn config_check_finds_what_the_server_would_refuse() {
    let mut shell = Shell::sqlite();
    assert!(shell.run(&["config", "check"]).contains("http://localhost:8080"));
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/config/chancery.toml");
    assert_eq!(shell.json(&["config", "check", "--config", reference])["ok"], true);
    let file = shell.file("chancery.toml", "[server]\nisuer = \"https://id.example.com\"\n");
    let error = shell.fails(&["config", "check", "--config", &file]);
    assert!(error.contains("chancery.toml:2") && error.contains("did you mean \"issuer\"?"), "{error}");
    let file = shell.file("chancery.toml", "[server]\nissuer = \"http://id.example.com\"\n");
    assert!(shell.fails(&["config", "check", "--config", &file]).contains("https"));
    let file = shell.file("chancery.toml", "[tls]\ncertificate_file = \"/x.pem\"\n");
    assert!(shell.fails(&["config", "check", "--config", &file]).contains("private_key_file"));
    assert!(shell.fails(&["config", "check", "--issuer", "https://id.example.com/#x"]).contains("fragment"));
    shell.env.push(("CHANCERY_DATABASE_URL".into(), "postgres://nobody:hunter2@127.0.0.1:1/x".into()));
    let error = shell.fails(&["config", "check"]);
    assert!(error.contains("CHANCERY_MASTER_KEY") && !error.contains("hunter2"), "{error}");
    shell.env.push(("CHANCERY_MASTER_KEY".into(), MASTER_KEY.into()));
    let error = shell.fails(&["user", "list"]);
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_secret_file_that_everybody_may_read_is_refused() {
    let mut shell = Shell::sqlite();
    let file = shell.file("key", MASTER_KEY);
    std::fs::set_permissions(shell.path(&file), std::fs::Permissions::from_mode(0o644)).unwrap();
    shell.env.push(("CHANCERY_MASTER_KEY_FILE".into(), file.clone()));
    assert!(shell.fails(&["config", "check"]).contains("every user of this machine"));
    std::fs::set_permissions(shell.path(&file), std::fs::Permissions::from_mode(0o400)).unwrap();
    shell.run(&["config", "check"]);
    shell.run(&["key", "list"]);
}

#[tokio::test]
async fn explaining_what_was_never_refused_fails_clearly() {
    for shell in Shell::both().await {
        assert!(shell.fails(&["explain", "0123456789abcdef0123456789abcdef"]).contains("no decision"));
        assert!(shell.fails(&["explain", "x"]).contains("32 hexadecimal digits"));
    }
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_without_secrets() {
    let shell = Shell::sqlite();
    let added = shell.json(&["user", "add", "--username", "alice"]);
    shell.run(&["user", "disable", "alice"]);
    let file = shell.file("client.json", r#"{"redirect_uris": ["https://shop.example/cb"]}"#);
    let client = shell.json(&["client", "add", "--file", &file]);
    shell.run(&["client", "rotate-secret", client["client_id"].as_str().unwrap()]);
    let database = chancery::config::DatabaseConfig::new(format!("sqlite://{}", shell.path("chancery-data/chancery.db").display()));
    let db = chancery::storage::Db::connect(&database).await.unwrap();
    let events = chancery::storage::audit::list(&db, 100, None).await.unwrap();
    let actions: Vec<&str> = events.iter().rev().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["user.add", "user.disable", "client.add", "client.rotate_secret"]);
    assert!(events.iter().all(|event| event.actor == "cli"));
    let all = format!("{events:?}");
    for secret in [&added["password"], &client["client_secret"]] {
        assert!(!all.contains(secret.as_str().unwrap()));
    }
}

/// Whoever has such a token may register clients; it is told once.
#[tokio::test]
async fn initial_access_tokens_are_made_listed_and_removed() {
    for shell in Shell::both().await {
        let line = ["registration", "token", "add", "--registrations", "3", "--expires-in", "1d", "--note", "the shop"];
        let made =
            shell.json(&[&line[..], &["--grant-type", "authorization_code", "--scope", "openid", "--scope", "email"]].concat());
        let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
        assert_eq!((token.len(), &made["created_by"], &made["registrations_left"]), (43, &json!("cli"), &json!(3)));
        assert_eq!((&made["grant_types"], &made["scopes"]), (&json!(["authorization_code"]), &json!(["openid", "email"])));
        let shown = shell.run(&["registration", "token", "show", id, "--json"]);
        assert!(shown.contains("the shop") && !shown.contains(token));
        let listed = shell.run(&["registration", "token", "list"]);
        assert!(listed.contains(id) && listed.contains("the shop") && !listed.contains(token), "{listed}");
        // For people: shown once, and that it is worth nothing while registration is off.
        let output = shell.output(&["registration", "token", "add"], "");
        assert!(String::from_utf8_lossy(&output.stdout).contains("(shown this once)"));
        assert!(String::from_utf8_lossy(&output.stderr).contains("[registration] mode is \"off\""));
        for (wrong, why) in [
            (["--expires-in", "soon"], "--expires-in must be a duration"),
            (["--expires-in", "366d"], "expires_in"),
            (["--registrations", "0"], "registrations"),
            (["--grant-type", "password"], "--grant-type must be one of"),
            (["--scope", "admin:read"], "scopes"),
        ] {
            let error = shell.fails(&[&["registration", "token", "add"][..], &wrong].concat());
            assert!(error.contains(why), "{wrong:?}: {error}");
        }
        assert!(shell.run(&["registration", "token", "remove", id]).contains("removed"));
        assert!(shell.fails(&["registration", "token", "show", id]).contains("no initial access token"));
    }
}
