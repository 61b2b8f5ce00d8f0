//! A replica beside newer ones, in the middle of an update: what they have written, and this one does not know. The newer version is played
//! by rows as it might write them.

use chancery::args;
use chancery::clock::Timestamp;
use chancery::jose::Alg;
use chancery::seal::Purpose;
use chancery::service::keys::By;
use chancery::storage::{Db, StoreError, clients};
use serde_json::json;

use crate::harness::machine::Machine;
use crate::harness::{Request, Server, on_both};

on_both![
    keys_of_a_newer_version_stop_nothing,
    a_client_of_a_newer_version_loses_nothing_and_holds_nobody_up,
    an_api_of_a_newer_version_holds_nobody_up,
];

/// A data key for another purpose, and signing keys of another algorithm.
async fn write_keys(db: &Db) {
    let sealed = vec![7_u8; 60];
    let now = Timestamp::from_seconds(1_800_000_000);
    db.execute(
        "INSERT INTO data_keys (id, purpose, sealed, created_at) VALUES (40, 'tomorrow', $1, $2)",
        args![sealed.clone(), now],
    )
    .await
    .unwrap();
    for (kid, state) in [("newer-1", "active"), ("newer-2", "next")] {
        let jwk = r#"{"kty":"AKP","alg":"ML-DSA-65","pub":"AA"}"#;
        let values = args![kid, state, sealed.clone(), jwk, now];
        db.execute(
            "INSERT INTO signing_keys (kid, alg, state, sealed_private, public_jwk, created_at, state_since)
             VALUES ($1, 'ML-DSA-65', $2, $3, $4, $5, $5)",
            values,
        )
        .await
        .unwrap();
    }
}

async fn keys_of_a_newer_version_stop_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let keys = &server.app.keys;
    let tokens = alice.tokens_for_long(&client).await;
    write_keys(&server.app.db).await;
    // Long past the time for which keys are used without another look.
    server.wait(std::time::Duration::from_secs(60));
    client.refresh(&tokens.str("refresh_token")).await.ok();
    alice.tokens(&client, "openid").await;
    let unknown: Vec<String> = keys.unknown().iter().map(ToString::to_string).collect();
    let expected = [
        r#"signing key newer-1 with the algorithm "ML-DSA-65""#,
        r#"signing key newer-2 with the algorithm "ML-DSA-65""#,
        r#"data key 40 with the purpose "tomorrow""#,
    ];
    assert_eq!(unknown, expected);
    let replica = server.replica().await;
    alice.tokens(&client.through(replica.site()), "openid").await;

    // What concerns keys that are known is done; ids that others have are not given out again.
    let by = By { actor: "cli".to_owned(), trace_id: None };
    let now = || server.app.clock.now();
    keys.rotate(&by, now(), Some(Alg::ES256), true).await.unwrap();
    keys.rotate(&by, now(), None, false).await.unwrap();
    keys.rotate_data(&by, now(), Purpose::Cookie, false).await.unwrap();
    assert_eq!(keys.list_data().await.unwrap().last().unwrap().id, 41);
    // What concerns all keys is not, and nothing of it is.
    let refused = [
        keys.rewrap(&by, now()).await.map(drop),
        keys.rotate(&by, now(), None, true).await.map(drop),
        keys.rotate_data(&by, now(), Purpose::Signing, false).await,
        keys.rotate_data(&by, now(), Purpose::Signing, true).await,
        keys.compromise(&by, now(), "newer-1").await,
    ];
    for refused in refused {
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("a newer version made it") && said.contains("Nothing was changed"), "{said}");
    }
    let admin = server.admin("admin:write").await;
    let answer = admin.post("/keys/rotate", json!({ "compromised": true })).await;
    assert_eq!(answer.status, 409, "{}", answer.text);
    let kept =
        server.app.db.all("SELECT kid FROM signing_keys WHERE alg = 'ML-DSA-65' AND state IN ('active', 'next')", args![]).await;
    assert_eq!(kept.unwrap().len(), 2, "they are the newer version's to change");
    alice.tokens(&client, "openid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_say_that_a_newer_version_was_here() {
    for mut machine in Machine::both().await {
        machine.set("CHANCERY_MASTER_KEY", crate::harness::machine::MASTER_KEY);
        machine.run(&["key", "list"]);
        let db = machine.db().await;
        write_keys(&db).await;
        let listed = machine.json(&["key", "list"]);
        assert_eq!(listed["of_newer_version"].as_array().unwrap().len(), 3, "{listed}");
        let said = machine.refuses(&["key", "rewrap"]);
        assert!(said.contains("tomorrow") && said.contains("newest version"), "{said}");
        let doctor = machine.command(&["doctor", "--json"]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let found: Vec<&str> = report["findings"].as_array().unwrap().iter().filter_map(|found| found["id"].as_str()).collect();
        assert_eq!(found.iter().filter(|id| **id == "keys-of-newer-version").count(), 3, "{report}");
        db.execute("DELETE FROM signing_keys WHERE alg = 'ML-DSA-65'", args![]).await.unwrap();
        db.execute("DELETE FROM data_keys WHERE id = 40", args![]).await.unwrap();
        machine.run(&["key", "rewrap"]);
        db.close().await;
    }
}

async fn a_client_of_a_newer_version_loses_nothing_and_holds_nobody_up(server: Server) {
    let (server, alice, client) = server.actors().await;
    let other = server.client(json!({})).await;
    let (tokens, admin) = (alice.tokens_for_long(&client).await, server.admin("admin:write").await);
    let db = &server.app.db;
    let before: String = db.all("SELECT metadata FROM clients WHERE client_id = $1", args![&client.client_id]).await.unwrap()[0]
        .get("metadata")
        .unwrap();
    server.may_fail();
    let mut refresh = tokens.str("refresh_token");
    // A rule that this version cannot keep, and a value that it does not know.
    for (from, to) in
        [("{", r#"{"dpop_bound_access_tokens":true,"#), (r#""refresh_token""#, r#""refresh_token","urn:newer:grant""#)]
    {
        let newer = before.replacen(from, to, 1);
        assert_ne!(newer, before);
        db.execute("UPDATE clients SET metadata = $2 WHERE client_id = $1", args![&client.client_id, &newer]).await.unwrap();
        server.app.registry.clear();
        let answer = client.refresh(&refresh).await;
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.header("retry-after").parse::<u64>().is_ok(), "a newer replica can do it: {:?}", answer.headers);
        assert_eq!(alice.open(&Request::of(&client)).await.status, 503);
        let found = clients::find(db, &client.client_id).await;
        assert!(matches!(&found, Err(StoreError::NewerVersion(what)) if what.contains(&client.client_id)), "{found:?}");
        // Whoever cannot read it whole does not write it.
        let path = format!("/clients/{}", client.client_id);
        let changed = admin.patch(&path, json!({ "client_name": "Renamed" })).await;
        assert_eq!(changed.status, 503, "{}", changed.text);
        let after: String = db.all("SELECT metadata FROM clients WHERE client_id = $1", args![&client.client_id]).await.unwrap()[0]
            .get("metadata")
            .unwrap();
        assert_eq!(after, newer);
        alice.tokens(&other, "openid").await;
        db.execute("UPDATE clients SET metadata = $2 WHERE client_id = $1", args![&client.client_id, &before]).await.unwrap();
        server.app.registry.clear();
        refresh = client.refresh(&refresh).await.ok().str("refresh_token");
    }
}

async fn an_api_of_a_newer_version_holds_nobody_up(server: Server) {
    let (server, alice, client) = server.actors().await;
    let db = &server.app.db;
    let document =
        r#"{"identifier":"https://new.test/api","name":"New","scopes":[{"name":"new:read"}],"proof_of_possession":"required"}"#;
    let now = server.app.clock.now();
    db.execute(
        "INSERT INTO resources (identifier, document, created_at, updated_at) VALUES ('https://new.test/api', $1, $2, $2)",
        args![document, now],
    )
    .await
    .unwrap();
    server.app.registry.clear();
    alice.tokens_for_long(&client).await;
    // It is not there for this replica: nothing is issued for it under rules that it cannot keep.
    let page = alice.open(&Request::of(&client).with("resource", "https://new.test/api")).await;
    let to = page.location().map(|to| to.to_string()).unwrap_or_default();
    assert!(to.contains("error=invalid_target"), "{to}");
}
