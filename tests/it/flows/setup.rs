//! Declarative set-up: the built binary, on both databases (docs/declarative-setup.md).

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::time::Duration;

use chancery::secret::Digest;
use chancery::storage::audit;
use serde_json::{Value, json};

use crate::harness::machine::{Machine, until};
use crate::harness::rounds;

/// What no output, event or log may hold.
const SECRET: &str = "p7Wq2ZxK9mVbT4sLcN8dRfG3hJyU6eAo";
const SECOND: &str = "Zk3nQ8wXv5TbM1rLpC7dSfH2jGyE9uAoR4";

const SHOP: &str = r#"
[[clients]]
client_id = "shop"
client_name = "Shop"
redirect_uris = ["https://shop.example/cb"]
grant_types = ["authorization_code", "client_credentials"]
scope = "openid orders:read"
"#;
const ORDERS: &str = r#"
[[resources]]
identifier = "https://orders.example"
name = "Orders"
scopes = [{ name = "orders:read", description = "Read" }]
"#;

fn sha256(secret: &str) -> String {
    Digest::of(secret.as_bytes()).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Machine {
    /// Writes a set-up file called after its owner.
    fn setup(&self, owner: &str, parts: &[&str]) -> String {
        let name = format!("{owner}.toml");
        std::fs::write(self.path().join(&name), format!("name = \"{owner}\"\n{}", parts.concat())).unwrap();
        name
    }

    fn output(&self, line: &[&str]) -> Output {
        let output = self.command(line).output().unwrap();
        for said in [&output.stdout, &output.stderr] {
            let said = String::from_utf8_lossy(said);
            for secret in [SECRET, SECOND, &sha256(SECRET), &sha256(SECOND)] {
                assert!(!said.contains(secret), "{line:?} tells a secret: {said}");
            }
        }
        output
    }

    fn applied(&self, line: &[&str]) -> Value {
        let line = [&["apply"], line, &["--json"]].concat();
        let output = self.output(&line);
        assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A command that must fail and print nothing; what it says.
    fn refused(&self, line: &[&str]) -> String {
        let output = self.output(line);
        assert_eq!(output.status.code(), Some(1), "{line:?} must fail");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{line:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn code(&self, line: &[&str]) -> i32 {
        self.output(line).status.code().unwrap()
    }
}

/// `action kind id` of every step.
fn steps(plan: &Value) -> Vec<String> {
    let step = |step: &Value| ["action", "kind", "id"].map(|member| step[member].as_str().unwrap().to_owned()).join(" ");
    plan["steps"].as_array().unwrap().iter().map(step).collect()
}

#[tokio::test]
async fn the_sample_of_the_documentation_is_applied_and_works() {
    let page = std::fs::read_to_string("docs/declarative-setup.md").unwrap();
    let sample = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let shown = page.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
    for machine in Machine::both().await {
        std::fs::write(machine.path().join("apps.toml"), sample).unwrap();
        std::fs::create_dir(machine.path().join("secrets")).unwrap();
        let file = machine.path().join("secrets/shop-worker");
        std::fs::write(&file, format!("{SECRET}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(machine.run(&["apply", "apps.toml"]), shown);
        assert!(machine.run(&["apply", "apps.toml"]).starts_with("No change"));
        let server = machine.start(&["serve"]).await;
        let answer = server.token(&json!({ "client_id": "shop-worker" }), SECRET).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap()["scope"], "orders:read");
    }
}

#[tokio::test]
async fn a_plan_changes_nothing_an_apply_makes_it_so_and_a_second_one_finds_no_change() {
    for machine in Machine::both().await {
        let file = machine.setup("apps", &[SHOP, ORDERS]);
        let plan = machine.json(&["plan", &file]);
        assert_eq!(steps(&plan), ["create resource https://orders.example", "create client shop"]);
        assert_eq!((&plan["changed"], &plan["applied"]), (&json!(true), &json!(false)));
        assert_eq!(machine.json(&["client", "list"]), json!([]));
        assert_eq!((machine.code(&["plan", &file]), machine.code(&["plan", &file, "--detailed-exitcode"])), (0, 2));
        assert_eq!(steps(&machine.applied(&[&file])), steps(&plan));
        assert_eq!(machine.code(&["plan", &file, "--detailed-exitcode"]), 0);
        let events = audit::list(&machine.db().await, 100, None).await.unwrap().len();
        assert_eq!(machine.applied(&[&file])["changed"], false);
        assert_eq!(audit::list(&machine.db().await, 100, None).await.unwrap().len(), events, "no change, no event");
        let shop = machine.json(&["client", "show", "shop"]);
        assert_eq!((&shop["owner"], &shop["scope"]), (&json!("apps"), &json!("openid orders:read")));
        assert_eq!(machine.json(&["resource", "list"])[0]["owner"], "apps");

        // What changes is named, member by member.
        let changed = SHOP.replace("\"Shop\"", "\"Corner shop\"").replace("openid ", "");
        let file = machine.setup("apps", &[&changed, &ORDERS.replace("\"Read\"", "\"Look\"")]);
        let plan = machine.json(&["plan", &file]);
        assert_eq!(steps(&plan), ["change resource https://orders.example", "change client shop"]);
        assert_eq!(plan["steps"][0]["members"], json!([{ "member": "scope orders:read", "was": "Read", "is_now": "Look" }]));
        assert_eq!(
            plan["steps"][1]["members"],
            json!([{ "member": "client_name", "was": "Shop", "is_now": "Corner shop" },
                   { "member": "scope", "was": "openid orders:read", "is_now": "orders:read" }])
        );
        machine.applied(&[&file]);
        assert_eq!(machine.json(&["client", "show", "shop"])["client_name"], "Corner shop");
        let events = audit::list_for_target(&machine.db().await, "shop", 10).await.unwrap();
        let told: Vec<(&str, &str)> = events.iter().rev().map(|event| (event.actor.as_str(), event.action.as_str())).collect();
        assert_eq!(told, [("setup:apps", "client.add"), ("setup:apps", "client.update")]);
        assert!(events[0].was.as_ref().unwrap().contains("Shop") && events[0].is_now.as_ref().unwrap().contains("Corner shop"));
    }
}

#[tokio::test]
async fn what_a_file_owns_nobody_else_changes() {
    for machine in Machine::both().await {
        let apps = machine.setup("apps", &[SHOP, ORDERS, &format!("[[clients]]\nclient_id = \"worker\"\ngrant_types = [\"client_credentials\"]\nsecrets = [{{ sha256 = \"{}\" }}]\n", sha256(SECRET))]);
        machine.applied(&[&apps]);
        let shown = machine.json(&["client", "show", "shop"]);
        let same = machine.file("same.json", &shown);
        let patch = machine.file("patch.json", &json!({ "client_name": "Mine" }));
        let name = machine.file("name.json", &json!({ "name": "Mine" }));
        for line in [
            &["client", "update", "shop", "--file", &patch] as &[&str],
            &["client", "update", "shop", "--file", &same],
            &["client", "disable", "shop"],
            &["client", "enable", "shop"],
            &["client", "remove", "shop"],
            &["client", "rotate-secret", "worker"],
            &["resource", "update", "https://orders.example", "--file", &name],
            &["resource", "remove", "https://orders.example"],
        ] {
            let said = machine.refused(line);
            assert!(said.contains("is kept by the set-up file \"apps\""), "{said}");
        }
        assert_eq!(machine.json(&["client", "show", "shop"]), shown);
        // Another file neither, whatever it asks for; and nothing else of it is done.
        let other = machine.setup(
            "other",
            &[&SHOP.replace("\"Shop\"", "\"Mine\""), "[[clients]]\nclient_id = \"new\"\nredirect_uris = [\"https://a.test/\"]\n"],
        );
        for wish in ["--adopt", "--prune", "--release"] {
            let said = machine.refused(&["apply", &other, wish]);
            assert!(
                said.contains("other.toml:3: [[clients]] \"shop\": the client \"shop\" is kept by the set-up file \"apps\""),
                "{said}"
            );
        }
        assert_eq!(machine.json(&["client", "show", "shop"]), shown);
        assert!(machine.refused(&["client", "show", "new"]).contains("no client"));
        // Secrets that the file does not name are left to the commands.
        machine.run(&["client", "rotate-secret", "shop"]);
        assert_eq!(machine.applied(&[&apps])["changed"], false);
    }
}

#[tokio::test]
async fn what_was_made_by_hand_is_taken_over_only_by_word() {
    for machine in Machine::both().await {
        let orders = json!({ "identifier": "https://orders.example", "name": "By hand", "scopes": [{ "name": "orders:read" }, { "name": "orders:old" }] });
        machine.run(&["resource", "add", "--file", &machine.file("orders.json", &orders)]);
        let added = machine.json(&[
            "client",
            "add",
            "--file",
            &machine.file("c.json", &json!({ "redirect_uris": ["https://shop.example/cb"] })),
        ]);
        let shop = SHOP.replace("\"shop\"", &added["client_id"].to_string());
        let file = machine.setup("apps", &[&shop, ORDERS]);
        let said = machine.refused(&["apply", &file]);
        assert_eq!(said.matches("exists and belongs to no file").count(), 2, "{said}");
        assert!(said.contains("--adopt"));
        assert_eq!(machine.json(&["resource", "list"])[0]["name"], "By hand");
        let plan = machine.json(&["plan", &file, "--adopt"]);
        let adopted = format!("adopt client {}", added["client_id"].as_str().unwrap());
        assert_eq!(steps(&plan), ["adopt resource https://orders.example", &adopted]);
        assert_eq!(
            plan["steps"][0]["members"],
            json!([{ "member": "name", "was": "By hand", "is_now": "Orders" }, { "member": "scope orders:old", "was": "", "is_now": null },
                   { "member": "scope orders:read", "was": "", "is_now": "Read" }])
        );
        machine.applied(&[&file, "--adopt"]);
        assert_eq!(machine.applied(&[&file])["changed"], false, "what is owned needs no --adopt again");
        let client = machine.json(&["client", "show", added["client_id"].as_str().unwrap()]);
        assert_eq!(client["secrets"], added["secrets"], "the secret that the application has goes on");
        assert!(machine.refused(&["resource", "remove", "https://orders.example"]).contains("apps"));
    }
}

#[tokio::test]
async fn pruning_removes_what_the_file_owned_and_nothing_else() {
    for machine in Machine::both().await {
        let by_hand = machine.client();
        let bills = ORDERS.replace("orders", "bills").replace("Orders", "Bills");
        machine.applied(&[&machine.setup("other", &[&bills])]);
        machine.applied(&[&machine.setup("apps", &[SHOP, ORDERS, &SHOP.replace("shop", "kiosk")])]);
        let file = machine.setup("apps", &[&SHOP.replace("shop", "kiosk").replace("openid orders:read", "openid")]);
        let plan = machine.json(&["plan", &file]);
        assert_eq!(steps(&plan), ["change client kiosk", "leave client shop", "leave resource https://orders.example"]);
        machine.applied(&[&file]);
        assert_eq!(machine.code(&["plan", &file, "--detailed-exitcode"]), 0, "what stays is no change");
        assert!(machine.run(&["plan", &file]).contains("2 not in the file any more"));
        assert_eq!(machine.json(&["client", "show", "shop"])["enabled"], true);
        assert_eq!(steps(&machine.applied(&[&file, "--prune"])), ["remove client shop", "remove resource https://orders.example"]);
        assert!(machine.refused(&["client", "show", "shop"]).contains("no client"));
        assert_eq!(machine.json(&["resource", "list"])[0]["identifier"], "https://bills.example");
        machine.json(&["client", "show", &by_hand.client_id]);
        assert_eq!(machine.applied(&[&file, "--prune"])["changed"], false);
        let events = audit::list_for_target(&machine.db().await, "shop", 10).await.unwrap();
        let told: BTreeSet<&str> = events.iter().map(|event| event.action.as_str()).collect();
        assert_eq!(told, BTreeSet::from(["client.add", "client.disable", "client.remove"]));
        // A scope may move from one API to another in one go.
        let moved = ORDERS.replace("orders.example", "orders2.example");
        machine.applied(&[&machine.setup("apps", &[&ORDERS.replace(" }]", " }, { name = \"orders:x\" }]")])]);
        let both = [ORDERS.replace("orders:read", "orders:y").as_str(), &moved].concat();
        machine.applied(&[&machine.setup("apps", &[&both]), "--prune"]);
        let scope = |identifier: &str| machine.json(&["resource", "show", identifier])["scopes"][0]["name"].clone();
        assert_eq!((scope("https://orders.example"), scope("https://orders2.example")), (json!("orders:y"), json!("orders:read")));
    }
}

#[tokio::test]
async fn what_is_released_may_be_adopted_by_another_file() {
    for machine in Machine::both().await {
        machine.applied(&[&machine.setup("apps", &[SHOP])]);
        let before = machine.json(&["client", "show", "shop"]);
        let released = machine.applied(&[&machine.setup("apps", &[]), "--release"]);
        assert_eq!(steps(&released), ["release client shop"]);
        let after = machine.json(&["client", "show", "shop"]);
        assert_eq!((&after["owner"], &after["client_name"]), (&Value::Null, &before["client_name"]));
        machine.run(&["client", "disable", "shop"]);
        let adopted = machine.applied(&[&machine.setup("other", &[SHOP]), "--adopt"]);
        assert_eq!(adopted["steps"][0]["members"], json!([{ "member": "enabled", "was": false, "is_now": true }]));
        assert_eq!(machine.json(&["client", "show", "shop"])["owner"], "other");
    }
}

#[tokio::test]
async fn secrets_are_rotated_by_the_file_and_told_by_nothing() {
    for mut machine in Machine::both().await {
        machine.set("CHANCERY_LOG", "trace");
        let with = |secrets: &str| format!("{SHOP}secrets = {secrets}\n");
        let hash = |secret: &str| format!("{{ sha256 = \"{}\" }}", sha256(secret));
        let file = machine.setup("apps", &[ORDERS, &with(&format!("[{}]", hash(SECRET)))]);
        machine.applied(&[&file]);
        let server = machine.start(&["serve"]).await;
        let shop = json!({ "client_id": "shop" });
        assert_eq!(server.token(&shop, SECRET).await.status(), 200);
        assert_eq!(server.token(&shop, SECOND).await.status(), 401);

        // The second by file, beside the first.
        let held = machine.path().join("second");
        std::fs::write(&held, SECOND).unwrap();
        std::fs::set_permissions(&held, std::fs::Permissions::from_mode(0o644)).unwrap();
        let file = machine.setup("apps", &[ORDERS, &with(&format!("[{{ file = \"second\" }}, {}]", hash(SECRET)))]);
        assert!(machine.refused(&["apply", &file]).contains("may be read by every user"));
        std::fs::set_permissions(&held, std::fs::Permissions::from_mode(0o600)).unwrap();
        let applied = machine.applied(&[&file]);
        assert_eq!(applied["steps"][0]["members"], json!([{ "member": "secrets (1 new, 0 ended)", "was": 1, "is_now": 2 }]));
        until(Duration::from_secs(10), async || server.token(&shop, SECOND).await.status() == 200).await;
        assert_eq!(server.token(&shop, SECRET).await.status(), 200);

        // And without the first.
        let file = machine.setup("apps", &[ORDERS, &with(&format!("[{}]", hash(SECOND)))]);
        assert_eq!(machine.applied(&[&file])["steps"][0]["members"][0]["member"], "secrets (0 new, 1 ended)");
        until(Duration::from_secs(10), async || server.token(&shop, SECRET).await.status() == 401).await;
        assert_eq!(server.token(&shop, SECOND).await.status(), 200);
        assert_eq!(machine.applied(&[&file])["changed"], false);

        // Nor do the server's log and the audit log tell any of it.
        let (_, printed, log) = server.stop();
        let events = format!("{:?}", audit::list(&machine.db().await, 1000, None).await.unwrap());
        for text in [printed, log, events] {
            for secret in [SECRET, SECOND, &sha256(SECRET), &sha256(SECOND)] {
                assert!(!text.contains(secret));
            }
        }
        // Taking `secrets` out leaves those that live, and gives them to the commands.
        let file = machine.setup("apps", &[ORDERS, SHOP]);
        let member = json!([{ "member": "secrets, given by", "was": "this file", "is_now": "client rotate-secret" }]);
        assert_eq!(machine.applied(&[&file])["steps"][0]["members"], member);
        machine.run(&["client", "rotate-secret", "shop"]);
    }
}

#[tokio::test]
async fn a_file_with_any_fault_is_refused_whole_with_its_lines() {
    for machine in Machine::both().await {
        let bad = SHOP.replace("https://shop.example/cb", "http://shop.example/cb").replace("\"shop\"", "\"bad\"");
        let file = machine.setup("apps", &[SHOP, &bad, &ORDERS.replace("name = \"orders:read\"", "name = \"openid\"")]);
        let said = machine.refused(&["apply", &file]);
        assert!(said.contains("apps.toml:13: [[clients]] \"bad\": redirect_uris: entry 1"), "{said}");
        assert_eq!(machine.json(&["client", "list"]), json!([]));
        // What only the database knows has its line, too.
        machine.applied(&[&machine.setup("other", &[&ORDERS.replace("https://orders", "https://bills")])]);
        let said = machine.refused(&["plan", &machine.setup("apps", &[SHOP, ORDERS])]);
        assert!(said.contains("apps.toml:13: [[resources]] \"https://orders.example\": scopes: has orders:read, which belongs to https://bills.example"), "{said}");
        assert!(machine.refused(&["plan", "nowhere.toml"]).contains("nowhere.toml"));
        assert!(machine.refused(&["apply"]).contains("FILE"), "2 is kept for changes");
    }
}

#[tokio::test]
async fn groups_come_from_a_file_too() {
    let staff = "[[groups]]\nidentifier = \"staff\"\nname = \"Staff\"\nroles = [\"clerk\"]\n";
    for machine in Machine::both().await {
        machine.run(&[
            "group",
            "add",
            "--file",
            &machine.file("staff.json", &json!({ "identifier": "staff", "roles": ["clerk"] })),
        ]);
        machine.run(&["user", "add", "--username", "alice", "--group", "staff"]);
        let file = machine.setup("apps", &[staff]);
        assert!(machine.refused(&["apply", &file]).contains("apps.toml:2: [[groups]] \"staff\": exists and belongs to no file"));
        let adopted = machine.applied(&[&file, "--adopt"]);
        assert_eq!(adopted["steps"][0]["members"], json!([{ "member": "name", "was": null, "is_now": "Staff" }]));
        assert_eq!(machine.applied(&[&file])["changed"], false);
        assert_eq!(machine.json(&["group", "show", "staff"])["owner"], "apps");
        let patch = machine.file("patch.json", &json!({ "roles": ["chief"] }));
        for line in [&["group", "update", "staff", "--file", &patch] as &[&str], &["group", "remove", "staff"]] {
            assert!(machine.refused(line).contains("the group \"staff\" is kept by the set-up file \"apps\""));
        }
        // Who is in it is not the file's.
        machine.run(&["user", "add", "--username", "bob", "--group", "staff"]);
        let changed = staff.replace("[\"clerk\"]", "[\"clerk\", \"reader\"]");
        assert_eq!(steps(&machine.applied(&[&machine.setup("apps", &[&changed])])), ["change group staff"]);
        assert_eq!(machine.json(&["group", "show", "staff"])["roles"], json!(["clerk", "reader"]));
        assert!(
            machine
                .refused(&["plan", &machine.setup("bad", &["[[groups]]\nidentifier = \"a*\"\n"])])
                .contains("bad.toml:3: [[groups]] \"a*\": identifier: ")
        );
        assert_eq!(steps(&machine.applied(&[&machine.setup("apps", &[]), "--prune"])), ["remove group staff"]);
        assert!(machine.refused(&["group", "show", "staff"]).contains("no group"));
        assert_eq!(machine.json(&["group", "members", "staff"]), json!([]));
        let events = audit::list_for_target(&machine.db().await, "staff", 10).await.unwrap();
        let told: BTreeSet<&str> =
            events.iter().filter(|event| event.actor == "setup:apps").map(|event| event.action.as_str()).collect();
        assert_eq!(told, BTreeSet::from(["group.remove", "group.update", "setup.adopt"]));
    }
}

#[tokio::test]
async fn killing_an_apply_leaves_all_of_it_or_nothing() {
    for machine in Machine::both().await {
        machine.run(&["migrate"]);
        let many: String = (0..200).map(|number| SHOP.replace("\"shop\"", &format!("\"shop-{number}\""))).collect();
        let (file, none) = (machine.setup("many", &[&many]), machine.setup("none", &[]));
        std::fs::write(machine.path().join(&none), "name = \"many\"\n").unwrap();
        let mut seen = BTreeSet::new();
        for round in 0..rounds(6, 60) {
            let mut child = machine.command(&["apply", &file]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(u64::try_from(20 + round * 37 % 400).unwrap()));
            child.kill().unwrap();
            child.wait().unwrap();
            let there = machine.json(&["client", "list"]).as_array().unwrap().len();
            assert!(there == 0 || there == 200, "{there}");
            let owned = machine.json(&["plan", &none])["steps"].as_array().unwrap().len();
            assert_eq!(owned, there, "what is there is owned, and nothing else");
            seen.insert(there);
            if there > 0 {
                // Killed while they are removed one by one: once more goes on.
                let mut child = machine.command(&["apply", &none, "--prune"]).spawn().unwrap();
                std::thread::sleep(Duration::from_millis(200));
                child.kill().unwrap();
                child.wait().unwrap();
                machine.applied(&[&none, "--prune"]);
                assert_eq!(machine.json(&["client", "list"]), json!([]));
            }
        }
        assert_eq!(machine.applied(&[&file])["steps"].as_array().unwrap().len(), 200, "{seen:?}");
        assert_eq!(machine.applied(&[&file])["changed"], false);
    }
}

#[tokio::test]
async fn a_file_comes_from_standard_input_too() {
    let machine = Machine::sqlite();
    let mut child = machine.command(&["apply", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("name = \"apps\"\n{SHOP}").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("the client \"shop\" has no secret yet") && said.contains("no resource has the scope \"orders:read\""),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_applied_at_once_take_turns() {
    for machine in Machine::both().await {
        machine.run(&["migrate"]);
        for round in 0..rounds(2, 20) {
            // The same file four times, and two files that both want one object.
            let shop = SHOP.replace("shop", &format!("shop{round}"));
            let (apps, other) =
                (machine.setup("apps", &[&shop]), machine.setup("other", &[&shop.replace("\"Shop\"", "\"Other\"")]));
            let files = [&apps, &apps, &other, &apps, &other, &apps];
            let all: Vec<_> =
                files.iter().map(|file| machine.command(&["apply", file, "--adopt", "--json"]).spawn().unwrap()).collect();
            let all: Vec<Output> = all.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
            let owner = machine.json(&["client", "show", &format!("shop{round}")])["owner"].as_str().unwrap().to_owned();
            let mut created = 0;
            for (file, output) in files.iter().zip(&all) {
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.success(), **file == format!("{owner}.toml"), "{file}: {said}");
                if output.status.success() {
                    let applied: Value = serde_json::from_slice(&output.stdout).unwrap();
                    created += usize::from(applied["changed"] == true);
                } else {
                    assert!(said.contains(&format!("is kept by the set-up file \"{owner}\"")), "{said}");
                }
            }
            assert_eq!(created, 1, "one makes it, the others find it made");
        }
    }
}
